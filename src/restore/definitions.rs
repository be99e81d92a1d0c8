//! Waits until restored definitions of custom types are in force (cases 12 and 13).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::cluster::{ApiType, Cluster};

use crate::api::object::{self, Object};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many definitions are asked about at once.
const CONCURRENCY: usize = 16;

/// Waits for definitions by name, side by side; returns why each that did not come into force did not.
pub(super) async fn wait(
    cluster: &Cluster,
    definitions: &ApiType,
    names: Vec<String>,
    timeout: Duration,
) -> BTreeMap<String, String> {
    let deadline = Instant::now() + timeout;
    let results: Vec<(String, Result<(), String>)> = stream::iter(names)
        .map(|name| async move {
            let result = wait_for(cluster, definitions, &name, deadline).await;
            (name, result)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    results
        .into_iter()
        .filter_map(|(name, result)| Some((name, result.err()?)))
        .collect()
}

async fn wait_for(
    cluster: &Cluster,
    definitions: &ApiType,
    name: &str,
    deadline: Instant,
) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    loop {
        let state = match cluster.get(definitions, None, name).await {
            // It could not be created, which has been reported.
            Ok(None) => return Err("its definition is not there".to_owned()),
            Ok(Some(body)) => state(&body),
            Err(error) => State::Waiting(error.to_string()),
        };
        match state {
            State::InForce => return Ok(()),
            State::Waiting(why) if Instant::now() + pause > deadline => {
                return Err(format!(
                    "its definition did not come into force in time{why}"
                ));
            }
            State::Waiting(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum State {
    InForce,
    /// Not yet; what the server says about it.
    Waiting(String),
}

fn state(body: &[u8]) -> State {
    let Ok(definition) = serde_json::from_slice::<Object>(body) else {
        return State::Waiting(String::new());
    };
    let mut missing = vec!["Established", "NamesAccepted"];
    let mut why = String::new();
    for condition in object::list(&definition, &["status", "conditions"]) {
        let kind = object::text(condition, &["type"]);
        if object::text(condition, &["status"]) == "True" {
            missing.retain(|wanted| *wanted != kind);
        } else if missing.contains(&kind) {
            why = format!(": {}", object::text(condition, &["message"]));
        }
    }
    if missing.is_empty() {
        State::InForce
    } else {
        State::Waiting(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_conditions_count() {
        for (conditions, in_force) in [
            (
                r#"[{"type":"Established","status":"True"},{"type":"NamesAccepted","status":"True"}]"#,
                true,
            ),
            (r#"[{"type":"Established","status":"True"}]"#, false),
            (
                r#"[{"type":"Established","status":"False","message":"m"},{"type":"NamesAccepted","status":"True"}]"#,
                false,
            ),
            ("null", false),
        ] {
            let body = format!(r#"{{"status":{{"conditions":{conditions}}}}}"#);
            assert_eq!(
                matches!(state(body.as_bytes()), State::InForce),
                in_force,
                "{conditions}"
            );
        }
    }
}
