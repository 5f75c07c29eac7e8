//! A directory's entries in blocks: in one block, or ordered by hash below an index.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::{InodeSeed, Sealed, entries_tail, index_tail};
use crate::format::dirhash::{NameHash, NameHasher};
use crate::format::features::Features;
use crate::format::hash::DirectoryHash;
use crate::format::units::InodeNumber;
use crate::metadata::FileKind;
use crate::record::directory::{
    DOT_ENTRY, ENTRY_HEAD, Entry, HASH_HALF_MD4, HASH_TEA, IndexCount, IndexEntry, IndexInfo,
    entry_size,
};

/// How much of a node between the root and the leaves is filled, in per cent, where that does not
/// cost a level: the guest's first split of a leaf must not split it too.
const NODE_FILL: usize = 80;

/// Where the names of a directory go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One name behind the other, in this many blocks.
    Linear {
        /// The blocks, with empty ones at the end.
        blocks: usize,
    },
    /// Ordered by hash.
    Indexed {
        /// The places of the names in the order of their hashes.
        order: Vec<u32>,
        /// The first name of each leaf.
        leaves: Vec<LeafStart>,
        /// The nodes of each level between root and leaves, the lowest first.
        levels: Vec<usize>,
    },
}

/// Where a leaf begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafStart {
    /// The place of its first name in the order.
    first: u32,
    /// The hash that leads here; its lowest bit says that the hash began in the leaf before.
    hash: u32,
}

/// An entry to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub name: &'a [u8],
    pub inode: InodeNumber,
    pub kind: FileKind,
}

/// The directory itself and its parent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dots {
    pub own: InodeNumber,
    pub parent: InodeNumber,
}

/// The bytes of a block that entries can fill.
fn leaf_room(format: &Format) -> usize {
    format.block.len() - entries_tail(format.has_checksums())
}

fn root_limit(format: &Format) -> usize {
    let head = 2 * DOT_ENTRY + size_of::<IndexInfo>();
    (format.block.len() - head - index_tail(format.has_checksums())) / size_of::<IndexEntry>()
}

fn node_limit(format: &Format) -> usize {
    (format.block.len() - ENTRY_HEAD - index_tail(format.has_checksums())) / size_of::<IndexEntry>()
}

/// The levels of nodes that there can be between root and leaves.
///
/// Source: kernel, `fs/ext4/ext4.h`, `ext4_dir_htree_level`.
fn level_limit(format: &Format) -> usize {
    if format.has(Features::LARGE_DIR) { 2 } else { 1 }
}

