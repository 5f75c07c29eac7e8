//! Where the groups' bitmaps and tables, the journal, the list of orphans and the resize inode's
//! map go, and how large a fitted filesystem has to be for them.

use crate::alloc::Allocator;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::features::Features;
use crate::format::group_layout::GroupLayout;
use crate::format::units::{BlockCount, BlockIndex};
use crate::geometry::{BITMAPS, Geometry, InodeDemand};
use crate::options::{Options, Reserved, Size};
use crate::plan::group_tables::GroupTables;
use crate::plan::internal_file::InternalFile;

/// The places of what every filesystem has.
#[derive(Debug)]
pub(crate) struct Places {
    /// The bitmaps and inode tables of the groups.
    pub groups: GroupTables,
    /// The journal, if there is one.
    pub journal: InternalFile,
    /// The list of orphans, if there is one.
    pub orphan_file: InternalFile,
    /// The block that lists the blocks reserved for descriptors, if there are any.
    pub resize_map: Option<BlockIndex>,
}

/// A geometry in which everything has its place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub geometry: Geometry,
    pub places: Places,
    /// All blocks in use.
    pub allocator: Allocator,
}

impl Placed {
    /// Chooses the size, if it is to fit, and places everything.
    pub(crate) fn new(
        options: &Options,
        format: &Format,
        demand: InodeDemand,
        allocator: Allocator,
        orphan_file: InternalFile,
    ) -> Result<Self> {
        let sizing = Sizing { options, format, demand };
        let mut placed = match options.size {
            Size::Fixed(bytes) => {
                let blocks = format.block.whole_blocks(bytes);
                place(sizing.geometry(allocator.layout(), blocks)?, allocator)
            }
            Size::Fit { free_bytes, .. } => sizing.fit(free_bytes, &allocator),
        }?;
        placed.places.orphan_file = orphan_file;
        Ok(placed)
    }

    fn of(geometry: Geometry, groups: GroupTables, files: Files, allocator: Allocator) -> Self {
        let Files { journal, resize_map } = files;
        let orphan_file = InternalFile::default();
        Self { geometry, places: Places { groups, journal, orphan_file, resize_map }, allocator }
    }

    /// The free blocks of the filesystem.
    pub(crate) fn free(&self) -> BlockCount {
        free_blocks(&self.geometry, self.allocator.layout(), self.allocator.allocated())
    }
}

/// The blocks that neither a group keeps nor anybody took.
fn free_blocks(geometry: &Geometry, layout: &GroupLayout, allocated: BlockCount) -> BlockCount {
    let before = layout.group_start(0) - BlockIndex::new(0);
    let used = before + layout.kept_below(geometry.end()) + allocated;
    geometry.blocks.beyond(used)
}

/// The space of a fitted filesystem that is not to grow, without the descriptors that a size of
/// about twice its contents does not need: so the directories can lie there.
pub(crate) fn tightened(
    options: &Options,
    format: &Format,
    allocator: &Allocator,
) -> Result<Option<Allocator>> {
    let Size::Fit { free_bytes, .. } = options.size else { return Ok(None) };
    if format.has(Features::RESIZE_INODE) {
        return Ok(None);
    }
    let layout = allocator.layout();
    let blocks = allocator.end().get() + format.block.blocks_for(free_bytes).get();
    let groups = layout.groups_in(BlockCount::new(blocks * 2));
    let backup_size = BlockCount::new(1 + groups.div_ceil(format.descriptors_per_block()));
    if backup_size >= layout.backup_size() {
        return Ok(None);
    }
    let mut tight = allocator.clone();
    tight.trim_backups(backup_size)?;
    Ok(Some(tight))
}

struct Sizing<'a> {
    options: &'a Options,
    format: &'a Format,
    demand: InodeDemand,
}

