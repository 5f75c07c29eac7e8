//! The bzip2 format: every stream, of which some compressors write one for each block.
//!
//! Source: bzip2 1.0.8, `decompress.c`. The library verifies the checksums of blocks and streams; a
//! block takes at most 4 MiB.

use std::io::{self, Read};

use bzip2::{Decompress, Status};

use super::input::{Input, invalid};
use super::streams::{Decoder, Progress};

/// The bytes that [`is_magic`] looks at.
const MAGIC: usize = 10;

/// Whether these bytes begin a stream, and in it a block or its end: a tar archive may well begin
/// with a file that is called `BZh9`.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..]
    )
}

/// Decompresses a stream.
pub(super) struct Bzip2(Decompress);

impl Bzip2 {
    pub(super) fn new() -> Self {
        // Twice as fast as in a little less memory.
        let in_little_memory = false;
        Self(Decompress::new(in_little_memory))
    }

    fn counts(&self) -> (u64, u64) {
        (self.0.total_in(), self.0.total_out())
    }
}

impl Decoder for Bzip2 {
    fn enter<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<bool> {
        if is_magic(input.look(MAGIC)?) {
            *self = Self::new();
            return Ok(true);
        }
        input.expect_padding()?;
        Ok(false)
    }

    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Progress> {
        let before = self.counts();
        let is_end = match self.0.decompress(input, out) {
            Ok(Status::StreamEnd) => true,
            Ok(Status::MemNeeded) => return Err(io::ErrorKind::OutOfMemory.into()),
            Ok(_) => false,
            Err(error) => return Err(invalid(error.to_string())),
        };
        Ok(Progress { is_end, ..Progress::between(before, self.counts())? })
    }
}
