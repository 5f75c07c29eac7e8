//! What lies beside an image and describes it: `OUTPUT.json`.
//!
//! Its file is complete before the image gets its name, and gets its own after it; the description
//! of an image that is replaced goes before. So whatever is interrupted, an image has its own
//! description or none.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ext4_writer::Sink as _;

use super::file::{Draft, check_output};
use crate::error::{Error, Result};
use crate::guest::Description;

/// The longest file that can be a description: of a config and some lists.
const MAX_DESCRIPTION: u64 = 64 << 20;

/// Where the description of the image `output` is.
pub(super) fn path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

/// Refuses a place for the description of `output` that cannot be written to, before the long work.
pub fn check(output: &Path, replace: bool) -> Result<()> {
    check_output(&path(output), replace)
}

/// Writes a description that has no name yet.
pub(super) fn prepare(output: &Path, replace: bool, document: &[u8]) -> Result<Draft> {
    let path = path(output);
    let draft = Draft::create(&path, replace)?;
    let mut sink = draft.sink()?;
    sink.write_at(0, document).and_then(|()| sink.sync()).map_err(|error| {
        Error::cannot_create(format!("cannot write {}", path.display())).because(error)
    })?;
    Ok(draft)
}

/// Removes the description of the image that `output` is now; what is none stays.
pub(super) fn retire(output: &Path) -> Result<()> {
    let path = path(output);
    let is_short = |found: &fs::Metadata| found.is_file() && found.len() <= MAX_DESCRIPTION;
    if !fs::symlink_metadata(&path).is_ok_and(|found| is_short(&found)) {
        return Ok(());
    }
    let document = fs::read(&path).unwrap_or_default();
    if !Description::is_one(&document) {
        return Ok(());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let what = format!("cannot remove {}, of the image before", path.display());
            Err(Error::cannot_create(what).because(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_a_replaced_image_goes_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("disk.ext4");
        let beside = directory.path().join("disk.ext4.json");
        retire(&output).unwrap();
        fs::write(&beside, r#"{ "mine": 1 }"#).unwrap();
        retire(&output).unwrap();
        assert!(beside.exists());
        fs::write(&beside, r#"{ "banger": "1", "identity": "sha256:00" }"#).unwrap();
        retire(&output).unwrap();
        assert!(!beside.exists());
    }
}
