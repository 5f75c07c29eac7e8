//! Checksums that begin with another UUID: all metadata keeps its content and gets new sums.
//!
//! Source: e2fsprogs, `misc/tune2fs.c`, `rewrite_metadata_checksums`. That leaves out the blocks of
//! the orphan file (1.47.0).

use std::collections::BTreeSet;
use std::mem::{offset_of, size_of};

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::edit::group::Group;
use crate::edit::groups::{bitmap_sum, is_set};
use crate::edit::in_place::Drain;
use crate::error::{Error, internal};
use crate::format::checksum::{FsSeed, InodeSeed, fold, has_whole_sum};
use crate::format::units::{BlockIndex, InodeNumber, length, widen};
use crate::metadata::FileKind;
use crate::reader::directory::{count_place, verify_entries, verify_node};
use crate::reader::extent::MapItem;
use crate::reader::{Inode as Found, Part, ReadError, attributes, inode, map};
use crate::record::directory::{IndexCount, IndexEntry, IndexTail, Tail};
use crate::record::extent::{ENTRY_SIZE, Header};
use crate::record::group::Flags as GroupFlags;
use crate::record::inode::{Flags, Inode as Record};
use crate::record::orphan;
use crate::record::{high16, low16, wide48, xattr};

/// So many bytes of an inode table are changed at once.
const PIECE: usize = 256 << 10;

/// Sums that begin with another UUID.
struct Reseed<'a, 'b> {
    seed: FsSeed,
    /// The blocks of attributes of several inodes that have their sums.
    shared: BTreeSet<u64>,
    drain: &'a mut Drain<'b>,
}

impl<D: Device> Filesystem<D> {
    /// Gives all that is summed the sums that begin with `uuid`, but for the superblock, and sends
    /// it on. What is damaged is refused: a new sum would hide it.
    pub(crate) fn reseed(&mut self, uuid: [u8; 16], drain: &mut Drain<'_>) -> EditResult<()> {
        let is_enabled = self.layout.seed.is_enabled();
        let seed = FsSeed::new(uuid, is_enabled);
        if is_enabled {
            let mut reseed = Reseed { seed, shared: BTreeSet::new(), drain };
            for number in 0..self.layout.groups {
                self.reseed_table(&mut reseed, number)?;
            }
        }
        // Behind the inodes, which are found by them.
        let old = (self.layout.seed, self.layout.uuid);
        for number in 0..self.layout.groups {
            let group = self.reseeded_group(seed, number)?;
            (self.layout.seed, self.layout.uuid) = (seed, uuid);
            let sealed = self.seal_group(group);
            (self.layout.seed, self.layout.uuid) = old;
            sealed?;
        }
        Ok(())
    }

    /// A group whose bitmaps have their new sums.
    fn reseeded_group(&mut self, seed: FsSeed, number: u32) -> EditResult<Group> {
        let flags = self.group(number)?.flags();
        let is_enabled = self.layout.seed.is_enabled();
        let part = Part::Group(number);
        if is_enabled && !flags.contains(GroupFlags::BLOCK_UNINIT) {
            let at = self.with_blocks(number)?.block_bitmap;
            let bytes = self.blocks().read_block(at, part)?;
            let sum = bitmap_sum(seed, &bytes, self.layout.clusters_per_group)?;
            self.group(number)?.set_block_bitmap_sum(sum);
        }
        if is_enabled && !flags.contains(GroupFlags::INODE_UNINIT) {
            let at = self.with_inodes(number)?.inode_bitmap;
            let bytes = self.blocks().read_block(at, part)?;
            let sum = bitmap_sum(seed, &bytes, self.layout.inodes_per_group.into())?;
            self.group(number)?.set_inode_bitmap_sum(sum);
        }
        let group = self.groups.remove(&number);
        Ok(group.ok_or(internal("a group that was read is there"))?)
    }

