//! The checksum of every piece of metadata, and the seals without which nothing is written.
//!
//! Source of what each checksum covers: kernel,
//! `Documentation/filesystems/ext4/checksums.rst`.

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use crate::error::{Error, Result, internal};
use crate::format::units::{BlockIndex, GroupIndex, InodeNumber};
use crate::record::directory::{IndexTail, TAIL_FILE_TYPE, Tail};
use crate::record::group::GroupDescriptor;
use crate::record::inode::{GOOD_OLD_SIZE, Inode};
use crate::record::orphan::{MAGIC as ORPHAN_MAGIC, Tail as OrphanTail};
use crate::record::superblock::Superblock;
use crate::record::{high16, low16, xattr};

/// ext4's crc32c: the register is neither inverted before nor after.
pub(crate) fn fold(register: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, bytes)
}

/// The same over bytes of which `length` from `place` on count as zeros: the checksum itself.
pub(crate) fn fold_without(register: u32, bytes: &[u8], place: usize, length: usize) -> u32 {
    let (before, rest) = cut(bytes, place);
    let (skipped, behind) = cut(rest, length);
    let zeros = skipped.iter().fold(fold(register, before), |sum, _| fold(sum, &[0]));
    fold(zeros, behind)
}

/// The bytes before a place and those from it on, of which there are none where they end before.
fn cut(bytes: &[u8], place: usize) -> (&[u8], &[u8]) {
    bytes.split_at(place.min(bytes.len()))
}

/// The crc16 of descriptors under `uninit_bg`: reflected, of the polynomial 0x8005.
///
/// Source: kernel, `lib/crc16.c`.
pub(crate) fn fold16(register: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(register, |register, byte| {
        (0..8).fold(register ^ u16::from(*byte), |bits, _| {
            if bits & 1 == 1 { (bits >> 1) ^ 0xa001 } else { bits >> 1 }
        })
    })
}

/// The crc32 of the first journals with checksums: highest bit first, neither inverted before nor
/// after.
///
/// Source: kernel, `lib/crc32.c`, `crc32_be`.
pub(crate) fn fold_be(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |register, byte| {
        (0..8).fold(register ^ (u32::from(*byte) << 24), |bits, _| {
            if bits >> 31 == 1 { (bits << 1) ^ 0x04c1_1db7 } else { bits << 1 }
        })
    })
}

/// The superblock's own checksum.
pub(crate) fn superblock_sum(superblock: &Superblock) -> u32 {
    let covered = offset_of!(Superblock, checksum);
    fold(u32::MAX, cut(superblock.as_bytes(), covered).0)
}

/// The checksum under `uninit_bg` of a descriptor of the filesystem with this UUID, all of whose
/// bytes on disk are given.
///
/// Source: kernel, `fs/ext4/super.c`, `ext4_group_desc_csum`.
pub(crate) fn descriptor_sum16(uuid: [u8; 16], group: GroupIndex, bytes: &[u8]) -> u16 {
    let start = fold16(fold16(u16::MAX, &uuid), &group.get().to_le_bytes());
    let place = offset_of!(GroupDescriptor, checksum);
    let (before, rest) = cut(bytes, place);
    fold16(fold16(start, before), cut(rest, size_of::<U16>()).1)
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

    /// Adds what lies behind it on the disk.
    pub(crate) fn append(&mut self, next: &Self) {
        self.0.extend_from_slice(&next.0);
    }

    /// Fills its last `block` bytes up with zeros.
    pub(crate) fn pad(&mut self, block: usize) {
        self.0.resize(self.0.len().next_multiple_of(block), 0);
    }

    /// Nothing, with the memory kept.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
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

    /// The seed that `s_checksum_seed` holds.
    pub(crate) const fn kept(seed: u32, enabled: bool) -> Self {
        Self { seed, enabled }
    }

    /// Whether metadata is summed.
    pub(crate) const fn is_enabled(self) -> bool {
        self.enabled
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
            superblock.checksum = U32::new(superblock_sum(&superblock));
        }
        Sealed(superblock)
    }

    /// Adds the checksum of a descriptor, of which the first `length` bytes are on disk.
    pub(crate) fn seal_descriptor(
        self,
        mut descriptor: GroupDescriptor,
        group: GroupIndex,
        length: usize,
    ) -> Result<Sealed<GroupDescriptor>> {
        descriptor.checksum = U16::ZERO;
        if self.enabled {
            let covered = descriptor.as_bytes().get(..length).ok_or(SUM_HAS_A_PLACE)?;
            // Its checksum is zero still.
            let with_group = fold(self.seed, &group.get().to_le_bytes());
            descriptor.checksum = U16::new(low16(fold(with_group, covered)));
        }
        Ok(Sealed(descriptor))
    }

    /// The hash of an attribute's value that has an inode of its own: there is one also where
    /// metadata has no checksums.
    ///
    /// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_inode_hash`; `fs/ext4/super.c`, where
    /// `s_csum_seed` is set for `ea_inode` too.
    pub(crate) fn value(self, value: &[u8]) -> u32 {
        fold(self.seed, value)
    }

    /// The checksum of a descriptor, all of whose bytes on disk are given.
    pub(crate) fn descriptor_sum(self, group: GroupIndex, bytes: &[u8]) -> u16 {
        let with_group = fold(self.seed, &group.get().to_le_bytes());
        let place = offset_of!(GroupDescriptor, checksum);
        low16(fold_without(with_group, bytes, place, size_of::<U16>()))
    }

    /// The checksum of the part of a bitmap that describes something.
    pub(crate) fn bitmap(self, covered: &[u8]) -> u32 {
        if self.enabled { fold(self.seed, covered) } else { 0 }
    }

    /// Adds the checksum of a block of attributes.
    pub(crate) fn seal_attributes(
        self,
        mut block: Vec<u8>,
        at: BlockIndex,
    ) -> Result<Sealed<Vec<u8>>> {
        if self.enabled {
            let sum = self.attributes_sum(&block, at);
            put(&mut block, offset_of!(xattr::Header, checksum), sum)?;
        }
        Ok(Sealed(block))
    }

    /// The checksum of a block of attributes.
    pub(crate) fn attributes_sum(self, block: &[u8], at: BlockIndex) -> u32 {
        let with_place = fold(self.seed, &at.get().to_le_bytes());
        fold_without(with_place, block, offset_of!(xattr::Header, checksum), size_of::<U32>())
    }
}

