//! The calls of EC2 (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html>).

use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use url::Url;
use url::form_urlencoded::Serializer;

use super::answers::{Done, Items, Page, Snapshot, Snapshots, Volume, Volumes};
use super::errors::Ec2Error;
use super::tags::Tags;
use crate::providers::aws::signed::Signed;
use crate::providers::patience::Patience;

/// The version of the API.
const VERSION: &str = "2016-11-15";
/// How many values a filter may have.
const FILTER_VALUES: usize = 200;
/// How many things a page of an answer may hold.
const PAGE: &str = "500";
/// The parameter that asks for the next page.
const NEXT: &str = "NextToken";

/// One region of EC2.
#[derive(Debug)]
pub(super) struct Ec2 {
    signed: Signed,
    url: Url,
    region: String,
}

/// A volume to make.
#[derive(Debug, Default)]
pub(super) struct NewVolume<'a> {
    pub(super) snapshot: &'a str,
    pub(super) zone: &'a str,
    /// EC2's default if it is empty.
    pub(super) volume_type: &'a str,
    pub(super) iops: Option<i64>,
    pub(super) throughput: Option<i64>,
    /// In gibibytes; unset: the snapshot's.
    pub(super) size: Option<u64>,
    pub(super) tags: Tags,
    pub(super) token: &'a str,
}

/// The parameters of a call.
#[derive(Debug, Default)]
struct Params(Vec<(String, String)>);

impl Params {
    fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    fn filter<'a>(
        mut self,
        number: usize,
        name: &str,
        values: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        self = self.with(format!("Filter.{number}.Name"), name);
        for (index, value) in values.into_iter().enumerate() {
            self = self.with(format!("Filter.{number}.Value.{}", index + 1), value);
        }
        self
    }

    fn tags(mut self, resource: &str, tags: &Tags) -> Self {
        self = self.with("TagSpecification.1.ResourceType", resource);
        for (index, (key, value)) in tags.iter().enumerate() {
            let number = index + 1;
            self = self
                .with(format!("TagSpecification.1.Tag.{number}.Key"), key)
                .with(format!("TagSpecification.1.Tag.{number}.Value"), value);
        }
        self
    }

    fn body(&self, action: &str) -> Bytes {
        Serializer::new(String::new())
            .append_pair("Action", action)
            .append_pair("Version", VERSION)
            .extend_pairs(&self.0)
            .finish()
            .into()
    }
}

