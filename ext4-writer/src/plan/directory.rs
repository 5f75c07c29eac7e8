//! A directory's entries in blocks: in one block, or ordered by hash below an index.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::checksum::{InodeSeed, Sealed};
use crate::dirhash::{HashSeed, NameHash};
use crate::error::{Error, Result, internal};
use crate::metadata::FileKind;
use crate::record::directory::{
    DOT_ENTRY, ENTRY_HEAD, Entry, HASH_HALF_MD4, IndexCount, IndexEntry, IndexInfo, IndexTail,
    Tail, entry_size,
};
use crate::units::{BlockSize, InodeNumber};

/// How much of a leaf of an index is filled, in per cent: the guest's first new name must not
/// split it.
const LEAF_FILL: usize = 80;
/// Likewise for the nodes between the root and the leaves.
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
        /// The blocks between root and leaves.
        nodes: usize,
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
fn leaf_room(block_size: BlockSize) -> usize {
    block_size.len() - size_of::<Tail>()
}

fn root_limit(block_size: BlockSize) -> usize {
    let head = 2 * DOT_ENTRY + size_of::<IndexInfo>();
    (block_size.len() - head - size_of::<IndexTail>()) / size_of::<IndexEntry>()
}

fn node_limit(block_size: BlockSize) -> usize {
    (block_size.len() - ENTRY_HEAD - size_of::<IndexTail>()) / size_of::<IndexEntry>()
}

impl Layout {
    /// Names one behind the other in at least `least` blocks: for `lost+found`, which e2fsck
    /// wants to fill without allocating.
    pub(crate) fn linear<'a>(
        names: impl Iterator<Item = &'a [u8]>,
        least: usize,
        block_size: BlockSize,
    ) -> Self {
        let mut blocks = 1;
        let mut used = 2 * DOT_ENTRY;
        for name in names {
            let size = entry_size(name.len());
            if used + size > leaf_room(block_size) {
                blocks += 1;
                used = 0;
            }
            used += size;
        }
        Self::Linear { blocks: blocks.max(least) }
    }

    /// One block if the names fit into it, else an index.
    pub(crate) fn choose<'a>(
        names: impl Iterator<Item = &'a [u8]> + Clone,
        seed: HashSeed,
        block_size: BlockSize,
    ) -> Result<Self> {
        let total: usize = names.clone().map(|name| entry_size(name.len())).sum();
        if 2 * DOT_ENTRY + total <= leaf_room(block_size) {
            return Ok(Self::Linear { blocks: 1 });
        }
        Self::indexed(names, seed, block_size)
    }

    fn indexed<'a>(
        names: impl Iterator<Item = &'a [u8]>,
        seed: HashSeed,
        block_size: BlockSize,
    ) -> Result<Self> {
        let mut hashed = Vec::new();
        for (place, name) in (0u32..).zip(names) {
            // Names of one hash stay in the order of their bytes.
            hashed.push((seed.half_md4(name), place, entry_size(name.len())));
        }
        hashed.sort_unstable();
        let leaves = pack(&hashed, leaf_room(block_size) * LEAF_FILL / 100)?;
        let nodes = index_nodes(leaves.len(), block_size)?;
        let order = hashed.into_iter().map(|(_, place, _)| place).collect();
        Ok(Self::Indexed { order, leaves, nodes })
    }

    /// The blocks of the directory.
    pub(crate) fn blocks(&self) -> usize {
        match self {
            Self::Linear { blocks } => *blocks,
            Self::Indexed { leaves, nodes, .. } => 1 + nodes + leaves.len(),
        }
    }

    /// Whether the inode bears the index flag.
    pub(crate) fn is_indexed(&self) -> bool {
        matches!(self, Self::Indexed { .. })
    }

    /// The directory's blocks in their order in the file.
    pub(crate) fn render(
        &self,
        dots: Dots,
        names: &[Named<'_>],
        block_size: BlockSize,
        seed: InodeSeed,
    ) -> Result<Vec<Sealed<Vec<u8>>>> {
        match self {
            Self::Linear { blocks } => render_linear(*blocks, dots, names, block_size, seed),
            Self::Indexed { order, leaves, nodes } => {
                let index = Index { leaves, nodes: *nodes, block_size, seed };
                let mut rendered = index.render(dots)?;
                rendered.extend(render_leaves(order, leaves, names, block_size, seed)?);
                Ok(rendered)
            }
        }
    }
}

