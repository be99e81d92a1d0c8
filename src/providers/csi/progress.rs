//! How far the controllers have come with a snapshot, and whether it is worth waiting on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::objects::{BEING_CREATED, Content, Handle, Snapshot, Trouble};
use crate::api::duration::format;
use crate::providers::snapshotter::SnapshotErrorKind;

/// The shortest and the longest pause between two looks.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];

/// How long is waited for what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Timing {
    /// For a snapshot to begin, and for one to be ready.
    pub(super) snapshot: Duration,
    /// For a failure to pass: the driver is asked again after one, two, four seconds and so on.
    pub(super) failure: Duration,
    /// For a controller to take notice of an object. Unless told otherwise they send five requests a second, and a
    /// hundred snapshots at once keep them busy for a minute and a half.
    pub(super) notice: Duration,
    /// For objects to go.
    pub(super) removal: Duration,
    /// For a content to fare better before its csi-snapshotter is reminded of it: [`Reminders`].
    reminder: Duration,
}

impl Timing {
    pub(super) fn new(snapshot: Duration) -> Self {
        let at_most = |seconds: u64| snapshot.min(Duration::from_secs(seconds));
        Self {
            snapshot,
            failure: at_most(30),
            notice: at_most(120),
            removal: at_most(120),
            reminder: (snapshot / 4).min(Duration::from_secs(30)),
        }
    }
}

/// What is seen of a snapshot at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sight {
    /// What is waited for has come about.
    done: bool,
    /// It can no longer come about.
    gone: bool,
    /// What a controller says went wrong.
    failure: Option<String>,
    /// The driver has been asked and has not said no: what went wrong may have been the answer's way.
    asked: bool,
    /// The controller that is named has yet to take notice.
    unnoticed_by: Option<String>,
}

/// What to do about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It has come about.
    Done,
    /// It may yet.
    Wait,
    /// It will not; what kind of failure that is, and why.
    GiveUp(SnapshotErrorKind, String),
}

/// Looks whether a snapshot has begun: the driver has given it a handle.
pub(super) fn begun(snapshot: Option<&Snapshot>, content: Option<&Content>) -> Sight {
    let deleting = |metadata: &kube::core::ObjectMeta| metadata.deletion_timestamp.is_some();
    let Some(content) = content else {
        let status = snapshot.and_then(|snapshot| snapshot.status.as_ref());
        return Sight {
            gone: snapshot.is_none_or(|snapshot| deleting(&snapshot.metadata)),
            failure: status
                .and_then(|status| status.error.as_ref())
                .map(Trouble::text),
            unnoticed_by: status.is_none().then(|| "snapshot-controller".to_owned()),
            ..Sight::default()
        };
    };
    // With the policy Retain, what is deleted is the object.
    let ends = content.spec.deletion_policy == "Delete"
        && (deleting(&content.metadata)
            || snapshot.is_some_and(|snapshot| deleting(&snapshot.metadata)));
    Sight {
        done: Handle::of(content).is_some(),
        gone: ends,
        ..driver_asked(content)
    }
}

/// Looks whether a snapshot can be the source of a claim's data.
pub(super) fn ready(snapshot: Option<&Snapshot>, content: Option<&Content>) -> Sight {
    let status = snapshot.and_then(|snapshot| snapshot.status.as_ref());
    let said = status.and_then(|status| status.error.as_ref());
    let mut sight = content.map(driver_asked).unwrap_or_default();
    if status.is_none() && sight.unnoticed_by.is_none() {
        sight.unnoticed_by = Some("snapshot-controller".to_owned());
    }
    Sight {
        done: status.and_then(|status| status.ready_to_use) == Some(true),
        gone: snapshot.is_none() || content.is_none(),
        // The driver's words, before snapshot-controller's on what it waits for.
        failure: sight.failure.or(said.map(Trouble::text)),
        ..sight
    }
}

/// What a driver says of a snapshot that it is asked about time and again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Word {
    /// Nothing is wrong.
    None,
    /// Something is wrong; it is being asked again at this moment, or has not said no.
    Wrong,
    /// It refuses; why.
    Refusal(String),
}

/// Returns what a content's driver said last.
pub(super) fn last_word(content: &Content) -> Word {
    let sight = driver_asked(content);
    match sight.failure {
        None => Word::None,
        Some(_) if sight.asked => Word::Wrong,
        Some(failure) => Word::Refusal(failure),
    }
}

/// Looks how a driver fares that is asked about a content.
fn driver_asked(content: &Content) -> Sight {
    let status = content.status.as_ref();
    let failure = status.and_then(|status| status.error.as_ref());
    let asked = content
        .metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(BEING_CREATED));
    let driver = &content.spec.driver;
    Sight {
        failure: failure.map(Trouble::text),
        asked,
        unnoticed_by: (status.is_none() && !asked)
            .then(|| format!("csi-snapshotter of driver {driver}")),
        ..Sight::default()
    }
}

/// What csi-snapshotter says of a content whose snapshot its driver does not know. There is no field for it.
const MISSING: &str = "can not find snapshot";

