//! What an origin on this host names: opened, and resolved to an image.

use std::fs::File;
use std::io::{self, Read};

use super::bundle::Bundle;
use super::flat::{self, Flat};
use super::folder::{self, Folder};
use super::image::{LocalImage, Wanted};
use super::shelf::Shelf;
use super::{daemon, docker, kind, layout, spool};
use crate::error::{Error, ErrorKind, Result};
use crate::shown::path as shown;
use crate::source::origin::{Choice, DaemonImage, Origin, Place};
use crate::source::{Limits, Platform};

/// Something on this host that holds one image or several.
#[derive(Debug)]
pub struct Local {
    origin: String,
    holding: Holding,
    choice: Option<Choice>,
    limits: Limits,
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
