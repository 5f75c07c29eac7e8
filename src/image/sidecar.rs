//! What describes an image, in a sidecar file: `OUTPUT.json`.
//!
//! Its file is complete before the image gets its name, and gets its own after it; the description
//! of an image that is replaced is set aside before. A signal that ends the program waits for all
//! of that; where the machine itself stops in between, an image has its own description or none.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use ext4_writer::Sink as _;

use super::interruption::Interruption;
use super::names::{rename_to_new, unused_name};
use super::staged_file::StagedFile;
use super::writable::check_output;
use crate::error::{Error, Result};
use crate::guest::{Description, MAX_DESCRIPTION};
use crate::open;

/// What has the name of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExistingSidecar {
    Nothing,
    /// A file that this program wrote.
    Description,
    /// A link to such a file, which somebody else made.
    Link,
    /// Something else of the user's.
    Foreign,
}

impl ExistingSidecar {
    fn at(path: &Path) -> io::Result<Self> {
        let is_link = match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => true,
            Ok(found) if found.is_file() => false,
            Ok(_) => return Ok(Self::Foreign),
            // Of a name that is too long there is nothing either.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidFilename) =>
            {
                return Ok(Self::Nothing);
            }
            Err(error) => return Err(error),
        };
        // A link may lead to a pipe, which would wait for somebody who writes.
        match fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() <= MAX_DESCRIPTION => {}
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(Self::Foreign),
        }
        let mut document = Vec::new();
        open::regular(path)?.take(MAX_DESCRIPTION).read_to_end(&mut document)?;
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
        ExistingSidecar::Nothing | ExistingSidecar::Description => Ok(()),
        ExistingSidecar::Link => Err(linked(&path)),
        ExistingSidecar::Foreign => Err(Error::cannot_create(format!(
            "cannot describe the image in {}: it is no description of an image, so --force does \
             not replace it",
            path.display()
        ))
        .with_hint("move it away, or give the image another name")),
    }
}

/// Refuses what could not be told from the description of an image that `output` is to replace,
/// before the long work.
pub(super) fn check_old(output: &Path) -> Result<()> {
    let path = path(output);
    match find(&path)? {
        ExistingSidecar::Link => Err(linked(&path)),
        ExistingSidecar::Nothing | ExistingSidecar::Description | ExistingSidecar::Foreign => {
            Ok(())
        }
    }
}

/// Writes a description that has no name yet.
pub(super) fn prepare(
    output: &Path,
    replace: bool,
    interruption: &Interruption,
    document: &[u8],
) -> Result<StagedFile> {
    // Asked again, as it may have been changed since.
    check(output, replace)?;
    let path = path(output);
    let staged = StagedFile::create(&path, replace, interruption)?;
    let mut sink = staged.sink()?;
    sink.write_at(0, document).and_then(|()| sink.sync()).map_err(|error| {
        Error::of_write(format!("cannot write {}", path.display()), error.kind()).with_source(error)
    })?;
    Ok(staged)
}

/// The description of the image that had the name before, out of the way.
#[derive(Debug)]
#[must_use]
pub(super) struct SetAside {
    path: PathBuf,
    /// Where it is now; there may have been none.
    aside: Option<PathBuf>,
}

/// Sets the description of whatever image had the name `output` aside; what is none stays.
pub(super) fn set_aside(output: &Path) -> Result<SetAside> {
    let path = path(output);
    let aside = match find(&path)? {
        ExistingSidecar::Nothing | ExistingSidecar::Foreign => None,
        ExistingSidecar::Link => return Err(linked(&path)),
        ExistingSidecar::Description => {
            let renamed = unused_name(&path, |aside| rename_to_new(&path, aside));
            let (aside, ()) = renamed.map_err(|error| {
                let what = format!("cannot remove {}, of the image before", path.display());
                Error::cannot_create(what).with_source(error)
            })?;
            Some(aside)
        }
    };
    Ok(SetAside { path, aside })
}

