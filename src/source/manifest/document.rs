//! Indexes and manifests, told apart and checked.

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::config::Config;
use super::descriptor::Descriptor;
use super::lists::{Count, MAX_FEATURES, from_json, list};
use super::media_types::{
    CONFIG_TYPES, DOCKER_INDEX, DOCKER_MANIFEST, LAYER_TYPES, OCI_INDEX, OCI_MANIFEST,
    SCHEMA1_PREFIX, essence, is_generic,
};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::limits::flag;
use crate::source::{Layer, Limits, Platform, excerpt};

/// An index or a manifest.
#[derive(Debug)]
pub enum Document {
    /// Names one manifest a platform.
    Index(Index),
    /// Names a config and layers.
    Manifest(Manifest),
}

/// A list of manifests.
#[derive(Debug)]
pub struct Index {
    /// What there is to choose from.
    pub entries: Vec<IndexEntry>,
}

/// One choice of an index.
#[derive(Debug)]
pub struct IndexEntry {
    /// The manifest, or a nested index.
    pub descriptor: Descriptor,
    /// What it runs on, when the index says so.
    pub platform: Option<Platform>,
    /// What a layout calls it.
    pub names: Vec<String>,
}

/// The parts of one image.
#[derive(Debug)]
pub struct Manifest {
    /// The config.
    pub config: Descriptor,
    /// The layers, oldest first.
    pub layers: Vec<Descriptor>,
}

/// The members that tell an index, a manifest and the schema 1 of old apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentMembers {
    schema_version: Option<u64>,
    media_type: Option<String>,
    #[serde(default, deserialize_with = "named")]
    manifests: Member,
    #[serde(default, deserialize_with = "named")]
    layers: Member,
    config: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// A list that is not there, is `null`, which is how Go writes an empty one, or is a list.
type Member = Option<Option<Count>>;

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Member, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct IndexDocument {
    manifests: Vec<EntryDocument>,
}

/// A descriptor with a platform. Its members are repeated rather than flattened: that would keep
/// every unknown member in memory first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryDocument {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<PlatformDocument>,
    annotations: Option<NamesDocument>,
}

/// The annotations of a layout's index that name an image: the first is the image-spec's, the
/// second containerd's and docker's.
#[derive(Deserialize)]
struct NamesDocument {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    reference: Option<String>,
    #[serde(rename = "io.containerd.image.name")]
    image: Option<String>,
}

#[derive(Deserialize)]
struct PlatformDocument {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(default, rename = "os.features", deserialize_with = "list::<_, _, MAX_FEATURES>")]
    os_features: Vec<String>,
}

