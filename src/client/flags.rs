//! Flags that several commands share, and how their values are read.
//!
//! clap refuses what is no flag at all (exit code 2). Values are taken as text and read here, so that every bad value
//! of a command is reported at once, in sentences of our own (exit code 1).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use clap::{Args, ValueEnum};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::de::DeserializeOwned;

use crate::api::selector;

/// How objects are printed: a line each, or as the API has them.
// Documented variants would make clap spread every help text over twice the lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// Which labels a table shows.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LabelArgs {
    /// Labels to show as columns of their own (comma-separated)
    #[arg(
        long,
        value_name = "KEY,...",
        overrides_with = "label_columns",
        help_heading = "Output"
    )]
    label_columns: Option<String>,
    /// Show all labels in a last column
    #[arg(long, help_heading = "Output")]
    pub(crate) show_labels: bool,
}

impl LabelArgs {
    /// Returns the labels that get columns of their own.
    ///
    /// # Errors
    /// An empty item in the list.
    pub(crate) fn columns(&self) -> anyhow::Result<Vec<String>> {
        list("--label-columns", self.label_columns.as_deref()).map_err(anyhow::Error::msg)
    }
}

/// Output flags of the get commands.
#[derive(Args, Debug)]
pub(crate) struct GetOutputArgs {
    /// How to print
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
}

/// Output flags of the create commands.
#[derive(Args, Debug)]
pub(crate) struct CreateOutputArgs {
    /// Print the object in this format and do not submit it
    #[arg(
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(crate) output: Option<Format>,
    #[command(flatten)]
    pub(crate) labels: LabelArgs,
}

/// What a backup takes or a restore brings back.
#[derive(Args, Debug)]
pub(crate) struct SelectionArgs {
    /// Namespaces to include (comma-separated, "*" for all)
    #[arg(
        long,
        value_name = "NAME,...",
        default_value = "*",
        overrides_with = "include_namespaces"
    )]
    include_namespaces: String,
    /// Namespaces to leave out (comma-separated)
    #[arg(long, value_name = "NAME,...", overrides_with = "exclude_namespaces")]
    exclude_namespaces: Option<String>,
    /// Types to include, as resource or resource.group (comma-separated, "*" for all)
    #[arg(long, value_name = "TYPE,...", overrides_with = "include_resources")]
    include_resources: Option<String>,
    /// Types to leave out, as resource or resource.group (comma-separated)
    #[arg(long, value_name = "TYPE,...", overrides_with = "exclude_resources")]
    exclude_resources: Option<String>,
    /// Take only objects whose labels match, such as app=nginx or 'tier in (web,db)'
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Whether to take cluster-scoped objects [default: what the selection needs]
    #[arg(long, value_name = "BOOL", value_parser = optional_bool, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    include_cluster_resources: Option<OptionalBool>,
    /// Accept a selection that matches nothing
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Labels for the new object itself, as KEY=VALUE (comma-separated, may be repeated)
    #[arg(long, value_name = "KEY=VALUE,...")]
    labels: Vec<String>,
}

/// What [`SelectionArgs`] mean.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) included_namespaces: Vec<String>,
    pub(crate) excluded_namespaces: Vec<String>,
    pub(crate) included_resources: Vec<String>,
    pub(crate) excluded_resources: Vec<String>,
    pub(crate) label_selector: Option<LabelSelector>,
    pub(crate) include_cluster_resources: Option<bool>,
    pub(crate) allow_empty: Option<bool>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

impl SelectionArgs {
    /// Reads the flags; what cannot be read is added to `problems`.
    pub(crate) fn read(&self, problems: &mut Problems) -> Selection {
        let labels = self.labels(problems);
        Selection {
            included_namespaces: problems.take(list(
                "--include-namespaces",
                Some(self.include_namespaces.as_str()),
            )),
            excluded_namespaces: problems.take(list(
                "--exclude-namespaces",
                self.exclude_namespaces.as_deref(),
            )),
            included_resources: problems.take(list(
                "--include-resources",
                self.include_resources.as_deref(),
            )),
            excluded_resources: problems.take(list(
                "--exclude-resources",
                self.exclude_resources.as_deref(),
            )),
            label_selector: problems
                .take(self.selector.as_deref().map(selector::parse).transpose())
                .filter(|selector| *selector != LabelSelector::default()),
            include_cluster_resources: self.include_cluster_resources.and_then(|given| given.0),
            allow_empty: self.allow_empty.then_some(true),
            labels: (!labels.is_empty()).then_some(labels),
        }
    }

    /// Reads the labels for the new object alone.
    pub(crate) fn labels(&self, problems: &mut Problems) -> BTreeMap<String, String> {
        problems.take(label_pairs(&self.labels))
    }
}

/// A flag that can be yes, no or left to Ark; `--flag` alone is yes, `--flag=` leaves it to Ark.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct OptionalBool(pub(crate) Option<bool>);

/// Reads what Go reads as a bool, and nothing as unset.
pub(crate) fn optional_bool(text: &str) -> Result<OptionalBool, String> {
    match text {
        "" => Ok(OptionalBool(None)),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(OptionalBool(Some(true))),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(OptionalBool(Some(false))),
        _ => Err("write true or false".to_owned()),
    }
}

/// Splits a list flag at its commas; an unset flag is an empty list.
///
/// # Errors
/// An empty item: an unset shell variable must not turn a filter into "everything".
pub(crate) fn list(flag: &str, text: Option<&str>) -> Result<Vec<String>, String> {
    let Some(text) = text else {
        return Ok(Vec::new());
    };
    let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items.iter().any(String::is_empty) {
        return Err(format!(
            "{flag} {text:?}: there is an empty item; remove the extra comma, or the flag if nothing is meant"
        ));
    }
    Ok(items)
}

