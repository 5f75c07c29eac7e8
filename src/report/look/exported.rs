//! An archive that was made of an image.

use serde::Serialize;

use super::Head;
use crate::error::Result;
use crate::look::{Exported, Image};
use crate::report::kinds::Kinds;
use crate::report::notes::{Note, push_notes};
use crate::report::{Format, Report};

/// What the list of losses is called.
const LOSSES: &str = "not in the archive";

#[derive(Serialize)]
struct Text {
    #[serde(flatten)]
    head: Head,
    path: String,
    #[serde(flatten)]
    kinds: Kinds,
    losses: Vec<Note>,
    losses_total: u64,
}

impl Report {
    /// Says what an archive on standard output lacks.
    pub(crate) fn lost(self, exported: &Exported) {
        let mut text = String::new();
        push_notes(&mut text, LOSSES, &Note::all(&exported.losses), exported.losses.total());
        if !text.is_empty() && self.format == Format::Text {
            self.step(text.trim_end());
        }
    }

    /// Prints what is in an archive that has a file of its own.
    pub(crate) fn exported(self, image: &Image, path: String, exported: &Exported) -> Result<()> {
        let value = Text {
            head: Head::of(image),
            path,
            kinds: Kinds {
                files: exported.files,
                file_bytes: exported.file_bytes,
                directories: exported.directories,
                symlinks: exported.symlinks,
                hard_links: exported.hard_links,
                special_files: exported.special_files,
            },
            losses: Note::all(&exported.losses),
            losses_total: exported.losses.total(),
        };
        self.result(&value, || value.text())
    }
}

impl Text {
    fn text(&self) -> String {
        let (image, path, content) = (&self.head.image, &self.path, self.kinds.text());
        let mut text =
            format!("{:<10}{image}\n{:<10}{content}\n{:<10}{path}\n", "image", "content", "path");
        push_notes(&mut text, LOSSES, &self.losses, self.losses_total);
        text
    }
}
