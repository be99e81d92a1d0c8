//! What is accepted, when it fires, and what is refused with which sentence.
//!
//! The expected times come from calendars and the zones' published changes, not from this code. They are also those
//! of robfig's cron v3, except where it errs: a clock that changes by half an hour or at midnight.

use super::*;

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// Returns the cells of a table's rows; lines that begin with `#` are remarks.
fn rows<'a>(table: &'a str, separator: &str) -> Vec<Vec<&'a str>> {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
        .map(|line| line.split(separator).map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty());
    rows
}

/// Checks rows of an expression, a time, and the times at which the expression fires after that one after the other.
fn check(table: &str) {
    for row in rows(table, " | ") {
        let [expression, after, expected] = row[..] else {
            panic!("{row:?} has no three cells");
        };
        let cron = Cron::parse(&format!(" {expression}\t")).unwrap();
        let mut time = at(after);
        for expected in expected.split_whitespace() {
            let next = cron.next(time);
            assert_eq!(next, Some(at(expected)), "{expression:?} after {time}");
            time = at(expected);
        }
        assert!(time > at(after), "{row:?} expects nothing");
    }
}

#[test]
fn fields_name_times_in_utc() {
    check(
        "
        # Strictly after, to the nanosecond.
        0 3 * * *   | 2026-11-21T02:59:59.999999999Z | 2026-11-21T03:00Z 2026-11-22T03:00Z
        0 3 * * *   | 2026-11-21T03:00:00Z           | 2026-11-22T03:00Z
        0 3 * * *   | 2026-11-21T03:00:00.000000001Z | 2026-11-22T03:00Z
        0  3 * \t * * | 2026-11-21T12:00Z | 2026-11-22T03:00Z
        ? 3 ? ? ?     | 2026-11-21T03:58Z | 2026-11-21T03:59Z 2026-11-22T03:00Z

        # Lists, ranges and steps; a number with a step goes on to the last one.
        0-30/10,45 8,20 * * * | 2026-11-21T08:15Z | 2026-11-21T08:20Z 2026-11-21T08:30Z 2026-11-21T08:45Z 2026-11-21T20:00Z
        5/20 * * * * | 2026-11-21T10:30Z | 2026-11-21T10:45Z 2026-11-21T11:05Z 2026-11-21T11:25Z
        0 22/1 * * * | 2026-11-21T21:00Z | 2026-11-21T22:00Z 2026-11-21T23:00Z 2026-11-22T22:00Z
        # A step beyond the last number leaves the first.
        */90 * * * * | 2026-11-21T10:30Z | 2026-11-21T11:00Z 2026-11-21T12:00Z
        10/90 5 * * * | 2026-11-21T10:30Z | 2026-11-22T05:10Z 2026-11-23T05:10Z

        # Names, in any case.
        0 6 * JAN-mar Mon-FRI | 2026-03-30T12:00Z | 2026-03-31T06:00Z 2027-01-01T06:00Z 2027-01-04T06:00Z
        0 0 1 feb,Aug * | 2026-01-01T00:00Z | 2026-02-01T00:00Z 2026-08-01T00:00Z
        ",
    );
}

#[test]
fn weekdays_count_from_sunday_which_is_7_too() {
    // 2026-11-21 is a Saturday.
    let saturday = at("2026-11-21T12:00Z");
    for (weekdays, expected) in [
        ("0", [22, 29].as_slice()),
        ("7", &[22, 29]),
        ("SUN", &[22, 29]),
        ("0,7", &[22, 29]),
        ("7-7", &[22, 29]),
        ("1", &[23, 30]),
        ("6", &[28]),
        ("1-5", &[23, 24, 25, 26, 27, 30]),
        ("5-7", &[22, 27, 28, 29]),
        ("fri-7", &[22, 27, 28, 29]),
        ("7-2", &[22, 23, 24, 29, 30]),
        ("0-7", &[22, 23, 24, 25, 26, 27, 28, 29, 30]),
        ("1-7/2", &[22, 23, 25, 27, 29, 30]),
        // What goes on to the last day ends on Saturday.
        ("5/1", &[27, 28]),
        ("*/6", &[22, 28, 29]),
        ("7/3", &[22, 25, 28, 29]),
    ] {
        let cron = Cron::parse(&format!("0 3 * * {weekdays}")).unwrap();
        let mut time = saturday;
        for day in expected {
            let next = cron.next(time).unwrap();
            let day = at(&format!("2026-11-{day}T03:00Z"));
            assert_eq!(next, day, "{weekdays:?} after {time}");
            time = next;
        }
    }
}

