//! Inodes: from nodes and plans to records.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::error::{Result, internal};
use crate::format::Format;
use crate::metadata::{Special, Timestamp};
use crate::plan::inline::InlineData;
use crate::plan::nodes::NodePlan;
use crate::record::inode::{BLOCK_MAP_SIZE, EXTRA_SIZE, Flags, Inode};
use crate::record::{high16, high32, low16, low32};
use crate::tree::{Content, Extra, MAX_LINKS, Node, OtherTimes};
use crate::units::{BlockCount, BlockIndex, BlockSize};

/// The parts of an inode that do not follow from its node alone.
pub(crate) struct Parts {
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

/// The inode of a node.
pub(crate) fn render(
    node: &Node,
    plan: &NodePlan,
    parts: &Parts,
    format: &Format,
) -> Result<Inode> {
    let mut inode = Inode::empty();
    inode.mode = U16::new(node.kind().mode_bits() | node.mode);
    inode.uid_lo = U16::new(low16(node.uid));
    inode.uid_high = U16::new(high16(node.uid));
    inode.gid_lo = U16::new(low16(node.gid));
    inode.gid_high = U16::new(high16(node.gid));
    inode.links_count = U16::new(links(node)?);
    inode.extra_isize = U16::new(extra_size(format));
    inode.flags = U32::new(parts.extra.flags.bits());
    inode.generation = U32::new(parts.extra.generation);
    inode.projid = U32::new(parts.extra.project);
    set_times(&mut inode, node.modified, parts.times);
    set_blocks(&mut inode, format.block.sectors(parts.blocks));
    set_attribute_block(&mut inode, plan.attribute_block);
    set_content(&mut inode, node, plan, parts, format.block)?;
    Ok(inode)
}

/// How far the fields reach behind the first 128 bytes.
fn extra_size(format: &Format) -> u16 {
    if format.has_extra_fields() { EXTRA_SIZE } else { 0 }
}

/// An inode of the filesystem itself: a regular file that only root may read.
pub(crate) fn internal_file(
    format: &Format,
    epoch: Timestamp,
    size: u64,
    blocks: BlockCount,
) -> Inode {
    let mut inode = Inode::empty();
    inode.mode = U16::new(0x8000 | 0o600);
    inode.links_count = U16::new(1);
    inode.extra_isize = U16::new(extra_size(format));
    set_times(&mut inode, format.stored(epoch), None);
    set_size(&mut inode, size);
    set_blocks(&mut inode, format.block.sectors(blocks));
    inode
}

/// Marks `i_block` as an extent tree.
pub(crate) fn set_extents(inode: &mut Inode, root: [u8; BLOCK_MAP_SIZE]) {
    inode.flags |= U32::new(Flags::EXTENTS.bits());
    inode.block = root;
}

fn links(node: &Node) -> Result<u16> {
    let links = match &node.content {
        // Its name, its own `.`, and the `..` of every directory below; beyond the limit a
        // directory says 1 (kernel: fs/ext4/namei.c, ext4_inc_count).
        Content::Directory(directory) => match directory.subdirectories.saturating_add(2) {
            links if links > MAX_LINKS => 1,
            links => links,
        },
        _ => node.names,
    };
    u16::try_from(links).map_err(|_| internal("no inode has more links than ext4 allows"))
}

fn set_content(
    inode: &mut Inode,
    node: &Node,
    plan: &NodePlan,
    parts: &Parts,
    block_size: BlockSize,
) -> Result<()> {
    if let Some(inline) = &parts.inline {
        inode.flags |= U32::new(Flags::INLINE_DATA.bits());
        inode.block = inline.block;
        set_size(inode, inline.size);
        return Ok(());
    }
    match &node.content {
        Content::Directory(_) => {
            let layout = plan.layout.as_ref().ok_or(internal("a directory has a layout"))?;
            if layout.is_indexed() {
                inode.flags |= U32::new(Flags::INDEX.bits());
            }
            let blocks = BlockCount::new(crate::sink::widen(layout.blocks()));
            set_size(inode, block_size.bytes_in(blocks));
            set_extents(inode, parts.extent_root);
        }
        Content::Regular { size, .. } => {
            set_size(inode, *size);
            set_extents(inode, parts.extent_root);
        }
        Content::Inline(bytes) => {
            set_size(inode, crate::sink::widen(bytes.len()));
            set_extents(inode, parts.extent_root);
        }
        Content::Symlink(target) => {
            set_size(inode, crate::sink::widen(target.len()));
            match inode.block.get_mut(..target.len()) {
                // The target's end is marked by a NUL, so it must leave room for one.
                Some(place) if target.len() < BLOCK_MAP_SIZE => place.copy_from_slice(target),
                _ => set_extents(inode, parts.extent_root),
            }
        }
        Content::Special(special) => inode.block = device_block(*special),
        Content::Gone => return Err(internal("a removed node has no inode")),
    }
    Ok(())
}

/// The device number in the first word if it fits into 8 + 8 bits, else in the second.
///
/// Source: kernel, `include/linux/kdev_t.h`, `old_encode_dev` and `new_encode_dev`.
pub(crate) fn device_block(special: Special) -> [u8; BLOCK_MAP_SIZE] {
    let mut block = [0; BLOCK_MAP_SIZE];
    let (major, minor) = match special {
        Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor } => {
            (major, minor)
        }
        Special::Fifo | Special::Socket => return block,
    };
    let words = if major < 256 && minor < 256 {
        [(major << 8) | minor, 0]
    } else {
        [0, (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)]
    };
    let words = words.map(U32::new);
    for (place, byte) in block.iter_mut().zip(words.as_bytes()) {
        *place = *byte;
    }
    block
}

