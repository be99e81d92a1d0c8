//! Downloads: what is stored comes out as it went in, by the store's links and by the server's, and nothing else does.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ark::api::names::hex;
use ark::api::{
    Backup, BackupPhase, BackupSpec, DownloadRequest, DownloadRequestPhase, DownloadRequestSpec,
    DownloadRequestStatus, DownloadTarget, DownloadTargetKind, Part, RestoreSpec,
};
use kube::api::{Api, DeleteParams, PostParams};
use sha2::{Digest as _, Sha256};

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::minio::Minio;
use crate::support::namespace::TestNamespace;
use crate::support::pods::get_through_pod;
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::runs::{all_of, assert_clean_backup, assert_clean_restore, moved};
use crate::support::{PATIENCE, unique_name, wait_until};

/// Asks for a file and returns the name of the request and its answer.
async fn ask(
    ark: &Installation<'_>,
    kind: DownloadTargetKind,
    name: &str,
) -> Result<(String, DownloadRequestStatus)> {
    let requests = ark.api::<DownloadRequest>();
    let request = unique_name("download");
    let target = DownloadTarget {
        kind,
        name: name.to_owned(),
    };
    let spec = DownloadRequestSpec { target };
    requests
        .create(
            &PostParams::default(),
            &DownloadRequest::new(&request, spec),
        )
        .await?;
    let status = wait_until("the request is answered", PATIENCE, async || {
        let status = requests.get(&request).await?.status.unwrap_or_default();
        Ok((status.phase == DownloadRequestPhase::Processed).then_some(status))
    })
    .await?;
    assert!(status.expiration.is_some(), "{status:?}");
    Ok((request, status))
}

/// Asks for a file that is there, and returns the answer.
async fn link(
    ark: &Installation<'_>,
    kind: DownloadTargetKind,
    name: &str,
) -> Result<DownloadRequestStatus> {
    let (_, status) = ask(ark, kind.clone(), name).await?;
    assert_eq!(status.message, "", "{kind} of {name}");
    Ok(status)
}

/// Asks for a file that is not there, and returns the words in the answer.
async fn message(ark: &Installation<'_>, kind: DownloadTargetKind, name: &str) -> Result<String> {
    let (_, status) = ask(ark, kind, name).await?;
    assert_eq!(status.download_url, "");
    assert_eq!(status.server, None);
    Ok(status.message)
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client without settings can be made")
}

async fn get(url: &str) -> Result<reqwest::Response> {
    Ok(client().get(url).send().await?)
}

/// Returns what a link leads to.
async fn read(url: &str) -> Result<Vec<u8>> {
    Ok(get(url).await?.error_for_status()?.bytes().await?.to_vec())
}

/// Returns the server's own link.
fn own(status: &DownloadRequestStatus) -> String {
    let server = status.server.clone().unwrap_or_default();
    format!("http://127.0.0.1:{}{}", server.port, server.path)
}

fn gunzip(bytes: &[u8]) -> Result<String> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text)?;
    Ok(text)
}

/// Returns the part of a backup whose key ends like this.
fn part(backup: &Backup, end: &str) -> Part {
    let parts = backup.status.clone().unwrap_or_default().parts;
    let found = parts.into_iter().find(|part| part.key.ends_with(end));
    found.expect("every backup has such a part")
}

fn assert_is_part(bytes: &[u8], part: &Part) {
    assert_eq!(bytes.len() as u64, part.size, "{}", part.key);
    let digest = hex(&Sha256::digest(bytes));
    assert_eq!(digest, part.sha256, "{}", part.key);
}

const PARTS: [(DownloadTargetKind, &str); 3] = [
    (DownloadTargetKind::BackupContents, ".tar.zst"),
    (DownloadTargetKind::BackupLog, "-logs.gz"),
    (DownloadTargetKind::BackupResults, "-results.gz"),
];

