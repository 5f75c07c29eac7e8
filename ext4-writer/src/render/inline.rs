//! Content inside its inode: the bytes of small files, and the entries of small directories.
//!
//! Source: kernel, `fs/ext4/inline.c`: the first 60 bytes are in `i_block`, what is behind them is
//! the value of the attribute `system.data`, which is there even when it is empty. In a directory
//! the first four bytes are the parent, and entries fill what is left of `i_block` and, anew, the
//! value.

use crate::error::{Error, Result, internal};
use crate::format::units::widen;
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::render::directory::{Dots, Named, entry_region};

/// The bytes of a directory's parent: `EXT4_INLINE_DOTDOT_SIZE`.
const PARENT: usize = 4;
/// What of `i_block` is left for entries.
pub(crate) const FIRST_REGION: usize = BLOCK_MAP_SIZE - PARENT;

/// Content as an inode holds it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InlineData {
    /// `i_size`.
    pub size: u64,
    /// `i_block`.
    pub block: [u8; BLOCK_MAP_SIZE],
    /// The value of `system.data`.
    pub rest: Vec<u8>,
}

/// Which of a directory's names are in which region.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InlineRegions {
    /// In the order of the names.
    in_first: Vec<bool>,
    /// The bytes of the others' entries.
    rest: usize,
}

impl InlineRegions {
    /// Regions of which the first has the names of which `in_first` says so, in their order, and
    /// the other `rest` bytes.
    pub(crate) fn new(in_first: Vec<bool>, rest: usize) -> Self {
        Self { in_first, rest }
    }

    /// The length of `system.data`.
    pub(crate) fn rest(&self) -> usize {
        self.rest
    }

    /// The directory's content.
    pub(crate) fn render(&self, dots: Dots, names: &[Named<'_>]) -> Result<InlineData> {
        if names.len() != self.in_first.len() {
            return Err(REGIONS_ARE_FULL);
        }
        let region = |first: bool, length| {
            let chosen = names.iter().zip(&self.in_first).filter(|(_, is)| **is == first);
            entry_region(chosen.map(|(name, _)| name), length)
        };
        let mut bytes = dots.parent.get().to_le_bytes().to_vec();
        bytes.extend(region(true, FIRST_REGION)?);
        let block = bytes.try_into().map_err(|_| REGIONS_ARE_FULL)?;
        let rest = region(false, self.rest)?;
        Ok(InlineData { size: widen(BLOCK_MAP_SIZE + self.rest), block, rest })
    }
}

const REGIONS_ARE_FULL: Error = internal("the entries of a small directory fill their regions");

impl InlineData {
    /// The content of a file.
    pub(crate) fn of_file(bytes: &[u8]) -> Self {
        let mut block = [0; BLOCK_MAP_SIZE];
        for (place, byte) in block.iter_mut().zip(bytes) {
            *place = *byte;
        }
        let rest = bytes.iter().skip(BLOCK_MAP_SIZE).copied().collect();
        Self { size: widen(bytes.len()), block, rest }
    }
}
