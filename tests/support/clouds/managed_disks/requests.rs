//! What is made, looked at, removed and listed, and how what was begun is followed.

use serde_json::{Map, Value, json};

use super::super::{Call, Reply, check, lock};
use super::state::{Resource, key};
use super::{Answered, Follow, ManagedDisks, SUBSCRIPTION, VERSION, absent, fields, refusal};

/// How many snapshots a page has.
const PAGE: usize = 2;

impl ManagedDisks {
    pub(super) fn get(&self, call: &Call, kind: &str) -> Answered {
        self.need(&format!("{kind}/read"), &call.path, false)?;
        let mut state = lock(&self.state);
        state.look_at(&call.path);
        match state.resources.get(&key(&call.path)) {
            Some(found) => Ok(Reply::new(200, found.answer())),
            None => Err(absent(&call.path)),
        }
    }

    pub(super) fn put(&self, call: &Call, kind: &str) -> Answered {
        let broken = |how: String| self.broken(call, &how);
        let fields = if kind == "disks" {
            fields::DISK
        } else {
            fields::SNAPSHOT
        };
        let body = call.json().map_err(broken)?;
        check(&body, fields).map_err(broken)?;
        check_tags(&body).map_err(broken)?;
        self.need(&format!("{kind}/write"), &call.path, false)?;
        let creation = &body["properties"]["creationData"];
        if creation["createOption"] != "Copy" {
            return Err(broken("only copies are known here".to_owned()));
        }
        let source = creation["sourceResourceId"].as_str().unwrap_or_default();
        let source_kind = if kind == "disks" {
            "snapshots"
        } else {
            "disks"
        };
        if !key(source).contains(&format!("/microsoft.compute/{source_kind}/")) {
            return Err(broken(format!("a copy of {source}")));
        }
        let action = format!("{source_kind}/beginGetAccess/action");
        self.need(&action, source, true)?;
        let mut state = lock(&self.state);
        if let Some(there) = state.resources.get(&key(&call.path)) {
            if there.source() != key(source) {
                let message = "Changing property 'creationData.sourceResourceId' is not allowed.";
                return Err(refusal(409, "PropertyChangeNotAllowed", message));
            }
            return Ok(Reply::new(200, there.answer()));
        }
        let original = state.resources.get(&key(source)).cloned();
        let original = original.ok_or_else(|| absent(source))?;
        if original.json["location"] != body["location"] {
            return Err(broken(format!("another location than that of {source}")));
        }
        let mut json = body.clone();
        let properties = original.json["properties"].as_object().unwrap();
        for name in ["diskSizeGB", "diskSizeBytes", "encryption"] {
            if let (Some(value), true) =
                (properties.get(name), body["properties"].get(name).is_none())
            {
                json["properties"][name] = value.clone();
            }
        }
        if kind == "snapshots" {
            if state
                .quota
                .is_some_and(|quota| state.count("snapshots") >= quota)
            {
                let message = "Operation could not be completed as it results in exceeding approved SnapshotCount \
                               quota.";
                return Err(refusal(409, "OperationNotAllowed", message));
            }
            let sku = original.json["sku"]["name"].as_str().unwrap_or_default();
            let incremental = body["properties"]["incremental"] == true;
            if ["UltraSSD_LRS", "PremiumV2_LRS"].contains(&sku) && !incremental {
                let message = format!("Full snapshots of {sku} disks are not supported.");
                return Err(refusal(409, "OperationNotAllowed", &message));
            }
        } else if !original.is_whole() {
            let message = format!("Snapshot {source} is not ready: its copy is not complete.");
            return Err(refusal(409, "OperationNotAllowed", &message));
        } else {
            check_zones(&body).map_err(broken)?;
        }
        json.insert("id".to_owned(), call.path.as_str().into());
        let name = call.path.rsplit('/').next().unwrap_or_default();
        json.insert("name".to_owned(), name.into());
        let content = original.content.filter(|_| kind == "disks");
        let operation = state.begin(&call.path, json, content);
        let answer = state.resources.get(&key(&call.path)).map(Resource::answer);
        drop(state);
        Ok(self.begun(&operation, answer.unwrap_or(Value::Null), 200))
    }

