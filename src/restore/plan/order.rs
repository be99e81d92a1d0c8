//! Puts owners before what is theirs (case 84), where the order of types does not.
//!
//! An owner that runs no Pods (a custom resource, a ConfigMap) is moved before the wave of its first dependent; what
//! belongs to a workload is moved after it. Who has no owner and owns nothing stays where its type is.

use std::collections::HashMap;

/// A place in the order: the wave of a type, and a step before (negative) or after it.
pub(super) type Place = (usize, i32);

/// The first wave that an owner may be moved to: definitions and namespaces come before everything.
const FIRST: usize = 2;

/// An object with an owner in the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tie {
    /// The owner's number.
    pub(super) owner: usize,
    /// The dependent's number.
    pub(super) dependent: usize,
    /// Whether dependents come after the owner's wave rather than the owner before theirs.
    pub(super) workload: bool,
}

/// Moves owners and dependents; `places` has the wave of each object's type.
///
/// Of a circle of owners nobody is moved.
pub(super) fn order(places: &mut HashMap<usize, Place>, ties: &[Tie]) {
    let ties: Vec<Tie> = ties
        .iter()
        .copied()
        .filter(|tie| places[&tie.dependent].0 >= FIRST && places[&tie.owner].0 >= FIRST)
        .collect();
    let sorted = owners_first(&ties);
    let rank: HashMap<usize, usize> = sorted
        .iter()
        .enumerate()
        .map(|(at, one)| (*one, at))
        .collect();
    let mut ties: Vec<Tie> = ties
        .into_iter()
        .filter(|tie| rank.contains_key(&tie.owner) && rank.contains_key(&tie.dependent))
        .collect();
    // From the last dependent up.
    ties.sort_by_key(|tie| std::cmp::Reverse(rank[&tie.owner]));
    for tie in ties.iter().filter(|tie| !tie.workload) {
        let (wave, step) = places[&tie.dependent];
        if let Some(place) = places.get_mut(&tie.owner) {
            *place = (*place).min((wave, step - 1));
        }
    }
    // From the first owner down.
    ties.sort_by_key(|tie| rank[&tie.dependent]);
    for tie in &ties {
        let (wave, step) = places[&tie.owner];
        if let Some(place) = places.get_mut(&tie.dependent) {
            *place = (*place).max((wave, step + 1));
        }
    }
}

/// Returns those that have to do with ties, owners before dependents; without those in a circle or below one.
fn owners_first(ties: &[Tie]) -> Vec<usize> {
    let mut owners: HashMap<usize, usize> = HashMap::new();
    let mut dependents: HashMap<usize, Vec<usize>> = HashMap::new();
    for tie in ties {
        *owners.entry(tie.dependent).or_default() += 1;
        owners.entry(tie.owner).or_default();
        dependents.entry(tie.owner).or_default().push(tie.dependent);
    }
    let mut free: Vec<usize> = owners
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(one, _)| *one)
        .collect();
    free.sort_unstable();
    let mut sorted = Vec::new();
    while let Some(one) = free.pop() {
        sorted.push(one);
        for dependent in dependents.remove(&one).unwrap_or_default() {
            if let Some(count) = owners.get_mut(&dependent) {
                *count -= 1;
                if *count == 0 {
                    free.push(dependent);
                }
            }
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_come_first() {
        let tie = |owner, dependent, workload| Tie {
            owner,
            dependent,
            workload,
        };
        for (what, waves, ties, expected) in [
            ("nothing", vec![5, 3], vec![], vec![(5, 0), (3, 0)]),
            (
                "an owner of a later wave",
                vec![9, 3],
                vec![tie(0, 1, false)],
                vec![(3, -1), (3, 0)],
            ),
            (
                "one of an earlier wave",
                vec![3, 9],
                vec![tie(0, 1, false)],
                vec![(3, 0), (9, 0)],
            ),
            (
                "a workload",
                vec![9, 3],
                vec![tie(0, 1, true)],
                vec![(9, 0), (9, 1)],
            ),
            (
                "a chain",
                vec![9, 9, 3],
                vec![tie(0, 1, false), tie(1, 2, false)],
                vec![(3, -2), (3, -1), (3, 0)],
            ),
            (
                "what belongs to one that was moved back",
                vec![9, 3, 4],
                vec![tie(0, 1, true), tie(1, 2, false)],
                vec![(9, 0), (9, 1), (9, 2)],
            ),
            (
                "a circle",
                vec![9, 3],
                vec![tie(0, 1, false), tie(1, 0, false)],
                vec![(9, 0), (3, 0)],
            ),
            (
                "an owner of a definition",
                vec![9, 0],
                vec![tie(0, 1, false)],
                vec![(9, 0), (0, 0)],
            ),
        ] {
            let mut places: HashMap<usize, Place> = waves
                .iter()
                .enumerate()
                .map(|(at, wave)| (at, (*wave, 0)))
                .collect();
            order(&mut places, &ties);
            let found: Vec<Place> = (0..waves.len()).map(|at| places[&at]).collect();
            assert_eq!(found, expected, "{what}");
        }
    }
}
