//! What becomes of a Service's addresses and ports.
//!
//! A port that the user asked for is kept, one that the server chose is given up. Who asked shows in two places: the
//! annotation of `kubectl apply`, and the managed fields. On a create the server notes there what was sent, not what it
//! filled in itself.

use serde_json::Value;

use super::Facts;
use crate::api::object::{self, Object};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Cases 35 and 36: gives up the cluster IPs; a headless Service keeps `None`, an ExternalName has none.
///
/// `clusterIPs` without `clusterIP` is refused by the server, so both go or both stay.
pub(super) fn release_addresses(service: &mut Object, _: &Facts) {
    if is_external(service) || object::text(service, &["spec", "clusterIP"]) == "None" {
        return;
    }
    object::remove(service, &["spec"], &["clusterIP", "clusterIPs"]);
}

/// Cases 37, 38 and 39: gives up the node ports that nobody asked for.
pub(super) fn release_node_ports(service: &mut Object, facts: &Facts) {
    if is_external(service) || facts.preserve_node_ports {
        return;
    }
    let applied = last_applied(service);
    let managed = managed_ports(service);
    for port in object::list_mut(service, &["spec", "ports"]) {
        if !(applied_node_port(applied.as_ref(), port) || managed.contains(&port_key(port))) {
            port.shift_remove("nodePort");
        }
    }
}

/// Case 40: gives up the health check port unless it was asked for.
pub(super) fn release_health_check_port(service: &mut Object, facts: &Facts) {
    if facts.preserve_node_ports {
        return;
    }
    let applied = last_applied(service)
        .as_ref()
        .and_then(|applied| {
            object::at(applied, &["spec"])?
                .get("healthCheckNodePort")
                .and_then(number)
        })
        .is_some_and(|port| port != 0);
    let managed = own_fields(service).any(|fields| {
        object::at(fields, &["f:spec"])
            .is_some_and(|spec| spec.contains_key("f:healthCheckNodePort"))
    });
    if !applied && !managed {
        object::remove(service, &["spec"], &["healthCheckNodePort"]);
    }
}

fn is_external(service: &Object) -> bool {
    object::text(service, &["spec", "type"]) == "ExternalName"
}

/// Returns the object as it was last given to `kubectl apply`.
fn last_applied(service: &Object) -> Option<Object> {
    let text = object::text(service, &["metadata", "annotations", LAST_APPLIED]);
    serde_json::from_str(text).ok()
}

/// Returns whether the applied object asks for a node port for this port, which has the same name, or the same number
/// if it has none.
fn applied_node_port(applied: Option<&Object>, port: &Object) -> bool {
    let Some(applied) = applied else {
        return false;
    };
    let name = object::text(port, &["name"]);
    let same = |other: &Object| match name {
        "" => {
            other.get("port").and_then(number) == port.get("port").and_then(number)
                && protocol(other) == protocol(port)
        }
        name => object::text(other, &["name"]) == name,
    };
    object::list(applied, &["spec", "ports"])
        .filter(|other| same(other))
        .any(|other| {
            other
                .get("nodePort")
                .and_then(number)
                .is_some_and(|port| port != 0)
        })
}

/// Returns the managed-fields keys of the ports whose node port somebody sent.
fn managed_ports(service: &Object) -> Vec<String> {
    own_fields(service)
        .filter_map(|fields| object::at(fields, &["f:spec", "f:ports"]))
        .flat_map(|ports| ports.iter())
        .filter(|(_, fields)| fields.get("f:nodePort").is_some())
        .map(|(key, _)| key.clone())
        .collect()
}

/// Returns the sets of fields that clients own outside of subresources.
fn own_fields(service: &Object) -> impl Iterator<Item = &Object> {
    object::list(service, &["metadata", "managedFields"])
        .filter(|entry| object::text(entry, &["subresource"]).is_empty())
        .filter_map(|entry| object::at(entry, &["fieldsV1"]))
}

/// Returns the key of a port in managed fields.
fn port_key(port: &Object) -> String {
    let number = port.get("port").and_then(number).unwrap_or_default();
    format!(r#"k:{{"port":{number},"protocol":"{}"}}"#, protocol(port))
}

fn protocol(port: &Object) -> &str {
    match object::text(port, &["protocol"]) {
        "" => "TCP",
        protocol => protocol,
    }
}

/// Reads a port number, which people also write as a float or a string.
fn number(value: &Value) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only whole numbers in the range of a port come so far"
    )]
    let whole = |float: f64| {
        (float.fract() == 0.0 && (0.0..=65535.0).contains(&float)).then_some(float as u64)
    };
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(whole)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
