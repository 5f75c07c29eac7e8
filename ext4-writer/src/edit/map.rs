//! The maps of files that are made or grow: extent trees, and the block maps of older filesystems.

use crate::edit::device::Device;
use crate::edit::error::{EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::inode::Inode;
use crate::error::{Error, internal};
use crate::format::checksum::{Sealed, unsummed};
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, BlockIndex, FileBlock, Run, widen};
use crate::plan::internal_file::blocks_of;
use crate::reader::extent::MapItem;
use crate::reader::{Inode as Found, content, map};
use crate::record::feature::Feature;
use crate::record::inode::{BLOCK_MAP_SIZE, Flags};
use crate::render::extents;

/// The addresses of the file's first blocks: `EXT4_NDIR_BLOCKS`.
const DIRECT: u64 = 12;
/// The levels of blocks of addresses behind them.
const LEVELS: usize = 3;
/// The bytes of an address.
const ADDRESS: usize = 4;

/// Where the blocks of a file are, and those of its map.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileMap {
    /// Ascending, and together what lies together.
    pub extents: Vec<Extent>,
    pub nodes: Vec<u64>,
}

impl FileMap {
    /// The block on disk of a block of the file; none if it is a hole.
    pub(crate) fn place(&self, block: u64) -> Option<u64> {
        let behind = self.extents.partition_point(|extent| u64::from(extent.at.get()) <= block);
        let extent = self.extents.get(behind.checked_sub(1)?)?;
        let into = block - u64::from(extent.at.get());
        let is_there = into < extent.run.length.get() && !extent.unwritten;
        is_there.then(|| extent.run.start.get() + into)
    }

    /// The last block on disk.
    pub(crate) fn last(&self) -> Option<u64> {
        self.extents.last().map(|extent| extent.run.end().get().saturating_sub(1))
    }

    /// Adds blocks behind the last, or in a hole behind it.
    pub(crate) fn push(&mut self, next: Extent) {
        if let Some(last) = self.extents.last_mut() {
            let end = u64::from(last.at.get()) + last.run.length.get();
            let follows = end == u64::from(next.at.get())
                && last.run.end() == next.run.start
                && last.unwritten == next.unwritten;
            if follows {
                last.run.length += next.run.length;
                return;
            }
        }
        self.extents.push(next);
    }
}

impl<D: Device> Filesystem<D> {
    /// The map of an inode that has one.
    pub(crate) fn file_map(&self, found: &Found) -> EditResult<FileMap> {
        let mut all = FileMap::default();
        let device = self.blocks();
        let mut map = map::Map::new(&device, found, 0)?;
        while let Some(item) = map.next(&device, found) {
            match item? {
                MapItem::Node(block) => all.nodes.push(block),
                MapItem::Run(extent) => {
                    let at = u32::try_from(extent.file_block).map_err(|_| BLOCKS_ARE_32_BITS)?;
                    let start = BlockIndex::new(extent.block);
                    let run = Run::new(start, BlockCount::new(extent.length));
                    let unwritten = extent.unwritten;
                    all.push(Extent { at: FileBlock::new(at), run, unwritten });
                }
            }
        }
        Ok(all)
    }

    /// Whether the target of a link is in its inode.
    pub(crate) fn is_short_link(&self, found: &Found) -> bool {
        content::is_short_link(found, self.attribute_sectors())
    }

    /// What a block of attributes adds to an inode's sectors, where that can be told.
    pub(crate) fn attribute_sectors(&self) -> Option<u64> {
        (!self.has(Feature::EA_INODE)).then_some(self.layout.block.bytes() / 512)
    }

    /// Whether new files are mapped by extents.
    pub(crate) fn has_extents(&self) -> bool {
        self.has(Feature::EXTENT)
    }

