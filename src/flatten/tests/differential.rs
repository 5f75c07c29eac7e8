//! Other readers list the same archives: Python's `tarfile` and libarchive's `bsdtar`. What banger
//! lists must be what they list, up to where one of them stops; where only one of two stops, the
//! reason is listed here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use banger_test_support::judge;
use serde_json::Value;

use super::*;
use crate::digest::Digest;

/// What a reader says of an archive: a line for each entry, and how it ended.
struct Listing {
    entries: Vec<String>,
    end: Result<(), String>,
}

/// An archive and what it is called.
struct Sample {
    name: String,
    bytes: Vec<u8>,
}

/// Contents beyond this are not compared: some archives have sparse files of gigabytes.
const HASHED: u64 = 1 << 24;

/// Differences that have a reason, with `tarfile` 3.11 and libarchive 3.6: the name is the
/// beginning of a sample's. Other versions may have fewer.
struct Known {
    name: &'static str,
    judges: &'static [&'static str],
    why: &'static str,
}

const BOTH: &[&str] = &["tarfile", "bsdtar"];
const TARFILE: &[&str] = &["tarfile"];
const BSDTAR: &[&str] = &["bsdtar"];

#[rustfmt::skip]
const KNOWN: &[Known] = &[
    Known { name: "f03_a_pax_name", judges: BOTH, why: "GNU's long name counts for them" },
    Known { name: "f08_ids_beyond", judges: BOTH, why: "they have larger numbers" },
    Known { name: "f08_binary_ids", judges: BOTH, why: "they have larger numbers" },
    Known { name: "f10_a_global_name", judges: BOTH, why: "one obeys it, one ignores it" },
    Known { name: "f10_a_global_size", judges: BOTH, why: "one obeys it, one ignores it" },
    Known { name: "f13_a_sparse_map", judges: BOTH, why: "they do not look" },
    Known { name: "f14_a_directory", judges: BOTH, why: "they list every type as a file" },
    Known { name: "f14_a_volume", judges: BOTH, why: "they list every type as a file" },
    Known { name: "f14_a_part", judges: BOTH, why: "they list every type as a file" },
    Known { name: "f14_an_", judges: BOTH, why: "they list every type as a file" },
    Known { name: "f17_a_zero_block", judges: BOTH, why: "they end there" },
    Known { name: "m09_", judges: BOTH, why: "one knows star's records only, one prefers its own" },
    Known { name: "m10_attributes_too_many", judges: BOTH, why: "they have no bound" },
    Known { name: "m17_an_acl_of_nfs4", judges: BOTH, why: "they leave the mode as it is" },
    Known { name: "m17_text_that_is_no", judges: BOTH, why: "they leave the mode as it is" },
    Known { name: "m18_", judges: BOTH, why: "one ignores the record, one adds no NUL" },
    Known { name: "m19_", judges: BOTH, why: "they do not know GNU tar's escapes" },
    Known { name: "p13_a_target", judges: BOTH, why: "they do not look" },
    Known { name: "p13_an_empty", judges: BOTH, why: "they do not look" },
    Known { name: "p14_a_path_of_4097", judges: BOTH, why: "they have no bound" },
    Known { name: "p16_", judges: BOTH, why: "they do not look" },
    Known { name: "gnu-incremental", judges: BOTH, why: "they take a list for a directory" },
    Known { name: "pax-bad-mtime", judges: BOTH, why: "Go refuses it" },
    Known { name: "pax-global-records", judges: BOTH, why: "it names files by global headers" },
    Known { name: "pax-multi-hdrs", judges: BOTH, why: "for Go and banger the last counts" },
    Known { name: "pax-nul-path", judges: BOTH, why: "Go refuses it" },
    Known { name: "testtar", judges: BOTH, why: "it has Solaris's headers" },
    Known { name: "f06_a_negative", judges: TARFILE, why: "it reads backwards" },
    Known { name: "f11_", judges: TARFILE, why: "for it the first of two counts" },
    Known { name: "f12_", judges: TARFILE, why: "it has no bound" },
    Known { name: "f17_an_archive_that", judges: TARFILE, why: "it wants the padding" },
    Known { name: "f18_an_archive_cut_in_a_h", judges: TARFILE, why: "it takes that for the end" },
    Known { name: "f19_an_empty_layer 0", judges: TARFILE, why: "it wants a header" },
    Known { name: "m20_", judges: TARFILE, why: "it does not know the records" },
    Known { name: "t11_a_slash_of_a_pax", judges: TARFILE, why: "it asks the header's own name" },
    Known { name: "gnu-multi-hdrs", judges: TARFILE, why: "for it the first of two counts" },
    Known { name: "pax-bad-hdr", judges: TARFILE, why: "Go refuses it" },
    Known { name: "pax-nil-sparse", judges: TARFILE, why: "it leaves the map in the file" },
    Known { name: "pax-nul-xattrs", judges: TARFILE, why: "Go refuses it" },
    Known { name: "pax-sparse-big", judges: TARFILE, why: "it leaves the map in the file" },
    Known { name: "f10_a_global_header", judges: BSDTAR, why: "it ignores them" },
    Known { name: "f11_of_two", judges: BSDTAR, why: "it stops at the second" },
    Known { name: "f13_a_sparse_file_of_format_0_1", judges: BSDTAR, why: "it wants no version" },
    Known { name: "f13_a_sparse_file_of_nothing", judges: BSDTAR, why: "it rewrites it to none" },
    Known { name: "f15_", judges: BSDTAR, why: "it is a file to it" },
    Known { name: "f17_an_archive_that", judges: BSDTAR, why: "it wants the padding" },
    Known { name: "m17_an_acl_", judges: BSDTAR, why: "it shows the ACL's mode, banger sets it later" },
    Known { name: "m16_names", judges: BSDTAR, why: "it cannot write such names" },
    Known { name: "t11_the_contents", judges: BSDTAR, why: "it wants no contents" },
    Known { name: "gnu-nil-sparse-hole", judges: BSDTAR, why: "it rewrites it to none" },
    Known { name: "invalid-go17", judges: BSDTAR, why: "only Go knows its old mistake" },
    Known { name: "nil-uid", judges: BSDTAR, why: "it reads another size, Go and Python 14" },
    Known { name: "pax-nil-sparse-hole", judges: BSDTAR, why: "it rewrites it to none" },
];

