//! What the superblock says of the filesystem.

use zerocopy::little_endian::U32;

use crate::metadata::Timestamp;
use crate::reader::features::{Feature, FeatureWords};
use crate::reader::layout::Layout;
use crate::record::superblock::{STATE_ERRORS, STATE_VALID, Superblock};
use crate::record::wide;

/// What the superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperblockInfo {
    /// The label; empty if there is none.
    pub label: Vec<u8>,
    /// The UUID.
    pub uuid: [u8; 16],
    /// Where it was mounted last.
    pub last_mounted: Vec<u8>,
    /// The features.
    pub features: FeatureWords,
    /// The bytes of a block.
    pub block_size: u64,
    /// The bytes of a cluster, of which the files have whole numbers; a block's, without bigalloc.
    pub cluster_size: u64,
    /// The bytes of an inode.
    pub inode_size: u64,
    /// The bytes of a group descriptor.
    pub descriptor_size: u64,
    /// All blocks.
    pub blocks: u64,
    /// The blocks that are free.
    pub free_blocks: u64,
    /// The blocks that only root may fill.
    pub reserved_blocks: u64,
    /// The blocks of the filesystem itself; 0 if nobody counted them.
    pub overhead_blocks: u64,
    /// All inodes.
    pub inodes: u32,
    /// The inodes that are free.
    pub free_inodes: u32,
    /// The first inode that is not the filesystem's own.
    pub first_inode: u32,
    /// The block groups.
    pub groups: u32,
    /// The blocks of a group.
    pub blocks_per_group: u64,
    /// The inodes of a group.
    pub inodes_per_group: u32,
    /// The groups whose bitmaps and tables lie together.
    pub groups_per_flex: u64,
    /// The blocks kept for more group descriptors.
    pub reserved_descriptor_blocks: u16,
    /// The revision: 0 without features, 1 with.
    pub revision: u32,
    /// It was unmounted, or never mounted.
    pub is_clean: bool,
    /// Errors were found while it was mounted.
    pub has_errors: bool,
    /// How many errors, since the last check.
    pub errors: u32,
    /// The number of times that it was mounted since the last check.
    pub mounts: u16,
    /// The kibibytes that were ever written to it.
    pub written_kib: u64,
    /// When it was made.
    pub made: Timestamp,
    /// When it was mounted last.
    pub mounted: Timestamp,
    /// When it was written to last.
    pub written: Timestamp,
    /// When it was checked last.
    pub checked: Timestamp,
    /// The inode of the journal, if it is inside.
    pub journal_inode: Option<u32>,
    /// The seed of the hash of names.
    pub hash_seed: [u8; 16],
    /// The hash of names: `s_def_hash_version`.
    pub hash_version: u8,
    /// `s_default_mount_opts`.
    pub default_mount_options: u32,
    /// Options that are always mounted with, as text.
    pub mount_options: Vec<u8>,
    /// The first of a list of inodes that were removed while they were open.
    pub first_orphan: Option<u32>,
}

/// Bytes up to the first NUL.
fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn time(low: U32, high: u8) -> Timestamp {
    Timestamp::from_seconds(i64::from(low.get()) | i64::from(high) << 32)
}

fn nonzero(number: U32) -> Option<u32> {
    Some(number.get()).filter(|number| *number != 0)
}

impl SuperblockInfo {
    pub(crate) fn new(superblock: &Superblock, layout: &Layout) -> Self {
        let size = |length: usize| crate::format::units::widen(length);
        let state = superblock.state.get();
        let flex = 1u64.checked_shl(superblock.log_groups_per_flex.into()).unwrap_or(1);
        let mut info = Self {
            label: text(&superblock.volume_name),
            uuid: superblock.uuid,
            last_mounted: text(&superblock.last_mounted),
            features: layout.features,
            block_size: layout.block.bytes(),
            cluster_size: layout.block.bytes().saturating_mul(layout.cluster_blocks),
            inode_size: size(layout.inode_len),
            descriptor_size: size(layout.descriptor_len),
            blocks: layout.blocks,
            free_blocks: 0,
            reserved_blocks: 0,
            overhead_blocks: u64::from(superblock.overhead_clusters.get())
                .saturating_mul(layout.cluster_blocks),
            inodes: layout.inodes,
            free_inodes: superblock.free_inodes_count.get(),
            first_inode: if superblock.rev_level.get() == 0 {
                11
            } else {
                superblock.first_ino.get()
            },
            groups: layout.groups,
            blocks_per_group: layout.blocks_per_group,
            inodes_per_group: layout.inodes_per_group,
            groups_per_flex: flex,
            reserved_descriptor_blocks: superblock.reserved_gdt_blocks.get(),
            revision: superblock.rev_level.get(),
            is_clean: state & STATE_VALID != 0 && !layout.has(Feature::NEEDS_RECOVERY),
            has_errors: state & STATE_ERRORS != 0,
            errors: superblock.error_count.get(),
            mounts: superblock.mnt_count.get(),
            written_kib: superblock.kbytes_written.get(),
            made: time(superblock.mkfs_time, superblock.mkfs_time_hi),
            mounted: time(superblock.mtime, superblock.mtime_hi),
            written: time(superblock.wtime, superblock.wtime_hi),
            checked: time(superblock.lastcheck, superblock.lastcheck_hi),
            journal_inode: nonzero(superblock.journal_inum)
                .filter(|_| layout.has(Feature::HAS_JOURNAL)),
            hash_seed: [0; 16],
            hash_version: superblock.def_hash_version,
            default_mount_options: superblock.default_mount_opts.get(),
            mount_options: text(&superblock.mount_opts),
            first_orphan: nonzero(superblock.last_orphan),
        };
        info.count_blocks(superblock, layout);
        let seed = superblock.hash_seed.iter().flat_map(|word| word.get().to_le_bytes());
        for (byte, from) in info.hash_seed.iter_mut().zip(seed) {
            *byte = from;
        }
        info
    }

    fn count_blocks(&mut self, superblock: &Superblock, layout: &Layout) {
        let count = |low: U32, high: U32| {
            let high = if layout.has(Feature::BIT_64) { high } else { U32::ZERO };
            wide(low, high)
        };
        // Unlike the groups' counts it is of blocks where there are clusters, too
        // (kernel: fs/ext4/super.c, ext4_commit_super).
        self.free_blocks = count(superblock.free_blocks_count_lo, superblock.free_blocks_count_hi);
        self.reserved_blocks = count(superblock.r_blocks_count_lo, superblock.r_blocks_count_hi);
    }
}
