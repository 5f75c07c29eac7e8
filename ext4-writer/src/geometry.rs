//! Size and inode count to groups, tables and backups. Pure arithmetic.

use crate::error::{Error, Result};
use crate::options::{Journal, Options, Reserved, Size};
use crate::record::group::GroupDescriptor;
use crate::record::{inode, journal};
use crate::sink::widen;
use crate::units::{BlockCount, BlockIndex, BlockSize};

/// The first inode that the format does not keep for itself.
pub(crate) const FIRST_FREE_INODE: u32 = 11;
/// The most blocks held back for descriptors: what one block of 32-bit addresses can list.
const MAX_RESERVED_DESCRIPTORS: u64 = 1024;
/// The growth that mke2fs provides for.
const GROWTH: u64 = 1024;
/// The filesystems up to this many blocks are what 32-bit block numbers can address.
const MAX_BLOCKS_32: u64 = 0xffff_ffff;
/// The growth provided for when the size is not known at the start.
const FIT_MAX_SIZE: u64 = 2 << 40;
/// The blocks that the kernel keeps for delayed allocation: a fiftieth, at most so many.
///
/// Source: kernel, `fs/ext4/super.c`, `ext4_calculate_resv_clusters`.
const KERNEL_RESERVE: BlockCount = BlockCount::new(4096);

/// The numbers that follow from a filesystem's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub block_size: BlockSize,
    pub blocks: BlockCount,
    pub groups: u32,
    pub descriptor_blocks: BlockCount,
    /// The blocks behind the descriptors that are held back for more of them.
    pub reserved_descriptors: BlockCount,
    pub inodes_per_group: u32,
    /// The blocks of one group's inode table.
    pub table: BlockCount,
    pub journal: BlockCount,
    /// The blocks that only root may fill.
    pub reserved: BlockCount,
}

/// The inodes that a tree takes and asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InodeDemand {
    /// Those in use, with the format's own.
    pub used: u64,
}

impl InodeDemand {
    /// The inodes that there must be: the tree's and those that are to be free, or as many as
    /// were asked for.
    pub(crate) fn required(self, options: &Options) -> Result<u64> {
        let needed = self.used.max(u64::from(FIRST_FREE_INODE));
        let needed = match options.size {
            Size::Fit { free_inodes, .. } => needed + u64::from(free_inodes),
            Size::Fixed(_) => needed,
        };
        // Inode numbers have 32 bits.
        let available = u64::from(options.inodes.unwrap_or(u32::MAX));
        if available < needed {
            return Err(Error::TooFewInodes { needed, available });
        }
        Ok(options.inodes.map_or(needed, u64::from))
    }
}

/// Refuses options that no tree and no size can make good.
pub(crate) fn check(options: &Options, block_size: BlockSize) -> Result<()> {
    if let Reserved::Percent(percent) = options.reserved
        && percent > 50
    {
        let reason = format!("{percent} per cent are more than half");
        return Err(Error::InvalidOption { option: "reserved", reason });
    }
    let blocks = match options.size {
        Size::Fixed(bytes) => block_size.whole_blocks(bytes),
        // Any will do: only a fixed journal is judged here.
        Size::Fit { .. } => BlockCount::ZERO,
    };
    journal_blocks(options, block_size, blocks)?;
    if matches!(options.size, Size::Fixed(_)) {
        reserved_blocks(options, block_size, blocks)?;
    }
    Ok(())
}

/// The blocks at the start of every backup group: superblock, descriptors, room for more.
pub(crate) fn backup_area(options: &Options, block_size: BlockSize) -> Result<BlockCount> {
    let per_block = descriptors_per_block(block_size);
    let (size, max) = match options.size {
        Size::Fixed(bytes) => {
            let blocks = block_size.whole_blocks(bytes).get();
            let grown = blocks.checked_mul(GROWTH).map_or(MAX_BLOCKS_32, |b| b.min(MAX_BLOCKS_32));
            let max = options.max_size.map(|max| block_size.blocks_for(max).get());
            (blocks, max.unwrap_or(grown).max(blocks))
        }
        Size::Fit { .. } => {
            (0, block_size.blocks_for(options.max_size.unwrap_or(FIT_MAX_SIZE)).get())
        }
    };
    let descriptors =
        |blocks: u64| blocks.div_ceil(u64::from(block_size.bits())).div_ceil(per_block);
    let now = descriptors(size);
    // The resize inode's addresses have 32 bits.
    let held_back = if size > MAX_BLOCKS_32 {
        0
    } else {
        descriptors(max).saturating_sub(now).min(MAX_RESERVED_DESCRIPTORS)
    };
    let area = 1 + now + held_back;
    if area >= u64::from(block_size.bits()) {
        return Err(Error::InvalidOption {
            option: "size",
            reason: format!("{size} blocks need {now} blocks of descriptors, more than a group"),
        });
    }
    Ok(BlockCount::new(area))
}

