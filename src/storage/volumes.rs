//! What the records of a backup, and the files beside them, say of the data of its volumes.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::keys::{BackupKeys, Layout, PartKind};
use super::{Location, MAX_SMALL, Record, StorageError};
use crate::api::VolumeBackupInfo;

/// What Velero keeps of every volume since 1.13.
const VOLUME_INFO: &str = "-volumeinfo.json.gz";
/// What it keeps of copies that were made in pods.
const POD_VOLUME_BACKUPS: &str = "-podvolumebackups.json.gz";

impl Location {
    /// Returns the snapshots of a backup by the name of their volume, as its record says, or the file beside it.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`] if the file is none.
    pub async fn volume_snapshots(
        &self,
        record: &Record,
    ) -> Result<BTreeMap<String, VolumeBackupInfo>, StorageError> {
        let status = record.backup.status.as_ref();
        let recorded = status
            .map(|status| status.volume_backups.clone())
            .unwrap_or_default();
        if !recorded.is_empty() || !record.is_foreign() {
            return Ok(recorded);
        }
        let Some((key, _)) = record.part_key(PartKind::VolumeSnapshots) else {
            return Ok(recorded);
        };
        match self.small(&key).await? {
            Some(bytes) => {
                snapshots(&bytes).map_err(|problem| StorageError::Unreadable { key, problem })
            }
            // None was taken.
            None => Ok(recorded),
        }
    }

    /// Returns the volumes whose data Velero saved in a way that is not read here, each with the way.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`] if the file is none.
    pub async fn data_elsewhere(&self, record: &Record) -> Result<Vec<String>, StorageError> {
        let name = record.backup.metadata.name.as_deref().unwrap_or_default();
        if record.layout != Layout::Velero {
            return Ok(Vec::new());
        }
        let keys = BackupKeys::new(name)?;
        for (suffix, read) in [
            (VOLUME_INFO, volume_info as fn(&[u8]) -> _),
            (POD_VOLUME_BACKUPS, pod_volume_backups),
        ] {
            let key = keys.beside(suffix);
            if let Some(bytes) = self.read_small(&key).await? {
                return read(&bytes)
                    .map_err(|problem: String| StorageError::Unreadable { key, problem });
            }
        }
        Ok(Vec::new())
    }
}

/// Reads a list of objects, JSON in gzip; `null` is an empty one.
fn entries<T: DeserializeOwned>(gzip: &[u8]) -> Result<Vec<T>, String> {
    let mut json = Vec::new();
    MultiGzDecoder::new(gzip)
        .take(MAX_SMALL as u64)
        .read_to_end(&mut json)
        .map_err(|error| error.to_string())?;
    let list: Option<Vec<T>> = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    Ok(list.unwrap_or_default())
}

/// Returns the volumes that Velero saved otherwise than by a snapshot of their disk.
fn volume_info(gzip: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Volume {
        pvc_namespace: String,
        pvc_name: String,
        pv_name: String,
        backup_method: String,
        skipped: bool,
        pvb_info: Option<Copied>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Copied {
        pod_namespace: String,
        pod_name: String,
        volume_name: String,
    }
    Ok(entries::<Volume>(gzip)?
        .into_iter()
        .filter(|volume| {
            !volume.skipped && !matches!(&*volume.backup_method, "" | "NativeSnapshot")
        })
        .map(|volume| {
            let of = match &volume.pvb_info {
                Some(pod) if volume.pvc_name.is_empty() => {
                    format!(
                        "{} of pod {}/{}",
                        pod.volume_name, pod.pod_namespace, pod.pod_name
                    )
                }
                _ if volume.pvc_name.is_empty() => volume.pv_name,
                _ => format!("{}/{}", volume.pvc_namespace, volume.pvc_name),
            };
            format!("{of} ({})", volume.backup_method)
        })
        .collect())
}

/// Returns the volumes that were copied in pods.
fn pod_volume_backups(gzip: &[u8]) -> Result<Vec<String>, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Copied {
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Spec {
        pod: Pod,
        volume: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Pod {
        namespace: String,
        name: String,
    }
    Ok(entries::<Copied>(gzip)?
        .into_iter()
        .map(|Copied { spec }| {
            let Spec { pod, volume } = spec;
            format!(
                "{volume} of pod {}/{} (PodVolumeBackup)",
                pod.namespace, pod.name
            )
        })
        .collect())
}

/// Reads the file of snapshots of Ark 0.10 and Velero.
fn snapshots(gzip: &[u8]) -> Result<BTreeMap<String, VolumeBackupInfo>, String> {
    #[derive(Deserialize)]
    struct Snapshot {
        #[serde(default)]
        spec: Spec,
        #[serde(default)]
        status: Status,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Spec {
        // Capitalised by accident in Ark 0.10.
        #[serde(alias = "PersistentVolumeName")]
        persistent_volume_name: String,
        volume_type: String,
        #[serde(rename = "volumeAZ")]
        volume_az: String,
        #[serde(rename = "volumeIOPS")]
        volume_iops: Option<i64>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        #[serde(rename = "providerSnapshotID")]
        provider_snapshot_id: String,
    }
    Ok(entries::<Snapshot>(gzip)?
        .into_iter()
        .filter(|one| !one.status.provider_snapshot_id.is_empty())
        .map(|one| {
            let info = VolumeBackupInfo {
                snapshot_id: one.status.provider_snapshot_id,
                volume_type: one.spec.volume_type,
                availability_zone: one.spec.volume_az,
                iops: one.spec.volume_iops,
            };
            (one.spec.persistent_volume_name, info)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn gzip(value: &serde_json::Value) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(value.to_string().as_bytes()).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn snapshots_of_other_programs_are_read() {
        let text = r#"[{"spec":{"PersistentVolumeName":"pv","volumeType":"gp2","volumeAZ":"a","volumeIOPS":100},
            "status":{"providerSnapshotID":"snap-1","phase":"Completed"}},
            {"spec":{"persistentVolumeName":"failed"},"status":{"phase":"Failed"}}]"#;
        for (text, count) in [(text, 1), ("null", 0)] {
            let value = serde_json::from_str(text).unwrap();
            let found = snapshots(&gzip(&value)).unwrap();
            assert_eq!(found.len(), count);
            for (name, info) in found {
                assert_eq!(
                    (name.as_str(), info.snapshot_id.as_str(), info.iops),
                    ("pv", "snap-1", Some(100))
                );
            }
        }
    }

    #[test]
    fn data_that_is_saved_elsewhere_is_named() {
        let info = json!([
            {"pvcName": "db", "pvcNamespace": "shop", "pvName": "pv-1", "backupMethod": "CSISnapshot"},
            {"pvcName": "left", "pvcNamespace": "shop", "skipped": true},
            {"pvcName": "disk", "pvcNamespace": "shop", "backupMethod": "NativeSnapshot"},
            {"backupMethod": "PodVolumeBackup",
                "pvbInfo": {"podNamespace": "shop", "podName": "web", "volumeName": "cache"}},
        ]);
        assert_eq!(
            volume_info(&gzip(&info)).unwrap(),
            [
                "shop/db (CSISnapshot)",
                "cache of pod shop/web (PodVolumeBackup)"
            ]
        );
        let copied =
            json!([{"spec": {"pod": {"namespace": "shop", "name": "web"}, "volume": "cache"}}]);
        assert_eq!(
            pod_volume_backups(&gzip(&copied)).unwrap(),
            ["cache of pod shop/web (PodVolumeBackup)"]
        );
        assert!(volume_info(&gzip(&json!(null))).unwrap().is_empty());
        assert!(volume_info(b"no gzip").is_err());
    }
}
