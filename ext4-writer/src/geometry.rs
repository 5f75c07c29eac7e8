//! Size and inode count to groups, tables and backups. Pure arithmetic.

use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::backups;
use crate::format::features::Features;
use crate::format::group_layout::GroupLayout;
use crate::format::numbers::FIRST_FREE_INODE;
use crate::format::units::{BlockCount, BlockIndex};
use crate::options::{Journal, Options, Reserved, Size};
use crate::record::journal;

/// The growth that mke2fs provides for.
const GROWTH: u64 = 1024;
/// The filesystems up to this many blocks are what 32-bit block numbers can address.
const MAX_BLOCKS_32: u64 = 0xffff_ffff;
/// The growth provided for when the size is not known at the start.
const FIT_MAX_SIZE: u64 = 2 << 40;
/// Likewise for a filesystem that is not to grow: what its descriptors do not need is free again,
/// but lies before the contents.
const FIT_MAX_SIZE_NOT_GROWING: u64 = 64 << 30;
/// The blocks that the kernel keeps for delayed allocation: a fiftieth, at most so many.
///
/// Source: kernel, `fs/ext4/super.c`, `ext4_calculate_resv_clusters`.
const KERNEL_RESERVE: BlockCount = BlockCount::new(4096);
/// The blocks below which there is no journal unless its size was given.
///
/// Source: e2fsprogs, `lib/ext2fs/mkjournal.c`, `ext2fs_default_journal_size`.
pub(crate) const LEAST_WITH_JOURNAL: BlockCount = BlockCount::new(2_048);
/// The bytes of a list of orphans beyond which the kernel refuses it: `ext4_init_orphan_info` in
/// `fs/ext4/orphan.c`, before Linux 6.17 whatever the size of a block.
const MAX_ORPHAN_FILE: u64 = 8 << 20;
/// The blocks of the list of orphans where the size is not known in time: the fewest that mke2fs
/// gives it. When it is full the kernel goes on in the superblock's list (`ext4_orphan_add`).
const LEAST_ORPHAN_FILE: u64 = 32;
/// The bitmaps of a group.
pub(crate) const BITMAPS: BlockCount = BlockCount::new(2);

/// The numbers that follow from a filesystem's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub format: Format,
    pub blocks: BlockCount,
    pub groups: u32,
    /// The groups whose bitmaps and tables lie together.
    pub groups_per_flex: u32,
    pub descriptor_blocks: BlockCount,
    /// The blocks behind the descriptors that are reserved for more of them.
    pub reserved_descriptors: BlockCount,
    pub inodes_per_group: u32,
    /// Those of all groups.
    inodes: u32,
    /// The blocks of one group's inode table.
    pub table: BlockCount,
    pub journal: BlockCount,
    /// The blocks of the file that lists orphans.
    pub orphan_file: BlockCount,
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
        let available = options.inodes.map_or(u64::from(u32::MAX), u64::from);
        if available < needed {
            return Err(Error::TooFewInodes { needed, available });
        }
        Ok(options.inodes.map_or(needed, u64::from))
    }
}

/// Refuses options that no tree and no size can make good.
pub(crate) fn check(options: &Options, format: &Format) -> Result<()> {
    if let Reserved::Percent(percent) = options.reserved
        && percent > 50
    {
        let reason = format!("{percent} per cent are more than half");
        return Err(Error::InvalidOption { option: "reserved", reason });
    }
    let blocks = match options.size {
        Size::Fixed(bytes) => format.block.whole_blocks(bytes),
        // Any will do: only a fixed journal is judged here.
        Size::Fit { .. } => BlockCount::ZERO,
    };
    journal_blocks(options, format, blocks)?;
    if matches!(options.size, Size::Fixed(_)) {
        reserved_blocks(options, format, blocks)?;
    }
    check_width(format, blocks)
}

/// Refuses more blocks than their numbers can tell apart.
fn check_width(format: &Format, blocks: BlockCount) -> Result<()> {
    if blocks.get() <= MAX_BLOCKS_32 || format.has(Features::BIT_64) {
        return Ok(());
    }
    Err(Error::FeatureConflict {
        feature: "^64bit".to_owned(),
        other: format!("a size of {blocks} blocks"),
        reason: format!("block numbers of 32 bits end at {MAX_BLOCKS_32}"),
    })
}

