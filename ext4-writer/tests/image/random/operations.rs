//! Random operations, done to the builder and to a plain model of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use banger_test_support::tree::{Attributes, Entry, Kind, Tree, hash};
use ext4_writer::{
    Error, Features, FileContent, FileFlags, FileSink, Options, Result, Segment, Timestamp,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::choices::{Demand, has_no_room};
use crate::twin::{Twin, metadata, noise, sparse_content};

/// Bytes that are shown short: a failing case prints every operation.
#[derive(Clone)]
pub(crate) struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.get(..12).unwrap_or(&self.0);
        write!(f, "\"{}\" ({} bytes)", start.escape_ascii(), self.0.len())
    }
}

/// What is done; the numbers choose among the paths that there are.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Directory { parent: usize, name: Bytes, entry: Entry },
    Leaf { parent: usize, name: Bytes, entry: Entry, content: Bytes },
    Sparse { parent: usize, name: Bytes, size: u64, segments: Vec<Segment> },
    Crowd { parent: usize, count: usize },
    Link { parent: usize, name: Bytes, target: usize },
    Remove { path: usize },
    SetMetadata { path: usize, entry: Entry },
    SetAttribute { path: usize, name: Bytes, value: Bytes },
    ClearAttributes { path: usize },
    SetContent { path: usize, content: Bytes },
    Preallocate { path: usize, offset: u64, length: u64 },
    SetExtra { path: usize, flags: FileFlags, generation: u32, project: u32 },
}

/// Few names, so that they meet; and the longest, and such that are not UTF-8.
fn names() -> impl Strategy<Value = Bytes> {
    let few = prop::sample::select(vec![&b"a"[..], b"b", b"c", b"\xff\xfe", b"sp ace", b"\n"]);
    prop_oneof![
        6 => few.prop_map(<[u8]>::to_vec),
        1 => (1_u8..=255).prop_filter("a name has no slash", |byte| *byte != b'/')
            .prop_map(|byte| vec![byte; 255]),
        1 => vec((1_u8..=255).prop_filter("a name has no slash", |byte| *byte != b'/'), 1..=255)
            .prop_filter("a name is not a dot", |name| name != b"." && name != b".."),
    ]
    .prop_map(Bytes)
}

/// Around the sizes of blocks, and of what is written at once.
fn contents() -> impl Strategy<Value = Bytes> {
    let sizes = prop_oneof![
        Just(0),
        1_usize..200,
        4090_usize..4100,
        8190_usize..8200,
        0_usize..40_000,
        1_000_000_usize..1_100_000,
    ];
    (any::<u64>(), sizes, any::<bool>()).prop_map(|(seed, size, holed)| {
        let mut content = noise(seed, size);
        if holed {
            // Whole blocks of zeros, which the file need not store.
            let (start, end) = (size / 4, size / 2);
            content[start..end].fill(0);
        }
        Bytes(content)
    })
}

fn segments() -> impl Strategy<Value = (u64, Vec<Segment>)> {
    let piece = (0_u64..60_000, 1_u64..20_000);
    (vec(piece, 0..12), 0_u64..50_000).prop_map(|(pieces, tail)| {
        let mut end = 0;
        let segments = pieces
            .iter()
            .map(|(gap, length)| {
                let offset = end + gap;
                end = offset + length;
                Segment { offset, length: *length }
            })
            .collect();
        (end + tail, segments)
    })
}

/// Mostly times that every reader knows; and before 1970, after 2038, after 2106, and beyond
/// what ext4 stores.
fn times() -> impl Strategy<Value = (i64, u32)> {
    let seconds = prop_oneof![
        12 => 0_i64..1 << 31,
        1 => -(1_i64 << 31)..0,
        1 => 1_i64 << 31..1 << 32,
        2 => 1_i64 << 32..0x3_8000_0000,
        1 => prop::sample::select(vec![i64::MIN, -0x8000_0001, 0x3_8000_0000, i64::MAX]),
    ];
    (seconds, 0_u32..1_000_000_000)
}

