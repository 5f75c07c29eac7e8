//! The index of a directory: names are looked for by their hash, and what is full is split as the
//! kernel splits it.
//!
//! Source: kernel, `fs/ext4/namei.c`, `dx_probe`, `ext4_dx_find_entry`, `ext4_dx_add_entry`,
//! `do_split`, `make_indexed_dir`.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::edit::device::Device;
use crate::edit::directory::{
    BLOCK_HAS_A_PLACE, Directory, FoundEntry, Slot, Target, put_entry, put_length,
};
use crate::edit::error::{EditError, EditResult};
use crate::edit::filesystem::Filesystem;
use crate::error::{Error, internal};
use crate::format::checksum::index_tail;
use crate::format::dirhash::NameHasher;
use crate::format::hash::{DirectoryHash, HashedBytes};
use crate::reader::directory::{count_place, verify_node};
use crate::reader::{Part, ReadError};
use crate::record::directory::{
    DOT_ENTRY, ENTRY_HEAD, HASH_HALF_MD4, HASH_TEA, IndexCount, IndexEntry, IndexInfo,
};
use crate::record::feature::Feature;
use crate::record::inode::Flags;

/// `dx_root_info.hash_version`: the first hash, of ext3's beginnings.
const HASH_LEGACY: u8 = 0;
/// The lowest bit of an entry's hash: names of that hash are in the block before as well.
const CONTINUED: u32 = 1;
/// More splits than one name can need.
const MOST_SPLITS: usize = 12;
/// Where the entries of a root begin.
const ROOT_HEAD: usize = 2 * DOT_ENTRY + size_of::<IndexInfo>();

/// How the names of a directory are hashed.
#[derive(Clone, Copy)]
enum Hash {
    Seeded(NameHasher),
    Legacy(HashedBytes),
}

impl Hash {
    fn of(self, name: &[u8]) -> u32 {
        match self {
            Self::Seeded(hasher) => hasher.hash(name).major(),
            Self::Legacy(bytes) => legacy(name, bytes),
        }
    }
}

/// Source: kernel, `fs/ext4/hash.c`, `dx_hack_hash_signed` and `ext4fs_dirhash`.
fn legacy(name: &[u8], bytes: HashedBytes) -> u32 {
    const END: u32 = 0x7fff_ffff << 1;
    let (mut last, mut before) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
    for byte in name {
        let number = match bytes {
            HashedBytes::Signed => i32::from(byte.cast_signed()).cast_unsigned(),
            HashedBytes::Unsigned => u32::from(*byte),
        };
        let mut next = before.wrapping_add(last ^ number.wrapping_mul(7_152_373));
        if next >> 31 == 1 {
            next = next.wrapping_sub(0x7fff_ffff);
        }
        (before, last) = (last, next);
    }
    let hash = (last << 1) & !1;
    if hash == END { END - 2 } else { hash }
}

/// A node of the index.
struct Node {
    /// The block of the directory.
    block: u64,
    bytes: Vec<u8>,
    /// Where its entries begin.
    head: usize,
    entries: Vec<Pointer>,
    /// The most entries that it can have.
    limit: usize,
    /// The entry that the hash leads through.
    at: usize,
}

/// An entry of the index: names of this hash and above are in this block, or below it. The first
/// one's hash is not stored, and is the lowest.
#[derive(Clone, Copy)]
struct Pointer {
    hash: u32,
    block: u32,
}

impl Node {
    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
    }

    /// The entry that a hash leads through.
    fn follow(&self, hash: u32) -> usize {
        let others = self.entries.get(1..).unwrap_or_default();
        others.partition_point(|pointer| pointer.hash <= hash)
    }

    fn pointer(&self) -> EditResult<Pointer> {
        Ok(*self.entries.get(self.at).ok_or(internal("the place in an index node is in it"))?)
    }
}

impl<D: Device> Filesystem<D> {
    fn index_limit(&self, head: usize) -> usize {
        let tail = index_tail(self.layout.seed.is_enabled());
        (self.layout.block.len() - head - tail) / size_of::<IndexEntry>()
    }

