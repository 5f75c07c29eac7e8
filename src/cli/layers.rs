//! The options that decide how layers are applied.

use clap::Args;

use crate::flatten::LayerSemantics;

/// How layers become one tree.
#[derive(Debug, Args)]
#[command(next_help_heading = "Contents")]
pub(super) struct LayerOptions {
    /// What a path means that leads through a symbolic link of a lower layer: where the link
    /// points to, or a new directory that hides it
    #[arg(long = "layer-semantics", value_enum, value_name = "HOW", default_value = "follow")]
    pub(super) semantics: Semantics,
    /// Fail when the image holds something that the disk cannot, instead of reporting it
    #[arg(long)]
    pub(super) strict: bool,
}

/// The values of the option for [`LayerSemantics`].
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Semantics {
    /// As when one layer is extracted over the other
    Follow,
    /// As overlayfs shows it, which Docker and podman use
    Overlay,
}

impl From<Semantics> for LayerSemantics {
    fn from(word: Semantics) -> Self {
        match word {
            Semantics::Follow => Self::Follow,
            Semantics::Overlay => Self::Overlay,
        }
    }
}
