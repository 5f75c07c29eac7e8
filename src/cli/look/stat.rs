//! `banger image stat`.

use std::ffi::OsString;

use clap::Args;

use super::{ImageLocation, OutputOptions, bytes};
use crate::error::Result;
use crate::report::Report;

/// Say everything about one file of an image
///
/// A link is told itself, unless a slash follows it. `<N>` is inode N, as in debugfs.
#[derive(Debug, Args)]
pub(crate) struct Stat {
    #[command(flatten)]
    place: ImageLocation,
    /// The file
    path: OsString,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Stat {
    pub(super) fn run(self, report: Report) -> Result<u8> {
        let image = self.place.open(report)?;
        let stat = crate::look::Stat::new(&image, &bytes(self.path))?;
        report.stat(&image, &stat)
    }
}
