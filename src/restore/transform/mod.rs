//! Turns a stored object into the object to create: one small function a rule, in a table by type.
//!
//! The rules of a type see the object as it was stored, status and managed fields included; then its metadata is reset
//! (`metadata.rs`), whatever its type. The numbers at the rules are those of the case table in the documentation.
//! Owner references are dropped with the rest of the metadata; `restore/owners.rs` has those to the new owners (case 84).

mod definitions;
mod jobs;
mod metadata;
mod namespaces;
mod pods;
mod rbac;
mod schemas;
mod secrets;
mod services;
mod storage_classes;
mod volumes;
mod webhooks;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use super::rules::Told;
use crate::api::object::Object;

use self::Change::{Do, Names, Selects};
pub(crate) use self::metadata::{own_metadata, reset};
pub(crate) use self::secrets::{TOKEN_ACCOUNT, TOKEN_TYPE};

/// What rules know beyond the object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Where the objects of an original namespace go, if not to one of the same name.
    pub(crate) namespace_mapping: BTreeMap<String, String>,
    /// The labels that restored objects get.
    pub(crate) marks: Vec<(&'static str, String)>,
    /// Names of the persistent volumes that are not restored because their claims shall get new ones.
    pub(crate) provisioned_anew: HashSet<String>,
    /// Volumes that get another name.
    pub(crate) renamed_volumes: HashMap<String, String>,
    /// Which storage class takes the place of which.
    pub(crate) storage_classes: BTreeMap<String, String>,
    /// Fields that name namespaces, by the full name of their type.
    pub(crate) references: BTreeMap<String, Vec<String>>,
    /// Whether Services keep all of their node ports.
    pub(crate) preserve_node_ports: bool,
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
            preserve_node_ports: self.preserve_node_ports,
            ..Self::default()
        }
    }
}

/// What is done, for the page of rules.
pub(crate) const TOLD: &[Told] = &[
    Told {
        cases: "1",
        about: "every object",
        says: "loses UID, resource version, generation, self link, times, generated-name prefix and managed fields; keeps name, labels, annotations",
    },
    Told {
        cases: "7",
        about: "every object",
        says: "keeps its finalizers",
    },
    Told {
        cases: "8",
        about: "an object with a generated name",
        says: "keeps that name",
    },
    Told {
        cases: "2, 3, 4",
        about: "every object",
        says: "comes without status; its type named in `--status-include-resources`, or an annotation `velero.io/restore-status`, brings it back",
    },
    Told {
        cases: "5",
        about: "every object but namespaces",
        says: "is labelled with restore and backup, unless `--no-labels`",
    },
];

/// A rule: changes objects of its types.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The full names of its types.
    pub(crate) types: &'static [&'static str],
    /// The numbers of its cases, if it has any.
    pub(crate) cases: &'static str,
    /// What it does, in a sentence for `docs/restore-rules.md`.
    pub(crate) says: &'static str,
    apply: Change,
}

/// How a rule changes an object.
#[derive(Debug)]
enum Change {
    /// By code.
    Do(fn(&mut Object, &Facts)),
    /// What stands in these fields are names of namespaces, which are mapped.
    Names(&'static [&'static str]),
    /// What stands in these fields are selectors of namespaces; one that goes by the name label is mapped.
    Selects(&'static [&'static str]),
}

impl Rule {
    fn apply(&self, object: &mut Object, facts: &Facts) {
        match &self.apply {
            Do(change) => change(object, facts),
            Names(_) | Selects(_) if facts.namespace_mapping.is_empty() => {}
            Names(paths) => {
                for path in *paths {
                    namespaces::move_names(object, path, facts);
                }
            }
            Selects(paths) => {
                for path in *paths {
                    namespaces::move_selectors(object, path, facts);
                }
            }
        }
    }

    /// Returns whether it maps what stands in this field: that is done once, or two namespaces could not change places.
    fn names(&self, path: &str) -> bool {
        match &self.apply {
            Names(paths) => paths.contains(&path),
            Do(_) | Selects(_) => false,
        }
    }
}

