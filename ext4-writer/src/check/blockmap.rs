//! Files mapped by blocks: 12 addresses in the inode, then blocks of addresses, of addresses of
//! addresses, and once more.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass1.c`, `process_block`.

use crate::check::bytes::u32_at;
use crate::check::facts::{Sort, own};
use crate::check::kinds::Kind;
use crate::check::scan::{Blocks, Scan};
use crate::check::subject::Subject;
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};

/// The addresses of blocks in the inode itself: `EXT4_NDIR_BLOCKS`.
const DIRECT: u64 = 12;
/// The place of the address of addresses of addresses: `EXT4_DIND_BLOCK`.
const DOUBLE: usize = 13;
/// How often an illegal address of one file is told.
const TOLD: u32 = 12;

/// A walk through the map of one inode.
struct Walk<'a, 'b> {
    subject: &'a Subject<'b>,
    blocks: &'a mut Blocks,
    illegal: u32,
    /// The block of the directory that comes next.
    next_entry_block: u64,
}

impl<S: Source> Scan<'_, S> {
    /// Goes through the blocks of an inode.
    pub(super) fn block_map(
        &mut self,
        subject: &Subject<'_>,
        blocks: &mut Blocks,
    ) -> ReadResult<()> {
        let mut walk = Walk { subject, blocks, illegal: 0, next_entry_block: 0 };
        if subject.is(Sort::Directory) && subject.address(0) == 0 {
            self.add_directory_run(0, 0, 1);
            walk.next_entry_block = 1;
        }
        for place in 0..12usize {
            let file_block = crate::format::units::widen(place);
            self.mapped_block(&mut walk, file_block, subject.address(place).into());
        }
        let per_block = self.context.layout.block.addresses();
        let mut file_block = DIRECT;
        for (level, place) in (1..=3u32).zip(12usize..) {
            let address = u64::from(subject.address(place));
            if subject.number == own::RESIZE && place == DOUBLE && address != 0 {
                self.resize_map(&mut walk, address)?;
            } else if address != 0 {
                self.address_block(&mut walk, address, (level, file_block))?;
            }
            file_block = file_block.saturating_add(per_block.saturating_pow(level));
        }
        // The blocks of a map are all written.
        let end = walk.blocks.end;
        walk.blocks.last_written = end.checked_sub(1);
        Ok(())
    }

    fn mapped_block(&mut self, walk: &mut Walk<'_, '_>, file_block: u64, block: u64) {
        if block == 0 {
            return;
        }
        let subject = walk.subject;
        if let Some(kind) = self.wrong_block(walk, Some(file_block), block) {
            walk.illegal = walk.illegal.saturating_add(1);
            if walk.illegal <= TOLD {
                let finding = subject.finding(kind).file_block(file_block);
                self.out.findings.push(finding.found(format_args!("block {block}")));
            }
            return;
        }
        self.claim_block(walk, Some(file_block), block);
        walk.blocks.end = file_block.saturating_add(1);
        walk.blocks.previous = block;
        if subject.is(Sort::Directory) {
            let next = walk.next_entry_block;
            if file_block > next {
                self.add_directory_run(next, 0, file_block - next);
            }
            self.add_directory_run(file_block, block, 1);
            walk.next_entry_block = file_block.saturating_add(1);
        }
    }

    fn wrong_block(
        &self,
        walk: &Walk<'_, '_>,
        file_block: Option<u64>,
        block: u64,
    ) -> Option<Kind> {
        let context = self.context;
        let log = context.layout.block.superblock_log();
        if !context.is_block(block) {
            return Some(Kind::BlockRange);
        }
        let subject = walk.subject;
        let is_directory = subject.is(Sort::Directory);
        let is_regular = subject.is(Sort::Regular);
        let too_big_directory = is_directory
            && !context.has(Feature::LARGE_DIR)
            && subject.record.size_high.get() == 0
            && file_block.is_some_and(|block| block > 1 << 21u32.saturating_sub(log));
        let too_many = (is_directory || is_regular)
            && walk.blocks.count.saturating_add(1) >= 1 << 31u32.saturating_sub(log);
        let too_long = !is_directory
            && !is_regular
            && subject.number != own::BAD_BLOCKS
            && file_block.is_some_and(|block| block > 0);
        (too_big_directory || too_many || too_long).then_some(Kind::InodeSize)
    }

    fn claim_block(
        &mut self,
        walk: &mut Walk<'_, '_>,
        file_block: Option<u64>,
        block: u64,
    ) -> bool {
        let ratio = self.context.layout.cluster_blocks;
        let log = ratio.trailing_zeros();
        let blocks = &mut *walk.blocks;
        let in_last = ratio > 1 && blocks.previous != 0 && block >> log == blocks.previous >> log;
        let same_place = file_block.is_some_and(|file| file & (ratio - 1) == block & (ratio - 1));
        if in_last && same_place {
            return false;
        }
        if in_last && file_block.is_some_and(|file| self.is_misplaced(blocks, block, file)) {
            self.out.findings.push(walk.subject.finding(Kind::ClusterPhase).block(block));
            return false;
        }
        blocks.count = blocks.count.saturating_add(1);
        self.claim(block, 1)
    }

    /// A block of addresses, and what they lead to.
    fn address_block(
        &mut self,
        walk: &mut Walk<'_, '_>,
        block: u64,
        (level, first): (u32, u64),
    ) -> ReadResult<()> {
        if let Some(kind) = self.wrong_block(walk, None, block) {
            let finding = walk.subject.finding(kind).found(format_args!("block {block}"));
            self.out.findings.push(finding);
            return Ok(());
        }
        let shared = self.claim_block(walk, None, block);
        walk.blocks.previous = block;
        if shared && !self.context.may_repeat() {
            return Ok(());
        }
        let bytes = self.context.image.block(block)?;
        let step = self.context.layout.block.addresses().saturating_pow(level - 1);
        let mut file_block = first;
        for place in (0..bytes.len()).step_by(4) {
            let address = u32_at(&bytes, place).map_or(0, u64::from);
            if level == 1 {
                self.mapped_block(walk, file_block, address);
            } else if address != 0 {
                self.address_block(walk, address, (level - 1, file_block))?;
            }
            file_block = file_block.saturating_add(step);
        }
        Ok(())
    }

    /// The resize inode: only its block of addresses of addresses is its own, what these lead to
    /// is metadata.
    fn resize_map(&mut self, walk: &mut Walk<'_, '_>, block: u64) -> ReadResult<()> {
        if !self.context.is_block(block) {
            let finding = walk.subject.finding(Kind::BlockRange);
            self.out.findings.push(finding.found(format_args!("block {block}")));
            return Ok(());
        }
        self.claim(block, 1);
        walk.blocks.count = walk.blocks.count.saturating_add(1);
        let doubles = self.context.image.block(block)?;
        let per_block = self.context.layout.block.addresses();
        for (number, place) in (0u64..).zip((0..doubles.len()).step_by(4)) {
            let address = u32_at(&doubles, place).map_or(0, u64::from);
            if address == 0 {
                continue;
            }
            if !self.context.is_block(address) {
                let finding = walk.subject.finding(Kind::BlockRange);
                self.out.findings.push(finding.found(format_args!("block {address}")));
                continue;
            }
            walk.blocks.count = walk.blocks.count.saturating_add(1);
            let singles = self.context.image.block(address)?;
            let start = DIRECT.saturating_add(per_block.saturating_mul(number.saturating_add(1)));
            for (into, place) in (0u64..).zip((0..singles.len()).step_by(4)) {
                let address = u32_at(&singles, place).map_or(0, u64::from);
                if address != 0 {
                    walk.blocks.count = walk.blocks.count.saturating_add(1);
                    walk.blocks.end = start.saturating_add(into).saturating_add(1);
                    if !self.context.is_block(address) {
                        let finding = walk.subject.finding(Kind::BlockRange);
                        self.out.findings.push(finding.found(format_args!("block {address}")));
                    }
                }
            }
        }
        Ok(())
    }
}
