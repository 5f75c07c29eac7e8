//! Large writes out of small ones: blocks that lie one behind the other reach the sink together,
//! and blocks of zeros, where the sink reads as zeros anyway, not at all.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use crate::buffer::Buffer;
use crate::deferred_error::DeferredError;
use crate::error::{Error, Result, internal};
use crate::format::units::{BlockCount, BlockIndex, BlockSize, Run, at_most, widen};
use crate::pending_zeroes::PendingZeroes;
use crate::sink::{InitialContents, Sink, part_is_inside};

/// The pages of the buffer at most: 1 MiB. The kernel has a large folio for a large write; with 256
/// KiB a tree of small files took a sixth longer.
pub(crate) const PAGES: usize = 256;
/// The pages of the buffer at first. To clear all of it would be a quarter of the time that an
/// empty filesystem takes, which hardly needs it.
const FIRST_PAGES: usize = 16;

/// A sink with a buffer in front of it.
pub(crate) struct WriteBuffer<S> {
    sink: S,
    initial: InitialContents,
    block_size: BlockSize,
    buffer: Buffer,
    /// The block at which the buffer begins.
    start: BlockIndex,
    /// The bytes in the buffer.
    filled: usize,
    written: u64,
    /// Nothing at or behind it was ever written.
    high_water: BlockIndex,
    /// What is to read as zeros again and does not yet.
    pending_zeroes: PendingZeroes,
    poisoned: bool,
}

/// The runs that wait to be made zeros at most.
const MAX_PENDING: usize = 1 << 16;

impl<S> std::fmt::Debug for WriteBuffer<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBuffer")
            .field("start", &self.start)
            .field("filled", &self.filled)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

impl<S: Sink> WriteBuffer<S> {
    /// An empty buffer before `sink`, in which no byte was written but what `initial` says.
    pub(crate) fn new(sink: S, initial: InitialContents, block_size: BlockSize) -> Result<Self> {
        let buffer = pages(FIRST_PAGES, 0)?;
        let start = BlockIndex::new(0);
        Ok(Self {
            sink,
            initial,
            block_size,
            buffer,
            start,
            filled: 0,
            written: 0,
            high_water: start,
            pending_zeroes: PendingZeroes::default(),
            poisoned: false,
        })
    }

    /// Fails if the sink has failed before.
    pub(crate) fn check_usable(&self) -> Result<()> {
        if self.poisoned { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// What the sink held before.
    pub(crate) fn initial(&self) -> InitialContents {
        self.initial
    }

    /// The most bytes that the sink can hold, where it has an end.
    pub(crate) fn capacity(&self) -> Option<u64> {
        self.sink.capacity()
    }

    /// The sink; what is in the buffer is not in it.
    pub(crate) fn sink(&self) -> &S {
        &self.sink
    }

    /// The bytes that the sink has been given.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Makes `block` the place of what comes next.
    pub(crate) fn seek(&mut self, block: BlockIndex) -> Result<()> {
        self.check_usable()?;
        let filled = self.block_size.whole_blocks(widen(self.filled));
        if self.start + filled != block {
            self.write_buffered()?;
            self.start = block;
        }
        Ok(())
    }

    /// Appends `length` bytes from `reader`; says how many came when it ended early.
    pub(crate) fn append_from(
        &mut self,
        reader: &mut dyn Read,
        length: u64,
    ) -> Result<Appended, Error> {
        let mut left = length;
        while left > 0 {
            let room = self.room()?;
            let wanted = at_most(left, room.len());
            let target = room.get_mut(..wanted).ok_or(BUFFER_HAS_ROOM)?;
            match reader.read(target) {
                Ok(0) => return Ok(Appended::Short { got: length - left }),
                Ok(got) if got <= wanted => {
                    self.filled += got;
                    left -= widen(got);
                }
                Ok(_) => return Err(lying_reader(length - left)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::ReadContent { offset: length - left, source }),
            }
        }
        Ok(Appended::All)
    }

    /// Appends bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room()?;
            let (now, later) = rest.split_at(rest.len().min(room.len()));
            room.get_mut(..now.len()).ok_or(BUFFER_HAS_ROOM)?.copy_from_slice(now);
            self.filled += now.len();
            rest = later;
        }
        Ok(())
    }

