//! `banger auth check`: who we are to a registry, and what it says to that.

use clap::{Args, Subcommand};

use super::OutputOptions;
use super::registry::RegistryOptions;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::report::auth::Checked;
use crate::source::{Reference, Registry, Subject};

#[derive(Debug, Subcommand)]
pub(super) enum AuthCommand {
    /// Say which file or helper knows credentials for a registry, and whether it takes them
    Check(Box<Check>),
}

/// Say which file or helper knows credentials for a registry, and whether it takes them
///
/// Of a registry alone it is asked whether it takes us; of an image, whether it is there for us.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// A registry, such as ghcr.io, or an image, such as ghcr.io/me/app:latest; a registry whose
    /// name has no dot is NAME/
    #[arg(value_name = "HOST|REF")]
    reference: String,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    pub(super) output_options: OutputOptions,
}

impl Check {
    pub(super) fn run(self) -> Result<()> {
        let report = self.output_options.report();
        let (reference, subject) = subject(&self.reference)?;
        self.registry.refuse_limits_of_images()?;
        let options = self.registry.options(None)?;
        // Nothing is fetched: a cache that is gone at the end serves.
        let directory = tempfile::tempdir()
            .map_err(|error| Error::io("cannot make a temporary directory").with_source(error))?;
        let cache = Cache::at(directory.path())?;
        options.warnings.listen(move |line| report.warn(line));
        let check = Registry::connect(&reference, &cache, &options)
            .and_then(|registry| registry.check_login(subject));
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
        let is_image = subject == Subject::Image;
        report.checked(&Checked {
            reference: is_image.then(|| reference.to_string()),
            registry: reference.registry().to_owned(),
            source: check.source,
            kind: check.kind,
            schemes: check.schemes,
            exists: is_image.then_some(check.exists),
            notices: options.warnings.all(),
        })
    }
}

/// What is asked about: an image, or a registry alone, in which any name serves.
fn subject(text: &str) -> Result<(Reference, Subject)> {
    let host = text.strip_suffix('/').filter(|host| !host.contains('/'));
    let is_host = || {
        let name = text.split_once(':').map_or(text, |(name, _)| name);
        let is_address = name == "localhost" || name.contains('.') || text.starts_with('[');
        !text.contains('/') && !text.contains('@') && is_address
    };
    match host.or_else(|| is_host().then_some(text)) {
        Some(host) => Ok((format!("{host}/banger/login:latest").parse()?, Subject::Registry)),
        None => Ok((text.parse()?, Subject::Image)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_told_from_an_image() {
        for (text, registry, is_registry) in [
            ("ghcr.io", "ghcr.io", true),
            ("localhost:5000", "localhost:5000", true),
            ("127.0.0.1:5000", "127.0.0.1:5000", true),
            ("registry:5000/", "registry:5000", true),
            ("debian:12", "docker.io", false),
            ("debian", "docker.io", false),
            ("ghcr.io/me/app", "ghcr.io", false),
        ] {
            let (reference, found) = subject(text).unwrap();
            assert_eq!(found == Subject::Registry, is_registry, "{text}");
            assert_eq!(reference.registry(), registry, "{text}");
        }
    }
}
