//! Which inode each node becomes.

use crate::error::{Result, internal};
use crate::format::numbers::{FIRST_FREE_INODE, ROOT};
use crate::format::units::InodeNumber;
use crate::tree::{NodeId, Tree};

/// The inode numbers of all nodes, in the order in which the nodes were added, so that what two
/// images have in common at their start has the same numbers in both.
#[derive(Debug)]
pub(crate) struct Numbering {
    by_node: Vec<u32>,
    last: InodeNumber,
}

impl Numbering {
    /// Numbers the tree: the root is 2, `lost+found` 11, all others follow, but for the number of
    /// the list of orphans.
    pub(crate) fn new(tree: &Tree, orphan_file: Option<InodeNumber>) -> Result<Self> {
        let mut by_node = vec![0; tree.node_limit()];
        let mut next = FIRST_FREE_INODE;
        for (node, _) in tree.nodes() {
            let place = by_node.get_mut(node.index()).ok_or(ALL_NODES_ARE_NUMBERED)?;
            if node == Tree::ROOT {
                *place = ROOT.get();
            } else {
                *place = next;
                next += 1;
                if orphan_file == Some(InodeNumber::new(next)) {
                    next += 1;
                }
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

    /// The largest number of a node or of the list of orphans; all below it are in use too.
    pub(crate) fn last(&self) -> InodeNumber {
        self.last
    }
}

const ALL_NODES_ARE_NUMBERED: crate::error::Error = internal("every node has an inode number");
