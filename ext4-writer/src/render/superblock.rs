//! The superblock and its backups.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::{FsSeed, Sealed};
use crate::format::dirhash::seed_words;
use crate::format::features::Features;
use crate::format::hash::HashedBytes;
use crate::format::numbers::{FIRST_FREE_INODE, JOURNAL};
use crate::format::units::{BlockCount, InodeNumber};
use crate::metadata::Timestamp;
use crate::options::{MountOptions, OnError};
use crate::record::inode::{EXTRA_SIZE, Inode};
use crate::record::superblock::{
    CHECKSUM_CRC32C, DYNAMIC_REVISION, ERRORS_CONTINUE, ERRORS_PANIC, ERRORS_READ_ONLY,
    FLAG_SIGNED_HASH, FLAG_UNSIGNED_HASH, JOURNAL_BLOCKS_BACKUP, MAGIC, STATE_VALID, Superblock,
    UNLIMITED_MOUNTS,
};
use crate::record::{high32, low16, low32};
use crate::render::directory::hash_version;

/// What the superblock is made of.
pub(crate) struct Sources<'a> {
    pub format: Format,
    /// Those that the filesystem has: of a small one less than the format's.
    pub features: Features,
    pub blocks: BlockCount,
    /// The blocks that only root may fill.
    pub reserved: BlockCount,
    pub inodes: u32,
    pub inodes_per_group: u32,
    pub groups_per_flex: u32,
    /// The reserved GDT blocks.
    pub reserved_descriptors: BlockCount,
    /// The groups with a backup under `sparse_super2`; 0 stands for none.
    pub backups: [u64; 2],
    pub label: &'a [u8],
    pub last_mounted: &'a [u8],
    pub mount_options: MountOptions,
    pub on_error: OnError,
    pub epoch: Timestamp,
    pub uuid: [u8; 16],
    pub hash_seed: [u8; 16],
    pub free_blocks: BlockCount,
    pub free_inodes: u32,
    /// The blocks that the filesystem itself takes.
    pub overhead: BlockCount,
    pub journal: Option<&'a Inode>,
    pub orphan_file: Option<InodeNumber>,
    pub seed: FsSeed,
    pub written: u64,
}

/// The superblock, or its backup in this group.
pub(crate) fn render(sources: &Sources<'_>, group: u64) -> Result<Sealed<Superblock>> {
    let mut superblock = Superblock::empty();
    set_counts(&mut superblock, sources);
    set_sizes(&mut superblock, sources)?;
    set_features(&mut superblock, sources);
    set_identity(&mut superblock, sources)?;
    set_state(&mut superblock, sources);
    if let Some(journal) = sources.journal {
        set_journal(&mut superblock, journal);
    }
    // One of more than 16 bits is said by the largest of them (e2fsprogs: `lib/ext2fs/closefs.c`,
    // `write_backup_super`).
    superblock.block_group_nr = U16::new(u16::try_from(group).unwrap_or(u16::MAX));
    Ok(sources.seed.seal_superblock(superblock))
}

fn set_counts(superblock: &mut Superblock, sources: &Sources<'_>) {
    let (blocks, reserved) = (sources.blocks.get(), sources.reserved.get());
    superblock.inodes_count = U32::new(sources.inodes);
    superblock.blocks_count_lo = U32::new(low32(blocks));
    superblock.blocks_count_hi = U32::new(high32(blocks));
    superblock.r_blocks_count_lo = U32::new(low32(reserved));
    superblock.r_blocks_count_hi = U32::new(high32(reserved));
    let free = sources.free_blocks.get();
    superblock.free_blocks_count_lo = U32::new(low32(free));
    superblock.free_blocks_count_hi = U32::new(high32(free));
    superblock.free_inodes_count = U32::new(sources.free_inodes);
    // Too large a number to say is said by zero: the kernel then counts by itself.
    let overhead = u32::try_from(sources.overhead.get()).unwrap_or(0);
    superblock.overhead_clusters = U32::new(overhead);
}

