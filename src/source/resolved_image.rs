//! An image that was found, and its layers' blobs, wherever they are.

use super::blob_reader::BlobReader;
use super::local::{Local, LocalImage, Resolved, RootArchive};
use super::platform::Platform;
use super::registry::{Downloads, Options, Registry};
use super::{Config, Image, ImageReference, Layer, Limits};
use crate::cache::Cache;
use crate::error::{Error, Result};

/// An image ready to be read.
#[derive(Debug)]
pub struct ResolvedImage {
    image: Image,
    location: Location,
}

#[derive(Debug)]
enum Location {
    /// In a registry and, as far as they have been fetched before, in the cache.
    Registry {
        registry: Registry,
        cache: Cache,
        trusted: Vec<Layer>,
    },
    Local(Box<LocalImage>),
    /// In one archive that is read once, and is not here any more then.
    Archive {
        bytes: u64,
        archive: Option<RootArchive>,
    },
    /// There are no layers: a tree of so many bytes is read by itself.
    Tree {
        bytes: u64,
    },
}

impl ResolvedImage {
    /// Finds the image that `reference` names in a registry, and asks for every layer that the cache
    /// does not have, so that a missing one is found before the long work.
    pub fn remote(
        reference: &ImageReference,
        platform: &Platform,
        cache: &Cache,
        options: &Options,
    ) -> Result<Self> {
        let ImageReference::Registry(name) = reference else {
            return Err(Error::internal(format!("{reference} is not in a registry")));
        };
        let registry = Registry::connect(name, cache, options)?;
        let image = registry.resolve(platform)?;
        registry.touch(&image)?;
        let layers = image.layers.iter();
        let trusted = layers.filter(|layer| cache.contains(&layer.digest, layer.size));
        let trusted = trusted.cloned().collect();
        let location = Location::Registry { registry, cache: cache.clone(), trusted };
        Ok(Self { image, location })
    }

    /// Finds the image that `reference` names on this host.
    pub fn local(reference: &ImageReference, platform: &Platform, limits: &Limits) -> Result<Self> {
        Ok(match Local::open(reference, limits)?.resolve(platform)? {
            Resolved::Image(found) => {
                Self { image: found.image.clone(), location: Location::Local(found) }
            }
            Resolved::Archive(archive) => Self {
                image: root_filesystem(reference),
                location: Location::Archive { bytes: archive.length(), archive: Some(archive) },
            },
        })
    }

    /// A root filesystem without layers, whose files have so many bytes.
    #[must_use]
    pub fn tree(reference: &ImageReference, bytes: u64) -> Self {
        Self { image: root_filesystem(reference), location: Location::Tree { bytes } }
    }

    /// The archive that is the root filesystem, if it is in one and was not taken yet.
    #[must_use]
    pub fn take_archive(&mut self) -> Option<RootArchive> {
        match &mut self.location {
            Location::Archive { archive, .. } => archive.take(),
            Location::Registry { .. } | Location::Local(_) | Location::Tree { .. } => None,
        }
    }

    /// The image.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The image, when nothing more of it is read.
    #[must_use]
    pub fn into_image(self) -> Image {
        self.image
    }

    /// The bytes that are read to make the image.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.location {
            Location::Tree { bytes } | Location::Archive { bytes, .. } => *bytes,
            Location::Registry { .. } | Location::Local(_) => {
                self.image.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
            }
        }
    }

    /// Begins to fetch what is not here, several layers at a time, oldest first.
    #[must_use]
    pub fn blobs(&self) -> Blobs<'_> {
        match &self.location {
            Location::Registry { registry, .. } => Blobs::InFlight(registry.download(&self.image)),
            Location::Local(local) => Blobs::Local(local),
            Location::Tree { .. } | Location::Archive { .. } => Blobs::None,
        }
    }

    /// After a failure: whether a layer that the cache had turned out to be damaged, so that
    /// another try fetches it again.
    pub fn was_damaged(&self) -> Result<bool> {
        let Location::Registry { cache, trusted, .. } = &self.location else { return Ok(false) };
        for Layer { digest, size, .. } in trusted {
            if !cache.contains(digest, *size) || !cache.is_intact(digest, *size)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What nobody describes: neither a name, nor layers, nor how it is run.
fn root_filesystem(reference: &ImageReference) -> Image {
    Image {
        reference: reference.to_string(),
        index_digest: None,
        manifest_digest: None,
        identity: None,
        platform: None,
        config: Config::default(),
        layers: Vec::new(),
    }
}

/// The blobs of an image's layers, here or on their way.
#[derive(Debug)]
pub enum Blobs<'a> {
    /// Some come from a registry.
    InFlight(Downloads),
    /// All lie on this host.
    Local(&'a LocalImage),
    /// The image has no layers.
    None,
}

/// How many bytes came from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes that are fetched from a registry.
    pub fetched: u64,
    /// Bytes that the cache had.
    pub cached: u64,
}

impl Blobs<'_> {
    /// The blob of a layer from its first byte; one that is still being fetched is read behind the
    /// download.
    pub fn open(&self, layer: &Layer) -> Result<BlobReader> {
        match self {
            Self::InFlight(downloads) => downloads.open(layer.index),
            Self::Local(local) => local.open(layer),
            Self::None => Err(Error::internal("a tree without layers was asked for one")),
        }
    }

    /// What is to be fetched and what is not.
    #[must_use]
    pub fn transfer(&self) -> Transfer {
        match self {
            Self::InFlight(downloads) => {
                let progress = downloads.progress();
                Transfer { fetched: progress.total(), cached: progress.cached() }
            }
            Self::Local(_) | Self::None => Transfer::default(),
        }
    }

    /// Waits until every blob that was fetched is safely in the cache.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::InFlight(downloads) => downloads.finish(),
            Self::Local(_) | Self::None => Ok(()),
        }
    }
}