impl Ec2 {
    pub(super) fn new(signed: Signed, url: Url, region: &str) -> Self {
        Self {
            signed,
            url,
            region: region.to_owned(),
        }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Asks for as little as can be asked for.
    pub(super) async fn look_in(&self) -> Result<(), Ec2Error> {
        let params = Params::default()
            .with("Owner.1", "self")
            .with("MaxResults", "5");
        let _any: Snapshots = self.ask("DescribeSnapshots", &params).await?;
        Ok(())
    }

    /// Returns a volume.
    ///
    /// # Errors
    /// `InvalidVolume.NotFound` if it is not there.
    pub(super) async fn volume(&self, id: &str) -> Result<Volume, Ec2Error> {
        let params = Params::default().with("VolumeId.1", id);
        let found: Volumes = self.ask("DescribeVolumes", &params).await?;
        one(found.volume_set, "volume")
    }

    /// Returns a snapshot.
    ///
    /// # Errors
    /// `InvalidSnapshot.NotFound` if it is not there.
    pub(super) async fn snapshot(&self, id: &str) -> Result<Snapshot, Ec2Error> {
        let params = Params::default().with("SnapshotId.1", id);
        let found: Snapshots = self.ask("DescribeSnapshots", &params).await?;
        one(found.snapshot_set, "snapshot")
    }

    /// Returns the account's snapshots with a tag.
    pub(super) async fn tagged_snapshots(
        &self,
        key: &str,
        value: &str,
    ) -> Result<Vec<Snapshot>, Ec2Error> {
        let params =
            Params::default()
                .with("Owner.1", "self")
                .filter(1, &format!("tag:{key}"), [value]);
        self.all::<Snapshots>("DescribeSnapshots", params).await
    }

    /// Returns those of these snapshots that are there, in no particular order.
    pub(super) async fn snapshots_of(&self, ids: &[&str]) -> Result<Vec<Snapshot>, Ec2Error> {
        let mut all = Vec::new();
        // A filter, and not the ids themselves: of those, one that is gone has the call fail.
        for ids in ids.chunks(FILTER_VALUES) {
            let params = Params::default().filter(1, "snapshot-id", ids.iter().copied());
            all.extend(self.all::<Snapshots>("DescribeSnapshots", params).await?);
        }
        Ok(all)
    }

    /// Returns the account's volumes with a tag.
    pub(super) async fn tagged_volumes(
        &self,
        key: &str,
        value: &str,
    ) -> Result<Vec<Volume>, Ec2Error> {
        let params = Params::default().filter(1, &format!("tag:{key}"), [value]);
        self.all::<Volumes>("DescribeVolumes", params).await
    }

    /// Returns what is on all pages of an answer.
    async fn all<P: Page>(&self, action: &str, params: Params) -> Result<Vec<P::Item>, Ec2Error> {
        let mut params = params.with("MaxResults", PAGE);
        let mut all = Vec::new();
        loop {
            let page: P = self.ask(action, &params).await?;
            let (items, next) = page.into_parts();
            all.extend(items);
            if next.is_empty() {
                return Ok(all);
            }
            params.0.retain(|(name, _)| name != NEXT);
            params = params.with(NEXT, next);
        }
    }

    /// Begins a snapshot. Not to be repeated while it is open whether that was done: EC2 would make a second one.
    pub(super) async fn create_snapshot(
        &self,
        volume: &str,
        description: &str,
        tags: &Tags,
    ) -> Result<Snapshot, Ec2Error> {
        let params = Params::default()
            .with("VolumeId", volume)
            .with("Description", description)
            .tags("snapshot", tags);
        self.ask_once_done("CreateSnapshot", &params).await
    }

    pub(super) async fn delete_snapshot(&self, id: &str) -> Result<(), Ec2Error> {
        let params = Params::default().with("SnapshotId", id);
        let _done: Done = self.ask("DeleteSnapshot", &params).await?;
        Ok(())
    }

    /// Makes a volume. To be repeated with care while it is open whether that was done: a token is good for a while, and
    /// servers other than Amazon's may not look at it.
    pub(super) async fn create_volume(&self, new: &NewVolume<'_>) -> Result<Volume, Ec2Error> {
        let mut params = Params::default()
            .with("SnapshotId", new.snapshot)
            .with("AvailabilityZone", new.zone)
            .with("ClientToken", new.token)
            .tags("volume", &new.tags);
        if !new.volume_type.is_empty() {
            params = params.with("VolumeType", new.volume_type);
        }
        for (name, value) in [("Iops", new.iops), ("Throughput", new.throughput)] {
            if let Some(value) = value {
                params = params.with(name, value.to_string());
            }
        }
        if let Some(size) = new.size {
            params = params.with("Size", size.to_string());
        }
        self.ask_once_done("CreateVolume", &params).await
    }

    /// Makes a call that may be repeated, as often as it takes.
    async fn ask<T: DeserializeOwned>(&self, action: &str, params: &Params) -> Result<T, Ec2Error> {
        self.ask_while(action, params, Ec2Error::may_pass).await
    }

    /// Makes a call as often as it takes until EC2 may have done it.
    async fn ask_once_done<T: DeserializeOwned>(
        &self,
        action: &str,
        params: &Params,
    ) -> Result<T, Ec2Error> {
        self.ask_while(action, params, |error| {
            error.may_pass() && !error.leaves_open()
        })
        .await
    }

    async fn ask_while<T: DeserializeOwned>(
        &self,
        action: &str,
        params: &Params,
        again: impl Fn(&Ec2Error) -> bool,
    ) -> Result<T, Ec2Error> {
        let mut patience = Patience::new();
        loop {
            let error = match self.ask_once(action, params).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !again(&error) || !patience.wait().await {
                return Err(error);
            }
            tracing::debug!(action, %error, "EC2 is asked again");
        }
    }

    async fn ask_once<T: DeserializeOwned>(
        &self,
        action: &str,
        params: &Params,
    ) -> Result<T, Ec2Error> {
        let answer = self
            .signed
            .send(
                Method::POST,
                self.url.clone(),
                Some("application/x-www-form-urlencoded; charset=utf-8"),
                params.body(action),
            )
            .await?;
        if !answer.status.is_success() {
            return Err(Ec2Error::refused(answer.status.as_u16(), &answer.body));
        }
        let text =
            std::str::from_utf8(&answer.body).map_err(|error| Ec2Error::Odd(error.to_string()))?;
        quick_xml::de::from_str(text).map_err(|error| Ec2Error::Odd(error.to_string()))
    }
}

/// Returns the one that was asked for.
fn one<T>(found: Items<T>, what: &str) -> Result<T, Ec2Error> {
    found
        .item
        .into_iter()
        .next()
        .ok_or_else(|| Ec2Error::Odd(format!("it holds no {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered() {
        let tags =
            [("a", "1"), ("b", "2 & 3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let params = Params::default()
            .filter(1, "tag:a/b", ["x", "y"])
            .tags("snapshot", &tags.into());
        assert_eq!(
            params.body("DescribeSnapshots"),
            "Action=DescribeSnapshots&Version=2016-11-15&Filter.1.Name=tag%3Aa%2Fb&Filter.1.Value.1=x\
             &Filter.1.Value.2=y&TagSpecification.1.ResourceType=snapshot&TagSpecification.1.Tag.1.Key=a\
             &TagSpecification.1.Tag.1.Value=1&TagSpecification.1.Tag.2.Key=b&TagSpecification.1.Tag.2.Value=2+%26+3"
        );
    }
}
