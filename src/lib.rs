//! Turns an OCI image into a bootable ext4 disk image in one pass.
//!
//! [`pull::pull`] is the way in for programs. The modules stand in the order in which the data goes: a
//! [`source`] names the layers and `cache` holds their blobs; [`layer`] turns a blob into tar entries;
//! [`flatten`] applies them onto the tree of an `ext4_writer::Builder`, `inject` adds files of the host
//! and `guest` an init; [`image`] owns the file, `look` reads what is in one, `edit` changes it,
//! `report` prints what happened, `cli` makes requests of arguments.

mod cache;
mod cli;
mod demo;
pub mod digest;
mod edit;
pub mod error;
pub mod flatten;
mod guest;
pub mod image;
mod inject;
mod json;
pub mod layer;
mod lint;
mod look;
mod open;
pub mod pull;
mod read;
mod report;
mod shown;
mod signature;
pub mod source;

use std::process::ExitCode;

pub use cache::Cache;
pub use inject::{Addition, Owner, OwnerMap, OwnerRange, Owners};
pub use lint::{Finding, Severity};

/// Runs the program with the arguments of the process; the exit code.
#[must_use]
pub fn run_program() -> ExitCode {
    cli::run()
}

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
