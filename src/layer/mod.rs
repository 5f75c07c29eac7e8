//! A blob's bytes to tar entries: decompression, digests, headers, limits.
//!
//! A [`LayerStream`] decompresses and hashes, an [`Archive`] over it reads the entries. The tar
//! semantics are those of Go's `archive/tar`, which the container tools read layers with.

mod ahead;
mod archive;
mod buffer;
mod decompress;
mod entry;
#[cfg(test)]
pub(crate) mod forge;
mod gzip;
mod header;
mod input;
mod pax;
mod sparse;
mod stream;
mod zstandard;

pub use archive::{Archive, Body};
pub use decompress::Compression;
pub use entry::{Entry, EntryKind, Xattr};
pub use stream::{LayerBlob, LayerStream, LayerTotals};

/// How much a hostile image may make us read or remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer.
    pub layer: u64,
    /// Uncompressed bytes of all layers of an image.
    pub image: u64,
    /// Uncompressed bytes for one compressed byte, once [`Limits::ratio_free`] is passed.
    pub ratio: u64,
    /// Uncompressed bytes of a layer that no ratio is asked of.
    pub ratio_free: u64,
    /// Base-two logarithm of the largest zstd window.
    pub zstd_window_log: u32,
    /// Entries of all layers of an image.
    pub entries: u64,
    /// Bytes of all names, link targets and attributes of an image, which stay in memory.
    pub metadata: u64,
    /// Bytes of one extended header (PAX records, a GNU long name or long link).
    pub extension: u64,
    /// Bytes of an entry's path, and of a hard link's target.
    pub path: usize,
    /// Bytes of a symbolic link's target.
    pub symlink: usize,
    /// Data segments of one sparse file.
    pub sparse_segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            layer: 64 * GIB,
            image: 128 * GIB,
            ratio: 1000,
            ratio_free: GIB,
            zstd_window_log: 27,
            entries: 4_000_000,
            metadata: GIB,
            extension: 1 << 20,
            path: 4096,
            symlink: 4095,
            sparse_segments: 10_000,
        }
    }
}
