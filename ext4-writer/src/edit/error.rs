//! Why a finished image was not changed.

use std::fmt;
use std::io;

use crate::error::Error;
use crate::reader::ReadError;

/// The result of everything that an editor does.
pub type EditResult<T> = std::result::Result<T, EditError>;

/// Why an edit failed. Until [`commit`](super::Editor::commit) nothing that the filesystem uses was
/// written, so the image is what it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum EditError {
    /// The image could not be read, or is damaged.
    Read(ReadError),
    /// What was asked for cannot be done, for the reasons that a [`Builder`](crate::Builder) has.
    Change(Error),
    /// Something that could not be kept true, by its name.
    Refused {
        /// What it is.
        what: String,
        /// Why it is refused, and what to do.
        reason: &'static str,
    },
    /// A size that the filesystem cannot have.
    InvalidSize {
        /// The bytes that were asked for.
        asked: u64,
        /// The bytes of the longest filesystem that is shorter.
        below: u64,
        /// The bytes of the shortest that is longer.
        above: u64,
    },
    /// A size that is shorter than the filesystem.
    Shorter {
        /// The bytes that were asked for.
        asked: u64,
        /// The bytes of the filesystem.
        size: u64,
    },
    /// The image could not be made safe on its disk.
    Sync {
        /// Why.
        source: io::Error,
    },
    /// What was there before could not be kept, read or taken away beside the image.
    Undo {
        /// Why.
        source: io::Error,
    },
    /// More blocks of metadata change than one edit can hold.
    TooManyChanges {
        /// The blocks that change.
        blocks: u64,
        /// The most that can.
        limit: u64,
        /// What holds no more.
        place: &'static str,
    },
    /// Something that cannot go through a journal, and no undo file was given.
    NeedsUndo {
        /// What it is.
        what: &'static str,
    },
    /// A node was detached, and neither got a name again nor was discarded.
    Detached {
        /// The number of its inode.
        node: u32,
    },
    /// An earlier operation failed half way: this edit cannot be committed.
    Stopped,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Change(error) => error.fmt(f),
            Self::Refused { what, reason } => write!(f, "cannot change {what}: {reason}"),
            Self::InvalidSize { asked, below, above } => write!(
                f,
                "it cannot have {asked} bytes, which are no whole blocks or leave a last group too \
                 short to be of use; the nearest sizes are {below} and {above}"
            ),
            Self::Shorter { asked, size } => {
                write!(f, "it has {size} bytes and is not made shorter, to {asked}, in place")
            }
            Self::Sync { source } => write!(f, "cannot sync the image: {source}"),
            Self::Undo { source } => {
                write!(f, "cannot keep what was there before in the undo file: {source}")
            }
            Self::TooManyChanges { blocks, limit, place } => write!(
                f,
                "the edit changes {blocks} blocks of metadata, {place} holds {limit}; \
                 make several edits of it"
            ),
            Self::NeedsUndo { what } => {
                write!(
                    f,
                    "changing {what} needs an undo file, which keeps what was there meanwhile"
                )
            }
            Self::Detached { node } => {
                write!(f, "inode {node} was detached, and neither linked again nor discarded")
            }
            Self::Stopped => {
                f.write_str("an earlier operation of this edit failed; the image is as it was")
            }
        }
    }
}

impl std::error::Error for EditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(error) => Some(error),
            Self::Change(error) => Some(error),
            Self::Sync { source } | Self::Undo { source } => Some(source),
            _ => None,
        }
    }
}

impl From<ReadError> for EditError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Error> for EditError {
    fn from(error: Error) -> Self {
        Self::Change(error)
    }
}

/// A refusal.
pub(crate) fn refused(what: impl Into<String>, reason: &'static str) -> EditError {
    EditError::Refused { what: what.into(), reason }
}