/// What the groups keep for themselves: decided before the contents, which go around it.
pub(crate) fn layout(options: &Options, format: &Format) -> Result<GroupLayout> {
    let per_group = BlockCount::new(u64::from(format.block.blocks_per_group()));
    let first = format.block.first_data_block();
    let plain = GroupLayout::new(first, per_group, BlockCount::ZERO, vec![0]);
    let backup = backup_size(options, format, &plain)?;
    let backups = match options.size {
        _ if !format.has(Features::SPARSE_SUPER2) => backups::sparse_groups(),
        // Where the last group begins is known only when it is too late to go around it.
        Size::Fit { .. } => vec![0, 1],
        Size::Fixed(bytes) => {
            let mut backups = vec![0, 1, plain.groups_in(format.block.whole_blocks(bytes)) - 1];
            backups.sort_unstable();
            backups.dedup();
            backups
        }
    };
    let layout = GroupLayout::new(first, per_group, backup, backups);
    let local = if format.has(Features::FLEX_BG) {
        BlockCount::ZERO
    } else {
        let per_group = local_inodes(options, format, &layout)?;
        BITMAPS + BlockCount::new(u64::from(per_group) / format.inodes_per_block())
    };
    let layout = layout.with_local(local);
    if layout.kept_in(0) >= per_group {
        let kept = layout.kept_in(0);
        return Err(Error::InvalidOption {
            option: "size",
            reason: format!(
                "{kept} blocks of descriptors and tables are more than a group of {per_group} has"
            ),
        });
    }
    Ok(layout)
}

/// The blocks of one backup: superblock, descriptors, reserved GDT blocks.
fn backup_size(options: &Options, format: &Format, plain: &GroupLayout) -> Result<BlockCount> {
    let blocks_for = |bytes| format.block.blocks_for(bytes).get();
    let descriptors =
        |blocks| plain.groups_in(BlockCount::new(blocks)).div_ceil(format.descriptors_per_block());
    let most = format.block.addresses();
    let growing = format.has(Features::RESIZE_INODE);
    let (now, reserved) = match options.size {
        Size::Fixed(bytes) => {
            let blocks = format.block.whole_blocks(bytes).get();
            let grown = grown(blocks);
            let max = options.max_size.map_or(grown, blocks_for).max(blocks);
            let now = descriptors(blocks);
            // The resize inode's addresses have 32 bits.
            let can_grow = growing && blocks <= MAX_BLOCKS_32;
            (now, if can_grow { (descriptors(max) - now).min(most) } else { 0 })
        }
        Size::Fit { .. } => {
            let default = if growing { FIT_MAX_SIZE } else { FIT_MAX_SIZE_NOT_GROWING };
            let max = blocks_for(options.max_size.unwrap_or(default));
            // What the size turns out not to need is free again.
            (0, descriptors(max).min(most))
        }
    };
    let backup_size = 1 + now + reserved;
    if backup_size >= u64::from(format.block.blocks_per_group()) {
        return Err(Error::InvalidOption {
            option: "size",
            reason: format!("{now} blocks of descriptors are more than a group has"),
        });
    }
    Ok(BlockCount::new(backup_size))
}

/// The inodes of a group when its table lies in it and so must be known before the contents.
fn local_inodes(options: &Options, format: &Format, layout: &GroupLayout) -> Result<u32> {
    let (bytes, groups) = match options.size {
        Size::Fixed(bytes) => (bytes, layout.groups_in(format.block.whole_blocks(bytes))),
        Size::Fit { .. } if options.inodes.is_some() => {
            let reason = "a fitted size without flex_bg has a fixed share of inodes in every \
                          group; give bytes_per_inode instead";
            return Err(Error::InvalidOption { option: "inodes", reason: reason.to_owned() });
        }
        Size::Fit { .. } => {
            let blocks = BlockCount::new(u64::from(format.block.blocks_per_group()));
            (format.block.bytes_in(blocks), 1)
        }
    };
    let wanted = match options.inodes {
        Some(inodes) => u64::from(inodes),
        None => bytes / bytes_per_inode(options, bytes),
    };
    let wanted = wanted.max(u64::from(FIRST_FREE_INODE));
    let limits = PerGroup::new(format, groups);
    counted(limits.round_up(wanted).min(limits.most))
}

