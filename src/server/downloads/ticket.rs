//! Tickets: what a link lets its holder read, and until when, signed by the process that made it.
//!
//! The key is made when the process starts and never leaves it, so that no other server honours its tickets and none
//! outlives it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};

use crate::api::DownloadTargetKind;

/// The longest ticket that is looked at: several times what keys of the longest names come to.
const LONGEST: usize = 4 << 10;
/// The length of a signature, in bytes.
const TAG: usize = 32;

/// What may be read, and until when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Ticket {
    /// The kind of file, for logs.
    pub(crate) kind: DownloadTargetKind,
    /// The backup's or restore's name, for logs.
    pub(crate) name: String,
    /// The one thing that may be read.
    pub(crate) source: Source,
    /// When the ticket ends.
    pub(crate) expires: Timestamp,
}

/// Where a download comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Source {
    /// An object of a location.
    Stored {
        /// The location's name.
        location: String,
        /// The object's key.
        key: String,
        /// Its size, if that is known.
        size: Option<u64>,
    },
    /// The log of a run of this process, by its number.
    Live(u64),
}

/// Signs tickets.
#[derive(Debug)]
pub(super) struct Signer(hmac::Key);

impl Signer {
    /// Returns a signer with a key of its own.
    pub(super) fn new() -> anyhow::Result<Self> {
        hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map(Self)
            .map_err(|_| {
                anyhow::anyhow!(
                    "cannot make a key for download links: the system gives no random numbers"
                )
            })
    }

    /// Returns a ticket as text that can stand in a URL; the text is a secret.
    pub(super) fn sign(&self, ticket: &Ticket) -> serde_json::Result<String> {
        let mut bytes = serde_json::to_vec(ticket)?;
        let tag = hmac::sign(&self.0, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a ticket; `None` if this process did not sign it, or if it has ended.
    pub(super) fn read(&self, text: &str, now: Timestamp) -> Option<Ticket> {
        if text.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (ticket, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG)?)?;
        // Takes the same time wherever the signatures differ. Nothing is parsed that is not ours.
        hmac::verify(&self.0, ticket, tag).ok()?;
        let ticket: Ticket = serde_json::from_slice(ticket).ok()?;
        (now < ticket.expires).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ticket(source: Source) -> Ticket {
        Ticket {
            kind: DownloadTargetKind::BackupLog,
            name: "nightly".into(),
            source,
            expires: at(600),
        }
    }

    fn stored(key: &str) -> Source {
        Source::Stored {
            location: "default".into(),
            key: key.into(),
            size: Some(7),
        }
    }

    #[test]
    fn tickets_are_read_until_they_end() {
        let signer = Signer::new().unwrap();
        for source in [stored("backups/nightly/nightly-1-logs.gz"), Source::Live(3)] {
            let ticket = ticket(source);
            let text = signer.sign(&ticket).unwrap();
            assert!(
                text.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "{text}"
            );
            assert_eq!(signer.read(&text, at(0)), Some(ticket.clone()));
            assert_eq!(signer.read(&text, at(599)), Some(ticket));
            assert_eq!(signer.read(&text, at(600)), None);
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let name = "n".repeat(253);
        let signer = Signer::new().unwrap();
        let ticket = Ticket {
            name: name.clone(),
            source: Source::Stored {
                location: name.clone(),
                key: format!("backups/{name}/{name}-4294967295-volumesnapshots.json.gz"),
                size: Some(u64::MAX),
            },
            ..ticket(Source::Live(0))
        };
        let text = signer.sign(&ticket).unwrap();
        assert_eq!(signer.read(&text, at(0)), Some(ticket));
    }

    #[test]
    fn what_was_tampered_with_is_refused() {
        let signer = Signer::new().unwrap();
        let text = signer
            .sign(&ticket(stored("backups/a/a-1-logs.gz")))
            .unwrap();
        let whole = URL_SAFE_NO_PAD.decode(&text).unwrap();
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(signer.read(&text, at(0)), None, "byte {position}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        let other = Signer::new().unwrap();
        for text in [
            String::new(),
            "x".to_owned(),
            "/../etc/passwd".to_owned(),
            text[1..].to_owned(),
            URL_SAFE_NO_PAD.encode(&whole[..whole.len() - TAG]),
            URL_SAFE_NO_PAD.encode(&whole[..TAG]),
            URL_SAFE_NO_PAD.encode(longer),
            other
                .sign(&ticket(stored("backups/a/a-1-logs.gz")))
                .unwrap(),
            "A".repeat(LONGEST + 1),
        ] {
            assert_eq!(signer.read(&text, at(0)), None, "{text}");
        }
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", Signer::new().unwrap());
        assert_eq!(shown, "Signer(Key { algorithm: SHA256 })");
    }
}
