//! What makes a request acceptable before any server or store is asked. Each rule's problem is one sentence that says
//! what to do; the command line and the server use the same ones.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::cron::Cron;
use super::{
    BackupHooks, BackupResourceHook, BackupSpec, BackupStorageLocationSpec, ConfigMapRef,
    ExistingResourcePolicy, RestoreSpec, ScheduleSpec, SecretKey, VolumeSnapshotLocationSpec,
    duration, filter, names, operation_time_limit, selector,
};

/// Types that are never restored (velero.md, case 9; Ark 4.6).
pub const NEVER_RESTORED: [&str; 17] = [
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
    "backuprepositories.velero.io",
    "datadownloads.velero.io",
    "datauploads.velero.io",
    "deletebackuprequests.velero.io",
    "downloadrequests.velero.io",
    "resticrepositories.velero.io",
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
    problems.extend(hooks(&spec.hooks));
    if spec.resource_policy.is_some() && spec.volume_policies.is_some() {
        problems.push(
            "both resourcePolicy and volumePolicies are given; set only one of them".to_owned(),
        );
    }
    if let Some(reference) = &spec.resource_policy {
        problems.extend(config_map("resource policy", reference));
    }
    if let Some(policies) = &spec.volume_policies {
        problems.extend(policies.problems());
    }
    if let Some(timeout) = &spec.csi_snapshot_timeout {
        problems.extend(
            duration::parse(timeout)
                .err()
                .map(|problem| format!("csiSnapshotTimeout: {problem}")),
        );
    }
    problems.extend(operation_time_limit(spec.item_operation_timeout.as_deref()).err());
    problems
}

/// Returns what is wrong with what names a ConfigMap.
fn config_map(what: &str, reference: &ConfigMapRef) -> Option<String> {
    let ConfigMapRef { kind, name, .. } = reference;
    (!kind.eq_ignore_ascii_case("configmap") || name.is_empty())
        .then(|| format!("{what}: {kind} {name:?} holds none; name a ConfigMap"))
}

/// Returns what is wrong with the hooks of a backup. A hook that cannot run must not be found out in the middle of it.
fn hooks(hooks: &BackupHooks) -> Vec<String> {
    let mut problems = Vec::new();
    for (place, rule) in hooks.resources.iter().enumerate() {
        let mut found = lists(
            &rule.included_namespaces,
            &rule.excluded_namespaces,
            &rule.included_resources,
            &rule.excluded_resources,
        );
        if let Some(labels) = &rule.label_selector {
            found.extend(selector::compile(labels).err());
        }
        for (list, hooks) in [
            ("pre", &rule.pre),
            ("post", &rule.post),
            ("hooks", &rule.hooks),
        ] {
            let numbered = hooks.iter().enumerate();
            found.extend(numbered.flat_map(|(place, hook)| {
                let problems = exec_hook(hook).into_iter();
                problems.map(move |problem| format!("{list}[{place}]: {problem}"))
            }));
        }
        let name = rule.display_name(place);
        problems.extend(
            found
                .into_iter()
                .map(|problem| format!("hooks, rule {name}: {problem}")),
        );
    }
    problems
}

fn exec_hook(hook: &BackupResourceHook) -> Vec<String> {
    let Some(exec) = &hook.exec else {
        return vec!["it says not what to run; set exec".to_owned()];
    };
    let mut problems = Vec::new();
    if exec.command.first().is_none_or(String::is_empty) {
        problems.push("it has no command; set exec.command".to_owned());
    }
    problems.extend(
        exec.error_mode()
            .err()
            .map(|problem| format!("onError: {problem}")),
    );
    problems.extend(
        exec.time_limit()
            .err()
            .map(|problem| format!("timeout: {problem}")),
    );
    problems
}

