//! The paths inside the tar: Ark's, unchanged since its first release.
//!
//! `resources/<resource[.group]>/namespaces/<namespace>/<name>.json`,
//! `resources/<resource[.group]>/cluster/<name>.json`, `metadata/version`.
//!
//! Names are the cluster's own: those of RBAC objects may hold `:` and almost anything else, but never `/`. A path from
//! a file is refused unless making it again from its parts would give the same path.

use sha2::{Digest, Sha256};

use super::error::ArchiveError;
use super::types::TypeKey;

/// The version of the format that is written.
pub const FORMAT_VERSION: &str = "2.0.0";
/// The first entry of the contents; its body is [`FORMAT_VERSION`] and a newline.
pub const VERSION_PATH: &str = "metadata/version";
/// The longest part of a path, in bytes. Kubernetes ends at 253 for all but a few types.
const MAX_PART: usize = 1024;
/// No path that [`entry_path`] makes is longer than this, in bytes: four parts and what joins them.
pub(crate) const MAX_PATH: usize = 4 * MAX_PART + 64;

const RESOURCES: &str = "resources/";
const NAMESPACES: &str = "namespaces/";
const CLUSTER: &str = "cluster/";
const SUFFIX: &str = ".json";

/// The parts of an entry's path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EntryPath<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Resource, plural and lower case.
    pub resource: &'a str,
    /// Namespace; none for objects of the cluster.
    pub namespace: Option<&'a str>,
    /// Name.
    pub name: &'a str,
}

impl<'a> EntryPath<'a> {
    /// Puts the parts of an object's path together.
    pub fn new(type_key: &'a TypeKey, namespace: Option<&'a str>, name: &'a str) -> Self {
        Self {
            group: &type_key.group,
            resource: &type_key.resource,
            namespace,
            name,
        }
    }

    /// Writes the path to the end of `path`; adds nothing if a part is refused.
    ///
    /// # Errors
    /// [`ArchiveError::Path`].
    pub fn write(&self, path: &mut String) -> Result<(), ArchiveError> {
        check_part(self.resource)?;
        if self.resource.contains('.') {
            return Err(refused(self.resource, "a resource holds no dot"));
        }
        if !self.group.is_empty() {
            check_part(self.group)?;
        }
        if let Some(namespace) = self.namespace {
            check_part(namespace)?;
        }
        check_part(self.name)?;
        self.push(path);
        Ok(())
    }

    /// Writes the path to the end of `path`, where its parts are known to be good.
    pub(crate) fn push(&self, path: &mut String) {
        path.push_str(RESOURCES);
        path.push_str(self.resource);
        if !self.group.is_empty() {
            path.push('.');
            path.push_str(self.group);
        }
        path.push('/');
        match self.namespace {
            Some(namespace) => {
                path.push_str(NAMESPACES);
                path.push_str(namespace);
                path.push('/');
            }
            None => path.push_str(CLUSTER),
        }
        path.push_str(self.name);
        path.push_str(SUFFIX);
    }
}

/// Returns the path of an object in the archive.
///
/// # Errors
/// [`ArchiveError::Path`] if a part of it is empty, `.`, `..`, too long, or holds `/` or a NUL.
pub fn entry_path(
    type_key: &TypeKey,
    namespace: Option<&str>,
    name: &str,
) -> Result<String, ArchiveError> {
    let mut path = String::new();
    EntryPath::new(type_key, namespace, name).write(&mut path)?;
    Ok(path)
}

/// Takes the path of an object apart.
///
/// # Errors
/// [`ArchiveError::Path`] for anything that [`entry_path`] does not make: absolute paths, `..`, empty parts, other
/// directories.
pub fn parse_path(path: &str) -> Result<EntryPath<'_>, ArchiveError> {
    let refuse = |reason| refused(path, reason);
    let rest = path
        .strip_prefix(RESOURCES)
        .ok_or_else(|| refuse("it does not lie in resources/"))?;
    let (kind, rest) = rest
        .split_once('/')
        .ok_or_else(|| refuse("it names no type"))?;
    let (resource, group) = match kind.split_once('.') {
        None => (kind, ""),
        Some((_, "")) => return Err(refuse("its group is empty")),
        Some(parts) => parts,
    };
    let (namespace, file) = if let Some(file) = rest.strip_prefix(CLUSTER) {
        (None, file)
    } else if let Some(rest) = rest.strip_prefix(NAMESPACES) {
        let (namespace, file) = rest
            .split_once('/')
            .ok_or_else(|| refuse("it names no object"))?;
        (Some(namespace), file)
    } else {
        return Err(refuse(
            "below the type comes neither namespaces/ nor cluster/",
        ));
    };
    let name = file
        .strip_suffix(SUFFIX)
        .ok_or_else(|| refuse("it does not end in .json"))?;
    for part in [resource, name].into_iter().chain(namespace) {
        part_problem(part).map_or(Ok(()), |reason| Err(refuse(reason)))?;
    }
    if !group.is_empty() {
        part_problem(group).map_or(Ok(()), |reason| Err(refuse(reason)))?;
    }
    Ok(EntryPath {
        group,
        resource,
        namespace,
        name,
    })
}

/// Checks a version read from a file: any 2.x is readable, as its additions must not break older readers.
pub(crate) fn check_version(version: &str) -> Result<(), ArchiveError> {
    if version.starts_with("2.") {
        return Ok(());
    }
    let version = version.chars().take(64).collect();
    Err(ArchiveError::Version { version })
}

