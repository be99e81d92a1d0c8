//! What the manifests of each cloud say: the table behind `manifests/<cloud>/`. Words in `<...>` are for the reader to
//! replace.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::location::Location;
use super::server::{Credentials, DEFAULT_IMAGE, Server};
use crate::api::{
    Config, ConfigFields, DEFAULT_NAMESPACE, StorageProviderConfig, VolumeProviderConfig,
};

/// One folder of manifests.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) folder: &'static str,
    /// The number before `-ark-config.yaml`.
    pub(super) config_number: &'static str,
    /// The Deployment's file.
    pub(super) deployment_file: &'static str,
    provider: &'static str,
    bucket: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// The settings of the provider of volume snapshots, if there is one.
    snapshots: Option<&'static [(&'static str, &'static str)]>,
    /// How often backups, expiry and schedules are looked at.
    periods: [&'static str; 3],
    /// What to know of the store, for the head of the files about it.
    pub(super) store_notes: &'static [&'static str],
    /// What to know of the credentials, for the head of the Deployment.
    pub(super) credential_notes: &'static [&'static str],
}

const CALM: [&str; 3] = ["30m", "30m", "1m"];

pub(super) const CLOUDS: [Cloud; 5] = [
    Cloud {
        folder: "aws",
        config_number: "00",
        deployment_file: "10-deployment.yaml",
        provider: "aws",
        bucket: "<YOUR_BUCKET>",
        settings: &[("region", "<YOUR_REGION>")],
        snapshots: Some(&[("region", "<YOUR_REGION>")]),
        periods: CALM,
        store_notes: &["Put your bucket and its region in."],
        credential_notes: &[
            "The credentials, before this:",
            "  kubectl create secret generic cloud-credentials -n heptio-ark --from-file cloud=$HOME/.aws/credentials",
        ],
    },
    Cloud {
        folder: "azure",
        config_number: "10",
        deployment_file: "00-ark-deployment.yaml",
        provider: "azure",
        bucket: "<YOUR_BUCKET>",
        settings: &[
            ("resourceGroup", "<YOUR_STORAGE_RESOURCE_GROUP>"),
            ("storageAccount", "<YOUR_STORAGE_ACCOUNT>"),
        ],
        snapshots: Some(&[("apiTimeout", "2m")]),
        periods: CALM,
        store_notes: &[
            "Put your blob container, its storage account and the account's resource group in.",
            "Where ark was built without an azure store, the object's status says so and nothing is stored.",
        ],
        credential_notes: &[
            "The credentials, before this; each key becomes a variable of the server:",
            "  kubectl create secret generic cloud-credentials -n heptio-ark \\",
            "    --from-literal AZURE_SUBSCRIPTION_ID=... --from-literal AZURE_TENANT_ID=... \\",
            "    --from-literal AZURE_RESOURCE_GROUP=... --from-literal AZURE_CLIENT_ID=... \\",
            "    --from-literal AZURE_CLIENT_SECRET=...",
        ],
    },
    Cloud {
        folder: "gcp",
        config_number: "00",
        deployment_file: "10-deployment.yaml",
        provider: "gcp",
        bucket: "<YOUR_BUCKET>",
        settings: &[],
        snapshots: Some(&[]),
        periods: CALM,
        store_notes: &[
            "Put your bucket in.",
            "Where ark was built without a gcp store, the object's status says so and nothing is stored.",
        ],
        credential_notes: &[
            "The credentials, before this, as the JSON key of a service account:",
            "  kubectl create secret generic cloud-credentials -n heptio-ark --from-file cloud=credentials-ark.json",
        ],
    },
    Cloud {
        folder: "ibm",
        config_number: "00",
        deployment_file: "10-deployment.yaml",
        provider: "aws",
        bucket: "<YOUR_BUCKET>",
        settings: &[
            ("region", "<YOUR_REGION>"),
            ("s3ForcePathStyle", "true"),
            ("s3Url", "<YOUR_URL_ACCESS_POINT>"),
        ],
        snapshots: None,
        periods: CALM,
        store_notes: &[
            "IBM Cloud Object Storage, and other clouds' servers that speak S3: put your bucket, its region and the",
            "server's address (https://...) in.",
        ],
        credential_notes: &[
            "The credentials, before this, as HMAC keys in the form of an AWS credentials file:",
            "  kubectl create secret generic cloud-credentials -n heptio-ark --from-file cloud=credentials-ark",
        ],
    },
    Cloud {
        folder: "minio",
        config_number: "10",
        deployment_file: "20-ark-deployment.yaml",
        provider: "aws",
        bucket: "ark",
        settings: &[
            ("region", "minio"),
            ("s3ForcePathStyle", "true"),
            ("s3Url", "http://minio.heptio-ark.svc:9000"),
        ],
        snapshots: None,
        // Short ones, to see something happen.
        periods: ["1m", "1m", "1m"],
        store_notes: &["The bucket that 00-minio-deployment.yaml makes."],
        credential_notes: &["The credentials come with 00-minio-deployment.yaml."],
    },
];