impl SetAside {
    /// Puts it back, as its image is there still; returns why that is so, with what else failed.
    pub(super) fn restore(self, error: Error) -> Error {
        let Self { path, aside: Some(aside) } = self else { return error };
        match rename_to_new(&aside, &path) {
            Ok(()) => error,
            Err(_) => error
                .with_hint(format!("the description of the image before is {}", aside.display())),
        }
    }

    /// Removes it: its image is gone.
    pub(super) fn remove(self) -> Result<()> {
        let Some(aside) = self.aside else { return Ok(()) };
        fs::remove_file(&aside).map_err(|error| {
            let what = format!("cannot remove {}, of the image before", aside.display());
            Error::io(what).with_source(error)
        })
    }
}

fn find(path: &Path) -> Result<ExistingSidecar> {
    ExistingSidecar::at(path).map_err(|error| {
        let path = path.display();
        let what = format!("cannot read {path}, which may describe another image of that name");
        Error::cannot_create(what).with_source(error).with_hint("move it away")
    })
}

fn linked(path: &Path) -> Error {
    let path = path.display();
    Error::cannot_create(format!("{path} is a link to the description of another image"))
        .with_hint("remove the link, which is not this program's, or give the image another name")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const DESCRIPTION: &str = r#"{ "version": 1, "banger": "1", "identity": "sha256:00" }"#;

    fn retire(output: &Path) {
        set_aside(output).unwrap().remove().unwrap();
    }

    #[test]
    fn an_image_with_a_name_too_long_for_another_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("x".repeat(255));
        check_old(&output).unwrap();
        set_aside(&output).unwrap().remove().unwrap();
    }

    #[test]
    fn the_description_of_an_image_that_stays_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let sidecar = directory.path().join("disk.ext4.json");
        fs::write(&sidecar, DESCRIPTION).unwrap();
        let aside = set_aside(&output).unwrap();
        assert!(!sidecar.exists());
        assert_eq!(aside.restore(Error::io("x")).to_string(), "x");
        assert_eq!(fs::read_to_string(&sidecar).unwrap(), DESCRIPTION);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_description_of_a_replaced_image_goes_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let sidecar = directory.path().join("disk.ext4.json");
        retire(&output);
        let long = " ".repeat(usize::try_from(MAX_DESCRIPTION).unwrap()) + DESCRIPTION;
        for foreign in [r#"{ "mine": 1 }"#, "", &long] {
            fs::write(&sidecar, foreign).unwrap();
            retire(&output);
            assert_eq!(fs::read_to_string(&sidecar).unwrap(), foreign);
        }
        fs::write(&sidecar, DESCRIPTION).unwrap();
        retire(&output);
        assert!(!sidecar.exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_a_description_is_replaced_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let sidecar = directory.path().join("disk.ext4.json");
        check(&output, true).unwrap();
        fs::write(&sidecar, r#"{ "mine": 1 }"#).unwrap();
        for refused in [
            check(&output, true),
            prepare(&output, true, &Interruption::default(), b"{}").map(drop),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.exit_code(), 73, "{error}");
            assert!(error.to_string().contains("no description of an image"), "{error}");
        }
        assert_eq!(fs::read_to_string(&sidecar).unwrap(), r#"{ "mine": 1 }"#);
        fs::write(&sidecar, DESCRIPTION).unwrap();
        check(&output, true).unwrap();
        assert_eq!(check(&output, false).unwrap_err().exit_code(), 73);
    }

    #[test]
    fn links_and_what_they_lead_to_stay() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let sidecar = directory.path().join("disk.ext4.json");
        let target = directory.path().join("target");
        symlink(&target, &sidecar).unwrap();
        retire(&output);
        assert_eq!(check(&output, true).unwrap_err().exit_code(), 73);
        fs::write(&target, DESCRIPTION).unwrap();
        for refused in [set_aside(&output).map(drop), check_old(&output), check(&output, true)] {
            let error = refused.unwrap_err();
            assert_eq!(error.exit_code(), 73, "{error}");
            assert!(error.to_string().contains("is a link to the description"), "{error}");
        }
        assert!(sidecar.is_symlink());
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
