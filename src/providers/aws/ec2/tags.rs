//! Which tags snapshots and volumes get. Pure.

use std::collections::BTreeMap;

use super::answers::Tag;
use crate::providers::snapshotter::tags;

/// Tags by key.
pub(super) type Tags = BTreeMap<String, String>;

/// How many tags a resource may have.
const MOST: usize = 50;
/// What the tags begin with that are Amazon's own.
const RESERVED: &str = "aws:";
/// What the tags begin with by which a volume belongs to a Kubernetes cluster.
const CLUSTER: &str = "kubernetes.io/cluster/";
/// The same in older clusters.
const LEGACY_CLUSTER: &str = "KubernetesCluster";
/// Those of ours that are about one backup or one restore, and not for what is made from it later.
const OURS: [&str; 5] = [
    tags::BACKUP,
    tags::VOLUME,
    tags::CLUSTER,
    tags::TOKEN,
    tags::RESTORE,
];

/// Returns the tags of a snapshot: those asked for, and the volume's as far as there is room.
pub(super) fn of_snapshot(wanted: &Tags, volume: &[Tag]) -> Tags {
    let rest = volume
        .iter()
        .filter(|tag| !OURS.contains(&tag.key.as_str()));
    filled(wanted.clone(), rest)
}

/// Returns the tags of a volume: those asked for, those of the cluster that it is for, and the snapshot's as far as there
/// is room.
pub(super) fn of_volume(wanted: &Tags, snapshot: &[Tag], cluster: Option<&str>) -> Tags {
    let mut tags = wanted.clone();
    if let Some(cluster) = cluster {
        tags.insert(format!("{CLUSTER}{cluster}"), "owned".to_owned());
        tags.insert(LEGACY_CLUSTER.to_owned(), cluster.to_owned());
    }
    let owner = |key: &str| key.starts_with(CLUSTER) || key == LEGACY_CLUSTER;
    let rest = snapshot
        .iter()
        .filter(|tag| tag.key != tags::TOKEN && !(cluster.is_some() && owner(&tag.key)));
    filled(tags, rest)
}

fn filled<'a>(mut tags: Tags, more: impl Iterator<Item = &'a Tag>) -> Tags {
    let mut more: Vec<&Tag> = more.filter(|tag| !tag.key.starts_with(RESERVED)).collect();
    more.sort_by(|one, other| one.key.cmp(&other.key));
    for tag in more {
        if tags.len() >= MOST {
            break;
        }
        tags.entry(tag.key.clone())
            .or_insert_with(|| tag.value.clone());
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn found(pairs: &[(&str, &str)]) -> Vec<Tag> {
        tags(pairs)
            .into_iter()
            .map(|(key, value)| Tag { key, value })
            .collect()
    }

    #[test]
    fn a_snapshot_has_the_volumes_tags_and_ours() {
        let volume = found(&[
            ("team", "a"),
            ("aws:cloudformation:stack-name", "s"),
            (tags::BACKUP, "the one that this volume was restored from"),
            (tags::RESTORE, "r"),
            ("kubernetes.io/cluster/c", "owned"),
        ]);
        let wanted = tags(&[(tags::BACKUP, "b"), (tags::TOKEN, "t")]);
        let expected = tags(&[
            (tags::BACKUP, "b"),
            (tags::TOKEN, "t"),
            ("kubernetes.io/cluster/c", "owned"),
            ("team", "a"),
        ]);
        assert_eq!(of_snapshot(&wanted, &volume), expected);
        // Whoever asks wins.
        let wanted = tags(&[("team", "b")]);
        assert_eq!(of_snapshot(&wanted, &found(&[("team", "a")])), wanted);
    }

    #[test]
    fn a_volume_belongs_to_its_cluster() {
        let snapshot = found(&[
            (tags::BACKUP, "b"),
            (tags::TOKEN, "of the snapshot"),
            ("kubernetes.io/cluster/old", "owned"),
            ("KubernetesCluster", "old"),
            ("team", "a"),
        ]);
        let wanted = tags(&[(tags::RESTORE, "r"), (tags::TOKEN, "t")]);
        let common = [
            (tags::BACKUP, "b"),
            (tags::RESTORE, "r"),
            (tags::TOKEN, "t"),
            ("team", "a"),
        ];
        for (cluster, more) in [
            (
                None,
                [
                    ("kubernetes.io/cluster/old", "owned"),
                    ("KubernetesCluster", "old"),
                ],
            ),
            (
                Some("new"),
                [
                    ("kubernetes.io/cluster/new", "owned"),
                    ("KubernetesCluster", "new"),
                ],
            ),
        ] {
            let expected = tags(&[&common[..], &more[..]].concat());
            assert_eq!(
                of_volume(&wanted, &snapshot, cluster),
                expected,
                "{cluster:?}"
            );
        }
    }

    #[test]
    fn there_are_at_most_fifty() {
        let many: Vec<Tag> = (0..60)
            .map(|number| Tag {
                key: format!("t{number:02}"),
                value: "x".to_owned(),
            })
            .collect();
        let wanted = tags(&[(tags::BACKUP, "b"), (tags::TOKEN, "t"), ("t59", "ours")]);
        let all = of_snapshot(&wanted, &many);
        assert_eq!(all.len(), 50);
        for (key, value) in &wanted {
            assert_eq!(all.get(key), Some(value));
        }
        assert!(all.contains_key("t46") && !all.contains_key("t47"));
    }
}