/// Lists archives with `tarfile`, in one process: a JSON line for each.
const PYTHON: &str = r#"
import decimal, hashlib, json, math, sys, tarfile
def listing(path):
    entries = []
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                kind = {b"1": "link", b"2": "symlink", b"3": "char", b"4": "block", b"5": "dir",
                        b"6": "fifo"}.get(member.type, "file" if member.isreg() else "other")
                if kind == "file" and member.name.endswith("/"):
                    kind = "dir"
                digest, size = "", 0
                if kind == "file":
                    size = member.size
                    if size <= 1 << 24:
                        data = archive.extractfile(member).read()
                        digest, size = hashlib.sha256(data).hexdigest(), len(data)
                time = member.pax_headers.get("mtime", str(member.mtime))
                try:
                    time = math.floor(decimal.Decimal(time))
                except decimal.InvalidOperation:
                    time = member.mtime
                xattrs = sorted((key[13:], value) for key, value in member.pax_headers.items()
                                if key.startswith("SCHILY.xattr."))
                entries.append(dict(
                    path=name(member.name), kind=kind, size=size, digest=digest,
                    mode=member.mode & 0o7777, uid=member.uid, gid=member.gid, time=time,
                    link=name(member.linkname) if kind in ("link", "symlink") else "",
                    major=member.devmajor if kind in ("char", "block") else 0,
                    minor=member.devminor if kind in ("char", "block") else 0,
                    xattrs=[[name(key), name(value)] for key, value in xattrs]))
        return dict(entries=entries, error=None)
    except Exception as error:
        return dict(entries=entries, error=f"{type(error).__name__}: {error}")
def name(text):
    return text.encode("utf-8", "surrogateescape").hex()
for path in sys.argv[1:]:
    print(json.dumps(listing(path)), flush=True)
"#;

fn bytes_of(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let pairs = (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16));
    pairs.collect::<Result<_, _>>().unwrap()
}

/// A path without what readers treat alike.
fn shown_path(path: &[u8]) -> String {
    let trimmed = path.iter().rposition(|byte| *byte != b'/').map_or(&b""[..], |end| &path[..=end]);
    trimmed.escape_ascii().to_string()
}

