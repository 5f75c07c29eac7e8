//! An independent reader as a judge: the crate ext4-view, which shares no code with the writer.

use std::path::Path;

use ext4_view::{Ext4, Ext4Error, FileType, Metadata, PathBuf};

use crate::tree::{Entry, Kind, Tree};

/// Reads the whole tree of `image`. ext4-view tells no inode numbers, link counts, device numbers
/// and attributes: those stay unknown.
///
/// ext4-view 1.0 refuses an inode with a time before 1970 or after 2038, so a test keeps such
/// times out of the trees that it gives to this judge.
pub fn read_tree(image: &Path) -> Result<Tree, Ext4Error> {
    read(&Ext4::load_from_path(image)?)
}

/// [`read_tree`] of an image in memory.
pub fn read_tree_of_bytes(image: Vec<u8>) -> Result<Tree, Ext4Error> {
    read(&Ext4::load(Box::new(image))?)
}

fn read(filesystem: &Ext4) -> Result<Tree, Ext4Error> {
    let mut tree = Tree::new();
    let mut pending = vec![PathBuf::new("/")];
    while let Some(path) = pending.pop() {
        let metadata = filesystem.symlink_metadata(&path)?;
        if metadata.is_dir() {
            for entry in filesystem.read_dir(&path)? {
                let entry = entry?;
                let name = entry.file_name();
                if name.as_ref() != b"." && name.as_ref() != b".." {
                    pending.push(entry.path());
                }
            }
        }
        let entry = entry(filesystem, &path, &metadata)?;
        let bytes: &[u8] = path.as_ref();
        tree.found(bytes.strip_prefix(b"/").unwrap_or(bytes), entry);
    }
    Ok(tree)
}

fn entry(filesystem: &Ext4, path: &PathBuf, metadata: &Metadata) -> Result<Entry, Ext4Error> {
    let kind = match metadata.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::Regular => Kind::file(&filesystem.read(path)?),
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
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: Some((modified.seconds(), modified.nanoseconds())),
        attributes: None,
        inode: None,
        links: None,
    })
}
