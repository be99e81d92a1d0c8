//! What requests may hold: the fields of `Disk` and `Snapshot` that are not read only, as version 2023-10-02 of the
//! definitions lists them.

use super::super::{Field, Kind, may, must};

const SKU: &[Field] = &[may("name", Kind::Text)];

const CREATION_DATA: &[Field] = &[
    must("createOption", Kind::Text),
    may("storageAccountId", Kind::Text),
    may("imageReference", Kind::Unknown),
    may("galleryImageReference", Kind::Unknown),
    may("sourceUri", Kind::Text),
    // "If createOption is Copy, this is the ARM id of the source": without it there is nothing to copy.
    must("sourceResourceId", Kind::Text),
    may("uploadSizeBytes", Kind::Number),
    may("logicalSectorSize", Kind::Number),
    may("securityDataUri", Kind::Text),
    may("performancePlus", Kind::Flag),
];

const ENCRYPTION: &[Field] = &[
    may("diskEncryptionSetId", Kind::Text),
    may("type", Kind::Text),
];

const DISK_PROPERTIES: &[Field] = &[
    may("osType", Kind::Text),
    may("hyperVGeneration", Kind::Text),
    may("purchasePlan", Kind::Unknown),
    may("supportedCapabilities", Kind::Unknown),
    must("creationData", Kind::Part(CREATION_DATA)),
    may("diskSizeGB", Kind::Number),
    may("encryptionSettingsCollection", Kind::Unknown),
    may("diskIOPSReadWrite", Kind::Number),
    may("diskMBpsReadWrite", Kind::Number),
    may("diskIOPSReadOnly", Kind::Number),
    may("diskMBpsReadOnly", Kind::Number),
    may("encryption", Kind::Part(ENCRYPTION)),
    may("maxShares", Kind::Number),
    may("networkAccessPolicy", Kind::Text),
    may("diskAccessId", Kind::Text),
    may("tier", Kind::Text),
    may("burstingEnabled", Kind::Flag),
    may("supportsHibernation", Kind::Flag),
    may("securityProfile", Kind::Unknown),
    may("completionPercent", Kind::Unknown),
    may("publicNetworkAccess", Kind::Text),
    may("dataAccessAuthMode", Kind::Text),
    may("optimizedForFrequentAttach", Kind::Flag),
];

const SNAPSHOT_PROPERTIES: &[Field] = &[
    may("osType", Kind::Text),
    may("hyperVGeneration", Kind::Text),
    may("purchasePlan", Kind::Unknown),
    may("supportedCapabilities", Kind::Unknown),
    must("creationData", Kind::Part(CREATION_DATA)),
    may("diskSizeGB", Kind::Number),
    may("encryptionSettingsCollection", Kind::Unknown),
    may("incremental", Kind::Flag),
    may("encryption", Kind::Part(ENCRYPTION)),
    may("networkAccessPolicy", Kind::Text),
    may("diskAccessId", Kind::Text),
    may("securityProfile", Kind::Unknown),
    may("supportsHibernation", Kind::Flag),
    may("publicNetworkAccess", Kind::Text),
    may("completionPercent", Kind::Unknown),
    may("copyCompletionError", Kind::Unknown),
    may("dataAccessAuthMode", Kind::Text),
];

pub const DISK: &[Field] = &[
    must("location", Kind::Text),
    may("tags", Kind::TextMap),
    may("sku", Kind::Part(SKU)),
    may("zones", Kind::Texts),
    may("extendedLocation", Kind::Unknown),
    must("properties", Kind::Part(DISK_PROPERTIES)),
];

pub const SNAPSHOT: &[Field] = &[
    must("location", Kind::Text),
    may("tags", Kind::TextMap),
    may("sku", Kind::Part(SKU)),
    may("extendedLocation", Kind::Unknown),
    must("properties", Kind::Part(SNAPSHOT_PROPERTIES)),
];
