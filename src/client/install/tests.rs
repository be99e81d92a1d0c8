//! The committed manifests against the code that makes them.

use std::fs;
use std::path::Path;

use super::*;
use crate::api::{Config, DEFAULT_NAMESPACE};

const HEADER: &str = "\
# Made from the code; do not edit. To make it again: UPDATE_MANIFESTS=1 cargo test --lib manifests
";
const DEPLOYMENT_HEADER: &str = "\
# The image has no registry here: put yours in, or use `ark install --image IMAGE`, which applies the same objects.
";

fn check(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("manifests")
        .join(path);
    if std::env::var_os("UPDATE_MANIFESTS").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == expected,
        "manifests/{path} has drifted from the code; run `UPDATE_MANIFESTS=1 cargo test --lib manifests` and \
         commit the result"
    );
}

#[test]
fn manifests_match_the_code() {
    let common = prerequisites::common(DEFAULT_NAMESPACE).unwrap();
    check(
        "common/00-prereqs.yaml",
        &format!("{HEADER}{}", documents(&common).unwrap()),
    );
    let deployment = prerequisites::deployment(DEFAULT_NAMESPACE, prerequisites::DEFAULT_IMAGE);
    let deployment = format!(
        "{HEADER}{DEPLOYMENT_HEADER}{}",
        documents(&[deployment]).unwrap()
    );
    check("common/10-deployment.yaml", &deployment);
    // MinIO speaks the S3 protocol, so its server is the same.
    check("minio/20-ark-deployment.yaml", &deployment);
}

#[test]
fn manifests_of_the_config_can_be_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/minio/10-ark-config.yaml");
    let config: Config = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(config.name_any(), "default");
    let storage = config.spec.backup_storage_provider.clone();
    assert_eq!(
        (storage.name.as_str(), storage.bucket.as_str()),
        ("aws", "ark")
    );
    for key in ["region", "s3ForcePathStyle", "s3Url"] {
        assert!(storage.config.contains_key(key), "{key}");
    }
}

#[test]
fn every_object_is_labelled_and_in_the_namespace() {
    let mut objects = prerequisites::common("elsewhere").unwrap();
    objects.push(prerequisites::deployment("elsewhere", "example/ark:1"));
    assert_eq!(objects.len(), 10);
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["component"], "ark", "{object}");
    }
    let text = documents(&objects).unwrap();
    assert!(!text.contains(DEFAULT_NAMESPACE), "{text}");
    assert!(text.contains("image: example/ark:1"), "{text}");
    assert!(text.contains("name: ark-elsewhere"), "{text}");
}
