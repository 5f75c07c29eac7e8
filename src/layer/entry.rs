//! What a tar archive says of one file.

use std::fmt;

use ext4_writer::{FileFlags, Segment, Timestamp};

use super::Acls;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// The full name, such as `security.capability`.
    pub name: Vec<u8>,
    /// The value, any bytes.
    pub value: Vec<u8>,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link to [`Entry::link`].
    Symlink,
    /// Another name of the file [`Entry::link`].
    HardLink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket, which only star archives hold.
    Socket,
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Regular => "file",
            Self::Directory => "directory",
            Self::Symlink => "symbolic link",
            Self::HardLink => "hard link",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
        })
    }
}

/// One entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path as it stands in the archive.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions, set-user-ID, set-group-ID and sticky bit: 12 bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When the contents last changed.
    pub modified: Timestamp,
    /// When the contents were last read, if the archive says so.
    pub accessed: Option<Timestamp>,
    /// When the inode last changed, if the archive says so.
    pub changed: Option<Timestamp>,
    /// When the file was made, if the archive says so.
    pub created: Option<Timestamp>,
    /// Size of a regular file in bytes, holes included; 0 for all others.
    pub size: u64,
    /// The target of a symbolic or hard link, as it stands in the archive.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
    /// Where the stored bytes of a sparse file belong, ascending; everything else is zero.
    pub segments: Option<Vec<Segment>>,
    /// The flags of the inode that `chattr` sets, which only filesystems have.
    pub flags: FileFlags,
    /// The project, likewise.
    pub project: u32,
    /// ACLs that the archive has as text, and not among the attributes.
    pub acls: Acls,
    /// What the archive says of the file and nothing here holds.
    pub unsupported: Vec<Unsupported>,
}

/// A PAX record that an image does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its keyword, such as `SCHILY.acl.ace`.
    pub keyword: String,
    /// Why it is not held, behind the keyword.
    pub why: String,
}

impl Unsupported {
    pub(super) fn new(keyword: impl Into<String>, why: impl Into<String>) -> Self {
        Self { keyword: keyword.into(), why: why.into() }
    }

    pub(crate) fn size(&self) -> usize {
        self.keyword.len().saturating_add(self.why.len())
    }
}

impl Entry {
    /// A file of root's without content, link and attributes.
    #[must_use]
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u16, modified: Timestamp) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            modified,
            accessed: None,
            changed: None,
            created: None,
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            segments: None,
            flags: FileFlags::empty(),
            project: 0,
            acls: Acls::default(),
            unsupported: Vec::new(),
        }
    }
}
