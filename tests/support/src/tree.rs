//! A tree as it should be, and its comparison with a tree as it was found.

use std::collections::BTreeMap;
use std::fmt;

use sha2::Digest as _;

/// Seconds since 1970 and nanoseconds.
pub type Time = (i64, u32);

/// SHA-256 of a file's content.
pub type Hash = [u8; 32];

/// Attributes by name, prefix included.
pub type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// Links that a directory may count; from here on it counts 1.
///
/// Source: `EXT4_LINK_MAX` in the kernel's fs/ext4/ext4.h, used by `ext4_inc_count`.
const LINK_MAX: u64 = 65_000;

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Hash of all of them.
        hash: Hash,
    },
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device, with its major and minor number when the reader tells them.
    CharacterDevice(Option<(u32, u32)>),
    /// A block device, likewise.
    BlockDevice(Option<(u32, u32)>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// A regular file with this content.
    #[must_use]
    pub fn file(content: &[u8]) -> Self {
        let size = u64::try_from(content.len()).expect("a length fits 64 bits");
        Self::File { size, hash: hash(content) }
    }

    fn matches(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::CharacterDevice(wanted), Self::CharacterDevice(found))
            | (Self::BlockDevice(wanted), Self::BlockDevice(found)) => {
                agree(wanted.as_ref(), found.as_ref())
            }
            _ => self == found,
        }
    }
}

/// SHA-256 of `content`.
#[must_use]
pub fn hash(content: &[u8]) -> Hash {
    sha2::Sha256::digest(content).into()
}

/// One name of the tree and what it leads to. `None` is a fact that this side does not tell, and
/// which is therefore not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// The permission bits, setuid, setgid and sticky included.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last modification.
    pub modified: Option<Time>,
    /// Every attribute.
    pub attributes: Option<Attributes>,
    /// Which names are one inode: equal numbers are, and the numbers mean nothing else.
    pub inode: Option<u64>,
    /// The link count that was found.
    pub links: Option<u64>,
}

impl Entry {
    /// An entry of root's with this kind and mode, of the time 0, without attributes.
    #[must_use]
    pub fn new(kind: Kind, mode: u16) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            modified: Some((0, 0)),
            attributes: Some(Attributes::new()),
            inode: None,
            links: None,
        }
    }

    /// The same with another owner and group.
    #[must_use]
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// The same with another time.
    #[must_use]
    pub fn modified_at(mut self, seconds: i64, nanoseconds: u32) -> Self {
        self.modified = Some((seconds, nanoseconds));
        self
    }

    /// The same with one attribute more.
    #[must_use]
    pub fn with_attribute(mut self, name: &[u8], value: &[u8]) -> Self {
        self.attributes.get_or_insert_default().insert(name.to_vec(), value.to_vec());
        self
    }
}

/// Entries by path: names joined by `/`, the root being the empty path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
    next_inode: u64,
}

impl Tree {
    /// A tree without anything, not even a root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the entry at `path`; an entry without an inode gets one of its own.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, mut entry: Entry) {
        if entry.inode.is_none() {
            self.next_inode += 1;
            entry.inode = Some(self.next_inode);
        }
        self.entries.insert(path.as_ref().to_vec(), entry);
    }

    /// Adds or replaces the entry at `path` as a reader found it: what it does not tell stays so.
    pub fn found(&mut self, path: impl AsRef<[u8]>, entry: Entry) {
        self.entries.insert(path.as_ref().to_vec(), entry);
    }

    /// Adds another name for what is at `target`.
    pub fn link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) {
        let entry = self.entries.get(target.as_ref()).expect("a link has a target").clone();
        self.entries.insert(path.as_ref().to_vec(), entry);
    }

    /// Takes away the entry at `path` and all that is below it.
    pub fn remove(&mut self, path: &[u8]) {
        let below = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        self.entries.retain(|name, _| name != path && !name.starts_with(&below));
    }

    /// The entry at `path`.
    #[must_use]
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Changes every name of the inode at `path`.
    pub fn change(&mut self, path: &[u8], change: impl Fn(&mut Entry)) {
        let inode = self.entries.get(path).expect("a path of the tree").inode;
        for entry in self.entries.values_mut().filter(|entry| entry.inode == inode) {
            change(entry);
        }
    }

    /// Changes every entry.
    pub fn change_all(&mut self, change: impl Fn(&mut Entry)) {
        self.entries.values_mut().for_each(change);
    }

    /// Every path and its entry, in the order of the bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_slice(), entry))
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The same tree, with the times of all directories unknown.
    #[must_use]
    pub fn without_directory_times(mut self) -> Self {
        for entry in self.entries.values_mut() {
            if entry.kind == Kind::Directory {
                entry.modified = None;
            }
        }
        self
    }

    /// Every difference between this tree, as it should be, and `found`, a line each.
    #[must_use]
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut report = Vec::new();
        for path in found.entries.keys().filter(|path| !self.entries.contains_key(*path)) {
            report.push(format!("/{}: should not be there", path.escape_ascii()));
        }
        let wanted_groups = self.groups();
        let found_groups = found.groups();
        for (path, wanted) in &self.entries {
            let Some(entry) = found.entries.get(path) else {
                report.push(format!("/{}: is missing", path.escape_ascii()));
                continue;
            };
            let mut add = |difference: Difference| {
                report.push(format!("/{}: {difference}", path.escape_ascii()));
            };
            compare(wanted, entry, &mut add);
            let path = path.as_slice();
            if let (Some(names), Some(found_names)) =
                (wanted_groups.get(path), found_groups.get(path))
            {
                if names.first != found_names.first {
                    let shown = |names: &Group<'_>| format!("/{}", names.first.escape_ascii());
                    let (wanted, found) = (shown(names), shown(found_names));
                    add(Difference::new("first name of the inode", &wanted, &found));
                }
                let links = self.links(path, wanted, names.names);
                if entry.links.is_some_and(|found| found != links) {
                    add(Difference::new("link count", &Some(links), &entry.links));
                }
            }
        }
        report
    }

    /// Panics with the differences, if there are any.
    pub fn assert_same(&self, found: &Self, by: &str) {
        const SHOWN: usize = 40;
        let differences = self.differences(found);
        assert!(
            differences.is_empty(),
            "{} differences as {by} sees it:\n{}",
            differences.len(),
            differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n")
        );
    }

    /// The link count that ext4 gives to `entry`, one inode with `names` names.
    fn links(&self, path: &[u8], entry: &Entry, names: u64) -> u64 {
        if entry.kind != Kind::Directory {
            return names;
        }
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let children = self
            .entries
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix))
            .filter(|(name, entry)| {
                entry.kind == Kind::Directory
                    && name.len() > prefix.len()
                    && !name.get(prefix.len()..).unwrap_or_default().contains(&b'/')
            });
        let links = 2 + u64::try_from(children.count()).expect("a count fits 64 bits");
        if links >= LINK_MAX { 1 } else { links }
    }

    /// For every path whose inode is known, the first name of that inode and how many it has.
    fn groups(&self) -> BTreeMap<&[u8], Group<'_>> {
        let mut by_inode: BTreeMap<u64, Group<'_>> = BTreeMap::new();
        for (path, inode) in self.inodes() {
            by_inode.entry(inode).or_insert(Group { first: path, names: 0 }).names += 1;
        }
        let group = |inode| by_inode.get(&inode).copied();
        self.inodes().filter_map(|(path, inode)| Some((path, group(inode)?))).collect()
    }

    fn inodes(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.iter().filter_map(|(path, entry)| Some((path, entry.inode?)))
    }
}

