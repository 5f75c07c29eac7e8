//! `banger image export`.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{ImageLocation, OutputOptions};
use crate::cli::signals::interruption;
use crate::error::{Error, Result};
use crate::image::StagedFile;
use crate::look::{Image, export};
use crate::report::look::Output;
use crate::report::{Format, Report};

/// Write everything in an image as a tar archive
///
/// The archive is of PAX form, in the order of names, with owners, modes, times to the nanosecond,
/// extended attributes, ACLs, hard links, devices and holes: `banger image build tar:FILE` makes
/// the same tree of it. What an archive cannot hold is listed.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: ImageLocation,
    /// Write to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    force: bool,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Export {
    pub(super) fn run(self, report: Report) -> Result<u8> {
        match &self.output {
            Some(path) => self.to_file(path, report),
            None => self.to_stdout(report),
        }
    }

    fn to_stdout(&self, report: Report) -> Result<u8> {
        let mut out = Report::output();
        if self.output_options.format == Format::Json {
            return Err(Error::usage("--format json would print into the archive")
                .with_hint("name a file by --output"));
        }
        if Output::is_terminal() {
            return Err(Error::usage("an archive is nothing for a terminal")
                .with_hint("name a file by --output, or redirect standard output"));
        }
        let image = self.place.open(report)?;
        let done = {
            let progress = report.progress(used(&image));
            export(&image, &mut out, &|count| progress.advance(count), Output::unwritten)
        };
        let done = done.map(|(_, exported)| report.lost(&exported));
        out.end(done.map(|()| 0))
    }

    fn to_file(&self, path: &Path, report: Report) -> Result<u8> {
        let image = self.place.open(report)?;
        if image.is_at(path) {
            let (path, name) = (path.display(), image.name());
            let message = format!("the archive {path} would replace the image {name} itself");
            return Err(Error::usage(message).with_hint("name another file by --output"));
        }
        let staged = StagedFile::create(path, self.force, &interruption())?;
        let unwritten = |error: io::Error| {
            Error::of_write(format!("cannot write {}", path.display()), error.kind())
                .with_source(error)
        };
        let mut out = BufWriter::with_capacity(1 << 20, staged.file()?);
        let exported = {
            let progress = report.progress(used(&image));
            let (_, exported) =
                export(&image, &mut out, &|count| progress.advance(count), unwritten)?;
            exported
        };
        out.flush().map_err(unwritten)?;
        out.get_ref().sync_all().map_err(unwritten)?;
        let path = staged.publish()?;
        report.exported(&image, path.display().to_string(), &exported)?;
        Ok(0)
    }
}

/// The bytes of everything in an image, more or less.
fn used(image: &Image) -> u64 {
    let facts = image.facts();
    facts.blocks.saturating_sub(facts.free_blocks).saturating_mul(facts.block_size)
}
