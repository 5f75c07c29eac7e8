//! Images on this host: in layouts, in archives, as one flat archive, on a stream.
//!
//! Nothing is copied into the cache: layers are read where they lie, and proven while they are
//! read as those of a registry are.

mod bundle;
pub(in crate::source) mod daemon;
mod docker;
mod flat;
mod folder;
pub mod kind;
mod layout;
mod piece;
mod spool;

use std::fs::File;
use std::io::{self, Read};

pub use self::flat::Flat;
pub(super) use self::piece::Proven;
pub use self::spool::directory_of_copies;

use self::bundle::Bundle;
use self::folder::Folder;
use self::piece::Piece;
use super::blob::BlobReader;
use super::origin::{Choice, DaemonImage, Origin, Place};
use super::platform::Platform;
use super::{Image, Layer, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::shown::path as shown;

/// Something on this host that holds one image or several.
#[derive(Debug)]
pub struct Local {
    origin: String,
    holding: Holding,
    choice: Option<Choice>,
    limits: Limits,
}

/// Which image of several is wanted, and how much of it is put up with.
struct Wanted<'a> {
    choice: Option<&'a Choice>,
    platform: &'a Platform,
    /// For messages.
    origin: &'a str,
    limits: &'a Limits,
}

#[derive(Debug)]
enum Holding {
    Layout(Shelf),
    Docker(Bundle),
    Flat(Flat),
}

/// What was found on this host.
#[derive(Debug)]
pub enum Resolved {
    /// An image with its layers.
    Image(Box<LocalImage>),
    /// A root filesystem.
    Archive(Flat),
}

/// Where the files of a layout lie.
#[derive(Debug)]
enum Shelf {
    Folder(Folder),
    Bundle(Bundle),
}

impl Shelf {
    fn find(&self, path: &str) -> Result<Option<Piece>> {
        match self {
            Self::Folder(folder) => folder.find(path),
            Self::Bundle(bundle) => bundle.find(path),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Folder(folder) => folder.name(),
            Self::Bundle(bundle) => bundle.name(),
        }
    }
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
    fn new(image: Image, pieces: Vec<Piece>) -> Result<Self> {
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

impl Local {
    /// Opens what `origin` names; streams and compressed archives of images are copied.
    ///
    /// A registry and a directory tree are not opened here.
    pub fn open(origin: &Origin, limits: &Limits) -> Result<Self> {
        let (holding, choice) = match origin {
            Origin::OciDirectory(place) => {
                (Holding::Layout(Shelf::Folder(Folder::open(&place.path)?)), place.choice.clone())
            }
            Origin::OciArchive(place) => {
                (Holding::Layout(Shelf::Bundle(archive(place, limits)?)), place.choice.clone())
            }
            Origin::DockerArchive(place) => {
                (docker_or_layout(archive(place, limits)?), place.choice.clone())
            }
            Origin::DockerDaemon(image) => {
                let name = origin.to_string();
                let spooled = spool::spool(daemon::export(image)?, &name, &limits.layer)?;
                let holding = docker_or_layout(Bundle::scan(spooled, &name, &limits.layer)?);
                (holding, chosen(image))
            }
            Origin::Tar(path) => {
                kind::check_archive(path, &limits.layer)?;
                (Holding::Flat(Flat::open(path)?), None)
            }
            Origin::Stdin(choice) => {
                (sniff(io::stdin(), "standard input", limits)?, choice.clone())
            }
            Origin::Registry(_) | Origin::Directory(_) => {
                return Err(Error::internal(format!("{origin} is no local image")));
            }
        };
        Ok(Self { origin: origin.to_string(), holding, choice, limits: limits.clone() })
    }

    /// Finds the image for `platform`: index, manifest and config, each verified, and the place of
    /// each layer.
    pub fn resolve(self, platform: &Platform) -> Result<Resolved> {
        let Self { origin, holding, choice, limits } = self;
        let wanted = Wanted { choice: choice.as_ref(), platform, origin: &origin, limits: &limits };
        let found = match holding {
            Holding::Layout(layout) => layout::resolve(&layout, &wanted),
            Holding::Docker(bundle) => docker::resolve(&bundle, &wanted),
            Holding::Flat(flat) => match choice {
                None => return Ok(Resolved::Archive(flat)),
                Some(choice) => Err(Error::usage(format!(
                    "{} is a root filesystem, which has no image {choice}",
                    flat.name()
                ))),
            },
        };
        found.map(|image| Resolved::Image(Box::new(image))).map_err(|error| match error {
            _ if error.kind() == ErrorKind::BadData => {
                error.with_prefix(&format!("cannot use {origin}"))
            }
            _ => error,
        })
    }
}

/// The name by which an image that a daemon gave is found in what it gave.
fn chosen(image: &DaemonImage) -> Option<Choice> {
    match image {
        DaemonImage::Named(reference) if reference.digest().is_none() => {
            Some(Choice::Name(reference.to_string()))
        }
        // A daemon names an image that was asked for by its digest in several ways, but sends no
        // other.
        DaemonImage::Named(_) | DaemonImage::Id(_) | DaemonImage::Short(_) => None,
    }
}

fn archive(place: &Place, limits: &Limits) -> Result<Bundle> {
    let name = shown(&place.path);
    let limits = &limits.layer;
    Bundle::scan(spool::archive(&place.path, &name, limits)?, &name, limits)
}

/// An archive may hold both forms, as those of docker save since version 25 do: the one with
/// digests is preferred.
fn docker_or_layout(bundle: Bundle) -> Holding {
    if bundle.has("oci-layout") && bundle.has("index.json") {
        return Holding::Layout(Shelf::Bundle(bundle));
    }
    Holding::Docker(bundle)
}

/// What a stream holds is told by its members.
fn sniff<R>(stream: R, name: &str, limits: &Limits) -> Result<Holding>
where
    R: Read + Send + 'static,
{
    let spooled = spool::spool(spool::check_stream(stream, name)?, name, &limits.layer)?;
    let file = |file: &File| file.try_clone().map_err(|error| folder::failed(name, error));
    let copy = file(&spooled)?;
    if flat::holds_an_image(file(&spooled)?, name, limits)? {
        return Ok(docker_or_layout(Bundle::scan(copy, name, &limits.layer)?));
    }
    Ok(Holding::Flat(Flat::spooled(spooled, name)?))
}
