//! What is begun and listed.

use regex::Regex;
use serde_json::{Map, Value, json};

use super::super::{Call, check, lock};
use super::state::URL;
use super::{Answered, ComputeEngine, NAME, absent, fields, matches, not_ready, refusal, taken};

/// How many snapshots a page has.
const PAGE: usize = 2;

impl ComputeEngine {
    pub(super) fn insert_snapshot(&self, call: &Call, project: &str) -> Answered {
        let broken = |how: String| self.broken(call, &how);
        let body = call.json().map_err(broken)?;
        check(&body, fields::SNAPSHOT).map_err(broken)?;
        common(&body).map_err(broken)?;
        let name = body["name"].as_str().unwrap_or_default();
        let path = format!("projects/{project}/global/snapshots/{name}");
        let source = relative(body["sourceDisk"].as_str().unwrap_or_default());
        self.need("compute.snapshots.create", &path)?;
        self.need("compute.disks.createSnapshot", &source)?;
        if body.contains_key("labels") {
            self.need("compute.snapshots.setLabels", &path)?;
        }
        let mut state = lock(&self.state);
        if state.snapshots.contains_key(&path) {
            return Err(taken(&path));
        }
        let Some(disk) = state.disks.get(&source) else {
            return Err(absent(&source));
        };
        let mut json = body.clone();
        json.insert("diskSizeGb".to_owned(), disk.text("sizeGb").into());
        if let Some(key) = disk.json.get("diskEncryptionKey") {
            // Google encrypts a snapshot with its disk's key.
            json.insert("snapshotEncryptionKey".to_owned(), key.clone());
        }
        if state
            .quota
            .is_some_and(|quota| state.snapshots.len() >= quota)
        {
            return Err(refusal(
                403,
                "quotaExceeded",
                "Quota 'SNAPSHOTS' exceeded. Limit: 1.0 globally.",
            ));
        }
        json.insert("kind".to_owned(), "compute#snapshot".into());
        json.insert("id".to_owned(), state.next_id().into());
        json.insert("selfLink".to_owned(), format!("{URL}{path}").into());
        json.insert("sourceDisk".to_owned(), format!("{URL}{source}").into());
        let failure = state.begin_snapshot(&path, json);
        let within = format!("projects/{project}/global");
        Ok(state.begin("compute.snapshots.insert", &within, &path, failure))
    }

    pub(super) fn insert_disk(&self, call: &Call, place: &str) -> Answered {
        let broken = |how: String| self.broken(call, &how);
        let body = call.json().map_err(broken)?;
        check(&body, fields::DISK).map_err(broken)?;
        common(&body).map_err(broken)?;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let path = format!("{place}/disks/{}", text("name"));
        let source = relative(text("sourceSnapshot"));
        self.need("compute.disks.create", &path)?;
        self.need("compute.snapshots.useReadOnly", &source)?;
        if body.contains_key("labels") {
            self.need("compute.disks.setLabels", &path)?;
        }
        let kind = relative(text("type"));
        if !kind.starts_with(&format!("{place}/diskTypes/")) {
            return Err(broken(format!("type {kind} in {place}")));
        }
        let mut json = body.clone();
        json.insert("type".to_owned(), format!("{URL}{kind}").into());
        let replicas = body.get("replicaZones").and_then(Value::as_array);
        match (place.split_once("/regions/"), replicas) {
            (None, None) => {
                json.insert("zone".to_owned(), format!("{URL}{place}").into());
            }
            (Some((project, region)), Some(zones)) if zones.len() == 2 => {
                let begin = format!("{project}/zones/{region}-");
                let zones: Vec<String> = zones
                    .iter()
                    .filter_map(Value::as_str)
                    .map(relative)
                    .collect();
                if !zones.iter().all(|zone| zone.starts_with(&begin)) {
                    return Err(broken(format!("zones {zones:?} of {place}")));
                }
                json.insert("region".to_owned(), format!("{URL}{place}").into());
                let urls = zones.iter().map(|zone| format!("{URL}{zone}"));
                json.insert("replicaZones".to_owned(), urls.collect());
            }
            (_, replicas) => return Err(broken(format!("replicaZones {replicas:?} in {place}"))),
        }
        let mut state = lock(&self.state);
        if state.disks.contains_key(&path) {
            return Err(taken(&path));
        }
        state.look_at_snapshot(&source);
        let Some(snapshot) = state.snapshots.get(&source) else {
            return Err(absent(&source));
        };
        if snapshot.status != "READY" {
            return Err(not_ready(&source));
        }
        let content = snapshot.content.clone();
        json.insert("sizeGb".to_owned(), snapshot.text("diskSizeGb").into());
        json.insert("kind".to_owned(), "compute#disk".into());
        json.insert("selfLink".to_owned(), format!("{URL}{path}").into());
        json.insert("sourceSnapshot".to_owned(), format!("{URL}{source}").into());
        state.begin_disk(&path, json, content);
        Ok(state.begin("compute.disks.insert", place, &path, None))
    }

