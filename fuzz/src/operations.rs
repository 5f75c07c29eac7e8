//! Operations to an image, and the image before an independent reader: ext4-view.

use std::collections::{BTreeMap, BTreeSet};

use ext4_view::{Ext4, FileType, PathBuf};
use ext4_writer::{
    Builder, DirectoryHash, Error, Features, FileContent, FileFlags, FileKind, MemorySink,
    Metadata, NodeId, Options, Result, Segment, Size, Special, Timestamp,
};

use crate::input::{Field, Input, take_all};

record! {
    /// The layout of the image: all that ext4-view 1.0 reads.
    Layout {
        /// 1 KiB shifted by at most two.
        block: u8,
        /// 256 shifted by at most two: it does not read inodes of 128 bytes.
        inode: u8,
        /// Bits choose features.
        features: u8,
        /// The hash of names.
        tea: bool,
        /// How full leaves are.
        fill: u8,
        /// Gaps between files.
        stable_placement: bool,
    }
}

record! {
    /// Owner, permissions and time.
    Owner {
        /// Permissions.
        mode: u16,
        /// The owner.
        uid: u32,
        /// The group.
        gid: u32,
        /// Of a time that ext4-view reads: from 1970 to 2038.
        seconds: u32,
        /// Behind the seconds.
        nanoseconds: u32,
    }
}

choice! {
    /// What is done; the numbers choose among the nodes that were made.
    Operation {
        Directory { parent: u8, name: Vec<u8>, owner: Owner },
        File { parent: u8, name: Vec<u8>, content: Vec<u8>, repeat: u16, owner: Owner },
        Wrong { parent: u8, name: Vec<u8>, content: Vec<u8>, size: u16 },
        Sparse { parent: u8, name: Vec<u8>, tail: u16, pieces: Vec<u8> },
        Symlink { parent: u8, name: Vec<u8>, target: Vec<u8>, repeat: u8 },
        Device { parent: u8, name: Vec<u8>, kind: u8, major: u32, minor: u32 },
        Crowd { parent: u8, count: u16, seed: u8 },
        Link { parent: u8, name: Vec<u8>, node: u8 },
        Remove { parent: u8, name: Vec<u8> },
        Detach { parent: u8, name: Vec<u8> },
        Discard { node: u8 },
        SetMetadata { node: u8, owner: Owner },
        SetAttribute { node: u8, name: Vec<u8>, value: Vec<u8>, repeat: u8 },
        ClearAttributes { node: u8 },
        SetContent { node: u8, content: Vec<u8>, repeat: u16 },
        Preallocate { node: u8, offset: u16, length: u16 },
        SetExtra { node: u8, flags: u32, generation: u32, project: u32 },
        RemoveAny { node: u8, number: u8 },
    }
}

/// A whole case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The image's.
    pub layout: Layout,
    /// In their order.
    pub operations: Vec<Operation>,
}

impl Case {
    /// The case that bytes stand for.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let mut input = Input::new(bytes);
        Self { layout: Layout::take(&mut input), operations: take_all(&mut input) }
    }

    /// Bytes that stand for the case.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut output = Vec::new();
        self.layout.put(&mut output);
        self.operations.iter().for_each(|operation| operation.put(&mut output));
        output
    }
}

impl Layout {
    fn options(&self) -> Options {
        let mut options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
        options.block_size = 1024 << (self.block % 3);
        options.inode_size = 256 << (self.inode % 3);
        options.directory_fill = 10 + self.fill % 91;
        options.stable_placement = self.stable_placement;
        if self.tea {
            options.directory_hash = DirectoryHash::Tea;
        }
        let choices = [
            ("^metadata_csum", 1),
            ("^64bit", 2),
            ("^flex_bg", 4),
            ("^dir_index", 8),
            ("sparse_super2", 16),
            ("^resize_inode", 32),
            ("^huge_file", 64),
            ("^extra_isize", 128),
        ];
        let words = choices.iter().filter(|(_, bit)| self.features & bit != 0);
        let words: Vec<&str> = words.map(|(word, _)| *word).collect();
        options.features =
            Features::DEFAULT.changed(&words.join(",")).expect("these words are lawful");
        options
    }
}

impl Owner {
    fn metadata(&self) -> Metadata {
        let seconds = i64::from(self.seconds & 0x7fff_ffff);
        let nanoseconds = self.nanoseconds % 1_000_000_000;
        let modified = Timestamp { seconds, nanoseconds };
        Metadata { mode: self.mode, uid: self.uid, gid: self.gid, modified, ..Metadata::default() }
    }
}

