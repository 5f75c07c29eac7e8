//! crc32c over every piece of metadata, and the seals without which nothing is written.
//!
//! Source of what each checksum covers: kernel,
//! `Documentation/filesystems/ext4/checksums.rst`.

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use crate::record::directory::{IndexTail, TAIL_FILE_TYPE, Tail};
use crate::record::group::GroupDescriptor;
use crate::record::inode::Inode;
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
#[derive(Clone, Copy, Debug)]
pub(crate) struct FsSeed(u32);

/// The start of every checksum below one inode: its number and generation, folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeSeed(u32);

/// Adds the superblock's own checksum.
pub(crate) fn seal_superblock(mut superblock: Superblock) -> Sealed<Superblock> {
    let covered = offset_of!(Superblock, checksum);
    let sum = superblock.as_bytes().get(..covered).map_or(0, |bytes| fold(u32::MAX, bytes));
    superblock.checksum = U32::new(sum);
    Sealed(superblock)
}

impl FsSeed {
    /// The seed of the filesystem with this UUID.
    pub(crate) fn new(uuid: [u8; 16]) -> Self {
        Self(fold(u32::MAX, &uuid))
    }

    /// The seed of an inode of generation 0.
    pub(crate) fn inode(self, number: InodeNumber) -> InodeSeed {
        let with_number = fold(self.0, &number.get().to_le_bytes());
        InodeSeed(fold(with_number, &0u32.to_le_bytes()))
    }

    /// Adds the descriptor's checksum.
    pub(crate) fn seal_descriptor(
        self,
        mut descriptor: GroupDescriptor,
        group: GroupIndex,
    ) -> Sealed<GroupDescriptor> {
        descriptor.checksum = U16::ZERO;
        let with_group = fold(self.0, &group.get().to_le_bytes());
        let sum = fold(with_group, descriptor.as_bytes());
        descriptor.checksum = U16::new(low16(sum));
        Sealed(descriptor)
    }

    /// The checksum of the part of a bitmap that describes something.
    pub(crate) fn bitmap(self, covered: &[u8]) -> u32 {
        fold(self.0, covered)
    }

    /// Adds the checksum of a block of attributes.
    pub(crate) fn seal_attributes(self, mut block: Vec<u8>, at: BlockIndex) -> Sealed<Vec<u8>> {
        let place = offset_of!(xattr::Header, checksum);
        let with_place = fold(self.0, &at.get().to_le_bytes());
        put(&mut block, place, 0);
        let sum = fold(with_place, &block);
        put(&mut block, place, sum);
        Sealed(block)
    }
}

impl InodeSeed {
    /// Adds the inode's checksum.
    pub(crate) fn seal_inode(self, mut inode: Inode) -> Sealed<Inode> {
        inode.checksum_lo = U16::ZERO;
        inode.checksum_hi = U16::ZERO;
        let sum = fold(self.0, inode.as_bytes());
        inode.checksum_lo = U16::new(low16(sum));
        // An inode without the field, as the unused ones are, has half a checksum.
        if inode.extra_isize.get() > 0 {
            inode.checksum_hi = U16::new(high16(sum));
        }
        Sealed(inode)
    }

    /// Adds the tail of a block of directory entries, whose last 12 bytes must be free.
    pub(crate) fn seal_entries(self, mut block: Vec<u8>) -> Sealed<Vec<u8>> {
        let covered = block.len() - size_of::<Tail>();
        let tail = Tail {
            reserved_zero1: U32::ZERO,
            rec_len: U16::new(12),
            reserved_zero2: 0,
            reserved_ft: TAIL_FILE_TYPE,
            checksum: U32::new(fold(self.0, block.get(..covered).unwrap_or_default())),
        };
        overwrite(&mut block, covered, tail.as_bytes());
        Sealed(block)
    }

    /// Adds the tail of an index node of which the first `used` bytes count.
    ///
    /// Source: kernel, `fs/ext4/namei.c`, `ext4_dx_csum`: the entries in use, then the tail with
    /// its checksum as zero.
    pub(crate) fn seal_index(self, mut block: Vec<u8>, used: usize) -> Sealed<Vec<u8>> {
        let entries = fold(self.0, block.get(..used).unwrap_or_default());
        let zero = IndexTail { reserved: U32::ZERO, checksum: U32::ZERO };
        let tail = IndexTail { checksum: U32::new(fold(entries, zero.as_bytes())), ..zero };
        let place = block.len() - size_of::<IndexTail>();
        overwrite(&mut block, place, tail.as_bytes());
        Sealed(block)
    }

    /// Adds the checksum of an extent node that ends `tail` bytes into its block.
    pub(crate) fn seal_extents(self, mut block: Vec<u8>, tail: usize) -> Sealed<Vec<u8>> {
        let sum = fold(self.0, block.get(..tail).unwrap_or_default());
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
