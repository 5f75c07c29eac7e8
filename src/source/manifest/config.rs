//! The config: how a container of the image would be run, and what its layers unpack to.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lists::{Count, MAX_FEATURES, MAX_LIST, from_json, keys, list};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::{Limits, Platform, excerpt};

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
