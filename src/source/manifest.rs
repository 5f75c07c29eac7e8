//! The documents of an image, as a registry or a layout holds them: index, manifest, config.
//!
//! They are parsed by their own types rather than by a client library's, because the limits, the
//! refusal of documents that are two things at once, and the media types are policy.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::limits::flag;
use super::platform::Platform;
use super::{Layer, Limits, excerpt};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json::{self, fold};

/// How many addresses a descriptor may name.
const MAX_URLS: usize = 100;
/// How many features of its system an image may need.
const MAX_FEATURES: usize = 100;
/// How many entries a list inside a config may have, other than its layers.
const MAX_LIST: usize = 10_000;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const SCHEMA1_PREFIX: &str = "application/vnd.docker.distribution.manifest.v1+";

/// What is asked of a registry, in the order of preference.
pub const ACCEPTED: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Layers are told apart by their first bytes; the types only say that they are layers at all.
const LAYER_TYPES: [&str; 11] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

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
    pub entries: Vec<Entry>,
}

/// One choice of an index.
#[derive(Debug)]
pub struct Entry {
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

/// A blob or a document, by name, length and type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The type that it is declared to have.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Where else a layer is. Nobody is asked there: what is missing is named in the error.
    #[serde(default, deserialize_with = "list::<_, _, MAX_URLS>")]
    pub urls: Vec<String>,
}

/// How a container of the image would be run, and what else its config tells.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// When the image was made, as RFC 3339 has it.
    pub created: Option<String>,
    /// The processor, as written in the config.
    pub architecture: String,
    /// The operating system, as written in the config.
    pub os: String,
    /// The processor's generation, as written in the config.
    pub variant: Option<String>,
    /// What the operating system must be able to do, as written in the config.
    pub os_features: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments that follow, or the program when there is no entry point.
    pub cmd: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Where the program starts.
    pub working_dir: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// `port[/protocol]` each.
    pub exposed_ports: Vec<String>,
    /// Directories that outlive a container.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the program to stop.
    pub stop_signal: Option<String>,
    /// The digests of the uncompressed layers, oldest first.
    pub diff_ids: Vec<Digest>,
    /// How the image was made.
    pub history: Vec<History>,
    /// The document itself.
    pub raw: Vec<u8>,
}

/// One step in the making of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct History {
    /// When, as RFC 3339 has it.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// Who.
    pub author: Option<String>,
    /// What they said.
    pub comment: Option<String>,
    /// Whether the step left no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

/// The members that tell an index, a manifest and the schema 1 of old apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
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

#[derive(Deserialize)]
struct ConfigDocument {
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
    #[serde(default, rename = "os.features", deserialize_with = "list::<_, _, MAX_FEATURES>")]
    os_features: Vec<String>,
    config: Option<Execution>,
    rootfs: RootFs,
    #[serde(default, deserialize_with = "list::<_, _, MAX_LIST>")]
    history: Vec<History>,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: Option<String>,
    diff_ids: Option<Vec<Digest>>,
}

/// How many layers a config knows of.
#[derive(Deserialize)]
struct ConfigShape {
    rootfs: Option<RootFsShape>,
}

#[derive(Deserialize)]
struct RootFsShape {
    diff_ids: Option<Count>,
}

/// The part of a config that docker wrote first, hence its names.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    #[serde(default, deserialize_with = "list::<_, _, MAX_LIST>")]
    entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "list::<_, _, MAX_LIST>")]
    cmd: Vec<String>,
    #[serde(default, deserialize_with = "list::<_, _, MAX_LIST>")]
    env: Vec<String>,
    working_dir: Option<String>,
    user: Option<String>,
    #[serde(default, deserialize_with = "keys")]
    exposed_ports: Vec<String>,
    #[serde(default, deserialize_with = "keys")]
    volumes: Vec<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
}

