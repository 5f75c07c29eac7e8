//! A filesystem that is changed: what of it is known, and its blocks as they will be.

use std::collections::{BTreeMap, BTreeSet};

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult};
use crate::edit::group::Group;
use crate::edit::overlay::Overlay;
use crate::edit::runs::Runs;
use crate::format::checksum::Sealed;
use crate::format::hash::HashedBytes;
use crate::format::units::widen;
use crate::metadata::Timestamp;
use crate::reader::Recovery;
use crate::reader::device::Device as Blocks;
use crate::reader::layout::{Layout, SUPERBLOCK_OFFSET};
use crate::record::feature::Feature;
use crate::record::inode::GOOD_OLD_SIZE;
use crate::record::superblock::{FLAG_UNSIGNED_HASH, Superblock};

/// The bytes of changed blocks from which on those that nothing uses yet go to the disk.
const FLUSH: usize = 6 << 20;
/// The most bytes of changed blocks that an edit holds.
const MOST: usize = 20 << 20;

/// A filesystem while it is changed. Contents, and metadata in blocks that were free, are written at
/// once; all else waits in the overlay.
pub(crate) struct Filesystem<D> {
    pub overlay: Overlay<D>,
    pub layout: Layout,
    pub superblock: Superblock,
    /// The groups that were looked at, with what changed in them.
    pub groups: BTreeMap<u32, Group>,
    /// Blocks that were free when the edit began and are used now.
    pub fresh: Runs,
    /// Blocks that were used and will be free when the edit is done; until then they stay as they
    /// are, because a cut has to leave the old image.
    pub freed: Runs,
    /// Likewise inodes, and whether each was a directory.
    pub freed_inodes: BTreeMap<u32, bool>,
    /// Nodes without a name that are still whole.
    pub detached: BTreeSet<u32>,
    /// Blocks that belong to no file: bitmaps, tables, copies of the superblock.
    pub system: Runs,
    pub free_blocks: u64,
    pub free_inodes: u64,
    /// The time of the edit.
    pub time: Timestamp,
    /// The changed blocks from which on those that nothing uses yet go to the disk.
    pub flush_at: usize,
    /// Whether anything changed.
    pub is_changed: bool,
    /// Whether size or UUID changed, which the kernel takes from the superblock before it replays a
    /// journal.
    pub is_reshaped: bool,
    /// The UUID that all checksums are to begin with; they get it at the end.
    pub new_uuid: Option<[u8; 16]>,
    /// Whether nobody has the image before the edit is done.
    pub is_unpublished: bool,
    /// What its journal was replayed for.
    pub recovery: Option<Recovery>,
    /// The bytes of the device before.
    pub device_length: u64,
    /// The blocks that the device has room for.
    pub device_blocks: u64,
}

impl<D: Device> Filesystem<D> {
    /// The filesystem as the reader sees it, changes included.
    pub(crate) fn blocks(&self) -> Blocks<&Overlay<D>> {
        Blocks::new(&self.overlay).sized(self.layout.block, self.layout.blocks)
    }

    /// Whether a feature is on.
    pub(crate) const fn has(&self, feature: Feature) -> bool {
        self.layout.has(feature)
    }

    /// Changes a whole block.
    pub(crate) fn put(&mut self, block: u64, bytes: &Sealed<Vec<u8>>) -> EditResult<()> {
        self.make_room()?;
        self.overlay.put(block, bytes);
        Ok(())
    }

    /// Changes bytes inside a block.
    pub(crate) fn patch(&mut self, offset: u64, bytes: &[u8]) -> EditResult<()> {
        self.make_room()?;
        self.overlay.patch(offset, bytes)
    }

    /// Keeps the memory for changed blocks bounded.
    fn make_room(&mut self) -> EditResult<()> {
        self.is_changed = true;
        let block = self.layout.block.len();
        if self.overlay.len() < self.flush_at.max(FLUSH / block) {
            return Ok(());
        }
        if self.is_reshaped {
            // What lies behind the end of now has a place then.
            self.lengthen_device()?;
        }
        self.flush_fresh()?;
        if self.is_unpublished {
            self.flush_all()?;
        }
        // What stays is not looked through again for every block that comes.
        self.flush_at = self.overlay.len() + FLUSH / block / 4;
        if self.overlay.len() * block >= MOST {
            return Err(EditError::TooManyChanges {
                blocks: widen(self.overlay.len()),
                limit: widen(MOST / block),
                place: "memory",
            });
        }
        Ok(())
    }

    /// Writes the changed blocks that were free when the edit began.
    pub(crate) fn flush_fresh(&mut self) -> EditResult<()> {
        // A device that is to grow has no place yet for what lies behind its end.
        let (fresh, end) = (&self.fresh, self.device_blocks);
        self.overlay.flush(|block| block < end && fresh.has(block))
    }

    /// Writes all changed blocks of an unpublished filesystem but that of the superblock, which is
    /// the last.
    fn flush_all(&mut self) -> EditResult<()> {
        let (last, end) = (SUPERBLOCK_OFFSET / self.layout.block.bytes(), self.device_blocks);
        self.overlay.flush(|block| block < end && block != last)
    }

    /// The first block of a group.
    pub(crate) fn group_start(&self, group: u32) -> u64 {
        self.layout.group_start(group.into())
    }

    /// The group of a block.
    pub(crate) fn group_of(&self, block: u64) -> u32 {
        let place = block.saturating_sub(self.layout.first_data_block);
        let last = self.layout.groups.saturating_sub(1);
        u32::try_from(place / self.layout.blocks_per_group).unwrap_or(last).min(last)
    }

    /// The group of an inode.
    pub(crate) fn group_of_inode(&self, inode: u32) -> u32 {
        inode.saturating_sub(1) / self.layout.inodes_per_group
    }

    /// Whether inodes have fields behind the first 128 bytes.
    pub(crate) fn has_extra_fields(&self) -> bool {
        self.layout.inode_len > GOOD_OLD_SIZE
    }

    /// The nearest time that an inode stores.
    pub(crate) fn stored(&self, time: Timestamp) -> Timestamp {
        if self.has_extra_fields() { time.clamped() } else { time.clamped_short() }
    }

    /// How the bytes of names are hashed; a superblock that does not say it was made by programs
    /// whose bytes are signed.
    pub(crate) fn hashed_bytes(&self) -> HashedBytes {
        if self.superblock.flags.get() & FLAG_UNSIGNED_HASH != 0 {
            HashedBytes::Unsigned
        } else {
            HashedBytes::Signed
        }
    }

    /// The first inode that is not the filesystem's own.
    pub(crate) fn first_inode(&self) -> u32 {
        match self.superblock.rev_level.get() {
            0 => 11,
            _ => self.superblock.first_ino.get(),
        }
    }
}
