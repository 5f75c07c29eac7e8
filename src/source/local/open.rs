//! What an image reference of this host names: opened, and resolved to an image.

use std::fs::File;
use std::io::{self, Read};

use super::archive::IndexedArchive;
use super::directory::{self, LayoutDirectory};
use super::image::{ImageSelection, LocalImage};
use super::layout_files::LayoutFiles;
use super::root_archive::{self, RootArchive};
use super::{daemon, docker, kind, layout, spool};
use crate::error::{Error, ErrorKind, Result};
use crate::shown::path as shown;
use crate::source::image_reference::{Choice, DaemonImage, ImageReference, PathReference};
use crate::source::{Limits, Platform};

/// Something on this host that holds one image or several.
#[derive(Debug)]
pub struct Local {
    reference: String,
    opened: Opened,
    choice: Option<Choice>,
    limits: Limits,
}

#[derive(Debug)]
enum Opened {
    Layout(LayoutFiles),
    Docker(IndexedArchive),
    RootArchive(RootArchive),
}

/// What was found on this host.
#[derive(Debug)]
pub enum Resolved {
    /// An image with its layers.
    Image(Box<LocalImage>),
    /// A root filesystem.
    Archive(RootArchive),
}

impl Local {
    /// Opens what `reference` names; streams and compressed archives of images are copied.
    ///
    /// A registry and a directory tree are not opened here.
    pub fn open(reference: &ImageReference, limits: &Limits) -> Result<Self> {
        let (opened, choice) = match reference {
            ImageReference::OciDirectory(place) => (
                Opened::Layout(LayoutFiles::LayoutDirectory(LayoutDirectory::open(&place.path)?)),
                place.choice.clone(),
            ),
            ImageReference::OciArchive(place) => (
                Opened::Layout(LayoutFiles::IndexedArchive(archive(place, limits)?)),
                place.choice.clone(),
            ),
            ImageReference::DockerArchive(place) => {
                (docker_or_layout(archive(place, limits)?), place.choice.clone())
            }
            ImageReference::DockerDaemon(image) => {
                let name = reference.to_string();
                let spooled = spool::spool(daemon::export(image)?, &name, &limits.layer)?;
                let opened = docker_or_layout(IndexedArchive::scan(spooled, &name, &limits.layer)?);
                (opened, chosen(image))
            }
            ImageReference::Tar(path) => {
                kind::check_archive(path, &limits.layer)?;
                (Opened::RootArchive(RootArchive::open(path)?), None)
            }
            ImageReference::Stdin(choice) => {
                (sniff(io::stdin(), "standard input", limits)?, choice.clone())
            }
            ImageReference::Registry(_)
            | ImageReference::Directory(_)
            | ImageReference::Filesystem(_) => {
                return Err(Error::internal(format!("{reference} is no local image")));
            }
        };
        Ok(Self { reference: reference.to_string(), opened, choice, limits: limits.clone() })
    }

    /// Finds the image for `platform`: index, manifest and config, each verified, and the place of
    /// each layer.
    pub fn resolve(self, platform: &Platform) -> Result<Resolved> {
        let Self { reference, opened, choice, limits } = self;
        let wanted = ImageSelection {
            choice: choice.as_ref(),
            platform,
            reference: &reference,
            limits: &limits,
        };
        let found = match opened {
            Opened::Layout(layout) => layout::resolve(&layout, &wanted),
            Opened::Docker(archive) => docker::resolve(&archive, &wanted),
            Opened::RootArchive(root_archive) => match choice {
                None => return Ok(Resolved::Archive(root_archive)),
                Some(choice) => Err(Error::usage(format!(
                    "{} is a root filesystem, which has no image {choice}",
                    root_archive.name()
                ))),
            },
        };
        found.map(|image| Resolved::Image(Box::new(image))).map_err(|error| match error {
            _ if error.kind() == ErrorKind::BadData => {
                error.with_prefix(&format!("cannot use {reference}"))
            }
            _ => error,
        })
    }
}

/// The name by which an image that a daemon gave is found in what it gave.
fn chosen(image: &DaemonImage) -> Option<Choice> {
    match image {
        DaemonImage::Named(name) if name.digest().is_none() => Some(Choice::Name(name.to_string())),
        // A daemon names an image that was asked for by its digest in several ways, but sends no
        // other.
        DaemonImage::Named(_) | DaemonImage::Id(_) | DaemonImage::Short(_) => None,
    }
}

fn archive(place: &PathReference, limits: &Limits) -> Result<IndexedArchive> {
    let name = shown(&place.path);
    let limits = &limits.layer;
    IndexedArchive::scan(spool::archive(&place.path, &name, limits)?, &name, limits)
}

/// An archive may hold both forms, as those of docker save since version 25 do: the one with
/// digests is preferred.
fn docker_or_layout(archive: IndexedArchive) -> Opened {
    if archive.has("oci-layout") && archive.has("index.json") {
        return Opened::Layout(LayoutFiles::IndexedArchive(archive));
    }
    Opened::Docker(archive)
}

/// What a stream holds is told by its members.
fn sniff<R>(stream: R, name: &str, limits: &Limits) -> Result<Opened>
where
    R: Read + Send + 'static,
{
    let spooled = spool::spool(spool::check_stream(stream, name)?, name, &limits.layer)?;
    let file = |file: &File| file.try_clone().map_err(|error| directory::failed(name, error));
    let copy = file(&spooled)?;
    if root_archive::holds_an_image(file(&spooled)?, name, limits)? {
        return Ok(docker_or_layout(IndexedArchive::scan(copy, name, &limits.layer)?));
    }
    Ok(Opened::RootArchive(RootArchive::spooled(spooled, name)?))
}
