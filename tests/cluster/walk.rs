//! A walk through every command of the client against a running server, told as a transcript: what each command prints
//! on standard output and standard error, and its exit code. Snapshots hold it, one a chapter.
//!
//! The walk is complete: a command or an alias that `ark --help` names and that no chapter ran fails the test. `ark
//! run-plugin` of earlier Arks was for the server's own use and is not a command any more.

mod story;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use story::Story;

use crate::support::ark::{Installation, Store};
use crate::support::control_plane::ControlPlane;
use crate::support::namespace::TestNamespace;
use crate::support::objects::apply_yaml;

/// Returns the name that a command has just given, which it prints in quotes.
fn named(said: &str) -> Result<String> {
    let name = said
        .split('"')
        .nth(1)
        .with_context(|| format!("a name: {said}"))?;
    Ok(name.to_owned())
}

#[tokio::test]
async fn every_command_is_walked() -> Result<()> {
    let plane = ControlPlane::shared().await;
    let ark = Installation::without_config(plane, Store::local(plane)?).await?;
    let namespace = TestNamespace::new(plane, "walk").await?;
    let shop = namespace.name();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client(), shop);
    let map =
        json!({"metadata": {"name": "prices", "labels": {"app": "shop"}}, "data": {"tea": "2"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map)?)
        .await?;

    let mut story = Story::begin(&ark)?;
    alone(&mut story, ark.namespace())?;
    let server = ark.start_server()?;
    locations(&mut story, &ark).await?;
    backups(&mut story, shop).await?;
    maps.delete("prices", &DeleteParams::default()).await?;
    restores(&mut story, shop)?;
    let restored = maps.get("prices").await.context("what was restored")?;
    assert_eq!(restored.data.unwrap_or_default()["tea"], "2");
    schedules(&mut story, shop).await?;
    deletions(&mut story).await?;
    plugins(&mut story, &ark).await?;
    story.end()?;
    server.stop()
}

/// What needs no cluster. From here on the settings say where Ark is.
fn alone(story: &mut Story, namespace: &str) -> Result<()> {
    story.run("version")?;
    story.run("client config get")?;
    story.run("client config set namespace=elsewhere colour=blue nothing")?;
    story.run("client config get")?;
    story.run("client config set namespace= colour=")?;
    story.run(&format!("client config set namespace={namespace}"))?;
    story.run("client config get namespace colour")?;
    for shell in ["bash", "zsh", "fish"] {
        story.first_line(&format!("completion {shell}"))?;
    }
    story.run("bug")?;
    story.run("restic repo get")?;
    story.run("restic server")?;
    story.chapter("alone");
    Ok(())
}

async fn locations(story: &mut Story, ark: &Installation<'_>) -> Result<()> {
    // Just after a type was defined, the API server says for a moment that it is not ready.
    for noun in [
        "backup",
        "restore",
        "schedule",
        "backup-location",
        "snapshot-location",
    ] {
        story.until(&format!("{noun} get"), |_| true).await?;
    }
    let path = ark.provider()["config"]["path"]
        .as_str()
        .context("a path")?;
    story.run("backup-location get")?;
    let create = format!(
        "backup-location create default --provider local --bucket ark --config path={path}"
    );
    story.run(&create)?;
    story.run(&create)?;
    story.run(&format!(
        "create backup-location second --provider local --bucket ark --config path={path} --prefix second --labels tier=web \
         --access-mode ReadOnly"
    ))?;
    story
        .until("backup-location get", |table| {
            table.matches(" ago").count() == 2
        })
        .await?;
    story.run("backup-location get default")?;
    story.run("get backup-locations -l tier=web --label-columns tier")?;
    story.run("get backup-location third")?;
    story.answer("delete backup-location second", "n")?;
    story.answer("backup-location delete second", "y")?;
    story.run("delete backup-locations second --confirm")?;

    // Neither is there: no test asks a real cloud.
    story.run(
        "snapshot-location create ebs --provider aws --config region=eu-west-1,ec2Url=http://127.0.0.1:9 --labels tier=web",
    )?;
    story.run("create snapshot-location disks --provider local")?;
    story
        .until("snapshot-location get", |table| {
            table.matches("Unavailable").count() == 2
        })
        .await?;
    story.run("snapshot-location get")?;
    story.run("get snapshot-locations -l tier=web --show-labels")?;
    story.run("get snapshot-location disks -o yaml")?;
    story.run("snapshot-location delete disks --confirm")?;
    story.answer("delete snapshot-location ebs", "n")?;
    story.run("delete snapshot-locations --all --confirm")?;
    story.run("get snapshot-locations")?;
    story.chapter("locations");
    Ok(())
}

async fn backups(story: &mut Story, shop: &str) -> Result<()> {
    story.run("backup get")?;
    story.run(&format!(
        "backup create plain --include-namespaces {shop} --include-resources configmaps -l app=shop"
    ))?;
    story
        .until("backup get plain", |table| table.contains("Completed"))
        .await?;
    story.run("backup create plain")?;
    let flags = format!(
        "--include-namespaces {shop} --exclude-namespaces kube-system --include-resources configmaps,secrets \
         --exclude-resources events -l app=shop --labels tier=web,team=a --ttl 24h --snapshot-volumes=false \
         --include-cluster-resources=false --storage-location default"
    );
    story.run(&format!(
        "create backup full {flags} --volume-snapshot-locations ebs -o yaml"
    ))?;
    story.run(&format!("create backup full {flags} --wait"))?;
    story.run("backup create nowhere --storage-location nowhere --wait")?;
    story.run("backup get")?;
    story.run("get backups -l tier=web --show-labels")?;
    story.run("get backup full plain --label-columns tier,example.org/team")?;
    story.run("backup get full -o yaml")?;
    story.run("backup get full -o json")?;
    story.run("backup get full missing other")?;
    story.run("backup describe plain")?;
    story.run("describe backups -l tier=web --details")?;
    story.run("describe backup nowhere")?;
    story.run("backup describe missing")?;
    story.first_line("backup logs full")?;
    story.run("backup logs nowhere")?;
    story.run("backup logs missing")?;
    story.run("backup download full")?;
    assert_archive(&story.home().join("full-data.tar.zst"))?;
    story.run("backup download full")?;
    story.run("backup download full --force")?;
    story.run("backup download missing -o saved")?;
    story.chapter("backups");
    Ok(())
}