    fn read_node(&self, directory: &Directory, block: u64) -> EditResult<Node> {
        let part = directory.part(block);
        let wrong = |detail: &str| EditError::from(ReadError::corrupt(part, detail));
        let bytes = self.read_directory_block(directory, block)?;
        let head = count_place(&bytes, block == 0).ok_or_else(|| wrong("it is no index node"))?;
        verify_node(self.seed_of(&directory.inode), &bytes, head, part)?;
        let rest = bytes.get(head..).unwrap_or_default();
        let (counts, _) =
            IndexCount::read_from_prefix(rest).map_err(|_| wrong("it is cut short"))?;
        let (count, limit) = (usize::from(counts.count.get()), usize::from(counts.limit.get()));
        if count == 0 || count > limit || limit != self.index_limit(head) {
            return Err(wrong("the counts of its index are wrong; run e2fsck -D"));
        }
        let mut entries = vec![Pointer { hash: 0, block: counts.block.get() }];
        for pair in rest.chunks_exact(size_of::<IndexEntry>()).take(count).skip(1) {
            let entry = IndexEntry::read_from_bytes(pair).map_err(|_| wrong("it is cut short"))?;
            entries.push(Pointer { hash: entry.hash.get(), block: entry.block.get() });
        }
        Ok(Node { block, bytes, head, entries, limit, at: 0 })
    }

    fn put_node(&mut self, directory: &Directory, node: &Node) -> EditResult<()> {
        let u16_of = |number: usize| u16::try_from(number).map(U16::new).map_err(|_| COUNTS_FIT);
        let (first, others) = node.entries.split_first().ok_or(COUNTS_FIT)?;
        let counts = IndexCount {
            limit: u16_of(node.limit)?,
            count: u16_of(node.entries.len())?,
            block: U32::new(first.block),
        };
        let mut list = counts.as_bytes().to_vec();
        for pointer in others {
            let (hash, block) = (U32::new(pointer.hash), U32::new(pointer.block));
            list.extend_from_slice(IndexEntry { hash, block }.as_bytes());
        }
        let mut bytes = node.bytes.clone();
        let used = node.head + list.len();
        bytes.get_mut(node.head..).ok_or(COUNTS_FIT)?.fill(0);
        bytes.get_mut(node.head..used).ok_or(COUNTS_FIT)?.copy_from_slice(&list);
        let place = directory.map.place(node.block).ok_or(BLOCK_HAS_A_PLACE)?;
        let sealed = self.seed_of(&directory.inode).seal_index(bytes, used)?;
        self.put(place, &sealed)
    }

    fn index_hash(&self, version: u8, part: Part) -> EditResult<Hash> {
        let algorithm = match version {
            HASH_LEGACY => return Ok(Hash::Legacy(self.hashed_bytes())),
            HASH_HALF_MD4 => DirectoryHash::HalfMd4,
            HASH_TEA => DirectoryHash::Tea,
            _ => {
                let detail = format!("its names are hashed in the unknown way {version}");
                return Err(ReadError::corrupt(part, detail).into());
            }
        };
        let mut seed = [0; 16];
        let words = self.superblock.hash_seed.iter().flat_map(|word| word.get().to_le_bytes());
        for (byte, from) in seed.iter_mut().zip(words) {
            *byte = from;
        }
        Ok(Hash::Seeded(NameHasher::new(seed, algorithm, self.hashed_bytes())))
    }

    /// The hash of a directory's names, and the levels of nodes below the root.
    fn index_info(&self, directory: &Directory, root: &Node) -> EditResult<(Hash, usize)> {
        let part = directory.part(0);
        let info = root.bytes.get(2 * DOT_ENTRY..).unwrap_or_default();
        let (info, _) = IndexInfo::read_from_prefix(info)
            .map_err(|_| ReadError::corrupt(part, "it is cut short"))?;
        let levels = usize::from(info.indirect_levels);
        if levels > self.most_levels() {
            let detail = format!("its index has {levels} levels below the root");
            return Err(ReadError::corrupt(part, detail).into());
        }
        Ok((self.index_hash(info.hash_version, part)?, levels))
    }

    /// Source: kernel, `fs/ext4/ext4.h`, `ext4_dir_htree_level`.
    fn most_levels(&self) -> usize {
        if self.has(Feature::LARGE_DIR) { 2 } else { 1 }
    }

