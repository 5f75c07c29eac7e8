//! One archive as a whole root filesystem.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;

use super::section::Section;
use super::{directory, docker, spool};
use crate::error::Result;
use crate::layer::Archive;
use crate::shown::path as shown;
use crate::source::Limits;

/// An archive that is read once, from its first byte to its last. What names it is known then.
pub struct RootArchive {
    name: String,
    length: u64,
    reader: Box<dyn Read + Send>,
}

impl RootArchive {
    /// Opens a file, a pipe, or, as `-`, standard input.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Self::stream(io::stdin(), "standard input".to_owned());
        }
        let name = shown(path);
        let file = spool::open(path, &name)?;
        let metadata = file.metadata().map_err(|error| directory::failed(&name, error))?;
        if !metadata.is_file() || metadata.len() == 0 {
            // A file without a length may be one that the kernel makes up.
            return Self::stream(file, name);
        }
        spool::compression(&file, &name)?;
        Ok(Self::file(file, name, metadata.len()))
    }

    /// What a stream held.
    pub(super) fn spooled(file: File, name: &str) -> Result<Self> {
        let length = file.metadata().map_err(|error| directory::failed(name, error))?.len();
        Ok(Self::file(file, name.to_owned(), length))
    }

    fn stream<R: Read + Send + 'static>(stream: R, name: String) -> Result<Self> {
        let reader = Box::new(spool::check_stream(stream, &name)?);
        Ok(Self { name, length: 0, reader })
    }

    fn file(file: File, name: String, length: u64) -> Self {
        let reader = Box::new(Section::new(&name, &Arc::new(file), 0, length));
        Self { name, length, reader }
    }

    /// How messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that there are to read, as far as anybody knows.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its bytes, compressed as they are.
    #[must_use]
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        self.reader
    }
}

impl fmt::Debug for RootArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flat").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether the members of an archive are those of an image, in either form, rather than a root
/// filesystem.
pub(super) fn holds_an_image(mut file: File, name: &str, limits: &Limits) -> Result<bool> {
    file.rewind().map_err(|error| directory::failed(name, error))?;
    let mut archive = Archive::new(file, name, &limits.layer);
    let (mut has_marker, mut has_index, mut has_list) = (false, false, false);
    while let Some(entry) = archive.next_entry()? {
        match entry.path.strip_prefix(b"./").unwrap_or(&entry.path) {
            b"oci-layout" => has_marker = true,
            b"index.json" => has_index = true,
            b"manifest.json" if entry.size <= limits.list => {
                // A root filesystem may have a file of this name.
                let mut body = Vec::new();
                has_list =
                    archive.body().read_to_end(&mut body).is_ok() && docker::is_list(&body, limits);
            }
            _ => {}
        }
        archive.step_over()?;
    }
    Ok(has_marker && has_index || has_list)
}