/// Returns what is wrong with a schedule; nothing if it can make backups.
///
/// Whether the locations that its template names are there is seen by each backup.
pub fn schedule(name: &str, spec: &ScheduleSpec) -> Vec<String> {
    let mut problems: Vec<String> = Cron::parse(&spec.schedule)
        .err()
        .map(|problem| format!("schedule: {problem}"))
        .into_iter()
        .collect();
    // Whatever the time is: all of these names are equally long.
    let backup_name = names::timestamped(name, Timestamp::UNIX_EPOCH);
    if backup_name.len() > names::MAX_LABEL_VALUE {
        problems.push(format!(
            "name: {name:?} is too long for the names and labels of its backups; use at most {} characters",
            names::MAX_LABEL_VALUE - (backup_name.len() - name.len())
        ));
    } else {
        problems.extend(names::check_resource_name(&backup_name, "backup").err());
    }
    problems.extend(
        backup(&spec.template)
            .into_iter()
            .map(|problem| format!("template: {problem}")),
    );
    problems
}

/// Returns what is wrong with a restore's spec; nothing if it can be tried.
pub fn restore(spec: &RestoreSpec) -> Vec<String> {
    let mut problems = Vec::new();
    match (&*spec.backup_name, &*spec.schedule_name) {
        ("", "") => problems.push(
            "no backup is named; set spec.backupName, or spec.scheduleName for the newest completed backup of a schedule"
                .to_owned(),
        ),
        (backup, "") => problems.extend(names::check_resource_name(backup, "backup").err()),
        ("", schedule) => problems.extend(names::check_resource_name(schedule, "schedule").err()),
        (backup, schedule) => problems.push(format!(
            "both backup {backup} and schedule {schedule} are named; set only one of spec.backupName and \
             spec.scheduleName"
        )),
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
    for labels in spec.label_selector.iter().chain(&spec.or_label_selectors) {
        problems.extend(selector::compile(labels).err());
    }
    if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
        problems.push(
            "both labelSelector and orLabelSelectors are given; set only one of them".to_owned(),
        );
    }
    problems.extend(mappings(&spec.namespace_mapping));
    problems.extend(
        spec.included_items
            .iter()
            .filter_map(|text| item(text).err()),
    );
    if let Some(ExistingResourcePolicy::Other(word)) = &spec.existing_resource_policy {
        problems.push(format!(
            "existing resource policy: there is no {word:?}; set it to none, update or recreate"
        ));
    }
    if spec.resource_modifier.is_some() && spec.resource_modifiers.is_some() {
        problems.push(
            "both resourceModifier and resourceModifiers are given; set only one of them"
                .to_owned(),
        );
    }
    if let Some(reference) = &spec.resource_modifier {
        problems.extend(config_map("resource modifier", reference));
    }
    problems.extend(operation_time_limit(spec.item_operation_timeout.as_deref()).err());
    for (from, to) in &spec.storage_class_mapping {
        if from.is_empty() || to.is_empty() {
            problems.push(format!(
                "storage class mapping: {from:?} to {to:?} lacks a name; write the old and the new class"
            ));
        }
    }
    for reference in &spec.namespace_references {
        if reference.resource.is_empty() || !is_path(&reference.path) {
            problems.push(format!(
                "namespace reference: {:?} of {:?} is no path; write one such as \
                 spec.namespaceSelector.matchNames[*]",
                reference.path, reference.resource
            ));
        }
    }
    problems
}

fn is_path(path: &str) -> bool {
    !path.is_empty()
        && path.split('.').all(|step| {
            let key = step.strip_suffix("[*]").unwrap_or(step);
            !key.is_empty() && !key.contains(['[', ']', '*'])
        })
}

/// Splits what asks for objects by name, `type/name` or `type/namespace/name`, into its parts.
///
/// # Errors
/// A sentence.
pub fn item(text: &str) -> Result<(&str, Option<&str>, &str), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let (of, namespace, name) = match parts[..] {
        [of, name] => (of, None, name),
        [of, namespace, name] => (of, Some(namespace), name),
        _ => ("", None, ""),
    };
    if of.is_empty() || name.is_empty() || namespace == Some("") {
        return Err(format!(
            "included items: {text:?} names no object; write TYPE/NAME or TYPE/NAMESPACE/NAME, with globs if several \
             are meant"
        ));
    }
    for glob in namespace.into_iter().chain([name]) {
        if let Err(error) = glob::Pattern::new(glob) {
            return Err(format!("included items: {text:?}: {error}"));
        }
    }
    Ok((of, namespace, name))
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