const BINDINGS: &[&str] = &[
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];
const WEBHOOKS: &[&str] = &[
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
];

const POLICY_BINDINGS: &[&str] = &[
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
];

/// All rules; those of one type apply in this order.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        types: &["customresourcedefinitions.apiextensions.k8s.io"],
        cases: "14",
        says: "`preserveUnknownFields: true`, which may no longer be set, becomes the same said in each version's schema; \
               what a structural schema cannot say is no longer checked",
        apply: Do(definitions::keep_unknown_fields),
    },
    Rule {
        types: &["customresourcedefinitions.apiextensions.k8s.io"],
        cases: "15",
        says: "one in a group of Kubernetes' own that says nothing of an approval, which it has to, says `unapproved`",
        apply: Do(definitions::declare_approval),
    },
    Rule {
        types: &["persistentvolumes"],
        cases: "57",
        says: "keeps its claim by name, in the mapped namespace, and forgets that claim's UID",
        apply: Do(volumes::unbind_volume),
    },
    Rule {
        types: &["persistentvolumeclaims"],
        cases: "48",
        says: "forgets what was noted about its binding, its provisioner and its node",
        apply: Do(volumes::unbind_claim),
    },
    Rule {
        types: &["persistentvolumeclaims"],
        cases: "49, 56",
        says: "asks for a new, empty volume if its own went with it (reclaim policy Delete, no snapshot), or with `--empty-volumes`",
        apply: Do(volumes::provision_anew),
    },
    Rule {
        types: &["persistentvolumes"],
        cases: "52",
        says: "one made from a snapshot for a mapped namespace gets another name, `ark-clone-...`, if its own is taken",
        apply: Do(volumes::rename_volume),
    },
    Rule {
        types: &["persistentvolumeclaims"],
        cases: "50",
        says: "names its volume by that name",
        apply: Do(volumes::name_volume),
    },
    Rule {
        types: &["persistentvolumes", "persistentvolumeclaims"],
        cases: "60",
        says: "is of the storage class that takes the place of its own, with `--storage-class-mappings`",
        apply: Do(storage_classes::map_class),
    },
    Rule {
        types: &["statefulsets.apps"],
        cases: "60",
        says: "so are the claims that it makes",
        apply: Do(storage_classes::map_templates),
    },
    Rule {
        types: &["networkpolicies.networking.k8s.io"],
        cases: "",
        says: "a namespace that it selects by its name label is the mapped one",
        apply: Selects(&[
            "spec.ingress[*].from[*].namespaceSelector",
            "spec.egress[*].to[*].namespaceSelector",
        ]),
    },
    Rule {
        types: &["serviceaccounts"],
        cases: "44",
        says: "drops references to the token Secrets that older clusters made for it",
        apply: Do(secrets::drop_token_references),
    },
    Rule {
        types: &["secrets"],
        cases: "47",
        says: "a token Secret that somebody asked for is emptied, so that the cluster fills it anew",
        apply: Do(secrets::empty_token),
    },
    Rule {
        types: BINDINGS,
        cases: "64",
        says: "subjects in a mapped namespace, and the user and group names of its service accounts, move with it",
        apply: Do(rbac::move_subjects),
    },
    Rule {
        types: &["pods"],
        cases: "27",
        says: "drops the node and the priority's number; the priority class stays and is restored first",
        apply: Do(pods::unschedule),
    },
    Rule {
        types: &["pods"],
        cases: "28",
        says: "drops the volume with the account's token Secret and its mounts",
        apply: Do(pods::drop_token_volumes),
    },
    Rule {
        types: &["pods"],
        cases: "",
        says: "drops the containers that `kubectl debug` added",
        apply: Do(pods::drop_debug_containers),
    },
    Rule {
        types: &["jobs.batch"],
        cases: "34",
        says: "drops the controller's UID from selector and template, unless the selector is the user's own",
        apply: Do(jobs::drop_controller_uid),
    },
    Rule {
        types: &["services"],
        cases: "35, 36",
        says: "gives up its cluster IPs; a headless Service stays headless, an ExternalName is untouched",
        apply: Do(services::release_addresses),
    },
    Rule {
        types: &["services"],
        cases: "37, 38, 39",
        says: "gives up node ports that nobody asked for, neither with `kubectl apply` nor as the owner of the field; keeps \
               all with `--preserve-nodeports`",
        apply: Do(services::release_node_ports),
    },
    Rule {
        types: &["services"],
        cases: "40",
        says: "gives up the health check port unless somebody asked for it, or with `--preserve-nodeports`",
        apply: Do(services::release_health_check_port),
    },
    Rule {
        types: WEBHOOKS,
        cases: "67",
        says: "side effects Unknown or Some, which v1 refuses, become None",
        apply: Do(webhooks::declare_side_effects),
    },
    Rule {
        types: WEBHOOKS,
        cases: "",
        says: "is called in the mapped namespace of its Service",
        apply: Names(&["webhooks[*].clientConfig.service.namespace"]),
    },
    Rule {
        types: WEBHOOKS,
        cases: "",
        says: "looks at the mapped namespace where it selects one by its name label",
        apply: Selects(&["webhooks[*].namespaceSelector"]),
    },
    Rule {
        types: &["apiservices.apiregistration.k8s.io"],
        cases: "",
        says: "is called in the mapped namespace of its Service",
        apply: Names(&["spec.service.namespace"]),
    },
    Rule {
        types: &["customresourcedefinitions.apiextensions.k8s.io"],
        cases: "",
        says: "its conversion webhook is called in the mapped namespace of its Service",
        apply: Names(&[
            "spec.conversion.webhook.clientConfig.service.namespace",
            "spec.conversion.webhookClientConfig.service.namespace",
        ]),
    },
    Rule {
        types: &["pods"],
        cases: "",
        says: "a namespace whose Pods it wants to be near to, or far from, is the mapped one; so is that of a volume's source",
        apply: Do(namespaces::move_pod),
    },
    Rule {
        types: &[
            "replicationcontrollers",
            "replicasets.apps",
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "jobs.batch",
        ],
        cases: "",
        says: "the same in its Pods",
        apply: Do(namespaces::move_template),
    },
    Rule {
        types: &["cronjobs.batch"],
        cases: "",
        says: "the same in its Pods",
        apply: Do(namespaces::move_job_template),
    },
    Rule {
        types: &["persistentvolumeclaims"],
        cases: "",
        says: "is filled from the mapped namespace of its source",
        apply: Names(&["spec.dataSourceRef.namespace"]),
    },
    Rule {
        types: &["statefulsets.apps"],
        cases: "",
        says: "so are the claims that it makes",
        apply: Names(&["spec.volumeClaimTemplates[*].spec.dataSourceRef.namespace"]),
    },
    Rule {
        types: &["persistentvolumes"],
        cases: "",
        says: "its driver's Secrets are those in the mapped namespace",
        apply: Names(&[
            "spec.csi.controllerPublishSecretRef.namespace",
            "spec.csi.controllerExpandSecretRef.namespace",
            "spec.csi.nodeStageSecretRef.namespace",
            "spec.csi.nodePublishSecretRef.namespace",
            "spec.csi.nodeExpandSecretRef.namespace",
        ]),
    },
    Rule {
        types: &["volumesnapshotcontents.snapshot.storage.k8s.io"],
        cases: "",
        says: "is for the snapshot in the mapped namespace",
        apply: Names(&["spec.volumeSnapshotRef.namespace"]),
    },
    Rule {
        types: &["ingressclasses.networking.k8s.io"],
        cases: "",
        says: "has its parameters in the mapped namespace",
        apply: Names(&["spec.parameters.namespace"]),
    },
    Rule {
        types: &[
            "validatingadmissionpolicies.admissionregistration.k8s.io",
            "mutatingadmissionpolicies.admissionregistration.k8s.io",
        ],
        cases: "",
        says: "looks at the mapped namespace where it selects one by its name label",
        apply: Selects(&["spec.matchConstraints.namespaceSelector"]),
    },
    Rule {
        types: POLICY_BINDINGS,
        cases: "",
        says: "looks at the mapped namespace where it selects one by its name label",
        apply: Selects(&["spec.matchResources.namespaceSelector"]),
    },
    Rule {
        types: POLICY_BINDINGS,
        cases: "",
        says: "has its parameters in the mapped namespace",
        apply: Names(&["spec.paramRef.namespace"]),
    },
    Rule {
        types: &["flowschemas.flowcontrol.apiserver.k8s.io"],
        cases: "",
        says: "is about the mapped namespaces, and the service accounts there",
        apply: Names(&[
            "spec.rules[*].subjects[*].serviceAccount.namespace",
            "spec.rules[*].resourceRules[*].namespaces[*]",
        ]),
    },
    Rule {
        types: &[
            "httproutes.gateway.networking.k8s.io",
            "grpcroutes.gateway.networking.k8s.io",
            "tlsroutes.gateway.networking.k8s.io",
            "tcproutes.gateway.networking.k8s.io",
            "udproutes.gateway.networking.k8s.io",
        ],
        cases: "",
        says: "its gateways and Services are those in the mapped namespaces",
        apply: Names(&[
            "spec.parentRefs[*].namespace",
            "spec.rules[*].backendRefs[*].namespace",
            "spec.rules[*].filters[*].requestMirror.backendRef.namespace",
        ]),
    },
    Rule {
        types: &["gateways.gateway.networking.k8s.io"],
        cases: "",
        says: "its certificates are those in the mapped namespaces",
        apply: Names(&["spec.listeners[*].tls.certificateRefs[*].namespace"]),
    },
    Rule {
        types: &["gateways.gateway.networking.k8s.io"],
        cases: "",
        says: "serves routes of the mapped namespace where it selects one by its name label",
        apply: Selects(&["spec.listeners[*].allowedRoutes.namespaces.selector"]),
    },
    Rule {
        types: &["referencegrants.gateway.networking.k8s.io"],
        cases: "",
        says: "lets in what comes from the mapped namespace",
        apply: Names(&["spec.from[*].namespace"]),
    },
];

