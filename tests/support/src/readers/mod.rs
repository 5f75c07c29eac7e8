//! Readers that were written by others and are slower or tell less than the kernel and ext4-view:
//! debugfs, 7z, The Sleuth Kit and GRUB. Each is asked for everything that it tells, and what it
//! cannot tell is named and counted.

mod debugfs;
mod grub;
mod seven_zip;
mod sleuthkit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::judge;
use crate::tree::{Attributes, Entry, Kind, Tree};

/// How many names a reader was asked for, and what it could not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The names that were compared.
    pub names: usize,
    /// What was not compared, or less than fully, and how often.
    pub limits: BTreeMap<&'static str, usize>,
}

impl Account {
    /// Counts what a reader cannot tell.
    pub fn limit(&mut self, limit: &'static str, count: usize) {
        if count > 0 {
            *self.limits.entry(limit).or_default() += count;
        }
    }
}

/// The accounts of many images, by reader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, Account>);

impl Tally {
    /// Adds what a reader had to say of one image.
    pub fn add(&mut self, reader: &'static str, account: &Account) {
        let total = self.0.entry(reader).or_default();
        total.names += account.names;
        for (limit, count) in &account.limits {
            total.limit(limit, *count);
        }
    }

    /// Adds all that another tally counted.
    pub fn merge(&mut self, other: &Self) {
        for (reader, account) in &other.0 {
            self.add(reader, account);
        }
    }

