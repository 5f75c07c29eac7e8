//! Where credentials are looked for, and in which order.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Uid;

use super::file::AuthFile;
use super::secret::{Credentials, FoundCredentials};
use crate::error::Result;
use crate::source::Warnings;

/// How long a credential helper may take.
const HELPER_LIMIT: Duration = Duration::from_secs(30);

/// Where credentials are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The credentials that the user gave for the registry of the reference.
    pub given: Option<Credentials>,
    /// The file that the user named.
    pub authfile: Option<PathBuf>,
}

/// One place that may know a registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CredentialSource {
    /// A file; it must exist when the user named it.
    File { path: PathBuf, required: bool },
    /// The content of a variable.
    Inline(String),
}

impl Search {
    /// The credentials for `repository` of `registry`; nothing when nobody knows any.
    ///
    /// A file that nobody named and that we may not read is nothing, but is told.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
        warnings: &Warnings,
    ) -> Result<Option<FoundCredentials>> {
        let places = self.places(|name| std::env::var_os(name), rustix::process::getuid());
        Self::find_in(&places, (registry, repository), warnings)
    }

    pub(super) fn find_in(
        places: &[CredentialSource],
        (registry, repository): (&str, &str),
        warnings: &Warnings,
    ) -> Result<Option<FoundCredentials>> {
        for place in places {
            let file = match place {
                CredentialSource::Inline(text) => {
                    Some(AuthFile::parse("DOCKER_AUTH_CONFIG", text)?)
                }
                CredentialSource::File { path, required: true } => AuthFile::read(path, None)?,
                CredentialSource::File { path, required: false } => {
                    AuthFile::read(path, Some(warnings))?
                }
            };
            let found = file.map(|file| file.find(registry, repository, HELPER_LIMIT));
            if let Some(found) = found.transpose()?.flatten() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Source of the order: containers-auth.json(5), then docker's own files.
    pub(super) fn places(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
        user: Uid,
    ) -> Vec<CredentialSource> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let directory = |name: &str| given(name).map(PathBuf::from);
        let mut places = Vec::new();
        let mut file = |path: Option<PathBuf>, required: bool| {
            places.extend(path.map(|path| CredentialSource::File { path, required }));
        };
        file(self.authfile.clone(), true);
        file(directory("REGISTRY_AUTH_FILE"), true);
        if let Some(text) = given("DOCKER_AUTH_CONFIG").and_then(|text| text.into_string().ok()) {
            places.push(CredentialSource::Inline(text));
        }
        let home = directory("HOME");
        let under_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let mut file = |path: Option<PathBuf>| {
            places.extend(path.map(|path| CredentialSource::File { path, required: false }));
        };
        let containers = |directory: PathBuf| directory.join("containers").join("auth.json");
        let of_user = || PathBuf::from(format!("/run/containers/{}/auth.json", user.as_raw()));
        let runtime = directory("XDG_RUNTIME_DIR").map_or_else(of_user, containers);
        file(Some(runtime));
        file(directory("XDG_CONFIG_HOME").or_else(|| under_home(".config")).map(containers));
        let docker = directory("DOCKER_CONFIG").or_else(|| under_home(".docker"));
        file(docker.map(|directory| directory.join("config.json")));
        file(under_home(".dockercfg"));
        places
    }

    /// The places that are looked at, for people.
    #[must_use]
    pub fn described(&self) -> Vec<String> {
        let places = self.places(|name| std::env::var_os(name), rustix::process::getuid());
        places
            .iter()
            .map(|place| match place {
                CredentialSource::Inline(_) => "DOCKER_AUTH_CONFIG".to_owned(),
                CredentialSource::File { path, .. } => path.display().to_string(),
            })
            .collect()
    }
}
