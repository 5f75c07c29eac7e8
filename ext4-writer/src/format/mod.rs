//! Facts of the format that readers and writers share; here those that shape every record.

pub(crate) mod acl;
pub(crate) mod backups;
pub(crate) mod checksum;
pub(crate) mod dirhash;
pub(crate) mod extent;
pub(crate) mod features;
pub(crate) mod group_layout;
pub(crate) mod hash;
pub(crate) mod limits;
pub(crate) mod numbers;
pub(crate) mod time;
pub(crate) mod units;

use crate::format::features::Features;
use crate::format::hash::{DirectoryHash, HashedBytes};
use crate::format::units::BlockSize;
use crate::metadata::Timestamp;
use crate::record::inode::{BLOCK_MAP_SIZE, EXTRA_SIZE, GOOD_OLD_SIZE};
use crate::record::xattr::{DATA_NAME, END, INODE_HEAD, attribute_size};

/// The choices that shape every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub block: BlockSize,
    /// `s_inode_size`.
    pub inode_size: u16,
    pub features: Features,
    pub hash: DirectoryHash,
    pub hashed_bytes: HashedBytes,
    /// How full the leaves of an index are made, in per cent.
    pub directory_fill: usize,
}

impl Format {
    /// Whether a feature is on.
    pub(crate) const fn has(&self, feature: Features) -> bool {
        self.features.contains(feature)
    }

    /// Whether metadata has checksums.
    pub(crate) const fn has_checksums(&self) -> bool {
        self.has(Features::METADATA_CSUM)
    }

    /// The bytes of an inode, as a length in memory.
    pub(crate) fn inode_len(&self) -> usize {
        usize::from(self.inode_size)
    }

    /// The inodes in a block.
    pub(crate) fn inodes_per_block(&self) -> u64 {
        self.block.bytes() / u64::from(self.inode_size)
    }

    /// The bytes behind an inode's fields, for extended attributes and inline data.
    pub(crate) fn attribute_room(&self) -> usize {
        // The next size is 256, which has room behind the fields.
        if self.has_extra_fields() {
            self.inode_len() - GOOD_OLD_SIZE - usize::from(EXTRA_SIZE)
        } else {
            0
        }
    }

    /// What of that is for entries and values.
    pub(crate) fn attribute_list_room(&self) -> usize {
        match self.attribute_room() {
            0 => 0,
            room => room - INODE_HEAD - END,
        }
    }

    /// The longest content that an inode without attributes can hold; `None` if none can.
    pub(crate) fn inline_capacity(&self) -> Option<usize> {
        if !self.has(Features::INLINE_DATA) {
            return None;
        }
        let behind = self.attribute_list_room().checked_sub(attribute_size(DATA_NAME.len(), 0))?;
        Some(BLOCK_MAP_SIZE + behind)
    }

    /// Whether inodes have the fields behind the first 128 bytes.
    pub(crate) fn has_extra_fields(&self) -> bool {
        self.inode_len() > GOOD_OLD_SIZE
    }

    /// The nearest time that an inode stores.
    pub(crate) fn stored(&self, time: Timestamp) -> Timestamp {
        if self.has_extra_fields() { time.clamped() } else { time.clamped_short() }
    }

    /// The bytes of a group descriptor.
    pub(crate) const fn descriptor_size(&self) -> u16 {
        if self.has(Features::BIT_64) { 64 } else { 32 }
    }

    /// The same as a length in memory.
    pub(crate) fn descriptor_len(&self) -> usize {
        usize::from(self.descriptor_size())
    }

    /// The group descriptors in a block.
    pub(crate) fn descriptors_per_block(&self) -> u64 {
        self.block.bytes() / u64::from(self.descriptor_size())
    }
}