fn set_sizes(superblock: &mut Superblock, sources: &Sources<'_>) -> Result<()> {
    let (format, block_size) = (&sources.format, sources.format.block);
    superblock.first_data_block = U32::new(low32(block_size.first_data_block().get()));
    superblock.log_block_size = U32::new(block_size.superblock_log());
    superblock.log_cluster_size = U32::new(block_size.superblock_log());
    superblock.blocks_per_group = U32::new(block_size.blocks_per_group());
    superblock.clusters_per_group = U32::new(block_size.blocks_per_group());
    superblock.inodes_per_group = U32::new(sources.inodes_per_group);
    let reserved = low32(sources.reserved_descriptors.get());
    superblock.reserved_gdt_blocks = U16::new(low16(reserved));
    superblock.first_ino = U32::new(FIRST_FREE_INODE);
    superblock.inode_size = U16::new(format.inode_size);
    if format.has(Features::EXTRA_ISIZE) {
        superblock.min_extra_isize = U16::new(EXTRA_SIZE);
        superblock.want_extra_isize = U16::new(EXTRA_SIZE);
    }
    if format.has(Features::BIT_64) {
        superblock.desc_size = U16::new(format.descriptor_size());
    }
    if format.has(Features::FLEX_BG) {
        let log = sources.groups_per_flex.trailing_zeros();
        let log = u8::try_from(log).map_err(|_| internal("a number of 32 bits has a logarithm"))?;
        superblock.log_groups_per_flex = log;
    }
    if format.has(Features::SPARSE_SUPER2) {
        superblock.backup_bgs = sources.backups.map(|group| U32::new(low32(group)));
    }
    Ok(())
}

fn set_features(superblock: &mut Superblock, sources: &Sources<'_>) {
    let features = sources.features;
    superblock.feature_compat = U32::new(features.compatible());
    superblock.feature_incompat = U32::new(features.incompatible());
    superblock.feature_ro_compat = U32::new(features.read_only());
    if features.contains(Features::METADATA_CSUM) {
        superblock.checksum_type = CHECKSUM_CRC32C;
    }
    if features.contains(Features::METADATA_CSUM_SEED) {
        superblock.checksum_seed = U32::new(sources.seed.get());
    }
    superblock.default_mount_opts = U32::new(sources.mount_options.bits());
    superblock.flags = U32::new(match sources.format.hashed_bytes {
        HashedBytes::Signed => FLAG_SIGNED_HASH,
        HashedBytes::Unsigned => FLAG_UNSIGNED_HASH,
    });
}

fn set_identity(superblock: &mut Superblock, sources: &Sources<'_>) -> Result<()> {
    superblock.uuid = sources.uuid;
    put_text(&mut superblock.volume_name, sources.label)?;
    put_text(&mut superblock.last_mounted, sources.last_mounted)?;
    superblock.hash_seed = seed_words(sources.hash_seed).map(U32::new);
    superblock.def_hash_version = hash_version(sources.format.hash);
    Ok(())
}

/// Puts a text into a field, which has zeros behind it.
fn put_text(field: &mut [u8], text: &[u8]) -> Result<()> {
    const TEXTS_FIT: Error = internal("a label and a mount point fit into their fields");
    field.get_mut(..text.len()).ok_or(TEXTS_FIT)?.copy_from_slice(text);
    Ok(())
}

fn set_state(superblock: &mut Superblock, sources: &Sources<'_>) {
    let seconds = sources.epoch.clamped().seconds.max(0).cast_unsigned();
    let [_, _, _, _, high, ..] = seconds.to_le_bytes();
    superblock.magic = U16::new(MAGIC);
    superblock.state = U16::new(STATE_VALID);
    superblock.errors = U16::new(match sources.on_error {
        OnError::Continue => ERRORS_CONTINUE,
        OnError::RemountReadOnly => ERRORS_READ_ONLY,
        OnError::Panic => ERRORS_PANIC,
    });
    superblock.rev_level = U32::new(DYNAMIC_REVISION);
    superblock.max_mnt_count = U16::new(UNLIMITED_MOUNTS);
    for (low_part, high_part) in [
        (&mut superblock.wtime, &mut superblock.wtime_hi),
        (&mut superblock.mkfs_time, &mut superblock.mkfs_time_hi),
        (&mut superblock.lastcheck, &mut superblock.lastcheck_hi),
    ] {
        *low_part = U32::new(low32(seconds));
        *high_part = high;
    }
    superblock.kbytes_written = (sources.written / 1024).into();
    let orphan_file = sources.orphan_file.map_or(0, InodeNumber::get);
    superblock.orphan_file_inum = U32::new(orphan_file);
}

/// A copy of the journal inode's map and size, for a filesystem whose inode table is lost.
fn set_journal(superblock: &mut Superblock, journal: &Inode) {
    superblock.journal_inum = U32::new(JOURNAL.get());
    superblock.jnl_backup_type = JOURNAL_BLOCKS_BACKUP;
    let words = journal.block.chunks_exact(size_of::<U32>());
    for (place, word) in superblock.jnl_blocks.iter_mut().zip(words) {
        place.as_mut_bytes().copy_from_slice(word);
    }
    let [.., high, low] = &mut superblock.jnl_blocks;
    (*high, *low) = (journal.size_high, journal.size_lo);
}
