//! A blob's bytes to tar entries: decompression, digests, headers, limits.
//!
//! A [`LayerStream`] decompresses and hashes, an [`Archive`] over it reads the entries. The tar
//! semantics are those of Go's `archive/tar`, which the container tools read layers with.

mod acl;
mod ahead;
mod archive;
mod buffer;
mod bzip2;
mod check;
mod decompress;
mod entry;
#[cfg(test)]
pub(crate) mod forge;
mod gzip;
mod header;
mod input;
mod limits;
mod lookahead;
mod messages;
mod pax;
mod pool;
mod producer;
mod sparse;
mod stream;
mod streams;
mod turn;
mod writer;
mod xz;
mod zstandard;

pub(crate) use acl::Class;
pub use acl::{Acl, Acls};
pub use archive::{Archive, Body};
pub use decompress::Compression;
pub use entry::{Entry, EntryKind, Unsupported, Xattr};
pub use limits::{Limits, MAX_SYMLINK, MAX_XATTR, flag};
pub use lookahead::{LookAhead, Memory};
pub use stream::{LayerBlob, LayerStream, LayerTotals};
pub use writer::ArchiveWriter;

/// A length of memory as one of an archive.
fn widen(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