impl Layout {
    /// Names one behind the other in at least `least` blocks: for `lost+found`, which e2fsck
    /// wants to fill without allocating.
    pub(crate) fn linear<'a>(
        names: impl Iterator<Item = &'a [u8]>,
        least: usize,
        format: &Format,
    ) -> Self {
        let mut blocks = 1;
        let mut used = 2 * DOT_ENTRY;
        for name in names {
            let size = entry_size(name.len());
            if used + size > leaf_room(format) {
                blocks += 1;
                used = 0;
            }
            used += size;
        }
        Self::Linear { blocks: blocks.max(least) }
    }

    /// One block if the names fit into it, else an index if the format has one.
    pub(crate) fn choose<'a>(
        names: impl Iterator<Item = &'a [u8]> + Clone,
        hasher: NameHasher,
        format: &Format,
    ) -> Result<Self> {
        let add = |(count, total), name: &[u8]| (count + 1, total + entry_size(name.len()));
        let (count, total) = names.clone().fold((0, 0), add);
        if 2 * DOT_ENTRY + total <= leaf_room(format) {
            return Ok(Self::Linear { blocks: 1 });
        }
        if !format.has(Features::DIR_INDEX) {
            return Ok(Self::linear(names, 1, format));
        }
        Self::indexed(names, count, hasher, format)
    }

    fn indexed<'a>(
        names: impl Iterator<Item = &'a [u8]>,
        count: usize,
        hasher: NameHasher,
        format: &Format,
    ) -> Result<Self> {
        let mut by_hash = Vec::with_capacity(count);
        for (place, name) in (0u32..).zip(names) {
            let size = u16::try_from(entry_size(name.len())).map_err(|_| ENTRIES_FIT)?;
            by_hash.push((hasher.hash(name), place, size));
        }
        // Names of one hash stay in the order of their bytes.
        by_hash.sort_unstable();
        let leaves = pack(&by_hash, leaf_room(format) * format.directory_fill / 100)?;
        let levels = index_levels(leaves.len(), format)?;
        let order = by_hash.into_iter().map(|(_, place, _)| place).collect();
        Ok(Self::Indexed { order, leaves, levels })
    }

    /// The blocks of the directory.
    pub(crate) fn blocks(&self) -> usize {
        match self {
            Self::Linear { blocks } => *blocks,
            Self::Indexed { leaves, levels, .. } => 1 + levels.iter().sum::<usize>() + leaves.len(),
        }
    }

    /// Whether the inode bears the index flag.
    pub(crate) fn is_indexed(&self) -> bool {
        matches!(self, Self::Indexed { .. })
    }

    /// How many leaves there are below an index.
    pub(crate) fn leaf_count(&self) -> usize {
        match self {
            Self::Linear { .. } => 0,
            Self::Indexed { leaves, .. } => leaves.len(),
        }
    }

    /// The directory's blocks before the leaves in their order in the file.
    pub(crate) fn head(
        &self,
        dots: Dots,
        names: &[Named<'_>],
        format: &Format,
        seed: InodeSeed,
    ) -> Result<Vec<Sealed<Vec<u8>>>> {
        match self {
            Self::Linear { blocks } => render_linear(*blocks, dots, names, format, seed),
            Self::Indexed { leaves, levels, .. } => {
                Index { leaves, levels, format, seed }.render(dots)
            }
        }
    }

    /// The leaves of these numbers, of all `names`, one after the other.
    pub(crate) fn leaves<'a>(
        &'a self,
        numbers: Range<usize>,
        names: &'a [Named<'_>],
        format: &'a Format,
        seed: InodeSeed,
    ) -> impl Iterator<Item = Result<Sealed<Vec<u8>>>> + 'a {
        let (order, leaves) = match self {
            Self::Linear { .. } => (&[][..], &[][..]),
            Self::Indexed { order, leaves, .. } => (order.as_slice(), leaves.as_slice()),
        };
        let place = |number: u32| usize::try_from(number).map_err(|_| PLACES_ARE_32_BITS);
        let start =
            move |leaf: usize| leaves.get(leaf).map_or(Ok(order.len()), |start| place(start.first));
        numbers.map(move |leaf| {
            let mut block = EntryBlock::new(format);
            for number in order.get(start(leaf)?..start(leaf + 1)?).ok_or(ENTRIES_FIT)? {
                block.put(names.get(place(*number)?).ok_or(ENTRIES_FIT)?)?;
            }
            block.seal(format, seed)
        })
    }
}

/// Cuts names in the order of their hashes into leaves of at most `room` bytes, but of one name at
/// least.
fn pack(hashed: &[(NameHash, u32, u16)], room: usize) -> Result<Vec<LeafStart>> {
    let mut leaves: Vec<LeafStart> = Vec::new();
    // Of the last leaf, once there is one.
    let mut used: Option<usize> = None;
    let mut previous = None;
    for (place, (hash, _, size)) in hashed.iter().enumerate() {
        let (major, size) = (hash.major(), usize::from(*size));
        if used.is_none_or(|used| used + size > room) {
            let continued = u32::from(previous == Some(major));
            let first = u32::try_from(place).map_err(|_| PLACES_ARE_32_BITS)?;
            // The first leaf is where every hash below the second's leads.
            let hash = if leaves.is_empty() { 0 } else { major | continued };
            leaves.push(LeafStart { first, hash });
            used = None;
        }
        used = Some(used.map_or(size, |used| used + size));
        previous = Some(major);
    }
    Ok(leaves)
}

const PLACES_ARE_32_BITS: Error = internal("a directory has fewer than 2^32 names");

/// How many nodes each level has when each leads to so many of the level below; `None` if the root
/// cannot lead to all of the uppermost.
fn levels_of(leaves: usize, per_node: usize, count: usize, root: usize) -> Option<Vec<usize>> {
    let mut levels = Vec::with_capacity(count);
    let mut below = leaves;
    for _ in 0..count {
        below = below.div_ceil(per_node);
        levels.push(below);
    }
    (below <= root).then_some(levels)
}

