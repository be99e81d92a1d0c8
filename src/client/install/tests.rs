//! The committed manifests against the code that makes them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::*;
use crate::api::{
    BackupStorageLocation, Config, DEFAULT_NAMESPACE, VolumeSnapshotLocation, definitions,
};

/// Files that are written by hand: applications, and the chart's templates, which the cluster tests compare with the
/// rest.
const BY_HAND: [&str; 10] = [
    "chart/ark/templates/NOTES.txt",
    "chart/ark/templates/_helpers.tpl",
    "chart/ark/templates/locations.yaml",
    "chart/ark/templates/rights.yaml",
    "chart/ark/templates/server.yaml",
    "chart/ark/values.schema.json",
    "chart/ark/values.yaml",
    "minio/00-minio-deployment.yaml",
    "nginx-app/base.yaml",
    "nginx-app/with-pv.yaml",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

fn read_file(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

fn objects_of<T: serde::de::DeserializeOwned>(path: &str) -> Vec<T> {
    let documents: Vec<Option<T>> = serde_saphyr::from_multiple(&read_file(path)).unwrap();
    documents.into_iter().flatten().collect()
}

#[test]
fn manifests_match_the_code() {
    let update = std::env::var_os("UPDATE_MANIFESTS").is_some();
    let mut expected: BTreeSet<String> = BY_HAND.map(str::to_owned).into();
    let mut drifted = Vec::new();
    for file in manifests::files() {
        let target = root().join(&file.path);
        if update {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(&target, &file.text).unwrap();
        }
        if read_file(&file.path) != file.text {
            drifted.push(file.path.clone());
        }
        assert!(expected.insert(file.path.clone()), "{} twice", file.path);
    }
    assert!(
        drifted.is_empty(),
        "{drifted:?} of manifests/ have drifted from the code; run `make manifests` and commit the result"
    );
    let mut found = BTreeSet::new();
    walk(&root(), &mut found);
    assert_eq!(
        found, expected,
        "manifests/ holds other files than those that the code makes and those named here"
    );
}

fn walk(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            let relative = path.strip_prefix(root()).unwrap();
            found.insert(relative.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn committed_settings_can_be_read() {
    for (folder, config, provider, keys) in [
        ("aws", "00", "aws", &["region"][..]),
        ("azure", "10", "azure", &["resourceGroup", "storageAccount"]),
        ("gcp", "00", "gcp", &[]),
        ("ibm", "00", "aws", &["region", "s3ForcePathStyle", "s3Url"]),
        (
            "minio",
            "10",
            "aws",
            &["region", "s3ForcePathStyle", "s3Url"],
        ),
    ] {
        let configs: Vec<Config> = objects_of(&format!("{folder}/{config}-ark-config.yaml"));
        let [config] = configs.try_into().unwrap();
        assert_eq!(config.name_any(), "default");
        let storage = &config.spec.backup_storage_provider;
        assert_eq!(storage.name, provider, "{folder}");
        assert_eq!(storage.config.keys().collect::<Vec<_>>(), keys, "{folder}");

        let locations: Vec<BackupStorageLocation> =
            objects_of(&format!("{folder}/05-ark-backupstoragelocation.yaml"));
        let [location] = locations.try_into().unwrap();
        assert_eq!(location.name_any(), "default");
        assert_eq!(location.spec.store(), *storage, "{folder}");

        let snapshots = format!("{folder}/06-ark-volumesnapshotlocation.yaml");
        if let Some(in_config) = &config.spec.persistent_volume_provider {
            let locations: Vec<VolumeSnapshotLocation> = objects_of(&snapshots);
            let [location] = locations.try_into().unwrap();
            assert_eq!(location.name_any(), format!("{folder}-default"));
            assert_eq!(location.spec.provider, in_config.name, "{folder}");
            assert_eq!(location.spec.config, in_config.config, "{folder}");
        } else {
            assert!(!root().join(snapshots).exists(), "{folder}");
        }
    }
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    install: InstallArgs,
}

fn planned(namespace: &str, flags: &[&str]) -> anyhow::Result<Vec<Value>> {
    let cli = Cli::try_parse_from(["ark"].iter().chain(flags))?;
    objects(namespace, &cli.install).map(|(_, objects)| objects)
}

/// Returns `Kind name` of each object.
fn names(objects: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    objects
        .iter()
        .map(|object| {
            format!(
                "{} {}",
                text(&object["kind"]),
                text(&object["metadata"]["name"])
            )
        })
        .collect()
}

#[test]
fn every_object_is_labelled_and_in_the_namespace() {
    for profile in ["full", "backup-only"] {
        let flags = ["--rbac", profile, "--image", "example/ark:1"];
        let objects = planned("elsewhere", &flags).unwrap();
        for object in &objects {
            assert_eq!(object["metadata"]["labels"]["component"], OURS, "{object}");
        }
        let text = documents(&objects).unwrap();
        assert!(!text.contains(DEFAULT_NAMESPACE), "{text}");
        assert!(text.contains("image: example/ark:1"), "{text}");
        assert!(text.contains("name: ark-elsewhere"), "{text}");
    }
}

#[test]
fn types_have_no_format_that_the_api_server_warns_about() {
    let text = documents(&prerequisites::types().unwrap()).unwrap();
    let known = ["date-time", "int32", "int64", "double"];
    let formats = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("format: "));
    let unknown: BTreeSet<&str> = formats.filter(|format| !known.contains(format)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn profiles_share_no_name() {
    for namespace in [DEFAULT_NAMESPACE, "elsewhere", "backup-only"] {
        let full = names(&rights::objects(namespace, Profile::Full));
        let backup_only = names(&rights::objects(namespace, Profile::BackupOnly));
        assert!(
            full.iter().all(|name| !backup_only.contains(name)),
            "{full:?} {backup_only:?}"
        );
    }
    let all: BTreeSet<String> = [DEFAULT_NAMESPACE, "elsewhere", "backup-only"]
        .iter()
        .flat_map(|namespace| {
            [Profile::Full, Profile::BackupOnly]
                .map(|profile| names(&rights::objects(namespace, profile)))
        })
        .flatten()
        .filter(|name| name.starts_with("Cluster"))
        .collect();
    assert_eq!(all.len(), 9, "two installations share an object: {all:?}");
}

#[cfg(feature = "aws")]
#[test]
fn a_snapshot_location_comes_with_its_settings() {
    for (flag, config) in [
        ("--snapshot-location-config", serde_json::json!(null)),
        (
            "--snapshot-location-config=region=r",
            serde_json::json!({"region": "r"}),
        ),
    ] {
        let objects = planned("n", &["--provider=aws", "--bucket=b", flag]).unwrap();
        let location = objects
            .iter()
            .find(|object| object["kind"] == "VolumeSnapshotLocation");
        let spec = &location.unwrap()["spec"];
        assert_eq!(
            (&spec["provider"], &spec["config"]),
            (&serde_json::json!("aws"), &config)
        );
    }
    assert!(planned("n", &["--snapshot-location-config"]).is_err());
    let objects = planned("n", &["--provider=aws", "--bucket=b"]).unwrap();
    assert!(!names(&objects).contains(&"VolumeSnapshotLocation default".to_owned()));
}

#[test]
fn a_location_is_installed_with_its_secret() {
    let types = definitions().len();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    fs::write(&file, "[default]\n").unwrap();
    let flags = [
        "--provider=aws",
        "--bucket=b",
        "--prefix=/a/b/",
        "--config=region=r,s3Url=http://minio:9000",
        "--secret-file",
        file.to_str().unwrap(),
    ];
    let objects = planned("n", &flags).unwrap();
    assert_eq!(
        names(&objects)[types..],
        [
            "Namespace n",
            "ServiceAccount ark",
            "ClusterRoleBinding ark-n",
            "Secret cloud-credentials",
            "BackupStorageLocation default",
            "Deployment ark",
        ]
    );
    let secret = &objects[types + 3];
    assert_eq!(
        secret["data"],
        serde_json::json!({ "cloud": "W2RlZmF1bHRdCg==" })
    );
    let spec = &objects[types + 4]["spec"];
    assert_eq!(
        *spec,
        serde_json::json!({
            "provider": "aws",
            "config": { "region": "r", "s3Url": "http://minio:9000" },
            "objectStorage": { "bucket": "b", "prefix": "a/b" },
        })
    );
    let without = planned("n", &["--provider=aws", "--bucket=b", "--no-secret"]).unwrap();
    let server = documents(&without[types + 4..]).unwrap();
    assert!(!server.contains("credentials"), "{server}");
}

#[test]
fn locations_that_cannot_work_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    for (flags, expected) in [
        (
            &["--bucket=b"][..],
            "--bucket without --provider: name the store's provider",
        ),
        (&["--secret-file=f"], "--secret-file without --provider"),
        (&["--provider=aws"], "--provider without --bucket"),
        (
            &["--provider=aws", "--bucket="],
            "--provider without --bucket",
        ),
        (
            &["--provider=s3", "--bucket=b"],
            "--provider s3: this version of ark does not have it",
        ),
        (&["--provider=glacier", "--bucket=b"], "it can be aws"),
        (
            &["--provider=local", "--bucket=b"],
            "would go with the server's pod",
        ),
        (
            &["--provider=aws", "--bucket=b/c"],
            "write --bucket b --prefix c",
        ),
        (
            &["--provider=aws", "--bucket=b", "--config=region"],
            "--config: cannot read \"region\"",
        ),
        (
            &[
                "--provider=aws",
                "--bucket=b",
                "--secret-file",
                "/nonexistent/f",
            ],
            "reading the credentials in /nonexistent/f",
        ),
        (
            &[
                "--provider=aws",
                "--bucket=b",
                "--secret-file",
                empty.to_str().unwrap(),
            ],
            "is empty",
        ),
        (&["--image=two words", "--bucket=b"], "is not an image"),
    ] {
        let problem = format!("{:#}", planned("n", flags).unwrap_err());
        assert!(problem.contains(expected), "{flags:?}: {problem}");
    }
}
