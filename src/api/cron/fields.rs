//! The five fields of a cron expression: what may stand in them, and which times they name together.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use ::cron::Schedule;

/// What one field counts.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// The last number that may be written: Sunday is 0 and also 7.
    highest: u32,
    /// Names for the numbers from `first` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field::numbers("minute", 0, 59),
    Field::numbers("hour", 0, 23),
    Field::numbers("day of the month", 1, 31),
    Field {
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
        ..Field::numbers("month", 1, 12)
    },
    Field {
        highest: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
        ..Field::numbers("day of the week", 0, 6)
    },
];

/// The numbers that a field names.
struct Numbers {
    numbers: BTreeSet<u32>,
    /// Whether a `*` or `?` stands in it. Steps above 1 take that away, as they name only some numbers.
    any: bool,
}

/// Reads the five fields of an expression, and returns schedules which together name its times.
///
/// They are two if the days are restricted by month and by week: then either will do.
///
/// # Errors
/// A sentence that names the field, what is wrong with it and what to write.
pub(super) fn read(expression: &str) -> Result<Vec<Schedule>, String> {
    let texts: Vec<&str> = expression.split_whitespace().collect();
    let Ok::<[&str; 5], _>(texts) = texts.as_slice().try_into() else {
        return Err(format!(
            "{expression:?} has {} {}; write five: minute, hour, day of the month, month, day of the week",
            texts.len(),
            if texts.len() == 1 { "field" } else { "fields" },
        ));
    };
    let [minutes, hours, days, months, weekdays] = FIELDS;
    let [minute, hour, day, month, weekday] = texts;
    let minutes = minutes.read(minute)?.list(0);
    let hours = hours.read(hour)?.list(0);
    let days = days.read(day)?;
    let months = months.read(month)?.list(0);
    let weekdays = weekdays.read(weekday)?;

    // The crate counts weekdays from 1.
    let by_date = (days.list(0), "*".to_owned());
    let by_weekday = ("*".to_owned(), weekdays.list(1));
    let pairs = match (days.any, weekdays.any) {
        (_, true) => vec![by_date],
        (true, false) => vec![by_weekday],
        (false, false) => vec![by_date, by_weekday],
    };
    pairs
        .into_iter()
        .map(|(days, weekdays)| {
            Schedule::from_str(&format!("0 {minutes} {hours} {days} {months} {weekdays}"))
                .map_err(|error| format!("{expression:?} is no schedule ({error}); write another"))
        })
        .collect()
}

impl Field {
    const fn numbers(name: &'static str, first: u32, last: u32) -> Self {
        Self {
            name,
            first,
            last,
            highest: last,
            names: &[],
        }
    }

    /// Reads a field: items between commas.
    fn read(&self, text: &str) -> Result<Numbers, String> {
        let mut read = Numbers {
            numbers: BTreeSet::new(),
            any: false,
        };
        for item in text.split(',') {
            if item.is_empty() {
                return Err(format!(
                    "the {} {text:?} has a comma with nothing beside it; remove the comma",
                    self.name
                ));
            }
            let numbers = self.read_item(item)?;
            read.any |= numbers.any;
            read.numbers.extend(numbers.numbers);
        }
        Ok(read)
    }

    /// Reads `*`, `?`, a number or a range, each with or without a step. A number with a step goes on to the last.
    fn read_item(&self, item: &str) -> Result<Numbers, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(item, step)?)),
            None => (item, None),
        };
        let wildcard = matches!(range, "*" | "?");
        let (start, end) = if wildcard {
            (self.first, self.last)
        } else if let Some((start, end)) = range
            .split_once('-')
            .filter(|(start, end)| !start.is_empty() && !end.is_empty())
        {
            let (start, end) = (self.number(start)?, self.number(end)?);
            // A range may end on the Sunday after Saturday, and begins there only if it ends there too.
            if end > self.last {
                (start, end)
            } else {
                (self.fold(start), end)
            }
        } else {
            let start = self.fold(self.number(if range.is_empty() { item } else { range })?);
            (start, if step.is_some() { self.last } else { start })
        };
        if start > end {
            return Err(format!(
                "the {} {range:?} runs backwards; write \"{start}-{},{}-{end}\"",
                self.name, self.last, self.first
            ));
        }
        let step = step.unwrap_or(1);
        Ok(Numbers {
            numbers: (start..=end)
                .step_by(step)
                .map(|number| self.fold(number))
                .collect(),
            any: wildcard && step == 1,
        })
    }

    fn step(&self, item: &str, step: &str) -> Result<usize, String> {
        digits(step)
            .and_then(|step| usize::try_from(step).ok())
            .filter(|step| *step > 0)
            .ok_or_else(|| {
                format!(
                    "the {} {item:?} has no usable step; write a number from 1 behind the slash",
                    self.name
                )
            })
    }

    /// Reads a number or a name.
    fn number(&self, text: &str) -> Result<u32, String> {
        let named = || {
            (self.first..)
                .zip(self.names)
                .find_map(|(number, name)| name.eq_ignore_ascii_case(text).then_some(number))
        };
        digits(text)
            .or_else(named)
            .filter(|number| (self.first..=self.highest).contains(number))
            .ok_or_else(|| {
                let names = match self.names {
                    [first, .., last] => format!(", or {first} to {last}"),
                    _ => String::new(),
                };
                format!(
                    "{text:?} is no {}; write {} to {}{names}",
                    self.name, self.first, self.highest
                )
            })
    }

    /// Returns the number itself, or the one that it is another way to write.
    fn fold(&self, number: u32) -> u32 {
        if number > self.last {
            self.first
        } else {
            number
        }
    }
}

impl Numbers {
    /// Writes the numbers as a list, each raised by `raise`.
    fn list(&self, raise: u32) -> String {
        if self.any {
            return "*".to_owned();
        }
        let numbers: Vec<String> = self
            .numbers
            .iter()
            .map(|number| (number + raise).to_string())
            .collect();
        numbers.join(",")
    }
}

/// Reads a number without a sign.
fn digits(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}