/// The nodes between root and leaves, the lowest level first: as few levels as can be.
fn index_levels(leaves: usize, format: &Format) -> Result<Vec<usize>> {
    let (root, most) = (root_limit(format), node_limit(format));
    let wanted = most * NODE_FILL / 100;
    for count in 0..=level_limit(format) {
        if levels_of(leaves, most, count, root).is_some() {
            let levels = (wanted..=most).find_map(|per| levels_of(leaves, per, count, root));
            return levels.ok_or(ENTRIES_FIT);
        }
    }
    let limit = (0..level_limit(format)).fold(root, |reach, _| reach.saturating_mul(most));
    Err(Error::DirectoryTooLarge { leaves, limit })
}

/// Entries that fill one block: each is put when the next is known, because the last one's
/// length reaches to the end.
struct EntryBlock {
    bytes: Vec<u8>,
    last: usize,
    room: usize,
}

impl EntryBlock {
    fn new(format: &Format) -> Self {
        Self::of(leaf_room(format))
    }

    fn of(room: usize) -> Self {
        Self { bytes: Vec::with_capacity(room), last: 0, room }
    }

    fn fits(&self, name: &[u8]) -> bool {
        self.bytes.len() + entry_size(name.len()) <= self.room
    }

    fn put(&mut self, entry: &Named<'_>) -> Result<()> {
        self.last = self.bytes.len();
        put_entry(&mut self.bytes, entry, entry_size(entry.name.len()))
    }

    /// Lets the last entry, or an empty one, reach to the end.
    fn close(mut self) -> Result<Vec<u8>> {
        if self.bytes.is_empty() {
            let unused = Entry {
                inode: U32::ZERO,
                rec_len: record_length(self.room)?,
                name_len: 0,
                file_type: 0,
            };
            self.bytes.extend_from_slice(unused.as_bytes());
        } else {
            let reach = record_length(self.room - self.last)?;
            let place = self.last + std::mem::offset_of!(Entry, rec_len);
            let field = self.bytes.get_mut(place..place + size_of::<U16>());
            field.ok_or(ENTRIES_FIT)?.copy_from_slice(reach.as_bytes());
        }
        self.bytes.resize(self.room, 0);
        Ok(self.bytes)
    }

    /// Adds the tail.
    fn seal(self, format: &Format, seed: InodeSeed) -> Result<Sealed<Vec<u8>>> {
        let mut bytes = self.close()?;
        bytes.resize(format.block.len(), 0);
        seed.seal_entries(bytes)
    }
}

/// Entries that fill `length` bytes without a tail, as in an inode.
pub(crate) fn entry_region<'a>(
    entries: impl Iterator<Item = &'a Named<'a>>,
    length: usize,
) -> Result<Vec<u8>> {
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut region = EntryBlock::of(length);
    for entry in entries {
        region.put(entry)?;
    }
    region.close()
}

const ENTRIES_FIT: Error = internal("a directory's entries fit into their blocks");

/// A length in the 16 bits of `rec_len`, where that of a whole block of 64 KiB is 65,535.
///
/// Source: kernel, `fs/ext4/ext4.h`, `ext4_rec_len_to_disk`.
pub(crate) fn record_length(length: usize) -> Result<U16> {
    match length {
        0x1_0000 => Ok(U16::new(u16::MAX)),
        _ => u16_of(length),
    }
}

fn u16_of(number: usize) -> Result<U16> {
    u16::try_from(number).map(U16::new).map_err(|_| ENTRIES_FIT)
}

fn put_entry(block: &mut Vec<u8>, entry: &Named<'_>, length: usize) -> Result<()> {
    let end = block.len() + length;
    let head = Entry {
        inode: U32::new(entry.inode.get()),
        rec_len: record_length(length)?,
        name_len: u8::try_from(entry.name.len()).map_err(|_| ENTRIES_FIT)?,
        file_type: entry.kind.entry_type(),
    };
    block.extend_from_slice(head.as_bytes());
    block.extend_from_slice(entry.name);
    block.resize(end, 0);
    Ok(())
}

