//! A contract fake of Azure Resource Manager, as far as snapshots of managed disks need it, and of those that give out
//! its tokens.
//!
//! Written from: `disk.json`, `snapshot.json` and `diskRPCommon.json` of Microsoft.Compute/DiskRP, version 2023-10-02,
//! with `common-types/v1/common.json`, of Azure/azure-rest-api-specs (paths, methods, `api-version`, fields, which of
//! them are required or read only, answers); Azure's pages on asynchronous operations, on tags and on naming; Entra's on
//! the client credentials flow and on managed identities. Wordings of errors are after Azure's own.

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
use self::state::{Resource, State, key};
use super::{Call, Desk, Fake, Listening, Reply, lock};

pub const SUBSCRIPTION: &str = "0b1c6f3e-0000-4000-8000-00000000000a";
/// The group of the cluster's nodes and disks.
pub const NODES: &str = "MC_group_cluster_westeurope";
/// The group of snapshots.
pub const VAULT: &str = "vault";
pub const TENANT: &str = "tenant";
pub const CLIENT: &str = "client";
pub const SECRET: &str = "secret-of-the-application";
/// What vouches for a workload identity.
pub const ASSERTION: &str = "secret-assertion";
const VERSION: &str = "2023-10-02";

/// How an answer says where to look how it goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Follow {
    /// 202 with `Azure-AsyncOperation` and `Location`.
    Operation,
    /// 202 with `Location`.
    Location,
    /// 200 with a `provisioningState` that is not final.
    State,
}

/// Who may do what, and what there is.
#[derive(Debug)]
pub struct ManagedDisks {
    desk: Desk,
    state: Mutex<State>,
    /// The address that tokens are asked for.
    manager: Mutex<String>,
    follow: Mutex<Follow>,
    granted: Mutex<Option<BTreeSet<String>>>,
    needed: Mutex<BTreeSet<String>>,
}

type Answered = Result<Reply, Reply>;

impl ManagedDisks {
    pub async fn start() -> Listening<Self> {
        let fake = Listening::start(|desk| Self {
            manager: Mutex::new(desk.address.clone()),
            desk,
            state: Mutex::default(),
            follow: Mutex::new(Follow::Operation),
            granted: Mutex::default(),
            needed: Mutex::default(),
        })
        .await;
        for group in [NODES, VAULT] {
            lock(&fake.state).groups.push(group.to_lowercase());
        }
        fake
    }

    /// Has whoever asks for tokens know the manager under another address.
    pub fn known_as(&self, address: &str) {
        address.clone_into(&mut lock(&self.manager));
    }

    /// Makes a disk of 10 GB with something on it.
    pub fn add_disk(&self, id: &str, sku: &str, more: Value) {
        let mut json = json!({
            "id": id, "name": id.rsplit('/').next(), "type": "Microsoft.Compute/disks",
            "location": "westeurope",
            "tags": {"team": "a", "kubernetes.io-created-for-pvc-name": "data"},
            "sku": {"name": sku, "tier": "Premium"},
            "properties": {
                "creationData": {"createOption": "Empty"},
                "diskSizeGB": 10, "diskSizeBytes": 10_u64 << 30,
                "diskIOPSReadWrite": 500, "diskMBpsReadWrite": 60,
            },
        });
        merge(&mut json, more);
        lock(&self.state).add(id, json.as_object().unwrap().clone(), "first");
    }

    pub fn remove(&self, id: &str) {
        lock(&self.state).resources.remove(&key(id));
    }

    /// Writes something else to a disk.
    pub fn write(&self, id: &str, content: &str) {
        let mut state = lock(&self.state);
        state.resources.get_mut(&key(id)).unwrap().content = Some(content.to_owned());
    }

    /// Returns what is on a disk.
    pub fn content(&self, id: &str) -> Option<String> {
        lock(&self.state).resources.get(&key(id))?.content.clone()
    }

    /// Returns a disk or a snapshot as the API shows it.
    pub fn resource(&self, id: &str) -> Option<Value> {
        lock(&self.state)
            .resources
            .get(&key(id))
            .map(Resource::answer)
    }

    /// Returns how many `disks` or `snapshots` there are.
    pub fn count(&self, kind: &str) -> usize {
        lock(&self.state).count(kind)
    }

    pub fn pace(&self, pace: Pace) {
        lock(&self.state).pace = pace;
    }

    pub fn follow(&self, follow: Follow) {
        *lock(&self.follow) = follow;
    }