struct Made {
    builder: Builder<MemorySink>,
    nodes: Vec<NodeId>,
    /// What was given to regular files.
    contents: BTreeMap<NodeId, Vec<u8>>,
    /// ext4-view 1.0 takes the length of an unwritten extent for that of a written one.
    unreadable: BTreeSet<NodeId>,
}

/// The bytes `repeat` times and at least once.
fn repeated(bytes: &[u8], repeat: u16) -> Vec<u8> {
    bytes.repeat(usize::from(repeat % 600).max(1))
}

/// Pieces of a gap and a length in hundreds of bytes, and the whole file that they make.
fn sparse(pieces: &[u8], tail: u16) -> (Vec<Segment>, Vec<u8>, Vec<u8>) {
    let (mut segments, mut data, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for (number, piece) in pieces.chunks_exact(2).enumerate() {
        let (gap, length) = (usize::from(piece[0]) * 100, usize::from(piece[1]) * 100 + 1);
        whole.resize(whole.len() + gap, 0);
        let offset = u64::try_from(whole.len()).expect("a small file");
        let length_64 = u64::try_from(length).expect("a small file");
        segments.push(Segment { offset, length: length_64 });
        let bytes = vec![u8::try_from(number % 255).unwrap_or_default() + 1; length];
        whole.extend_from_slice(&bytes);
        data.extend_from_slice(&bytes);
    }
    whole.resize(whole.len() + usize::from(tail), 0);
    (segments, data, whole)
}

impl Made {
    fn node(&self, number: u8) -> NodeId {
        self.nodes[usize::from(number) % self.nodes.len()]
    }

    fn apply(&mut self, operation: Operation) -> Result<()> {
        let none = Metadata::default();
        let node = match operation {
            Operation::Directory { parent, name, owner } => {
                self.builder.add_directory(self.node(parent), &name, &owner.metadata())?
            }
            Operation::File { parent, name, content, repeat, owner } => {
                return self.file(parent, &name, &owner, repeated(&content, repeat));
            }
            Operation::Wrong { parent, name, content, size } => {
                return self.wrong(parent, &name, &content, size.into());
            }
            Operation::Sparse { parent, name, tail, pieces } => {
                return self.sparse(parent, &name, &pieces, tail);
            }
            Operation::Symlink { parent, name, target, repeat } => {
                let target = target.repeat(usize::from(repeat % 20).max(1));
                self.builder.add_symlink(self.node(parent), &name, &none, &target)?
            }
            Operation::Device { parent, name, kind, major, minor } => {
                let device = match kind % 4 {
                    0 => Special::BlockDevice { major, minor },
                    1 => Special::CharacterDevice { major, minor },
                    2 => Special::Fifo,
                    _ => Special::Socket,
                };
                self.builder.add_special(self.node(parent), &name, &none, device)?
            }
            Operation::Crowd { parent, count, seed } => {
                let parent = self.node(parent);
                for number in 0..count % 500 {
                    let name = format!("{seed}-in-a-crowd-{number}");
                    self.builder.add_special(parent, name.as_bytes(), &none, Special::Fifo)?;
                }
                return Ok(());
            }
            Operation::Detach { parent, name } => self.builder.detach(self.node(parent), &name)?,
            other => return self.change(other),
        };
        self.nodes.push(node);
        Ok(())
    }

    fn file(&mut self, parent: u8, name: &[u8], owner: &Owner, content: Vec<u8>) -> Result<()> {
        let mut reader = content.as_slice();
        let given = FileContent::new(size_of_bytes(&content), &mut reader);
        let parent = self.node(parent);
        let node = self.builder.add_file(parent, name, &owner.metadata(), given)?;
        self.contents.insert(node, content);
        self.nodes.push(node);
        Ok(())
    }

    /// A reader that has more or less than it says: refused, unless it happens to be right.
    fn wrong(&mut self, parent: u8, name: &[u8], content: &[u8], size: u64) -> Result<()> {
        let mut reader = content;
        let given = FileContent::new(size, &mut reader);
        let parent = self.node(parent);
        let node = self.builder.add_file(parent, name, &Metadata::default(), given)?;
        assert_eq!(size, size_of_bytes(content), "a reader of another size was taken");
        self.contents.insert(node, content.to_vec());
        self.nodes.push(node);
        Ok(())
    }

    fn sparse(&mut self, parent: u8, name: &[u8], pieces: &[u8], tail: u16) -> Result<()> {
        let (segments, data, whole) = sparse(pieces, tail);
        let mut reader = data.as_slice();
        let given = FileContent::sparse(size_of_bytes(&whole), &segments, &mut reader);
        let parent = self.node(parent);
        let node = self.builder.add_file(parent, name, &Metadata::default(), given)?;
        self.contents.insert(node, whole);
        self.nodes.push(node);
        Ok(())
    }

    fn change(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Link { parent, name, node } => {
                self.builder.add_link(self.node(parent), &name, self.node(node))
            }
            Operation::Remove { parent, name } => self.builder.remove(self.node(parent), &name),
            Operation::RemoveAny { node, number } => self.remove_any(node, number.into()),
            Operation::Discard { node } => self.builder.discard(self.node(node)),
            Operation::SetMetadata { node, owner } => {
                self.builder.set_metadata(self.node(node), &owner.metadata())
            }
            Operation::SetAttribute { node, name, value, repeat } => {
                let value = value.repeat(usize::from(repeat).max(1));
                self.builder.set_xattr(self.node(node), &name, &value)
            }
            Operation::ClearAttributes { node } => self.builder.clear_xattrs(self.node(node)),
            Operation::SetContent { node, content, repeat } => {
                let (node, content) = (self.node(node), repeated(&content, repeat));
                let mut reader = content.as_slice();
                let given = FileContent::new(size_of_bytes(&content), &mut reader);
                self.builder.set_content(node, given)?;
                self.unreadable.remove(&node);
                self.contents.insert(node, content);
                Ok(())
            }
            Operation::Preallocate { node, offset, length } => {
                let node = self.node(node);
                self.builder.preallocate(node, offset.into(), length.into())?;
                self.unreadable.insert(node);
                Ok(())
            }
            Operation::SetExtra { node, flags, generation, project } => {
                let node = self.node(node);
                self.builder.set_flags(node, FileFlags::from_bits_truncate(flags))?;
                self.builder.set_generation(node, generation)?;
                self.builder.set_project(node, project)
            }
            other => unreachable!("{other:?} makes a node"),
        }
    }

    /// Removes a name that is there.
    fn remove_any(&mut self, node: u8, number: usize) -> Result<()> {
        let directory = self.node(node);
        let names: Vec<Vec<u8>> =
            self.builder.names(directory)?.map(|(name, _)| name.to_vec()).collect();
        match names.get(number.checked_rem(names.len()).unwrap_or_default()) {
            Some(name) => self.builder.remove(directory, name),
            None => Ok(()),
        }
    }
}

