//! At the end: every address of every piece of metadata, before the first of them is written.

mod bitmaps;
pub(crate) mod directory;
pub(crate) mod extents;
pub(crate) mod groups;
mod identity;
pub(crate) mod inode;
pub(crate) mod journal;
pub(crate) mod nodes;
pub(crate) mod numbering;
pub(crate) mod places;
pub(crate) mod resize;
pub(crate) mod superblock;
pub(crate) mod xattr;

use crate::alloc::Space;
use crate::checksum::FsSeed;
use crate::dirhash::HashSeed;
use crate::error::{Result, internal};
use crate::options::Options;
use crate::tree::{Content, Tree};
use crate::units::{BlockCount, BlockSize};

use bitmaps::InodeMap;
use groups::Groups;
use identity::Identity;
use nodes::NodePlans;
use numbering::Numbering;
use places::Placed;

/// A whole filesystem, decided.
#[derive(Debug)]
pub(crate) struct Plan {
    pub identity: Identity,
    pub numbering: Numbering,
    pub nodes: NodePlans,
    pub placed: Placed,
    pub groups: Groups,
}

impl Plan {
    /// Decides everything that the contents did not.
    pub(crate) fn new(
        tree: &Tree,
        mut space: Space,
        options: &Options,
        block_size: BlockSize,
    ) -> Result<Self> {
        let identity = Identity::new(options, tree);
        let numbering = Numbering::new(tree)?;
        let hash_seed = HashSeed::from_bytes(identity.hash_seed);
        let nodes = NodePlans::new(tree, hash_seed, block_size, &mut space)?;
        let placed = Placed::new(options, block_size, numbering.demand(), space)?;
        let inodes = InodeMap::new(&placed.geometry, numbering.last());
        let directories = directories(tree, &numbering, &placed)?;
        let groups = Groups::new(&placed, inodes, &directories, FsSeed::new(identity.uuid))?;
        Ok(Self { identity, numbering, nodes, placed, groups })
    }

    /// The blocks that the filesystem takes for itself.
    ///
    /// Source: kernel, `fs/ext4/super.c`, `ext4_calculate_overhead`.
    pub(crate) fn overhead(&self) -> BlockCount {
        let geometry = &self.placed.geometry;
        let backups = self.placed.space.layout().blocks_below(geometry.end());
        let per_group = geometry.table.get() + 2;
        let groups = BlockCount::new(u64::from(geometry.groups) * per_group);
        backups + groups + geometry.journal
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
