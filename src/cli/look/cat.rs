//! `banger image cat`.

use std::ffi::OsString;

use clap::Args;

use super::{ImageLocation, bytes};
use crate::error::Result;
use crate::look::copy;
use crate::report::look::Output;
use crate::report::{Format, Report};

/// Print files of an image, one after the other
///
/// Links are followed inside the image; holes are zeros.
#[derive(Debug, Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    place: ImageLocation,
    /// The files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<OsString>,
    /// Print nothing but the content and errors
    #[arg(long, short)]
    quiet: bool,
}

impl Cat {
    pub(super) fn report(&self) -> Report {
        Report::new(Format::Text, self.quiet)
    }

    pub(super) fn run(self, report: Report) -> Result<u8> {
        let image = self.place.open(report)?;
        let mut out = Report::output();
        let done = self
            .paths
            .into_iter()
            .try_for_each(|path| copy(&image, &bytes(path), &mut out, Output::unwritten));
        out.end(done.map(|()| 0))
    }
}