fn size_of_bytes(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("memory is smaller than 64 bits")
}

/// Memory does not fail, so neither do the library's own promises.
fn expected(error: &Error) -> bool {
    !matches!(error, Error::Internal { .. } | Error::Poisoned | Error::WriteImage { .. })
}

/// What the builder says of a name.
#[derive(Debug, PartialEq, Eq)]
struct Fact {
    kind: FileKind,
    mode: u16,
    owner: (u32, u32),
    modified: (i64, u32),
    /// The content of a file or the target of a link; nothing of what cannot be read.
    bytes: Option<Vec<u8>>,
}

impl Made {
    /// The tree as the builder tells it, by paths without the slash in front.
    fn declared(&self) -> Result<BTreeMap<Vec<u8>, Fact>> {
        let mut facts = BTreeMap::new();
        let mut pending = vec![(Vec::new(), self.builder.root())];
        while let Some((path, node)) = pending.pop() {
            let kind = self.builder.kind(node)?;
            if kind == FileKind::Directory {
                for (name, child) in self.builder.names(node)? {
                    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    pending.push(([&path, separator, name].concat(), child));
                }
            }
            facts.insert(path, self.fact(node, kind)?);
        }
        Ok(facts)
    }

    fn fact(&self, node: NodeId, kind: FileKind) -> Result<Fact> {
        let metadata = self.builder.metadata(node)?;
        let bytes = match kind {
            FileKind::Regular if self.unreadable.contains(&node) => None,
            FileKind::Regular => self.contents.get(&node).cloned(),
            FileKind::Symlink => self.builder.symlink_target(node).map(<[u8]>::to_vec),
            _ => None,
        };
        Ok(Fact {
            kind,
            mode: metadata.mode & 0o7777,
            owner: (metadata.uid, metadata.gid),
            modified: (metadata.modified.seconds, metadata.modified.nanoseconds),
            bytes,
        })
    }
}

