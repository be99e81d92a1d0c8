//! The files of `manifests/` that come from the code, as they have to be.

use serde_json::{Value, json};

use super::clouds::{self, CLOUDS, Cloud};
use super::rights::{self, Profile};
use super::server::{Credentials, DEFAULT_IMAGE, Server};
use super::{documents, output, prerequisites};
use crate::api::DEFAULT_NAMESPACE;

const HEADER: &str = "# Comes from the code. To change it in this repository: change the code, then make manifests\n";
const IMAGE_NOTE: &str = "The image has no registry here: put yours in.";
const COMPLETE: &str = "Ark's types, namespace, account and rights.";

/// A file below `manifests/`.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    fn new(path: impl Into<String>, notes: &[&str], objects: &[Value]) -> Self {
        Self::with_body(path, notes, &documents(objects).unwrap())
    }

    /// Makes a file that holds one value, which is no object of a cluster.
    fn plain(path: impl Into<String>, notes: &[&str], value: &Value) -> Self {
        Self::with_body(path, notes, &output::yaml(value).unwrap())
    }

    fn with_body(path: impl Into<String>, notes: &[&str], body: &str) -> Self {
        let mut text = HEADER.to_owned();
        for note in notes {
            text += "# ";
            text += note;
            text += "\n";
        }
        text += body;
        Self {
            path: path.into(),
            text,
        }
    }
}

/// Returns all files that come from the code.
pub(super) fn files() -> Vec<File> {
    let mut files = common();
    files.extend(CLOUDS.iter().flat_map(cloud));
    files.push(File::new(
        "aws/10-deployment-kube2iam.yaml",
        &[
            "Instead of 10-deployment.yaml, where kube2iam or kiam gives pods the role that an annotation names: no Secret.",
            "On EKS the account has the role (IRSA). Take 10-deployment.yaml, make no Secret, and say which role:",
            "  kubectl annotate serviceaccount ark -n heptio-ark \\",
            "    'eks.amazonaws.com/role-arn=arn:aws:iam::<YOUR_ACCOUNT_ID>:role/<YOUR_ROLE>'",
            IMAGE_NOTE,
        ],
        &[clouds::kube2iam()],
    ));
    files.extend(kustomize());
    files.extend(chart());
    files
}

fn deployment() -> Value {
    Server {
        namespace: DEFAULT_NAMESPACE,
        image: DEFAULT_IMAGE,
        credentials: Credentials::of_provider(""),
        annotations: &[],
    }
    .deployment()
}

fn common() -> Vec<File> {
    let prerequisites = |profile| prerequisites::common(DEFAULT_NAMESPACE, profile).unwrap();
    vec![
        File::new(
            "common/00-prereqs.yaml",
            &[
                COMPLETE,
                "The account may do anything: a restore creates whatever was stored.",
                "For a server that makes backups only, take 00-prereqs-backup-only.yaml instead.",
            ],
            &prerequisites(Profile::Full),
        ),
        File::new(
            "common/00-prereqs-backup-only.yaml",
            &[
                COMPLETE,
                "The account may read everything, Secrets too, and write nothing outside of Ark's own namespace: the API server",
                "refuses what a restore would create. For hooks it may run commands in pods; without hooks, remove the rule",
                "for pods/exec. Where 00-prereqs.yaml was applied before, take its rights back:",
                "  kubectl delete clusterrolebinding ark",
            ],
            &prerequisites(Profile::BackupOnly),
        ),
        File::new("common/10-deployment.yaml", &[IMAGE_NOTE], &[deployment()]),
        kustomization(
            "common",
            &[
                "What manifests/kustomize/base stands for; it is here since kustomize reads no files of other folders.",
            ],
            &json!({ "resources": ["00-prereqs.yaml", "10-deployment.yaml"] }),
        ),
    ]
}

