//! Post hooks run whatever becomes of the backup: its server is killed, it cannot go on, it is deleted.

use anyhow::Result;
use ark::api::{Backup, BackupPhase, BackupSpec, HookOwed};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::hooked::{Marks, pod, start};
use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;
use crate::support::runs::{all_of, assert_clean_backup};
use crate::support::{PATIENCE, wait_until};

/// Starts a pod whose pre hook does not end before the test lets it.
async fn start_freezing(
    plane: &ControlPlane,
    namespace: &TestNamespace,
    marks: &Marks,
) -> Result<()> {
    let annotations = json!({
        "pre.hook.backup.ark.heptio.com/command": marks.block("db", "freeze")?,
        "pre.hook.backup.ark.heptio.com/timeout": "5m",
        "post.hook.backup.ark.heptio.com/command": marks.mark("db", "thaw"),
    });
    start(
        &plane.client(),
        namespace.name(),
        vec![pod("db", &annotations)],
    )
    .await
}

#[tokio::test]
async fn what_a_killed_server_owed_the_next_one_runs_first() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "frozen").await?;
    let marks = Marks::new(plane)?;
    start_freezing(plane, &namespace, &marks).await?;
    let first = ark.serve().await?;
    let second = ark.start_server()?;
    let backups: Api<Backup> = ark.api();
    backups
        .create(
            &PostParams::default(),
            &Backup::new("frozen", all_of(&namespace)),
        )
        .await?;
    marks.wait_for("db", "freeze").await?;
    // Noted before the pod was frozen.
    let status = backups.get("frozen").await?.status.unwrap_or_default();
    let owed = HookOwed {
        namespace: namespace.name().to_owned(),
        pod: "db".to_owned(),
    };
    assert_eq!(status.hooks_owed, [owed]);
    first.kill();

    // The next server thaws it before it begins anew.
    marks.wait_for("db", "freeze thaw freeze").await?;
    marks.release()?;
    let backup = ark.backup_ended("frozen").await?;
    assert_clean_backup(&backup);
    let status = backup.status.unwrap_or_default();
    assert_eq!(status.run.map(|run| run.attempt), Some(2));
    assert_eq!(marks.of("db"), "freeze thaw freeze thaw");
    assert_eq!(status.hooks_owed, []);
    assert_eq!(status.hooks_attempted, Some(3));
    second.stop()
}

#[tokio::test]
async fn a_run_taken_by_another_server_leaves_the_list_alone() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "fenced").await?;
    let marks = Marks::new(plane)?;
    start_freezing(plane, &namespace, &marks).await?;
    let server = ark.serve().await?;
    let backups: Api<Backup> = ark.api();
    backups
        .create(
            &PostParams::default(),
            &Backup::new("fenced", all_of(&namespace)),
        )
        .await?;
    marks.wait_for("db", "freeze").await?;
    // Another server takes the run while the hook is running, and dies.
    let taken = json!({"status": {"run": {"holder": "other", "attempt": 1}}});
    backups
        .patch_status("fenced", &PatchParams::default(), &Patch::Merge(&taken))
        .await?;
    marks.release()?;
    let backup = ark.backup_ended("fenced").await?;
    assert_clean_backup(&backup);
    // The first thaw is the old run's. It could not strike the pod off the list, so the new run begins with another one.
    assert_eq!(marks.of("db"), "freeze thaw thaw freeze thaw");
    server.stop()
}

#[tokio::test]
async fn owed_hooks_run_even_where_the_backup_cannot_go_on() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let store = Store::local(plane)?;
    let ark = Installation::without_config(plane, store).await?;
    let namespace = TestNamespace::new(plane, "given-up").await?;
    let marks = Marks::new(plane)?;
    let annotations = json!({
        "pre.hook.backup.velero.io/command": marks.mark("db", "freeze"),
        "post.hook.backup.velero.io/command": marks.mark("db", "thaw"),
    });
    start(
        &plane.client(),
        namespace.name(),
        vec![pod("db", &annotations)],
    )
    .await?;
    // As the third server left it that died over this backup; one of its pods is gone meanwhile.
    let backups: Api<Backup> = ark.api();
    let owed = |pod: &str| json!({"namespace": namespace.name(), "pod": pod});
    let status = json!({"status": {
        "phase": "InProgress", "run": {"holder": "dead", "attempt": 3}, "hooksOwed": [owed("db"), owed("gone")],
    }});
    backups
        .create(
            &PostParams::default(),
            &Backup::new("given-up", all_of(&namespace)),
        )
        .await?;
    backups
        .patch_status("given-up", &PatchParams::default(), &Patch::Merge(&status))
        .await?;

    // There is no store yet, so the backup waits. The pod does not.
    let server = ark.serve().await?;
    marks.wait_for("db", "thaw").await?;
    wait_until("nothing is owed any more", PATIENCE, async || {
        let status = backups.get("given-up").await?.status.unwrap_or_default();
        assert_eq!(status.phase, BackupPhase::InProgress, "{status:?}");
        Ok(status.hooks_owed.is_empty().then_some(()))
    })
    .await?;
    ark.configure_own_store().await?;
    let backup = ark.backup_ended("given-up").await?;
    let status = backup.status.unwrap_or_default();
    assert_eq!(status.phase, BackupPhase::Failed, "{status:?}");
    assert_eq!(marks.of("db"), "thaw", "once");
    server.stop()
}

#[tokio::test]
async fn a_cancelled_backup_runs_its_post_hooks_and_waits_for_nothing_else() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "cancelled").await?;
    let marks = Marks::new(plane)?;
    start_freezing(plane, &namespace, &marks).await?;
    // Services come after pods.
    for n in 0..20 {
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("service-{n}"), "namespace": namespace.name()},
            "spec": {"ports": [{"port": 80}]},
        });
        apply_yaml(&plane.client(), &service.to_string()).await?;
    }
    let server = ark.serve().await?;
    let backups: Api<Backup> = ark.api();
    let spec = BackupSpec {
        included_resources: vec!["pods".into(), "services".into()],
        ..all_of(&namespace)
    };
    backups
        .create(&PostParams::default(), &Backup::new("cancelled", spec))
        .await?;
    marks.wait_for("db", "freeze").await?;
    // What comes later does not wait for the pod.
    wait_until("everything else is stored", PATIENCE, async || {
        let status = backups.get("cancelled").await?.status.unwrap_or_default();
        let done = status.progress.unwrap_or_default().items_done;
        anyhow::ensure!(done == 20, "{done} items are stored");
        Ok(Some(()))
    })
    .await?;
    backups
        .delete("cancelled", &DeleteParams::default())
        .await?;
    wait_until("the run is cancelled", PATIENCE, async || {
        let waits = "waiting for the post hooks of pods whose pre hooks have run";
        Ok(server.log().contains(waits).then_some(()))
    })
    .await?;
    assert_eq!(
        marks.of("db"),
        "freeze",
        "a thaw must not overtake the freeze"
    );
    marks.release()?;
    marks.wait_for("db", "freeze thaw").await?;
    server
        .wait_for("the run has ended", |metrics| {
            metrics.contains("ark_backups_running 0")
        })
        .await?;
    assert_eq!(ark.keys(), Vec::<String>::new(), "nothing of it is left");
    server.stop()
}