/// Panics unless ext4-view finds the declared tree and nothing else.
fn judge(image: Vec<u8>, declared: &BTreeMap<Vec<u8>, Fact>) {
    let filesystem = Ext4::load(Box::new(image)).expect("ext4-view loads the image");
    for (path, fact) in declared {
        let Some(found) = read(&filesystem, path, fact) else { continue };
        assert_eq!(found, *fact, "/{}", path.escape_ascii());
    }
    for (path, fact) in declared {
        if fact.kind == FileKind::Directory {
            assert_eq!(names(&filesystem, path), children(declared, path), "{path:?}");
        }
    }
}

/// The longest path that ext4-view's caller, or a kernel's, would ask for.
const LONGEST: usize = 4000;

fn absolute(path: &[u8]) -> PathBuf {
    PathBuf::try_from([b"/", path].concat().as_slice()).expect("names have neither NUL nor slash")
}

fn read(filesystem: &Ext4, path: &[u8], fact: &Fact) -> Option<Fact> {
    if path.len() > LONGEST {
        return None;
    }
    let path = absolute(path);
    let metadata = filesystem.symlink_metadata(&path).expect("a declared name is found");
    let kind = match metadata.file_type() {
        FileType::Regular => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::CharacterDevice => FileKind::CharacterDevice,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
    };
    let bytes = match kind {
        _ if fact.bytes.is_none() => None,
        FileKind::Regular => Some(filesystem.read(&path).expect("a file is read")),
        FileKind::Symlink => target(filesystem, &path, fact),
        _ => None,
    };
    let modified = metadata.modified();
    Some(Fact {
        kind,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        modified: (modified.seconds(), modified.nanoseconds()),
        bytes,
    })
}

/// ext4-view makes a path of a target, with names of at most 255 bytes.
fn target(filesystem: &Ext4, path: &PathBuf, fact: &Fact) -> Option<Vec<u8>> {
    match filesystem.read_link(path) {
        Ok(target) => Some(AsRef::<[u8]>::as_ref(&target).to_vec()),
        Err(_) => {
            let wanted = fact.bytes.as_deref().unwrap_or_default();
            let long = wanted.split(|byte| *byte == b'/').any(|name| name.len() > 255);
            assert!(long, "the link to {} is read", wanted.escape_ascii());
            fact.bytes.clone()
        }
    }
}

fn names(filesystem: &Ext4, path: &[u8]) -> BTreeSet<Vec<u8>> {
    if path.len() > LONGEST {
        return BTreeSet::new();
    }
    let entries = filesystem.read_dir(&absolute(path)).expect("a directory is read");
    entries
        .map(|entry| entry.expect("an entry is read").file_name().as_ref().to_vec())
        .filter(|name: &Vec<u8>| name != b"." && name != b"..")
        .collect()
}

fn children(declared: &BTreeMap<Vec<u8>, Fact>, path: &[u8]) -> BTreeSet<Vec<u8>> {
    if path.len() > LONGEST {
        return BTreeSet::new();
    }
    let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
    declared
        .range(prefix.clone()..)
        .take_while(|(child, _)| child.starts_with(&prefix))
        .map(|(child, _)| child[prefix.len()..].to_vec())
        .filter(|name| !name.is_empty() && !name.contains(&b'/'))
        .collect()
}

/// Does what the bytes say, and judges the image.
///
/// # Panics
/// When the library or the image breaks a promise.
pub fn run(bytes: &[u8]) {
    let Case { layout, operations } = Case::read(bytes);
    let builder =
        Builder::create(MemorySink::new(), layout.options()).expect("these options can be met");
    let nodes = vec![builder.root()];
    let (contents, unreadable) = (BTreeMap::new(), BTreeSet::new());
    let mut made = Made { builder, nodes, contents, unreadable };
    for operation in operations {
        if let Err(error) = made.apply(operation) {
            assert!(expected(&error), "{error:?}");
        }
    }
    let declared = made.declared().expect("the tree can be asked for");
    match made.builder.finish() {
        Ok((summary, sink)) => {
            let image = sink.into_bytes();
            assert_eq!(size_of_bytes(&image), summary.size);
            judge(image, &declared);
        }
        Err(error) => assert!(expected(&error), "{error:?}"),
    }
}

