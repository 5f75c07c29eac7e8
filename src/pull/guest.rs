//! What makes a machine of an image.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::Result;
use crate::flatten::LayerSemantics;
use crate::guest::{Bundle, Description, Guest};
use crate::image::{ImageSize, ImageSpec, check_description};
use crate::inject::Addition;
use crate::source::{Image, ImageReference};

/// What an image gets beside its layers.
#[derive(Clone, Debug, Default)]
pub struct GuestOptions {
    /// Whether it gets an init that starts its program, and a description.
    pub init: bool,
    /// Whether it is described, in the image and beside it.
    pub describe: bool,
    /// Bundles of agents: directories, or archives of them.
    pub bundles: Vec<PathBuf>,
}

impl GuestOptions {
    /// The agents, as they are known before the image is.
    pub(super) fn bundles(&self) -> Guest {
        let bundles = self.bundles.iter().cloned().map(Bundle::new).collect();
        Guest { bundles, ..Guest::default() }
    }

    /// Whether the image says what it is.
    fn has_description(&self) -> bool {
        self.init || self.describe
    }

    /// Refuses a place for the description that cannot be written to, before the long work.
    pub(super) fn check_output(&self, spec: &ImageSpec) -> Result<()> {
        if self.has_description() { check_description(&spec.output, spec.replace) } else { Ok(()) }
    }

    /// What the image gets, refused where it makes no sense for this one.
    pub(super) fn guest(
        &self,
        image: &Image,
        reference: &ImageReference,
        spec: &ImageSpec,
    ) -> Result<Guest> {
        let has_name =
            matches!(reference, ImageReference::Registry(_) | ImageReference::DockerDaemon(_));
        let description = self
            .has_description()
            .then(|| Description::new(image, has_name, self.options(spec)))
            .transpose()?;
        let start = self.init.then(|| image.config.clone());
        let guest = Guest { start, description, ..self.bundles() };
        guest.check()?;
        Ok(guest)
    }

    /// What was asked for, without paths of the host.
    fn options(&self, spec: &ImageSpec) -> Value {
        let filesystem = &spec.filesystem;
        let additions = spec.additions.iter().map(Addition::destination);
        json!({
            "init": self.init,
            "size": match spec.size {
                ImageSize::Automatic => "automatic".to_owned(),
                ImageSize::Fit(room) => format!("fit+{room}"),
                ImageSize::Fixed(size) => size.to_string(),
            },
            "label": filesystem.label.escape_ascii().to_string(),
            "features": filesystem.features.names().collect::<Vec<_>>(),
            "block_size": filesystem.block_size,
            "inode_size": filesystem.inode_size,
            "layer_semantics": match spec.semantics {
                LayerSemantics::Follow => "follow",
                LayerSemantics::Overlay => "overlay",
            },
            "epoch": spec.epoch.seconds,
            "additions": additions.map(|path| path.escape_ascii().to_string()).collect::<Vec<_>>(),
            "overlays": spec.overlays.len(),
            "guests": spec
                .guest
                .bundles
                .iter()
                .map(|bundle| bundle.name().to_string_lossy())
                .collect::<Vec<_>>(),
        })
    }
}