/// Reads `a<separator>b` pairs from all occurrences of a flag.
///
/// # Errors
/// A pair without the separator or without one of its sides, or a key with two values.
pub(crate) fn pairs(
    flag: &str,
    occurrences: &[String],
    separator: char,
) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for pair in occurrences.iter().flat_map(|text| text.split(',')) {
        let sides = pair
            .split_once(separator)
            .map(|(key, value)| (key.trim(), value.trim()));
        let Some((key, value)) = sides.filter(|(key, _)| !key.is_empty()) else {
            return Err(format!(
                "{flag}: cannot read {pair:?}; write pairs such as a{separator}b,c{separator}d"
            ));
        };
        if let Some(earlier) = found.insert(key.to_owned(), value.to_owned())
            && earlier != value
        {
            return Err(format!(
                "{flag}: {key:?} is given twice, as {earlier:?} and as {value:?}; remove one of the two"
            ));
        }
    }
    Ok(found)
}

/// Reads `--labels` and checks them as the API server would.
pub(crate) fn label_pairs(occurrences: &[String]) -> Result<BTreeMap<String, String>, String> {
    let labels = pairs("--labels", occurrences, '=')?;
    let as_selector = LabelSelector {
        match_labels: Some(labels.clone()),
        ..LabelSelector::default()
    };
    selector::compile(&as_selector).map_err(|problem| {
        let problem = problem.strip_prefix("label selector: ").unwrap_or(&problem);
        format!(
            "--labels: {problem}; use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a \
             letter or digit"
        )
    })?;
    Ok(labels)
}

/// Reads `--namespace-mappings`.
///
/// # Errors
/// A malformed pair; what the names may be is [`crate::api::validate`]'s to say.
pub(crate) fn namespace_mappings(
    occurrences: &[String],
) -> Result<BTreeMap<String, String>, String> {
    const FLAG: &str = "--namespace-mappings";
    let mappings = pairs(FLAG, occurrences, ':')?;
    if let Some((from, to)) = mappings
        .iter()
        .find(|(_, to)| to.is_empty() || to.contains(':'))
    {
        return Err(format!(
            "{FLAG}: cannot read \"{from}:{to}\"; write pairs such as a:b,c:d"
        ));
    }
    Ok(mappings)
}

/// Reads a `-l/--selector` for the API; it is checked here because the API server's own sentence names no part.
///
/// # Errors
/// A selector that cannot be read.
pub(crate) fn api_selector(text: Option<&str>) -> anyhow::Result<Option<String>> {
    match text.map(selector::parse).transpose() {
        Ok(parsed) => Ok(parsed
            .map(|selector| selector::format(&selector))
            .filter(|text| !text.is_empty())),
        Err(problem) => bail!(problem),
    }
}

/// Reads the YAML file that a flag names.
///
/// # Errors
/// A sentence that begins with the flag.
pub(crate) fn yaml_file<T: DeserializeOwned>(flag: &str, path: &Path) -> Result<T, String> {
    let problem = |error: String| format!("{flag}: {}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| problem(error.to_string()))
}

/// Gathers what is wrong with a command line or goes wrong in a command, so that all of it is said at once.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Returns the value, or its type's default after noting the problem.
    pub(crate) fn take<T: Default>(&mut self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|problem| {
            self.0.push(problem);
            T::default()
        })
    }

    /// Adds a problem, once.
    pub(crate) fn add(&mut self, problem: String) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Returns whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what is wrong so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds problems found elsewhere.
    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = String>) {
        self.0.extend(problems);
    }

    /// Returns `value` if nothing is wrong.
    ///
    /// # Errors
    /// All problems in one line.
    pub(crate) fn finish<T>(self, value: T) -> anyhow::Result<T> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            bail!(self.0.join(". Also: "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn lists_are_split_at_commas() {
        assert_eq!(list("--x", Some("a, b")), Ok(texts(&["a", "b"])));
        assert_eq!(list("--x", None), Ok(Vec::new()));
        for bad in ["", "a,", ",a", "a,,b"] {
            assert!(list("--x", Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn pairs_are_split_at_the_first_separator() {
        let read = pairs("--x", &texts(&["a=b=c,d=", "e=f"]), '=').unwrap();
        assert_eq!(
            read.into_iter().collect::<Vec<_>>(),
            [("a", "b=c"), ("d", ""), ("e", "f")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        for bad in [&["a"][..], &["=b"], &["a=b,"], &["a=b", "a=c"]] {
            assert!(pairs("--x", &texts(bad), '=').is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mappings_need_both_sides() {
        assert!(namespace_mappings(&texts(&["a:b,c:d"])).is_ok());
        for bad in ["a", "a:", ":b", "a:b:c", "a:b,", "a:b,a:c"] {
            assert!(namespace_mappings(&texts(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_checked() {
        assert!(label_pairs(&texts(&["a=b,example.org/c="])).is_ok());
        for bad in ["-a=b", "a=b c", "x/y/z=1"] {
            let problem = label_pairs(&texts(&[bad])).unwrap_err();
            assert!(problem.starts_with("--labels: "), "{problem}");
        }
    }

    #[test]
    fn optional_bools() {
        assert_eq!(optional_bool(""), Ok(OptionalBool(None)));
        assert_eq!(optional_bool("true"), Ok(OptionalBool(Some(true))));
        assert_eq!(optional_bool("F"), Ok(OptionalBool(Some(false))));
        assert!(optional_bool("yes").is_err());
    }
}
