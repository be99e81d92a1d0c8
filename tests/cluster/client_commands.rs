//! Commands of the client against an API server. No server of Ark runs, so objects stay as the commands leave them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use ark::api::{Backup, BackupSpec, DeleteBackupRequest, Restore, RestoreSpec, Schedule, labels};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{PodSpec, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use serde_json::{Value, json};

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::objects::apply_yaml;
use crate::support::{PATIENCE, unique_name, wait_until};

async fn installed() -> Result<Installation<'static>> {
    let plane = ControlPlane::shared().await;
    Installation::without_config(plane, Store::local(plane)?).await
}

/// Makes a backup that nobody carries out.
async fn make_backup(ark: &Installation<'_>, name: &str, label: (&str, &str)) -> Result<()> {
    let mut backup = Backup::new(name, BackupSpec::default());
    backup
        .labels_mut()
        .insert(label.0.to_owned(), label.1.to_owned());
    let backups: Api<Backup> = ark.api();
    backups.create(&PostParams::default(), &backup).await?;
    Ok(())
}

/// Makes a restore that nobody carries out.
async fn make_restore(ark: &Installation<'_>, name: &str, label: (&str, &str)) -> Result<()> {
    let spec = RestoreSpec {
        backup_name: "b".into(),
        ..RestoreSpec::default()
    };
    let mut restore = Restore::new(name, spec);
    restore
        .labels_mut()
        .insert(label.0.to_owned(), label.1.to_owned());
    let restores: Api<Restore> = ark.api();
    restores.create(&PostParams::default(), &restore).await?;
    Ok(())
}

/// Runs `ark` with an answer to its question, and returns standard output, standard error and the exit code.
fn answered(ark: &Installation<'_>, args: &[&str], answer: &str) -> Result<(String, String, i32)> {
    let mut child = ark
        .command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("a pipe")?
        .write_all(answer.as_bytes())?;
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output()?;
    Ok((
        String::from_utf8(stdout)?,
        String::from_utf8(stderr)?,
        status.code().context("an exit code")?,
    ))
}

async fn restores_left(ark: &Installation<'_>) -> Result<Vec<String>> {
    let restores: Api<Restore> = ark.api();
    let left = restores.list(&ListParams::default()).await?;
    Ok(left.iter().map(ResourceExt::name_any).collect())
}

#[tokio::test]
async fn deletions_are_asked_for_and_all_are_tried() -> Result<()> {
    let ark = installed().await?;
    for (name, tier) in [("a", "web"), ("b", "web"), ("c", "db"), ("d", "db")] {
        make_restore(&ark, name, ("tier", tier)).await?;
    }
    // Without an answer nothing happens, and that is no error.
    for answer in ["n\n", "N\n", "", "maybe\nn\n"] {
        let (out, err, code) = answered(&ark, &["restore", "delete", "a", "b"], answer)?;
        assert!(out.contains("the records of: a, b."), "{out}");
        assert!(out.ends_with("Nothing has been deleted.\n"), "{out}");
        assert_eq!((err.as_str(), code), ("", 0), "{answer:?}");
    }
    assert_eq!(restores_left(&ark).await?, ["a", "b", "c", "d"]);

    let (out, err, code) = answered(&ark, &["restore", "delete", "nothing", "a", "a"], "y\n")?;
    assert!(
        out.contains("To be passed over: restore \"nothing\" does not exist"),
        "{out}"
    );
    assert!(out.contains("Restore \"a\" has been deleted.\n"), "{out}");
    assert!(
        err.contains("restore \"nothing\" does not exist in namespace"),
        "{err}"
    );
    assert!(err.contains("`ark restore get` lists those"), "{err}");
    assert_eq!((err.lines().count(), code), (1, 1), "{err}");
    assert_eq!(restores_left(&ark).await?, ["b", "c", "d"]);

    let (out, _, code) = answered(
        &ark,
        &["restore", "delete", "-l", "tier=db", "--confirm"],
        "",
    )?;
    assert_eq!(
        out,
        "Restore \"c\" has been deleted.\nRestore \"d\" has been deleted.\n"
    );
    assert_eq!(code, 0);
    ark.ark(&["delete", "restores", "--all", "--confirm"])?;
    assert_eq!(restores_left(&ark).await?, Vec::<String>::new());

    // Where nothing is left there is nothing to do; a name says that there is something.
    for which in [&["--all"][..], &["-l", "tier=web"]] {
        let (out, err, code) = answered(&ark, &[&["restore", "delete"], which].concat(), "")?;
        assert_eq!(
            (out.as_str(), err.as_str(), code),
            ("There is no restore to delete.\n", "", 0)
        );
    }
    let (out, err, code) = answered(&ark, &["restore", "delete", "x", "y", "--confirm"], "")?;
    assert_eq!((out.as_str(), code), ("", 1));
    assert!(
        err.contains("restore \"x\" does not exist") && err.contains("restore \"y\" does not"),
        "{err}"
    );
    Ok(())
}

