//! A buffered reader that can look ahead, for formats that are told by their first bytes.

use std::io::{self, Read};

use ext4_writer::Buffer;

use super::ahead::ReadAhead;
use super::buffer::{allocate, read_some};
use super::widen;

/// Large enough that a read from a file or a socket costs little compared with the inflating of it.
pub(super) const CAPACITY: usize = 128 << 10;

/// Reads `R` in large parts and shows them without copying.
pub(super) struct Input<R> {
    reader: Reader<R>,
    buffer: Buffer,
    start: usize,
    end: usize,
    received: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Self {
        let buffer = Buffer::default();
        Self { reader: Reader::Direct(reader), buffer, start: 0, end: 0, received: 0 }
    }

    /// Bytes of the reader that were made use of so far. What lies in the buffer is not counted:
    /// how much that is depends on how fast it came.
    pub(super) fn received(&self) -> u64 {
        let buffered = widen(self.buffered().len());
        self.received.saturating_sub(buffered)
    }

    /// What is buffered, at least one byte; empty only at the end of the input.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        self.look(1)
    }

    /// What is buffered, at least `wanted` bytes; fewer only at the end of the input.
    pub(super) fn look(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.buffered().len() < wanted {
            let count = match &mut self.reader {
                Reader::Ahead(ahead) if self.start == self.end => {
                    let (buffer, place) = ahead.exchange(std::mem::take(&mut self.buffer))?;
                    self.buffer = buffer;
                    (self.start, self.end) = (place.start, place.end);
                    place.len()
                }
                _ => self.read_more(wanted)?,
            };
            if count == 0 {
                break;
            }
            self.received = self.received.saturating_add(widen(count));
        }
        Ok(self.buffered())
    }

    /// Reads behind what is buffered, which is moved if `wanted` bytes from its start find no room.
    fn read_more(&mut self, wanted: usize) -> io::Result<usize> {
        allocate(&mut self.buffer, CAPACITY)?;
        let bytes = self.buffer.bytes_mut();
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if bytes.len() - self.start < wanted {
            bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let free = bytes.get_mut(self.end..).unwrap_or_default();
        let count = read_some(&mut self.reader, free)?;
        self.end = self.end.saturating_add(count).min(self.buffer.bytes().len());
        Ok(count)
    }

    /// Forgets the first `count` buffered bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// The next byte; the end of the input is an error.
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        let byte = self.fill()?.first().copied().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.consume(1);
        Ok(byte)
    }

    /// The next `N` bytes; the end of the input is an error.
    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// Reads to the end, which only zero bytes may precede.
    pub(super) fn expect_padding(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.fill()?;
            if bytes.is_empty() {
                return Ok(());
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(invalid("other data follows the end of the compressed stream"));
            }
            let count = bytes.len();
            self.consume(count);
        }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.bytes().get(self.start..self.end).unwrap_or_default()
    }
}

/// Who reads the blob.
enum Reader<R> {
    Direct(R),
    Ahead(ReadAhead),
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Direct(reader) => reader.read(out),
            Self::Ahead(reader) => reader.read(out),
        }
    }
}

impl<R: Read + Send + 'static> Input<R> {
    /// Reads the rest of the blob on a thread of its own.
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        let reader = match self.reader {
            Reader::Direct(reader) => Reader::Ahead(ReadAhead::new(reader)?),
            ahead @ Reader::Ahead(_) => ahead,
        };
        Ok(Self { reader, ..self })
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end && out.len() >= CAPACITY {
            let count = read_some(&mut self.reader, out)?;
            self.received = self.received.saturating_add(widen(count));
            return Ok(count);
        }
        let mut bytes = self.fill()?;
        let count = bytes.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

/// What the compressed bytes must not be.
pub(super) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}
