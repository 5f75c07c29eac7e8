//! Which files a stable placement aligns: some, chosen by their names, so that one file more or one
//! block more shifts nothing but what stands before the next of them.

use crate::format::dirhash::NameHasher;
use crate::format::hash::{DirectoryHash, HashedBytes};
use crate::format::units::{BlockCount, BlockSize};

/// Aligned files begin at multiples of this.
const UNIT: u64 = 256 << 10;
/// From one aligned file to the next: at least, and at most.
const FILES: std::ops::Range<u32> = 256..2048;
/// One name in so many is an aligned file's.
const NAMES: u32 = 256;

/// The state of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alignment {
    unit: BlockCount,
    files_since: u32,
}

impl Alignment {
    /// For blocks of this size.
    pub(crate) fn new(block_size: BlockSize) -> Self {
        Self { unit: unit(block_size), files_since: 0 }
    }

    /// Counts a file; whether it is aligned, and then to what multiple.
    pub(crate) fn at(&mut self, name: &[u8]) -> Option<BlockCount> {
        self.files_since += 1;
        // Any hash will do: this one is at hand.
        let hasher = NameHasher::new([0; 16], DirectoryHash::HalfMd4, HashedBytes::Unsigned);
        // The lowest bit of the hash is always clear.
        let chosen = (hasher.hash(name).major() >> 1).is_multiple_of(NAMES);
        if self.files_since < FILES.start || (!chosen && self.files_since < FILES.end) {
            return None;
        }
        self.files_since = 0;
        Some(self.unit)
    }
}

/// The multiple of blocks to which files are aligned.
pub(crate) fn unit(block_size: BlockSize) -> BlockCount {
    block_size.blocks_for(UNIT)
}