#[tokio::test]
async fn one_failure_does_not_keep_the_others() -> Result<()> {
    let ark = installed().await?;
    for name in ["a", "kept", "z"] {
        make_restore(&ark, name, ("tier", "web")).await?;
    }
    let kubeconfig = somebody(
        &ark,
        &json!([
            {"apiGroups": ["ark.heptio.com"], "resources": ["restores"], "verbs": ["get"]},
            {"apiGroups": ["ark.heptio.com"], "resources": ["restores"], "verbs": ["delete"],
             "resourceNames": ["a", "z"]},
        ]),
    )
    .await?;
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ark"))
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(["-n", ark.namespace()])
            .args(args)
            .output()
    };
    wait_until("the rights are in force", PATIENCE, async || {
        Ok(run(&["restore", "get", "a"])?
            .status
            .success()
            .then_some(()))
    })
    .await?;
    let output = run(&["restore", "delete", "a", "kept", "z", "--confirm"])?;
    assert_eq!(
        String::from_utf8(output.stdout)?,
        "Restore \"a\" has been deleted.\nRestore \"z\" has been deleted.\n"
    );
    let err = String::from_utf8(output.stderr)?;
    assert!(
        err.starts_with(
            "An error occurred: restore \"kept\": restores.ark.heptio.com \"kept\" is forbidden"
        ),
        "{err}"
    );
    assert!(
        err.ends_with("ask the cluster's administrator for this right\n"),
        "{err}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(restores_left(&ark).await?, ["kept"]);
    Ok(())
}

/// Makes a service account with these rules in Ark's namespace and returns a kubeconfig for it.
async fn somebody(ark: &Installation<'_>, rules: &Value) -> Result<PathBuf> {
    let client = ark.plane().client();
    let namespace = ark.namespace();
    let metadata = json!({"name": "somebody", "namespace": namespace});
    for object in [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "somebody"},
               "subjects": [{"kind": "ServiceAccount", "name": "somebody", "namespace": namespace}]}),
    ] {
        apply_yaml(&client, &object.to_string()).await?;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let token = accounts
        .create_token_request("somebody", &PostParams::default(), &TokenRequest::default())
        .await?
        .status
        .context("a token")?
        .token;
    let plane = ark.plane();
    let kubeconfig = plane.dir().join(unique_name("somebody"));
    let admin = fs::read_to_string(plane.kubeconfig())?;
    fs::write(&kubeconfig, admin.replace(plane.admin_token(), &token))?;
    Ok(kubeconfig)
}

#[tokio::test]
async fn deleting_a_backup_makes_a_request() -> Result<()> {
    let ark = installed().await?;
    for name in ["a", "b", "c"] {
        make_backup(&ark, name, ("tier", if name == "c" { "db" } else { "web" })).await?;
    }
    let out = ark.ark(&["backup", "delete", "-l", "tier=web", "--confirm"])?;
    assert_eq!(
        out,
        concat!(
            "Request to delete backup \"a\" has been submitted.\n",
            "Request to delete backup \"b\" has been submitted.\n",
            "A backup disappears from `ark backup get` once its snapshots, stored files and restores are gone.\n",
        )
    );
    let backups: Api<Backup> = ark.api();
    assert_eq!(backups.list(&ListParams::default()).await?.items.len(), 3);
    let requests: Api<DeleteBackupRequest> = ark.api();
    let mut asked: Vec<(String, String)> = requests
        .list(&ListParams::default())
        .await?
        .into_iter()
        .map(|request| {
            let uid = request.labels()[labels::BACKUP_UID].clone();
            (request.spec.backup_name, uid)
        })
        .collect();
    asked.sort();
    let mut expected = Vec::new();
    for name in ["a", "b"] {
        let uid = backups.get(name).await?.uid().context("a UID")?;
        expected.push((name.to_owned(), uid));
    }
    assert_eq!(asked, expected);
    Ok(())
}

