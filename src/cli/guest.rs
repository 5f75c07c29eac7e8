//! The options that make a machine of an image.

use std::path::PathBuf;

use clap::Args;

use crate::pull::GuestOptions;

/// What the image gets beside its layers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Contents")]
pub(super) struct GuestArguments {
    /// Put an init into the image that starts its program as a container engine would, and a
    /// description as --metadata does; the kernel has to be told init=/sbin/banger-init
    #[arg(long)]
    init: bool,
    /// Describe the image: /etc/banger/image.json in it, OUTPUT.json beside it
    #[arg(long = "metadata")]
    describe: bool,
    /// Add a bundle of agents, a directory or an archive of it: files below rootfs/, which become
    /// root's, and guest.toml, which says what systemd is to enable
    #[arg(long, value_name = "DIR|TAR")]
    guest: Vec<PathBuf>,
}

impl From<GuestArguments> for GuestOptions {
    fn from(arguments: GuestArguments) -> Self {
        let GuestArguments { init, describe, guest } = arguments;
        Self { init, describe, bundles: guest }
    }
}
