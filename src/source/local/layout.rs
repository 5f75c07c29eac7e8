//! An image in an OCI image layout, be it a directory or an archive.
//!
//! Source: OCI image-spec, image-layout.md.

use serde::Deserialize;

use super::image::{ImageSelection, LocalImage};
use super::layout_files::LayoutFiles;
use super::section::{Section, verify};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::json;
use crate::source::image_reference::Choice;
use crate::source::limits::Bound;
use crate::source::manifest::{
    Config, Descriptor, Document, Index, IndexEntry, Manifest, foreign_layer,
};
use crate::source::{Image, Limits, excerpt, select};

/// The longest `oci-layout` file that is read: a version is all that it holds.
const MAX_MARKER: Bound = Bound::fixed(64 << 10);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// Finds the image that is wanted. `reference` is for messages.
pub(super) fn resolve(
    layout_files: &LayoutFiles,
    wanted: &ImageSelection<'_>,
) -> Result<LocalImage> {
    let ImageSelection { platform, reference, limits, .. } = *wanted;
    check_version(layout_files)?;
    let mut entry = choose(root(layout_files, limits)?, wanted)?;
    let (mut index_digest, mut promised) = (None, entry.platform.take());
    for _ in 0..=limits.nesting {
        let IndexEntry { descriptor, .. } = entry;
        let body = document(layout_files, &descriptor, ("the manifest", limits.of_manifest()))?;
        let declared = Some(descriptor.media_type.as_str()).filter(|name| !name.is_empty());
        match Document::parse(&body, declared, limits)? {
            Document::Index(index) => {
                index_digest.get_or_insert(descriptor.digest);
                entry = select::by_platform(index, platform, reference)?;
                promised = entry.platform.take().or(promised);
            }
            Document::Manifest(manifest) => {
                let bound = ("the config", limits.of_config());
                let config =
                    Config::parse(document(layout_files, &manifest.config, bound)?, limits)?;
                let image = Image {
                    reference: reference.to_owned(),
                    index_digest,
                    manifest_digest: Some(descriptor.digest),
                    identity: Some(manifest.config.digest.clone()),
                    platform: Some(select::resolve_platform(
                        platform, promised, &config, reference,
                    )?),
                    layers: manifest.layers(&config)?,
                    config,
                };
                return LocalImage::new(image, layers(layout_files, &manifest)?);
            }
        }
    }
    Err(limits.nested_too_deep("it"))
}

fn check_version(layout_files: &LayoutFiles) -> Result<()> {
    let no_layout = || {
        Error::bad_data(format!("{} is not an OCI image layout", layout_files.name()))
            .with_hint("a root filesystem is tar:FILE or dir:PATH, what docker save writes is docker-archive:FILE")
    };
    let marker = layout_files.find("oci-layout")?.ok_or_else(no_layout)?;
    let marker: Marker = json::from_slice(&marker.document(MAX_MARKER)?)
        .map_err(|error| no_layout().with_source(excerpt(&error.to_string())))?;
    if marker.image_layout_version.split('.').next() != Some("1") {
        let version = excerpt(&marker.image_layout_version);
        return Err(Error::bad_data(format!("its layout is of version {version}, not 1.0.0")));
    }
    Ok(())
}

fn root(layout_files: &LayoutFiles, limits: &Limits) -> Result<Index> {
    let file = layout_files
        .find("index.json")?
        .ok_or_else(|| Error::bad_data(format!("{} has no index.json", layout_files.name())))?;
    match Document::parse(&file.document(limits.of_list())?, None, limits)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(Error::bad_data("its index.json is no index")),
    }
}

/// The entry that is meant, and among those of one name the one for the platform.
fn choose(index: Index, wanted: &ImageSelection<'_>) -> Result<IndexEntry> {
    let ImageSelection { choice, platform, reference, .. } = *wanted;
    let missing = |what: String| Error::not_found(format!("{reference} has no image {what}"));
    match choice {
        Some(Choice::Number(number)) => {
            let count = index.entries.len();
            let found = index.entries.into_iter().nth(*number);
            return found
                .ok_or_else(|| missing(format!("@{number}; it has {count} images, from @0")));
        }
        Some(Choice::Digest(digest)) => {
            let mut entries = index.entries.into_iter();
            let found = entries.find(|entry| entry.descriptor.digest == *digest);
            return found.ok_or_else(|| missing(format!("@{digest}")));
        }
        Some(Choice::Name(_)) | None => {}
    }
    let names: Vec<_> = index.entries.iter().map(|entry| entry.names.clone()).collect();
    let places = select::by_name(&names, select::name_of(choice), reference)?;
    let mut entries: Vec<_> = index.entries.into_iter().map(Some).collect();
    let mut take = |place: usize| entries.get_mut(place).and_then(Option::take);
    let entries: Vec<IndexEntry> = places.into_iter().filter_map(&mut take).collect();
    match <[IndexEntry; 1]>::try_from(entries) {
        // Its own platform is judged when it is known.
        Ok([only]) => Ok(only),
        Err(entries) => select::by_platform(Index { entries }, platform, reference),
    }
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn blob(layout_files: &LayoutFiles, digest: &Digest, what: &str) -> Result<Section> {
    layout_files.find(&path_of(digest))?.ok_or_else(|| {
        Error::not_found(format!("{} lacks {what}, blob {digest}", layout_files.name()))
            .with_hint("copy the image again, whole")
    })
}

/// The bytes of a manifest or a config, verified.
fn document(
    layout_files: &LayoutFiles,
    descriptor: &Descriptor,
    (what, bound): (&str, Bound),
) -> Result<Vec<u8>> {
    let Descriptor { digest, size, .. } = descriptor;
    let section = blob(layout_files, digest, what)?;
    let body = section.document(bound)?;
    if section.len() != *size {
        let (name, length) = (section.name(), section.len());
        return Err(Error::bad_data(format!(
            "{name} is {length} bytes long where its descriptor declares {size}"
        )));
    }
    verify(section.name(), &Digest::of(digest.algorithm(), &body), digest)?;
    Ok(body)
}

fn layers(layout_files: &LayoutFiles, manifest: &Manifest) -> Result<Vec<Section>> {
    let count = manifest.layers.len();
    let layers = manifest.layers.iter().enumerate();
    layers
        .map(|(index, layer)| {
            let what = format!("layer {} of {count}", index.saturating_add(1));
            blob(layout_files, &layer.digest, &what).map_err(|error| match error.kind() {
                ErrorKind::NotFound if !layer.urls.is_empty() => error.with_hint(format!(
                    "{}; put it at {} in the layout",
                    foreign_layer(&layer.urls),
                    path_of(&layer.digest)
                )),
                _ => error,
            })
        })
        .collect()
}
