//! Blobs on disk: written whole or not at all, verified whenever they are read, shared between
//! processes.
//!
//! The directory is an OCI image layout, so that other tools can read beside us. What is being
//! written stands under `ingest/` in a file that its process holds locked: a temporary file whose
//! lock is free belongs to nobody, and the next [`Cache`] to open removes it.
//!
//! Whoever uses the cache holds its lock with others, whoever takes blobs out of it alone. Death
//! frees all locks.

mod access;
mod blob;
mod directory;
mod gc;
mod incoming;
mod part;
mod store;
mod tags;
mod temporary;
#[cfg(test)]
mod tests;

pub(crate) use self::blob::CachedBlob;
pub(crate) use self::gc::{CacheEntry, CacheEntryKind, PruneOptions};
pub(crate) use self::incoming::{Incoming, Verified};
pub(crate) use self::part::Claim;
pub use self::store::Cache;
