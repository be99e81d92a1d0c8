//! The lines of an index, as they are written and as they are read. Readers skip fields they do not know.
//!
//! ```text
//! {"version":"2.0.0"}
//! {"version":"v1","kind":"Pod","resource":"pods","namespace":"web","name":"a","uid":"...","owners":["..."],
//!  "labels":{"app":"a"},"body":"typeAdded","offset":1536,"length":812,"sha256":"...","frameOffset":0,"frameLength":9}
//! {"entries":1,"contentsSize":9}
//! ```
//!
//! An object may stand there twice, if the later line says `"again":true`: then that one counts.
//!
//! `offset` and `length` are of the body within the decompressed frame, `frameOffset` and `frameLength` of the frame
//! within the contents; all in bytes. What is empty is left out.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{ArchiveError, Part};
use super::types::{BodyKind, Limits};

/// The largest window a frame may ask for, as a power of two: what zstd's own format asks every reader to allow.
pub(crate) const WINDOW_LOG_MAX: u32 = 23;

/// How the last line begins; no entry begins so.
pub(crate) const FOOTER_START: &[u8] = b"{\"entries\":";

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct HeaderLine<'a> {
    #[serde(borrow)]
    pub(crate) version: Cow<'a, str>,
}

/// The last line: with it, an index that was cut off between two of its frames is told from a whole one.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FooterLine {
    pub(crate) entries: u64,
    pub(crate) contents_size: u64,
}

/// An entry, but for its frame: a frame's place is known only after the lines of its entries were made, so it is
/// put in last.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewLine<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<&'a str>,
    pub(crate) name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(crate) owners: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) body: BodyKind,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) sha256: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) again: bool,
}

/// An entry as read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadLine<'a> {
    #[serde(borrow, default)]
    pub(crate) group: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) version: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) resource: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) uid: Cow<'a, str>,
    /// Unparsed, like the labels: most objects share theirs with many others.
    #[serde(borrow, default)]
    pub(crate) owners: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) labels: Option<&'a RawValue>,
    pub(crate) body: BodyKind,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    #[serde(borrow)]
    pub(crate) sha256: Cow<'a, str>,
    #[serde(default)]
    pub(crate) again: bool,
    pub(crate) frame_offset: u64,
    pub(crate) frame_length: u64,
}

/// The lines of an index, none longer than allowed.
pub(crate) struct Lines<R: Read> {
    source: BufReader<zstd::Decoder<'static, BufReader<R>>>,
    line: Vec<u8>,
    /// The number of the line read last, from 1.
    number: u64,
    taken: u64,
    limits: Limits,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R, limits: &Limits) -> Result<Self, ArchiveError> {
        let decoder = zstd::Decoder::new(source)
            .and_then(|mut decoder| decoder.window_log_max(WINDOW_LOG_MAX).map(|()| decoder))
            .map_err(|source| ArchiveError::Read {
                part: Part::Index,
                source,
            })?;
        Ok(Self {
            source: BufReader::new(decoder),
            line: Vec::new(),
            number: 0,
            taken: 0,
            limits: *limits,
        })
    }

    /// Returns the next line without its newline, and its number; there must be one.
    pub(crate) fn next(&mut self, missing: &'static str) -> Result<(&[u8], u64), ArchiveError> {
        self.line.clear();
        self.number += 1;
        let limit = self.limits.max_line;
        let read = (&mut self.source)
            .take(limit.saturating_add(1))
            .read_until(b'\n', &mut self.line)
            .map_err(|error| ArchiveError::reading(Part::Index, missing, error))?;
        let read = read as u64;
        self.taken += read;
        if read > limit {
            let what = format!("line {} of the index", self.number);
            return Err(ArchiveError::TooLarge {
                what,
                size: read,
                limit,
            });
        }
        if self.taken > self.limits.max_index {
            return Err(ArchiveError::TooLarge {
                what: "the index".into(),
                size: self.taken,
                limit: self.limits.max_index,
            });
        }
        let whole = self.line.strip_suffix(b"\n");
        whole
            .map(|line| (line, self.number))
            .ok_or(ArchiveError::Truncated {
                part: Part::Index,
                missing,
            })
    }

    /// Checks that nothing follows.
    pub(crate) fn end(mut self) -> Result<(), ArchiveError> {
        let part = Part::Index;
        match self.source.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(ArchiveError::Trailing { part }),
            Err(error) => Err(ArchiveError::reading(part, "its end", error)),
        }
    }
}

pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(
    line: &'a [u8],
    number: u64,
) -> Result<T, ArchiveError> {
    serde_json::from_slice(line).map_err(|source| ArchiveError::Line {
        line: number,
        source,
    })
}

/// Values that are parsed once for each JSON text.
#[derive(Debug)]
pub(crate) struct Shared<T: ?Sized> {
    /// Kept for the time of reading only.
    known: HashMap<Box<str>, Arc<T>>,
}

impl<T: ?Sized> Shared<T>
where
    Arc<T>: Default,
{
    pub(crate) fn new() -> Self {
        Self {
            known: HashMap::from([("".into(), Arc::default())]),
        }
    }

    pub(crate) fn get<'a, P>(
        &mut self,
        json: Option<&'a RawValue>,
        line: u64,
    ) -> Result<Arc<T>, ArchiveError>
    where
        P: serde::Deserialize<'a> + Into<Arc<T>>,
    {
        let json = json.map_or("", RawValue::get);
        if let Some(value) = self.known.get(json) {
            return Ok(Arc::clone(value));
        }
        let value: P =
            serde_json::from_str(json).map_err(|source| ArchiveError::Line { line, source })?;
        let value = value.into();
        self.known.insert(json.into(), Arc::clone(&value));
        Ok(value)
    }
}
