//! Snapshots of EBS volumes against moto's EC2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ark::api::VolumeProviderConfig;
use ark::providers::snapshotter::{
    Object, Restores, SnapshotError, SnapshotErrorKind as Kind, SnapshotId, SnapshotState, Volume,
    VolumeHandle, VolumeId, VolumeInfo, VolumeRequest, VolumeSnapshotter, tags,
};
use ark::providers::{Environment, registry};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::support::front::{Front, Trouble};
use crate::support::moto::{Moto, REGION, documented_policy};
use crate::support::proxy::{Behaviour, Proxy};
use crate::support::snapshotter_conformance::{
    Cloud, Tags, TestVolume, ask, backup_tags, handle, new_token, restore_tags,
    snapshotter_conformance, whole,
};

const ZONE: &str = "us-east-1b";

fn object(value: Value) -> Object {
    serde_json::from_value(value).unwrap()
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Returns an environment with a key, and nothing of this machine's.
fn keys(id: &str, secret: &str) -> Environment {
    environment(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)])
}

async fn open(
    url: &str,
    environment: &Environment,
) -> Result<Arc<dyn VolumeSnapshotter>, SnapshotError> {
    let config = VolumeProviderConfig {
        name: "aws".into(),
        config: [("region", REGION), ("ec2Url", url)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    registry::open_snapshotter(&config, environment).await
}

/// In which form objects name their volumes.
#[derive(Clone, Copy, Debug)]
enum Form {
    Csi,
    InTree,
    InTreeWithZone,
}

/// EBS, with volumes of many types.
#[derive(Debug)]
struct Ebs {
    moto: Moto,
    snapshotter: Arc<dyn VolumeSnapshotter>,
    form: Form,
    made: AtomicUsize,
}

impl Ebs {
    async fn new(form: Form, more: &[(&str, &str)]) -> Self {
        let moto = Moto::start().await.unwrap();
        let variables = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let environment = environment(&[&variables, more].concat());
        let snapshotter = open(&moto.endpoint(), &environment).await.unwrap();
        Self {
            moto,
            snapshotter,
            form,
            made: AtomicUsize::new(0),
        }
    }

    fn volume(&self, id: &str) -> TestVolume {
        let source = match self.form {
            Form::Csi => {
                json!({"csi": {"driver": "ebs.csi.aws.com", "volumeHandle": id, "fsType": "ext4"}})
            }
            Form::InTree => json!({"awsElasticBlockStore": {"volumeID": id}}),
            Form::InTreeWithZone => {
                json!({"awsElasticBlockStore": {"volumeID": format!("aws://{ZONE}/{id}")}})
            }
        };
        let mut volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": format!("pv-{id}")},
            "spec": source,
        });
        match self.form {
            Form::Csi => {
                volume["spec"]["nodeAffinity"] = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "topology.ebs.csi.aws.com/zone", "operator": "In", "values": [ZONE]},
                ]}]}});
            }
            Form::InTree => {
                volume["metadata"]["labels"] = json!({"topology.kubernetes.io/zone": ZONE});
            }
            Form::InTreeWithZone => {}
        }
        TestVolume {
            volume: object(volume),
            claim: None,
        }
    }
}

#[async_trait]
impl Cloud for Ebs {
    fn snapshotter(&self) -> &dyn VolumeSnapshotter {
        &*self.snapshotter
    }

    async fn make_volume(&self) -> TestVolume {
        let kinds: [&[(&str, &str)]; 5] = [
            &[
                ("VolumeType", "gp3"),
                ("Size", "8"),
                ("Iops", "4000"),
                ("Throughput", "250"),
            ],
            &[("VolumeType", "gp2"), ("Size", "4")],
            &[("VolumeType", "io1"), ("Size", "10"), ("Iops", "400")],
            &[("VolumeType", "io2"), ("Size", "10"), ("Iops", "500")],
            &[("VolumeType", "st1"), ("Size", "500")],
        ];
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let kind = kinds[number % kinds.len()];
        self.volume(&self.moto.create_volume(ZONE, kind).await.unwrap())
    }

    async fn remove_volume(&self, volume: &VolumeId) {
        self.moto.delete_volume(&volume.0).await.unwrap();
    }

