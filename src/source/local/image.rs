//! An image whose layers lie on this host, and which of several is wanted.

use super::section::{Section, VerifiedReader};
use crate::error::{Error, Result};
use crate::source::image_reference::Choice;
use crate::source::{BlobReader, Image, Layer, Limits, Platform};

/// Which image of several is wanted, and how much of it is put up with.
pub(super) struct ImageSelection<'a> {
    pub(super) choice: Option<&'a Choice>,
    pub(super) platform: &'a Platform,
    /// For messages.
    pub(super) reference: &'a str,
    pub(super) limits: &'a Limits,
}

/// An image whose layers lie on this host.
#[derive(Debug)]
pub struct LocalImage {
    /// The image.
    pub image: Image,
    /// The blobs of its layers, in their order.
    sections: Vec<Section>,
}

impl LocalImage {
    /// Puts layers and their blobs together, as long as their descriptors say.
    pub(super) fn new(image: Image, sections: Vec<Section>) -> Result<Self> {
        for (layer, section) in image.layers.iter().zip(&sections) {
            if section.len() != layer.size {
                return Err(Error::bad_data(format!(
                    "{} is {} bytes long where its descriptor declares {}",
                    section.name(),
                    section.len(),
                    layer.size
                )));
            }
        }
        Ok(Self { image, sections })
    }

    /// The blob of a layer from its first byte. A layer may be opened more than once.
    pub fn open(&self, layer: &Layer) -> Result<BlobReader> {
        let section = self.sections.get(layer.index).cloned().ok_or_else(|| {
            Error::internal(format!(
                "layer {} was asked for; the image has {}",
                layer.index,
                self.sections.len()
            ))
        })?;
        Ok(VerifiedReader::new(section, &layer.digest).into())
    }
}
