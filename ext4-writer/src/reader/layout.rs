//! The superblock, checked: the numbers that everything else is found by.
//!
//! Source of the checks: kernel, `fs/ext4/super.c`, `ext4_fill_super` and what it calls.

use zerocopy::FromBytes;

use crate::format::backups;
use crate::format::checksum::{FsSeed, superblock_sum};
use crate::format::units::{BlockSize, widen};
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::features::{Feature, FeatureWords};
use crate::record::inode::GOOD_OLD_SIZE;
use crate::record::superblock::{CHECKSUM_CRC32C, MAGIC, Superblock};
use crate::record::wide;

/// Where the superblock is, in bytes.
pub(crate) const SUPERBLOCK_OFFSET: u64 = 1024;
/// The bytes of a descriptor without the feature `64bit`.
const SHORT_DESCRIPTOR: usize = 32;
/// `EXT4_MAX_CLUSTER_LOG_SIZE`: the logarithm of the largest cluster.
const MAX_CLUSTER_LOG: u32 = 30;
/// The logarithm of 1,024, in which sizes are told.
const KIB_LOG: u32 = 10;

/// A checked superblock.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub features: FeatureWords,
    pub seed: FsSeed,
    pub uuid: [u8; 16],
    pub block: BlockSize,
    pub blocks: u64,
    pub first_data_block: u64,
    /// Blocks in a cluster, the unit of the block bitmaps.
    pub cluster_blocks: u64,
    pub blocks_per_group: u64,
    pub clusters_per_group: u64,
    pub groups: u32,
    pub inodes: u32,
    pub inodes_per_group: u32,
    pub inode_len: usize,
    pub descriptor_len: usize,
    pub first_meta_group: u64,
    pub backup_groups: [u32; 2],
    /// The blocks behind the descriptors that are kept for more of them.
    pub reserved_descriptor_blocks: u64,
}

/// The superblock of `bytes`, which are those from [`SUPERBLOCK_OFFSET`] on, if it is one.
pub(crate) fn parse(bytes: &[u8]) -> ReadResult<Superblock> {
    let not = |detail: String| ReadError::NotExt4 { detail };
    let (superblock, _) = Superblock::read_from_prefix(bytes)
        .map_err(|_| not(format!("a superblock has 1024 bytes, here are {}", bytes.len())))?;
    let magic = superblock.magic.get();
    if magic != MAGIC {
        return Err(not(format!(
            "the magic number at byte 1080 is {magic:#06x}, not {MAGIC:#06x}"
        )));
    }
    Ok(superblock)
}

fn wrong(detail: String) -> ReadError {
    ReadError::corrupt(Part::Superblock, detail)
}

/// The features; a filesystem of the first revision has none.
fn features(superblock: &Superblock) -> FeatureWords {
    if superblock.rev_level.get() == 0 {
        return FeatureWords::default();
    }
    FeatureWords {
        compatible: superblock.feature_compat.get(),
        incompatible: superblock.feature_incompat.get(),
        read_only: superblock.feature_ro_compat.get(),
    }
}

impl Layout {
    /// Checks a superblock.
    pub(crate) fn new(superblock: &Superblock) -> ReadResult<Self> {
        let features = features(superblock);
        features.check()?;
        let seed = seed(superblock, features)?;
        let block = block_size(superblock)?;
        let cluster_blocks = cluster_blocks(superblock, features, block)?;
        let descriptor_len = descriptor_len(superblock, features, block)?;
        let mut layout = Self {
            features,
            seed,
            uuid: superblock.uuid,
            block,
            blocks: wide(superblock.blocks_count_lo, superblock.blocks_count_hi),
            first_data_block: superblock.first_data_block.get().into(),
            cluster_blocks,
            blocks_per_group: superblock.blocks_per_group.get().into(),
            clusters_per_group: superblock.clusters_per_group.get().into(),
            groups: 0,
            inodes: superblock.inodes_count.get(),
            inodes_per_group: superblock.inodes_per_group.get(),
            inode_len: inode_len(superblock, block)?,
            descriptor_len,
            first_meta_group: superblock.first_meta_bg.get().into(),
            backup_groups: superblock.backup_bgs.map(zerocopy::little_endian::U32::get),
            reserved_descriptor_blocks: superblock.reserved_gdt_blocks.get().into(),
        };
        if !features.has(Feature::BIT_64) {
            layout.blocks = superblock.blocks_count_lo.get().into();
        }
        if !features.has(Feature::BIGALLOC) {
            // `s_frags_per_group` of ext2.
            layout.clusters_per_group = layout.blocks_per_group;
        }
        layout.groups = layout.count_groups()?;
        Ok(layout)
    }

    /// Whether a feature is on.
    pub(crate) const fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// The bytes of the filesystem.
    pub(crate) fn bytes(&self) -> ReadResult<u64> {
        self.blocks
            .checked_mul(self.block.bytes())
            .ok_or_else(|| wrong(format!("{} blocks are more than 2^64 bytes", self.blocks)))
    }

    /// The group descriptors in a block.
    pub(crate) fn descriptors_per_block(&self) -> u64 {
        self.block.bytes() / widen(self.descriptor_len)
    }

    /// The first block of a group.
    pub(crate) fn group_start(&self, group: u64) -> u64 {
        self.first_data_block.saturating_add(group.saturating_mul(self.blocks_per_group))
    }

