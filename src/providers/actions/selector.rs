//! Which items an action is for: as it says so, and as that turns out in a cluster.

use std::collections::BTreeMap;

use kube::core::Selector;

use crate::api::filter::IncludesExcludes;
use crate::api::selector as labels;

/// Which items an action is for, in its own words. All empty: for everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ItemSelector {
    /// Namespaces; empty or `*` means all, and objects of the cluster, too.
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    pub excluded_namespaces: Vec<String>,
    /// Types, by any of their names; empty or `*` means all.
    pub included_resources: Vec<String>,
    /// Types to leave out.
    pub excluded_resources: Vec<String>,
    /// Labels, as kubectl's `--selector` has them; empty means any.
    pub labels: String,
}

impl ItemSelector {
    /// Returns a selector for types alone.
    pub fn resources<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            included_resources: names.into_iter().map(str::to_owned).collect(),
            ..Self::default()
        }
    }

    /// Looks the types up: `resolve` returns the full names, `<resource>.<group>` or `<resource>`, of the types that any
    /// name of a type means, and nothing for a type that is not there.
    ///
    /// A selector whose types the cluster does not have is for nothing. (Ark took it as being for everything.)
    ///
    /// # Errors
    /// A sentence: the labels cannot be read.
    pub fn resolve<Names: IntoIterator<Item = String>>(
        &self,
        resolve: impl Fn(&str) -> Names,
    ) -> Result<ItemFilter, String> {
        let known = |names: &[String]| -> Vec<String> {
            let mut known = Vec::new();
            for name in names {
                if name == "*" {
                    known.push(name.clone());
                } else {
                    known.extend(resolve(name));
                }
            }
            known
        };
        let included = known(&self.included_resources);
        let labels = if self.labels.trim().is_empty() {
            None
        } else {
            Some(labels::compile(&labels::parse(&self.labels)?)?)
        };
        Ok(ItemFilter {
            nothing: included.is_empty() && !self.included_resources.is_empty(),
            types: IncludesExcludes::new(&included, &known(&self.excluded_resources)),
            namespaces: IncludesExcludes::new(&self.included_namespaces, &self.excluded_namespaces),
            labels,
        })
    }
}

/// Which items of a cluster an action is for.
#[derive(Clone, Debug)]
pub struct ItemFilter {
    nothing: bool,
    types: IncludesExcludes,
    namespaces: IncludesExcludes,
    labels: Option<Selector>,
}

impl ItemFilter {
    /// Returns whether it can be for any object of a type, by the type's full name; by all of them where it has several,
    /// as it may in a backup and in the cluster.
    pub fn takes_type(&self, group_resources: &[&str]) -> bool {
        let excluded = self.types.excluded();
        !self.nothing
            && !group_resources.iter().any(|name| excluded.contains(*name))
            && group_resources.iter().any(|name| self.types.includes(name))
    }

    /// Returns whether it can be for any object of a namespace; an empty one stands for the cluster's own.
    pub fn takes_namespace(&self, namespace: &str) -> bool {
        if namespace.is_empty() {
            self.namespaces.includes_everything()
        } else {
            self.namespaces.includes(namespace)
        }
    }

    /// Returns whether it is for an object of a type that it [can be for](Self::takes_type).
    pub fn takes_object(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.takes_namespace(namespace) && labels::matches(self.labels.as_ref(), labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn resolve(name: &str) -> Option<String> {
        match name {
            "po" | "pods" => Some("pods".to_owned()),
            "deploy" | "deployments.apps" => Some("deployments.apps".to_owned()),
            "pv" => Some("persistentvolumes".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn items_are_chosen_by_type_namespace_and_labels() {
        let all = ItemSelector::default();
        let types = ItemSelector::resources(["po", "gone", "deploy"]);
        let unknown = ItemSelector::resources(["gone"]);
        let but = ItemSelector {
            excluded_resources: list(&["pods", "gone"]),
            ..ItemSelector::default()
        };
        let star = ItemSelector::resources(["*"]);
        let there = ItemSelector {
            included_namespaces: list(&["n"]),
            ..ItemSelector::default()
        };
        let elsewhere = ItemSelector {
            excluded_namespaces: list(&["n"]),
            ..ItemSelector::default()
        };
        let labelled = ItemSelector {
            labels: "app in (a,b)".into(),
            ..ItemSelector::default()
        };
        for (selector, resource, namespace, app, expected) in [
            (&all, "pods", "n", "", true),
            (&all, "persistentvolumes", "", "", true),
            (&types, "pods", "n", "", true),
            (&types, "deployments.apps", "n", "", true),
            (&types, "secrets", "n", "", false),
            (&unknown, "pods", "n", "", false),
            (&unknown, "gone", "n", "", false),
            (&but, "pods", "n", "", false),
            (&but, "secrets", "n", "", true),
            (&star, "secrets", "n", "", true),
            (&there, "pods", "n", "", true),
            (&there, "pods", "m", "", false),
            (&there, "persistentvolumes", "", "", false),
            (&elsewhere, "pods", "n", "", false),
            (&elsewhere, "persistentvolumes", "", "", true),
            (&labelled, "pods", "n", "a", true),
            (&labelled, "pods", "n", "c", false),
        ] {
            let filter = selector.resolve(resolve).unwrap();
            let labels = [("app".to_owned(), app.to_owned())].into();
            assert_eq!(
                filter.takes_type(&[resource]) && filter.takes_object(namespace, &labels),
                expected,
                "{selector:?} {resource} {namespace:?} {app}"
            );
        }
    }

    #[test]
    fn a_type_of_two_names_is_left_out_by_either() {
        let old_and_new = &["ingresses.extensions", "ingresses.networking.k8s.io"][..];
        for (included, excluded, expected) in [
            (&["ingresses.extensions"][..], &[][..], true),
            (&["ingresses.networking.k8s.io"], &[], true),
            (&[], &["ingresses.extensions"], false),
            (&[], &["ingresses.networking.k8s.io"], false),
            (&["pods"], &[], false),
        ] {
            let selector = ItemSelector {
                included_resources: list(included),
                excluded_resources: list(excluded),
                ..ItemSelector::default()
            };
            let filter = selector.resolve(|name| vec![name.to_owned()]).unwrap();
            assert_eq!(filter.takes_type(old_and_new), expected, "{selector:?}");
        }
    }

    #[test]
    fn labels_that_cannot_be_read_are_an_error() {
        let selector = ItemSelector {
            labels: "a within (b)".into(),
            ..ItemSelector::default()
        };
        let problem = selector.resolve(resolve).unwrap_err();
        assert!(problem.contains("within"), "{problem}");
    }
}
