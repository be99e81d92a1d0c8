//! What requests may hold: the fields of `Snapshot` and `Disk` that are not output only, as revision 20261106 of the
//! discovery document lists them.

use super::super::{Field, Kind, may, must};

/// `CustomerEncryptionKey`, of which keys that requests hold themselves are left out.
const KEY: &[Field] = &[
    may("kmsKeyName", Kind::Text),
    may("kmsKeyServiceAccount", Kind::Text),
];

pub const SNAPSHOT: &[Field] = &[
    may("chainName", Kind::Text),
    may("description", Kind::Text),
    may("guestFlush", Kind::Flag),
    may("labelFingerprint", Kind::Text),
    may("labels", Kind::TextMap),
    may("locationHint", Kind::Text),
    must("name", Kind::Text),
    may("params", Kind::Unknown),
    may("snapshotEncryptionKey", Kind::Part(KEY)),
    may("snapshotType", Kind::Text),
    // Not marked as required, but one of three sources has to be there; of a disk it is this one.
    must("sourceDisk", Kind::Text),
    may("sourceDiskEncryptionKey", Kind::Part(KEY)),
    may("sourceDiskForRecoveryCheckpoint", Kind::Text),
    may("sourceInstantSnapshot", Kind::Text),
    may("sourceInstantSnapshotEncryptionKey", Kind::Part(KEY)),
    may("storageLocations", Kind::Texts),
];

pub const DISK: &[Field] = &[
    may("accessMode", Kind::Text),
    may("architecture", Kind::Text),
    may("asyncPrimaryDisk", Kind::Unknown),
    may("description", Kind::Text),
    may("diskEncryptionKey", Kind::Part(KEY)),
    may("enableConfidentialCompute", Kind::Flag),
    may("guestOsFeatures", Kind::Unknown),
    may("labelFingerprint", Kind::Text),
    may("labels", Kind::TextMap),
    may("licenseCodes", Kind::Unknown),
    may("licenses", Kind::Texts),
    may("locationHint", Kind::Text),
    must("name", Kind::Text),
    may("options", Kind::Text),
    may("params", Kind::Unknown),
    may("physicalBlockSizeBytes", Kind::NumberText),
    may("provisionedIops", Kind::NumberText),
    may("provisionedThroughput", Kind::NumberText),
    may("replicaZones", Kind::Texts),
    may("resourcePolicies", Kind::Texts),
    may("sizeGb", Kind::NumberText),
    may("sourceDisk", Kind::Text),
    may("sourceImage", Kind::Text),
    may("sourceImageEncryptionKey", Kind::Part(KEY)),
    may("sourceInstantSnapshot", Kind::Text),
    may("sourceMachineImage", Kind::Text),
    may("sourceMachineImageDiskDeviceName", Kind::Text),
    may("sourceMachineImageEncryptionKey", Kind::Part(KEY)),
    may("sourceSnapshot", Kind::Text),
    may("sourceSnapshotEncryptionKey", Kind::Part(KEY)),
    may("sourceStorageObject", Kind::Text),
    may("storagePool", Kind::Text),
    may("type", Kind::Text),
];
