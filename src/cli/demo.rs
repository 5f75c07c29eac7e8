//! `banger demo`: the whole way of an image, from a registry to a disk, without a network.

use std::path::PathBuf;

use clap::Args;
use ext4_writer::reader::Links;

use super::OutputOptions;
use super::epoch::source_date_epoch;
use super::signals::interruption;
use crate::cache::Cache;
use crate::demo::DemoRegistry;
use crate::error::{Error, Result};
use crate::image::ImageSize;
use crate::layer::Memory;
use crate::look::{Depth, Image, Listing, Wanted};
use crate::pull::{Request, pull};
use crate::source::hosts::HostOptions;
use crate::source::{ImageReference, Platform};

/// Pull a small built-in image from a registry inside this process, without a network
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The file to write
    #[arg(default_value = "demo.ext4")]
    output: PathBuf,
    /// Replace OUTPUT if it exists; of a symbolic link the link, not what it leads to
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Demo {
    pub(super) fn run(self) -> Result<u8> {
        let report = self.output_options.report();
        let registry = DemoRegistry::start(&Platform::host().architecture)?;
        // A cache of its own: the demonstration fetches everything, and leaves nothing.
        let directory = tempfile::tempdir().map_err(|error| {
            Error::io("cannot make a temporary directory for the cache").with_source(error)
        })?;
        let mut request = self.request(ImageReference::Registry(registry.reference().parse()?));
        request.latest = source_date_epoch()?;
        request.cache = Some(Cache::at(directory.path())?);
        let pulled = pull(&request, report.observer())?;
        let image = Image::open(&self.output, 0)?;
        let wanted = Wanted { depth: Depth::All, links: Links::Keep, details: true };
        report.demonstrated(&pulled, Listing::new(&image, b"/", wanted)?)
    }

    fn request(&self, source: ImageReference) -> Request {
        let mut request = Request::new(source, &self.output);
        request.registry.hosts = HostOptions { plain_http: true, ..HostOptions::default() };
        request.disk.replace = self.force;
        request.disk.interruption = interruption();
        request.disk.size = ImageSize::Fit(8 << 20);
        request.disk.filesystem.label = b"demo".to_vec();
        request.memory = Memory { bytes: Memory::DEFAULT, layers: 1 };
        request.lint = false;
        request
    }
}