#[test]
fn either_day_will_do_unless_one_is_any() {
    check(
        "
        # The 13th or a Friday; 2026-11-13 is both, 2026-12-13 a Sunday.
        0 3 13 * 5 | 2026-11-06T12:00Z | 2026-11-13T03:00Z 2026-11-20T03:00Z 2026-11-27T03:00Z 2026-12-04T03:00Z
        0 3 13 * 5 | 2026-12-04T12:00Z | 2026-12-11T03:00Z 2026-12-13T03:00Z 2026-12-18T03:00Z
        # Only Fridays, only 13ths.
        0 3 * * 5    | 2026-12-11T12:00Z | 2026-12-18T03:00Z 2026-12-25T03:00Z
        0 3 ? * 5    | 2026-12-11T12:00Z | 2026-12-18T03:00Z
        0 3 */1 * 5  | 2026-12-11T12:00Z | 2026-12-18T03:00Z
        0 3 13,* * 5 | 2026-12-11T12:00Z | 2026-12-18T03:00Z
        0 3 13 * *   | 2026-11-13T12:00Z | 2026-12-13T03:00Z 2027-01-13T03:00Z
        0 3 13 * ?   | 2026-11-13T12:00Z | 2026-12-13T03:00Z
        # A star with a step names only some days: the 1st, 11th, 21st, 31st, or a Friday.
        0 3 */10 * 5 | 2026-11-20T12:00Z | 2026-11-21T03:00Z 2026-11-27T03:00Z 2026-12-01T03:00Z 2026-12-04T03:00Z
        # No February has a 30th, but Mondays it has.
        0 3 30 2 1   | 2026-02-20T00:00Z | 2026-02-23T03:00Z 2027-02-01T03:00Z
        ",
    );
}

#[test]
fn months_end_and_years_turn() {
    check(
        "
        0 0 29 2 *    | 2026-11-21T00:00Z | 2028-02-29T00:00Z 2032-02-29T00:00Z 2036-02-29T00:00Z
        0 0 28-31 2 * | 2027-12-01T00:00Z | 2028-02-28T00:00Z 2028-02-29T00:00Z 2029-02-28T00:00Z
        0 0 31 * *    | 2026-01-31T00:00Z | 2026-03-31T00:00Z 2026-05-31T00:00Z 2026-07-31T00:00Z 2026-08-31T00:00Z
        0 0 30 1-3 *  | 2026-01-30T00:00Z | 2026-03-30T00:00Z 2027-01-30T00:00Z
        */15 * * * *  | 2026-12-31T23:44:59Z | 2026-12-31T23:45Z 2027-01-01T00:00Z 2027-01-01T00:15Z
        59 23 31 12 * | 2026-12-31T23:59:00Z | 2027-12-31T23:59Z
        0 0 1 1 *     | 2026-12-31T23:59:59Z | 2027-01-01T00:00Z 2028-01-01T00:00Z
        # Before the first year that is known.
        0 0 1 1 *     | -000044-03-15T12:00Z | 1970-01-01T00:00Z
        ",
    );
    // 2100 is no leap year, and beyond it nothing is known.
    let leap_days = Cron::parse("0 0 29 2 *").unwrap();
    assert_eq!(leap_days.next(at("2096-02-29T00:00Z")), None);
    let minutes = Cron::parse("* * * * *").unwrap();
    assert_eq!(minutes.next(Timestamp::MAX), None);
    assert_eq!(minutes.latest(Timestamp::MAX, Timestamp::MAX), None);
}

