//! Layers to an image file: flattened onto a filesystem, which is published when all is verified.

mod background_sync;
mod build;
mod busy;
mod checked_output;
mod device;
mod draft;
mod empty_disk;
mod file_sink;
mod identity;
mod in_place;
mod interruption;
mod names;
mod output;
mod refused;
mod sidecar;
mod size;
mod spec;
mod staged_file;
mod staged_image;
mod writable;

pub use build::{Base, build};
pub use checked_output::{CheckedOutput, OutputKind};
pub use device::DiscardingSink;
pub(crate) use draft::Draft;
pub use empty_disk::{EmptyDisk, MadeDisk, random_uuid};
pub use file_sink::FileSink;
pub(crate) use identity::copied_uuid;
pub(crate) use in_place::{InPlace, open_in_place, undo_path, uninterrupted};
pub use interruption::interrupt;
pub use output::{ImageSink, OutputTarget};
pub use sidecar::check as check_description;
pub use size::{ImageSize, parse_bytes};
pub use spec::{DiskSpec, ImageSpec, Root};
pub use staged_file::StagedFile;
pub use staged_image::{Built, StagedImage};
pub use writable::check_output;
