//! A mapping of a file's blocks, as the planner and an editor have it.

use crate::format::units::{FileBlock, Run};

/// A mapping of a part of a file to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where in the file.
    pub at: FileBlock,
    /// Where on disk; at most 2³² blocks long.
    pub run: Run,
    /// The blocks are the file's, but what is in them is not: they read as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// A mapping to blocks that hold the file's bytes.
    pub(crate) const fn written(at: FileBlock, run: Run) -> Self {
        Self { at, run, unwritten: false }
    }
}
