//! Writes the status of custom resources: as merge patches of what changed, with the resource's version where two
//! writers must not both succeed, and again and again where the outcome of a run must not get lost.

use std::time::Duration;

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::objects::parse;
use crate::api::FIELD_MANAGER;

/// The first pause after a failed write; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a status could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    /// Somebody else changed the object since it was read.
    #[error("somebody else changed it meanwhile")]
    Changed,
    /// The object is not there any more, or another has its name.
    #[error("it is not there any more")]
    Gone,
    /// This server stopped leading before the write succeeded.
    #[error("this server no longer leads")]
    NotLeading,
    /// Anything else.
    #[error("cannot write its status")]
    Failed(#[source] kube::Error),
}

/// The identity and version of an object that was read.
#[derive(Clone, Debug)]
pub(crate) struct Read<K> {
    /// The object.
    pub(crate) object: K,
    /// Its name.
    pub(crate) name: String,
    /// Its UID.
    pub(crate) uid: String,
    /// Its version.
    pub(crate) resource_version: String,
    /// Its status as it is in the API, fields unknown here included.
    status: Value,
}

/// Reads an object as it is now; `None` if it is gone, or if another has its name.
///
/// # Errors
/// The API server's error; a malformed object is the inner error, as a sentence.
pub(crate) async fn get<K: DeserializeOwned>(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
) -> Result<Option<Result<Read<K>, String>>, kube::Error> {
    let Some(object) = api.get_opt(name).await? else {
        return Ok(None);
    };
    if object.metadata.uid.as_deref() != Some(uid) {
        return Ok(None);
    }
    Ok(Some(Read::of(&object)))
}

impl<K: DeserializeOwned> Read<K> {
    /// Takes an object as the API server has just given it.
    ///
    /// # Errors
    /// A sentence that says what of it cannot be read.
    pub(crate) fn of(object: &DynamicObject) -> Result<Self, String> {
        let metadata = &object.metadata;
        Ok(Self {
            object: parse(object)?,
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            resource_version: metadata.resource_version.clone().unwrap_or_default(),
            status: status_of(object),
        })
    }
}

impl<K: Sync> Read<K> {
    /// Writes the status if the object is still the version that was read.
    pub(crate) async fn replace_status(
        &self,
        api: &Api<DynamicObject>,
        status: &(impl Serialize + Sync),
    ) -> Result<(), StatusError> {
        let after = serde_json::to_value(status).unwrap_or_default();
        let patch = json!({
            "metadata": {"uid": self.uid, "resourceVersion": self.resource_version},
            "status": merge_diff(&self.status, &after),
        });
        patch_status(api, &self.name, &patch).await
    }
}

impl<K: DeserializeOwned + Sync> Read<K> {
    /// Changes what is not status if the object is still the version that was read; returns it as it is then.
    pub(crate) async fn patch(
        &self,
        api: &Api<DynamicObject>,
        mut patch: Value,
    ) -> Result<Self, StatusError> {
        patch["metadata"]["uid"] = self.uid.clone().into();
        patch["metadata"]["resourceVersion"] = self.resource_version.clone().into();
        let changed = api
            .patch(&self.name, &patch_params(), &Patch::Merge(&patch))
            .await
            .map_err(refusal)?;
        Self::of(&changed).map_err(|_| StatusError::Changed)
    }
}

