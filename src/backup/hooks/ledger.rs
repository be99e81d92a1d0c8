//! Which pods' post hooks are still owed, kept outside of this process, so that they run even if it dies.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::api::HookOwed;

/// Where the list of owed post hooks is kept.
#[async_trait]
pub trait HookLedger: fmt::Debug + Send + Sync {
    /// Replaces the list, and returns when that is safe.
    ///
    /// # Errors
    /// A sentence; the list may be the old or the new one then.
    async fn write(&self, owed: Vec<HookOwed>) -> Result<(), String>;
}

/// The list, and what of it is written.
#[derive(Debug)]
pub(super) struct Account {
    ledger: Arc<dyn HookLedger>,
    owed: Mutex<Owed>,
    /// Up to which change the list is written. Whoever writes holds this.
    written: tokio::sync::Mutex<u64>,
}

#[derive(Debug, Default)]
struct Owed {
    pods: BTreeSet<HookOwed>,
    changes: u64,
}

impl Account {
    pub(super) fn new(ledger: Arc<dyn HookLedger>) -> Self {
        Self {
            ledger,
            owed: Mutex::default(),
            written: tokio::sync::Mutex::new(0),
        }
    }

    /// Notes that a pod's post hooks are owed. Its pre hooks may run only after this.
    pub(super) async fn owe(&self, pod: &HookOwed) -> Result<(), String> {
        let noted = self
            .change(|pods| {
                pods.insert(pod.clone());
            })
            .await;
        if noted.is_err() {
            self.change_unwritten(|pods| {
                pods.remove(pod);
            });
        }
        noted
    }

    /// Notes that a pod's post hooks have run.
    pub(super) async fn paid(&self, pod: &HookOwed) -> Result<(), String> {
        self.change(|pods| {
            pods.remove(pod);
        })
        .await
    }

    /// Changes the list and writes it. Changes that come while another is being written share the next write.
    async fn change(&self, change: impl FnOnce(&mut BTreeSet<HookOwed>)) -> Result<(), String> {
        let (_, mine) = self.change_unwritten(change);
        let mut written = self.written.lock().await;
        if *written >= mine {
            return Ok(());
        }
        let (pods, changes) = self.change_unwritten(|_| {});
        self.ledger.write(pods).await?;
        *written = changes;
        Ok(())
    }

    /// Changes the list; returns it, and the number of the change.
    fn change_unwritten(
        &self,
        change: impl FnOnce(&mut BTreeSet<HookOwed>),
    ) -> (Vec<HookOwed>, u64) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut owed.pods);
        owed.changes += 1;
        (owed.pods.iter().cloned().collect(), owed.changes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

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
    impl HookLedger for Memory {
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
        let account = Account::new(Arc::clone(&memory) as _);
        let (a, b, c) = (pod("a"), pod("b"), pod("c"));
        let all = async { tokio::join!(account.owe(&a), account.owe(&b), account.owe(&c)) };
        let release = async { memory.let_through.add_permits(9) };
        let (noted, ()) = tokio::join!(all, release);
        assert_eq!(noted, (Ok(()), Ok(()), Ok(())));
        account.paid(&b).await.unwrap();
        // All three were noted before the first write, which is only let through then.
        assert_eq!(
            *memory.writes.lock().unwrap(),
            [vec!["a"], vec!["a", "b", "c"], vec!["a", "c"]]
        );
    }

    #[tokio::test]
    async fn what_could_not_be_noted_is_not_owed() {
        let memory = memory(9, true);
        let account = Account::new(Arc::clone(&memory) as _);
        assert!(account.owe(&pod("a")).await.is_err());
        assert!(account.owe(&pod("b")).await.is_err());
        assert_eq!(*memory.writes.lock().unwrap(), [vec!["a"], vec!["b"]]);
    }
}
