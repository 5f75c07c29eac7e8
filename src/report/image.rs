//! A filesystem that was made.

use std::path::Path;

use ext4_writer::Summary;
use serde::Serialize;
use uuid::Uuid;

use super::bytes;
use crate::look::Summary as Found;
use crate::shown;

/// The filesystem.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Image {
    /// The file.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// The bytes of a block.
    pub block_size: u64,
    /// The blocks of the filesystem.
    pub blocks: u64,
    /// The blocks that are free, with those for root alone.
    pub free_blocks: u64,
    /// The bytes that an ordinary user can write.
    pub available: u64,
    /// The bytes that were written; all others are holes.
    pub written: u64,
    /// The inodes of the filesystem.
    pub inodes: u32,
    /// The inodes that are free.
    pub free_inodes: u32,
    /// The volume's name.
    pub label: String,
    /// The filesystem's UUID.
    pub uuid: String,
    /// The bytes of the journal.
    pub journal: u64,
    /// Times beyond what ext4 stores that were moved to its limits.
    pub clamped_times: u64,
    /// The features by the names that dumpe2fs gives them.
    pub features: Vec<String>,
}

impl Image {
    /// What is said of a filesystem.
    pub(super) fn new(path: &Path, summary: &Summary, label: &[u8]) -> Self {
        Self {
            path: path.display().to_string(),
            size: summary.size,
            block_size: summary.block_size,
            blocks: summary.blocks,
            free_blocks: summary.free_blocks,
            available: summary.available,
            written: summary.written,
            inodes: summary.inodes,
            free_inodes: summary.free_inodes,
            label: shown::bytes(label).to_string(),
            uuid: Uuid::from_bytes(summary.uuid).to_string(),
            journal: summary.journal,
            clamped_times: summary.clamped_times,
            features: summary.features.names().map(ToOwned::to_owned).collect(),
        }
    }

    /// What is said of a filesystem that is the copy of another, of which so much was written.
    pub(super) fn found(path: &Path, found: &Found, written: u64) -> Self {
        let facts = &found.facts;
        // kernel: `fs/ext4/super.c`, `ext4_calculate_resv_clusters`.
        let kept = (facts.blocks / 50).min(4096);
        let usable = found.free_blocks.saturating_sub(facts.reserved_blocks.saturating_add(kept));
        Self {
            path: path.display().to_string(),
            size: facts.blocks.saturating_mul(facts.block_size),
            block_size: facts.block_size,
            blocks: facts.blocks,
            free_blocks: found.free_blocks,
            available: usable.saturating_mul(facts.block_size),
            written,
            inodes: facts.inodes,
            free_inodes: u32::try_from(found.free_inodes).unwrap_or(u32::MAX),
            label: shown::bytes(&facts.label).to_string(),
            uuid: Uuid::from_bytes(facts.uuid).to_string(),
            journal: found.journal.unwrap_or_default(),
            clamped_times: 0,
            features: facts.features.names(),
        }
    }

    pub(super) fn text(&self) -> String {
        format!(
            "{} with {} and {} inodes free, UUID {}",
            bytes(self.size),
            bytes(self.available),
            self.free_inodes,
            self.uuid
        )
    }
}