#[tokio::test]
async fn the_server_serves_a_local_store() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let mut ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "files").await?;
    let server = ark.serve().await?;
    let backup = ark.back_up("files", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    let spec = moved("files", &namespace, &unique_name("target"));
    assert_clean_restore(&ark.restore("files-back", spec).await?);

    for (kind, end) in PARTS {
        let status = link(&ark, kind.clone(), "files").await?;
        // Nobody else serves this store.
        assert_eq!(status.download_url, own(&status), "{kind}");
        assert_eq!(status.server.clone().unwrap_or_default().pod, "");
        let response = get(&status.download_url).await?;
        assert_eq!(response.status(), 200, "{kind}");
        let part = part(&backup, end);
        assert_eq!(response.content_length(), Some(part.size), "{kind}");
        assert_is_part(&response.bytes().await?, &part);
    }
    for (kind, key) in [
        (
            DownloadTargetKind::RestoreLog,
            "restores/files-back/restore-files-back-logs.gz",
        ),
        (
            DownloadTargetKind::RestoreResults,
            "restores/files-back/restore-files-back-results.gz",
        ),
    ] {
        let bytes = read(&link(&ark, kind, "files-back").await?.download_url).await?;
        assert_eq!(bytes, fs::read(ark.bucket().join(key))?, "{key}");
        gunzip(&bytes)?;
    }

    // A backup is found without its resource, too.
    let backups: Api<Backup> = ark.api();
    backups.delete("files", &DeleteParams::default()).await?;
    let status = link(&ark, DownloadTargetKind::BackupContents, "files").await?;
    assert_is_part(
        &read(&status.download_url).await?,
        &part(&backup, ".tar.zst"),
    );
    let old_link = status.download_url;
    let status = link(&ark, DownloadTargetKind::RestoreLog, "files-back").await?;
    read(&status.download_url).await?;
    server.stop()?;

    // A server that makes no backups serves them; links of another one say nothing to it.
    ark.server_arguments(["--restore-only", "--pod-ip=10.1.2.3"]);
    let server = ark.serve().await?;
    let status = link(&ark, DownloadTargetKind::BackupContents, "files").await?;
    assert!(
        status.download_url.starts_with("http://10.1.2.3:"),
        "it is reached at its pod"
    );
    assert_is_part(&read(&own(&status)).await?, &part(&backup, ".tar.zst"));
    let (_, ticket) = old_link.rsplit_once('/').context("a link")?;
    let port = status.server.unwrap_or_default().port;
    let refused = get(&format!("http://127.0.0.1:{port}/download/{ticket}")).await?;
    assert_eq!(refused.status(), 403);

    let log = server.log();
    assert!(log.contains("a download is ready"), "{log}");
    assert!(!log.contains("/download/"), "a link is in the log");
    server.stop()
}

#[tokio::test]
async fn whatever_is_not_there_is_explained() -> Result<()> {
    use DownloadTargetKind as Kind;
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "empty").await?;
    let server = ark.serve().await?;
    assert_clean_backup(&ark.back_up("there", all_of(&namespace)).await?);
    let impossible = BackupSpec {
        included_namespaces: vec!["a".into()],
        excluded_namespaces: vec!["a".into()],
        ..BackupSpec::default()
    };
    ark.back_up("refused", impossible).await?;
    let refused = RestoreSpec {
        backup_name: "nowhere".into(),
        ..RestoreSpec::default()
    };
    ark.restore("refused", refused).await?;
    // What Ark 0.10 stored, which kept no list of its files.
    let old = ark.bucket().join("backups/old");
    fs::create_dir_all(&old)?;
    fs::write(
        old.join("ark-backup.json"),
        r#"{"kind":"Backup","apiVersion":"ark.heptio.com/v1","metadata":{"name":"old"},"spec":{},
            "status":{"version":1,"phase":"Completed"}}"#,
    )?;
    fs::write(old.join("old.tar.gz"), "not really a tar")?;

    for (kind, name, expected) in [
        (Kind::BackupLog, "nowhere", "there is no backup nowhere"),
        (Kind::RestoreLog, "nowhere", "there is no restore nowhere"),
        (Kind::BackupLog, "../etc", "../etc"),
        (Kind::BackupLog, "", "set spec.target.name"),
        (
            Kind::Other("BackupIndex".into()),
            "there",
            "no kind of file called BackupIndex",
        ),
        (
            Kind::BackupVolumeSnapshots,
            "there",
            "backup there has no volume snapshots",
        ),
        (Kind::BackupLog, "refused", "backup refused was refused"),
        (
            Kind::RestoreResults,
            "refused",
            "restore refused was refused",
        ),
        (Kind::BackupLog, "old", "backup old has no log"),
        (
            Kind::BackupResults,
            "old",
            "backup old has no warnings and errors",
        ),
    ] {
        let message = message(&ark, kind.clone(), name).await?;
        assert!(message.contains(expected), "{kind} of {name:?}: {message}");
    }
    let status = link(&ark, Kind::BackupContents, "old").await?;
    assert_eq!(read(&status.download_url).await?, b"not really a tar");

    // A part that is gone, and one that is not what it was.
    let status = link(&ark, Kind::BackupResults, "there").await?;
    let key = |end: &str| {
        let mut keys = ark.keys().into_iter();
        let key = keys.find(|key| key.starts_with("backups/there/") && key.ends_with(end));
        key.map(|key| ark.bucket().join(key)).context("a key")
    };
    fs::remove_file(key("-results.gz")?)?;
    assert_eq!(get(&status.download_url).await?.status(), 404);
    let lost = message(&ark, Kind::BackupResults, "there").await?;
    assert!(lost.contains("the backup is damaged"), "{lost}");
    let log = key("-logs.gz")?;
    let bytes = fs::read(&log)?;
    let status = link(&ark, Kind::BackupLog, "there").await?;
    for damaged in [&bytes[..bytes.len() - 1], &[&bytes[..], b"x"].concat()] {
        fs::write(&log, damaged)?;
        // The client never takes it for the whole: the connection breaks, now or after the first bytes.
        if let Ok(response) = get(&status.download_url).await {
            assert_eq!(response.status(), 200);
            assert!(response.bytes().await.is_err());
        }
    }
    server.stop()
}

