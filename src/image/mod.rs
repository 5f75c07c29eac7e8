//! Layers to an image file: flattened onto a filesystem, which is published when all is proven.

mod behind;
mod beside;
mod blank;
mod build;
mod busy;
mod device;
mod file;
mod file_sink;
mod identity;
mod interruption;
mod names;
mod output;
mod ready;
mod recipe;
mod refused;
mod size;
mod vacancy;
mod writable;

pub use beside::check as check_description;
pub use blank::{Blank, Made, random_uuid};
pub use build::{Base, build};
pub use device::DiscardingSink;
pub use file::Draft;
pub use file_sink::FileSink;
pub use interruption::interrupt;
pub use output::{ImageSink, Place};
pub use ready::{Built, Ready};
pub use recipe::{DiskSpec, Recipe, Root};
pub use size::{ImageSize, parse_bytes};
pub use vacancy::{PlaceKind, Vacancy};
pub use writable::check_output;
