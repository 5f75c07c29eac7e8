//! The index of a directory: its nodes, and whether every name lies where its hash leads to.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass2.c`, `parse_int_node` and the end of
//! `e2fsck_pass2`.

use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use crate::check::bytes::{u16_at, u32_at};
use crate::check::context::Context;
use crate::check::findings::{Finding, Findings};
use crate::check::kinds::Kind;
use crate::format::checksum::{InodeSeed, index_tail};
use crate::format::dirhash::NameHasher;
use crate::format::hash::{DirectoryHash, HashedBytes};
use crate::record::directory::{HASH_HALF_MD4, HASH_TEA, IndexTail};
use crate::record::superblock::FLAG_UNSIGNED_HASH;

/// The first hash version of unsigned bytes: `DX_HASH_LEGACY_UNSIGNED`.
const UNSIGNED: u8 = 3;
/// `DX_HASH_SIPHASH`: the hash stands in the entry.
const SIPHASH: u8 = 6;
/// The bits of an index entry's block that count: `EXT4_DX_BLOCK_MASK`.
const BLOCK_MASK: u32 = 0x0fff_ffff;
/// The most levels that e2fsck follows: `MAX_DEPTH`.
const MAX_DEPTH: u32 = 32_000;
/// The most blocks of a directory whose index is looked at: 16 GiB of 4 KiB.
const MAX_BLOCKS: u64 = 1 << 22;

/// What a block of an indexed directory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Leaf,
    Root,
    Node,
}

/// A block of an indexed directory.
#[derive(Clone, Debug)]
struct Block {
    role: Role,
    parent: u32,
    previous: u32,
    /// The hashes of the names in it, or of what its entries lead to.
    min: u32,
    max: u32,
    /// The hashes that its parent allows.
    node_min: u32,
    node_max: u32,
    references: u8,
    is_first: bool,
    is_last: bool,
    is_seen: bool,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            role: Role::Leaf,
            parent: 0,
            previous: 0,
            min: u32::MAX,
            max: 0,
            node_min: 0,
            node_max: 0,
            references: 0,
            is_first: false,
            is_last: false,
            is_seen: false,
        }
    }
}

/// How names are hashed in one directory.
#[derive(Clone, Copy)]
enum Hash {
    Legacy {
        signed: bool,
    },
    Kernel(NameHasher),
    InEntry,
    /// It depends on a table of letters.
    Unknown,
}

/// The index of one directory.
pub(super) struct Index {
    inode: u32,
    seed: InodeSeed,
    hash: Hash,
    depth: u32,
    blocks: Vec<Block>,
    block_len: usize,
    is_folded: bool,
    /// Its levels are more than the features allow.
    levels: u8,
}

impl Index {
    /// An index of a directory of so many blocks; none if it is too long to be looked at.
    pub(super) fn new(
        inode: u32,
        seed: InodeSeed,
        count: u64,
        (block_len, levels, is_folded): (usize, u8, bool),
    ) -> Option<Self> {
        let count = usize::try_from(count).ok().filter(|_| count <= MAX_BLOCKS)?;
        let blocks = vec![Block::default(); count];
        let hash = Hash::Unknown;
        Some(Self { inode, seed, hash, depth: 0, blocks, block_len, is_folded, levels })
    }

    pub(super) const fn is_unjudged(&self) -> bool {
        matches!(self.hash, Hash::Unknown)
    }

    fn finding(&self, kind: Kind, block: u64) -> Finding {
        Finding::new(kind).inode(self.inode).file_block(block)
    }

    fn at(&mut self, number: u64) -> Option<&mut Block> {
        self.blocks.get_mut(usize::try_from(number).ok()?)
    }

    /// Takes a block and says what it is.
    pub(super) fn role<S>(
        &mut self,
        context: &Context<S>,
        number: u64,
        bytes: &[u8],
        findings: &mut Findings,
    ) -> Role {
        let tail = index_tail(self.seed.is_enabled());
        let mut role = Role::Leaf;
        if number == 0 {
            role = Role::Root;
            let (version, length, levels) = (bytes.get(28), bytes.get(29), bytes.get(30));
            let levels = levels.copied().unwrap_or(0);
            let is_bad = u32_at(bytes, 24) != Some(0)
                || length.is_none_or(|length| *length < 8)
                || levels >= self.levels;
            if is_bad {
                findings.push(self.finding(Kind::HtreeRoot, 0));
            }
            self.hash = hash(context, version.copied().unwrap_or(0), self.is_folded);
            self.depth = u32::from(levels) + 1;
        } else if u32_at(bytes, 0) == Some(0)
            && u16_at(bytes, 4).map(usize::from) == Some(self.block_len)
            && bytes.get(6) == Some(&0)
            && u16_at(bytes, 8).map(usize::from) == Some((self.block_len - 8 - tail) / 8)
        {
            role = Role::Node;
        }
        if let Some(block) = self.at(number) {
            block.role = role;
            block.is_seen = true;
            if role == Role::Root {
                (block.is_first, block.is_last) = (true, true);
            }
        }
        role
    }

