//! What an image says of itself, as JSON.

use serde::Serialize;
use serde_json::Value;

use super::init::{PATH, Program};
use super::tools::Tools;
use super::user::User;
use crate::error::{Error, Result};
use crate::source::Image;

/// Where the description is in the image.
pub const DESCRIPTION_PATH: &str = "/etc/banger/image.json";
/// The version of the document's form.
const VERSION: u32 = 1;

/// What an image says of itself: the same wherever and whenever it is made, so nothing of the host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    version: u32,
    banger: &'static str,
    /// The image's name; what comes from a path of the host has none.
    reference: Option<String>,
    index: Option<String>,
    manifest: Option<String>,
    identity: String,
    platform: Option<String>,
    layers: Vec<Layer>,
    /// What was asked for.
    options: Value,
    start: Option<Start>,
    /// The document that came with the image.
    config: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Layer {
    digest: String,
    diff_id: Option<String>,
    media_type: String,
    size: u64,
}

/// How the image starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
        let layers = image.layers.iter().map(|layer| Layer {
            digest: layer.digest.to_string(),
            diff_id: layer.diff_id.as_ref().map(ToString::to_string),
            media_type: layer.media_type.clone(),
            size: layer.size,
        });
        let config = match image.config.raw.as_slice() {
            [] => Value::Null,
            raw => serde_json::from_slice(raw).map_err(|error| {
                Error::bad_data("the image's config is no JSON that can be kept").because(error)
            })?,
        };
        Ok(Self {
            version: VERSION,
            banger: env!("CARGO_PKG_VERSION"),
            reference: has_name.then(|| image.reference.clone()),
            index: image.index_digest.as_ref().map(ToString::to_string),
            manifest: image.manifest_digest.as_ref().map(ToString::to_string),
            identity: image.identity.to_string(),
            platform: image.platform.as_ref().map(ToString::to_string),
            layers: layers.collect(),
            options,
            start: None,
            config,
        })
    }

    /// Says how the image starts.
    pub(super) fn set_start(&mut self, program: &Program, user: &User, tools: &Tools) {
        self.start = Some(Start {
            init: PATH,
            kernel_words: format!("init={PATH}"),
            command: program.command.clone(),
            environment: program.environment.clone(),
            directory: program.directory.clone(),
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
            home: user.home.clone(),
            step_down: tools.step_down.clone(),
            stop_signal: program.stop_signal,
        });
    }

    /// What the kernel has to be told so that the image starts as its config says.
    #[must_use]
    pub fn kernel_words(&self) -> Option<&str> {
        self.start.as_ref().map(|start| start.kernel_words.as_str())
    }

    /// The document in the image.
    pub fn inside(&self) -> Result<Vec<u8>> {
        render(self)
    }

    /// The document beside the image: the same, and what is true of the file.
    pub fn beside(&self, file: Value) -> Result<Vec<u8>> {
        let failed = |error| Error::internal("cannot write the description").because(error);
        let mut document = serde_json::to_value(self).map_err(failed)?;
        if let Some(members) = document.as_object_mut() {
            members.insert("file".to_owned(), file);
        }
        render(&document)
    }

    /// Whether a document is such a description.
    #[must_use]
    pub fn is_one(document: &[u8]) -> bool {
        let document: Option<Value> = serde_json::from_slice(document).ok();
        document.is_some_and(|document| {
            document.get("banger").is_some_and(Value::is_string)
                && document.get("identity").is_some_and(Value::is_string)
        })
    }
}

fn render<T: Serialize>(document: &T) -> Result<Vec<u8>> {
    let text = serde_json::to_vec_pretty(document);
    let mut text =
        text.map_err(|error| Error::internal("cannot write the description").because(error))?;
    text.push(b'\n');
    Ok(text)
}
