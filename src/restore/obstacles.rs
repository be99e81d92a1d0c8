//! What is known of types that nobody answers for: a dead webhook makes each create wait for its whole timeout, so after
//! a few the rest is not tried any more until one of them gets through.
//!
//! A webhook may look at some namespaces only, so both are counted: how often in a row a type was not answered for, and
//! how often within a namespace. Pure.

use std::collections::HashMap;

/// After how many creates in a row that nobody answers for the rest waits.
const FEW: u32 = 3;

/// Types and namespaces in which something was not answered for. What all is well with costs nothing here.
#[derive(Debug, Default)]
pub(super) struct Obstacles(HashMap<usize, OfType>);

#[derive(Debug, Default)]
struct OfType {
    /// How often in a row, over all namespaces.
    in_a_row: u32,
    /// The same for each target namespace in which anything was tried since the first time.
    namespaces: HashMap<Option<String>, u32>,
    /// What was said the last time.
    says: String,
}

impl Obstacles {
    /// Notes that an object was not answered for.
    pub(super) fn met(&mut self, planned_type: usize, namespace: Option<&str>, says: &str) {
        let of_type = self.0.entry(planned_type).or_default();
        of_type.in_a_row += 1;
        says.clone_into(&mut of_type.says);
        let namespace = namespace.map(str::to_owned);
        *of_type.namespaces.entry(namespace).or_default() += 1;
    }

    /// Notes that an object got through.
    pub(super) fn passed(&mut self, planned_type: usize, namespace: Option<&str>) {
        if let Some(of_type) = self.0.get_mut(&planned_type) {
            of_type.in_a_row = 0;
            of_type.namespaces.insert(namespace.map(str::to_owned), 0);
        }
    }

    /// Returns whether it is worth trying an object.
    pub(super) fn is_open(&self, planned_type: usize, namespace: Option<&str>) -> bool {
        let Some(of_type) = self.0.get(&planned_type) else {
            return true;
        };
        let open = of_type.in_a_row < FEW;
        match of_type.namespaces.get(&namespace.map(str::to_owned)) {
            // The last one got through.
            Some(0) => true,
            Some(in_a_row) => open && *in_a_row < FEW,
            None => open,
        }
    }

    /// Returns what was said of a type the last time.
    pub(super) fn says(&self, planned_type: usize) -> &str {
        self.0
            .get(&planned_type)
            .map_or("", |of_type| of_type.says.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_in_a_row_close_and_one_that_passes_opens() {
        for (what, answers, open_in_a, open_in_b) in [
            ("nothing happened", "", true, true),
            ("a few", "aa", true, true),
            ("one too many closes the type", "aaa", false, false),
            ("whatever the namespaces", "abc", false, false),
            (
                "one that passes opens its namespace and the type",
                "aaaA",
                true,
                true,
            ),
            ("but no other that has had its few", "aaaB", false, true),
            (
                "nor one that was closed with the type, once it is again",
                "abbbCccc",
                false,
                false,
            ),
            (
                "where the last one passed the next is tried",
                "aaaAbbb",
                true,
                false,
            ),
            (
                "in a row means without one that passes",
                "aaAaaA",
                true,
                true,
            ),
        ] {
            let mut obstacles = Obstacles::default();
            for answer in answers.chars() {
                let namespace = answer.to_ascii_lowercase().to_string();
                if answer.is_ascii_uppercase() {
                    obstacles.passed(7, Some(&namespace));
                } else {
                    obstacles.met(7, Some(&namespace), "no");
                }
            }
            let found = (
                obstacles.is_open(7, Some("a")),
                obstacles.is_open(7, Some("b")),
            );
            assert_eq!(found, (open_in_a, open_in_b), "{what}");
            assert!(obstacles.is_open(8, Some("a")), "another type: {what}");
        }
    }
}
