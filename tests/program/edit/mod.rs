//! Finished images that the program changes: what e2fsprogs and the kernel say of them afterwards.

mod copy;
mod disk;
mod kill;
mod layers;
mod rebuild;
mod tree;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use banger_test_support::judge;
use serde_json::Value;

use crate::banger::Bench;

/// A bench with an image `disk.ext4` by mke2fs in it; nothing where judges are missing.
fn bench(options: &[&str], size: &str) -> Option<(Bench, PathBuf)> {
    if !judge::all(&["mke2fs", "e2fsck", "dumpe2fs", "debugfs"]) {
        return None;
    }
    let bench = Bench::new();
    let content = bench.path("content");
    fs::create_dir_all(content.join("etc")).unwrap();
    fs::write(content.join("etc/hostname"), b"old\n").unwrap();
    fs::write(content.join("large"), vec![7; 300_000]).unwrap();
    let image = bench.path("disk.ext4");
    let words = ["-q", "-F", "-E", "root_owner=0:0", "-d"].iter().map(OsStr::new);
    let words = words.chain([content.as_os_str()]).chain(options.iter().map(OsStr::new));
    judge::succeed("mke2fs", words.chain([image.as_os_str(), OsStr::new(size)]));
    Some((bench, image))
}

/// Runs the program, which has to succeed, and returns the report.
fn run(bench: &Bench, words: &[&str]) -> Value {
    let result = bench.run(words.iter().chain(&["--format", "json"]));
    assert!(result.status.success(), "{words:?}: {}", judge::text(&result));
    serde_json::from_slice(&result.stdout).unwrap()
}

/// Runs the program, which has to fail with this exit code and one line, and to leave the image and
/// everything beside it as it was; returns the line.
fn fails(bench: &Bench, words: &[&str], exit_code: i32) -> String {
    let before = everything(bench);
    let result = bench.run(words.iter().chain(&["--quiet"]));
    let message = judge::text(&result);
    assert_eq!(result.status.code(), Some(exit_code), "{words:?}: {message}");
    assert!(message.starts_with("error: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(everything(bench) == before, "{words:?} changed something: {message}");
    message
}

/// The files of a bench with their bytes.
fn everything(bench: &Bench) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(bench.path("")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Puts a transaction into the journal of an image that gives a file of one block these bytes, and
/// leaves it there.
fn leave_transaction(image: &Path, file: &str, content: &[u8]) {
    let blocks = banger_test_support::debugfs::blocks(image, file);
    let size = banger_test_support::gate::dump(image).unwrap().block_size;
    let mut block = content.to_vec();
    block.resize(usize::try_from(size).unwrap(), 0);
    let bytes = image.with_extension("block");
    fs::write(&bytes, block).unwrap();
    let commands = image.with_extension("commands");
    let write = format!("jo\njw -b {} {}\njc\n", blocks[0], bytes.display());
    fs::write(&commands, write).unwrap();
    let words = ["-w".as_ref(), "-f".as_ref(), commands.as_os_str(), image.as_os_str()];
    judge::succeed("debugfs", words);
    for path in [bytes, commands] {
        fs::remove_file(path).unwrap();
    }
}