/// Cuts names in the order of their hashes into leaves of at most `room` bytes.
fn pack(hashed: &[(NameHash, u32, usize)], room: usize) -> Result<Vec<LeafStart>> {
    let mut leaves: Vec<LeafStart> = Vec::new();
    let mut used = usize::MAX;
    let mut previous = None;
    for (place, (hash, _, size)) in hashed.iter().enumerate() {
        let major = hash.major();
        if used.saturating_add(*size) > room {
            let continued = u32::from(previous == Some(major));
            let first = u32::try_from(place).map_err(|_| PLACES_ARE_32_BITS)?;
            // The first leaf is where every hash below the second's leads.
            let hash = if leaves.is_empty() { 0 } else { major | continued };
            leaves.push(LeafStart { first, hash });
            used = 0;
        }
        used += size;
        previous = Some(major);
    }
    Ok(leaves)
}

const PLACES_ARE_32_BITS: Error = internal("a directory has fewer than 2^32 names");

/// How many leaves a node between root and leaves leads to.
fn leaves_per_node(leaves: usize, block_size: BlockSize) -> usize {
    let wanted = node_limit(block_size) * NODE_FILL / 100;
    wanted.max(leaves.div_ceil(root_limit(block_size)))
}

fn index_nodes(leaves: usize, block_size: BlockSize) -> Result<usize> {
    if leaves <= root_limit(block_size) {
        return Ok(0);
    }
    let limit = root_limit(block_size) * node_limit(block_size);
    if leaves > limit {
        return Err(Error::DirectoryTooLarge { leaves, limit });
    }
    Ok(leaves.div_ceil(leaves_per_node(leaves, block_size)))
}

/// Entries that fill one block: each is put when the next is known, because the last one's
/// length reaches to the end.
struct EntryBlock {
    bytes: Vec<u8>,
    last: usize,
    room: usize,
}

impl EntryBlock {
    fn new(block_size: BlockSize) -> Self {
        Self { bytes: Vec::with_capacity(block_size.len()), last: 0, room: leaf_room(block_size) }
    }

    fn fits(&self, name: &[u8]) -> bool {
        self.bytes.len() + entry_size(name.len()) <= self.room
    }

    fn put(&mut self, entry: &Named<'_>) -> Result<()> {
        self.last = self.bytes.len();
        put_entry(&mut self.bytes, entry, entry_size(entry.name.len()))
    }

    /// Lets the last entry, or an empty one, reach to the tail.
    fn seal(mut self, block_size: BlockSize, seed: InodeSeed) -> Result<Sealed<Vec<u8>>> {
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
        self.bytes.resize(block_size.len(), 0);
        Ok(seed.seal_entries(self.bytes))
    }
}

const ENTRIES_FIT: Error = internal("a directory's entries fit into their blocks");

fn record_length(length: usize) -> Result<U16> {
    u16::try_from(length).map(U16::new).map_err(|_| ENTRIES_FIT)
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
    block_size: BlockSize,
    seed: InodeSeed,
) -> Result<Vec<Sealed<Vec<u8>>>> {
    let mut rendered = Vec::with_capacity(blocks);
    let mut block = EntryBlock::new(block_size);
    for entry in dot_entries(dots).iter().chain(names) {
        if !block.fits(entry.name) {
            let full = std::mem::replace(&mut block, EntryBlock::new(block_size));
            rendered.push(full.seal(block_size, seed)?);
        }
        block.put(entry)?;
    }
    rendered.push(block.seal(block_size, seed)?);
    while rendered.len() < blocks {
        rendered.push(EntryBlock::new(block_size).seal(block_size, seed)?);
    }
    Ok(rendered)
}

fn render_leaves(
    order: &[u32],
    leaves: &[LeafStart],
    names: &[Named<'_>],
    block_size: BlockSize,
    seed: InodeSeed,
) -> Result<Vec<Sealed<Vec<u8>>>> {
    let place = |number: u32| usize::try_from(number).map_err(|_| PLACES_ARE_32_BITS);
    let mut rendered = Vec::with_capacity(leaves.len());
    let mut starts = leaves.iter().peekable();
    while let Some(start) = starts.next() {
        let end = starts.peek().map_or(Ok(order.len()), |next| place(next.first))?;
        let mut block = EntryBlock::new(block_size);
        for number in order.get(place(start.first)?..end).ok_or(ENTRIES_FIT)? {
            block.put(names.get(place(*number)?).ok_or(ENTRIES_FIT)?)?;
        }
        rendered.push(block.seal(block_size, seed)?);
    }
    Ok(rendered)
}

/// The index above the leaves: the root is file block 0, its nodes follow, then the leaves.
struct Index<'a> {
    leaves: &'a [LeafStart],
    nodes: usize,
    block_size: BlockSize,
    seed: InodeSeed,
}