/// Returns the rules of a type, by its full name.
fn rules(group_resource: &str) -> &'static [&'static Rule] {
    static BY_TYPE: LazyLock<HashMap<&'static str, Vec<&'static Rule>>> = LazyLock::new(|| {
        let mut by_type: HashMap<&str, Vec<&Rule>> = HashMap::new();
        for rule in RULES {
            for name in rule.types {
                by_type.entry(name).or_default().push(rule);
            }
        }
        by_type
    });
    BY_TYPE.get(group_resource).map_or(&[], Vec::as_slice)
}

/// Turns a stored object of type `group_resource` into the one to create in `namespace`.
pub(crate) fn transform(
    object: &mut Object,
    group_resource: &str,
    namespace: Option<&str>,
    facts: &Facts,
) {
    by_type(object, group_resource, facts);
    settle(object, namespace, facts);
}

/// Applies the rules of a type: the first half of [`transform`]. The object is still in its original namespace after it.
pub(crate) fn by_type(object: &mut Object, group_resource: &str, facts: &Facts) {
    let rules = rules(group_resource);
    for rule in rules {
        rule.apply(object, facts);
    }
    for path in facts.references.get(group_resource).into_iter().flatten() {
        if !rules.iter().any(|rule| rule.names(path)) {
            namespaces::move_names(object, path, facts);
        }
    }
}

/// Resets the metadata, whatever the type: the second half of [`transform`].
pub(crate) fn settle(object: &mut Object, namespace: Option<&str>, facts: &Facts) {
    metadata::reset(object);
    metadata::place(object, namespace);
    metadata::mark(object, facts);
}
