//! Every operation done twice: by the builder, and on the tree that the judges are given.

use std::fs::File;
use std::path::{Path, PathBuf};

use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::{Entry, Kind, Tree, hash};
use banger_test_support::{gate, judge, view};
use ext4_writer::{
    Builder, FileContent, FileSink, Metadata, NodeId, Options, Reserved, Result, Segment, Sink,
    Size, Special, Summary, Timestamp,
};

/// A builder and the tree that its image should hold.
pub(crate) struct Twin<S: Sink> {
    pub(crate) builder: Builder<S>,
    pub(crate) tree: Tree,
}

/// A finished image and the tree that it should hold.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) tree: Tree,
    pub(crate) summary: Summary,
    /// Removes the image when it goes.
    _directory: tempfile::TempDir,
}

/// The options of most tests: as small as the content allows, with room for the storm.
pub(crate) fn roomy() -> Options {
    Options::new(Size::Fit { free_bytes: 64 << 20, free_inodes: 4000 })
}

impl Twin<FileSink> {
    /// A new image in a temporary directory.
    pub(crate) fn in_file(options: Options) -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (Self::try_in(&directory, options).unwrap(), directory)
    }

    /// A new image in this directory.
    pub(crate) fn try_in(directory: &tempfile::TempDir, options: Options) -> Result<Self> {
        let file = File::create_new(directory.path().join("image.ext4")).unwrap();
        Self::try_new(FileSink::new(file).unwrap(), options)
    }

    /// Finishes the image and passes it through the gate.
    pub(crate) fn finish(self, directory: tempfile::TempDir) -> Image {
        let path = directory.path().join("image.ext4");
        let (summary, _) = self.builder.finish().unwrap();
        gate::assert_clean(&path);
        Image { path, tree: self.tree, summary, _directory: directory }
    }
}

impl Image {
    /// Builds an image by `declare` and passes it through the gate.
    pub(crate) fn build(options: Options, declare: impl FnOnce(&mut Twin<FileSink>)) -> Self {
        let (mut twin, directory) = Twin::in_file(options);
        declare(&mut twin);
        twin.finish(directory)
    }

    /// Passes it through the gate again, after a guest wrote to it.
    pub(crate) fn assert_clean(&self) {
        gate::assert_clean(&self.path);
    }

    /// Asks the kernel, before and after a storm, and ext4-view if it reads such a filesystem.
    pub(crate) fn assert_as_declared(&self) {
        assert_kernel_agrees(&self.path, &self.tree);
        if judge::all(&["dumpe2fs"]) && !view::can_read(&gate::dump(&self.path).unwrap()) {
            return;
        }
        let unreadable = self.tree.iter().filter(|(_, entry)| view::is_refused(entry)).count();
        assert_eq!(view::assert_agrees(&self.path, &self.tree), unreadable);
    }
}

impl<S: Sink> Twin<S> {
    /// A builder with a root of mode 0755, and its tree with the filesystem's own `lost+found`.
    pub(crate) fn new(sink: S, options: Options) -> Self {
        Self::try_new(sink, options).unwrap()
    }

    fn try_new(sink: S, options: Options) -> Result<Self> {
        let builder = Builder::create(sink, options)?;
        let mut twin = Self { builder, tree: Tree::new() };
        let root = Entry::new(Kind::Directory, 0o755);
        twin.builder.set_metadata(twin.builder.root(), &metadata(&root)).unwrap();
        twin.tree.insert("", root);
        let mut lost_and_found = Entry::new(Kind::Directory, 0o700);
        lost_and_found.modified = None;
        twin.tree.insert("lost+found", lost_and_found);
        Ok(twin)
    }

    /// The node at `path`, found name by name.
    pub(crate) fn node(&self, path: &[u8]) -> NodeId {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        names.fold(self.builder.root(), |directory, name| {
            self.builder.lookup(directory, name).expect("a declared path")
        })
    }

