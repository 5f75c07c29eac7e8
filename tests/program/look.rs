//! Looking into images: what is said of them, compared with what the kernel and debugfs say.

mod archive;
mod difference;
mod refusal;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind, Time, Tree};
use banger_test_support::{debugfs, gate, judge, storm};
use serde_json::Value;

use crate::banger::Bench;
use crate::directories::Source;

/// The longest file whose content is compared.
const LONGEST: u64 = 64 << 20;

/// Filesystems as mke2fs makes them, by the bytes of their blocks and its options.
const PROFILES: [(usize, &[&str]); 8] = [
    (4096, &["-t", "ext4"]),
    (1024, &["-t", "ext4", "-O", "^extent,^64bit"]),
    (4096, &["-t", "ext4", "-O", "inline_data,ea_inode"]),
    (4096, &["-t", "ext4", "-O", "bigalloc", "-C", "16384"]),
    (1024, &["-t", "ext4", "-O", "meta_bg,^resize_inode"]),
    (1024, &["-t", "ext4", "-I", "128", "-O", "^metadata_csum,uninit_bg"]),
    (1024, &["-t", "ext3"]),
    (2048, &["-t", "ext2"]),
];

impl Bench {
    /// `banger image WORDS`, which has to succeed without a word on standard error.
    pub(crate) fn look<I>(&self, words: I) -> Vec<u8>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let output = self.try_look(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""));
        output.stdout
    }

    /// `banger image WORDS`.
    pub(crate) fn try_look<I>(&self, words: I) -> Output
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.command(["image"]).args(words).output().unwrap()
    }

    /// `banger image WORDS --format json`, which has to succeed.
    pub(crate) fn look_json(&self, words: &[&str]) -> Value {
        let bytes = self.look(words.iter().chain(&["--format", "json"]));
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert!(value["error"].is_null(), "{value:#}");
        value
    }
}

