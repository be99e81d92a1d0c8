//! Pods that kwok pretends to run, and port-forwards to them.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{PATIENCE, wait_until};

/// Makes a pod on the plane's node, and waits until it runs.
pub async fn create_pod(client: &kube::Client, namespace: &str, name: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "ark", "image": "ark"}]},
    }))?;
    pods.create(&PostParams::default(), &pod)
        .await
        .with_context(|| format!("make pod {name}"))?;
    wait_until(&format!("pod {name} runs"), PATIENCE, async || {
        let status = pods.get(name).await?.status.unwrap_or_default();
        Ok((status.phase.as_deref() == Some("Running")).then_some(()))
    })
    .await
}

/// Asks a pod for a path over a port-forward; returns the answer's head, in lower case, and body. Only ports that are
/// [forwarded](super::control_plane::ports::FORWARDED) lead anywhere.
pub async fn get_through_pod(
    client: &kube::Client,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
) -> Result<(String, Vec<u8>)> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut forwarder = pods
        .portforward(pod, &[port])
        .await
        .with_context(|| format!("forward a port of pod {pod}"))?;
    let mut stream = forwarder
        .take_stream(port)
        .context("the forwarded port has a stream")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // The forwarder does not tell when the server closes its side: only the length tells where the body ends.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .with_context(|| format!("an answer with a length: {head}"))?;
    let mut body = vec![0; length.trim().parse()?];
    stream.read_exact(&mut body).await?;
    drop(stream);
    forwarder.join().await?;
    Ok((head, body))
}
