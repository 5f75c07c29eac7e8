//! Where a stable placement starts anew: at files chosen by their names, so that one file more or
//! one block more shifts nothing but what stands before the next of them.

use crate::dirhash::NameHasher;
use crate::options::{DirectoryHash, HashedBytes};
use crate::units::{BlockCount, BlockSize};

/// Anchors begin at multiples of this.
const UNIT: u64 = 256 << 10;
/// The files between two anchors: at least, and at most.
const FILES: std::ops::Range<u32> = 256..2048;
/// One name in so many is an anchor's.
const NAMES: u32 = 256;

/// Which files begin at an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchors {
    unit: BlockCount,
    files_since: u32,
}

impl Anchors {
    /// Anchors for blocks of this size.
    pub(crate) fn new(block_size: BlockSize) -> Self {
        Self { unit: unit(block_size), files_since: 0 }
    }

    /// Counts a file; whether it begins at an anchor, and then at what multiple.
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

/// The multiple of blocks at which an anchor begins.
pub(crate) fn unit(block_size: BlockSize) -> BlockCount {
    block_size.blocks_for(UNIT)
}
