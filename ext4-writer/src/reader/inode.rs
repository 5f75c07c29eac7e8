//! Inodes: found in the tables, checked, and what they say.

use std::mem::offset_of;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromZeros, IntoBytes};

use crate::format::checksum::{InodeSeed, has_whole_sum};
use crate::format::time;
use crate::format::units::{BlockIndex, InodeNumber, widen};
use crate::metadata::{FileKind, Timestamp};
use crate::reader::device::Device;
use crate::reader::error::{Part, ReadError, ReadResult};
use crate::reader::features::Feature;
use crate::reader::groups;
use crate::reader::layout::Layout;
use crate::reader::source::Source;
use crate::record::extent::MAGIC as EXTENT_MAGIC;
use crate::record::inode::{EXTRA_SIZE, Flags, GOOD_OLD_SIZE, Inode as Record};
use crate::record::superblock::{JOURNAL_BLOCKS_BACKUP, Superblock};
use crate::record::{wide, wide32, wide48};

/// An inode that is in use.
#[derive(Clone, Debug)]
pub struct Inode {
    number: u32,
    kind: Option<FileKind>,
    pub(crate) record: Record,
    /// All bytes on disk.
    pub(crate) bytes: Vec<u8>,
    pub(crate) seed: InodeSeed,
    /// How far the fields reach behind the first 128 bytes.
    extra: usize,
    size: u64,
    sectors: u64,
    attribute_block: u64,
    project: u32,
}

/// The device that a special file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// The driver's number.
    pub major: u32,
    /// The device's number.
    pub minor: u32,
}

impl Inode {
    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// What it is; none for the few inodes of the filesystem's own that are nothing.
    #[must_use]
    pub const fn kind(&self) -> Option<FileKind> {
        self.kind
    }

    /// Whether it is of this kind.
    #[must_use]
    pub fn is(&self, kind: FileKind) -> bool {
        self.kind == Some(kind)
    }

