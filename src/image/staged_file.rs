//! The image file: nameless or temporary while it is filled, then given its name at once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, fchmod, fchown};
use rustix::io::Errno;

use super::file_sink::FileSink;
use super::interruption::{Interruption, TemporaryName, Uninterrupted};
use super::names::{directory_of, move_or_remove, rename_to_new, replace_by, unused_name};
use super::writable::{check_output, exists, refuse_users};
use crate::error::{Error, Result};

/// An image that has no name yet.
///
/// Where the filesystem can, the file has no name at all before [`StagedFile::publish`], so that not
/// even a killed process leaves anything behind. Elsewhere it has a temporary one beside the
/// output.
#[derive(Debug)]
pub struct StagedFile {
    file: File,
    output: PathBuf,
    directory: PathBuf,
    temporary: Option<TemporaryName>,
    replace: bool,
    /// Whose the file is that was there in the beginning.
    before: Option<Ownership>,
    /// Whether what is replaced must be an empty file.
    over_nothing: bool,
    interruption: Interruption,
}

/// Whose a file is, and who may use it.
#[derive(Clone, Copy, Debug)]
struct Ownership {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Ownership {
    /// That of a regular file; `None` where there is none.
    fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o777 })
    }

    /// Gives a file that nobody else may use the same, as far as its owner may. Another group
    /// than before gets no more than everybody.
    fn give(self, file: &File) -> io::Result<()> {
        let (owner, group) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let has_group = fchown(file, Some(owner), Some(group)).is_ok()
            || fchown(file, None, Some(group)).is_ok()
            || file.metadata()?.gid() == self.gid;
        let everybody = self.mode & 0o007;
        let mode = if has_group { self.mode } else { self.mode & (0o707 | everybody << 3) };
        fchmod(file, Mode::from_raw_mode(mode))?;
        file.sync_all()
    }
}

impl StagedFile {
    /// A new file in the directory of `output`, which must not exist unless it may be replaced.
    pub fn create(output: &Path, replace: bool, interruption: &Interruption) -> Result<Self> {
        check_output(output, replace)?;
        interruption.hold_off().unpublish();
        let directory = directory_of(output).to_owned();
        // What is replaced may be for its owner's eyes: so is the staged file until it has its mode.
        let before = Ownership::of(output).filter(|_| replace);
        let mode = if before.is_some() { 0o600 } else { 0o666 };
        let staged = |file, temporary| Self {
            file,
            output: output.to_owned(),
            directory: directory.clone(),
            temporary,
            replace,
            before,
            over_nothing: false,
            interruption: interruption.clone(),
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(&directory, flags, Mode::from_raw_mode(mode)) {
            Ok(file) if can_be_named(&file) => Ok(staged(file.into(), None)),
            // The kernel or the filesystem does not know files without names.
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT)
                if directory.is_dir() =>
            {
                let (file, temporary) = named_file(output, mode, interruption)?;
                Ok(staged(file, Some(temporary)))
            }
            Ok(_) => Err(cannot_create(output, Errno::NOENT.into())),
            Err(error) => Err(cannot_create(output, error.into())),
        }
    }

    /// The same, but what it replaces has to be an empty file in the end.
    #[must_use]
    pub fn over_nothing(self) -> Self {
        Self { over_nothing: true, ..self }
    }

    /// The place for the filesystem's bytes.
    pub fn sink(&self) -> Result<FileSink> {
        self.file().map(FileSink::new)
    }

