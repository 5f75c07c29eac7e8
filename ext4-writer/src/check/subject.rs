//! One inode as the check sees it.

use zerocopy::{FromZeros, IntoBytes};

use crate::check::context::Context;
use crate::check::facts::{Sort, flag};
use crate::check::findings::Finding;
use crate::check::kinds::Kind;
use crate::format::checksum::{InodeSeed, has_whole_sum};
use crate::format::units::InodeNumber;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::inode::{BLOCK_MAP_SIZE, Inode as Record};
use crate::record::{low16, wide, wide32, wide48};

/// An inode and what follows from its fields.
pub(super) struct Subject<'a> {
    pub number: u32,
    pub record: Record,
    pub bytes: &'a [u8],
    pub seed: InodeSeed,
    pub sort: Sort,
    pub size: u64,
    pub flags: u32,
}

impl<'a> Subject<'a> {
    pub(super) fn new<S: Source>(context: &Context<S>, number: u32, bytes: &'a [u8]) -> Self {
        let mut record = Record::new_zeroed();
        for (byte, from) in record.as_mut_bytes().iter_mut().zip(bytes) {
            *byte = *from;
        }
        let generation = record.generation.get();
        Self {
            number,
            seed: context.layout.seed.inode(InodeNumber::new(number), generation),
            sort: Sort::of_mode(record.mode.get()),
            size: wide(record.size_lo, record.size_high),
            flags: record.flags.get(),
            record,
            bytes,
        }
    }

    pub(super) const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn is(&self, sort: Sort) -> bool {
        self.sort == sort
    }

    pub(super) fn links(&self) -> u16 {
        self.record.links_count.get()
    }

    /// Whether the inode holds the value of an attribute.
    pub(super) const fn is_value(&self) -> bool {
        self.has(flag::EA_INODE)
    }

    /// The stored checksum and that of the bytes, if they differ.
    pub(super) fn wrong_sum(&self) -> Option<(u32, u32)> {
        let is_whole = has_whole_sum(&self.record, self.bytes.len());
        let computed = self.seed.inode_sum(self.bytes, is_whole);
        let low = self.record.checksum_lo.get();
        let (stored, computed) = if is_whole {
            (wide32(self.record.checksum_lo, self.record.checksum_hi), computed)
        } else {
            (low.into(), low16(computed).into())
        };
        (stored != computed).then_some((stored, computed))
    }

    /// The block of extended attributes; 0 if there is none.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/blknum.c`, `ext2fs_file_acl_block`.
    pub(super) fn attribute_block<S: Source>(&self, context: &Context<S>) -> u64 {
        if context.has(Feature::BIT_64) {
            wide48(self.record.file_acl_lo, self.record.file_acl_high)
        } else {
            self.record.file_acl_lo.get().into()
        }
    }

    /// `i_block` as addresses.
    pub(super) fn address(&self, place: usize) -> u32 {
        crate::check::bytes::u32_at(&self.record.block, place * 4).unwrap_or(0)
    }

    /// Whether a symbolic link is short enough to be in the inode, by its size alone.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/symlink.c`, `ext2fs_is_fast_symlink`.
    pub(super) fn is_short_link(&self) -> bool {
        self.is(Sort::Symlink) && (1..60).contains(&self.size)
    }

    /// Whether `i_block` leads to blocks.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/valid_blk.c`, `ext2fs_inode_has_valid_blocks2`.
    pub(super) fn has_blocks<S: Source>(&self, context: &Context<S>) -> bool {
        match self.sort {
            Sort::Directory | Sort::Regular => !self.has(flag::INLINE_DATA),
            Sort::Symlink => {
                if self.attribute_block(context) == 0 {
                    self.record.blocks_lo.get() != 0 && !self.has(flag::INLINE_DATA)
                } else {
                    let size = self.record.size_lo.get();
                    let whole = u32::try_from(BLOCK_MAP_SIZE).unwrap_or(u32::MAX);
                    size >= whole || (size > 4 && self.address(1) == 0)
                }
            }
            _ => false,
        }
    }

    /// Whether the fields end where they can.
    ///
    /// Source: kernel, `fs/ext4/inode.c`, `__ext4_iget`; e2fsprogs, `e2fsck/pass1.c`,
    /// `check_inode_extra_space`.
    pub(super) fn has_valid_extra_size(&self) -> bool {
        let extra = usize::from(self.record.extra_isize.get());
        let room = self.bytes.len().saturating_sub(128);
        room == 0 || extra == 0 || (extra >= 4 && extra <= room && extra % 4 == 0)
    }

    /// Where the fields end and attributes may begin; none in short inodes.
    pub(super) fn attribute_area(&self) -> Option<&'a [u8]> {
        let start = 128usize.checked_add(self.record.extra_isize.get().into())?;
        (self.bytes.len() > 128).then(|| self.bytes.get(start..))?
    }

    pub(super) fn finding(&self, kind: Kind) -> Finding {
        Finding::new(kind).inode(self.number)
    }
}

/// Whether a file of the filesystem's own is in use and has fields that end where they cannot: the
/// kernel does not open it, which is said where all inodes are looked at.
pub(super) fn is_refused<S: Source>(context: &Context<S>, number: u32) -> ReadResult<bool> {
    let bytes = context.inode_bytes(number)?;
    Ok(bytes.is_some_and(|bytes| {
        let subject = Subject::new(context, number, &bytes);
        subject.is(Sort::Regular) && subject.links() > 0 && !subject.has_valid_extra_size()
    }))
}
