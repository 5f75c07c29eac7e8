//! The words for how layers are got and read.

use clap::Args;

use super::effort::Effort;
use super::epoch::source_date_epoch;
use super::layering::Layering;
use super::network::Network;
use crate::error::{Error, Result};
use crate::image::DiskSpec;
use crate::inject::Owners;
use crate::pull::Request;
use crate::source::Origin;

/// How layers are got and read.
#[derive(Debug, Args)]
pub(super) struct Reading {
    /// Choose the image for this platform [default: linux on the host's architecture]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", help_heading = "Contents")]
    platform: Option<String>,
    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    effort: Effort,
    #[command(flatten)]
    layering: Layering,
}

impl Reading {
    /// Refuses words that have no meaning for an origin.
    pub(super) fn suits(&self, origin: &Origin) -> Result<()> {
        if self.platform.is_some() && !origin.has_platform() {
            return Err(Error::usage(format!("--platform has no meaning for {origin}"))
                .with_hint("a root filesystem is taken as it is"));
        }
        self.network.suits(origin)
    }

    /// A disk with what the origin holds and nothing beside it.
    pub(super) fn request(self, origin: Origin, owners: Owners, disk: DiskSpec) -> Result<Request> {
        let Self { platform, network, effort, layering } = self;
        let mut request = Request::for_disk(origin, disk);
        if let Some(platform) = platform {
            request.platform = platform.parse()?;
        }
        request.registry = network.options(effort.jobs)?;
        request.owners = owners;
        request.semantics = layering.semantics.into();
        request.strict = layering.strict;
        request.memory = effort.memory();
        request.latest = source_date_epoch()?;
        Ok(request)
    }
}
