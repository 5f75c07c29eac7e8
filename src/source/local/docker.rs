//! An image in an archive of `docker save`: a list of images that names members by path.
//!
//! Source: moby, image/spec/spec.md, "Combined Image JSON + Filesystem Changeset Format".

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::archive::IndexedArchive;
use super::image::{ImageSelection, LocalImage};
use super::section::{Section, verify};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::json::{self, fold};
use crate::source::image_reference::Choice;
use crate::source::manifest::{Config, Count};
use crate::source::{Image, Layer, Limits, excerpt, select};

/// What a layer of such an archive is: told apart by its first bytes.
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// How much there is of everything in `manifest.json`; none of it is kept.
#[derive(Debug, Default)]
struct Sizes {
    images: usize,
    /// Of all images together.
    names: usize,
    /// Of the image that has the most.
    layers: usize,
}

impl<'de> Deserialize<'de> for Sizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct ImageEntry {
            repo_tags: Option<Count>,
            layers: Option<Count>,
        }

        let count = |list: Option<Count>| list.map_or(0, |Count(count)| count);
        fold(deserializer, "a list of images", Self::default(), |sizes, image: ImageEntry| Self {
            images: sizes.images.saturating_add(1),
            names: sizes.names.saturating_add(count(image.repo_tags)),
            layers: sizes.layers.max(count(image.layers)),
        })
    }
}

/// Finds the image that is wanted.
pub(super) fn resolve(archive: &IndexedArchive, wanted: &ImageSelection<'_>) -> Result<LocalImage> {
    let ImageSelection { platform, reference, limits, .. } = *wanted;
    let item = choose(items(archive, limits)?, archive, wanted)?;
    let (identity, body) = config(archive, &item, limits)?;
    let config = Config::parse(body, limits)?;
    if item.layers.len() != config.diff_ids.len() {
        return Err(Error::bad_data(format!(
            "manifest.json has {} layers, but the config has {} diff IDs",
            item.layers.len(),
            config.diff_ids.len()
        )));
    }
    let mut known = BTreeMap::new();
    let (mut layers, mut sections) = (Vec::new(), Vec::new());
    for (index, (path, diff_id)) in item.layers.iter().zip(&config.diff_ids).enumerate() {
        let section = archive.find(path)?.ok_or_else(|| lacking(archive, path))?;
        let digest = match known.get(path) {
            Some(digest) => Digest::clone(digest),
            None => layer_digest(&section, path, diff_id)?,
        };
        known.insert(path, digest.clone());
        layers.push(Layer {
            index,
            digest,
            size: section.len(),
            media_type: LAYER_TYPE.to_owned(),
            diff_id: Some(diff_id.clone()),
            urls: Vec::new(),
        });
        sections.push(section);
    }
    let image = Image {
        reference: reference.to_owned(),
        index_digest: None,
        manifest_digest: None,
        identity: Some(identity),
        platform: Some(select::resolve_platform(platform, None, &config, reference)?),
        config,
        layers,
    };
    LocalImage::new(image, sections)
}

fn items(archive: &IndexedArchive, limits: &Limits) -> Result<Vec<ArchiveManifest>> {
    let Some(list) = archive.find("manifest.json")? else {
        return Err(Error::bad_data(format!(
            "{} has no manifest.json: it is not what docker save writes since version 1.10",
            archive.name()
        ))
        .with_hint("a root filesystem is tar:FILE, an image layout is oci-archive:FILE"));
    };
    parse(&list.document(limits.of_list())?, limits)
}

fn parse(body: &[u8], limits: &Limits) -> Result<Vec<ArchiveManifest>> {
    let malformed = |error: serde_json::Error| {
        // The parser repeats values of the document, whatever their length.
        let why = excerpt(&error.to_string());
        Error::bad_data(format!("its manifest.json is malformed: {why}"))
    };
    let Sizes { images, names, layers } = json::from_slice(body).map_err(malformed)?;
    limits.check_entries("its manifest.json", images)?;
    limits.check_entries("the names in its manifest.json", names)?;
    limits.check_layers("its manifest.json", layers)?;
    json::from_slice(body).map_err(malformed)
}

/// Whether this is the list of images of such an archive.
pub(super) fn is_list(body: &[u8], limits: &Limits) -> bool {
    parse(body, limits).is_ok_and(|items| !items.is_empty())
}

fn choose(
    items: Vec<ArchiveManifest>,
    archive: &IndexedArchive,
    wanted: &ImageSelection<'_>,
) -> Result<ArchiveManifest> {
    let ImageSelection { choice, reference, limits, .. } = *wanted;
    let place = match choice {
        Some(Choice::Number(number)) => *number,
        Some(Choice::Digest(wanted)) => {
            let mut seen = BTreeSet::new();
            let mut place = None;
            for (number, item) in items.iter().enumerate() {
                // A hostile list could name one large config thousands of times.
                if seen.insert(&item.config) && config(archive, item, limits)?.0 == *wanted {
                    place = Some(number);
                    break;
                }
            }
            place.ok_or_else(|| {
                Error::not_found(format!("{reference} has no image whose ID is {wanted}"))
            })?
        }
        Some(Choice::Name(_)) | None => {
            let names: Vec<_> =
                items.iter().map(|item| item.repo_tags.clone().unwrap_or_default()).collect();
            match *select::by_name(&names, select::name_of(choice), reference)? {
                [place] => place,
                _ => {
                    return Err(Error::usage(format!(
                        "{reference} has several images of that name"
                    ))
                    .with_hint("say which one by its number, from :@0"));
                }
            }
        }
    };
    let count = items.len();
    items.into_iter().nth(place).ok_or_else(|| {
        Error::not_found(format!("{reference} has no image @{place}; it has {count}, from @0"))
    })
}

/// The config with its digest, which is the image's ID.
fn config(
    archive: &IndexedArchive,
    item: &ArchiveManifest,
    limits: &Limits,
) -> Result<(Digest, Vec<u8>)> {
    let section = archive.find(&item.config)?.ok_or_else(|| lacking(archive, &item.config))?;
    let body = section.document(limits.of_config())?;
    let digest = Digest::sha256_of(&body);
    if let Some(promised) = digest_in(&item.config) {
        verify(section.name(), &digest, &promised)?;
    }
    Ok((digest, body))
}

/// The digest of a layer's member as it is stored. A plain one is its own diff ID, which is
/// verified when it is read; a compressed one has no digest in the archive but, maybe, its name.
fn layer_digest(section: &Section, path: &str, diff_id: &Digest) -> Result<Digest> {
    let head = section.head::<4>()?;
    let is_compressed = matches!(*head, [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd])
        || matches!(*head, [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
    if !is_compressed {
        return Ok(diff_id.clone());
    }
    match digest_in(path).filter(|_| path.starts_with("blobs/")) {
        Some(promised) => Ok(promised),
        None => section.digest(Algorithm::Sha256),
    }
}

/// The digest in the name of a member that is named by its content: `<hex>.json`, or
/// `blobs/sha256/<hex>`.
fn digest_in(path: &str) -> Option<Digest> {
    let hex = path.strip_prefix("blobs/sha256/").or_else(|| path.strip_suffix(".json"))?;
    format!("sha256:{hex}").parse().ok()
}

fn lacking(archive: &IndexedArchive, path: &str) -> Error {
    Error::not_found(format!("{} lacks {}, which its image needs", archive.name(), excerpt(path)))
        .with_hint("save the image again, whole")
}
