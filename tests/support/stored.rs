//! Backups made of given objects: such as no API server of today would give out, too.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use ark::api::{
    Backup, BackupPhase, BackupSpec, BackupStatus, StorageProviderConfig, VolumeBackupInfo,
};
use ark::archive::{ArchiveWriter, EntryHeader, TypeKey, WriteOptions};
use ark::cluster::{Cluster, Discovery};
use ark::providers::{Environment, registry};
use ark::storage::{Location, PartKind, RunMarker};
use serde_json::Value;

use super::unique_name;

/// A local store that goes when it is dropped.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    /// Returns the file of a stored object.
    pub fn file(&self, key: &str) -> PathBuf {
        self.0.path().join("ark").join(key)
    }

    /// Opens the store.
    pub async fn location(&self) -> Result<Location> {
        let config = StorageProviderConfig {
            name: "local".into(),
            bucket: "ark".into(),
            config: [("path".to_owned(), self.0.path().display().to_string())].into(),
            ..StorageProviderConfig::default()
        };
        let store = registry::open(&config, &Environment::default()).await?;
        Ok(Location::new(store, None))
    }
}

/// Stores objects as a completed backup of Ark's own format. Each needs `apiVersion`, `kind` and a name.
///
/// What type of the cluster an object is shows its kind. One that the cluster does not have gets the plural that its
/// kind suggests.
pub async fn store_backup(
    cluster: &Cluster,
    location: &Location,
    name: &str,
    objects: &[Value],
) -> Result<()> {
    store_with(cluster, location, name, objects, BTreeMap::new()).await
}

/// The same with snapshots of volumes in the record.
pub async fn store_with(
    cluster: &Cluster,
    location: &Location,
    name: &str,
    objects: &[Value],
    volume_backups: BTreeMap<String, VolumeBackupInfo>,
) -> Result<()> {
    let target = cluster.discover().await?;
    let (mut contents, mut index) = (Vec::new(), Vec::new());
    let mut writer = ArchiveWriter::new(&mut contents, &mut index, WriteOptions::default())?;
    for object in objects {
        let body = serde_json::to_vec(object)?;
        writer.append(&header(object, &target)?, &[&body])?;
    }
    writer.finish()?;

    let uid = unique_name("uid");
    let marker = RunMarker {
        holder: "test".into(),
        attempt: 1,
        backup_uid: uid.clone(),
        ..RunMarker::default()
    };
    let run = location.begin_run(name, &marker).await?;
    let parts = vec![
        run.put_part(PartKind::Contents, contents.into()).await?,
        run.put_part(PartKind::Index, index.into()).await?,
    ];
    let mut backup = Backup::new(name, BackupSpec::default());
    backup.metadata.uid = Some(uid);
    backup.status = Some(BackupStatus {
        version: Some(2),
        format_version: Some("2.0.0".into()),
        phase: BackupPhase::Completed,
        parts,
        volume_backups,
        ..BackupStatus::default()
    });
    run.commit(&backup).await?;
    Ok(())
}

fn header(object: &Value, target: &Discovery) -> Result<EntryHeader> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let name = text("/metadata/name").context("an object without a name")?;
    let kind = text("/kind").with_context(|| format!("{name} without a kind"))?;
    let api_version = text("/apiVersion").with_context(|| format!("{name} without a version"))?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let served = target
        .types()
        .iter()
        .find(|one| one.group == group && one.kind == kind);
    let key = TypeKey {
        group: group.into(),
        version: version.into(),
        resource: served.map_or_else(|| plural(&kind), |one| one.resource.clone()),
        kind,
    };
    let owners = object.pointer("/metadata/ownerReferences");
    let owners = owners.and_then(Value::as_array).into_iter().flatten();
    let labels = object.pointer("/metadata/labels").cloned();
    Ok(EntryHeader {
        type_key: Arc::new(key),
        namespace: text("/metadata/namespace").map(Arc::from),
        uid: text("/metadata/uid").unwrap_or_default(),
        owners: owners
            .filter_map(|owner| Some(owner["uid"].as_str()?.to_owned()))
            .collect(),
        labels: labels
            .map(serde_json::from_value)
            .transpose()?
            .unwrap_or_default(),
        name,
        ..EntryHeader::default()
    })
}

fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    if kind.ends_with("ss") || kind.ends_with('x') {
        kind + "es"
    } else if let Some(stem) = kind.strip_suffix("cy") {
        format!("{stem}cies")
    } else {
        kind + "s"
    }
}
