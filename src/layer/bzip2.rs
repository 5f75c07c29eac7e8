//! The bzip2 format: every stream, of which some compressors write one for each block.
//!
//! Source: bzip2 1.0.8, `decompress.c`. The library verifies the checksums of blocks and streams; a
//! block takes at most 4 MiB.

use std::io::{self, Read};

use bzip2::{Decompress, Status};

use super::input::{Input, invalid};

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

/// The uncompressed bytes of all streams.
pub(super) struct Bzip2<R> {
    input: Input<R>,
    decoder: Decompress,
    state: State,
}

enum State {
    Between,
    Inside,
    Ended,
}

impl<R: Read + Send + 'static> Bzip2<R> {
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(Self { input: self.input.read_ahead()?, ..self })
    }
}

impl<R: Read> Bzip2<R> {
    /// Begins with the magic of the first stream.
    pub(super) fn new(input: Input<R>) -> Self {
        Self { input, decoder: decoder(), state: State::Inside }
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }

    /// Enters the next stream, or finds that nothing but padding is left.
    fn next_stream(&mut self) -> io::Result<State> {
        if is_magic(self.input.look(MAGIC)?) {
            self.decoder = decoder();
            return Ok(State::Inside);
        }
        self.input.expect_padding()?;
        Ok(State::Ended)
    }
}

fn decoder() -> Decompress {
    // Twice as fast as in a little less memory.
    let in_little_memory = false;
    Decompress::new(in_little_memory)
}

impl<R: Read> Read for Bzip2<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Ended => return Ok(0),
                State::Between => self.state = self.next_stream()?,
                State::Inside => {
                    let input = self.input.fill()?;
                    let is_end = input.is_empty();
                    let (taken, given) = (self.decoder.total_in(), self.decoder.total_out());
                    let status = self.decoder.decompress(input, out);
                    let taken = self.decoder.total_in().saturating_sub(taken);
                    let given = self.decoder.total_out().saturating_sub(given);
                    self.input.consume(usize::try_from(taken).map_err(io::Error::other)?);
                    match status {
                        Ok(Status::StreamEnd) => self.state = State::Between,
                        Ok(Status::MemNeeded) => return Err(io::ErrorKind::OutOfMemory.into()),
                        Ok(_) if is_end && given == 0 => {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        Ok(_) if taken == 0 && given == 0 => {
                            return Err(invalid("the stream makes no progress"));
                        }
                        Ok(_) => {}
                        Err(error) => return Err(invalid(error.to_string())),
                    }
                    if given > 0 {
                        return usize::try_from(given).map_err(io::Error::other);
                    }
                }
            }
        }
    }
}