impl Index<'_> {
    fn render(&self, dots: Dots) -> Result<Vec<Sealed<Vec<u8>>>> {
        let targets = self.leaf_entries()?;
        if self.nodes == 0 {
            return Ok(vec![self.root(dots, &targets, 0)?]);
        }
        let per_node = leaves_per_node(targets.len(), self.block_size);
        let mut tops = Vec::with_capacity(self.nodes);
        let mut nodes = Vec::with_capacity(self.nodes);
        for (number, group) in (1u32..).zip(targets.chunks(per_node)) {
            let first = group.first().ok_or(ENTRIES_FIT)?;
            tops.push(IndexEntry { hash: first.hash, block: U32::new(number) });
            nodes.push(self.node(group)?);
        }
        let mut rendered = vec![self.root(dots, &tops, 1)?];
        rendered.extend(nodes);
        Ok(rendered)
    }

    fn leaf_entries(&self) -> Result<Vec<IndexEntry>> {
        let first = u32::try_from(1 + self.nodes).map_err(|_| PLACES_ARE_32_BITS)?;
        let entry = |(block, leaf): (u32, &LeafStart)| IndexEntry {
            hash: U32::new(leaf.hash),
            block: U32::new(block),
        };
        Ok((first..).zip(self.leaves).map(entry).collect())
    }

    fn root(&self, dots: Dots, targets: &[IndexEntry], levels: u8) -> Result<Sealed<Vec<u8>>> {
        let [own, parent] = dot_entries(dots);
        let mut block = Vec::with_capacity(self.block_size.len());
        put_entry(&mut block, &own, DOT_ENTRY)?;
        put_entry(&mut block, &parent, DOT_ENTRY)?;
        // To a reader without the index the entry `..` covers the rest of the block.
        let reach = record_length(self.block_size.len() - DOT_ENTRY)?;
        let place = DOT_ENTRY + std::mem::offset_of!(Entry, rec_len);
        let field = block.get_mut(place..place + size_of::<U16>());
        field.ok_or(ENTRIES_FIT)?.copy_from_slice(reach.as_bytes());
        let info = IndexInfo {
            reserved_zero: U32::ZERO,
            hash_version: HASH_HALF_MD4,
            info_length: 8,
            indirect_levels: levels,
            unused_flags: 0,
        };
        block.extend_from_slice(info.as_bytes());
        self.seal(block, targets, root_limit(self.block_size))
    }

    fn node(&self, targets: &[IndexEntry]) -> Result<Sealed<Vec<u8>>> {
        let unused = Entry {
            inode: U32::ZERO,
            rec_len: record_length(self.block_size.len())?,
            name_len: 0,
            file_type: 0,
        };
        let block = unused.as_bytes().to_vec();
        self.seal(block, targets, node_limit(self.block_size))
    }

    fn seal(
        &self,
        mut block: Vec<u8>,
        targets: &[IndexEntry],
        limit: usize,
    ) -> Result<Sealed<Vec<u8>>> {
        let (first, others) = targets.split_first().ok_or(ENTRIES_FIT)?;
        let count = IndexCount {
            limit: record_length(limit)?,
            count: record_length(targets.len())?,
            block: first.block,
        };
        block.extend_from_slice(count.as_bytes());
        block.extend_from_slice(others.as_bytes());
        let used = block.len();
        block.resize(self.block_size.len(), 0);
        Ok(self.seed.seal_index(block, used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 16] = [1; 16];

    fn layout(names: &[Vec<u8>]) -> Layout {
        let names = names.iter().map(Vec::as_slice);
        Layout::choose(names, HashSeed::from_bytes(SEED), BlockSize::DEFAULT).unwrap()
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
        let Layout::Indexed { order, leaves, nodes } = layout(&numbered(200_000)) else {
            panic!("200,000 names need an index");
        };
        let mut seen = order.clone();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..200_000));
        // 204 entries of 16 bytes are 80 % of a block.
        assert_eq!(leaves.len(), 200_000usize.div_ceil(204));
        assert_eq!(nodes, leaves.len().div_ceil(408));
    }

    #[test]
    fn a_hash_that_spans_two_leaves_is_marked_as_continued() {
        let hash = HashSeed::from_bytes(SEED).half_md4(b"x");
        let names: Vec<_> = (0..10).map(|place| (hash, place, 100)).collect();
        let leaves = pack(&names, 400).unwrap();
        let marks: Vec<u32> = leaves.iter().map(|leaf| leaf.hash).collect();
        assert_eq!(marks, [0, hash.major() | 1, hash.major() | 1]);
    }
}
