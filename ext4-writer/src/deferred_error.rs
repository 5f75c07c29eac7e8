//! Errors of writes that somebody hears of later.

use std::io;

/// Where a write failed that had been taken for done: the call that tells it is about another
/// place. It travels inside an [`io::Error`] of the same kind.
#[derive(Debug)]
pub(crate) struct DeferredError {
    /// The first byte of the write.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Why it failed.
    pub source: io::Error,
}

impl DeferredError {
    /// The error of a write of so many bytes at `offset`.
    pub(crate) fn error(offset: u64, length: u64, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Self { offset, length, source })
    }

    /// What failed and where: what `error` says itself, or a write of `length` bytes at `offset`.
    pub(crate) fn of(error: io::Error, offset: u64, length: u64) -> Self {
        error.downcast().unwrap_or_else(|source| Self { offset, length, source })
    }
}

impl std::fmt::Display for DeferredError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl std::error::Error for DeferredError {}
