//! A namespace for one test, and the evidence it leaves when the test fails.

use std::fs;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use super::control_plane::ControlPlane;
use super::{PATIENCE, unique_name, wait_until};

/// A namespace of its own for a test of the shared control plane.
///
/// A test that panics while it holds this leaves the namespace's objects and events as a file beside the plane's logs.
/// The namespace is not deleted then, nor on drop: the plane is thrown away as a whole.
#[derive(Debug)]
pub struct TestNamespace {
    plane: &'static ControlPlane,
    name: String,
}

impl TestNamespace {
    /// Makes a namespace whose name starts with `prefix`, and waits for its default service account, without which no
    /// pod is admitted.
    pub async fn new(plane: &'static ControlPlane, prefix: &str) -> Result<Self> {
        let name = unique_name(prefix);
        create_namespace(&plane.client(), &name).await?;
        Ok(Self { plane, name })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Deletes the namespace and waits until it is gone.
    pub async fn delete(&self) -> Result<()> {
        delete_namespace(&self.plane.client(), &self.name).await
    }

    fn keep_evidence(&self) -> Result<()> {
        // kubectl, since a drop cannot await; it is what one would look with anyway.
        let kinds = self
            .plane
            .kubectl()
            .args([
                "api-resources",
                "--verbs=list",
                "--namespaced",
                "-o",
                "name",
            ])
            .output()
            .context("run kubectl")?;
        let kinds = String::from_utf8_lossy(&kinds.stdout)
            .lines()
            .collect::<Vec<_>>()
            .join(",");
        let objects = self
            .plane
            .kubectl()
            .args([
                "get",
                &kinds,
                "-n",
                &self.name,
                "-o",
                "yaml",
                "--ignore-not-found",
            ])
            .output()
            .context("run kubectl")?;
        let file = self.plane.logs().join(format!("{}.yaml", self.name));
        fs::write(&file, objects.stdout).with_context(|| format!("write {}", file.display()))?;
        eprintln!(
            "objects and events of namespace {}: {}",
            self.name,
            file.display()
        );
        Ok(())
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(error) = self.keep_evidence()
        {
            eprintln!("no evidence of namespace {}: {error:#}", self.name);
        }
    }
}

/// Makes a namespace and waits for its default service account.
pub async fn create_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("make namespace {name}"))?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), name);
    wait_until(
        &format!("namespace {name} has its service account"),
        PATIENCE,
        async || Ok(accounts.get_opt("default").await?.map(drop)),
    )
    .await
}

/// Deletes a namespace and waits until it is gone.
pub async fn delete_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .delete(name, &DeleteParams::background())
        .await
        .with_context(|| format!("delete namespace {name}"))?;
    wait_until(&format!("namespace {name} is gone"), PATIENCE, async || {
        Ok(namespaces.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}