fn dot_entries(dots: Dots) -> [Named<'static>; 2] {
    let kind = FileKind::Directory;
    [Named { name: b".", inode: dots.own, kind }, Named { name: b"..", inode: dots.parent, kind }]
}

fn render_linear(
    blocks: usize,
    dots: Dots,
    names: &[Named<'_>],
    format: &Format,
    seed: InodeSeed,
) -> Result<Vec<Sealed<Vec<u8>>>> {
    let mut rendered = Vec::with_capacity(blocks);
    let mut block = EntryBlock::new(format);
    for entry in dot_entries(dots).iter().chain(names) {
        if !block.fits(entry.name) {
            let full = std::mem::replace(&mut block, EntryBlock::new(format));
            rendered.push(full.seal(format, seed)?);
        }
        block.put(entry)?;
    }
    rendered.push(block.seal(format, seed)?);
    while rendered.len() < blocks {
        rendered.push(EntryBlock::new(format).seal(format, seed)?);
    }
    Ok(rendered)
}

/// The index above the leaves: the root is file block 0, its nodes follow from the uppermost
/// level to the lowest, then the leaves.
struct Index<'a> {
    leaves: &'a [LeafStart],
    levels: &'a [usize],
    format: &'a Format,
    seed: InodeSeed,
}

impl Index<'_> {
    fn render(&self, dots: Dots) -> Result<Vec<Sealed<Vec<u8>>>> {
        let mut first = 1 + self.levels.iter().sum::<usize>();
        let hashes = self.leaves.iter().map(|leaf| U32::new(leaf.hash));
        let mut targets = entries(first, hashes)?;
        let mut rendered = Vec::new();
        for count in self.levels {
            let groups = targets.chunks(targets.len().div_ceil(*count));
            let nodes = groups.clone().map(|group| self.node(group)).collect::<Result<Vec<_>>>()?;
            first -= nodes.len();
            rendered.splice(..0, nodes);
            let hash =
                |group: &[IndexEntry]| group.first().map(|entry| entry.hash).ok_or(ENTRIES_FIT);
            let hashes = groups.map(hash).collect::<Result<Vec<_>>>()?;
            targets = entries(first, hashes.into_iter())?;
        }
        let levels = u8::try_from(self.levels.len()).map_err(|_| ENTRIES_FIT)?;
        rendered.insert(0, self.root(dots, &targets, levels)?);
        Ok(rendered)
    }

    fn root(&self, dots: Dots, targets: &[IndexEntry], levels: u8) -> Result<Sealed<Vec<u8>>> {
        let [own, parent] = dot_entries(dots);
        let mut block = Vec::with_capacity(self.format.block.len());
        put_entry(&mut block, &own, DOT_ENTRY)?;
        put_entry(&mut block, &parent, DOT_ENTRY)?;
        // To a reader without the index the entry `..` covers the rest of the block.
        let reach = record_length(self.format.block.len() - DOT_ENTRY)?;
        let place = DOT_ENTRY + std::mem::offset_of!(Entry, rec_len);
        let field = block.get_mut(place..place + size_of::<U16>());
        field.ok_or(ENTRIES_FIT)?.copy_from_slice(reach.as_bytes());
        let info = IndexInfo {
            reserved_zero: U32::ZERO,
            hash_version: hash_version(self.format.hash),
            info_length: 8,
            indirect_levels: levels,
            unused_flags: 0,
        };
        block.extend_from_slice(info.as_bytes());
        self.seal(block, targets, root_limit(self.format))
    }

    fn node(&self, targets: &[IndexEntry]) -> Result<Sealed<Vec<u8>>> {
        let unused = Entry {
            inode: U32::ZERO,
            rec_len: record_length(self.format.block.len())?,
            name_len: 0,
            file_type: 0,
        };
        let block = unused.as_bytes().to_vec();
        self.seal(block, targets, node_limit(self.format))
    }

    fn seal(
        &self,
        mut block: Vec<u8>,
        targets: &[IndexEntry],
        limit: usize,
    ) -> Result<Sealed<Vec<u8>>> {
        let (first, others) = targets.split_first().ok_or(ENTRIES_FIT)?;
        let count =
            IndexCount { limit: u16_of(limit)?, count: u16_of(targets.len())?, block: first.block };
        block.extend_from_slice(count.as_bytes());
        block.extend_from_slice(others.as_bytes());
        let used = block.len();
        block.resize(self.format.block.len(), 0);
        self.seed.seal_index(block, used)
    }
}

