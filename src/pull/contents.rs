//! What an image begins with, on its way into the filesystem.

use std::sync::Arc;

use super::observer::{Observer, Span};
use crate::digest::Algorithm;
use crate::error::{Error, Result};
use crate::image::{Base, ImageSpec, StagedImage, build};
use crate::inject::{HostTree, Tree};
use crate::layer::{LayerBlob, LayerStream, LookAhead};
use crate::source::{Blobs, Image, ResolvedImage, RootArchive, Transfer};

/// Where an image's contents come from.
pub(super) enum Contents<'a> {
    Layers,
    Archive(RootArchive),
    Directory(&'a HostTree),
    Filesystem(&'a dyn Tree),
}

/// A filesystem that is about to get its contents.
pub(super) struct Filling<'a> {
    pub(super) spec: &'a ImageSpec,
    pub(super) found: &'a ResolvedImage,
    pub(super) observer: Arc<dyn Observer>,
}

impl Filling<'_> {
    /// Applies the layers as they arrive. The image is ready for its name when all of them are
    /// verified and those that were fetched are safe in the cache.
    pub(super) fn run(&self, contents: Contents<'_>) -> Result<(StagedImage, Transfer)> {
        let Self { spec, found, observer } = self;
        let (image, blobs) = (found.image(), found.blobs());
        let transfer = blobs.transfer();
        observer.step(&announcement(image, transfer.fetched, spec));
        let span = Span::begin(observer, found.bytes());
        let ready = match contents {
            Contents::Layers => self.layers(image, &blobs, &span)?,
            Contents::Archive(archive) => self.archive(archive, &span)?,
            Contents::Directory(tree) => {
                let seen = |count| observer.advance(count);
                build(spec, Base::Tree { tree, seen: &seen }, std::iter::empty())?
            }
            Contents::Filesystem(tree) => {
                let seen = |count| observer.advance(count);
                build(spec, Base::Filesystem { tree, seen: &seen }, std::iter::empty())?
            }
        };
        if !image.layers.is_empty() {
            observer.step("verifying the layers");
        }
        blobs.finish()?;
        Ok((ready, transfer))
    }

    fn layers(&self, image: &Image, blobs: &Blobs<'_>, span: &Span<'_>) -> Result<StagedImage> {
        let Self { spec, observer, .. } = self;
        let count = image.layers.len();
        let opened = image.layers.iter().map(|layer| {
            Ok(LayerBlob {
                name: format!("layer {} of {count} ({})", layer.index + 1, layer.digest),
                reader: span.watch(blobs.open(layer)?),
                verified: Some(layer.digest.clone()),
                diff_id: layer.diff_id.clone(),
            })
        });
        let mut ahead = LookAhead::new(opened, &spec.limits, spec.memory);
        let layers = image.layers.iter().map_while(|layer| {
            observer.step(&format!("layer {} of {count}", layer.index + 1));
            ahead.next()
        });
        let identity = image.identity.as_ref();
        let identity = identity.ok_or_else(|| Error::internal("an image of layers has no name"))?;
        build(spec, Base::Image(identity), layers)
    }

    fn archive(&self, archive: RootArchive, span: &Span<'_>) -> Result<StagedImage> {
        let name = archive.name().to_owned();
        let reader = span.watch(archive.into_reader());
        let blob = LayerBlob { name: name.clone(), reader, verified: None, diff_id: None };
        let limits = &self.spec.limits;
        let stream = LayerStream::open_to_identify(blob, Algorithm::Blake3, limits);
        build(self.spec, Base::Archive(&name), std::iter::once(stream))
    }
}

fn announcement(image: &Image, missing: u64, spec: &ImageSpec) -> String {
    let name = image.manifest_digest.as_ref().or(image.identity.as_ref());
    let platform = image.platform.as_ref().map(|platform| format!(" for {platform}"));
    let platform = platform.unwrap_or_default();
    let output = spec.output.display();
    match name {
        None => format!("reading {} into {output}", image.reference),
        Some(name) => {
            let count = image.layers.len();
            format!("{name}{platform}: {count} layers, {missing} bytes to fetch, into {output}")
        }
    }
}
