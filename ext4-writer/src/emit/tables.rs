//! The inodes of one table after the other, in pieces that can be rendered side by side.

use super::render::Renderer;
use crate::error::{Error, Result, internal};
use crate::format::checksum::{Sealed, unsummed};
use crate::format::numbers::{FIRST_FREE_INODE, JOURNAL, ORPHAN_FILE, RESIZE, ROOT};
use crate::format::units::{InodeNumber, index};
use crate::plan::nodes::NodePlan;
use crate::record::inode::Inode;
use crate::tree::{Extents, Node, NodeId};

/// The inodes of a piece at most: half a MiB with inodes of 256 bytes.
const PIECE: u32 = 2048;

pub(super) const TABLES_HOLD_ALL: Error = internal("the inode tables have a place for every inode");

static NO_PLAN: NodePlan = NodePlan {
    blocks: Extents::None,
    extent_nodes: Vec::new(),
    attribute_block: None,
    layout: None,
    inline_regions: None,
};

/// The inodes of the filesystem's own that no node can have.
pub(super) struct OwnInodes {
    pub resize: Option<Inode>,
    pub journal: Option<Inode>,
    pub orphan_file: Option<Inode>,
}

impl OwnInodes {
    /// The inode of this number; those without a use are zeros.
    fn of(&self, number: InodeNumber) -> Inode {
        let inode = match number {
            RESIZE => &self.resize,
            JOURNAL => &self.journal,
            ORPHAN_FILE => &self.orphan_file,
            _ => &None,
        };
        inode.as_ref().map_or_else(Inode::empty, Clone::clone)
    }
}

/// Inodes of one group, one behind the other.
pub(super) struct Piece<N> {
    first: InodeNumber,
    count: u32,
    /// The nodes from the first one of the piece on.
    nodes: N,
}

/// The bytes of a piece.
#[derive(Debug)]
pub(super) struct Inodes {
    /// The number of the first inode.
    pub first: InodeNumber,
    /// The inodes, one behind the other.
    pub bytes: Sealed<Vec<u8>>,
}

impl Default for Inodes {
    fn default() -> Self {
        Self { first: ROOT, bytes: unsummed(Vec::new()) }
    }
}

/// Cuts the inodes up to `last` into pieces, of which none is in two groups.
pub(super) fn pieces<'a, N>(
    nodes: N,
    last: InodeNumber,
    per_group: u32,
    orphan_file: Option<InodeNumber>,
) -> Vec<Piece<N>>
where
    N: Iterator<Item = (NodeId, &'a Node)> + Clone,
{
    let end = last.get();
    let mut nodes = nodes;
    let mut pieces = Vec::new();
    // The root has its number before all that are counted.
    nodes.next();
    let mut slot = 0;
    while slot < end {
        let first = InodeNumber::from_slot(slot);
        let in_group = per_group - slot % per_group;
        let count = PIECE.min(in_group).min(end - slot);
        pieces.push(Piece { first, count, nodes: nodes.clone() });
        let is_inside =
            |own: InodeNumber| own.slot().is_some_and(|own| (slot..slot + count).contains(&own));
        let between = u32::from(orphan_file.is_some_and(is_inside));
        let own = (FIRST_FREE_INODE.max(first.get()) - first.get()).min(count) + between;
        if let Some(before_last) = (count - own).checked_sub(1) {
            nodes.nth(index(before_last));
        }
        slot += count;
    }
    pieces
}

impl Renderer<'_> {
    /// Makes the inodes of a piece, each with its checksum.
    pub(super) fn inodes<'a, N>(
        &self,
        piece: &Piece<N>,
        own: &OwnInodes,
        inodes: &mut Inodes,
    ) -> Result<()>
    where
        N: Iterator<Item = (NodeId, &'a Node)> + Clone,
    {
        inodes.first = piece.first;
        inodes.bytes.clear();
        let mut nodes = piece.nodes.clone();
        let mut plans = None;
        let slot = piece.first.slot().ok_or(TABLES_HOLD_ALL)?;
        for number in (slot..slot + piece.count).map(InodeNumber::from_slot) {
            if number != ROOT
                && (number.get() < FIRST_FREE_INODE || Some(number) == self.plan.orphan_file)
            {
                inodes.bytes.append(&self.seal_own(number, &own.of(number))?);
                continue;
            }
            let (id, node) = if number == ROOT {
                self.tree.nodes().next().ok_or(TABLES_HOLD_ALL)?
            } else {
                nodes.next().ok_or(TABLES_HOLD_ALL)?
            };
            let plans = plans.get_or_insert_with(|| self.plan.nodes.from(id).peekable());
            let plan = plans.next_if(|(planned, _)| *planned == id);
            inodes.bytes.append(&self.inode(id, node, plan.map_or(&NO_PLAN, |(_, plan)| plan))?);
        }
        Ok(())
    }
}
