//! The journal's superblock and the blocks of its log, in big-endian order.
//!
//! Source: kernel, `include/linux/jbd2.h`.

use std::mem::{offset_of, size_of};

use bitflags::bitflags;
use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `h_magic`.
pub(crate) const MAGIC: u32 = 0xc03b_3998;
/// `h_blocktype`: a superblock of version 2.
pub(crate) const SUPERBLOCK_V2: u32 = 4;
/// `h_blocktype`: a superblock of version 1, which has no features.
pub(crate) const SUPERBLOCK_V1: u32 = 3;
/// `h_blocktype`: tags of the blocks that follow.
pub(crate) const DESCRIPTOR: u32 = 1;
/// `h_blocktype`: the end of a transaction.
pub(crate) const COMMIT: u32 = 2;
/// `h_blocktype`: blocks whose older copies in the log do not count.
pub(crate) const REVOKE: u32 = 5;
/// `s_checksum_type`, `JBD2_CRC32C_CHKSUM`.
pub(crate) const CHECKSUM_CRC32C: u8 = 4;
/// `h_chksum_type`, `JBD2_CRC32_CHKSUM`.
pub(crate) const CHECKSUM_CRC32: u8 = 1;
/// `h_chksum_size`, `JBD2_CRC32_CHKSUM_SIZE`.
pub(crate) const CHECKSUM_CRC32_SIZE: u8 = 4;
/// `s_feature_compat`: transactions are summed as a whole.
pub(crate) const COMPAT_CHECKSUM: u32 = 0x0001;
/// The blocks of fast commits where the superblock does not say: `JBD2_DEFAULT_FAST_COMMIT_BLOCKS`.
pub(crate) const FAST_COMMIT_BLOCKS: u32 = 256;
/// The bytes of the checksum that ends a descriptor or revoke block: `jbd2_journal_block_tail`.
pub(crate) const TAIL_SIZE: usize = 4;
/// The bytes of the UUID behind a tag that has one.
pub(crate) const TAG_UUID: usize = 16;
/// `fc_tag`: the head of a fast commit, `EXT4_FC_TAG_HEAD` of `fs/ext4/fast_commit.h`.
pub(crate) const FAST_COMMIT_HEAD: u16 = 9;

bitflags! {
    /// `s_feature_incompat`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Incompatible: u32 {
        /// There are revoke blocks.
        const REVOKE = 0x0001;
        /// Block numbers have 64 bits.
        const BIT_64 = 0x0002;
        /// A commit block may be written before the blocks that it commits.
        const ASYNC_COMMIT = 0x0004;
        /// Every block of metadata is summed, tags with 16 bits.
        const CSUM_V2 = 0x0008;
        /// Every block of metadata is summed, tags with 32 bits.
        const CSUM_V3 = 0x0010;
        /// The last blocks are for fast commits.
        const FAST_COMMIT = 0x0020;
    }
}

bitflags! {
    /// `t_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct TagFlags: u16 {
        /// The block began with the journal's magic number, which was replaced by zeros.
        const ESCAPE = 0x0001;
        /// No UUID follows.
        const SAME_UUID = 0x0002;
        /// The last of its block.
        const LAST = 0x0008;
    }
}

/// The head of every block of the log but the logged ones.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub magic: U32,
    pub blocktype: U32,
    pub sequence: U32,
}

/// The block that ends a transaction.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct CommitHeader {
    pub header: Header,
    pub chksum_type: u8,
    pub chksum_size: u8,
    pub padding: [u8; 2],

    pub chksum: [U32; 8],

    pub commit_sec: U64,
    pub commit_nsec: U32,
}

/// The head of a revoke block; block numbers follow.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RevokeHeader {
    pub header: Header,
    pub count: U32,
}

/// A tag of a descriptor block, `journal_block_tag_t`: without 64-bit numbers it ends before
/// `blocknr_high`, with checksums of version 2 it is two bytes longer than it seems.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Tag {
    pub blocknr: U32,
    pub checksum: U16,
    pub flags: U16,
    pub blocknr_high: U32,
}

/// A tag with a whole checksum, `journal_block_tag3_t`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Tag3 {
    pub blocknr: U32,
    pub flags: U32,
    pub blocknr_high: U32,
    pub checksum: U32,
}

const _: () = assert!(size_of::<Header>() == 12);
const _: () = assert!(offset_of!(CommitHeader, chksum) == 16);
const _: () = assert!(offset_of!(CommitHeader, commit_sec) == 48);
const _: () = assert!(size_of::<RevokeHeader>() == 16);
const _: () = assert!(size_of::<Tag>() == 12);
const _: () = assert!(size_of::<Tag3>() == 16);

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
