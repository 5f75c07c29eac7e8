//! Any operations on the builder under any options: no panic, no broken promise of its own, and an
//! image in which an independent reader finds what was declared.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use ext4_view::{Ext4, Ext4Error, PathBuf};
use ext4_writer::{
    Builder, Error, Features, FileContent, FileKind, MemorySink, Metadata, NodeId, Options,
    Profile, Result, Segment, Size, Special, Timestamp,
};
use libfuzzer_sys::fuzz_target;

/// What is done; the numbers choose among the nodes that were made.
#[derive(Arbitrary, Debug)]
enum Operation {
    Directory { parent: u8, name: Vec<u8>, owner: Owner },
    File { parent: u8, name: Vec<u8>, size: u16, content: Vec<u8>, owner: Owner },
    Sparse { parent: u8, name: Vec<u8>, size: u32, segments: Vec<(u32, u16)> },
    Symlink { parent: u8, name: Vec<u8>, target: Vec<u8> },
    Device { parent: u8, name: Vec<u8>, major: u32, minor: u32 },
    Link { parent: u8, name: Vec<u8>, node: u8 },
    Remove { parent: u8, name: Vec<u8> },
    Detach { parent: u8, name: Vec<u8> },
    Discard { node: u8 },
    SetMetadata { node: u8, owner: Owner },
    SetAttribute { node: u8, name: Vec<u8>, value: Vec<u8> },
    ClearAttributes { node: u8 },
    SetContent { node: u8, size: u16, content: Vec<u8> },
}

#[derive(Arbitrary, Debug)]
struct Owner {
    mode: u16,
    uid: u32,
    gid: u32,
    seconds: i64,
    nanoseconds: u32,
}

impl From<Owner> for Metadata {
    fn from(owner: Owner) -> Self {
        let Owner { mode, uid, gid, seconds, nanoseconds } = owner;
        // Before 1970 and from 2038 to 2106 ext4-view takes a time for corrupt.
        let modified = Timestamp { seconds: seconds & 0x7fff_ffff, nanoseconds };
        Self { mode, uid, gid, modified, ..Self::default() }
    }
}

struct Made {
    builder: Builder<MemorySink>,
    nodes: Vec<NodeId>,
}

impl Made {
    fn node(&self, number: u8) -> NodeId {
        let place = usize::from(number) % self.nodes.len();
        self.nodes[place]
    }

    fn apply(&mut self, operation: Operation) -> Result<()> {
        let none = Metadata::default();
        let node = match operation {
            Operation::Directory { parent, name, owner } => {
                self.builder.add_directory(self.node(parent), &name, &owner.into())?
            }
            Operation::File { parent, name, size, content, owner } => {
                let mut reader = content.as_slice();
                let content = FileContent::new(size.into(), &mut reader);
                self.builder.add_file(self.node(parent), &name, &owner.into(), content)?
            }
            Operation::Sparse { parent, name, size, segments } => {
                let segments: Vec<_> = segments
                    .iter()
                    .map(|(offset, length)| Segment {
                        offset: (*offset).into(),
                        length: (*length).into(),
                    })
                    .collect();
                let mut reader = std::io::Read::take(
                    std::io::repeat(7),
                    segments.iter().map(|segment| segment.length).sum(),
                );
                let content = FileContent::sparse(size.into(), &segments, &mut reader);
                self.builder.add_file(self.node(parent), &name, &none, content)?
            }
            Operation::Symlink { parent, name, target } => {
                self.builder.add_symlink(self.node(parent), &name, &none, &target)?
            }
            Operation::Device { parent, name, major, minor } => {
                let device = Special::BlockDevice { major, minor };
                self.builder.add_special(self.node(parent), &name, &none, device)?
            }
            Operation::Link { parent, name, node } => {
                return self.builder.add_link(self.node(parent), &name, self.node(node));
            }
            Operation::Remove { parent, name } => {
                return self.builder.remove(self.node(parent), &name);
            }
            Operation::Detach { parent, name } => self.builder.detach(self.node(parent), &name)?,
            other => return self.change(other),
        };
        self.nodes.push(node);
        Ok(())
    }

    fn change(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Discard { node } => self.builder.discard(self.node(node)),
            Operation::SetMetadata { node, owner } => {
                self.builder.set_metadata(self.node(node), &owner.into())
            }
            Operation::SetAttribute { node, name, value } => {
                self.builder.set_xattr(self.node(node), &name, &value)
            }
            Operation::ClearAttributes { node } => self.builder.clear_xattrs(self.node(node)),
            Operation::SetContent { node, size, content } => {
                let mut reader = content.as_slice();
                let content = FileContent::new(size.into(), &mut reader);
                self.builder.set_content(self.node(node), content)
            }
            other => unreachable!("{other:?} makes or removes a name"),
        }
    }
}

/// Memory does not fail, so neither do the library's own promises.
fn expected(error: &Error) -> bool {
    !matches!(error, Error::Internal { .. } | Error::Poisoned | Error::WriteImage { .. })
}

