//! What the fuzzers do with their bytes.
//!
//! Bytes become a case by the rules of [`input`], and a case becomes bytes again: so the corpora
//! begin with cases that were thought of, which the bin `seeds` writes.

pub mod damaged;
#[macro_use]
pub mod input;
pub mod operations;
pub mod options;
