//! `banger image inspect`.

use clap::Args;

use super::{ImageLocation, OutputOptions};
use crate::error::Result;
use crate::look::Summary;
use crate::report::Report;

/// Say what an image is: its superblock, sizes, features and where it comes from
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    place: ImageLocation,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Inspect {
    pub(super) fn run(self, report: Report) -> Result<u8> {
        let image = self.place.open(report)?;
        report.inspected(&image, &Summary::new(&image)?)
    }
}
