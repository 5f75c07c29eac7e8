//! At the end: every address of every piece of metadata, before the first of them is written.

pub(crate) mod attribute_blocks;
mod bitmaps;
pub(crate) mod directory;
pub(crate) mod ea_inode;
pub(crate) mod extents;
pub(crate) mod groups;
mod identity;
pub(crate) mod inline;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod legal;
pub(crate) mod nodes;
pub(crate) mod numbering;
pub(crate) mod own_file;
mod packing;
pub(crate) mod places;
pub(crate) mod resize;
pub(crate) mod split;
pub(crate) mod superblock;
pub(crate) mod xattr;

use crate::alloc::Space;
use crate::anchors;
use crate::checksum::FsSeed;
use crate::dirhash::NameHasher;
use crate::error::{Error, Result, internal};
use crate::features::Features;
use crate::format::Format;
use crate::geometry::InodeDemand;
use crate::options::Options;
use crate::sink::Prior;
use crate::tree::{Content, Tree};
use crate::units::{BlockCount, BlockIndex, InodeNumber};

use bitmaps::InodeMap;
use groups::{Groups, UnusedTables};
use identity::Identity;
use nodes::{Basis, NodePlans};
use numbering::Numbering;
use places::Placed;

/// A whole filesystem, decided.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub identity: Identity,
    pub numbering: Numbering,
    pub nodes: NodePlans<'a>,
    /// The list of orphans, behind all other inodes.
    pub orphan_file: Option<InodeNumber>,
    pub placed: Placed,
    pub groups: Groups,
    pub unused_tables: UnusedTables,
}

impl<'a> Plan<'a> {
    /// Decides everything that the contents did not.
    pub(crate) fn new(
        tree: &'a Tree,
        space: Space,
        options: &Options,
        format: &'a Format,
        prior: Prior,
    ) -> Result<Self> {
        if let Some(tight) = places::tightened(options, format, &space)? {
            match Self::decide(tree, tight, options, format, prior) {
                // More groups than were guessed.
                Err(Error::InvalidOption { option: "max_size", .. }) => {}
                decided => return decided,
            }
        }
        Self::decide(tree, space, options, format, prior)
    }

    fn decide(
        tree: &'a Tree,
        mut space: Space,
        options: &Options,
        format: &'a Format,
        prior: Prior,
    ) -> Result<Self> {
        let identity = Identity::new(options, tree);
        let numbering = Numbering::new(tree)?;
        let hasher = NameHasher::new(identity.hash_seed, format.hash, format.hashed_bytes);
        if options.stable_placement {
            space.anchor(anchors::unit(format.block));
        }
        let seed = FsSeed::new(identity.uuid, format.has_checksums());
        let basis = Basis { tree, format, hasher, seed };
        let nodes = NodePlans::new(basis, numbering.last(), &mut space)?;
        let last = nodes.values.last()?;
        let with_orphan_file = u32::from(format.has(Features::ORPHAN_FILE));
        let used = u64::from(last.get()) + u64::from(with_orphan_file);
        let placed = Placed::new(options, format, InodeDemand { used }, space)?;
        let orphan_file = (placed.geometry.orphan_file > BlockCount::ZERO)
            .then(|| InodeNumber::new(last.get() + 1));
        let last = orphan_file.unwrap_or(last);
        let inodes = InodeMap::new(&placed.geometry, last);
        let directories = directories(tree, &numbering, &placed)?;
        let unused_tables = UnusedTables::new(options, format, prior);
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
        let layout = self.placed.space.layout();
        let before = layout.group_start(0) - BlockIndex::new(0);
        let copies = layout.copies_below(u64::from(geometry.groups)).count();
        let copies = BlockCount::new(crate::sink::widen(copies) * layout.area().get());
        before + copies + geometry.tables_and_bitmaps() + geometry.journal
    }
}

/// How many directories have their inode in each group.
fn directories(tree: &Tree, numbering: &Numbering, placed: &Placed) -> Result<Vec<u32>> {
    let mut counts: Vec<u32> = (0..placed.geometry.groups).map(|_| 0).collect();
    for (id, node) in tree.nodes() {
        if matches!(node.content, Content::Directory(_)) {
            let group = numbering.of(id)?.slot() / placed.geometry.inodes_per_group;
            let group = usize::try_from(group).unwrap_or(usize::MAX);
            let count = counts.get_mut(group).ok_or(internal("every inode is in a group"))?;
            *count += 1;
        }
    }
    Ok(counts)
}