/// Owners, modes and times.
fn decorated(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Entry> {
    let times = times();
    (kind, 0_u16..0o10000, any::<u32>(), any::<u32>(), times).prop_map(
        |(kind, mode, uid, gid, (seconds, nanoseconds))| {
            // The kernel keeps the mode of a symbolic link, but shows it as it is stored.
            // An owner of 2^32 - 1 is nobody to the kernel.
            let owner = |id: u32| id.min(u32::MAX - 1);
            Entry::new(kind, mode)
                .owned_by(owner(uid), owner(gid))
                .modified_at(seconds, nanoseconds)
        },
    )
}

fn special_kinds() -> impl Strategy<Value = Kind> {
    let device = (0_u32..4096, 0_u32..1 << 20);
    prop_oneof![
        device.clone().prop_map(|numbers| Kind::CharacterDevice(Some(numbers))),
        device.prop_map(|numbers| Kind::BlockDevice(Some(numbers))),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        vec(prop_oneof![Just(b'/'), b'a'..=b'z'], 1..250).prop_map(Kind::Symlink),
        vec((1_u8..=255).prop_filter("a short component", |byte| *byte != b'/'), 1..250)
            .prop_map(Kind::Symlink),
        // Without slashes a component would be too long for ext4-view.
        (250_usize..4095).prop_map(|length| {
            Kind::Symlink((0..length).map(|n| if n % 90 == 0 { b'/' } else { b't' }).collect())
        }),
    ]
}

/// A POSIX ACL as programs see it: the owner, perhaps others by name, the group, the mask, the
/// rest.
fn acls() -> impl Strategy<Value = Vec<u8>> {
    let permissions = || 0_u16..8;
    let named = vec((permissions(), 1_u32..1 << 31), 0..5);
    (permissions(), named, permissions()).prop_map(|(owner, mut named, others)| {
        named.sort_by_key(|(_, id)| *id);
        let nobody = u32::MAX;
        let mut entries = vec![(1_u16, owner, nobody)];
        entries.extend(named.iter().map(|(bits, id)| (2, *bits, *id)));
        entries.push((4, others, nobody));
        if !named.is_empty() {
            entries.push((16, 7, nobody));
        }
        entries.push((32, others, nobody));
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, id) in entries {
            acl.extend(tag.to_le_bytes().into_iter().chain(bits.to_le_bytes()));
            acl.extend(id.to_le_bytes());
        }
        acl
    })
}

fn attributes() -> impl Strategy<Value = (Bytes, Bytes)> {
    let names = prop::sample::select(vec![
        &b"user.a"[..],
        b"user.bb",
        b"user.\xff",
        b"trusted.c",
        b"security.d",
        b"trusted.overlay.x",
    ]);
    let sizes = prop_oneof![16 => 0_usize..100, 8 => 0_usize..900, 2 => 900_usize..4100, 1 => 0_usize..65_536];
    // Few values, so that some blocks of attributes are alike.
    let values = (0_u64..3, sizes).prop_map(|(seed, size)| noise(seed, size));
    let acl_names =
        prop::sample::select(vec![&b"system.posix_acl_access"[..], b"system.posix_acl_default"]);
    prop_oneof![5 => (names, values), 2 => (acl_names, acls())]
        .prop_map(|(name, value)| (Bytes(name.to_vec()), Bytes(value)))
}

/// Flags that hinder neither the kernel nor those who clean up after it.
fn extras() -> impl Strategy<Value = (FileFlags, u32, u32)> {
    let flags = prop::sample::subsequence(
        vec![FileFlags::NO_DUMP, FileFlags::NO_ATIME, FileFlags::SYNC, FileFlags::TOP_DIRECTORY],
        0..=4,
    );
    (flags.prop_map(|flags| flags.into_iter().collect()), any::<u32>(), any::<u32>())
}

pub(crate) fn operations() -> impl Strategy<Value = Operation> {
    let leaf = prop_oneof![
        3 => contents().prop_flat_map(|content| {
            let kind = Kind::file(&content.0);
            (decorated(Just(kind)), Just(content))
        }),
        1 => (decorated(special_kinds()), Just(Bytes(Vec::new()))),
    ];
    let any_path = any::<usize>;
    prop_oneof![
        3 => (any_path(), names(), decorated(Just(Kind::Directory)))
            .prop_map(|(parent, name, entry)| Operation::Directory { parent, name, entry }),
        6 => (any_path(), names(), leaf).prop_map(|(parent, name, (entry, content))| {
            Operation::Leaf { parent, name, entry, content }
        }),
        1 => (any_path(), names(), segments()).prop_map(|(parent, name, (size, segments))| {
            Operation::Sparse { parent, name, size, segments }
        }),
        1 => (any_path(), 1_usize..600)
            .prop_map(|(parent, count)| Operation::Crowd { parent, count }),
        3 => (any_path(), names(), any_path())
            .prop_map(|(parent, name, target)| Operation::Link { parent, name, target }),
        3 => any_path().prop_map(|path| Operation::Remove { path }),
        1 => (any_path(), decorated(Just(Kind::Fifo)))
            .prop_map(|(path, entry)| Operation::SetMetadata { path, entry }),
        4 => (any_path(), attributes())
            .prop_map(|(path, (name, value))| Operation::SetAttribute { path, name, value }),
        1 => any_path().prop_map(|path| Operation::ClearAttributes { path }),
        2 => (any_path(), contents())
            .prop_map(|(path, content)| Operation::SetContent { path, content }),
        1 => (any_path(), 0_u64..200_000, 0_u64..500_000).prop_map(|(path, offset, length)| {
            Operation::Preallocate { path, offset, length }
        }),
        1 => (any_path(), extras()).prop_map(|(path, (flags, generation, project))| {
            Operation::SetExtra { path, flags, generation, project }
        }),
    ]
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn widen(length: usize) -> u64 {
    u64::try_from(length).unwrap()
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == Kind::Directory
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File { .. })
}

