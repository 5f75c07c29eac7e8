//! Inodes: read, changed, stored with their sums; made and freed.

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::error::{Error, internal};
use crate::format::checksum::{InodeSeed, fold, has_whole_sum};
use crate::format::limits::MAX_LINKS;
use crate::format::time::encode;
use crate::format::units::InodeNumber;
use crate::metadata::{FileKind, Metadata, Timestamp};
use crate::reader::extent::MapItem;
use crate::reader::{Inode as Found, Part, ReadError, inode, map};
use crate::record::feature::Feature;
use crate::record::inode::{EXTRA_SIZE, Flags, GOOD_OLD_SIZE, Inode as Record};
use crate::record::{high16, high32, low16, low32};

/// An inode that is changed.
#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub number: u32,
    pub record: Record,
    /// All bytes on disk; those of the record as they were read.
    bytes: Vec<u8>,
}

impl Inode {
    pub(crate) fn of(found: &Found) -> Self {
        let (number, record) = (found.number(), found.record.clone());
        Self { number, record, bytes: found.bytes.clone() }
    }

    /// The bytes with the fields as they are now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (byte, from) in bytes.iter_mut().zip(self.record.as_bytes()) {
            *byte = *from;
        }
        bytes
    }

    /// Changes the bytes behind the fields; where the inode has fewer fields than there are, those
    /// are some of them.
    pub(crate) fn set_behind(&mut self, behind: &[u8]) -> EditResult<()> {
        let mut bytes = self.bytes();
        let place = GOOD_OLD_SIZE + usize::from(self.record.extra_isize.get());
        let target = bytes.get_mut(place..place + behind.len());
        target.ok_or(internal("attributes fit behind the fields"))?.copy_from_slice(behind);
        for (byte, from) in self.record.as_mut_bytes().iter_mut().zip(&bytes) {
            *byte = *from;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The bytes behind the fields, where attributes may be; none if the inode does not tell how
    /// far its fields reach.
    pub(crate) fn room_behind(&self) -> usize {
        match usize::from(self.record.extra_isize.get()) {
            0 => 0,
            extra => self.bytes.len().saturating_sub(GOOD_OLD_SIZE + extra),
        }
    }

    pub(crate) fn has(&self, flag: Flags) -> bool {
        Flags::from_bits_retain(self.record.flags.get()).contains(flag)
    }

    pub(crate) fn set_flag(&mut self, flag: Flags, to: bool) {
        let flags = Flags::from_bits_retain(self.record.flags.get());
        let flags = if to { flags | flag } else { flags - flag };
        self.record.flags = U32::new(flags.bits());
    }

    pub(crate) fn part(&self) -> Part {
        Part::Inode(self.number)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.record.mode.get() & 0xf000 == FileKind::Directory.mode_bits()
    }

    pub(crate) fn links(&self) -> u16 {
        self.record.links_count.get()
    }

    pub(crate) fn set_links(&mut self, links: u16) {
        self.record.links_count = U16::new(links);
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        self.record.size_lo = U32::new(low32(size));
        self.record.size_high = U32::new(high32(size));
    }

    pub(crate) fn set_owner(&mut self, metadata: &Metadata) {
        self.record.uid_lo = U16::new(low16(metadata.uid));
        self.record.uid_high = U16::new(high16(metadata.uid));
        self.record.gid_lo = U16::new(low16(metadata.gid));
        self.record.gid_high = U16::new(high16(metadata.gid));
    }

    /// Whether the inode has a field behind the first 128 bytes that ends there.
    fn has_field(&self, end: usize) -> bool {
        self.bytes.len() > GOOD_OLD_SIZE
            && end <= GOOD_OLD_SIZE + usize::from(self.record.extra_isize.get())
    }

    /// Sets the project; whether there is a place for it.
    pub(crate) fn set_project(&mut self, project: u32) -> bool {
        let has_place = self.has_field(offset_of!(Record, projid) + 4);
        if has_place {
            self.record.projid = U32::new(project);
        }
        has_place
    }

    pub(crate) fn set_modified(&mut self, time: Timestamp) {
        let (low, extra) = encode(time);
        self.record.mtime = low;
        if self.has_field(offset_of!(Record, mtime_extra) + 4) {
            self.record.mtime_extra = extra;
        }
    }

    pub(crate) fn set_accessed(&mut self, time: Timestamp) {
        let (low, extra) = encode(time);
        self.record.atime = low;
        if self.has_field(offset_of!(Record, atime_extra) + 4) {
            self.record.atime_extra = extra;
        }
    }

    pub(crate) fn set_changed(&mut self, time: Timestamp) {
        let (low, extra) = encode(time);
        self.record.ctime = low;
        if self.has_field(offset_of!(Record, ctime_extra) + 4) {
            self.record.ctime_extra = extra;
        }
    }

    pub(crate) fn set_created(&mut self, time: Timestamp) {
        let (low, extra) = encode(time);
        if self.has_field(offset_of!(Record, crtime_extra) + 4) {
            (self.record.crtime, self.record.crtime_extra) = (low, extra);
        }
    }
}

impl<D: Device> Filesystem<D> {
    /// An inode in use, as the reader sees it.
    pub(crate) fn find_inode(&self, number: u32) -> EditResult<Found> {
        let found = inode::read(&self.blocks(), &self.layout, number)?;
        if found.links() == 0 || self.freed_inodes.contains_key(&number) {
            return Err(ReadError::FreeInode { inode: number }.into());
        }
        Ok(found)
    }

    /// An inode in use, to be changed.
    pub(crate) fn inode(&self, number: u32) -> EditResult<Inode> {
        Ok(Inode::of(&self.find_inode(number)?))
    }

    /// The start of the sums of an inode and what belongs to it.
    pub(crate) fn seed_of(&self, inode: &Inode) -> InodeSeed {
        let number = InodeNumber::new(inode.number);
        self.layout.seed.inode(number, inode.record.generation.get())
    }

    /// Puts an inode into its table.
    pub(crate) fn store(&mut self, inode: &Inode) -> EditResult<()> {
        let mut record = inode.record.clone();
        if self.layout.seed.is_enabled() {
            let is_whole = has_whole_sum(&record, inode.bytes.len());
            record.checksum_lo = U16::ZERO;
            if is_whole {
                record.checksum_hi = U16::ZERO;
            }
        }
        let behind = inode.bytes.get(size_of::<Record>()..).unwrap_or_default();
        let seed = self.seed_of(inode);
        let sealed = seed.seal_inode(&record, behind, inode.bytes.len())?;
        let offset = inode::offset(&self.blocks(), &self.layout, inode.number)?;
        self.patch(offset, sealed.block())
    }

    /// A new inode without content, near a group; it is not stored.
    pub(crate) fn make_inode(
        &mut self,
        near: u32,
        kind: FileKind,
        metadata: &Metadata,
    ) -> EditResult<Inode> {
        let number = self.take_inode(near, kind == FileKind::Directory)?;
        let mut record = Record::new_zeroed();
        record.mode = U16::new(kind.mode_bits());
        record.links_count = U16::new(1);
        record.generation = U32::new(self.generation(number));
        if self.has_extra_fields() {
            record.extra_isize = U16::new(EXTRA_SIZE);
        }
        let mut inode = Inode { number, record, bytes: vec![0; self.layout.inode_len] };
        self.set_metadata(&mut inode, metadata);
        inode.set_created(self.stored(metadata.created.unwrap_or(metadata.modified)));
        Ok(inode)
    }

    /// A number that the next file of this inode does not have: of NFS's handles those of the file
    /// before are not to lead to this one.
    fn generation(&self, number: u32) -> u32 {
        let time = fold(u32::MAX, &self.time.seconds.to_le_bytes());
        let time = fold(time, &self.time.nanoseconds.to_le_bytes());
        fold(time, &number.to_le_bytes())
    }

    /// Sets what [`Metadata`] tells, but for the time of creation if it does not.
    pub(crate) fn set_metadata(&self, inode: &mut Inode, metadata: &Metadata) {
        let kind = inode.record.mode.get() & 0xf000;
        inode.record.mode = U16::new(kind | metadata.mode & 0o7777);
        inode.set_owner(metadata);
        inode.set_modified(self.stored(metadata.modified));
        inode.set_accessed(self.stored(metadata.accessed.unwrap_or(metadata.modified)));
        inode.set_changed(self.stored(metadata.changed.unwrap_or(metadata.modified)));
        if let Some(created) = metadata.created {
            inode.set_created(self.stored(created));
        }
    }

    /// Adds to the storage that an inode counts, in blocks.
    pub(crate) fn count_blocks(&self, inode: &mut Inode, added: i64) -> EditResult<()> {
        let is_huge = self.has(Feature::HUGE_FILE);
        let in_blocks = is_huge && inode.has(Flags::HUGE_FILE);
        let unit = if in_blocks { 1 } else { self.layout.block.bytes() / 512 };
        let high = if is_huge { u64::from(inode.record.blocks_high.get()) << 32 } else { 0 };
        let before = u64::from(inode.record.blocks_lo.get()) | high;
        let step = added.unsigned_abs().checked_mul(unit);
        let after = step.and_then(|step| {
            if added < 0 { before.checked_sub(step) } else { before.checked_add(step) }
        });
        let limit = if is_huge { 1 << 48 } else { 1 << 32 };
        let after = after.filter(|after| *after < limit).ok_or_else(|| {
            let detail = format!("it counts {before} units of storage, {added} blocks are added");
            ReadError::corrupt(inode.part(), detail)
        })?;
        inode.record.blocks_lo = U32::new(low32(after));
        if is_huge {
            inode.record.blocks_high = U16::new(low16(high32(after)));
        }
        Ok(())
    }

    /// Takes one name from an inode that is no directory, and frees it with its last.
    pub(crate) fn drop_link(&mut self, number: u32) -> EditResult<()> {
        let mut inode = self.inode(number)?;
        if inode.links() > 1 {
            inode.set_links(inode.links() - 1);
            inode.set_changed(self.stored(self.time));
            return self.store(&inode);
        }
        self.free_inode(&inode)
    }

    /// Adds one name to an inode that is no directory.
    pub(crate) fn add_name(&mut self, inode: &mut Inode) -> EditResult<()> {
        if u32::from(inode.links()) >= MAX_LINKS {
            return Err(Error::TooManyLinks { links: MAX_LINKS }.into());
        }
        inode.set_links(inode.links() + 1);
        inode.set_changed(self.stored(self.time));
        self.store(inode)
    }

    /// Frees an inode and all that it has.
    pub(crate) fn free_inode(&mut self, inode: &Inode) -> EditResult<()> {
        let found = self.find_inode(inode.number)?;
        self.give_back_inode(inode.number, inode.is_directory())?;
        self.free_content(&found)?;
        self.free_attributes(&found)?;
        // One of zeros was never used, and tells nothing of what it was.
        let offset = inode::offset(&self.blocks(), &self.layout, inode.number)?;
        self.patch(offset, &vec![0; self.layout.inode_len])
    }

    /// Gives back the blocks of an inode's content, and those of its map.
    pub(crate) fn free_content(&mut self, found: &Found) -> EditResult<u64> {
        let mut freed = 0u64;
        for (start, length) in self.content_runs(found)? {
            self.give_back(start, length, found.part())?;
            freed += length;
        }
        Ok(freed)
    }

    /// Whether an inode has blocks of content, or may have.
    pub(crate) fn has_map(&self, found: &Found) -> bool {
        match found.kind() {
            Some(FileKind::Regular | FileKind::Directory) => true,
            Some(FileKind::Symlink) => !self.is_short_link(found),
            _ => false,
        }
    }

    /// The blocks of an inode's content and of its map, as runs.
    fn content_runs(&self, found: &Found) -> EditResult<Vec<(u64, u64)>> {
        let mut runs = Vec::new();
        if !self.has_map(found) {
            return Ok(runs);
        }
        let device = self.blocks();
        let mut map = map::Map::new(&device, found, 0)?;
        while let Some(item) = map.next(&device, found) {
            runs.push(match item? {
                MapItem::Node(block) => (block, 1),
                MapItem::Run(extent) => (extent.block, extent.length),
            });
        }
        Ok(runs)
    }
}
