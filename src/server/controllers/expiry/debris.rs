//! Clears away what dead runs left in the locations: parts and markers that no record names and nobody will finish.
//!
//! Whether a run is dead can only be told for sure where its Backup is. A run that nobody here knows may be another
//! cluster's, or that of an Ark in another namespace, and go on: it is given more time than any run takes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::api::error::chain;
use crate::api::{Backup, BackupPhase};
use crate::server::engines::Leftover;
use crate::server::leader::{Standing, Term};
use crate::server::objects::parse;
use crate::server::settings::Place;

/// How often each location is looked into.
const PERIOD: Duration = Duration::from_hours(1);
/// How long what a run left stays whose Backup has ended.
const GRACE: Duration = Duration::from_hours(24);
/// The same for a run that nobody here knows.
const LONG_GRACE: Duration = Duration::from_hours(7 * 24);

/// Clears away until the term is over or `stopping` is cancelled.
pub(crate) async fn run(
    context: Arc<Context>,
    term: Term,
    stopping: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = clear(&context, &term) => match ended? {},
        () = term.lost().cancelled() => Ok(()),
        () = stopping.cancelled() => Ok(()),
    }
}

async fn clear(context: &Context, term: &Term) -> anyhow::Result<Infallible> {
    let mut world = context.world.clone();
    let mut next: BTreeMap<String, Timestamp> = BTreeMap::new();
    loop {
        let known = world.borrow_and_update().clone();
        let places = if known.restore_only() {
            Vec::new()
        } else {
            known.places()
        };
        for place in places.iter().filter(|place| place.is_writable()) {
            let now = context.clock.now();
            if next.get(&place.name).is_some_and(|next| *next > now) {
                continue;
            }
            if let Err(error) = clear_place(context, place, term).await {
                let location = &place.name;
                tracing::warn!(location, error, "cannot look for what dead runs left");
            }
            let soon = now.saturating_add(PERIOD).unwrap_or(Timestamp::MAX);
            next.insert(place.name.clone(), soon);
        }
        next.retain(|name, _| places.iter().any(|place| place.name == *name));
        let wakes = next.values().min().copied();
        tokio::select! {
            changed = world.changed() => changed?,
            () = context.clock.sleep_until(wakes.unwrap_or(Timestamp::MAX)), if wakes.is_some() => {}
        }
    }
}

async fn clear_place(context: &Context, place: &Place, term: &Term) -> Result<(), String> {
    for left in place.location.leftovers().await? {
        let state = state(context, &left).await?;
        if !is_debris(&left, &state, context.clock.now()) {
            continue;
        }
        if term.confirm().await != Standing::Held {
            return Err("this server cannot be sure that it leads".to_owned());
        }
        if let Err(error) = place.location.remove_leftover(&left).await {
            // What is removed by somebody else meanwhile is seen next time.
            tracing::warn!(
                backup = left.backup,
                error,
                "cannot remove what a dead run left"
            );
        }
    }
    Ok(())
}

/// Asks the API server what has become of the Backup whose run left something.
async fn state(context: &Context, left: &Leftover) -> Result<State, String> {
    let found = context.apis.backups.get_opt(&left.backup).await;
    let Some(object) = found.map_err(|error| chain(&error))? else {
        return Ok(State::Unknown);
    };
    match parse::<Backup>(&object) {
        Ok(backup) => Ok(state_of(&backup, &left.marker.backup_uid)),
        // It may be anybody's.
        Err(_) => Ok(State::Known(BackupPhase::New)),
    }
}

/// What is known of the Backup whose run it was.
#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    /// There is none here.
    Unknown,
    /// It is here, and has come so far.
    Known(BackupPhase),
}

fn state_of(backup: &Backup, uid: &str) -> State {
    if backup.is_known_as(uid) {
        State::Known(backup.status.clone().unwrap_or_default().phase)
    } else {
        State::Unknown
    }
}

/// Returns whether what a run left can go.
fn is_debris(left: &Leftover, state: &State, now: Timestamp) -> bool {
    let grace = match state {
        State::Unknown => LONG_GRACE,
        State::Known(phase) => match phase {
            BackupPhase::Failed | BackupPhase::FailedValidation => GRACE,
            // Another run made it. If its record is missing, somebody has to find out why before anything is removed.
            BackupPhase::Completed | BackupPhase::PartiallyFailed if left.beside_backup => GRACE,
            BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::New
            | BackupPhase::InProgress
            | BackupPhase::WaitingForPluginOperations
            | BackupPhase::Deleting
            | BackupPhase::Other(_) => return false,
        },
    };
    // A marker of which nobody knows how old it is stays.
    let start = left.marker.start_timestamp.parse::<Timestamp>().ok();
    let end = start.and_then(|start| start.checked_add(grace).ok());
    end.is_some_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BackupSpec, BackupStatus, labels};

    #[test]
    fn only_what_nobody_will_finish_is_debris() {
        use BackupPhase::{
            Completed, Deleting, Failed, FailedValidation, InProgress, New, PartiallyFailed,
        };
        let mut left = Leftover {
            backup: "b".into(),
            beside_backup: false,
            marker: crate::storage::RunMarker {
                start_timestamp: "2026-01-01T00:00:00Z".into(),
                ..crate::storage::RunMarker::default()
            },
        };
        let (day, week) = ("2026-01-02T00:00:00Z", "2026-01-08T00:00:00Z");
        for (state, beside_backup, since) in [
            (State::Unknown, false, Some(week)),
            (State::Unknown, true, Some(week)),
            (State::Known(New), false, None),
            (State::Known(InProgress), false, None),
            (State::Known(InProgress), true, None),
            (
                State::Known(BackupPhase::WaitingForPluginOperations),
                true,
                None,
            ),
            (State::Known(Deleting), false, None),
            (State::Known(Failed), false, Some(day)),
            (State::Known(FailedValidation), true, Some(day)),
            (State::Known(Completed), true, Some(day)),
            (State::Known(PartiallyFailed), true, Some(day)),
            (State::Known(Completed), false, None),
            (State::Known(BackupPhase::Other("Odd".into())), true, None),
        ] {
            left.beside_backup = beside_backup;
            let is = |now: Timestamp| is_debris(&left, &state, now);
            let much_later: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
            assert_eq!(is(much_later), since.is_some(), "{state:?} {beside_backup}");
            if let Some(since) = since {
                let since: Timestamp = since.parse().unwrap();
                assert!(is(since), "{state:?} {since}");
                assert!(!is(since - Duration::from_secs(1)), "{state:?} {since}");
            }
        }
        left.marker.start_timestamp = "long ago".into();
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        assert!(!is_debris(&left, &State::Unknown, now));
    }

    #[test]
    fn a_run_is_known_by_its_backups_uid() {
        let mut backup = Backup::new("b", BackupSpec::default());
        backup.metadata.uid = Some("here".into());
        backup.status = Some(BackupStatus {
            phase: BackupPhase::Completed,
            ..BackupStatus::default()
        });
        let known = State::Known(BackupPhase::Completed);
        assert_eq!(state_of(&backup, "here"), known);
        assert_eq!(state_of(&backup, "there"), State::Unknown);
        let origin = (labels::ORIGIN_UID.to_owned(), "there".to_owned());
        backup.metadata.annotations = Some([origin].into());
        assert_eq!(state_of(&backup, "there"), known);
    }
}