fn from_python(value: &Value) -> Listing {
    let entries = value["entries"].as_array().unwrap().iter().map(|entry| {
        let xattrs = entry["xattrs"].as_array().unwrap().iter().map(|xattr| {
            let (name, value) = (bytes_of(&xattr[0]), bytes_of(&xattr[1]));
            format!("{}={}", name.escape_ascii(), value.escape_ascii())
        });
        Line {
            path: &bytes_of(&entry["path"]),
            kind: entry["kind"].as_str().unwrap(),
            link: &bytes_of(&entry["link"]),
            size: &entry["size"].to_string(),
            digest: entry["digest"].as_str().unwrap(),
            mode: entry["mode"].as_i64().unwrap_or(-1),
            owner: [&entry["uid"], &entry["gid"]].map(ToString::to_string),
            seconds: &entry["time"].to_string(),
            device: [&entry["major"], &entry["minor"]].map(ToString::to_string),
            xattrs: xattrs.collect(),
        }
        .text()
    });
    let error = value["error"].as_str().map(ToOwned::to_owned);
    Listing { entries: entries.collect(), end: error.map_or(Ok(()), Err) }
}

struct Line<'a> {
    path: &'a [u8],
    kind: &'a str,
    link: &'a [u8],
    size: &'a str,
    digest: &'a str,
    mode: i64,
    owner: [String; 2],
    seconds: &'a str,
    device: [String; 2],
    xattrs: Vec<String>,
}

impl Line<'_> {
    fn text(&self) -> String {
        format!(
            "{} {} ->{} {} bytes {:.8} {:04o} {} @{} {} {:?}",
            self.kind,
            shown_path(self.path),
            shown_path(self.link),
            self.size,
            self.digest,
            self.mode,
            self.owner.join(":"),
            self.seconds,
            self.device.join(":"),
            self.xattrs,
        )
    }
}

fn ours(bytes: &[u8]) -> Listing {
    let mut archive = Archive::new(bytes, "the archive", &Limits::default());
    let mut entries = Vec::new();
    loop {
        let entry = match archive.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return Listing { entries, end: Ok(()) },
            Err(error) => return Listing { entries, end: Err(error.to_string()) },
        };
        let mut stored = Vec::new();
        if let Err(error) = archive.body().read_to_end(&mut stored) {
            return Listing { entries, end: Err(error.to_string()) };
        }
        entries.push(our_line(&entry, &stored));
    }
}

fn our_line(entry: &Entry, stored: &[u8]) -> String {
    let kind = match entry.kind {
        EntryKind::Regular => "file",
        EntryKind::Directory => "dir",
        EntryKind::Symlink => "symlink",
        EntryKind::HardLink => "link",
        EntryKind::CharacterDevice => "char",
        EntryKind::BlockDevice => "block",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "other",
    };
    let mut digest = String::new();
    if entry.kind == EntryKind::Regular && entry.size <= HASHED {
        digest = Digest::sha256_of(&expanded(entry, stored)).hex().to_owned();
    }
    let xattrs = entry
        .xattrs
        .iter()
        .map(|xattr| format!("{}={}", xattr.name.escape_ascii(), xattr.value.escape_ascii()));
    Line {
        path: &entry.path,
        kind,
        link: &entry.link,
        size: &entry.size.to_string(),
        digest: &digest,
        mode: entry.mode.into(),
        owner: [entry.uid, entry.gid].map(|id| id.to_string()),
        seconds: &entry.modified.seconds.to_string(),
        device: [entry.device.0, entry.device.1].map(|number| number.to_string()),
        xattrs: xattrs.collect(),
    }
    .text()
}

