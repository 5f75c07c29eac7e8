//! The Sleuth Kit, whose reader of ext4 is its own: `fls` for all names and what it says of their
//! inodes, `icat` for some contents.

use std::path::Path;

use super::{Account, Shown, cut, parse_permissions, untold, with_attributes};
use crate::gate;
use crate::judge;
use crate::tree::{Entry, Kind, Time, Tree, hash};

/// Each content costs a run of `icat`, which takes as long as a small image.
const CONTENTS: usize = 12;
/// The targets below this length are in the inode, and shown beside the name; of all others it
/// shows nothing but the length.
const IN_INODE: u64 = 60;
/// A directory that it makes up.
const ORPHANS: &[u8] = b"$OrphanFiles";

pub(super) fn ask(image: &Path, expected: &Tree) -> Account {
    let mut account = Account::default();
    // Version 4.11 makes up names in directories that are in their inodes.
    if gate::dump(image).is_ok_and(|report| report.has("inline_data")) {
        account.limit("images not asked for whose directories may be in inodes (inline_data)", 1);
        return account;
    }
    let shown = Shown::new(expected, show);
    // Without -u it takes the entries of an index for names that were deleted.
    let arguments = ["-u", "-r", "-p", "-m", "/", "-f", "ext4"].map(AsRef::as_ref);
    let listing = judge::bytes("fls", arguments.into_iter().chain([image.as_os_str()]));
    let lines: Vec<Line> = listing
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .filter_map(Line::parse)
        .filter(|line| line.path != ORPHANS)
        .collect();
    let files = lines.iter().filter(|line| line.has_content()).count();
    let step = files.div_ceil(CONTENTS).max(1);
    let mut found = Tree::new();
    let (mut number, mut read, mut short_times) = (0, 0, 0);
    for line in lines {
        let asked = line.has_content() && {
            number += 1;
            number % step == 0
        };
        read += usize::from(asked);
        let wanted = shown.tree.get(&line.path).and_then(|entry| entry.modified);
        short_times += usize::from(wanted != Some((i64::from(line.modified), 0)));
        let entry = line.entry(asked.then_some(image), &shown.tree);
        found.found(line.path, entry);
    }
    if let Some(root) = shown.tree.get(b"") {
        found.found(b"", untold(&shown.tree, b"", root.kind.clone()));
        account.limit("roots not shown", 1);
    }
    account.limit("contents not cut out", files - read);
    account.limit("times compared in their lower 32 bits", short_times);
    account.limit("names whose attributes are not told", with_attributes(expected));
    let compared = shown.compare(found, "sleuthkit");
    account.names = compared.names;
    compared.limits.iter().for_each(|(limit, count)| account.limit(limit, *count));
    account
}

/// Control characters are shown by a sign of their own.
fn show(byte: u8) -> u8 {
    if byte < b' ' { b'^' } else { byte }
}

/// A line of the body file: `MD5|NAME|INODE|MODE|UID|GID|SIZE|ATIME|MTIME|CTIME|CRTIME`. Names
/// may have bars too.
struct Line {
    path: Vec<u8>,
    /// The kind in the inode, not that in the directory: `r`, `d`, `l`, `c`, `b`, `p` or `h`.
    letter: u8,
    inode: u64,
    mode: u16,
    owner: (u32, u32),
    size: u64,
    /// The lower 32 bits of the seconds.
    modified: u32,
    /// That of a link which is in its inode.
    target: Option<Vec<u8>>,
}

