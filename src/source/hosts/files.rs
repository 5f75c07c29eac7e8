//! Where the configuration of hosts lies, and what becomes of files that may not be read.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::host::HostOptions;
use crate::error::{Error, Result};
use crate::open;
use crate::source::Warnings;

/// The longest file of configuration that is read.
const MAX_LENGTH: u64 = 1 << 20;
/// How many files of a directory are looked at.
const MAX_FILES: usize = 10_000;

/// Where the configuration lies.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct ConfigurationPaths {
    /// The files of `registries.conf`, later ones over earlier ones.
    pub(in crate::source) registries: Files,
    /// Directories with a directory for each host.
    pub(in crate::source) directories: Files,
}

/// Files or directories of one kind.
#[derive(Clone, Debug, Default)]
pub(in crate::source) struct Files {
    pub(in crate::source) paths: Vec<PathBuf>,
    pub(in crate::source) expectation: Expectation,
}

/// How it is known that there is configuration at a place.
#[derive(Clone, Debug)]
pub(in crate::source) enum Expectation {
    /// The user named it: it must be there, and for us to read.
    Named,
    /// It usually is there. What we may not read, another user's perhaps, is passed over.
    Usual(Warnings),
}

impl Default for Expectation {
    fn default() -> Self {
        Self::Usual(Warnings::default())
    }
}

impl Expectation {
    /// The text of a file of configuration; nothing when there is none.
    pub(in crate::source) fn text_of(&self, path: &Path) -> Result<Option<String>> {
        match (self.text_within(path)?, self) {
            (None, Self::Named) => {
                Err(Error::not_found(format!("there is no configuration at {}", path.display())))
            }
            (text, _) => Ok(text),
        }
    }

    /// The text of a file that need not be in a directory of configuration.
    pub(super) fn text_within(&self, path: &Path) -> Result<Option<String>> {
        let file = match open::configuration(path) {
            Ok(file) => file,
            Err(error) => return self.excuse(path, error).map(|()| None),
        };
        let mut text = String::new();
        file.take(MAX_LENGTH.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(|error| unreadable(path, error))?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_LENGTH) {
            let message = format!("{} is longer than {MAX_LENGTH} bytes", path.display());
            return Err(Error::bad_data(message));
        }
        Ok(Some(text))
    }

    /// Whether there is a file of this name.
    pub(super) fn has_file(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some_and(|found| found.is_file()))
    }

    /// Whether there is a directory of this name.
    pub(super) fn has_directory(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some_and(|found| found.is_dir()))
    }

    fn look(&self, path: &Path) -> Result<Option<Metadata>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(found)),
            Err(error) => self.excuse(path, error).map(|()| None),
        }
    }

    /// What is in a directory; nothing when there is none.
    pub(super) fn entries(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.excuse(directory, error).map(|()| Vec::new()),
        };
        entries
            .take(MAX_FILES)
            .map(|entry| Ok(entry.map_err(|error| unreadable(directory, error))?.path()))
            .collect()
    }

    /// Whether a file that is there is for us.
    pub(super) fn may_read(&self, path: &Path) -> Result<bool> {
        match open::configuration(path) {
            Ok(_) => Ok(true),
            Err(error) => self.excuse(path, error).map(|()| false),
        }
    }

    /// Whether an error is none: nothing is there, or nothing for us.
    fn excuse(&self, path: &Path, error: std::io::Error) -> Result<()> {
        match (error.kind(), self) {
            (ErrorKind::NotFound | ErrorKind::NotADirectory, _) => Ok(()),
            (ErrorKind::PermissionDenied, Self::Usual(warnings)) => {
                warnings.skip_unreadable(path);
                Ok(())
            }
            _ => Err(unreadable(path, error)),
        }
    }
}

impl ConfigurationPaths {
    /// The usual places.
    ///
    /// Source: containers-registries.conf(5), containers-registries.conf.d(5), containers-certs.d(5);
    /// containerd, docs/hosts.md; docker, "Verify repository client with certificates".
    pub(in crate::source) fn of_environment(
        host_options: &HostOptions,
        warnings: &Warnings,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let own = given("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(given("HOME")?).join(".config")))
            .map(|directory| directory.join("containers"));
        let system = PathBuf::from("/etc/containers");
        let roots: Vec<PathBuf> = [Some(system), own].into_iter().flatten().collect();
        let usual = || Expectation::Usual(warnings.clone());
        let registries = match given("CONTAINERS_REGISTRIES_CONF") {
            Some(path) => {
                Files { paths: vec![PathBuf::from(path)], expectation: Expectation::Named }
            }
            None => Files { paths: registries_of(&roots, &usual())?, expectation: usual() },
        };
        let directories = if let Some(paths) = &host_options.directories {
            Files { paths: paths.clone(), expectation: Expectation::Named }
        } else {
            let docker = ["/etc/containerd/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
            let containers = roots.iter().rev().map(|root| root.join("certs.d"));
            Files { paths: containers.chain(docker).collect(), expectation: usual() }
        };
        Ok(Self { registries, directories })
    }
}

/// The user's main file hides the system's; the fragments of both count.
fn registries_of(roots: &[PathBuf], expectation: &Expectation) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for main in roots.iter().rev().map(|root| root.join("registries.conf")) {
        if expectation.has_file(&main)? {
            files.push(main);
            break;
        }
    }
    for root in roots {
        files.extend(fragments(&root.join("registries.conf.d"), expectation)?);
    }
    Ok(files)
}

/// The `.conf` files of a directory in the order of their names.
pub(super) fn fragments(directory: &Path, expectation: &Expectation) -> Result<Vec<PathBuf>> {
    let mut files = expectation.entries(directory)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot read the configuration {}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied => Error::denied(message),
        _ => Error::io(message),
    }
    .with_source(error)
}

/// `why` repeats nothing of the file that could be long or do harm to a terminal.
pub(super) fn malformed(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::bad_data(format!("cannot use {}: {why}", path.display()))
}
