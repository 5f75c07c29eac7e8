//! The image file: nameless or temporary while it is filled, then given its name at once.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ext4_writer::reader::Source;
use ext4_writer::{Sink, zero_by_writing};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown,
};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::behind::Behind;
use super::busy;
use super::interruption::{Temporary, Uninterrupted};
use crate::error::{Error, Result};

/// How many names are tried for a temporary file before the directory is given up.
const NAME_ATTEMPTS: u32 = 100;
/// So much of an output's name is in that of its temporary file.
const MAX_STEM: usize = 200;

/// The magic of ext2, ext3 and ext4 (kernel: `include/uapi/linux/magic.h`). Other filesystems have
/// nothing to gain: tmpfs would clear pages that are written anyway, btrfs would not compress.
const EXT4: rustix::fs::FsWord = 0xef53;
/// The magic of FAT, and the longest file on it (kernel: `include/uapi/linux/magic.h`,
/// `MSDOS_SUPER_MAGIC`; `fs/fat/inode.c`, `s_maxbytes`).
const FAT: rustix::fs::FsWord = 0x4d44;
const MAX_ON_FAT: u64 = 0xffff_ffff;
/// The mode bit of a directory in which only owners remove and rename files: inode(7), `S_ISVTX`.
const STICKY: u32 = 0o1000;
/// The bytes of a write for which storage is asked for at least.
const RESERVED: usize = 256 << 10;
/// To give so much storage back takes as long as a sync of what was written last, if the disk is
/// told of it (`mount -o discard`).
const LONG: u64 = 16 << 20;

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

impl Draft {
    /// A new file in the directory of `output`, which must not exist unless it may be replaced.
    pub fn create(output: &Path, replace: bool) -> Result<Self> {
        check_output(output, replace)?;
        Uninterrupted::begin().unpublish();
        let directory = directory_of(output).to_owned();
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
            Ok(file) if can_be_named(&file) => Ok(draft(file.into(), None)),
            // The kernel or the filesystem does not know files without names.
            Ok(_) | Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT)
                if directory.is_dir() =>
            {
                let (file, temporary) = named_file(output, mode)?;
                Ok(draft(file, Some(temporary)))
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
        self.inherit()?;
        let mut section = Uninterrupted::begin();
        self.refuse_taken()?;
        self.name(&mut section)?;
        drop(section);
        self.sync_directory()?;
        Ok(std::mem::take(&mut self.output))
    }

    /// Where the file is going to be.
    pub(super) fn output(&self) -> &Path {
        &self.output
    }

    /// Makes the file the owner's, and for the eyes, of what it replaces.
    pub(super) fn inherit(&self) -> Result<()> {
        let access = Access::of(&self.output).or(self.before).filter(|_| self.replace);
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
    pub(super) fn name(&mut self, section: &mut Uninterrupted) -> Result<()> {
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

/// The directory in which a name stands.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
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

fn replace_by(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Renames over another file, or removes what cannot be.
fn move_or_remove(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).inspect_err(|_| {
        // The error that matters is that of the renaming.
        let _ = fs::remove_file(from);
    })
}

/// Renames to a name that must not be taken.
///
/// Not by a hard link, as for a nameless file: exFAT and FAT have none. Where the filesystem cannot
/// refuse a taken name by itself (rename(2): `EINVAL`), an empty file of our own takes it first.
pub(super) fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            OpenOptions::new().write(true).create_new(true).open(to)?;
            fs::rename(from, to).inspect_err(|_| {
                let _ = fs::remove_file(to);
            })
        }
        done => Ok(done?),
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
        .with_hint("name a file in it")),
        Ok(_) if !replace => Err(exists(output)),
        Ok(found) if !found.is_file() && !found.is_symlink() => Err(Error::cannot_create(format!(
            "cannot replace {}: it is not a regular file",
            output.display()
        ))),
        Ok(found) if is_kept_by_directory(output, &found) => Err(Error::cannot_create(format!(
            "cannot replace {}: it is another user's, in a directory where only owners replace \
             files",
            output.display()
        ))
        .with_hint("write to another directory")),
        _ => refuse_users(output),
    }
}

/// Refuses a length that a file of that name cannot have, before the long work.
pub(super) fn check_length(output: &Path, length: u64) -> Result<()> {
    let cannot = |most: u64| {
        format!("cannot write {length} bytes to {}: a file has at most {most}", output.display())
    };
    let limit = getrlimit(Resource::Fsize).current;
    if let Some(limit) = limit.filter(|limit| length > *limit) {
        return Err(Error::of_write(cannot(limit), io::ErrorKind::FileTooLarge));
    }
    let is_fat = rustix::fs::statfs(directory_of(output)).is_ok_and(|found| found.f_type == FAT);
    if is_fat && length > MAX_ON_FAT {
        return Err(Error::of_write(cannot(MAX_ON_FAT), io::ErrorKind::FileTooLarge));
    }
    Ok(())
}

/// Whether a sticky directory keeps a file from being renamed over. Source: kernel, `fs/namei.c`,
/// `__check_sticky`; what root may do is left to the renaming.
fn is_kept_by_directory(path: &Path, found: &fs::Metadata) -> bool {
    let user = rustix::process::geteuid();
    let directory = fs::metadata(directory_of(path));
    !user.is_root()
        && user.as_raw() != found.uid()
        && directory.is_ok_and(|directory| {
            directory.mode() & STICKY != 0 && directory.uid() != user.as_raw()
        })
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
    Error::cannot_create(format!("{} exists", output.display())).with_hint("--force replaces it")
}

fn cannot_create(output: &Path, error: io::Error) -> Error {
    Error::cannot_create(format!("cannot create {}", output.display())).with_source(error)
}

fn named_file(output: &Path, mode: u32) -> Result<(File, Temporary)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(mode);
    let make = || unused_name(output, |path| options.open(path));
    let (temporary, file) = Temporary::make(make).map_err(|error| cannot_create(output, error))?;
    Ok((file, temporary))
}

/// Does `make` with names beside `path` until one was not taken.
pub(super) fn unused_name<T>(
    path: &Path,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(PathBuf, T)> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    let stem = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.as_bytes();
    // A name has at most 255 bytes, and this one has some more than its stem.
    let stem = OsStr::from_bytes(stem.get(..MAX_STEM).unwrap_or(stem));
    for attempt in 0..NAME_ATTEMPTS {
        let mut name = OsString::from(".");
        name.push(stem);
        name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let path = directory_of(path).join(name);
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
    fn a_name_as_long_as_can_be_is_replaced_too() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("x".repeat(255));
        for content in [b"one", b"two"] {
            let draft = Draft::create(&output, true).unwrap();
            draft.sink().unwrap().write_at(0, content).unwrap();
            draft.publish().unwrap();
            assert_eq!(fs::read(&output).unwrap(), content);
        }
        let (_file, temporary) = named_file(&output, 0o600).unwrap();
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
    fn a_named_draft_is_removed_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("a.ext4");
        let (_file, temporary) = named_file(&output, 0o600).unwrap();
        assert!(temporary.path().exists());
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