    /// The inodes of a group that were used once.
    fn reseed_table(&mut self, reseed: &mut Reseed<'_, '_>, number: u32) -> EditResult<()> {
        let per_group = self.layout.inodes_per_group;
        let group = self.group(number)?;
        let (table, unused) = (group.inode_table, group.unused_inodes());
        if group.flags().contains(GroupFlags::INODE_UNINIT) {
            return Ok(());
        }
        let used = per_group.saturating_sub(unused);
        let bitmap = self.with_inodes(number)?.inodes.clone();
        let bitmap = bitmap.ok_or(internal("the bitmap was read"))?;
        let block = self.layout.block;
        let per_block = block.len() / self.layout.inode_len;
        let per_piece = u32::try_from((PIECE / block.len()).max(1) * per_block);
        let per_piece = per_piece.map_err(|_| internal("a piece of a table is short"))?;
        for first in (0..used).step_by(length(per_piece.into())?) {
            let count = length((used - first).min(per_piece).into())?;
            let start = table + u64::from(first) / widen(per_block);
            let mut bytes = vec![0; count.div_ceil(per_block) * block.len()];
            self.blocks().read(block.offset(BlockIndex::new(start)), &mut bytes)?;
            let inodes = bytes.chunks_mut(self.layout.inode_len).take(count);
            for (slot, inode) in (first..).zip(inodes) {
                let is_used = is_set(&bitmap, slot.into());
                self.reseed_inode(reseed, number * per_group + slot + 1, is_used, inode)?;
            }
            self.overlay.put_all(start, &bytes);
            self.send_many(reseed.drain, |_| true)?;
        }
        Ok(())
    }