/// Bytes that a document has under a name.
fn bytes(value: &Value, name: &str) -> Vec<u8> {
    match value[format!("{name}_hex")].as_str() {
        Some(hex) => unhex(hex),
        None => value[name].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    T::try_from(value.as_u64().unwrap()).ok().unwrap()
}

/// A time as RFC 3339 has it.
fn time(value: &Value) -> Time {
    // Days are counted by the rules of the calendar, not by the program's library.
    let text = value.as_str().unwrap();
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (mut year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    // Months from March on, so that the leap day is the last (Howard Hinnant, "chrono-Compatible
    // Low-Level Date Algorithms").
    let month = (month + 9) % 12;
    year -= i64::from(month > 9);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19);
    let nanoseconds = text.get(20..29).map_or(0, |digits| digits.parse().unwrap());
    ((days - 719_468) * 86_400 + seconds, nanoseconds)
}

fn device(value: &Value) -> (u32, u32) {
    let (major, minor) = value.as_str().unwrap().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// The tree that `ls -R` tells. Contents are those that are `expected` where the size is: they are
/// compared elsewhere. So are the values of attributes.
fn listed(bench: &Bench, image: &str, expected: &Tree) -> Tree {
    let mut tree = Tree::new();
    let listing = bench.look_json(&["ls", "-R", image, "--quiet"]);
    let root = bench.look_json(&["ls", "-d", image, "/", "--quiet"]);
    let entries = |listing: &Value| listing["entries"].as_array().unwrap().clone();
    for found in entries(&root).iter().chain(&entries(&listing)) {
        let path = bytes(found, "path")[1..].to_vec();
        let wanted = expected.get(&path);
        let kind = match found["type"].as_str().unwrap() {
            "directory" => Kind::Directory,
            "file" => match wanted.map(|entry| &entry.kind) {
                Some(Kind::File { size, hash }) if found["size"] == *size => {
                    Kind::File { size: *size, hash: *hash }
                }
                _ => Kind::File { size: number(&found["size"]), hash: [0; 32] },
            },
            "symlink" => Kind::Symlink(bytes(found, "target")),
            "character-device" => Kind::CharacterDevice(Some(device(&found["device"]))),
            "block-device" => Kind::BlockDevice(Some(device(&found["device"]))),
            "fifo" => Kind::Fifo,
            "socket" => Kind::Socket,
            other => panic!("{other}"),
        };
        let names: BTreeSet<_> =
            found["attributes"].as_array().unwrap().iter().map(|one| bytes(one, "name")).collect();
        let known = wanted.and_then(|entry| entry.attributes.clone()).unwrap_or_default();
        let shown = path.escape_ascii().to_string();
        assert_eq!(names, known.keys().cloned().collect(), "attributes of /{shown}");
        let mode = u16::from_str_radix(found["mode"].as_str().unwrap(), 8).unwrap();
        let mut entry = Entry::new(kind, mode);
        (entry.uid, entry.gid) = (number(&found["uid"]), number(&found["gid"]));
        entry.modified = Some(time(&found["modified"]));
        entry.attributes = Some(known);
        entry.inode = Some(number(&found["inode"]));
        entry.links = Some(number(&found["links"]));
        tree.found(path, entry);
    }
    tree
}

/// The paths of all files of `tree` that are not too long, and the bytes of all of them.
fn files(tree: &Tree) -> impl Iterator<Item = &[u8]> {
    tree.iter().filter_map(|(path, entry)| match entry.kind {
        Kind::File { size, .. } if size <= LONGEST => Some(path),
        _ => None,
    })
}

/// Whether `cat` of all files prints what the mounted files hold.
fn assert_contents(bench: &Bench, image: &str, mounted: &Path, tree: &Tree) {
    let paths: Vec<_> = files(tree).collect();
    for paths in paths.chunks(1000) {
        let arguments = paths.iter().map(|path| OsString::from_vec([b"/", *path].concat()));
        let words = ["cat", image, "--quiet"].map(OsString::from);
        let printed = bench.look(words.into_iter().chain(arguments));
        let mut at = 0;
        for path in paths {
            let mut content = Vec::new();
            let file = File::open(mounted.join(OsStr::from_bytes(path)));
            file.unwrap().read_to_end(&mut content).unwrap();
            let end = at + content.len();
            let found = printed.get(at..end);
            assert!(found == Some(&content[..]), "/{} differs", path.escape_ascii());
            at = end;
        }
        assert_eq!(at, printed.len());
    }
}

/// Whether `stat` says of a path what the kernel and debugfs do.
fn assert_stat(bench: &Bench, image: &str, mounted: &Path, path: &str) {
    let stat = bench.look_json(&["stat", image, path, "--quiet"]);
    let file = mounted.join(&path[1..]);
    let known = fs::symlink_metadata(&file).unwrap();
    let nanoseconds = |number: i64| u32::try_from(number).unwrap();
    assert_eq!(time(&stat["accessed"]), (known.atime(), nanoseconds(known.atime_nsec())), "{path}");
    assert_eq!(time(&stat["changed"]), (known.ctime(), nanoseconds(known.ctime_nsec())), "{path}");
    assert_eq!(stat["inode"], known.ino());
    if stat["inline"] == false {
        assert_eq!(stat["blocks"], known.blocks(), "{path}");
    }
    let attributes = stat["attributes"].as_array().unwrap();
    for attribute in attributes {
        let name = bytes(attribute, "name");
        let mut value = vec![0; 65_536];
        let length =
            rustix::fs::lgetxattr(&file, OsStr::from_bytes(&name), value.as_mut_slice()).unwrap();
        assert_eq!(unhex(attribute["hex"].as_str().unwrap()), value[..length], "{path}");
    }
    let flags = judge::output("lsattr", ["-d".as_ref(), file.as_os_str()]);
    if flags.status.success() {
        let text = String::from_utf8_lossy(&flags.stdout).into_owned();
        let letters = text.split(' ').next().unwrap().replace('-', "");
        assert_eq!(stat["flags"], letters, "{path}");
    }
}

/// The blocks of a file as `stat` tells them are those of debugfs.
fn assert_blocks(bench: &Bench, image: &str, path: &str) {
    let stat = bench.look_json(&["stat", image, path]);
    let mut found = Vec::new();
    for extent in stat["extents"].as_array().unwrap() {
        let first: u64 = number(&extent["physical"]);
        found.extend(first..first + number::<u64>(&extent["length"]));
    }
    found.extend(stat["map_blocks"].as_array().unwrap().iter().map(number::<u64>));
    let mut expected = debugfs::blocks(&bench.path(image), path);
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{path}");
}

/// Whether debugfs lists in a directory the same names, inodes, modes and owners.
fn assert_as_debugfs(bench: &Bench, image: &str, path: &str) {
    let text = debugfs::read(&bench.path(image), &format!("ls -p {path}"));
    let mut expected: Vec<_> = text
        .lines()
        .filter_map(|line| {
            // "/12/100644/0/0/name/5/"
            let parts: Vec<_> = line.split('/').collect();
            let [_, inode, mode, uid, gid, name, ..] = parts[..] else { return None };
            (name != "." && name != "..").then(|| format!("{name} {inode} {mode} {uid}:{gid}"))
        })
        .collect();
    let listing = bench.look_json(&["ls", image, path]);
    let mut found: Vec<_> = listing["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let kind = match entry["type"].as_str().unwrap() {
                "file" => "10",
                "directory" => "04",
                "symlink" => "12",
                "character-device" => "02",
                "block-device" => "06",
                "fifo" => "01",
                _ => "14",
            };
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            let path = text("path");
            let name = path.rsplit('/').next().unwrap();
            format!(
                "{name} {} {kind}{} {}:{}",
                entry["inode"],
                text("mode"),
                entry["uid"],
                entry["gid"]
            )
        })
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(!found.is_empty(), "{path}");
}

