//! Writes ext4 filesystems from a program.

mod alloc;
mod attributes;
mod batch;
mod builder;
mod checksum;
mod content;
mod dirhash;
mod emit;
mod error;
mod geometry;
mod metadata;
mod options;
mod plan;
mod record;
mod sink;
mod tree;
mod units;

pub use builder::{Builder, Summary};
pub use error::{Error, Result};
pub use metadata::{FileContent, FileKind, Metadata, Segment, Special, Timestamp};
pub use options::{Journal, Options, Reserved, Size};
pub use sink::{CountingSink, FileSink, MemorySink, Sink, zero_by_writing};
pub use tree::NodeId;
