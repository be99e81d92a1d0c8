//! Durations as Go writes and reads them (`720h0m0s`), with days (`30d`) accepted beside Go's units.

use std::time::Duration;

/// Nanoseconds in each unit that is understood.
const UNITS: [(&str, u128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Parses a Go duration that is not negative, such as `1h30m`, `720h0m0s` or `0`; days are accepted too.
///
/// # Errors
/// A sentence that names the text and the accepted form.
pub fn parse(text: &str) -> Result<Duration, String> {
    parse_units(text).ok_or_else(|| {
        format!(
            "{text:?} is not a duration; write numbers with units, such as 90s, 1h30m, 720h or 30d"
        )
    })
}

fn parse_units(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(*scale)?)?;
        // More digits than a nanosecond needs say nothing.
        let mut digit_scale = *scale;
        for digit in fraction.chars() {
            digit_scale /= 10;
            total = total.checked_add(u128::from(digit.to_digit(10)?) * digit_scale)?;
        }
        rest = tail;
    }
    // Go's durations are 63 bits of nanoseconds, about 292 years.
    i64::try_from(total)
        .ok()
        .map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

/// Writes a duration as Go's `Duration.String` does: `720h0m0s`, `1m30s`, `1.5s`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let seconds_nanos = nanos % 60_000_000_000;
    let seconds = format!("{}s", decimal(seconds_nanos, 1_000_000_000));
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// Writes `value / scale` without trailing zeros.
fn decimal(value: u128, scale: u128) -> String {
    let whole = value / scale;
    let fraction = value % scale;
    if fraction == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!("{whole}.{fraction:0width$}")
        .trim_end_matches('0')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_go_parses_and_days() {
        for (text, seconds) in [
            ("0", 0.0),
            ("0s", 0.0),
            ("720h0m0s", 2_592_000.0),
            ("720h", 2_592_000.0),
            ("1h30m", 5_400.0),
            ("1.5h", 5_400.0),
            (".5s", 0.5),
            ("250ms", 0.25),
            ("30d", 2_592_000.0),
            ("+5s", 5.0),
        ] {
            assert_eq!(parse(text).map(|d| d.as_secs_f64()), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in [
            "",
            "5",
            "h",
            "-1h",
            "1w",
            "1h30",
            "1.2.3s",
            ".s",
            "1 h",
            "99999999999h",
            "٣s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn formats_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (2_592_000_000_000_000, "720h0m0s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanos)), text);
        }
    }
}
