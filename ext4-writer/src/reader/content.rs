//! The bytes of files and links: as segments, by position, as a stream.

use std::io::{self, Read, Seek, SeekFrom};

use crate::format::units::{BlockIndex, widen};
use crate::metadata::FileKind;
use crate::reader::attribute_list;
use crate::reader::device::Device;
use crate::reader::error::{ReadError, ReadResult};
use crate::reader::extent::Extent;
use crate::reader::inode::Inode;
use crate::reader::map::Map;
use crate::reader::source::Source;
use crate::record::inode::{BLOCK_MAP_SIZE, Flags};

/// A part of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSegment {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// What it is.
    pub kind: SegmentKind,
}

/// What a part of a file's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Bytes on disk, the first of them at this byte of the filesystem.
    Data {
        /// Where, in bytes.
        at: u64,
    },
    /// Bytes in the inode itself.
    Inline,
    /// Blocks that are reserved and read as zeros.
    Unwritten,
    /// Nothing, which reads as zeros.
    Hole,
}

/// The segments of one file, ascending and without gaps, up to its size.
pub struct Segments<'a, S> {
    device: &'a Device<S>,
    inode: &'a Inode,
    map: Map,
    /// Up to where the segments were told, in bytes.
    at: u64,
    /// The next extent, met behind a hole.
    next: Option<Extent>,
    failed: bool,
}

impl<'a, S: Source> Segments<'a, S> {
    /// The segments from the block that holds the byte `from` on.
    pub(crate) fn new(device: &'a Device<S>, inode: &'a Inode, from: u64) -> ReadResult<Self> {
        refuse_encrypted(inode)?;
        let block = from / device.block.bytes();
        let map = Map::new(device, inode, block)?;
        Ok(Self { device, inode, map, at: from, next: None, failed: false })
    }

    fn step(&mut self) -> ReadResult<FileSegment> {
        let (offset, left) = (self.at, self.inode.size().saturating_sub(self.at));
        let whole = |kind| Ok(FileSegment { offset, length: left, kind });
        if self.inode.has(Flags::INLINE_DATA) {
            // What the size has more is zeros; e2fsck finds no fault in it. Source: kernel,
            // `fs/ext4/inline.c`, `ext4_inline_data_truncate`, where a file may grow like this.
            let held = widen(inline(self.inode)?.len());
            return match held.checked_sub(offset) {
                None | Some(0) => whole(SegmentKind::Hole),
                Some(rest) => {
                    let length = left.min(rest);
                    Ok(FileSegment { offset, length, kind: SegmentKind::Inline })
                }
            };
        }
        if self.next.is_none() {
            self.next = self.map.next_run(self.device, self.inode).transpose()?;
        }
        let Some(extent) = self.next else { return whole(SegmentKind::Hole) };
        let bytes = self.device.block.bytes();
        let start = extent.file_block.saturating_mul(bytes);
        if start > offset {
            let length = left.min(start - offset);
            return Ok(FileSegment { offset, length, kind: SegmentKind::Hole });
        }
        self.next = None;
        let (into, end) = (offset - start, extent.end().saturating_mul(bytes));
        let kind = if extent.unwritten {
            SegmentKind::Unwritten
        } else {
            let first = self.device.block.offset(BlockIndex::new(extent.block));
            SegmentKind::Data { at: first.saturating_add(into) }
        };
        Ok(FileSegment { offset, length: left.min(end.saturating_sub(offset)), kind })
    }
}

impl<S: Source> Iterator for Segments<'_, S> {
    type Item = ReadResult<FileSegment>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at >= self.inode.size() {
            return None;
        }
        let segment = self.step();
        match &segment {
            Ok(segment) => self.at = self.at.saturating_add(segment.length),
            Err(_) => self.failed = true,
        }
        Some(segment)
    }
}

fn refuse_encrypted(inode: &Inode) -> ReadResult<()> {
    if inode.has(Flags::ENCRYPT) && !inode.is(FileKind::Directory) {
        return Err(ReadError::Encrypted { inode: inode.number() });
    }
    Ok(())
}

/// All bytes that an inode holds itself: `i_block`, then the value of `system.data`.
///
/// Source: kernel, `fs/ext4/inline.c`, `ext4_read_inline_data`.
pub(crate) fn inline(inode: &Inode) -> ReadResult<Vec<u8>> {
    let mut bytes = inode.record.block.to_vec();
    let Some(rest) = attribute_list::inline_rest(inode)? else {
        return Err(inode.corrupt("its content is to be in the inode, but no attribute says so"));
    };
    bytes.extend_from_slice(rest);
    Ok(bytes)
}

/// The bytes of an inode with inline data that count.
fn inline_content(inode: &Inode) -> ReadResult<Vec<u8>> {
    let mut bytes = inline(inode)?;
    let size = usize::try_from(inode.size()).unwrap_or(usize::MAX);
    bytes.truncate(size);
    Ok(bytes)
}

