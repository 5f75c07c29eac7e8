//! What an image says of itself, as JSON.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::init::Program;
use super::places::INIT;
use super::tools::Tools;
use super::user::User;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::LayerTotals;
use crate::source::Image;

/// Where the description is in the image.
pub(crate) const DESCRIPTION_PATH: &str = "/etc/banger/image.json";
/// The longest description that is written or read: configs are far shorter, and readers of JSON
/// take many times what it has.
pub(crate) const MAX_DESCRIPTION: u64 = 4 << 20;
/// The version of the document's form.
const VERSION: u32 = 1;

/// What an image says of itself: the same wherever and whenever it is made, so nothing of the host.
#[derive(Clone, Debug)]
pub struct Description {
    content: DescribedContent,
    provenance: Provenance,
}

/// What follows from the image alone, however it was packed and wherever it came from.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct DescribedContent {
    version: u32,
    banger: String,
    identity: String,
    platform: Option<String>,
    /// The digests of the uncompressed layers, as the config has them.
    diff_ids: Vec<Option<String>>,
    /// What was asked for.
    options: Value,
    #[serde(skip_deserializing)]
    start: Option<Start>,
    /// The document that came with the image, as it came.
    config: Option<Box<RawValue>>,
}

/// Where the image came from, and how it was packed there.
#[derive(Clone, Debug, Default, Serialize)]
struct Provenance {
    /// The image's name; what comes from a path of the host has none.
    reference: Option<String>,
    index: Option<String>,
    manifest: Option<String>,
    layers: Vec<DescribedLayer>,
}

#[derive(Clone, Debug, Serialize)]
struct DescribedLayer {
    digest: String,
    diff_id: Option<String>,
    media_type: String,
    size: u64,
}

/// The sidecar of the image.
#[derive(Serialize)]
struct Sidecar<'a> {
    #[serde(flatten)]
    content: &'a DescribedContent,
    #[serde(flatten)]
    provenance: &'a Provenance,
    /// What is true of the file.
    file: Value,
}

/// What no other document has.
#[derive(Deserialize)]
struct Mark {
    version: u32,
    banger: String,
    identity: String,
}

/// How the image starts.
#[derive(Clone, Debug, Serialize)]
struct Start {
    init: &'static str,
    kernel_words: String,
    command: Vec<String>,
    environment: Vec<String>,
    directory: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: String,
    step_down: Vec<String>,
    stop_signal: u8,
}

impl Description {
    /// Of an image that was made with these options.
    pub fn new(image: &Image, has_name: bool, options: Value) -> Result<Self> {
        let diff_id =
            |layer: &crate::source::Layer| layer.diff_id.as_ref().map(ToString::to_string);
        let layers = image.layers.iter().map(|layer| DescribedLayer {
            digest: layer.digest.to_string(),
            diff_id: diff_id(layer),
            media_type: layer.media_type.clone(),
            size: layer.size,
        });
        let config = match image.config.raw.as_slice() {
            [] => None,
            raw => Some(serde_json::from_slice(raw).map_err(|error| {
                Error::bad_data("the image's config is no JSON that can be kept").with_source(error)
            })?),
        };
        let content = DescribedContent {
            version: VERSION,
            banger: env!("CARGO_PKG_VERSION").to_owned(),
            identity: image.identity.as_ref().map(ToString::to_string).unwrap_or_default(),
            platform: image.platform.as_ref().map(ToString::to_string),
            diff_ids: image.layers.iter().map(diff_id).collect(),
            options,
            start: None,
            config,
        };
        let provenance = Provenance {
            reference: has_name.then(|| image.reference.clone()),
            index: image.index_digest.as_ref().map(ToString::to_string),
            manifest: image.manifest_digest.as_ref().map(ToString::to_string),
            layers: layers.collect(),
        };
        let description = Self { content, provenance };
        // Refused before the long work.
        description.inside().map(|_| description)
    }

    /// That of a finished image, with the config that it was made with; how it starts is to be said
    /// anew.
    pub(super) fn read(document: &[u8]) -> Result<(Self, Option<Vec<u8>>)> {
        let content: DescribedContent = serde_json::from_slice(document).map_err(|error| {
            Error::bad_data(format!("{DESCRIPTION_PATH} is no description")).with_source(error)
        })?;
        let config = content.config.as_ref().map(|config| config.get().as_bytes().to_vec());
        Ok((Self { content, provenance: Provenance::default() }, config))
    }

    /// Says what the content is, which of a root filesystem is known when it has been read.
    pub fn set_content(&mut self, identity: &Digest, layers: &[LayerTotals]) {
        self.content.identity = identity.to_string();
        if self.content.diff_ids.is_empty() {
            let digests = layers.iter().map(|layer| layer.digest.as_ref());
            self.content.diff_ids = digests.map(|digest| digest.map(ToString::to_string)).collect();
        }
    }

    /// Says how the image starts.
    pub(super) fn set_start(&mut self, program: &Program, user: &User, tools: &Tools) {
        self.content.start = Some(Start {
            init: INIT,
            kernel_words: format!("init={INIT}"),
            command: program.command.clone(),
            environment: program.environment.clone(),
            directory: program.directory.clone(),
            uid: user.uid,
            gid: user.gid,
            // Nothing precedes a program of root's, which has no groups besides its own then.
            groups: if tools.step_down.is_empty() { Vec::new() } else { user.groups.clone() },
            home: user.home.clone(),
            step_down: tools.step_down.clone(),
            stop_signal: program.stop_signal,
        });
    }

    /// What the kernel has to be told so that the image starts as its config says.
    #[must_use]
    pub fn kernel_words(&self) -> Option<&str> {
        self.content.start.as_ref().map(|start| start.kernel_words.as_str())
    }

    /// The document in the image: the same from wherever the image comes.
    pub fn inside(&self) -> Result<Vec<u8>> {
        render(&self.content)
    }

    /// The sidecar of the image: the same, whence it came, and what is true of the file.
    pub fn sidecar(&self, file: Value) -> Result<Vec<u8>> {
        render(&Sidecar { content: &self.content, provenance: &self.provenance, file })
    }

    /// Whether a document is such a description.
    #[must_use]
    pub fn is_one(document: &[u8]) -> bool {
        let mark: Option<Mark> = serde_json::from_slice(document).ok();
        mark.is_some_and(|Mark { version, banger, identity }| {
            version != 0 && !banger.is_empty() && identity.contains(':')
        })
    }
}

/// Without indentation, which multiplies the length of a document that is deep and wide.
fn render<T: Serialize>(document: &T) -> Result<Vec<u8>> {
    let text = serde_json::to_vec(document);
    let mut text =
        text.map_err(|error| Error::internal("cannot write the description").with_source(error))?;
    text.push(b'\n');
    let length = text.len();
    if u64::try_from(length).unwrap_or(u64::MAX) > MAX_DESCRIPTION {
        return Err(Error::bad_data(format!(
            "the description of the image would have {length} bytes, at most {MAX_DESCRIPTION} \
             are written: its config is too long"
        ))
        .with_hint("leave --metadata and --init out"));
    }
    Ok(text)
}
