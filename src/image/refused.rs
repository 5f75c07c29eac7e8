//! What an error of the writer means for an image as a whole.

use std::path::Path;

use crate::error::Error;

/// An error of the writer that is about the image as a whole.
pub(super) fn refused(output: &Path, error: ext4_writer::Error) -> Error {
    let message = format!("cannot make the filesystem {}", output.display());
    match error {
        ext4_writer::Error::WriteImage { ref source, .. } => {
            Error::of_write(message, source.kind()).with_source(error)
        }
        ext4_writer::Error::ImageFull { .. } => Error::cannot_create(message)
            .with_source(error)
            .with_hint("raise --size, or leave it out"),
        ext4_writer::Error::TooFewInodes { .. } => Error::cannot_create(message)
            .with_source(error)
            .with_hint("raise --inodes, or leave it out"),
        ext4_writer::Error::DeviceTooSmall { .. } => Error::cannot_create(message)
            .with_source(error)
            .with_hint("lower --size, or take a larger device"),
        ext4_writer::Error::InvalidOption { .. }
        | ext4_writer::Error::RefusedFeature { .. }
        | ext4_writer::Error::FeatureConflict { .. } => Error::usage(message).with_source(error),
        ext4_writer::Error::Poisoned => Error::io(message).with_source(error),
        ext4_writer::Error::Internal { .. } => Error::internal(message).with_source(error),
        _ => Error::bad_data(message).with_source(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_too_small_cannot_hold_the_output() {
        let error = ext4_writer::Error::DeviceTooSmall { size: 20, capacity: 10 };
        let error = refused(Path::new("/dev/x"), error);
        assert_eq!(error.exit_code(), 73);
        let message = error.to_string();
        assert!(message.contains("/dev/x") && message.contains("--size"), "{message}");
    }
}