/// Decides about what is seen after `waited`, and something having been wrong for `failing`.
fn judge(sight: &Sight, waited: Duration, failing: Duration, timing: &Timing) -> Verdict {
    let give_up = |kind, why: String| Verdict::GiveUp(kind, why);
    if sight.gone {
        return give_up(
            SnapshotErrorKind::Other,
            "it was deleted meanwhile".to_owned(),
        );
    }
    if sight.done {
        return Verdict::Done;
    }
    match &sight.failure {
        Some(failure) if failure.contains(MISSING) => {
            return give_up(SnapshotErrorKind::NotFound, failure.clone());
        }
        Some(failure) if !sight.asked && failing >= timing.failure => {
            return give_up(SnapshotErrorKind::Other, failure.clone());
        }
        Some(_) | None => {}
    }
    if let Some(controller) = &sight.unnoticed_by
        && waited >= timing.notice
    {
        let within = format(timing.notice);
        let why = format!("{controller} has taken no notice of it within {within}; does it run?");
        return give_up(SnapshotErrorKind::Unreachable, why);
    }
    if waited < timing.snapshot {
        return Verdict::Wait;
    }
    let limit = format(timing.snapshot);
    match &sight.failure {
        None => give_up(
            SnapshotErrorKind::NotReady,
            format!("it takes longer than {limit}"),
        ),
        Some(failure) => give_up(
            SnapshotErrorKind::Other,
            format!("it takes longer than {limit}: {failure}"),
        ),
    }
}

/// When a csi-snapshotter is reminded of contents that it seems to have forgotten.
///
/// It asks the driver again after a pause, but not if it is shown the content as it was before its own last write: it
/// expects to be shown the newer one, and passes over that because only its own fields have changed (external-snapshotter
/// 8.4 to 8.7, `syncContentByKey` and `ShouldEnqueueContentChange`). Where the API server is slow, a content then stays
/// as it is for a quarter of an hour, until all are looked at in turn. Any other change has it looked at now.
#[derive(Debug, Default)]
pub(super) struct Reminders(HashMap<String, Instant>);

impl Reminders {
    /// Returns whether it is time to remind of a content that is still not as it should be.
    pub(super) fn is_due(&mut self, content: &str, timing: &Timing, now: Instant) -> bool {
        let Some(since) = self.0.get_mut(content) else {
            self.0.insert(content.to_owned(), now);
            return false;
        };
        let is_due = now.duration_since(*since) >= timing.reminder;
        if is_due {
            *since = now;
        }
        is_due
    }
}

/// One wait: how long it has taken, and since when something has been wrong.
#[derive(Debug)]
pub(super) struct Waiting {
    timing: Timing,
    began: Instant,
    failing: Option<Instant>,
}

