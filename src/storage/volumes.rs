//! What the records of a backup, and the files beside them, say of the data of its volumes.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::keys::{BackupKeys, Layout, PartKind};
use super::{Location, MAX_SMALL, Record, StorageError};
use crate::api::CSI_PROVIDER as CSI;
use crate::api::{VolumeSnapshot, VolumeSnapshotPhase, VolumeSnapshotSpec, VolumeSnapshotStatus};

/// What Velero keeps of every volume since 1.13.
const VOLUME_INFO: &str = "-volumeinfo.json.gz";
/// What it keeps of copies that were made in pods.
const POD_VOLUME_BACKUPS: &str = "-podvolumebackups.json.gz";

impl Location {
    /// Returns what a backup did with each of its volumes, as its record says, or the file beside it. What others wrote
    /// names only those that they snapshot.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`] if the file is none.
    pub async fn volume_snapshots(
        &self,
        record: &Record,
    ) -> Result<Vec<VolumeSnapshot>, StorageError> {
        let status = record.backup.status.as_ref();
        let early = status.map(|status| &status.volume_backups);
        if let Some(early) = early.filter(|early| !early.is_empty()) {
            let of_early = early
                .iter()
                .map(|(volume, info)| VolumeSnapshot::of_early(volume, info));
            return Ok(of_early.collect());
        }
        let mut volumes = Vec::new();
        if let Some((key, _)) = record.part_key(PartKind::VolumeSnapshots) {
            match self.small(&key).await? {
                Some(bytes) => {
                    let read = entries::<VolumeSnapshot>(&bytes);
                    volumes = read.map_err(|problem| StorageError::Unreadable { key, problem })?;
                }
                // None was taken. Of our own backups the record names the file only if there is one.
                None if record.is_foreign() => {}
                None => return Err(StorageError::PartMissing { key }),
            }
        }
        if record.layout == Layout::Velero {
            let key = velero_file(record, VOLUME_INFO)?;
            if let Some(bytes) = self.read_small(&key).await? {
                let infos = entries::<VolumeInfo>(&bytes)
                    .map_err(|problem| StorageError::Unreadable { key, problem })?;
                volumes.extend(infos.iter().filter_map(VolumeInfo::csi_snapshot));
            }
        }
        Ok(volumes)
    }

