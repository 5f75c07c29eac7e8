//! The image file: nameless or temporary while it is filled, then given its name at once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ext4_writer::reader::Source;
use ext4_writer::{Sink, zero_by_writing};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, Uid, fchmod, fchown};
use rustix::io::Errno;

use super::behind::Behind;
use super::busy;
use crate::error::{Error, Result};

/// How many names are tried for a temporary file before the directory is given up.
const NAME_ATTEMPTS: u32 = 100;

/// The magic of ext2, ext3 and ext4 (kernel: `include/uapi/linux/magic.h`). Other filesystems have
/// nothing to gain: tmpfs would clear pages that are written anyway, btrfs would not compress.
const EXT4: rustix::fs::FsWord = 0xef53;
/// The bytes of a write for which storage is asked for at least.
const RESERVED: usize = 256 << 10;
/// To give so much storage back takes as long as a sync of what was written last, if the disk is
/// told of it (`mount -o discard`).
const LONG: u64 = 16 << 20;

/// What an interruption finds.
static STAGE: Mutex<Stage> = Mutex::new(Stage { named: Vec::new(), is_published: false });

struct Stage {
    /// The drafts that have a temporary name; others go without a trace.
    named: Vec<PathBuf>,
    /// Whether the image has its own name: then the work is done, but for what lies beside it.
    is_published: bool,
}

fn stage() -> MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the work by `end`, which does not return, unless the image has its name already: then it
/// is too late, and whoever works comes to the end by himself. No image is published meanwhile.
pub fn interrupt(end: impl FnOnce()) {
    let mut stage = stage();
    if stage.is_published {
        return;
    }
    for path in stage.named.drain(..) {
        // The process ends: there is nobody left to tell.
        let _ = fs::remove_file(path);
    }
    end();
}

/// An image that has no name yet.
///
/// Where the filesystem can, the file has no name at all before [`Draft::publish`], so that not
/// even a killed process leaves anything behind. Elsewhere it has a temporary one beside the
/// output.
#[derive(Debug)]
pub struct Draft {
    file: File,
    output: PathBuf,
    directory: PathBuf,
    temporary: Option<Temporary>,
    replace: bool,
    /// Whose the file is that was there in the beginning.
    before: Option<Access>,
    /// Whether what is replaced must be an empty file.
    over_nothing: bool,
}

/// Whose a file is, and who may use it.
#[derive(Clone, Copy, Debug)]
struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Access {
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

/// A name that goes when it is dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: PathBuf) -> Self {
        stage().named.push(path.clone());
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut stage = stage();
        stage.named.retain(|path| *path != self.0);
        // It may have got its final name already; then there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

impl Draft {
    /// A new file in the directory of `output`, which must not exist unless it may be replaced.
    pub fn create(output: &Path, replace: bool) -> Result<Self> {
        check_output(output, replace)?;
        stage().is_published = false;
        let directory = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // What is replaced may be for its owner's eyes: so is the draft until it has its mode.
        let before = Access::of(output).filter(|_| replace);
        let mode = if before.is_some() { 0o600 } else { 0o666 };
        let draft = |file, temporary| Self {
            file,
            output: output.to_owned(),
            directory: directory.clone(),
            temporary,
            replace,
            before,
            over_nothing: false,
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(&directory, flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(draft(file.into(), None)),
            // The kernel or the filesystem does not know files without names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT)
                if directory.is_dir() =>
            {
                let (file, temporary) = named_file(output, &directory, mode)?;
                Ok(draft(file, Some(temporary)))
            }
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
        let file = self.file()?;
        let is_reserved = rustix::fs::fstatfs(&file).is_ok_and(|found| found.f_type == EXT4);
        Ok(FileSink { file, behind: Some(Behind::default()), is_reserved })
    }

    /// The file, to read what was written, or for what is not a filesystem.
    pub fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(|error| cannot_create(&self.output, error))
    }

    /// Gives the file its name, for good: the directory is synced too.
    pub fn publish(mut self) -> Result<PathBuf> {
        self.refuse_users()?;
        self.name().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.output),
            _ => cannot_create(&self.output, error),
        })?;
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| {
            Error::io(format!("cannot sync the directory {}", self.directory.display()))
                .because(error)
        })?;
        Ok(std::mem::take(&mut self.output))
    }

    /// Where the file is going to be.
    pub(super) fn output(&self) -> &Path {
        &self.output
    }

    /// Refuses to replace a file that is in use by now.
    pub(super) fn refuse_users(&self) -> Result<()> {
        if self.replace { refuse_users(&self.output) } else { Ok(()) }
    }

    fn name(&mut self) -> io::Result<()> {
        if self.replace
            && let Some(access) = Access::of(&self.output).or(self.before)
        {
            access.give(&self.file)?;
        }
        if self.temporary.is_none() && self.replace {
            // Only what has a name can be moved over another.
            let (path, ()) = unused_name(&self.output, &self.directory, |path| self.link_to(path))?;
            self.temporary = Some(Temporary::new(path));
        }
        let is_taken = || fs::metadata(&self.output).is_ok_and(|found| found.len() > 0);
        if self.over_nothing && is_taken() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut stage = stage();
        match (&self.temporary, self.replace) {
            (Some(temporary), true) => fs::rename(&temporary.0, &self.output),
            // A link refuses a name that is taken; a rename would replace it.
            (Some(temporary), false) => fs::hard_link(&temporary.0, &self.output),
            (None, _) => self.link_to(&self.output),
        }?;
        stage.is_published = true;
        Ok(())
    }

    fn link_to(&self, path: &Path) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// Refuses an output that cannot be written, before the long work.
