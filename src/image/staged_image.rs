//! A finished image, before it has its name and after.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ext4_writer::{Metadata, Summary};
use uuid::Uuid;

use super::interruption::Interruption;
use super::output::Output;
use super::sidecar;
use crate::digest::Digest;
use crate::error::Result;
use crate::flatten::Flattened;
use crate::guest::Description;
use crate::layer::LayerTotals;

/// A finished image.
#[derive(Debug)]
pub struct Built {
    /// Where it is.
    pub path: PathBuf,
    /// What the filesystem holds.
    pub summary: Summary,
    /// Whose the root directory is.
    pub root: Metadata,
    /// What was counted and lost on the way.
    pub flattened: Flattened,
    /// What names the content.
    pub identity: Digest,
    /// What was read of each layer.
    pub layers: Vec<LayerTotals>,
    /// What the image says of itself.
    pub description: Option<Description>,
    /// Where its sidecar is.
    pub described: Option<PathBuf>,
    /// How long the layers took.
    pub flattening: Duration,
    /// How long the filesystem's own structures, the sync and the renaming took.
    pub finishing: Duration,
}

/// An image that is complete and synced, but has no name yet.
#[derive(Debug)]
pub struct StagedImage {
    pub(super) output: Output,
    pub(super) replace: bool,
    pub(super) interruption: Interruption,
    pub(super) built: Built,
}

impl StagedImage {
    /// The image's bytes.
    pub fn file(&self) -> Result<File> {
        self.output.file()
    }

    /// Gives the image its name, when nothing can be wrong with it any more.
    pub fn publish(self) -> Result<Built> {
        let start = Instant::now();
        let output = &self.built.path;
        let described = match &self.built.description {
            Some(description) => {
                let document = description.sidecar(self.facts())?;
                Some(sidecar::prepare(output, self.replace, &self.interruption, &document)?)
            }
            None => None,
        };
        let (path, described) = self.output.publish(described)?;
        let finishing = self.built.finishing.saturating_add(start.elapsed());
        Ok(Built { path, described, finishing, ..self.built })
    }

    /// What the sidecar says of its file.
    fn facts(&self) -> serde_json::Value {
        let Summary { size, block_size, inodes, uuid, .. } = self.built.summary;
        serde_json::json!({
            "name": self.built.path.file_name().map(|name| name.to_string_lossy()),
            "size": size,
            "block_size": block_size,
            "inodes": inodes,
            "uuid": Uuid::from_bytes(uuid).to_string(),
        })
    }
}