#[test]
fn descriptors_stand_for_expressions() {
    check(
        "
        @yearly   | 2026-11-21T10:20:30Z | 2027-01-01T00:00Z 2028-01-01T00:00Z
        @annually | 2026-11-21T10:20:30Z | 2027-01-01T00:00Z 2028-01-01T00:00Z
        @monthly  | 2026-11-21T10:20:30Z | 2026-12-01T00:00Z 2027-01-01T00:00Z
        @weekly   | 2026-11-21T10:20:30Z | 2026-11-22T00:00Z 2026-11-29T00:00Z
        @daily    | 2026-11-21T10:20:30Z | 2026-11-22T00:00Z 2026-11-23T00:00Z
        @midnight | 2026-11-21T10:20:30Z | 2026-11-22T00:00Z 2026-11-23T00:00Z
        @hourly   | 2026-11-21T10:20:30Z | 2026-11-21T11:00Z 2026-11-21T12:00Z

        # Intervals begin with the time asked about, without its fraction.
        @every 1h30m         | 2026-11-21T10:20:30.75Z | 2026-11-21T11:50:30Z 2026-11-21T13:20:30Z
        @every 1s            | 2026-11-21T10:20:30.75Z | 2026-11-21T10:20:31Z
        @every  1500ms500ms  | 1969-12-31T23:59:58.5Z  | 1970-01-01T00:00:00Z 1970-01-01T00:00:02Z
        @every 7d            | 2026-11-21T10:20:30Z    | 2026-11-28T10:20:30Z
        # They know no clock that changes.
        TZ=Europe/Berlin @every 24h | 2026-03-28T11:00Z | 2026-03-29T11:00Z
        ",
    );
    let daily = Cron::parse("@every 24h").unwrap();
    assert_eq!(daily.next(Timestamp::MAX), None);
}

#[test]
fn a_zone_says_whose_clock_decides() {
    check(
        "
        TZ=UTC 0 3 * * *                    | 2026-11-21T00:00Z | 2026-11-21T03:00Z
        CRON_TZ=America/New_York  0 3 * * * | 2026-03-06T12:00Z | 2026-03-07T08:00Z 2026-03-08T07:00Z 2026-03-09T07:00Z
        TZ=Asia/Kathmandu 0 3 * * *         | 2026-11-21T00:00Z | 2026-11-21T21:15Z
        # The weekday and the day are those of the zone.
        CRON_TZ=Europe/Berlin 30 0 * * MON  | 2026-11-21T00:00Z | 2026-11-22T23:30Z
        CRON_TZ=Europe/Berlin @monthly      | 2026-06-15T00:00Z | 2026-06-30T22:00Z 2026-07-31T22:00Z
        # The first midnight that is known, ten hours behind UTC by a third.
        CRON_TZ=Pacific/Kiritimati @yearly  | 1960-01-01T00:00Z | 1970-01-01T10:40Z
        ",
    );
}

#[test]
fn what_the_clock_jumps_over_is_left_out() {
    check(
        "
        # Berlin, 2026-03-29: 02:00 becomes 03:00 at 01:00 UTC.
        CRON_TZ=Europe/Berlin 30 2 * * *   | 2026-03-27T12:00Z | 2026-03-28T01:30Z 2026-03-30T00:30Z
        CRON_TZ=Europe/Berlin 0 2,3 * * *  | 2026-03-28T12:00Z | 2026-03-29T01:00Z 2026-03-30T00:00Z 2026-03-30T01:00Z
        CRON_TZ=Europe/Berlin */30 * * * * | 2026-03-29T00:15Z | 2026-03-29T00:30Z 2026-03-29T01:00Z 2026-03-29T01:30Z
        # Asked in the very second of the change.
        CRON_TZ=Europe/Berlin 0 3 * * *    | 2026-03-29T01:00Z | 2026-03-30T01:00Z

        # New York, 2026-03-08: 02:00 becomes 03:00 at 07:00 UTC. 2027 changes on the 14th.
        CRON_TZ=America/New_York 30 2 8 3 * | 2026-01-01T00:00Z | 2027-03-08T07:30Z

        # Lord Howe, 2026-10-04: 02:00 becomes 02:30 at 15:30 UTC of the day before.
        CRON_TZ=Australia/Lord_Howe 15 2 * * *   | 2026-10-02T00:00Z | 2026-10-02T15:45Z 2026-10-04T15:15Z
        CRON_TZ=Australia/Lord_Howe */15 2 * * * | 2026-10-03T15:00Z | 2026-10-03T15:30Z 2026-10-03T15:45Z 2026-10-04T15:00Z

        # Cairo, 2026-04-24, a Friday: midnight becomes 01:00 at 22:00 UTC of the day before. The day itself is not lost.
        CRON_TZ=Africa/Cairo @daily       | 2026-04-22T00:00Z | 2026-04-22T22:00Z 2026-04-24T21:00Z
        CRON_TZ=Africa/Cairo 0 20 * * 5   | 2026-04-23T12:00Z | 2026-04-24T17:00Z
        CRON_TZ=Africa/Cairo 0 */1 24 4 * | 2026-04-22T00:00Z | 2026-04-23T22:00Z 2026-04-23T23:00Z

        # Sao Paulo, 2018-11-04: midnight became 01:00 at 03:00 UTC.
        CRON_TZ=America/Sao_Paulo 0 0 * * * | 2018-11-03T00:00Z | 2018-11-03T03:00Z 2018-11-05T02:00Z

        # Samoa had no 2011-12-30.
        CRON_TZ=Pacific/Apia 0 12 * * *   | 2011-12-29T00:00Z | 2011-12-29T22:00Z 2011-12-30T22:00Z
        CRON_TZ=Pacific/Apia 0 12 30 12 * | 2011-12-01T00:00Z | 2012-12-29T22:00Z
        ",
    );
}