/// Whether everything that is said of an image is what its mount shows; the mounted tree.
fn assert_as_mounted(bench: &Bench, image: &str, mounted: &Path) -> Tree {
    let tree = banger_test_support::mount::read_tree(mounted).unwrap();
    tree.assert_same(&listed(bench, image, &tree), "image ls -R");
    assert_contents(bench, image, mounted, &tree);
    for path in ["/sizes/sparse", "/sizes/60", "/dirs/big", "/links/hard", "/xattr/acl"] {
        assert_stat(bench, image, mounted, path);
    }
    for path in ["/xattr/large", "/xattr/capability", "/xattr/user", "/xattr/directory", "/"] {
        assert_stat(bench, image, mounted, path);
    }
    tree
}

#[test]
fn what_a_kernel_wrote_on_every_filesystem_of_mke2fs_is_told_as_it_shows_it() {
    for (block, options) in PROFILES {
        let bench = Bench::new();
        let Some(source) = Source::on(&bench, "made.ext4", block, options) else { return };
        source.fill();
        let islands = source.path("sizes/islands");
        let _ = judge::output("chattr", ["+Ad".as_ref(), islands.as_os_str()]);
        source.mount.close();
        let image = bench.path("made.ext4");
        let mount = Mount::new(&image, Access::ReadOnly).unwrap();
        let tree = assert_as_mounted(&bench, "made.ext4", mount.path());
        mount.close();
        assert!(tree.len() > 3000);
        for path in ["/sizes/islands", "/sizes/1048576", "/dirs/big"] {
            assert_blocks(&bench, "made.ext4", path);
        }
        for path in ["/links", "/special", "/dirs"] {
            assert_as_debugfs(&bench, "made.ext4", path);
        }
        assert_inspected(&bench, "made.ext4");
        archive::assert_rebuilds(&bench, "made.ext4", &tree);
    }
}

