//! What is found, with its place, and the list that collects it.

use std::fmt::{self, Write as _};

use crate::check::kinds::{Judge, Kind};

/// Where something is wrong, as far as it can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The inode.
    pub inode: Option<u32>,
    /// The group.
    pub group: Option<u32>,
    /// The block of the file or directory, from 0.
    pub file_block: Option<u64>,
    /// The block of the filesystem.
    pub block: Option<u64>,
    /// The field, by the kernel's name.
    pub field: Option<&'static str>,
    /// A name in the directory that the inode is.
    pub name: Option<Vec<u8>>,
    /// A path that leads to the inode, if there is one.
    pub path: Option<Vec<u8>>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// Where.
    pub place: Location,
    /// What is there; empty where the kind says it all.
    pub found: String,
    /// What should be there; empty where the kind says it all.
    pub expected: String,
}

impl Finding {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, place: Location::default(), found: String::new(), expected: String::new() }
    }

    pub(super) fn inode(mut self, inode: u32) -> Self {
        self.place.inode = Some(inode);
        self
    }

    pub(super) fn group(mut self, group: u32) -> Self {
        self.place.group = Some(group);
        self
    }

    pub(super) fn block(mut self, block: u64) -> Self {
        self.place.block = Some(block);
        self
    }

    pub(super) fn file_block(mut self, block: u64) -> Self {
        self.place.file_block = Some(block);
        self
    }

    pub(super) fn field(mut self, field: &'static str) -> Self {
        self.place.field = Some(field);
        self
    }

    pub(super) fn name(mut self, name: &[u8]) -> Self {
        self.place.name = Some(name.to_vec());
        self
    }

    pub(super) fn found(mut self, found: impl fmt::Display) -> Self {
        self.found = found.to_string();
        self
    }

    pub(super) fn expected(mut self, expected: impl fmt::Display) -> Self {
        self.expected = expected.to_string();
        self
    }

    /// The order in which findings are told: damage first, then as e2fsck's passes would meet them.
    fn rank(&self) -> impl Ord + use<'_> {
        let pass = self.kind.description().pass;
        let place = &self.place;
        let by_place = (1..5).contains(&pass);
        let first = if by_place { place.inode.map_or(0, u64::from) } else { 0 };
        let weight =
            (!self.kind.is_damage(Judge::E2fsck), !self.kind.is_damage(Judge::Kernel), pass);
        (weight, first, self.kind, place, &self.found)
    }

    /// What is wrong, without the path: a sentence with the place and the numbers.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = String::new();
        let mut add = |what: &str, number: Option<u64>| {
            if let Some(number) = number {
                let comma = if text.is_empty() { "" } else { ", " };
                // Writing to a String cannot fail.
                let _ = write!(text, "{comma}{what} {number}");
            }
        };
        let place = &self.place;
        add("inode", place.inode.map(u64::from));
        add("group", place.group.map(u64::from));
        add("block of the file", place.file_block);
        add("block", place.block);
        if let Some(name) = &place.name {
            let _ = write!(text, ", name \"{}\"", name.escape_ascii());
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(self.kind.description().meaning);
        let field = self.place.field.map(|field| format!("{field} ")).unwrap_or_default();
        match (self.found.is_empty(), self.expected.is_empty()) {
            (false, false) => {
                let _ = write!(text, ": {field}{}, expected {}", self.found, self.expected);
            }
            (false, true) => {
                let _ = write!(text, ": {field}{}", self.found);
            }
            (true, false) => {
                let _ = write!(text, ": {field}expected {}", self.expected);
            }
            (true, true) if !field.is_empty() => {
                let _ = write!(text, ": {}", field.trim_end());
            }
            (true, true) => {}
        }
        text
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind.id())?;
        if let Some(path) = &self.place.path {
            write!(f, "{}: ", path.escape_ascii())?;
        }
        f.write_str(&self.message())
    }
}

/// The findings of one part of the work; beyond a bound they are counted only.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    counts: Counts,
}

/// How many findings there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that e2fsck would count.
    pub damage: u64,
    /// Those that the kernel would refuse and e2fsck passes over.
    pub kernel_damage: u64,
    /// The others.
    pub notices: u64,
}

impl Counts {
    /// All findings.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.damage.saturating_add(self.kernel_damage).saturating_add(self.notices)
    }

    fn add(&mut self, kind: Kind) {
        let count = if kind.is_damage(Judge::E2fsck) {
            &mut self.damage
        } else if kind.is_damage(Judge::Kernel) {
            &mut self.kernel_damage
        } else {
            &mut self.notices
        };
        // A count of what hostile bytes may repeat: it stops at the top.
        *count = count.saturating_add(1);
    }
}

/// The findings that one part of the work keeps; the rest of a wreck is counted.
const KEPT: usize = 1000;

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.counts.add(finding.kind);
        if self.list.len() < KEPT {
            self.list.push(finding);
        }
    }

    /// Takes those of a later part of the work.
    pub(super) fn append(&mut self, mut other: Self) {
        self.counts.damage = self.counts.damage.saturating_add(other.counts.damage);
        self.counts.kernel_damage =
            self.counts.kernel_damage.saturating_add(other.counts.kernel_damage);
        self.counts.notices = self.counts.notices.saturating_add(other.counts.notices);
        self.list.append(&mut other.list);
        if self.list.len() > 4 * KEPT {
            self.shorten(KEPT);
        }
    }

    fn shorten(&mut self, length: usize) {
        self.list.sort_by(|one, other| one.rank().cmp(&other.rank()));
        self.list.truncate(length);
    }

    /// The worst, at most so many, and how many there were.
    pub(super) fn finish(mut self, most: usize) -> (Vec<Finding>, Counts) {
        self.shorten(most);
        (self.list, self.counts)
    }
}