#[tokio::test]
async fn objects_are_printed_in_every_form() -> Result<()> {
    let ark = installed().await?;
    for (name, tier) in [
        ("daily-20260101010000", "web"),
        ("daily-20260102010000", "db"),
        ("alpha", "web"),
    ] {
        make_backup(&ark, name, ("example.org/tier", tier)).await?;
    }
    // Nothing that is only printed is there afterwards.
    for format in ["table", "json", "yaml"] {
        ark.ark(&["backup", "create", "printed", "-o", format])?;
        ark.ark(&["restore", "create", "--from-backup", "alpha", "-o", format])?;
    }
    let columns = |args: &[&str], wanted: &[usize]| -> Result<Vec<String>> {
        let table = ark.ark(args)?;
        let row = |line: &str| {
            // Two words may stand in one cell, three spaces never do.
            let cells: Vec<&str> = line
                .split("   ")
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .collect();
            wanted
                .iter()
                .map(|at| cells[*at])
                .collect::<Vec<_>>()
                .join(" ")
        };
        Ok(table.lines().map(row).collect())
    };
    assert_eq!(
        columns(
            &["backup", "get", "--label-columns", "example.org/tier"],
            &[0, 1, 6]
        )?,
        [
            "NAME STATUS TIER",
            "alpha New web",
            "daily-20260102010000 New db",
            "daily-20260101010000 New web",
        ]
    );
    assert_eq!(
        columns(
            &[
                "get",
                "backups",
                "-l",
                "example.org/tier=db",
                "--show-labels"
            ],
            &[0, 6]
        )?,
        [
            "NAME LABELS",
            "daily-20260102010000 component=ark,example.org/tier=db"
        ]
    );
    assert_eq!(
        columns(&["restore", "get"], &[0, 1])?,
        ["NAME BACKUP"],
        "nothing was submitted"
    );

    let json = |args: &[&str]| -> Result<Value> { Ok(serde_json::from_str(&ark.ark(args)?)?) };
    let one = json(&["backup", "get", "alpha", "-o", "json"])?;
    assert_eq!(
        (&one["kind"], &one["metadata"]["name"]),
        (&json!("Backup"), &json!("alpha"))
    );
    let all = json(&["backup", "get", "-o", "json"])?;
    assert_eq!(all["kind"], "List");
    assert_eq!(all["items"].as_array().map(Vec::len), Some(3));
    let none = ark.ark(&["restore", "get", "-o", "yaml"])?;
    assert!(none.contains("items: []"), "{none}");

    let (out, err, code) = answered(&ark, &["backup", "get", "alpha", "beta", "gamma"], "")?;
    assert_eq!((out.as_str(), code), ("", 1));
    assert!(err.contains("\"beta\"") && !err.contains("gamma"), "{err}");
    Ok(())
}

#[tokio::test]
async fn plugins_come_and_go_with_the_deployment() -> Result<()> {
    let ark = installed().await?;
    let (_, err, code) = answered(&ark, &["plugin", "add", "registry/p:1"], "")?;
    assert!(
        err.contains("there is no Deployment \"ark\" in namespace"),
        "{err}"
    );
    assert_eq!(code, 1);

    // As an older installation may be: with the volume, and without its mount.
    let client = ark.plane().client();
    let planned = ark.ark(&["install", "--dry-run"])?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&planned)?;
    let mut deployment = documents
        .into_iter()
        .find(|document| document["kind"] == "Deployment")
        .context("a Deployment")?;
    deployment["spec"]["replicas"] = json!(0);
    deployment["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([]);
    apply_yaml(&client, &deployment.to_string()).await?;
    let deployments: Api<Deployment> = ark.api();
    let pod = async || -> Result<PodSpec> {
        let spec = deployments.get("ark").await?.spec.context("a spec")?;
        spec.template.spec.context("a pod")
    };
    let plugins = |pod: &PodSpec| -> Vec<(String, Option<String>)> {
        pod.init_containers
            .iter()
            .flatten()
            .map(|one| (one.name.clone(), one.image.clone()))
            .collect()
    };
    let before = pod().await?;

    let out = ark.ark(&[
        "plugin",
        "add",
        "registry/p:1",
        "--image-pull-policy",
        "Always",
    ])?;
    assert!(
        out.starts_with("Plugin \"p\" of image registry/p:1 has been added"),
        "{out}"
    );
    let after = pod().await?;
    assert_eq!(
        plugins(&after),
        [("p".to_owned(), Some("registry/p:1".to_owned()))]
    );
    let server = &after.containers[0];
    assert_eq!(server.env, before.containers[0].env);
    let mounts: Vec<(&str, &str)> = server
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| (mount.name.as_str(), mount.mount_path.as_str()))
        .collect();
    assert_eq!(mounts, [("plugins", "/plugins")]);
    assert_eq!(after.volumes, before.volumes);

    let out = ark.ark(&[
        "plugin",
        "add",
        "registry/p:1",
        "--image-pull-policy",
        "Always",
    ])?;
    assert!(out.contains("is there already"), "{out}");
    ark.ark(&["plugin", "add", "registry/q@sha256:00"])?;
    ark.ark(&["plugin", "add", "registry/p:2"])?;
    assert_eq!(
        plugins(&pod().await?),
        [
            ("p".to_owned(), Some("registry/p:2".to_owned())),
            ("q".to_owned(), Some("registry/q@sha256:00".to_owned())),
        ]
    );
    let out = ark.ark(&["plugin", "remove", "registry/q@sha256:00"])?;
    assert!(out.starts_with("Plugin \"q\" has been removed"), "{out}");
    ark.ark(&["plugin", "remove", "p"])?;
    assert_eq!(plugins(&pod().await?), []);
    let (_, err, code) = answered(&ark, &["plugin", "remove", "p"], "")?;
    assert!(err.ends_with("it has none\n"), "{err}");
    assert_eq!(code, 1);
    Ok(())
}

