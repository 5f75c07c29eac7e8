//! Where the cache lies, and what a failed call on a file of it means.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::shown::path as shown;

/// The variable that names the directory of all caches, before `$XDG_CACHE_HOME/banger`.
pub(super) const CACHE_DIR_VARIABLE: &str = "BANGER_CACHE_DIR";

/// Where blobs stand until they are verified.
pub(super) const INGEST: &str = "ingest";

/// The directory of the cache, from the environment.
pub(super) fn locate(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = given(CACHE_DIR_VARIABLE)
        // A relative path in an XDG variable is to be ignored (XDG Base Directory Specification).
        .or_else(|| Some(given("XDG_CACHE_HOME").filter(|path| path.is_absolute())?.join("banger")))
        .or_else(|| Some(given("HOME")?.join(".cache").join("banger")));
    directory.map(|directory| directory.join("oci")).ok_or_else(|| {
        Error::cannot_create("cannot place the cache: HOME is not set")
            .with_hint(format!("set {CACHE_DIR_VARIABLE} to a directory"))
    })
}

/// Makes a directory and its parents, for the user alone: layers may be private.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("create", path, error))
}

/// A failed call on a file of the cache, in the class that its cause asks for.
pub(super) fn failed(verb: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {verb} {} in the cache", shown(path));
    let advice = format!("{CACHE_DIR_VARIABLE} names another directory");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::cannot_create(message).with_hint(advice)
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::denied(message).with_hint(advice)
        }
        _ => Error::io(message),
    }
    .with_source(error)
}
