//! A file's bytes to their final blocks, as its reader is read.

use std::io::Read;
use std::ops::Range;

use crate::alloc::Allocator;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::extent::Extent;
use crate::format::features::Features;
use crate::format::units::{BlockCount, BlockSize, FileBlock, Run};
use crate::metadata::Segment;
use crate::sink::Sink;
use crate::tree::Extents;
use crate::write_buffer::{Appended, WriteBuffer, lying_reader};

/// A part of a file that has blocks, from the start of one block to the end of another.
pub(crate) struct Stretch<'a> {
    first: FileBlock,
    pub(crate) blocks: BlockCount,
    /// The data inside it; what lies between is zeros.
    segments: &'a [Segment],
}

/// The longest file: what an extent tree maps, 2³² − 1 blocks, unless a feature is missing.
///
/// Source: kernel, `fs/ext4/super.c`, `ext4_max_size`.
fn max_size(format: &Format) -> u64 {
    let mapped = format.block.bytes_in(BlockCount::new(u64::from(u32::MAX)));
    if format.has(Features::HUGE_FILE) {
        return mapped;
    }
    // `i_blocks` counts units of 512 bytes with 32 bits.
    let counted = format.block.whole_blocks(u64::from(u32::MAX) * 512);
    mapped.min(format.block.bytes_in(counted))
}

/// Refuses sizes and segments that no file can have.
pub(crate) fn check(size: u64, segments: &[Segment], format: &Format) -> Result<()> {
    check_within(size, segments, max_size(format))
}

/// Refuses sizes beyond a limit, and segments that no file can have.
pub(crate) fn check_within(size: u64, segments: &[Segment], limit: u64) -> Result<()> {
    if size > limit {
        return Err(Error::FileTooLarge { size, limit });
    }
    let mut end = 0;
    for segment in segments {
        let offset = segment.offset;
        if offset < end {
            return Err(Error::InvalidSegments {
                offset,
                reason: "begins before its predecessor's end",
            });
        }
        end = match offset.checked_add(segment.length) {
            Some(end) if end <= size => end,
            _ => {
                return Err(Error::InvalidSegments {
                    offset,
                    reason: "passes the end of the file",
                });
            }
        };
    }
    Ok(())
}

/// Takes blocks for the data of a file and fills them; on failure the blocks are free again.
///
/// `reader` must have the bytes of all segments one behind the other, and no more.
pub(crate) fn store<S: Sink>(
    write_buffer: &mut WriteBuffer<S>,
    allocator: &mut Allocator,
    block_size: BlockSize,
    segments: &[Segment],
    reader: &mut dyn Read,
) -> Result<Extents> {
    write_buffer.check_usable()?;
    let segments: Vec<Segment> =
        segments.iter().filter(|segment| segment.length > 0).copied().collect();
    let stretches = stretches(&segments, block_size)?;
    let runs = allocator.allocate(stretches.iter().map(|stretch| stretch.blocks).sum())?;
    let extents = mappings(&stretches, &runs)?;
    match fill(write_buffer, block_size, &stretches, &extents, reader) {
        Ok(()) => Ok(extents.into()),
        Err(error) => {
            // The failure to report is the first one; a second one has poisoned the buffer.
            match write_buffer.pad().and_then(|()| release(write_buffer, allocator, &extents)) {
                Ok(()) | Err(_) => Err(error),
            }
        }
    }
}

/// Takes blocks for the holes of a file between two of its blocks; they read as zeros as before.
///
/// Source of the meaning: Linux, `fallocate(2)`, `FALLOC_FL_KEEP_SIZE`.
pub(crate) fn fill_holes(
    allocator: &mut Allocator,
    extents: &[Extent],
    blocks: Range<u64>,
) -> Result<Extents> {
    let holes = holes(extents, blocks);
    let runs = allocator.allocate(holes.iter().map(|(_, length)| *length).sum())?;
    let unwritten = lay(holes.into_iter(), &runs)?;
    let unwritten = unwritten.into_iter().map(|extent| Extent { unwritten: true, ..extent });
    let mut all: Vec<Extent> = extents.iter().copied().chain(unwritten).collect();
    all.sort_unstable_by_key(|extent| extent.at);
    Ok(all.into())
}

