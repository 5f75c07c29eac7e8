//! `banger image check`: whether the filesystem of an image is sound.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use ext4_writer::check::{Judge, Options};

use crate::error::Result;
use crate::image::parse_bytes;
use crate::look::judge;
use crate::report::{Format, Report};

/// The exit code where damage was found: bad data.
const DAMAGED: u8 = 65;

/// How findings are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for tools that gather findings.
    Sarif,
}

/// In whose eyes something is damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum As {
    /// Only what makes the exit code of `e2fsck -fn` other than 0, as the image lies there.
    E2fsck,
}

/// Say whether the filesystem of an image is sound (exit code 65 if it is damaged)
///
/// What `e2fsck -n` would say, without e2fsprogs: a line for each finding, the worst first. What
/// the kernel refuses counts as damage too, although e2fsck passes over some of it. Nothing is
/// ever written. An image that was not unmounted is judged as it will be after its journal was
/// replayed.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The image: a file or a block device
    image: PathBuf,
    /// Where in it the filesystem begins, such as 1M; for a partition of a disk
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = parse_bytes)]
    offset: u64,
    /// Print the findings for people or for machines
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: CheckFormat,
    /// Print so many findings at most; all are counted
    #[arg(long, value_name = "N", default_value = "100")]
    max_findings: usize,
    /// Judge the image as it lies there, and not as it is after its journal was replayed
    #[arg(long)]
    no_replay: bool,
    /// Count as damage what this program counts, and no more
    #[arg(long = "as", value_enum, value_name = "PROGRAM")]
    judge: Option<As>,
    /// Print nothing but the result and errors
    #[arg(long, short)]
    quiet: bool,
}

impl Check {
    pub(super) fn report(&self) -> Report {
        let format = match self.format {
            CheckFormat::Text | CheckFormat::Sarif => Format::Text,
            CheckFormat::Json => Format::Json,
        };
        Report::new(format, self.quiet)
    }

    /// Prints what is found; the exit code tells whether there is damage.
    pub(super) fn run(self) -> Result<u8> {
        let report = self.report();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.ok().and_then(|since| u32::try_from(since.as_secs()).ok());
        let options = Options {
            no_replay: self.no_replay || self.judge == Some(As::E2fsck),
            max_findings: self.max_findings,
            now,
            ..Options::default()
        };
        let eyes = match self.judge {
            Some(As::E2fsck) => Judge::E2fsck,
            None => Judge::Kernel,
        };
        let judged = judge(&self.image, self.offset, eyes, &options)?;
        if self.format == CheckFormat::Sarif {
            Report::sarif(&judged)?;
        } else {
            report.judged(&judged)?;
        }
        Ok(if judged.is_sound() { 0 } else { DAMAGED })
    }
}
