//! How much a hostile image may make us read, remember or do.

use std::{fmt, io};

/// The bounds of one image. The errors of those that a user can set name the limit, see [`flag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Layers of an image.
    pub layers: u16,
    /// Compressed bytes of one layer.
    pub blob: u64,
    /// Uncompressed bytes of one layer.
    pub layer: u64,
    /// Uncompressed bytes of all layers of an image.
    pub image: u64,
    /// Uncompressed bytes for one compressed byte, once [`Limits::ratio_free`] is passed.
    pub ratio: u64,
    /// Uncompressed bytes of a layer that no ratio is asked of.
    pub ratio_free: u64,
    /// Bytes of one layer that go nowhere: contents of entries that have none by rule, headers
    /// that others replace, and what follows the end of the archive.
    pub ignored: u64,
    /// Base-two logarithm of the largest window of zstd and xz.
    pub window_log: u32,
    /// Entries of all layers of an image.
    pub entries: u64,
    /// Bytes of all names, link targets and attributes of an image, which stay in memory.
    pub metadata: u64,
    /// Bytes of one extended header (PAX records, a GNU long name or long link).
    pub extension: u64,
    /// Bytes of an entry's path, and of a hard link's target.
    pub path: usize,
    /// Bytes of a symbolic link's target, at most [`MAX_SYMLINK`].
    pub symlink: usize,
    /// Bytes of the names and values of one entry's extended attributes.
    pub xattrs: usize,
    /// Bytes of the value of one extended attribute, at most [`MAX_XATTR`].
    pub xattr: usize,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
    /// Symbolic links in one path.
    pub symlink_depth: u32,
    /// Directories that are passed because of symbolic links, not because an entry's own path
    /// names them, over a whole image.
    pub traversals: u64,
}

/// The longest target of a symbolic link that a kernel follows: `PATH_MAX` without the NUL.
pub const MAX_SYMLINK: usize = 4095;
/// The longest value of an attribute that a kernel hands to a program: `XATTR_SIZE_MAX`.
pub const MAX_XATTR: usize = 64 << 10;

/// The names of the limits, as `--limit NAME=VALUE` takes them.
pub mod flag {
    /// Sets [`Limits::layers`](super::Limits::layers).
    pub const LAYERS: &str = "layers";
    /// Sets [`Limits::blob`](super::Limits::blob).
    pub const BLOB: &str = "blob";
    /// Sets [`Limits::layer`](super::Limits::layer).
    pub const LAYER: &str = "layer";
    /// Sets [`Limits::image`](super::Limits::image).
    pub const IMAGE: &str = "image";
    /// Sets [`Limits::ratio`](super::Limits::ratio).
    pub const RATIO: &str = "ratio";
    /// Sets [`Limits::ignored`](super::Limits::ignored).
    pub const IGNORED: &str = "ignored";
    /// Sets [`Limits::window_log`](super::Limits::window_log).
    pub const WINDOW: &str = "window";
    /// Sets [`Limits::entries`](super::Limits::entries).
    pub const ENTRIES: &str = "entries";
    /// Sets [`Limits::metadata`](super::Limits::metadata).
    pub const METADATA: &str = "metadata";
    /// Sets [`Limits::extension`](super::Limits::extension).
    pub const HEADER: &str = "header";
    /// Sets [`Limits::path`](super::Limits::path).
    pub const PATH: &str = "path";
    /// Sets [`Limits::symlink`](super::Limits::symlink).
    pub const SYMLINK: &str = "link";
    /// Sets [`Limits::xattrs`](super::Limits::xattrs).
    pub const XATTRS: &str = "xattrs";
    /// Sets [`Limits::xattr`](super::Limits::xattr).
    pub const XATTR: &str = "xattr-value";
    /// Sets [`Limits::sparse_segments`](super::Limits::sparse_segments).
    pub const SPARSE: &str = "sparse";
    /// Sets [`Limits::symlink_depth`](super::Limits::symlink_depth).
    pub const SYMLINK_DEPTH: &str = "symlink-depth";
    /// Sets [`Limits::traversals`](super::Limits::traversals).
    pub const TRAVERSALS: &str = "traversal";

    /// The advice that ends the error of a bound.
    #[must_use]
    pub fn raise(name: &str) -> String {
        format!("raise --limit {name}=VALUE if you trust the image")
    }
}

/// A bound that the compressed bytes go over, and the flag that lifts it. It travels inside an
/// [`io::Error`].
#[derive(Debug)]
pub(super) struct Excess {
    why: String,
    pub(super) flag: &'static str,
}

impl Excess {
    pub(super) fn error(why: String, flag: &'static str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self { why, flag })
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Excess {}

impl Default for Limits {
    fn default() -> Self {
        const KIB: usize = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            layers: 1000,
            blob: 32 * GIB,
            layer: 64 * GIB,
            image: 128 * GIB,
            ratio: 1000,
            ratio_free: GIB,
            ignored: 64 * MIB,
            window_log: 27,
            entries: 4_000_000,
            metadata: GIB,
            extension: MIB,
            path: 4096,
            symlink: MAX_SYMLINK,
            xattrs: 64 * KIB,
            xattr: MAX_XATTR,
            sparse_segments: 10_000,
            symlink_depth: 40,
            traversals: 10_000_000,
        }
    }
}
