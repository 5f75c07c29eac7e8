//! The errors of this crate as those of input and output, for callers that have these alone.

use std::io::{self, ErrorKind};

use crate::edit::EditError;
use crate::error::Error;
use crate::reader::ReadError;

impl From<Error> for io::Error {
    /// The error as the cause of one whose kind says what it means.
    fn from(error: Error) -> Self {
        Self::new(kind(&error), error)
    }
}

impl From<ReadError> for io::Error {
    /// The error as the cause of one whose kind says what it means.
    fn from(error: ReadError) -> Self {
        Self::new(read_kind(&error), error)
    }
}

impl From<EditError> for io::Error {
    /// The error as the cause of one whose kind says what it means.
    fn from(error: EditError) -> Self {
        let kind = match &error {
            EditError::Read(error) => read_kind(error),
            EditError::Change(error) => kind(error),
            EditError::Sync { source } | EditError::Undo { source } => source.kind(),
            EditError::InvalidSize { .. } | EditError::Shorter { .. } => ErrorKind::InvalidInput,
            EditError::Refused { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::ReadContent { source, .. }
        | Error::WriteImage { source, .. }
        | Error::ReadImage { source, .. } => source.kind(),
        #[cfg(all(feature = "tree", target_os = "linux"))]
        Error::HostFile { source, .. } => source.kind(),
        Error::ImageFull { .. } | Error::DeviceTooSmall { .. } | Error::TooFewInodes { .. } => {
            ErrorKind::StorageFull
        }
        Error::Exists { .. } => ErrorKind::AlreadyExists,
        Error::NotFound { .. } => ErrorKind::NotFound,
        Error::ContentShort { .. } => ErrorKind::UnexpectedEof,
        Error::Poisoned | Error::Internal { .. } => ErrorKind::Other,
        _ => ErrorKind::InvalidInput,
    }
}

fn read_kind(error: &ReadError) -> ErrorKind {
    match error {
        ReadError::Io { source, .. } => source.kind(),
        ReadError::NotFound { .. } => ErrorKind::NotFound,
        ReadError::Truncated { .. } => ErrorKind::UnexpectedEof,
        ReadError::Unsupported { .. } | ReadError::Encrypted { .. } => ErrorKind::Unsupported,
        ReadError::NotExt4 { .. } | ReadError::Corrupt { .. } | ReadError::Checksum { .. } => {
            ErrorKind::InvalidData
        }
        _ => ErrorKind::InvalidInput,
    }
}
