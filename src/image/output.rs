//! Where a filesystem goes: a new file, or a device in place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ext4_writer::reader::Source;
use ext4_writer::{InitialContents, Sink};

use super::checked_output::{content_of_device, occupied};
use super::device::DiscardingSink;
use super::file_sink::FileSink;
use super::interruption::Interruption;
use super::sidecar;
use super::staged_file::StagedFile;
use super::writable::{check_length, check_output};
use crate::error::{Error, Result};

/// What an output is.
#[derive(Clone, Debug, Default)]
pub enum OutputTarget {
    /// A new file, or one in the place of another.
    #[default]
    File,
    /// A new file in the place of one that is empty, and still is in the end.
    EmptyFile,
    /// A block device.
    Device {
        /// The device, as it was opened for this process alone when it was looked at: by its path
        /// it is not opened again, as another one may have that meanwhile.
        device: Arc<File>,
        /// Whether what it holds may go.
        overwrite: bool,
        /// Whether it is asked to make itself empty.
        discard: bool,
    },
}

/// An output that is being written.
#[derive(Debug)]
pub(super) enum Output {
    File(StagedFile),
    Device { path: PathBuf, device: Arc<File> },
}

impl Output {
    /// Opens an output, and a sink for its bytes.
    pub(super) fn open(
        path: &Path,
        target: OutputTarget,
        replace: bool,
        interruption: &Interruption,
    ) -> Result<(Self, ImageSink)> {
        let staged = match target {
            OutputTarget::File => StagedFile::create(path, replace, interruption)?,
            OutputTarget::EmptyFile => StagedFile::create(path, true, interruption)?.over_nothing(),
            OutputTarget::Device { device, overwrite, discard } => {
                let cannot = |error| cannot_read(path, error);
                let sink = device.try_clone().and_then(DiscardingSink::new).map_err(cannot)?;
                // Asked again, as it may have been changed since.
                let found = content_of_device(&sink).map_err(cannot)?;
                if let Some(found) = found.filter(|_| !overwrite) {
                    return Err(occupied(path, &found));
                }
                let sink = if discard { sink } else { sink.without_discarding() };
                let output = Self::Device { path: path.to_owned(), device };
                return Ok((output, ImageSink::Device(sink)));
            }
        };
        let sink = ImageSink::File(staged.sink()?);
        Ok((Self::File(staged), sink))
    }

    /// The bytes that were written, to be read.
    pub(super) fn file(&self) -> Result<File> {
        match self {
            Self::File(staged) => staged.file(),
            Self::Device { path, device } => {
                device.try_clone().map_err(|error| cannot_read(path, error))
            }
        }
    }

    /// Gives a file its name, and what describes it its own. What described the file of that name
    /// before goes, and comes back if the name cannot be given.
    ///
    /// No interruption comes between any two of these.
    pub(super) fn publish(
        self,
        description: Option<StagedFile>,
    ) -> Result<(PathBuf, Option<PathBuf>)> {
        let mut staged = match self {
            Self::File(staged) => staged,
            Self::Device { path, .. } => {
                return Ok((path, description.map(StagedFile::publish).transpose()?));
            }
        };
        let mut description = description;
        staged.inherit()?;
        description.as_ref().map_or(Ok(()), StagedFile::inherit)?;
        // Behind the staged files, so that it ends before they do.
        let interruption = staged.interruption().clone();
        let mut section = interruption.hold_off();
        staged.refuse_taken()?;
        let before = sidecar::set_aside(staged.output())?;
        if let Err(error) = staged.name(&mut section) {
            return Err(before.restore(error));
        }
        let named = description.as_mut().map_or(Ok(()), |staged| staged.name(&mut section));
        let gone = before.remove();
        drop(section);
        let path = staged.output().to_owned();
        named.and(gone).and_then(|()| staged.sync_directory()).map_err(|error| {
            error.with_hint(format!("{} is complete all the same", path.display()))
        })?;
        Ok((path, description.map(|staged| staged.output().to_owned())))
    }
}

fn cannot_read(path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot read {}", path.display())).with_source(error)
}

/// Refuses an output that cannot be written, before the long work.
///
/// `length` is what it is going to have, if that is known.
pub(super) fn check(
    path: &Path,
    target: &OutputTarget,
    replace: bool,
    length: Option<u64>,
) -> Result<()> {
    match target {
        OutputTarget::File => check_output(path, replace)?,
        OutputTarget::EmptyFile => check_output(path, true)?,
        // Who names a device has looked at it.
        OutputTarget::Device { .. } => return Ok(()),
    }
    length.map_or(Ok(()), |length| check_length(path, length))
}

/// The bytes of an output.
#[derive(Debug)]
pub enum ImageSink {
    /// Those of a file without a name.
    File(FileSink),
    /// Those of a device.
    Device(DiscardingSink),
}

impl ImageSink {
    fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::File(file) => file,
            Self::Device(device) => device,
        }
    }
}

impl Sink for ImageSink {
    fn prepare(&mut self, length: Option<u64>) -> io::Result<InitialContents> {
        self.sink().prepare(length)
    }

    fn capacity(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.capacity(),
            Self::Device(device) => device.capacity(),
        }
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.sink().write_at(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        self.sink().zero_at(offset, length)
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.sink().barrier()
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.sink().set_length(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sink().sync()
    }
}

/// What was written can be read back.
impl Source for ImageSink {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_at(offset, buffer),
            Self::Device(device) => device.file().read_at(offset, buffer),
        }
    }

    fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.length(),
            Self::Device(device) => device.file().length(),
        }
    }
}
