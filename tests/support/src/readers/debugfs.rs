//! debugfs as a reader: what it lists, what it says of every inode, and what it dumps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{Account, Shown, cut, untold, with_attributes};
use crate::judge;
use crate::tree::{Entry, Kind, Time, Tree, hash};

const ROOT: u64 = 2;

pub(super) fn ask(image: &Path, expected: &Tree) -> Account {
    let work = tempfile::tempdir().expect("a directory for what debugfs dumps");
    let session = Session { image, work: work.path() };
    let names = session.names();
    let mut inodes: Vec<u64> = names.values().copied().collect();
    inodes.sort_unstable();
    inodes.dedup();
    let stats = session.stats(&inodes);
    session.dump(&stats);
    let mut found = Tree::new();
    for (path, inode) in names {
        let stat = stats.get(&inode).expect("debugfs knows every inode that it lists");
        let dumped = work.path().join(inode.to_string());
        let mut entry = stat.entry(&dumped, expected, &path);
        entry.inode = Some(inode);
        found.found(path, entry);
    }
    let mut account = Shown::new(expected, |byte| byte).compare(found, "debugfs");
    account.limit("names whose attributes are not told", with_attributes(expected));
    account
}

struct Session<'a> {
    image: &'a Path,
    work: &'a Path,
}

impl Session<'_> {
    /// What debugfs prints for these commands, in one run.
    fn run(&self, commands: &str) -> Vec<u8> {
        let file = self.work.join("commands");
        fs::write(&file, commands).expect("commands can be written");
        judge::bytes("debugfs", ["-f".as_ref(), file.as_os_str(), self.image.as_os_str()])
    }

    /// Every path and its inode, directory by directory.
    fn names(&self) -> BTreeMap<Vec<u8>, u64> {
        let mut names = BTreeMap::from([(Vec::new(), ROOT)]);
        let mut level: BTreeMap<u64, Vec<u8>> = BTreeMap::from([(ROOT, Vec::new())]);
        while !level.is_empty() {
            let lines = level.keys().map(|inode| format!("ls -p <{inode}>\n"));
            let output = self.run(&lines.collect::<String>());
            let mut next = BTreeMap::new();
            let mut directory: &[u8] = b"";
            for line in listed(&output) {
                if line.name == b"." {
                    directory = level.get(&line.inode).expect("a directory that was asked for");
                } else if line.name != b".." {
                    let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
                    let path = [directory, separator, line.name].concat();
                    if line.is_directory {
                        next.insert(line.inode, path.clone());
                    }
                    names.insert(path, line.inode);
                }
            }
            level = next;
        }
        names
    }

    fn stats(&self, inodes: &[u64]) -> BTreeMap<u64, Stat> {
        let lines = inodes.iter().map(|inode| format!("stat <{inode}>\n"));
        let output = self.run(&lines.collect::<String>());
        // A character for every byte: the targets of links need not be UTF-8.
        let text: String = output.iter().copied().map(char::from).collect();
        let mut stats = BTreeMap::new();
        // What the commands print comes in their order; the commands themselves come later.
        let mut rest = text.as_str();
        for (number, inode) in inodes.iter().enumerate() {
            let start = |inode: u64| format!("Inode: {inode} ");
            (_, rest) = rest.split_once(&start(*inode)).expect("debugfs tells of every inode");
            let end = inodes.get(number + 1).and_then(|next| rest.find(&start(*next)));
            stats
                .insert(*inode, Stat::parse(rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest)));
        }
        stats
    }

    /// Brings what is in blocks, or inline, into files of the inode's number.
    fn dump(&self, stats: &BTreeMap<u64, Stat>) {
        let stored = |stat: &Stat| {
            stat.kind == "regular" || (stat.kind == "symlink" && stat.target.is_none())
        };
        let lines = stats.iter().filter(|(_, stat)| stored(stat)).map(|(inode, _)| {
            format!("dump <{inode}> {}\n", self.work.join(inode.to_string()).display())
        });
        self.run(&lines.collect::<String>());
    }
}

/// A line of `ls -p`: `/INODE/MODE/UID/GID/NAME/SIZE/`; a directory has no size.
struct Line<'a> {
    inode: u64,
    is_directory: bool,
    name: &'a [u8],
}

/// Names have no slash, so slashes alone tell the fields apart, line feeds in names or not.
fn listed(output: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let fields: Vec<&[u8]> = output.split(|byte| *byte == b'/').skip(1).collect();
    let lines: Vec<_> = fields
        .chunks_exact(7)
        .map(|fields| {
            let [inode, mode, _uid, _gid, name, ..] = *fields else { panic!("seven fields") };
            let number = |text, radix| {
                let text = std::str::from_utf8(text).expect("digits");
                u64::from_str_radix(text, radix).unwrap_or_else(|_| panic!("a number: {text}"))
            };
            let is_directory = number(mode, 8) & 0o170_000 == 0o40_000;
            Line { inode: number(inode, 10), is_directory, name }
        })
        // The tail of a block with its checksum is an entry of no inode.
        .filter(|line| line.inode != 0)
        .collect();
    lines.into_iter()
}

