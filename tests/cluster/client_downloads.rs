//! Logs, downloads and results through the command line. In all tests but the last no server runs: a part of the test
//! answers requests as one would, and another plays store and server.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use ark::api::{
    Backup, BackupSpec, DownloadRequest, DownloadRequestPhase, DownloadTargetKind, Restore,
    RestoreSpec, names,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::{ControlPlane, ports};
use crate::support::namespace::TestNamespace;
use crate::support::pods::create_pod;
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::{PATIENCE, unique_name, wait_until};

/// What every secret address holds; no output may.
const SECRET: &str = "topsecret";

/// A task that ends with the test.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers each DownloadRequest of an installation with the status that `answers` has for its kind; those without stay
/// as they are.
fn answer_requests(ark: &Installation<'_>, answers: BTreeMap<&'static str, Value>) -> Task {
    let requests: Api<DownloadRequest> = ark.api();
    Task(tokio::spawn(async move {
        loop {
            let listed = requests.list(&ListParams::default()).await;
            for request in listed.map(|list| list.items).unwrap_or_default() {
                let phase = request.status.as_ref().map(|status| status.phase.clone());
                let kind = request.spec.target.kind.as_str();
                if phase.unwrap_or_default() == DownloadRequestPhase::New
                    && let Some(status) = answers.get(kind)
                {
                    let patch = Patch::Merge(json!({ "status": status }));
                    let name = request.name_any();
                    let params = PatchParams::default();
                    // One that is gone needs no answer.
                    requests.patch_status(&name, &params, &patch).await.ok();
                }
            }
            // Only how often this stand-in for a server looks; nothing is decided by the time.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }))
}

/// Serves files by path, and at `/live` a log that grows: the second line comes when `go_on` is notified, to whoever
/// follows.
struct Files {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Notify>,
    _task: Task,
}

impl Files {
    async fn serve(port: u16, files: &[(&'static str, Vec<u8>)]) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let files: Arc<BTreeMap<_, _>> = Arc::new(files.iter().cloned().collect());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let go_on = Arc::new(Notify::new());
        let (heads, next) = (Arc::clone(&asked), Arc::clone(&go_on));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (files, heads, next) =
                    (Arc::clone(&files), Arc::clone(&heads), Arc::clone(&next));
                tokio::spawn(async move { serve_one(stream, &files, &heads, &next).await });
            }
        });
        Ok(Self {
            port,
            asked,
            go_on,
            _task: Task(task),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}?signature={SECRET}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no task panics").clone()
    }
}

async fn serve_one(
    mut stream: TcpStream,
    files: &BTreeMap<&'static str, Vec<u8>>,
    heads: &Mutex<Vec<String>>,
    go_on: &Notify,
) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    heads
        .lock()
        .expect("no task panics")
        .push(target.to_owned());
    if path == "/live" {
        let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n";
        stream.write_all(begin.as_bytes()).await?;
        if target.contains("follow=true") {
            go_on.notified().await;
            stream.write_all(b"4\r\ntwo\n\r\n").await?;
        }
        stream.write_all(b"0\r\n\r\n").await?;
    } else {
        let (status, body) = match files.get(path) {
            Some(body) => ("200 OK", body.as_slice()),
            None => ("404 Not Found", &b"no such file"[..]),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
    }
    Ok(())
}

fn packed(text: &str) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

/// Makes a backup whose status is this.
async fn backup(ark: &Installation<'_>, name: &str, status: Value) -> Result<()> {
    let backups: Api<Backup> = ark.api();
    wait_until("the backup is made", PATIENCE, async || {
        let backup = Backup::new(name, BackupSpec::default());
        Ok(Some(backups.create(&PostParams::default(), &backup).await?))
    })
    .await?;
    let patch = Patch::Merge(json!({ "status": status }));
    backups
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// How a command ended, and what it said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs `ark` and waits until no DownloadRequest is left.
async fn run(ark: &Installation<'_>, arguments: &[&str]) -> Result<Said> {
    let output = ark.command().args(arguments).output()?;
    let said = Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    };
    assert!(
        !said.out.contains(SECRET) && !said.err.contains(SECRET),
        "{said:?}"
    );
    nothing_is_left(ark).await?;
    Ok(said)
}

async fn nothing_is_left(ark: &Installation<'_>) -> Result<()> {
    let left = ark
        .api::<DownloadRequest>()
        .list(&ListParams::default())
        .await?;
    ensure!(left.items.is_empty(), "requests are left: {:?}", left.items);
    Ok(())
}

async fn installation() -> Result<Installation<'static>> {
    let plane = ControlPlane::shared().await;
    Installation::without_config(plane, Store::local(plane)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_from_the_store_or_from_the_server() -> Result<()> {
    let ark = installation().await?;
    backup(&ark, "nightly", json!({"phase": "Completed"})).await?;
    let packed = packed("one\ntwo\n")?;
    let files = Files::serve(0, &[("/log", packed), ("/plain", b"plain\n".to_vec())]).await?;
    let [nobody] = ports::free()?;
    let unreachable = format!("http://127.0.0.1:{nobody}/log?signature={SECRET}");
    let here = json!({"port": files.port, "path": format!("/plain?signature={SECRET}")});
    for (status, out, err) in [
        (json!({"downloadURL": files.url("/log")}), "one\ntwo\n", ""),
        (json!({"downloadURL": files.url("/plain")}), "plain\n", ""),
        (
            json!({"downloadURL": unreachable, "server": here}),
            "plain\n",
            "",
        ),
        (
            json!({"server": here, "message": "the store signs nothing"}),
            "plain\n",
            "",
        ),
        (
            json!({"downloadURL": files.url("/gone")}),
            "",
            "the store answers 404 Not Found: no such file; the file is not there",
        ),
        (
            json!({"phase": "Processed", "message": "there is no log; make another backup"}),
            "",
            "An error occurred: there is no log; make another backup\n",
        ),
        (
            json!({"downloadURL": unreachable}),
            "",
            "the file cannot be reached (the store: Connection refused",
        ),
    ] {
        let _answers = answer_requests(&ark, [("BackupLog", status.clone())].into());
        let said = run(&ark, &["backup", "logs", "nightly"]).await?;
        assert_eq!(said.out, out, "{status}");
        assert!(said.err.contains(err), "{status}: {said:?}");
        assert_eq!(
            said.code,
            Some(i32::from(!err.is_empty())),
            "{status}: {said:?}"
        );
    }
    let said = run(&ark, &["backup", "logs", "nightly", "--timeout", "100ms"]).await?;
    assert!(said.err.contains("the server has not answered"), "{said:?}");
    let said = run(&ark, &["backup", "logs", "weekly"]).await?;
    assert!(
        said.err.contains("backup \"weekly\" does not exist"),
        "{said:?}"
    );
    backup(&ark, "new", json!({})).await?;
    let said = run(&ark, &["backup", "logs", "new"]).await?;
    assert!(said.err.contains("has not begun"), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_comes_through_a_port_forward() -> Result<()> {
    let ark = installation().await?;
    create_pod(&ark.plane().client(), ark.namespace(), "ark-0").await?;
    let port = ports::forwarded()?;
    let log = "a line of a log\n".repeat(100_000);
    let files = Files::serve(port, &[("/log", packed(&log)?)]).await?;
    backup(&ark, "nightly", json!({"phase": "Completed"})).await?;
    let [nobody] = ports::free()?;
    let status = |pod: &str| {
        json!({
            "downloadURL": format!("http://127.0.0.1:{nobody}/log?signature={SECRET}"),
            "server": {"pod": pod, "port": port, "path": format!("/log?signature={SECRET}")},
        })
    };
    {
        let _answers = answer_requests(&ark, [("BackupLog", status("ark-0"))].into());
        let said = run(&ark, &["backup", "logs", "nightly"]).await?;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out == log, "{} bytes, {}", said.out.len(), said.err);
    }
    let _answers = answer_requests(&ark, [("BackupLog", status("ark-1"))].into());
    let said = run(&ark, &["backup", "logs", "nightly"]).await?;
    assert!(
        said.err
            .contains("through a port-forward to pod \"ark-1\": "),
        "{said:?}"
    );
    drop(files);
    Ok(())
}

/// A command that goes on beside the test.
struct Following(Child);

impl Following {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// Waits for its next output.
    fn read(&mut self, length: usize) -> Result<String> {
        let mut text = vec![0; length];
        let out = self.0.stdout.as_mut().context("its output")?;
        out.read_exact(&mut text)?;
        Ok(String::from_utf8(text)?)
    }

    fn end(mut self) -> Result<Said> {
        let mut said = Said {
            code: None,
            out: String::new(),
            err: String::new(),
        };
        let out = self.0.stdout.as_mut().context("its output")?;
        out.read_to_string(&mut said.out)?;
        let err = self.0.stderr.as_mut().context("its errors")?;
        err.read_to_string(&mut said.err)?;
        said.code = self.0.wait()?.code();
        Ok(said)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_log_is_followed_until_it_ends_or_the_user_has_seen_enough() -> Result<()> {
    let ark = installation().await?;
    backup(&ark, "nightly", json!({"phase": "InProgress"})).await?;
    let files = Files::serve(0, &[]).await?;
    let path = format!("/live?signature={SECRET}");
    let status = json!({
        "downloadURL": files.url("/live"),
        "server": {"port": files.port, "path": path},
    });
    let _answers = answer_requests(&ark, [("BackupLog", status)].into());
    let follow = || {
        let mut command = ark.command();
        command.args(["backup", "logs", "nightly", "--follow"]);
        Following::start(&mut command)
    };

    let mut following = follow()?;
    assert_eq!(following.read(4)?, "one\n");
    files.go_on.notify_one();
    let said = following.end()?;
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(0), "two\n", "")
    );
    assert_eq!(files.asked(), [format!("{path}&follow=true")]);
    nothing_is_left(&ark).await?;

    let mut interrupted = follow()?;
    assert_eq!(interrupted.read(4)?, "one\n");
    let id = interrupted.0.id().to_string();
    let signalled = Command::new("sh")
        .args(["-c", "kill -INT \"$1\"", "sh", &id])
        .status()?;
    assert!(signalled.success());
    let said = interrupted.end()?;
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(1), "", "")
    );
    nothing_is_left(&ark).await?;

    let said = run(&ark, &["backup", "logs", "nightly"]).await?;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "one\n"));
    assert!(said.err.contains("was still running"), "{said:?}");
    assert_eq!(files.asked().last(), Some(&path), "not asked to go on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_somebody_deletes_is_an_error() -> Result<()> {
    let ark = installation().await?;
    backup(&ark, "nightly", json!({"phase": "Completed"})).await?;
    let mut command = ark.command();
    command.args(["backup", "logs", "nightly"]);
    let waiting = Following::start(&mut command)?;
    let requests: Api<DownloadRequest> = ark.api();
    let request = wait_until("there is a request", PATIENCE, async || {
        Ok(requests.list(&ListParams::default()).await?.items.pop())
    })
    .await?;
    assert_eq!(request.spec.target.kind, DownloadTargetKind::BackupLog);
    assert_eq!(request.spec.target.name, "nightly");
    assert!(
        request.name_any().starts_with("nightly-"),
        "{}",
        request.name_any()
    );
    requests
        .delete(&request.name_any(), &DeleteParams::default())
        .await?;
    let said = waiting.end()?;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("has been deleted meanwhile; try again"),
        "{said:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_saved_as_it_was_made_or_not_at_all() -> Result<()> {
    let ark = installation().await?;
    let folder = tempfile::tempdir()?;
    let contents = [vec![0x28, 0xb5, 0x2f, 0xfd], vec![7; 3_000_000]].concat();
    let part = |name: &str, bytes: &[u8]| {
        json!({"phase": "Completed", "parts": [{
            "key": format!("backups/{name}/{name}-1.tar.zst"),
            "size": bytes.len(),
            "sha256": names::sha256_hex(bytes),
        }]})
    };
    backup(&ark, "nightly", part("nightly", &contents)).await?;
    backup(&ark, "damaged", part("damaged", b"what it was")).await?;
    backup(&ark, "old", json!({"phase": "Completed", "version": 1})).await?;
    backup(&ark, "running", json!({"phase": "InProgress"})).await?;
    let old = packed("an archive")?;
    let files = Files::serve(0, &[("/new", contents.clone()), ("/old", old.clone())]).await?;
    let save = async |path: &str, name: &str, more: &[&str]| {
        let status = json!({"downloadURL": files.url(path)});
        let _answers = answer_requests(&ark, [("BackupContents", status)].into());
        let mut command = ark.command();
        command.current_dir(folder.path());
        let output = command
            .args(["backup", "download", name])
            .args(more)
            .output()?;
        nothing_is_left(&ark).await?;
        let text = [output.stdout, output.stderr].concat();
        anyhow::Ok((output.status.code(), String::from_utf8(text)?))
    };
    let there = |file: &str| std::fs::read(folder.path().join(file)).ok();

    let (code, said) = save("/new", "nightly", &[]).await?;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("saved as nightly-data.tar.zst (3000004 bytes)"),
        "{said}"
    );
    assert!(there("nightly-data.tar.zst").as_deref() == Some(&contents));
    let (code, said) = save("/new", "nightly", &[]).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("nightly-data.tar.zst is there already"),
        "{said}"
    );
    let (code, said) = save("/new", "nightly", &["--force"]).await?;
    assert_eq!(code, Some(0), "{said}");

    // Nothing is unpacked.
    let (code, said) = save("/old", "old", &[]).await?;
    assert_eq!(code, Some(0), "{said}");
    assert!(there("old-data.tar.gz").as_deref() == Some(&old));
    let (code, said) = save("/old", "old", &["-o", "chosen"]).await?;
    assert_eq!(code, Some(0), "{said}");
    assert!(there("chosen").as_deref() == Some(&old));

    let (code, said) = save("/new", "damaged", &["-o", "bad"]).await?;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("is not what it was when it was made"),
        "{said}"
    );
    assert_eq!(there("bad"), None);
    let (_, said) = save("/new", "running", &[]).await?;
    assert!(said.contains("backup \"running\" has not ended"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_show_warnings_and_errors() -> Result<()> {
    let ark = installation().await?;
    let counts = json!({"phase": "PartiallyFailed", "warnings": 1, "errors": 1});
    backup(&ark, "nightly", counts.clone()).await?;
    let restores: Api<Restore> = ark.api();
    let restore = Restore::new("r", RestoreSpec::default());
    restores.create(&PostParams::default(), &restore).await?;
    let patch = Patch::Merge(json!({ "status": counts }));
    restores
        .patch_status("r", &PatchParams::default(), &patch)
        .await?;
    let results = json!({
        "warnings": {"ark": ["slow"]},
        "errors": {"namespaces": {"shop": ["pods a: gone"]}},
    })
    .to_string();
    let files = Files::serve(
        0,
        &[
            ("/packed", packed(&results)?),
            ("/plain", results.into_bytes()),
        ],
    )
    .await?;
    let shown = concat!(
        "Warnings:\n  Ark:         slow\n  Cluster:     <none>\n  Namespaces:  <none>\n\n",
        "Errors:\n  Ark:      <none>\n  Cluster:  <none>\n  Namespaces:\n    shop:  pods a: gone\n",
    );
    {
        let _answers = answer_requests(
            &ark,
            [
                (
                    "BackupResults",
                    json!({"downloadURL": files.url("/packed")}),
                ),
                (
                    "RestoreResults",
                    json!({"downloadURL": files.url("/plain")}),
                ),
            ]
            .into(),
        );
        let details = ["backup", "describe", "nightly", "--details"];
        let old_details = ["backup", "describe", "nightly", "--volume-details"];
        for arguments in [&details[..], &old_details, &["restore", "describe", "r"]] {
            let said = run(&ark, arguments).await?;
            assert!(
                said.out.contains(shown),
                "{arguments:?}: {}{}",
                said.out,
                said.err
            );
        }
    }
    // Without details nobody is asked.
    let said = run(&ark, &["backup", "describe", "nightly"]).await?;
    assert!(
        said.out.contains("Details:   <shown with --details>\n"),
        "{}",
        said.out
    );
    let _answers = answer_requests(
        &ark,
        [(
            "RestoreResults",
            json!({"phase": "Processed", "message": "they are lost"}),
        )]
        .into(),
    );
    let said = run(&ark, &["describe", "restores"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out
            .contains("Details:   <cannot be read: they are lost>\n"),
        "{}",
        said.out
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_gives_what_nobody_else_can() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let mut ark = Installation::new(plane).await?;
    ark.run_in_pod("ark-0").await?;
    // The store is a directory, and at this address nobody listens.
    let [nobody] = ports::free()?;
    ark.server_arguments([format!("--download-url=http://127.0.0.1:{nobody}").as_str()]);
    let server = ark.serve().await?;
    let namespace = TestNamespace::new(plane, "downloaded").await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), namespace.name());
    let map = serde_json::from_value(json!({"metadata": {"name": "c"}, "data": {"a": "1"}}))?;
    maps.create(&PostParams::default(), &map).await?;
    let backup = ark.back_up("nightly", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    let restored = ark
        .restore("again", moved("nightly", &namespace, &unique_name("moved")))
        .await?;
    assert_clean_restore(&restored);

    for (noun, name) in [("backup", "nightly"), ("restore", "again")] {
        for more in [&[][..], &["--follow"]] {
            let said = run(&ark, &[&[noun, "logs", name], more].concat()).await?;
            assert_eq!(said.code, Some(0), "{said:?}");
            assert!(
                said.out.starts_with("time=") && said.out.ends_with('\n'),
                "{said:?}"
            );
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("saved");
    let path = file.to_str().context("a path")?;
    let said = run(&ark, &["backup", "download", "nightly", "-o", path]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let part = backup.status.unwrap_or_default().parts.into_iter();
    let stored = part
        .map(|part| part.key)
        .find(|key| key.ends_with(".tar.zst"));
    let stored = ark.bucket().join(stored.context("contents")?);
    assert!(std::fs::read(&file)? == std::fs::read(stored)?);

    // What is there and different stays as it is, with a warning.
    let patch = Patch::Merge(json!({"data": {"a": "2"}}));
    maps.patch("c", &PatchParams::default(), &patch).await?;
    let spec = RestoreSpec {
        backup_name: "nightly".into(),
        ..RestoreSpec::default()
    };
    ark.restore("warned", spec).await?;
    let said = run(&ark, &["restore", "describe", "warned"]).await?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let (_, warnings) = said
        .out
        .split_once("\nWarnings:\n")
        .context("a list of warnings")?;
    let warned = format!("    {}:  ", namespace.name());
    assert!(
        warnings.contains(&warned) && warnings.contains("configmaps"),
        "{warnings}"
    );
    server.stop()
}