#[derive(Deserialize)]
struct ManifestDocument {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Document {
    /// Parses an index or a manifest. `content_type` is what the server or the descriptor that led
    /// here said it is; it must not contradict the document.
    ///
    /// A document that could be read in two ways is refused (CVE-2021-41190).
    pub fn parse(body: &[u8], content_type: Option<&str>, limits: &Limits) -> Result<Self> {
        let shape: DocumentMembers = from_json(body, "manifest")?;
        let count = |list: &Member| list.flatten().map_or(0, |Count(count)| count);
        match shape.kind(content_type)? {
            DocumentKind::Index => {
                limits.check_entries("the image's index", count(&shape.manifests))?;
                let document: IndexDocument = from_json(body, "index")?;
                let entries = document.manifests.into_iter().map(IndexEntry::from).collect();
                Ok(Self::Index(Index { entries }))
            }
            DocumentKind::Manifest => {
                limits.check_layers("the manifest", count(&shape.layers))?;
                let document: ManifestDocument = from_json(body, "manifest")?;
                let manifest = Manifest { config: document.config, layers: document.layers };
                manifest.check(limits)?;
                Ok(Self::Manifest(manifest))
            }
        }
    }
}

impl From<EntryDocument> for IndexEntry {
    fn from(document: EntryDocument) -> Self {
        let platform = document.platform.map(|platform| {
            Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref())
                .needing(platform.os_features)
        });
        let EntryDocument { media_type, digest, size, annotations, .. } = document;
        let names = annotations.map(|names| names.reference.into_iter().chain(names.image));
        let names = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
        let descriptor = Descriptor { media_type, digest, size, urls: Vec::new() };
        Self { descriptor, platform, names }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DocumentKind {
    Index,
    Manifest,
}

impl DocumentMembers {
    fn kind(&self, content_type: Option<&str>) -> Result<DocumentKind> {
        let served = content_type.map(essence).filter(|media_type| !is_generic(media_type));
        let written = self.media_type.as_deref().map(essence).filter(|name| !name.is_empty());
        if let (Some(served), Some(written)) = (&served, &written)
            && served != written
        {
            return Err(Error::bad_data(format!(
                "the manifest says that it is \"{}\", but it came as \"{}\"",
                excerpt(written),
                excerpt(served)
            )));
        }
        let declared = written.or(served);
        let declared = declared.as_deref();
        if self.is_schema1(declared) {
            return Err(Error::bad_data("the image has a manifest of schema 1, which is obsolete")
                .with_hint(
                    "push it again with a current docker, or copy it with skopeo --format=oci",
                ));
        }
        let (manifests, layers) = (self.manifests, self.layers);
        let shaped = match (manifests.flatten(), layers.flatten(), &self.config) {
            (Some(_), None, None) => DocumentKind::Index,
            (None, Some(_), Some(_)) => DocumentKind::Manifest,
            (Some(_), _, _) => {
                return Err(Error::bad_data("the document is an index and a manifest at once"));
            }
            (None, None, Some(_)) if layers.is_some() => DocumentKind::Manifest,
            (None, None, None) if manifests.is_some() => DocumentKind::Index,
            (None, _, _) => {
                let kind = declared.map_or_else(String::new, |t| format!(" (\"{}\")", excerpt(t)));
                return Err(Error::bad_data(format!(
                    "the document{kind} is neither an image index nor an image manifest"
                )));
            }
        };
        let named = match declared {
            None => return Ok(shaped),
            Some(OCI_INDEX | DOCKER_INDEX) => DocumentKind::Index,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => DocumentKind::Manifest,
            Some(other) => {
                return Err(Error::bad_data(format!(
                    "not a container image: the manifest's type is \"{}\"",
                    excerpt(other)
                )));
            }
        };
        if named != shaped {
            return Err(Error::bad_data(
                "the manifest's type and its members contradict each other",
            ));
        }
        Ok(shaped)
    }

    fn is_schema1(&self, declared: Option<&str>) -> bool {
        declared.is_some_and(|media_type| media_type.starts_with(SCHEMA1_PREFIX))
            || self.schema_version == Some(1)
            || self.fs_layers.is_some()
    }
}

impl Manifest {
    /// Refuses what is no container image, and sizes beyond the limits.
    fn check(&self, limits: &Limits) -> Result<()> {
        let config_type = essence(&self.config.media_type);
        if !CONFIG_TYPES.contains(&config_type.as_str()) {
            return Err(Error::bad_data(format!(
                "not a container image: its config is \"{}\"",
                excerpt(&config_type)
            )));
        }
        let bound = limits.of_config();
        if self.config.size > bound.bytes {
            return Err(bound.refuse(format!(
                "the image's config is {} bytes long, at most {} are read",
                self.config.size, bound.bytes
            )));
        }
        for (number, layer) in (1_usize..).zip(&self.layers) {
            let media_type = essence(&layer.media_type);
            if media_type.ends_with("+encrypted") {
                return Err(Error::bad_data(format!("layer {number} is encrypted"))
                    .with_hint("decrypt the image first, with skopeo copy --decryption-key"));
            }
            if !LAYER_TYPES.contains(&media_type.as_str()) {
                return Err(Error::bad_data(format!(
                    "not a container image: layer {number} is \"{}\"",
                    excerpt(&media_type)
                )));
            }
            let (size, limit) = (layer.size, limits.layer.blob);
            if size > limit {
                return Err(Error::bad_data(format!(
                    "layer {number} has {size} compressed bytes, at most {limit} are fetched"
                ))
                .with_hint(flag::raise(flag::BLOB)));
            }
        }
        Ok(())
    }

    /// The layers with the digests of their contents, which the config knows.
    pub fn layers(&self, config: &Config) -> Result<Vec<Layer>> {
        if self.layers.len() != config.diff_ids.len() {
            return Err(Error::bad_data(format!(
                "the manifest has {} layers, but the config has {} diff IDs",
                self.layers.len(),
                config.diff_ids.len()
            )));
        }
        let pairs = self.layers.iter().zip(&config.diff_ids);
        Ok(pairs
            .enumerate()
            .map(|(index, (descriptor, diff_id))| Layer {
                index,
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                media_type: descriptor.media_type.clone(),
                diff_id: Some(diff_id.clone()),
                urls: descriptor.urls.clone(),
            })
            .collect())
    }
}
