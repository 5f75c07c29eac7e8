//! The bytes of files: written to free blocks while they are read, before anything leads there.

use std::io::Read;

use crate::content::{check_within, mappings, stretches};
use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::edit::inode::Inode;
use crate::edit::map::FileMap;
use crate::error::{Error, internal};
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, widen};
use crate::metadata::{FileContent, Segment};
use crate::record::inode::{BLOCK_MAP_SIZE, Flags};

/// The bytes that are written at once.
const PIECE: usize = 1 << 20;

/// What a reader has given so far.
struct CountedReader<'a> {
    reader: &'a mut dyn Read,
    expected: u64,
    got: u64,
}

impl CountedReader<'_> {
    /// Fills `target`.
    fn fill(&mut self, target: &mut [u8]) -> EditResult<()> {
        let mut rest = target;
        while !rest.is_empty() {
            match self.reader.read(rest) {
                Ok(0) => {
                    let (expected, got) = (self.expected, self.got);
                    return Err(Error::ContentShort { expected, got }.into());
                }
                Ok(length) => {
                    let lying = internal("a reader tells how much it read");
                    rest = rest.get_mut(length..).ok_or(lying)?;
                    self.got += widen(length);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::ReadContent { offset: self.got, source }.into()),
            }
        }
        Ok(())
    }

    /// Refuses more bytes.
    fn end(&mut self) -> EditResult<()> {
        loop {
            match self.reader.read(&mut [0]) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(Error::ContentLong { expected: self.expected }.into()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::ReadContent { offset: self.got, source }.into()),
            }
        }
    }
}

/// Bytes on their way to one run of blocks.
struct Writing {
    offset: u64,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are to be written.
    filled: usize,
}

impl Writing {
    fn flush<D: Device>(&mut self, to: &mut Filesystem<D>) -> EditResult<()> {
        let filled = self.buffer.get(..self.filled);
        let filled = filled.ok_or(internal("the buffer holds what is added"))?;
        to.overlay.write_free(self.offset, filled)?;
        self.offset += widen(self.filled);
        self.filled = 0;
        Ok(())
    }

    /// Adds bytes, all zeros or what `fill` gives.
    fn add<D: Device>(
        &mut self,
        to: &mut Filesystem<D>,
        length: u64,
        mut fill: impl FnMut(&mut [u8]) -> EditResult<()>,
    ) -> EditResult<()> {
        let mut left = length;
        while left > 0 {
            let room = PIECE - self.filled;
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(room);
            let end = self.filled + piece;
            if self.buffer.len() < end {
                self.buffer.resize(end, 0);
            }
            let room = self.buffer.get_mut(self.filled..end);
            fill(room.ok_or(internal("the buffer holds what is added"))?)?;
            self.filled = end;
            left -= widen(piece);
            if self.filled == PIECE {
                self.flush(to)?;
            }
        }
        Ok(())
    }
}

impl<D: Device> Filesystem<D> {
    /// Writes the content of a file to free blocks, and leads an inode there that has none; it is
    /// not stored.
    pub(crate) fn write_content(
        &mut self,
        inode: &mut Inode,
        content: FileContent<'_>,
    ) -> EditResult<()> {
        let FileContent { size, segments, mut reader } = content;
        let whole = [Segment { offset: 0, length: size }];
        let segments = segments.unwrap_or(&whole);
        check_within(size, segments, self.max_size())?;
        let segments: Vec<Segment> =
            segments.iter().filter(|segment| segment.length > 0).copied().collect();
        let stretches = stretches(&segments, self.layout.block)?;
        let count: u64 = stretches.iter().map(|stretch| stretch.blocks.get()).sum();
        let goal = self.group_start(self.group_of_inode(inode.number));
        let runs = self.take_blocks(count, goal)?;
        let extents = mappings(&stretches, &runs)?;
        let expected = segments.iter().map(|segment| segment.length).sum();
        let mut reading = CountedReader { reader: &mut reader, expected, got: 0 };
        self.fill_extents(&extents, &segments, &mut reading)?;
        reading.end()?;
        let mut map = FileMap::default();
        for extent in extents {
            map.push(extent);
        }
        inode.set_flag(Flags::EXTENTS, self.has_extents());
        inode.record.block = [0; BLOCK_MAP_SIZE];
        inode.set_size(size);
        self.count_blocks(inode, i64::try_from(count).map_err(|_| FILES_ARE_COUNTED)?)?;
        self.set_map(inode, &mut map, goal)
    }

    fn fill_extents(
        &mut self,
        extents: &[Extent],
        segments: &[Segment],
        reading: &mut CountedReader<'_>,
    ) -> EditResult<()> {
        let block = self.layout.block;
        let mut segments = segments.iter().copied();
        let mut current = segments.next();
        let mut writing = Writing { offset: 0, buffer: Vec::new(), filled: 0 };
        let zeros = |piece: &mut [u8]| {
            piece.fill(0);
            Ok(())
        };
        for extent in extents {
            writing.offset = block.offset(extent.run.start);
            let mut at = block.bytes_in(BlockCount::new(extent.at.get().into()));
            let end = at + block.bytes_in(extent.run.length);
            while let Some(segment) = current.filter(|segment| segment.offset < end) {
                writing.add(self, segment.offset - at, zeros)?;
                let length = segment.length.min(end - segment.offset);
                writing.add(self, length, |piece| reading.fill(piece))?;
                at = segment.offset + length;
                current = match segment.length - length {
                    0 => segments.next(),
                    left => Some(Segment { offset: at, length: left }),
                };
            }
            writing.add(self, end - at, zeros)?;
            writing.flush(self)?;
        }
        Ok(())
    }

    /// Writes the target of a symbolic link; the inode is not stored.
    pub(crate) fn write_target(&mut self, inode: &mut Inode, target: &[u8]) -> EditResult<()> {
        if target.len() < BLOCK_MAP_SIZE {
            inode.set_size(widen(target.len()));
            // The target's end is marked by a NUL, so it must leave room for one.
            let place = inode.record.block.get_mut(..target.len());
            place.ok_or(internal("a short target fits into an inode"))?.copy_from_slice(target);
            return Ok(());
        }
        let mut bytes = target;
        self.write_content(inode, FileContent::new(widen(target.len()), &mut bytes))
    }
}

const FILES_ARE_COUNTED: Error = internal("a file's blocks are fewer than 2^63");
