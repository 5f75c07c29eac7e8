//! What comes from the host: a directory as the whole root, files to add, overlay archives.
//!
//! All go through the [`Flattener`], so a destination is resolved inside the image, through its
//! symbolic links, exactly as the path of a layer's entry is.

mod add;
mod addition;
mod hasher;
mod image_tree;
mod overlay;
mod owners;
mod stored;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub(crate) use add::{add_below, add_files};
pub use addition::Addition;
pub(crate) use hasher::TreeHasher;
pub(crate) use image_tree::add_image;
pub(crate) use image_tree::{EntrySink, Tree};
pub(crate) use overlay::open_overlay;
pub use owners::{Owner, OwnerMap, OwnerRange, Owners};
pub(crate) use tree::{Adding, HostTree, add_tree};
