//! What can go wrong, with the thing and the numbers.

#[cfg(all(feature = "tree", target_os = "linux"))]
use std::path::PathBuf;
use std::{fmt, io};

/// Why an operation on an image failed.
///
/// Unless the variant says otherwise the builder is as it was before the call.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A name that no directory can hold.
    InvalidName {
        /// The name as it was given.
        name: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The directory has an entry of that name.
    Exists {
        /// The name.
        name: Vec<u8>,
    },
    /// The directory has no entry of that name.
    NotFound {
        /// The name.
        name: Vec<u8>,
    },
    /// The node cannot take part in this operation.
    WrongKind {
        /// What was being done.
        operation: &'static str,
        /// What kind of node it needs.
        needs: &'static str,
    },
    /// The node was removed, or belongs to another builder.
    StaleNode {
        /// Its index.
        index: usize,
    },
    /// The entry belongs to the filesystem itself and stays.
    Protected {
        /// The name.
        name: Vec<u8>,
        /// What was being done to it.
        operation: &'static str,
    },
    /// One more name than `i_links_count` can count.
    TooManyLinks {
        /// The names it has.
        links: u32,
    },
    /// One more subdirectory than a directory can count without the features `dir_index` and
    /// `dir_nlink`.
    TooManySubdirectories {
        /// The subdirectories it has.
        subdirectories: u32,
    },
    /// A symbolic link's target that ext4 cannot hold.
    InvalidTarget {
        /// Its length in bytes.
        length: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A device number beyond what ext4 stores (12 bits of major, 20 of minor).
    InvalidDevice {
        /// The major number.
        major: u32,
        /// The minor number.
        minor: u32,
    },
    /// A file longer than an extent tree can map.
    FileTooLarge {
        /// The bytes asked for.
        size: u64,
        /// The most that there can be.
        limit: u64,
    },
    /// The segments of a sparse file overlap, are out of order or pass its end.
    InvalidSegments {
        /// The offset of the first that is wrong, in bytes.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The reader ended before the declared size.
    ContentShort {
        /// The bytes declared.
        expected: u64,
        /// The bytes that came.
        got: u64,
    },
    /// The reader had more than the declared size.
    ContentLong {
        /// The bytes declared.
        expected: u64,
    },
    /// The reader of the content failed.
    ReadContent {
        /// How many bytes had come.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A file of this host that could not be read, or not added.
    #[cfg(all(feature = "tree", target_os = "linux"))]
    HostFile {
        /// Its path.
        path: PathBuf,
        /// Why: the host's answer, or an error of this type.
        source: io::Error,
    },
    /// An extended attribute that ext4 cannot hold.
    InvalidAttribute {
        /// Its full name.
        name: Vec<u8>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The attributes of one inode fill more than the inode and one block: with the feature
    /// `ea_inode` their entries alone.
    AttributesTooLarge {
        /// The bytes that they need beside the inode.
        needed: usize,
        /// The bytes that a block has for them.
        limit: usize,
    },
    /// A directory with more names than its index can reach.
    DirectoryTooLarge {
        /// The leaf blocks that its names need.
        leaves: usize,
        /// The most that the index reaches: with `large_dir` there is one level more.
        limit: usize,
    },
    /// An option that cannot be met.
    InvalidOption {
        /// The option.
        option: &'static str,
        /// What is wrong, with the numbers.
        reason: String,
    },
    /// A feature of a name that neither mke2fs nor this crate knows.
    UnknownFeature {
        /// The name.
        name: String,
    },
    /// A feature that is not written, or that no filesystem of this crate is without.
    RefusedFeature {
        /// Its name, with `^` if it was to go.
        name: String,
        /// Why.
        reason: String,
    },
    /// A feature that cannot be written truthfully beside another feature or an option.
    FeatureConflict {
        /// Its name.
        feature: String,
        /// The other feature, with `^` if its absence is what conflicts, or the option.
        other: String,
        /// Why they do not go together.
        reason: String,
    },
    /// There is no place for more.
    ImageFull {
        /// The blocks that are needed.
        needed: u64,
        /// The blocks that there are.
        available: u64,
    },
    /// The tree has more inodes than were asked for.
    TooFewInodes {
        /// The inodes that the tree needs.
        needed: u64,
        /// The inodes that there are.
        available: u64,
    },
    /// The filesystem is longer than the device that is to hold it.
    DeviceTooSmall {
        /// The bytes of the filesystem.
        size: u64,
        /// The bytes of the device.
        capacity: u64,
    },
    /// The sink failed. The builder is poisoned: every later call fails.
    WriteImage {
        /// Where in the image, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Why.
        source: io::Error,
    },
    /// What was written could not be read back.
    ReadImage {
        /// Where in the image, in bytes.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Why.
        source: io::Error,
    },
    /// An earlier failure of the sink left the image in an unknown state.
    Poisoned,
    /// A promise of this library's own code broke; please report it.
    Internal {
        /// The promise.
        promise: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name, reason } => {
                write!(f, "name \"{}\" {reason}", name.escape_ascii())
            }
            Self::Exists { name } => write!(f, "\"{}\" exists already", name.escape_ascii()),
            Self::NotFound { name } => write!(f, "there is no \"{}\"", name.escape_ascii()),
            Self::WrongKind { operation, needs } => write!(f, "cannot {operation}: not {needs}"),
            Self::StaleNode { index } => {
                write!(f, "node {index} was removed or belongs to another builder")
            }
            Self::Protected { name, operation } => write!(
                f,
                "cannot {operation} \"{}\": it belongs to the filesystem",
                name.escape_ascii()
            ),
            #[cfg(all(feature = "tree", target_os = "linux"))]
            Self::HostFile { path, source } => write!(f, "{}: {source}", path.display()),
            Self::ReadContent { offset, source } => {
                write!(f, "cannot read content behind byte {offset}: {source}")
            }
            Self::WriteImage { offset, length, source } => {
                write!(f, "cannot write {length} bytes at byte {offset} of the image: {source}")
            }
            Self::ReadImage { offset, length, source } => {
                write!(f, "cannot read {length} bytes at byte {offset} of the image: {source}")
            }
            Self::ContentShort { expected, got } => {
                write!(f, "content ended after {got} of {expected} bytes")
            }
            Self::ContentLong { expected } => {
                write!(f, "content goes on behind its {expected} bytes")
            }
            Self::Poisoned => f.write_str("an earlier failure to write left the image unusable"),
            Self::Internal { promise } => write!(f, "a bug in ext4-writer: {promise}"),
            beyond => beyond.fmt_limit(f),
        }
    }
}

impl Error {
    /// The messages of what ext4, or this image, has no room for.
    fn fmt_limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyLinks { links } => {
                write!(f, "a file cannot have more than {links} names in ext4")
            }
            Self::TooManySubdirectories { subdirectories } => write!(
                f,
                "a directory cannot have more than {subdirectories} subdirectories without the \
                 features dir_index and dir_nlink"
            ),
            Self::InvalidTarget { length, reason } => {
                write!(f, "symbolic link target of {length} bytes {reason}")
            }
            Self::InvalidDevice { major, minor } => write!(
                f,
                "device {major}:{minor} is beyond 4095:1048575, the largest that ext4 can store"
            ),
            Self::FileTooLarge { size, limit } => {
                write!(f, "a file of {size} bytes is beyond the limit of {limit}")
            }
            Self::InvalidSegments { offset, reason } => {
                write!(f, "the segment at byte {offset} of a sparse file {reason}")
            }
            Self::InvalidAttribute { name, reason } => {
                write!(f, "extended attribute \"{}\" {reason}", name.escape_ascii())
            }
            Self::AttributesTooLarge { needed, limit } => write!(
                f,
                "extended attributes need {needed} bytes beside the inode, a block has {limit}; \
                 the feature ea_inode gives large values inodes of their own"
            ),
            Self::DirectoryTooLarge { leaves, limit } => {
                write!(f, "a directory needs {leaves} leaf blocks, its index reaches {limit}")
            }
            Self::InvalidOption { option, reason } => write!(f, "{option}: {reason}"),
            Self::UnknownFeature { name } => write!(f, "there is no feature \"{name}\""),
            Self::RefusedFeature { name, reason } => {
                write!(f, "feature {name} is not written: {reason}")
            }
            Self::FeatureConflict { feature, other, reason } => {
                write!(f, "feature {feature} does not go with {other}: {reason}")
            }
            Self::ImageFull { needed, available } => {
                write!(f, "image is full: {needed} blocks needed, {available} free")
            }
            Self::TooFewInodes { needed, available } => {
                write!(f, "too few inodes: {needed} needed, {available} at most")
            }
            Self::DeviceTooSmall { size, capacity } => write!(
                f,
                "a filesystem of {size} bytes is longer than its device, which has {capacity}"
            ),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(all(feature = "tree", target_os = "linux"))]
            Self::HostFile { source, .. } => Some(source),
            Self::ReadContent { source, .. }
            | Self::WriteImage { source, .. }
            | Self::ReadImage { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An invariant of this library's own code, as an error instead of a panic.
pub(crate) const fn internal(promise: &'static str) -> Error {
    Error::Internal { promise }
}
