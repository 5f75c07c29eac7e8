//! Makes a filesystem from a directory: `from_dir DIRECTORY FILE`.
//!
//! Shows owners, times, links and devices; the standard library cannot read extended attributes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use ext4_writer::{
    Builder, FileContent, FileSink, Metadata, NodeId, Options, Size, Special, Timestamp,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Names = BTreeMap<(u64, u64), NodeId>;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(source), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: from_dir DIRECTORY FILE".into());
    };
    let size = Size::Fit { free_bytes: 64 << 20, free_inodes: 1000 };
    let sink = FileSink::new(File::create(target)?)?;
    let mut builder = Builder::create(sink, Options::new(size))?;
    let root = builder.root();
    builder.set_metadata(root, &metadata(&fs::metadata(&source)?)?)?;
    add_entries(&mut builder, root, Path::new(&source), &mut Names::new())?;
    let (summary, _) = builder.finish()?;
    writeln!(std::io::stdout(), "{} blocks, {} free", summary.blocks, summary.free_blocks)?;
    Ok(())
}

fn add_entries(
    builder: &mut Builder<FileSink>,
    directory: NodeId,
    path: &Path,
    seen: &mut Names,
) -> Result<()> {
    let mut entries = fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let found = entry.path().symlink_metadata()?;
        let name = entry.file_name();
        let key = (found.dev(), found.ino());
        if let Some(node) = seen.get(&key) {
            builder.add_link(directory, name.as_bytes(), *node)?;
            continue;
        }
        let node = add(builder, directory, name.as_bytes(), &entry.path())?;
        if found.is_dir() {
            add_entries(builder, node, &entry.path(), seen)?;
        } else if found.nlink() > 1 {
            seen.insert(key, node);
        }
    }
    Ok(())
}

fn add(
    builder: &mut Builder<FileSink>,
    directory: NodeId,
    name: &[u8],
    path: &Path,
) -> Result<NodeId> {
    let found = path.symlink_metadata()?;
    let kind = found.file_type();
    let attributes = metadata(&found)?;
    let (major, minor) = device(found.rdev())?;
    let special = if kind.is_dir() {
        return Ok(builder.add_directory(directory, name, &attributes)?);
    } else if kind.is_file() {
        let mut file = File::open(path)?;
        let content = FileContent::new(found.len(), &mut file);
        return Ok(builder.add_file(directory, name, &attributes, content)?);
    } else if kind.is_symlink() {
        let target = fs::read_link(path)?;
        let target = target.as_os_str().as_bytes();
        return Ok(builder.add_symlink(directory, name, &attributes, target)?);
    } else if kind.is_char_device() {
        Special::CharacterDevice { major, minor }
    } else if kind.is_block_device() {
        Special::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Special::Fifo
    } else {
        Special::Socket
    };
    Ok(builder.add_special(directory, name, &attributes, special)?)
}

fn metadata(found: &fs::Metadata) -> Result<Metadata> {
    let modified =
        Timestamp { seconds: found.mtime(), nanoseconds: u32::try_from(found.mtime_nsec())? };
    let mode = u16::try_from(found.mode() & 0o7777)?;
    Ok(Metadata { uid: found.uid(), gid: found.gid(), ..Metadata::root_owned(mode, modified) })
}

/// Linux packs 12 and 20 bits of major and minor number into 64 bits.
fn device(number: u64) -> Result<(u32, u32)> {
    let major = (number >> 8) & 0xfff;
    let minor = (number & 0xff) | ((number >> 12) & 0xf_ff00);
    Ok((u32::try_from(major)?, u32::try_from(minor)?))
}