impl Cloud {
    /// Returns how the server gets this cloud's credentials.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::of_provider(self.provider)
    }

    /// Returns the settings as Ark had them up to 0.9.
    pub(super) fn config(&self) -> Value {
        let [sync, expiry, schedules] = self.periods.map(|period| Some(period.to_owned()));
        let mut config = Config::new(
            "default",
            ConfigFields {
                persistent_volume_provider: self.snapshots.map(|settings| VolumeProviderConfig {
                    name: self.provider.to_owned(),
                    config: map(settings),
                }),
                backup_storage_provider: StorageProviderConfig {
                    name: self.provider.to_owned(),
                    bucket: self.bucket.to_owned(),
                    config: map(self.settings),
                    restic_location: None,
                },
                backup_sync_period: sync,
                gc_sync_period: expiry,
                schedule_sync_period: schedules,
                ..ConfigFields::default()
            },
        );
        config.metadata = metadata("default");
        serde_json::to_value(config).unwrap()
    }

    fn place(&self) -> Location {
        Location {
            provider: self.provider.to_owned(),
            bucket: self.bucket.to_owned(),
            prefix: String::new(),
            config: map(self.settings),
            snapshots: self.snapshots.map(map),
        }
    }

    /// Returns where backups go, as Ark has it since 0.10.
    pub(super) fn location(&self) -> Value {
        self.place().object(DEFAULT_NAMESPACE).unwrap()
    }

    /// Returns where volume snapshots go, as Ark has it since 0.10.
    pub(super) fn snapshot_location(&self) -> Option<Value> {
        let name = format!("{}-default", self.folder);
        self.place()
            .snapshots_object(&name, DEFAULT_NAMESPACE)
            .unwrap()
    }

    /// Returns the server.
    pub(super) fn deployment(&self) -> Value {
        Server {
            namespace: DEFAULT_NAMESPACE,
            image: DEFAULT_IMAGE,
            credentials: self.credentials(),
            annotations: &[],
        }
        .deployment()
    }
}

/// Returns the server that gets its role from kube2iam.
pub(super) fn kube2iam() -> Value {
    Server {
        namespace: DEFAULT_NAMESPACE,
        image: DEFAULT_IMAGE,
        credentials: Credentials::Identity,
        annotations: &[(
            "iam.amazonaws.com/role",
            "arn:aws:iam::<YOUR_ACCOUNT_ID>:role/<YOUR_ROLE>",
        )],
    }
    .deployment()
}

/// Returns the operations that make the base's Deployment into this one, as a JSON patch.
///
/// What differs is how credentials get in, which is in these four lists.
pub(super) fn patch(base: &Value, wanted: &Value) -> Vec<Value> {
    let lists = [
        "/spec/template/spec/containers/0/env",
        "/spec/template/spec/containers/0/envFrom",
        "/spec/template/spec/containers/0/volumeMounts",
        "/spec/template/spec/volumes",
    ];
    lists
        .into_iter()
        .filter(|path| base.pointer(path) != wanted.pointer(path))
        .map(|path| match wanted.pointer(path) {
            Some(value) => json!({ "op": "add", "path": path, "value": value }),
            None => json!({ "op": "remove", "path": path }),
        })
        .collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn metadata(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(DEFAULT_NAMESPACE.to_owned()),
        labels: Some([("component".to_owned(), "ark".to_owned())].into()),
        ..ObjectMeta::default()
    }
}
