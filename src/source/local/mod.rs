//! Images on this host: in layouts, in archives, as one flat archive, on a stream.
//!
//! Nothing is copied into the cache: layers are read where they lie, and verified while they are
//! read as those of a registry are.

mod archive;
pub(in crate::source) mod daemon;
mod directory;
mod docker;
mod image;
pub mod kind;
mod layout;
mod layout_files;
mod open;
mod root_archive;
pub(in crate::source) mod section;
mod spool;

pub use self::image::LocalImage;
pub use self::open::{Local, Resolved};
pub use self::root_archive::RootArchive;
pub use self::spool::directory_of_copies;
