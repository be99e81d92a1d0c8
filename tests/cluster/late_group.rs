//! A restore into a cluster in which an aggregated API is not up: its objects come once it is.

use std::time::Duration;

use anyhow::Result;
use ark::api::RestoreSpec;

use crate::cases::{Case, PATIENCE, assert_said, assert_silent};
use crate::support::control_plane::{ControlPlane, Options};
use crate::support::wait_until;

const NOBODY: &str = "
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.late.example.org}
spec:
  group: late.example.org
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: nobody, namespace: default}
";

const OBJECTS: &str = "
{apiVersion: late.example.org/v1, kind: Thing, metadata: {name: a, namespace: NAME}}
---
{apiVersion: late.example.org/v1, kind: Thing, metadata: {name: b, namespace: NAME}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: other, namespace: NAME}}
";

// Who serves the type makes no difference; a definition needs no server of its own.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.late.example.org}
spec:
  group: late.example.org
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
";

#[tokio::test]
async fn objects_of_an_api_that_is_not_up_wait_for_it() -> Result<()> {
    let plane = ControlPlane::start(Options::default()).await?;
    let mut case = Case::on(&plane, 686).await?;
    case.apply(NOBODY).await?;
    wait_until("the group is known as broken", PATIENCE, async || {
        let discovery = case.cluster.discover().await?;
        let mut failed = discovery.failed().iter();
        Ok(failed
            .any(|one| one.group() == "late.example.org")
            .then_some(()))
    })
    .await?;

    case.options.unavailable_timeout = Duration::from_millis(100);
    let outcome = case.restore_as(OBJECTS, RestoreSpec::default()).await?;
    assert_said(
        &outcome,
        &[
            "error",
            "things.late.example.org: 2 objects",
            "does not answer",
        ],
    );
    assert_eq!(outcome.items, 4, "with the namespace");

    case.options.unavailable_timeout = PATIENCE;
    let objects = OBJECTS.replace("name: other", "name: another");
    let come_up = async {
        wait_until("the others are restored", PATIENCE, async || {
            case.get("configmaps", "another").await
        })
        .await?;
        let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.late.example.org";
        case.client
            .request_text(http::Request::delete(path).body(Vec::new())?)
            .await?;
        case.apply(DEFINITION).await
    };
    let (outcome, up) = tokio::join!(case.restore_as(&objects, RestoreSpec::default()), come_up);
    up?;
    assert_silent(&outcome?);
    for name in ["a", "b"] {
        case.must_get("things.late.example.org", name).await?;
    }
    Ok(())
}
