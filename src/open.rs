//! Files of the host, opened by their names. What is not of the kind that is wanted is refused by
//! what it is, and nothing waits for the other end of a pipe that nobody meant.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading.
pub(crate) fn regular(path: &Path) -> io::Result<File> {
    regular_with(OpenOptions::new().read(true), path)
}

/// Opens a regular file as `options` say.
pub(crate) fn regular_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    at_once(options, path, "a regular file", FileType::is_file)
}

/// Opens a regular file or a block device for reading.
pub(crate) fn file_or_device(path: &Path) -> io::Result<File> {
    let is_wanted = |kind: &FileType| kind.is_file() || kind.is_block_device();
    at_once(OpenOptions::new().read(true), path, "a file or a block device", is_wanted)
}

/// Opens a file of configuration that nobody named: a regular one, or a device such as /dev/null,
/// which stands for an empty one.
pub(crate) fn configuration(path: &Path) -> io::Result<File> {
    let is_wanted = |kind: &FileType| kind.is_file() || kind.is_char_device();
    at_once(OpenOptions::new().read(true), path, "a regular file", is_wanted)
}

/// Opens what the user names to be read to its end: whoever names a pipe waits for who writes.
pub(crate) fn readable(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() { Err(wrong(kind, "a file")) } else { Ok(file) }
}

fn at_once(
    options: &mut OpenOptions,
    path: &Path,
    wanted: &str,
    is_wanted: impl Fn(&FileType) -> bool,
) -> io::Result<File> {
    // Regular files do not know the flag, block devices do not heed it: open(2), `O_NONBLOCK`.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits());
    let flags = flags.map_err(|_| io::Error::from(ErrorKind::Unsupported))?;
    let opened = options.custom_flags(flags).open(path);
    // A socket, or a pipe that nobody reads: open(2), `ENXIO`. What it is says more.
    let there = |error| match std::fs::metadata(path) {
        Ok(found) if !is_wanted(&found.file_type()) => wrong(found.file_type(), wanted),
        _ => error,
    };
    let file = opened.map_err(there)?;
    let kind = file.metadata()?.file_type();
    if is_wanted(&kind) { Ok(file) } else { Err(wrong(kind, wanted)) }
}

fn wrong(kind: FileType, wanted: &str) -> io::Error {
    let (what, error) = match kind {
        kind if kind.is_dir() => ("a directory", ErrorKind::IsADirectory),
        kind if kind.is_fifo() => ("a named pipe", ErrorKind::InvalidInput),
        kind if kind.is_socket() => ("a socket", ErrorKind::InvalidInput),
        kind if kind.is_char_device() => ("a character device", ErrorKind::InvalidInput),
        kind if kind.is_block_device() => ("a block device", ErrorKind::InvalidInput),
        _ => ("a file", ErrorKind::InvalidInput),
    };
    io::Error::new(error, format!("it is {what}, not {wanted}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_named_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        std::os::unix::fs::symlink("pipe", at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for open in [regular, file_or_device, configuration] {
            open(&at("file")).unwrap();
            for (name, what) in
                [("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket")]
            {
                let error = open(&at(name)).unwrap_err().to_string();
                assert!(error.starts_with(&format!("it is {what}, not a")), "{error}");
            }
            let error = open(directory.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IsADirectory, "{error}");
            assert_eq!(open(&at("none")).unwrap_err().kind(), ErrorKind::NotFound);
        }
        let writing = regular_with(OpenOptions::new().write(true), &at("pipe"));
        assert!(writing.unwrap_err().to_string().contains("named pipe"));
        configuration(Path::new("/dev/null")).unwrap();
        assert!(regular(Path::new("/dev/null")).is_err());
        readable(Path::new("/dev/null")).unwrap();
        assert!(readable(directory.path()).is_err());
    }
}
