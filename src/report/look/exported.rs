//! An archive that was made of an image.

use serde::Serialize;

use super::Head;
use crate::error::Result;
use crate::look::{Exported, Image};
use crate::report::{Format, Note, Report, bytes, push_notes};

/// What the list of losses is called.
const LOSSES: &str = "not in the archive";

#[derive(Serialize)]
struct Text {
    #[serde(flatten)]
    head: Head,
    path: String,
    files: u64,
    file_bytes: u64,
    directories: u64,
    symlinks: u64,
    hard_links: u64,
    special_files: u64,
    losses: Vec<Note>,
    losses_total: u64,
}

fn notes(exported: &Exported) -> Vec<Note> {
    let note = |remark: &crate::flatten::Remark| Note {
        path: remark.path.escape_ascii().to_string(),
        reason: remark.reason.clone(),
    };
    exported.losses.items().iter().map(note).collect()
}

impl Report {
    /// Says what an archive on standard output lacks.
    pub fn lost(self, exported: &Exported) {
        let mut text = String::new();
        push_notes(&mut text, LOSSES, &notes(exported), exported.losses.total());
        if !text.is_empty() && self.format == Format::Text {
            self.step(text.trim_end());
        }
    }

    /// Prints what is in an archive that has a file of its own.
    pub fn exported(self, image: &Image, path: String, exported: &Exported) -> Result<()> {
        let value = Text {
            head: Head::of(image),
            path,
            files: exported.files,
            file_bytes: exported.file_bytes,
            directories: exported.directories,
            symlinks: exported.symlinks,
            hard_links: exported.hard_links,
            special_files: exported.special_files,
            losses: notes(exported),
            losses_total: exported.losses.total(),
        };
        self.result(&value, || value.text())
    }
}

impl Text {
    fn text(&self) -> String {
        let mut text = format!(
            "{:<10}{}\n{:<10}{} files ({}), {} directories, {} symbolic links, {} hard links, {} \
             special\n{:<10}{}\n",
            "image",
            self.head.image,
            "content",
            self.files,
            bytes(self.file_bytes),
            self.directories,
            self.symlinks,
            self.hard_links,
            self.special_files,
            "path",
            self.path
        );
        push_notes(&mut text, LOSSES, &self.losses, self.losses_total);
        text
    }
}
