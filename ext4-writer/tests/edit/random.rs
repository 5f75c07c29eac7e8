//! Random edits against a tree in memory, on images of every layout.

use std::path::Path;

use banger_test_support::tree::{Entry, Kind, Tree};
use ext4_writer::edit::{Device, EditError, EditResult, Editor};
use ext4_writer::reader::Source;
use ext4_writer::{Error, FileContent, Metadata, Profile, Special, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::bed::{
    Bed, LAYOUTS, NOW, assert_holds, edit, made_here, make, nearly_full, noise, tree, weathered,
};

/// What is done, and numbers that choose with what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) kind: u8,
    pub(crate) one: u16,
    pub(crate) other: u16,
    pub(crate) size: u32,
}

pub(crate) fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..14, any::<u16>(), any::<u16>(), 0u32..200_000);
    let step = step.prop_map(|(kind, one, other, size)| Step { kind, one, other, size });
    vec(step, 1..count)
}

/// A tree that goes along with an editor.
pub(crate) struct Model<'a, D> {
    pub(crate) editor: &'a mut Editor<D>,
    pub(crate) tree: &'a mut Tree,
    /// The names that were made up so far.
    pub(crate) made: u32,
    /// Whether the image had no room for a step: the edit is void then.
    pub(crate) is_full: bool,
}

