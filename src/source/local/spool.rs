//! Archives as files that can be read at any place: streams and compressed ones become temporary
//! files without names.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::directory::failed;
use crate::error::{Error, Result};
use crate::layer::{Compression, LayerBlob, LayerStream, Limits};
use crate::read::filled;

/// Copies a stream, decompressed, into a temporary file, which is at its beginning.
pub(super) fn spool<R>(reader: R, name: &str, limits: &Limits) -> Result<File>
where
    R: Read + Send + 'static,
{
    let blob = LayerBlob { name: name.to_owned(), reader, verified: None, diff_id: None };
    // An archive may hold all layers of an image.
    let limits = Limits { layer: u64::MAX, ..limits.clone() };
    let mut stream = LayerStream::open(blob, &limits)?;
    stream.bound(limits.image);
    let (directory, mut file) = temporary()?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Error::from_io(error, |error| failed(name, error)));
            }
        };
        let bytes =
            filled(&buffer, count).map_err(|error| Error::from_io(error, |e| failed(name, e)))?;
        file.write_all(bytes).map_err(|error| unwritable(&directory, error))?;
    }
    stream.finish()?;
    file.rewind().map_err(|error| unwritable(&directory, error))?;
    Ok(file)
}

/// The archive in a file of the host: the file itself where it is a plain archive that can be
/// read at any place, a copy of what it holds elsewhere.
pub(super) fn archive(path: &Path, name: &str, limits: &Limits) -> Result<File> {
    let file = open(path, name)?;
    let metadata = file.metadata().map_err(|error| failed(name, error))?;
    if metadata.is_file() && compression(&file, name)? == Compression::None {
        return Ok(file);
    }
    spool(file, name, limits)
}

/// Opens a file or a pipe that the user names.
pub(super) fn open(path: &Path, name: &str) -> Result<File> {
    let file = File::open(path).map_err(|error| failed(name, error))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Error::usage(format!("{name} is a directory, not an archive"))
            .with_hint("an image layout is oci:DIR, a root filesystem dir:PATH"));
    }
    Ok(file)
}

/// What the first bytes of a file say of its compression; those that nobody here can undo are
/// refused.
pub(super) fn compression(file: &File, name: &str) -> Result<Compression> {
    use std::os::unix::fs::FileExt as _;
    let mut head = [0; Compression::HEAD];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = u64::try_from(filled).unwrap_or(u64::MAX);
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => filled = filled.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(name, error)),
        }
    }
    judge(head.get(..filled).unwrap_or_default(), name)
}

fn judge(head: &[u8], name: &str) -> Result<Compression> {
    Compression::of(head).map_err(|other| {
        Error::bad_data(format!(
            "{name} is compressed by {other}; only gzip, zstd, xz and bzip2 are read"
        ))
        .with_hint(format!("pipe what {other} -dc makes of it into banger image build - OUTPUT"))
    })
}

/// Looks at the first bytes of a stream; they are read again with the rest.
pub(super) fn check_stream<R: Read>(mut reader: R, name: &str) -> Result<impl Read + use<R>> {
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(u64::try_from(Compression::HEAD).unwrap_or(u64::MAX))
        .read_to_end(&mut head)
        .map_err(|error| Error::from_io(error, |error| failed(name, error)))?;
    judge(&head, name)?;
    Ok(io::Cursor::new(head).chain(reader))
}

/// A file without a name.
fn temporary() -> Result<(PathBuf, File)> {
    let directory = directory_of_copies();
    match tempfile::tempfile_in(&directory) {
        Ok(file) => Ok((directory, file)),
        Err(error) => Err(unwritable(&directory, error)),
    }
}

/// Where large temporary files belong: `$TMPDIR`, else `/var/tmp`, else `/tmp`, which is often
/// memory.
pub fn directory_of_copies() -> PathBuf {
    let given = std::env::var_os("TMPDIR").filter(|value| !value.is_empty()).map(PathBuf::from);
    given.unwrap_or_else(|| {
        let large = PathBuf::from("/var/tmp");
        if fs::metadata(&large).is_ok_and(|found| found.is_dir()) { large } else { "/tmp".into() }
    })
}

fn unwritable(directory: &Path, error: io::Error) -> Error {
    let message = format!("cannot keep a copy of the archive in {}", directory.display());
    match error.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => Error::cannot_create(message),
        _ => Error::io(message),
    }
    .with_source(error)
    .with_hint("TMPDIR names another directory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::forge::{bzip2, gzip, xz};

    #[test]
    fn a05_a_spooled_stream_is_plain() {
        let bytes = vec![3; 1 << 20];
        let zstd = zstd::stream::encode_all(&bytes[..], 1).unwrap();
        for came in [bytes.clone(), gzip(&bytes), zstd, xz(&bytes), bzip2(&bytes)] {
            let mut spooled = spool(io::Cursor::new(came), "s", &Limits::default()).unwrap();
            let mut found = Vec::new();
            spooled.read_to_end(&mut found).unwrap();
            assert!(found == bytes);
        }
    }

    #[test]
    fn a_stream_that_grows_beyond_the_limit_is_refused() {
        let limits = Limits { image: 1 << 20, ..Limits::default() };
        let error = spool(io::repeat(7), "s", &limits).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert_eq!(error.hint(), Some("raise --limit image=VALUE if you trust the image"));
        let cut = gzip(&vec![3; 1 << 16]);
        let cut = io::Cursor::new(cut[..cut.len() - 9].to_vec());
        assert_eq!(spool(cut, "s", &Limits::default()).unwrap_err().exit_code(), 65);
    }

    #[test]
    fn c05_other_compressions_are_refused_by_name() {
        for (head, name) in [
            (&b"LZIP\x01\0"[..], "lzip"),
            (b"\x04\x22\x4d\x18\0\0", "lz4"),
            (b"\x89LZO\0\x0d\x0a\x1a\x0a", "lzop"),
            (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", "lzma"),
        ] {
            let error = check_stream(head, "s").map(drop).unwrap_err();
            assert_eq!(error.exit_code(), 65);
            assert!(error.to_string().contains(name), "{error}");
        }
        let mut read = Vec::new();
        check_stream(&b"BZh as a name"[..], "s").unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"BZh as a name");
    }
}
