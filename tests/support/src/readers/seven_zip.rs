//! 7z, whose reader of ext4 is its own: the listing, and all contents in one stream.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use super::{Account, Shown, parse_permissions, untold, with_attributes};
use crate::gate;
use crate::judge;
use crate::tree::{Entry, Kind, Time, Tree, hash};

/// Files of the filesystem itself, such as the journal.
const SYSTEM: &[u8] = b"[SYS]/";

/// Inodes without a name: the file that lists orphans and the values of attributes are such by
/// design, and no other may be.
const NAMELESS: &[u8] = b"[UNKNOWN]/";

/// The targets below this length are in the inode.
const IN_INODE: usize = 60;

/// What 7z says of one name.
struct Item {
    path: Vec<u8>,
    /// The kind's letter and the permissions.
    mode: Vec<u8>,
    size: u64,
    inode: u64,
    links: u64,
    owner: (u32, u32),
    modified: Option<Time>,
    target: Vec<u8>,
}

pub(super) fn ask(image: &Path, expected: &Tree) -> Account {
    let mut account = Account::default();
    let report = gate::dump(image).unwrap_or_else(|error| panic!("{error}"));
    let orphan_files = usize::from(report.has("orphan_file"));
    let mut nameless = 0;
    // 7-Zip 26 opens no image with this feature.
    if report.has("inline_data") {
        account.limit("images not opened that have inline_data", 1);
        return account;
    }
    // Line feeds are the only bytes of a name that it does not show as they are.
    let shown = Shown::new(expected, |byte| if byte == b'\n' { b'_' } else { byte });
    let listing = judge::bytes("7z", ["l".as_ref(), "-slt".as_ref(), image.as_os_str()]);
    let (stream, unread) = extract(image, &shown.tree);
    account.limit("short links beside a block of attributes", unread.len());
    let mut contents = stream.as_slice();
    let mut found = Tree::new();
    for item in items(&listing) {
        // The stream has the contents of all items in the order of the listing.
        let mut content = Vec::new();
        if unread.contains(&item.path) {
            let wanted = shown.tree.get(&item.path).expect("what is not read is in the tree");
            found.found(item.path.clone(), wanted.clone());
            continue;
        }
        if matches!(item.mode.first(), Some(b'-' | b'l')) {
            (&mut contents).take(item.size).read_to_end(&mut content).expect("memory is read");
        }
        if item.path.starts_with(NAMELESS) {
            nameless += 1;
        } else if !item.path.starts_with(SYSTEM) {
            let entry = entry(&item, &content, &shown.tree);
            found.found(item.path, entry);
        }
    }
    assert!(
        report.has("ea_inode") || nameless == orphan_files,
        "7z sees {nameless} inodes without a name"
    );
    account.limit("inodes that have no name by design", nameless);
    assert!(contents.is_empty(), "7z has {} bytes more than it lists", contents.len());
    if let Some(root) = shown.tree.get(b"") {
        found.found(b"", untold(&shown.tree, b"", root.kind.clone()));
        account.limit("roots not shown", 1);
    }
    account.limit("names whose attributes are not told", with_attributes(expected));
    let compared = shown.compare(found, "7z");
    account.names = compared.names;
    compared.limits.iter().for_each(|(limit, count)| account.limit(limit, *count));
    account
}

/// The contents of all files and links in one stream, and the paths that it leaves out: 7z looks
/// for the target of a short link in blocks if the inode has one, though it has it for attributes.
fn extract(image: &Path, expected: &Tree) -> (Vec<u8>, BTreeSet<Vec<u8>>) {
    let output = judge::output("7z", ["x".as_ref(), "-so".as_ref(), image.as_os_str()]);
    let lines = output.stderr.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let unread: BTreeSet<Vec<u8>> = lines
        .map(|line| match line.strip_prefix(b"ERROR: Unsupported Method : ") {
            Some(path) => path.to_vec(),
            None => panic!("7z: {}", String::from_utf8_lossy(&output.stderr)),
        })
        .collect();
    for path in &unread {
        let known = expected.get(path).is_some_and(|entry| {
            matches!(&entry.kind, Kind::Symlink(target) if target.len() < IN_INODE)
                && entry.attributes.as_ref().is_some_and(|attributes| !attributes.is_empty())
        });
        assert!(known, "7z cannot read {}", path.escape_ascii());
    }
    assert_eq!(output.status.success(), unread.is_empty(), "7z: {}", output.status);
    (output.stdout, unread)
}