/// Fills `buffer` from the byte `offset` of a file on, as far as the file goes.
pub(crate) fn read_at<S: Source>(
    device: &Device<S>,
    inode: &Inode,
    offset: u64,
    buffer: &mut [u8],
) -> ReadResult<usize> {
    let mut done = 0;
    for segment in Segments::new(device, inode, offset)? {
        let segment = segment?;
        let rest = buffer.get_mut(done..).unwrap_or_default();
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(rest.len());
        let piece = rest.get_mut(..length).unwrap_or_default();
        read_segment(device, inode, &segment, piece)?;
        done = done.saturating_add(length);
        if done == buffer.len() {
            break;
        }
    }
    Ok(done)
}

/// The first bytes of a segment.
fn read_segment<S: Source>(
    device: &Device<S>,
    inode: &Inode,
    segment: &FileSegment,
    buffer: &mut [u8],
) -> ReadResult<()> {
    match segment.kind {
        SegmentKind::Data { at } => device.read(at, buffer)?,
        SegmentKind::Unwritten | SegmentKind::Hole => buffer.fill(0),
        SegmentKind::Inline => {
            buffer.fill(0);
            let content = inline_content(inode)?;
            let start = usize::try_from(segment.offset).unwrap_or(usize::MAX);
            let behind = content.get(start..).unwrap_or_default();
            for (byte, from) in buffer.iter_mut().zip(behind) {
                *byte = *from;
            }
        }
    }
    Ok(())
}

/// Whether the target of a link is in its `i_block`. `cluster_sectors` is what a block of attributes
/// adds to the inode's sectors; none where values may have inodes, which add to them too.
///
/// Source: kernel, `fs/ext4/inode.c`, `ext4_inode_is_fast_symlink`.
pub(crate) fn is_short_link(inode: &Inode, cluster_sectors: Option<u64>) -> bool {
    let fits = inode.size() < widen(BLOCK_MAP_SIZE) && !inode.has(Flags::INLINE_DATA);
    let has_blocks = cluster_sectors
        .is_some_and(|sectors| inode.sectors() != inode.attribute_block().map_or(0, |_| sectors));
    inode.is(FileKind::Symlink) && fits && !has_blocks
}

/// The target of a symbolic link.
///
/// Source: kernel, `fs/ext4/symlink.c`.
pub(crate) fn read_link<S: Source>(
    device: &Device<S>,
    inode: &Inode,
    cluster_sectors: Option<u64>,
) -> ReadResult<Vec<u8>> {
    refuse_encrypted(inode)?;
    let size = inode.size();
    if size == 0 || size > device.block.bytes() {
        return Err(inode.corrupt(format!("its target has {size} bytes")));
    }
    let mut target = vec![0; usize::try_from(size).unwrap_or_default()];
    if is_short_link(inode, cluster_sectors) {
        let held = inode.record.block.get(..target.len()).unwrap_or_default();
        target.copy_from_slice(held);
    } else {
        read_at(device, inode, 0, &mut target)?;
    }
    // A program gets the target up to its first NUL.
    let end = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
    target.truncate(end);
    if target.is_empty() {
        return Err(inode.corrupt("its target is empty"));
    }
    Ok(target)
}

/// The content of a file as a stream.
pub struct Contents<'a, S> {
    device: &'a Device<S>,
    inode: &'a Inode,
    segments: Segments<'a, S>,
    /// What of the segment that was reached is left.
    current: Option<FileSegment>,
    at: u64,
}

impl<'a, S: Source> Contents<'a, S> {
    pub(crate) fn new(device: &'a Device<S>, inode: &'a Inode) -> ReadResult<Self> {
        let segments = Segments::new(device, inode, 0)?;
        Ok(Self { device, inode, segments, current: None, at: 0 })
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> ReadResult<usize> {
        if self.current.is_none() {
            self.current = self.segments.next().transpose()?;
        }
        let Some(segment) = &mut self.current else { return Ok(0) };
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..length).unwrap_or_default();
        read_segment(self.device, self.inode, segment, piece)?;
        let done = widen(length);
        segment.offset = segment.offset.saturating_add(done);
        segment.length = segment.length.saturating_sub(done);
        if let SegmentKind::Data { at } = &mut segment.kind {
            *at = at.saturating_add(done);
        }
        if segment.length == 0 {
            self.current = None;
        }
        self.at = self.at.saturating_add(done);
        Ok(length)
    }
}

impl<S: Source> Read for Contents<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.read_some(buffer).map_err(io::Error::other)
    }
}

impl<S: Source> Seek for Contents<'_, S> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.inode.size().checked_add_signed(by),
        };
        let place = place.ok_or(io::ErrorKind::InvalidInput)?;
        self.segments = Segments::new(self.device, self.inode, place).map_err(io::Error::other)?;
        (self.current, self.at) = (None, place);
        Ok(place)
    }
}
