//! The files of an archive that holds an image, found by one reading of its headers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Seek as _;
use std::sync::Arc;

use super::section::Section;
use crate::error::{Error, Result};
use crate::layer::{Archive, Entry, EntryKind, Limits};
use crate::source::excerpt;

/// How many members an archive of an image may have. Each layer and document is one or a few.
const MAX_MEMBERS: usize = 100_000;
/// How long all their names may be together.
const MAX_NAMES: usize = 16 << 20;
/// How many links lead to a member at most.
const MAX_HOPS: usize = 40;

/// An archive whose members are asked for by name.
#[derive(Debug)]
pub(super) struct IndexedArchive {
    name: String,
    file: Arc<File>,
    members: BTreeMap<Vec<u8>, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Member {
    File {
        start: u64,
        length: u64,
    },
    /// A link of either kind, its target a clean path from the root.
    Link(Vec<u8>),
    Directory,
}

impl IndexedArchive {
    /// Reads the headers of the uncompressed archive in `file`; no content is read.
    pub(super) fn scan(file: File, name: &str, limits: &Limits) -> Result<Self> {
        let failed = |error| super::directory::failed(name, error);
        let length = file.metadata().map_err(failed)?.len();
        let mut cursor = file.try_clone().map_err(failed)?;
        // Copies share their position, and somebody may have looked before.
        cursor.rewind().map_err(failed)?;
        let mut indexed =
            Self { name: name.to_owned(), file: Arc::new(file), members: BTreeMap::new() };
        let mut archive = Archive::new(cursor, name, limits);
        let mut names = 0_usize;
        while let Some(entry) = archive.next_entry()? {
            names = names.saturating_add(entry.path.len()).saturating_add(entry.link.len());
            if names > MAX_NAMES || indexed.members.len() >= MAX_MEMBERS {
                return Err(Error::bad_data(format!(
                    "{name} has more than {MAX_MEMBERS} members or {MAX_NAMES} bytes of names: \
                     that is no archive of an image"
                ))
                .with_hint("a root filesystem is tar:FILE"));
            }
            let start = archive.step_over()?;
            indexed.add(&entry, start, length)?;
        }
        Ok(indexed)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a member of this name, whatever it is.
    pub(super) fn has(&self, path: &str) -> bool {
        self.members.contains_key(path.as_bytes())
    }

    /// The file of this name, through the links of the archive; `None` where there is none.
    pub(super) fn find(&self, path: &str) -> Result<Option<Section>> {
        let shown = format!("{} in {}", excerpt(path), self.name);
        let refuse = |why: &str| Error::bad_data(format!("{shown} {why}"));
        let mut wanted = clean(&[], path.as_bytes()).ok_or_else(|| refuse("leads out of it"))?;
        for _ in 0..MAX_HOPS {
            match self.members.get(&wanted) {
                None => return Ok(None),
                Some(Member::Directory) => return Err(refuse("is a directory")),
                Some(Member::File { start, length }) => {
                    return Ok(Some(Section::new(&shown, &self.file, *start, *length)));
                }
                Some(Member::Link(target)) => wanted.clone_from(target),
            }
        }
        Err(refuse("is a link that leads nowhere"))
    }

    fn add(&mut self, entry: &Entry, start: u64, length: u64) -> Result<()> {
        let refuse = |why: &str| {
            let path = excerpt(&String::from_utf8_lossy(&entry.path));
            Error::bad_data(format!("cannot use {path} in {}: {why}", self.name))
        };
        let no_part = |why: &str| refuse(why).with_hint("a root filesystem is tar:FILE");
        let path = clean(&[], &entry.path).ok_or_else(|| refuse("it leads out of the archive"))?;
        let outside = || refuse("its target is outside of the archive");
        let member = match entry.kind {
            EntryKind::Directory => Member::Directory,
            EntryKind::Regular if entry.segments.is_some() => {
                return Err(no_part("it is stored as a sparse file"));
            }
            EntryKind::Regular => {
                if start.checked_add(entry.size).is_none_or(|end| end > length) {
                    return Err(refuse("the archive ends inside it"));
                }
                Member::File { start, length: entry.size }
            }
            EntryKind::HardLink => self.linked(clean(&[], &entry.link).ok_or_else(outside)?),
            EntryKind::Symlink if entry.link.starts_with(b"/") => return Err(outside()),
            EntryKind::Symlink => {
                let last = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                let directory = path.get(..last).unwrap_or_default();
                Member::Link(clean(directory, &entry.link).ok_or_else(outside)?)
            }
            kind => return Err(no_part(&format!("a {kind} has no place in it"))),
        };
        // Of two with one name the last counts, as for tar, docker load and podman: `tar -r`
        // replaces so. What is read is verified by its digest, or by its diff ID.
        self.members.insert(path, member);
        Ok(())
    }

    /// A further name of a member: what is there now, though the target's name may be used again.
    fn linked(&self, target: Vec<u8>) -> Member {
        match self.members.get(&target) {
            Some(file @ Member::File { .. }) => file.clone(),
            _ => Member::Link(target),
        }
    }
}

/// A path below `directory` in one form; `None` where it leads out of the root.
fn clean(directory: &[u8], path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> =
        directory.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::layer::forge::Forge;
    use crate::source::limits::Bound;

    fn scan(archive: &[u8]) -> Result<IndexedArchive> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        IndexedArchive::scan(file, "a.tar", &Limits::default())
    }

