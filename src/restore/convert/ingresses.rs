//! Ingresses, from `extensions/v1beta1` and `networking.k8s.io/v1beta1`.

use serde_json::{Map, Value, json};

use crate::api::object::{self, Object};

/// Says the backends in the new form, and the path type that was meant. An empty path stays empty: what that and `/` mean
/// is up to the controller, to some of them not the same.
pub(super) fn convert(ingress: &mut Object) -> Result<(), String> {
    let Some(spec) = object::at_mut(ingress, &["spec"]) else {
        return Ok(());
    };
    if let Some(backend) = spec.shift_remove("backend") {
        spec.insert("defaultBackend".to_owned(), self::backend(backend)?);
    }
    for rule in object::list_mut(spec, &["rules"]) {
        for path in object::list_mut(rule, &["http", "paths"]) {
            if let Some(stored) = path.shift_remove("backend") {
                path.insert("backend".to_owned(), backend(stored)?);
            }
            path.entry("pathType")
                .or_insert_with(|| Value::from("ImplementationSpecific"));
        }
    }
    Ok(())
}

fn backend(stored: Value) -> Result<Value, String> {
    let Value::Object(mut stored) = stored else {
        return Err("a backend is no object".to_owned());
    };
    let (name, port) = (
        stored.shift_remove("serviceName"),
        stored.shift_remove("servicePort"),
    );
    let Some(name) = name else {
        // One of a resource, which is as it was.
        return Ok(Value::Object(stored));
    };
    let port = match port {
        Some(Value::String(word)) => match word.parse::<u32>() {
            Ok(number) => json!({"number": number}),
            Err(_) => json!({"name": word}),
        },
        Some(number) => json!({"number": number}),
        None => return Err("a backend names no port".to_owned()),
    };
    let mut service = Map::new();
    service.insert("name".to_owned(), name);
    service.insert("port".to_owned(), port);
    Ok(json!({"service": service}))
}