    /// The nodes from the root to the one above the leaf for a name, and the name's hash.
    fn probe(&self, directory: &Directory, name: &[u8]) -> EditResult<(Vec<Node>, Hash, u32)> {
        let mut root = self.read_node(directory, 0)?;
        let (hasher, levels) = self.index_info(directory, &root)?;
        let hash = hasher.of(name);
        root.at = root.follow(hash);
        let mut path = vec![root];
        for _ in 0..levels {
            let above = path.last().ok_or(internal("an index has a root"))?;
            let below = above.pointer()?.block;
            let mut node = self.read_node(directory, below.into())?;
            if node.head != ENTRY_HEAD || path.iter().any(|other| other.block == node.block) {
                let detail = "it is a node of the index twice";
                return Err(ReadError::corrupt(directory.part(node.block), detail).into());
            }
            node.at = node.follow(hash);
            path.push(node);
        }
        Ok((path, hasher, hash))
    }

    /// Moves on to the next leaf if names of this hash may be in it.
    fn next_leaf(
        &self,
        directory: &Directory,
        path: &mut Vec<Node>,
        hash: u32,
    ) -> EditResult<bool> {
        let levels = path.len();
        while let Some(node) = path.last_mut() {
            if node.at + 1 < node.entries.len() {
                break;
            }
            path.pop();
        }
        let Some(node) = path.last_mut() else { return Ok(false) };
        node.at += 1;
        let pointer = node.pointer()?;
        if pointer.hash & CONTINUED == 0 || pointer.hash & !CONTINUED != hash {
            return Ok(false);
        }
        while path.len() < levels {
            let above = path.last().ok_or(internal("an index has a root"))?;
            let below = above.pointer()?.block;
            path.push(self.read_node(directory, below.into())?);
        }
        Ok(true)
    }

    /// The entry of a name in a directory with an index.
    pub(crate) fn find_by_index(
        &self,
        directory: &Directory,
        name: &[u8],
    ) -> EditResult<Option<FoundEntry>> {
        let (mut path, _, hash) = self.probe(directory, name)?;
        // A leaf more for each block of the directory would be one twice.
        for _ in 0..self.directory_blocks(directory) {
            let lowest = path.last().ok_or(internal("an index has a root"))?;
            let leaf = lowest.pointer()?.block;
            if let Some(found) = self.find_in_leaf(directory, leaf.into(), name)? {
                return Ok(Some(found));
            }
            if !self.next_leaf(directory, &mut path, hash)? {
                return Ok(None);
            }
        }
        Err(ReadError::corrupt(directory.inode.part(), "its index goes in circles").into())
    }

    /// Puts a name in that is not there.
    pub(crate) fn insert_by_index(
        &mut self,
        directory: &mut Directory,
        name: &[u8],
        target: Target,
    ) -> EditResult<()> {
        for _ in 0..MOST_SPLITS {
            let (mut path, hasher, _) = self.probe(directory, name)?;
            let lowest = path.last().ok_or(internal("an index has a root"))?;
            let leaf = lowest.pointer()?.block;
            if self.insert_in_leaf(directory, leaf.into(), name, target)? {
                return Ok(());
            }
            if lowest.is_full() {
                self.grow_index(directory, &mut path)?;
            } else {
                self.split_leaf(directory, path, hasher)?;
            }
        }
        Err(internal("a few splits make room for a name").into())
    }

    /// Makes room in the index: splits the uppermost node on the path that is full below one that
    /// is not, or puts a level below a full root.
    fn grow_index(&mut self, directory: &mut Directory, path: &mut [Node]) -> EditResult<()> {
        let above = path.iter().rposition(|node| !node.is_full());
        let Some(above) = above else { return self.deepen_index(directory, path) };
        let block = self.append_block(directory)?;
        let (upper, lower) = path.split_at_mut(above + 1);
        let (Some(parent), Some(node)) = (upper.last_mut(), lower.first_mut()) else {
            return Err(internal("a full node is below one that is not").into());
        };
        let moved = node.entries.split_off(node.entries.len() / 2);
        let first = *moved.first().ok_or(COUNTS_FIT)?;
        let sibling = self.empty_node(block, moved)?;
        let pointer = Pointer { hash: first.hash, block: file_block(block)? };
        parent.entries.insert(parent.at + 1, pointer);
        self.put_node(directory, &sibling)?;
        self.put_node(directory, node)?;
        self.put_node(directory, parent)
    }