    /// The file, to read what was written, or for what is not a filesystem.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| cannot_create(&self.output, error))
    }

    /// Gives the file its name, for good: the directory is synced too.
    pub fn publish(mut self) -> Result<PathBuf> {
        self.inherit()?;
        let interruption = self.interruption.clone();
        let mut section = interruption.hold_off();
        self.refuse_taken()?;
        self.name(&mut section)?;
        drop(section);
        self.sync_directory()?;
        Ok(std::mem::take(&mut self.output))
    }

    /// What may end the work on it early.
    pub(super) fn interruption(&self) -> &Interruption {
        &self.interruption
    }

    /// Where the file is going to be.
    pub(super) fn output(&self) -> &Path {
        &self.output
    }

    /// Makes the file the owner's, and for the eyes, of what it replaces.
    pub(super) fn inherit(&self) -> Result<()> {
        let access = Ownership::of(&self.output).or(self.before).filter(|_| self.replace);
        access
            .map_or(Ok(()), |access| access.give(&self.file))
            .map_err(|error| cannot_create(&self.output, error))
    }

    /// Refuses a name that is taken by now, or whose file is in use by now.
    pub(super) fn refuse_taken(&self) -> Result<()> {
        let found = fs::symlink_metadata(&self.output);
        let is_taken = match found {
            Ok(_) if !self.replace => true,
            Ok(_) => {
                let length = fs::metadata(&self.output).map_or(0, |found| found.len());
                self.over_nothing && length > 0
            }
            Err(_) => false,
        };
        match is_taken {
            true => Err(exists(&self.output)),
            false if self.replace => refuse_users(&self.output),
            false => Ok(()),
        }
    }

    /// Gives the file its name, or leaves everything as it was.
    pub(super) fn name(&mut self, section: &mut Uninterrupted<'_>) -> Result<()> {
        let named = match (self.temporary.take(), self.replace) {
            (Some(temporary), replace) => {
                let way = if replace { replace_by } else { rename_to_new };
                let done = way(temporary.path(), &self.output);
                match done {
                    Ok(()) => temporary.renamed(section),
                    // To be removed when no section keeps interruptions away.
                    Err(_) => self.temporary = Some(temporary),
                }
                done
            }
            // A link refuses a name that is taken.
            (None, false) => self.link_to(&self.output),
            // Only what has a name can be moved over another.
            (None, true) => unused_name(&self.output, |path| self.link_to(path))
                .and_then(|(path, ())| move_or_remove(&path, &self.output)),
        };
        named.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.output),
            _ => cannot_create(&self.output, error),
        })?;
        section.published();
        Ok(())
    }

    /// Makes names outlive the machine.
    pub(super) fn sync_directory(&self) -> Result<()> {
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| {
            Error::io(format!("cannot sync the directory {}", self.directory.display()))
                .with_source(error)
        })
    }

    fn link_to(&self, path: &Path) -> io::Result<()> {
        let nameless = name_of_nameless(&self.file);
        Ok(rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// What a file without a name is linked by: open(2), `O_TMPFILE`.
fn name_of_nameless(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Whether a file without a name can get one: without /proc it cannot.
fn can_be_named(file: &impl AsRawFd) -> bool {
    fs::metadata(name_of_nameless(file)).is_ok()
}

fn cannot_create(output: &Path, error: io::Error) -> Error {
    Error::cannot_create(format!("cannot create {}", output.display())).with_source(error)
}

fn named_file(
    output: &Path,
    mode: u32,
    interruption: &Interruption,
) -> Result<(File, TemporaryName)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    let make = || unused_name(output, |path| options.open(path));
    let (temporary, file) =
        TemporaryName::make(interruption, make).map_err(|error| cannot_create(output, error))?;
    Ok((file, temporary))
}

#[cfg(test)]
mod tests {
    use ext4_writer::Sink as _;

    use super::*;

    fn create(output: &Path, replace: bool) -> Result<StagedFile> {
        StagedFile::create(output, replace, &Interruption::default())
    }

    #[test]
    fn a_staged_file_has_no_name_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let staged = create(&output, false).unwrap();
        staged.sink().unwrap().write_at(0, b"hello").unwrap();
        assert!(!output.exists());
        staged.publish().unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"hello");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_replaced_without_being_asked() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let staged = create(&output, false).unwrap();
        fs::write(&output, b"mine").unwrap();
        assert_eq!(create(&output, false).unwrap_err().exit_code(), 73);
        assert_eq!(staged.publish().unwrap_err().exit_code(), 73);
        assert_eq!(fs::read(&output).unwrap(), b"mine");

        let forced = create(&output, true).unwrap();
        forced.sink().unwrap().write_at(0, b"new").unwrap();
        forced.publish().unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_as_long_as_can_be_is_replaced_too() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("x".repeat(255));
        for content in [b"one", b"two"] {
            let staged = create(&output, true).unwrap();
            staged.sink().unwrap().write_at(0, content).unwrap();
            staged.publish().unwrap();
            assert_eq!(fs::read(&output).unwrap(), content);
        }
        let (_file, temporary) = named_file(&output, 0o600, &Interruption::default()).unwrap();
        assert!(temporary.path().exists());
    }

    #[test]
    fn a_name_that_is_taken_is_not_renamed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "mine").unwrap();
        let error = rename_to_new(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&to).unwrap();
        rename_to_new(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn a_temporary_file_is_removed_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let (_file, temporary) = named_file(&output, 0o600, &Interruption::default()).unwrap();
        assert!(temporary.path().exists());
        drop(temporary);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_output_that_cannot_be_is_refused_early() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/a.ext4");
        assert_eq!(create(&missing, false).unwrap_err().exit_code(), 73);
        assert_eq!(create(directory.path(), true).unwrap_err().exit_code(), 73);
        assert_eq!(check_output(Path::new("/"), false).unwrap_err().exit_code(), 2);
    }
}