fn set_size(inode: &mut Inode, size: u64) {
    inode.size_lo = U32::new(low32(size));
    inode.size_high = U32::new(high32(size));
}

fn set_blocks(inode: &mut Inode, sectors: u64) {
    inode.blocks_lo = U32::new(low32(sectors));
    inode.blocks_high = U16::new(low16(high32(sectors)));
}

fn set_attribute_block(inode: &mut Inode, block: Option<BlockIndex>) {
    let block = block.map_or(0, BlockIndex::get);
    inode.file_acl_lo = U32::new(low32(block));
    inode.file_acl_high = U16::new(low16(high32(block)));
}

fn set_times(inode: &mut Inode, modified: Timestamp, times: Option<OtherTimes>) {
    let same = OtherTimes { accessed: modified, changed: modified, created: modified };
    let times = times.unwrap_or(same);
    (inode.mtime, inode.mtime_extra) = encode(modified);
    (inode.atime, inode.atime_extra) = encode(times.accessed);
    (inode.ctime, inode.ctime_extra) = encode(times.changed);
    (inode.crtime, inode.crtime_extra) = encode(times.created);
}

/// 32 bits of seconds; behind them 30 bits of nanoseconds over 2 more bits of seconds.
///
/// Source: kernel, `fs/ext4/ext4.h`, `ext4_encode_extra_time`.
pub(crate) fn encode(time: Timestamp) -> (U32, U32) {
    let low = low32(time.seconds.cast_unsigned());
    let epoch = high32((time.seconds + 0x8000_0000).cast_unsigned()) & 3;
    (U32::new(low), U32::new((time.nanoseconds << 2) | epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_use_the_epoch_bits() {
        let encoded = |seconds, nanoseconds| {
            let (low, extra) = encode(Timestamp { seconds, nanoseconds });
            (low.get(), extra.get())
        };
        assert_eq!(encoded(-1, 5), (0xffff_ffff, 20));
        assert_eq!(encoded(0x7fff_ffff, 0), (0x7fff_ffff, 0));
        assert_eq!(encoded(0x8000_0000, 0), (0x8000_0000, 1));
        assert_eq!(encoded(0x3_7fff_ffff, 999_999_999), (0x7fff_ffff, 999_999_999 << 2 | 3));
    }

    #[test]
    fn large_device_numbers_go_to_the_second_word() {
        let small = device_block(Special::CharacterDevice { major: 1, minor: 3 });
        assert_eq!(small[..8], [3, 1, 0, 0, 0, 0, 0, 0]);
        let large = device_block(Special::BlockDevice { major: 259, minor: 1_048_575 });
        assert_eq!(large[..8], [0, 0, 0, 0, 0xff, 0x03, 0xf1, 0xff]);
    }
}
