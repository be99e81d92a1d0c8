//! What makes a request acceptable before any server or store is asked. Each rule's problem is one sentence that says
//! what to do; the command line and the server use the same ones.

use std::collections::BTreeMap;

use super::{BackupSpec, RestoreSpec, duration, filter, names, selector};

/// Types that are never restored (velero.md, case 9; Ark 4.6).
pub const NEVER_RESTORED: [&str; 11] = [
    "nodes",
    "events",
    "events.events.k8s.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "backups.ark.heptio.com",
    "restores.ark.heptio.com",
    "downloadrequests.ark.heptio.com",
    "deletebackuprequests.ark.heptio.com",
    "backups.velero.io",
    "restores.velero.io",
];

/// Returns what is wrong with a backup's spec; nothing if it can be tried.
pub fn backup(spec: &BackupSpec) -> Vec<String> {
    let mut problems = lists(
        &spec.included_namespaces,
        &spec.excluded_namespaces,
        &spec.included_resources,
        &spec.excluded_resources,
    );
    if let Some(labels) = &spec.label_selector {
        problems.extend(selector::compile(labels).err());
    }
    if let Some(ttl) = &spec.ttl {
        problems.extend(
            duration::parse(ttl)
                .err()
                .map(|problem| format!("ttl: {problem}")),
        );
    }
    problems
}

/// Returns what is wrong with a restore's spec; nothing if it can be tried.
pub fn restore(spec: &RestoreSpec) -> Vec<String> {
    let mut problems = Vec::new();
    if spec.backup_name.is_empty() {
        problems.push("no backup is named; set spec.backupName".to_owned());
    } else {
        problems.extend(names::check_resource_name(&spec.backup_name, "backup").err());
    }
    problems.extend(lists(
        &spec.included_namespaces,
        &spec.excluded_namespaces,
        &spec.included_resources,
        &spec.excluded_resources,
    ));
    for name in spec
        .included_resources
        .iter()
        .filter(|name| NEVER_RESTORED.contains(&name.as_str()))
    {
        problems.push(format!(
            "included resources: {name} are never restored; remove them from the list"
        ));
    }
    if let Some(labels) = &spec.label_selector {
        problems.extend(selector::compile(labels).err());
    }
    problems.extend(mappings(&spec.namespace_mapping));
    problems
}

fn lists(
    included_namespaces: &[String],
    excluded_namespaces: &[String],
    included_resources: &[String],
    excluded_resources: &[String],
) -> Vec<String> {
    let mut problems = filter::check(included_namespaces, excluded_namespaces, "namespaces");
    problems.extend(filter::check(
        included_resources,
        excluded_resources,
        "resources",
    ));
    for name in included_namespaces
        .iter()
        .chain(excluded_namespaces)
        .filter(|name| *name != "*")
    {
        problems.extend(names::check_namespace_name(name).err());
    }
    problems
}

/// Returns what is wrong with a namespace mapping: bad names, or two namespaces that would become one.
pub fn mappings(mapping: &BTreeMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut sources: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in mapping {
        for name in [from, to] {
            problems.extend(
                names::check_namespace_name(name)
                    .err()
                    .map(|problem| format!("namespace mapping: {problem}")),
            );
        }
        sources.entry(to).or_default().push(from);
    }
    for (to, from) in sources.iter().filter(|(_, from)| from.len() > 1) {
        problems.push(format!(
            "namespace mapping: {} would all become {to}, where their objects would collide; give each a target of \
             its own",
            from.join(" and ")
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect()
    }

    #[test]
    fn mappings_never_merge() {
        assert!(mappings(&mapping(&[("abc", "def"), ("123", "456")])).is_empty());
        assert!(mappings(&mapping(&[("a", "b"), ("b", "a")])).is_empty());
        let problems = mappings(&mapping(&[("a", "c"), ("b", "c")]));
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("a and b would all become c"),
            "{problems:?}"
        );
        assert_eq!(mappings(&mapping(&[("A", "x_y")])).len(), 2);
    }

    #[test]
    fn restores_name_a_backup_and_no_forbidden_type() {
        assert_eq!(restore(&RestoreSpec::default()).len(), 1);
        let spec = RestoreSpec {
            backup_name: "b".into(),
            included_resources: vec!["nodes".into(), "pods".into()],
            ..RestoreSpec::default()
        };
        let problems = restore(&spec);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("nodes are never restored"),
            "{problems:?}"
        );
    }

    #[test]
    fn backups_with_bad_fields_are_refused() {
        let spec = BackupSpec {
            included_namespaces: vec!["Bad".into()],
            ttl: Some("soon".into()),
            label_selector: Some(selector::parse("a=b").unwrap()),
            ..BackupSpec::default()
        };
        assert_eq!(backup(&spec).len(), 2);
        assert!(backup(&BackupSpec::default()).is_empty());
    }
}
