//! The case table of restores: for each case a test that bears its number. Given these stored objects, this must be in
//! the cluster, and this must be said of it.
//!
//! A test stores its objects as a backup, so that they may be such as no API server of today would make, and has the
//! engine restore them into the real API server under a namespace of its own. `docs/restore-rules.md` lists the cases
//! with what each asks for.

mod accounts;
mod actions;
mod definitions;
mod existing;
mod jobs;
mod metadata;
mod modifiers;
mod order;
mod owners;
mod pods;
mod rbac;
mod scope;
mod services;
mod versions;
mod volumes;
mod webhooks;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ark::api::{Progress, Restore, RestoreSpec, RestoreStatus, ResultList};
use ark::cluster::{ApiType, Cluster, Discovery};
use ark::providers::actions::RunActions;
use ark::providers::snapshotters::Snapshotters;
use ark::restore::{self, RestoreError, RestoreOptions, RestoreOutcome, RestoreRequest};
use ark::storage::Location;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::control_plane::ControlPlane;
use crate::support::namespace::create_namespace;
use crate::support::objects::apply_yaml;
use crate::support::stored::{self, Folder};
use crate::support::unique_name;

/// A case of the table: a store of its own, and a namespace that is removed at the end.
pub(crate) struct Case<'plane> {
    pub(crate) cluster: Cluster,
    pub(crate) client: kube::Client,
    pub(crate) options: RestoreOptions,
    /// What the server's plugins would offer.
    pub(crate) actions: RunActions,
    /// The status that an earlier attempt has left.
    pub(crate) status: Option<RestoreStatus>,
    plane: &'plane ControlPlane,
    folder: Folder,
    location: Location,
    /// A name for namespaces and cluster-scoped objects that no other test uses; the namespace is not there yet.
    pub(crate) name: String,
}

impl Case<'static> {
    pub(crate) async fn new(number: u32) -> Result<Self> {
        Self::on(ControlPlane::shared().await, number).await
    }
}

impl<'plane> Case<'plane> {
    /// A case on a control plane of its own.
    pub(crate) async fn on(plane: &'plane ControlPlane, number: u32) -> Result<Self> {
        let folder = Folder::new()?;
        let location = folder.location().await?;
        Ok(Self {
            cluster: Cluster::new(plane.client(), None),
            client: plane.client(),
            // What is refused for good is not waited for.
            options: RestoreOptions {
                refused_timeout: Duration::from_secs(1),
                unavailable_timeout: Duration::from_secs(1),
                ..RestoreOptions::default()
            },
            actions: RunActions::default(),
            status: None,
            plane,
            folder,
            location,
            name: unique_name(&format!("case-{number}")),
        })
    }

    /// Makes the case's namespace.
    pub(crate) async fn make_namespace(&self) -> Result<()> {
        create_namespace(&self.client, &self.name).await
    }

    /// Returns objects from YAML, in which NAME stands for the case's own name.
    pub(crate) fn objects(&self, yaml: &str) -> Result<Vec<Value>> {
        let documents: Vec<Option<Value>> =
            serde_saphyr::from_multiple(&yaml.replace("NAME", &self.name))
                .context("read the YAML")?;
        Ok(documents.into_iter().flatten().collect())
    }

    /// Makes objects in the cluster.
    pub(crate) async fn apply(&self, yaml: &str) -> Result<()> {
        apply_yaml(&self.client, &yaml.replace("NAME", &self.name)).await?;
        Ok(())
    }

    /// Stores objects as a backup and restores all of it; fails unless that goes without a warning or an error.
    pub(crate) async fn restore(&self, yaml: &str) -> Result<RestoreOutcome> {
        let outcome = self.restore_as(yaml, RestoreSpec::default()).await?;
        assert_silent(&outcome);
        Ok(outcome)
    }

    /// Stores objects as a backup and restores what the spec says, whatever comes of single objects.
    pub(crate) async fn restore_as(&self, yaml: &str, spec: RestoreSpec) -> Result<RestoreOutcome> {
        let backup = unique_name("backup");
        self.store(&backup, yaml).await?;
        Ok(self.run(&backup, "restore", spec).await?)
    }

    /// Restores what must be refused, and returns why.
    pub(crate) async fn refused(&self, yaml: &str, spec: RestoreSpec) -> Result<String> {
        let backup = unique_name("backup");
        self.store(&backup, yaml).await?;
        match self.run(&backup, "restore", spec).await {
            Err(RestoreError::Refused(problems)) => Ok(problems.join("\n")),
            other => bail!("it was not refused: {other:?}"),
        }
    }

    /// Stores objects as a backup.
    pub(crate) async fn store(&self, backup: &str, yaml: &str) -> Result<()> {
        stored::store_backup(&self.cluster, &self.location, backup, &self.objects(yaml)?).await
    }

    /// Restores a stored backup.
    pub(crate) async fn run(
        &self,
        backup: &str,
        restore: &str,
        spec: RestoreSpec,
    ) -> Result<RestoreOutcome, RestoreError> {
        let (progress, _seen) = watch::channel(Progress::default());
        let never = CancellationToken::new();
        self.engine(backup, restore, spec, &progress, &never).await
    }

    /// Restores a stored backup, and ends that once so many items are dealt with.
    pub(crate) async fn run_until(
        &self,
        backup: &str,
        restore: &str,
        items: u64,
    ) -> Result<RestoreOutcome, RestoreError> {
        let (progress, mut seen) = watch::channel(Progress::default());
        let cancel = CancellationToken::new();
        let stop = async {
            // An end of the run before that is seen by it.
            drop(seen.wait_for(|progress| progress.items_done >= items).await);
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            outcome = self.engine(backup, restore, RestoreSpec::default(), &progress, &cancel) => outcome,
            () = stop => unreachable!("it only stops the other"),
        }
    }