/// Cases to begin with: something of every operation.
#[must_use]
pub fn seeds() -> Vec<Case> {
    let name = |text: &str| text.as_bytes().to_vec();
    let owner = Owner { mode: 0o4755, uid: 70_000, gid: 1, seconds: 1_700_000_000, nanoseconds: 5 };
    let file = |parent, text: &str, repeat| Operation::File {
        parent,
        name: name(text),
        content: name("some content of a file"),
        repeat,
        owner: owner.clone(),
    };
    let directory = |parent, text: &str| Operation::Directory {
        parent,
        name: name(text),
        owner: owner.clone(),
    };
    let common = vec![
        directory(0, "d"),
        file(0, "small", 1),
        file(1, "large", 500),
        Operation::Sparse { parent: 1, name: name("holes"), tail: 5000, pieces: vec![9; 40] },
        Operation::Symlink { parent: 0, name: name("fast"), target: name("d/large"), repeat: 1 },
        Operation::Symlink { parent: 0, name: name("slow"), target: name("d/../"), repeat: 19 },
        Operation::Device { parent: 1, name: name("null"), kind: 1, major: 1, minor: 3 },
        Operation::Device { parent: 1, name: name("disk"), kind: 0, major: 259, minor: 70_000 },
    ];
    let changes = vec![
        Operation::Link { parent: 1, name: name("hard"), node: 2 },
        Operation::SetAttribute { node: 2, name: name("user.a"), value: vec![7; 90], repeat: 9 },
        Operation::SetAttribute { node: 0, name: name("trusted.b"), value: vec![1], repeat: 1 },
        Operation::SetContent { node: 3, content: vec![1, 2, 3], repeat: 599 },
        Operation::Preallocate { node: 2, offset: 5000, length: 60_000 },
        Operation::SetExtra { node: 2, flags: 0x40, generation: 9, project: 3 },
        Operation::SetMetadata { node: 0, owner: owner.clone() },
        Operation::Detach { parent: 0, name: name("small") },
        Operation::Link { parent: 1, name: name("again"), node: 9 },
        Operation::Remove { parent: 1, name: name("large") },
        Operation::Wrong { parent: 0, name: name("w"), content: vec![1; 9], size: 10 },
        Operation::ClearAttributes { node: 2 },
        Operation::Discard { node: 3 },
        file(0, "after", 300),
        Operation::RemoveAny { node: 1, number: 3 },
    ];
    let crowd = |count| vec![directory(0, "c"), Operation::Crowd { parent: 1, count, seed: 1 }];
    let deep = (0..40).map(|level| directory(level, "deeper")).collect();
    let mut cases = Vec::new();
    for features in [0, 1, 2, 4, 8, 16, 32, 0xff] {
        for block in 0..3 {
            let layout = Layout {
                block,
                inode: features % 3,
                features,
                tea: block == 1,
                fill: 70,
                stable_placement: block == 2,
            };
            let both = [common.clone(), changes.clone()].concat();
            for operations in [vec![], both, crowd(450), crowd(30)] {
                cases.push(Case { layout: layout.clone(), operations });
            }
        }
    }
    let layout = cases[0].layout.clone();
    cases.push(Case { layout, operations: deep });
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_read_as_it_was_written_and_passes() {
        for case in seeds() {
            let bytes = case.write();
            assert_eq!(Case::read(&bytes), case);
            run(&bytes);
        }
    }

    #[test]
    fn the_reader_objects_to_another_tree() {
        let case = seeds().into_iter().find(|case| case.operations.len() > 10).unwrap();
        let builder = Builder::create(MemorySink::new(), case.layout.options()).unwrap();
        let nodes = vec![builder.root()];
        let (contents, unreadable) = (BTreeMap::new(), BTreeSet::new());
        let mut made = Made { builder, nodes, contents, unreadable };
        for operation in case.operations {
            let _ = made.apply(operation);
        }
        let declared = made.declared().unwrap();
        let image = made.builder.finish().unwrap().1.into_bytes();
        judge(image.clone(), &declared);
        let changes: [fn(&mut BTreeMap<Vec<u8>, Fact>); 3] = [
            |declared| drop(declared.remove(b"after".as_slice())),
            |declared| declared.get_mut(b"after".as_slice()).unwrap().mode ^= 1,
            |declared| declared.get_mut(b"after".as_slice()).unwrap().bytes = Some(vec![1]),
        ];
        for change in changes {
            let mut other = made_again(&declared);
            change(&mut other);
            let image = image.clone();
            assert!(std::panic::catch_unwind(|| judge(image, &other)).is_err());
        }
    }

    fn made_again(declared: &BTreeMap<Vec<u8>, Fact>) -> BTreeMap<Vec<u8>, Fact> {
        let again = |fact: &Fact| Fact { bytes: fact.bytes.clone(), ..*fact };
        declared.iter().map(|(path, fact)| (path.clone(), again(fact))).collect()
    }
}
