//! A file's mappings as an extent tree: how many nodes it takes, and their bytes.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::error::{Error, Result, internal};
use crate::format::checksum::{InodeSeed, Sealed};
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, BlockIndex, BlockSize, FileBlock, Run};
use crate::record::extent::{ENTRY_SIZE, Header, Index, Leaf, MAGIC, MAX_LENGTH, TAIL_SIZE};
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::record::{high32, low16, low32};

/// The entries that the inode itself holds.
const ROOT_ENTRIES: usize = BLOCK_MAP_SIZE / ENTRY_SIZE - 1;

/// The mappings as the disk has them: none longer than an extent can say.
pub(crate) fn split(extents: &[Extent]) -> Result<Vec<Extent>> {
    let mut pieces = Vec::with_capacity(extents.len());
    for extent in extents {
        let mut at = u64::from(extent.at.get());
        let mut run = extent.run;
        while run.length > BlockCount::ZERO {
            let length = run.length.min(longest(extent));
            let run_of_piece = Run::new(run.start, length);
            pieces.push(Extent { at: file_block(at)?, run: run_of_piece, ..*extent });
            run = Run::new(run.start + length, run.length - length);
            at += length.get();
        }
    }
    Ok(pieces)
}

/// The blocks that one extent can map: an unwritten one says so by its length.
fn longest(extent: &Extent) -> BlockCount {
    BlockCount::new(if extent.unwritten { MAX_LENGTH - 1 } else { MAX_LENGTH })
}

fn file_block(at: u64) -> Result<FileBlock> {
    u32::try_from(at).map(FileBlock::new).map_err(|_| MAPS_END_IN_32_BITS)
}

const MAPS_END_IN_32_BITS: Error = internal("a file's blocks have numbers of 32 bits");

/// The number of nodes on each level below the inode, the leaves first.
fn levels(extents: usize, block_size: BlockSize) -> Vec<usize> {
    let per_node = node_entries(block_size);
    let mut levels = Vec::new();
    let mut entries = extents;
    while entries > ROOT_ENTRIES {
        entries = entries.div_ceil(per_node);
        levels.push(entries);
    }
    levels
}

/// The nodes that so many mappings need beside the inode.
pub(crate) fn node_count(extents: &[Extent], block_size: BlockSize) -> Result<BlockCount> {
    // A run at a time: a file of one run has millions of brothers.
    let pieces = match extents {
        [] => 0,
        [one] if one.run.length <= longest(one) => 1,
        _ => split(extents)?.len(),
    };
    let nodes: usize = levels(pieces, block_size).iter().sum();
    Ok(BlockCount::new(crate::format::units::widen(nodes)))
}

fn node_entries(block_size: BlockSize) -> usize {
    (block_size.len() - ENTRY_SIZE - TAIL_SIZE) / ENTRY_SIZE
}

/// An extent tree ready for the disk.
pub(crate) struct ExtentTree {
    /// The root, for `i_block`.
    pub root: [u8; BLOCK_MAP_SIZE],
    /// The nodes and their places.
    pub nodes: Vec<(BlockIndex, Sealed<Vec<u8>>)>,
}

/// What an index entry says of a node.
struct Child {
    first: FileBlock,
    place: BlockIndex,
}

/// Renders the tree of `extents`, with its nodes at `places` in order, the leaves first.
pub(crate) fn render(
    extents: &[Extent],
    places: &[BlockIndex],
    block_size: BlockSize,
    seed: InodeSeed,
) -> Result<ExtentTree> {
    if let Some(root) = leaf_root(extents)? {
        return Ok(ExtentTree { root, nodes: Vec::new() });
    }
    let pieces = split(extents)?;
    let levels = levels(pieces.len(), block_size);
    let mut nodes = Vec::with_capacity(places.len());
    let mut places = places.iter().copied();
    let mut entries = pieces.iter().map(leaf_bytes).collect::<Result<Vec<_>>>()?;
    let mut firsts: Vec<FileBlock> = pieces.iter().map(|piece| piece.at).collect();
    for depth in 0..levels.len() {
        let mut children = Vec::new();
        let per_node = node_entries(block_size);
        for (group, first) in entries.chunks(per_node).zip(firsts.chunks(per_node)) {
            let place = places.next().ok_or(NODES_HAVE_PLACES)?;
            let first = *first.first().ok_or(NODES_HAVE_PLACES)?;
            let mut node = vec![0; block_size.len()];
            put_node(&mut node, group, depth)?;
            let tail = ENTRY_SIZE + per_node * ENTRY_SIZE;
            nodes.push((place, seed.seal_extents(node, tail)?));
            children.push(Child { first, place });
        }
        entries = children.iter().map(index_bytes).collect();
        firsts = children.iter().map(|child| child.first).collect();
    }
    let mut root = [0; BLOCK_MAP_SIZE];
    put_node(&mut root, &entries, levels.len())?;
    Ok(ExtentTree { root, nodes })
}