fn expanded(entry: &Entry, stored: &[u8]) -> Vec<u8> {
    let Some(segments) = &entry.segments else { return stored.to_vec() };
    let mut content = vec![0; usize::try_from(entry.size).unwrap()];
    let mut rest = stored;
    for segment in segments {
        let (offset, length) = (segment.offset, segment.length);
        let (offset, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
        content[offset..offset + length].copy_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    content
}

/// The layers of every row, and the archives that packages bring along.
fn samples() -> Vec<Sample> {
    let rows = TABLES.iter().copied().flatten().map(|row| (row.name, row.layers));
    let failures = FAILURES.iter().copied().flatten().copied();
    let mut samples = Vec::new();
    for (name, words) in rows.chain(failures) {
        for (index, layer) in layers(words).into_iter().enumerate() {
            samples.push(Sample { name: format!("{name} {index}"), bytes: layer.finish() });
        }
    }
    for path in packaged() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        samples.push(Sample { name, bytes: fs::read(path).unwrap() });
    }
    samples
}

/// The test archives of Python and of Go, where they are installed.
fn packaged() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let script = "import test, os; print(os.path.dirname(test.__file__))";
    if let Some(python) = judge::find("python3") {
        let found = judge::run(&python, ["-c", script]);
        let base = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
        directories.extend([base.join("archivetestdata"), base]);
    }
    let downloaded = std::env::var_os("BANGER_TEST_ARCHIVES").map(PathBuf::from);
    directories.extend(downloaded);
    let names = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let paths = names.map(|name| name.unwrap().path());
    let mut paths = paths.filter(|path| path.extension().is_some_and(|end| end == "tar"));
    let mut all = paths.by_ref().collect::<Vec<_>>();
    all.sort_unstable();
    all
}

fn python(paths: &[PathBuf]) -> Vec<Listing> {
    let mut command = Command::new(judge::find("python3").unwrap());
    command.args(["-c", PYTHON]).args(paths).stdin(Stdio::null());
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python3: {complaint}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| from_python(&serde_json::from_str(line).unwrap())).collect()
}

/// Rewrites archives with libarchive, in the plainest form that it has; `tarfile` lists that.
fn bsdtar(directory: &Path, paths: &[PathBuf]) -> Vec<Listing> {
    let program = judge::find("bsdtar").unwrap();
    let mut plain = Vec::new();
    let mut ends = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let rewritten = directory.join(format!("{index}.plain"));
        let mut command = Command::new(&program);
        command.args(["-cP", "--format=pax", "-f"]).arg(&rewritten);
        command.arg(format!("@{}", path.display())).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        let output = command.output().unwrap();
        ends.push(if output.status.success() { Ok(()) } else { Err(judge::text(&output)) });
        plain.push(rewritten);
    }
    let listings = python(&plain).into_iter().zip(ends);
    listings.map(|(listing, end)| Listing { end, ..listing }).collect()
}

/// What banger and a judge do not agree on.
fn difference(ours: &Listing, theirs: &Listing) -> Option<String> {
    let common = ours.entries.len().min(theirs.entries.len());
    let pairs = ours.entries.iter().zip(&theirs.entries);
    if let Some((ours, theirs)) = pairs.take(common).find(|(ours, theirs)| ours != theirs) {
        return Some(format!("ours   {ours}\n    theirs {theirs}"));
    }
    match (&ours.end, &theirs.end) {
        (Ok(()), Ok(())) if ours.entries.len() == theirs.entries.len() => None,
        (Ok(()), Ok(())) => {
            Some(format!("ours {} entries, theirs {}", ours.entries.len(), theirs.entries.len()))
        }
        (Err(_), Err(_)) => None,
        (Err(error), Ok(())) => Some(format!("only ours stops: {error}")),
        (Ok(()), Err(error)) => Some(format!("only theirs stops: {error}")),
    }
}

#[test]
fn tarfile_and_bsdtar_list_the_same_archives_alike() {
    if !judge::all(&["python3", "bsdtar"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let samples = samples();
    let mut paths = Vec::new();
    for (index, sample) in samples.iter().enumerate() {
        let path = directory.path().join(format!("{index}.tar"));
        fs::write(&path, &sample.bytes).unwrap();
        paths.push(path);
    }
    let judges = [("tarfile", python(&paths)), ("bsdtar", bsdtar(directory.path(), &paths))];
    let mut objections = Vec::new();
    for (judge, listings) in &judges {
        for (sample, theirs) in samples.iter().zip(listings) {
            let known = KNOWN
                .iter()
                .find(|known| known.judges.contains(judge) && sample.name.starts_with(known.name));
            match (difference(&ours(&sample.bytes), theirs), known) {
                (Some(_), Some(Known { why, .. })) => assert!(!why.is_empty()),
                (Some(difference), None) => {
                    objections.push(format!("{judge}: {}\n    {difference}", sample.name));
                }
                (None, _) => {}
            }
        }
    }
    let (count, all) = (objections.len(), samples.len());
    assert!(objections.is_empty(), "{count} of {all}\n{}", objections.join("\n"));
}
