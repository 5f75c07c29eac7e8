//! Numbers with a meaning: blocks, groups and inodes, and the only place where blocks meet bytes.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};

use crate::error::{Result, internal};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name($inner);

        impl $name {
            /// The number itself.
            pub(crate) const fn get(self) -> $inner {
                self.0
            }

            /// Gives a number its meaning.
            pub(crate) const fn new(number: $inner) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The address of a block of the filesystem, from 0 at the start of the image.
    BlockIndex(u64)
}
number! {
    /// A number of blocks.
    BlockCount(u64)
}
number! {
    /// A block's place inside a file, from 0.
    FileBlock(u32)
}
number! {
    /// A block group, from 0.
    GroupIndex(u32)
}
number! {
    /// An inode's number, from 1; its place in the tables is its [`slot`](InodeNumber::slot).
    InodeNumber(u32)
}

impl BlockCount {
    /// No block.
    pub(crate) const ZERO: Self = Self(0);

    /// The blocks beyond `others`; none where there are no more than those.
    pub(crate) fn beyond(self, others: Self) -> Self {
        self.max(others) - others
    }
}

// Every machine that this is built for has addresses of 32 or 64 bits, so that neither of the next
// two conversions loses anything.
const _: () = assert!(usize::BITS == 32 || usize::BITS == 64);

/// A length in memory, as a number of bytes in an image.
pub(crate) fn widen(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A number of 32 bits as a place in memory.
pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// As many of `left` as there is room for in memory.
pub(crate) fn at_most(left: u64, room: usize) -> usize {
    usize::try_from(left).map_or(room, |left| left.min(room))
}

/// A number of bytes that are in memory, as a length there.
pub(crate) fn length(bytes: u64) -> Result<usize> {
    usize::try_from(bytes).map_err(|_| internal("a length in memory fits into an address"))
}

impl InodeNumber {
    /// The place in the inode tables, from 0; none for 0, which no inode has.
    pub(crate) const fn slot(self) -> Option<u32> {
        self.0.checked_sub(1)
    }

    /// The inode at this place in the tables.
    pub(crate) const fn from_slot(slot: u32) -> Self {
        Self(slot + 1)
    }
}

impl Add<BlockCount> for BlockIndex {
    type Output = Self;

    fn add(self, count: BlockCount) -> Self {
        Self(self.0 + count.0)
    }
}

impl Sub for BlockIndex {
    type Output = BlockCount;

    fn sub(self, earlier: Self) -> BlockCount {
        BlockCount(self.0 - earlier.0)
    }
}

impl Add for BlockCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for BlockCount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl AddAssign for BlockCount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for BlockCount {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl std::iter::Sum for BlockCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::ZERO, Add::add)
    }
}

/// A run of blocks that lie one behind the other on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    /// The first block.
    pub(crate) start: BlockIndex,
    /// How many there are.
    pub(crate) length: BlockCount,
}

impl Run {
    /// A run of `length` blocks from `start`.
    pub(crate) const fn new(start: BlockIndex, length: BlockCount) -> Self {
        Self { start, length }
    }

    /// The block behind the last one.
    pub(crate) fn end(self) -> BlockIndex {
        self.start + self.length
    }

    /// The blocks, one by one.
    pub(crate) fn blocks(self) -> impl Iterator<Item = BlockIndex> {
        (self.start.0..self.end().0).map(BlockIndex)
    }
}

/// What the 16 bits of a descriptor's counters can say, in whole bytes of a bitmap.
const COUNTABLE: u32 = (1 << 16) - 8;

/// The size of a block: a power of two of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSize {
    log: u32,
}

impl BlockSize {
    /// 4,096 bytes: a page of the common machines, and mke2fs's choice from 512 MiB on.
    #[cfg(test)]
    pub(crate) const DEFAULT: Self = Self { log: 12 };

    /// 1,024 bytes.
    pub(crate) const SMALLEST: Self = Self { log: 10 };

