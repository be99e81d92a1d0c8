//! What follows a create: the status of what is to have it back (cases 3, 4), and the fields of those who applied them
//! (case 6). Most objects need neither, and cost nothing more.

use serde_json::{Value, json};

use crate::api::FIELD_MANAGER;
use crate::cluster::{ClusterError, ClusterErrorKind};

use super::apply::Applier;
use super::prepare::Prepared;
use crate::api::object::{self, Object};

/// The annotations that override whether a status is restored.
const RESTORE_STATUS: [&str; 2] = ["ark.heptio.com/restore-status", "velero.io/restore-status"];

/// What is to be done to an object once it is created.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Afterwards {
    /// The stored status.
    pub(super) status: Option<Value>,
    /// The stored managed fields, subresources left out.
    pub(super) managers: Option<Value>,
}

/// Decides what follows the create of a stored object. `by_type` is whether its type is to have its status back.
pub(super) fn afterwards(stored: &Object, by_type: bool) -> Afterwards {
    let wanted = RESTORE_STATUS
        .iter()
        .map(|key| object::text(stored, &["metadata", "annotations", key]))
        .find_map(|word| match word.to_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        });
    let status = stored.get("status").filter(|status| {
        wanted.unwrap_or(by_type) && status.as_object().is_some_and(|it| !it.is_empty())
    });
    let entries = || object::list(stored, &["metadata", "managedFields"]);
    let applied = entries().any(|entry| object::text(entry, &["operation"]) == "Apply");
    let managers = applied.then(|| {
        entries()
            .filter(|entry| object::text(entry, &["subresource"]).is_empty())
            .map(|entry| Value::Object(entry.clone()))
            .collect()
    });
    Afterwards {
        status: status.cloned(),
        managers,
    }
}

/// Returns whether an object is one of a custom type with a status, in which an operator may keep its state.
pub(super) fn keeps_state(group_resource: &str, stored: &Object) -> bool {
    let custom = group_resource
        .split_once('.')
        .is_some_and(|(_, group)| group.contains('.') && !group.ends_with(".k8s.io"));
    custom && object::at(stored, &["status"]).is_some_and(|status| !status.is_empty())
}

/// Returns what of `wanted` is still to be done to an object that this restore created before: nothing once anybody
/// else has written to it.
fn left_to_do(wanted: &Afterwards, existing: &Object) -> Afterwards {
    let entries = || object::list(existing, &["metadata", "managedFields"]);
    let text = object::text;
    if entries().any(|entry| text(entry, &["manager"]) != FIELD_MANAGER) {
        return Afterwards::default();
    }
    let has_status = entries().any(|entry| text(entry, &["subresource"]) == "status");
    Afterwards {
        status: wanted.status.clone().filter(|_| !has_status),
        managers: wanted.managers.clone(),
    }
}

impl Applier<'_> {
    /// Ends what was begun with an object that this restore has created: the answer was lost, or the server died.
    pub(super) async fn finish_own(&self, prepared: &Prepared<'_>, existing: &Object) {
        if prepared.emptied {
            self.report
                .emptied(prepared.namespace.unwrap_or_default(), prepared.name);
        }
        let left = left_to_do(&prepared.afterwards, existing);
        self.follow_up(prepared, &left).await;
    }

    /// Does what follows a create. Failures are reported; the object is there all the same.
    pub(super) async fn follow_up(&self, prepared: &Prepared<'_>, afterwards: &Afterwards) {
        if let Some(status) = &afterwards.status
            && let Err(error) = self.put_status(prepared, status).await
        {
            self.report.warn(
                prepared.namespace,
                format!(
                    "{}: its status is not restored: {}",
                    prepared.title(),
                    error.message
                ),
            );
        }
        if let Some(managers) = &afterwards.managers {
            let patch = json!({"metadata": {"managedFields": managers}});
            match self.patch_part(prepared, "", &patch).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => self.report.warn(
                    prepared.namespace,
                    format!("{} was deleted by somebody right after its restore", prepared.title()),
                ),
                Err(error) => self.report.fail_object(
                    prepared.namespace,
                    prepared.group_resource,
                    prepared.name,
                    &format!(
                        "it is restored, but its fields could not be given back to who applied them: {}",
                        error.message
                    ),
                ),
            }
        }
    }

    async fn put_status(
        &self,
        prepared: &Prepared<'_>,
        status: &Value,
    ) -> Result<(), ClusterError> {
        let patch = json!({"status": status});
        match self.patch_part(prepared, "status", &patch).await {
            // A type without the subresource: the status is a field like others.
            Err(error) if error.kind == ClusterErrorKind::NotFound => {
                self.patch_part(prepared, "", &patch).await
            }
            answer => answer,
        }
    }

    /// Changes an object by a merge patch, or a subresource of it if one is named.
    pub(super) async fn patch_part(
        &self,
        prepared: &Prepared<'_>,
        subresource: &str,
        patch: &Value,
    ) -> Result<(), ClusterError> {
        self.patience
            .send(|| {
                let patch = self.cluster.merge_patch_part(
                    &prepared.api_type,
                    (prepared.namespace, prepared.name),
                    subresource,
                    patch,
                );
                async { patch.await.map(|_| ()) }
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::testing;

    #[test]
    fn the_status_follows_the_type_unless_an_annotation_says_otherwise() {
        for (annotation, by_type, restored) in [
            ("", true, true),
            ("", false, false),
            ("True", false, true),
            ("FALSE", true, false),
            ("maybe", true, true),
        ] {
            let annotations = json!({"velero.io/restore-status": annotation});
            let object = testing::object(
                json!({"metadata": {"annotations": annotations}, "status": {"a": 1}}),
            );
            let found = afterwards(&object, by_type);
            assert_eq!(found.status.is_some(), restored, "{annotation} {by_type}");
        }
    }

    #[test]
    fn what_was_begun_is_ended_unless_somebody_else_has_written_since() {
        let wanted = Afterwards {
            status: Some(json!({"a": 1})),
            managers: Some(json!([])),
        };
        let entry = |manager: &str, subresource: &str| json!({"manager": manager, "subresource": subresource});
        for (entries, status, managers) in [
            (vec![entry(FIELD_MANAGER, "")], true, true),
            (
                vec![entry(FIELD_MANAGER, ""), entry(FIELD_MANAGER, "status")],
                false,
                true,
            ),
            (
                vec![entry(FIELD_MANAGER, ""), entry("operator", "status")],
                false,
                false,
            ),
            (
                vec![entry(FIELD_MANAGER, ""), entry("kubectl", "")],
                false,
                false,
            ),
        ] {
            let existing = testing::object(json!({"metadata": {"managedFields": entries}}));
            let left = left_to_do(&wanted, &existing);
            assert_eq!(
                (left.status.is_some(), left.managers.is_some()),
                (status, managers),
                "{existing:?}"
            );
        }
    }

    #[test]
    fn only_who_applied_gets_fields_back() {
        let entry = |operation: &str, subresource: &str| json!({"manager": "m", "operation": operation, "subresource": subresource});
        for (entries, given_back) in [
            (vec![entry("Update", "")], None),
            (
                vec![
                    entry("Apply", ""),
                    entry("Update", ""),
                    entry("Update", "status"),
                ],
                Some(2),
            ),
        ] {
            let object = testing::object(json!({"metadata": {"managedFields": entries}}));
            let found = afterwards(&object, false).managers;
            assert_eq!(
                found.and_then(|list| Some(list.as_array()?.len())),
                given_back
            );
        }
    }
}
