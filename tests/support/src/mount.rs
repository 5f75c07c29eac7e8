//! The running kernel as a judge: an image mounted through a loop device, and its tree.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use sha2::Digest as _;

use crate::device::LoopDevice;
use crate::judge;
use crate::tree::{Attributes, Entry, Hash, Kind, Tree};

/// Whether the guest may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Mounted read-only, on a read-only device.
    ReadOnly,
    /// Mounted read-write: the image changes.
    ReadWrite,
    /// Mounted read-write to be filled to the last block. Without this mode the kernel writes into
    /// unwritten extents, and warns when no block is left to split one.
    Filling,
}

impl Access {
    fn options(self) -> &'static str {
        match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
            Self::Filling => "rw,dioread_lock",
        }
    }
}

/// A mounted image; dropping it unmounts it and frees the loop device.
#[derive(Debug)]
pub struct Mount {
    point: tempfile::TempDir,
    device: String,
    /// A line in the kernel's log: what stands before it belongs to the device's last user.
    marker: String,
    mounted: bool,
}

impl Mount {
    /// Mounts `image`; `None`, with the policy of [`judge::missing`], where that is not possible.
    #[must_use]
    pub fn new(image: &Path, access: Access) -> Option<Self> {
        let device = LoopDevice::attach(image, access == Access::ReadOnly)?;
        // Its device is freed now, or, once mounted, by the kernel at the unmount.
        Self::on(device.path(), access.options())
    }

    /// Mounts a device with the options of `mount -o`.
    #[must_use]
    pub fn on(device: &Path, options: &str) -> Option<Self> {
        if !judge::kernel() {
            return None;
        }
        // Everybody may pass: some tests look at the image as an ordinary user.
        let point = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a directory to mount on");
        let marker = format!("banger-test {}", point.path().display());
        // Where the log may not be written, it may not be read either.
        let _ = fs::write("/dev/kmsg", &marker);
        let name = device.display().to_string();
        let mut mount = Self { point, device: name, marker, mounted: false };
        let arguments = ["-t", "ext4", "-o", options, &mount.device].map(OsStr::new);
        let arguments = arguments.into_iter().chain([mount.point.path().as_os_str()]);
        let mounted = judge::run(&judge::find("mount")?, arguments.collect::<Vec<_>>());
        assert!(mounted.status.success(), "mount: {}", judge::text(&mounted));
        mount.mounted = true;
        Some(mount)
    }

    /// Does `look` while the filesystem stands still, all of it written to its device.
    pub fn frozen<T>(&self, look: impl FnOnce() -> T) -> T {
        judge::succeed("fsfreeze", ["-f".as_ref(), self.point.path().as_os_str()]);
        let thaw = Thaw(self.point.path());
        let seen = look();
        drop(thaw);
        seen
    }

    /// Where the image is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.point.path()
    }

    /// The tree as the kernel shows it, with every fact known.
    #[must_use]
    pub fn tree(&self) -> Tree {
        read_tree(self.path())
            .unwrap_or_else(|error| panic!("cannot read the mounted tree: {error}"))
    }

    /// Unmounts, and panics if the kernel complained about the filesystem meanwhile.
    pub fn close(mut self) {
        self.release().unwrap_or_else(|error| panic!("{error}"));
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the kernel complained:\n{}", complaints.join("\n"));
    }

    fn release(&mut self) -> Result<(), String> {
        // A process that another test starts holds this one's open files until it runs its own
        // program: for a moment the mount is busy.
        const LIMIT: Duration = Duration::from_secs(10);
        if !self.mounted {
            return Ok(());
        }
        let umount = judge::find("umount").unwrap_or_default();
        let start = Instant::now();
        loop {
            let output = judge::run(&umount, [self.point.path()]);
            self.mounted = !output.status.success();
            if !self.mounted {
                return Ok(());
            }
            if start.elapsed() > LIMIT {
                return Err(format!("umount: {}", judge::text(&output)));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The kernel's errors and warnings about this device; none where its log may not be read.
    fn complaints(&self) -> Vec<String> {
        // A UUID can end in "bad".
        const WORDS: [&str; 5] = ["error", "warning", "corrupt", "invalid", " bad "];
        let Some(dmesg) = judge::find("dmesg") else { return Vec::new() };
        let device = self.device.trim_start_matches("/dev/");
        let names_device =
            |line: &str| line.split(|c: char| !c.is_alphanumeric()).any(|word| word == device);
        judge::text(&judge::run(&dmesg, ["--color=never"]))
            .lines()
            .skip_while(|line| !line.contains(&self.marker))
            .filter(|line| names_device(line))
            // Once unmounted, a loop device can be another test's.
            .take_while(|line| !line.contains("detected capacity change from 0 to"))
            // Their UUID may end in any letters, such as "bad".
            .filter(|line| !line.contains("mounted filesystem"))
            .filter(|line| WORDS.iter().any(|word| line.to_lowercase().contains(word)))
            .map(str::to_owned)
            .collect()
    }
}

/// A frozen filesystem, which goes on when this is dropped: what writes to it meanwhile waits.
struct Thaw<'a>(&'a Path);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        judge::succeed("fsfreeze", ["-u".as_ref(), self.0.as_os_str()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // In a failing test the first failure is the one to show.
        let _ = self.release();
    }
}

/// Reads every name, byte and attribute below `root`.
pub fn read_tree(root: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut reader = Reader::default();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(OsStr::from_bytes(&path));
        let entry = reader.entry(&full).map_err(|error| at(&path, &error))?;
        if entry.kind == Kind::Directory {
            for child in fs::read_dir(&full).map_err(|error| at(&path, &error))? {
                let name = child.map_err(|error| at(&path, &error))?.file_name();
                let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                pending.push([&path, separator, name.as_bytes()].concat());
            }
        }
        tree.found(path, entry);
    }
    Ok(tree)
}