fn entry(item: &Item, content: &[u8], expected: &Tree) -> Entry {
    let kind = match item.mode.first() {
        Some(b'd') => Kind::Directory,
        Some(b'l') => Kind::Symlink(item.target.clone()),
        Some(b'c') => Kind::CharacterDevice(None),
        Some(b'b') => Kind::BlockDevice(None),
        Some(b'p') => Kind::Fifo,
        Some(b's') => Kind::Socket,
        _ => Kind::File { size: item.size, hash: hash(content) },
    };
    let mut entry = untold(expected, &item.path, kind);
    entry.mode = item.mode.get(1..).and_then(parse_permissions).expect("7z shows permissions");
    (entry.uid, entry.gid) = item.owner;
    // 1970-01-01 00:00:00 it shows as no time at all.
    entry.modified = Some(item.modified.unwrap_or_default());
    (entry.inode, entry.links) = (Some(item.inode), Some(item.links));
    entry
}

/// The items behind the line of dashes: `NAME = VALUE` lines, the path first, and an empty line.
fn items(listing: &[u8]) -> impl Iterator<Item = Item> {
    let start = listing.windows(12).position(|window| window == b"\n----------\n");
    let items = listing.get(start.expect("7z lists items") + 12..).unwrap_or_default();
    let lines: Vec<&[u8]> = items.split(|byte| *byte == b'\n').collect();
    let records: Vec<Vec<Vec<u8>>> = lines
        .split(|line| line.is_empty())
        .filter(|record| !record.is_empty())
        .map(|record| record.iter().map(|line| line.to_vec()).collect())
        .collect();
    records.into_iter().map(|record| item(&record))
}

fn item(record: &[Vec<u8>]) -> Item {
    let field = |name: &str| -> &[u8] {
        let start = format!("{name} =");
        let value = record.iter().find_map(|line| line.strip_prefix(start.as_bytes()));
        value.map(|value| value.strip_prefix(b" ").unwrap_or(value)).unwrap_or_default()
    };
    let number = |name: &str| -> u64 {
        std::str::from_utf8(field(name)).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let id = |name: &str| u32::try_from(number(name)).expect("an owner has 32 bits");
    Item {
        path: field("Path").to_vec(),
        mode: field("Mode").to_vec(),
        size: number("Size"),
        inode: number("iNode"),
        links: number("Links"),
        owner: (id("User ID"), id("Group ID")),
        modified: std::str::from_utf8(field("Modified")).ok().and_then(parse_time),
        target: field("Symbolic Link").to_vec(),
    }
}

/// `1969-12-31 23:59:55.000000000`, in UTC.
fn parse_time(text: &str) -> Option<Time> {
    let numbers: Vec<i64> = text
        .split(['-', ' ', ':', '.'])
        .map(|number| number.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second, rest @ ..] = numbers.as_slice() else {
        return None;
    };
    let nanoseconds = u32::try_from(rest.first().copied().unwrap_or(0)).ok()?;
    let seconds = ((days_since_1970(*year, *month, *day) * 24 + hour) * 60 + minute) * 60 + second;
    Some((seconds, nanoseconds))
}

/// Days in the Gregorian calendar, with years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_date() {
        assert_eq!(parse_time("1970-01-01 00:00:00"), Some((0, 0)));
        assert_eq!(parse_time("1969-12-31 23:59:55.000000007"), Some((-5, 7)));
        assert_eq!(parse_time("1901-12-13 20:45:52.0"), Some((-0x8000_0000, 0)));
        assert_eq!(parse_time("2000-02-29 12:00:00"), Some((951_825_600, 0)));
        assert_eq!(parse_time("2446-05-10 22:38:55.999999999"), Some((0x3_7fff_ffff, 999_999_999)));
        assert_eq!(parse_time(""), None);
    }
}
