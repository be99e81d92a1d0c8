//! Commands in containers, without a backup around them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use ark::cluster::{Cluster, ClusterErrorKind, Exec, ExecEnd, ProcessEnd};

use crate::hooked::{Marks, pod, start};
use crate::support::PATIENCE;
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::proxy::Proxy;

async fn run(
    cluster: &Cluster,
    namespace: &TestNamespace,
    script: &str,
    timeout: Duration,
) -> Result<ExecEnd> {
    let command = ["sh", "-c", script].map(str::to_owned);
    let exec = Exec {
        namespace: namespace.name(),
        pod: "a",
        container: "main",
        command: &command,
        timeout,
    };
    Ok(cluster.exec(&exec).await?)
}

#[tokio::test]
async fn commands_end_time_out_or_lose_their_connection() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let namespace = TestNamespace::new(plane, "exec").await?;
    let marks = Marks::new(plane)?;
    start(
        &plane.client(),
        namespace.name(),
        vec![pod("a", &serde_json::Value::Null)],
    )
    .await?;
    let cluster = Cluster::new(plane.client(), None);

    // More output than anybody keeps holds nothing up.
    let script = "head -c 300000 /dev/zero | tr '\\0' x; echo done >&2";
    let end = run(&cluster, &namespace, script, PATIENCE).await?;
    assert_eq!(end.end, ProcessEnd::Exited(0));
    assert_eq!(end.stdout.left_out, 300_000 - 16_384);
    assert_eq!(end.stderr.text(), "done\n");

    let block = marks.script_text("echo begun; while [ -e busy ]; do sleep 0.05; done");
    marks.make_busy()?;
    let end = run(&cluster, &namespace, &block, Duration::from_secs(1)).await?;
    assert_eq!(end.end, ProcessEnd::TimedOut);
    assert_eq!(end.stdout.text(), "begun\n");

    let proxy = Proxy::to(plane.port()).await?;
    let through = Cluster::new(plane.client_through(proxy.port()), None);
    let block = marks.script_text("echo begun >> cut; while [ -e busy ]; do sleep 0.05; done");
    let running = run(&through, &namespace, &block, PATIENCE);
    let cutting = async {
        marks.wait_for("cut", "begun").await?;
        proxy.cut();
        anyhow::Ok(())
    };
    let (end, cut) = tokio::join!(running, cutting);
    cut?;
    let ProcessEnd::Failed(why) = end?.end else {
        anyhow::bail!("it did not notice that its connection was cut");
    };
    assert!(why.contains("connection"), "{why}");
    marks.release()?;

    for (pod, container, kind) in [
        ("nobody", "main", ClusterErrorKind::NotFound),
        ("a", "nobody", ClusterErrorKind::Invalid),
    ] {
        let exec = Exec {
            namespace: namespace.name(),
            pod,
            container,
            command: &["true".to_owned()],
            timeout: PATIENCE,
        };
        let error = cluster.exec(&exec).await.err().context("it ran")?;
        assert_eq!(error.kind, kind, "{error}");
    }
    Ok(())
}
