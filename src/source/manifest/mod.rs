//! The documents of an image, as a registry or a layout holds them: index, manifest, config.
//!
//! They are parsed by their own types rather than by a client library's, because the limits, the
//! refusal of documents that are two things at once, and the media types are policy.

mod config;
mod descriptor;
mod document;
mod lists;
mod media_types;
#[cfg(test)]
mod tests;

pub use self::config::{Config, History};
pub use self::descriptor::Descriptor;
pub(super) use self::descriptor::foreign_layer;
pub use self::document::{Document, Index, IndexEntry, Manifest};
pub(super) use self::lists::Count;
pub use self::media_types::ACCEPTED;
