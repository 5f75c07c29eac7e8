//! `banger image build`: a pull whose source is on this host.

use clap::Args;

use super::pull::Pull;
use crate::error::{Error, Result};
use crate::report::Report;

/// Write what is on this host as an ext4 disk, without a network
#[derive(Debug, Args)]
pub(crate) struct Build {
    #[command(flatten)]
    pull: Pull,
}

impl Build {
    pub(super) fn report(&self) -> Report {
        self.pull.output_options.report()
    }

    pub(super) fn run(self) -> Result<()> {
        let reference = self.pull.reference()?;
        if let Some(words) = self.pull.unprefixed() {
            let source = self.pull.source();
            return Err(Error::usage(format!("{source} does not say what it is"))
                .with_hint(format!("write {words}")));
        }
        if !reference.is_local() && !self.pull.names_a_registry() {
            let source = self.pull.source();
            return Err(Error::usage(format!(
                "there is no file or directory {source}, and build asks no registry"
            ))
            .with_hint("use banger image pull for an image in one; sources of this host are tar:FILE, dir:PATH, oci:DIR, …"));
        }
        if !reference.is_local() {
            return Err(Error::usage(format!("{reference} is an image in a registry, which build does not ask"))
                .with_hint("use banger image pull, or name a source of this host: tar:FILE, dir:PATH, oci:DIR, …"));
        }
        self.pull.run()
    }
}