    /// Allows so many snapshots.
    pub fn quota(&self, snapshots: usize) {
        lock(&self.state).quota = Some(snapshots);
    }

    /// Has what is begun next come to nothing.
    pub fn next_fails(&self, failure: Failure) {
        lock(&self.state).next_fails = Some(failure);
    }

    /// Has the next snapshot be there, and have failed.
    pub fn next_is_broken(&self, failure: Failure) {
        lock(&self.state).next_is_broken = Some(failure);
    }

    /// Has whoever asks be allowed these actions and no others.
    pub fn grant(&self, actions: impl IntoIterator<Item = String>) {
        *lock(&self.granted) = Some(actions.into_iter().collect());
    }

    /// Returns the actions that were needed until now.
    pub fn needed(&self) -> BTreeSet<String> {
        lock(&self.needed).clone()
    }

    fn broken(&self, call: &Call, how: &str) -> Reply {
        self.desk.broken(call, how);
        refusal(400, "InvalidParameter", &format!("Invalid request: {how}"))
    }

    fn api(&self, call: &Call) -> Answered {
        self.authorise(call)?;
        let broken = |how: String| self.broken(call, &how);
        let version = call.query.get("api-version").map(String::as_str);
        if version != Some(VERSION) {
            return Err(broken(format!("api-version {version:?}")));
        }
        let segments = call.segments();
        let subscription = segments.get(1).copied().unwrap_or_default();
        if !subscription.eq_ignore_ascii_case(SUBSCRIPTION) {
            let message = format!("The subscription '{subscription}' could not be found.");
            return Err(refusal(404, "SubscriptionNotFound", &message));
        }
        match (&call.method, &segments[..]) {
            (
                &Method::GET,
                [
                    "subscriptions",
                    _,
                    "providers",
                    "Microsoft.Compute",
                    "locations",
                    _,
                    "DiskOperations",
                    name,
                ],
            ) => {
                call.queries(&["api-version", "sig"], &["monitor"])
                    .map_err(broken)?;
                self.need("locations/diskOperations/read", &call.path, false)?;
                self.operation(call, name)
            }
            (
                method,
                [
                    "subscriptions",
                    _,
                    "resourceGroups",
                    group,
                    "providers",
                    "Microsoft.Compute",
                    kind,
                    rest @ ..,
                ],
            ) => {
                if !lock(&self.state).groups.contains(&group.to_lowercase()) {
                    let message = format!("Resource group '{group}' could not be found.");
                    return Err(refusal(404, "ResourceGroupNotFound", &message));
                }
                match (method, *kind, rest) {
                    (&Method::GET, "snapshots", []) => {
                        call.queries(&["api-version"], &["$skiptoken"])
                            .map_err(broken)?;
                        self.need("snapshots/read", &call.path, false)?;
                        Ok(self.list(call))
                    }
                    (method, "disks" | "snapshots", [name]) => {
                        call.queries(&["api-version"], &[]).map_err(broken)?;
                        if !Regex::new("^[a-zA-Z0-9_-]{1,80}$").unwrap().is_match(name) {
                            return Err(broken(format!("name {name}")));
                        }
                        match *method {
                            Method::GET => self.get(call, kind),
                            Method::PUT => self.put(call, kind),
                            Method::DELETE if *kind == "snapshots" => self.delete(call),
                            _ => Err(broken("no such method".to_owned())),
                        }
                    }
                    _ => Err(broken("no such path or method".to_owned())),
                }
            }
            _ => Err(broken("no such path or method".to_owned())),
        }
    }
}

impl Fake for ManagedDisks {
    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn answer(&self, call: &Call) -> Reply {
        if call.path == format!("/{TENANT}/oauth2/v2.0/token") {
            return self.entra(call);
        }
        if call.path == "/metadata/identity/oauth2/token" {
            return self.identity(call);
        }
        match self.api(call) {
            Ok(reply) | Err(reply) => reply,
        }
    }
}

impl std::ops::Deref for ManagedDisks {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// Returns the id of a disk of the cluster.
pub fn disk_id(name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/{NODES}/providers/Microsoft.Compute/disks/{name}"
    )
}

/// Makes the answer for a refused request.
pub fn refusal(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, json!({"error": {"code": code, "message": message}}))
}

fn absent(id: &str) -> Reply {
    refusal(
        404,
        "ResourceNotFound",
        &format!("The Resource '{id}' was not found."),
    )
}

/// Puts the fields of one object into another, inside too.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