    pub(super) fn delete(&self, call: &Call) -> Answered {
        self.need("snapshots/delete", &call.path, false)?;
        let mut state = lock(&self.state);
        if !state.resources.contains_key(&key(&call.path)) {
            return Ok(Reply::new(204, Value::Null));
        }
        let operation = state.begin_delete(&call.path);
        drop(state);
        Ok(self.begun(&operation, Value::Null, 202))
    }

    /// Says that something was begun; `plain` is the status where it is followed by its state.
    pub(super) fn begun(&self, operation: &str, json: Value, plain: u16) -> Reply {
        let follow = *lock(&self.follow);
        if follow == Follow::State {
            return Reply::new(plain, json);
        }
        let url = format!(
            "{}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope/DiskOperations/{operation}\
             ?sig=secret-signature&api-version={VERSION}",
            self.desk.address
        );
        let reply = Reply::new(202, json).with("location", format!("{url}&monitor=true"));
        if follow == Follow::Operation {
            reply.with("azure-asyncoperation", url)
        } else {
            reply
        }
    }

    pub(super) fn operation(&self, call: &Call, name: &str) -> Answered {
        let now = lock(&self.state).look_at_operation(name);
        let now = now.ok_or_else(|| absent(&call.path))?;
        if !call.query.contains_key("monitor") {
            return Ok(Reply::new(200, now));
        }
        match now["status"].as_str() {
            Some("InProgress") => {
                let again = format!("{}{}", self.desk.address, call.path);
                let query = format!("?sig=secret-signature&api-version={VERSION}&monitor=true");
                Ok(Reply::new(202, Value::Null).with("location", again + &query))
            }
            Some("Failed") => {
                let text = |name: &str| now["error"][name].as_str().unwrap_or_default();
                Err(refusal(409, text("code"), text("message")))
            }
            _ => Ok(Reply::new(200, Value::Null)),
        }
    }

    pub(super) fn list(&self, call: &Call) -> Reply {
        let begin = format!("{}/", key(&call.path));
        let after = call.query.get("$skiptoken").map_or("", String::as_str);
        let state = lock(&self.state);
        let all: Vec<_> = state
            .resources
            .iter()
            .filter(|(id, _)| id.starts_with(&begin) && id.as_str() > after)
            .collect();
        let page = &all[..PAGE.min(all.len())];
        let value: Vec<Value> = page.iter().map(|(_, found)| found.answer()).collect();
        let mut json = json!({ "value": value });
        if page.len() < all.len() {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("api-version", VERSION)
                .append_pair("$skiptoken", page[page.len() - 1].0)
                .finish();
            json["nextLink"] = format!("{}{}?{query}", self.desk.address, call.path).into();
        }
        Reply::new(200, json)
    }
}

fn check_tags(body: &Map<String, Value>) -> Result<(), String> {
    let tags = body.get("tags").and_then(Value::as_object);
    let tags = tags.cloned().unwrap_or_default();
    let mut names: Vec<String> = tags.keys().map(|name| name.to_lowercase()).collect();
    names.sort();
    names.dedup();
    if names.len() != tags.len() || tags.len() > 50 {
        return Err("too many tags, or one of them twice".to_owned());
    }
    for (name, value) in &tags {
        let value = value.as_str().unwrap_or_default();
        let longest = name.chars().count() > 512 || value.chars().count() > 256;
        if longest || name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
            return Err(format!("tag {name}={value}"));
        }
    }
    Ok(())
}

fn check_zones(body: &Map<String, Value>) -> Result<(), String> {
    let sku = body
        .get("sku")
        .and_then(|sku| sku["name"].as_str())
        .unwrap_or_default();
    let skus = [
        "Standard_LRS",
        "Premium_LRS",
        "StandardSSD_LRS",
        "UltraSSD_LRS",
        "Premium_ZRS",
        "StandardSSD_ZRS",
        "PremiumV2_LRS",
    ];
    if !skus.contains(&sku) {
        return Err(format!("sku {sku:?}"));
    }
    let zones = body.get("zones").and_then(Value::as_array);
    let Some(zones) = zones else {
        return Ok(());
    };
    let known = zones.len() == 1 && ["1", "2", "3"].iter().any(|zone| zones[0] == *zone);
    if sku.ends_with("_ZRS") || !known {
        return Err(format!("zones {zones:?} of {sku}"));
    }
    Ok(())
}
