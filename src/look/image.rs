//! An image that is opened to be looked into: a file or a block device, from some byte on.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use ext4_writer::FileKind;
use ext4_writer::reader::{
    Inode, Links, ReadError, ReadResult, Reader, Recovery, Source, SuperblockInfo,
};

use super::foreign::{self, ForeignFormat};
use super::read_cache::ReadCache;
use crate::error::{Error, Result};
use crate::open;

/// An image of which everything can be asked; nothing is ever written to it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(super) reader: Reader<Window>,
    name: String,
}

/// The bytes of a file from some byte on.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    file: Arc<File>,
    offset: u64,
    /// The bytes of the file, and what was read of it of late; none where reads are large.
    cache: Option<(u64, Arc<ReadCache>)>,
}

impl Source for Window {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let place = offset.checked_add(self.offset).ok_or(io::ErrorKind::UnexpectedEof)?;
        let read = |place, buffer: &mut [u8]| self.file.read_at(place, buffer);
        match &self.cache {
            Some((length, cache)) => cache.read((place, *length), buffer, read),
            None => read(place, buffer),
        }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.length()?.saturating_sub(self.offset))
    }
}

impl Window {
    /// The bytes from the byte `offset` of a file or a block device on.
    pub(super) fn open(path: &Path, offset: u64) -> Result<Self> {
        let name = path.display().to_string();
        let window = Self { file: Arc::new(open(path, &name)?), offset, cache: None };
        let length = window.file.length().map_err(|error| unreadable(&name, error))?;
        if offset != 0 && offset >= length {
            let message = format!("--offset {offset} is behind the end of {name}");
            return Err(Error::usage(message).with_hint(format!("it has {length} bytes")));
        }
        Ok(window)
    }

    /// The same, for many small reads.
    fn cached(self) -> io::Result<Self> {
        let length = self.file.length()?;
        Ok(Self { cache: Some((length, Arc::default())), ..self })
    }

    /// All bytes of a file.
    pub(super) const fn whole(file: Arc<File>) -> Self {
        Self { file, offset: 0, cache: None }
    }
}

/// An error of reading an image that is not about what it holds.
pub(super) fn unread(name: &str, error: ReadError) -> Error {
    classed(format!("cannot read the image {name}"), error)
}

impl Image {
    /// Opens the filesystem that begins at the byte `offset` of a file or a block device.
    pub(crate) fn open(path: &Path, offset: u64) -> Result<Self> {
        let name = path.display().to_string();
        let window = Window::open(path, offset)?;
        let window = window.cached().map_err(|error| unreadable(&name, error))?;
        match Reader::open(window.clone()) {
            Ok(reader) => Ok(Self { reader, name }),
            Err(error) => Err(refused(&name, error, &window)),
        }
    }

    /// What the image is called in messages.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the superblock says.
    #[must_use]
    pub(crate) fn facts(&self) -> &SuperblockInfo {
        self.reader.superblock()
    }

    /// What the journal was replayed for, if it had to be.
    #[must_use]
    pub(crate) fn recovery(&self) -> Option<Recovery> {
        self.reader.recovery()
    }

    /// What has to be said of everything that is read from this image.
    #[must_use]
    pub(crate) fn caveats(&self) -> Vec<String> {
        let Self { name, .. } = self;
        let state = match self.recovery() {
            Some(Recovery { transactions: 0, .. }) => {
                Some(format!("{name} was not unmounted; its journal has nothing to replay"))
            }
            Some(Recovery { transactions, blocks }) => Some(format!(
                "{name} was not unmounted: {blocks} blocks of {transactions} transactions are read \
                 from its journal, which is left as it is"
            )),
            None if !self.facts().is_clean && !self.facts().has_errors => {
                Some(format!("{name} was not unmounted and has no journal: it may be inconsistent"))
            }
            None => None,
        };
        let errors = self.facts().has_errors.then(|| {
            format!("the kernel found errors in {name}, which e2fsck did not repair since")
        });
        state.into_iter().chain(errors).collect()
    }