/// What bash does when the tab key is pressed behind its arguments.
const PRESS_TAB: &str = r#"
source <(ark completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_ark ark "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[tokio::test]
async fn bash_completes_names_from_the_cluster() -> Result<()> {
    let ark = installed().await?;
    for name in ["nginx-1", "nginx-2", "other"] {
        make_backup(&ark, name, ("tier", "web")).await?;
    }
    make_restore(&ark, "back-again", ("tier", "web")).await?;
    let schedules: Api<Schedule> = ark.api();
    let schedule = serde_json::from_value(json!({
        "apiVersion": "ark.heptio.com/v1", "kind": "Schedule", "metadata": {"name": "daily"},
        "spec": {"schedule": "@daily", "template": {}},
    }))?;
    schedules.create(&PostParams::default(), &schedule).await?;
    let home = ark.plane().dir().join(unique_name("home"));
    fs::create_dir_all(&home)?;
    let folder = Path::new(env!("CARGO_BIN_EXE_ark"))
        .parent()
        .context("a folder")?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let offered = |words: &[&str]| -> Result<Vec<String>> {
        let output = Command::new("bash")
            .args(["--norc", "-c", PRESS_TAB, "bash", "ark"])
            .args(words)
            .env("PATH", &path)
            .env("HOME", &home)
            .env("KUBECONFIG", ark.plane().kubeconfig())
            .output()
            .context("run bash")?;
        ensure!(
            output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let offered = String::from_utf8(output.stdout)?;
        Ok(offered
            .lines()
            .map(str::to_owned)
            .filter(|name| !name.is_empty())
            .collect())
    };
    let namespace = ark.namespace();
    let all = ["nginx-1", "nginx-2", "other"];
    assert_eq!(offered(&["-n", namespace, "backup", "describe", ""])?, all);
    // The settings name the namespace from here on.
    ark.command()
        .args(["client", "config", "set", &format!("namespace={namespace}")])
        .env("HOME", &home)
        .status()?;
    for (words, names) in [
        (&["backup", "describe", ""][..], &all[..]),
        (&["backup", "describe", "ngi"], &all[..2]),
        (&["backup", "delete", "nginx-1", ""], &all[1..]),
        (&["get", "backup", "o"], &all[2..]),
        (&["restore", "create", "--from-backup", "=", "o"], &all[2..]),
        (&["restore", "create", "--from-backup", "o"], &all[2..]),
        (&["restore", "describe", ""], &["back-again"]),
        (&["restore", "describe", "x"], &[]),
        (&["-n", "default", "backup", "describe", ""], &[]),
        (&["--kubecontext", "nowhere", "backup", "describe", ""], &[]),
    ] {
        assert_eq!(offered(words)?, names, "{words:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_name_made_of_the_time_gives_way_to_one_that_is_taken() -> Result<()> {
    let ark = installed().await?;
    make_backup(&ark, "b", ("a", "b")).await?;
    // Begun together, they meet in the same second.
    let begun: Vec<_> = (0..6)
        .map(|_| {
            let mut command = ark.command();
            command.args(["restore", "create", "b"]);
            command.stdout(Stdio::null()).spawn()
        })
        .collect::<std::io::Result<_>>()?;
    for command in begun {
        ensure!(command.wait_with_output()?.status.success());
    }
    let restores: Api<Restore> = ark.api();
    let made = restores.list(&ListParams::default()).await?;
    assert_eq!(made.items.len(), 6);
    Ok(())
}
