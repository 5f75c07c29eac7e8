//! The xz format: every stream, and the padding between and behind them.
//!
//! Source: xz-file-format.txt 1.2.1. The library verifies the checksums of headers, blocks and
//! indexes, and takes memory in proportion to a block's window alone.

use std::io::{self, Read};

use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::input::{Excess, Input, invalid};
use super::pool::Share;
use super::zstandard::USUAL_WINDOW;
use super::{flag, widen};

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];

/// Whether these bytes begin a stream.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// What the decoder takes beside its window, generously: 64 KiB and the filters.
pub(super) const BESIDE_WINDOW: usize = 256 << 10;

/// The uncompressed bytes of all streams.
pub(super) struct Xz<R> {
    input: Input<R>,
    decoder: Stream,
    /// The memory that a decoder may take as of now, and that it may ever take.
    memory: u64,
    most_memory: u64,
    share: Share,
    state: State,
}

enum State {
    Between,
    Inside,
    Ended,
}

impl<R: Read + Send + 'static> Xz<R> {
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(Self { input: self.input.read_ahead()?, ..self })
    }
}

impl<R: Read> Xz<R> {
    /// Begins with the magic of the first stream.
    pub(super) fn new(input: Input<R>, window_log: u32, share: Share) -> io::Result<Self> {
        let most_window = 1_u64.checked_shl(window_log).unwrap_or(u64::MAX);
        let most_memory = most_window.saturating_add(widen(BESIDE_WINDOW));
        let memory = most_memory.min(widen(USUAL_WINDOW + BESIDE_WINDOW));
        let decoder = decoder(memory)?;
        Ok(Self { input, decoder, memory, most_memory, share, state: State::Inside })
    }

    pub(super) fn received(&self) -> u64 {
        self.input.received()
    }

    /// Enters the next stream, or finds that nothing but padding is left.
    fn next_stream(&mut self) -> io::Result<State> {
        let mut padding: u64 = 0;
        loop {
            let bytes = self.input.fill()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                break;
            }
            self.input.consume(zeros);
            padding = padding.saturating_add(widen(zeros));
        }
        let has_next = is_magic(self.input.look(MAGIC.len())?);
        if !has_next {
            self.input.expect_padding()?;
        }
        if !padding.is_multiple_of(4) {
            return Err(invalid(format!("a padding of {padding} bytes is no multiple of four")));
        }
        if !has_next {
            return Ok(State::Ended);
        }
        self.decoder = decoder(self.memory)?;
        Ok(State::Inside)
    }

    /// Lets the decoder take as much memory as a block may ask for. That waits for the layer's turn.
    fn take_more_memory(&mut self) -> io::Result<()> {
        let most = self.most_memory;
        let is_enough = self.memory < most && self.decoder.set_memlimit(most).is_ok();
        if !is_enough {
            let why = format!("a block wants more than {most} bytes of memory");
            return Err(Excess::error(why, flag::WINDOW));
        }
        if !self.share.wait_for_turn() {
            return Err(io::Error::other("nobody reads the layer any longer"));
        }
        self.memory = most;
        Ok(())
    }
}

/// Knows every kind of checksum, and refuses those that are to come.
fn decoder(memory: u64) -> io::Result<Stream> {
    Stream::new_stream_decoder(memory, TELL_UNSUPPORTED_CHECK).map_err(refuse)
}

fn refuse(error: Error) -> io::Error {
    match error {
        Error::Mem => io::ErrorKind::OutOfMemory.into(),
        Error::Program => io::Error::other("the decoder was used wrongly"),
        error => invalid(error.to_string()),
    }
}

impl<R: Read> Read for Xz<R> {
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
                    let status = self.decoder.process(input, out, Action::Run);
                    let taken = self.decoder.total_in().saturating_sub(taken);
                    let given = self.decoder.total_out().saturating_sub(given);
                    self.input.consume(usize::try_from(taken).map_err(io::Error::other)?);
                    match status {
                        Ok(Status::StreamEnd) => self.state = State::Between,
                        Ok(_) if is_end && given == 0 => {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        Ok(_) if taken == 0 && given == 0 => {
                            return Err(invalid("the stream makes no progress"));
                        }
                        Ok(_) => {}
                        Err(Error::MemLimit) => self.take_more_memory()?,
                        Err(error) => return Err(refuse(error)),
                    }
                    if given > 0 {
                        return usize::try_from(given).map_err(io::Error::other);
                    }
                }
            }
        }
    }
}