/// The root that holds all mappings as they are, as nearly every file's does.
fn leaf_root(extents: &[Extent]) -> Result<Option<[u8; BLOCK_MAP_SIZE]>> {
    let is_one_entry =
        |extent: &Extent| (BlockCount::new(1)..=longest(extent)).contains(&extent.run.length);
    let mut entries = [[0; ENTRY_SIZE]; ROOT_ENTRIES];
    let Some(used) = entries.get_mut(..extents.len()) else { return Ok(None) };
    if !extents.iter().all(is_one_entry) {
        return Ok(None);
    }
    for (entry, extent) in used.iter_mut().zip(extents) {
        *entry = leaf_bytes(extent)?;
    }
    let mut root = [0; BLOCK_MAP_SIZE];
    put_node(&mut root, used, 0)?;
    Ok(Some(root))
}

const ENTRIES_FIT: Error = internal("a node has room for its entries");
const NODES_HAVE_PLACES: Error = internal("every extent node has a place");

fn leaf_bytes(piece: &Extent) -> Result<[u8; ENTRY_SIZE]> {
    let start = piece.run.start.get();
    let unwritten = if piece.unwritten { MAX_LENGTH } else { 0 };
    let record = Leaf {
        block: U32::new(piece.at.get()),
        len: u16::try_from(piece.run.length.get() + unwritten)
            .map(U16::new)
            .map_err(|_| MAPS_END_IN_32_BITS)?,
        start_hi: U16::new(low16(high32(start))),
        start_lo: U32::new(low32(start)),
    };
    Ok(zerocopy::transmute!(record))
}

fn index_bytes(child: &Child) -> [u8; ENTRY_SIZE] {
    let record = Index {
        block: U32::new(child.first.get()),
        leaf_lo: U32::new(low32(child.place.get())),
        leaf_hi: U16::new(low16(high32(child.place.get()))),
        unused: U16::ZERO,
    };
    zerocopy::transmute!(record)
}

/// Puts a node with these entries into zeros; its room for entries follows from their length.
fn put_node(node: &mut [u8], entries: &[[u8; ENTRY_SIZE]], depth: usize) -> Result<()> {
    let count = |number: usize| u16::try_from(number).map(U16::new);
    let room = (node.len() - ENTRY_SIZE) / ENTRY_SIZE;
    let header = || -> Result<Header, std::num::TryFromIntError> {
        Ok(Header {
            magic: U16::new(MAGIC),
            entries: count(entries.len())?,
            max: count(room)?,
            depth: count(depth)?,
            generation: U32::ZERO,
        })
    };
    let header = header().map_err(|_| MAPS_END_IN_32_BITS)?;
    let entries = entries.as_flattened();
    let used = node.get_mut(..ENTRY_SIZE + entries.len()).ok_or(ENTRIES_FIT)?;
    let (head, rest) = used.split_at_mut_checked(ENTRY_SIZE).ok_or(ENTRIES_FIT)?;
    head.copy_from_slice(header.as_bytes());
    rest.copy_from_slice(entries);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_needed_from_the_fifth_mapping_on() {
        for (extents, expected) in [
            (0, vec![]),
            (4, vec![]),
            (5, vec![1]),
            (340, vec![1]),
            (341, vec![2]),
            (1360, vec![4]),
            (1361, vec![5, 1]),
            (200_000, vec![589, 2]),
        ] {
            assert_eq!(levels(extents, BlockSize::DEFAULT), expected, "{extents}");
        }
    }

    #[test]
    fn long_runs_are_split_where_an_extent_ends() {
        let run = Run::new(BlockIndex::new(7), BlockCount::new(MAX_LENGTH * 2 + 1));
        let extent = Extent::written(FileBlock::new(3), run);
        let unwritten = split(&[Extent { unwritten: true, ..extent }]).unwrap();
        let lengths: Vec<u64> = unwritten.iter().map(|piece| piece.run.length.get()).collect();
        assert_eq!(lengths, [MAX_LENGTH - 1, MAX_LENGTH - 1, 3]);
        let pieces = split(&[extent]).unwrap();
        let lengths: Vec<u64> = pieces.iter().map(|piece| piece.run.length.get()).collect();
        assert_eq!(lengths, [MAX_LENGTH, MAX_LENGTH, 1]);
        assert_eq!(pieces[2].at.get(), 3 + 65_536);
        assert_eq!(pieces[2].run.start.get(), 7 + 65_536);
    }
}