fn cloud(cloud: &Cloud) -> Vec<File> {
    let path = |file: &str| format!("{}/{file}", cloud.folder);
    let config_file = format!("{}-ark-config.yaml", cloud.config_number);
    let instead_of_locations = format!(
        "Where backups go, as Ark had it up to 0.9. Apply this or 05-ark-backupstoragelocation.yaml{}, not both.",
        if cloud.snapshot_location().is_some() {
            " and 06"
        } else {
            ""
        }
    );
    let instead_of_config = format!(
        "Where backups go, as Ark has it since 0.10. Apply this or {config_file}, not both."
    );
    let deployment_notes = [cloud.credential_notes, &[IMAGE_NOTE]].concat();
    let mut files = vec![
        File::new(
            path(&config_file),
            &[&[instead_of_locations.as_str()], cloud.store_notes].concat(),
            &[cloud.config()],
        ),
        File::new(
            path("05-ark-backupstoragelocation.yaml"),
            &[&[instead_of_config.as_str()], cloud.store_notes].concat(),
            &[cloud.location()],
        ),
        File::new(
            path(cloud.deployment_file),
            &deployment_notes,
            &[cloud.deployment()],
        ),
    ];
    files.extend(cloud.snapshot_location().map(|location| {
        File::new(
            path("06-ark-volumesnapshotlocation.yaml"),
            &["Where snapshots of volumes go. Goes with 05-ark-backupstoragelocation.yaml."],
            &[location],
        )
    }));
    files
}

fn kustomize() -> Vec<File> {
    let mut files = vec![
        kustomization(
            "kustomize/base",
            &["Ark with all rights and without a location."],
            &json!({ "resources": ["../../common"] }),
        ),
        File::new(
            "kustomize/components/backup-only/rights.yaml",
            &["Instead of the binding to cluster-admin; see common/00-prereqs-backup-only.yaml."],
            &rights::objects(DEFAULT_NAMESPACE, Profile::BackupOnly),
        ),
        File::plain(
            "kustomize/components/backup-only/kustomization.yaml",
            &["Add it under `components` to take the right to write away."],
            &json!({
                "apiVersion": "kustomize.config.k8s.io/v1alpha1",
                "kind": "Component",
                "resources": ["rights.yaml"],
                "patches": rights::objects(DEFAULT_NAMESPACE, Profile::Full).iter().map(|object| {
                    json!({ "patch": output::yaml(&json!({
                        "$patch": "delete",
                        "apiVersion": object["apiVersion"],
                        "kind": object["kind"],
                        "metadata": { "name": object["metadata"]["name"] },
                    })).unwrap() })
                }).collect::<Vec<_>>(),
            }),
        ),
        kustomization(
            "kustomize/overlays/backup-only",
            &["Ark for backups only, without a location."],
            &json!({
                "resources": ["../../base"],
                "components": ["../../components/backup-only"],
            }),
        ),
    ];
    for cloud in &CLOUDS {
        let folder = format!("kustomize/overlays/{}", cloud.folder);
        let mut locations = vec![cloud.location()];
        locations.extend(cloud.snapshot_location());
        files.push(File::new(
            format!("{folder}/locations.yaml"),
            cloud.store_notes,
            &locations,
        ));
        let mut content = json!({ "resources": ["../../base", "locations.yaml"] });
        let patch = clouds::patch(&deployment(), &cloud.deployment());
        if !patch.is_empty() {
            content["patches"] = json!([{
                "path": "deployment.yaml",
                "target": { "kind": "Deployment", "name": "ark" },
            }]);
            files.push(File::plain(
                format!("{folder}/deployment.yaml"),
                &["How the credentials get in."],
                &Value::Array(patch),
            ));
        }
        files.push(kustomization(&folder, cloud.credential_notes, &content));
    }
    files
}

fn kustomization(folder: &str, notes: &[&str], content: &Value) -> File {
    let mut value = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
    });
    for (key, part) in content.as_object().unwrap() {
        value[key] = part.clone();
    }
    File::plain(format!("{folder}/kustomization.yaml"), notes, &value)
}

/// Returns the generated part of the Helm chart. Its templates are written by hand and compared with the rest, by Helm
/// itself, in the cluster tests.
fn chart() -> Vec<File> {
    let version = env!("CARGO_PKG_VERSION");
    let mut files = vec![File::plain(
        "chart/ark/Chart.yaml",
        &[],
        &json!({
            "apiVersion": "v2",
            "name": "ark",
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "type": "application",
            "version": version,
            "appVersion": version,
        }),
    )];
    for definition in prerequisites::types().unwrap() {
        let name = definition["spec"]["names"]["plural"]
            .as_str()
            .unwrap()
            .to_owned();
        files.push(File::new(
            format!("chart/ark/crds/{name}.yaml"),
            &[],
            &[definition],
        ));
    }
    files
}
