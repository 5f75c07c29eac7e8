//! The xz format: every stream, and the padding between and behind them.
//!
//! Source: xz-file-format.txt 1.2.1. The library verifies the checksums of headers, blocks and
//! indexes, and takes memory in proportion to a block's window alone.

use std::io::{self, Read};

use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::input::{Input, invalid};
use super::limits::Excess;
use super::pool::Share;
use super::streams::{Decoder, Progress};
use super::zstandard::USUAL_WINDOW;
use super::{flag, widen};

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];

/// Whether these bytes begin a stream.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// What the decoder takes besides its window, generously: 64 KiB and the filters.
pub(super) const BESIDE_WINDOW: usize = 256 << 10;

/// Decompresses a stream.
pub(super) struct Xz {
    stream: Stream,
    /// The memory that a stream may take as of now, and that it may ever take.
    memory: u64,
    most_memory: u64,
    share: Share,
}

impl Xz {
    pub(super) fn new(window_log: u32, share: Share) -> io::Result<Self> {
        let most_window = 1_u64.checked_shl(window_log).unwrap_or(u64::MAX);
        let most_memory = most_window.saturating_add(widen(BESIDE_WINDOW));
        let memory = most_memory.min(widen(USUAL_WINDOW + BESIDE_WINDOW));
        Ok(Self { stream: stream(memory)?, memory, most_memory, share })
    }

    fn counts(&self) -> (u64, u64) {
        (self.stream.total_in(), self.stream.total_out())
    }

    /// Lets the decoder take as much memory as a block may ask for. That waits for the layer's turn.
    fn take_more_memory(&mut self) -> io::Result<()> {
        let most = self.most_memory;
        let is_enough = self.memory < most && self.stream.set_memlimit(most).is_ok();
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
fn stream(memory: u64) -> io::Result<Stream> {
    Stream::new_stream_decoder(memory, TELL_UNSUPPORTED_CHECK).map_err(refuse)
}

fn refuse(error: Error) -> io::Error {
    match error {
        Error::Mem => io::ErrorKind::OutOfMemory.into(),
        Error::Program => io::Error::other("the decoder was used wrongly"),
        error => invalid(error.to_string()),
    }
}

impl Decoder for Xz {
    fn enter<R: Read>(&mut self, input: &mut Input<R>) -> io::Result<bool> {
        let mut padding: u64 = 0;
        loop {
            let bytes = input.fill()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                break;
            }
            input.consume(zeros);
            padding = padding.saturating_add(widen(zeros));
        }
        let has_next = is_magic(input.look(MAGIC.len())?);
        if !has_next {
            input.expect_padding()?;
        }
        if !padding.is_multiple_of(4) {
            return Err(invalid(format!("a padding of {padding} bytes is no multiple of four")));
        }
        if has_next {
            self.stream = stream(self.memory)?;
        }
        Ok(has_next)
    }

    fn decode(&mut self, input: &[u8], out: &mut [u8]) -> io::Result<Progress> {
        let before = self.counts();
        let mut status = self.stream.process(input, out, Action::Run);
        if matches!(status, Err(Error::MemLimit)) {
            self.take_more_memory()?;
            // What an earlier block gave is taken first.
            let Progress { consumed, produced, .. } = Progress::between(before, self.counts())?;
            let rest = input.get(consumed..).unwrap_or_default();
            status = match produced {
                0 => self.stream.process(rest, out, Action::Run),
                _ => Ok(Status::Ok),
            };
        }
        let is_end = matches!(status.map_err(refuse)?, Status::StreamEnd);
        Ok(Progress { is_end, ..Progress::between(before, self.counts())? })
    }
}