    /// Moves the entries of the root into a new node below it.
    fn deepen_index(&mut self, directory: &mut Directory, path: &mut [Node]) -> EditResult<()> {
        if path.len() > self.most_levels() {
            let limit = self.index_limit(ENTRY_HEAD);
            let reach = (1..path.len()).fold(self.index_limit(ROOT_HEAD), |reach, _| reach * limit);
            return Err(Error::DirectoryTooLarge { leaves: reach + 1, limit: reach }.into());
        }
        let block = self.append_block(directory)?;
        let levels = u8::try_from(path.len()).map_err(|_| COUNTS_FIT)?;
        let root = path.first_mut().ok_or(internal("an index has a root"))?;
        let first = Pointer { hash: 0, block: file_block(block)? };
        let moved = std::mem::replace(&mut root.entries, vec![first]);
        let place = 2 * DOT_ENTRY + std::mem::offset_of!(IndexInfo, indirect_levels);
        *root.bytes.get_mut(place).ok_or(COUNTS_FIT)? = levels;
        let below = self.empty_node(block, moved)?;
        self.put_node(directory, &below)?;
        self.put_node(directory, root)
    }

    fn empty_node(&self, block: u64, entries: Vec<Pointer>) -> EditResult<Node> {
        let mut bytes = vec![0; self.layout.block.len()];
        // To a reader without the index it is one free entry.
        put_length(&mut bytes, 0, self.layout.block.len())?;
        let limit = self.index_limit(ENTRY_HEAD);
        Ok(Node { block, bytes, head: ENTRY_HEAD, entries, limit, at: 0 })
    }

    /// Moves the upper half of a leaf's names, by their hashes, into a new leaf.
    fn split_leaf(
        &mut self,
        directory: &mut Directory,
        mut path: Vec<Node>,
        hasher: Hash,
    ) -> EditResult<()> {
        let mut node = path.pop().ok_or(internal("an index has a root"))?;
        let leaf = u64::from(node.pointer()?.block);
        let bytes = self.read_leaf(directory, leaf)?;
        let slots = self.slots(&bytes, directory.part(leaf))?;
        let mut ordered: Vec<(u32, Slot)> = slots
            .into_iter()
            .filter(|slot| slot.target.inode != 0)
            .map(|slot| Ok((hasher.of(slot.name_in(&bytes)?), slot)))
            .collect::<EditResult<_>>()?;
        ordered.sort_by_key(|(hash, _)| *hash);
        let upper = ordered.split_off(middle(&ordered, self.layout.block.len())?);
        let (Some((last, _)), Some((first, _))) = (ordered.last(), upper.first()) else {
            return Err(internal("a full leaf has names for two").into());
        };
        let continued = if last == first { CONTINUED } else { 0 };
        let hash = *first | continued;
        let block = self.append_block(directory)?;
        for (place, names) in [(block, &upper), (leaf, &ordered)] {
            let packed = self.pack(&bytes, names.iter().map(|(_, slot)| slot))?;
            self.put_leaf(directory, place, packed)?;
        }
        node.entries.insert(node.at + 1, Pointer { hash, block: file_block(block)? });
        self.put_node(directory, &node)
    }

