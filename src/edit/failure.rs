//! Why an edit failed, as an error of the program.

use ext4_writer::Error as Refusal;
use ext4_writer::edit::EditError;
use ext4_writer::reader::ReadError;

use crate::error::Error;

/// What failed, by the kind of its cause.
pub(super) fn failed(message: impl Into<String>, error: EditError) -> Error {
    let message = message.into();
    if let EditError::Change(Refusal::ReadContent { source, .. }) = error {
        return Error::from_io(source, |source| Error::io(message).with_source(source));
    }
    let of_kind = match &error {
        EditError::Change(refusal) => of_refusal(message, refusal),
        EditError::Read(ReadError::Io { .. }) => Error::io(message),
        EditError::Read(ReadError::NotFound { .. }) => Error::not_found(message),
        EditError::Sync { source } | EditError::Undo { source } => {
            Error::of_write(message, source.kind())
        }
        EditError::Shorter { .. } => Error::cannot_create(message)
            .with_hint("banger image build ext4:IMAGE OUTPUT --size fit makes a smaller one"),
        EditError::InvalidSize { .. } | EditError::TooManyChanges { .. } => {
            Error::cannot_create(message)
        }
        EditError::NeedsUndo { .. } => {
            Error::usage(message).with_hint("--undo FILE names a place for it")
        }
        EditError::Stopped | EditError::Detached { .. } => Error::internal(message),
        _ => Error::bad_data(message),
    };
    of_kind.with_source(error)
}

fn of_refusal(message: String, refusal: &Refusal) -> Error {
    match refusal {
        Refusal::ImageFull { .. } | Refusal::TooFewInodes { .. } => {
            Error::cannot_create(message).with_hint("banger disk resize makes room")
        }
        Refusal::Exists { .. } => {
            Error::cannot_create(message).with_hint("--remove takes what is there away first")
        }
        Refusal::WriteImage { source, .. } => Error::of_write(message, source.kind()),
        Refusal::NotFound { .. } => Error::not_found(message),
        Refusal::InvalidOption { .. } | Refusal::Protected { .. } => Error::usage(message),
        Refusal::Internal { .. } => Error::internal(message),
        _ => Error::bad_data(message),
    }
}
