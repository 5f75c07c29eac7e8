//! Turns an OCI image into a bootable ext4 disk image in one pass.
//!
//! [`pull`](pull::pull) is the way in for programs. The modules stand in the order in which the data
//! goes: a [`source`] names the layers and the [`cache`] holds their blobs; [`layer`] turns a blob into
//! tar entries; [`flatten`] applies them onto the tree of an `ext4_writer::Builder`, [`inject`] adds
//! files of the host and [`guest`] an init; [`image`] owns the file, [`look`] reads what is in one,
//! [`report`] prints what happened, [`cli`] makes requests of arguments.

pub mod cache;
pub mod cli;
pub mod demo;
pub mod digest;
pub mod error;
pub mod flatten;
pub mod guest;
pub mod image;
pub mod inject;
mod json;
pub mod layer;
pub mod lint;
pub mod look;
mod open;
pub mod pull;
pub mod report;
mod shown;
mod signature;
pub mod source;

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