/// A download is the archive: a tar, packed with zstd.
fn assert_archive(file: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(std::fs::File::open(file)?)?);
    let entries = archive.entries()?.collect::<Result<Vec<_>, _>>()?;
    ensure!(!entries.is_empty(), "{} is empty", file.display());
    Ok(())
}

fn restores(story: &mut Story, shop: &str) -> Result<()> {
    story.run("restore get")?;
    let unnamed = named(&story.run("restore create plain --wait")?)?;
    story.run(&format!(
        "create restore moved --from-backup full --namespace-mappings {shop}:{shop}-moved --include-resources configmaps \
         --labels tier=web --restore-volumes=false --wait"
    ))?;
    story.run("restore create lost --from-backup missing")?;
    story.run("restore get")?;
    story.run("get restores -l tier=web --show-labels")?;
    story.run("get restore moved -o yaml")?;
    story.run("restore get missing")?;
    story.run("restore describe -l tier=web")?;
    story.run(&format!("describe restores {unnamed}"))?;
    story.run("describe restore missing")?;
    story.first_line("restore logs moved")?;
    story.run("restore logs missing")?;
    story.answer("restore delete moved", "n")?;
    story.run("restore delete moved --confirm")?;
    story.run("delete restores moved --confirm")?;
    story.answer(&format!("delete restore {unnamed}"), "Y")?;
    story.run("restore get")?;
    story.chapter("restores");
    Ok(())
}

async fn schedules(story: &mut Story, shop: &str) -> Result<()> {
    let template = format!(
        "--schedule @yearly --include-namespaces {shop} --include-resources configmaps -l app=shop"
    );
    story.run(&format!(
        "schedule create nightly {template} --labels tier=web --ttl 48h"
    ))?;
    story.run(&format!("create schedule weekly {template} --paused"))?;
    story.run(&format!("create schedule nightly {template}"))?;
    story
        .until("schedule get nightly", |table| table.contains("Enabled"))
        .await?;
    story
        .until("schedule get weekly", |table| table.contains("Paused"))
        .await?;
    // A new schedule makes its first backup at once.
    story
        .until("backup get", |table| {
            table
                .lines()
                .any(|row| row.starts_with("nightly-") && row.contains("Completed"))
        })
        .await?;
    story
        .until("schedule get nightly", |table| table.contains(" ago"))
        .await?;
    story.run("schedule get")?;
    story.run("get schedules -l tier=web --label-columns tier")?;
    story.run("get schedule monthly")?;
    story.run("schedule describe nightly")?;
    story.run("describe schedules -l tier!=web")?;
    story.run("describe schedule monthly")?;
    story.run("schedule pause nightly weekly")?;
    story
        .until("schedule get nightly", |table| table.contains("Paused"))
        .await?;
    story.run("schedule get nightly")?;
    story.run("schedule unpause nightly")?;
    story.run("backup create by-hand --from-schedule nightly --wait")?;
    // Nothing but this makes a backup of this name: the schedule is paused.
    story.run("backup create --from-schedule weekly --wait")?;
    story.run("backup get")?;
    story.run("backup create --from-schedule monthly")?;
    story.run("restore create --from-schedule weekly --wait")?;
    story.run("restore create again --from-schedule weekly -o yaml")?;
    story.run("get restores")?;
    story.answer("schedule delete nightly", "n")?;
    story.run("schedule delete nightly --confirm")?;
    story.answer("delete schedule weekly", "y")?;
    story.run("delete schedules --all --confirm")?;
    story.run("schedule get")?;
    story.chapter("schedules");
    Ok(())
}

/// Backups are deleted last: the chapters before use them.
async fn deletions(story: &mut Story) -> Result<()> {
    story.answer("backup delete plain full", "n")?;
    story.run("backup delete -l tier=web,team=a --confirm")?;
    story
        .until("backup get", |table| !table.contains("full"))
        .await?;
    story.run("backup get")?;
    story.answer("delete backup plain missing nowhere", "y")?;
    story
        .until("backup get", |table| {
            !table.contains("plain") && !table.contains("nowhere")
        })
        .await?;
    story.run("delete backups --all --confirm")?;
    story
        .until("backup get", |table| table.lines().count() == 1)
        .await?;
    story.run("backup delete --all --confirm")?;
    story.run("restore get")?;
    story.chapter("deletions");
    Ok(())
}

async fn plugins(story: &mut Story, ark: &Installation<'_>) -> Result<()> {
    story.run("plugin get")?;
    story.run("plugin add registry/blocks:1")?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&ark.ark(&["install", "--dry-run"])?)?;
    let mut deployment = documents
        .into_iter()
        .find(|document| document["kind"] == "Deployment")
        .context("a Deployment")?;
    deployment["spec"]["replicas"] = json!(0);
    apply_yaml(&ark.plane().client(), &deployment.to_string()).await?;
    story.run("plugin add registry/blocks:1")?;
    story.run("plugin add registry/blocks:1")?;
    story.run("plugin add registry/blocks:2 --image-pull-policy Always")?;
    story.run("plugin remove blocks")?;
    story.run("plugin remove blocks")?;
    story.chapter("plugins");
    Ok(())
}