    fn others(&self) -> Vec<(&'static str, Object)> {
        vec![
            (
                "a volume of EFS",
                object(
                    json!({"spec": {"csi": {"driver": "efs.csi.aws.com", "volumeHandle": "fs-1"}}}),
                ),
            ),
            (
                "a disk of Google's",
                object(json!({"spec": {"gcePersistentDisk": {"pdName": "vol-1"}}})),
            ),
            (
                "an in-tree volume without an id",
                object(json!({"spec": {"awsElasticBlockStore": {"volumeID": ""}}})),
            ),
        ]
    }

    fn absent_snapshot(&self) -> SnapshotId {
        SnapshotId("snap-0123456789abcdef0".into())
    }

    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags> {
        Some(self.moto.tags(&snapshot.0).await.unwrap())
    }

    async fn volume_tags(&self, volume: &VolumeId) -> Option<Tags> {
        Some(self.moto.tags(&volume.0).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ebs_keeps_every_promise() {
    for form in [Form::Csi, Form::InTree, Form::InTreeWithZone] {
        snapshotter_conformance(&Ebs::new(form, &[]).await).await;
    }
}

/// A snapshotter that reaches moto through a front.
async fn behind_front(ebs: &Ebs) -> (Front, Arc<dyn VolumeSnapshotter>) {
    let front = ebs.moto.front().await.unwrap();
    let snapshotter = open(&front.address(), &keys("a", "s")).await.unwrap();
    (front, snapshotter)
}

/// A snapshotter with another way to the same volumes.
#[derive(Debug)]
struct Through<'a> {
    ebs: &'a Ebs,
    snapshotter: &'a dyn VolumeSnapshotter,
}

#[async_trait]
impl Cloud for Through<'_> {
    fn snapshotter(&self) -> &dyn VolumeSnapshotter {
        self.snapshotter
    }

    async fn make_volume(&self) -> TestVolume {
        self.ebs.make_volume().await
    }

    async fn remove_volume(&self, volume: &VolumeId) {
        self.ebs.remove_volume(volume).await;
    }

    fn others(&self) -> Vec<(&'static str, Object)> {
        self.ebs.others()
    }

    fn absent_snapshot(&self) -> SnapshotId {
        self.ebs.absent_snapshot()
    }

    async fn snapshot_tags(&self, snapshot: &SnapshotId) -> Option<Tags> {
        self.ebs.snapshot_tags(snapshot).await
    }

    async fn volume_tags(&self, volume: &VolumeId) -> Option<Tags> {
        self.ebs.volume_tags(volume).await
    }
}

async fn make(
    snapshotter: &dyn VolumeSnapshotter,
    snapshot: &SnapshotId,
    zone: &str,
    token: &str,
) -> Result<VolumeId, SnapshotError> {
    let Restores::Volumes(maker) = snapshotter.restores() else {
        panic!("it restores into volumes");
    };
    let info = VolumeInfo {
        volume_type: "gp3".into(),
        zone: zone.into(),
        ..VolumeInfo::default()
    };
    let request = VolumeRequest {
        snapshot,
        info: &info,
        token,
        tags: &restore_tags(token),
    };
    maker.create_volume(&request).await
}

/// Checks an error; it is one line, without secrets.
fn refused<T: std::fmt::Debug>(result: Result<T, SnapshotError>, kind: Kind, says: &str) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind, kind, "{message}");
    assert!(message.contains(says), "{message:?} says {says:?}");
    assert!(!message.contains('\n'), "{message}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

fn refusal(status: u16, code: &str) -> Trouble {
    Trouble::Answer(
        status,
        format!(
            "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>Because of the test.</Message>\
             </Error></Errors><RequestID>r</RequestID></Response>"
        ),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_like_their_originals_and_belong_to_their_cluster() {
    let ebs = Ebs::new(Form::Csi, &[("AWS_CLUSTER_NAME", "new")]).await;
    let id = ebs
        .moto
        .create_volume(
            ZONE,
            &[
                ("VolumeType", "gp2"),
                ("Size", "3"),
                ("TagSpecification.1.ResourceType", "volume"),
                ("TagSpecification.1.Tag.1.Key", "team"),
                ("TagSpecification.1.Tag.1.Value", "a & b"),
                ("TagSpecification.1.Tag.2.Key", "kubernetes.io/cluster/old"),
                ("TagSpecification.1.Tag.2.Value", "owned"),
                ("TagSpecification.1.Tag.3.Key", tags::BACKUP),
                ("TagSpecification.1.Tag.3.Value", "an earlier one"),
            ],
        )
        .await
        .unwrap();
    let test = ebs.volume(&id);
    let token = new_token();
    let snapshot = ask(&ebs, &test, &token).await.unwrap();
    let found = ebs.moto.tags(&snapshot.0).await.unwrap();
    let mut expected = backup_tags(&token);
    expected.insert("team".into(), "a & b".into());
    expected.insert("kubernetes.io/cluster/old".into(), "owned".into());
    assert_eq!(found, expected);

    let token = new_token();
    let made = make(ebs.snapshotter(), &snapshot, "us-east-1c", &token)
        .await
        .unwrap();
    let found = ebs.moto.tags(&made.0).await.unwrap();
    for (key, value) in restore_tags(&token) {
        expected.insert(key, value);
    }
    expected.remove("kubernetes.io/cluster/old");
    expected.insert("kubernetes.io/cluster/new".into(), "owned".into());
    expected.insert("KubernetesCluster".into(), "new".into());
    assert_eq!(found, expected);
    let handle = VolumeHandle {
        id: made.clone(),
        zone: String::new(),
    };
    let info = ebs.snapshotter().info(&handle).await.unwrap();
    assert_eq!((info.volume_type.as_str(), info.iops), ("gp3", Some(3000)));
    assert_eq!(
        (info.zone.as_str(), info.size),
        ("us-east-1c", Some(3 << 30))
    );

    // The zone in an in-tree id is that of the volume it is about.
    let Restores::Volumes(maker) = ebs.snapshotter().restores() else {
        panic!("it restores into volumes");
    };
    let id = format!("aws://{ZONE}/{id}");
    let mut volume = object(json!({"spec": {"awsElasticBlockStore": {"volumeID": id}}}));
    maker.set_volume(&mut volume, &made).await.unwrap();
    let id = format!("aws://us-east-1c/{made}");
    assert_eq!(
        Value::Object(volume),
        json!({"spec": {"awsElasticBlockStore": {"volumeID": id}}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_gets_lost_makes_nothing_twice() {
    let ebs = Ebs::new(Form::Csi, &[]).await;
    let (front, snapshotter) = behind_front(&ebs).await;
    let through = Through {
        ebs: &ebs,
        snapshotter: &*snapshotter,
    };
    let test = ebs.make_volume().await;
    for trouble in [
        Trouble::Lose,
        refusal(500, "InternalError"),
        refusal(503, "RequestLimitExceeded"),
    ] {
        let token = new_token();
        front.trouble_of("Action=CreateSnapshot", trouble.clone(), 1);
        let asked = front.count("Action=CreateSnapshot");
        let snapshot = ask(&through, &test, &token).await.unwrap();
        let found = snapshotter.find_snapshots(&token).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&snapshot), "{trouble:?}");
        // What was done is found, what was not is asked for again.
        let times = front.count("Action=CreateSnapshot") - asked;
        assert_eq!(
            times,
            if matches!(trouble, Trouble::Lose) {
                1
            } else {
                2
            },
            "{trouble:?}"
        );

        front.trouble_of("Action=CreateVolume", trouble, 1);
        let token = new_token();
        let made = make(&*snapshotter, &snapshot, ZONE, &token).await.unwrap();
        let filter = [
            ("Filter.1.Name", "snapshot-id"),
            ("Filter.1.Value.1", snapshot.0.as_str()),
        ];
        let all = ebs.moto.ec2("DescribeVolumes", &filter).await.unwrap();
        assert_eq!(all.matches("<volumeId>").count(), 1, "{all}");
        assert!(all.contains(&made.0), "{made}: {all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ec2_is_given_time() {
    let ebs = Ebs::new(Form::Csi, &[]).await;
    let (front, snapshotter) = behind_front(&ebs).await;
    let through = Through {
        ebs: &ebs,
        snapshotter: &*snapshotter,
    };
    let test = ebs.make_volume().await;
    let volume = handle(&*snapshotter, test_volume(&test)).await;
    for (trouble, kind, says) in [
        (
            refusal(503, "RequestLimitExceeded"),
            Kind::Throttled,
            "RequestLimitExceeded: Because of the test; try again when fewer requests",
        ),
        (
            refusal(500, "InternalError"),
            Kind::Unreachable,
            "InternalError: Because of the test; try again later",
        ),
    ] {
        front.trouble_of("Action=", trouble.clone(), 2);
        snapshotter.info(&volume).await.expect("it has passed");
        front.trouble_of("Action=", trouble.clone(), usize::MAX);
        let asked = front.count("");
        refused(snapshotter.info(&volume).await, kind, says);
        assert!(front.count("") > asked + 3, "it was asked again");
        refused(ask(&through, &test, &new_token()).await, kind, says);
        front.recover();
    }
}

fn test_volume(test: &TestVolume) -> Volume<'_> {
    Volume {
        volume: &test.volume,
        claim: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ec2_refuses_is_told_in_one_sentence() {
    let ebs = Ebs::new(Form::Csi, &[]).await;
    let (front, snapshotter) = behind_front(&ebs).await;
    let through = Through {
        ebs: &ebs,
        snapshotter: &*snapshotter,
    };
    let test = ebs.make_volume().await;
    let id = handle(&*snapshotter, test_volume(&test)).await.id;
    let snapshot = ask(&through, &test, &new_token()).await.unwrap();
    whole(&*snapshotter, &snapshot).await;

    for (status, code, kind, advice) in [
        (
            400,
            "SnapshotLimitExceeded",
            Kind::Quota,
            "have the quota raised",
        ),
        (
            400,
            "ConcurrentSnapshotLimitExceeded",
            Kind::Quota,
            "wait until the snapshots",
        ),
        (
            400,
            "SnapshotCreationPerVolumeRateExceeded",
            Kind::Throttled,
            "quarter of a minute",
        ),
        (
            403,
            "UnauthorizedOperation",
            Kind::Denied,
            "let the credentials",
        ),
        (400, "RequestExpired", Kind::Denied, "get new credentials"),
        (400, "ExpiredToken", Kind::Denied, "get new credentials"),
        (400, "IncorrectState", Kind::Other, "Because of the test"),
    ] {
        front.trouble_of("Action=CreateSnapshot", refusal(status, code), usize::MAX);
        let result = ask(&through, &test, &new_token()).await;
        let start = format!("cannot snapshot volume {id}: {code}: Because of the test");
        refused(result, kind, advice);
        let result = ask(&through, &test, &new_token()).await;
        refused(result, kind, &start);
        front.recover();
    }
    for (status, code, kind, advice) in [
        (
            400,
            "VolumeLimitExceeded",
            Kind::Quota,
            "have the quota raised",
        ),
        (
            400,
            "InvalidZone.NotFound",
            Kind::Invalid,
            "name one of the region's zones",
        ),
        (400, "IncorrectState", Kind::NotReady, "Because of the test"),
        (
            400,
            "UnknownVolumeType",
            Kind::Invalid,
            "Because of the test",
        ),
    ] {
        front.trouble_of("Action=CreateVolume", refusal(status, code), usize::MAX);
        let result = make(&*snapshotter, &snapshot, "moon-1a", &new_token()).await;
        let start = format!(
            "cannot make a volume from snapshot {snapshot} in zone \"moon-1a\" of region us-east-1: {code}"
        );
        refused(result, kind, advice);
        let result = make(&*snapshotter, &snapshot, "moon-1a", &new_token()).await;
        refused(result, kind, &start);
        front.recover();
    }
    refused(
        make(&*snapshotter, &snapshot, "", &new_token()).await,
        Kind::Invalid,
        "no zone is known for it",
    );
    front.trouble_of("Action=", Trouble::Answer(200, "<html>Sign in".into()), 1);
    refused(
        snapshotter.check().await,
        Kind::Other,
        "its answer cannot be read",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_on_their_way_and_failed_ones() {
    let ebs = Ebs::new(Form::Csi, &[]).await;
    let (front, snapshotter) = behind_front(&ebs).await;
    let described = |state: &str| {
        Trouble::Answer(
            200,
            format!(
                "<DescribeSnapshotsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><snapshotSet><item>\
                 <snapshotId>snap-1</snapshotId><volumeSize>8</volumeSize>{state}</item></snapshotSet>\
                 </DescribeSnapshotsResponse>"
            ),
        )
    };
    let snapshot = SnapshotId("snap-1".into());
    for (state, expected, kind, says) in [
        (
            "<status>pending</status><progress>42%</progress>",
            SnapshotState::Pending(Some(42)),
            Kind::NotReady,
            "its data still travels",
        ),
        (
            "<status>error</status><statusMessage>Its key is gone</statusMessage>",
            SnapshotState::Failed("Its key is gone".into()),
            Kind::Other,
            "the snapshot has failed: Its key is gone",
        ),
    ] {
        front.trouble_of("Action=DescribeSnapshots", described(state), usize::MAX);
        let states = snapshotter
            .snapshot_states(std::slice::from_ref(&snapshot))
            .await;
        assert_eq!(states.unwrap(), [expected]);
        refused(
            make(&*snapshotter, &snapshot, ZONE, &new_token()).await,
            kind,
            says,
        );
        front.recover();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_checked() {
    let ebs = Ebs::new(Form::Csi, &[]).await;
    let policy = documented_policy("b").unwrap();
    let (id, secret) = ebs.moto.create_user("ark", &policy).await.unwrap();
    let less = policy.replace("\"ec2:CreateSnapshot\",", "");
    assert_ne!(less, policy);
    let (lesser, lesser_secret) = ebs.moto.create_user("lesser", &less).await.unwrap();
    let test = ebs.make_volume().await;
    ebs.moto.trust_nobody().await.unwrap();
    let url = ebs.moto.endpoint();

    // It computes the signature itself and compares; and what the page on AWS allows is enough for everything.
    let good = open(&url, &keys(&id, &secret)).await.unwrap();
    let through = Through {
        ebs: &ebs,
        snapshotter: &*good,
    };
    snapshotter_conformance(&through).await;
    let lesser = open(&url, &keys(&lesser, &lesser_secret)).await.unwrap();
    lesser.check().await.unwrap();
    let through = Through {
        ebs: &ebs,
        snapshotter: &*lesser,
    };
    let asked = ask(&through, &test, &new_token()).await;
    refused(asked, Kind::Denied, "let the credentials do what");

    for (environment, says) in [
        (keys(&id, "hunter2"), "check the access key and its secret"),
        (
            keys("AKIANOBODY", "hunter2"),
            "check the access key and its secret",
        ),
        (
            environment(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")]),
            "there are no AWS credentials",
        ),
    ] {
        let bad = open(&url, &environment).await.unwrap();
        assert!(!format!("{bad:?}").contains("hunter2"), "{bad:?}");
        refused(bad.check().await, Kind::Denied, says);
        let through = Through {
            ebs: &ebs,
            snapshotter: &*bad,
        };
        refused(ask(&through, &test, &new_token()).await, Kind::Denied, says);
    }
    let half = open(&url, &environment(&[("AWS_ACCESS_KEY_ID", "A")])).await;
    refused(half, Kind::Denied, "AWS_SECRET_ACCESS_KEY is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there() {
    crate::support::init();
    let good = keys("a", "s");
    for url in ["http://127.0.0.1:1", "http://no-such-host.invalid"] {
        let snapshotter = open(url, &good).await.unwrap();
        refused(
            snapshotter.check().await,
            Kind::Unreachable,
            "check config.region and config.ec2Url",
        );
    }
    // One that takes connections and says nothing.
    let moto = Moto::start().await.unwrap();
    let proxy = Proxy::to(moto.port()).await.unwrap();
    proxy.set(Behaviour::Swallow);
    let snapshotter = open(&proxy.http_url(), &good).await.unwrap();
    let checked = snapshotter.check().await;
    refused(checked, Kind::Unreachable, "it does not answer in time");
    // One that is, with a certificate of its own.
    let moto = Moto::start_with_tls().await.unwrap();
    let mut settings: BTreeMap<String, String> = [("region", REGION), ("ec2Url", &moto.endpoint())]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    for trusted in [false, true] {
        if trusted {
            let file = moto.certificate().display().to_string();
            settings.insert("caCert".into(), file);
        }
        let config = VolumeProviderConfig {
            name: "aws".into(),
            config: settings.clone(),
        };
        let snapshotter = registry::open_snapshotter(&config, &good).await.unwrap();
        let checked = snapshotter.check().await;
        if trusted {
            checked.unwrap();
        } else {
            refused(checked, Kind::Unreachable, "config.caCert");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_work() {
    for (settings, says) in [
        (&[][..], "config.region is not set"),
        (
            &[("region", "not a region")],
            "config.region: \"not a region\" cannot be a region",
        ),
        (
            &[("region", "r"), ("bucket", "b")],
            "config.bucket is not a setting of aws",
        ),
        (
            &[("region", "r"), ("caCert", "/nowhere")],
            "config.caCert: /nowhere: ",
        ),
    ] {
        let config = VolumeProviderConfig {
            name: "aws".into(),
            config: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let opened = registry::open_snapshotter(&config, &keys("a", "s")).await;
        refused(opened, Kind::Invalid, says);
    }
}
