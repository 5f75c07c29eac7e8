//! An image whose layers lie on this host, and which of several is wanted.

use super::piece::{Piece, Proven};
use crate::error::{Error, Result};
use crate::source::origin::Choice;
use crate::source::{BlobReader, Image, Layer, Limits, Platform};

/// Which image of several is wanted, and how much of it is put up with.
pub(super) struct Wanted<'a> {
    pub(super) choice: Option<&'a Choice>,
    pub(super) platform: &'a Platform,
    /// For messages.
    pub(super) origin: &'a str,
    pub(super) limits: &'a Limits,
}

/// An image whose layers lie on this host.
#[derive(Debug)]
pub struct LocalImage {
    /// The image.
    pub image: Image,
    /// The blobs of its layers, in their order.
    pieces: Vec<Piece>,
}

impl LocalImage {
    /// Puts layers and their blobs together, as long as their descriptors say.
    pub(super) fn new(image: Image, pieces: Vec<Piece>) -> Result<Self> {
        for (layer, piece) in image.layers.iter().zip(&pieces) {
            if piece.len() != layer.size {
                return Err(Error::bad_data(format!(
                    "{} is {} bytes long where its descriptor declares {}",
                    piece.name(),
                    piece.len(),
                    layer.size
                )));
            }
        }
        Ok(Self { image, pieces })
    }

    /// The blob of a layer from its first byte. A layer may be opened more than once.
    pub fn open(&self, layer: &Layer) -> Result<BlobReader> {
        let piece = self.pieces.get(layer.index).cloned().ok_or_else(|| {
            Error::internal(format!(
                "layer {} was asked for; the image has {}",
                layer.index,
                self.pieces.len()
            ))
        })?;
        Ok(Proven::new(piece, &layer.digest).into())
    }
}
