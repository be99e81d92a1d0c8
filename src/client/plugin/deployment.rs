//! What a plugin is in the server's Deployment. Pure: works on the object as JSON.

use serde_json::{Map, Value, json};

use crate::api::names;

/// The volume that plugins and the server share.
const VOLUME: &str = "plugins";
/// Where the server finds plugins, unless `--plugin-dir` says otherwise.
const SERVER_PATH: &str = "/plugins";
/// Where a plugin's image expects the volume.
const PLUGIN_PATH: &str = "/target";
/// The container that the server runs in.
const SERVER: &str = "ark";

/// A plugin to add.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) pull_policy: &'static str,
}

/// Returns the name that a plugin gets from its image: what stands between the last slash and the tag or digest.
///
/// # Errors
/// No container can be named so.
pub(super) fn name_of(image: &str) -> Result<String, String> {
    let base = image.rsplit_once('/').map_or(image, |(_, base)| base);
    let base = base.split(['@', ':']).next().unwrap_or_default();
    // What images may be called and containers may not.
    let name = base.replace(['_', '.'], "-");
    if names::check_namespace_name(&name).is_err() || image.contains(char::is_whitespace) {
        return Err(format!(
            "{image:?} is not an image that names a plugin; write one such as registry/my-plugin:tag"
        ));
    }
    Ok(name)
}

/// Adds a plugin to the Deployment, or brings one of that name up to date; returns whether that changed anything.
///
/// # Errors
/// The Deployment is not one of an Ark server.
pub(super) fn add(deployment: &mut Value, plugin: &Plugin) -> Result<bool, String> {
    let before = deployment.clone();
    let pod = pod(deployment)?;
    let volumes = list(pod, "volumes")?;
    if !volumes.iter().any(|volume| volume["name"] == VOLUME) {
        volumes.push(json!({ "name": VOLUME, "emptyDir": {} }));
    }
    let server = list(pod, "containers")?
        .iter_mut()
        .find(|container| container["name"] == SERVER)
        .and_then(Value::as_object_mut)
        .ok_or_else(|| {
            format!(
                "the Deployment has no container {SERVER:?}; set Ark up again with `ark install`"
            )
        })?;
    mount(server, SERVER_PATH)?;
    let plugins = list(pod, "initContainers")?;
    let is_it = |container: &Value| container["name"] == plugin.name.as_str();
    if !plugins.iter().any(is_it) {
        plugins.push(new_container(&plugin.name));
    }
    let container = plugins
        .iter_mut()
        .find(|container| is_it(container))
        .and_then(Value::as_object_mut)
        .ok_or_else(malformed)?;
    container.insert("image".to_owned(), json!(plugin.image));
    container.insert("imagePullPolicy".to_owned(), json!(plugin.pull_policy));
    mount(container, PLUGIN_PATH)?;
    Ok(*deployment != before)
}

