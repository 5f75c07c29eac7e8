//! The bytes of files.

use std::io::{Read as _, Write};

use ext4_writer::FileKind;
use ext4_writer::reader::Links;

use super::Image;
use crate::error::{Error, Result};

/// How much is read at once.
const READ: usize = 256 << 10;

/// Writes the content of the file at `path` to `out`, holes as zeros; links are followed.
///
/// `unwritten` makes an error of what `out` answers.
pub(crate) fn copy(
    image: &Image,
    path: &[u8],
    out: &mut dyn Write,
    unwritten: impl Fn(std::io::Error) -> Error,
) -> Result<()> {
    let file = image.resolve(path, Links::Follow)?;
    if !file.is(FileKind::Regular) {
        let (path, name) = (crate::shown::bytes(&path), image.name());
        let what = file.kind().map_or("of no kind", described);
        return Err(Error::not_found(format!(
            "there is no file \"{path}\" in {name}: it is {what}"
        )));
    }
    let mut contents =
        image.reader.contents(&file).map_err(|error| image.failed_at(path, error))?;
    let mut buffer = vec![0; READ];
    loop {
        let count = contents.read(&mut buffer).map_err(|error| image.broken_at(path, error))?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
            return Ok(());
        };
        out.write_all(piece).map_err(&unwritten)?;
    }
}

fn described(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "a file",
        FileKind::Directory => "a directory",
        FileKind::Symlink => "a symbolic link",
        FileKind::CharacterDevice => "a character device",
        FileKind::BlockDevice => "a block device",
        FileKind::Fifo => "a named pipe",
        FileKind::Socket => "a socket",
    }
}
