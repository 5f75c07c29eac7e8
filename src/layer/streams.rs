//! The formats whose files are streams one behind another: bzip2, xz and Zstandard, which calls
//! them frames.

use std::io::{self, Read};

use super::input::{Input, invalid};

/// Decompresses one stream after the other.
pub(super) trait Decoder {
    /// Enters the stream that follows; `false` when only padding is left, which is read.
    fn enter<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<bool>;

    /// Decompresses from `input`, which is empty at the end of the file only, into `out`.
    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Progress>;
}

/// What one call of a decoder did.
pub(super) struct Progress {
    pub(super) consumed: usize,
    pub(super) produced: usize,
    /// Whether the stream has ended.
    pub(super) is_end: bool,
}

impl Progress {
    /// From the counts of bytes read and written before a call and after it.
    pub(super) fn between(before: (u64, u64), after: (u64, u64)) -> io::Result<Self> {
        let count = |before: u64, after: u64| {
            let count = after.checked_sub(before).and_then(|count| usize::try_from(count).ok());
            count.ok_or_else(|| io::Error::other("a decoder counted backwards"))
        };
        let (consumed, produced) = (count(before.0, after.0)?, count(before.1, after.1)?);
        Ok(Self { consumed, produced, is_end: false })
    }
}

/// The uncompressed bytes of all streams.
pub(super) struct Streams<R, D> {
    input: Input<R>,
    decoder: D,
    state: State,
}

enum State {
    Between,
    Inside,
    Ended,
}

impl<R: Read + Send + 'static, D> Streams<R, D> {
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(Self { input: self.input.read_ahead()?, ..self })
    }
}

impl<R: Read, D: Decoder> Streams<R, D> {
    pub(super) fn new(input: Input<R>, decoder: D) -> Self {
        Self { input, decoder, state: State::Between }
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }
}

impl<R: Read, D: Decoder> Read for Streams<R, D> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Ended => return Ok(0),
                State::Between => {
                    let has_next = self.decoder.enter(&mut self.input)?;
                    self.state = if has_next { State::Inside } else { State::Ended };
                }
                State::Inside => {
                    let input = self.input.fill()?;
                    let is_cut = input.is_empty();
                    let Progress { consumed, produced, is_end } =
                        self.decoder.decode(input, out)?;
                    self.input.consume(consumed);
                    if is_end {
                        self.state = State::Between;
                    } else if is_cut && produced == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    } else if consumed == 0 && produced == 0 {
                        return Err(invalid("the stream makes no progress"));
                    }
                    if produced > 0 {
                        return Ok(produced);
                    }
                }
            }
        }
    }
}