    /// Appends zeros.
    pub(crate) fn append_zeros(&mut self, length: u64) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let room = self.room()?;
            let now = at_most(left, room.len());
            room.get_mut(..now).ok_or(BUFFER_HAS_ROOM)?.fill(0);
            self.filled += now;
            left -= widen(now);
        }
        Ok(())
    }

    /// Fills the last block up with zeros.
    pub(crate) fn pad(&mut self) -> Result<()> {
        let missing = self.filled.next_multiple_of(self.block_size.len()) - self.filled;
        self.append_zeros(widen(missing))
    }

    /// Writes one block at its place; what `bytes` do not fill of it is zeros.
    pub(crate) fn write_block(&mut self, at: BlockIndex, bytes: &[u8]) -> Result<()> {
        let rest = self.block_size.bytes().checked_sub(widen(bytes.len()));
        let rest = rest.ok_or(internal("what is written as a block is no longer than one"))?;
        self.seek(at)?;
        self.append(bytes)?;
        self.append_zeros(rest)
    }

    /// Writes whole blocks, of which none is all zeros, from where they are.
    pub(crate) fn write_blocks(&mut self, at: BlockIndex, blocks: &[u8]) -> Result<()> {
        self.write_buffered()?;
        let (offset, length) = (self.block_size.offset(at), widen(blocks.len()));
        let done = self.sink.write_at(offset, blocks).map(|()| self.written += length);
        self.checked(done, offset, length)?;
        self.start = at + self.block_size.whole_blocks(length);
        self.pending_zeroes.remove(at, self.start);
        self.high_water = self.high_water.max(self.start);
        Ok(())
    }

    /// Makes a run read as zeros again, at the latest at the next [`flush`](Self::flush): what
    /// is freed is often written again, and neighbours are freed one after the other.
    pub(crate) fn zero(&mut self, run: Run) -> Result<()> {
        self.write_buffered()?;
        self.pending_zeroes.add(run.start, run.end().min(self.high_water));
        if self.pending_zeroes.count() > MAX_PENDING { self.flush() } else { Ok(()) }
    }

    /// Writes all that is in the buffer, and makes zeros of what has to be.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.write_buffered()?;
        self.pending_zeroes.take().try_for_each(|run| self.zero_now(run))
    }

    /// Makes a run that nothing was written to read as zeros, if it does not.
    pub(crate) fn clear(&mut self, run: Run) -> Result<()> {
        self.check_usable()?;
        if self.initial == InitialContents::Zeros || run.length == BlockCount::ZERO {
            return Ok(());
        }
        self.write_buffered()?;
        self.zero_now(run)
    }

    fn zero_now(&mut self, run: Run) -> Result<()> {
        let offset = self.block_size.offset(run.start);
        let length = self.block_size.bytes_in(run.length);
        let done = self.sink.zero_at(offset, length);
        self.checked(done, offset, length)
    }

    /// Gives the sink all that is in the buffer; a part of a block must not be.
    pub(crate) fn write_buffered(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.filled == 0 {
            return Ok(());
        }
        let offset = self.block_size.offset(self.start);
        let filled = std::mem::take(&mut self.filled);
        let bytes = self.buffer.bytes().get(..filled).ok_or(BUFFER_HAS_ROOM)?;
        let used = match self.initial {
            InitialContents::Zeros => used_parts(bytes, self.block_size.len()),
            InitialContents::Unknown => std::iter::once(0..filled).collect(),
        };
        for part in &used {
            let first = self.start + self.block_size.whole_blocks(widen(part.start));
            let behind = self.start + self.block_size.whole_blocks(widen(part.end));
            self.pending_zeroes.remove(first, behind);
        }
        let written = self.write_parts(offset, used);
        self.start = self.start + self.block_size.whole_blocks(widen(filled));
        self.high_water = self.high_water.max(self.start);
        let done = written.map(|count| self.written += count);
        self.checked(done, offset, widen(filled))
    }

    /// Gives the sink parts of the buffer; returns the bytes written.
    fn write_parts(&mut self, offset: u64, parts: Vec<Range<usize>>) -> io::Result<u64> {
        let written = parts.iter().map(|part| widen(part.len())).sum();
        let place = |part: &Range<usize>| offset + widen(part.start);
        // A sink that keeps the buffer shall get it when that is worth another one.
        let is_full = self.buffer.pages() == PAGES;
        if let ([part], true) = (parts.as_slice(), is_full) {
            self.sink.write_buffer(place(part), &mut self.buffer, part.clone())?;
            return Ok(written);
        }
        for part in parts {
            let at = place(&part);
            self.sink.write_at(at, self.buffer.bytes().get(part).ok_or_else(part_is_inside)?)?;
        }
        Ok(written)
    }

    /// Gives the sink all that is in the buffer, and returns when it cannot be lost while what
    /// follows stays.
    pub(crate) fn barrier(&mut self) -> Result<()> {
        self.flush()?;
        let done = self.sink.barrier();
        self.checked(done, 0, 0)
    }

    /// Writes all that is left, makes the image `length` bytes long and syncs it.
    pub(crate) fn finish(mut self, length: u64) -> Result<(u64, S)> {
        self.flush()?;
        let done = self.sink.set_length(length).and_then(|()| self.sink.sync());
        self.checked(done, 0, length)?;
        Ok((self.written, self.sink))
    }

    /// The free part of the buffer, never empty.
    fn room(&mut self) -> Result<&mut [u8]> {
        if self.filled == self.buffer.bytes().len() {
            if self.buffer.pages() < PAGES {
                self.grow()?;
            } else {
                self.write_buffered()?;
            }
        }
        self.buffer.bytes_mut().get_mut(self.filled..).ok_or(BUFFER_HAS_ROOM)
    }

    /// Makes the buffer larger and keeps what is in it.
    fn grow(&mut self) -> Result<()> {
        let offset = self.block_size.offset(self.start);
        let mut larger = pages(PAGES.min(self.buffer.pages() * 2), offset)?;
        let filled = self.buffer.bytes().get(..self.filled).ok_or(BUFFER_HAS_ROOM)?;
        let place = larger.bytes_mut().get_mut(..filled.len()).ok_or(BUFFER_HAS_ROOM)?;
        place.copy_from_slice(filled);
        self.buffer = larger;
        Ok(())
    }

    fn checked(&mut self, done: std::io::Result<()>, offset: u64, length: u64) -> Result<()> {
        done.map_err(|error| {
            self.poisoned = true;
            let DeferredError { offset, length, source } = DeferredError::of(error, offset, length);
            match source.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(Error::Internal { promise }) => internal(promise),
                _ => Error::WriteImage { offset, length, source },
            }
        })
    }
}