    fn content(archive: &IndexedArchive, path: &str) -> Vec<u8> {
        archive.find(path).unwrap().unwrap().document(Bound::fixed(1 << 20)).unwrap()
    }

    #[test]
    fn a02_members_are_found_in_any_order_and_form() {
        let archive = Forge::new()
            .dir("./")
            .dir("./blobs/")
            .file("./blobs/one", vec![1; 1000])
            .dir("blobs")
            .file("/index.json", "{}")
            .file("empty", "")
            .finish();
        let archive = scan(&archive).unwrap();
        assert_eq!(content(&archive, "blobs/one"), vec![1; 1000]);
        assert_eq!(content(&archive, "index.json"), b"{}");
        assert_eq!(content(&archive, "./empty"), b"");
        assert!(archive.find("none").unwrap().is_none());
        assert!(archive.has("blobs") && !archive.has("none"));
        assert_eq!(archive.find("blobs").unwrap_err().exit_code(), 65);
        assert_eq!(archive.find("../x").unwrap_err().exit_code(), 65);
    }

    #[test]
    fn a03_links_lead_to_members_and_never_out() {
        let archive = Forge::new()
            .file("real/layer.tar", "layer")
            .symlink("other/layer.tar", "../real/layer.tar")
            .hard_link("hard", "./real/layer.tar")
            .symlink("again", "hard")
            .symlink("dangling", "nothing")
            .symlink("one", "two")
            .symlink("two", "one")
            .finish();
        let archive = scan(&archive).unwrap();
        for name in ["other/layer.tar", "hard", "again"] {
            assert_eq!(content(&archive, name), b"layer", "{name}");
        }
        assert!(archive.find("dangling").unwrap().is_none());
        assert_eq!(archive.find("one").unwrap_err().exit_code(), 65);
    }

    #[test]
    fn a02_of_an_entry_that_is_there_twice_the_last_counts() {
        let archive = Forge::new()
            .file("a", "first")
            .hard_link("of-the-first", "a")
            .file("./a", "last")
            .dir("b")
            .file("b", "file")
            .symlink("c", "a")
            .file("c", "file")
            .file("d", "same")
            .hard_link("d", "d")
            .finish();
        let archive = scan(&archive).unwrap();
        for (path, expected) in
            [("a", "last"), ("of-the-first", "first"), ("b", "file"), ("c", "file"), ("d", "same")]
        {
            assert_eq!(content(&archive, path), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn hostile_archives_are_refused() {
        let cut = Forge::new().file("a", vec![1; 5000]).finish();
        for (archive, why) in [
            (Forge::new().file("../a", "x").finish(), "leads out"),
            (Forge::new().symlink("a", "/etc/shadow").finish(), "outside"),
            (Forge::new().symlink("a/b", "../../x").finish(), "outside"),
            (Forge::new().hard_link("a", "../x").finish(), "outside"),
            (
                Forge::new().device(b'3', b"a", 1, 3).finish(),
                "has no place in it; a root filesystem is tar:FILE",
            ),
            (cut[..3000].to_vec(), "ends inside"),
            (vec![7; 2048], "cannot read"),
        ] {
            let error = scan(&archive).unwrap_err();
            assert_eq!(error.exit_code(), 65, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn the_names_of_an_archive_are_bounded() {
        let long = "x".repeat(4000);
        let mut archive = Forge::new();
        for number in 0..(MAX_NAMES / 4000 + 2) {
            archive = archive.file(format!("{number}{long}"), "");
        }
        assert!(
            scan(&archive.finish()).unwrap_err().to_string().contains("no archive of an image")
        );
    }
}