impl Waiting {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            began: Instant::now(),
            failing: None,
        }
    }

    /// Decides about what is seen now.
    pub(super) fn look(&mut self, sight: &Sight) -> Verdict {
        let failing = match (&sight.failure, self.failing) {
            (None, _) => None,
            (Some(_), Some(since)) => Some(since),
            (Some(_), None) => Some(Instant::now()),
        };
        self.failing = failing;
        let failing = failing.map_or(Duration::ZERO, |since| since.elapsed());
        judge(sight, self.began.elapsed(), failing, &self.timing)
    }

    /// Returns whether objects have had their time to go.
    pub(super) fn has_removed(&self) -> bool {
        self.began.elapsed() >= self.timing.removal
    }

    /// Returns whether controllers have had their time to take notice.
    pub(super) fn is_unnoticed(&self) -> bool {
        self.began.elapsed() >= self.timing.notice
    }

    /// Waits before the next look: the longer the longer it has taken.
    pub(super) async fn pause(&self) {
        let [shortest, longest] = PAUSES;
        tokio::time::sleep((self.began.elapsed() / 8).clamp(shortest, longest)).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(status: &Value) -> Snapshot {
        serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).unwrap()
    }

    fn content(policy: &str, annotation: &str, status: &Value) -> Content {
        let object = json!({
            "metadata": {"annotations": {annotation: "yes"}},
            "spec": {"driver": "d", "deletionPolicy": policy, "volumeSnapshotRef": {}},
            "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn contents_are_reminded_of_each_in_its_time() {
        let timing = Timing::new(Duration::from_mins(10));
        let mut reminders = Reminders::default();
        let start = Instant::now();
        for (second, content, expected) in [
            (0, "a", false),
            (10, "b", false),
            (29, "a", false),
            (30, "a", true),
            (31, "a", false),
            (40, "b", true),
            (60, "a", true),
        ] {
            let now = start + Duration::from_secs(second);
            let is_due = reminders.is_due(content, &timing, now);
            assert_eq!(is_due, expected, "{second} {content}");
        }
    }

    /// Returns the verdict after some seconds, and something having been wrong for some.
    fn after(sight: &Sight, waited: u64, failing: u64) -> Verdict {
        let timing = Timing::new(Duration::from_mins(10));
        let (waited, failing) = (Duration::from_secs(waited), Duration::from_secs(failing));
        judge(sight, waited, failing, &timing)
    }

    fn gives_up(verdict: Verdict, expected: SnapshotErrorKind, part: &str) {
        match verdict {
            Verdict::GiveUp(kind, why) => {
                assert_eq!(kind, expected, "{why}");
                assert!(why.contains(part), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_snapshot_has_begun_with_its_handle() {
        let none = &Value::Null;
        let bound = snapshot(&json!({"boundVolumeSnapshotContentName": "c"}));
        let begun = |one: &Content| begun(Some(&bound), Some(one));
        let with_handle = content(
            "Delete",
            "x",
            &json!({"snapshotHandle": "h", "readyToUse": false}),
        );
        assert_eq!(after(&begun(&with_handle), 0, 0), Verdict::Done);
        // Asked, and no word from the driver: until the end of time.
        let asked = begun(&content("Delete", BEING_CREATED, none));
        assert_eq!(after(&asked, 599, 0), Verdict::Wait);
        gives_up(
            after(&asked, 600, 0),
            SnapshotErrorKind::NotReady,
            "longer than 10m0s",
        );
        // Nobody asked.
        let ignored = begun(&content("Delete", "x", none));
        assert_eq!(after(&ignored, 119, 0), Verdict::Wait);
        gives_up(
            after(&ignored, 120, 0),
            SnapshotErrorKind::Unreachable,
            "csi-snapshotter of driver d",
        );
        // The driver's answer: a no that may pass, and one that may not have been the driver's.
        let no = json!({"error": {"message": "on\nfire"}, "readyToUse": false});
        let failed = begun(&content("Delete", "x", &no));
        assert_eq!(after(&failed, 500, 29), Verdict::Wait);
        gives_up(after(&failed, 31, 30), SnapshotErrorKind::Other, "on fire");
        let unclear = begun(&content("Delete", BEING_CREATED, &no));
        assert_eq!(after(&unclear, 599, 599), Verdict::Wait);
        gives_up(
            after(&unclear, 600, 600),
            SnapshotErrorKind::Other,
            "10m0s: on fire",
        );
    }

    #[test]
    fn before_there_is_a_content_it_is_snapshot_controllers_turn() {
        let unnoticed = begun(Some(&snapshot(&Value::Null)), None);
        assert_eq!(after(&unnoticed, 119, 0), Verdict::Wait);
        gives_up(
            after(&unnoticed, 120, 0),
            SnapshotErrorKind::Unreachable,
            "snapshot-controller",
        );
        let failed = begun(
            Some(&snapshot(&json!({"error": {"message": "no class"}}))),
            None,
        );
        assert_eq!(after(&failed, 29, 29), Verdict::Wait);
        gives_up(after(&failed, 30, 30), SnapshotErrorKind::Other, "no class");
        gives_up(
            after(&begun(None, None), 0, 0),
            SnapshotErrorKind::Other,
            "deleted",
        );
    }

    #[test]
    fn what_is_deleted_is_lost_unless_it_is_retained() {
        let status = json!({"snapshotHandle": "h"});
        let now = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            jiff::Timestamp::UNIX_EPOCH,
        ));
        for (policy, lost) in [("Delete", true), ("Retain", false)] {
            let mut gone = content(policy, "x", &status);
            gone.metadata.deletion_timestamp.clone_from(&now);
            let mut going = snapshot(&Value::Null);
            going.metadata.deletion_timestamp.clone_from(&now);
            let there = content(policy, "x", &status);
            for sight in [begun(None, Some(&gone)), begun(Some(&going), Some(&there))] {
                match after(&sight, 0, 0) {
                    Verdict::Done => assert!(!lost, "{policy}"),
                    verdict => gives_up(verdict, SnapshotErrorKind::Other, "deleted"),
                }
            }
            // Without the VolumeSnapshot it goes on.
            assert_eq!(after(&begun(None, Some(&there)), 0, 0), Verdict::Done);
        }
    }

    #[test]
    fn a_source_is_ready_when_snapshot_controller_says_so() {
        let one = content(
            "Retain",
            "x",
            &json!({"snapshotHandle": "h", "readyToUse": true}),
        );
        let bound = snapshot(&json!({"readyToUse": true}));
        assert_eq!(after(&ready(Some(&bound), Some(&one)), 0, 0), Verdict::Done);
        let not_yet = ready(Some(&snapshot(&json!({"readyToUse": false}))), Some(&one));
        assert_eq!(after(&not_yet, 599, 0), Verdict::Wait);
        gives_up(
            after(&not_yet, 600, 0),
            SnapshotErrorKind::NotReady,
            "longer",
        );
        let missing =
            json!({"error": {"message": "Failed: can not find snapshot for snapshotID h"}});
        let missing = ready(
            Some(&snapshot(&Value::Null)),
            Some(&content("Retain", "x", &missing)),
        );
        gives_up(
            after(&missing, 0, 0),
            SnapshotErrorKind::NotFound,
            "can not find",
        );
        gives_up(
            after(&ready(None, Some(&one)), 0, 0),
            SnapshotErrorKind::Other,
            "deleted",
        );
    }
}