/// The names of one inode.
#[derive(Clone, Copy)]
struct Group<'a> {
    first: &'a [u8],
    names: u64,
}

/// Whether two facts agree, where both sides tell them.
fn agree<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
    match (wanted, found) {
        (Some(wanted), Some(found)) => wanted == found,
        _ => true,
    }
}

fn compare(wanted: &Entry, found: &Entry, report: &mut impl FnMut(Difference)) {
    if !wanted.kind.matches(&found.kind) {
        report(Difference::new("kind", &wanted.kind, &found.kind));
    }
    if wanted.mode != found.mode {
        report(Difference {
            fact: "mode",
            wanted: format!("{:04o}", wanted.mode),
            found: format!("{:04o}", found.mode),
        });
    }
    if (wanted.uid, wanted.gid) != (found.uid, found.gid) {
        let (wanted, found) = ((wanted.uid, wanted.gid), (found.uid, found.gid));
        report(Difference::new("owner", &wanted, &found));
    }
    if !agree(wanted.modified.as_ref(), found.modified.as_ref()) {
        report(Difference::new("time", &wanted.modified, &found.modified));
    }
    if !agree(wanted.attributes.as_ref(), found.attributes.as_ref()) {
        let shown = |attributes: &Option<Attributes>| {
            let pairs = attributes.iter().flatten();
            pairs
                .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (wanted, found) = (shown(&wanted.attributes), shown(&found.attributes));
        report(Difference::new("attributes", &wanted, &found));
    }
}

struct Difference {
    fact: &'static str,
    wanted: String,
    found: String,
}

impl Difference {
    fn new<T: fmt::Debug>(fact: &'static str, wanted: &T, found: &T) -> Self {
        Self { fact, wanted: format!("{wanted:?}"), found: format!("{found:?}") }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.fact, self.wanted, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Tree {
        let mut tree = Tree::new();
        tree.insert("", Entry::new(Kind::Directory, 0o755));
        tree.insert("a", Entry::new(Kind::file(b"text"), 0o4755).owned_by(1, 2));
        tree.insert("d", Entry::new(Kind::Directory, 0o1777).with_attribute(b"user.x", b"1"));
        tree.insert("d/n", Entry::new(Kind::CharacterDevice(Some((1, 3))), 0o666));
        tree.link("d/b", "a");
        tree
    }

    #[test]
    fn a_tree_has_no_difference_from_itself() {
        assert_eq!(example().differences(&example()), Vec::<String>::new());
    }

    #[test]
    fn every_fact_that_differs_is_reported() {
        let changes: [fn(&mut Entry); 8] = [
            |entry| entry.kind = Kind::file(b"Text"),
            |entry| entry.mode = 0o755,
            |entry| entry.uid = 9,
            |entry| entry.gid = 9,
            |entry| entry.modified = Some((0, 1)),
            |entry| entry.attributes = Some([(b"user.y".to_vec(), Vec::new())].into()),
            |entry| entry.inode = Some(99),
            |entry| entry.links = Some(1),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut found = example();
            change(found.entries.get_mut(b"a".as_slice()).unwrap());
            assert!(!example().differences(&found).is_empty(), "change {number} is not seen");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_extra_are_reported() {
        let mut found = example();
        found.remove(b"d/n");
        found.insert("e", Entry::new(Kind::Fifo, 0o600));
        assert_eq!(example().differences(&found), ["/e: should not be there", "/d/n: is missing"]);
    }

    #[test]
    fn a_device_number_is_compared_where_it_is_known() {
        let mut found = example();
        found.change(b"d/n", |entry| entry.kind = Kind::CharacterDevice(None));
        assert!(example().differences(&found).is_empty());
        found.change(b"d/n", |entry| entry.kind = Kind::CharacterDevice(Some((1, 5))));
        assert_eq!(example().differences(&found).len(), 1);
    }
}
