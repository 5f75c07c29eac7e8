//! `banger image diff`.

use std::path::PathBuf;

use clap::Args;

use super::OutputOptions;
use crate::error::Result;
use crate::image::parse_bytes;
use crate::look::{Comparison, Image, Scope};
use crate::report::Report;

/// Compare the trees of two images (exit code 1 if they differ)
///
/// A line for each path: + is in B only, - in A only, ~ in both, and how it differs: type, mode,
/// owner, size, content, target, device, attributes, flags, hard links, time of modification.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// An image: a file or a block device
    a: PathBuf,
    /// The image to compare it with
    b: PathBuf,
    /// Where in both the filesystem begins, such as 1M; for partitions of disks
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    offset: u64,
    /// Where in B the filesystem begins [default: as in A]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    offset_b: Option<u64>,
    /// Take times of modification for equal
    #[arg(long)]
    no_times: bool,
    /// Say what differs and not how, and of a directory that one image lacks nothing more
    #[arg(long)]
    brief: bool,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Diff {
    pub(super) fn run(self, report: Report) -> Result<u8> {
        let a = Image::open(&self.a, self.offset)?;
        report.caveat(&a);
        let b = Image::open(&self.b, self.offset_b.unwrap_or(self.offset))?;
        report.caveat(&b);
        let scope = Scope { times: !self.no_times, brief: self.brief };
        report.differences(Comparison { a: &a, b: &b, scope })
    }
}