    /// The longest file that can be made.
    ///
    /// Source: kernel, `fs/ext4/super.c`, `ext4_max_size` and `ext4_max_bitmap_size`.
    pub(crate) fn max_size(&self) -> u64 {
        let block = self.layout.block;
        let per = block.addresses();
        let mapped = if self.has_extents() {
            u64::from(u32::MAX)
        } else {
            (DIRECT + per + per * per).saturating_add(per.saturating_mul(per * per)).min(1 << 31)
        };
        let mut limit = block.bytes_in(BlockCount::new(mapped));
        if !self.has(Feature::HUGE_FILE) {
            // `i_blocks` counts units of 512 bytes with 32 bits, those of the map among them.
            limit = limit.min((u64::from(u32::MAX) * 512) / 64 * 63);
        }
        if !self.has(Feature::LARGE_FILE) {
            limit = limit.min((1 << 31) - 1);
        }
        limit
    }

    /// Gives an inode a map in place of `old`, whose nodes are used again; counts its blocks.
    pub(crate) fn set_map(
        &mut self,
        inode: &mut Inode,
        map: &mut FileMap,
        goal: u64,
    ) -> EditResult<()> {
        let before = map.nodes.len();
        let nodes = if inode.has(Flags::EXTENTS) {
            self.set_extents(inode, map, goal)?
        } else {
            self.set_addresses(inode, map, goal)?
        };
        map.nodes = nodes;
        self.count_blocks(inode, signed(map.nodes.len())? - signed(before)?)
    }

    /// The places for `count` nodes: those that there are, then new ones. Others are given back.
    fn node_places(
        &mut self,
        inode: &Inode,
        old: &[u64],
        count: usize,
        goal: u64,
    ) -> EditResult<Vec<BlockIndex>> {
        let mut places: Vec<BlockIndex> =
            old.iter().take(count).map(|block| BlockIndex::new(*block)).collect();
        for block in old.iter().skip(count) {
            self.give_back(*block, 1, inode.part())?;
        }
        let missing = widen(count - places.len());
        places.extend(blocks_of(&self.take_blocks(missing, goal)?));
        Ok(places)
    }

    fn set_extents(&mut self, inode: &mut Inode, map: &FileMap, goal: u64) -> EditResult<Vec<u64>> {
        let block = self.layout.block;
        let count = extents::node_count(&map.extents, block)?.get();
        let count = usize::try_from(count).map_err(|_| BLOCKS_ARE_32_BITS)?;
        let places = self.node_places(inode, &map.nodes, count, goal)?;
        let tree = extents::render(&map.extents, &places, block, self.seed_of(inode))?;
        for (place, node) in &tree.nodes {
            self.put(place.get(), node)?;
        }
        inode.record.block = tree.root;
        Ok(places.iter().map(|place| place.get()).collect())
    }

    fn set_addresses(
        &mut self,
        inode: &mut Inode,
        map: &FileMap,
        goal: u64,
    ) -> EditResult<Vec<u64>> {
        let mut blocks = Vec::new();
        for extent in &map.extents {
            let address = |block: u64| {
                u32::try_from(block).map_err(|_| {
                    refused(
                        "a file that is mapped without extents",
                        "its blocks lie behind the first 2^32; turn the feature extent on",
                    )
                })
            };
            for (at, block) in (u64::from(extent.at.get())..).zip(extent.run.blocks()) {
                blocks.push((at, address(block.get())?));
            }
        }
        let per = self.layout.block.addresses();
        let count = address_blocks(&blocks, per);
        let places = self.node_places(inode, &map.nodes, count, goal)?;
        let mut free = places.iter().copied();
        let mut root = [0u8; BLOCK_MAP_SIZE];
        let (mut from, mut first) = (0, DIRECT);
        let direct = blocks.partition_point(|(at, _)| *at < DIRECT);
        for (at, block) in blocks.iter().take(direct) {
            put_address(&mut root, *at, *block)?;
        }
        from += direct;
        for level in 0..LEVELS {
            let span = per.saturating_pow(u32::try_from(level).unwrap_or(u32::MAX) + 1);
            let end = blocks.partition_point(|(at, _)| *at < first.saturating_add(span));
            let part = blocks.get(from..end).ok_or(internal("the blocks of a file ascend"))?;
            if !part.is_empty() {
                let node = self.address_block(part, first, level, &mut free)?;
                put_address(&mut root, DIRECT + widen(level), node)?;
            }
            (from, first) = (end, first.saturating_add(span));
        }
        inode.record.block = root;
        Ok(places.iter().map(|place| place.get()).collect())
    }

