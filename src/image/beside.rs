//! What lies beside an image and describes it: `OUTPUT.json`.
//!
//! Its file is complete before the image gets its name, and gets its own after it; the description
//! of an image that is replaced goes before. So whatever is interrupted, an image has its own
//! description or none.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use ext4_writer::Sink as _;

use super::file::{Draft, check_output};
use crate::error::{Error, Result};
use crate::guest::{Description, MAX_DESCRIPTION};

/// What has the name of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A file that this program wrote.
    Description,
    /// A link to such a file, which somebody else made.
    Link,
    /// Something else of the user's.
    Foreign,
}

impl Found {
    fn at(path: &Path) -> io::Result<Self> {
        let is_link = match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => true,
            Ok(found) if found.is_file() => false,
            Ok(_) => return Ok(Self::Foreign),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::Nothing),
            Err(error) => return Err(error),
        };
        // A link may lead to a pipe, which would wait for somebody who writes.
        match fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() <= MAX_DESCRIPTION => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(Self::Foreign),
        }
        let mut document = Vec::new();
        File::open(path)?.take(MAX_DESCRIPTION).read_to_end(&mut document)?;
        Ok(match (Description::is_one(&document), is_link) {
            (true, false) => Self::Description,
            (true, true) => Self::Link,
            (false, _) => Self::Foreign,
        })
    }
}

/// Where the description of the image `output` is.
pub(super) fn path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

/// Refuses a place for the description of `output` that cannot be written to, before the long work.
///
/// Only a description is replaced by another: a file of the user's may have its name.
pub fn check(output: &Path, replace: bool) -> Result<()> {
    let path = path(output);
    check_output(&path, replace)?;
    match find(&path)? {
        Found::Nothing | Found::Description => Ok(()),
        Found::Link => Err(linked(&path)),
        Found::Foreign => Err(Error::cannot_create(format!(
            "cannot describe the image in {}: it is no description of an image, so --force does \
             not replace it",
            path.display()
        ))
        .hint("move it away, or give the image another name")),
    }
}

/// Refuses what could not be told from the description of an image that `output` is to replace,
/// before the long work.
pub(super) fn check_old(output: &Path) -> Result<()> {
    let path = path(output);
    match find(&path)? {
        Found::Link => Err(linked(&path)),
        Found::Nothing | Found::Description | Found::Foreign => Ok(()),
    }
}

/// Writes a description that has no name yet.
pub(super) fn prepare(output: &Path, replace: bool, document: &[u8]) -> Result<Draft> {
    // Asked again, as it may have been changed since.
    check(output, replace)?;
    let path = path(output);
    let draft = Draft::create(&path, replace)?;
    let mut sink = draft.sink()?;
    sink.write_at(0, document).and_then(|()| sink.sync()).map_err(|error| {
        Error::cannot_create(format!("cannot write {}", path.display())).because(error)
    })?;
    Ok(draft)
}

/// Removes the description of whatever image had the name `output`; what is none stays.
pub(super) fn retire(output: &Path) -> Result<()> {
    let path = path(output);
    match find(&path)? {
        Found::Nothing | Found::Foreign => return Ok(()),
        Found::Link => return Err(linked(&path)),
        Found::Description => {}
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let what = format!("cannot remove {}, of the image before", path.display());
            Err(Error::cannot_create(what).because(error))
        }
        _ => Ok(()),
    }
}

fn find(path: &Path) -> Result<Found> {
    Found::at(path).map_err(|error| {
        let path = path.display();
        let what = format!("cannot read {path}, which may describe another image of that name");
        Error::cannot_create(what).because(error).hint("move it away")
    })
}

fn linked(path: &Path) -> Error {
    let path = path.display();
    Error::cannot_create(format!("{path} is a link to the description of another image"))
        .hint("remove the link, which is not this program's, or give the image another name")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const DESCRIPTION: &str = r#"{ "version": 1, "banger": "1", "identity": "sha256:00" }"#;

    #[test]
    fn the_description_of_a_replaced_image_goes_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let beside = directory.path().join("disk.ext4.json");
        retire(&output).unwrap();
        let long = " ".repeat(usize::try_from(MAX_DESCRIPTION).unwrap()) + DESCRIPTION;
        for foreign in [r#"{ "mine": 1 }"#, "", &long] {
            fs::write(&beside, foreign).unwrap();
            retire(&output).unwrap();
            assert_eq!(fs::read_to_string(&beside).unwrap(), foreign);
        }
        fs::write(&beside, DESCRIPTION).unwrap();
        retire(&output).unwrap();
        assert!(!beside.exists());
    }

    #[test]
    fn only_a_description_is_replaced_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let beside = directory.path().join("disk.ext4.json");
        check(&output, true).unwrap();
        fs::write(&beside, r#"{ "mine": 1 }"#).unwrap();
        for refused in [check(&output, true), prepare(&output, true, b"{}").map(drop)] {
            let error = refused.unwrap_err();
            assert_eq!(error.exit_code(), 73, "{error}");
            assert!(error.to_string().contains("no description of an image"), "{error}");
        }
        assert_eq!(fs::read_to_string(&beside).unwrap(), r#"{ "mine": 1 }"#);
        fs::write(&beside, DESCRIPTION).unwrap();
        check(&output, true).unwrap();
        assert_eq!(check(&output, false).unwrap_err().exit_code(), 73);
    }

    #[test]
    fn links_and_what_they_lead_to_stay() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let beside = directory.path().join("disk.ext4.json");
        let target = directory.path().join("target");
        symlink(&target, &beside).unwrap();
        retire(&output).unwrap();
        assert_eq!(check(&output, true).unwrap_err().exit_code(), 73);
        fs::write(&target, DESCRIPTION).unwrap();
        for refused in [retire(&output), check_old(&output), check(&output, true)] {
            let error = refused.unwrap_err();
            assert_eq!(error.exit_code(), 73, "{error}");
            assert!(error.to_string().contains("is a link to the description"), "{error}");
        }
        assert!(beside.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), DESCRIPTION);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        // A regular file whose beginning not even root can read.
        let error = find(Path::new("/proc/self/mem")).unwrap_err();
        assert_eq!(error.exit_code(), 73, "{error}");
        assert!(error.to_string().contains("may describe another image"), "{error}");
    }
}
