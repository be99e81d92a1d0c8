//! An API group whose server does not answer: named, and no reason to give up the rest.

use anyhow::Result;
use ark::api::{BackupPhase, BackupSpec};
use ark::cluster::Cluster;

use crate::support::ark::Installation;
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::objects::apply_yaml;
use crate::support::runs::assert_clean_backup;
use crate::support::{PATIENCE, wait_until};

const BROKEN: &str = "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.broken.example.org}
spec:
  group: broken.example.org
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: nobody, namespace: default}
";

#[tokio::test]
async fn a_broken_group_costs_only_itself() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let client = plane.client();
    let ark = Installation::new(&plane).await?;
    let server = ark.serve().await?;
    apply_yaml(&client, BROKEN).await?;
    let cluster = Cluster::new(client.clone(), None);
    wait_until("the group is known as broken", PATIENCE, async || {
        let failed = cluster.discover().await?.failed().to_vec();
        Ok(failed
            .iter()
            .any(|one| one.group_version == "broken.example.org/v1")
            .then_some(()))
    })
    .await?;

    let backup = ark.back_up("everything", BackupSpec::default()).await?;
    let status = backup.status.unwrap_or_default();
    assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{status:?}");
    assert_eq!(status.errors, Some(1), "{status:?}");
    assert!(
        status.progress.unwrap_or_default().items_done > 50,
        "the rest is stored"
    );

    let excluded = BackupSpec {
        excluded_resources: vec!["*.broken.example.org".into()],
        ..BackupSpec::default()
    };
    assert_clean_backup(&ark.back_up("without", excluded).await?);

    let named = BackupSpec {
        included_resources: vec!["things.broken.example.org".into()],
        ..BackupSpec::default()
    };
    let refused = ark
        .back_up("named", named)
        .await?
        .status
        .unwrap_or_default();
    assert_eq!(refused.phase, BackupPhase::FailedValidation, "{refused:?}");
    assert!(
        refused.validation_errors[0].contains("broken.example.org/v1 is broken"),
        "{refused:?}"
    );
    server.stop()
}