/// Returns what is wrong with a backup location, whatever its provider is.
pub fn storage_location(spec: &BackupStorageLocationSpec) -> Vec<String> {
    let mut problems = provider(&spec.provider, spec.credential.as_ref());
    problems.extend(bucket(&spec.object_storage.bucket).err());
    problems.extend(prefix(&spec.object_storage.prefix).err());
    if let Some(period) = &spec.backup_sync_period {
        problems.extend(
            duration::parse(period)
                .err()
                .map(|problem| format!("backup sync period: {problem}")),
        );
    }
    problems
}

/// Returns what is wrong with a snapshot location, whatever its provider is.
pub fn snapshot_location(spec: &VolumeSnapshotLocationSpec) -> Vec<String> {
    provider(&spec.provider, spec.credential.as_ref())
}

fn provider(name: &str, credential: Option<&SecretKey>) -> Vec<String> {
    let mut problems = Vec::new();
    if name.is_empty() || name.contains(char::is_whitespace) {
        problems.push(format!(
            "{name:?} cannot name a provider; write one such as aws or local"
        ));
    }
    if let Some(secret) = credential {
        problems.extend(names::check_resource_name(&secret.name, "Secret").err());
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if secret.key.is_empty() || !secret.key.chars().all(fits) {
            problems.push(format!(
                "{:?} cannot be a key of a Secret; use letters, digits, '-', '_' and '.'",
                secret.key
            ));
        }
    }
    problems
}

fn bucket(name: &str) -> Result<(), String> {
    if let Some((bucket, rest)) = name.split_once('/') {
        return Err(format!(
            "{name:?} cannot name a bucket, which has no '/'; if {bucket:?} is the bucket, then {rest:?} is its prefix"
        ));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !name.is_empty() && name.chars().all(fits) && !name.contains("..") && name != "." {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot name a bucket; use letters, digits, '-', '_' and '.', and no '..'"
    ))
}

