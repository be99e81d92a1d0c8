//! A contract fake of Compute Engine's API, as far as snapshots of disks need it, and of the metadata server.
//!
//! Written from: the discovery document of `compute` `v1`, revision 20261106 (paths, methods, queries, fields, which of
//! them are required or output only, status words, scopes); the reference's lists of IAM permissions
//! (<https://cloud.google.com/compute/docs/reference/rest/v1>); the rules for names and labels
//! (<https://cloud.google.com/compute/docs/labeling-resources>); the metadata server's documentation
//! (<https://cloud.google.com/compute/docs/metadata/overview>). Wordings of errors are after the API's own.

mod access;
mod fields;
mod requests;
mod state;

use std::collections::BTreeSet;
use std::sync::Mutex;

use http::Method;
use regex::Regex;
use serde_json::{Value, json};

pub use self::state::{Failure, Pace};
use self::state::{State, URL};
use super::super::gcs::AccountKey;
use super::{Call, Desk, Fake, Listening, Reply, lock};

/// The project of everything that tests do not say another of.
pub const PROJECT: &str = "tests";

/// Who may do what, and what there is.
#[derive(Debug)]
pub struct ComputeEngine {
    desk: Desk,
    public_key: Vec<u8>,
    state: Mutex<State>,
    /// The permissions that whoever asks has; `None`: all.
    granted: Mutex<Option<BTreeSet<String>>>,
    /// The permissions that were needed.
    needed: Mutex<BTreeSet<String>>,
}

type Answered = Result<Value, Reply>;

impl ComputeEngine {
    /// Starts it; it knows the account of this key.
    pub async fn start(key: &AccountKey) -> Listening<Self> {
        let public_key = key.public().to_vec();
        Listening::start(|desk| Self {
            desk,
            public_key,
            state: Mutex::default(),
            granted: Mutex::default(),
            needed: Mutex::default(),
        })
        .await
    }

    /// Returns what `GCE_METADATA_HOST` is to hold.
    pub fn metadata_host(&self) -> &str {
        self.desk.address.trim_start_matches("http://")
    }

    /// Makes a disk of 10 GB with something on it; `path` is such as `projects/p/zones/z/disks/d`.
    pub fn add_disk(&self, path: &str, kind: &str, more: &Value) {
        let (within, name) = path.split_once("/disks/").unwrap();
        let mut json = json!({
            "kind": "compute#disk", "name": name, "sizeGb": "10",
            "selfLink": format!("{URL}{path}"),
            "type": format!("{URL}{within}/diskTypes/{kind}"),
            "labels": {"team": "a", "goog-gke-volume": ""},
            "description": json!({"kubernetes.io/created-for/pvc/name": "data"}).to_string(),
        });
        match within.split_once("/regions/") {
            Some((project, region)) => {
                json["region"] = format!("{URL}{within}").into();
                // Not in order, as the API may have it.
                json["replicaZones"] = ["c", "b"]
                    .map(|zone| format!("{URL}{project}/zones/{region}-{zone}"))
                    .to_vec()
                    .into();
            }
            None => json["zone"] = format!("{URL}{within}").into(),
        }
        let mut json = json.as_object().unwrap().clone();
        json.extend(more.as_object().unwrap().clone());
        lock(&self.state).add_disk(path, json, "first");
    }

    /// Removes a disk.
    pub fn remove_disk(&self, path: &str) {
        lock(&self.state).disks.remove(path);
    }

    /// Writes something else to a disk.
    pub fn write(&self, path: &str, content: &str) {
        lock(&self.state).disks.get_mut(path).unwrap().content = Some(content.to_owned());
    }

    /// Returns what is on a disk.
    pub fn content(&self, path: &str) -> Option<String> {
        lock(&self.state).disks.get(path)?.content.clone()
    }

    /// Returns a disk as the API shows it.
    pub fn disk(&self, path: &str) -> Option<Value> {
        lock(&self.state)
            .disks
            .get(path)
            .map(state::Resource::answer)
    }

    /// Returns a snapshot as the API shows it.
    pub fn snapshot(&self, path: &str) -> Option<Value> {
        lock(&self.state)
            .snapshots
            .get(path)
            .map(state::Resource::answer)
    }

    pub fn snapshots(&self) -> Vec<String> {
        lock(&self.state).snapshots.keys().cloned().collect()
    }

    pub fn disks(&self) -> Vec<String> {
        lock(&self.state).disks.keys().cloned().collect()
    }

    /// Has everything take more or fewer looks from now on.
    pub fn pace(&self, pace: Pace) {
        lock(&self.state).pace = pace;
    }

    /// Allows so many snapshots.
    pub fn quota(&self, snapshots: usize) {
        lock(&self.state).quota = Some(snapshots);
    }

    /// Has the next snapshot come to nothing once it was begun.
    pub fn next_snapshot_fails(&self, failure: Failure) {
        lock(&self.state).next_fails = Some(failure);
    }

    /// Has the next snapshot be there and never be whole.
    pub fn next_snapshot_is_broken(&self, failure: Failure) {
        lock(&self.state).next_is_broken = Some(failure);
    }

    /// Has whoever asks have these permissions and no others.
    pub fn grant(&self, permissions: impl IntoIterator<Item = String>) {
        *lock(&self.granted) = Some(permissions.into_iter().collect());
    }