    /// The directory of `path`, and the last name.
    pub(crate) fn place<'a>(&self, path: &'a [u8]) -> (NodeId, &'a [u8]) {
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (self.node(&path[..slash]), &path[slash + 1..]),
            None => (self.builder.root(), path),
        }
    }

    /// Declares `entry`, attributes included; a regular file gets `content`.
    pub(crate) fn add(&mut self, path: impl AsRef<[u8]>, entry: Entry, content: &[u8]) {
        self.try_add(path.as_ref(), &entry, content).unwrap();
        self.tree.insert(path, entry);
    }

    /// Declares `entry` to the builder only.
    pub(crate) fn try_add(
        &mut self,
        path: &[u8],
        entry: &Entry,
        mut content: &[u8],
    ) -> Result<NodeId> {
        let (directory, name) = self.place(path);
        let (builder, metadata) = (&mut self.builder, &metadata(entry));
        let node = match &entry.kind {
            Kind::Directory => builder.add_directory(directory, name, metadata),
            Kind::File { size, .. } => {
                builder.add_file(directory, name, metadata, FileContent::new(*size, &mut content))
            }
            Kind::Symlink(target) => builder.add_symlink(directory, name, metadata, target),
            special => builder.add_special(directory, name, metadata, as_special(special)),
        }?;
        for (name, value) in entry.attributes.iter().flatten() {
            self.builder.set_xattr(node, name, value)?;
        }
        Ok(node)
    }

    /// Declares a directory of root's.
    pub(crate) fn directory(&mut self, path: impl AsRef<[u8]>) {
        self.add(path, Entry::new(Kind::Directory, 0o755), b"");
    }

    /// Declares a file of root's.
    pub(crate) fn file(&mut self, path: impl AsRef<[u8]>, content: &[u8]) {
        self.add(path, Entry::new(Kind::file(content), 0o644), content);
    }

    /// Declares a symbolic link of root's.
    pub(crate) fn symlink(&mut self, path: impl AsRef<[u8]>, target: &[u8]) {
        self.add(path, Entry::new(Kind::Symlink(target.to_vec()), 0o777), b"");
    }

    /// Declares another name for what is at `target`.
    pub(crate) fn link(&mut self, path: &[u8], target: &[u8]) {
        let (node, (directory, name)) = (self.node(target), self.place(path));
        self.builder.add_link(directory, name, node).unwrap();
        self.tree.link(path, target);
    }

    /// Declares a file of `size` bytes that holds data in `segments` only.
    pub(crate) fn sparse(&mut self, path: &[u8], size: u64, segments: &[Segment]) {
        let (data, whole) = sparse_content(size, segments);
        let entry = Entry::new(Kind::File { size, hash: hash(&whole) }, 0o644);
        let (directory, name) = self.place(path);
        let mut data = data.as_slice();
        let content = FileContent::sparse(size, segments, &mut data);
        self.builder.add_file(directory, name, &metadata(&entry), content).unwrap();
        self.tree.insert(path, entry);
    }

    /// Removes what is at `path`, with all below it.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let (directory, name) = self.place(path);
        self.builder.remove(directory, name).unwrap();
        self.tree.remove(path);
    }
}

/// The data of all segments, one after the other, and the file that it makes.
pub(crate) fn sparse_content(size: u64, segments: &[Segment]) -> (Vec<u8>, Vec<u8>) {
    let mut whole = vec![0; place(size)];
    let mut data = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        let bytes = noise(u64::try_from(number).unwrap(), place(segment.length));
        let start = place(segment.offset);
        whole[start..start + bytes.len()].copy_from_slice(&bytes);
        data.extend(bytes);
    }
    (data, whole)
}

/// A number of bytes in an image as one in memory.
pub(crate) fn place(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// Bytes without a pattern and without a zero, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    // The increment of SplitMix64: odd, so that every seed starts elsewhere.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).unwrap() | 1
    })
    .take(length)
    .collect()
}

/// What the builder is told of `entry`.
pub(crate) fn metadata(entry: &Entry) -> Metadata {
    let (seconds, nanoseconds) = entry.modified.unwrap_or_default();
    Metadata {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        modified: Timestamp { seconds, nanoseconds },
        ..Metadata::default()
    }
}

fn as_special(kind: &Kind) -> Special {
    match kind {
        Kind::CharacterDevice(Some((major, minor))) => {
            Special::CharacterDevice { major: *major, minor: *minor }
        }
        Kind::BlockDevice(Some((major, minor))) => {
            Special::BlockDevice { major: *major, minor: *minor }
        }
        Kind::Fifo => Special::Fifo,
        Kind::Socket => Special::Socket,
        other => panic!("{other:?} is not special"),
    }
}

/// The length of a file, in bytes.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

/// [`roomy`] without blocks that only root may fill.
pub(crate) fn unreserved(size: Size) -> Options {
    let mut options = Options::new(size);
    options.reserved = Reserved::Percent(0);
    options
}