    /// A block of entries from another one.
    fn pack<'a>(&self, from: &[u8], slots: impl Iterator<Item = &'a Slot>) -> EditResult<Vec<u8>> {
        let mut bytes = self.empty_leaf()?;
        let (mut at, mut last) = (0, 0);
        for slot in slots {
            let name = slot.name_in(from)?;
            put_entry(&mut bytes, at, slot.used(), (name, slot.target))?;
            (last, at) = (at, at + slot.used());
        }
        put_length(&mut bytes, last, self.leaf_room() - last)?;
        Ok(bytes)
    }

    /// Turns a directory of one block into one with an index.
    pub(crate) fn make_index(&mut self, directory: &mut Directory) -> EditResult<()> {
        let bytes = self.read_leaf(directory, 0)?;
        let slots = self.slots(&bytes, directory.part(0))?;
        let is_dot = |place: usize, name: &[u8]| {
            slots.get(place).is_some_and(|slot| bytes.get(slot.name.clone()) == Some(name))
        };
        if !is_dot(0, b".") || !is_dot(1, b"..") {
            let detail = "it does not begin with \".\" and \"..\"";
            return Err(ReadError::corrupt(directory.part(0), detail).into());
        }
        let block = self.append_block(directory)?;
        let names = slots.iter().skip(2).filter(|slot| slot.target.inode != 0);
        let leaf = self.pack(&bytes, names)?;
        self.put_leaf(directory, block, leaf)?;
        let mut root = vec![0; self.layout.block.len()];
        let target = |place: usize| slots.get(place).map(|slot| slot.target).ok_or(COUNTS_FIT);
        put_entry(&mut root, 0, DOT_ENTRY, (b".", target(0)?))?;
        let rest = self.layout.block.len() - DOT_ENTRY;
        put_entry(&mut root, DOT_ENTRY, rest, (b"..", target(1)?))?;
        let info = IndexInfo {
            reserved_zero: U32::ZERO,
            hash_version: self.superblock.def_hash_version,
            info_length: 8,
            indirect_levels: 0,
            unused_flags: 0,
        };
        let place = root.get_mut(2 * DOT_ENTRY..ROOT_HEAD).ok_or(COUNTS_FIT)?;
        place.copy_from_slice(info.as_bytes());
        self.index_hash(info.hash_version, directory.part(0))?;
        directory.inode.set_flag(Flags::INDEX, true);
        let entries = vec![Pointer { hash: 0, block: file_block(block)? }];
        let limit = self.index_limit(ROOT_HEAD);
        let root = Node { block: 0, bytes: root, head: ROOT_HEAD, entries, limit, at: 0 };
        self.put_node(directory, &root)
    }

    /// Lets `..` name another directory.
    pub(crate) fn set_parent(&mut self, directory: &Directory, parent: u32) -> EditResult<()> {
        let place = DOT_ENTRY..DOT_ENTRY + size_of::<U32>();
        let number = parent.to_le_bytes();
        if !directory.is_indexed() {
            let found = self.find_in_leaf(directory, 0, b"..")?;
            let Some(found) = found else {
                let detail = "it has no entry \"..\"";
                return Err(ReadError::corrupt(directory.part(0), detail).into());
            };
            let target = Target { inode: parent, kind: found.target.kind };
            return self.set_target(directory, 0, (b"..", target));
        }
        let mut root = self.read_node(directory, 0)?;
        root.bytes.get_mut(place).ok_or(COUNTS_FIT)?.copy_from_slice(&number);
        self.put_node(directory, &root)
    }
}

const COUNTS_FIT: Error = internal("an index node has room for what it says");

fn file_block(block: u64) -> EditResult<u32> {
    Ok(u32::try_from(block).map_err(|_| COUNTS_FIT)?)
}

/// How many of the names, in the order of their hashes, stay: the others take half of the block.
fn middle(ordered: &[(u32, Slot)], block: usize) -> EditResult<usize> {
    let (mut moved, mut size) = (0, 0);
    for (_, slot) in ordered.iter().rev() {
        if size + slot.used() / 2 > block / 2 {
            break;
        }
        size += slot.used();
        moved += 1;
    }
    let kept = ordered.len() - moved;
    let kept = if kept == 0 { ordered.len() / 2 } else { kept };
    if kept == 0 { Err(internal("a full leaf has names for two").into()) } else { Ok(kept) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `debugfs -R 'dx_hash -h legacy NAME'` of e2fsprogs 1.47.0.
    #[test]
    fn the_first_hash_is_that_of_debugfs() {
        for (name, hash) in LEGACY_VECTORS {
            assert_eq!(legacy(name.as_bytes(), HashedBytes::Signed), *hash, "{name}");
        }
    }

    const LEGACY_VECTORS: &[(&str, u32)] = &[
        ("a", 0xe74b_53e2),
        ("hello", 0x3225_2546),
        ("a-name-of-more-than-thirty-two-bytes-so-that-it-takes-two-rounds", 0x1161_168c),
    ];
}
