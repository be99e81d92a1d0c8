//! Tasks that live as long as the server: if one ends too early, the server says so and ends too.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinError, JoinSet};

/// The tasks of the server.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

impl Supervisor {
    /// Starts a task; `name` says in a sentence what it does.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// Waits until a task ends and returns why that is an error. Never returns while there is no task.
    pub(crate) async fn first_end(&mut self) -> anyhow::Error {
        match self.tasks.join_next_with_id().await {
            Some(ended) => {
                let (name, why) = self.why(ended);
                anyhow::anyhow!("the server cannot go on: the task that {name} {why}")
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until all tasks have ended, which they have been asked to; returns the first failure.
    pub(crate) async fn all_ended(&mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let failed = !matches!(ended, Ok((_, Ok(()))));
            let (name, why) = self.why(ended);
            if failed && result.is_ok() {
                result = Err(anyhow::anyhow!("the task that {name} {why}"));
            }
        }
        result
    }

    fn why(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, String) {
        let (id, why) = match ended {
            Ok((id, Ok(()))) => (id, "ended by itself".to_owned()),
            Ok((id, Err(error))) => (id, format!("failed: {error:#}")),
            Err(error) => (error.id(), format!("broke off: {error}")),
        };
        (self.names.remove(&id).unwrap_or("has no name"), why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_an_error_that_names_the_task() {
        let mut tasks = Supervisor::default();
        tasks.spawn("waits", std::future::pending());
        tasks.spawn("counts sheep", async { Ok(()) });
        let error = tasks.first_end().await.to_string();
        assert!(error.contains("counts sheep ended by itself"), "{error}");
        tasks.spawn("falls over", async { panic!("on purpose") });
        let error = tasks.first_end().await.to_string();
        assert!(error.contains("falls over broke off"), "{error}");
    }

    #[tokio::test]
    async fn ends_that_were_asked_for_are_fine() {
        let mut tasks = Supervisor::default();
        tasks.spawn("counts sheep", async { Ok(()) });
        assert!(tasks.all_ended().await.is_ok());
        tasks.spawn("fails", async { anyhow::bail!("no sheep") });
        let error = tasks.all_ended().await.unwrap_err().to_string();
        assert!(error.contains("no sheep"), "{error}");
    }
}
