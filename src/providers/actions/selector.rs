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

    /// Looks the types up: `resolve` returns a type's full name, `<resource>.<group>` or `<resource>`, for any of its
    /// names, and `None` for a type that the cluster does not have.
    ///
    /// A selector whose types the cluster does not have is for nothing. (Ark took it as being for everything.)
    ///
    /// # Errors
    /// A sentence: the labels cannot be read.
    pub fn resolve(&self, resolve: impl Fn(&str) -> Option<String>) -> Result<ItemFilter, String> {
        let known = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .filter_map(|name| {
                    if name == "*" {
                        Some(name.clone())
                    } else {
                        resolve(name)
                    }
                })
                .collect()
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
    /// Returns whether it can be for any object of a type, by the type's full name.
    pub fn takes_type(&self, group_resource: &str) -> bool {
        !self.nothing && self.types.includes(group_resource)
    }

    /// Returns whether it can be for any object of a namespace; an empty one stands for the cluster's own.
    pub fn takes_namespace(&self, namespace: &str) -> bool {
        if namespace.is_empty() {
            self.namespaces.includes_everything()
        } else {
            self.namespaces.includes(namespace)
        }
    }

    /// Returns whether it is for an object.
    pub fn takes(
        &self,
        group_resource: &str,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        self.takes_type(group_resource)
            && self.takes_namespace(namespace)
            && labels::matches(self.labels.as_ref(), labels)
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
                filter.takes(resource, namespace, &labels),
                expected,
                "{selector:?} {resource} {namespace:?} {app}"
            );
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
