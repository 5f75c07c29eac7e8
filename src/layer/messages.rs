//! What the threads of a layer's stream say to its reader.

use std::io;

use ext4_writer::Buffer;

use super::decompress::Compression;
use super::flag;
use super::gzip::Trailer;
use super::limits::Excess;
use crate::digest::Digest;
use crate::error::Error;

pub(super) struct Chunk {
    pub(super) bytes: Buffer,
    pub(super) filled: usize,
    /// What is said of the bytes and was not compared with them yet.
    pub(super) trailers: Vec<Trailer>,
}

/// What the threads say: first `Begin`, last `End` or an error.
pub(super) enum Message {
    Begin(Compression),
    Data(Chunk),
    End(Ended),
}

/// A stream that came to its end.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) compressed: u64,
    pub(super) diff_id: Option<Digest>,
}

impl Chunk {
    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.bytes().get(..self.filled).unwrap_or_default()
    }
}

/// What a failed read of a blob means: bad compressed bytes, or a fault below them.
pub(super) fn refuse_read(
    name: &str,
    progress: Option<(Compression, u64)>,
    error: io::Error,
) -> Error {
    Error::from_io(error, |error| match (error.kind(), progress) {
        (io::ErrorKind::InvalidData, Some((compression, received))) => {
            let excess = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>());
            let lift = excess.map(|excess| flag::raise(excess.flag));
            let refused = Error::bad_data(format!(
                "cannot decompress {name}: its {compression} stream is broken near byte {received}"
            ))
            .with_source(error);
            match lift {
                Some(lift) => refused.with_hint(lift),
                None => refused,
            }
        }
        (io::ErrorKind::InvalidData, None) => {
            Error::bad_data(format!("cannot decompress {name}")).with_source(error)
        }
        (io::ErrorKind::UnexpectedEof, Some((compression, received))) => Error::bad_data(format!(
            "cannot decompress {name}: its {compression} stream is cut off at byte {received}"
        )),
        _ => Error::io(format!("cannot read {name}")).with_source(error),
    })
}
