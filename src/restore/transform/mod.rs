//! Turns a stored object into the object to create: one small function a rule, in a table by type.
//!
//! The rules of a type see the object as it was stored, status and managed fields included; then its metadata is reset
//! (`metadata.rs`), whatever its type. The numbers at the rules are those of the case table in the documentation.
//! Owner references are dropped with the rest of the metadata: an owner that is restored has another UID, and linking
//! children to it again is a step of its own (case 84).

mod definitions;
mod jobs;
mod metadata;
mod pods;
mod rbac;
mod secrets;
mod services;
mod volumes;
mod webhooks;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use super::object::Object;

pub(crate) use metadata::own_metadata;
pub(crate) use secrets::{TOKEN_ACCOUNT, TOKEN_TYPE};

/// What rules know beyond the object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Where the objects of an original namespace go, if not to one of the same name.
    pub(crate) namespace_mapping: BTreeMap<String, String>,
    /// The labels that restored objects get.
    pub(crate) marks: Vec<(&'static str, String)>,
    /// Names of the persistent volumes that are not restored because their claims shall get new ones.
    pub(crate) provisioned_anew: HashSet<String>,
}

impl Facts {
    /// Returns the target of an original namespace.
    pub(crate) fn target_namespace<'a>(&'a self, original: &'a str) -> &'a str {
        self.namespace_mapping
            .get(original)
            .map_or(original, String::as_str)
    }

    /// Returns the facts for an object that is in the target already: nothing is moved or marked there.
    pub(crate) fn for_existing(&self) -> Self {
        Self {
            namespace_mapping: BTreeMap::new(),
            marks: Vec::new(),
            provisioned_anew: self.provisioned_anew.clone(),
        }
    }
}

/// A rule: changes an object of its type.
type Rule = fn(&mut Object, &Facts);

/// Returns the rules of a type, by its full name.
fn rules(group_resource: &str) -> &'static [Rule] {
    match group_resource {
        "pods" => &[
            pods::unschedule,
            pods::drop_token_volumes,
            pods::drop_debug_containers,
        ],
        "services" => &[
            services::release_addresses,
            services::release_node_ports,
            services::release_health_check_port,
        ],
        "serviceaccounts" => &[secrets::drop_token_references],
        "secrets" => &[secrets::empty_token],
        "jobs.batch" => &[jobs::drop_controller_uid],
        "persistentvolumes" => &[volumes::unbind_volume],
        "persistentvolumeclaims" => &[volumes::unbind_claim, volumes::provision_anew],
        "rolebindings.rbac.authorization.k8s.io"
        | "clusterrolebindings.rbac.authorization.k8s.io" => &[rbac::move_subjects],
        "customresourcedefinitions.apiextensions.k8s.io" => &[definitions::keep_unknown_fields],
        "validatingwebhookconfigurations.admissionregistration.k8s.io"
        | "mutatingwebhookconfigurations.admissionregistration.k8s.io" => {
            &[webhooks::declare_side_effects, webhooks::move_services]
        }
        "apiservices.apiregistration.k8s.io" => &[webhooks::move_service],
        _ => &[],
    }
}

/// Turns a stored object of type `group_resource` into the one to create in `namespace`.
pub(crate) fn transform(
    object: &mut Object,
    group_resource: &str,
    namespace: Option<&str>,
    facts: &Facts,
) {
    for rule in rules(group_resource) {
        rule(object, facts);
    }
    metadata::reset(object);
    metadata::place(object, namespace);
    metadata::mark(object, facts);
}