    /// So many bytes, if a filesystem can have such blocks.
    ///
    /// Source: kernel, `fs/ext4/ext4.h`, `EXT4_MIN_BLOCK_SIZE` and `EXT4_MAX_BLOCK_SIZE`.
    pub(crate) fn from_bytes(bytes: u32) -> Option<Self> {
        let is_valid = bytes.is_power_of_two() && (1024..=65_536).contains(&bytes);
        is_valid.then(|| Self { log: bytes.trailing_zeros() })
    }

    /// The bytes of one block.
    pub(crate) const fn bytes(self) -> u64 {
        1 << self.log
    }

    /// The bytes of one block, as a length in memory.
    pub(crate) const fn len(self) -> usize {
        1 << self.log
    }

    /// The superblock's way to say it: the logarithm of 1,024-byte units.
    pub(crate) const fn superblock_log(self) -> u32 {
        self.log - 10
    }

    /// How many bits a bitmap of one block holds.
    const fn bits(self) -> u32 {
        8 << self.log
    }

    /// The blocks of a group: as many as its bitmap has bits, and its descriptor can count.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/ext2_fs.h`, `EXT2_MAX_BLOCKS_PER_GROUP`.
    pub(crate) const fn blocks_per_group(self) -> u32 {
        if self.bits() < COUNTABLE { self.bits() } else { COUNTABLE }
    }

    /// The most inodes of a group, when a block holds `per_block`.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/ext2_fs.h`, `EXT2_MAX_INODES_PER_GROUP`.
    pub(crate) fn inodes_per_group(self, per_block: u64) -> u64 {
        u64::from(self.bits()).min(u64::from(COUNTABLE) + 8 - per_block)
    }

    /// The 32-bit block numbers in a block.
    pub(crate) const fn addresses(self) -> u64 {
        self.bytes() / 4
    }

    /// The block that holds the superblock: 1 when a block is 1,024 bytes, else 0.
    pub(crate) const fn first_data_block(self) -> BlockIndex {
        BlockIndex(if self.log == 10 { 1 } else { 0 })
    }

    /// Where a block begins in the image, in bytes.
    pub(crate) const fn offset(self, block: BlockIndex) -> u64 {
        block.0 << self.log
    }

    /// The bytes in so many blocks.
    pub(crate) const fn bytes_in(self, count: BlockCount) -> u64 {
        count.0 << self.log
    }

    /// The whole blocks in so many bytes.
    pub(crate) const fn whole_blocks(self, bytes: u64) -> BlockCount {
        BlockCount(bytes >> self.log)
    }

    /// The blocks that so many bytes need.
    pub(crate) const fn blocks_for(self, bytes: u64) -> BlockCount {
        BlockCount(bytes.div_ceil(1 << self.log))
    }

    /// What so many blocks count for in `i_blocks`, which is in units of 512 bytes.
    pub(crate) const fn sectors(self, count: BlockCount) -> u64 {
        count.0 << (self.log - 9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_bytes_agree() {
        let size = BlockSize::DEFAULT;
        assert_eq!(size.bytes(), 4096);
        assert_eq!(size.blocks_for(0), BlockCount(0));
        assert_eq!(size.blocks_for(1), BlockCount(1));
        assert_eq!(size.blocks_for(4097), BlockCount(2));
        assert_eq!(size.whole_blocks(8191), BlockCount(1));
        assert_eq!(size.sectors(BlockCount(3)), 24);
        assert_eq!(InodeNumber(12).slot().map(InodeNumber::from_slot), Some(InodeNumber(12)));
        assert_eq!(InodeNumber(0).slot(), None);
        assert_eq!(BlockCount(3).beyond(BlockCount(5)), BlockCount::ZERO);
        assert_eq!((at_most(5, 3), at_most(2, 3), at_most(u64::MAX, 3)), (3, 2, 3));
    }
}