/// Whether `inspect` says what dumpe2fs does.
fn assert_inspected(bench: &Bench, image: &str) -> Value {
    let found = bench.look_json(&["inspect", image]);
    let known = gate::dump(&bench.path(image)).unwrap();
    for (name, number) in [
        ("blocks", known.blocks),
        ("block_size", known.block_size),
        ("free_blocks", known.free_blocks),
        ("reserved_blocks", known.reserved_blocks),
        ("free_inodes", known.free_inodes),
    ] {
        assert_eq!(found[name], number, "{name}");
    }
    let features: Vec<_> =
        found["features"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(features, known.features);
    let dump = judge::succeed("dumpe2fs", ["-h".as_ref(), bench.path(image).as_os_str()]);
    let field = |name: &str| {
        let line = dump.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}")).trim().to_owned()
    };
    assert_eq!(found["uuid"], field("Filesystem UUID:"));
    assert_eq!(found["state"], field("Filesystem state:"));
    assert_eq!(found["inodes"].to_string(), field("Inode count:"));
    assert_eq!(found["inode_size"].to_string(), field("Inode size:"));
    assert_eq!(found["mounts"].to_string(), field("Mount count:"));
    found
}

#[test]
fn images_of_every_profile_of_ours_are_told_as_the_kernel_shows_them() {
    let bench = Bench::new();
    let Some(source) = Source::on(&bench, "made.ext4", 4096, &["-t", "ext4"]) else { return };
    source.fill();
    source.mount.close();
    bench.look(["export", "made.ext4", "-o", "tree.tar", "--quiet"]);
    for (profile, shown) in [
        ("default", "default"),
        ("max", "max"),
        ("linux-4.14", "default"),
        ("grub-2.06", "default"),
        ("read-only", "read-only"),
    ] {
        bench.build("tar:tree.tar", "ours.ext4", &["--profile", profile, "--force"]);
        let mount = Mount::new(&bench.path("ours.ext4"), Access::ReadOnly).unwrap();
        assert_as_mounted(&bench, "ours.ext4", mount.path());
        mount.close();
        let found = assert_inspected(&bench, "ours.ext4");
        assert_eq!(found["profile"], shown);
        assert_eq!(found["journal"].is_null(), profile == "read-only");
    }
}

#[test]
fn a_disk_in_the_middle_of_a_storm_is_told_as_the_kernel_recovers_it() {
    let bench = Bench::new();
    let Some(source) = Source::on(&bench, "made.ext4", 1024, &["-t", "ext4"]) else { return };
    source.fill();
    let tree = source.mount.tree();
    storm::weather(source.mount.path(), &tree).unwrap();
    source.file("after/the/storm", b"quiet");
    File::open(source.path("after/the/storm")).unwrap().sync_all().unwrap();
    let copy = |from: &str, to: &str| {
        let paths = [bench.path(from), bench.path(to)];
        judge::succeed("cp", ["--sparse=always".into(), paths[0].clone(), paths[1].clone()]);
    };
    copy("made.ext4", "dirty.ext4");
    source.mount.close();
    copy("dirty.ext4", "recovered.ext4");
    let before = fs::read(bench.path("dirty.ext4")).unwrap();
    // The first mount recovers it, the second changes no times of access.
    Mount::new(&bench.path("recovered.ext4"), Access::ReadWrite).unwrap().close();
    let mount = Mount::new(&bench.path("recovered.ext4"), Access::ReadOnly).unwrap();
    let tree = assert_as_mounted(&bench, "dirty.ext4", mount.path());
    mount.close();
    assert!(tree.get(b"after/the/storm").is_some());
    assert!(before == fs::read(bench.path("dirty.ext4")).unwrap(), "the image was written to");
    let said = bench.try_look(["cat", "dirty.ext4", "/after/the/storm"]);
    assert_eq!(said.stdout, b"quiet");
    let note = String::from_utf8(said.stderr).unwrap();
    assert!(note.contains("dirty.ext4 was not unmounted: "), "{note}");
    assert!(note.contains("from its journal"), "{note}");
    let found = bench.look_json(&["inspect", "dirty.ext4"]);
    assert!(found["recovery"]["blocks"].as_u64().unwrap() > 10, "{found:#}");
    // The checker judges what will be there, unless it is told to take the image as it lies there.
    let replayed = |options: &[&str]| {
        let words = ["check", "dirty.ext4", "--format", "json"];
        let judged = bench.try_look(words.iter().chain(options));
        let report: Value = serde_json::from_slice(&judged.stdout).unwrap();
        report["replayed_transactions"].as_u64()
    };
    assert!(replayed(&[]).is_some_and(|count| count > 0));
    assert_eq!(replayed(&["--no-replay"]), None);
    archive::assert_rebuilds(&bench, "dirty.ext4", &tree);
}