impl Document {
    /// Parses an index or a manifest. `content_type` is what the server or the descriptor that led
    /// here said it is; it must not contradict the document.
    ///
    /// A document that could be read in two ways is refused (CVE-2021-41190).
    pub fn parse(body: &[u8], content_type: Option<&str>, limits: &Limits) -> Result<Self> {
        let shape: Shape = from_json(body, "manifest")?;
        let count = |list: &Member| list.flatten().map_or(0, |Count(count)| count);
        match shape.kind(content_type)? {
            Kind::Index => {
                limits.check_entries("the image's index", count(&shape.manifests))?;
                let document: IndexDocument = from_json(body, "index")?;
                let entries = document.manifests.into_iter().map(Entry::from).collect();
                Ok(Self::Index(Index { entries }))
            }
            Kind::Manifest => {
                limits.check_layers("the manifest", count(&shape.layers))?;
                let document: ManifestDocument = from_json(body, "manifest")?;
                let manifest = Manifest { config: document.config, layers: document.layers };
                manifest.check(limits)?;
                Ok(Self::Manifest(manifest))
            }
        }
    }
}

impl From<EntryDocument> for Entry {
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
enum Kind {
    Index,
    Manifest,
}

impl Shape {
    fn kind(&self, content_type: Option<&str>) -> Result<Kind> {
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
            (Some(_), None, None) => Kind::Index,
            (None, Some(_), Some(_)) => Kind::Manifest,
            (Some(_), _, _) => {
                return Err(Error::bad_data("the document is an index and a manifest at once"));
            }
            (None, None, Some(_)) if layers.is_some() => Kind::Manifest,
            (None, None, None) if manifests.is_some() => Kind::Index,
            (None, _, _) => {
                let kind = declared.map_or_else(String::new, |t| format!(" (\"{}\")", excerpt(t)));
                return Err(Error::bad_data(format!(
                    "the document{kind} is neither an image index nor an image manifest"
                )));
            }
        };
        let named = match declared {
            None => return Ok(shaped),
            Some(OCI_INDEX | DOCKER_INDEX) => Kind::Index,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => Kind::Manifest,
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

/// What is said of a layer that is missing and has `urls`. They are never fetched: whoever made the
/// image chose them, and registries hold such layers nowadays. A path or a query may be a secret.
pub(super) fn foreign_layer(urls: &[String]) -> String {
    let url: Option<reqwest::Url> = urls.first().and_then(|url| url.parse().ok());
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or("a foreign server");
    format!("the manifest has urls for it, at {}, which are never fetched", excerpt(host))
}

/// A media type without its parameters, in lower case: its case means nothing (RFC 9110, section
/// 8.3.1).
fn essence(content_type: &str) -> String {
    let essence = content_type.split_once(';').map_or(content_type, |(essence, _)| essence);
    essence.trim().to_ascii_lowercase()
}

/// What servers of plain files send when they know nothing.
fn is_generic(media_type: &str) -> bool {
    matches!(media_type, "" | "application/json" | "application/octet-stream" | "text/plain")
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

impl Config {
    /// Parses a config, and keeps the document.
    pub fn parse(body: Vec<u8>, limits: &Limits) -> Result<Self> {
        let shape: ConfigShape = from_json(&body, "config")?;
        let layers = shape.rootfs.and_then(|rootfs| rootfs.diff_ids);
        limits.check_layers("the image's config", layers.map_or(0, |Count(count)| count))?;
        let document: ConfigDocument = from_json(&body, "config")?;
        if let Some(kind) = document.rootfs.kind.as_deref().filter(|&kind| kind != "layers") {
            return Err(Error::bad_data(format!(
                "the image's config has a root filesystem of type \"{}\", not of layers",
                excerpt(kind)
            )));
        }
        let execution = document.config.unwrap_or_default();
        Ok(Self {
            created: document.created,
            architecture: document.architecture,
            os: document.os,
            variant: document.variant,
            os_features: document.os_features,
            entrypoint: execution.entrypoint,
            cmd: execution.cmd,
            env: execution.env,
            working_dir: execution.working_dir.unwrap_or_default(),
            user: execution.user.unwrap_or_default(),
            exposed_ports: execution.exposed_ports,
            volumes: execution.volumes,
            labels: execution.labels.unwrap_or_default(),
            stop_signal: execution.stop_signal,
            diff_ids: document.rootfs.diff_ids.unwrap_or_default(),
            history: document.history,
            raw: body,
        })
    }

    /// The platform that the config names; nothing when it names none.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let named = !self.os.is_empty() && !self.architecture.is_empty();
        named.then(|| {
            Platform::new(&self.os, &self.architecture, self.variant.as_deref())
                .needing(self.os_features.clone())
        })
    }
}

fn from_json<'de, T: Deserialize<'de>>(body: &'de [u8], what: &str) -> Result<T> {
    json::from_slice(body).map_err(|error| {
        // The parser repeats values of the document, whatever their length.
        Error::bad_data(format!("the image's {what} is malformed: {}", excerpt(&error.to_string())))
    })
}

/// How many entries a list has; none of them is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = |count: usize, _: IgnoredAny| count.saturating_add(1);
        fold(deserializer, "a list", 0, count).map(Self)
    }
}

/// A list of at most `MAX` entries, or `null`, which is how Go writes an empty one.
///
/// The limit holds while the list is read: a document of a few MiB could otherwise ask for
/// hundreds, two bytes an entry.
pub(super) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} entries")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = sequence.next_element()? {
                if entries.len() == MAX {
                    return Err(A::Error::custom(format!("a list has more than {MAX} entries")));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_any(Bounded::<T, MAX>(PhantomData))
}