#[test]
fn what_the_clock_shows_twice_fires_twice() {
    check(
        "
        # Berlin, 2026-10-25: 03:00 becomes 02:00 at 01:00 UTC.
        CRON_TZ=Europe/Berlin 30 2 * * *  | 2026-10-24T12:00Z | 2026-10-25T00:30Z 2026-10-25T01:30Z 2026-10-26T01:30Z
        CRON_TZ=Europe/Berlin 0 2,3 * * * | 2026-10-24T12:00Z | 2026-10-25T00:00Z 2026-10-25T01:00Z 2026-10-25T02:00Z 2026-10-26T01:00Z

        # New York, 2026-11-01: 02:00 becomes 01:00 at 06:00 UTC. In order, and never in the past.
        CRON_TZ=America/New_York */30 0-2 * * * | 2026-11-01T04:45Z | 2026-11-01T05:00Z 2026-11-01T05:30Z 2026-11-01T06:00Z
        CRON_TZ=America/New_York */30 0-2 * * * | 2026-11-01T06:00Z | 2026-11-01T06:30Z 2026-11-01T07:00Z 2026-11-01T07:30Z 2026-11-02T05:00Z
        CRON_TZ=America/New_York 30 1 * * *     | 2026-11-01T06:10Z | 2026-11-01T06:30Z 2026-11-02T06:30Z

        # Lord Howe, 2026-04-05: 02:00 becomes 01:30 at 15:00 UTC of the day before.
        CRON_TZ=Australia/Lord_Howe 45 1 * * *   | 2026-04-03T20:00Z | 2026-04-04T14:45Z 2026-04-04T15:15Z 2026-04-05T15:15Z
        CRON_TZ=Australia/Lord_Howe */15 1 * * * | 2026-04-04T14:10Z | 2026-04-04T14:15Z 2026-04-04T14:30Z 2026-04-04T14:45Z
        CRON_TZ=Australia/Lord_Howe */15 1 * * * | 2026-04-04T14:45Z | 2026-04-04T15:00Z 2026-04-04T15:15Z 2026-04-05T14:30Z

        # Cairo, 2026-10-30: midnight becomes 23:00 of the day before, at 21:00 UTC.
        CRON_TZ=Africa/Cairo */30 0,23 * * * | 2026-10-29T20:15Z | 2026-10-29T20:30Z 2026-10-29T21:00Z 2026-10-29T21:30Z 2026-10-29T22:00Z

        # Sao Paulo, 2019-02-17: midnight became 23:00 of the day before, at 02:00 UTC.
        CRON_TZ=America/Sao_Paulo @daily | 2019-02-16T00:00Z | 2019-02-16T02:00Z 2019-02-17T03:00Z 2019-02-18T03:00Z
        ",
    );
}

