//! Globs as Velero reads them (github.com/gobwas/glob): `*`, `?`, `**`, `[a-c]`, `[!a]`, `{a,b}`, and `\` before any of
//! these.

use std::fmt::Write as _;

use regex::Regex;

/// What `*` and `?` stand for; `**` always stands for anything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wild {
    /// Any character.
    Any,
    /// Any but a dot: each part of a type's name is matched for itself.
    UpToDot,
}

/// Returns whether a text is more than a name.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// Reads a glob.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(glob: &str, wild: Wild) -> Result<Regex, String> {
    let one = match wild {
        Wild::Any => ".",
        Wild::UpToDot => "[^.]",
    };
    let mut pattern = "^(?s:".to_owned();
    let mut open = 0_u32;
    let mut rest = glob.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '*' if rest.next_if_eq(&'*').is_some() => pattern.push_str(".*"),
            '*' => pattern.extend([one, "*"]),
            '?' => pattern.push_str(one),
            '[' => {
                pattern.push('[');
                if rest.next_if_eq(&'!').is_some() {
                    pattern.push('^');
                }
                loop {
                    match rest.next().ok_or("a [ is not closed")? {
                        ']' => break,
                        '-' => pattern.push('-'),
                        other => literal(&mut pattern, other),
                    }
                }
                pattern.push(']');
            }
            '{' => {
                open += 1;
                pattern.push_str("(?:");
            }
            ',' if open > 0 => pattern.push('|'),
            '}' if open > 0 => {
                open -= 1;
                pattern.push(')');
            }
            '\\' => literal(&mut pattern, rest.next().ok_or("it ends with a \\")?),
            other => literal(&mut pattern, other),
        }
    }
    if open > 0 {
        return Err("a { is not closed".to_owned());
    }
    pattern.push_str(")$");
    Regex::new(&pattern).map_err(|error| error.to_string())
}

fn literal(pattern: &mut String, one: char) {
    // Writing into a String cannot fail.
    let _written = write!(pattern, "{}", regex::escape(one.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_of_types_stop_at_dots() {
        for (glob, matched, others) in [
            ("*", &["pods"][..], &["deployments.apps"][..]),
            (
                "*.apps",
                &["deployments.apps"],
                &["pods", "a.b.apps", "xapps"],
            ),
            ("*.*", &["jobs.batch"], &["pods", "roles.rbac.example.org"]),
            ("**", &["pods", "roles.rbac.example.org"], &[]),
            ("*.**.org", &["roles.rbac.example.org"], &["pods"]),
            (
                "{deployments,stateful*}.apps",
                &["deployments.apps", "statefulsets.apps"],
                &["daemonsets.apps"],
            ),
            ("[a-c]?ts", &["cats", "bats"], &["rats", "c.ts"]),
            ("[!a-c]ats", &["rats"], &["cats"]),
            (r"\*", &["*"], &["pods"]),
            ("a+b,c", &["a+b,c"], &["aab,c"]),
        ] {
            let read = read(glob, Wild::UpToDot).unwrap();
            for name in matched {
                assert!(read.is_match(name), "{glob} {name}");
            }
            for name in others {
                assert!(!read.is_match(name), "{glob} {name}");
            }
        }
        assert!(read("a*c", Wild::Any).unwrap().is_match("a.b.c"));
        for glob in ["[a", "{a", "a\\", "[b-a]"] {
            assert!(read(glob, Wild::Any).is_err(), "{glob}");
        }
    }
}
