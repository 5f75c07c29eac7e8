//! At the end: every address of every piece of metadata, before the first of them is written.

pub(crate) mod attribute_blocks;
pub(crate) mod ea_inode;
pub(crate) mod group_tables;
pub(crate) mod groups;
mod identity;
pub(crate) mod inline;
pub(crate) mod internal_file;
pub(crate) mod nodes;
pub(crate) mod numbering;
pub(crate) mod orphan_file;
mod packing;
pub(crate) mod places;
pub(crate) mod split;
pub(crate) mod valid_sizes;

use crate::alignment;
use crate::alloc::Allocator;
use crate::error::{Error, Result, internal};
use crate::format::Format;
use crate::format::checksum::FsSeed;
use crate::format::dirhash::NameHasher;
use crate::format::numbers::ORPHAN_FILE;
use crate::format::units::{BlockCount, BlockIndex, InodeNumber, index};
use crate::geometry::{self, InodeDemand};
use crate::options::{Journal, Options, Size};
use crate::render::bitmaps::InodeMap;
use crate::sink::InitialContents;
use crate::tree::{Content, Tree};

use groups::{Groups, UnusedTables};
use identity::Identity;
use internal_file::InternalFile;
use nodes::{Basis, NodePlans};
use numbering::Numbering;
use places::Placed;

/// What was allocated before the plan.
#[derive(Clone, Debug)]
pub(crate) struct Allocated {
    /// The blocks in use.
    pub allocator: Allocator,
    /// Those of the list of orphans.
    pub orphan_file: InternalFile,
}

impl Allocated {
    /// None yet, from an allocator of which nothing is in use.
    pub(crate) fn new(
        options: &Options,
        format: &Format,
        mut allocator: Allocator,
    ) -> Result<Self> {
        let orphan_file = orphan_file::allocate(options, format, &mut allocator)?;
        Ok(Self { allocator, orphan_file })
    }

    /// The blocks that contents take.
    pub(crate) fn blocks(&self) -> BlockCount {
        self.allocator.allocated() - self.orphan_file.blocks()
    }

    /// The same without a list of orphans, if the filesystem may be too small for a journal, without
    /// which there is no such list.
    fn without_orphan_file(&self, options: &Options) -> Result<Option<Self>> {
        let may_be_small =
            matches!((options.size, options.journal), (Size::Fit { .. }, Journal::Default))
                && self.blocks() < geometry::LEAST_WITH_JOURNAL;
        if !may_be_small || self.orphan_file.extents.is_empty() {
            return Ok(None);
        }
        let mut allocator = self.allocator.clone();
        orphan_file::free(&self.orphan_file, &mut allocator)?;
        Ok(Some(Self { allocator, orphan_file: InternalFile::default() }))
    }
}

/// A whole filesystem, decided.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub identity: Identity,
    pub numbering: Numbering,
    pub nodes: NodePlans<'a>,
    /// The inode of the list of orphans.
    pub orphan_file: Option<InodeNumber>,
    pub placed: Placed,
    pub groups: Groups,
    pub unused_tables: UnusedTables,
}

impl<'a> Plan<'a> {
    /// Decides everything that the contents did not.
    pub(crate) fn new(
        tree: &'a Tree,
        allocated: Allocated,
        options: &Options,
        format: &'a Format,
        initial: InitialContents,
    ) -> Result<Self> {
        if let Some(without) = allocated.without_orphan_file(options)? {
            let plan = Self::tightest(tree, without, options, format, initial)?;
            if plan.placed.geometry.journal == BlockCount::ZERO {
                return Ok(plan);
            }
        }
        let plan = Self::tightest(tree, allocated, options, format, initial)?;
        if plan.orphan_file.is_some() != (plan.placed.geometry.orphan_file > BlockCount::ZERO) {
            return Err(internal("the list of orphans has its place before the contents"));
        }
        Ok(plan)
    }

    /// With as little room before the contents as the size allows.
    fn tightest(
        tree: &'a Tree,
        allocated: Allocated,
        options: &Options,
        format: &'a Format,
        initial: InitialContents,
    ) -> Result<Self> {
        if let Some(allocator) = places::tightened(options, format, &allocated.allocator)? {
            let tight = Allocated { allocator, orphan_file: allocated.orphan_file.clone() };
            match Self::decide(tree, tight, options, format, initial) {
                // More groups than were guessed.
                Err(Error::InvalidOption { option: "max_size", .. }) => {}
                decided => return decided,
            }
        }
        Self::decide(tree, allocated, options, format, initial)
    }

    fn decide(
        tree: &'a Tree,
        allocated: Allocated,
        options: &Options,
        format: &'a Format,
        initial: InitialContents,
    ) -> Result<Self> {
        let Allocated { mut allocator, orphan_file: file } = allocated;
        let identity = Identity::new(options, tree);
        let orphan_file = (!file.extents.is_empty()).then_some(ORPHAN_FILE);
        let numbering = Numbering::new(tree, orphan_file)?;
        let hasher = NameHasher::new(identity.hash_seed, format.hash, format.hashed_bytes);
        if options.stable_placement {
            allocator.align(alignment::unit(format.block));
        }
        let seed = FsSeed::new(identity.uuid, format.has_checksums());
        let basis = Basis { tree, format, hasher, seed };
        let nodes = NodePlans::new(basis, numbering.last(), &mut allocator)?;
        let last = nodes.values.last()?;
        let demand = InodeDemand { used: u64::from(last.get()) };
        let placed = Placed::new(options, format, demand, allocator, file)?;
        let per_group = placed.geometry.inodes_per_group;
        let inodes = InodeMap { last, per_group, bitmap_size: format.block.len() };
        let directories = directories(tree, &numbering, &placed)?;
        let unused_tables = UnusedTables::new(options, format, initial);
        let groups = Groups::new(&placed, inodes, &directories, unused_tables, seed)?;
        Ok(Self { identity, numbering, nodes, orphan_file, placed, groups, unused_tables })
    }

    /// The bytes of the filesystem.
    pub(crate) fn size(&self) -> u64 {
        let geometry = &self.placed.geometry;
        geometry.format.block.bytes_in(geometry.blocks)
    }

    /// The blocks that the filesystem takes for itself.
    ///
    /// Source: kernel, `fs/ext4/super.c`, `ext4_calculate_overhead`.
    pub(crate) fn overhead(&self) -> BlockCount {
        let geometry = &self.placed.geometry;
        let layout = self.placed.allocator.layout();
        let before = layout.group_start(0) - BlockIndex::new(0);
        let backups = layout.backups_below(u64::from(geometry.groups)).count();
        let backups =
            BlockCount::new(crate::format::units::widen(backups) * layout.backup_size().get());
        before + backups + geometry.tables_and_bitmaps() + geometry.journal
    }
}

const IN_A_GROUP: Error = internal("every inode is in a group");

/// How many directories have their inode in each group.
fn directories(tree: &Tree, numbering: &Numbering, placed: &Placed) -> Result<Vec<u32>> {
    let mut counts: Vec<u32> = (0..placed.geometry.groups).map(|_| 0).collect();
    for (id, node) in tree.nodes() {
        if matches!(node.content, Content::Directory(_)) {
            let slot = numbering.of(id)?.slot().ok_or(IN_A_GROUP)?;
            let group = index(slot / placed.geometry.inodes_per_group);
            let count = counts.get_mut(group).ok_or(IN_A_GROUP)?;
            *count += 1;
        }
    }
    Ok(counts)
}
