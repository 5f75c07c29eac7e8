//! The commands that look into images.

mod cat;
mod diff;
mod export;
mod inspect;
mod ls;
mod stat;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputOptions;
use crate::error::Result;
use crate::image::parse_bytes;
use crate::look::Image;
use crate::report::Report;

#[derive(Debug, Subcommand)]
pub(crate) enum LookCommand {
    /// List the names in an image
    Ls(ls::Ls),
    /// Print files of an image, one after the other
    Cat(cat::Cat),
    /// Say everything about one file of an image
    Stat(stat::Stat),
    /// Say what an image is: its superblock, sizes, features and where it comes from
    Inspect(inspect::Inspect),
    /// Write everything in an image as a tar archive
    Export(export::Export),
    /// Compare the trees of two images (exit code 1 if they differ)
    Diff(diff::Diff),
}

/// Where an image is.
#[derive(Debug, Args)]
struct ImageLocation {
    /// The image: a file or a block device
    image: PathBuf,
    /// Where in it the filesystem begins, such as 1M; for a partition of a disk
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    offset: u64,
}

impl ImageLocation {
    /// Opens the image, and says what has to be said of it.
    fn open(&self, report: Report) -> Result<Image> {
        let image = Image::open(&self.image, self.offset)?;
        report.caveat(&image);
        Ok(image)
    }
}

impl LookCommand {
    pub(super) fn report(&self) -> Report {
        match self {
            Self::Ls(ls) => ls.output_options.report(),
            Self::Cat(cat) => cat.report(),
            Self::Stat(stat) => stat.output_options.report(),
            Self::Inspect(inspect) => inspect.output_options.report(),
            Self::Export(export) => export.output_options.report(),
            Self::Diff(diff) => diff.output_options.report(),
        }
    }

    /// Runs the command; the exit code.
    pub(super) fn run(self) -> Result<u8> {
        let report = self.report();
        match self {
            Self::Ls(ls) => ls.run(report),
            Self::Cat(cat) => cat.run(report),
            Self::Stat(stat) => stat.run(report),
            Self::Inspect(inspect) => inspect.run(report),
            Self::Export(export) => export.run(report),
            Self::Diff(diff) => diff.run(report),
        }
    }
}

/// A path in an image, which is bytes.
fn bytes(path: OsString) -> Vec<u8> {
    path.into_vec()
}
