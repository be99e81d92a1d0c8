//! Unpacking what may or may not be packed.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;

/// What every gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Passes on what is written to it, unpacked if its first bytes are those of a gzip file.
pub(crate) struct Unpacked<W: Write>(State<W>);

enum State<W: Write> {
    /// Too little has come to know; at most one byte.
    Unknown {
        first: Vec<u8>,
        inner: W,
    },
    Plain(W),
    Gzip(Box<MultiGzDecoder<W>>),
    /// Only while one state turns into another.
    Nothing,
}

impl<W: Write> Unpacked<W> {
    /// Passes on to `inner`.
    pub(crate) fn new(inner: W) -> Self {
        Self(State::Unknown {
            first: Vec::new(),
            inner,
        })
    }

    /// Passes on what is left and returns the inner writer.
    ///
    /// # Errors
    /// A gzip file that is cut off or damaged.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self.0 {
            State::Unknown { first, mut inner } => {
                inner.write_all(&first)?;
                Ok(inner)
            }
            State::Plain(inner) => Ok(inner),
            State::Gzip(decoder) => decoder.finish().map_err(damaged),
            State::Nothing => Err(io::Error::other("an earlier error ended this")),
        }
    }
}

impl<W: Write> Write for Unpacked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::mem::replace(&mut self.0, State::Nothing) {
            State::Unknown { mut first, inner } => {
                first.extend_from_slice(bytes);
                self.0 = if first.len() < GZIP.len() {
                    State::Unknown { first, inner }
                } else if first.starts_with(&GZIP) {
                    let mut decoder = Box::new(MultiGzDecoder::new(inner));
                    decoder.write_all(&first).map_err(damaged)?;
                    State::Gzip(decoder)
                } else {
                    let mut inner = inner;
                    inner.write_all(&first)?;
                    State::Plain(inner)
                };
                Ok(bytes.len())
            }
            State::Plain(mut inner) => {
                let written = inner.write(bytes)?;
                self.0 = State::Plain(inner);
                Ok(written)
            }
            State::Gzip(mut decoder) => {
                decoder.write_all(bytes).map_err(damaged)?;
                self.0 = State::Gzip(decoder);
                Ok(bytes.len())
            }
            State::Nothing => Err(io::Error::other("an earlier error ended this")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            State::Plain(inner) => inner.flush(),
            State::Gzip(decoder) => decoder.flush(),
            State::Unknown { .. } | State::Nothing => Ok(()),
        }
    }
}

/// Says what an error of the decoder means; one of the writer behind it stays what it is.
fn damaged(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            io::Error::new(
                error.kind(),
                "the stored file is damaged or cut off; try again, and if it stays so, the store has lost a part of it",
            )
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut unpacked = Unpacked::new(Vec::new());
        for piece in bytes.chunks(piece) {
            unpacked.write_all(piece)?;
        }
        unpacked.finish()
    }

    #[test]
    fn plain_and_packed_come_out_the_same() {
        let twice = [packed("one\n"), packed("two\n")].concat();
        for (bytes, text) in [
            (Vec::new(), ""),
            (b"\x1f".to_vec(), "\x1f"),
            (b"{}".to_vec(), "{}"),
            (packed(""), ""),
            (packed("a line\n"), "a line\n"),
            (twice, "one\ntwo\n"),
        ] {
            for piece in [1, 3, 4096] {
                assert_eq!(
                    unpack(&bytes, piece).unwrap(),
                    text.as_bytes(),
                    "{text:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error() {
        let whole = packed(&"a line of a log\n".repeat(100));
        for cut in [2, 11, whole.len() / 2, whole.len() - 1] {
            assert!(unpack(&whole[..cut], 7).is_err(), "{cut}");
        }
        let mut damaged = whole.clone();
        let middle = damaged.len() - 6;
        damaged[middle] ^= 0xff;
        assert!(unpack(&damaged, 7).is_err());
    }

    #[test]
    fn what_has_come_is_passed_on_at_once() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"a line\n").unwrap();
        encoder.flush().unwrap();
        let mut out = Vec::new();
        let mut unpacked = Unpacked::new(&mut out);
        unpacked.write_all(encoder.get_ref()).unwrap();
        unpacked.flush().unwrap();
        drop(unpacked);
        assert_eq!(out, b"a line\n");
    }
}