    pub(super) fn list(&self, call: &Call, project: &str) -> Answered {
        let broken = |how: String| self.broken(call, &how);
        let query = |name: &str| call.query.get(name).map_or("", String::as_str);
        let label = match query("filter") {
            "" => None,
            filter => {
                let form = Regex::new(r#"^labels\.([a-z][a-z0-9_-]*) = "([a-z0-9_-]*)"$"#).unwrap();
                let parts = form.captures(filter);
                let parts = parts.ok_or_else(|| broken(format!("filter {filter}")))?;
                Some((parts[1].to_owned(), parts[2].to_owned()))
            }
        };
        let most = match query("maxResults") {
            "" => PAGE,
            text => match text.parse() {
                Ok(most @ 1..=500) => most,
                _ => return Err(broken(format!("maxResults {text}"))),
            },
        };
        let begin = format!("projects/{project}/global/snapshots/");
        let state = lock(&self.state);
        // A page is of what is looked through, as Google's may be: it can be empty and not the last.
        let all: Vec<_> = state
            .snapshots
            .iter()
            .filter(|(path, _)| path.starts_with(&begin) && path.as_str() > query("pageToken"))
            .collect();
        let page = &all[..most.min(all.len())];
        let items: Vec<Value> = page
            .iter()
            .map(|(_, snapshot)| snapshot.answer())
            .filter(|snapshot| {
                label
                    .as_ref()
                    .is_none_or(|(key, value)| snapshot["labels"][key] == value.as_str())
            })
            .collect();
        let mut json = json!({"kind": "compute#snapshotList", "id": begin});
        if !items.is_empty() {
            json["items"] = items.into();
        }
        if page.len() < all.len() {
            json["nextPageToken"] = page[page.len() - 1].0.as_str().into();
        }
        projected(json, query("fields")).map_err(broken)
    }
}

/// Checks what disks and snapshots have in common.
fn common(body: &Map<String, Value>) -> Result<(), String> {
    let name = body["name"].as_str().unwrap_or_default();
    if !matches(NAME, name) {
        return Err(format!("name {name:?}"));
    }
    let description = body.get("description").and_then(Value::as_str);
    if description.is_some_and(|text| text.chars().count() > 2048) {
        return Err("a description that is too long".to_owned());
    }
    let labels = body.get("labels").and_then(Value::as_object);
    if labels.is_some_and(|labels| labels.len() > 64) {
        return Err("too many labels".to_owned());
    }
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let good = matches("[a-z][a-z0-9_-]{0,62}", key) && matches("[a-z0-9_-]{0,63}", value);
        if !good || key.starts_with("goog") {
            return Err(format!("label {key}={value}"));
        }
    }
    Ok(())
}

/// Returns the path in a URL, whole or in part.
fn relative(url: &str) -> String {
    url.trim_start_matches(URL).to_owned()
}

/// Returns the parts of an answer that `fields` asks for, in the form `a,b(c,d)`.
fn projected(json: Value, fields: &str) -> Result<Value, String> {
    if fields.is_empty() {
        return Ok(json);
    }
    let Value::Object(all) = json else {
        return Ok(json);
    };
    let form = Regex::new(r"^(?:([a-zA-Z]+)(?:\(([a-zA-Z,]+)\))?)(?:,|$)").unwrap();
    let mut kept = Map::new();
    let mut rest = fields;
    while !rest.is_empty() {
        let part = form
            .captures(rest)
            .ok_or_else(|| format!("fields {fields}"))?;
        let name = &part[1];
        if !["items", "nextPageToken", "kind", "id", "selfLink"].contains(&name) {
            return Err(format!("fields {fields}"));
        }
        if let Some(value) = all.get(name) {
            let value = match (part.get(2), value) {
                (Some(inner), Value::Array(items)) => {
                    let names: Vec<&str> = inner.as_str().split(',').collect();
                    let items = items.iter().map(|item| {
                        let mut item = item.as_object().cloned().unwrap_or_default();
                        item.retain(|name, _| names.contains(&name.as_str()));
                        Value::Object(item)
                    });
                    items.collect()
                }
                _ => value.clone(),
            };
            kept.insert(name.to_owned(), value);
        }
        rest = &rest[part[0].len()..];
    }
    Ok(Value::Object(kept))
}
