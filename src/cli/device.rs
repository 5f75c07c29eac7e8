//! The options that say how a block device is written, shared by the commands that may write to one.

use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use ext4_writer::{Options, largest_size};

use crate::error::{Error, Result};
use crate::image::{CheckedOutput, ImageSize, OutputKind, OutputTarget};
use crate::shown;

const EXTENDED: &str = "What mke2fs calls extended options: lazy_itable_init[=0|1], \
                        lazy_journal_init[=0|1], discard, nodiscard";

/// How a device is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Disk")]
pub(super) struct DeviceOptions {
    /// On a device: write what the guest's kernel would else initialise after its first mount
    #[arg(long)]
    eager: bool,
    /// Do not ask a device to discard what it holds
    #[arg(long)]
    no_discard: bool,
    /// The extended options of mke2fs that have a meaning here
    #[arg(short = 'E', value_name = "OPTION[,…]", value_delimiter = ',', help = EXTENDED)]
    extended: Vec<Extended>,
}

/// An extended option of mke2fs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extended {
    LazyTables(bool),
    LazyJournal(bool),
    Discard(bool),
}

impl FromStr for Extended {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').unwrap_or((text, "1"));
        let is_on = match value {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        };
        match (name, is_on) {
            ("lazy_itable_init", Some(is_on)) => Ok(Self::LazyTables(is_on)),
            ("lazy_journal_init", Some(is_on)) => Ok(Self::LazyJournal(is_on)),
            ("discard", _) if text == name => Ok(Self::Discard(true)),
            ("nodiscard", _) if text == name => Ok(Self::Discard(false)),
            _ => Err(Error::usage(format!("-E does not know \"{}\"", shown::text(text)))
                .with_hint("it takes lazy_itable_init, lazy_journal_init, discard, nodiscard")),
        }
    }
}

impl DeviceOptions {
    /// Whether nothing is to be left to the guest's kernel.
    pub(super) fn is_eager(&self) -> bool {
        let is_eager = |option: &Extended| {
            matches!(option, Extended::LazyTables(false) | Extended::LazyJournal(false))
        };
        self.eager || self.extended.iter().any(is_eager)
    }

    /// Whether what an option asks for was asked for last, or `usual`.
    fn last(&self, usual: bool, one: fn(Extended) -> Option<bool>) -> bool {
        self.extended.iter().rev().find_map(|option| one(*option)).unwrap_or(usual)
    }

    /// Sets how a filesystem leaves its tables and its journal.
    pub(super) fn apply(&self, filesystem: &mut Options) {
        filesystem.lazy_itable_init = self.last(!self.eager, |option| match option {
            Extended::LazyTables(is_on) => Some(is_on),
            _ => None,
        });
        filesystem.lazy_journal_init = self.last(!self.eager, |option| match option {
            Extended::LazyJournal(is_on) => Some(is_on),
            _ => None,
        });
    }

    /// What is written to.
    pub(super) fn target(&self, checked: &CheckedOutput, overwrite: bool) -> OutputTarget {
        let discard = self.last(!self.no_discard, |option| match option {
            Extended::Discard(is_on) => Some(is_on),
            _ => None,
        });
        match (&checked.kind, checked.length) {
            (OutputKind::Device(device), _) => {
                OutputTarget::Device { device: Arc::clone(device), overwrite, discard }
            }
            (OutputKind::File, Some(0)) if !overwrite => OutputTarget::EmptyFile,
            (OutputKind::File, _) => OutputTarget::File,
        }
    }
}

/// The largest filesystem that a device holds.
pub(super) fn size_of_device(checked: &CheckedOutput, filesystem: &Options) -> Result<ImageSize> {
    let length = checked.length.unwrap_or_default();
    let size = largest_size(filesystem, length).map_err(|error| {
        let path = checked.path.display();
        Error::usage(format!("cannot make a filesystem of the {length} bytes of {path}"))
            .with_source(error)
    })?;
    Ok(ImageSize::Fixed(size))
}

/// Refuses standard output as the place of an image.
pub(super) fn refuse_standard_output(path: &std::path::Path) -> Result<()> {
    if path.as_os_str() != "-" {
        return Ok(());
    }
    Err(Error::usage("an image is not written from its first byte to its last")
        .with_hint("name a file or a block device instead of -; a file of this name is ./-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_options_are_those_of_mke2fs_that_have_a_meaning_here() {
        let parse = |text: &str| text.parse::<Extended>().ok();
        assert_eq!(parse("lazy_itable_init=0"), Some(Extended::LazyTables(false)));
        assert_eq!(parse("lazy_journal_init"), Some(Extended::LazyJournal(true)));
        assert_eq!(parse("nodiscard"), Some(Extended::Discard(false)));
        for text in ["", "lazy_itable_init=2", "discard=1", "stride=4", "root_owner"] {
            assert_eq!(text.parse::<Extended>().unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