    /// Puts a block of addresses, with `level` levels of such blocks below, and all of those.
    fn address_block(
        &mut self,
        blocks: &[(u64, u32)],
        first: u64,
        level: usize,
        free: &mut impl Iterator<Item = BlockIndex>,
    ) -> EditResult<u32> {
        let own = free.next().ok_or(internal("every block of addresses has a place"))?;
        let per = self.layout.block.addresses();
        let span = per.saturating_pow(u32::try_from(level).unwrap_or(u32::MAX));
        let mut bytes = vec![0; self.layout.block.len()];
        for part in blocks.chunk_by(|one, next| (one.0 - first) / span == (next.0 - first) / span) {
            let Some((at, block)) = part.first() else { continue };
            let place = (at - first) / span;
            let address = match level {
                0 => *block,
                _ => self.address_block(part, first + place * span, level - 1, free)?,
            };
            put_address(&mut bytes, place, address)?;
        }
        let sealed: Sealed<Vec<u8>> = unsummed(bytes);
        self.put(own.get(), &sealed)?;
        u32::try_from(own.get()).map_err(|_| {
            refused("a file that is mapped without extents", "no block below 2^32 is free for it")
        })
    }
}

const BLOCKS_ARE_32_BITS: Error = internal("a file's blocks have numbers of 32 bits");

fn signed(count: usize) -> EditResult<i64> {
    Ok(i64::try_from(count).map_err(|_| BLOCKS_ARE_32_BITS)?)
}

fn put_address(bytes: &mut [u8], place: u64, block: u32) -> EditResult<()> {
    let start = usize::try_from(place).unwrap_or(usize::MAX).saturating_mul(ADDRESS);
    let target = bytes.get_mut(start..start.saturating_add(ADDRESS));
    let target = target.ok_or(internal("an address has a place"))?;
    target.copy_from_slice(&block.to_le_bytes());
    Ok(())
}

/// How many blocks of addresses a file needs, `per` in each.
fn address_blocks(blocks: &[(u64, u32)], per: u64) -> usize {
    let (mut count, mut first) = (0, DIRECT);
    for level in 1..=3u32 {
        let whole = per.saturating_pow(level);
        let inside = |at: &u64| (first..first.saturating_add(whole)).contains(at);
        // Blocks of the lowest of these levels, of the next, and so on.
        for height in 1..=level {
            let span = per.saturating_pow(height);
            let mut last = None;
            for (at, _) in blocks.iter().filter(|(at, _)| inside(at)) {
                let place = (at - first) / span;
                if last.replace(place) != Some(place) {
                    count += 1;
                }
            }
        }
        first = first.saturating_add(whole);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_addresses_is_counted() {
        let blocks = |list: &[u64]| list.iter().map(|at| (*at, 1)).collect::<Vec<_>>();
        assert_eq!(address_blocks(&blocks(&[0, 11]), 256), 0);
        assert_eq!(address_blocks(&blocks(&[12, 267]), 256), 1);
        assert_eq!(address_blocks(&blocks(&[12, 268]), 256), 3);
        // 12 + 256 + 65536 is the first of the third level.
        assert_eq!(address_blocks(&blocks(&[268, 268 + 256, 65_804]), 256), 3 + 3);
    }

    #[test]
    fn a_block_is_found_in_its_run() {
        let mut map = FileMap::default();
        for (at, block) in [(0, 50), (1, 51), (3, 60)] {
            let run = Run::new(BlockIndex::new(block), BlockCount::new(1));
            map.push(Extent::written(FileBlock::new(at), run));
        }
        assert_eq!(map.extents.len(), 2);
        let found = [0, 1, 2, 3, 4].map(|block| map.place(block));
        assert_eq!(found, [Some(50), Some(51), None, Some(60), None]);
    }
}