/// What was done; nothing where there was no room for it.
fn unless_full<T>(done: EditResult<T>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(EditError::Change(Error::ImageFull { .. } | Error::TooFewInodes { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(place) => (&path[..place], &path[place + 1..]),
        None => (b"", path),
    }
}

impl<D: Device + Source> Model<'_, D> {
    fn node(&self, path: &[u8]) -> u32 {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.fold(self.editor.root(), |at, name| self.editor.lookup(at, name).unwrap().unwrap())
    }

    fn pick(&self, number: u16, wanted: impl Fn(&[u8], &Entry) -> bool) -> Option<Vec<u8>> {
        let all: Vec<&[u8]> = self
            .tree
            .iter()
            .filter(|(path, entry)| !path.starts_with(b"lost+found") && wanted(path, entry))
            .map(|(path, _)| path)
            .collect();
        let place = usize::from(number) % all.len().max(1);
        all.get(place).map(|path| path.to_vec())
    }

    fn directory(&self, number: u16) -> Vec<u8> {
        self.pick(number, |_, entry| entry.kind == Kind::Directory).unwrap()
    }

    /// Anything but the root.
    fn any(&self, number: u16) -> Option<Vec<u8>> {
        self.pick(number, |path, _| !path.is_empty())
    }

    fn name(&mut self, step: &Step) -> Vec<u8> {
        self.made += 1;
        let length = usize::from(step.other) % 180;
        format!("new-{}-{}", self.made, "x".repeat(length)).into_bytes()
    }

    fn metadata(step: &Step) -> Metadata {
        let time = Timestamp { seconds: i64::from(step.size) * 1000, nanoseconds: 7 };
        let mut metadata = Metadata::root_owned(step.other & 0o7777, time);
        (metadata.uid, metadata.gid) = (u32::from(step.one) * 3, step.size);
        metadata
    }

    fn entry(&self, node: u32, kind: Kind, metadata: &Metadata) -> Entry {
        let modified = self.editor.inode(node).unwrap().modified();
        Entry::new(kind, metadata.mode)
            .owned_by(metadata.uid, metadata.gid)
            .modified_at(modified.seconds, modified.nanoseconds)
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        if !self.is_full {
            self.is_full = self.try_apply(step).is_none();
        }
    }

    fn try_apply(&mut self, step: &Step) -> Option<()> {
        let parent = self.directory(step.one);
        match step.kind {
            0..=4 => self.add(step, &parent),
            5 => self.link(step, &parent),
            6 => {
                let Some(path) = self.any(step.other) else { return Some(()) };
                let (above, name) = split(&path);
                self.editor.remove(self.node(above), name).unwrap();
                self.tree.remove(&path);
                Some(())
            }
            7 => self.rename(step, &parent),
            8 => self.set_content(step),
            9 => {
                self.set_metadata(step);
                Some(())
            }
            10 | 11 => self.attribute(step),
            12 => self.add_many(step, &parent),
            _ => {
                self.remove_many(step);
                Some(())
            }
        }
    }

    /// Adds something of the kind that the step says.
    fn add(&mut self, step: &Step, parent: &[u8]) -> Option<()> {
        let (metadata, node, name) = (Self::metadata(step), self.node(parent), self.name(step));
        let editor = &mut *self.editor;
        let (made, kind) = match step.kind {
            0 | 1 => {
                let size = if step.kind == 0 { step.size } else { step.size % 200 };
                let content = noise(step.other.into(), usize::try_from(size).unwrap());
                let mut reader = content.as_slice();
                let file = FileContent::new(size.into(), &mut reader);
                (editor.add_file(node, &name, &metadata, file), Kind::file(&content))
            }
            2 => (editor.add_directory(node, &name, &metadata), Kind::Directory),
            3 => {
                let target = vec![b't'; usize::try_from(step.size % 900).unwrap() + 1];
                (editor.add_symlink(node, &name, &metadata, &target), Kind::Symlink(target))
            }
            _ => {
                let (major, minor) = (step.size % 4096, step.size);
                let special = Special::BlockDevice { major, minor };
                let kind = Kind::BlockDevice(Some((major, minor)));
                (editor.add_special(node, &name, &metadata, special), kind)
            }
        };
        let made = unless_full(made)?;
        let entry = self.entry(made, kind, &metadata);
        self.put(parent, &name, made, entry);
        Some(())
    }

    fn link(&mut self, step: &Step, parent: &[u8]) -> Option<()> {
        let name = self.name(step);
        let target = self.pick(step.other, |_, entry| entry.kind != Kind::Directory);
        let Some(target) = target else { return Some(()) };
        unless_full(self.editor.add_link(self.node(parent), &name, self.node(&target)))?;
        self.tree.link(join(parent, &name), target);
        Some(())
    }

    fn set_content(&mut self, step: &Step) -> Option<()> {
        let Some(path) = self.file(step.other) else { return Some(()) };
        let content = noise(step.one.into(), usize::try_from(step.size).unwrap());
        let mut reader = content.as_slice();
        let file = FileContent::new(step.size.into(), &mut reader);
        unless_full(self.editor.set_content(self.node(&path), file))?;
        let modified = self.editor.inode(self.node(&path)).unwrap().modified();
        self.tree.change(&path, |entry| {
            entry.kind = Kind::file(&content);
            entry.modified = Some((modified.seconds, modified.nanoseconds));
        });
        Some(())
    }

    fn set_metadata(&mut self, step: &Step) {
        let Some(path) = self.any(step.other) else { return };
        let (node, metadata) = (self.node(&path), Self::metadata(step));
        self.editor.set_metadata(node, &metadata).unwrap();
        let modified = self.editor.inode(node).unwrap().modified();
        self.tree.change(&path, |entry| {
            entry.mode = metadata.mode;
            (entry.uid, entry.gid) = (metadata.uid, metadata.gid);
            entry.modified = Some((modified.seconds, modified.nanoseconds));
        });
    }

    fn file(&self, number: u16) -> Option<Vec<u8>> {
        self.pick(number, |_, entry| matches!(entry.kind, Kind::File { .. }))
    }

    fn put(&mut self, parent: &[u8], name: &[u8], node: u32, mut entry: Entry) {
        entry.inode = Some(node.into());
        self.tree.found(join(parent, name), entry);
    }

    fn rename(&mut self, step: &Step, to: &[u8]) -> Option<()> {
        let Some(path) = self.any(step.other) else { return Some(()) };
        let name = self.name(step);
        let (above, old) = split(&path);
        let (from, target) = (self.node(above), self.node(to));
        let below = [path.as_slice(), b"/"].concat();
        if to == path || to.starts_with(&below) {
            self.editor.rename(from, old, target, &name).unwrap_err();
            return Some(());
        }
        unless_full(self.editor.rename(from, old, target, &name))?;
        let new = join(to, &name);
        let moved: Vec<(Vec<u8>, Entry)> = self
            .tree
            .iter()
            .filter(|(at, _)| *at == path || at.starts_with(&below))
            .map(|(at, entry)| ([&new, &at[path.len()..]].concat(), entry.clone()))
            .collect();
        self.tree.remove(&path);
        for (at, entry) in moved {
            self.tree.found(at, entry);
        }
        Some(())
    }

    fn attribute(&mut self, step: &Step) -> Option<()> {
        let Some(path) = self.file(step.other) else { return Some(()) };
        let node = self.node(&path);
        let names: [&[u8]; 3] = [b"user.one", b"security.two", b"user.large"];
        let name = names[usize::from(step.one) % 3];
        let has = self.tree.get(&path).unwrap().attributes.as_ref().unwrap().contains_key(name);
        if step.kind == 11 && has {
            self.editor.remove_xattr(node, name).unwrap();
            self.tree.change(&path, |entry| {
                entry.attributes.as_mut().unwrap().remove(name);
            });
            return Some(());
        }
        let value = noise(step.size.into(), usize::try_from(step.size % 90).unwrap());
        unless_full(self.editor.set_xattr(node, name, &value))?;
        self.tree.change(&path, |entry| {
            entry.attributes.as_mut().unwrap().insert(name.to_vec(), value.clone());
        });
        Some(())
    }

    /// So many names that blocks and nodes of a directory are split.
    fn add_many(&mut self, step: &Step, parent: &[u8]) -> Option<()> {
        let node = self.node(parent);
        let target = self.name(step);
        let metadata = Self::metadata(step);
        let mut nothing = std::io::empty();
        let file = FileContent::new(0, &mut nothing);
        let made = unless_full(self.editor.add_file(node, &target, &metadata, file))?;
        let entry = self.entry(made, Kind::file(b""), &metadata);
        self.put(parent, &target, made, entry);
        for number in 0..step.size % 400 {
            let name = [format!("{number}-").as_bytes(), &target].concat();
            let name = &name[..name.len().min(255)];
            unless_full(self.editor.add_link(node, name, made))?;
            self.tree.link(join(parent, name), join(parent, &target));
        }
        Some(())
    }

    fn remove_many(&mut self, step: &Step) {
        let Some(path) = self.file(step.other) else { return };
        let (above, _) = split(&path);
        let directory = self.node(above);
        let names: Vec<Vec<u8>> = self
            .tree
            .iter()
            .filter(|(at, entry)| split(at).0 == above && matches!(entry.kind, Kind::File { .. }))
            .map(|(at, _)| at.to_vec())
            .collect();
        for (_, at) in (0..150).zip(names) {
            self.editor.remove(directory, split(&at).1).unwrap();
            self.tree.remove(&at);
        }
    }
}

/// Does the steps in one edit; one for which there is no room leaves the image as it was.
pub(crate) fn run(image: &Path, steps: &[Step], tree: &mut Tree, made: u32) {
    let mut editor = edit(image);
    let mut after = tree.clone();
    let mut model = Model { editor: &mut editor, tree: &mut after, made, is_full: false };
    for step in steps {
        model.apply(step);
    }
    if model.is_full {
        assert!(matches!(editor.commit().unwrap_err(), EditError::Stopped));
        return;
    }
    editor.commit().unwrap_or_else(|error| panic!("commit: {error}"));
    *tree = after;
}

/// Random edits on a copy of an image, each judged.
fn assert_random_edits(bed: &Bed, share: u32, is_mounted: bool, what: &str) {
    let before = tree(&bed.path);
    let image = bed.directory.path().join("edited.ext4");
    TestRunner::new(cases(share))
        .run(&(steps(25), steps(15)), |(first, second)| {
            std::fs::copy(&bed.path, &image).unwrap();
            let mut expected = before.clone();
            run(&image, &first, &mut expected, 0);
            assert_holds(&image, &expected, false);
            run(&image, &second, &mut expected, 1000);
            assert_holds(&image, &expected, is_mounted);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{what}: {error}"));
}

fn cases(share: u32) -> Config {
    let cases = Config::default().cases.div_ceil(share);
    Config { cases, max_shrink_iters: 30, failure_persistence: None, ..Config::default() }
}

#[test]
fn random_edits_are_what_the_tree_says_on_every_layout() {
    for (options, is_mounted) in LAYOUTS {
        let size = if *is_mounted { "48M" } else { "200M" };
        let Some(bed) = make(options, size) else { return };
        assert_random_edits(&bed, 40, *is_mounted, &format!("{options:?}"));
    }
}

#[test]
fn random_edits_are_what_the_tree_says_on_images_of_this_library() {
    for profile in Profile::ALL {
        if profile == Profile::ReadOnly {
            continue;
        }
        let Some(bed) = made_here(profile) else { return };
        assert_random_edits(&bed, 40, true, profile.name());
    }
    // Without a journal, and as small as its tree.
    let Some(bed) = made_here(Profile::ReadOnly) else { return };
    assert_random_edits(&bed, 40, true, "read-only");
}

#[test]
fn random_edits_are_what_the_tree_says_on_an_image_that_a_kernel_used() {
    for options in [&["-t", "ext4", "-b", "4096"][..], &["-t", "ext2", "-b", "1024"]] {
        let Some(bed) = weathered(options, "96M") else { return };
        assert_random_edits(&bed, 40, true, "after a storm");
    }
}

#[test]
fn random_edits_are_what_the_tree_says_on_an_image_that_is_nearly_full() {
    for options in [&["-t", "ext4", "-b", "1024"][..], &["-t", "ext4", "-b", "4096"]] {
        let Some(bed) = nearly_full(options, "48M") else { return };
        assert_random_edits(&bed, 40, true, "nearly full");
    }
}

#[test]
fn an_image_without_a_journal_is_edited_under_an_undo_file() {
    for options in [
        &["-t", "ext2", "-b", "1024"][..],
        &["-t", "ext4", "-O", "^has_journal", "-b", "1024"],
        &["-t", "ext4", "-O", "^has_journal,^metadata_csum,^extent,^64bit", "-b", "4096"],
    ] {
        let Some(bed) = make(options, "48M") else { return };
        assert_random_edits(&bed, 40, true, &format!("{options:?}"));
        assert!(!bed.directory.path().join("edited.ext4.undo").exists());
    }
}

#[test]
fn the_same_edit_of_the_same_image_gives_the_same_bytes() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    let steps: Vec<Step> = (0..14u8)
        .map(|kind| Step {
            kind,
            one: u16::from(kind) * 7,
            other: u16::from(kind) * 31,
            size: 5000,
        })
        .collect();
    let images = ["one", "other"].map(|name| {
        let image = bed.directory.path().join(name);
        std::fs::copy(&bed.path, &image).unwrap();
        run(&image, &steps, &mut tree(&image), 0);
        std::fs::read(image).unwrap()
    });
    assert!(images[0] == images[1]);
    let reader = ext4_writer::reader::Reader::open(images[0].as_slice()).unwrap();
    assert_eq!(reader.superblock().written.seconds, NOW.seconds);
}