    /// The twelve permission bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        self.record.mode.get() & 0o7777
    }

    /// The owner.
    #[must_use]
    pub fn uid(&self) -> u32 {
        wide32(self.record.uid_lo, self.record.uid_high)
    }

    /// The owning group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        wide32(self.record.gid_lo, self.record.gid_high)
    }

    /// The bytes of the content, the target or the directory.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The names that it has, subdirectories' `..` included.
    #[must_use]
    pub fn links(&self) -> u16 {
        self.record.links_count.get()
    }

    /// The storage that it takes, in units of 512 bytes: `i_blocks`. For a file whose content is
    /// inside the inode, `stat` shows that content's length in its place.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.sectors
    }

    /// All flags, `i_flags`; those that `chattr` sets are in
    /// [`FileFlags`](crate::FileFlags::from_bits_truncate).
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.record.flags.get()
    }

    /// The generation that NFS tells reused numbers apart by.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.record.generation.get()
    }

    /// The project that its quota counts for; 0 without the feature `project`.
    #[must_use]
    pub const fn project(&self) -> u32 {
        self.project
    }

    /// The block of its extended attributes, if there is one.
    #[must_use]
    pub fn attribute_block(&self) -> Option<u64> {
        (self.attribute_block != 0).then_some(self.attribute_block)
    }

    /// When the content last changed.
    #[must_use]
    pub fn modified(&self) -> Timestamp {
        let extra = self.extra_field(offset_of!(Record, mtime_extra), self.record.mtime_extra);
        time::decode(self.record.mtime, extra)
    }

    /// When the content was last read.
    #[must_use]
    pub fn accessed(&self) -> Timestamp {
        let extra = self.extra_field(offset_of!(Record, atime_extra), self.record.atime_extra);
        time::decode(self.record.atime, extra)
    }

    /// When the inode last changed.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        let extra = self.extra_field(offset_of!(Record, ctime_extra), self.record.ctime_extra);
        time::decode(self.record.ctime, extra)
    }

    /// When the inode was created; none in inodes that do not say it.
    #[must_use]
    pub fn created(&self) -> Option<Timestamp> {
        let seconds = self.extra_field(offset_of!(Record, crtime), self.record.crtime)?;
        let extra = self.extra_field(offset_of!(Record, crtime_extra), self.record.crtime_extra);
        Some(time::decode(U32::new(seconds), extra))
    }

    /// The device that it stands for, when it is one.
    ///
    /// Source: kernel, `fs/ext4/inode.c`, `ext4_iget`: the first word in the old encoding or,
    /// where it is zero, the second one in the new.
    #[must_use]
    pub fn device(&self) -> Option<DeviceNumber> {
        if !self.is(FileKind::CharacterDevice) && !self.is(FileKind::BlockDevice) {
            return None;
        }
        let word = |place: usize| {
            let bytes = self.record.block.get(place..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let (old, new) = (word(0), word(4));
        Some(if old != 0 {
            DeviceNumber { major: old >> 8 & 0xff, minor: old & 0xff }
        } else {
            DeviceNumber { major: new >> 8 & 0xfff, minor: new & 0xff | new >> 12 & 0xf_ff00 }
        })
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: Flags) -> bool {
        Flags::from_bits_retain(self.flags()).contains(flag)
    }

    /// This inode, as the place of an error.
    pub(crate) const fn part(&self) -> Part {
        Part::Inode(self.number)
    }

    /// This inode, damaged.
    pub(crate) fn corrupt(&self, detail: impl Into<String>) -> ReadError {
        ReadError::corrupt(self.part(), detail)
    }

    /// The bytes behind the fields, where attributes may be; none where the inode does not tell
    /// how far its fields reach.
    pub(crate) fn behind_fields(&self) -> &[u8] {
        if self.record.extra_isize.get() == 0 {
            return &[];
        }
        self.bytes.get(GOOD_OLD_SIZE.saturating_add(self.extra)..).unwrap_or_default()
    }

    /// A field behind the first 128 bytes, if the inode has it.
    fn extra_field(&self, offset: usize, field: U32) -> Option<u32> {
        let end = offset.saturating_add(size_of::<U32>());
        let has = self.bytes.len() > GOOD_OLD_SIZE
            && end <= GOOD_OLD_SIZE.saturating_add(self.extra)
            && end <= self.bytes.len();
        has.then(|| field.get())
    }
}

/// What the type bits of `i_mode` say.
fn kind(mode: u16) -> Option<FileKind> {
    const KINDS: [FileKind; 7] = [
        FileKind::Regular,
        FileKind::Directory,
        FileKind::Symlink,
        FileKind::CharacterDevice,
        FileKind::BlockDevice,
        FileKind::Fifo,
        FileKind::Socket,
    ];
    KINDS.into_iter().find(|kind| kind.mode_bits() == mode & 0xf000)
}

/// Where an inode is, in bytes.
pub(crate) fn offset<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    number: u32,
) -> ReadResult<u64> {
    let slot = InodeNumber::new(number).slot().filter(|slot| *slot < layout.inodes);
    let Some(slot) = slot else {
        return Err(ReadError::NoSuchInode { inode: number, count: layout.inodes });
    };
    let group = groups::read(device, layout, slot / layout.inodes_per_group)?;
    let place = u64::from(slot % layout.inodes_per_group).saturating_mul(widen(layout.inode_len));
    let table = layout.block.offset(BlockIndex::new(group.inode_table));
    Ok(table.saturating_add(place))
}

/// Reads and checks an inode, in use or not.
pub(crate) fn read<S: Source>(
    device: &Device<S>,
    layout: &Layout,
    number: u32,
) -> ReadResult<Inode> {
    let offset = offset(device, layout, number)?;
    let mut bytes = vec![0; layout.inode_len];
    device.read(offset, &mut bytes)?;
    if bytes.iter().all(|byte| *byte == 0) {
        // One that was never used is not summed.
        return Err(ReadError::FreeInode { inode: number });
    }
    parse(layout, number, bytes)
}

/// Checks the bytes of an inode.
pub(crate) fn parse(layout: &Layout, number: u32, bytes: Vec<u8>) -> ReadResult<Inode> {
    let mut record = Record::new_zeroed();
    for (byte, from) in record.as_mut_bytes().iter_mut().zip(&bytes) {
        *byte = *from;
    }
    let seed = layout.seed.inode(InodeNumber::new(number), record.generation.get());
    if seed.is_enabled() {
        verify(&record, &bytes, seed, Part::Inode(number))?;
    }
    checked(layout, record, seed, number, bytes)
}