/// The parts of a range of a file's blocks that nothing is mapped to.
fn holes(extents: &[Extent], blocks: Range<u64>) -> Vec<(u64, BlockCount)> {
    let mut holes = Vec::new();
    let mut at = blocks.start;
    let mapped = extents.iter().map(|extent| {
        let start = u64::from(extent.at.get());
        (start, start + extent.run.length.get())
    });
    for (start, end) in mapped.chain([(blocks.end, blocks.end)]) {
        let hole_end = start.min(blocks.end);
        if hole_end > at {
            holes.push((at, BlockCount::new(hole_end - at)));
        }
        at = at.max(end);
    }
    holes
}

/// The length of a file that is to be inside its inode; `None` for one that is too long, or that
/// has no data and so needs no block either.
pub(crate) fn inline_length(size: u64, segments: &[Segment], format: &Format) -> Option<usize> {
    let length = usize::try_from(size).ok()?;
    let has_data = segments.iter().any(|segment| segment.length > 0);
    (has_data && length <= format.inline_capacity()?).then_some(length)
}

/// All bytes of a short file, its holes as zeros.
pub(crate) fn collect(
    length: usize,
    segments: &[Segment],
    reader: &mut dyn Read,
) -> Result<Box<[u8]>> {
    let mut bytes = vec![0; length];
    let expected = segments.iter().map(|segment| segment.length).sum();
    let mut progress = Progress { expected, got: 0 };
    for segment in segments {
        let range = usize::try_from(segment.offset)
            .and_then(|start| Ok(start..usize::try_from(segment.offset + segment.length)?))
            .map_err(|_| SIZE_WAS_CHECKED)?;
        read_whole(reader, bytes.get_mut(range).ok_or(SIZE_WAS_CHECKED)?, &mut progress)?;
    }
    expect_end(reader, &progress)?;
    Ok(bytes.into())
}

fn read_whole(reader: &mut dyn Read, target: &mut [u8], progress: &mut Progress) -> Result<()> {
    let mut rest = target;
    while !rest.is_empty() {
        match reader.read(rest) {
            Ok(0) => {
                let Progress { expected, got } = *progress;
                return Err(Error::ContentShort { expected, got });
            }
            Ok(got) => {
                rest = rest.get_mut(got..).ok_or_else(|| lying_reader(progress.got))?;
                progress.got += crate::format::units::widen(got);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::ReadContent { offset: progress.got, source }),
        }
    }
    Ok(())
}

/// Gives a file's blocks back, reading as zeros.
pub(crate) fn release<S: Sink>(
    write_buffer: &mut WriteBuffer<S>,
    allocator: &mut Allocator,
    extents: &[Extent],
) -> Result<()> {
    for extent in extents {
        write_buffer.zero(extent.run)?;
        allocator.free(extent.run)?;
    }
    Ok(())
}

/// Groups segments, none of them empty, whose blocks touch.
pub(crate) fn stretches(segments: &[Segment], block_size: BlockSize) -> Result<Vec<Stretch<'_>>> {
    let first_block = |segment: &Segment| block_size.whole_blocks(segment.offset).get();
    let end_block =
        |segment: &Segment| block_size.blocks_for(segment.offset + segment.length).get();
    let mut stretches = Vec::new();
    for touching in segments.chunk_by(|one, next| first_block(next) <= end_block(one)) {
        if let (Some(first), Some(last)) = (touching.first(), touching.last()) {
            let start = first_block(first);
            stretches.push(Stretch {
                first: FileBlock::new(u32::try_from(start).map_err(|_| SIZE_WAS_CHECKED)?),
                blocks: BlockCount::new(end_block(last) - start),
                segments: touching,
            });
        }
    }
    Ok(stretches)
}