fn descriptors_per_block(block_size: BlockSize) -> u64 {
    block_size.bytes() / widen(size_of::<GroupDescriptor>())
}

impl Geometry {
    /// The geometry of a filesystem of so many blocks.
    pub(crate) fn new(
        options: &Options,
        block_size: BlockSize,
        blocks: BlockCount,
        area: BlockCount,
        demand: InodeDemand,
    ) -> Result<Self> {
        let per_group = u64::from(block_size.bits());
        let group_count = blocks.get().div_ceil(per_group).max(1);
        let groups = u32::try_from(group_count).map_err(|_| too_large(blocks))?;
        let descriptors = group_count.div_ceil(descriptors_per_block(block_size));
        let room = area.get() - 1;
        let reserved_descriptors =
            room.checked_sub(descriptors).ok_or_else(|| Error::InvalidOption {
                option: "max_size",
                reason: format!(
                    "{blocks} blocks need {descriptors} blocks of descriptors, it left {room}; \
                     raise it, or beyond 8 TiB give a fixed size"
                ),
            })?;
        if reserved_descriptors > 0 && blocks.get() > MAX_BLOCKS_32 {
            return Err(too_large_to_fit(blocks));
        }
        let inodes_per_group = inodes_per_group(options, block_size, blocks, demand)?;
        let table = u64::from(inodes_per_group) / inodes_per_block(block_size);
        Ok(Self {
            block_size,
            blocks,
            groups,
            descriptor_blocks: BlockCount::new(descriptors),
            reserved_descriptors: BlockCount::new(reserved_descriptors),
            inodes_per_group,
            table: BlockCount::new(table),
            journal: journal_blocks(options, block_size, blocks)?,
            reserved: reserved_blocks(options, block_size, blocks)?,
        })
    }

    /// The block behind the last one.
    pub(crate) fn end(&self) -> BlockIndex {
        BlockIndex::new(self.blocks.get())
    }

    /// All inodes of the filesystem.
    pub(crate) fn inodes(&self) -> u32 {
        // `inodes_per_group` keeps the product in 32 bits.
        self.inodes_per_group.saturating_mul(self.groups)
    }

    /// The blocks that must be free for an ordinary user to be able to write `bytes`.
    pub(crate) fn free_blocks_for(&self, bytes: u64) -> BlockCount {
        if bytes == 0 {
            return BlockCount::ZERO;
        }
        self.block_size.blocks_for(bytes) + self.reserved + self.kernel_reserve()
    }

    /// The bytes that an ordinary user can write when so many blocks are free.
    pub(crate) fn bytes_for_users(&self, free: BlockCount) -> u64 {
        let kept = self.reserved + self.kernel_reserve();
        self.block_size.bytes_in(BlockCount::new(free.get().saturating_sub(kept.get())))
    }

    fn kernel_reserve(&self) -> BlockCount {
        BlockCount::new(self.blocks.get() / 50).min(KERNEL_RESERVE)
    }
}

fn too_large(blocks: BlockCount) -> Error {
    Error::InvalidOption {
        option: "size",
        reason: format!("{blocks} blocks are more than ext4 has group numbers for"),
    }
}

fn too_large_to_fit(blocks: BlockCount) -> Error {
    Error::InvalidOption {
        option: "size",
        reason: format!("{blocks} blocks are more than a fitted size can have; give a fixed size"),
    }
}

fn inodes_per_block(block_size: BlockSize) -> u64 {
    block_size.bytes() / u64::from(inode::INODE_SIZE)
}

/// The bytes for which mke2fs makes one inode.
///
/// Source: e2fsprogs, `misc/mke2fs.conf.in` and `misc/mke2fs.c`, `parse_fs_type`.
fn bytes_per_inode(options: &Options, bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;
    match bytes {
        // A fitted image is small because its content is, not because its disk is.
        _ if matches!(options.size, Size::Fit { .. }) && bytes < 4 * TIB => 16_384,
        _ if bytes < 3 * MIB => 8_192,
        _ if bytes < 512 * MIB => 4_096,
        _ if bytes < 4 * TIB => 16_384,
        _ if bytes < 16 * TIB => 32_768,
        _ => 65_536,
    }
}

