//! What the fake keeps: disks, snapshots and operations, and how they come about.
//!
//! Nothing happens by time. What was begun goes a step further each time it is looked at, in as many looks as [`Pace`]
//! says.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What URLs in answers begin with.
pub const URL: &str = "https://www.googleapis.com/compute/v1/";

/// How many looks each step takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From CREATING to UPLOADING.
    pub cut: usize,
    /// From UPLOADING to READY.
    pub upload: usize,
    /// Until a disk is made.
    pub disk: usize,
    /// Until a snapshot is gone.
    pub delete: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            cut: 1,
            upload: 1,
            disk: 1,
            delete: 1,
        }
    }
}

/// Why something fails: a code, a sentence, an HTTP status.
pub type Failure = (&'static str, &'static str, u16);

/// A disk or a snapshot.
#[derive(Clone, Debug)]
pub struct Resource {
    /// As it is answered, but for its status.
    pub json: Map<String, Value>,
    pub status: &'static str,
    /// Looks until the next step.
    looks: usize,
    /// What is on it; of a snapshot: once it is cut.
    pub content: Option<String>,
    failure: Option<Failure>,
}

impl Resource {
    fn new(json: Map<String, Value>, status: &'static str, looks: usize) -> Self {
        Self {
            json,
            status,
            looks,
            content: None,
            failure: None,
        }
    }

    pub fn answer(&self) -> Value {
        let mut json = self.json.clone();
        json.insert("status".to_owned(), self.status.into());
        Value::Object(json)
    }

    pub fn text(&self, name: &str) -> &str {
        self.json
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Something that was begun.
#[derive(Clone, Debug)]
pub struct Operation {
    pub kind: &'static str,
    /// The path of what it is about.
    pub target: String,
    failure: Option<Failure>,
}

#[derive(Debug, Default)]
pub struct State {
    pub pace: Pace,
    /// By path, such as `projects/p/zones/z/disks/d`.
    pub disks: BTreeMap<String, Resource>,
    pub snapshots: BTreeMap<String, Resource>,
    pub operations: BTreeMap<String, Operation>,
    /// How many snapshots the project may have.
    pub quota: Option<usize>,
    /// The next snapshot comes to nothing: so ends its operation.
    pub next_fails: Option<Failure>,
    /// The next snapshot is there, and will never be whole.
    pub next_is_broken: Option<Failure>,
    count: u64,
}

impl State {
    pub fn next_id(&mut self) -> String {
        self.count += 1;
        (1_000_000_000_000 + self.count).to_string()
    }

    pub fn add_disk(&mut self, path: &str, json: Map<String, Value>, content: &str) {
        let mut disk = Resource::new(json, "READY", 0);
        disk.content = Some(content.to_owned());
        self.disks.insert(path.to_owned(), disk);
    }

    /// Goes a step further with a snapshot, which is being looked at.
    pub fn look_at_snapshot(&mut self, path: &str) {
        let Some(snapshot) = self.snapshots.get_mut(path) else {
            return;
        };
        if snapshot.looks > 0 {
            snapshot.looks -= 1;
            return;
        }
        match snapshot.status {
            "CREATING" if snapshot.failure.is_some() => snapshot.status = "FAILED",
            "CREATING" => {
                snapshot.status = "UPLOADING";
                snapshot.looks = self.pace.upload;
                // What a caller changes from now on is not on it.
                let source = snapshot.text("sourceDisk").trim_start_matches(URL);
                snapshot.content = self.disks.get(source).and_then(|disk| disk.content.clone());
            }
            "UPLOADING" => snapshot.status = "READY",
            "DELETING" => {
                self.snapshots.remove(path);
            }
            _ => {}
        }
    }

    /// Goes a step further with a disk.
    pub fn look_at_disk(&mut self, path: &str) {
        if let Some(disk) = self.disks.get_mut(path) {
            if disk.looks > 0 {
                disk.looks -= 1;
            } else if disk.status == "CREATING" {
                disk.status = "READY";
            }
        }
    }

    pub fn begin_snapshot(&mut self, path: &str, json: Map<String, Value>) -> Option<Failure> {
        if let Some(failure) = self.next_fails.take() {
            return Some(failure);
        }
        let mut snapshot = Resource::new(json, "CREATING", self.pace.cut);
        snapshot.failure = self.next_is_broken.take();
        self.snapshots.insert(path.to_owned(), snapshot);
        None
    }

    pub fn begin_disk(&mut self, path: &str, json: Map<String, Value>, content: Option<String>) {
        let mut disk = Resource::new(json, "CREATING", self.pace.disk);
        disk.content = content;
        self.disks.insert(path.to_owned(), disk);
    }

    pub fn begin_delete(&mut self, path: &str) {
        let looks = self.pace.delete;
        if let Some(snapshot) = self.snapshots.get_mut(path) {
            snapshot.status = "DELETING";
            snapshot.looks = looks;
        }
    }

    /// Notes an operation; returns it as it is answered.
    pub fn begin(
        &mut self,
        kind: &'static str,
        within: &str,
        target: &str,
        failure: Option<Failure>,
    ) -> Value {
        let id = self.next_id();
        let path = format!("{within}/operations/operation-{id}");
        let operation = Operation {
            kind,
            target: target.to_owned(),
            failure,
        };
        self.operations.insert(path.clone(), operation);
        self.answer(&path)
    }

    /// Goes a step further with what an operation does; returns it as it is answered.
    pub fn look_at_operation(&mut self, path: &str) -> Option<Value> {
        let operation = self.operations.get(path)?.clone();
        match operation.kind {
            "compute.disks.insert" => self.look_at_disk(&operation.target),
            _ => self.look_at_snapshot(&operation.target),
        }
        Some(self.answer(path))
    }

    fn answer(&self, path: &str) -> Value {
        let operation = &self.operations[path];
        let snapshot = self.snapshots.get(&operation.target);
        let disk = self.disks.get(&operation.target);
        let failure = operation
            .failure
            .or_else(|| snapshot.filter(|found| found.status == "FAILED")?.failure);
        let is_done = failure.is_some()
            || match operation.kind {
                "compute.disks.insert" => disk.is_none_or(|found| found.status == "READY"),
                "compute.snapshots.delete" => snapshot.is_none(),
                _ => snapshot.is_none_or(|found| found.status == "READY"),
            };
        let (within, name) = path.split_once("/operations/").unwrap();
        let mut json = json!({
            "kind": "compute#operation",
            "name": name,
            "operationType": operation.kind,
            "selfLink": format!("{URL}{within}/operations/{name}"),
            "targetLink": format!("{URL}{}", operation.target),
            "status": if is_done { "DONE" } else { "RUNNING" },
            "progress": if is_done { 100 } else { 0 },
        });
        if let Some((code, message, status)) = failure {
            json["error"] = json!({"errors": [{"code": code, "message": message}]});
            json["httpErrorStatusCode"] = status.into();
            json["httpErrorMessage"] = "FAILED".into();
        }
        json
    }
}
