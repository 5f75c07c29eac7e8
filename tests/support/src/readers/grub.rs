//! GRUB's own reader of ext4, through `grub-fstest`: the names of directories, and the contents of
//! all files beside those that the kernel shows.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use rustix::fs::SeekFrom;

use super::{Account, with_attributes};
use crate::gate;
use crate::judge;
use crate::mount::{Access, Mount};
use crate::tree::{Entry, Kind, Tree};

/// Each directory costs a run.
const DIRECTORIES: usize = 40;
/// The features with which GRUB 2.06 does not take the image for ext4.
///
/// Source: grub, `grub-core/fs/ext2.c`, `EXT2_DRIVER_SUPPORTED_INCOMPAT`; Debian adds
/// `metadata_csum_seed` and `large_dir`.
const REFUSED: [&str; 2] = ["inline_data", "ea_inode"];

pub(super) fn ask(image: &Path, expected: &Tree) -> Account {
    let mut account = Account::default();
    let report = gate::dump(image).unwrap_or_else(|error| panic!("{error}"));
    if REFUSED.iter().any(|feature| report.has(feature)) {
        account.limit("images not opened that have inline_data or ea_inode", 1);
        return account;
    }
    let directories: Vec<&[u8]> = expected
        .iter()
        .filter(|(_, entry)| entry.kind == Kind::Directory)
        .map(|(path, _)| path)
        .collect();
    let step = directories.len().div_ceil(DIRECTORIES).max(1);
    for path in directories.iter().step_by(step) {
        account.names += list(image, expected, path);
    }
    account.limit("directories not listed", directories.len() - directories.len().div_ceil(step));
    let left_out = compare_contents(image, expected);
    account.limit("contents not read that begin with a hole", left_out);
    account.limit("names whose attributes are not told", with_attributes(expected));
    account.limit("names of which the kind and content alone are told", expected.len());
    account
}

/// Runs grub-fstest, which has to succeed without a word of complaint.
fn run(image: &Path, command: &str, arguments: &[&OsStr]) -> Vec<u8> {
    let program = judge::find("grub-fstest").expect("grub-fstest is installed");
    let output = Command::new(program)
        .arg(image)
        .arg(command)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("grub-fstest can be run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "grub-fstest {command}: {}\n{said}",
        output.status
    );
    output.stdout
}

/// Panics unless the directory has the names that it should have; returns how many.
///
/// A name is followed by a space, that of a directory by a slash before it. As names may have
/// spaces, all that is printed must be used up by the names that there should be.
fn list(image: &Path, expected: &Tree, path: &[u8]) -> usize {
    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
    let place = [b"(loop0)/", path, slash].concat();
    let output = run(image, "ls", &["--".as_ref(), "-a".as_ref(), OsStr::from_bytes(&place)]);
    let mut shown = output.strip_suffix(b"\n").unwrap_or(&output).to_vec();
    let mut children: Vec<Vec<u8>> = children(expected, path)
        .map(|(child, entry)| {
            let name = child.get(path.len() + slash.len()..).unwrap_or_default();
            let end: &[u8] = if entry.kind == Kind::Directory { b"/ " } else { b" " };
            [name, end].concat()
        })
        .collect();
    let count = children.len();
    children.extend([b"./ ".to_vec(), b"../ ".to_vec()]);
    // The longest first: a name may end as a shorter one does.
    children.sort_by_key(|child| std::cmp::Reverse(child.len()));
    for child in children {
        let place = shown.windows(child.len()).position(|window| window == child);
        let Some(place) = place else {
            panic!("/{}: GRUB does not list \"{}\"", path.escape_ascii(), child.escape_ascii())
        };
        shown.drain(place..place + child.len());
    }
    assert!(
        shown.is_empty(),
        "/{}: GRUB lists \"{}\" too",
        path.escape_ascii(),
        shown.escape_ascii()
    );
    count
}

/// Has GRUB compare the contents of regular files with those that the kernel shows. It walks
/// through directories itself, but stops at what it cannot read. Returns the names left out.
fn compare_contents(image: &Path, expected: &Tree) -> usize {
    let Some(mount) = Mount::new(image, Access::ReadOnly) else { return 0 };
    let unreadable: Vec<&[u8]> = expected
        .iter()
        .filter(|(_, entry)| matches!(entry.kind, Kind::File { size, .. } if size > 0))
        .map(|(path, _)| path)
        .filter(|path| begins_with_a_hole(&mount.path().join(OsStr::from_bytes(path))))
        .collect();
    let is_below = |path: &[u8], directory: &[u8]| {
        directory.is_empty()
            || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
    };
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        if unreadable.contains(&path.as_slice()) {
            continue;
        }
        if unreadable.iter().any(|unreadable| is_below(unreadable, &path)) {
            pending.extend(children(expected, &path).map(|(child, _)| child));
            continue;
        }
        let entry = expected.get(&path).expect("a path of the tree");
        if matches!(entry.kind, Kind::File { .. } | Kind::Directory) {
            let theirs = [b"(loop0)/", path.as_slice()].concat();
            let ours = mount.path().join(OsStr::from_bytes(&path));
            run(image, "cmp", &[OsStr::from_bytes(&theirs), ours.as_os_str()]);
        }
    }
    let left_out = unreadable.len();
    mount.close();
    left_out
}

/// Whether the first block of a file is no data.
///
/// GRUB 2.06 then reports "something wrong with extent".
fn begins_with_a_hole(path: &Path) -> bool {
    let file = File::open(path).expect("a file of the mounted image");
    rustix::fs::seek(&file, SeekFrom::Data(0)) != Ok(0)
}

/// The entries of a directory, by their whole path.
fn children<'a>(tree: &'a Tree, directory: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, &'a Entry)> {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    let prefix = [directory, slash].concat();
    tree.iter().filter_map(move |(path, entry)| {
        let name = path.strip_prefix(prefix.as_slice())?;
        (!name.is_empty() && !name.contains(&b'/')).then(|| (path.to_vec(), entry))
    })
}
