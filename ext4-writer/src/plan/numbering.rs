//! Which inode each node becomes.

use crate::error::{Result, internal};
use crate::geometry::FIRST_FREE_INODE;
use crate::tree::{NodeId, Tree};
use crate::units::InodeNumber;

/// The root directory: `EXT4_ROOT_INO`.
pub(crate) const ROOT: InodeNumber = InodeNumber::new(2);
/// The inode that holds blocks back for descriptors: `EXT4_RESIZE_INO`.
pub(crate) const RESIZE: InodeNumber = InodeNumber::new(7);
/// The journal: `EXT4_JOURNAL_INO`.
pub(crate) const JOURNAL: InodeNumber = InodeNumber::new(8);

/// The inode numbers of all nodes, in the order in which the nodes were added, so that what two
/// images have in common at their start has the same numbers in both.
#[derive(Debug)]
pub(crate) struct Numbering {
    by_node: Vec<u32>,
    last: InodeNumber,
}

impl Numbering {
    /// Numbers the tree: the root is 2, `lost+found` 11, all others follow.
    pub(crate) fn new(tree: &Tree) -> Result<Self> {
        let mut by_node = vec![0; tree.node_limit()];
        let mut next = FIRST_FREE_INODE;
        for (node, _) in tree.nodes() {
            let place = by_node.get_mut(node.index()).ok_or(ALL_NODES_ARE_NUMBERED)?;
            if node == Tree::ROOT {
                *place = ROOT.get();
            } else {
                *place = next;
                next += 1;
            }
        }
        Ok(Self { by_node, last: InodeNumber::new(next - 1) })
    }

    /// The inode of a node that exists.
    pub(crate) fn of(&self, node: NodeId) -> Result<InodeNumber> {
        match self.by_node.get(node.index()) {
            Some(0) | None => Err(ALL_NODES_ARE_NUMBERED),
            Some(number) => Ok(InodeNumber::new(*number)),
        }
    }

    /// The largest number of a node; all below it are in use too.
    pub(crate) fn last(&self) -> InodeNumber {
        self.last
    }
}

const ALL_NODES_ARE_NUMBERED: crate::error::Error = internal("every node has an inode number");