impl Line {
    /// `None` for what it takes for an entry in the nodes of an index: the kind in the directory
    /// is none, which no entry of an image with `filetype` says.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields: Vec<&[u8]> = line.rsplitn(10, |byte| *byte == b'|').collect();
        fields.reverse();
        let [head, inode, mode, uid, gid, size, _accessed, modified, ..] = *fields.as_slice()
        else {
            panic!("eleven fields: {}", line.escape_ascii());
        };
        let number = |field: &[u8]| -> u64 {
            let text = std::str::from_utf8(field).expect("digits");
            text.parse().unwrap_or_else(|_| panic!("a number: {}", line.escape_ascii()))
        };
        let word = |field| u32::try_from(number(field)).expect("a number of 32 bits");
        // "r/rrw-r--r--": the kind in the directory, the kind in the inode, the permissions.
        let [in_directory, b'/', letter, permissions @ ..] = mode else {
            panic!("a mode: {}", line.escape_ascii());
        };
        if *in_directory == b'-' {
            return None;
        }
        assert_eq!(
            kind_of(*in_directory),
            kind_of(*letter),
            "directory and inode agree: {}",
            line.escape_ascii()
        );
        let name = head.strip_prefix(b"0|/").expect("no hash, then an absolute path");
        let size = number(size);
        let (path, target) = if *letter == b'l' && size < IN_INODE {
            // "NAME -> TARGET"; the target has `size` bytes.
            let target = name.len() - usize::try_from(size).expect("a short target");
            let (name, target) = name.split_at(target);
            (name.strip_suffix(b" -> ").expect("a link has a target"), Some(target))
        } else {
            (name, None)
        };
        Some(Self {
            path: path.to_vec(),
            letter: *letter,
            inode: number(inode),
            mode: parse_permissions(permissions).expect("fls shows permissions"),
            owner: (word(uid), word(gid)),
            size,
            modified: word(modified),
            target: target.map(<[u8]>::to_vec),
        })
    }

    /// Whether there is something for `icat` to read.
    fn has_content(&self) -> bool {
        self.letter == b'r' || (self.letter == b'l' && self.target.is_none())
    }

    /// The content is read from the image that is given; without one it counts as told.
    fn entry(&self, image: Option<&Path>, expected: &Tree) -> Entry {
        let wanted = expected.get(&self.path);
        let kind = match self.letter {
            b'd' => Kind::Directory,
            b'l' => match (&self.target, image, wanted.map(|entry| &entry.kind)) {
                (Some(target), ..) => Kind::Symlink(target.clone()),
                (None, Some(image), _) => {
                    Kind::Symlink(self.content(image).into_iter().map(show).collect())
                }
                (None, None, Some(Kind::Symlink(told)))
                    if u64::try_from(told.len()) == Ok(self.size) =>
                {
                    Kind::Symlink(told.clone())
                }
                _ => Kind::Symlink(Vec::new()),
            },
            b'c' => Kind::CharacterDevice(None),
            b'b' => Kind::BlockDevice(None),
            b'p' => Kind::Fifo,
            b'h' => Kind::Socket,
            _ => {
                let told = match wanted.map(|entry| &entry.kind) {
                    Some(Kind::File { hash, .. }) => *hash,
                    _ => hash(b""),
                };
                let hash = image.map_or(told, |image| hash(&self.content(image)));
                Kind::File { size: self.size, hash }
            }
        };
        let mut entry = untold(expected, &self.path, kind);
        entry.mode = self.mode;
        (entry.uid, entry.gid) = self.owner;
        entry.modified = Some(self.time(wanted.and_then(|entry| entry.modified)));
        entry.inode = Some(self.inode);
        entry
    }

    fn content(&self, image: &Path) -> Vec<u8> {
        let inode = self.inode.to_string();
        let arguments = ["-f", "ext4"].map(AsRef::as_ref).into_iter();
        cut(judge::bytes("icat", arguments.chain([image.as_os_str(), inode.as_ref()])), self.size)
    }

    /// The time that should be there, if its lower 32 bits are those that were found.
    fn time(&self, wanted: Option<Time>) -> Time {
        match wanted {
            Some((seconds, nanoseconds)) if seconds & 0xffff_ffff == i64::from(self.modified) => {
                (seconds, nanoseconds)
            }
            _ => (i64::from(self.modified), 0),
        }
    }
}

/// A socket is `s` in a directory and `h` in an inode.
fn kind_of(letter: u8) -> u8 {
    if letter == b'h' { b's' } else { letter }
}
