//! Hooks that a pod asks for itself, by annotations: Ark's, and Velero's where there are none of Ark's.

use std::collections::BTreeMap;

use super::{Hook, Phase};
use crate::api::ExecHook;

/// Part of every key below: a pod whose bytes do not hold this asks for nothing.
pub(super) const MARK: &str = "hook.backup.";

/// What the keys of a phase begin with, in the order in which they count. The keys without a phase are older; they mean
/// pre hooks.
fn prefixes(phase: Phase) -> &'static [&'static str] {
    match phase {
        Phase::Pre => &[
            "pre.hook.backup.ark.heptio.com",
            "hook.backup.ark.heptio.com",
            "pre.hook.backup.velero.io",
            "hook.backup.velero.io",
        ],
        Phase::Post => &[
            "post.hook.backup.ark.heptio.com",
            "post.hook.backup.velero.io",
        ],
    }
}

/// Returns the hook that a pod's annotations ask for in a phase, and what of it cannot be read.
pub(super) fn hook(
    annotations: &BTreeMap<String, String>,
    phase: Phase,
) -> Option<(Hook, Vec<String>)> {
    let value = |prefix: &str, key: &str| annotations.get(&format!("{prefix}/{key}")).cloned();
    let (prefix, command) = prefixes(phase).iter().find_map(|prefix| {
        let command = value(prefix, "command").filter(|command| !command.is_empty())?;
        Some((prefix, command))
    })?;
    let exec = ExecHook {
        container: value(prefix, "container").unwrap_or_default(),
        command: arguments(command),
        on_error: value(prefix, "on-error").unwrap_or_default(),
        timeout: value(prefix, "timeout"),
    };
    let (hook, problems) = Hook::new(prefix, exec);
    let problems = problems
        .into_iter()
        .map(|problem| format!("annotations {prefix}: {problem}"))
        .collect();
    Some((hook, problems))
}

/// Splits a command that is a JSON array; anything else is one argument, which no shell looks at.
fn arguments(command: String) -> Vec<String> {
    if command.starts_with('[')
        && let Ok(command) = serde_json::from_str(&command)
    {
        return command;
    }
    vec![command]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::api::HookErrorMode;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_first_family_with_a_command_counts() {
        let ark_pre = ("pre.hook.backup.ark.heptio.com/command", "ark-pre");
        let ark_old = ("hook.backup.ark.heptio.com/command", "ark-old");
        let ark_post = ("post.hook.backup.ark.heptio.com/command", "ark-post");
        let velero_pre = ("pre.hook.backup.velero.io/command", "velero-pre");
        let velero_old = ("hook.backup.velero.io/command", "velero-old");
        let velero_post = ("post.hook.backup.velero.io/command", "velero-post");
        let no_command = ("pre.hook.backup.ark.heptio.com/command", "");
        let no_container = ("pre.hook.backup.ark.heptio.com/container", "c");
        for (given, pre, post) in [
            (&[][..], None, None),
            (
                &[ark_pre, ark_old, velero_pre, velero_old],
                Some("ark-pre"),
                None,
            ),
            (&[ark_old, velero_pre], Some("ark-old"), None),
            (&[velero_pre, velero_old], Some("velero-pre"), None),
            (
                &[velero_old, velero_post],
                Some("velero-old"),
                Some("velero-post"),
            ),
            (&[ark_post, velero_post], None, Some("ark-post")),
            (
                &[velero_pre, ark_post],
                Some("velero-pre"),
                Some("ark-post"),
            ),
            (&[no_command, velero_pre], Some("velero-pre"), None),
            (&[no_command, no_container], None, None),
        ] {
            let given = annotations(given);
            for (phase, expected) in [(Phase::Pre, pre), (Phase::Post, post)] {
                let command = hook(&given, phase).map(|(hook, _)| hook.command.concat());
                assert_eq!(command.as_deref(), expected, "{phase} {given:?}");
            }
        }
    }

    #[test]
    fn commands_are_arrays_or_single_arguments() {
        for (text, expected) in [
            ("/bin/freeze now", &["/bin/freeze now"][..]),
            (r#"["/bin/freeze", "now"]"#, &["/bin/freeze", "now"]),
            (r#"["/bin/freeze", 1]"#, &[r#"["/bin/freeze", 1]"#]),
            ("[broken", &["[broken"]),
            ("[]", &[]),
        ] {
            assert_eq!(arguments(text.to_owned()), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_default_and_said() {
        for (on_error, timeout, mode, seconds, problems) in [
            (None, None, HookErrorMode::Fail, 30, 0),
            (
                Some("Continue"),
                Some("2m"),
                HookErrorMode::Continue,
                120,
                0,
            ),
            (Some("Fail"), Some("0s"), HookErrorMode::Fail, 30, 0),
            (Some("continue"), None, HookErrorMode::Fail, 30, 1),
            (Some(""), Some("30"), HookErrorMode::Fail, 30, 1),
            (Some("Stop"), Some("soon"), HookErrorMode::Fail, 30, 2),
        ] {
            let mut given = annotations(&[
                ("post.hook.backup.velero.io/command", "sync"),
                ("post.hook.backup.velero.io/container", "side"),
                // Another family's settings are not this one's.
                ("post.hook.backup.ark.heptio.com/timeout", "7s"),
            ]);
            for (key, value) in [("on-error", on_error), ("timeout", timeout)] {
                if let Some(value) = value {
                    given.insert(format!("post.hook.backup.velero.io/{key}"), value.into());
                }
            }
            let (hook, found) = hook(&given, Phase::Post).unwrap();
            assert_eq!(
                (hook.on_error, hook.timeout),
                (mode, Duration::from_secs(seconds))
            );
            assert_eq!(hook.container, "side");
            assert_eq!(found.len(), problems, "{found:?}");
        }
    }
}
