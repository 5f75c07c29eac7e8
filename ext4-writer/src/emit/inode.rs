//! What the inode of a node states.

use crate::error::{Result, internal};
use crate::format::limits::MAX_LINKS;
use crate::format::units::{BlockCount, BlockSize, widen};
use crate::plan::nodes::NodePlan;
use crate::record::inode::BLOCK_MAP_SIZE;
use crate::render::inline::InlineData;
use crate::render::inode::{BlockField, InodeFields, Times, device_block, short_target};
use crate::tree::{Content, Extra, Node, OtherTimes};

/// The parts of an inode that do not follow from its node alone.
pub(super) struct Parts {
    /// The root of the extent tree.
    pub extent_root: [u8; BLOCK_MAP_SIZE],
    /// The times beside that of modification.
    pub times: Option<OtherTimes>,
    /// Flags, generation and project.
    pub extra: Extra,
    /// The blocks that belong to the inode.
    pub blocks: BlockCount,
    /// The content, if it is in the inode.
    pub inline: Option<InlineData>,
}

/// The fields of a node's inode.
pub(super) fn fields(
    node: &Node,
    plan: &NodePlan,
    parts: &Parts,
    block_size: BlockSize,
) -> Result<InodeFields> {
    let (size, content) = match &parts.inline {
        Some(inline) => (inline.size, BlockField::Inline(inline.block)),
        None => size_and_content(node, plan, parts, block_size)?,
    };
    Ok(InodeFields {
        mode: node.kind().mode_bits() | node.mode,
        uid: node.uid,
        gid: node.gid,
        links: links(node)?,
        times: times(node, parts.times),
        flags: parts.extra.flags,
        generation: parts.extra.generation,
        project: parts.extra.project,
        size,
        content,
        blocks: parts.blocks,
        attribute_block: plan.attribute_block,
    })
}

fn times(node: &Node, others: Option<OtherTimes>) -> Times {
    match others {
        None => Times::all(node.modified),
        Some(OtherTimes { accessed, changed, created }) => {
            Times { modified: node.modified, accessed, changed, created }
        }
    }
}

fn links(node: &Node) -> Result<u16> {
    let links = match &node.content {
        // Its name, its own `.`, and the `..` of every directory below; beyond the limit a
        // directory says 1 (kernel: fs/ext4/namei.c, ext4_inc_count).
        Content::Directory(directory) => match directory.subdirectories {
            count if count > MAX_LINKS - 2 => 1,
            count => count + 2,
        },
        _ => node.names,
    };
    u16::try_from(links).map_err(|_| internal("no inode has more links than ext4 allows"))
}

fn size_and_content(
    node: &Node,
    plan: &NodePlan,
    parts: &Parts,
    block_size: BlockSize,
) -> Result<(u64, BlockField)> {
    let extents = BlockField::Extents(parts.extent_root);
    Ok(match &node.content {
        Content::Directory(_) => {
            let layout = plan.layout.as_ref().ok_or(internal("a directory has a layout"))?;
            let size = block_size.bytes_in(BlockCount::new(widen(layout.blocks())));
            let indexed = BlockField::Indexed(parts.extent_root);
            (size, if layout.is_indexed() { indexed } else { extents })
        }
        Content::Regular { size, .. } => (*size, extents),
        Content::Inline(bytes) => (widen(bytes.len()), extents),
        Content::Symlink(target) => {
            (widen(target.len()), short_target(target).map_or(extents, BlockField::Bytes))
        }
        Content::Special(special) => (0, BlockField::Bytes(device_block(*special))),
        Content::Gone => return Err(internal("a removed node has no inode")),
    })
}