#[test]
fn latest_is_the_last_time_that_next_comes_to() {
    for row in rows(
        "
        # Not yet, just now, a moment ago; and a clock that was put back.
        0 3 * * * | 2026-11-21T03:00Z | 2026-11-22T02:59:59.9Z | never
        0 3 * * * | 2026-11-21T03:00Z | 2026-11-22T03:00Z      | 2026-11-22T03:00Z
        0 3 * * * | 2026-11-21T03:00Z | 2026-11-23T02:00Z      | 2026-11-22T03:00Z
        0 3 * * * | 2026-11-21T03:00Z | 2026-11-21T03:00Z      | never
        0 3 * * * | 2026-11-21T02:00Z | 2026-11-20T00:00Z      | never

        # Years of missed times.
        * * * * *  | 2020-01-01T00:00Z | 2026-11-21T10:20:30Z | 2026-11-21T10:20Z
        0 3 29 2 * | 1990-01-01T00:00Z | 2026-11-21T10:20:30Z | 2024-02-29T03:00Z
        0 3 * * 1  | 0001-01-01T00:00Z | 2026-11-21T10:20:30Z | 2026-11-16T03:00Z
        @every 1s  | 1970-01-01T00:00Z | 2026-11-21T10:20:30.5Z | 2026-11-21T10:20:30Z
        @every 7h  | 2026-11-21T10:20:30.5Z | 2026-11-22T01:00:00Z | 2026-11-22T00:20:30Z
        @every 7h  | 2026-11-21T10:20:30.5Z | 2026-11-21T17:20:29Z | never

        # While the clock repeats an hour, after that, and when it has jumped.
        CRON_TZ=Europe/Berlin 30 2 * * * | 2026-10-20T00:00Z | 2026-10-25T01:00Z | 2026-10-25T00:30Z
        CRON_TZ=Europe/Berlin 30 2 * * * | 2026-10-20T00:00Z | 2026-10-25T12:00Z | 2026-10-25T01:30Z
        CRON_TZ=Europe/Berlin 30 2 * * * | 2026-03-20T00:00Z | 2026-03-29T12:00Z | 2026-03-28T01:30Z
        ",
        " | ",
    ) {
        let [expression, after, now, expected] = row[..] else {
            panic!("{row:?} has no four cells");
        };
        let latest = Cron::parse(expression).unwrap().latest(at(after), at(now));
        let expected = (expected != "never").then(|| at(expected));
        assert_eq!(latest, expected, "{row:?}");
    }
}

#[test]
fn refusals_say_what_to_write() {
    let empty = "the schedule is empty; write five fields such as \"0 3 * * *\", or a descriptor such as @daily";
    assert_eq!(Cron::parse("").err().as_deref(), Some(empty));
    assert_eq!(Cron::parse(" \t ").err().as_deref(), Some(empty));
    for row in rows(
        r#"
        0 3 * *     => "0 3 * *" has 4 fields; write five: minute, hour, day of the month, month, day of the week
        daily       => "daily" has 1 field; write five: minute, hour, day of the month, month, day of the week
        0 0 3 * * * => "0 0 3 * * *" has 6 fields; write five: minute, hour, day of the month, month, day of the week

        60 3 * * *  => "60" is no minute; write 0 to 59
        -5 3 * * *  => "-5" is no minute; write 0 to 59
        5- 3 * * *  => "5-" is no minute; write 0 to 59
        /5 3 * * *  => "/5" is no minute; write 0 to 59
        +5 3 * * *  => "+5" is no minute; write 0 to 59
        ٣ 3 * * *   => "٣" is no minute; write 0 to 59
        1-2-3 * * * * => "2-3" is no minute; write 0 to 59
        99999999999 3 * * * => "99999999999" is no minute; write 0 to 59
        0 24 * * *    => "24" is no hour; write 0 to 23
        0 3-24 * * *  => "24" is no hour; write 0 to 23
        0 3 0 * *     => "0" is no day of the month; write 1 to 31
        0 3 L * *     => "L" is no day of the month; write 1 to 31
        0 3 1 13 *    => "13" is no month; write 1 to 12, or jan to dec
        0 3 1 july *  => "july" is no month; write 1 to 12, or jan to dec
        0 3 * * 8     => "8" is no day of the week; write 0 to 7, or sun to sat
        0 3 * * jan   => "jan" is no day of the week; write 0 to 7, or sun to sat
        0 3 * * 5#3   => "5#3" is no day of the week; write 0 to 7, or sun to sat
        0 3 * * *-5   => "*" is no day of the week; write 0 to 7, or sun to sat

        0 22-4 * * *    => the hour "22-4" runs backwards; write "22-23,0-4"
        0 3 * * fri-sun => the day of the week "fri-sun" runs backwards; write "5-6,0-0"
        1,,2 3 * * *  => the minute "1,,2" has a comma with nothing beside it; remove the comma
        0 3, * * *    => the hour "3," has a comma with nothing beside it; remove the comma
        */0 * * * *   => the minute "*/0" has no usable step; write a number from 1 behind the slash
        */ * * * *    => the minute "*/" has no usable step; write a number from 1 behind the slash
        */-5 * * * *  => the minute "*/-5" has no usable step; write a number from 1 behind the slash
        1/2/3 * * * * => the minute "1/2/3" has no usable step; write a number from 1 behind the slash

        0 3 30 2 *               => "0 3 30 2 *" never fires, for none of its months has such a day; write days that the months have
        TZ=UTC 0 3 31 4,6,9,11 * => "0 3 31 4,6,9,11 *" never fires, for none of its months has such a day; write days that the months have

        TZ=UTC                => "TZ=UTC" names a time zone and no schedule; write the schedule after it, such as "TZ=UTC 0 3 * * *"
        CRON_TZ=Europe/Berlin => "CRON_TZ=Europe/Berlin" names a time zone and no schedule; write the schedule after it, such as "TZ=UTC 0 3 * * *"
        TZ=Europe/Atlantis 0 3 * * * => no time zone is called "Europe/Atlantis"; write a name from the tz database, such as Europe/Berlin or UTC
        TZ=Local 0 3 * * *           => no time zone is called "Local"; write a name from the tz database, such as Europe/Berlin or UTC
        TZ= 0 3 * * *                => no time zone is called ""; write a name from the tz database, such as Europe/Berlin or UTC

        @reboot  => "@reboot" is no descriptor; write @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, or @every with a duration
        @daily 3 => "@daily 3" is no descriptor; write @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, or @every with a duration
        @every5m => "@every5m" is no descriptor; write @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, or @every with a duration
        @every        => @every needs a duration; write one behind it, such as @every 6h
        @every day    => "day" is not a duration; write numbers with units, such as 90s, 1h30m, 720h or 30d
        @every 0s     => "0s" is no interval for @every; write whole seconds, at least 1s
        @every -1h    => "-1h" is no interval for @every; write whole seconds, at least 1s
        @every 500ms  => "500ms" is no interval for @every; write whole seconds, at least 1s
        @every 1.5s   => "1.5s" is no interval for @every; write whole seconds, at least 1s
        "#,
        " => ",
    ) {
        let [expression, expected] = row[..] else {
            panic!("{row:?} has no two cells");
        };
        assert_eq!(Cron::parse(expression).err().as_deref(), Some(expected));
    }
}