fn at(path: &[u8], error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("/{}: {error}", path.escape_ascii()))
}

/// What is kept between the entries of one tree.
#[derive(Default)]
struct Reader {
    /// The content of files with several names is read once.
    hashes: BTreeMap<u64, Hash>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    fn entry(&mut self, path: &Path) -> io::Result<Entry> {
        let metadata = fs::symlink_metadata(path)?;
        let nanoseconds = u32::try_from(metadata.mtime_nsec()).map_err(io::Error::other)?;
        Ok(Entry {
            kind: self.kind(path, &metadata)?,
            mode: u16::try_from(metadata.mode() & 0o7777).map_err(io::Error::other)?,
            uid: metadata.uid(),
            gid: metadata.gid(),
            modified: Some((metadata.mtime(), nanoseconds)),
            attributes: Some(self.attributes(path)?),
            inode: Some(metadata.ino()),
            links: Some(metadata.nlink()),
        })
    }

    fn kind(&mut self, path: &Path, metadata: &Metadata) -> io::Result<Kind> {
        let kind = metadata.file_type();
        let device = Some((major(metadata.rdev()), minor(metadata.rdev())));
        Ok(if kind.is_dir() {
            Kind::Directory
        } else if kind.is_file() {
            let hash = match self.hashes.get(&metadata.ino()) {
                Some(hash) => *hash,
                None => read_hash(path)?,
            };
            self.hashes.insert(metadata.ino(), hash);
            Kind::File { size: metadata.size(), hash }
        } else if kind.is_symlink() {
            Kind::Symlink(fs::read_link(path)?.into_os_string().as_bytes().to_vec())
        } else if kind.is_char_device() {
            Kind::CharacterDevice(device)
        } else if kind.is_block_device() {
            Kind::BlockDevice(device)
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            Kind::Socket
        })
    }

    /// Every attribute that is listed. ACLs are asked for by name too: one that the kernel cannot
    /// parse is listed nowhere, but answers an error.
    fn attributes(&mut self, path: &Path) -> io::Result<Attributes> {
        /// The kernel's `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
        const ROOM: usize = 64 * 1024;
        self.names.resize(ROOM, 0);
        self.value.resize(ROOM, 0);
        let length = llistxattr(path, self.names.as_mut_slice())?;
        let names = self.names.get(..length).unwrap_or_default();
        let listed = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let acls: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
        let mut attributes = Attributes::new();
        for name in listed.chain(acls) {
            match lgetxattr(path, OsStr::from_bytes(name), self.value.as_mut_slice()) {
                Ok(length) => {
                    let value = self.value.get(..length).unwrap_or_default();
                    attributes.insert(name.to_vec(), value.to_vec());
                }
                Err(Errno::NODATA | Errno::OPNOTSUPP) if acls.contains(&name) => {}
                Err(error) => {
                    let name = name.escape_ascii();
                    return Err(io::Error::other(format!("attribute {name}: {error}")));
                }
            }
        }
        Ok(attributes)
    }
}

/// The hash of a file, read in pieces: holes can make it larger than memory.
fn read_hash(path: &Path) -> io::Result<Hash> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finish())
}

/// A hash as something to write to.
#[derive(Default)]
pub(crate) struct Hasher(sha2::Sha256);

impl Hasher {
    pub(crate) fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sparse copy of `image` in `directory`, for a judge that writes.
#[must_use]
pub fn copy(image: &Path, directory: &Path) -> PathBuf {
    let copy = directory.join("copy.ext4");
    judge::succeed("cp", ["--sparse=always".as_ref(), image.as_os_str(), copy.as_os_str()]);
    copy
}
