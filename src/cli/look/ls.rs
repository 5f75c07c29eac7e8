//! `banger image ls`.

use std::ffi::OsString;

use clap::Args;
use ext4_writer::reader::Links;

use super::{ImageLocation, OutputOptions, bytes};
use crate::error::Result;
use crate::look::{Depth, Listing, Wanted};
use crate::report::look::Style;
use crate::report::{Format, Report};

/// List the names in an image
///
/// Names are in the order of their bytes; those that begin with a dot are told like others, and `.`
/// and `..` are not. What is not printable is escaped, as in `a\nb`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of the command line")]
pub(crate) struct Ls {
    #[command(flatten)]
    place: ImageLocation,
    /// A directory or file in it; links on the way are followed inside the image
    #[arg(default_value = "/")]
    path: OsString,
    /// Permissions, links, owners by number, size, time in UTC, and where links lead
    #[arg(short)]
    long: bool,
    /// What is in directories below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// A directory itself, not what is in it
    #[arg(short, long)]
    directory: bool,
    /// Names as they are, each ended by a NUL; whole paths with -R
    #[arg(long)]
    zero: bool,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Ls {
    pub(super) fn run(self, report: Report) -> Result<u8> {
        let image = self.place.open(report)?;
        let wanted = Wanted {
            depth: match (self.directory, self.recursive) {
                (true, _) => Depth::Itself,
                (false, true) => Depth::All,
                (false, false) => Depth::Names,
            },
            links: if self.long { Links::Keep } else { Links::Follow },
            details: self.long || self.output_options.format == Format::Json,
        };
        let listing = Listing::new(&image, &bytes(self.path), wanted)?;
        let recursive = wanted.depth == Depth::All;
        let style = Style { long: self.long, recursive, zero: self.zero };
        report.names(&image, listing, style)
    }
}