    /// Whether what `path` leads to is this very file or device.
    #[must_use]
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let (Ok(there), Ok(here)) = (fs::metadata(path), self.reader.source().file.metadata())
        else {
            return false;
        };
        let is_device = |found: &Metadata| found.file_type().is_block_device();
        if is_device(&there) && is_device(&here) {
            return there.rdev() == here.rdev();
        }
        (there.dev(), there.ino()) == (here.dev(), here.ino())
    }

    /// Asks the reader of the filesystem for something else.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Reader<Window>) -> ReadResult<T>) -> Result<T> {
        ask(&self.reader).map_err(|error| self.failed(error))
    }

    /// The inode at a path from the root on, or, in the words of debugfs, `<N>` that of number N.
    pub(crate) fn resolve(&self, path: &[u8], links: Links) -> Result<Inode> {
        if let Some(number) = numbered(path) {
            return self.reader.inode(number).map_err(|error| match error {
                ReadError::NoSuchInode { .. } | ReadError::FreeInode { .. } => {
                    Error::not_found(self.cannot_read()).with_source(error)
                }
                error => self.failed(error),
            });
        }
        self.reader.lookup(path, links).map_err(|error| match error {
            ReadError::WrongKind { .. } => {
                let what = crate::shown::bytes(&path);
                let message = format!("there is no \"{what}\" in {}", self.name);
                Error::not_found(message).with_source(error)
            }
            error => self.failed(error),
        })
    }

    /// The directory that a link at the end of a path leads to, if it leads to one that is there.
    pub(super) fn directory_behind(&self, path: &[u8]) -> Result<Option<Inode>> {
        if numbered(path).is_some() {
            return Ok(None);
        }
        match self.reader.lookup(path, Links::Follow) {
            Ok(inode) => Ok(Some(inode).filter(|inode| inode.is(FileKind::Directory))),
            // Without the key it leads nowhere.
            Err(
                ReadError::NotFound { .. }
                | ReadError::WrongKind { .. }
                | ReadError::TooManyLinks { .. }
                | ReadError::Encrypted { .. },
            ) => Ok(None),
            Err(error) => Err(self.failed_at(path, error)),
        }
    }

    /// The target of a symbolic link, unless it is encrypted: all but the target is there to be
    /// shown without the key.
    pub(super) fn target(&self, inode: &Inode) -> std::result::Result<Option<Vec<u8>>, ReadError> {
        if !inode.is(FileKind::Symlink) {
            return Ok(None);
        }
        match self.reader.read_link(inode) {
            Err(ReadError::Encrypted { .. }) => Ok(None),
            target => target.map(Some),
        }
    }

    /// An error of the reader, as one of this program.
    pub(super) fn failed(&self, error: ReadError) -> Error {
        classed(self.cannot_read(), error)
    }

    /// An error of the reader that reading this path met.
    pub(super) fn failed_at(&self, path: &[u8], error: ReadError) -> Error {
        let path = crate::shown::bytes(&path);
        classed(format!("cannot read \"{path}\" in {}", self.name), error)
    }

    /// An error of one of the reader's streams at this path.
    pub(super) fn broken_at(&self, path: &[u8], error: io::Error) -> Error {
        match error.downcast::<ReadError>() {
            Ok(error) => self.failed_at(path, error),
            Err(error) => Error::io(self.cannot_read()).with_source(error),
        }
    }

    fn cannot_read(&self) -> String {
        format!("cannot read {}", self.name)
    }
}

/// The number in `<N>`.
fn numbered(path: &[u8]) -> Option<u32> {
    let digits = path.strip_prefix(b"<")?.strip_suffix(b">")?;
    let is_plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok()?.parse().ok().filter(|_| is_plain)
}

fn open(path: &Path, name: &str) -> Result<File> {
    open::file_or_device(path).map_err(|error| unreadable(name, error))
}

fn unreadable(name: &str, error: io::Error) -> Error {
    let message = format!("cannot read the image {name}");
    match error.kind() {
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::InvalidInput => Error::not_found(message).with_source(error),
        _ => Error::of_file(message, error),
    }
}

fn refused(name: &str, error: ReadError, window: &Window) -> Error {
    let message = format!("cannot read the image {name}");
    let foreign = match error {
        ReadError::NotExt4 { .. } => foreign::found(window).or_else(|| foreign::archive(window)),
        _ => None,
    };
    match foreign {
        None => classed(message, error),
        Some(ForeignFormat { what, hint: None }) => {
            Error::bad_data(format!("{message}: it is {what}"))
        }
        Some(ForeignFormat { what, hint: Some(hint) }) => {
            Error::bad_data(format!("{message}: it is {what}")).with_hint(hint)
        }
    }
}

fn classed(message: String, error: ReadError) -> Error {
    match &error {
        ReadError::Io { source, .. } => match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::bad_data(message),
            io::ErrorKind::PermissionDenied => Error::denied(message),
            _ => Error::io(message),
        },
        ReadError::NotFound { .. } => Error::not_found(message),
        _ => Error::bad_data(message),
    }
    .with_source(error)
}
