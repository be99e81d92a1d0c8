//! The files of restores: their logs, and their warnings and errors, both compressed with gzip by whoever writes them.

use bytes::Bytes;

use super::keys::RestoreKeys;
use super::{Location, StorageError};

impl Location {
    /// Stores a restore's log.
    pub async fn put_restore_logs(&self, restore: &str, gzip: Bytes) -> Result<(), StorageError> {
        let key = RestoreKeys::new(restore)?.logs();
        Ok(self.store.put(&self.full(&key), gzip).await?)
    }

    /// Stores a restore's warnings and errors.
    pub async fn put_restore_results(
        &self,
        restore: &str,
        gzip: Bytes,
    ) -> Result<(), StorageError> {
        let key = RestoreKeys::new(restore)?.results();
        Ok(self.store.put(&self.full(&key), gzip).await?)
    }

    /// Stores what a dry run would do.
    pub async fn put_restore_plan(&self, restore: &str, gzip: Bytes) -> Result<(), StorageError> {
        let key = RestoreKeys::new(restore)?.plan();
        Ok(self.store.put(&self.full(&key), gzip).await?)
    }

    /// Returns a restore's log, if it has one.
    pub async fn restore_logs(&self, restore: &str) -> Result<Option<Bytes>, StorageError> {
        self.small(&RestoreKeys::new(restore)?.logs()).await
    }

    /// Returns a restore's warnings and errors, if it has them.
    pub async fn restore_results(&self, restore: &str) -> Result<Option<Bytes>, StorageError> {
        self.small(&RestoreKeys::new(restore)?.results()).await
    }

    /// Removes a restore's files; what is gone already is fine.
    pub async fn delete_restore(&self, restore: &str) -> Result<(), StorageError> {
        let keys = RestoreKeys::new(restore)?;
        let what = format!("the files of restore {restore:?}");
        self.remove(&what, &[keys.logs(), keys.results(), keys.plan()])
            .await?;
        self.touch_revision().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;

    #[tokio::test]
    async fn files_of_restores_come_and_go() {
        let rig = Rig::new().await;
        let location = &rig.location;
        assert_eq!(location.restore_logs("r").await.unwrap(), None);
        location.put_restore_logs("r", "log".into()).await.unwrap();
        location
            .put_restore_results("r", "results".into())
            .await
            .unwrap();
        assert_eq!(location.restore_logs("r").await.unwrap().unwrap(), "log");
        assert_eq!(
            location.restore_results("r").await.unwrap().unwrap(),
            "results"
        );
        assert_eq!(
            rig.keys().await,
            [
                "restores/r/restore-r-logs.gz",
                "restores/r/restore-r-results.gz"
            ]
        );
        location.delete_restore("r").await.unwrap();
        location.delete_restore("r").await.unwrap();
        assert!(rig.keys().await.is_empty());
        assert!(location.put_restore_logs("../r", "x".into()).await.is_err());
    }
}
