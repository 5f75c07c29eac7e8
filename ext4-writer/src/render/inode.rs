//! Inodes: from what they state to records.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::format::Format;
use crate::format::checksum::FsSeed;
use crate::format::time::encode;
use crate::format::units::{BlockCount, BlockIndex, widen};
use crate::metadata::{FileFlags, Special, Timestamp};
use crate::record::inode::{BLOCK_MAP_SIZE, EXTRA_SIZE, Flags, Inode};
use crate::record::{high16, high32, low16, low32};

/// What an inode states, but for its checksum and what is behind its fields.
pub(crate) struct InodeFields {
    /// Kind and permissions.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub links: u16,
    pub times: Times,
    pub flags: FileFlags,
    pub generation: u32,
    pub project: u32,
    /// The bytes of its content.
    pub size: u64,
    pub content: BlockField,
    /// The blocks that belong to it.
    pub blocks: BlockCount,
    pub attribute_block: Option<BlockIndex>,
}

/// The times of an inode.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub modified: Timestamp,
    pub accessed: Timestamp,
    pub changed: Timestamp,
    pub created: Timestamp,
}

/// What `i_block` is.
#[derive(Clone, Copy)]
pub(crate) enum BlockField {
    /// The root of an extent tree.
    Extents([u8; BLOCK_MAP_SIZE]),
    /// That of a directory with an index.
    Indexed([u8; BLOCK_MAP_SIZE]),
    /// The beginning of the content.
    Inline([u8; BLOCK_MAP_SIZE]),
    /// A short target, a device's number, or nothing.
    Bytes([u8; BLOCK_MAP_SIZE]),
}

impl Times {
    /// One time for all.
    pub(crate) const fn all(time: Timestamp) -> Self {
        Self { modified: time, accessed: time, changed: time, created: time }
    }
}

/// The inode of these fields.
pub(crate) fn render(fields: &InodeFields, format: &Format) -> Inode {
    let mut inode = Inode::empty();
    inode.mode = U16::new(fields.mode);
    set_owner(&mut inode, fields.uid, fields.gid);
    inode.links_count = U16::new(fields.links);
    inode.extra_isize = U16::new(extra_size(format));
    inode.flags = U32::new(fields.flags.bits());
    inode.generation = U32::new(fields.generation);
    inode.projid = U32::new(fields.project);
    set_times(&mut inode, &fields.times);
    set_size(&mut inode, fields.size);
    set_blocks(&mut inode, format.block.sectors(fields.blocks));
    set_attribute_block(&mut inode, fields.attribute_block);
    let (flags, block) = match fields.content {
        BlockField::Extents(root) => (Flags::EXTENTS, root),
        BlockField::Indexed(root) => (Flags::EXTENTS | Flags::INDEX, root),
        BlockField::Inline(content) => (Flags::INLINE_DATA, content),
        BlockField::Bytes(bytes) => (Flags::empty(), bytes),
    };
    inode.flags |= U32::new(flags.bits());
    inode.block = block;
    inode
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
    set_times(&mut inode, &Times::all(format.stored(epoch)));
    set_size(&mut inode, size);
    set_blocks(&mut inode, format.block.sectors(blocks));
    inode
}

/// The value of an attribute that has an inode of its own.
pub(crate) struct ValueFile<'a> {
    pub value: &'a [u8],
    /// Its blocks, with those of its map.
    pub blocks: BlockCount,
    pub uid: u32,
    pub gid: u32,
    /// The entries in inodes and blocks that have it.
    pub references: u64,
}

/// The inode of a value, without its mapping: the time of the last change is the upper half of the
/// count of references, the version its lower half, the time of the last access the value's hash.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_create`, `ext4_xattr_inode_set_ref` and
/// `ext4_xattr_inode_set_hash`.
pub(crate) fn value_file(
    file: &ValueFile<'_>,
    format: &Format,
    epoch: Timestamp,
    seed: FsSeed,
) -> Inode {
    let mut inode = internal_file(format, epoch, widen(file.value.len()), file.blocks);
    set_owner(&mut inode, file.uid, file.gid);
    inode.flags |= U32::new(Flags::EA_INODE.bits());
    inode.version = U32::new(low32(file.references));
    let as_time = |number: u32| encode(Timestamp::from_seconds(i64::from(number)));
    (inode.ctime, inode.ctime_extra) = as_time(high32(file.references));
    (inode.atime, inode.atime_extra) = as_time(seed.value(file.value));
    inode
}

/// Marks `i_block` as an extent tree.
pub(crate) fn set_extents(inode: &mut Inode, root: [u8; BLOCK_MAP_SIZE]) {
    inode.flags |= U32::new(Flags::EXTENTS.bits());
    inode.block = root;
}

/// A target that is short enough for `i_block` and the NUL behind it.
pub(crate) fn short_target(target: &[u8]) -> Option<[u8; BLOCK_MAP_SIZE]> {
    let mut block = [0; BLOCK_MAP_SIZE];
    let place = block.get_mut(..target.len()).filter(|_| target.len() < BLOCK_MAP_SIZE)?;
    place.copy_from_slice(target);
    Some(block)
}

fn set_owner(inode: &mut Inode, uid: u32, gid: u32) {
    (inode.uid_lo, inode.uid_high) = (U16::new(low16(uid)), U16::new(high16(uid)));
    (inode.gid_lo, inode.gid_high) = (U16::new(low16(gid)), U16::new(high16(gid)));
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

fn set_times(inode: &mut Inode, times: &Times) {
    (inode.mtime, inode.mtime_extra) = encode(times.modified);
    (inode.atime, inode.atime_extra) = encode(times.accessed);
    (inode.ctime, inode.ctime_extra) = encode(times.changed);
    (inode.crtime, inode.crtime_extra) = encode(times.created);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_device_numbers_go_to_the_second_word() {
        let small = device_block(Special::CharacterDevice { major: 1, minor: 3 });
        assert_eq!(small[..8], [3, 1, 0, 0, 0, 0, 0, 0]);
        let large = device_block(Special::BlockDevice { major: 259, minor: 1_048_575 });
        assert_eq!(large[..8], [0, 0, 0, 0, 0xff, 0x03, 0xf1, 0xff]);
    }
}
