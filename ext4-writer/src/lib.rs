//! Writes ext4 filesystems from a program: no mkfs, no mount, no root.
//!
//! A [`Builder`] takes a tree as it comes and an open [`Sink`] for the image: a [`FileSink`], a
//! [`MemorySink`], a [`CountingSink`], a [`DeviceSink`], or one of the caller's own; [`WriteBehind`]
//! gives any of them a thread. The content of a file goes to its final place while it is read;
//! names, owners and attributes stay in memory until [`Builder::finish`] places and writes
//! everything else. The image is one that the kernel mounts for writing, `e2fsck` finds nothing to
//! say about and `resize2fs` grows.
//!
//! The module [`reader`] reads such images, and those of others: ext2, ext3 and ext4 alike; the
//! module [`edit`] changes them.
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
//! builder.add_link(etc, b"nodename", file)?;
//! builder.add_symlink(etc, b"mtab", &metadata, b"../proc/self/mounts")?;
//!
//! let (summary, sink) = builder.finish()?;
//! let image = sink.into_bytes();
//! assert_eq!(u64::try_from(image.len()).unwrap(), summary.size);
//! assert_eq!(image[0x438..0x43a], [0x53, 0xef]); // s_magic
//! # Ok(())
//! # }
//! ```
//!
//! # What an ext4 image is made of
//!
//! An image is a row of **blocks**, here of 1 KiB to 64 KiB, and for the bookkeeping a row of
//! **block groups**, each of as many blocks as one block has bits (at most 65,528): 128 MiB
//! with blocks of 4 KiB.
//!
//! - The **superblock**, 1,024 bytes at byte 1,024, says how large all is, which features the
//!   format has, and whose filesystem it is (UUID, label). Backups stand at the starts of groups
//!   1 and the powers of 3, 5 and 7.
//! - The **group descriptors** stand behind each copy of the superblock: where each group's two
//!   bitmaps and its inode table are, and what is free in it. Behind them blocks may be reserved
//!   for more descriptors, as blocks of the **resize inode**, so that the filesystem can grow while
//!   it is mounted.
//! - A group's **bitmaps** have one bit for each of its blocks and of its inodes.
//! - Its **inode table** holds its inodes of 128 to 1,024 bytes: kind, permissions, owners, times,
//!   length, and 60 bytes that say where the content is. Inode 2 is the root directory, 7 the
//!   resize inode, 8 the journal; files begin at 11, which is `lost+found`.
//! - Those 60 bytes hold a short symbolic link's target, a device's number, or the root of an
//!   **extent tree**: up to four mappings from blocks of the file to runs of blocks of the image,
//!   or to tree nodes with more of them. What nothing is mapped to is a hole. A mapping can be
//!   unwritten: the blocks are the file's, but read as zeros.
//! - A **directory** is a file of entries, each an inode number, a kind and a name. One of several
//!   blocks has an index in its first block (**htree**): a tree of the hashes of names, with a
//!   block of entries for each range of hashes, so that a lookup reads two to four blocks
//!   however many names there are.
//! - **Extended attributes** stand behind an inode's fields, and those that do not fit in a block
//!   of the inode's own, which inodes with the same attributes share; with the feature `ea_inode`
//!   large values have inodes of their own.
//! - The **journal** is a file in which the kernel writes changes of metadata first, so that after
//!   a crash it can be brought to a consistent state.
//! - Every piece of metadata carries a **checksum** (crc32c), mixed with where it belongs.
//!
//! The kernel's `Documentation/filesystems/ext4/` describes each in detail.
//!
//! # What is written, and when
//!
//! ```text
//! | superblock, descriptors, room for more | contents, as they came | directories, extent nodes,
//! attributes | inode tables | block bitmaps | inode bitmaps | resize map | journal | free |
//! ```
//!
//! Contents first: they are written while they are read, behind one rising cursor that goes around
//! the backups. Everything else is decided at [`Builder::finish`], when the number of inodes is
//! known, and lies behind the contents; the feature `flex_bg` allows that (without it, each group
//! keeps room for its own at its start). So one pass serves a fixed size and a fitted one, nothing
//! is ever moved, and nothing read back. The superblock is the last that is written: an image that
//! was not finished is none.
//!
//! Blocks of zeros are not written: a new file keeps them as holes. What was
//! [removed](Builder::remove) or [replaced](Builder::set_content) is made to read as zeros, and its
//! blocks are used again.
//!
//! Memory is needed for the tree, some 200 bytes for each node with its name, not for contents.
//!
//! # An image of a directory
//!
//! The example `from_dir` does this with owners, attributes, links and devices; in short:
//!
//! ```
//! use std::fs::{self, File};
//! use std::os::unix::{ffi::OsStrExt, fs::MetadataExt};
//! use std::path::Path;
//!
//! use ext4_writer::{Builder, FileContent, FileSink, Metadata, NodeId, Options, Size, Timestamp};
//!
//! type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
//!
//! fn copy(builder: &mut Builder<FileSink>, to: NodeId, from: &Path) -> Result<()> {
//!     let mut entries = fs::read_dir(from)?.collect::<std::io::Result<Vec<_>>>()?;
//!     // The order of a directory is an accident; that of an image should be none.
//!     entries.sort_by_key(|entry| entry.file_name());
//!     for entry in entries {
//!         let (path, name, found) = (entry.path(), entry.file_name(), entry.metadata()?);
//!         let nanoseconds = u32::try_from(found.mtime_nsec())?;
//!         let modified = Timestamp { seconds: found.mtime(), nanoseconds };
//!         let mode = u16::try_from(found.mode() & 0o7777)?;
//!         let metadata = Metadata::root_owned(mode, modified);
//!         if found.is_dir() {
//!             let directory = builder.add_directory(to, name.as_bytes(), &metadata)?;
//!             copy(builder, directory, &path)?;
//!         } else if found.is_file() {
//!             let mut file = File::open(&path)?;
//!             let content = FileContent::new(found.len(), &mut file);
//!             builder.add_file(to, name.as_bytes(), &metadata, content)?;
//!         } else {
//!             return Err(format!("{} is neither file nor directory", path.display()).into());
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<()> {
//! # let scratch = tempfile::tempdir()?;
//! # let (source, image) = (scratch.path().join("tree"), scratch.path().join("tree.ext4"));
//! # fs::create_dir_all(source.join("srv"))?;
//! # fs::write(source.join("srv/data"), [7; 10_000])?;
//! let sink = FileSink::new(File::create(&image)?)?;
//! let size = Size::Fit { free_bytes: 64 << 20, free_inodes: 1000 };
//! let mut builder = Builder::create(sink, Options::new(size))?;
//! let root = builder.root();
//! copy(&mut builder, root, &source)?;
//! let (summary, _) = builder.finish()?;
//! assert_eq!(fs::metadata(&image)?.len(), summary.size);
//! # Ok(())
//! # }
//! ```
//!
//! # Sparse files
//!
//! [`FileContent::sparse`] takes the parts of a file that hold data; all else is a hole, which
//! costs nothing in the image. [`Builder::preallocate`] takes blocks for holes without writing to
//! them.
//!
//! ```
//! use ext4_writer::{Builder, FileContent, MemorySink, Metadata, Options, Segment, Size};
//!
//! # fn main() -> ext4_writer::Result<()> {
//! let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
//! let mut builder = Builder::create(MemorySink::new(), Options::new(size))?;
//!
//! // A terabyte with five bytes at its start and five at its end.
//! let tebibyte = 1 << 40;
//! let segments =
//!     [Segment { offset: 0, length: 5 }, Segment { offset: tebibyte - 5, length: 5 }];
//! let mut data = b"firstlast!".as_slice();
//! let content = FileContent::sparse(tebibyte, &segments, &mut data);
//! let root = builder.root();
//! let disk = builder.add_file(root, b"disk.img", &Metadata::default(), content)?;
//! assert_eq!(builder.content_bytes(), 2 * 4096);
//!
//! // A megabyte in the middle that the guest can fill without allocating.
//! builder.preallocate(disk, tebibyte / 2, 1 << 20)?;
//! assert_eq!(builder.content_bytes(), 2 * 4096 + (1 << 20));
//!
//! let (summary, _) = builder.finish()?;
//! assert!(summary.size < 4 << 20);
//! # Ok(())
//! # }
//! ```
//!
//! # Extended attributes
//!
//! [`Builder::set_xattr`] takes full names and the values that `getxattr` shows. Those of POSIX
//! ACLs are turned into ext4's own form, in which alone the kernel obeys them. Attributes are
//! packed so that a block beside the inode is needed only if nothing else helps.
//!
//! ```
//! use ext4_writer::{Builder, FileContent, MemorySink, Metadata, Options, Size};
//!
//! # fn main() -> ext4_writer::Result<()> {
//! let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
//! let mut builder = Builder::create(MemorySink::new(), Options::new(size))?;
//! let mut nothing = std::io::empty();
//! let content = FileContent::new(0, &mut nothing);
//! let root = builder.root();
//! let ping = builder.add_file(root, b"ping", &Metadata::default(), content)?;
//!
//! // CAP_NET_RAW, effective and permitted: what setcap cap_net_raw+ep stores.
//! let mut capability = vec![0x01, 0, 0, 0x02];
//! capability.extend((1_u32 << 13).to_le_bytes());
//! capability.extend([0; 12]);
//! builder.set_xattr(ping, b"security.capability", &capability)?;
//! builder.set_xattr(ping, b"user.origin", b"the example")?;
//!
//! // user::rw- user:1000:r-- group::r-- mask::r-- other::---
//! let nobody = u32::MAX;
//! let entries: [(u16, u16, u32); 5] =
//!     [(1, 6, nobody), (2, 4, 1000), (4, 4, nobody), (16, 4, nobody), (32, 0, nobody)];
//! let mut acl = 2_u32.to_le_bytes().to_vec();
//! for (tag, permissions, id) in entries {
//!     acl.extend(tag.to_le_bytes());
//!     acl.extend(permissions.to_le_bytes());
//!     acl.extend(id.to_le_bytes());
//! }
//! builder.set_xattr(ping, b"system.posix_acl_access", &acl)?;
//!
//! let mut attributes = builder.xattrs(ping);
//! assert!(attributes.any(|(name, value)| name == b"system.posix_acl_access" && value == acl));
//! # drop(attributes);
//! # builder.finish()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Sizes
//!
//! [`Size::Fixed`] is exactly so many bytes of file and of filesystem; a size that is none is
//! refused with the nearest that are. [`Size::Fit`] is the smallest filesystem that holds the tree
//! and leaves the room asked for: so many bytes that an ordinary user can write, so many inodes.
//! The room can be decided when the contents are [known](Builder::content_bytes).
//!
//! ```
//! use ext4_writer::{Builder, CountingSink, FileContent, Metadata, Options, Size};
//!
//! # fn main() -> ext4_writer::Result<()> {
//! let smallest = Size::Fit { free_bytes: 0, free_inodes: 0 };
//! let mut builder = Builder::create(CountingSink::new(), Options::new(smallest))?;
//! let content = vec![1; 3_000_000];
//! let mut reader = content.as_slice();
//! let file = FileContent::new(3_000_000, &mut reader);
//! builder.add_file(builder.root(), b"data", &Metadata::default(), file)?;
//!
//! // As much again, and inodes for files of 8 KiB in it.
//! let room = builder.content_bytes();
//! builder.set_room(room, u32::try_from(room / 8192).unwrap())?;
//! let (summary, sink) = builder.finish()?;
//! assert!(summary.available >= room && summary.free_inodes >= 366);
//! // A sink that only counts tells the size of an image before it is made.
//! assert_eq!(sink.length(), summary.size);
//! # Ok(())
//! # }
//! ```
//!
//! [`Options::max_size`] says how far the filesystem can grow by `resize2fs`, mounted or not,
//! without moving anything; [`Options::journal`], [`Options::reserved`] and [`Options::inodes`]
//! shape the rest as the options of `mke2fs` do.
//!
//! # Features and profiles
//!
//! [`Features`] bear the names of `mke2fs -O`. By default a filesystem has what mke2fs 1.47 gives
//! it, less `metadata_csum_seed` and `orphan_file`, which older loaders and checkers refuse, with
//! blocks of 4 KiB and inodes of 256 bytes. [`Features::changed`] reads lists such as
//! `orphan_file,^has_journal`. What is not written is refused by name with the reason, and so are
//! combinations that cannot be written truthfully. A [`Profile`] is a named choice:
//!
//! | profile | features |
//! |---|---|
//! | `default` | [`Features::DEFAULT`]: for Linux since 4.14 and GRUB since 2.06 |
//! | `linux-4.14`, `grub-2.06` | today the same, and they stay so when `default` gets more |
//! | `max` | `default` and what Linux 6.12 takes beyond: `orphan_file`, `metadata_csum_seed`, `inline_data`, `ea_inode`, `large_dir` |
//! | `read-only` | `default` without journal, reserve and room to grow, for a disk that nobody writes to |
//!
//! # Devices
//!
//! A new file reads as zeros where nothing was written; a disk that was in use does not. Where a
//! sink says so ([`InitialContents::Unknown`]), as a [`DeviceSink`] does, zeros are written too, and
//! so is all else that must be zero; [`Options::lazy_itable_init`] and
//! [`Options::lazy_journal_init`] say what may be left for later. How large a filesystem a device
//! can hold is told by [`largest_size`].
//!
//! ```
//! use ext4_writer::reader::Reader;
//! use ext4_writer::{Builder, MemorySink, Options, Size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = Options::new(Size::Fixed(8 << 30)).with_modest_growth();
//! options.label = b"work".to_vec();
//! # options.size = Size::Fixed(64 << 20);
//! let builder = Builder::create(MemorySink::new(), options)?;
//! let (summary, sink) = builder.finish()?;
//! // An empty disk of 8 GiB is 240 KiB of writes.
//! assert!(summary.written < 240 << 10);
//! let reader = Reader::open(sink.into_bytes())?;
//! assert_eq!(reader.superblock().label, b"work");
//! # Ok(())
//! # }
//! ```
//!
//! # Determinism
//!
//! An image is a function of the calls and options, byte for byte, on every machine. The library
//! has no clock, no randomness, no environment and no hash order, and the one thread that it can
//! have, [`WriteBehind`]'s, writes what it is given in the order in which it comes: the times of what
//! nobody declared are [`Options::epoch`], the UUID is [derived](Options::uuid) from the tree if
//! it is not given, the hash seed from the UUID. Nodes are numbered, and contents placed, in the
//! order in which they were added, so trees that begin alike have images that begin alike; with
//! [`Options::stable_placement`] a file can grow without moving others.
//!
//! # Errors
//!
//! [`Error`] says what is wrong with which thing and with which numbers. After an error the
//! builder is as it was before the call, unless the sink failed, which poisons it. Nothing
//! panics on input.
//!
//! # More
//!
//! `DESIGN.md`, beside the sources of this crate, has the layout, the checksums and the deviations
//! from mke2fs with the source of each fact.

mod alignment;
mod alloc;
mod attributes;

mod buffer;
mod builder;
pub mod check;
mod content;
mod deferred_error;
mod device;
pub mod edit;
mod emit;
mod error;
mod format;
mod geometry;
#[cfg(all(feature = "tree", target_os = "linux"))]
mod host_tree;
mod io_errors;
mod metadata;
mod names;
mod options;
mod paths;
mod pending_zeroes;
mod plan;
mod positional;
mod readback;
pub mod reader;
mod record;
mod render;
mod sink;
mod tree;
mod write_behind;
mod write_buffer;

/// The example of `README.md`, which is tested like any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use buffer::Buffer;
pub use builder::{Builder, Summary};
pub use device::DeviceSink;
pub use error::{Error, Result};
pub use format::features::Features;
pub use format::hash::{DirectoryHash, HashedBytes};
pub use metadata::{FileContent, FileFlags, FileKind, Metadata, Segment, Special, Timestamp};
pub use options::{Journal, MountOptions, OnError, Options, Profile, Reserved, Size};
pub use paths::Entry;
pub use plan::valid_sizes::largest_size;
pub use sink::{CountingSink, FileSink, InitialContents, MemorySink, Sink, zero_by_writing};
pub use tree::NodeId;
pub use write_behind::WriteBehind;