impl Geometry {
    /// The geometry of a filesystem of so many blocks.
    pub(crate) fn new(
        options: &Options,
        format: &Format,
        layout: &GroupLayout,
        blocks: BlockCount,
        demand: InodeDemand,
    ) -> Result<Self> {
        check_width(format, blocks)?;
        let group_count = layout.groups_in(blocks);
        let groups = u32::try_from(group_count).map_err(|_| too_large(blocks))?;
        let descriptors = group_count.div_ceil(format.descriptors_per_block());
        let room = layout.backup_size().get() - 1;
        let spare = room.checked_sub(descriptors).ok_or_else(|| Error::InvalidOption {
            option: "max_size",
            reason: format!(
                "{blocks} blocks need {descriptors} blocks of descriptors, it left {room}; \
                 raise it, or give a fixed size"
            ),
        })?;
        let reserved_descriptors = if format.has(Features::RESIZE_INODE) { spare } else { 0 };
        if reserved_descriptors > 0 && blocks.get() > MAX_BLOCKS_32 {
            return Err(too_large_to_fit(blocks));
        }
        let inodes_per_group = inodes_per_group(options, format, layout, blocks, demand)?;
        let inodes = counted(u64::from(inodes_per_group) * u64::from(groups))?;
        let table = u64::from(inodes_per_group) / format.inodes_per_block();
        let journal = journal_blocks(options, format, blocks)?;
        Ok(Self {
            format: *format,
            blocks,
            groups,
            groups_per_flex: options.groups_per_flex,
            descriptor_blocks: BlockCount::new(descriptors),
            reserved_descriptors: BlockCount::new(reserved_descriptors),
            inodes_per_group,
            inodes,
            table: BlockCount::new(table),
            journal,
            orphan_file: orphan_blocks(options, format, journal),
            reserved: reserved_blocks(options, format, blocks)?,
        })
    }

    /// The block behind the last one.
    pub(crate) fn end(&self) -> BlockIndex {
        BlockIndex::new(self.blocks.get())
    }

    /// The blocks of one backup: superblock, descriptors, reserved GDT blocks.
    pub(crate) fn backup_size(&self) -> BlockCount {
        BlockCount::new(1) + self.descriptor_blocks + self.reserved_descriptors
    }

    /// All inodes of the filesystem.
    pub(crate) fn inodes(&self) -> u32 {
        self.inodes
    }

    /// The blocks of all bitmaps and inode tables.
    pub(crate) fn tables_and_bitmaps(&self) -> BlockCount {
        BlockCount::new(u64::from(self.groups) * (self.table + BITMAPS).get())
    }

    /// The blocks that are taken for the filesystem's own behind the contents, beside those that
    /// groups keep and the resize inode's map.
    pub(crate) fn own_blocks(&self, layout: &GroupLayout) -> BlockCount {
        let tables = match layout.local() {
            BlockCount::ZERO => self.tables_and_bitmaps(),
            _ => BlockCount::ZERO,
        };
        tables + self.journal
    }

    /// The features, less those of which the size leaves nothing.
    pub(crate) fn features(&self) -> Features {
        let mut features = self.format.features;
        let mut keep = |feature, blocks| features.set(feature, blocks > BlockCount::ZERO);
        keep(Features::RESIZE_INODE, self.reserved_descriptors);
        keep(Features::HAS_JOURNAL, self.journal);
        keep(Features::ORPHAN_FILE, self.orphan_file);
        features
    }

    /// The blocks that must be free for an ordinary user to be able to write `bytes`.
    pub(crate) fn free_blocks_for(&self, bytes: u64) -> BlockCount {
        if bytes == 0 {
            return BlockCount::ZERO;
        }
        self.format.block.blocks_for(bytes) + self.reserved + self.kernel_reserve()
    }

