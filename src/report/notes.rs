//! Remarks about paths.

use std::fmt::Write as _;

use serde::Serialize;

use crate::flatten::{Bounded, LowerLink, Remark};

/// How many notes are shown to people; machines get them all.
const NOTES_SHOWN: usize = 10;

/// A path and what is to be said of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Note {
    /// The path, with bytes that are no plain text escaped.
    pub path: String,
    /// What is to be said.
    pub reason: String,
}

impl Note {
    /// What is to be said of a path, which may be any bytes.
    pub(crate) fn new(path: &[u8], reason: &str) -> Self {
        Self { path: crate::shown::bytes(&path).to_string(), reason: reason.to_owned() }
    }

    /// The links of a list that were kept.
    pub(super) fn links(list: &Bounded<LowerLink>) -> Vec<Self> {
        list.items().iter().map(|link| Self::new(&link.symlink, &link.layer)).collect()
    }

    /// Those remarks of a list that were kept.
    pub(super) fn all(remarks: &Bounded<Remark>) -> Vec<Self> {
        remarks.items().iter().map(|remark| Self::new(&remark.path, &remark.reason)).collect()
    }
}

/// The first notes of a list, under a title, for people.
pub(super) fn push_notes(text: &mut String, title: &str, notes: &[Note], total: u64) {
    if total == 0 {
        return;
    }
    let _ = writeln!(text, "{title} ({total}):");
    for note in notes.iter().take(NOTES_SHOWN) {
        let _ = writeln!(text, "  {}: {}", note.path, note.reason);
    }
    if total > u64::try_from(notes.len().min(NOTES_SHOWN)).unwrap_or(u64::MAX) {
        let _ = writeln!(text, "  … (--format json lists them)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_notes_is_cut_for_people() {
        let note = Note { path: "a".to_owned(), reason: "b".to_owned() };
        let mut text = String::new();
        push_notes(&mut text, "lost", &vec![note; 12], 12);
        assert_eq!(text.lines().count(), 1 + NOTES_SHOWN + 1);
        assert!(text.starts_with("lost (12):\n  a: b\n"));
    }
}