    /// The clusters of a group; the last one may be shorter.
    pub(crate) fn clusters_in(&self, group: u32) -> u64 {
        let left = self.blocks.saturating_sub(self.group_start(group.into()));
        left.div_ceil(self.cluster_blocks).min(self.clusters_per_group)
    }

    /// Whether a group begins with a copy of the superblock.
    ///
    /// Source: kernel, `fs/ext4/balloc.c`, `ext4_bg_has_super`.
    pub(crate) fn has_superblock(&self, group: u64) -> bool {
        if group == 0 {
            true
        } else if self.has(Feature::SPARSE_SUPER2) {
            self.backup_groups.iter().any(|backup| u64::from(*backup) == group)
        } else if group == 1 || !self.has(Feature::SPARSE_SUPER) {
            true
        } else {
            backups::is_sparse_group(group)
        }
    }

    /// Checks what groups are made of, and counts them.
    fn count_groups(&self) -> ReadResult<u32> {
        let bits = self.block.bytes() * 8;
        if self.blocks_per_group == 0
            || self.clusters_per_group == 0
            || self.clusters_per_group > bits
            || self.blocks_per_group != self.clusters_per_group * self.cluster_blocks
        {
            return Err(wrong(format!(
                "its groups have {} blocks and {} clusters of {} blocks",
                self.blocks_per_group, self.clusters_per_group, self.cluster_blocks
            )));
        }
        let per_block = self.block.bytes() / widen(self.inode_len);
        let per_group = u64::from(self.inodes_per_group);
        if per_group < per_block || per_group > bits {
            return Err(wrong(format!("its groups have {per_group} inodes")));
        }
        let expected = u64::from(self.block.bytes() == 1024 && self.cluster_blocks == 1);
        if self.first_data_block != expected || self.blocks <= self.first_data_block {
            return Err(wrong(format!(
                "its data begin at block {} of {}",
                self.first_data_block, self.blocks
            )));
        }
        self.bytes()?;
        let groups = (self.blocks - self.first_data_block).div_ceil(self.blocks_per_group);
        if groups.checked_mul(per_group) != Some(self.inodes.into()) {
            return Err(wrong(format!(
                "it counts {} inodes, with {per_group} in each of {groups} groups",
                self.inodes
            )));
        }
        if self.has(Feature::META_BG)
            && self.first_meta_group > groups.div_ceil(self.descriptors_per_block())
        {
            return Err(wrong(format!("its first meta group is {}", self.first_meta_group)));
        }
        u32::try_from(groups).map_err(|_| wrong(format!("it has {groups} groups")))
    }
}

/// The start of all checksums, and the superblock's own.
fn seed(superblock: &Superblock, features: FeatureWords) -> ReadResult<FsSeed> {
    let enabled = features.has(Feature::METADATA_CSUM);
    if enabled {
        let kind = superblock.checksum_type;
        if kind != CHECKSUM_CRC32C {
            return Err(wrong(format!("its checksums are of the unknown kind {kind}")));
        }
        let (stored, computed) = (superblock.checksum.get(), superblock_sum(superblock));
        ReadError::verify(Part::Superblock, stored, computed)?;
    }
    if features.has(Feature::CSUM_SEED) {
        return Ok(FsSeed::kept(superblock.checksum_seed.get(), enabled));
    }
    Ok(FsSeed::new(superblock.uuid, enabled))
}

/// The size of its blocks.
pub(crate) fn block_size(superblock: &Superblock) -> ReadResult<BlockSize> {
    let log = superblock.log_block_size.get();
    1024u32
        .checked_shl(log)
        .filter(|_| log <= 6)
        .and_then(BlockSize::from_bytes)
        .ok_or_else(|| wrong(format!("its blocks have 2^{} bytes", u64::from(log) + 10)))
}

fn cluster_blocks(
    superblock: &Superblock,
    features: FeatureWords,
    block: BlockSize,
) -> ReadResult<u64> {
    let (log, block_log) = (superblock.log_cluster_size.get(), block.superblock_log());
    let is_valid = if features.has(Feature::BIGALLOC) {
        (block_log..=MAX_CLUSTER_LOG - KIB_LOG).contains(&log)
    } else {
        log == block_log
    };
    if !is_valid {
        let bytes = block.bytes();
        return Err(wrong(format!(
            "its clusters have 2^{} bytes, its blocks {bytes}",
            u64::from(log) + u64::from(KIB_LOG)
        )));
    }
    Ok(1 << (log - block_log))
}

fn inode_len(superblock: &Superblock, block: BlockSize) -> ReadResult<usize> {
    if superblock.rev_level.get() == 0 {
        return Ok(GOOD_OLD_SIZE);
    }
    let length = usize::from(superblock.inode_size.get());
    if !length.is_power_of_two() || length < GOOD_OLD_SIZE || length > block.len() {
        return Err(wrong(format!("its inodes have {length} bytes")));
    }
    Ok(length)
}

fn descriptor_len(
    superblock: &Superblock,
    features: FeatureWords,
    block: BlockSize,
) -> ReadResult<usize> {
    if !features.has(Feature::BIT_64) {
        return Ok(SHORT_DESCRIPTOR);
    }
    let length = usize::from(superblock.desc_size.get());
    if !length.is_power_of_two() || length < 2 * SHORT_DESCRIPTOR || length > block.len() {
        return Err(wrong(format!("its group descriptors have {length} bytes")));
    }
    Ok(length)
}