    /// A name in a block, with what stands behind it.
    pub(super) fn name(&mut self, number: u64, name: &[u8], behind: &[u8]) {
        let hash = match self.hash {
            Hash::Unknown => return,
            Hash::Legacy { signed } => legacy(name, signed),
            Hash::Kernel(hasher) => hasher.hash(name).major(),
            Hash::InEntry => match u32_at(behind, 0) {
                Some(hash) => hash,
                None => return,
            },
        };
        if let Some(block) = self.at(number) {
            block.min = block.min.min(hash);
            block.max = block.max.max(hash);
        }
    }

    /// The entries of a root or node.
    pub(super) fn node(&mut self, number: u64, bytes: &[u8], findings: &mut Findings) {
        let start = if number == 0 {
            24 + bytes.get(29).map_or(0, |length| usize::from(*length))
        } else {
            8
        };
        self.check_sum((number, start), bytes, findings);
        let tail = index_tail(self.seed.is_enabled());
        let (Some(limit), Some(count)) = (u16_at(bytes, start), u16_at(bytes, start + 2)) else {
            findings.push(self.finding(Kind::HtreeNode, number).found("no room for entries"));
            return;
        };
        let most = self.block_len.saturating_sub(start + tail) / 8;
        if usize::from(limit) != most {
            let finding = self.finding(Kind::HtreeNode, number).field("limit");
            findings.push(finding.found(limit).expected(most));
        }
        if usize::from(count) > most {
            let finding = self.finding(Kind::HtreeNode, number).field("count");
            findings.push(finding.found(count).expected(format_args!("at most {most}")));
        }
        let count = usize::from(count).min(most);
        self.entries(number, (start, count), bytes, findings);
    }

    fn entries(
        &mut self,
        number: u64,
        (start, count): (usize, usize),
        bytes: &[u8],
        findings: &mut Findings,
    ) {
        let entry = |place: usize| -> Option<(u32, u32)> {
            let at = start + place * 8;
            let hash = if place == 0 { 0 } else { u32_at(bytes, at)? & !1 };
            Some((hash, u32_at(bytes, at + 4)? & BLOCK_MASK))
        };
        let (mut min, mut max) = (u32::MAX, 0);
        let mut before = 0;
        for place in 0..count {
            let Some((hash, block)) = entry(place) else { break };
            let last = std::mem::replace(&mut before, hash);
            let next =
                if place + 1 < count { entry(place + 1).map(|(hash, _)| hash) } else { None };
            let previous = place.checked_sub(1).and_then(entry).map_or(0, |(_, block)| block);
            if usize::try_from(block).map_or(true, |block| block >= self.blocks.len()) {
                let finding = self.finding(Kind::HtreeNode, number).field("block").found(block);
                let most = format!("less than {}", self.blocks.len());
                findings.push(finding.expected(most));
                continue;
            }
            if hash < last {
                let finding = self.finding(Kind::HtreeNode, number).field("hash");
                let found = format!("{hash:#x} behind {last:#x}");
                findings.push(finding.found(found));
            }
            let parent = u32::try_from(number).unwrap_or(u32::MAX);
            if let Some(child) = self.at(block.into()) {
                child.references = child.references.saturating_add(1);
                if child.references == 1 {
                    child.parent = parent;
                }
                child.previous = previous;
                child.node_min = hash;
                child.node_max = next.unwrap_or(0xffff_fffe);
                child.is_last |= next.is_none();
                child.is_first |= place == 0;
            }
            (min, max) = (min.min(hash), max.max(hash));
        }
        if let Some(own) = self.at(number) {
            (own.min, own.max) = (min, max);
        }
    }

    fn check_sum(&self, (number, start): (u64, usize), bytes: &[u8], findings: &mut Findings) {
        if !self.seed.is_enabled() {
            return;
        }
        let wrong = |what: String| self.finding(Kind::HtreeChecksum, number).found(what);
        // The kernel finds the count where the root's fields are as they should be only.
        let is_shaped = if number == 0 {
            start == 32
                && u16_at(bytes, 4) == Some(12)
                && u16_at(bytes, 16).map(usize::from) == Some(self.block_len - 12)
                && u32_at(bytes, 24) == Some(0)
        } else {
            u16_at(bytes, 6) == Some(0)
        };
        let limit = u16_at(bytes, start).map(usize::from);
        let count = u16_at(bytes, start + 2).map(usize::from);
        let (Some(limit), Some(count)) = (limit, count) else { return };
        let place = start + limit * 8;
        let tail = bytes.get(place..).and_then(|rest| IndexTail::read_from_prefix(rest).ok());
        let used = bytes.get(..start + count * 8);
        let (Some((tail, _)), Some(used), true) = (tail, used, is_shaped) else {
            findings.push(wrong("no room for a sum".to_owned()));
            return;
        };
        let zero = IndexTail { checksum: U32::ZERO, ..tail };
        let computed = self.seed.index_sum(used, zero);
        let stored = tail.checksum.get();
        if stored != computed {
            findings.push(wrong(format!("{stored:#x}")).expected(format_args!("{computed:#x}")));
        }
    }