/// A small image, without a kernel.
fn small(bench: &Bench, name: &str) {
    let root = bench.path("root");
    fs::create_dir_all(root.join("usr/lib/x")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("usr/lib/os-release"), "NAME=x\nPRETTY_NAME=\"Small 1.0\"\n").unwrap();
    for (link, target) in
        [("lib", "usr/lib"), ("etc/os-release", "../usr/lib/os-release"), ("loop", "loop")]
    {
        let _ = fs::remove_file(root.join(link));
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    fs::write(root.join("a\nb\x1b[31m"), "red").unwrap();
    fs::write(root.join("a\\x2db"), "slash").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff\xfe")), "raw").unwrap();
    fs::write(root.join("größe"), "umlaut").unwrap();
    File::create(root.join("long")).unwrap().set_len(8 << 20).unwrap();
    bench.build("dir:root", name, &["--owner", "0", "--force", "--size", "fit+1M"]);
}

#[test]
fn names_are_one_line_each_and_reversible() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    let text = String::from_utf8(bench.look(["ls", "small.ext4"])).unwrap();
    let expected =
        "a\\nb\\x1b[31m\na\\\\x2db\netc\ngröße\nlib\nlong\nloop\nlost+found\nusr\n\\xff\\xfe\n";
    assert_eq!(text, expected);
    let raw = bench.look(["ls", "--zero", "-R", "small.ext4"]);
    let names: Vec<_> = raw.split(|byte| *byte == 0).collect();
    assert!(names.contains(&&b"/a\nb\x1b[31m"[..]) && names.contains(&&b"/\xff\xfe"[..]));
    assert!(names.contains(&&b"/usr/lib/os-release"[..]));
    let listing = bench.look_json(&["ls", "small.ext4"]);
    let last = listing["entries"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["path"], &last["path_hex"]), (&"/\u{fffd}\u{fffd}".into(), &"2ffffe".into()));
}

#[test]
fn a_long_listing_has_the_columns_of_ls() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    let text = String::from_utf8(bench.look(["ls", "-lR", "small.ext4", "/usr"])).unwrap();
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["/usr:"]);
    assert_eq!(lines[1][..4], ["drwxr-xr-x", "3", "0", "0"]);
    assert_eq!(lines[1][6], "lib");
    assert_eq!((lines[2].len(), &lines[3][..]), (0, &["/usr/lib:"][..]));
    assert_eq!(lines[4][..5], ["-rw-r--r--", "1", "0", "0", "31"]);
    assert!(lines[4][5].ends_with('Z') && lines[4][5].len() == 20);
    let last = text.lines().last().unwrap();
    assert_eq!(last, "/usr/lib/x:");
}

