//! What a part of the scan of inodes gathers, and how blocks of an inode are counted and claimed.

use crate::check::context::Context;
use crate::check::findings::Findings;
use crate::check::usage::Usage;
use crate::reader::Source;

/// Consecutive blocks of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryRun {
    pub file_block: u64,
    /// 0 where the directory has a hole.
    pub block: u64,
    pub length: u64,
}

/// A directory to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory {
    pub inode: u32,
    pub flags: u32,
    pub generation: u32,
    /// Its runs among those of its part.
    pub first_run: usize,
    pub runs: usize,
    /// One more than the last block that it has.
    pub blocks: u64,
}

/// What one part of the scan gathers.
#[derive(Default)]
pub(super) struct Output {
    pub findings: Findings,
    pub directories: Vec<Directory>,
    pub runs: Vec<DirectoryRun>,
    /// Blocks of attributes with the inodes that use them.
    pub attribute_blocks: Vec<(u64, u32)>,
    /// Inodes that hold values of attributes, once for each attribute in an inode.
    pub values: Vec<u32>,
    pub usage: Usage,
}

/// A part of the scan at work.
pub(super) struct Scan<'a, S> {
    pub context: &'a Context<S>,
    pub out: Output,
    /// Where blocks are not claimed, but those are listed that were claimed twice.
    pub shared: Option<Vec<u64>>,
}

/// The most shared blocks of one inode that are listed.
const MOST_SHARED: usize = 1 << 16;

/// The blocks of one inode, counted as e2fsck counts them.
#[derive(Debug)]
pub(super) struct Blocks {
    /// In clusters.
    pub count: u64,
    /// One more than the last block of the file.
    pub end: u64,
    /// The last block that was written, of a file mapped by extents.
    pub last_written: Option<u64>,
    /// The block of the filesystem that the last one was.
    pub previous: u64,
    /// One more than the last block that any extent had.
    pub next: u64,
}

impl Blocks {
    pub(super) const fn new(count: u64) -> Self {
        Self { count, end: 0, last_written: None, previous: 0, next: 0 }
    }
}

impl<'a, S: Source> Scan<'a, S> {
    pub(super) fn new(context: &'a Context<S>) -> Self {
        Self { context, out: Output::default(), shared: None }
    }

    /// Claims a run of blocks; true if one of them was claimed before.
    pub(super) fn claim(&mut self, start: u64, length: u64) -> bool {
        let claims = &self.context.claims;
        let Some(shared) = &mut self.shared else { return claims.claim(start, length) };
        let before = shared.len();
        let blocks = (start..start.saturating_add(length)).filter(|block| claims.is_shared(*block));
        shared.extend(blocks.take(MOST_SHARED.saturating_sub(before)));
        shared.len() > before
    }

    /// Claims a run that belongs to a directory, so that its entries are looked at.
    pub(super) fn add_directory_run(&mut self, file_block: u64, block: u64, length: u64) {
        self.out.runs.push(DirectoryRun { file_block, block, length });
    }

    /// Whether two neighbours of a file lie in one cluster, or ought to, and differ in their place
    /// in it.
    ///
    /// Source: e2fsprogs, `e2fsck/pass1.c`, `has_unaligned_cluster_map`.
    pub(super) fn is_misplaced(&self, blocks: &Blocks, block: u64, file_block: u64) -> bool {
        let ratio = self.context.layout.cluster_blocks;
        if ratio == 1 {
            return false;
        }
        let mask = ratio - 1;
        if block & mask != file_block & mask {
            return true;
        }
        let last = blocks.end.checked_sub(1);
        let log = ratio.trailing_zeros();
        last.is_some_and(|last| {
            blocks.previous != 0
                && last >> log == file_block >> log
                && blocks.previous >> log != block >> log
        })
    }
}
