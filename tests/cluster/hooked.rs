//! Pods whose hooks show what they did, and what is stored of them. What kwok runs for an exec are processes of this
//! machine, so commands leave marks in files.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use ark::api::{Backup, Results};
use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::{Value, json};

use crate::support::ark::Installation;
use crate::support::control_plane::ControlPlane;
use crate::support::objects::apply_yaml;
use crate::support::{PATIENCE, unique_name, wait_until};

/// A folder in which hooks leave their marks.
pub(crate) struct Marks(pub(crate) PathBuf);

impl Marks {
    pub(crate) fn new(plane: &ControlPlane) -> Result<Self> {
        let folder = plane.dir().join(unique_name("marks"));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Returns a command that adds a word to the marks of `who`.
    pub(crate) fn mark(&self, who: &str, word: &str) -> String {
        self.script(&format!("echo {word} >> {who}"))
    }

    /// Returns a command that marks its begin and then runs until [`Marks::release`], or the end of the plane.
    pub(crate) fn block(&self, who: &str, word: &str) -> Result<String> {
        self.make_busy()?;
        Ok(self.block_on(who, word, "busy"))
    }

    /// Returns a command that marks its begin and then runs as long as there is a file of this name.
    pub(crate) fn block_on(&self, who: &str, word: &str, file: &str) -> String {
        let wait = format!("while [ -e {file} ]; do sleep 0.05; done");
        self.script(&format!("echo {word} >> {who}; {wait}"))
    }

    /// Has commands wait that look for `busy`.
    pub(crate) fn make_busy(&self) -> Result<()> {
        Ok(fs::write(self.0.join("busy"), "")?)
    }

    pub(crate) fn release(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("busy"))?)
    }

    /// Returns a command that runs a shell script in the folder.
    pub(crate) fn script(&self, script: &str) -> String {
        json!(["sh", "-c", self.script_text(script)]).to_string()
    }

    /// Returns a shell script that runs in the folder.
    pub(crate) fn script_text(&self, script: &str) -> String {
        format!("cd {} && {{ {script}; }}", self.0.display())
    }

    /// Returns the words of `who` in their order.
    pub(crate) fn of(&self, who: &str) -> String {
        let text = fs::read_to_string(self.0.join(who)).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(crate) async fn wait_for(&self, who: &str, words: &str) -> Result<()> {
        wait_until(&format!("{who} is {words:?}"), PATIENCE, async || {
            let now = self.of(who);
            anyhow::ensure!(now == words, "it is {now:?}");
            Ok(Some(()))
        })
        .await
    }
}

pub(crate) fn pod(name: &str, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations, "labels": {"name": name}},
        "spec": {"containers": [{"name": "main", "image": "a"}, {"name": "side", "image": "b"}]},
    })
}

/// Makes pods, and waits until they run.
pub(crate) async fn start(client: &kube::Client, namespace: &str, pods: Vec<Value>) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let mut names = Vec::new();
    for mut pod in pods {
        pod["metadata"]["namespace"] = namespace.into();
        apply_yaml(client, &pod.to_string()).await?;
        names.push(
            pod["metadata"]["name"]
                .as_str()
                .context("a name")?
                .to_owned(),
        );
    }
    for name in names {
        wait_until(&format!("pod {name} runs"), PATIENCE, async || {
            let phase = api.get(&name).await?.status.and_then(|status| status.phase);
            Ok((phase.as_deref() == Some("Running")).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Returns a stored part of a backup.
fn part(ark: &Installation<'_>, backup: &Backup, suffix: &str) -> Result<Vec<u8>> {
    let status = backup.status.clone().unwrap_or_default();
    let part = status
        .parts
        .into_iter()
        .find(|part| part.key.ends_with(suffix));
    let key = part.with_context(|| format!("no part {suffix}"))?.key;
    Ok(fs::read(ark.bucket().join(key))?)
}

pub(crate) fn log(ark: &Installation<'_>, backup: &Backup) -> Result<String> {
    let mut text = String::new();
    GzDecoder::new(&part(ark, backup, "-logs.gz")?[..]).read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn results(ark: &Installation<'_>, backup: &Backup) -> Result<Results> {
    let part = part(ark, backup, "-results.gz")?;
    Ok(serde_json::from_reader(GzDecoder::new(&part[..]))?)
}

/// Returns the names of the pods in a backup.
pub(crate) fn stored_pods(ark: &Installation<'_>, backup: &Backup) -> Result<BTreeSet<String>> {
    let contents = part(ark, backup, ".tar.zst")?;
    let mut archive = tar::Archive::new(zstd::Decoder::new(&contents[..])?);
    let mut names = BTreeSet::new();
    for entry in archive.entries()? {
        let path = entry?.path()?.display().to_string();
        if path.starts_with("resources/pods/") {
            let (_, file) = path.rsplit_once('/').context("a file")?;
            names.insert(file.trim_end_matches(".json").to_owned());
        }
    }
    Ok(names)
}