/// The keys of a map from names to nothing, which is how Go writes a set; `null` is an empty one.
fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a map with at most {MAX_LIST} names")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                if names.len() == MAX_LIST {
                    return Err(A::Error::custom(format!("a map has more than {MAX_LIST} names")));
                }
                names.push(name);
            }
            Ok(names)
        }
    }

    deserializer.deserialize_any(Keys)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn digest(number: usize) -> String {
        format!("sha256:{number:064x}")
    }

    fn layer(number: usize) -> Value {
        json!({"mediaType": LAYER_TYPES[1], "digest": digest(number), "size": number})
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG_TYPES[0], "digest": digest(9), "size": 2},
            "layers": [layer(1), layer(2)],
        })
    }

    fn index() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {"mediaType": OCI_MANIFEST, "digest": digest(1), "size": 7,
                 "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
                {"mediaType": OCI_MANIFEST, "digest": digest(2), "size": 7},
            ],
        })
    }

    fn parse(document: &Value, content_type: Option<&str>) -> Result<Document> {
        Document::parse(document.to_string().as_bytes(), content_type, &Limits::default())
    }

    fn refusal(document: &Value, content_type: Option<&str>) -> String {
        let error = parse(document, content_type).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        error.to_string()
    }

    #[track_caller]
    fn changed(mut document: Value, pointer: &str, value: Value) -> Value {
        *document.pointer_mut(pointer).unwrap() = value;
        document
    }

    #[test]
    fn manifests_and_indexes_are_told_apart() {
        for content_type in [None, Some(OCI_MANIFEST), Some("application/json; charset=utf-8")] {
            let Document::Manifest(parsed) = parse(&manifest(), content_type).unwrap() else {
                panic!("an index?")
            };
            assert_eq!(parsed.layers.len(), 2);
            assert_eq!(parsed.layers[1].size, 2);
        }
        let Document::Index(parsed) = parse(&index(), Some(OCI_INDEX)).unwrap() else {
            panic!("a manifest?")
        };
        assert_eq!(parsed.entries[0].platform, Some(Platform::new("linux", "arm64", None)));
        assert_eq!(parsed.entries[1].platform, None);
    }

    #[test]
    fn the_case_and_the_parameters_of_a_type_mean_nothing() {
        for served in [OCI_MANIFEST.to_uppercase(), format!("{OCI_MANIFEST} ; charset=utf-8")] {
            parse(&manifest(), Some(&served)).unwrap();
        }
        for (place, name) in [
            ("/mediaType", OCI_MANIFEST),
            ("/config/mediaType", CONFIG_TYPES[0]),
            ("/layers/0/mediaType", LAYER_TYPES[0]),
        ] {
            let document = changed(manifest(), place, json!(name.to_uppercase()));
            parse(&document, Some(OCI_MANIFEST)).unwrap();
        }
        parse(&manifest(), Some("Application/JSON")).unwrap();
        assert!(parse(&manifest(), Some(&OCI_INDEX.to_uppercase())).is_err());
    }

    #[test]
    fn null_is_what_is_not_there() {
        let Document::Manifest(empty) =
            parse(&changed(manifest(), "/layers", json!(null)), None).unwrap()
        else {
            panic!("an index?")
        };
        assert!(empty.layers.is_empty());
        for (pointer, value) in
            [("/manifests", json!(null)), ("/manifests/0/platform", json!(null))]
        {
            assert!(matches!(
                parse(&changed(index(), pointer, value), None),
                Ok(Document::Index(_))
            ));
        }
        let mut both = index();
        both["layers"] = json!(null);
        both["config"] = json!(null);
        both["manifests"][0]["annotations"] = json!({"org.opencontainers.image.ref.name": null});
        both["manifests"][0]["urls"] = json!(null);
        assert!(matches!(parse(&both, None), Ok(Document::Index(_))));
        let mut neither = manifest();
        neither.as_object_mut().unwrap().remove("layers");
        assert!(refusal(&neither, None).contains("neither"));
        // What Go would take for a second list is one.
        let mut hidden = manifest();
        hidden["Manifests"] = index()["manifests"].clone();
        assert!(refusal(&hidden, None).contains("at once"));
        assert!(refusal(&json!([manifest()]), None).contains("malformed"));
    }

    #[test]
    fn r22_the_features_that_an_entry_needs_are_read() {
        let mut document = index();
        document["manifests"][0]["platform"]["os.features"] = json!(["erofs"]);
        document["manifests"][1]["platform"] =
            json!({"os": "linux", "architecture": "arm64", "os.features": null});
        let Document::Index(parsed) = parse(&document, None).unwrap() else {
            panic!("a manifest?")
        };
        let wanted = Platform::new("linux", "arm64", None);
        let offers = parsed.entries.iter().map(|entry| entry.platform.as_ref());
        assert_eq!(wanted.choose(offers), Some(1));
        let config = json!({"os": "linux", "architecture": "arm64", "os.features": ["erofs"],
                            "rootfs": {"type": "layers", "diff_ids": null}});
        let config = parse_config(&config).unwrap().platform().unwrap();
        assert_eq!(wanted.distance(&config), None);
    }

    #[test]
    fn docker_types_are_accepted() {
        let mut document = changed(manifest(), "/mediaType", json!(DOCKER_MANIFEST));
        document = changed(document, "/config/mediaType", json!(CONFIG_TYPES[1]));
        document = changed(document, "/layers/0/mediaType", json!(LAYER_TYPES[7]));
        assert!(matches!(parse(&document, Some(DOCKER_MANIFEST)), Ok(Document::Manifest(_))));
        let document = changed(index(), "/mediaType", json!(DOCKER_INDEX));
        assert!(matches!(parse(&document, None), Ok(Document::Index(_))));
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let mut both = manifest();
        both["manifests"] = index()["manifests"].clone();
        assert!(refusal(&both, None).contains("at once"));
        let mut index_with_config = index();
        index_with_config["config"] = manifest()["config"].clone();
        assert!(refusal(&index_with_config, None).contains("at once"));
        let doubled = manifest().to_string().replace("\"layers\"", "\"layers\":[],\"layers\"");
        let doubled = Document::parse(doubled.as_bytes(), None, &Limits::default());
        assert_eq!(doubled.unwrap_err().exit_code(), 65);
    }

    #[test]
    fn types_that_contradict_are_refused() {
        assert!(refusal(&manifest(), Some(OCI_INDEX)).contains("but it came as"));
        assert!(refusal(&manifest(), Some(DOCKER_MANIFEST)).contains("but it came as"));
        let lying = changed(manifest(), "/mediaType", json!(OCI_INDEX));
        assert!(refusal(&lying, Some(OCI_INDEX)).contains("contradict"));
        let silent = changed(manifest(), "/mediaType", json!(null));
        assert!(refusal(&silent, Some(OCI_INDEX)).contains("contradict"));
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        for (pointer, value) in [
            ("/config/mediaType", "application/vnd.cncf.helm.config.v1+json"),
            ("/config/mediaType", "application/vnd.oci.empty.v1+json"),
            ("/layers/1/mediaType", "application/wasm"),
            ("/mediaType", "application/vnd.oci.artifact.manifest.v1+json"),
        ] {
            let error = refusal(&changed(manifest(), pointer, json!(value)), None);
            assert!(error.starts_with("not a container image") && error.contains(value), "{error}");
        }
    }

    #[test]
    fn c13_a_layer_of_an_unknown_type_is_no_container_image() {
        for media_type in [
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "application/wasm",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.in-toto+json",
            "",
        ] {
            let document = changed(manifest(), "/layers/1/mediaType", json!(media_type));
            let error = refusal(&document, None);
            let wanted = format!("not a container image: layer 2 is \"{media_type}\"");
            assert_eq!(error, wanted);
        }
    }

    #[test]
    fn c14_an_encrypted_layer_is_refused_with_advice() {
        for media_type in [LAYER_TYPES[0], LAYER_TYPES[1], LAYER_TYPES[2]] {
            let encrypted = json!(format!("{media_type}+encrypted"));
            let error = refusal(&changed(manifest(), "/layers/1/mediaType", encrypted), None);
            assert!(error.starts_with("layer 2 is encrypted; decrypt"), "{error}");
        }
    }

    #[test]
    fn c12_the_urls_of_a_layer_are_read_and_limited() {
        let with = |urls: Value| {
            let mut document = manifest();
            document["layers"][1]["urls"] = urls;
            document
        };
        let Document::Manifest(parsed) = parse(&with(json!(["https://a/", "b"])), None).unwrap()
        else {
            panic!("an index?")
        };
        let layers = parsed.layers(&parse_config(&config()).unwrap()).unwrap();
        assert_eq!(layers[1].urls, ["https://a/", "b"]);
        assert!(layers[0].urls.is_empty());
        assert!(parse(&with(json!(null)), None).is_ok());
        assert!(parse(&with(json!(vec!["x"; MAX_URLS])), None).is_ok());
        assert!(refusal(&with(json!(vec!["x"; MAX_URLS + 1])), None).contains("more than 100"));
        refusal(&with(json!("https://a/")), None);
    }

    #[test]
    fn schema_1_is_refused_with_advice() {
        let old = json!({"schemaVersion": 1, "name": "x", "fsLayers": [{"blobSum": digest(1)}]});
        assert!(refusal(&old, None).contains("schema 1"));
        let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
        assert!(refusal(&json!({}), Some(signed)).contains("skopeo"));
    }

    #[test]
    fn malformed_documents_are_bad_data() {
        let html = Document::parse(b"<html>", Some("text/html"), &Limits::default()).unwrap_err();
        assert_eq!(html.exit_code(), 65);
        for document in [
            json!({}),
            json!([]),
            json!("x"),
            json!(null),
            changed(manifest(), "/layers/0/digest", json!("sha256:../../../x")),
            changed(manifest(), "/layers/0/size", json!(-1)),
            changed(manifest(), "/layers/0/size", json!("1")),
            changed(manifest(), "/layers/0", json!({"size": 1})),
            changed(manifest(), "/layers", json!("x".repeat(1 << 20))),
        ] {
            assert!(refusal(&document, None).len() < 500);
        }
    }

    /// A document over a limit names the flag that lifts it, and passes when that is lifted.
    fn lifted(document: &Value, flag: &str, lift: impl Fn(&mut Limits)) -> String {
        let error = parse(document, None).unwrap_err();
        assert_eq!(error.exit_code(), 65, "{error}");
        assert_eq!(error.hint(), Some(flag::raise(flag).as_str()), "{error}");
        let mut limits = Limits::default();
        lift(&mut limits);
        Document::parse(document.to_string().as_bytes(), None, &limits).unwrap();
        error.message()
    }

    #[test]
    fn lists_and_sizes_have_limits_that_can_be_lifted() {
        let layers = |count| changed(manifest(), "/layers", (0..count).map(layer).collect());
        assert!(parse(&layers(1000), None).is_ok());
        let message = lifted(&layers(1001), flag::LAYERS, |limits| limits.layer.layers = 1001);
        assert_eq!(message, "the manifest has 1001 layers, at most 1000 are read");
        let entry = index()["manifests"][0].clone();
        let entries = |count| changed(index(), "/manifests", vec![entry.clone(); count].into());
        assert!(parse(&entries(10_000), None).is_ok());
        let message = lifted(&entries(10_001), flag::ENTRIES, |limits| limits.entries = 10_001);
        assert_eq!(message, "the image's index has 10001 entries, at most 10000 are read");
        let length = (8 << 20) + 1;
        let long = changed(manifest(), "/config/size", json!(length));
        lifted(&long, flag::CONFIG, |limits| limits.config = length);
        let blob = (32_u64 << 30) + 1;
        let large = changed(manifest(), "/layers/0/size", json!(blob));
        lifted(&large, flag::BLOB, |limits| limits.layer.blob = blob);
        let diff_ids = (0..1001).map(digest).collect::<Vec<_>>();
        let deep = changed(config(), "/rootfs/diff_ids", json!(diff_ids));
        let error = parse_config(&deep).unwrap_err();
        assert_eq!(error.hint(), Some(flag::raise(flag::LAYERS).as_str()), "{error}");
        let mut limits = Limits::default();
        limits.layer.layers = 1001;
        assert_eq!(Config::parse(deep.to_string().into(), &limits).unwrap().diff_ids.len(), 1001);
    }

    fn config() -> Value {
        json!({
            "created": "2024-01-01T00:00:00Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/sh"], "Cmd": null, "Env": ["A=b"], "WorkingDir": "/w",
                "User": "1:2", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}},
                "Labels": {"l": "v"}, "StopSignal": "SIGINT",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(3), digest(4)]},
            "history": [{"created_by": "RUN x", "empty_layer": true}],
        })
    }

    fn parse_config(document: &Value) -> Result<Config> {
        Config::parse(document.to_string().into_bytes(), &Limits::default())
    }

    #[test]
    fn a_config_keeps_what_a_container_would_need() {
        let parsed = parse_config(&config()).unwrap();
        assert_eq!(parsed.platform(), Some(Platform::new("linux", "amd64", None)));
        assert_eq!((parsed.entrypoint, parsed.cmd), (vec!["/bin/sh".to_owned()], vec![]));
        assert_eq!((parsed.env, parsed.user), (vec!["A=b".to_owned()], "1:2".to_owned()));
        assert_eq!(parsed.exposed_ports, ["80/tcp"]);
        assert_eq!(parsed.volumes, ["/data"]);
        assert_eq!(parsed.labels["l"], "v");
        assert_eq!(parsed.stop_signal.as_deref(), Some("SIGINT"));
        assert!(parsed.history[0].empty_layer);
        assert_eq!(parsed.raw, config().to_string().into_bytes());
    }

    #[test]
    fn a_config_may_be_sparse() {
        let parsed = parse_config(&json!({"rootfs": {"diff_ids": null}, "config": null})).unwrap();
        assert_eq!((parsed.platform(), parsed.diff_ids.len()), (None, 0));
    }

    #[test]
    fn a_malformed_config_is_bad_data() {
        for document in [
            json!({}),
            changed(config(), "/rootfs/type", json!("base layer")),
            changed(config(), "/rootfs/diff_ids/0", json!("sha256:x")),
            changed(config(), "/config/Env", json!("A=b")),
            changed(config(), "/history", vec![json!({}); MAX_LIST + 1].into()),
        ] {
            assert_eq!(parse_config(&document).unwrap_err().exit_code(), 65, "{document}");
        }
    }

    #[test]
    fn each_layer_needs_a_diff_id() {
        let Document::Manifest(manifest) = parse(&manifest(), None).unwrap() else {
            panic!("an index?")
        };
        let layers = manifest.layers(&parse_config(&config()).unwrap()).unwrap();
        let diff_id = layers[1].diff_id.as_ref().map(ToString::to_string);
        assert_eq!((layers[1].index, diff_id), (1, Some(digest(4))));
        let short = changed(config(), "/rootfs/diff_ids", json!([digest(3)]));
        let error = manifest.layers(&parse_config(&short).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the manifest has 2 layers, but the config has 1 diff IDs");
    }
}