#[test]
fn links_are_followed_inside_the_image_and_told_themselves_at_the_end() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    let text = |words: &[&str]| String::from_utf8(bench.look(words)).unwrap();
    assert_eq!(text(&["ls", "small.ext4", "/lib"]), "os-release\nx\n");
    let long = text(&["ls", "-l", "small.ext4", "/lib"]);
    assert!(long.ends_with(" /lib -> usr/lib\n"), "{long}");
    assert_eq!(text(&["ls", "-l", "small.ext4", "/lib/"]).lines().count(), 2);
    assert_eq!(text(&["ls", "small.ext4", "/loop"]), "/loop\n");
    assert_eq!(text(&["ls", "small.ext4", "../lib/os-release"]), "../lib/os-release\n");
    let content = text(&["cat", "small.ext4", "etc/os-release", "/lib/../lib/os-release"]);
    assert_eq!(content, "NAME=x\nPRETTY_NAME=\"Small 1.0\"\n".repeat(2));
    assert_eq!(bench.look_json(&["stat", "small.ext4", "/lib"])["type"], "symlink");
    assert_eq!(bench.look_json(&["stat", "small.ext4", "/lib/"])["type"], "directory");
    let root = bench.look_json(&["stat", "small.ext4", "<2>"]);
    assert_eq!((&root["type"], &root["inode"]), (&"directory".into(), &2.into()));
    assert_eq!(bench.look_json(&["stat", "small.ext4", "<11>"])["mode"], "0700");
}

#[test]
fn what_an_image_says_of_itself_is_inspected() {
    let bench = Bench::new();
    small(&bench, "plain.ext4");
    let found = bench.look_json(&["inspect", "plain.ext4"]);
    assert_eq!((&found["os"], &found["oci"]), (&"Small 1.0".into(), &Value::Null));
    fs::create_dir_all(bench.path("root/etc/banger")).unwrap();
    let origin = serde_json::json!({ "reference": "x/y:1", "layers": [1, "\u{1b}[31m\u{202e}"] });
    fs::write(bench.path("root/etc/banger/image.json"), origin.to_string()).unwrap();
    small(&bench, "told.ext4");
    assert_eq!(bench.look_json(&["inspect", "told.ext4"])["oci"], origin);
    let text = String::from_utf8(bench.look(["inspect", "told.ext4"])).unwrap();
    assert!(text.contains("\"reference\": \"x/y:1\""), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    for (content, why) in [(b"{".to_vec(), "is not JSON"), (vec![b' '; 9 << 20], "has 9437184")] {
        fs::write(bench.path("root/etc/banger/image.json"), content).unwrap();
        small(&bench, "bad.ext4");
        let found = bench.look_json(&["inspect", "bad.ext4"]);
        assert!(found["oci"].is_null());
        assert!(found["oci_problem"].as_str().unwrap().contains(why), "{found:#}");
    }
}

#[test]
fn attributes_are_told_in_the_words_of_getfacl_and_getcap() {
    let bench = Bench::new();
    let Some(source) = Source::on(&bench, "made.ext4", 4096, &["-t", "ext4"]) else { return };
    for name in ["acl", "cap", "both", "label"] {
        source.file(name, b"x");
    }
    if !judge::all(&["setfacl", "setcap", "getfacl", "getcap"]) {
        return;
    }
    let path = |name: &str| source.path(name).display().to_string();
    judge::succeed("setfacl", ["-m", "u:1000:rx,g:50:r,m::rwx", &path("acl")]);
    judge::succeed("setcap", ["cap_net_raw,cap_bpf+ep", &path("cap")]);
    judge::succeed("setcap", ["cap_chown+ei", &path("both")]);
    source.xattr("label", "security.selinux", b"system_u:object_r:bin_t:s0\0");
    let acl = judge::succeed("getfacl", ["-cnE", &path("acl")]);
    let acl: Vec<_> = acl.lines().filter(|line| !line.is_empty()).collect();
    let caps = ["cap", "both"].map(|name| {
        let text = judge::succeed("getcap", [path(name)]);
        text.trim().rsplit_once(' ').unwrap().1.to_owned()
    });
    source.mount.close();
    let told = |name: &str| {
        let stat = bench.look_json(&["stat", "made.ext4", name]);
        stat["attributes"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(told("/acl").split(',').collect::<Vec<_>>(), acl);
    assert_eq!([told("/cap"), told("/both")], caps);
    assert_eq!(told("/label"), "system_u:object_r:bin_t:s0");
}