/// The builder and the tree as it was asked for: times and all as if every inode could hold them.
pub(crate) struct Model {
    pub(crate) twin: Twin<FileSink>,
    options: Options,
    /// The inodes of files with blocks that nothing was written to, and their bytes.
    preallocated: BTreeMap<u64, u64>,
    /// Operations that were refused for want of room.
    pub(crate) refused: usize,
}

/// Whether the node has an attribute's kind of attributes, as far as the kernel shows them.
fn shows(name: &[u8], entry: &Entry) -> bool {
    match name {
        b"system.posix_acl_default" => is_directory(entry),
        b"system.posix_acl_access" => is_directory(entry) || is_file(entry),
        _ if name.starts_with(b"user.") => is_directory(entry) || is_file(entry),
        _ => true,
    }
}

impl Model {
    pub(crate) fn new(twin: Twin<FileSink>, options: Options) -> Self {
        Self { twin, options, preallocated: BTreeMap::new(), refused: 0 }
    }

    /// A path of the tree that the filesystem does not own, among those that `fits`.
    fn choose(&self, number: usize, fits: impl Fn(&[u8], &Entry) -> bool) -> Option<Vec<u8>> {
        let paths: Vec<_> = self
            .twin
            .tree
            .iter()
            .filter(|(path, entry)| *path != b"lost+found" && fits(path, entry))
            .map(|(path, _)| path)
            .collect();
        paths.get(number.checked_rem(paths.len())?).map(|path| path.to_vec())
    }

    fn directory(&self, number: usize) -> Vec<u8> {
        self.choose(number, |_, entry| is_directory(entry)).expect("the root")
    }

    /// What the tree takes, with so many bytes more.
    pub(crate) fn demand(&self, more: u64) -> Demand {
        let block = u64::from(self.options.block_size);
        let fill = u64::from(self.options.directory_fill);
        let outside = u64::from(self.options.features.contains(Features::EA_INODE));
        let mut values_outside = 0;
        let mut inodes = BTreeSet::new();
        let mut bytes = more + 64 * block;
        for (path, entry) in self.twin.tree.iter() {
            // A leaf may be half empty, and a file may have a node of extents for every few blocks.
            bytes += (u64::try_from(path.len()).unwrap().min(255) + 12) * 400 / fill;
            if entry.inode.is_some_and(|inode| inodes.insert(inode)) {
                bytes += 4 * block;
                let values = entry.attributes.iter().flatten();
                bytes += values
                    .map(|(_, value)| outside * (widen(value.len()) + 2 * block))
                    .sum::<u64>();
                values_outside += outside * widen(entry.attributes.iter().flatten().count());
                if let Kind::File { size, .. } = entry.kind {
                    bytes += size + size / 50;
                }
            }
        }
        bytes += self.preallocated.values().sum::<u64>();
        Demand { inodes: widen(inodes.len()) + values_outside, bytes }
    }

    /// Whether it was done. There may be too little room for it, if the model says so too.
    fn done<T>(&mut self, result: Result<T>, more: u64) -> bool {
        let Err(error) = result else { return true };
        let demand = self.demand(more);
        assert!(has_no_room(&self.options, demand, &error), "refused with {demand:?}: {error}");
        self.refused += 1;
        false
    }