impl InodeSeed {
    /// The inode's fields and what stands behind them, `length` bytes long, with its checksum.
    pub(crate) fn seal_inode(
        self,
        inode: &Inode,
        behind: &[u8],
        length: usize,
    ) -> Result<Sealed<Vec<u8>>> {
        let mut bytes = Vec::with_capacity(length);
        // An inode of 128 bytes has no place for the fields behind them.
        bytes.extend_from_slice(cut(inode.as_bytes(), length).0);
        bytes.extend_from_slice(behind);
        if bytes.len() > length {
            return Err(internal("what is behind the fields of an inode fits into it"));
        }
        bytes.resize(length, 0);
        if self.enabled {
            let (low, high) = (offset_of!(Inode, checksum_lo), offset_of!(Inode, checksum_hi));
            let is_whole = has_whole_sum(inode, length);
            // Both halves are zeros still, which is how they count.
            let sum = fold(self.seed, &bytes);
            overwrite(&mut bytes, low, &low16(sum).to_le_bytes())?;
            if is_whole {
                overwrite(&mut bytes, high, &high16(sum).to_le_bytes())?;
            }
        }
        Ok(Sealed(bytes))
    }

    /// The checksum of an inode, of which the high half has a place of its own or not.
    pub(crate) fn inode_sum(self, bytes: &[u8], is_whole: bool) -> u32 {
        let (low, high) = (offset_of!(Inode, checksum_lo), offset_of!(Inode, checksum_hi));
        let (short, long) = cut(bytes, GOOD_OLD_SIZE);
        let half = fold_without(self.seed, short, low, size_of::<U16>());
        if is_whole {
            fold_without(half, long, high - GOOD_OLD_SIZE, size_of::<U16>())
        } else {
            fold(half, long)
        }
    }

    /// Adds the tail of a block of directory entries, whose last bytes must be free for it.
    pub(crate) fn seal_entries(self, mut block: Vec<u8>) -> Result<Sealed<Vec<u8>>> {
        if !self.enabled {
            return Ok(Sealed(block));
        }
        let (place, covered) = before_tail::<Tail>(&block)?;
        let tail = Tail {
            reserved_zero1: U32::ZERO,
            rec_len: U16::new(12),
            reserved_zero2: 0,
            reserved_ft: TAIL_FILE_TYPE,
            checksum: U32::new(self.sum(covered)),
        };
        overwrite(&mut block, place, tail.as_bytes())?;
        Ok(Sealed(block))
    }

    /// Adds the tail of an index node of which the first `used` bytes count.
    ///
    /// Source: kernel, `fs/ext4/namei.c`, `ext4_dx_csum`: the entries in use, then the tail with
    /// its checksum as zero.
    pub(crate) fn seal_index(self, mut block: Vec<u8>, used: usize) -> Result<Sealed<Vec<u8>>> {
        if !self.enabled {
            return Ok(Sealed(block));
        }
        let zero = IndexTail { reserved: U32::ZERO, checksum: U32::ZERO };
        let (place, covered) = before_tail::<IndexTail>(&block)?;
        let sum = self.index_sum(covered.get(..used).ok_or(SUM_HAS_A_PLACE)?, zero);
        let tail = IndexTail { checksum: U32::new(sum), ..zero };
        overwrite(&mut block, place, tail.as_bytes())?;
        Ok(Sealed(block))
    }