/// Slashes around a prefix do not matter.
fn prefix(prefix: &str) -> Result<(), String> {
    let trimmed = prefix.trim_matches('/');
    let fits = |c: char| c.is_ascii_graphic() && !"\\{}^%`[]\"<>~#|*?".contains(c);
    let part_fits =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(fits);
    if trimmed.is_empty() || trimmed.split('/').all(part_fits) {
        return Ok(());
    }
    Err(format!(
        "{prefix:?} cannot be a prefix; use words of letters, digits, '-', '_' and '.', with a '/' between them"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::ObjectStorageLocation;

    #[test]
    fn locations_that_cannot_be() {
        for (provider, bucket, prefix, problems) in [
            ("aws", "ark-backups", "", 0),
            ("aws", "ark.backups", "prod/eu_1", 0),
            ("local", "ark", "/slashes/", 0),
            ("acme.io/blobs", "ark", "a=b", 0),
            ("", "ark", "", 1),
            ("a ws", "", "", 2),
            ("aws", "ark/prod", "", 1),
            ("aws", "..", "", 1),
            ("aws", "a b", "", 1),
            ("aws", "ark", "a//b", 1),
            ("aws", "ark", "a/../b", 1),
            ("aws", "ark", "a b", 1),
            ("aws", "ark", "a%2fb", 1),
            ("aws", "ark", "ä", 1),
        ] {
            let spec = BackupStorageLocationSpec {
                provider: provider.into(),
                object_storage: ObjectStorageLocation {
                    bucket: bucket.into(),
                    prefix: prefix.into(),
                },
                ..BackupStorageLocationSpec::default()
            };
            let found = storage_location(&spec);
            assert_eq!(found.len(), problems, "{bucket} {prefix}: {found:?}");
        }
        let secret = |name: &str, key: &str| VolumeSnapshotLocationSpec {
            provider: "aws".into(),
            credential: Some(SecretKey {
                name: name.into(),
                key: key.into(),
            }),
            ..VolumeSnapshotLocationSpec::default()
        };
        assert!(snapshot_location(&secret("cloud-credentials", "cloud")).is_empty());
        assert_eq!(snapshot_location(&secret("A", "a/b")).len(), 2);
    }

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
        let of = |backup: &str, schedule: &str| {
            restore(&RestoreSpec {
                backup_name: backup.into(),
                schedule_name: schedule.into(),
                ..RestoreSpec::default()
            })
            .len()
        };
        assert_eq!((of("b", ""), of("", "s"), of("b", "s")), (0, 0, 1));
        assert_eq!((of("B", ""), of("", "S")), (1, 1));
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
    fn restores_name_either_a_backup_or_a_schedule() {
        for (backup, schedule, problem) in [
            ("b", "", None),
            ("", "s", None),
            ("", "", Some("no backup is named")),
            ("b", "s", Some("both backup b and schedule s are named")),
            ("B/", "", Some("cannot name a backup")),
            ("", "S/", Some("cannot name a schedule")),
        ] {
            let problems = restore(&RestoreSpec {
                backup_name: backup.into(),
                schedule_name: schedule.into(),
                ..RestoreSpec::default()
            });
            assert_eq!(problems.len(), usize::from(problem.is_some()));
            if let Some(problem) = problem {
                assert!(problems[0].contains(problem), "{problems:?}");
            }
        }
    }

    #[test]
    fn schedules_are_checked_as_a_whole() {
        let spec = |schedule: &str, ttl: Option<&str>| ScheduleSpec {
            schedule: schedule.into(),
            template: BackupSpec {
                ttl: ttl.map(str::to_owned),
                ..BackupSpec::default()
            },
            ..ScheduleSpec::default()
        };
        let (fits, long) = ("s".repeat(48), "s".repeat(49));
        for (name, spec, expected) in [
            ("daily", spec("@daily", None), vec![]),
            (&fits, spec("0 3 * * *", Some("720h")), vec![]),
            (&long, spec("@daily", None), vec!["at most 48 characters"]),
            (
                "daily",
                spec("", Some("soon")),
                vec!["schedule: ", "template: ttl: "],
            ),
            ("daily", spec("every day", None), vec!["schedule: "]),
        ] {
            let problems = schedule(name, &spec);
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(problem.contains(expected), "{problem}");
            }
        }
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

    #[test]
    fn hooks_that_cannot_run_are_refused() {
        let exec = |fields: serde_json::Value| json!({"resources": [{"pre": [{"exec": fields}]}]});
        for (hooks, expected) in [
            (
                exec(json!({"command": ["sync"], "timeout": "1m", "onError": "Continue"})),
                &[][..],
            ),
            (
                exec(json!({"command": []})),
                &["rule 1: pre[0]: it has no command"],
            ),
            (
                exec(json!({"command": null})),
                &["rule 1: pre[0]: it has no command"],
            ),
            (
                exec(json!({"command": ["sync"], "timeout": "soon"})),
                &["rule 1: pre[0]: timeout: \"soon\""],
            ),
            (
                exec(json!({"command": ["sync"], "onError": "Ignore"})),
                &["rule 1: pre[0]: onError: \"Ignore\""],
            ),
            (
                json!({"resources": [{"name": "a"}, {
                    "name": "b",
                    "includedNamespaces": ["Bad"],
                    "excludedResources": ["*"],
                    "labelSelector": {"matchLabels": {"-": "x"}},
                    "post": [{}],
                    "hooks": [{"exec": {"command": [""]}}],
                }]}),
                &[
                    "rule b: excluded resources",
                    "rule b: \"Bad\"",
                    "rule b: label selector",
                    "rule b: post[0]: it says not what to run",
                    "rule b: hooks[0]: it has no command",
                ],
            ),
        ] {
            let spec: BackupSpec = serde_json::from_value(json!({"hooks": hooks})).unwrap();
            let problems = backup(&spec);
            assert_eq!(problems.len(), expected.len(), "{problems:?}");
            for (problem, expected) in problems.iter().zip(expected) {
                assert!(
                    problem.contains(expected),
                    "{problem:?} has no {expected:?}"
                );
            }
        }
    }
}
