//! A small image that is part of the program, and a registry on loopback that serves it.

mod image;
mod registry;

pub use registry::DemoRegistry;

/// The name of the image in its registry.
pub const REPOSITORY: &str = "banger/demo";
/// The image's tag.
pub const TAG: &str = "latest";
