//! The superblock: 1,024 bytes at byte 1,024, and at the start of every backup group.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `struct ext4_super_block`.

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `s_magic`.
pub(crate) const MAGIC: u16 = 0xef53;
/// `s_state`: cleanly unmounted.
pub(crate) const STATE_VALID: u16 = 1;
/// `s_state`: errors were found.
pub(crate) const STATE_ERRORS: u16 = 2;
/// `s_errors`: carry on after an error.
pub(crate) const ERRORS_CONTINUE: u16 = 1;
/// `s_errors`: allow reading only.
pub(crate) const ERRORS_READ_ONLY: u16 = 2;
/// `s_errors`: stop the machine.
pub(crate) const ERRORS_PANIC: u16 = 3;
/// `s_rev_level`: inode sizes and features are in the superblock.
pub(crate) const DYNAMIC_REVISION: u32 = 1;
/// `s_max_mnt_count`: no limit (−1).
pub(crate) const UNLIMITED_MOUNTS: u16 = 0xffff;
/// `s_creator_os` of the Hurd, which uses some fields of inodes otherwise.
pub(crate) const OS_HURD: u32 = 1;
/// `s_checksum_type`: crc32c.
pub(crate) const CHECKSUM_CRC32C: u8 = 1;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds a copy of the journal inode's map and size.
pub(crate) const JOURNAL_BLOCKS_BACKUP: u8 = 1;
/// `s_flags`: names are hashed as signed bytes.
pub(crate) const FLAG_SIGNED_HASH: u32 = 0x0001;
/// `s_flags`: names are hashed as unsigned bytes.
pub(crate) const FLAG_UNSIGNED_HASH: u32 = 0x0002;

/// The superblock.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Superblock {
    pub inodes_count: U32,
    pub blocks_count_lo: U32,
    pub r_blocks_count_lo: U32,
    pub free_blocks_count_lo: U32,

    pub free_inodes_count: U32,
    pub first_data_block: U32,
    pub log_block_size: U32,
    pub log_cluster_size: U32,

    pub blocks_per_group: U32,
    pub clusters_per_group: U32,
    pub inodes_per_group: U32,
    pub mtime: U32,

    pub wtime: U32,
    pub mnt_count: U16,
    pub max_mnt_count: U16,
    pub magic: U16,
    pub state: U16,
    pub errors: U16,
    pub minor_rev_level: U16,

    pub lastcheck: U32,
    pub checkinterval: U32,
    pub creator_os: U32,
    pub rev_level: U32,

    pub def_resuid: U16,
    pub def_resgid: U16,
    pub first_ino: U32,
    pub inode_size: U16,
    pub block_group_nr: U16,
    pub feature_compat: U32,

    pub feature_incompat: U32,
    pub feature_ro_compat: U32,
    pub uuid: [u8; 16],
    pub volume_name: [u8; 16],
    pub last_mounted: [u8; 64],
    pub algorithm_usage_bitmap: U32,
    pub prealloc_blocks: u8,
    pub prealloc_dir_blocks: u8,
    pub reserved_gdt_blocks: U16,

    pub journal_uuid: [u8; 16],

    pub journal_inum: U32,
    pub journal_dev: U32,
    pub last_orphan: U32,
    pub hash_seed: [U32; 4],
    pub def_hash_version: u8,
    pub jnl_backup_type: u8,
    pub desc_size: U16,

    pub default_mount_opts: U32,
    pub first_meta_bg: U32,
    pub mkfs_time: U32,
    pub jnl_blocks: [U32; 17],

    pub blocks_count_hi: U32,
    pub r_blocks_count_hi: U32,
    pub free_blocks_count_hi: U32,
    pub min_extra_isize: U16,
    pub want_extra_isize: U16,

    pub flags: U32,
    pub raid_stride: U16,
    pub mmp_update_interval: U16,
    pub mmp_block: U64,

    pub raid_stripe_width: U32,
    pub log_groups_per_flex: u8,
    pub checksum_type: u8,
    pub encryption_level: u8,
    pub reserved_pad: u8,
    pub kbytes_written: U64,

    pub snapshot_inum: U32,
    pub snapshot_id: U32,
    pub snapshot_r_blocks_count: U64,

    pub snapshot_list: U32,
    pub error_count: U32,
    pub first_error_time: U32,
    pub first_error_ino: U32,

    pub first_error_block: U64,
    pub first_error_func: [u8; 32],
    pub first_error_line: U32,
    pub last_error_time: U32,

    pub last_error_ino: U32,
    pub last_error_line: U32,
    pub last_error_block: U64,

    pub last_error_func: [u8; 32],

    pub mount_opts: [u8; 64],

    pub usr_quota_inum: U32,
    pub grp_quota_inum: U32,
    pub overhead_clusters: U32,
    pub backup_bgs: [U32; 2],
    pub encrypt_algos: [u8; 4],
    pub encrypt_pw_salt: [u8; 16],
    pub lpf_ino: U32,
    pub prj_quota_inum: U32,

    pub checksum_seed: U32,
    pub wtime_hi: u8,
    pub mtime_hi: u8,
    pub mkfs_time_hi: u8,
    pub lastcheck_hi: u8,
    pub first_error_time_hi: u8,
    pub last_error_time_hi: u8,
    pub first_error_errcode: u8,
    pub last_error_errcode: u8,
    pub encoding: U16,
    pub encoding_flags: U16,

    pub orphan_file_inum: U32,
    pub reserved: [U32; 94],
    pub checksum: U32,
}

const _: () = assert!(size_of::<Superblock>() == 1024);
const _: () = assert!(offset_of!(Superblock, magic) == 0x38);
const _: () = assert!(offset_of!(Superblock, feature_incompat) == 0x60);
const _: () = assert!(offset_of!(Superblock, hash_seed) == 0xec);
const _: () = assert!(offset_of!(Superblock, jnl_blocks) == 0x10c);
const _: () = assert!(offset_of!(Superblock, blocks_count_hi) == 0x150);
const _: () = assert!(offset_of!(Superblock, kbytes_written) == 0x178);
const _: () = assert!(offset_of!(Superblock, mount_opts) == 0x200);
const _: () = assert!(offset_of!(Superblock, overhead_clusters) == 0x248);
const _: () = assert!(offset_of!(Superblock, checksum_seed) == 0x270);
const _: () = assert!(offset_of!(Superblock, checksum) == 0x3fc);

impl Superblock {
    /// A superblock of zeros.
    pub(crate) fn empty() -> Self {
        Self::new_zeroed()
    }
}
