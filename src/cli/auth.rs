//! `banger auth check`: who we are to a registry, and what it says to that.

use clap::{Args, Subcommand};

use super::OutputOptions;
use super::registry::RegistryOptions;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::report::auth::Checked;
use crate::source::{Reference, Registry};

#[derive(Debug, Subcommand)]
pub(super) enum AuthCommand {
    /// Say which file or helper knows credentials for an image, and whether its registry takes
    /// them
    Check(Box<Check>),
}

/// Say which file or helper knows credentials for an image, and whether its registry takes them
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The image, such as ghcr.io/me/app:latest
    #[arg(value_name = "REF")]
    reference: String,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let report = self.output_options.report();
        let reference: Reference = self.reference.parse()?;
        self.registry.refuse_limits_of_images()?;
        let options = self.registry.options(None)?;
        // Nothing is fetched: a cache that is gone at the end serves.
        let directory = tempfile::tempdir()
            .map_err(|error| Error::io("cannot make a temporary directory").with_source(error))?;
        let cache = Cache::at(directory.path())?;
        options.warnings.listen(move |line| report.warn(line));
        let check = Registry::connect(&reference, &cache, &options)
            .and_then(|registry| registry.check_login());
        report.warn_all(&options.warnings.take());
        let check = check?;
        if let Some(refusal) = check.refusal {
            let shown = match (&check.source, check.kind) {
                (Some(source), Some(kind)) => format!("the {kind} of {source}"),
                _ => "a client without credentials".to_owned(),
            };
            let registry = reference.registry();
            let error = Error::denied(format!("{registry} refused {shown}: {}", refusal.message()));
            let places = options.credentials.described().join(", ");
            return Err(match check.source {
                Some(_) => error,
                None => error.with_hint(format!("none were found in {places}")),
            });
        }
        report.checked(&Checked {
            reference: reference.to_string(),
            registry: reference.registry().to_owned(),
            source: check.source,
            kind: check.kind,
            schemes: check.schemes,
            exists: check.exists,
            notices: options.warnings.all(),
        })
    }
}