    /// Returns the permissions that were needed until now.
    pub fn needed(&self) -> BTreeSet<String> {
        lock(&self.needed).clone()
    }

    /// Makes the answer for a request that the API does not have.
    fn broken(&self, call: &Call, how: &str) -> Reply {
        self.desk.broken(call, how);
        refusal(400, "invalid", &format!("Invalid request: {how}"))
    }

    fn api(&self, call: &Call) -> Answered {
        self.authorise(call)?;
        let broken = |how: String| self.broken(call, &how);
        let segments = call.segments();
        let ["compute", "v1", path @ ..] = &segments[..] else {
            return Err(broken("no such path".to_owned()));
        };
        let project = path.get(1).copied().unwrap_or_default();
        if !matches(PROJECT_ID, project) {
            return Err(broken(format!("project {project:?}")));
        }
        let whole = path.join("/");
        let named = |name: &str| {
            if matches(NAME, name) {
                Ok(())
            } else {
                Err(broken(format!("name {name:?}")))
            }
        };
        let plain = || call.queries(&[], &[]).map_err(broken);
        match (&call.method, path) {
            (&Method::GET, ["projects", _, "zones" | "regions", within, "disks", name]) => {
                named(within)?;
                named(name)?;
                plain()?;
                self.need("compute.disks.get", &whole)?;
                let mut state = lock(&self.state);
                state.look_at_disk(&whole);
                state
                    .disks
                    .get(&whole)
                    .map(state::Resource::answer)
                    .ok_or_else(|| absent(&whole))
            }
            (&Method::POST, ["projects", _, kind @ ("zones" | "regions"), within, "disks"]) => {
                named(within)?;
                call.queries(&[], &["requestId"]).map_err(broken)?;
                let place = format!("projects/{project}/{kind}/{within}");
                self.insert_disk(call, &place)
            }
            (&Method::GET, ["projects", _, "global", "snapshots"]) => {
                call.queries(
                    &[],
                    &["filter", "maxResults", "orderBy", "pageToken", "fields"],
                )
                .map_err(broken)?;
                self.need("compute.snapshots.list", &format!("projects/{project}"))?;
                self.list(call, project)
            }
            (&Method::POST, ["projects", _, "global", "snapshots"]) => {
                call.queries(&[], &["requestId"]).map_err(broken)?;
                self.insert_snapshot(call, project)
            }
            (&Method::GET, ["projects", _, "global", "snapshots", name]) => {
                named(name)?;
                plain()?;
                self.need("compute.snapshots.get", &whole)?;
                let mut state = lock(&self.state);
                state.look_at_snapshot(&whole);
                state
                    .snapshots
                    .get(&whole)
                    .map(state::Resource::answer)
                    .ok_or_else(|| absent(&whole))
            }
            (&Method::DELETE, ["projects", _, "global", "snapshots", name]) => {
                named(name)?;
                call.queries(&[], &["requestId"]).map_err(broken)?;
                self.need("compute.snapshots.delete", &whole)?;
                let mut state = lock(&self.state);
                match state.snapshots.get(&whole).map(|found| found.status) {
                    None => return Err(absent(&whole)),
                    Some("DELETING") => return Err(not_ready(&whole)),
                    Some(_) => state.begin_delete(&whole),
                }
                let within = format!("projects/{project}/global");
                Ok(state.begin("compute.snapshots.delete", &within, &whole, None))
            }
            (&Method::GET, ["projects", _, within @ .., "operations", _]) => {
                plain()?;
                let permission = match within {
                    ["global"] => "compute.globalOperations.get",
                    ["zones", _] => "compute.zoneOperations.get",
                    ["regions", _] => "compute.regionOperations.get",
                    _ => return Err(broken("no such path".to_owned())),
                };
                self.need(permission, &whole)?;
                lock(&self.state)
                    .look_at_operation(&whole)
                    .ok_or_else(|| absent(&whole))
            }
            _ => Err(broken("no such path or method".to_owned())),
        }
    }
}

impl Fake for ComputeEngine {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn answer(&self, call: &Call) -> Reply {
        if call.path.starts_with("/computeMetadata/") {
            return self.metadata(call);
        }
        match self.api(call) {
            Ok(json) => Reply::new(200, json),
            Err(reply) => reply,
        }
    }
}

impl std::ops::Deref for ComputeEngine {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// Makes the answer for a refused request.
pub fn refusal(status: u16, reason: &str, message: &str) -> Reply {
    let error = json!({"message": message, "domain": "global", "reason": reason});
    Reply::new(
        status,
        json!({"error": {"code": status, "message": message, "errors": [error]}}),
    )
}

fn absent(path: &str) -> Reply {
    refusal(
        404,
        "notFound",
        &format!("The resource '{path}' was not found"),
    )
}

fn taken(path: &str) -> Reply {
    refusal(
        409,
        "alreadyExists",
        &format!("The resource '{path}' already exists"),
    )
}

fn not_ready(path: &str) -> Reply {
    refusal(
        400,
        "resourceNotReady",
        &format!("The resource '{path}' is not ready"),
    )
}

const NAME: &str = "[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?";
const PROJECT_ID: &str = "(?:(?:[-a-z0-9]{1,63}\\.)*(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?):)?(?:[0-9]{1,19}|(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?))";

/// Returns whether the whole text has a form.
fn matches(form: &str, text: &str) -> bool {
    Regex::new(&format!("^(?:{form})$")).unwrap().is_match(text)
}