#[tokio::test]
async fn links_that_were_tampered_with_are_refused() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "files").await?;
    let server = ark.serve().await?;
    assert_clean_backup(&ark.back_up("files", all_of(&namespace)).await?);
    let status = link(&ark, DownloadTargetKind::BackupLog, "files").await?;
    let url = status.download_url;
    assert_eq!(get(&url).await?.status(), 200);
    let (base, ticket) = url.rsplit_once('/').context("a link")?;
    let mut texts = Vec::new();
    for position in [0, ticket.len() / 2, ticket.len() - 2] {
        let mut bytes = ticket.as_bytes().to_vec();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(bytes)?;
        let response = get(&format!("{base}/{other}")).await?;
        assert_eq!(response.status(), 403, "position {position}");
        texts.push(response.text().await?);
    }
    let response = get(&format!("{base}/backups%2Ffiles%2Fark-backup.json")).await?;
    assert_eq!(response.status(), 403);
    texts.push(response.text().await?);
    // Whatever is wrong, the answer is the same.
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(get(base).await?.status(), 404);
    server.stop()
}

#[tokio::test]
async fn links_of_minio_lead_to_minio() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    // Others know the store by another address.
    let public = Proxy::to(minio.port()).await?;
    let mut store = Store::minio(&minio, &bucket, &minio.endpoint())?;
    store.provider["config"]["publicUrl"] = public.http_url().into();
    let ark = Installation::with_store(plane, store).await?;
    let namespace = TestNamespace::new(plane, "files").await?;
    let server = ark.serve().await?;
    let backup = ark.back_up("files", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    for (kind, end) in PARTS {
        let status = link(&ark, kind.clone(), "files").await?;
        assert!(
            status.download_url.starts_with(&public.http_url()),
            "{kind}"
        );
        let part = part(&backup, end);
        assert_is_part(&read(&status.download_url).await?, &part);
        assert_is_part(&read(&own(&status)).await?, &part);
    }
    // Where that address leads nowhere, the server helps.
    let status = link(&ark, DownloadTargetKind::BackupContents, "files").await?;
    public.set(Behaviour::Refuse);
    assert!(get(&status.download_url).await.is_err());
    assert_is_part(&read(&own(&status)).await?, &part(&backup, ".tar.zst"));
    server.stop()
}

#[tokio::test]
async fn an_old_request_is_removed_and_its_link_refused() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::new(plane).await?;
    let namespace = TestNamespace::new(plane, "files").await?;
    let server = ark.serve_by_hand("2030-01-01T00:00:00Z").await?;
    let name = unique_name("files");
    assert_clean_backup(&ark.back_up(&name, all_of(&namespace)).await?);
    let (request, status) = ask(&ark, DownloadTargetKind::BackupLog, &name).await?;
    let (failed, _) = ask(&ark, DownloadTargetKind::BackupLog, "nowhere").await?;
    let expires = status.expiration.clone().context("an expiration")?.0;
    assert_eq!(expires, server.hand.now() + Duration::from_mins(10));

    let requests = ark.api::<DownloadRequest>();
    server.hand.advance(Duration::from_secs(599));
    assert_eq!(get(&status.download_url).await?.status(), 200);
    // Whoever asks now is answered after the clock was looked at for those before.
    ask(&ark, DownloadTargetKind::BackupLog, "nowhere").await?;
    requests.get(&request).await?;
    server.hand.advance(Duration::from_secs(1));
    assert_eq!(get(&status.download_url).await?.status(), 403);
    wait_until("the requests are removed", PATIENCE, async || {
        let first = requests.get_opt(&request).await?;
        let second = requests.get_opt(&failed).await?;
        Ok((first.is_none() && second.is_none()).then_some(()))
    })
    .await?;
    server.end().await
}

