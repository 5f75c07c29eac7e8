//! The options for a source: which image is taken, and how its layers are fetched and read.

use clap::Args;

use super::concurrency::Concurrency;
use super::epoch::source_date_epoch;
use super::layers::LayerOptions;
use super::registry::RegistryOptions;
use crate::error::{Error, Result};
use crate::image::DiskSpec;
use crate::inject::Owners;
use crate::pull::Request;
use crate::source::ImageReference;

/// Which image is taken of a source, and how its layers are fetched and read.
#[derive(Debug, Args)]
pub(super) struct SourceOptions {
    /// Choose the image for this platform [default: linux on the host's architecture]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", help_heading = "Contents")]
    platform: Option<String>,
    #[command(flatten)]
    pub(super) registry: RegistryOptions,
    #[command(flatten)]
    concurrency: Concurrency,
    #[command(flatten)]
    layers: LayerOptions,
}

impl SourceOptions {
    /// Refuses options that have no meaning for a reference.
    pub(super) fn suits(&self, reference: &ImageReference) -> Result<()> {
        if self.platform.is_some() && !reference.has_platform() {
            return Err(Error::usage(format!("--platform has no meaning for {reference}"))
                .with_hint("a root filesystem is taken as it is"));
        }
        self.registry.suits(reference)
    }

    /// A disk with what the reference holds and nothing beside it.
    pub(super) fn request(
        self,
        reference: ImageReference,
        owners: Owners,
        disk: DiskSpec,
    ) -> Result<Request> {
        let Self { platform, registry, concurrency, layers } = self;
        let mut request = Request::for_disk(reference, disk);
        if let Some(platform) = platform {
            request.platform = platform.parse()?;
        }
        request.registry = registry.options(concurrency.jobs)?;
        request.owners = owners;
        request.semantics = layers.semantics.into();
        request.strict = layers.strict;
        request.memory = concurrency.memory();
        request.latest = source_date_epoch()?;
        Ok(request)
    }
}
