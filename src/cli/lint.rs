//! `banger image lint`: what would keep an image from booting.

use std::path::PathBuf;

use clap::Args;

use super::OutputOptions;
use crate::error::Result;
use crate::lint::{Severity, lint};
use crate::look::Image;
use crate::report::Linted;
use crate::source::Platform;

/// The exit code where something was found that keeps the image from booting: bad data.
const FOUND: u8 = 65;

/// Say what would keep an image from booting, or make its guest a surprise
#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The image, a file or a device
    image: PathBuf,
    /// What its programs have to be made for [default: what the image says of itself]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Lint {
    /// Prints what is found; the exit code tells whether there was an error among it.
    pub(super) fn run(self) -> Result<u8> {
        let image = Image::open(&self.image, 0)?;
        let findings = image.ask(|reader| lint(reader, self.platform.as_ref()))?;
        let errors = findings.iter().any(|finding| finding.severity == Severity::Error);
        let path = image.name().to_owned();
        self.output_options.report().linted(&Linted { path, findings })?;
        Ok(if errors { FOUND } else { 0 })
    }
}
