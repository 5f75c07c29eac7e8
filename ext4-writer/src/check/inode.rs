//! One inode: its kind, its flags, its sizes.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass1.c`, `e2fsck_pass1` and `check_blocks`.

use crate::check::attributes::{Attributes, is_context};
use crate::check::bytes::{is_zero, u32_at};
use crate::check::context::Told;
use crate::check::extents;
use crate::check::facts::{Sort, flag, own};
use crate::check::kinds::Kind;
use crate::check::scan::{Blocks, Directory, Scan};
use crate::check::subject::Subject;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::wide48;

/// From this size on a file needs the feature `large_file`.
const LARGE: u64 = 1 << 31;

/// Whether an inode is judged further.
#[derive(PartialEq, Eq)]
enum Next {
    /// As any file.
    Judge,
    /// Its blocks alone.
    Blocks,
    /// It is kept for the filesystem, and not used.
    Kept,
    /// It is free.
    Free,
}

impl<S: Source> Scan<'_, S> {
    /// Judges an inode and tells what it is.
    pub(super) fn inode(&mut self, subject: &Subject<'_>) -> ReadResult<()> {
        // An inode of zeros was never used, and is not summed.
        if subject.seed.is_enabled()
            && !is_zero(subject.bytes)
            && let Some((stored, computed)) = subject.wrong_sum()
        {
            let finding = subject.finding(Kind::InodeChecksum).field("i_checksum");
            let found = format!("{stored:#x}");
            self.out.findings.push(finding.found(found).expected(format_args!("{computed:#x}")));
        }
        self.deletion_time(subject);
        let next = self.special(subject);
        if next == Next::Free {
            return Ok(());
        }
        let state = self.context.inodes.get(subject.number);
        if let Some(state) = state {
            state.tell(Told {
                sort: subject.sort,
                links: subject.links(),
                is_own: next != Next::Judge,
                flags: subject.flags,
            });
        }
        if next == Next::Kept {
            return Ok(());
        }
        if next == Next::Judge {
            self.flags(subject);
            self.kind(subject)?;
        }
        let mut attributes = Attributes::default();
        if next == Next::Judge {
            attributes = self.extra(subject)?;
        }
        self.blocks(subject, attributes, next == Next::Judge)
    }

    fn deletion_time(&mut self, subject: &Subject<'_>) {
        let time = subject.record.dtime.get();
        let record = &self.context.superblock;
        let inodes = self.context.layout.inodes;
        // A clock that stood near 1970 makes all times look like inode numbers.
        let clock_was_right = [record.wtime, record.mtime, record.mkfs_time]
            .iter()
            .all(|time| time.get() == 0 || time.get() >= inodes);
        let finding = |kind| subject.finding(kind).field("i_dtime").found(time);
        if time != 0 && clock_was_right && time < inodes {
            self.out.findings.push(finding(Kind::DeletionTimeLow));
        }
        if subject.links() != 0 {
            let is_file =
                subject.number == own::ROOT || subject.number >= self.context.first_inode();
            if time != 0 && is_file {
                self.out.findings.push(finding(Kind::DeletionTimeSet));
            }
        } else if subject.number >= self.context.first_inode()
            && !self.context.is_kept_for_quota(subject.number)
            && time == 0
            && subject.record.mode.get() != 0
        {
            self.out.findings.push(finding(Kind::DeletionTimeMissing));
        }
    }

    /// What the filesystem's own inodes are for, and whether any other is in use.
    fn special(&mut self, subject: &Subject<'_>) -> Next {
        let context = self.context;
        let number = subject.number;
        let record = &context.superblock;
        let must_be_regular = |scan: &mut Self| {
            if !subject.is(Sort::Regular) {
                let mode = format!("{:o}", subject.record.mode);
                let finding = subject.finding(Kind::ReservedInode).field("i_mode");
                scan.out.findings.push(finding.found(mode).expected("a regular file"));
            }
            scan.refused(subject);
            Next::Blocks
        };
        if number == own::BAD_BLOCKS {
            self.bad_blocks(subject);
            return Next::Blocks;
        }
        if number == own::ROOT {
            if !subject.is(Sort::Directory) {
                let mode = format!("{:o}", subject.record.mode);
                let finding = subject.finding(Kind::RootNotDirectory).field("i_mode");
                self.out.findings.push(finding.found(mode));
            }
        } else if number == own::JOURNAL {
            if record.journal_inum.get() == number {
                return must_be_regular(self);
            }
            self.must_be_clear(subject);
        } else if context.is_kept_for_quota(number) {
            if context.has(Feature::QUOTA) && context.is_quota(number) {
                return must_be_regular(self);
            }
            self.must_be_clear(subject);
        } else if number == record.orphan_file_inum.get() {
            if context.has(Feature::ORPHAN_FILE) {
                return must_be_regular(self);
            }
            self.must_be_clear(subject);
        } else if number < context.first_inode() {
            self.reserved(subject);
            return Next::Blocks;
        }
        if subject.links() != 0 {
            Next::Judge
        } else if number < context.first_inode() && number != own::ROOT {
            Next::Kept
        } else {
            Next::Free
        }
    }

    fn must_be_clear(&mut self, subject: &Subject<'_>) {
        let blocks = subject.record.blocks_lo.get();
        let links = subject.links();
        if links != 0 || blocks != 0 || subject.address(0) != 0 {
            let found = format!("{links} links, {blocks} sectors");
            let finding = subject.finding(Kind::ReservedInode);
            self.out.findings.push(finding.found(found).expected("an empty inode"));
        }
    }

    fn reserved(&mut self, subject: &Subject<'_>) {
        let mode = subject.record.mode.get();
        let is_wrong = match subject.number {
            own::BOOT_LOADER => subject.is(Sort::Directory),
            own::RESIZE => mode != 0 && !subject.is(Sort::Regular),
            _ => mode != 0,
        };
        if is_wrong {
            let finding = subject.finding(Kind::ReservedInode).field("i_mode");
            self.out.findings.push(finding.found(format_args!("{mode:o}")));
        }
    }

    fn bad_blocks(&mut self, subject: &Subject<'_>) {
        let record = &subject.record;
        let owners = record.uid_lo.get() != 0 || record.gid_lo.get() != 0;
        let is_wrong = record.mode.get() != 0
            || owners
            || subject.links() != 0
            || subject.has(flag::INLINE_DATA)
            || subject.attribute_block(self.context) != 0;
        if is_wrong {
            self.out.findings.push(subject.finding(Kind::BadBlocksInode));
        }
    }

    /// The flags that the features and the kind allow.
    fn flags(&mut self, subject: &Subject<'_>) {
        let context = self.context;
        let has = |feature| context.has(feature);
        let is_file = subject.is(Sort::Regular) || subject.is(Sort::Directory);
        let inline = subject.has(flag::INLINE_DATA);
        let mapped = subject.has(flag::EXTENTS);
        let is_directory = subject.is(Sort::Directory);
        let wrong: [(bool, &str); 9] = [
            (subject.has(flag::CASEFOLD) && !is_directory, "CASEFOLD on no directory"),
            (subject.has(flag::CASEFOLD) && !has(Feature::CASEFOLD), "CASEFOLD without casefold"),
            (inline && mapped, "INLINE_DATA and EXTENTS"),
            (inline && !has(Feature::INLINE_DATA), "INLINE_DATA without inline_data"),
            (mapped && !has(Feature::EXTENT), "EXTENTS without extent"),
            (
                !mapped
                    && is_file
                    && has(Feature::EXTENT)
                    && extents::has_header(&subject.record.block),
                "an extent tree without EXTENTS",
            ),
            (subject.has(flag::IMAGIC) && !has(Feature::IMAGIC), "IMAGIC without imagic_inodes"),
            (subject.has(flag::INDEX) && !is_directory, "INDEX on no directory"),
            (subject.has(flag::INDEX) && !has(Feature::DIR_INDEX), "INDEX without dir_index"),
        ];
        for (is, what) in wrong {
            if is {
                let finding = subject.finding(Kind::InodeFlags).field("i_flags");
                let found = format!("{:#x}, {what}", subject.flags);
                self.out.findings.push(finding.found(found));
            }
        }
        if subject.is_short_link() && mapped && !subject.has_blocks(context) {
            let finding = subject.finding(Kind::InodeFlags).field("i_flags");
            self.out.findings.push(finding.found("EXTENTS on a link inside its inode"));
        }
        self.odd_fields(subject);
    }

    fn odd_fields(&mut self, subject: &Subject<'_>) {
        let context = self.context;
        let record = &subject.record;
        if record.obso_faddr.get() != 0 {
            let finding = subject.finding(Kind::InodeFragment).field("i_faddr");
            self.out.findings.push(finding.found(record.obso_faddr).expected(0));
        }
        if context.is_hurd() {
            return;
        }
        if !context.has(Feature::BIT_64) && record.file_acl_high.get() != 0 {
            let finding = subject.finding(Kind::InodeAttributeBlock).field("i_file_acl_high");
            self.out.findings.push(finding.found(record.file_acl_high).expected(0));
        }
        if !context.has(Feature::HUGE_FILE) && record.blocks_high.get() != 0 {
            let finding = subject.finding(Kind::InodeBlocksHigh).field("i_blocks_high");
            self.out.findings.push(finding.found(record.blocks_high).expected(0));
        }
        let log = context.layout.block.superblock_log() + 10;
        let few = u64::from(record.blocks_lo.get()) < 1u64 << 29u32.saturating_sub(log);
        let is_high = subject.is(Sort::Directory) && record.size_high.get() != 0;
        if is_high && few && !context.has(Feature::LARGE_DIR) {
            let finding = subject.finding(Kind::DirectorySizeHigh).field("i_size_high");
            self.out.findings.push(finding.found(record.size_high).expected(0));
        }
    }

    /// What a kind of file must and must not have.
    fn kind(&mut self, subject: &Subject<'_>) -> ReadResult<()> {
        match subject.sort {
            Sort::Directory | Sort::Regular => Ok(()),
            Sort::Symlink => self.symlink(subject),
            Sort::Unknown => {
                let finding = subject.finding(Kind::InodeMode).field("i_mode");
                self.out.findings.push(finding.found(format_args!("{:o}", subject.record.mode)));
                Ok(())
            }
            Sort::Character | Sort::Block | Sort::Fifo | Sort::Socket => {
                self.device(subject);
                Ok(())
            }
        }
    }

    fn device(&mut self, subject: &Subject<'_>) {
        let is_fixed = subject.has(flag::IMMUTABLE) || subject.has(flag::APPEND);
        let rest = (4..15).any(|place| subject.address(place) != 0);
        if subject.has(flag::INDEX) || subject.has(flag::EXTENTS) || (is_fixed && rest) {
            let finding = subject.finding(Kind::DeviceInode).field("i_flags");
            self.out.findings.push(finding.found(format_args!("{:#x}", subject.flags)));
            return;
        }
        if subject.has(flag::INLINE_DATA) {
            let finding = subject.finding(Kind::InodeFlags).field("i_flags");
            self.out.findings.push(finding.found("INLINE_DATA on a device, FIFO or socket"));
        }
        if is_fixed {
            let finding = subject.finding(Kind::InodeImmutable).field("i_flags");
            self.out.findings.push(finding.found(format_args!("{:#x}", subject.flags)));
        }
        if subject.size != 0 {
            let finding = subject.finding(Kind::DeviceSize).field("i_size");
            self.out.findings.push(finding.found(subject.size).expected(0));
        }
    }

    fn symlink(&mut self, subject: &Subject<'_>) -> ReadResult<()> {
        if let Some(what) = self.wrong_target(subject)? {
            let finding = subject.finding(Kind::SymlinkTarget);
            self.out.findings.push(finding.found(what));
        }
        if subject.has(flag::IMMUTABLE) || subject.has(flag::APPEND) {
            let finding = subject.finding(Kind::SymlinkImmutable).field("i_flags");
            self.out.findings.push(finding.found(format_args!("{:#x}", subject.flags)));
        }
        Ok(())
    }

    /// Source: e2fsprogs, `e2fsck/pass1.c`, `e2fsck_pass1_check_symlink`.
    fn wrong_target(&mut self, subject: &Subject<'_>) -> ReadResult<Option<String>> {
        let size = subject.size;
        if size == 0 || subject.record.size_high.get() != 0 || subject.has(flag::INDEX) {
            return Ok(Some(format!("{size} bytes, flags {:#x}", subject.flags)));
        }
        if subject.has(flag::INLINE_DATA) {
            let inline = self.attributes_unheard(subject)?.inline;
            let there = inline.map(|length| crate::format::units::widen(length).saturating_add(60));
            let is_right = there == Some(size) && !subject.has(flag::EXTENTS);
            return Ok((!is_right).then(|| format!("{size} bytes, {there:?} in the inode")));
        }
        let bytes = if subject.is_short_link() {
            if subject.has(flag::EXTENTS) {
                return Ok(Some("EXTENTS on a link inside its inode".to_owned()));
            }
            subject.record.block.to_vec()
        } else {
            let rest = (1..15).any(|place| subject.address(place) != 0);
            let block = if subject.has(flag::EXTENTS) {
                extents::only_block(subject)
            } else {
                (!rest).then(|| subject.address(0).into())
            };
            let Some(block) = block.filter(|block| self.context.is_block(*block)) else {
                return Ok(Some("not one block of its own".to_owned()));
            };
            self.context.image.block(block)?
        };
        let length = if subject.has(flag::ENCRYPT) {
            let told = bytes.first_chunk().copied().map_or(0, u16::from_le_bytes);
            usize::from(told).saturating_add(2)
        } else {
            bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())
        };
        let is_right = length < bytes.len() && crate::format::units::widen(length) == size;
        Ok((!is_right).then(|| format!("a target of {length} bytes in a size of {size}")))
    }

    /// The attributes in an inode, of which nothing is said a second time.
    fn attributes_unheard(&mut self, subject: &Subject<'_>) -> ReadResult<Attributes> {
        Scan::new(self.context).attributes_in_inode(subject)
    }

    /// The fields behind the first 128 bytes, and the attributes behind them.
    fn extra(&mut self, subject: &Subject<'_>) -> ReadResult<Attributes> {
        let room = subject.bytes.len().saturating_sub(128);
        if room == 0 {
            return Ok(Attributes::default());
        }
        let extra = usize::from(subject.record.extra_isize.get());
        if !subject.has_valid_extra_size() {
            self.extra_size(subject, Kind::InodeExtraSize);
            // Attributes are looked for where the fields would end.
        }
        if extra >= room.saturating_sub(4) {
            return Ok(Attributes::default());
        }
        self.attributes_in_inode(subject)
    }

    fn extra_size(&mut self, subject: &Subject<'_>, kind: Kind) {
        let room = subject.bytes.len().saturating_sub(128);
        let finding = subject.finding(kind).field("i_extra_isize");
        let expected = format!("a multiple of 4 up to {room}");
        self.out.findings.push(finding.found(subject.record.extra_isize).expected(expected));
    }

    /// What e2fsck passes over in an inode of the filesystem's own, and the kernel does not.
    ///
    /// Source: kernel, `fs/ext4/inode.c`, `__ext4_iget`.
    fn refused(&mut self, subject: &Subject<'_>) {
        if !subject.has_valid_extra_size() {
            self.extra_size(subject, Kind::OwnInodeRefused);
        }
        let block = subject.attribute_block(self.context);
        if block != 0 && !self.context.is_block(block) {
            let finding = subject.finding(Kind::OwnInodeRefused).field("i_file_acl");
            self.out.findings.push(finding.found(block));
        }
    }

    /// The blocks, and the sizes that tell of them.
    fn blocks(
        &mut self,
        subject: &Subject<'_>,
        mut attributes: Attributes,
        is_file: bool,
    ) -> ReadResult<()> {
        let context = self.context;
        let mut count = attributes.value_clusters;
        let block = subject.attribute_block(context);
        if block != 0 {
            if context.has(Feature::EXT_ATTR) && context.is_block(block) {
                let more = self.attribute_block(subject, block)?;
                count = count.saturating_add(1).saturating_add(more.value_clusters);
                attributes.encryption = attributes.encryption.or(more.encryption);
            } else if is_file {
                let finding = subject.finding(Kind::InodeAttributeBlock).field("i_file_acl");
                self.out.findings.push(finding.found(block));
            }
        }
        let mut blocks = Blocks::new(count);
        let first_run = self.out.runs.len();
        let inline = subject.has(flag::INLINE_DATA);
        if inline && context.has(Feature::INLINE_DATA) {
            if is_file && attributes.inline.is_none() {
                self.out.findings.push(subject.finding(Kind::InlineData));
            }
        } else if subject.has_blocks(context) || subject.number == own::BAD_BLOCKS {
            if context.has(Feature::EXTENT) && subject.has(flag::EXTENTS) {
                self.extents(subject, &mut blocks)?;
            } else {
                self.block_map(subject, &mut blocks)?;
            }
        }
        if is_file && subject.has(flag::ENCRYPT) {
            self.encryption(subject, &attributes);
        }
        if subject.is(Sort::Directory) && is_file {
            self.directory(subject, &blocks, first_run)?;
        }
        if subject.number != own::BAD_BLOCKS {
            self.size(subject, &blocks, &attributes);
            self.sectors(subject, &blocks);
        }
        self.usage(subject, &blocks, attributes.values.len());
        Ok(())
    }

    fn encryption(&mut self, subject: &Subject<'_>, attributes: &Attributes) {
        match &attributes.encryption {
            None => {
                let finding = subject.finding(Kind::EncryptionContext);
                self.out.findings.push(finding.found("no context"));
            }
            Some(context) if !is_context(context) => {
                let found = format!("a context of {} bytes", context.len());
                self.out.findings.push(subject.finding(Kind::EncryptionContext).found(found));
            }
            Some(_) => {}
        }
    }

    fn directory(
        &mut self,
        subject: &Subject<'_>,
        blocks: &Blocks,
        first_run: usize,
    ) -> ReadResult<()> {
        let inline = subject.has(flag::INLINE_DATA);
        if subject.has(flag::INDEX) && self.context.has(Feature::DIR_INDEX) && !inline {
            self.index_root(subject)?;
        }
        if blocks.count == 0 && !inline {
            self.out.findings.push(subject.finding(Kind::DirectoryEmpty));
        }
        let runs = self.out.runs.len().saturating_sub(first_run);
        self.out.directories.push(Directory {
            inode: subject.number,
            flags: subject.flags,
            generation: subject.record.generation.get(),
            first_run,
            runs,
            blocks: blocks.end,
        });
        Ok(())
    }

    /// Source: e2fsprogs, `e2fsck/pass1.c`, `handle_htree`.
    fn index_root(&mut self, subject: &Subject<'_>) -> ReadResult<()> {
        let wrong = subject.finding(Kind::HtreeRoot).file_block(0);
        let first = if subject.has(flag::EXTENTS) {
            extents::first_block(self, subject)?
        } else {
            Some(u64::from(subject.address(0)))
        };
        let Some(block) = first.filter(|block| self.context.is_block(*block)) else {
            self.out.findings.push(wrong.found("no block"));
            return Ok(());
        };
        let bytes = self.context.image.block(block)?;
        let field = |place: usize| bytes.get(place).copied().unwrap_or(0);
        let (version, length) = (field(28), field(29));
        let (levels, flags) = (field(30), field(31));
        let hidden = subject.has(flag::CASEFOLD) && subject.has(flag::ENCRYPT);
        let what = if u32_at(&bytes, 24) != Some(0) {
            "reserved_zero is not 0"
        } else if length < 8 {
            "info_length is too small"
        } else if !matches!(version, 0..=2 | 6) {
            "the hash is unknown"
        } else if hidden != (version == 6) {
            "the hash is not one for this directory"
        } else if flags & 1 != 0 {
            "unused_flags has the incompatible bit"
        } else if levels > 3 || (levels > 1 && !self.context.has(Feature::LARGE_DIR)) {
            "indirect_levels is too high"
        } else {
            return Ok(());
        };
        self.out.findings.push(wrong.found(what));
        Ok(())
    }

    fn size(&mut self, subject: &Subject<'_>, blocks: &Blocks, attributes: &Attributes) {
        let context = self.context;
        let size = subject.size;
        let block = context.layout.block.bytes();
        let is_mapped = context.has(Feature::EXTENT) && subject.has(flag::EXTENTS);
        let expected = if subject.is(Sort::Directory) {
            let whole = size / block;
            let spare = u64::from(context.superblock.prealloc_dir_blocks);
            if subject.has(flag::INLINE_DATA) {
                let inline =
                    attributes.inline.map(|length| crate::format::units::widen(length) + 60);
                (inline != Some(size)).then(|| inline.unwrap_or(0))
            } else {
                let is_wrong =
                    !size.is_multiple_of(block) || whole > blocks.end || blocks.end - whole > spare;
                is_wrong.then(|| blocks.end.saturating_mul(block))
            }
        } else {
            let written = blocks.last_written.map(|last| last.saturating_mul(block));
            let most = most_bytes(block, is_mapped);
            let is_short =
                written.is_some_and(|written| size < written) && !subject.has(flag::VERITY);
            (is_short || size > most).then(|| blocks.end.saturating_mul(block))
        };
        if let Some(expected) = expected
            && !subject.is(Sort::Symlink)
        {
            let finding = subject.finding(Kind::InodeSize).field("i_size");
            self.out.findings.push(finding.found(size).expected(expected));
        }
        let is_large = subject.is(Sort::Regular) && size >= LARGE;
        if is_large && !context.has(Feature::LARGE_FILE) {
            let finding = subject.finding(Kind::LargeFile).field("i_size").found(size);
            self.out.findings.push(finding.expected("the feature large_file"));
        }
    }

    fn sectors(&mut self, subject: &Subject<'_>, blocks: &Blocks) {
        let context = self.context;
        if context.is_hurd() {
            return;
        }
        let record = &subject.record;
        let huge = context.has(Feature::HUGE_FILE);
        let in_blocks = huge && subject.has(flag::HUGE_FILE);
        let per_block = if in_blocks { 1 } else { context.layout.block.bytes() / 512 };
        let expected =
            blocks.count.saturating_mul(per_block).saturating_mul(context.layout.cluster_blocks);
        let low = u64::from(record.blocks_lo.get());
        let found = if huge { wide48(record.blocks_lo, record.blocks_high) } else { low };
        if found != expected || (in_blocks && record.blocks_high.get() != 0) {
            let finding = subject.finding(Kind::InodeBlocks).field("i_blocks");
            self.out.findings.push(finding.found(found).expected(expected));
        }
        let is_file = subject.is(Sort::Regular) || subject.is(Sort::Directory);
        let is_users = subject.number == own::ROOT || subject.number >= context.first_inode();
        let mapped = subject.has(flag::EXTENTS) || subject.has(flag::INLINE_DATA);
        if context.has(Feature::BIGALLOC) && is_file && is_users && !mapped && expected > 0 {
            self.out.findings.push(subject.finding(Kind::BlockMapBigalloc));
        }
    }
}

/// The longest file: 32 bits of blocks by extents, three levels of addresses without.
fn most_bytes(block: u64, is_mapped: bool) -> u64 {
    if is_mapped {
        return (block << 32) - 1;
    }
    let per_block = block / 4;
    let blocks = 12u64
        .saturating_add(per_block)
        .saturating_add(per_block.saturating_pow(2))
        .saturating_add(per_block.saturating_pow(3));
    blocks.saturating_mul(block)
}
