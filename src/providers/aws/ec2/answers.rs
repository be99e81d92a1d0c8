//! EC2's answers, as far as they are of use. Numbers are text there and here, since an element may be empty.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A list: EC2 puts each of its members into an `item`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Items<T> {
    #[serde(default = "Vec::new")]
    pub(super) item: Vec<T>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}

/// A tag.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

/// A volume, as it is described and as it is created.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Volume {
    #[serde(rename = "volumeId")]
    pub(super) id: String,
    /// In gibibytes.
    pub(super) size: String,
    pub(super) availability_zone: String,
    pub(super) status: String,
    #[serde(rename = "volumeType")]
    pub(super) kind: String,
    pub(super) iops: String,
    /// In mebibytes a second.
    pub(super) throughput: String,
    pub(super) tag_set: Items<Tag>,
}

/// A snapshot, as it is described and as it is created.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Snapshot {
    #[serde(rename = "snapshotId")]
    pub(super) id: String,
    pub(super) status: String,
    /// Such as `42%`.
    pub(super) progress: String,
    /// Why it has failed.
    pub(super) status_message: String,
    /// In gibibytes.
    pub(super) volume_size: String,
    pub(super) tag_set: Items<Tag>,
}

/// A page of volumes.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Volumes {
    pub(super) volume_set: Items<Volume>,
    pub(super) next_token: String,
}

/// A page of snapshots.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Snapshots {
    pub(super) snapshot_set: Items<Snapshot>,
    pub(super) next_token: String,
}

/// A part of an answer.
pub(super) trait Page: DeserializeOwned {
    type Item;

    /// Returns what is on it, and what to ask for the next one with: nothing, if it is the last.
    fn into_parts(self) -> (Vec<Self::Item>, String);
}

impl Page for Volumes {
    type Item = Volume;

    fn into_parts(self) -> (Vec<Volume>, String) {
        (self.volume_set.item, self.next_token)
    }
}

impl Page for Snapshots {
    type Item = Snapshot;

    fn into_parts(self) -> (Vec<Snapshot>, String) {
        (self.snapshot_set.item, self.next_token)
    }
}

/// An answer of which nothing is of use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {}

/// Returns a size in bytes of one in gibibytes.
pub(super) fn bytes(gibibytes: &str) -> Option<u64> {
    gibibytes.parse::<u64>().ok()?.checked_mul(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read() {
        let read: Volumes = quick_xml::de::from_str(
            r#"<?xml version="1.0" encoding="UTF-8"?>
            <DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
              <requestId>59dbff89</requestId>
              <volumeSet>
                <item>
                  <volumeId>vol-1</volumeId><size>80</size><snapshotId/>
                  <availabilityZone>us-east-1a</availabilityZone><status>in-use</status>
                  <attachmentSet><item><volumeId>vol-1</volumeId><status>attached</status></item></attachmentSet>
                  <volumeType>io2</volumeType><iops>1000</iops><encrypted>true</encrypted>
                  <tagSet><item><key>a</key><value>1 &amp; 2</value></item><item><key>b</key><value/></item></tagSet>
                </item>
                <item><volumeId>vol-2</volumeId></item>
              </volumeSet>
              <nextToken/>
            </DescribeVolumesResponse>"#,
        )
        .unwrap();
        let [first, second] = &read.volume_set.item[..] else {
            panic!("{read:?}");
        };
        assert_eq!(bytes(&first.size), Some(80 << 30));
        assert_eq!((first.kind.as_str(), first.iops.as_str()), ("io2", "1000"));
        assert_eq!(first.status, "in-use");
        let tags: Vec<_> = first
            .tag_set
            .item
            .iter()
            .map(|tag| format!("{}={}", tag.key, tag.value))
            .collect();
        assert_eq!(tags, ["a=1 & 2", "b="]);
        assert!(second.iops.is_empty() && second.tag_set.item.is_empty());
        assert_eq!(read.next_token, "");
    }

    #[test]
    fn snapshots_are_read() {
        let read: Snapshots = quick_xml::de::from_str(
            r"<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snapshotId><status>pending</status>
              <progress>42%</progress><volumeSize>8</volumeSize></item></snapshotSet><nextToken>more</nextToken>
              </DescribeSnapshotsResponse>",
        )
        .unwrap();
        assert_eq!(read.snapshot_set.item[0].progress, "42%");
        assert_eq!(read.next_token, "more");
        let none: Snapshots = quick_xml::de::from_str(
            "<DescribeSnapshotsResponse><snapshotSet/></DescribeSnapshotsResponse>",
        )
        .unwrap();
        assert!(none.snapshot_set.item.is_empty());
    }
}
