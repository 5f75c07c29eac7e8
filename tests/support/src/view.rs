//! An independent reader as a judge: the crate ext4-view, which shares no code with the writer.

use std::io;
use std::path::Path;

use ext4_view::{Ext4, Ext4Error, FileType, PathBuf};

use crate::gate::Report;
use crate::mount::Hasher;
use crate::tree::{Entry, Kind, Tree};

/// Panics unless ext4-view sees in `image` what `expected` says and nothing else. Inode numbers,
/// link counts, device numbers and attributes it does not tell.
///
/// Returns how many names were left out, because their inode has a time that ext4-view 1.0
/// refuses (see [`is_refused`]) or they are below such a directory.
#[must_use]
pub fn assert_agrees(image: &Path, expected: &Tree) -> usize {
    assert_agrees_but_for(image, expected, &[])
}

/// [`assert_agrees`], leaving out these paths too: ext4-view 1.0 takes the length of an unwritten
/// extent for that of a written one, and so cannot read the file.
#[must_use]
pub fn assert_agrees_but_for(image: &Path, expected: &Tree, unreadable: &[Vec<u8>]) -> usize {
    let filesystem = Ext4::load_from_path(image)
        .unwrap_or_else(|error| panic!("ext4-view cannot load {}: {error}", image.display()));
    let mut expected = expected.clone();
    let names = expected.len();
    let mut refused: Vec<Vec<u8>> = expected
        .iter()
        .filter(|(_, entry)| is_refused(entry))
        .map(|(path, _)| path.into())
        .collect();
    refused.extend_from_slice(unreadable);
    for path in &refused {
        expected.remove(path);
    }
    let found = read(&filesystem, &refused).unwrap_or_else(|error| panic!("ext4-view: {error}"));
    expected.assert_same(&found, "ext4-view");
    names - expected.len()
}

/// Whether ext4-view 1.0 reads such a filesystem: it refuses inodes of 128 bytes and, in
/// `superblock.rs`, some features.
#[must_use]
pub fn can_read(report: &Report) -> bool {
    const REFUSED: [&str; 3] = ["large_dir", "ea_inode", "inline_data"];
    let is_refused = |feature: &String| REFUSED.contains(&feature.as_str());
    report.inode_size > 128 && !report.features.iter().any(is_refused)
}

/// The whole tree of `image`, which must have no time that ext4-view refuses.
pub fn read_tree(image: &Path) -> Result<Tree, String> {
    let filesystem = Ext4::load_from_path(image).map_err(|error| error.to_string())?;
    read(&filesystem, &[])
}

/// Whether ext4-view 1.0 takes the inode for corrupt: its `Timestamp::from_raw` refuses a time
/// whose lower 32 bits are negative, so all before 1970 and those from 2038 to 2106.
#[must_use]
pub fn is_refused(entry: &Entry) -> bool {
    entry.modified.is_some_and(|(seconds, _)| seconds < 0 || seconds & 0x8000_0000 != 0)
}

fn read(filesystem: &Ext4, left_out: &[Vec<u8>]) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let mut pending = vec![PathBuf::new("/")];
    while let Some(path) = pending.pop() {
        let bytes: &[u8] = path.as_ref();
        let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
        if left_out.iter().any(|left_out| left_out == bytes) {
            continue;
        }
        let at = |error: Ext4Error| format!("/{}: {error}", bytes.escape_ascii());
        let entry = entry(filesystem, &path).map_err(at)?;
        if entry.kind == Kind::Directory {
            for child in filesystem.read_dir(&path).map_err(at)? {
                let child = child.map_err(at)?;
                let name = child.file_name();
                if name.as_ref() != b"." && name.as_ref() != b".." {
                    pending.push(child.path());
                }
            }
        }
        tree.found(bytes, entry);
    }
    Ok(tree)
}

fn entry(filesystem: &Ext4, path: &PathBuf) -> Result<Entry, Ext4Error> {
    // By its whole path: every directory above is searched by its index, where it has one.
    let metadata = filesystem.symlink_metadata(path)?;
    let kind = match metadata.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Regular => {
            let mut hasher = Hasher::default();
            let size = io::copy(&mut filesystem.open(path)?, &mut hasher)
                .map_err(|error| Ext4Error::Io(error.into()))?;
            Kind::File { size, hash: hasher.finish() }
        }
        FileType::Symlink => {
            let target = filesystem.read_link(path)?;
            let bytes: &[u8] = target.as_ref();
            Kind::Symlink(bytes.to_vec())
        }
        FileType::CharacterDevice => Kind::CharacterDevice(None),
        FileType::BlockDevice => Kind::BlockDevice(None),
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
    };
    let modified = metadata.modified();
    Ok(Entry {
        kind,
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: Some((modified.seconds(), modified.nanoseconds())),
        attributes: None,
        inode: None,
        links: None,
    })
}
