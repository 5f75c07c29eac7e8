//! Writes ext4 filesystems from a program: no mkfs, no mount, no root.
//!
//! A [`Builder`] takes a tree as it comes and an open [`Sink`] for the image: a [`FileSink`], a
//! [`DeviceSink`], a [`MemorySink`], a [`CountingSink`], or one of the caller's own.
//!
//! ```
//! use ext4_writer::{Builder, FileContent, MemorySink, Metadata, Options, Size, Timestamp};
//!
//! # fn main() -> ext4_writer::Result<()> {
//! let size = Size::Fit { free_bytes: 16 << 20, free_inodes: 100 };
//! let mut builder = Builder::create(MemorySink::new(), Options::new(size))?;
//!
//! let then = Timestamp::from_seconds(1_767_225_600);
//! let etc = builder.add_directory(builder.root(), b"etc", &Metadata::root_owned(0o755, then))?;
//! let metadata = Metadata::root_owned(0o644, then);
//! let text = b"demo\n";
//! let file =
//!     builder.add_file(etc, b"hostname", &metadata, FileContent::new(5, &mut text.as_slice()))?;
//! builder.set_xattr(file, b"user.origin", b"the example")?;
//! builder.add_link(etc, b"nodename", file)?;
//!
//! let (summary, sink) = builder.finish()?;
//! assert_eq!(u64::try_from(sink.into_bytes().len()).unwrap(), summary.size);
//! # Ok(())
//! # }
//! ```
//!
//! # What is written
//!
//! The features `has_journal`, `ext_attr`, `resize_inode`, `dir_index`, `filetype`, `extent`,
//! `64bit`, `flex_bg`, `sparse_super`, `large_file`, `huge_file`, `dir_nlink`, `extra_isize` and
//! `metadata_csum`, with blocks of 4 KiB and inodes of 256 bytes: what mke2fs 1.47 makes, less
//! `metadata_csum_seed` and `orphan_file`, which older kernels and boot loaders cannot read.
//!
//! # Where things are
//!
//! ```text
//! | superblock, descriptors, room for more | contents, as they came | directories, extent nodes,
//! attributes | inode tables | block bitmaps | inode bitmaps | journal | free |
//! ```
//!
//! Contents are written while they are read, behind one rising cursor that goes around the backup
//! copies of the superblock. Everything else is decided at [`Builder::finish`], when the number of
//! inodes is known, and lies behind the contents; `flex_bg` allows that. So one pass serves a
//! fixed size and a fitted one. Blocks of zeros are not written: a new file keeps them as holes.
//! On a device of [unknown content](Prior::Unknown) they are, and so is all else that must be zero;
//! [`Options::lazy_itable_init`] and [`Options::lazy_journal_init`] say what may be left for later.
//! What was removed is made to read as zeros, and its blocks are used again.
//!
//! # Determinism
//!
//! An image is a function of the calls and options. The library has no clock, no randomness, no
//! environment and no hash order.
//!
//! # Errors
//!
//! [`Error`] says what is wrong with which thing and with which numbers. After an error the
//! builder is as it was before the call, unless the sink failed, which poisons it. Nothing
//! panics on input.

mod alloc;
mod anchors;
mod attributes;
mod batch;
mod builder;
mod checksum;
mod content;
mod device;
mod dirhash;
mod emit;
mod error;
mod features;
mod format;
mod geometry;
mod metadata;
mod options;
mod plan;
mod record;
mod sink;
mod tree;
mod units;

pub use builder::{Builder, Summary};
pub use device::DeviceSink;
pub use error::{Error, Result};
pub use features::Features;
pub use metadata::{FileContent, FileFlags, FileKind, Metadata, Segment, Special, Timestamp};
pub use options::{
    DirectoryHash, HashedBytes, Journal, MountOptions, OnError, Options, Profile, Reserved, Size,
};
pub use sink::{CountingSink, FileSink, MemorySink, Prior, Sink, zero_by_writing};
pub use tree::NodeId;
