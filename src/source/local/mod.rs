//! Images on this host: in layouts, in archives, as one flat archive, on a stream.
//!
//! Nothing is copied into the cache: layers are read where they lie, and proven while they are
//! read as those of a registry are.

mod bundle;
pub(in crate::source) mod daemon;
mod docker;
mod flat;
mod folder;
mod image;
pub mod kind;
mod layout;
mod open;
pub(in crate::source) mod piece;
mod shelf;
mod spool;

pub use self::flat::Flat;
pub use self::image::LocalImage;
pub use self::open::{Local, Resolved};
pub use self::spool::directory_of_copies;
