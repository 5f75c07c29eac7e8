//! Where an image comes from: the image that a reference resolves to, and its layers' blobs.

pub mod blob_reader;
pub mod credentials;
pub mod hosts;
pub mod image_reference;
pub mod limits;
pub mod local;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod resolved_image;
mod select;
pub mod warnings;

pub use blob_reader::BlobReader;
pub use image_reference::ImageReference;
pub use limits::Limits;
pub use local::{Local, LocalImage, RootArchive, directory_of_copies};
pub use manifest::{Config, History};
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{
    BlobProgress, Downloads, LoginCheck, Options, Progress, Pull, Registry, Subject,
};
pub use resolved_image::{Blobs, ResolvedImage, Transfer};
pub use warnings::Warnings;

use crate::digest::Digest;
use crate::shown::excerpt;

/// An image of one platform, ready to be fetched.
#[derive(Clone, Debug)]
pub struct Image {
    /// What was asked for, in full, as shown to people.
    pub reference: String,
    /// The index that named the manifest, when there was one.
    pub index_digest: Option<Digest>,
    /// The manifest; an archive of docker save and a root filesystem have none.
    pub manifest_digest: Option<Digest>,
    /// What names the content, however it is packed: the digest of the config, which docker calls
    /// the image's ID. What names a root filesystem is known when it has been read.
    pub identity: Option<Digest>,
    /// What the image runs on; a root filesystem does not say.
    pub platform: Option<Platform>,
    /// How a container of it would be run.
    pub config: Config,
    /// Its layers, oldest first.
    pub layers: Vec<Layer>,
}

/// A layer as its manifest and its config describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its place in the manifest, from 0.
    pub index: usize,
    /// The digest of the blob, compressed as it is.
    pub digest: Digest,
    /// The length of the blob in bytes.
    pub size: u64,
    /// The blob's declared type; what it really is, its first bytes say.
    pub media_type: String,
    /// The digest of the uncompressed tar, when somebody promised one.
    pub diff_id: Option<Digest>,
    /// Where else than in the registry it is, as whoever made the image says.
    pub urls: Vec<String>,
}