/// Changes the status of an object until that has succeeded or is pointless.
///
/// `change` gets the object as it is and returns its new status, or `None` if nothing is to be written any more, as
/// when another server has taken over the run. An object that cannot be read is left alone.
pub(crate) async fn update_until_written<K, S>(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    lost: &CancellationToken,
    change: impl Fn(&K) -> Option<S> + Send + Sync,
) -> Result<(), StatusError>
where
    K: DeserializeOwned + Send + Sync,
    S: Serialize + Send + Sync,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let tried = tokio::select! {
            tried = update(api, name, uid, &change) => tried,
            () = lost.cancelled() => return Err(StatusError::NotLeading),
        };
        match tried {
            Err(StatusError::Changed) => {}
            Err(StatusError::Failed(error)) => {
                tracing::warn!(name, %error, "cannot write a status; trying again");
            }
            done => return done,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = lost.cancelled() => return Err(StatusError::NotLeading),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Reads an object and changes its status, once.
pub(crate) async fn update<K, S>(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    change: &(impl Fn(&K) -> Option<S> + Send + Sync),
) -> Result<(), StatusError>
where
    K: DeserializeOwned + Send + Sync,
    S: Serialize + Send + Sync,
{
    match get::<K>(api, name, uid).await {
        Ok(Some(Ok(read))) => match change(&read.object) {
            Some(status) => read.replace_status(api, &status).await,
            None => Ok(()),
        },
        Ok(Some(Err(problem))) => {
            tracing::warn!(name, problem, "a status is not written");
            Ok(())
        }
        Ok(None) => Err(StatusError::Gone),
        Err(error) => Err(StatusError::Failed(error)),
    }
}

/// Patches single fields of a status, whatever the object's version.
pub(crate) async fn patch_fields(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    fields: Value,
) -> Result<(), StatusError> {
    patch_status(
        api,
        name,
        &json!({"metadata": {"uid": uid}, "status": fields}),
    )
    .await
}

/// Sets one field of a status, if the object still is the one with this UID and its status still says of `held` what it
/// is said to say: [`StatusError::Changed`] if not.
///
/// Other fields may have changed: unlike a write that needs the version that was read, this meets no conflict with them.
pub(crate) async fn set_if_held(
    api: &Api<DynamicObject>,
    name: &str,
    uid: &str,
    held: (&str, &Value),
    field: (&str, &Value),
) -> Result<(), StatusError> {
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": format!("/status/{}", held.0), "value": held.1},
        {"op": "add", "path": format!("/status/{}", field.0), "value": field.1},
    ]);
    let patch = serde_json::from_value(patch)
        .map_err(|error| StatusError::Failed(kube::Error::SerdeError(error)))?;
    let patch = Patch::Json::<()>(patch);
    match api.patch_status(name, &patch_params(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 422 => Err(StatusError::Changed),
        Err(error) => Err(refusal(error)),
    }
}

async fn patch_status(
    api: &Api<DynamicObject>,
    name: &str,
    patch: &Value,
) -> Result<(), StatusError> {
    api.patch_status(name, &patch_params(), &Patch::Merge(patch))
        .await
        .map_err(refusal)?;
    Ok(())
}

/// Returns the parameters of every patch of the server: they name the field manager.
pub(crate) fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Returns the parameters of every creation by the server: they name the field manager.
pub(crate) fn post_params() -> PostParams {
    PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn refusal(error: kube::Error) -> StatusError {
    match error {
        kube::Error::Api(status) if status.code == 409 => StatusError::Changed,
        kube::Error::Api(status) if status.code == 404 => StatusError::Gone,
        error => StatusError::Failed(error),
    }
}

fn status_of(object: &DynamicObject) -> Value {
    object.data.get("status").cloned().unwrap_or_default()
}

/// Returns the merge patch that makes `before` into `after`: changed fields, and nulls for what is gone.
fn merge_diff(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let mut patch = Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(same) if same == value => {}
            Some(old @ Value::Object(_)) if value.is_object() => {
                patch.insert(key.clone(), merge_diff(old, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_hold_what_changed() {
        for (before, after, patch) in [
            (
                json!(null),
                json!({"phase": "New"}),
                json!({"phase": "New"}),
            ),
            (json!({"phase": "New"}), json!({"phase": "New"}), json!({})),
            (
                json!({"phase": "InProgress", "progress": {"itemsDone": 1, "totalItems": 9}}),
                json!({"phase": "InProgress", "progress": {"itemsDone": 2, "totalItems": 9}}),
                json!({"progress": {"itemsDone": 2}}),
            ),
            (
                json!({"phase": "InProgress", "failureReason": "x", "parts": [1]}),
                json!({"phase": "Completed", "parts": [1, 2]}),
                json!({"phase": "Completed", "parts": [1, 2], "failureReason": null}),
            ),
            (
                json!("broken"),
                json!({"phase": "New"}),
                json!({"phase": "New"}),
            ),
        ] {
            assert_eq!(merge_diff(&before, &after), patch, "{before} {after}");
        }
    }
}