/// Entries that lead to consecutive blocks of the file.
fn entries(first: usize, hashes: impl Iterator<Item = U32>) -> Result<Vec<IndexEntry>> {
    let first = u32::try_from(first).map_err(|_| PLACES_ARE_32_BITS)?;
    let entry = |(block, hash)| IndexEntry { hash, block: U32::new(block) };
    Ok((first..).zip(hashes).map(entry).collect())
}

/// The number of a hash in an index and in the superblock.
pub(crate) fn hash_version(hash: DirectoryHash) -> u8 {
    match hash {
        DirectoryHash::HalfMd4 => HASH_HALF_MD4,
        DirectoryHash::Tea => HASH_TEA,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::format::hash::HashedBytes;
    use crate::options::{Options, Size};

    fn format(block_size: u32, features: Features) -> Format {
        let mut options = Options::new(Size::Fixed(0));
        (options.block_size, options.features) = (block_size, features);
        Format::new(&options).unwrap()
    }

    fn hasher() -> NameHasher {
        NameHasher::new([1; 16], DirectoryHash::HalfMd4, HashedBytes::Signed)
    }

    fn layout(names: &[Vec<u8>]) -> Layout {
        let names = names.iter().map(Vec::as_slice);
        Layout::choose(names, hasher(), &format(4096, Features::DEFAULT)).unwrap()
    }

    fn numbered(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|number| format!("{number:08}").into_bytes()).collect()
    }

    #[test]
    fn a_block_is_filled_to_its_last_byte_before_there_is_an_index() {
        // 16 bytes an entry: (4096 - 12 - 24) / 16 = 253.75.
        assert_eq!(layout(&numbered(253)).blocks(), 1);
        assert!(layout(&numbered(254)).is_indexed());
    }

    #[test]
    fn leaves_keep_room_and_hold_every_name_once() {
        let Layout::Indexed { order, leaves, levels } = layout(&numbered(200_000)) else {
            panic!("200,000 names need an index");
        };
        let mut seen = order.clone();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..200_000));
        // 204 entries of 16 bytes are 80 % of a block.
        assert_eq!(leaves.len(), 200_000usize.div_ceil(204));
        assert_eq!(levels, [leaves.len().div_ceil(408)]);
    }

    #[test]
    fn a_hash_that_spans_two_leaves_is_marked_as_continued() {
        let hash = hasher().hash(b"x");
        let names: Vec<_> = (0..10).map(|place| (hash, place, 100)).collect();
        let leaves = pack(&names, 400).unwrap();
        let marks: Vec<u32> = leaves.iter().map(|leaf| leaf.hash).collect();
        assert_eq!(marks, [0, hash.major() | 1, hash.major() | 1]);
    }

    #[test]
    fn a_third_level_comes_with_large_dir_and_only_when_two_do_not_reach() {
        let two = format(1024, Features::DEFAULT);
        let three = format(1024, Features::DEFAULT | Features::LARGE_DIR);
        let reach = root_limit(&two) * node_limit(&two);
        assert_eq!(index_levels(reach, &two).unwrap().len(), 1);
        assert_eq!(index_levels(reach, &three).unwrap().len(), 1);
        let refused = index_levels(reach + 1, &two);
        assert!(matches!(refused, Err(Error::DirectoryTooLarge { .. })), "{refused:?}");
        let levels = index_levels(reach + 1, &three).unwrap();
        // Nodes that lead to 80 % of what they could.
        let per_node = node_limit(&three) * 80 / 100;
        let lowest = (reach + 1).div_ceil(per_node);
        assert_eq!(levels, [lowest, lowest.div_ceil(per_node)]);
        assert!(index_levels(reach * node_limit(&three), &three).is_ok());
        assert!(index_levels(reach * node_limit(&three) + 1, &three).is_err());
    }
}
