//! Reading ahead: what is done to a blob's bytes while they are read gets a processor of its own.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ext4_writer::Buffer;

use super::buffer::{allocate, read_some};
use crate::error::Error;

/// Compressed bytes in one piece, and how many pieces there are.
const PIECE: usize = 256 << 10;
const PIECES: usize = 4;
/// The bytes of all pieces.
pub(super) const AHEAD: usize = PIECES * PIECE;

/// Reads another reader on a thread, in bounded memory. Dropping it ends the thread at its next
/// piece.
pub(super) struct ReadAhead {
    pieces: Receiver<io::Result<Piece>>,
    empties: Sender<Buffer>,
    current: Piece,
    position: usize,
    is_ended: bool,
}

#[derive(Default)]
struct Piece {
    buffer: Buffer,
    filled: usize,
}

impl Piece {
    fn filled(&self) -> &[u8] {
        self.buffer.bytes().get(..self.filled).unwrap_or_default()
    }
}

impl ReadAhead {
    /// Starts the thread.
    pub(super) fn new<R: Read + Send + 'static>(mut reader: R) -> io::Result<Self> {
        let (filled, pieces) = mpsc::channel();
        let (empties, empty) = mpsc::channel::<Buffer>();
        for _ in 0..PIECES {
            // The receiver lives in the next lines.
            let _ = empties.send(Buffer::default());
        }
        let thread = thread::Builder::new().name("read".to_owned());
        let started = thread.spawn(move || {
            while let Ok(mut buffer) = empty.recv() {
                let count = allocate(&mut buffer, PIECE)
                    .and_then(|()| read_some(&mut reader, buffer.bytes_mut()));
                let is_last = !matches!(count, Ok(count) if count > 0);
                let piece = count.map(|filled| Piece { buffer, filled });
                if filled.send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        started.map_err(|error| Error::no_thread("cannot start a thread that reads", error))?;
        Ok(Self { pieces, empties, current: Piece::default(), position: 0, is_ended: false })
    }

    /// Takes the bytes that come next, and where they are in their buffer, for a buffer that is
    /// not needed; no bytes at the end.
    pub(super) fn exchange(&mut self, spent: Buffer) -> io::Result<(Buffer, Range<usize>)> {
        // The thread has gone when it has sent the last piece.
        let _ = self.empties.send(spent);
        if self.position == self.current.filled {
            self.advance()?;
        }
        let Piece { buffer, filled } = std::mem::take(&mut self.current);
        let rest = std::mem::take(&mut self.position)..filled;
        Ok((buffer, rest))
    }

    /// Waits for the next piece, in the place of one that was used up.
    fn advance(&mut self) -> io::Result<()> {
        if self.is_ended {
            return Ok(());
        }
        let lost = || io::Error::other("reading ahead stopped without a word");
        let next = self.pieces.recv().map_err(|_| lost())??;
        self.is_ended = next.filled == 0;
        let spent = std::mem::replace(&mut self.current, next);
        self.position = 0;
        if spent.buffer.pages() > 0 {
            let _ = self.empties.send(spent.buffer);
        }
        Ok(())
    }
}

impl Read for ReadAhead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.position == self.current.filled {
            self.advance()?;
        }
        let mut rest = self.current.filled().get(self.position..).unwrap_or_default();
        let count = rest.read(out)?;
        self.position = self.position.saturating_add(count);
        Ok(count)
    }
}
