//! What was changed in a finished image.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Report, bytes};
use crate::edit::Identity;
use crate::error::Result;
use crate::shown;
use uuid::Uuid;

/// What an image was recovered from before it was changed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Recovery {
    /// Whether a change that was interrupted was taken back.
    pub(crate) undone: bool,
    /// The transactions that its journal held; none if it was unmounted.
    pub(crate) replayed_transactions: Option<u32>,
}

impl Recovery {
    fn push(self, text: &mut String) {
        // Writing to a String cannot fail.
        if self.undone {
            let _ = writeln!(text, "undone    a change that was interrupted");
        }
        if let Some(count) = self.replayed_transactions {
            let _ = writeln!(
                text,
                "replayed  {count} transaction{}",
                if count == 1 { "" } else { "s" }
            );
        }
    }
}

/// The result of `banger image edit`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Edited {
    /// The image.
    pub(crate) path: String,
    /// The changes, in their order.
    pub(crate) changes: Vec<String>,
    /// What of that the image does not hold, or is odd.
    pub(crate) remarks: Vec<String>,
    /// Whether nothing was written.
    pub(crate) dry_run: bool,
    /// What was done first.
    #[serde(flatten)]
    pub(crate) recovery: Recovery,
}

/// The result of `banger disk resize`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Resized {
    /// The disk.
    pub(crate) path: String,
    /// The bytes of the filesystem before.
    pub(crate) before: u64,
    /// The bytes that it has now.
    pub(crate) size: u64,
    /// What was done first.
    #[serde(flatten)]
    pub(crate) recovery: Recovery,
}

/// The result of `banger disk set`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    path: String,
    /// The options of the command that were set.
    changed: Vec<&'static str>,
    /// The new label.
    label: Option<String>,
    /// The new UUID.
    uuid: Option<String>,
    #[serde(flatten)]
    recovery: Recovery,
}

impl Settings {
    /// What was set of this disk.
    #[must_use]
    pub(crate) fn new(path: String, identity: &Identity, recovery: Recovery) -> Self {
        let given = [
            ("label", identity.label.is_some()),
            ("uuid", identity.uuid.is_some()),
            ("reserved", identity.reserved.is_some()),
            ("on-error", identity.on_error.is_some()),
            ("mount-options", identity.mount_options.is_some()),
            ("last-mounted", identity.last_mounted.is_some()),
        ];
        Self {
            path,
            changed: given.into_iter().filter_map(|(name, is)| is.then_some(name)).collect(),
            label: identity.label.as_ref().map(|label| shown::bytes(label).to_string()),
            uuid: identity.uuid.map(|uuid| Uuid::from_bytes(uuid).to_string()),
            recovery,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        self.recovery.push(&mut text);
        // Writing to a String cannot fail.
        for (name, value) in [("label", &self.label), ("uuid", &self.uuid)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{name:<10}{value}");
            }
        }
        let _ = writeln!(text, "{:<10}{}", "changed", self.changed.join(", "));
        let _ = writeln!(text, "{:<10}{}", "path", self.path);
        text
    }
}

/// The result of `banger disk recover`.
#[derive(Serialize)]
struct Recovered {
    path: String,
    #[serde(flatten)]
    recovery: Recovery,
}

impl Report {
    /// Prints what was changed, or would be.
    pub(crate) fn edited(self, edited: &Edited) -> Result<()> {
        for remark in &edited.remarks {
            self.warn(remark);
        }
        self.result(edited, || {
            if self.quiet {
                return edited.path.clone();
            }
            let mut text = String::new();
            edited.recovery.push(&mut text);
            // Writing to a String cannot fail.
            for change in &edited.changes {
                let _ = writeln!(text, "{change}");
            }
            let note = if edited.dry_run { ", left as it is" } else { "" };
            let _ = writeln!(text, "{:<10}{}{note}", "path", edited.path);
            text
        })
    }

    /// Prints how far a filesystem grew.
    pub(crate) fn resized(self, resized: &Resized) -> Result<()> {
        self.result(resized, || {
            let mut text = String::new();
            resized.recovery.push(&mut text);
            let (before, size) = (bytes(resized.before), bytes(resized.size));
            // Writing to a String cannot fail.
            let _ = if resized.before == resized.size {
                writeln!(text, "{:<10}{size}, as before", "size")
            } else {
                writeln!(text, "{:<10}{size} ({} bytes), before {before}", "size", resized.size)
            };
            let _ = writeln!(text, "{:<10}{}", "path", resized.path);
            text
        })
    }

    /// Prints what was set.
    pub(crate) fn set(self, settings: &Settings) -> Result<()> {
        self.result(settings, || settings.text())
    }

    /// Prints what a disk was recovered from.
    pub(crate) fn recovered(self, path: String, recovery: Recovery) -> Result<()> {
        let recovered = Recovered { path, recovery };
        self.result(&recovered, || {
            let mut text = String::new();
            recovery.push(&mut text);
            if text.is_empty() {
                text.push_str("nothing to recover\n");
            }
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:<10}{}", "path", recovered.path);
            text
        })
    }
}
