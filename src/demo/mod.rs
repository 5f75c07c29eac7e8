//! A small image that is part of the program, and a registry on loopback that serves it.

mod image;
mod registry;

pub(crate) use registry::DemoRegistry;

/// The name of the image in its registry.
pub(crate) const REPOSITORY: &str = "banger/demo";
/// The image's tag.
pub(crate) const TAG: &str = "latest";