fn inodes_per_group(
    options: &Options,
    block_size: BlockSize,
    blocks: BlockCount,
    demand: InodeDemand,
) -> Result<u32> {
    let groups = blocks.get().div_ceil(u64::from(block_size.bits())).max(1);
    let required = demand.required(options)?;
    let wanted = if options.inodes.is_some() {
        required
    } else {
        let bytes = block_size.bytes_in(blocks);
        let with_slack = required.max(demand.used + demand.used / 10);
        with_slack.max(bytes / bytes_per_inode(options, bytes))
    };
    let step = inodes_per_block(block_size).max(8);
    let largest = u64::from(block_size.bits()).min(u64::from(u32::MAX) / groups) / step * step;
    let per_group = wanted.div_ceil(groups).next_multiple_of(step);
    if per_group <= largest {
        return Ok(u32::try_from(per_group).unwrap_or(u32::MAX));
    }
    // The ratio and the slack are only wishes.
    if required > largest * groups {
        return Err(Error::TooFewInodes { needed: required, available: largest * groups });
    }
    Ok(u32::try_from(largest).unwrap_or(u32::MAX))
}

/// The blocks of the journal.
///
/// Source of the sizes: e2fsprogs, `lib/ext2fs/mkjournal.c`, `ext2fs_default_journal_size`.
fn journal_blocks(
    options: &Options,
    block_size: BlockSize,
    blocks: BlockCount,
) -> Result<BlockCount> {
    const TIERS: [(u64, u64); 8] = [
        (2_048, 0),
        (32_768, 1_024),
        (256 << 10, 4_096),
        (512 << 10, 8_192),
        (4 << 20, 16_384),
        (8 << 20, 32_768),
        (16 << 20, 65_536),
        (32 << 20, 131_072),
    ];
    let count = match options.journal {
        Journal::None => 0,
        Journal::Default => TIERS
            .iter()
            .find(|(below, _)| blocks.get() < *below)
            .map_or(262_144, |(_, journal)| *journal),
        Journal::Size(bytes) => {
            let asked = block_size.whole_blocks(bytes).get();
            if !(journal::MIN_BLOCKS..=MAX_JOURNAL).contains(&asked) {
                return Err(Error::InvalidOption {
                    option: "journal",
                    reason: format!(
                        "{asked} blocks are not between {} and {MAX_JOURNAL}",
                        journal::MIN_BLOCKS
                    ),
                });
            }
            asked
        }
    };
    Ok(BlockCount::new(count))
}

/// The largest journal that mke2fs makes: 10,240,000 blocks (`misc/util.c`).
const MAX_JOURNAL: u64 = 10_240_000;

fn reserved_blocks(
    options: &Options,
    block_size: BlockSize,
    blocks: BlockCount,
) -> Result<BlockCount> {
    let reserved = match options.reserved {
        Reserved::Percent(percent) => {
            // In two parts, so that no size overflows.
            let percent = u64::from(percent);
            blocks.get() / 100 * percent + blocks.get() % 100 * percent / 100
        }
        Reserved::Bytes(bytes) => block_size.whole_blocks(bytes).get(),
    };
    if reserved > blocks.get() / 2 {
        return Err(Error::InvalidOption {
            option: "reserved",
            reason: format!("{reserved} of {blocks} blocks are more than half"),
        });
    }
    Ok(BlockCount::new(reserved))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: BlockSize = BlockSize::DEFAULT;

    fn fixed(gib: u64) -> Geometry {
        let options = Options::new(Size::Fixed(gib << 30));
        let area = backup_area(&options, BLOCK).unwrap();
        let blocks = BLOCK.whole_blocks(gib << 30);
        Geometry::new(&options, BLOCK, blocks, area, InodeDemand { used: 11 }).unwrap()
    }

    /// What mke2fs 1.47 makes of these sizes.
    #[test]
    fn numbers_are_those_of_mke2fs() {
        for (gib, groups, inodes, journal, held_back) in [
            (1, 8, 65_536, 8_192, 127),
            (2, 16, 131_072, 16_384, 255),
            (4, 32, 262_144, 16_384, 511),
            (8, 64, 524_288, 16_384, 1023),
            (10, 80, 655_360, 16_384, 1024),
            (32, 256, 2_097_152, 65_536, 1024),
        ] {
            let geometry = fixed(gib);
            assert_eq!(geometry.groups, groups);
            assert_eq!(geometry.inodes(), inodes);
            assert_eq!(geometry.journal.get(), journal);
            assert_eq!(geometry.reserved_descriptors.get(), held_back);
            assert_eq!(geometry.reserved.get(), geometry.blocks.get() / 20);
        }
    }

    #[test]
    fn the_tree_gets_its_inodes_and_a_tenth_more() {
        let options = Options::new(Size::Fixed(1 << 30));
        let area = backup_area(&options, BLOCK).unwrap();
        let geometry = |used| {
            let blocks = BLOCK.whole_blocks(1 << 30);
            Geometry::new(&options, BLOCK, blocks, area, InodeDemand { used })
        };
        assert_eq!(geometry(100_000).unwrap().inodes(), 110_080);
        assert_eq!(geometry(262_000).unwrap().inodes(), 262_144);
        assert!(matches!(geometry(262_145), Err(Error::TooFewInodes { .. })));
    }
}
