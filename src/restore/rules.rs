//! The page of rules, `docs/restore-rules.md`, written from the tables that the rules are looked up in, and from what the
//! modules say of those that are code.

use std::fmt::Write as _;

use super::{
    actions, convert, derived, existing, later, modifiers, namespaces, owners, plan, transform,
    waves,
};

/// A rule that is no entry of a table, for the page.
#[derive(Debug)]
pub(super) struct Told {
    /// The numbers of its cases, if it has any.
    pub(super) cases: &'static str,
    /// The objects that it is about.
    pub(super) about: &'static str,
    /// What is done with them, in a sentence.
    pub(super) says: &'static str,
}

/// Returns the page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# What a restore does with what\n\n<!-- Written from the code by `make docs`; do not edit. -->\n\n\
         Numbers are those of the cases in `tests/cluster/cases/`, where each has a test that bears its number.\n",
    );
    let mut section =
        |title: &str, intro: &str, lines: &mut dyn Iterator<Item = (String, String, &str)>| {
            let _ = write!(
                page,
                "\n## {title}\n\n{intro}\n\n| objects | what is done | cases |\n|---|---|---|\n"
            );
            for (about, says, cases) in lines {
                let _ = writeln!(page, "| {about} | {says} | {cases} |");
            }
        };
    let told = |told: &'static [Told]| {
        told.iter()
            .map(|rule| (rule.about.to_owned(), rule.says.to_owned(), rule.cases))
    };
    section(
        "Which objects",
        "Chosen by the request, and by what chosen objects need.",
        &mut told(plan::TOLD).chain(told(namespaces::TOLD)),
    );
    section(
        "What is left to the cluster",
        "Made anew by controllers, nodes or the API server. Left out in silence: nothing is missing afterwards.",
        &mut told(derived::TOLD),
    );
    section(
        "What is changed",
        "Before an object is created. All else stays as it was stored.",
        &mut told(transform::TOLD)
            .chain(transform::RULES.iter().map(|rule| {
                let types: Vec<String> =
                    rule.types.iter().map(|name| format!("`{name}`")).collect();
                (types.join(", "), rule.says.to_owned(), rule.cases)
            }))
            .chain(told(actions::TOLD))
            .chain(told(modifiers::TOLD)),
    );
    section(
        "Old API versions",
        "Where the target does not serve the stored version. Types of other groups come in the version that the target \
         prefers.",
        &mut convert::ROUTES.iter().map(|route| {
            let (group, resource) = route.from;
            let about = format!("`{resource}` of {group}/{}", route.versions.join(", "));
            let says = format!("become {}/{}", route.to.0, route.to.1);
            let says = if route.says.is_empty() {
                says
            } else {
                format!("{says}: {}", route.says)
            };
            (about, says, "15, 17")
        }),
    );
    section(
        "In which order",
        "Wave after wave; within a wave side by side.",
        &mut told(waves::TOLD)
            .chain(told(owners::TOLD))
            .chain(told(later::TOLD)),
    );
    section(
        "What is there already",
        "Compared without what servers and controllers write.",
        &mut told(existing::TOLD),
    );
    page
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_is_the_codes() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/restore-rules.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&file, page()).unwrap();
        }
        assert!(
            fs::read_to_string(&file).unwrap_or_default() == page(),
            "docs/restore-rules.md has drifted from the code; run `make docs` and commit the result"
        );
    }
}