impl Sizing<'_> {
    fn geometry(&self, layout: &GroupLayout, blocks: BlockCount) -> Result<Geometry> {
        Geometry::new(self.options, self.format, layout, blocks, self.demand)
    }

    /// The smallest size at which everything has a place and enough is left.
    ///
    /// Among sizes of as many groups a larger one never needs less for itself, and every block
    /// added leaves at most one more free: so no size between one that misses some blocks and one
    /// that is larger by as many can do. Only with one group more may each table be shorter, so
    /// no step leads beyond the first size of the next group.
    fn fit(&self, free_bytes: u64, allocator: &Allocator) -> Result<Placed> {
        let layout = allocator.layout();
        let mut blocks = BlockCount::new(allocator.end().get())
            .max(self.least_for_inodes(layout)?)
            .max(self.least_for_reserved());
        loop {
            blocks = layout.whole_group(blocks);
            let geometry = self.geometry(layout, blocks)?;
            let missing = match missing(&geometry, allocator, free_bytes) {
                0 => match place(geometry, allocator.clone().within(geometry.end())) {
                    // Nodes of extent trees are counted only when their files have places.
                    Ok(placed) => match geometry.free_blocks_for(free_bytes) {
                        wanted if placed.free() >= wanted => return Ok(placed),
                        wanted => (wanted - placed.free()).get(),
                    },
                    // So much more at the end would have been enough for this piece.
                    Err(Error::ImageFull { needed, available }) => {
                        needed.checked_sub(available).ok_or(FULL_IS_TOO_LITTLE)?
                    }
                    Err(error) => return Err(error),
                },
                missing => missing,
            };
            let next_group = layout.group_start(u64::from(geometry.groups));
            let next = blocks + BlockCount::new(missing.max(1));
            blocks = next.min(BlockCount::new(next_group.get() + 1));
        }
    }

    /// The blocks of so many groups that their tables can hold the tree's inodes.
    fn least_for_inodes(&self, layout: &GroupLayout) -> Result<BlockCount> {
        let per_block = self.format.inodes_per_block();
        let per_group = match layout.local().get().checked_sub(BITMAPS.get()) {
            Some(table) => table * per_block,
            None => self.format.block.inodes_per_group(per_block) / per_block * per_block,
        };
        let groups = self.demand.required(self.options)?.div_ceil(per_group.max(1)).max(1);
        Ok(BlockCount::new(layout.group_start(groups - 1).get() + 1))
    }

    /// The blocks of which those for root are no more than half.
    fn least_for_reserved(&self) -> BlockCount {
        match self.options.reserved {
            Reserved::Bytes(bytes) => {
                BlockCount::new(self.format.block.whole_blocks(bytes).get() * 2)
            }
            Reserved::Percent(_) => BlockCount::ZERO,
        }
    }
}

/// An image that is full has less room than is needed.
pub(in crate::plan) const FULL_IS_TOO_LITTLE: Error =
    internal("a full image has less than is needed");

/// The blocks by which a size misses what it needs and is to leave free.
fn missing(geometry: &Geometry, allocator: &Allocator, free_bytes: u64) -> u64 {
    let layout = allocator.layout().clone().trimmed(geometry.backup_size());
    let map = BlockCount::new(u64::from(geometry.reserved_descriptors > BlockCount::ZERO));
    let wanted = geometry.own_blocks(&layout) + map + geometry.free_blocks_for(free_bytes);
    let free = free_blocks(geometry, &layout, allocator.allocated() + allocator.gaps());
    wanted.beyond(free).get()
}

/// Gives everything its place. Where there is too little room to choose, the groups' bitmaps and
/// tables lie wherever there is some.
fn place(geometry: Geometry, mut allocator: Allocator) -> Result<Placed> {
    // What was kept for them is theirs now.
    allocator.reserve(BlockCount::ZERO);
    allocator.trim_backups(geometry.backup_size())?;
    if allocator.layout().local() > BlockCount::ZERO {
        let tables = GroupTables::local(&geometry, allocator.layout());
        let files = Files::allocate(&geometry, &mut allocator)?;
        return Ok(Placed::of(geometry, tables, files, allocator));
    }
    let mut roomy = allocator.clone();
    let files = |allocator: &mut Allocator| Files::allocate(&geometry, allocator);
    match GroupTables::in_flex_groups(&geometry, &mut roomy, files) {
        Ok((tables, files)) => return Ok(Placed::of(geometry, tables, files, roomy)),
        Err(Error::ImageFull { .. }) => {}
        Err(error) => return Err(error),
    }
    let tables = GroupTables::packed(&geometry, &mut allocator)?;
    let files = Files::allocate(&geometry, &mut allocator)?;
    Ok(Placed::of(geometry, tables, files, allocator))
}

/// The files of the filesystem's own.
struct Files {
    journal: InternalFile,
    resize_map: Option<BlockIndex>,
}

impl Files {
    fn allocate(geometry: &Geometry, allocator: &mut Allocator) -> Result<Self> {
        let resize_map = if geometry.reserved_descriptors > BlockCount::ZERO {
            Some(allocator.allocate_contiguous(BlockCount::new(1))?.start)
        } else {
            None
        };
        let block_size = geometry.format.block;
        let journal = InternalFile::allocate(geometry.journal, block_size, allocator)?;
        Ok(Self { journal, resize_map })
    }
}