pub fn check_output(output: &Path, replace: bool) -> Result<()> {
    if output.file_name().is_none() {
        return Err(Error::usage(format!("{} is not the name of a file", output.display())));
    }
    match fs::symlink_metadata(output) {
        Ok(found) if found.is_dir() => Err(Error::cannot_create(format!(
            "cannot write the image to {}: it is a directory",
            output.display()
        ))
        .hint("name a file in it")),
        Ok(_) if !replace => Err(exists(output)),
        Ok(found) if !found.is_file() && !found.is_symlink() => Err(Error::cannot_create(format!(
            "cannot replace {}: it is not a regular file",
            output.display()
        ))),
        _ => refuse_users(output),
    }
}

/// Refuses to replace a file that is in use: who uses it would go on with one that has no name. A
/// link is replaced itself.
fn refuse_users(output: &Path) -> Result<()> {
    match fs::symlink_metadata(output) {
        Ok(found) if found.is_file() => busy::refuse_users(output, &found),
        _ => Ok(()),
    }
}

fn exists(output: &Path) -> Error {
    Error::cannot_create(format!("{} exists", output.display())).hint("--force replaces it")
}

fn cannot_create(output: &Path, error: io::Error) -> Error {
    Error::cannot_create(format!("cannot create {}", output.display())).because(error)
}

fn named_file(output: &Path, directory: &Path, mode: u32) -> Result<(File, Temporary)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    let open = |path: &Path| options.open(path);
    let (path, file) =
        unused_name(output, directory, open).map_err(|error| cannot_create(output, error))?;
    Ok((file, Temporary::new(path)))
}

/// Does `make` with names beside the output until one was not taken.
fn unused_name<T>(
    output: &Path,
    directory: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..NAME_ATTEMPTS {
        let mut name = std::ffi::OsString::from(".");
        name.push(output.file_name().unwrap_or_default());
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let path = directory.join(name);
        match make(&path) {
            Ok(value) => return Ok((path, value)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The file of a [`Draft`], which gives storage back where the filesystem can.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    /// None where the file is not going to be synced.
    behind: Option<Behind>,
    /// Whether storage is asked for before it is written.
    is_reserved: bool,
}

impl FileSink {
    /// The same, with the time of writing left to the kernel: for a file that is not synced.
    #[must_use]
    pub fn unhurried(self) -> Self {
        Self { behind: None, ..self }
    }

    /// Asks for the storage of what is about to be written. ext4 then has one extent to make
    /// instead of a page's worth for every page: a quarter of the time of a large write.
    fn reserve(&mut self, offset: u64, length: usize) {
        if self.is_reserved && length >= RESERVED {
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            let asked =
                rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, length);
            // Whatever is missing, the write says it.
            self.is_reserved = asked.is_ok();
        }
    }
}

impl Sink for FileSink {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.reserve(offset, bytes.len());
        self.file.write_all_at(bytes, offset)?;
        if let Some(behind) = &mut self.behind {
            behind.wrote(&self.file, bytes.len());
        }
        Ok(())
    }

    fn zero_at(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if let Some(behind) = self.behind.as_mut().filter(|_| length >= LONG) {
            behind.hurry(&self.file);
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => zero_by_writing(self, offset, length),
            done => Ok(done?),
        }
    }

    fn set_length(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.behind.as_mut().map_or(Ok(()), Behind::end)?;
        self.file.sync_all()
    }
}

/// What was written can be read back.
impl Source for FileSink {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_has_no_name_before_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let draft = Draft::create(&output, false).unwrap();
        draft.sink().unwrap().write_at(0, b"hello").unwrap();
        assert!(!output.exists());
        draft.publish().unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"hello");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_replaced_without_being_asked() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let draft = Draft::create(&output, false).unwrap();
        fs::write(&output, b"mine").unwrap();
        assert_eq!(Draft::create(&output, false).unwrap_err().exit_code(), 73);
        assert_eq!(draft.publish().unwrap_err().exit_code(), 73);
        assert_eq!(fs::read(&output).unwrap(), b"mine");

        let forced = Draft::create(&output, true).unwrap();
        forced.sink().unwrap().write_at(0, b"new").unwrap();
        forced.publish().unwrap();
        assert_eq!(fs::read(&output).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_named_draft_is_removed_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let (_file, temporary) = named_file(&output, directory.path(), 0o600).unwrap();
        assert!(temporary.0.exists());
        drop(temporary);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_output_that_cannot_be_is_refused_early() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/a.ext4");
        assert_eq!(Draft::create(&missing, false).unwrap_err().exit_code(), 73);
        assert_eq!(Draft::create(directory.path(), true).unwrap_err().exit_code(), 73);
        assert_eq!(check_output(Path::new("/"), false).unwrap_err().exit_code(), 2);
    }
}
