//! Random operations against a plain model, judged by e2fsck, ext4-view and the kernel.

use std::fmt;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Attributes, Entry, Kind};
use banger_test_support::view;
use ext4_writer::{Error, Features, FileContent, FileSink, Options, Segment, Size};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::twin::{Twin, metadata, noise};

/// The features that can be chosen but are not written yet.
pub(crate) const UNWRITTEN: Features = Features::INLINE_DATA.union(Features::EA_INODE);

/// Bytes that are shown short: a failing case prints every operation.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.0.get(..12).unwrap_or(&self.0);
        write!(f, "\"{}\" ({} bytes)", start.escape_ascii(), self.0.len())
    }
}

/// What is done; the numbers choose among the paths that there are.
#[derive(Debug, Clone)]
enum Operation {
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

/// Owners, modes and the times that ext4-view reads.
fn decorated(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Entry> {
    let times = (0_i64..1 << 31, 0_u32..1_000_000_000);
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
        // Without slashes a component would be too long for ext4-view.
        (250_usize..4095).prop_map(|length| {
            Kind::Symlink((0..length).map(|n| if n % 90 == 0 { b'/' } else { b't' }).collect())
        }),
    ]
}

fn operations() -> impl Strategy<Value = Operation> {
    let leaf = prop_oneof![
        3 => contents().prop_flat_map(|content| {
            let kind = Kind::file(&content.0);
            (decorated(Just(kind)), Just(content))
        }),
        1 => (decorated(special_kinds()), Just(Bytes(Vec::new()))),
    ];
    let attribute_names =
        prop::sample::select(vec![&b"user.a"[..], b"user.bb", b"trusted.c", b"security.d"]);
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
        2 => (any_path(), attribute_names, vec(any::<u8>(), 0..900))
            .prop_map(|(path, name, value)| Operation::SetAttribute {
                path,
                name: Bytes(name.to_vec()),
                value: Bytes(value),
            }),
        1 => any_path().prop_map(|path| Operation::ClearAttributes { path }),
        2 => (any_path(), contents())
            .prop_map(|(path, content)| Operation::SetContent { path, content }),
    ]
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// A path of the tree that the filesystem does not own, among those that `fits`.
fn choose(
    twin: &Twin<FileSink>,
    number: usize,
    fits: impl Fn(&[u8], &Entry) -> bool,
) -> Option<Vec<u8>> {
    let paths: Vec<_> = twin
        .tree
        .iter()
        .filter(|(path, entry)| *path != b"lost+found" && fits(path, entry))
        .map(|(path, _)| path)
        .collect();
    paths.get(number.checked_rem(paths.len())?).map(|path| path.to_vec())
}

fn directory(twin: &Twin<FileSink>, number: usize) -> Vec<u8> {
    choose(twin, number, |_, entry| entry.kind == Kind::Directory).expect("the root")
}

/// Does what `operation` says to the builder and to the tree; both refuse the same.
fn apply(twin: &mut Twin<FileSink>, operation: Operation) {
    match operation {
        Operation::Directory { parent, name, entry } => {
            let path = join(&directory(twin, parent), &name.0);
            add(twin, &path, entry, b"");
        }
        Operation::Leaf { parent, name, entry, content } => {
            let path = join(&directory(twin, parent), &name.0);
            add(twin, &path, entry, &content.0);
        }
        Operation::Sparse { parent, name, size, segments } => {
            let path = join(&directory(twin, parent), &name.0);
            if twin.tree.get(&path).is_none() {
                twin.sparse(&path, size, &segments);
            }
        }
        Operation::Crowd { parent, count } => {
            let parent = directory(twin, parent);
            for number in 0..count {
                let path = join(&parent, format!("one-of-a-crowd-{number}").as_bytes());
                add(twin, &path, Entry::new(Kind::Fifo, 0o600), b"");
            }
        }
        Operation::Link { parent, name, target } => link(twin, parent, &name.0, target),
        Operation::Remove { path } => {
            if let Some(path) = choose(twin, path, |path, _| !path.is_empty()) {
                twin.remove(&path);
            }
        }
        other => change(twin, other),
    }
}

fn add(twin: &mut Twin<FileSink>, path: &[u8], entry: Entry, content: &[u8]) {
    let result = twin.try_add(path, &entry, content);
    if twin.tree.get(path).is_some() {
        assert!(matches!(result, Err(Error::Exists { .. })), "{result:?}");
    } else {
        result.unwrap();
        twin.tree.insert(path, entry);
    }
}

fn link(twin: &mut Twin<FileSink>, parent: usize, name: &[u8], target: usize) {
    let path = join(&directory(twin, parent), name);
    let Some(target) = choose(twin, target, |_, entry| entry.kind != Kind::Directory) else {
        return;
    };
    if twin.tree.get(&path).is_none() {
        twin.link(&path, &target);
    }
}

fn change(twin: &mut Twin<FileSink>, operation: Operation) {
    match operation {
        Operation::SetMetadata { path, entry: new } => {
            let path = choose(twin, path, |_, _| true).expect("the root");
            let node = twin.node(&path);
            twin.builder.set_metadata(node, &metadata(&new)).unwrap();
            twin.tree.change(&path, |entry| {
                (entry.mode, entry.uid, entry.gid) = (new.mode, new.uid, new.gid);
                entry.modified = new.modified;
            });
        }
        Operation::SetAttribute { path, name: Bytes(name), value: Bytes(value) } => {
            // The kernel shows no user attributes of what is neither file nor directory.
            let fits = |entry: &Entry| {
                !name.starts_with(b"user.")
                    || matches!(entry.kind, Kind::File { .. } | Kind::Directory)
            };
            if let Some(path) = choose(twin, path, |_, entry| fits(entry)) {
                let node = twin.node(&path);
                twin.builder.set_xattr(node, &name, &value).unwrap();
                twin.tree.change(&path, |entry| {
                    entry.attributes.get_or_insert_default().insert(name.clone(), value.clone());
                });
            }
        }
        Operation::ClearAttributes { path } => {
            let path = choose(twin, path, |_, _| true).expect("the root");
            let node = twin.node(&path);
            twin.builder.clear_xattrs(node).unwrap();
            twin.tree.change(&path, |entry| entry.attributes = Some(Attributes::new()));
        }
        Operation::SetContent { path, content: Bytes(content) } => {
            let is_file = |_: &[u8], entry: &Entry| matches!(entry.kind, Kind::File { .. });
            if let Some(path) = choose(twin, path, is_file) {
                let node = twin.node(&path);
                let size = u64::try_from(content.len()).unwrap();
                twin.builder
                    .set_content(node, FileContent::new(size, &mut content.as_slice()))
                    .unwrap();
                twin.tree.change(&path, |entry| entry.kind = Kind::file(&content));
            }
        }
        other => panic!("{other:?} makes or removes a name"),
    }
}

proptest! {
    // A failure prints its smallest case; a file of old failures would hide it from other clones.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_image_holds_what_the_operations_left(operations in vec(operations(), 1..60)) {
        let (mut twin, directory) =
            Twin::in_file(Options::new(Size::Fit { free_bytes: 1 << 20, free_inodes: 10 }));
        for operation in operations {
            apply(&mut twin, operation);
        }
        let image = twin.finish(directory);
        prop_assert_eq!(view::assert_agrees(&image.path, &image.tree), 0);
        if let Some(mount) = Mount::new(&image.path, Access::ReadOnly) {
            image.tree.assert_same(&mount.tree(), "the kernel");
            mount.close();
        }
    }
}
