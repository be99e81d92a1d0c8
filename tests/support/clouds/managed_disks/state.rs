//! What the fake keeps: disks, snapshots and operations, and how they come about.
//!
//! Nothing happens by time. What was begun goes a step further each time it is looked at, in as many looks as [`Pace`]
//! says.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// How many looks each step takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Until a disk or snapshot is there, or gone.
    pub operation: usize,
    /// Until all data of an incremental snapshot has travelled, once it is there.
    pub copy: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            operation: 1,
            copy: 1,
        }
    }
}

/// Why something fails: a code and a sentence.
pub type Failure = (&'static str, &'static str);

/// A disk or a snapshot.
#[derive(Clone, Debug)]
pub struct Resource {
    pub json: Map<String, Value>,
    /// Creating, Updating, Succeeded, Failed, Deleting.
    pub state: &'static str,
    looks: usize,
    copy: Option<usize>,
    /// What is on it; of a snapshot: once it is there.
    pub content: Option<String>,
    failure: Option<Failure>,
}

impl Resource {
    pub fn answer(&self) -> Value {
        let mut json = Value::Object(self.json.clone());
        json["properties"]["provisioningState"] = self.state.into();
        if let Some(left) = self.copy {
            let percent = 100.0 / f64::from(u32::try_from(left).unwrap() + 1);
            json["properties"]["completionPercent"] = percent.into();
        }
        json
    }

    pub fn source(&self) -> String {
        let source = &self.json["properties"]["creationData"]["sourceResourceId"];
        key(source.as_str().unwrap_or_default())
    }

    fn is_copied(&self) -> bool {
        self.copy.is_none_or(|left| left == 0)
    }

    pub fn is_whole(&self) -> bool {
        self.state == "Succeeded" && self.is_copied()
    }
}

/// Returns what an id is known by: Azure does not mind its case.
pub fn key(id: &str) -> String {
    format!("/{}", id.trim_start_matches('/')).to_lowercase()
}

#[derive(Debug, Default)]
pub struct State {
    pub pace: Pace,
    /// By key; disks and snapshots.
    pub resources: BTreeMap<String, Resource>,
    /// What operations are about.
    pub operations: BTreeMap<String, (String, Option<Failure>)>,
    /// Groups that are there, by key.
    pub groups: Vec<String>,
    pub quota: Option<usize>,
    /// What is begun next comes to nothing.
    pub next_fails: Option<Failure>,
    /// The next snapshot is there, and has failed.
    pub next_is_broken: Option<Failure>,
    count: u64,
}

impl State {
    pub fn add(&mut self, id: &str, json: Map<String, Value>, content: &str) {
        let resource = Resource {
            json,
            state: "Succeeded",
            looks: 0,
            copy: None,
            content: Some(content.to_owned()),
            failure: None,
        };
        self.resources.insert(key(id), resource);
    }

    pub fn count(&self, kind: &str) -> usize {
        let part = format!("/{kind}/");
        self.resources
            .keys()
            .filter(|key| key.contains(&part))
            .count()
    }

    /// Begins to make something; returns the operation's name.
    pub fn begin(&mut self, id: &str, json: Map<String, Value>, content: Option<String>) -> String {
        let failure = self.next_fails.take();
        if failure.is_none() {
            let incremental = json["properties"]["incremental"] == true;
            let resource = Resource {
                json,
                state: "Updating",
                looks: self.pace.operation,
                copy: incremental.then_some(self.pace.copy),
                content,
                failure: self.next_is_broken.take(),
            };
            self.resources.insert(key(id), resource);
        }
        self.note(id, failure)
    }

    pub fn begin_delete(&mut self, id: &str) -> String {
        let looks = self.pace.operation;
        if let Some(resource) = self.resources.get_mut(&key(id)) {
            resource.state = "Deleting";
            resource.looks = looks;
        }
        self.note(id, None)
    }

    fn note(&mut self, id: &str, failure: Option<Failure>) -> String {
        self.count += 1;
        let name = format!("00000000-0000-4000-8000-{:012}", self.count);
        self.operations.insert(name.clone(), (key(id), failure));
        name
    }

    /// Goes a step further with something that is being looked at.
    pub fn look_at(&mut self, id: &str) {
        let key = key(id);
        let Some(resource) = self.resources.get_mut(&key) else {
            return;
        };
        if resource.state == "Succeeded" {
            resource.copy = resource.copy.map(|left| left.saturating_sub(1));
        }
        if resource.looks > 0 {
            resource.looks -= 1;
            return;
        }
        match resource.state {
            "Updating" if resource.failure.is_some() => resource.state = "Failed",
            "Updating" => {
                resource.state = "Succeeded";
                let source = resource.source();
                // What a caller changes from now on is not on it.
                let content = self
                    .resources
                    .get(&source)
                    .and_then(|source| source.content.clone());
                if let (Some(content), Some(resource)) = (content, self.resources.get_mut(&key)) {
                    resource.content = Some(content);
                }
            }
            "Deleting" => {
                self.resources.remove(&key);
            }
            _ => {}
        }
    }

    /// Goes a step further with what an operation does; returns whether it is through, and why it has failed.
    pub fn look_at_operation(&mut self, name: &str) -> Option<Value> {
        let (id, failure) = self.operations.get(name)?.clone();
        self.look_at(&id);
        let resource = self.resources.get(&id);
        let failed = resource.filter(|found| found.state == "Failed");
        let failure = failure.or_else(|| failed?.failure);
        Some(match (failure, resource.map(|found| found.state)) {
            (Some((code, message)), _) => json!({
                "name": name, "status": "Failed", "error": {"code": code, "message": message},
            }),
            (None, Some("Updating" | "Deleting")) => json!({"name": name, "status": "InProgress"}),
            (None, _) => json!({"name": name, "status": "Succeeded"}),
        })
    }
}