/// A buffer for what stands at `offset`.
fn pages(count: usize, offset: u64) -> Result<Buffer> {
    Buffer::new(count).map_err(|source| Error::WriteImage { offset, length: 0, source })
}

/// What came of [`WriteBuffer::append_from`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// Every byte.
    All,
    /// The reader ended.
    Short {
        /// The bytes that came before.
        got: u64,
    },
}

const BUFFER_HAS_ROOM: Error = internal("the buffer of writes has the room it says");

/// The error of a reader that says to have read more than there was room for.
pub(crate) fn lying_reader(offset: u64) -> Error {
    let source = std::io::Error::other("the reader claims more bytes than it was asked for");
    Error::ReadContent { offset, source }
}

/// The runs of blocks that are not all zeros.
fn used_parts(bytes: &[u8], block: usize) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for block in bytes.chunks(block) {
        let end = at + block.len();
        if !is_zero(block) {
            match parts.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => parts.push(at..end),
            }
        }
        at = end;
    }
    parts
}

/// Whether a block holds nothing but zeros: nearly always decided by its first bytes.
fn is_zero(block: &[u8]) -> bool {
    block.chunks(128).all(|piece| piece.iter().fold(0, |bits, byte| bits | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::MemorySink;

    #[test]
    fn what_is_freed_is_made_zeros_once_and_only_where_nothing_came_after_it() {
        let mut write_buffer =
            WriteBuffer::new(MemorySink::new(), InitialContents::Zeros, BlockSize::DEFAULT)
                .unwrap();
        let run = |start, length| Run::new(BlockIndex::new(start), BlockCount::new(length));
        write_buffer.write_blocks(BlockIndex::new(0), &vec![7; 10 * 4096]).unwrap();
        write_buffer.zero(run(1, 3)).unwrap();
        write_buffer.zero(run(4, 4)).unwrap();
        write_buffer.zero(run(9, 100)).unwrap();
        assert_eq!(write_buffer.pending_zeroes.count(), 2);
        // A block of zeros is not written, but the one before it is.
        write_buffer.write_block(BlockIndex::new(2), b"a").unwrap();
        write_buffer.write_block(BlockIndex::new(3), b"").unwrap();
        write_buffer.flush().unwrap();
        assert_eq!(write_buffer.pending_zeroes.count(), 0);
        let (_, sink) = write_buffer.finish(10 * 4096).unwrap();
        let first: Vec<u8> = sink.bytes().chunks(4096).map(|block| block[0]).collect();
        assert_eq!(first, [7, 0, b'a', 0, 0, 0, 0, 0, 7, 0]);
    }

    struct Log(Vec<(u64, usize)>);

    impl Sink for Log {
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.0.push((offset, bytes.len()));
            Ok(())
        }
        fn zero_at(&mut self, _: u64, _: u64) -> std::io::Result<()> {
            Ok(())
        }
        fn set_length(&mut self, _: u64) -> std::io::Result<()> {
            Ok(())
        }
        fn sync(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn neighbours_share_a_write_and_zeros_are_not_written() {
        let mut write_buffer =
            WriteBuffer::new(Log(Vec::new()), InitialContents::Zeros, BlockSize::DEFAULT).unwrap();
        write_buffer.write_block(BlockIndex::new(10), b"a").unwrap();
        write_buffer.write_block(BlockIndex::new(11), b"b").unwrap();
        write_buffer.write_block(BlockIndex::new(12), b"").unwrap();
        write_buffer.append_zeros(8192).unwrap();
        write_buffer.append(&[7; 4096]).unwrap();
        let (written, log) = write_buffer.finish(0).unwrap();
        assert_eq!(log.0, [(40960, 8192), (40960 + 5 * 4096, 4096)]);
        assert_eq!(written, 12288);
    }

    #[test]
    fn zeros_are_written_where_the_sink_held_something_else() {
        let sink = Log(Vec::new());
        let mut write_buffer =
            WriteBuffer::new(sink, InitialContents::Unknown, BlockSize::DEFAULT).unwrap();
        write_buffer.write_block(BlockIndex::new(10), b"a").unwrap();
        write_buffer.append_zeros(8192).unwrap();
        let (written, log) = write_buffer.finish(0).unwrap();
        assert_eq!((written, log.0), (12288, vec![(40960, 12288)]));
    }

    #[test]
    fn more_than_the_buffer_passes_through_it() {
        let mut write_buffer =
            WriteBuffer::new(MemorySink::new(), InitialContents::Zeros, BlockSize::DEFAULT)
                .unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0] | 1).collect();
        write_buffer.seek(BlockIndex::new(2)).unwrap();
        assert_eq!(write_buffer.append_from(&mut &bytes[..], 3_000_000).unwrap(), Appended::All);
        write_buffer.pad().unwrap();
        let short = write_buffer.append_from(&mut &b"abc"[..], 5).unwrap();
        assert_eq!(short, Appended::Short { got: 3 });
        write_buffer.pad().unwrap();
        let (_, sink) = write_buffer.finish(8192 + 4_000_000).unwrap();
        assert_eq!(sink.into_bytes()[8192..8192 + 3_000_000], bytes);
    }
}
