//! Turns an OCI image into a bootable ext4 disk image in one pass.
//!
//! The rooms stand in the order in which the data walks: a [`source`] names the layers and the
//! [`cache`] holds their blobs, [`layer`] turns a blob into tar entries, [`flatten`] puts them onto
//! the filesystem's tree, and [`inject`] adds the guest's own files as one more layer.

pub mod cache;
pub mod digest;
pub mod error;
pub mod flatten;
pub mod inject;
pub mod layer;
pub mod source;