const SIZE_WAS_CHECKED: Error = internal("a file's size was checked before its blocks");

/// Lays the runs below the stretches.
pub(crate) fn mappings(stretches: &[Stretch<'_>], runs: &[Run]) -> Result<Vec<Extent>> {
    lay(stretches.iter().map(|stretch| (u64::from(stretch.first.get()), stretch.blocks)), runs)
}

/// Lays runs, as long together as the parts, below parts of a file.
fn lay(parts: impl Iterator<Item = (u64, BlockCount)>, runs: &[Run]) -> Result<Vec<Extent>> {
    let mut extents = Vec::with_capacity(runs.len());
    let mut runs = runs.iter().copied();
    let mut rest = Run::new(crate::format::units::BlockIndex::new(0), BlockCount::ZERO);
    for (first, length) in parts {
        let mut at = first;
        let end = at + length.get();
        while at < end {
            if rest.length == BlockCount::ZERO {
                rest = runs.next().ok_or(internal("the runs are as long as the stretches"))?;
            }
            let length = rest.length.min(BlockCount::new(end - at));
            let place = u32::try_from(at).map_err(|_| SIZE_WAS_CHECKED)?;
            extents.push(Extent::written(FileBlock::new(place), Run::new(rest.start, length)));
            rest = Run::new(rest.start + length, rest.length - length);
            at += length.get();
        }
    }
    Ok(extents)
}

/// What of the data has come, for the messages.
struct Progress {
    expected: u64,
    got: u64,
}

fn fill<S: Sink>(
    write_buffer: &mut WriteBuffer<S>,
    block_size: BlockSize,
    stretches: &[Stretch<'_>],
    extents: &[Extent],
    reader: &mut dyn Read,
) -> Result<()> {
    let all = stretches.iter().flat_map(|stretch| stretch.segments);
    let mut progress = Progress { expected: all.map(|segment| segment.length).sum(), got: 0 };
    let mut segments = stretches.iter().flat_map(|stretch| stretch.segments).copied();
    let mut current = segments.next();
    for extent in extents {
        write_buffer.seek(extent.run.start)?;
        let mut at = block_size.bytes_in(BlockCount::new(u64::from(extent.at.get())));
        let end = at + block_size.bytes_in(extent.run.length);
        while let Some(segment) = current.filter(|segment| segment.offset < end) {
            write_buffer.append_zeros(segment.offset - at)?;
            let length = segment.length.min(end - segment.offset);
            copy(write_buffer, reader, length, &mut progress)?;
            at = segment.offset + length;
            current = match segment.length - length {
                0 => segments.next(),
                left => Some(Segment { offset: at, length: left }),
            };
        }
        write_buffer.append_zeros(end - at)?;
    }
    expect_end(reader, &progress)
}

fn copy<S: Sink>(
    write_buffer: &mut WriteBuffer<S>,
    reader: &mut dyn Read,
    length: u64,
    progress: &mut Progress,
) -> Result<()> {
    match write_buffer.append_from(reader, length) {
        Ok(Appended::All) => {
            progress.got += length;
            Ok(())
        }
        Ok(Appended::Short { got }) => {
            Err(Error::ContentShort { expected: progress.expected, got: progress.got + got })
        }
        Err(Error::ReadContent { offset, source }) => {
            Err(Error::ReadContent { offset: progress.got + offset, source })
        }
        Err(error) => Err(error),
    }
}

fn expect_end(reader: &mut dyn Read, progress: &Progress) -> Result<()> {
    loop {
        match reader.read(&mut [0]) {
            Ok(0) => return Ok(()),
            Ok(_) => return Err(Error::ContentLong { expected: progress.expected }),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::ReadContent { offset: progress.got, source }),
        }
    }
}