    /// The bytes that an ordinary user can write when so many blocks are free.
    pub(crate) fn bytes_for_users(&self, free: BlockCount) -> u64 {
        let kept = self.reserved + self.kernel_reserve();
        self.format.block.bytes_in(free.beyond(kept))
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

/// The bytes for which mke2fs makes one inode, unless the caller says.
///
/// Source: e2fsprogs, `misc/mke2fs.conf.in` and `misc/mke2fs.c`, `parse_fs_type`.
fn bytes_per_inode(options: &Options, bytes: u64) -> u64 {
    const MIB: u64 = 1 << 20;
    const TIB: u64 = 1 << 40;
    if let Some(ratio) = options.bytes_per_inode {
        return ratio;
    }
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

/// How many inodes a group can have.
struct PerGroup {
    groups: u64,
    /// Full blocks of the table, and full bytes of the bitmap.
    step: u64,
    most: u64,
}

impl PerGroup {
    fn new(format: &Format, groups: u64) -> Self {
        let per_block = format.inodes_per_block();
        let step = per_block.max(8);
        let countable = format.block.inodes_per_group(per_block);
        let most = countable.min(u64::from(u32::MAX) / groups) / step * step;
        Self { groups, step, most }
    }

    /// The share of a group when there are at least so many.
    fn round_up(&self, inodes: u64) -> u64 {
        inodes.div_ceil(self.groups).next_multiple_of(self.step)
    }
}

fn inodes_per_group(
    options: &Options,
    format: &Format,
    layout: &GroupLayout,
    blocks: BlockCount,
    demand: InodeDemand,
) -> Result<u32> {
    let limits = PerGroup::new(format, layout.groups_in(blocks));
    let required = demand.required(options)?;
    if let Some(table) = layout.local().get().checked_sub(BITMAPS.get()) {
        let per_group = table * format.inodes_per_block();
        let available = per_group.checked_mul(limits.groups);
        let Some(available) = available.filter(|count| u32::try_from(*count).is_ok()) else {
            let reason = format!(
                "{} groups of {per_group} inodes are more than 32 bits can number; raise it",
                limits.groups
            );
            return Err(Error::InvalidOption { option: "bytes_per_inode", reason });
        };
        if required > available {
            return Err(Error::TooFewInodes { needed: required, available });
        }
        return counted(per_group);
    }
    let wanted = if options.inodes.is_some() {
        required
    } else {
        let bytes = format.block.bytes_in(blocks);
        let slack = if options.bytes_per_inode.is_some() { 0 } else { demand.used / 10 };
        let with_slack = required.max(demand.used + slack);
        with_slack.max(bytes / bytes_per_inode(options, bytes))
    };
    let per_group = limits.round_up(wanted);
    if per_group <= limits.most {
        return counted(per_group);
    }
    // Ratio and slack give way to the limit.
    let available = limits.most * limits.groups;
    if required > available {
        return Err(Error::TooFewInodes { needed: required, available });
    }
    counted(limits.most)
}

/// The inodes of a group in the width of their field.
fn counted(per_group: u64) -> Result<u32> {
    u32::try_from(per_group).map_err(|_| internal("the inodes of a group have numbers of 32 bits"))
}

/// The blocks of the journal.
///
/// Source of the sizes: e2fsprogs, `lib/ext2fs/mkjournal.c`, `ext2fs_default_journal_size`.
fn journal_blocks(options: &Options, format: &Format, blocks: BlockCount) -> Result<BlockCount> {
    const TIERS: [(u64, u64); 8] = [
        (LEAST_WITH_JOURNAL.get(), 0),
        (32_768, 1_024),
        (256 << 10, 4_096),
        (512 << 10, 8_192),
        (4 << 20, 16_384),
        (8 << 20, 32_768),
        (16 << 20, 65_536),
        (32 << 20, 131_072),
    ];
    let count = match options.journal {
        _ if !format.has(Features::HAS_JOURNAL) => 0,
        Journal::None => 0,
        Journal::Default => TIERS
            .iter()
            .find(|(below, _)| blocks.get() < *below)
            .map_or(262_144, |(_, journal)| *journal),
        Journal::Size(bytes) => {
            let asked = format.block.whole_blocks(bytes).get();
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

/// The blocks of the file that lists orphans, which are taken before the contents: none if the
/// filesystem cannot have one. A fitted one may turn out too small for it.
pub(crate) fn orphan_file(options: &Options, format: &Format) -> Result<BlockCount> {
    let blocks = match options.size {
        Size::Fixed(bytes) => format.block.whole_blocks(bytes),
        Size::Fit { .. } => LEAST_WITH_JOURNAL,
    };
    Ok(orphan_blocks(options, format, journal_blocks(options, format, blocks)?))
}

/// The blocks of the file that lists orphans, beside a journal of so many.
///
/// Source: e2fsprogs, `lib/ext2fs/orphan.c`, `ext2fs_default_orphan_file_blocks`.
fn orphan_blocks(options: &Options, format: &Format, journal: BlockCount) -> BlockCount {
    if !format.has(Features::ORPHAN_FILE) || journal == BlockCount::ZERO {
        return BlockCount::ZERO;
    }
    let blocks = match options.size {
        Size::Fit { .. } => 0,
        Size::Fixed(bytes) => format.block.whole_blocks(bytes).get(),
    };
    let usual = match blocks {
        few if few < 128 * 1024 => LEAST_ORPHAN_FILE,
        some if some < 2 * 1024 * 1024 => some / 4096,
        _ => 512,
    };
    BlockCount::new(usual.min(MAX_ORPHAN_FILE / format.block.bytes()))
}

/// The blocks up to which mke2fs provides for growth.
fn grown(blocks: u64) -> u64 {
    blocks.checked_mul(GROWTH).map_or(MAX_BLOCKS_32, |grown| grown.min(MAX_BLOCKS_32))
}

/// The first block behind the descriptors of a filesystem that has grown as far as mke2fs provides
/// for, whether or not blocks are reserved for them.
pub(crate) fn behind_growth(
    options: &Options,
    format: &Format,
    layout: &GroupLayout,
) -> BlockIndex {
    let room = match options.size {
        Size::Fit { .. } => BlockCount::ZERO,
        Size::Fixed(bytes) => {
            let blocks = format.block.whole_blocks(bytes).get();
            let grown = grown(blocks).max(blocks);
            let descriptors = |blocks| {
                layout.groups_in(BlockCount::new(blocks)).div_ceil(format.descriptors_per_block())
            };
            let most = descriptors(blocks) + format.block.addresses();
            BlockCount::new(1 + descriptors(grown).min(most))
        }
    };
    layout.group_start(0) + room.max(layout.backup_size())
}

fn reserved_blocks(options: &Options, format: &Format, blocks: BlockCount) -> Result<BlockCount> {
    let reserved = match options.reserved {
        Reserved::Percent(percent) => {
            // In two parts, so that no size overflows.
            let percent = u64::from(percent);
            blocks.get() / 100 * percent + blocks.get() % 100 * percent / 100
        }
        Reserved::Bytes(bytes) => format.block.whole_blocks(bytes).get(),
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

    fn geometry(options: &Options, used: u64) -> Result<Geometry> {
        let format = Format::new(options)?;
        let layout = layout(options, &format)?;
        let Size::Fixed(bytes) = options.size else { panic!("a fixed size") };
        let blocks = format.block.whole_blocks(bytes);
        Geometry::new(options, &format, &layout, blocks, InodeDemand { used })
    }

    /// What mke2fs 1.47 makes of these sizes.
    #[test]
    fn numbers_are_those_of_mke2fs() {
        for (gib, groups, inodes, journal, reserved) in [
            (1, 8, 65_536, 8_192, 127),
            (2, 16, 131_072, 16_384, 255),
            (4, 32, 262_144, 16_384, 511),
            (8, 64, 524_288, 16_384, 1023),
            (10, 80, 655_360, 16_384, 1024),
            (32, 256, 2_097_152, 65_536, 1024),
        ] {
            let geometry = geometry(&Options::new(Size::Fixed(gib << 30)), 11).unwrap();
            assert_eq!(geometry.groups, groups);
            assert_eq!(geometry.inodes(), inodes);
            assert_eq!(geometry.journal.get(), journal);
            assert_eq!(geometry.reserved_descriptors.get(), reserved);
            assert_eq!(geometry.reserved.get(), geometry.blocks.get() / 20);
        }
    }

    #[test]
    fn the_tree_gets_its_inodes_and_a_tenth_more() {
        let options = Options::new(Size::Fixed(1 << 30));
        assert_eq!(geometry(&options, 100_000).unwrap().inodes(), 110_080);
        assert_eq!(geometry(&options, 262_000).unwrap().inodes(), 262_144);
        assert!(matches!(geometry(&options, 262_145), Err(Error::TooFewInodes { .. })));
    }

    #[test]
    fn tables_in_their_groups_are_as_large_as_was_said_before() {
        let mut options = Options::new(Size::Fixed(1 << 30));
        options.features -= Features::FLEX_BG;
        assert_eq!(geometry(&options, 11).unwrap().inodes(), 65_536);
        assert!(matches!(geometry(&options, 65_537), Err(Error::TooFewInodes { .. })));
        options.inodes = Some(1000);
        assert_eq!(geometry(&options, 11).unwrap().inodes(), 1024);
        // A group has at most as many as a block has bits; fewer than were asked for are an error.
        options.inodes = Some(8 * 32_768);
        assert_eq!(geometry(&options, 11).unwrap().inodes(), 8 * 32_768);
        options.inodes = Some(8 * 32_768 + 1);
        assert!(matches!(geometry(&options, 11), Err(Error::TooFewInodes { .. })));
        // The share of a group was said before the size was known.
        let mut fitted = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
        fitted.features -= Features::FLEX_BG | Features::RESIZE_INODE;
        let format = Format::new(&fitted).unwrap();
        let layout = layout(&fitted, &format).unwrap();
        // More descriptors than the layout has room for would be refused first.
        let layout = layout.trimmed(BlockCount::new(20_000));
        let blocks = BlockCount::new(600_000 * 32_768);
        let none = InodeDemand { used: 11 };
        let refused = Geometry::new(&fitted, &format, &layout, blocks, none);
        let expected =
            matches!(refused, Err(Error::InvalidOption { option: "bytes_per_inode", .. }));
        assert!(expected, "{refused:?}");
    }
}