/// The shape of the filesystem.
#[derive(Arbitrary, Debug)]
struct Shape {
    profile: u8,
    toggled: u64,
    block_log: u8,
    inode_log: u8,
    fill: u8,
    stable: bool,
}

impl Shape {
    /// Options that can be met; the default's where these cannot.
    fn options(&self) -> Options {
        let room = Size::Fit { free_bytes: 0, free_inodes: 0 };
        let profile = Profile::ALL[usize::from(self.profile) % Profile::ALL.len()];
        let mut options = Options::for_profile(profile, room);
        options.features ^= Features::from_bits_truncate(self.toggled);
        options.block_size = 1024 << (self.block_log % 3);
        options.inode_size = 128 << (self.inode_log % 4);
        options.directory_fill = 10 + self.fill % 91;
        options.stable_placement = self.stable;
        if Builder::create(MemorySink::new(), options.clone()).is_ok() {
            options
        } else {
            Options::new(room)
        }
    }

    /// Whether ext4-view 1.0 reads such a filesystem.
    fn is_readable(options: &Options) -> bool {
        let unknown = Features::LARGE_DIR | Features::EA_INODE | Features::INLINE_DATA;
        options.inode_size > 128 && !options.features.intersects(unknown)
    }
}

/// What an independent reader is asked about a path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Directory(u16, u32, u32),
    File(u16, u32, u32, u64),
    Symlink(Vec<u8>),
    Other,
}

/// The tree as it was declared.
fn declared(builder: &Builder<MemorySink>) -> BTreeMap<Vec<u8>, Found> {
    let mut tree = BTreeMap::new();
    let mut pending = vec![(Vec::new(), builder.root())];
    while let Some((path, node)) = pending.pop() {
        let metadata = builder.metadata(node).expect("a node that has a name");
        let (mode, uid, gid) = (metadata.mode, metadata.uid, metadata.gid);
        let found = match builder.kind(node).expect("a node that has a name") {
            FileKind::Directory => {
                for (name, child) in builder.names(node).expect("a directory") {
                    pending.push(([path.as_slice(), b"/", name].concat(), child));
                }
                Found::Directory(mode, uid, gid)
            }
            FileKind::Regular => {
                Found::File(mode, uid, gid, builder.file_size(node).expect("a file"))
            }
            FileKind::Symlink => {
                Found::Symlink(builder.symlink_target(node).expect("a link").to_vec())
            }
            _ => Found::Other,
        };
        tree.insert(path, found);
    }
    tree
}

/// The tree as ext4-view reads it, every byte of every file included.
fn read(image: Vec<u8>) -> Result<BTreeMap<Vec<u8>, Found>, Ext4Error> {
    let filesystem = Ext4::load(Box::new(image))?;
    let mut tree = BTreeMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let absolute: &[u8] = if path.is_empty() { b"/" } else { &path };
        let place = PathBuf::try_from(absolute).expect("a path");
        let metadata = filesystem.symlink_metadata(&place)?;
        let (mode, uid, gid) = (metadata.mode(), metadata.uid(), metadata.gid());
        let found = if metadata.is_dir() {
            for entry in filesystem.read_dir(&place)? {
                let name = entry?.file_name().as_ref().to_vec();
                if name != b"." && name != b".." {
                    pending.push([path.as_slice(), b"/", &name].concat());
                }
            }
            Found::Directory(mode, uid, gid)
        } else if metadata.is_symlink() {
            Found::Symlink(filesystem.read_link(&place)?.as_ref().to_vec())
        } else if metadata.file_type().is_regular_file() {
            let length = filesystem.read(&place)?.len();
            Found::File(mode, uid, gid, u64::try_from(length).expect("a length"))
        } else {
            Found::Other
        };
        tree.insert(path, found);
    }
    Ok(tree)
}

/// A file that is longer is not read back whole.
const LONGEST: u64 = 16 << 20;

fuzz_target!(|input: (Shape, Vec<Operation>)| {
    let (shape, operations) = input;
    let options = shape.options();
    let is_readable = Shape::is_readable(&options);
    let builder = Builder::create(MemorySink::new(), options).expect("these options can be met");
    let nodes = vec![builder.root()];
    let mut made = Made { builder, nodes };
    for operation in operations {
        if let Err(error) = made.apply(operation) {
            assert!(expected(&error), "{error:?}");
        }
    }
    let tree = declared(&made.builder);
    let too_long = |found: &Found| matches!(found, Found::File(.., size) if *size > LONGEST);
    let is_readable = is_readable && !tree.values().any(too_long);
    match made.builder.finish() {
        Ok((summary, sink)) => {
            let image = sink.into_bytes();
            assert_eq!(u64::try_from(image.len()), Ok(summary.size));
            if is_readable {
                assert_eq!(read(image).expect("ext4-view reads it"), tree);
            }
        }
        Err(error) => assert!(expected(&error), "{error:?}"),
    }
});