/// Checks that no part of a foreign path leads anywhere but down.
pub(crate) fn check_relative(path: &str) -> Result<(), ArchiveError> {
    path.split('/')
        .find_map(part_problem)
        .map_or(Ok(()), |reason| Err(refused(path, reason)))
}

/// Checks what of a type is not in the path: it ends up in URLs and objects.
pub(crate) fn check_type(type_key: &TypeKey) -> Result<(), ArchiveError> {
    check_part(&type_key.version)?;
    check_part(&type_key.kind)
}

/// Returns what stands for a path where only sameness counts: half its SHA-256, which nobody can make collide by
/// choosing names.
pub(crate) fn path_id(path: &str) -> u128 {
    let digest = Sha256::digest(path.as_bytes());
    digest
        .iter()
        .take(16)
        .fold(0, |id, byte| (id << 8) | u128::from(*byte))
}

fn check_part(part: &str) -> Result<(), ArchiveError> {
    part_problem(part).map_or(Ok(()), |reason| Err(refused(part, reason)))
}

/// Returns what is wrong with one part of a path.
fn part_problem(part: &str) -> Option<&'static str> {
    match part {
        "" => Some("a part is empty"),
        "." | ".." => Some("a part is . or .."),
        _ if part.len() > MAX_PART => Some("a part is longer than 1024 bytes"),
        // tar ends a name at the first NUL, so a reader would see another path.
        _ if part.bytes().any(|b| b == b'/' || b == 0) => Some("a part holds / or NUL"),
        _ => None,
    }
}

fn refused(path: &str, reason: &'static str) -> ArchiveError {
    // What is refused for its length should not fill the log.
    let path = path.chars().take(MAX_PART).collect();
    ArchiveError::Path { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(group: &str, resource: &str) -> TypeKey {
        TypeKey {
            group: group.into(),
            resource: resource.into(),
            ..TypeKey::default()
        }
    }

    #[test]
    fn paths_are_made_and_parsed() {
        let long = "n".repeat(253);
        let cases = [
            (
                ("", "pods", Some("web"), "nginx-1"),
                "resources/pods/namespaces/web/nginx-1.json",
            ),
            (
                ("apps", "deployments", Some("web"), "a.b"),
                "resources/deployments.apps/namespaces/web/a.b.json",
            ),
            (
                (
                    "rbac.authorization.k8s.io",
                    "clusterroles",
                    None,
                    "system:node",
                ),
                "resources/clusterroles.rbac.authorization.k8s.io/cluster/system:node.json",
            ),
            (
                ("", "nodes", None, ".json"),
                "resources/nodes/cluster/.json.json",
            ),
            (
                ("g.io", "things", Some("namespaces"), "größe @ \\ 名"),
                "resources/things.g.io/namespaces/namespaces/größe @ \\ 名.json",
            ),
        ];
        for ((group, resource, namespace, name), path) in cases {
            assert_eq!(
                entry_path(&key(group, resource), namespace, name).unwrap(),
                path
            );
            let parts = EntryPath {
                group,
                resource,
                namespace,
                name,
            };
            assert_eq!(parse_path(path).unwrap(), parts);
        }
        let path = entry_path(&key("g", "r"), Some(&long), &long).unwrap();
        assert_eq!(parse_path(&path).unwrap().name, long);
        assert!(path.len() <= MAX_PATH);
    }

    #[test]
    fn hostile_paths_are_refused() {
        for path in [
            "",
            "/resources/pods/cluster/a.json",
            "/etc/passwd",
            "resources",
            "resources/",
            "resources/pods",
            "resources//cluster/a.json",
            "resources/../cluster/a.json",
            "resources/./cluster/a.json",
            "resources/pods./cluster/a.json",
            "resources/.apps/cluster/a.json",
            "resources/pods/cluster/.json",
            "resources/pods/cluster/..json",
            "resources/pods/cluster/...json",
            "resources/pods/cluster/a",
            "resources/pods/cluster/a/b.json",
            "resources/pods/cluster//a.json",
            "resources/pods/cluster/../a.json",
            "resources/pods/namespaces/../a.json",
            "resources/pods/namespaces//a.json",
            "resources/pods/namespaces/a.json",
            "resources/pods/namespaces/n/a/b.json",
            "resources/pods/namespaces/n/../../a.json",
            "resources/pods/else/n/a.json",
            "resources/pods/cluster/a\0.json",
            "../resources/pods/cluster/a.json",
            "./resources/pods/cluster/a.json",
        ] {
            let error = parse_path(path).unwrap_err();
            assert!(
                matches!(error, ArchiveError::Path { .. }),
                "{path}: {error}"
            );
        }
    }

    #[test]
    fn hostile_parts_are_refused() {
        let long = "n".repeat(MAX_PART + 1);
        for part in ["", ".", "..", "a/b", "/", "../a", "a\0b", &long] {
            assert!(
                entry_path(&key("", "pods"), None, part).is_err(),
                "name {part}"
            );
            assert!(
                entry_path(&key("", "pods"), Some(part), "a").is_err(),
                "namespace {part}"
            );
            assert!(
                entry_path(&key("", part), None, "a").is_err(),
                "resource {part}"
            );
            if !part.is_empty() {
                assert!(
                    entry_path(&key(part, "pods"), None, "a").is_err(),
                    "group {part}"
                );
            }
        }
        assert!(entry_path(&key("", "pods.apps"), None, "a").is_err());
    }
}
