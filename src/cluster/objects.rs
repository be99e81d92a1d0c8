//! Single objects: read, created, changed and removed as bytes.

use bytes::Bytes;
use http::{Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{ApiType, Cluster, ClusterError, ClusterErrorKind};
use crate::api::FIELD_MANAGER;

const JSON: &str = "application/json";
/// Asks for an answer of metadata alone: the caller has the object already.
const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// Names may hold `:` and other characters (RBAC); all that a path segment gives a meaning is encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// What a create is asked to do besides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CreateOptions {
    /// Checks everything and stores nothing.
    pub dry_run: bool,
    /// Refuses fields that the type does not have, instead of dropping them.
    pub strict: bool,
}

/// What the server says of an object it created.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct Created {
    /// The name it got.
    pub name: String,
    /// The UID it got.
    #[serde(default)]
    pub uid: String,
    /// The fields that its type does not have and the server has dropped.
    #[serde(skip)]
    pub dropped: Vec<String>,
}

/// What becomes of what belongs to an object that is deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Propagation {
    /// It is deleted, too.
    Background,
    /// It stays, without an owner.
    Orphan,
}

#[derive(Deserialize)]
struct MetadataOnly {
    metadata: Created,
}

impl Cluster {
    /// Reads an object; `None` if it is not there.
    pub async fn get(
        &self,
        api_type: &ApiType,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Bytes>, ClusterError> {
        let action = describe("get", api_type, namespace, name);
        match self
            .read(&action, &object_path(api_type, namespace, name), JSON)
            .await
        {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object from its JSON. Sent once: what a failure means is the caller's to decide.
    pub async fn create(
        &self,
        api_type: &ApiType,
        namespace: Option<&str>,
        name: &str,
        body: impl Into<Bytes> + Send,
        options: CreateOptions,
    ) -> Result<Created, ClusterError> {
        let action = describe("create", api_type, namespace, name);
        let dry_run = if options.dry_run { "&dryRun=All" } else { "" };
        let strict = if options.strict {
            "&fieldValidation=Strict"
        } else {
            ""
        };
        let path = format!(
            "{}?fieldManager={FIELD_MANAGER}{dry_run}{strict}",
            api_type.path(namespace)
        );
        let (headers, answer) = self
            .exchange(
                &action,
                Method::POST,
                &path,
                METADATA_ONLY,
                Some((JSON, body.into())),
            )
            .await?;
        let created: MetadataOnly = serde_json::from_slice(&answer)
            .map_err(|error| ClusterError::malformed(&action, error.to_string()))?;
        let warnings = headers.get_all(header::WARNING).iter();
        Ok(Created {
            dropped: warnings
                .filter_map(|warning| unknown_field(warning.to_str().ok()?))
                .collect(),
            ..created.metadata
        })
    }

    /// Changes an object by a merge patch and returns it as it is then.
    pub async fn merge_patch(
        &self,
        api_type: &ApiType,
        namespace: Option<&str>,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<Bytes, ClusterError> {
        self.merge_patch_part(api_type, (namespace, name), "", patch)
            .await
    }

    /// Checks whether an object may be changed by a merge patch. Nothing is stored.
    pub async fn try_merge_patch(
        &self,
        api_type: &ApiType,
        namespace: Option<&str>,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<Bytes, ClusterError> {
        self.send_patch(api_type, (namespace, name), ("", "&dryRun=All"), patch)
            .await
    }

    /// Changes a subresource of an object, such as `status`, by a merge patch.
    pub async fn merge_patch_part(
        &self,
        api_type: &ApiType,
        (namespace, name): (Option<&str>, &str),
        subresource: &str,
        patch: &serde_json::Value,
    ) -> Result<Bytes, ClusterError> {
        self.send_patch(api_type, (namespace, name), (subresource, ""), patch)
            .await
    }

    async fn send_patch(
        &self,
        api_type: &ApiType,
        (namespace, name): (Option<&str>, &str),
        (subresource, option): (&str, &str),
        patch: &serde_json::Value,
    ) -> Result<Bytes, ClusterError> {
        let action = describe("patch", api_type, namespace, name);
        let slash = if subresource.is_empty() { "" } else { "/" };
        let path = format!(
            "{}{slash}{subresource}?fieldManager={FIELD_MANAGER}{option}",
            object_path(api_type, namespace, name)
        );
        let body = patch.to_string().into();
        self.send(
            &action,
            Method::PATCH,
            &path,
            JSON,
            Some(("application/merge-patch+json", body)),
        )
        .await
    }

    /// Returns what an object would be if it were replaced by another one of its name. Nothing is stored.
    pub async fn try_replace(
        &self,
        api_type: &ApiType,
        namespace: Option<&str>,
        name: &str,
        body: impl Into<Bytes> + Send,
    ) -> Result<Bytes, ClusterError> {
        let action = describe("compare", api_type, namespace, name);
        let path = format!(
            "{}?fieldManager={FIELD_MANAGER}&dryRun=All",
            object_path(api_type, namespace, name)
        );
        self.send(&action, Method::PUT, &path, JSON, Some((JSON, body.into())))
            .await
    }

    /// Deletes the object with this UID; fine if it is gone.
    pub async fn delete(
        &self,
        api_type: &ApiType,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
        propagation: Propagation,
    ) -> Result<(), ClusterError> {
        let action = describe("delete", api_type, namespace, name);
        let path = object_path(api_type, namespace, name);
        let propagation = match propagation {
            Propagation::Background => "Background",
            Propagation::Orphan => "Orphan",
        };
        let options = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"uid": uid}, "propagationPolicy": propagation,
        });
        let body = options.to_string().into();
        match self
            .send(&action, Method::DELETE, &path, JSON, Some((JSON, body)))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the cluster's id: the UID of its `kube-system` namespace.
    pub async fn id(&self) -> Result<String, ClusterError> {
        let action = "read the cluster's id from namespace kube-system";
        let answer = self
            .read(action, "/api/v1/namespaces/kube-system", METADATA_ONLY)
            .await?;
        let namespace: MetadataOnly = serde_json::from_slice(&answer)
            .map_err(|error| ClusterError::malformed(action, error.to_string()))?;
        Ok(namespace.metadata.uid)
    }

    /// Returns whether a namespace is there, and if so whether it is being deleted.
    pub async fn namespace_state(
        &self,
        name: &str,
    ) -> Result<Option<NamespaceState>, ClusterError> {
        #[derive(Deserialize)]
        struct Namespace {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            #[serde(default)]
            deletion_timestamp: Option<String>,
        }
        let action = format!("get namespaces {name}");
        let path = format!("/api/v1/namespaces/{}", encode(name));
        match self.read(&action, &path, METADATA_ONLY).await {
            Ok(body) => {
                let namespace: Namespace = serde_json::from_slice(&body)
                    .map_err(|error| ClusterError::malformed(&action, error.to_string()))?;
                Ok(Some(match namespace.metadata.deletion_timestamp {
                    Some(_) => NamespaceState::Terminating,
                    None => NamespaceState::Active,
                }))
            }
            Err(error) if error.kind == ClusterErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// State of a namespace that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NamespaceState {
    /// In use.
    Active,
    /// Being deleted.
    Terminating,
}

/// Returns the field that a `Warning` header calls unknown: `299 - "unknown field \"spec.web\""`.
fn unknown_field(warning: &str) -> Option<String> {
    let (_, rest) = warning.split_once("unknown field \\\"")?;
    let (field, _) = rest.split_once("\\\"")?;
    Some(field.to_owned())
}

fn object_path(api_type: &ApiType, namespace: Option<&str>, name: &str) -> String {
    format!("{}/{}", api_type.path(namespace), encode(name))
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

fn describe(verb: &str, api_type: &ApiType, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{verb} {} {namespace}/{name}", api_type.group_resource()),
        None => format!("{verb} {} {name}", api_type.group_resource()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_name_unknown_fields() {
        for (warning, field) in [
            (r#"299 - "unknown field \"spec.web\"""#, Some("spec.web")),
            (
                r#"299 - "unknown field \"spec.list[0].it\"""#,
                Some("spec.list[0].it"),
            ),
            (r#"299 - "v1 Endpoints is deprecated""#, None),
        ] {
            assert_eq!(unknown_field(warning).as_deref(), field, "{warning}");
        }
    }
}
