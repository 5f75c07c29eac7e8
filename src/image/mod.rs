//! Layers to an image file: flattened onto a filesystem, which is published when all is verified.

mod background_sync;
mod build;
mod busy;
mod checked_output;
mod device;
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
mod staged_copy;
mod staged_file;
mod staged_image;
mod writable;

pub use build::{Base, build};
pub use checked_output::{CheckedOutput, OutputKind};
pub use device::DiscardingSink;
pub use empty_disk::{EmptyDisk, MadeDisk, random_uuid};
pub use file_sink::{FileSink, Storage};
pub(crate) use identity::copied_uuid;
pub(crate) use in_place::{InPlace, open_in_place, undo_path};
pub use interruption::Interruption;
pub use output::{ImageSink, OutputTarget};
pub use sidecar::check as check_description;
pub use size::{ImageSize, parse_bytes};
pub use spec::{DiskSpec, ImageSpec, Root};
pub(crate) use staged_copy::StagedCopy;
pub use staged_file::StagedFile;
pub use staged_image::{Built, StagedImage};
pub use writable::check_output;
