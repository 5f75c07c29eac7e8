//! The argument that names a file of the host and its place in the image.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::overlay::host;
use super::owners::{Owner, Owners};
use crate::error::{Error, Result};
use crate::flatten::{Flattener, Target};
use crate::shown::path as shown;

/// A file or directory of the host and its place in the image: `SRC:DST[:MODE[:UID:GID]]`.
///
/// `-` is standard input, which is read to its end as a pipe is.
/// A destination that ends in a slash, or is a directory of the image, is the directory to put
/// the source into; of a source that ends in `/.` only the contents are taken. Directories that
/// the image has already keep their attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    pub(super) source: PathBuf,
    pub(super) destination: Vec<u8>,
    pub(super) mode: Option<u16>,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Addition {
    /// Parses the argument of `--add`.
    pub fn parse(text: &OsStr) -> Result<Self> {
        let refuse = |why: String| {
            let shown = crate::shown::bytes(text.as_bytes());
            Error::usage(format!("cannot understand --add {shown}: {why}"))
                .with_hint("write SRC:DST[:MODE[:UID:GID]]")
        };
        let fields = text.as_bytes().split(|byte| *byte == b':').collect::<Vec<_>>();
        let (source, destination, mode, ids) = match *fields.as_slice() {
            [source, destination] => (source, destination, None, None),
            [source, destination, mode] => (source, destination, Some(mode), None),
            [source, destination, mode, uid, gid] => {
                (source, destination, Some(mode), Some((uid, gid)))
            }
            [_] => return Err(refuse("it names no destination".to_owned())),
            [_, _, _, _] => return Err(refuse("a UID needs a GID".to_owned())),
            _ => return Err(refuse(format!("it has {} parts", fields.len()))),
        };
        if source.is_empty() {
            return Err(refuse("it names no source".to_owned()));
        }
        if !destination.starts_with(b"/") {
            return Err(refuse("the destination must begin with /".to_owned()));
        }
        let mode = mode.map(parse_mode).transpose().map_err(refuse)?;
        let (uid, gid) = match ids {
            None => (0, 0),
            Some((uid, gid)) => {
                (parse_id("UID", uid).map_err(refuse)?, parse_id("GID", gid).map_err(refuse)?)
            }
        };
        let source = PathBuf::from(OsString::from_vec(source.to_vec()));
        Ok(Self { source, destination: destination.to_vec(), mode, uid, gid })
    }

    /// The contents of a directory into the root.
    #[must_use]
    pub fn contents(directory: &Path) -> Self {
        let source = directory.join(".");
        Self { source, destination: b"/".to_vec(), mode: None, uid: 0, gid: 0 }
    }

    /// What is added, as it was said.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Where it goes, as it was said.
    #[must_use]
    pub fn destination(&self) -> &[u8] {
        &self.destination
    }

    /// Whether it is what comes on standard input.
    #[must_use]
    pub fn is_standard_input(&self) -> bool {
        self.source.as_os_str() == "-"
    }

    /// Fails when the source cannot be read, before any long work begins.
    pub fn check(&self) -> Result<()> {
        match self.kind()? {
            SourceKind::Directory => {
                host("add", &self.source, fs::read_dir(&self.source)).map(drop)
            }
            SourceKind::File => host("add", &self.source, File::open(&self.source)).map(drop),
            // Opening a pipe would wait for somebody at its other end.
            SourceKind::Stream => Ok(()),
        }
    }

    /// What the source is. It may be a link to what is meant; links below it are kept.
    pub(super) fn kind(&self) -> Result<SourceKind> {
        if self.is_standard_input() {
            return Ok(SourceKind::Stream);
        }
        let found = host("add", &self.source, fs::metadata(&self.source))?.file_type();
        match found {
            found if found.is_dir() => Ok(SourceKind::Directory),
            found if found.is_file() => Ok(SourceKind::File),
            found if found.is_fifo() || found.is_char_device() => Ok(SourceKind::Stream),
            _ => Err(Error::bad_data(format!(
                "cannot add {}: it is neither a file, a directory nor a pipe",
                shown(&self.source)
            ))),
        }
    }

    /// Where the source itself goes, or `None` where its contents go into the destination.
    pub(super) fn target<T: Target>(
        &self,
        flattener: &mut Flattener<'_, T>,
    ) -> Result<Option<Vec<u8>>> {
        let source = self.source.as_os_str().as_bytes();
        if source == b"." || source.ends_with(b"/.") {
            return Ok(None);
        }
        if !self.destination.ends_with(b"/") && !flattener.has_directory(&self.destination)? {
            return Ok(Some(self.destination.clone()));
        }
        let name = self.source.file_name().filter(|_| !self.is_standard_input());
        let name = name.ok_or_else(|| {
            let shown = crate::shown::bytes(&source);
            Error::usage(format!("cannot add {shown}: it has no name to have in the image"))
                .with_hint("end the source with /. to add its contents")
        })?;
        Ok(Some([&self.destination, &b"/"[..], name.as_bytes()].concat()))
    }

    /// The owner that everything gets.
    pub(super) fn owners(&self) -> Owners {
        Owners::One(Owner { uid: Some(self.uid), gid: Some(self.gid) })
    }
}

/// How a source is read.
pub(super) enum SourceKind {
    File,
    Directory,
    /// To its end.
    Stream,
}

fn parse_mode(text: &[u8]) -> Result<u16, String> {
    let mode = number(text, 8).and_then(|mode| u16::try_from(mode).ok());
    mode.filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        format!("the mode \"{}\" is not octal, at most 7777", crate::shown::bytes(&text))
    })
}

fn parse_id(what: &str, text: &[u8]) -> Result<u32, String> {
    number(text, 10).ok_or_else(|| {
        format!("the {what} \"{}\" is not a number, at most 4294967295", crate::shown::bytes(&text))
    })
}

fn number(text: &[u8], radix: u32) -> Option<u32> {
    let text = str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    u32::from_str_radix(text, radix).ok()
}
