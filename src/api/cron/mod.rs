//! When a schedule fires: cron expressions as Ark has always read them, over the `cron` crate.
//!
//! Accepted is an expression of five fields (minute, hour, day of month, month, day of week), a descriptor
//! (`@daily`, `@every 6h`), and before either of them a time zone (`CRON_TZ=Europe/Berlin `, or `TZ=` for short).
//! Without one the zone is UTC, wherever the server or the command line runs. The crate reads some expressions
//! differently (its Monday is 2, and days of the month and of the week must agree), so it is only given plain numbers in
//! lists; what the fields mean is decided in `fields`.
//!
//! A zone's clock decides, as in robfig's cron, which Ark and Kubernetes use: what is set for a time that the clock
//! jumps over is left out that day, and what is set for a time that the clock shows twice fires both times. Whoever
//! needs exactly one backup every night leaves the zone out, or names an hour at which no clock is changed.
//!
//! Known are the years 1970 to 2100, the last one without daylight saving time. The crates that count in `chrono` do
//! not show outside this module.

mod fields;
#[cfg(test)]
mod tests;

use ::cron::Schedule;
use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use jiff::Timestamp;

use super::duration;

/// Seconds in a day. No zone changes its clock and changes it back within one.
const DAY: i64 = 86_400;
/// Before the first year that the crate knows, in every zone: 1969-12-30. It finds nothing from years below zero.
const BEGINNING: i64 = -2 * DAY;

/// A schedule that has been read and can fire.
#[derive(Clone, Debug)]
pub struct Cron(Rule);

#[derive(Clone, Debug)]
enum Rule {
    /// So many seconds after the last time.
    Every(i64),
    /// Whenever the zone's clock shows a time that one of these names.
    Clock { zone: Tz, times: Vec<Schedule> },
}

impl Cron {
    /// Reads a cron expression or a descriptor, with or without a time zone before it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (zone, text) = split_zone(text.trim())?;
        if text.is_empty() {
            return Err(
                "the schedule is empty; write five fields such as \"0 3 * * *\", or a descriptor such as @daily"
                    .to_owned(),
            );
        }
        let expression = match text.split_whitespace().next().unwrap_or_default() {
            "@every" => return every(text).map(|seconds| Self(Rule::Every(seconds))),
            _ if text.starts_with('@') => descriptor(text)?,
            _ => text,
        };
        let times = fields::read(expression)?;
        if first_after(&times, BEGINNING).is_none() {
            return Err(format!(
                "{expression:?} never fires, for none of its months has such a day; write days that the months have"
            ));
        }
        Ok(Self(Rule::Clock { zone, times }))
    }

    /// Returns the first time strictly after `after`; `None` if it never fires again.
    ///
    /// For `@every` that is one interval after `after` without its fraction of a second.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = whole_seconds(after);
        let next = match &self.0 {
            Rule::Every(seconds) => after.checked_add(*seconds)?,
            Rule::Clock { zone, times } => next_by_clock(*zone, times, after)?,
        };
        Timestamp::from_second(next).ok()
    }

    /// Returns the last time after `after` and not after `now`; `None` if it did not fire in between.
    ///
    /// The times in between are not counted out, so a year of missed minutes costs no more than a year of missed days.
    pub fn latest(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let until = whole_seconds(now);
        let mut found = whole_seconds(self.next(after)?);
        if found > until {
            return None;
        }
        let latest = match &self.0 {
            Rule::Every(seconds) => found + (until - found) / seconds * seconds,
            Rule::Clock { zone, times } => {
                // It fires at `found`, and not between `quiet` and `until`.
                let mut quiet = until;
                while found < quiet {
                    let middle = found + (quiet - found) / 2;
                    match next_by_clock(*zone, times, middle) {
                        Some(next) if next <= quiet => found = next,
                        _ => quiet = middle,
                    }
                }
                found
            }
        };
        Timestamp::from_second(latest).ok()
    }
}