    /// The checksum of the used part of an index node with this tail.
    pub(crate) fn index_sum(self, used: &[u8], tail: IndexTail) -> u32 {
        let tail = IndexTail { checksum: U32::ZERO, ..tail };
        fold(fold(self.seed, used), tail.as_bytes())
    }

    /// The checksum of the entries of a directory block, or of an extent node, before their tails.
    pub(crate) fn sum(self, covered: &[u8]) -> u32 {
        fold(self.seed, covered)
    }

    /// Whether metadata is summed.
    pub(crate) const fn is_enabled(self) -> bool {
        self.enabled
    }

    /// Adds the tail of a block of the file that lists orphans.
    ///
    /// Source: kernel, `fs/ext4/orphan.c`, `ext4_orphan_file_block_csum`: the block's place, then
    /// all but the tail.
    pub(crate) fn seal_orphans(
        self,
        mut block: Vec<u8>,
        at: BlockIndex,
    ) -> Result<Sealed<Vec<u8>>> {
        let (place, covered) = before_tail::<OrphanTail>(&block)?;
        let checksum = if self.enabled {
            let with_place = fold(self.seed, &at.get().to_le_bytes());
            fold(with_place, covered)
        } else {
            0
        };
        let tail = OrphanTail { magic: U32::new(ORPHAN_MAGIC), checksum: U32::new(checksum) };
        overwrite(&mut block, place, tail.as_bytes())?;
        Ok(Sealed(block))
    }

    /// Adds the checksum of an extent node that ends `tail` bytes into its block.
    pub(crate) fn seal_extents(self, mut block: Vec<u8>, tail: usize) -> Result<Sealed<Vec<u8>>> {
        if !self.enabled {
            return Ok(Sealed(block));
        }
        let sum = self.sum(block.get(..tail).ok_or(SUM_HAS_A_PLACE)?);
        put(&mut block, tail, sum)?;
        Ok(Sealed(block))
    }
}

/// Whether an inode has the field for the high half of its checksum; the short ones and the unused
/// ones have not.
///
/// Source: kernel, `fs/ext4/inode.c`, `ext4_inode_csum`.
pub(crate) fn has_whole_sum(inode: &Inode, length: usize) -> bool {
    let end = offset_of!(Inode, checksum_hi) + size_of::<U16>() - GOOD_OLD_SIZE;
    length > GOOD_OLD_SIZE && usize::from(inode.extra_isize.get()) >= end
}

/// A block that the format does not checksum: bitmaps (summed in their descriptor), symbolic
/// links, indirect blocks, the journal.
pub(crate) fn unsummed(block: Vec<u8>) -> Sealed<Vec<u8>> {
    Sealed(block)
}

const SUM_HAS_A_PLACE: Error = internal("what is sealed has a place for its checksum");

/// Where the tail of a block begins, and the bytes before it.
fn before_tail<T>(block: &[u8]) -> Result<(usize, &[u8])> {
    let place = block.len().checked_sub(size_of::<T>()).ok_or(SUM_HAS_A_PLACE)?;
    Ok((place, cut(block, place).0))
}

fn put(block: &mut [u8], place: usize, number: u32) -> Result<()> {
    overwrite(block, place, &number.to_le_bytes())
}

fn overwrite(block: &mut [u8], place: usize, bytes: &[u8]) -> Result<()> {
    let target = block.get_mut(place..place + bytes.len()).ok_or(SUM_HAS_A_PLACE)?;
    target.copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fold_is_the_castagnoli_sum_without_the_inversions() {
        // RFC 3720, B.4: 32 bytes of zeros sum to 0x8a9136aa.
        assert_eq!(!fold(u32::MAX, &[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn the_older_sums_have_their_published_check_values() {
        // "123456789" in the catalogue of parametrised CRC algorithms: CRC-16/MODBUS, and
        // CRC-32/BZIP2 before its final inversion.
        assert_eq!(fold16(u16::MAX, b"123456789"), 0x4b37);
        assert_eq!(!fold_be(u32::MAX, b"123456789"), 0xfc89_1918);
    }

    #[test]
    fn a_field_left_out_counts_as_zeros() {
        let with_zeros = fold(7, b"ab\0\0cd");
        assert_eq!(fold_without(7, b"abXXcd", 2, 2), with_zeros);
    }
}
