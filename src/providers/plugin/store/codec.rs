//! How an upload is written to the wire, so that one that is given up fails at the other end.
//!
//! A stream that just stops being asked for is reset with a code that says "not needed any more", and some servers take
//! that for its end (tonic's does): half an object would be stored as a whole one. So the upload itself fails to be written,
//! which resets the stream with an error.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// A message of an upload, or the end of one that is given up.
pub(super) type Sent<M> = Option<M>;

/// Writes the messages of an upload, and reads the empty answer.
#[derive(Debug)]
pub(super) struct UploadCodec<M>(PhantomData<M>);

impl<M> Default for UploadCodec<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Send + 'static> Codec for UploadCodec<M> {
    type Encode = Sent<M>;
    // An empty message has the shape of every other one.
    type Decode = ();
    type Encoder = UploadEncoder<M>;
    type Decoder = ProstDecoder<()>;

    fn encoder(&mut self) -> Self::Encoder {
        UploadEncoder(ProstCodec::<M, ()>::new().encoder())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<M, ()>::new().decoder()
    }
}

/// Writes the messages of an upload.
#[derive(Debug)]
pub(super) struct UploadEncoder<M>(ProstEncoder<M>);

impl<M: Message + Send + 'static> Encoder for UploadEncoder<M> {
    type Item = Sent<M>;
    type Error = Status;

    fn encode(&mut self, item: Sent<M>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match item {
            Some(message) => self.0.encode(message, to),
            None => Err(Status::aborted("the upload is given up")),
        }
    }
}