    /// Returns the volumes whose data Velero saved in a way that is not read here, each with the way.
    ///
    /// # Errors
    /// [`StorageError::Unreadable`] if the file is none.
    pub async fn data_elsewhere(&self, record: &Record) -> Result<Vec<String>, StorageError> {
        if record.layout != Layout::Velero {
            return Ok(Vec::new());
        }
        for (suffix, read) in [
            (VOLUME_INFO, volume_info as fn(&[u8]) -> _),
            (POD_VOLUME_BACKUPS, pod_volume_backups),
        ] {
            let key = velero_file(record, suffix)?;
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

/// Returns the key of a file that Velero keeps beside its record.
fn velero_file(record: &Record, suffix: &str) -> Result<String, StorageError> {
    let name = record.backup.metadata.name.as_deref().unwrap_or_default();
    Ok(BackupKeys::new(name)?.beside(suffix))
}

/// What Velero says of a volume.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeInfo {
    pvc_namespace: String,
    pvc_name: String,
    pv_name: String,
    backup_method: String,
    skipped: bool,
    snapshot_data_moved: bool,
    csi_snapshot_info: Option<CsiSnapshotInfo>,
    pvb_info: Option<Copied>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CsiSnapshotInfo {
    snapshot_handle: String,
    driver: String,
    size: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Copied {
    pod_namespace: String,
    pod_name: String,
    volume_name: String,
}

impl VolumeInfo {
    /// Returns its snapshot by a CSI driver, if that is where its data is.
    fn csi_snapshot(&self) -> Option<VolumeSnapshot> {
        let info = self.csi_snapshot_info.as_ref().filter(|info| {
            self.backup_method == "CSISnapshot"
                && !self.skipped
                && !self.snapshot_data_moved
                && !info.snapshot_handle.is_empty()
                && !info.driver.is_empty()
        })?;
        Some(VolumeSnapshot {
            spec: VolumeSnapshotSpec {
                provider: CSI.to_owned(),
                persistent_volume_name: self.pv_name.clone(),
                claim: format!("{}/{}", self.pvc_namespace, self.pvc_name),
                ..VolumeSnapshotSpec::default()
            },
            status: VolumeSnapshotStatus {
                provider_snapshot_id: format!("{}/{}", info.driver, info.snapshot_handle),
                phase: VolumeSnapshotPhase::Completed,
                size: info.size.filter(|size| *size > 0),
                ..VolumeSnapshotStatus::default()
            },
        })
    }

    /// Returns the volume and how its data was saved, if that is not read here.
    fn elsewhere(&self) -> Option<String> {
        if self.skipped
            || matches!(&*self.backup_method, "" | "NativeSnapshot")
            || self.csi_snapshot().is_some()
        {
            return None;
        }
        let of = match &self.pvb_info {
            Some(pod) if self.pvc_name.is_empty() => {
                format!(
                    "{} of pod {}/{}",
                    pod.volume_name, pod.pod_namespace, pod.pod_name
                )
            }
            _ if self.pvc_name.is_empty() => self.pv_name.clone(),
            _ => format!("{}/{}", self.pvc_namespace, self.pvc_name),
        };
        Some(format!("{of} ({})", self.backup_method))
    }
}

/// Returns the volumes that Velero saved in a way that is not read here.
fn volume_info(gzip: &[u8]) -> Result<Vec<String>, String> {
    let infos = entries::<VolumeInfo>(gzip)?;
    Ok(infos.iter().filter_map(VolumeInfo::elsewhere).collect())
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
            {"spec":{"persistentVolumeName":"failed","volumeAZ":null},"status":{"phase":"Failed"}}]"#;
        for (text, expected) in [
            (text, &[("pv", "snap-1", true), ("failed", "", false)][..]),
            ("null", &[]),
        ] {
            let value = serde_json::from_str(text).unwrap();
            let found = entries::<VolumeSnapshot>(&gzip(&value)).unwrap();
            let seen: Vec<_> = found
                .iter()
                .map(|one| {
                    let volume = one.spec.persistent_volume_name.as_str();
                    let snapshot = one.status.provider_snapshot_id.as_str();
                    (volume, snapshot, one.has_data())
                })
                .collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn data_that_is_saved_elsewhere_is_named() {
        let info = json!([
            {"pvcName": "moved", "pvcNamespace": "shop", "backupMethod": "CSISnapshot", "snapshotDataMoved": true,
                "csiSnapshotInfo": {"snapshotHandle": "h", "driver": "d.example.org"}},
            {"pvcName": "db", "pvcNamespace": "shop", "pvName": "pv-1", "backupMethod": "CSISnapshot",
                "csiSnapshotInfo": {"snapshotHandle": "h", "driver": "d.example.org", "size": 5}},
            {"pvcName": "left", "pvcNamespace": "shop", "skipped": true},
            {"pvcName": "disk", "pvcNamespace": "shop", "backupMethod": "NativeSnapshot"},
            {"backupMethod": "PodVolumeBackup",
                "pvbInfo": {"podNamespace": "shop", "podName": "web", "volumeName": "cache"}},
        ]);
        assert_eq!(
            volume_info(&gzip(&info)).unwrap(),
            [
                "shop/moved (CSISnapshot)",
                "cache of pod shop/web (PodVolumeBackup)"
            ]
        );
        let infos = entries::<VolumeInfo>(&gzip(&info)).unwrap();
        let snapshots: Vec<_> = infos.iter().filter_map(VolumeInfo::csi_snapshot).collect();
        assert_eq!(snapshots.len(), 1);
        let VolumeSnapshot { spec, status } = &snapshots[0];
        assert_eq!((&*spec.claim, status.size), ("shop/db", Some(5)));
        assert_eq!(status.provider_snapshot_id, "d.example.org/h");
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
