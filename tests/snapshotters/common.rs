//! What the tests of several clouds' snapshotters share.

use std::sync::Arc;

use ark::api::VolumeProviderConfig;
use ark::providers::snapshotter::{Object, SnapshotError, VolumeSnapshotter};
use ark::providers::{Environment, registry};
use serde_json::Value;

/// Returns an environment of these variables.
pub fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Opens a snapshotter with these settings.
pub async fn open(
    provider: &str,
    settings: &[(&str, &str)],
    environment: &Environment,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let config = VolumeProviderConfig {
        name: provider.to_owned(),
        config: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    };
    registry::open_snapshotter(&config, environment).await
}

/// Returns the error of a snapshotter that cannot be used; it must be one line without secrets.
pub async fn refusal(
    provider: &str,
    settings: &[(&str, &str)],
    environment: &Environment,
) -> SnapshotError {
    let error = match open(provider, settings, environment).await {
        Ok(snapshotter) => {
            assert!(no_secret(&format!("{snapshotter:?}")), "{snapshotter:?}");
            snapshotter.check().await.unwrap_err()
        }
        Err(error) => error,
    };
    one_line(&error);
    error
}

/// Checks that an error is one line without secrets.
pub fn one_line(error: &SnapshotError) {
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    let all = format!("{error:?}");
    assert!(no_secret(&all), "{all}");
    tracing::info!(%error, "refused");
}

/// Returns whether a text holds none of what the tests' credentials and the fakes' tokens are made of.
pub fn no_secret(text: &str) -> bool {
    !["PRIVATE KEY", "secret-", "hunter2", "eyJ"]
        .iter()
        .any(|secret| text.contains(secret))
}

pub fn object(json: Value) -> Object {
    match json {
        Value::Object(object) => object,
        other => panic!("{other} is not an object"),
    }
}