/// What `stat` prints.
struct Stat {
    kind: String,
    mode: u16,
    owner: (u32, u32),
    size: u64,
    links: u64,
    modified: Time,
    /// Major and minor number.
    device: Option<(u32, u32)>,
    /// The target of a link that is in its inode.
    target: Option<Vec<u8>>,
}

impl Stat {
    fn parse(text: &str) -> Self {
        let after = |label: &str| text.split_once(label).map(|(_, rest)| rest);
        let word = |label: &str| -> &str {
            let rest = after(label).unwrap_or_else(|| panic!("stat prints \"{label}\": {text}"));
            rest.split_whitespace().next().unwrap_or_default()
        };
        let number = |label: &str| -> i64 {
            word(label).parse().unwrap_or_else(|_| panic!("a number behind \"{label}\": {text}"))
        };
        // Owners are printed as signed numbers.
        let owner =
            |label: &str| u32::try_from(number(label) & 0xffff_ffff).expect("an owner has 32 bits");
        let size = u64::try_from(number("Size:")).expect("a size");
        let target = after("Fast link dest: \"").map(|rest| {
            let length = usize::try_from(size).expect("a short target");
            rest.chars().take(length).map(|c| u8::try_from(c).expect("a byte")).collect()
        });
        let (kind, _) = after("Type:").and_then(|rest| rest.split_once(" Mode:")).expect("a type");
        Self {
            kind: kind.trim().to_owned(),
            mode: u16::from_str_radix(word("Mode:"), 8).expect("an octal mode"),
            owner: (owner("User:"), owner("Group:")),
            size,
            links: u64::try_from(number("Links:")).expect("a link count"),
            modified: parse_time(word("mtime:")),
            device: after("Device major/minor number: ").map(parse_device),
            target,
        }
    }

    fn entry(&self, dumped: &Path, expected: &Tree, path: &[u8]) -> Entry {
        let mut entry = untold(expected, path, self.kind(dumped));
        entry.mode = self.mode;
        (entry.uid, entry.gid) = self.owner;
        entry.modified = Some(self.modified);
        entry.links = Some(self.links);
        entry
    }

    fn kind(&self, dumped: &Path) -> Kind {
        match (self.kind.as_str(), &self.target) {
            ("directory", _) => Kind::Directory,
            ("regular", _) => {
                let shown = fs::read(dumped).expect("debugfs dumps files");
                Kind::File { size: self.size, hash: hash(&cut(shown, self.size)) }
            }
            ("symlink", Some(target)) => Kind::Symlink(target.clone()),
            ("symlink", None) => {
                let shown = fs::read(dumped).expect("debugfs dumps links");
                Kind::Symlink(cut(shown, self.size))
            }
            ("character special", _) => Kind::CharacterDevice(self.device),
            ("block special", _) => Kind::BlockDevice(self.device),
            ("FIFO", _) => Kind::Fifo,
            ("socket", _) => Kind::Socket,
            (other, _) => panic!("debugfs calls an inode \"{other}\""),
        }
    }
}

/// `0xLLLLLLLL` or, in inodes of more than 128 bytes, `0xLLLLLLLL:EEEEEEEE`.
///
/// Source: kernel, `Documentation/filesystems/ext4/inodes.rst`, "Inode Timestamps": the lower two
/// bits of the extra word are added to the seconds as bits 32 and 33, the others are nanoseconds.
fn parse_time(text: &str) -> Time {
    let hexadecimal = |text: &str| u32::from_str_radix(text, 16).expect("hexadecimal digits");
    let digits = text.trim_start_matches("0x");
    let (low, extra) = digits.split_once(':').unwrap_or((digits, "0"));
    let (low, extra) = (hexadecimal(low), hexadecimal(extra));
    (i64::from(low.cast_signed()) + (i64::from(extra & 3) << 32), extra >> 2)
}

/// `01:03 (hex 01:03)`.
fn parse_device(text: &str) -> (u32, u32) {
    let numbers = text.split_whitespace().next().and_then(|word| word.split_once(':'));
    let (major, minor) = numbers.expect("two numbers");
    let number = |text: &str| text.parse().expect("a device number");
    (number(major), number(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_reach_from_1901_to_2446() {
        assert_eq!(parse_time("0x80000000"), (-0x8000_0000, 0));
        assert_eq!(parse_time("0x80000000:00000000"), (-0x8000_0000, 0));
        assert_eq!(parse_time("0x80000000:00000001"), (0x8000_0000, 0));
        assert_eq!(parse_time("0x7fffffff:ee6b27ff"), (0x3_7fff_ffff, 999_999_999));
    }
}