#[tokio::test]
async fn the_log_of_a_running_backup_is_followed_to_its_end() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let minio = Minio::start().await?;
    let bucket = unique_name("ark");
    minio.create_bucket(&bucket).await?;
    let proxy = Proxy::to(minio.port()).await?;
    let store = Store::minio(&minio, &bucket, &proxy.http_url())?;
    let ark = Installation::with_store(plane, store).await?;
    let namespace = TestNamespace::new(plane, "followed").await?;
    let server = ark.serve().await?;
    server
        .wait_for("the store is in use", |metrics| {
            metrics.contains("ark_location_available{location=\"default\"} 1")
        })
        .await?;
    proxy.hold();
    let backups: Api<Backup> = ark.api();
    let spec = all_of(&namespace);
    backups
        .create(&PostParams::default(), &Backup::new("followed", spec))
        .await?;
    wait_until("the backup is in progress", PATIENCE, async || {
        let status = backups.get("followed").await?.status.unwrap_or_default();
        Ok((status.phase == BackupPhase::InProgress).then_some(()))
    })
    .await?;
    let results = message(&ark, DownloadTargetKind::BackupResults, "followed").await?;
    assert!(results.contains("is in progress"), "{results}");

    let status = link(&ark, DownloadTargetKind::BackupLog, "followed").await?;
    assert_eq!(
        status.download_url,
        own(&status),
        "the store has no log yet"
    );
    let first = "the backup begins";
    let so_far = wait_until("the backup says something", PATIENCE, async || {
        let so_far = String::from_utf8(read(&status.download_url).await?)?;
        Ok(so_far.contains(first).then_some(so_far))
    })
    .await?;
    let mut following = get(&format!("{}?follow=true", status.download_url)).await?;
    assert_eq!(following.content_length(), None);
    let mut text = String::new();
    while !text.contains(first) {
        let piece = following.chunk().await?.context("the run goes on")?;
        text.push_str(std::str::from_utf8(&piece)?);
    }
    assert!(text.starts_with(&so_far));
    assert!(!text.contains("everything is stored"), "{text}");

    proxy.release();
    while let Some(piece) = following.chunk().await? {
        text.push_str(std::str::from_utf8(&piece)?);
    }
    assert!(text.contains("everything is stored"), "{text}");
    let backup = ark.backup_ended("followed").await?;
    assert_clean_backup(&backup);
    // What was said live is what is stored, and what the link still gives.
    let stored = wait_until("the stored log is served", PATIENCE, async || {
        let status = link(&ark, DownloadTargetKind::BackupLog, "followed").await?;
        let stored = status.download_url.starts_with(&proxy.http_url());
        Ok(stored.then_some(status))
    })
    .await?;
    let bytes = read(&stored.download_url).await?;
    assert_is_part(&bytes, &part(&backup, "-logs.gz"));
    assert_eq!(gunzip(&bytes)?, text);
    assert_eq!(String::from_utf8(read(&status.download_url).await?)?, text);
    server.stop()
}

#[tokio::test]
async fn a_port_forward_to_the_servers_pod_reaches_it() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let mut ark = Installation::new(plane).await?;
    ark.run_in_pod("ark-0").await?;
    let namespace = TestNamespace::new(plane, "files").await?;
    let server = ark.serve().await?;
    let backup = ark.back_up("files", all_of(&namespace)).await?;
    assert_clean_backup(&backup);
    let status = link(&ark, DownloadTargetKind::BackupContents, "files").await?;
    let there = status.server.context("a server")?;
    assert_eq!(there.pod, "ark-0");
    let through = async |path: &str| {
        let client = plane.client();
        get_through_pod(&client, ark.namespace(), &there.pod, there.port, path).await
    };
    let (head, body) = through(&there.path).await?;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_is_part(&body, &part(&backup, ".tar.zst"));
    let (head, _) = through("/download/x").await?;
    assert!(head.starts_with("http/1.1 403"), "{head}");
    server.stop()
}