    /// An inode, and all that is summed by its number, if it is in use.
    fn reseed_inode(
        &mut self,
        reseed: &mut Reseed<'_, '_>,
        number: u32,
        is_used: bool,
        bytes: &mut [u8],
    ) -> EditResult<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            // One that was never used is not summed.
            return Ok(());
        }
        let mut record = Record::new_zeroed();
        for (byte, from) in record.as_mut_bytes().iter_mut().zip(&*bytes) {
            *byte = *from;
        }
        let new = reseed.seed.inode(InodeNumber::new(number), record.generation.get());
        if is_used {
            let found = inode::parse(&self.layout, number, bytes.to_vec())?;
            self.reseed_attributes(reseed, &found)?;
            self.reseed_content(reseed, new, &found)?;
        }
        let is_whole = has_whole_sum(&record, bytes.len());
        let sum = new.inode_sum(bytes, is_whole);
        overwrite(bytes, offset_of!(Record, checksum_lo), &low16(sum).to_le_bytes())?;
        if is_whole {
            overwrite(bytes, offset_of!(Record, checksum_hi), &high16(sum).to_le_bytes())?;
        }
        Ok(())
    }

    /// The block of attributes of an inode, which others may have too.
    fn reseed_attributes(&mut self, reseed: &mut Reseed<'_, '_>, found: &Found) -> EditResult<()> {
        let at = wide48(found.record.file_acl_lo, found.record.file_acl_high);
        if at == 0 || reseed.shared.contains(&at) {
            return Ok(());
        }
        // Compares its sum.
        attributes::read(&self.blocks(), &self.layout, found)?;
        let bytes = self.blocks().read_block(at, found.part())?;
        let (header, _) = xattr::Header::read_from_prefix(&bytes)
            .map_err(|_| found.corrupt("its block of attributes is cut short"))?;
        if header.refcount.get() != 1 {
            reseed.shared.insert(at);
        }
        let sum = reseed.seed.attributes_sum(&bytes, BlockIndex::new(at));
        self.put_sum(at, offset_of!(xattr::Header, checksum), sum)
    }

    /// The blocks of an inode's map, and those of its content that are summed.
    fn reseed_content(
        &mut self,
        reseed: &mut Reseed<'_, '_>,
        new: InodeSeed,
        found: &Found,
    ) -> EditResult<()> {
        let is_orphan_file = found.number() == self.superblock.orphan_file_inum.get();
        let is_directory = found.is(FileKind::Directory);
        if !self.has_map(found) {
            return Ok(());
        }
        let mut items = Vec::new();
        {
            let device = self.blocks();
            let mut map = map::Map::new(&device, found, 0)?;
            while let Some(item) = map.next(&device, found) {
                match item? {
                    MapItem::Run(_) if !is_directory && !is_orphan_file => {}
                    item => items.push(item),
                }
            }
        }
        for item in items {
            match item {
                MapItem::Node(block) if found.has(Flags::EXTENTS) => {
                    self.reseed_node(new, found, block)?;
                }
                // Addresses are not summed.
                MapItem::Node(_) => {}
                MapItem::Run(extent) => {
                    for into in 0..extent.length {
                        let place = extent.block + into;
                        if is_directory {
                            let number = extent.file_block + into;
                            self.reseed_entries(new, found, (number, place))?;
                        } else {
                            self.reseed_orphans(new, found, place)?;
                        }
                        self.send_many(reseed.drain, |_| true)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A node of a tree of extents, whose sum was compared.
    fn reseed_node(&mut self, new: InodeSeed, found: &Found, block: u64) -> EditResult<()> {
        let bytes = self.blocks().read_block(block, found.part())?;
        let (header, _) = Header::read_from_prefix(&bytes)
            .map_err(|_| found.corrupt("a node of its extents is cut short"))?;
        let tail = (usize::from(header.max.get()) + 1) * ENTRY_SIZE;
        let covered = bytes.get(..tail);
        let covered = covered.ok_or_else(|| found.corrupt("a node of its extents has no sum"))?;
        self.put_sum(block, tail, new.sum(covered))
    }

    /// A block of a directory: entries, or a node of its index.
    fn reseed_entries(
        &mut self,
        new: InodeSeed,
        found: &Found,
        (number, place): (u64, u64),
    ) -> EditResult<()> {
        let block = u32::try_from(number).unwrap_or(u32::MAX);
        let part = Part::Directory { inode: found.number(), block };
        let bytes = self.blocks().read_block(place, part)?;
        let entries = verify_entries(found.seed, &bytes, part);
        if entries.is_ok() {
            let tail = bytes.len() - size_of::<Tail>();
            let sum = new.sum(bytes.get(..tail).ok_or(TAIL_IS_INSIDE)?);
            return self.put_sum(place, tail + offset_of!(Tail, checksum), sum);
        }
        let is_node = found.has(Flags::INDEX);
        let Some(head) = count_place(&bytes, number == 0).filter(|_| is_node) else {
            return Ok(entries?);
        };
        verify_node(found.seed, &bytes, head, part)?;
        let wrong = || ReadError::corrupt(part, "the counts of its index do not fit into it");
        let rest = bytes.get(head..).ok_or_else(wrong)?;
        let (counts, _) = IndexCount::read_from_prefix(rest).map_err(|_| wrong())?;
        let end = |count: U16| head + usize::from(count.get()) * size_of::<IndexEntry>();
        let (used, tail) = (end(counts.count), end(counts.limit));
        let stored = bytes.get(tail..).ok_or_else(wrong)?;
        let (stored, _) = IndexTail::read_from_prefix(stored).map_err(|_| wrong())?;
        let sum = new.index_sum(bytes.get(..used).ok_or_else(wrong)?, stored);
        self.put_sum(place, tail + offset_of!(IndexTail, checksum), sum)
    }

    /// A block of the file that lists orphans.
    fn reseed_orphans(&mut self, new: InodeSeed, found: &Found, place: u64) -> EditResult<()> {
        let bytes = self.blocks().read_block(place, found.part())?;
        let tail = bytes.len() - size_of::<orphan::Tail>();
        let covered = bytes.get(..tail).ok_or(TAIL_IS_INSIDE)?;
        let sum = fold(new.sum(&place.to_le_bytes()), covered);
        self.put_sum(place, tail + offset_of!(orphan::Tail, checksum), sum)
    }

    /// Changes a sum inside a block.
    fn put_sum(&mut self, block: u64, place: usize, sum: u32) -> EditResult<()> {
        let start = self.layout.block.offset(BlockIndex::new(block));
        self.patch(start + widen(place), &sum.to_le_bytes())
    }
}

fn overwrite(bytes: &mut [u8], place: usize, with: &[u8]) -> EditResult<()> {
    let target = bytes.get_mut(place..place + with.len());
    target.ok_or(internal("an inode has its sum"))?.copy_from_slice(with);
    Ok(())
}

const TAIL_IS_INSIDE: Error = internal("a block is longer than its tail");
