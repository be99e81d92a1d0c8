//! Names: what Kubernetes accepts, how timestamps get into names, and how a name fits into a label.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The longest label value that Kubernetes accepts, in bytes.
pub const MAX_LABEL_VALUE: usize = 63;
/// The longest resource name that Kubernetes accepts, in bytes.
const MAX_SUBDOMAIN: usize = 253;

/// Checks that `name` can name a resource (an RFC 1123 subdomain); `what` is what it would name.
///
/// Such a name is also safe as a part of an object-store key and of a path.
///
/// # Errors
/// A sentence that says which characters are accepted.
pub fn check_resource_name(name: &str, what: &str) -> Result<(), String> {
    let label_ok = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= MAX_SUBDOMAIN && name.split('.').all(label_ok) {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot name a {what}: use at most {MAX_SUBDOMAIN} lower-case letters, digits, '-' and '.', \
         beginning and ending with a letter or digit"
    ))
}

/// Checks that `name` can name a namespace (an RFC 1123 label).
///
/// # Errors
/// A sentence that says which characters are accepted.
pub fn check_namespace_name(name: &str) -> Result<(), String> {
    if name.len() <= MAX_LABEL_VALUE
        && !name.contains('.')
        && check_resource_name(name, "namespace").is_ok()
    {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot name a namespace: use at most {MAX_LABEL_VALUE} lower-case letters, digits and '-', \
         beginning and ending with a letter or digit"
    ))
}

/// Returns `<prefix>-<YYYYMMDDhhmmss>` in UTC, the form of the names that Ark makes up itself.
pub fn timestamped(prefix: &str, now: Timestamp) -> String {
    format!("{prefix}-{}", now.strftime("%Y%m%d%H%M%S"))
}

/// Returns `name` as a label value: itself if it is short enough, else its first 57 bytes and six digits of its hash.
///
/// The form is Velero's (velero.md, case 5), so that a label can be found again from a name.
pub fn label_value(name: &str) -> String {
    if name.len() <= MAX_LABEL_VALUE {
        return name.to_owned();
    }
    let hash = sha256_hex(name.as_bytes());
    let mut cut = MAX_LABEL_VALUE - 6;
    while !name.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{}", &name[..cut], &hash[..6])
}

/// Returns the SHA-256 of `bytes` in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Writes bytes in hexadecimal, lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_names() {
        for (name, ok) in [
            ("nginx-backup", true),
            ("a.b-c.1", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a/b", false),
            ("..", false),
            ("a..b", false),
            ("a_b", false),
        ] {
            assert_eq!(check_resource_name(name, "backup").is_ok(), ok, "{name}");
        }
        assert!(check_resource_name(&"a".repeat(253), "backup").is_ok());
        assert!(check_resource_name(&"a".repeat(254), "backup").is_err());
    }

    #[test]
    fn namespace_names() {
        assert!(check_namespace_name("nginx-example").is_ok());
        assert!(check_namespace_name("a.b").is_err());
        assert!(check_namespace_name(&"a".repeat(64)).is_err());
    }

    #[test]
    fn timestamps_are_utc() {
        let now: Timestamp = "2017-07-27T13:05:24-07:00".parse().unwrap();
        assert_eq!(
            timestamped("nginx-backup", now),
            "nginx-backup-20170727200524"
        );
    }

    #[test]
    fn long_label_values_are_cut_and_told_apart() {
        let long = "x".repeat(100);
        let value = label_value(&long);
        assert_eq!(value.len(), 63);
        assert!(value.starts_with(&"x".repeat(57)));
        assert_ne!(value, label_value(&"x".repeat(101)));
        assert_eq!(label_value("short"), "short");
    }
}
