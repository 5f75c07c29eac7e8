//! crc32c over every piece of metadata, and the seals without which nothing is written.
//!
//! Source of what each checksum covers: kernel,
//! `Documentation/filesystems/ext4/checksums.rst`.

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use crate::record::directory::{IndexTail, TAIL_FILE_TYPE, Tail};
use crate::record::group::GroupDescriptor;
use crate::record::inode::{GOOD_OLD_SIZE, Inode};
use crate::record::orphan::{MAGIC as ORPHAN_MAGIC, Tail as OrphanTail};
use crate::record::superblock::Superblock;
use crate::record::{high16, low16, xattr};
use crate::units::{BlockIndex, GroupIndex, InodeNumber};

/// ext4's crc32c: the register is neither inverted before nor after.
fn fold(register: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, bytes)
}

/// A record or block whose checksum is in place.
#[derive(Clone, Debug)]
pub(crate) struct Sealed<T>(T);

impl<T: IntoBytes + Immutable> Sealed<T> {
    /// The bytes for the disk.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Sealed<Vec<u8>> {
    /// The bytes of a block for the disk.
    pub(crate) fn block(&self) -> &[u8] {
        &self.0
    }
}

/// The start of every checksum of one filesystem but the superblock's: its UUID, folded.
///
/// Without `metadata_csum` the seals add nothing, and their fields stay zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FsSeed {
    seed: u32,
    enabled: bool,
}

/// The start of every checksum below one inode: its number and generation, folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeSeed {
    seed: u32,
    enabled: bool,
}

/// The bytes that tails take from the ends of blocks.
pub(crate) const fn entries_tail(enabled: bool) -> usize {
    if enabled { size_of::<Tail>() } else { 0 }
}

/// Likewise from the nodes of a directory's index.
pub(crate) const fn index_tail(enabled: bool) -> usize {
    if enabled { size_of::<IndexTail>() } else { 0 }
}

impl FsSeed {
    /// The seed of the filesystem with this UUID, whose metadata is summed or not.
    pub(crate) fn new(uuid: [u8; 16], enabled: bool) -> Self {
        Self { seed: fold(u32::MAX, &uuid), enabled }
    }

    /// What `s_checksum_seed` keeps when the UUID is free to change.
    pub(crate) fn get(self) -> u32 {
        self.seed
    }

    /// The seed of an inode.
    pub(crate) fn inode(self, number: InodeNumber, generation: u32) -> InodeSeed {
        let with_number = fold(self.seed, &number.get().to_le_bytes());
        let seed = fold(with_number, &generation.to_le_bytes());
        InodeSeed { seed, enabled: self.enabled }
    }

    /// Adds the superblock's own checksum.
    pub(crate) fn seal_superblock(self, mut superblock: Superblock) -> Sealed<Superblock> {
        if self.enabled {
            let covered = offset_of!(Superblock, checksum);
            let sum = superblock.as_bytes().get(..covered).map_or(0, |bytes| fold(u32::MAX, bytes));
            superblock.checksum = U32::new(sum);
        }
        Sealed(superblock)
    }

    /// Adds the checksum of a descriptor, of which the first `length` bytes are on disk.
    pub(crate) fn seal_descriptor(
        self,
        mut descriptor: GroupDescriptor,
        group: GroupIndex,
        length: usize,
    ) -> Sealed<GroupDescriptor> {
        descriptor.checksum = U16::ZERO;
        if self.enabled {
            let with_group = fold(self.seed, &group.get().to_le_bytes());
            let covered = descriptor.as_bytes().get(..length).unwrap_or_default();
            descriptor.checksum = U16::new(low16(fold(with_group, covered)));
        }
        Sealed(descriptor)
    }

    /// The hash of an attribute's value that has an inode of its own: there is one also where
    /// metadata has no checksums.
    ///
    /// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_hash`; `fs/ext4/super.c`, where
    /// `s_csum_seed` is set for `ea_inode` too.
    pub(crate) fn value(self, value: &[u8]) -> u32 {
        fold(self.seed, value)
    }

    /// The checksum of the part of a bitmap that describes something.
    pub(crate) fn bitmap(self, covered: &[u8]) -> u32 {
        if self.enabled { fold(self.seed, covered) } else { 0 }
    }

    /// Adds the checksum of a block of attributes.
    pub(crate) fn seal_attributes(self, mut block: Vec<u8>, at: BlockIndex) -> Sealed<Vec<u8>> {
        if self.enabled {
            let place = offset_of!(xattr::Header, checksum);
            let with_place = fold(self.seed, &at.get().to_le_bytes());
            put(&mut block, place, 0);
            let sum = fold(with_place, &block);
            put(&mut block, place, sum);
        }
        Sealed(block)
    }
}

