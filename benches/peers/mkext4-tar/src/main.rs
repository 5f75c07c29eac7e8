//! Makes a filesystem from one tar archive with the crate mkext4:
//! `mkext4-tar FLAT.tar OUTPUT.ext4 BYTES INODES`.
//!
//! mkext4 wants all names and sizes before the first content, so the archive is walked twice: its
//! headers by seeking, then the contents through one large buffer in the order of the archive,
//! which is mkext4's own order of blocks. Nothing is synced.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use mkext4::sink::FileSink;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, ROOT, SpecialKind};
use tar::EntryType;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a PAX header and the plain one say of an entry.
struct Described {
    path: String,
    link: String,
    meta: Meta,
    xattrs: Vec<(String, Vec<u8>)>,
}

/// The contents of a file: where they are in the archive.
struct Fill {
    file: InodeHandle,
    position: u64,
    size: u64,
}

struct Declared {
    builder: FsBuilder,
    names: HashMap<String, InodeHandle>,
    fills: Vec<Fill>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [archive, output, bytes, inodes] = arguments.as_slice() else {
        return Err("usage: mkext4-tar FLAT.tar OUTPUT.ext4 BYTES INODES".into());
    };
    let mut options = Options::new(bytes.parse()?, *b"mkext4-benchmark", 0);
    options.inodes = InodeCount::Exact(inodes.parse()?);
    let names = HashMap::from([(String::new(), ROOT)]);
    let mut declared = Declared { builder: FsBuilder::new(options)?, names, fills: Vec::new() };
    let mut headers = tar::Archive::new(File::open(archive)?);
    for entry in headers.entries_with_seek()? {
        declared.add(entry?)?;
    }

    let layout = declared.builder.seal()?;
    let mut sink = FileSink::create(Path::new(output), layout.image_len())?;
    let mut writer = layout.writer(&mut sink)?;
    let mut contents = BufReader::with_capacity(1 << 20, File::open(archive)?);
    let mut at = contents.seek(SeekFrom::Start(0))?;
    for Fill { file, position, size } in declared.fills {
        contents.seek_relative(i64::try_from(position)? - i64::try_from(at)?)?;
        writer.fill(file, &mut (&mut contents).take(size))?;
        at = position + size;
    }
    writer.finish()?;
    Ok(())
}

impl Declared {
    fn add(&mut self, mut entry: tar::Entry<'_, File>) -> Result<()> {
        let Described { path, link, meta, xattrs } = describe(&mut entry)?;
        let kind = entry.header().entry_type();
        if path.is_empty() {
            return self.finish_node(path, ROOT, meta, xattrs);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let parent = *self.names.get(parent).ok_or_else(|| format!("{path}: no parent"))?;
        let builder = &mut self.builder;
        let device = || -> Result<(u32, u32)> {
            let major = entry.header().device_major()?.unwrap_or(0);
            Ok((major, entry.header().device_minor()?.unwrap_or(0)))
        };
        let node = match kind {
            EntryType::Directory => builder.mkdir(parent, name, meta)?,
            EntryType::Regular | EntryType::Continuous => {
                let file = builder.file(parent, name, meta, entry.size())?;
                if entry.size() > 0 {
                    let position = entry.raw_file_position();
                    self.fills.push(Fill { file, position, size: entry.size() });
                }
                file
            }
            EntryType::Symlink => builder.symlink(parent, name, &link, meta)?,
            EntryType::Link => {
                let target = *self.names.get(&link).ok_or_else(|| format!("{link}: no target"))?;
                builder.hardlink(parent, name, target)?;
                self.names.insert(path, target);
                return Ok(());
            }
            EntryType::Char => {
                let (major, minor) = device()?;
                builder.mknod(parent, name, meta, SpecialKind::Char { major, minor })?
            }
            EntryType::Block => {
                let (major, minor) = device()?;
                builder.mknod(parent, name, meta, SpecialKind::Block { major, minor })?
            }
            EntryType::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo)?,
            other => return Err(format!("{path}: unexpected entry {other:?}").into()),
        };
        self.finish_node(path, node, meta, xattrs)
    }

    fn finish_node(
        &mut self,
        path: String,
        node: InodeHandle,
        meta: Meta,
        xattrs: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        if node == ROOT {
            self.builder.set_meta(ROOT, meta)?;
        }
        for (name, value) in xattrs {
            self.builder.set_xattr(node, &name, &value)?;
        }
        self.names.insert(path, node);
        Ok(())
    }
}

fn describe(entry: &mut tar::Entry<'_, File>) -> Result<Described> {
    let mut mtime = (i64::try_from(entry.header().mtime()?)?, 0);
    let mut xattrs = Vec::new();
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            let key = record.key()?;
            if key == "mtime" {
                mtime = seconds(record.value()?)?;
            } else if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.push((name.to_owned(), record.value_bytes().to_vec()));
            }
        }
    }
    let header = entry.header();
    let mode = u16::try_from(header.mode()? & 0o7777)?;
    let (uid, gid) = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
    let link = entry.link_name_bytes().map(|link| String::from_utf8(link.into_owned()));
    let mut link = link.transpose()?.unwrap_or_default();
    if entry.header().entry_type() == EntryType::Link {
        link = clean(&link);
    }
    let path = clean(&String::from_utf8(entry.path_bytes().into_owned())?);
    Ok(Described { path, link, meta: Meta::new(mode, uid, gid, mtime), xattrs })
}

/// The form in which a path is remembered: no `./`, no slash at either end.
fn clean(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match path.trim_matches('/') {
        "." => String::new(),
        trimmed => trimmed.to_owned(),
    }
}

/// A PAX time: seconds and up to nine decimals.
fn seconds(text: &str) -> Result<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Ok((whole.parse()?, digits.parse()?))
}