    /// Does what `operation` says to the builder and to the tree; both refuse the same.
    pub(crate) fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Directory { parent, name, entry } => {
                let path = join(&self.directory(parent), &name.0);
                self.add(&path, entry, b"");
            }
            Operation::Leaf { parent, name, entry, content } => {
                let path = join(&self.directory(parent), &name.0);
                self.add(&path, entry, &content.0);
            }
            Operation::Sparse { parent, name, size, segments } => {
                let path = join(&self.directory(parent), &name.0);
                self.sparse(&path, size, &segments);
            }
            Operation::Crowd { parent, count } => {
                let parent = self.directory(parent);
                for number in 0..count {
                    let path = join(&parent, format!("one-of-a-crowd-{number}").as_bytes());
                    self.add(&path, Entry::new(Kind::Fifo, 0o600), b"");
                }
            }
            Operation::Link { parent, name, target } => self.link(parent, &name.0, target),
            Operation::Remove { path } => {
                if let Some(path) = self.choose(path, |path, _| !path.is_empty()) {
                    self.twin.remove(&path);
                }
            }
            other => self.change(other),
        }
    }

    fn add(&mut self, path: &[u8], entry: Entry, content: &[u8]) {
        let result = self.twin.try_add(path, &entry, content);
        if self.twin.tree.get(path).is_some() {
            let name_or_target = matches!(result, Err(Error::Exists { .. }))
                || (self.is_too_long(&entry) && matches!(result, Err(Error::InvalidTarget { .. })));
            assert!(name_or_target, "{result:?}");
        } else if self.is_too_long(&entry) {
            assert!(matches!(result, Err(Error::InvalidTarget { .. })), "{result:?}");
        } else if self.done(result, u64::try_from(content.len()).unwrap()) {
            self.twin.tree.insert(path, entry);
        }
    }

    /// The target of a symbolic link is in one block, with a NUL behind it.
    fn is_too_long(&self, entry: &Entry) -> bool {
        let block = usize::try_from(self.options.block_size).unwrap();
        matches!(&entry.kind, Kind::Symlink(target) if target.len() >= block)
    }

    fn sparse(&mut self, path: &[u8], size: u64, segments: &[Segment]) {
        let (data, whole) = sparse_content(size, segments);
        let entry = Entry::new(Kind::File { size, hash: hash(&whole) }, 0o644);
        let (directory, name) = self.twin.place(path);
        let mut data = data.as_slice();
        let content = FileContent::sparse(size, segments, &mut data);
        let result = self.twin.builder.add_file(directory, name, &metadata(&entry), content);
        if self.twin.tree.get(path).is_some() {
            assert!(matches!(result, Err(Error::Exists { .. })), "{result:?}");
        } else if self.done(result, size) {
            self.twin.tree.insert(path, entry);
        }
    }

    fn link(&mut self, parent: usize, name: &[u8], target: usize) {
        let path = join(&self.directory(parent), name);
        let Some(target) = self.choose(target, |_, entry| !is_directory(entry)) else { return };
        if self.twin.tree.get(&path).is_none() {
            self.twin.link(&path, &target);
        }
    }

    fn change(&mut self, operation: Operation) {
        match operation {
            Operation::SetMetadata { path, entry: new } => {
                let path = self.choose(path, |_, _| true).expect("the root");
                let node = self.twin.node(&path);
                self.twin.builder.set_metadata(node, &metadata(&new)).unwrap();
                self.twin.tree.change(&path, |entry| {
                    (entry.mode, entry.uid, entry.gid) = (new.mode, new.uid, new.gid);
                    entry.modified = new.modified;
                });
            }
            Operation::SetAttribute { path, name: Bytes(name), value: Bytes(value) } => {
                self.set_attribute(path, &name, &value);
            }
            Operation::ClearAttributes { path } => {
                let path = self.choose(path, |_, _| true).expect("the root");
                let node = self.twin.node(&path);
                self.twin.builder.clear_xattrs(node).unwrap();
                self.twin.tree.change(&path, |entry| entry.attributes = Some(Attributes::new()));
            }
            Operation::SetExtra { path, flags, generation, project } => {
                let path = self.choose(path, |_, _| true).expect("the root");
                let node = self.twin.node(&path);
                self.twin.builder.set_flags(node, flags).unwrap();
                self.twin.builder.set_generation(node, generation).unwrap();
                let kept = self.twin.builder.set_project(node, project).is_ok();
                assert_eq!(kept, self.options.inode_size > 128, "a project needs a place");
            }
            other => self.change_content(other),
        }
    }

    fn set_attribute(&mut self, path: usize, name: &[u8], value: &[u8]) {
        let Some(path) = self.choose(path, |_, entry| shows(name, entry)) else { return };
        let node = self.twin.node(&path);
        let mut wanted = self.twin.tree.get(&path).and_then(|entry| entry.attributes.clone());
        wanted.get_or_insert_default().insert(name.to_vec(), value.to_vec());
        let needed: usize = wanted.iter().flatten().map(|(name, value)| stored(name, value)).sum();
        // Behind the headers and the zeros that end a list.
        let in_block = usize::try_from(self.options.block_size).unwrap() - 32 - 4;
        let in_inode = usize::from(self.options.inode_size).saturating_sub(160 + 4 + 4);
        // A value may have an inode of its own.
        let outside = self.options.features.contains(Features::EA_INODE);
        match self.twin.builder.set_xattr(node, name, value) {
            Ok(()) => {
                assert!(outside || needed <= in_block + in_inode, "{needed} bytes have no place");
                self.twin.tree.change(&path, |entry| entry.attributes.clone_from(&wanted));
            }
            Err(Error::AttributesTooLarge { .. }) => {
                assert!(needed > in_block, "{needed} bytes fit into a block");
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn change_content(&mut self, operation: Operation) {
        match operation {
            Operation::SetContent { path, content: Bytes(content) } => {
                let Some(path) = self.choose(path, |_, entry| is_file(entry)) else { return };
                let node = self.twin.node(&path);
                let size = u64::try_from(content.len()).unwrap();
                let mut reader = content.as_slice();
                let new = FileContent::new(size, &mut reader);
                let result = self.twin.builder.set_content(node, new);
                if self.done(result, size) {
                    let inode = self.twin.tree.get(&path).and_then(|entry| entry.inode);
                    inode.and_then(|inode| self.preallocated.remove(&inode));
                    self.twin.tree.change(&path, |entry| entry.kind = Kind::file(&content));
                }
            }
            Operation::Preallocate { path, offset, length } => {
                let Some(path) = self.choose(path, |_, entry| is_file(entry)) else { return };
                let node = self.twin.node(&path);
                let result = self.twin.builder.preallocate(node, offset, length);
                if self.done(result, length) {
                    let inode = self.twin.tree.get(&path).and_then(|entry| entry.inode).unwrap();
                    *self.preallocated.entry(inode).or_default() += length;
                }
            }
            other => panic!("{other:?} makes or removes a name"),
        }
    }

    /// The tree as an inode of this size can hold it, and how many inodes had to be changed.
    pub(crate) fn stored(&self) -> (Tree, u64) {
        let mut tree = self.twin.tree.clone();
        let mut clamped = BTreeSet::new();
        for (_, entry) in self.twin.tree.iter() {
            let stored = entry.modified.map(|time| self.stored_time(time));
            if stored != entry.modified {
                clamped.insert(entry.inode);
            }
        }
        tree.change_all(|entry| entry.modified = entry.modified.map(|time| self.stored_time(time)));
        (tree, u64::try_from(clamped.len()).unwrap())
    }

    fn stored_time(&self, (seconds, nanoseconds): (i64, u32)) -> (i64, u32) {
        let asked = Timestamp { seconds, nanoseconds };
        // Source: kernel, Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps".
        let earliest = Timestamp { seconds: -0x8000_0000, nanoseconds: 0 };
        let stored = if self.options.inode_size == 128 {
            let latest = Timestamp { seconds: 0x7fff_ffff, nanoseconds: 0 };
            Timestamp { nanoseconds: 0, ..asked }.clamp(earliest, latest)
        } else {
            let latest = Timestamp { seconds: 0x3_7fff_ffff, nanoseconds: 999_999_999 };
            // From 2310-04-04 to 2378-04-22 e2fsck takes a time for one before 1970 of an old
            // kernel (e2fsprogs: `e2fsck/pass1.c`, `check_inode_extra_negative_epoch`).
            match asked.seconds {
                0x2_8000_0000..0x3_0000_0000 => {
                    Timestamp { seconds: 0x2_7fff_ffff, nanoseconds: 999_999_999 }
                }
                _ => asked.clamp(earliest, latest),
            }
        };
        (stored.seconds, stored.nanoseconds)
    }

    /// The paths of files with unwritten extents.
    pub(crate) fn preallocated(&self) -> Vec<Vec<u8>> {
        let has_some =
            |entry: &Entry| entry.inode.is_some_and(|inode| self.preallocated.contains_key(&inode));
        let tree = self.twin.tree.iter();
        tree.filter(|(_, entry)| has_some(entry)).map(|(path, _)| path.to_vec()).collect()
    }
}

/// The bytes of an attribute on disk: its entry, its name behind the prefix and its value.
fn stored(name: &[u8], value: &[u8]) -> usize {
    let padded = |length: usize| length.next_multiple_of(4);
    if name.starts_with(b"system.") {
        // The prefix says all; entries of 8 bytes become 4, of those by name 8.
        let named = value[4..].chunks(8).filter(|entry| entry[0] == 2 || entry[0] == 8).count();
        return 16 + 4 + value[4..].chunks(8).count() * 4 + named * 4;
    }
    let dot = name.iter().position(|byte| *byte == b'.').unwrap();
    16 + padded(name.len() - dot - 1) + padded(value.len())
}