/// Takes the time zone off the front; it is UTC if none stands there.
fn split_zone(text: &str) -> Result<(Tz, &str), String> {
    let Some(named) = ["CRON_TZ=", "TZ="]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
    else {
        return Ok((Tz::UTC, text));
    };
    let Some((name, rest)) = named.split_once(char::is_whitespace) else {
        return Err(format!(
            "{text:?} names a time zone and no schedule; write the schedule after it, such as \"TZ=UTC 0 3 * * *\""
        ));
    };
    let zone = name.parse().map_err(|_| {
        format!(
            "no time zone is called {name:?}; write a name from the tz database, such as Europe/Berlin or UTC"
        )
    })?;
    Ok((zone, rest.trim_start()))
}

/// Returns the expression that a descriptor stands for.
fn descriptor(text: &str) -> Result<&'static str, String> {
    match text {
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        "@monthly" => Ok("0 0 1 * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@hourly" => Ok("0 * * * *"),
        _ => Err(format!(
            "{text:?} is no descriptor; write @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, \
             or @every with a duration"
        )),
    }
}

/// Returns the seconds between two times of an `@every`.
fn every(text: &str) -> Result<i64, String> {
    let length = text.trim_start_matches("@every").trim_start();
    if length.is_empty() {
        return Err("@every needs a duration; write one behind it, such as @every 6h".to_owned());
    }
    let too_short =
        || format!("{length:?} is no interval for @every; write whole seconds, at least 1s");
    if length.starts_with('-') {
        return Err(too_short());
    }
    let interval = duration::parse(length)?;
    if interval.is_zero() || interval.subsec_nanos() != 0 {
        return Err(too_short());
    }
    i64::try_from(interval.as_secs()).map_err(|_| too_short())
}

/// Returns the time in whole seconds since 1970, rounded down.
fn whole_seconds(time: Timestamp) -> i64 {
    time.as_second() - i64::from(time.subsec_nanosecond() < 0)
}

/// Returns the first time after `after` at which the zone's clock shows one of `times`.
///
/// Between two changes of the clock its times follow each other evenly, so each such stretch is searched by itself:
/// that leaves out what a change jumps over, and finds twice what it repeats.
fn next_by_clock(zone: Tz, times: &[Schedule], after: i64) -> Option<i64> {
    let mut from = after.max(BEGINNING);
    let mut offset = offset_at(zone, from);
    let mut shown = from + offset;
    loop {
        let next = first_after(times, shown)? - offset;
        let Some(change) = first_change(zone, offset, from, next) else {
            return Some(next);
        };
        from = change;
        offset = offset_at(zone, from);
        // The first second after the change may itself be one of the times.
        shown = from + offset - 1;
    }
}

/// Returns the first second after `from`, up to `to`, at which the zone's offset is no longer `offset`.
fn first_change(zone: Tz, offset: i64, from: i64, to: i64) -> Option<i64> {
    let mut same = from;
    while same < to {
        let mut changed = to.min(same + DAY);
        if offset_at(zone, changed) == offset {
            same = changed;
            continue;
        }
        while changed - same > 1 {
            let middle = same + (changed - same) / 2;
            if offset_at(zone, middle) == offset {
                same = middle;
            } else {
                changed = middle;
            }
        }
        return Some(changed);
    }
    None
}

/// Returns how many seconds the zone's clock is ahead of UTC at a time.
fn offset_at(zone: Tz, time: i64) -> i64 {
    // Every time that a `Timestamp` holds is known to chrono.
    DateTime::from_timestamp(time, 0).map_or(0, |utc| {
        let offset = zone.offset_from_utc_datetime(&utc.naive_utc()).fix();
        i64::from(offset.local_minus_utc())
    })
}

/// Returns the first of `times` that a clock shows after `shown`; both are written as if the clock were in UTC.
fn first_after(times: &[Schedule], shown: i64) -> Option<i64> {
    let shown: DateTime<Utc> = DateTime::from_timestamp(shown, 0)?;
    let first = times
        .iter()
        .filter_map(|schedule| schedule.after(&shown).next())
        .min()?;
    Some(first.timestamp())
}