    async fn engine(
        &self,
        backup: &str,
        restore: &str,
        spec: RestoreSpec,
        progress: &watch::Sender<Progress>,
        cancel: &CancellationToken,
    ) -> Result<RestoreOutcome, RestoreError> {
        let failed = |error: String| RestoreError::Failed {
            reason: error,
            results: Box::default(),
        };
        let record = self.location.read_record(backup).await;
        let mut asked = Restore::new(
            restore,
            RestoreSpec {
                backup_name: backup.to_owned(),
                ..spec
            },
        );
        asked.metadata.uid = Some(format!("uid-{restore}"));
        asked.status.clone_from(&self.status);
        let request = RestoreRequest {
            restore: asked,
            actions: self.actions.clone(),
            backup: record.map_err(|error| failed(error.to_string()))?.backup,
            snapshotters: Snapshotters::default(),
        };
        restore::run(
            &self.cluster,
            &self.location,
            &request,
            &self.options,
            progress,
            cancel,
        )
        .await
    }

    /// Returns the same case as a user of the cluster who has no more than the rights given to that name.
    pub(crate) async fn impersonating(&self, user: &str) -> Result<Self> {
        let client = self.plane.client_for(user);
        let folder = Folder::new()?;
        Ok(Self {
            cluster: Cluster::new(client, None),
            client: self.client.clone(),
            options: self.options.clone(),
            actions: self.actions.clone(),
            status: self.status.clone(),
            plane: self.plane,
            location: folder.location().await?,
            folder,
            name: self.name.clone(),
        })
    }

    /// Waits until a type is served.
    pub(crate) async fn served(&self, of: &str) -> Result<()> {
        crate::support::wait_until("the type is served", PATIENCE, async || {
            let discovery = self.cluster.discover().await?;
            Ok(discovery.by_group_resource(of).map(|_| ()))
        })
        .await
    }

    /// Waits until the API server refuses new ConfigMaps in the case's namespace.
    pub(crate) async fn until_refused(&self) -> Result<()> {
        let config_maps = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(
            self.client.clone(),
            &self.name,
        );
        let params = kube::api::PostParams {
            dry_run: true,
            ..kube::api::PostParams::default()
        };
        let probe = serde_json::from_value(serde_json::json!({"metadata": {"name": "probe"}}))?;
        crate::support::wait_until("creates are refused", PATIENCE, async || {
            Ok(config_maps
                .create(&params, &probe)
                .await
                .is_err()
                .then_some(()))
        })
        .await
    }

    /// Reads an object in the case's namespace.
    pub(crate) async fn get(&self, of: &str, name: &str) -> Result<Option<Value>> {
        self.get_in(of, Some(&self.name), name).await
    }

    /// Reads a cluster-scoped object.
    pub(crate) async fn get_global(&self, of: &str, name: &str) -> Result<Option<Value>> {
        self.get_in(of, None, name).await
    }

    pub(crate) async fn get_in(
        &self,
        of: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>> {
        let api_type = self.api_type(of).await?;
        let body = self.cluster.get(&api_type, namespace, name).await?;
        Ok(body.map(|body| serde_json::from_slice(&body)).transpose()?)
    }

    /// Reads an object in the case's namespace that has to be there.
    pub(crate) async fn must_get(&self, of: &str, name: &str) -> Result<Value> {
        let found = self.get(of, name).await?;
        found.with_context(|| format!("{of} {name} is not there"))
    }

    /// Reads a cluster-scoped object that has to be there.
    pub(crate) async fn must_get_global(&self, of: &str, name: &str) -> Result<Value> {
        let found = self.get_global(of, name).await?;
        found.with_context(|| format!("{of} {name} is not there"))
    }

    async fn api_type(&self, of: &str) -> Result<ApiType> {
        let discovery: Discovery = self.cluster.discover().await?;
        let found = discovery.by_group_resource(of);
        Ok((**found.with_context(|| format!("no type {of}"))?).clone())
    }
}

/// Fails if a restore said anything.
#[track_caller]
pub(crate) fn assert_silent(outcome: &RestoreOutcome) {
    assert_eq!(said(outcome), BTreeSet::new());
}

/// Returns everything that a restore said, warnings and errors.
pub(crate) fn said(outcome: &RestoreOutcome) -> BTreeSet<String> {
    let list = |list: &ResultList, what: &str| -> Vec<String> {
        let namespaces = list.namespaces.values().flatten();
        let all = list.ark.iter().chain(&list.cluster).chain(namespaces);
        all.map(|line| format!("{what}: {line}")).collect()
    };
    let results = &outcome.results;
    let mut said = list(&results.warnings, "warning");
    said.extend(list(&results.errors, "error"));
    said.into_iter().collect()
}

/// Fails unless a restore said one thing, which holds all of `parts`.
#[track_caller]
pub(crate) fn assert_said(outcome: &RestoreOutcome, parts: &[&str]) {
    let said = said(outcome);
    assert_eq!(said.len(), 1, "{said:?}");
    for part in parts {
        assert!(
            said.iter().any(|line| line.contains(part)),
            "{part}: {said:?}"
        );
    }
}

/// Returns what stands at a JSON pointer; null if nothing does.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    object.pointer(pointer).unwrap_or(&Value::Null)
}

/// How long what controllers do is waited for.
pub(crate) const PATIENCE: Duration = crate::support::PATIENCE;