/// Returns an init container that lacks what depends on the image. It asks for no rights, so that a namespace that
/// enforces restricted pods takes it.
fn new_container(name: &str) -> Value {
    json!({
        "name": name,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

/// Removes the first plugin of that name or image and returns its name.
///
/// # Errors
/// There is none.
pub(super) fn remove(deployment: &mut Value, name_or_image: &str) -> Result<String, String> {
    let plugins = list(pod(deployment)?, "initContainers")?;
    let is_meant = |container: &Value| {
        container["name"] == name_or_image || container["image"] == name_or_image
    };
    let Some(at) = plugins.iter().position(is_meant) else {
        let there: Vec<&str> = plugins
            .iter()
            .filter_map(|container| container["name"].as_str())
            .collect();
        let there = if there.is_empty() {
            "it has none".to_owned()
        } else {
            format!("it has {}", there.join(", "))
        };
        return Err(format!(
            "the server has no plugin of the name or image {name_or_image:?}; {there}"
        ));
    };
    let removed = plugins.remove(at);
    Ok(removed["name"].as_str().unwrap_or(name_or_image).to_owned())
}

/// Mounts the shared volume into a container, unless it is there already.
fn mount(container: &mut Map<String, Value>, path: &str) -> Result<(), String> {
    let name = container
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let mounts = list(container, "volumeMounts")?;
    if mounts.iter().any(|mount| mount["name"] == VOLUME) {
        return Ok(());
    }
    if let Some(other) = mounts.iter().find(|mount| mount["mountPath"] == path) {
        return Err(format!(
            "container {name:?} has another volume, {}, at {path}, where plugins belong; mount that one elsewhere",
            other["name"]
        ));
    }
    mounts.push(json!({ "name": VOLUME, "mountPath": path }));
    Ok(())
}

fn pod(deployment: &mut Value) -> Result<&mut Map<String, Value>, String> {
    deployment
        .pointer_mut("/spec/template/spec")
        .and_then(Value::as_object_mut)
        .ok_or_else(malformed)
}

/// Returns a list in an object, which is made if it is not there.
fn list<'a>(object: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Vec<Value>, String> {
    let value = object.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(malformed)
}

fn malformed() -> String {
    "the Deployment cannot be understood; set Ark up again with `ark install`".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(pod: &Value) -> Value {
        json!({ "spec": { "replicas": 1, "template": { "metadata": {}, "spec": pod } } })
    }

    fn plugin(image: &str) -> Plugin {
        Plugin {
            name: name_of(image).unwrap(),
            image: image.to_owned(),
            pull_policy: "IfNotPresent",
        }
    }

    /// Returns the pod after a plugin was added.
    fn added(pod: &Value, image: &str) -> Result<(Value, bool), String> {
        let mut deployment = deployment(pod);
        let changed = add(&mut deployment, &plugin(image))?;
        Ok((deployment["spec"]["template"]["spec"].clone(), changed))
    }

    #[test]
    fn names_come_from_images() {
        for (image, name) in [
            ("plugin", Some("plugin")),
            ("plugin:1", Some("plugin")),
            ("registry:5000/team/my-plugin:v1.0", Some("my-plugin")),
            ("registry/my_plugin.x@sha256:0123", Some("my-plugin-x")),
            ("registry/p:1@sha256:0123", Some("p")),
            ("", None),
            ("registry/", None),
            ("two words", None),
            ("registry/:1", None),
        ] {
            assert_eq!(name_of(image).ok().as_deref(), name, "{image}");
        }
    }

    #[test]
    fn volume_and_mount_are_added_where_they_miss() {
        let mount = json!({ "name": "plugins", "mountPath": "/plugins" });
        let volume = json!({ "name": "plugins", "emptyDir": {} });
        let other = json!({ "name": "x", "mountPath": "/x" });
        for (pod, mounts, volumes) in [
            (
                json!({ "containers": [{ "name": "ark" }] }),
                json!([mount]),
                json!([volume]),
            ),
            (
                json!({ "containers": [{ "name": "ark", "volumeMounts": [other] }], "volumes": [{ "name": "x" }] }),
                json!([other, mount]),
                json!([{ "name": "x" }, volume]),
            ),
            // The original takes the mount for granted where the volume is there.
            (
                json!({ "containers": [{ "name": "ark" }], "volumes": [{ "name": "plugins", "hostPath": {} }] }),
                json!([mount]),
                json!([{ "name": "plugins", "hostPath": {} }]),
            ),
            (
                json!({ "containers": [{ "name": "side" }, { "name": "ark", "volumeMounts": [mount] }],
                        "volumes": [volume] }),
                json!([mount]),
                json!([volume]),
            ),
        ] {
            let (after, changed) = added(&pod, "registry/p:1").unwrap();
            assert!(changed);
            let containers = after["containers"].as_array().unwrap();
            assert_eq!(containers.last().unwrap()["volumeMounts"], mounts, "{pod}");
            assert_eq!(after["volumes"], volumes, "{pod}");
            let plugin = &after["initContainers"][0];
            assert_eq!(plugin["name"], "p");
            assert_eq!(plugin["image"], "registry/p:1");
            assert_eq!(plugin["imagePullPolicy"], "IfNotPresent");
            assert_eq!(
                plugin["volumeMounts"],
                json!([{ "name": "plugins", "mountPath": "/target" }])
            );
        }
    }

    #[test]
    fn a_plugin_is_there_once() {
        let pod =
            json!({ "containers": [{ "name": "ark" }], "initContainers": [{ "name": "first" }] });
        let (once, _) = added(&pod, "registry/p:1").unwrap();
        assert_eq!(added(&once, "registry/p:1").unwrap(), (once.clone(), false));
        let (newer, changed) = added(&once, "registry/p:2").unwrap();
        assert!(changed);
        let plugins = newer["initContainers"].as_array().unwrap();
        assert_eq!(plugins.len(), 2);
        assert_eq!(plugins[0], json!({ "name": "first" }));
        assert_eq!(plugins[1]["image"], "registry/p:2");
    }

    #[test]
    fn what_is_no_ark_server_is_refused() {
        for pod in [
            json!({ "containers": [{ "name": "nginx" }] }),
            json!({ "containers": 1 }),
            json!({ "containers": [{ "name": "ark", "volumeMounts": [{ "name": "x", "mountPath": "/plugins" }] }] }),
        ] {
            assert!(added(&pod, "registry/p:1").is_err(), "{pod}");
        }
        assert!(add(&mut json!({}), &plugin("p")).is_err());
    }

    #[test]
    fn plugins_are_removed_by_name_or_image() {
        let pod = json!({ "initContainers": [
            { "name": "a", "image": "registry/a:1" }, { "name": "b", "image": "registry/b:1" },
        ] });
        for (given, removed, left) in [
            ("a", Ok("a"), 1),
            ("registry/b:1", Ok("b"), 1),
            ("c", Err("it has a, b"), 2),
        ] {
            let mut deployment = deployment(&pod);
            let result = remove(&mut deployment, given);
            match removed {
                Ok(name) => assert_eq!(result.as_deref(), Ok(name)),
                Err(end) => assert!(result.unwrap_err().ends_with(end)),
            }
            let plugins = &deployment["spec"]["template"]["spec"]["initContainers"];
            assert_eq!(plugins.as_array().unwrap().len(), left, "{given}");
        }
        let problem = remove(&mut deployment(&json!({})), "a").unwrap_err();
        assert!(problem.ends_with("it has none"), "{problem}");
    }
}