impl InodeSeed {
    /// The inode's fields and what stands behind them, `length` bytes long, with its checksum.
    pub(crate) fn seal_inode(self, inode: &Inode, behind: &[u8], length: usize) -> Sealed<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        let fields = inode.as_bytes();
        bytes.extend_from_slice(fields.get(..length).unwrap_or(fields));
        bytes.extend_from_slice(behind);
        bytes.resize(length, 0);
        if self.enabled {
            let (low, high) = (offset_of!(Inode, checksum_lo), offset_of!(Inode, checksum_hi));
            // An inode without the field, as the short and the unused ones are, has half a
            // checksum.
            let is_whole = length > GOOD_OLD_SIZE && inode.extra_isize.get() > 0;
            overwrite(&mut bytes, low, &[0; 2]);
            if is_whole {
                overwrite(&mut bytes, high, &[0; 2]);
            }
            let sum = fold(self.seed, &bytes);
            overwrite(&mut bytes, low, &low16(sum).to_le_bytes());
            if is_whole {
                overwrite(&mut bytes, high, &high16(sum).to_le_bytes());
            }
        }
        Sealed(bytes)
    }

    /// Adds the tail of a block of directory entries, whose last bytes must be free for it.
    pub(crate) fn seal_entries(self, mut block: Vec<u8>) -> Sealed<Vec<u8>> {
        if !self.enabled {
            return Sealed(block);
        }
        let covered = block.len() - size_of::<Tail>();
        let tail = Tail {
            reserved_zero1: U32::ZERO,
            rec_len: U16::new(12),
            reserved_zero2: 0,
            reserved_ft: TAIL_FILE_TYPE,
            checksum: U32::new(fold(self.seed, block.get(..covered).unwrap_or_default())),
        };
        overwrite(&mut block, covered, tail.as_bytes());
        Sealed(block)
    }

    /// Adds the tail of an index node of which the first `used` bytes count.
    ///
    /// Source: kernel, `fs/ext4/namei.c`, `ext4_dx_csum`: the entries in use, then the tail with
    /// its checksum as zero.
    pub(crate) fn seal_index(self, mut block: Vec<u8>, used: usize) -> Sealed<Vec<u8>> {
        if !self.enabled {
            return Sealed(block);
        }
        let entries = fold(self.seed, block.get(..used).unwrap_or_default());
        let zero = IndexTail { reserved: U32::ZERO, checksum: U32::ZERO };
        let tail = IndexTail { checksum: U32::new(fold(entries, zero.as_bytes())), ..zero };
        let place = block.len() - size_of::<IndexTail>();
        overwrite(&mut block, place, tail.as_bytes());
        Sealed(block)
    }

    /// Adds the tail of a block of the file that lists orphans.
    ///
    /// Source: kernel, `fs/ext4/orphan.c`, `ext4_orphan_file_block_csum`: the block's place, then
    /// all but the tail.
    pub(crate) fn seal_orphans(self, mut block: Vec<u8>, at: BlockIndex) -> Sealed<Vec<u8>> {
        let covered = block.len() - size_of::<OrphanTail>();
        let checksum = if self.enabled {
            let with_place = fold(self.seed, &at.get().to_le_bytes());
            fold(with_place, block.get(..covered).unwrap_or_default())
        } else {
            0
        };
        let tail = OrphanTail { magic: U32::new(ORPHAN_MAGIC), checksum: U32::new(checksum) };
        overwrite(&mut block, covered, tail.as_bytes());
        Sealed(block)
    }

    /// Adds the checksum of an extent node that ends `tail` bytes into its block.
    pub(crate) fn seal_extents(self, mut block: Vec<u8>, tail: usize) -> Sealed<Vec<u8>> {
        if !self.enabled {
            return Sealed(block);
        }
        let sum = fold(self.seed, block.get(..tail).unwrap_or_default());
        put(&mut block, tail, sum);
        Sealed(block)
    }
}

/// A block that the format does not checksum: bitmaps (summed in their descriptor), symbolic
/// links, indirect blocks, the journal.
pub(crate) fn unsummed(block: Vec<u8>) -> Sealed<Vec<u8>> {
    Sealed(block)
}

fn put(block: &mut [u8], place: usize, number: u32) {
    overwrite(block, place, &number.to_le_bytes());
}

fn overwrite(block: &mut [u8], place: usize, bytes: &[u8]) {
    if let Some(target) = block.get_mut(place..place + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fold_is_the_castagnoli_sum_without_the_inversions() {
        // RFC 3720, B.4: 32 bytes of zeros sum to 0x8a9136aa.
        assert_eq!(!fold(u32::MAX, &[0; 32]), 0x8a91_36aa);
    }
}
