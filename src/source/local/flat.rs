//! One archive as a whole root filesystem.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use super::piece::Piece;
use super::spool::{self, Spooled};
use super::{LocalImage, docker, folder, shown};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::layer::{self, Archive, Compression};
use crate::source::{Config, Image, Layer, Limits};

/// What such a layer is: told apart by its first bytes.
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// An archive and what is known of it.
#[derive(Debug)]
pub(super) struct Flat {
    piece: Piece,
    /// The digest of the bytes that are read.
    digest: Digest,
    /// The digest of the bytes as they were given, which names the image.
    identity: Digest,
    is_plain: bool,
}

impl Flat {
    /// Reads a file once for its digest, which names the image; a pipe is kept in a copy.
    pub(super) fn open(path: &Path, limits: &layer::Limits) -> Result<Self> {
        let name = shown(path);
        let file = spool::open(path, &name)?;
        let metadata = file.metadata().map_err(|error| folder::failed(&name, error))?;
        if !metadata.is_file() {
            let stream = spool::check_stream(file, &name)?;
            return Self::spooled(spool::spool(stream, &name, limits)?, &name);
        }
        let is_plain = spool::compression(&file, &name)? == Compression::None;
        let piece = Piece::new(&name, &Arc::new(file), 0, metadata.len());
        let digest = piece.digest(Algorithm::Sha256)?;
        Ok(Self { piece, identity: digest.clone(), digest, is_plain })
    }

    /// What a stream held.
    pub(super) fn spooled(spooled: Spooled, name: &str) -> Result<Self> {
        let Spooled { file, digest: identity } = spooled;
        let length = file.metadata().map_err(|error| folder::failed(name, error))?.len();
        let piece = Piece::new(name, &Arc::new(file), 0, length);
        let digest = piece.digest(Algorithm::Sha256)?;
        Ok(Self { piece, digest, identity, is_plain: true })
    }

    pub(super) fn name(&self) -> &str {
        self.piece.name()
    }

    /// The archive as an image of one layer.
    pub(super) fn image(&self, origin: &str) -> Result<LocalImage> {
        // What a failed command pipes: an empty disk would be no answer to that.
        if self.piece.len() == 0 {
            return Err(Error::bad_data(format!("{} is empty", self.piece.name())));
        }
        let layer = Layer {
            index: 0,
            digest: self.digest.clone(),
            size: self.piece.len(),
            media_type: LAYER_TYPE.to_owned(),
            diff_id: self.is_plain.then(|| self.digest.clone()),
            urls: Vec::new(),
        };
        let image = Image {
            reference: origin.to_owned(),
            index_digest: None,
            manifest_digest: None,
            identity: self.identity.clone(),
            platform: None,
            config: Config::default(),
            layers: vec![layer],
        };
        LocalImage::new(image, vec![self.piece.clone()])
    }
}

/// Whether the members of an archive are those of an image, in either form, rather than a root
/// filesystem.
pub(super) fn holds_an_image(mut file: File, name: &str, limits: &Limits) -> Result<bool> {
    file.rewind().map_err(|error| folder::failed(name, error))?;
    let mut archive = Archive::new(file, name, &limits.layer);
    let (mut has_marker, mut has_index, mut has_list) = (false, false, false);
    while let Some(entry) = archive.next_entry()? {
        match entry.path.strip_prefix(b"./").unwrap_or(&entry.path) {
            b"oci-layout" => has_marker = true,
            b"index.json" => has_index = true,
            b"manifest.json" if entry.size <= limits.list => {
                // A root filesystem may have a file of this name.
                let mut body = Vec::new();
                has_list =
                    archive.body().read_to_end(&mut body).is_ok() && docker::is_list(&body, limits);
            }
            _ => {}
        }
        archive.step_over()?;
    }
    Ok(has_marker && has_index || has_list)
}