    /// What can be said when all blocks were seen.
    pub(super) fn finish(mut self, findings: &mut Findings) {
        if let Some(root) = self.at(0) {
            root.references = root.references.saturating_add(1);
        }
        self.tell_parents(Role::Leaf);
        self.tell_parents(Role::Node);
        for (number, block) in (0u64..).zip(&self.blocks) {
            let finding = |kind| self.finding(kind, number);
            let has_hash = !self.is_unjudged();
            if has_hash && !block.is_first && block.min < block.node_min {
                let found = format!("a hash of {:#x}", block.min);
                let expected = format!("at least {:#x}", block.node_min);
                findings.push(finding(Kind::HtreeHash).found(found).expected(expected));
            }
            if block.role == Role::Leaf && self.depth_of(block) != self.depth {
                let found = format!("at depth {}", self.depth_of(block));
                findings.push(finding(Kind::HtreeLeaf).found(found).expected(self.depth));
            }
            if has_hash && number > 0 && block.max > block.node_max {
                let found = format!("a hash of {:#x}", block.max);
                let expected = format!("at most {:#x}", block.node_max);
                findings.push(finding(Kind::HtreeHash).found(found).expected(expected));
            }
            if block.references != 1 {
                let found = format!("{} references", block.references);
                findings.push(finding(Kind::HtreeLeaf).found(found).expected(1));
            }
        }
    }

    /// Hands the hashes of first and last children to their parents.
    fn tell_parents(&mut self, role: Role) {
        for number in 0..self.blocks.len() {
            let Some(block) = self.blocks.get(number).filter(|block| block.role == role) else {
                continue;
            };
            let Block { parent, min, max, is_first, is_last, .. } = block.clone();
            let Some(above) = self.at(parent.into()) else { continue };
            if is_first {
                above.min = min;
                let previous = above.previous;
                if previous != 0
                    && let Some(before) = self.at(previous.into())
                {
                    before.node_max = min;
                }
            }
            if is_last && let Some(above) = self.at(parent.into()) {
                above.max = max;
            }
        }
    }

    fn depth_of(&self, block: &Block) -> u32 {
        let mut block = block;
        let mut depth = 0;
        while block.role != Role::Root && depth < MAX_DEPTH {
            let parent = usize::try_from(block.parent).ok().and_then(|at| self.blocks.get(at));
            let Some(parent) = parent else { return MAX_DEPTH };
            // A block that leads to itself has no depth.
            if std::ptr::eq(parent, block) {
                return MAX_DEPTH;
            }
            block = parent;
            depth += 1;
            if depth > 8 {
                return MAX_DEPTH;
            }
        }
        depth
    }
}

fn hash<S>(context: &Context<S>, version: u8, is_folded: bool) -> Hash {
    if is_folded && version != SIPHASH {
        return Hash::Unknown;
    }
    let record = &context.superblock;
    let unsigned = version >= UNSIGNED || record.flags.get() & FLAG_UNSIGNED_HASH != 0;
    let plain = if (UNSIGNED..SIPHASH).contains(&version) { version - UNSIGNED } else { version };
    let bytes = if unsigned { HashedBytes::Unsigned } else { HashedBytes::Signed };
    let mut seed = [0; 16];
    let words = record.hash_seed.iter().flat_map(|word| word.get().to_le_bytes());
    for (byte, from) in seed.iter_mut().zip(words) {
        *byte = from;
    }
    let kernel = |algorithm| Hash::Kernel(NameHasher::new(seed, algorithm, bytes));
    match plain {
        0 => Hash::Legacy { signed: !unsigned },
        HASH_HALF_MD4 => kernel(DirectoryHash::HalfMd4),
        HASH_TEA => kernel(DirectoryHash::Tea),
        SIPHASH => Hash::InEntry,
        _ => Hash::Unknown,
    }
}

/// The hash of the first indexes.
///
/// Source: kernel, `fs/ext4/hash.c`, `dx_hack_hash_signed` and `dx_hack_hash_unsigned`.
fn legacy(name: &[u8], signed: bool) -> u32 {
    let (mut first, mut second) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
    for byte in name {
        let wide =
            if signed { i32::from(byte.cast_signed()).cast_unsigned() } else { u32::from(*byte) };
        let mut hash = second.wrapping_add(first ^ wide.wrapping_mul(7_152_373));
        if hash & 0x8000_0000 != 0 {
            hash = hash.wrapping_sub(0x7fff_ffff);
        }
        (second, first) = (first, hash);
    }
    first << 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `debugfs -R 'dx_hash -h legacy NAME'` of e2fsprogs 1.47.0.
    #[test]
    fn the_oldest_hash_is_that_of_debugfs() {
        for (name, hash) in [(&b"a"[..], 0xe74b_53e2), (b"hello", 0x3225_2546)] {
            assert_eq!(legacy(name, true), hash);
        }
    }
}