    /// The account of a reader over all images.
    #[must_use]
    pub fn of(&self, reader: &str) -> Account {
        self.0.get(reader).cloned().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reader, account) in &self.0 {
            write!(f, "{reader}: {} names compared", account.names)?;
            for (limit, count) in &account.limits {
                write!(f, "; {count} {limit}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The names of the readers, as [`ask_all`] counts them.
pub const READERS: [&str; 4] = ["debugfs", "7z", "sleuthkit", "grub"];

/// Panics unless every reader that is here sees in `image` what `expected` says; the policy of
/// [`judge::missing`] applies to each that is not.
pub fn ask_all(image: &Path, expected: &Tree, tally: &mut Tally) {
    type Ask = fn(&Path, &Tree) -> Option<Account>;
    let asks: [Ask; 4] = [ask_debugfs, ask_seven_zip, ask_sleuthkit, ask_grub];
    for (reader, ask) in READERS.into_iter().zip(asks) {
        if let Some(account) = ask(image, expected) {
            tally.add(reader, &account);
        }
    }
}

/// Asks debugfs, of libext2fs as mke2fs is, for every fact but attributes.
#[must_use]
pub fn ask_debugfs(image: &Path, expected: &Tree) -> Option<Account> {
    judge::all(&["debugfs"]).then(|| debugfs::ask(image, expected))
}

/// Asks 7z for every fact but attributes and device numbers.
#[must_use]
pub fn ask_seven_zip(image: &Path, expected: &Tree) -> Option<Account> {
    judge::all(&["7z", "dumpe2fs"]).then(|| seven_zip::ask(image, expected))
}

/// Asks The Sleuth Kit for names, modes, owners, sizes, link targets and the lower 32 bits of
/// times, and for the contents of some files.
#[must_use]
pub fn ask_sleuthkit(image: &Path, expected: &Tree) -> Option<Account> {
    judge::all(&["fls", "icat", "dumpe2fs"]).then(|| sleuthkit::ask(image, expected))
}

/// Asks GRUB for the names of directories and the contents of all files.
#[must_use]
pub fn ask_grub(image: &Path, expected: &Tree) -> Option<Account> {
    (judge::all(&["grub-fstest", "dumpe2fs"]) && judge::kernel())
        .then(|| grub::ask(image, expected))
}

/// A tree as a reader shows it that has a sign of its own for some bytes.
struct Shown {
    tree: Tree,
    /// Paths that look alike, which are left out with all that is below them.
    alike: BTreeSet<Vec<u8>>,
}

impl Shown {
    fn new(expected: &Tree, show: impl Fn(u8) -> u8) -> Self {
        let shown = |bytes: &[u8]| bytes.iter().map(|byte| show(*byte)).collect::<Vec<u8>>();
        let mut tree = Tree::new();
        let mut alike = BTreeSet::new();
        for (path, entry) in expected.iter() {
            let path = shown(path);
            if tree.get(&path).is_some() {
                alike.insert(path.clone());
            }
            let mut entry = entry.clone();
            if let Kind::Symlink(target) = &mut entry.kind {
                *target = shown(target);
            }
            tree.found(path, entry);
        }
        for path in &alike {
            tree.remove(path);
        }
        Self { tree, alike }
    }

    /// Compares with what the reader `by` found, and accounts for it.
    fn compare(&self, mut found: Tree, by: &str) -> Account {
        let before = found.len();
        for path in &self.alike {
            found.remove(path);
        }
        if !self.alike.is_empty() {
            // Some names of an inode may be among those.
            found.change_all(|entry| (entry.links, entry.inode) = (None, None));
        }
        self.tree.assert_same(&found, by);
        let mut account = Account { names: found.len(), ..Account::default() };
        account.limit("names left out that look alike", before - found.len());
        account
    }
}

/// What a reader that tells the kind alone found at `path`: all else is as it should be.
fn untold(expected: &Tree, path: &[u8], kind: Kind) -> Entry {
    let mut entry = expected.get(path).cloned().unwrap_or_else(|| Entry::new(kind.clone(), 0));
    entry.kind = kind;
    (entry.attributes, entry.inode, entry.links) = (None, None, None);
    entry
}

/// The content of a file of `size` bytes from a reader that shows, of one that is in its inode,
/// the zeros behind it too.
fn cut(mut shown: Vec<u8>, size: u64) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let behind = shown.get(size..).unwrap_or_default();
    if behind.iter().all(|byte| *byte == 0) {
        shown.truncate(size);
    }
    shown
}

/// How many names have attributes, which the readers here do not tell.
fn with_attributes(tree: &Tree) -> usize {
    let has_some = |attributes: &Attributes| !attributes.is_empty();
    tree.iter().filter(|(_, entry)| entry.attributes.as_ref().is_some_and(has_some)).count()
}

/// The permissions that `rwxr-sr-t` means; `None` for anything else.
fn parse_permissions(text: &[u8]) -> Option<u16> {
    let text: &[u8; 9] = text.try_into().ok()?;
    let mut mode = 0;
    for (triple, special) in text.chunks_exact(3).zip([0o4000, 0o2000, 0o1000]) {
        let [read, write, execute] = *triple else { return None };
        let (may_execute, is_special) = match execute {
            b'x' => (1, 0),
            b's' | b't' => (1, special),
            b'S' | b'T' => (0, special),
            b'-' => (0, 0),
            _ => return None,
        };
        let bits = u16::from(read == b'r') << 2 | u16::from(write == b'w') << 1 | may_execute;
        mode = (mode & 0o7000) | (mode & 0o777) << 3 | bits | is_special;
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_as_ls_writes_them() {
        let read = |text: &str| parse_permissions(text.as_bytes());
        assert_eq!(read("rwxr-x--x"), Some(0o751));
        assert_eq!(read("rwSr-sr-T"), Some(0o7654));
        assert_eq!(read("---------"), Some(0));
        assert_eq!(read("--------t"), Some(0o1001));
        assert_eq!(read("rwxrwxrw"), None);
        assert_eq!(read("rwxrwxrw?"), None);
    }

    #[test]
    fn names_that_look_alike_are_left_out_and_counted() {
        let mut tree = Tree::new();
        for name in ["a\nb", "a_b", "c"] {
            tree.insert(name, Entry::new(Kind::Fifo, 0o600));
        }
        let shown = Shown::new(&tree, |byte| if byte == b'\n' { b'_' } else { byte });
        assert_eq!(shown.tree.len(), 1);
        let mut found = Tree::new();
        for name in ["a_b", "c"] {
            found.insert(name, Entry::new(Kind::Fifo, 0o600));
        }
        let account = shown.compare(found, "a reader");
        assert_eq!((account.names, account.limits.len()), (1, 1));
    }
}