/// The journal's inode by the copy of its map and size in the superblock; none if there is none.
///
/// Source: e2fsprogs, `e2fsck/journal.c`, `e2fsck_get_journal`.
pub(crate) fn journal_backup(
    layout: &Layout,
    superblock: &Superblock,
    number: u32,
) -> ReadResult<Option<Inode>> {
    if superblock.jnl_backup_type != JOURNAL_BLOCKS_BACKUP {
        return Ok(None);
    }
    let mut record = Record::new_zeroed();
    record.mode = U16::new(FileKind::Regular.mode_bits() | 0o600);
    record.links_count = U16::new(1);
    let [map @ .., high, low] = &superblock.jnl_blocks;
    (record.size_high, record.size_lo) = (*high, *low);
    record.block = zerocopy::transmute!(*map);
    // The copy does not say how the map is to be read: only an extent tree begins so.
    if superblock.jnl_blocks.as_bytes().starts_with(&EXTENT_MAGIC.to_le_bytes()) {
        record.flags = U32::new(Flags::EXTENTS.bits());
    }
    let seed = layout.seed.inode(InodeNumber::new(number), 0);
    let bytes = record.as_bytes().iter().copied().take(layout.inode_len).collect();
    checked(layout, record, seed, number, bytes).map(Some)
}

fn checked(
    layout: &Layout,
    record: Record,
    seed: InodeSeed,
    number: u32,
    bytes: Vec<u8>,
) -> ReadResult<Inode> {
    let part = Part::Inode(number);
    let extra = extra_size(&record, bytes.len(), part)?;
    let mode = record.mode.get();
    let kind = kind(mode);
    if kind.is_none() && mode & 0xf000 != 0 {
        return Err(ReadError::corrupt(part, format!("its mode is {mode:#o}")));
    }
    let mut inode = Inode {
        number,
        kind,
        seed,
        extra,
        size: size(layout, &record, kind),
        sectors: sectors(layout, &record),
        attribute_block: record.file_acl_lo.get().into(),
        project: 0,
        record,
        bytes,
    };
    // Blocks of a file have numbers of 32 bits.
    let longest = layout.block.bytes() << 32;
    if inode.size > longest {
        return Err(inode.corrupt(format!("it has {} bytes, {longest} are the most", inode.size)));
    }
    if inode.has(Flags::INLINE_DATA) && !layout.has(Feature::INLINE_DATA) {
        return Err(inode.corrupt("it has its content inside, without the feature inline_data"));
    }
    if layout.has(Feature::BIT_64) {
        inode.attribute_block = wide48(inode.record.file_acl_lo, inode.record.file_acl_high);
    }
    if layout.has(Feature::PROJECT) {
        let field = inode.extra_field(offset_of!(Record, projid), inode.record.projid);
        inode.project = field.unwrap_or_default();
    }
    Ok(inode)
}

/// How far the fields reach behind the first 128 bytes.
///
/// Source: kernel, `fs/ext4/inode.c`, `ext4_iget`: an inode that says nothing has room for all.
fn extra_size(record: &Record, length: usize, part: Part) -> ReadResult<usize> {
    let Some(room) = length.checked_sub(GOOD_OLD_SIZE).filter(|room| *room > 0) else {
        return Ok(0);
    };
    let extra = usize::from(record.extra_isize.get());
    if extra > room || extra % 4 != 0 {
        let detail = format!("its fields reach {extra} bytes into the {room} behind the first 128");
        return Err(ReadError::corrupt(part, detail));
    }
    Ok(if extra == 0 { usize::from(EXTRA_SIZE).min(room) } else { extra })
}

fn verify(record: &Record, bytes: &[u8], seed: InodeSeed, part: Part) -> ReadResult<()> {
    let is_whole = has_whole_sum(record, bytes.len());
    let computed = seed.inode_sum(bytes, is_whole);
    let low = u32::from(record.checksum_lo.get());
    if is_whole {
        ReadError::verify(part, wide32(record.checksum_lo, record.checksum_hi), computed)
    } else {
        ReadError::verify(part, low, computed & 0xffff)
    }
}

/// Source: kernel, `fs/ext4/ext4.h`, `ext4_isize`.
fn size(layout: &Layout, record: &Record, kind: Option<FileKind>) -> u64 {
    if layout.has(Feature::LARGE_DIR) || kind == Some(FileKind::Regular) {
        wide(record.size_lo, record.size_high)
    } else {
        record.size_lo.get().into()
    }
}

/// Source: kernel, `fs/ext4/inode.c`, `ext4_inode_blocks`.
fn sectors(layout: &Layout, record: &Record) -> u64 {
    if !layout.has(Feature::HUGE_FILE) {
        return record.blocks_lo.get().into();
    }
    let count = wide48(record.blocks_lo, record.blocks_high);
    if Flags::from_bits_retain(record.flags.get()).contains(Flags::HUGE_FILE) {
        count.saturating_mul(layout.block.bytes() / 512)
    } else {
        count
    }
}
