//! The snapshotters that a server has, each with the location whose settings it works with.

use std::sync::Arc;

use super::snapshotter::VolumeSnapshotter;
use crate::api::CSI_PROVIDER;

/// A snapshotter and its location.
#[derive(Clone, Debug)]
pub struct SnapshotLocation {
    /// The VolumeSnapshotLocation's name; empty for what the cluster's CSI drivers do without one.
    pub name: String,
    /// The location's provider.
    pub provider: String,
    /// The snapshotter, or why it cannot be used.
    pub snapshotter: Result<Arc<dyn VolumeSnapshotter>, String>,
}

impl SnapshotLocation {
    /// Returns what to call it.
    pub fn title(&self) -> String {
        if self.name.is_empty() {
            format!("the cluster's {} drivers", self.provider.to_uppercase())
        } else {
            format!("snapshot location {}", self.name)
        }
    }
}

/// All of a server's snapshotters.
#[derive(Clone, Debug, Default)]
pub struct Snapshotters {
    locations: Vec<SnapshotLocation>,
}

impl Snapshotters {
    /// Takes the locations, in the order in which they are asked whether they are for a volume.
    pub fn new(locations: Vec<SnapshotLocation>) -> Self {
        Self { locations }
    }

    /// Returns the locations.
    pub fn locations(&self) -> &[SnapshotLocation] {
        &self.locations
    }

    /// Finds the location that a snapshot is in, by what is recorded of it: its location's name, and that one's provider
    /// unless another program recorded it.
    ///
    /// Where no location has the name, as in another cluster, the only one of the provider is taken; where nothing is
    /// recorded, as by Ark up to 0.9, the only one there is.
    ///
    /// # Errors
    /// Why there is none, and what to do; the end of a sentence.
    pub fn find(&self, name: &str, provider: &str) -> Result<&SnapshotLocation, String> {
        let of_provider = |one: &&SnapshotLocation| provider.is_empty() || one.provider == provider;
        let named = self.locations.iter().find(|one| one.name == name);
        if let Some(named) = named.filter(of_provider)
            && !(name.is_empty() && provider.is_empty())
        {
            return Ok(named);
        }
        // What the drivers of the cluster do is nothing that earlier programs knew.
        let candidates = self
            .locations
            .iter()
            .filter(of_provider)
            .filter(|one| !provider.is_empty() || one.provider != CSI_PROVIDER);
        let candidates: Vec<&SnapshotLocation> = candidates.collect();
        let of = if provider.is_empty() {
            String::new()
        } else {
            format!(" of provider {provider}")
        };
        match candidates[..] {
            [only] => Ok(only),
            [] if provider == CSI_PROVIDER => {
                Err("this ark was built without the feature \"csi\"".to_owned())
            }
            [] => Err(format!(
                "there is no snapshot location{of}; make one with `ark snapshot-location create`"
            )),
            _ => {
                let names: Vec<&str> = candidates.iter().map(|one| one.name.as_str()).collect();
                let recorded = if name.is_empty() {
                    "it is not recorded which one it is in".to_owned()
                } else {
                    format!("it is in {name}, which is not there")
                };
                Err(format!(
                    "there are several snapshot locations{of} ({}), and {recorded}",
                    names.join(", ")
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshotters(locations: &[(&str, &str)]) -> Snapshotters {
        let of = |(name, provider): &(&str, &str)| SnapshotLocation {
            name: (*name).to_owned(),
            provider: (*provider).to_owned(),
            snapshotter: Err("not opened".to_owned()),
        };
        Snapshotters::new(locations.iter().map(of).collect())
    }

    #[test]
    fn a_snapshot_is_looked_for_where_it_was_made() {
        let (a, b, g, csi) = (("a", "aws"), ("b", "aws"), ("a", "gcp"), ("", "csi"));
        for (locations, name, provider, expected) in [
            (&[a, b, csi][..], "b", "aws", Ok("b")),
            (&[a, b, csi], "", "csi", Ok("")),
            // Another program's: its provider is not recorded.
            (&[a, b, csi], "a", "", Ok("a")),
            (&[a, csi], "", "", Ok("a")),
            (&[a, csi], "elsewhere", "aws", Ok("a")),
            // Of the same name, and somebody else's.
            (
                &[g, csi],
                "a",
                "aws",
                Err("no snapshot location of provider aws"),
            ),
            (
                &[a, b, csi],
                "elsewhere",
                "aws",
                Err("it is in elsewhere, which is not there"),
            ),
            (&[a, b, csi], "", "", Err("not recorded which one")),
            (&[csi], "", "", Err("there is no snapshot location;")),
            (&[a], "", "csi", Err("without the feature \"csi\"")),
        ] {
            let snapshotters = snapshotters(locations);
            let found = snapshotters.find(name, provider);
            match expected {
                Ok(expected) => assert_eq!(found.map(|one| one.name.as_str()), Ok(expected)),
                Err(part) => {
                    let problem = found.map(|one| one.name.clone()).unwrap_err();
                    assert!(problem.contains(part), "{problem}");
                }
            }
        }
    }
}
