//! Lists that are kept outside of this process, so that the next server knows what this one owed: post hooks, snapshots
//! that no record names yet, the operations of item actions. A port of the engines: they do not know where.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

/// Where such a list is kept.
#[async_trait]
pub trait Ledger<T>: fmt::Debug + Send + Sync {
    /// Replaces the list, and returns when that is safe.
    ///
    /// # Errors
    /// A sentence; the list may be the old or the new one then.
    async fn write(&self, entries: Vec<T>) -> Result<(), String>;
}

/// The list, and what of it is written.
#[derive(Debug)]
pub(crate) struct Account<T> {
    ledger: Arc<dyn Ledger<T>>,
    list: Mutex<List<T>>,
    /// Up to which change the list is written. Whoever writes holds this.
    written: tokio::sync::Mutex<u64>,
}

#[derive(Debug)]
struct List<T> {
    entries: BTreeSet<T>,
    changes: u64,
}

impl<T: Clone + Ord + Send + Sync> Account<T> {
    /// Takes the list as it is written already.
    pub(crate) fn new(ledger: Arc<dyn Ledger<T>>, entries: Vec<T>) -> Self {
        Self {
            ledger,
            list: Mutex::new(List {
                entries: entries.into_iter().collect(),
                changes: 0,
            }),
            written: tokio::sync::Mutex::new(0),
        }
    }

    /// Returns the list.
    pub(crate) fn entries(&self) -> Vec<T> {
        self.change_unwritten(|_| {}).0
    }

    /// Returns how long the list is.
    pub(crate) fn len(&self) -> usize {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.entries.len()
    }

    /// Notes an entry. What it is about may begin only after this.
    pub(crate) async fn owe(&self, entry: &T) -> Result<(), String> {
        let noted = self
            .change(|entries| {
                entries.insert(entry.clone());
            })
            .await;
        if noted.is_err() {
            self.change_unwritten(|entries| {
                entries.remove(entry);
            });
        }
        noted
    }

    /// Puts one entry in the place of another.
    pub(crate) async fn replace(&self, old: &T, new: &T) -> Result<(), String> {
        self.change(|entries| {
            entries.remove(old);
            entries.insert(new.clone());
        })
        .await
    }

    /// Notes that nothing is owed of these entries any more.
    pub(crate) async fn paid(&self, paid: &[T]) -> Result<(), String> {
        self.change(|entries| {
            for entry in paid {
                entries.remove(entry);
            }
        })
        .await
    }

    /// Changes the list and writes it. Changes that come while another is being written share the next write.
    async fn change(&self, change: impl FnOnce(&mut BTreeSet<T>)) -> Result<(), String> {
        let (_, mine) = self.change_unwritten(change);
        let mut written = self.written.lock().await;
        if *written >= mine {
            return Ok(());
        }
        let (entries, changes) = self.change_unwritten(|_| {});
        self.ledger.write(entries).await?;
        *written = changes;
        Ok(())
    }

    /// Changes the list; returns it, and the number of the change.
    fn change_unwritten(&self, change: impl FnOnce(&mut BTreeSet<T>)) -> (Vec<T>, u64) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut list.entries);
        list.changes += 1;
        (list.entries.iter().cloned().collect(), list.changes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::api::HookOwed;

    /// Keeps what is written, each write when it is let.
    #[derive(Debug)]
    struct Memory {
        writes: Mutex<Vec<Vec<String>>>,
        let_through: Semaphore,
        broken: bool,
    }

    fn memory(writes: usize, broken: bool) -> Arc<Memory> {
        Arc::new(Memory {
            writes: Mutex::default(),
            let_through: Semaphore::new(writes),
            broken,
        })
    }

    #[async_trait]
    impl Ledger<HookOwed> for Memory {
        async fn write(&self, owed: Vec<HookOwed>) -> Result<(), String> {
            self.let_through.acquire().await.unwrap().forget();
            let names = owed.into_iter().map(|owed| owed.pod).collect();
            self.writes.lock().unwrap().push(names);
            if self.broken {
                return Err("broken".to_owned());
            }
            Ok(())
        }
    }

    fn pod(name: &str) -> HookOwed {
        HookOwed {
            namespace: "n".into(),
            pod: name.into(),
        }
    }

    #[tokio::test]
    async fn changes_that_meet_share_a_write() {
        let memory = memory(0, false);
        let account = Account::new(Arc::clone(&memory) as _, Vec::new());
        let (a, b, c) = (pod("a"), pod("b"), pod("c"));
        let all = async { tokio::join!(account.owe(&a), account.owe(&b), account.owe(&c)) };
        let release = async { memory.let_through.add_permits(9) };
        let (noted, ()) = tokio::join!(all, release);
        assert_eq!(noted, (Ok(()), Ok(()), Ok(())));
        account.paid(&[b]).await.unwrap();
        // All three were noted before the first write, which is only let through then.
        assert_eq!(
            *memory.writes.lock().unwrap(),
            [vec!["a"], vec!["a", "b", "c"], vec!["a", "c"]]
        );
    }

    #[tokio::test]
    async fn what_could_not_be_noted_is_not_owed() {
        let memory = memory(9, true);
        let account = Account::new(Arc::clone(&memory) as _, Vec::new());
        assert!(account.owe(&pod("a")).await.is_err());
        assert!(account.owe(&pod("b")).await.is_err());
        assert_eq!(*memory.writes.lock().unwrap(), [vec!["a"], vec!["b"]]);
    }
}
