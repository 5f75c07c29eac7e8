//! The reader's view of an image, in the form of the judges, and its comparison with a mount.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind, Tree};
use ext4_writer::reader::{Inode, ReadResult, Reader, SegmentKind, Source};
use ext4_writer::{FileKind, Timestamp};

/// The longest content that is hashed at once.
const LONGEST: u64 = 1 << 30;

/// Opens an image.
pub(crate) fn open(image: &Path) -> Reader<File> {
    let file = File::open(image).unwrap();
    Reader::open(file).unwrap_or_else(|error| panic!("{}: {error}", image.display()))
}

/// The whole tree, with every fact known.
pub(crate) fn tree<S: Source>(reader: &Reader<S>) -> Tree {
    let mut tree = Tree::new();
    let root = reader.root().unwrap();
    for entry in reader.walk(&root) {
        let entry = entry.unwrap_or_else(|error| panic!("walk: {error}"));
        let found = self::entry(reader, &entry.inode)
            .unwrap_or_else(|error| panic!("/{}: {error}", entry.path.escape_ascii()));
        tree.found(entry.path, found);
    }
    tree
}

fn entry<S: Source>(reader: &Reader<S>, inode: &Inode) -> ReadResult<Entry> {
    let modified = inode.modified();
    let attributes = reader.attributes(inode)?;
    Ok(Entry {
        kind: kind(reader, inode)?,
        mode: inode.mode(),
        uid: inode.uid(),
        gid: inode.gid(),
        modified: Some((modified.seconds, modified.nanoseconds)),
        attributes: Some(attributes.into_iter().map(|one| (one.name, one.value)).collect()),
        inode: Some(inode.number().into()),
        links: Some(inode.links().into()),
    })
}

fn kind<S: Source>(reader: &Reader<S>, inode: &Inode) -> ReadResult<Kind> {
    let device = inode.device().map(|device| (device.major, device.minor));
    Ok(match inode.kind().expect("an inode with a name is something") {
        FileKind::Directory => Kind::Directory,
        FileKind::Regular => {
            assert!(inode.size() < LONGEST);
            let mut content = Vec::new();
            reader.contents(inode)?.read_to_end(&mut content).unwrap();
            assert_eq!(u64::try_from(content.len()).unwrap(), inode.size());
            Kind::file(&content)
        }
        FileKind::Symlink => Kind::Symlink(reader.read_link(inode)?),
        FileKind::CharacterDevice => Kind::CharacterDevice(device),
        FileKind::BlockDevice => Kind::BlockDevice(device),
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
    })
}

/// Panics unless the reader sees what a read-only mount of the image shows: the tree, and of every
/// inode the facts that a tree does not hold. The image must have been unmounted.
pub(crate) fn assert_as_mounted(image: &Path) -> Option<Tree> {
    let mount = Mount::new(image, Access::ReadOnly)?;
    let reader = open(image);
    let shown = mount.tree();
    shown.assert_same(&tree(&reader), "the reader");
    assert_facts(&reader, mount.path());
    mount.close();
    Some(shown)
}

/// Compares what `stat` tells of every inode.
pub(crate) fn assert_facts<S: Source>(reader: &Reader<S>, point: &Path) {
    for entry in reader.walk(&reader.root().unwrap()) {
        let entry = entry.unwrap();
        let path = point.join(std::ffi::OsStr::from_bytes(&entry.path));
        let metadata = fs::symlink_metadata(&path).unwrap();
        let shown = entry.path.escape_ascii();
        let nanoseconds = |number: i64| u32::try_from(number).unwrap();
        let time = |seconds, nanoseconds| Timestamp { seconds, nanoseconds };
        let changed = time(metadata.ctime(), nanoseconds(metadata.ctime_nsec()));
        assert_eq!(entry.inode.changed(), changed, "/{shown}: time of change");
        let accessed = time(metadata.atime(), nanoseconds(metadata.atime_nsec()));
        // A mount for reading only leaves the times of access alone.
        assert_eq!(entry.inode.accessed(), accessed, "/{shown}: time of access");
        let inside = inside(reader, &entry.inode).div_ceil(512);
        assert_eq!(entry.inode.sectors() + inside, metadata.blocks(), "/{shown}: blocks");
        assert_eq!(entry.inode.size(), metadata.size(), "/{shown}: size");
        assert_eq!(entry.inode.created(), created(&metadata), "/{shown}: time of creation");
    }
}

/// The bytes of a file inside its inode, for which the kernel counts storage, and those that it has
/// no bytes for as well.
///
/// Source: kernel, `fs/ext4/inode.c`, `ext4_file_getattr`.
fn inside<S: Source>(reader: &Reader<S>, inode: &Inode) -> u64 {
    let Ok(mut segments) = reader.segments(inode) else { return 0 };
    match segments.next() {
        Some(Ok(segment)) if segment.kind == SegmentKind::Inline => inode.size(),
        _ => 0,
    }
}

fn created(metadata: &Metadata) -> Option<Timestamp> {
    let created = metadata.created().ok()?;
    Some(match created.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => Timestamp {
            seconds: i64::try_from(after.as_secs()).unwrap(),
            nanoseconds: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            let whole = -i64::try_from(before.as_secs()).unwrap();
            match before.subsec_nanos() {
                0 => Timestamp::from_seconds(whole),
                part => Timestamp { seconds: whole - 1, nanoseconds: 1_000_000_000 - part },
            }
        }
    })
}
