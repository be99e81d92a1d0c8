//! Label selectors: read from a command line, written for the API and for tables, matched against labels.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Expression, Selector, SelectorExt};

use super::names::check_resource_name;

/// Parses a selector as kubectl writes it: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
///
/// # Errors
/// A sentence that names the part that cannot be read.
pub fn parse(text: &str) -> Result<LabelSelector, String> {
    let mut expressions = Vec::new();
    for part in split_requirements(text) {
        let part = part.trim();
        if part.is_empty() {
            if text.trim().is_empty() {
                continue;
            }
            return Err(format!(
                "selector {text:?}: there is an empty requirement; remove the extra comma"
            ));
        }
        let expression = parse_requirement(part).ok_or_else(|| {
            format!(
                "selector {text:?}: cannot read {part:?}; write key=value, key!=value, key in (a,b), \
                 key notin (a,b), key or !key"
            )
        })?;
        expressions.push(expression);
    }
    let selector = LabelSelector::from(Selector::from_iter(expressions));
    compile(&selector)?;
    Ok(selector)
}

/// Splits at the commas that stand outside of parentheses.
fn split_requirements(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0_i32;
    let mut start = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(part: &str) -> Option<Expression> {
    if let Some(key) = part.strip_prefix('!') {
        return Some(Expression::DoesNotExist(word(key)?));
    }
    if let Some((head, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let mut words = head.split_whitespace();
        let (key, operator, end) = (words.next()?, words.next()?, words.next());
        let values: BTreeSet<String> = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        return match (operator, end) {
            ("in", None) => Some(Expression::In(word(key)?, values)),
            ("notin", None) => Some(Expression::NotIn(word(key)?, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(Expression::NotEqual(word(key)?, value.trim().to_owned()));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Expression::Equal(word(key)?, value.trim().to_owned()));
    }
    Some(Expression::Exists(word(part)?))
}

/// Returns a key without the spaces around it, if it is a single word.
fn word(key: &str) -> Option<String> {
    let key = key.trim();
    (!key.is_empty() && !key.contains(char::is_whitespace)).then(|| key.to_owned())
}

/// Checks a selector and makes it ready for matching and for the API's query parameter.
///
/// # Errors
/// A sentence that names the requirement that Kubernetes would refuse.
pub fn compile(selector: &LabelSelector) -> Result<Selector, String> {
    for (key, value) in selector.match_labels.iter().flatten() {
        check_key(key)?;
        check_value(value)?;
    }
    for requirement in selector.match_expressions.iter().flatten() {
        check_requirement(requirement)?;
    }
    Selector::try_from(selector.clone()).map_err(|error| format!("label selector: {error}"))
}

fn check_requirement(requirement: &LabelSelectorRequirement) -> Result<(), String> {
    check_key(&requirement.key)?;
    let values = requirement.values.as_deref().unwrap_or_default();
    values.iter().try_for_each(|value| check_value(value))?;
    match (requirement.operator.as_str(), values.is_empty()) {
        ("In" | "NotIn", false) | ("Exists" | "DoesNotExist", true) => Ok(()),
        (operator @ ("In" | "NotIn"), true) => Err(format!(
            "label selector: {} {operator} needs at least one value",
            requirement.key
        )),
        (operator @ ("Exists" | "DoesNotExist"), false) => Err(format!(
            "label selector: {} {operator} takes no values",
            requirement.key
        )),
        (operator, _) => Err(format!(
            "label selector: {operator:?} is no operator; use In, NotIn, Exists or DoesNotExist"
        )),
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(p, n)| (Some(p), n));
    if prefix.is_none_or(|prefix| check_resource_name(prefix, "label").is_ok()) && qualified(name) {
        return Ok(());
    }
    Err(format!("label selector: {key:?} cannot be a label's key"))
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || qualified(value) {
        return Ok(());
    }
    Err(format!(
        "label selector: {value:?} cannot be a label's value"
    ))
}

/// Returns whether a word can be a label's name or value (at most 63 of `[A-Za-z0-9_.-]`, with letters or digits at
/// both ends).
fn qualified(word: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    word.len() <= 63
        && edge(word.bytes().next())
        && edge(word.bytes().last())
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Returns whether `labels` match; a missing selector matches everything.
pub fn matches(selector: Option<&Selector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_none_or(|selector| selector.matches(labels))
}

/// Writes a selector as kubectl would; an empty one is the empty string.
pub fn format(selector: &LabelSelector) -> String {
    compile(selector).map_or_else(
        |problem| format!("<{problem}>"),
        |selector| selector.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_writes_back() {
        for (text, written) in [
            ("app=nginx", "app=nginx"),
            ("app==nginx", "app=nginx"),
            (" a = b , c!=d", "a=b,c notin (d)"),
            ("a in (c, b)", "a in (b,c)"),
            ("a notin (b),c,!d", "a notin (b),c,!d"),
            ("", ""),
            ("a=", "a="),
            ("example.org/a=B_1.x", "example.org/a=B_1.x"),
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(format(&parsed), written, "{text}");
        }
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        for text in [
            "a b",
            "=b",
            "a=b,,c",
            "a=b,",
            "a in b",
            "a within (b)",
            "-a=b",
            "a=b c",
            "x/y/z=1",
            "a=%",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let no_values = LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "a".into(),
                operator: "In".into(),
                values: None,
            }]),
            ..LabelSelector::default()
        };
        assert!(compile(&no_values).is_err());
    }

    #[test]
    fn matches_labels() {
        let labels: BTreeMap<String, String> = [("app".to_owned(), "nginx".to_owned())].into();
        for (text, matched) in [
            ("app=nginx", true),
            ("app!=nginx", false),
            ("app in (a,nginx)", true),
            ("tier notin (x)", true),
            ("app", true),
            ("!app", false),
        ] {
            let selector = compile(&parse(text).unwrap()).unwrap();
            assert_eq!(matches(Some(&selector), &labels), matched, "{text}");
        }
        assert!(matches(None, &labels));
    }
}
