//! `banger demo`: the whole way of an image, from a registry to a disk, without a network.

use std::path::PathBuf;

use clap::Args;
use ext4_writer::{Options, Size};

use super::Voice;
use super::guest::GuestWords;
use super::job::Job;
use super::tree;
use crate::cache::Cache;
use crate::demo::DemoRegistry;
use crate::error::{Error, Result};
use crate::guest::Guest;
use crate::image::{ImageSize, Place, Recipe, Root};
use crate::layer::{Limits, Memory};
use crate::report::Demonstrated;
use crate::source::hosts::Wishes;
use crate::source::{self, Origin, Platform};

/// Pull a small built-in image from a registry inside this process, without a network
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The file to write
    #[arg(default_value = "demo.ext4")]
    output: PathBuf,
    /// Replace OUTPUT if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) voice: Voice,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        let report = self.voice.report();
        let platform = Platform::host();
        let registry = DemoRegistry::start(&platform.architecture)?;
        let job = Job {
            origin: Origin::Registry(registry.reference().parse()?),
            platform,
            options: source::Options {
                hosts: Wishes { plain_http: true, ..Wishes::default() },
                ..source::Options::default()
            },
            recipe: self.recipe(),
            tree: None,
            now: None,
            guest: GuestWords::default(),
            is_linted: false,
            is_checked: false,
        };
        // A cache of its own: the demonstration fetches everything, and leaves nothing.
        let directory = tempfile::tempdir().map_err(|error| {
            Error::io("cannot make a temporary directory for the cache").with_source(error)
        })?;
        let cache = Cache::at(directory.path())?;
        let mut lines = Vec::new();
        let pull = job.run(
            || Ok(cache),
            report,
            |builder| {
                lines = tree::lines(builder)?;
                Ok(())
            },
        )?;
        report.demonstrated(&Demonstrated { pull, tree: lines })
    }

    fn recipe(&self) -> Recipe {
        let mut filesystem = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
        filesystem.label = b"demo".to_vec();
        Recipe {
            output: self.output.clone(),
            place: Place::File,
            replace: self.force,
            root: Root::default(),
            size: ImageSize::Fit(8 << 20),
            filesystem,
            epoch: ext4_writer::Timestamp::default(),
            additions: Vec::new(),
            overlays: Vec::new(),
            guest: Guest::default(),
            latest: None,
            semantics: crate::flatten::LayerSemantics::default(),
            strict: false,
            limits: Limits::default(),
            memory: Memory { bytes: Memory::DEFAULT, layers: 1 },
        }
    }
}
