//! The item actions that a server has, and what they are for in a run.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;

use super::operations::Stage;
use super::{
    ActionError, BackupItemAction, DeleteItemAction, ItemBlockAction, ItemFilter, ItemSelector,
    RestoreItemAction,
};
use crate::api::OperationNote;
use crate::providers::ledger::Ledger;

/// All item actions of a server. An item that several are for goes through them in this order.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    /// Those that look at items as they are backed up.
    pub backup: Vec<Arc<dyn BackupItemAction>>,
    /// Those that look at items as they are restored.
    pub restore: Vec<Arc<dyn RestoreItemAction>>,
    /// Those that look at the items of a backup that is deleted.
    pub delete: Vec<Arc<dyn DeleteItemAction>>,
    /// Those that say which items belong together.
    pub blocks: Vec<Arc<dyn ItemBlockAction>>,
    /// Why some may be missing, a sentence each. A run without them is not what its owner asked for.
    pub problems: Vec<String>,
}

/// What a run has of item actions.
#[derive(Clone, Debug)]
pub struct RunActions {
    /// The server's actions.
    pub actions: Actions,
    /// Keeps which operations go on.
    pub ledger: Arc<dyn Ledger<OperationNote>>,
    /// Is told when only operations are waited for.
    pub stage: Arc<dyn Stage>,
}

impl Default for RunActions {
    /// No actions, and nobody who would be told of any.
    fn default() -> Self {
        Self {
            actions: Actions::default(),
            ledger: Arc::new(Nobody),
            stage: Arc::new(Nobody),
        }
    }
}

/// Keeps nothing.
#[derive(Debug)]
struct Nobody;

#[async_trait]
impl Ledger<OperationNote> for Nobody {
    async fn write(&self, _: Vec<OperationNote>) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Stage for Nobody {
    async fn waits_for_operations(&self) {}
}

/// An action of any kind, as far as it says who it is and what it is for.
#[async_trait]
pub trait Selective: Send + Sync {
    /// Returns the name by which logs and reports call it.
    fn title(&self) -> &str;

    /// Returns which items it is for.
    async fn selector(&self) -> Result<ItemSelector, ActionError>;
}

macro_rules! selective {
    ($($kind:ident),*) => {$(
        #[async_trait]
        impl Selective for dyn $kind {
            fn title(&self) -> &str {
                self.name()
            }

            async fn selector(&self) -> Result<ItemSelector, ActionError> {
                self.applies_to().await
            }
        }
    )*};
}

selective!(
    BackupItemAction,
    RestoreItemAction,
    DeleteItemAction,
    ItemBlockAction
);

/// The actions of a kind that take part in a run, each with the items that it is for.
#[derive(Debug)]
pub struct Chosen<A: ?Sized> {
    actions: Vec<(Arc<A>, ItemFilter)>,
}

impl<A: ?Sized> Default for Chosen<A> {
    fn default() -> Self {
        Self {
            actions: Vec::new(),
        }
    }
}

impl<A: Selective + ?Sized> Chosen<A> {
    /// Asks each action what it is for, and looks that up: `resolve` as [`ItemSelector::resolve`] has it.
    ///
    /// An action that cannot say it takes no part; the second value says so, a sentence each.
    pub async fn ask<Names: IntoIterator<Item = String>>(
        actions: &[Arc<A>],
        resolve: impl Fn(&str) -> Names,
    ) -> (Self, Vec<String>) {
        // Each may be a program that is started for it.
        let selectors = join_all(actions.iter().map(|action| action.selector())).await;
        let mut chosen = Self::default();
        let mut problems = Vec::new();
        for (action, selector) in actions.iter().zip(selectors) {
            let name = action.title();
            let filter = match selector {
                Ok(selector) => selector.resolve(&resolve).map_err(|problem| {
                    format!("action {name}: the items that it says it is for: {problem}")
                }),
                Err(error) => Err(error.message),
            };
            match filter {
                Ok(filter) => chosen.actions.push((Arc::clone(action), filter)),
                Err(problem) => {
                    problems.push(format!(
                        "{problem}; {name} is asked about nothing in this run"
                    ));
                }
            }
        }
        (chosen, problems)
    }

    /// Returns whether no action takes part.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Returns the numbers of those that can be for objects of a type, by any of the type's full names.
    pub fn for_type(&self, group_resources: &[&str]) -> Vec<usize> {
        let actions = self.actions.iter().enumerate();
        actions
            .filter(|(_, (_, filter))| filter.takes_type(group_resources))
            .map(|(at, _)| at)
            .collect()
    }

    /// Returns those of some that can be for an object's type which are for the object.
    pub fn of<'a>(
        &'a self,
        for_type: &'a [usize],
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Arc<A>> {
        for_type.iter().filter_map(move |at| {
            let (action, filter) = self.actions.get(*at)?;
            filter.takes_object(namespace, labels).then_some(action)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::actions::{ActionErrorKind, Item, RunDocument};

    #[derive(Debug)]
    struct For(&'static str, Result<ItemSelector, ()>);

    #[async_trait]
    impl DeleteItemAction for For {
        fn name(&self) -> &str {
            self.0
        }

        async fn applies_to(&self) -> Result<ItemSelector, ActionError> {
            let unknown = |()| ActionError::new(ActionErrorKind::Gone, "action deaf: it is gone");
            self.1.clone().map_err(unknown)
        }

        async fn execute(&self, _: Item<'_>, _: &RunDocument) -> Result<(), ActionError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn actions_that_cannot_say_what_they_are_for_take_no_part() {
        let labelled = ItemSelector {
            labels: "app=a".into(),
            ..ItemSelector::default()
        };
        let unreadable = ItemSelector {
            labels: "a within (b)".into(),
            ..ItemSelector::default()
        };
        let actions: Vec<Arc<dyn DeleteItemAction>> = vec![
            Arc::new(For("pods", Ok(ItemSelector::resources(["pods"])))),
            Arc::new(For("deaf", Err(()))),
            Arc::new(For("labelled", Ok(labelled))),
            Arc::new(For("unreadable", Ok(unreadable))),
            Arc::new(For("nothing", Ok(ItemSelector::resources(["gone"])))),
        ];
        let resolve = |name: &str| (name != "gone").then(|| name.to_owned());
        let (chosen, problems) = Chosen::ask(&actions, resolve).await;
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("action deaf: it is gone; deaf is asked"));
        assert!(problems[1].contains("within"), "{problems:?}");

        let names = |types: &[&str], app: &str| -> Vec<String> {
            let labels = [("app".to_owned(), app.to_owned())].into();
            let for_type = chosen.for_type(types);
            let of = chosen.of(&for_type, "n", &labels);
            of.map(|action| action.name().to_owned()).collect()
        };
        assert_eq!(names(&["pods"], "a"), ["pods", "labelled"]);
        assert_eq!(names(&["pods"], "b"), ["pods"]);
        assert_eq!(names(&["secrets"], "a"), ["labelled"]);
        assert_eq!(chosen.for_type(&["secrets"]), [1]);
    }
}
