//! The journal's superblock, in big-endian order.
//!
//! Source: kernel, `include/linux/jbd2.h`, `struct journal_superblock_s`.

use std::mem::{offset_of, size_of};

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `h_magic`.
pub(crate) const MAGIC: u32 = 0xc03b_3998;
/// `h_blocktype`: a superblock of version 2.
pub(crate) const SUPERBLOCK_V2: u32 = 4;
/// The smallest journal that the kernel accepts, in blocks: `JBD2_MIN_JOURNAL_BLOCKS`.
pub(crate) const MIN_BLOCKS: u64 = 1024;

/// The first block of the journal.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct JournalSuperblock {
    pub header_magic: U32,
    pub header_blocktype: U32,
    pub header_sequence: U32,
    pub blocksize: U32,

    pub maxlen: U32,
    pub first: U32,
    pub sequence: U32,
    pub start: U32,

    pub errno: U32,
    pub feature_compat: U32,
    pub feature_incompat: U32,
    pub feature_ro_compat: U32,

    pub uuid: [u8; 16],

    pub nr_users: U32,
    pub dynsuper: U32,
    pub max_transaction: U32,
    pub max_trans_data: U32,

    pub checksum_type: u8,
    pub padding2: [u8; 3],
    pub num_fc_blocks: U32,
    pub head: U32,
    pub padding: [U32; 40],
    pub checksum: U32,

    pub users: [u8; 768],
}

const _: () = assert!(size_of::<JournalSuperblock>() == 1024);
const _: () = assert!(offset_of!(JournalSuperblock, checksum) == 0xfc);

impl JournalSuperblock {
    /// A journal superblock of zeros.
    pub(crate) fn empty() -> Self {
        Self::new_zeroed()
    }
}
