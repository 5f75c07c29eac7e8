//! The resize inode: a file whose blocks are those reserved for group descriptors, so that the
//! kernel can add groups to a mounted filesystem.
//!
//! Its double indirect block has, at the place of each descriptor block to be, the address of
//! that block in group 0; that block in turn lists its own copies in the backup groups.
//! Source: e2fsprogs, `lib/ext2fs/res_gdt.c`, `ext2fs_create_resize_inode`.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::error::{Result, internal};
use crate::format::Format;
use crate::format::checksum::{Sealed, unsummed};
use crate::format::group_layout::GroupLayout;
use crate::format::units::{BlockCount, BlockIndex, BlockSize};
use crate::metadata::Timestamp;
use crate::record::inode::Inode;
use crate::render::inode::internal_file;

/// The place of the double indirect block in `i_block`: `EXT4_DIND_BLOCK`.
const DOUBLE_INDIRECT: usize = 13;
/// The blocks that `i_block` addresses itself: `EXT4_NDIR_BLOCKS`.
const DIRECT: u64 = 12;

/// The resize inode's blocks.
pub(crate) struct ResizeMap<'a> {
    pub layout: &'a GroupLayout,
    pub groups: u32,
    pub block_size: BlockSize,
    pub descriptor_blocks: BlockCount,
    /// The reserved GDT blocks, behind the descriptors.
    pub reserved_descriptors: BlockCount,
    /// Where the double indirect block is.
    pub place: BlockIndex,
}

const ADDRESSES_FIT: crate::error::Error =
    internal("the reserved GDT blocks have 32-bit addresses");

impl ResizeMap<'_> {
    /// The inode.
    pub(crate) fn inode(&self, format: &Format, epoch: Timestamp) -> Result<Inode> {
        let block_size = self.block_size;
        let addresses = block_size.addresses();
        // As if all blocks up to the end of the double indirect one were there.
        let reach = BlockCount::new(addresses * addresses + addresses + DIRECT);
        let backups = crate::format::units::widen(self.backup_groups().count()) + 1;
        let reserved = self.reserved_descriptors.get() * backups;
        let blocks = BlockCount::new(reserved + 1);
        let size = block_size.bytes_in(reach);
        let mut inode = internal_file(format, epoch, size, blocks);
        let mut map = [U32::ZERO; 15];
        if let Some(entry) = map.get_mut(DOUBLE_INDIRECT) {
            *entry = address(self.place)?;
        }
        inode.block = zerocopy::transmute!(map);
        Ok(inode)
    }

    /// All blocks of the map that are not zeros, with their places.
    pub(crate) fn blocks(&self) -> Result<Vec<(BlockIndex, Sealed<Vec<u8>>)>> {
        let first = self.descriptor_blocks;
        let start = self.layout.group_start(0) + BlockCount::new(1);
        let addresses = self.block_size.addresses();
        let mut top = vec![U32::ZERO; usize::try_from(addresses).map_err(|_| ADDRESSES_FIT)?];
        let mut blocks = Vec::new();
        for number in first.get()..(first + self.reserved_descriptors).get() {
            let block = start + BlockCount::new(number);
            let slot = usize::try_from(number % addresses).map_err(|_| ADDRESSES_FIT)?;
            *top.get_mut(slot).ok_or(ADDRESSES_FIT)? = address(block)?;
            let offset = block - self.layout.group_start(0);
            let backups = self
                .backup_groups()
                .map(|group| address(self.layout.group_start(group) + offset))
                .collect::<Result<Vec<_>>>()?;
            blocks.push((block, unsummed(backups.as_bytes().to_vec())));
        }
        blocks.push((self.place, unsummed(top.as_bytes().to_vec())));
        Ok(blocks)
    }

    fn backup_groups(&self) -> impl Iterator<Item = u64> {
        self.layout.backups_below(u64::from(self.groups)).filter(|group| *group > 0)
    }
}

fn address(block: BlockIndex) -> Result<U32> {
    u32::try_from(block.get()).map(U32::new).map_err(|_| ADDRESSES_FIT)
}