#[test]
fn garbage_neither_panics_nor_fires_in_the_past() {
    const HEADS: [&str; 10] = ["*", "*", "*", "?", "0", "1", "3", "7", "12", "31"];
    const TAILS: [&str; 10] = ["", "", "", "", "", "", "/2", "-5", ",1", "-"];
    #[rustfmt::skip]
    const PIECES: [&str; 28] = [
        "*", "?", "0", "12", "4294967296", "-", ",", "/", " ", " ", " ", " *", " * * * *", "jan", "Sun", "@", "@every ",
        "@daily", "1h", "-1h", "TZ=", "Africa/Cairo ", "=", "L", "#", "\0", "٣", "\u{1f570}",
    ];
    let times = [
        "1969-12-31T23:59:59Z",
        "2026-03-29T00:59:59.5Z",
        "2100-12-31T23:59:59Z",
    ]
    .map(at);
    // The same pieces in every run.
    let mut state: u64 = 2026;
    let mut below = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % bound as u64).unwrap()
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..1_000 {
        let text: String = if below(2) == 0 {
            (0..5)
                .map(|_| format!("{}{}", HEADS[below(10)], TAILS[below(10)]))
                .collect::<Vec<_>>()
                .join(" ")
        } else {
            (0..=below(8)).map(|_| PIECES[below(28)]).collect()
        };
        let Ok(cron) = Cron::parse(&text) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        for after in times {
            let next = cron.next(after);
            assert!(next.is_none_or(|next| next > after), "{text:?}");
            let latest = cron.latest(after, times[2]);
            assert_eq!(
                latest.is_some(),
                next.is_some_and(|next| next <= times[2]),
                "{text:?}"
            );
            assert!(
                latest.is_none_or(|latest| next <= Some(latest) && latest <= times[2]),
                "{text:?}"
            );
        }
    }
    // Else the strings are too wild to come far, or too tame.
    assert!(accepted >= 20, "{accepted}");
    assert!(refused >= 500, "{refused}");
}
