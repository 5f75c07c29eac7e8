//! A directory of the host as an image's root, compared with the image through the kernel.

use banger_test_support::xattr::{self, NO_ID};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use banger_test_support::mount::{Access, Mount, read_tree};
use banger_test_support::tree::Tree;
use banger_test_support::{gate, judge};
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use crate::banger::{Bench, open_to_all, program_for_everybody};

/// A directory of the kernel's own making, on an ext4 that holds whatever ext4 can.
pub(crate) struct Source {
    pub(crate) mount: Mount,
    /// The bytes of a block.
    block: usize,
}

impl Source {
    /// `None`, with a line, where no filesystem can be made and mounted.
    fn new(bench: &Bench) -> Option<Self> {
        Self::on(bench, "source.img", 4096, &["-t", "ext4", "-I", "256"])
    }

    /// On a filesystem of mke2fs with these options; the image stays in `bench`.
    pub(crate) fn on(bench: &Bench, name: &str, block: usize, options: &[&str]) -> Option<Self> {
        if !judge::all(&["mke2fs"]) {
            return None;
        }
        let image = bench.path(name);
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let (image_text, block_text) = (image.to_str().unwrap(), block.to_string());
        let words = ["-q", "-F", "-b", &block_text].into_iter().chain(options.iter().copied());
        judge::succeed("mke2fs", words.chain([image_text]));
        Some(Self { mount: Mount::new(&image, Access::ReadWrite)?, block })
    }

    /// Something of everything that an image can hold.
    pub(crate) fn fill(&self) {
        sizes(self);
        directories(self);
        links(self);
        special(self);
        names(self);
        metadata(self);
        self.time("", 1_650_000_000, 5);
    }

    pub(crate) fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.mount.path().join(OsStr::from_bytes(name.as_ref()))
    }

    fn origin(&self) -> String {
        format!("dir:{}", self.mount.path().display())
    }

    pub(crate) fn file(&self, name: impl AsRef<[u8]>, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn node(&self, name: &str, kind: FileType, device: (u32, u32)) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device).unwrap();
    }

    pub(crate) fn xattr(&self, name: &str, key: &str, value: &[u8]) {
        rustix::fs::lsetxattr(self.path(name), key, value, XattrFlags::empty()).unwrap();
    }

    pub(crate) fn time(&self, name: &str, seconds: i64, nanoseconds: i64) {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        let times = Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, self.path(name), &times, flags).unwrap();
    }

    /// What the image must hold: the tree as the kernel shows it.
    fn expected(&self) -> Tree {
        read_tree(self.mount.path()).unwrap()
    }
}

fn sizes(source: &Source) {
    for size in [0, 1, 59, 60, 61, 4095, 4096, 4097, 12 * 4096, 1 << 20] {
        let content: Vec<u8> =
            (0..size).map(|n: u32| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        source.file(format!("sizes/{size}"), &content);
    }
    let mut sparse = File::create(source.path("sizes/sparse")).unwrap();
    sparse.seek(SeekFrom::Start(1 << 20)).unwrap();
    sparse.write_all(&[b'A'; 5000]).unwrap();
    sparse.seek(SeekFrom::Start(40 << 20)).unwrap();
    sparse.write_all(b"B").unwrap();
    sparse.set_len((64 << 20) + 123).unwrap();
    File::create(source.path("sizes/hole")).unwrap().set_len(512 << 20).unwrap();
    let islands = File::create(source.path("sizes/islands")).unwrap();
    for number in 0..700_u64 {
        islands.write_all_at(&[number.to_le_bytes()[0]; 4096], number * 3 * 4096).unwrap();
    }
}

fn directories(source: &Source) {
    for number in 0..3000 {
        source.file(format!("dirs/big/a-rather-long-name-{number:06}"), b"");
    }
    fs::create_dir(source.path("dirs/empty")).unwrap();
    let deep = "d/".repeat(300);
    source.file(format!("dirs/{deep}leaf"), b"leaf");
}

fn links(source: &Source) {
    fs::create_dir(source.path("links")).unwrap();
    for length in [1, 59, 60, 61, 255, source.block.min(4096) - 1] {
        let target: String = (0..length).map(|n| if n % 101 == 100 { '/' } else { 't' }).collect();
        symlink(target, source.path(format!("links/{length}"))).unwrap();
    }
    for (name, target) in
        [("out", "../../../../../../etc/passwd"), ("absolute", "/etc"), ("directory", "../sizes")]
    {
        symlink(target, source.path(format!("links/{name}"))).unwrap();
        source.time(&format!("links/{name}"), 1_600_000_000, 7);
    }
    lchown(source.path("links/out"), Some(7), Some(8)).unwrap();
    let first = source.file("links/hard", b"hard");
    for number in 0..40 {
        fs::hard_link(&first, source.path(format!("links/hard{number}"))).unwrap();
    }
    fs::hard_link(source.path("links/out"), source.path("links/out-too")).unwrap();
}

fn special(source: &Source) {
    source.node("special/fifo", FileType::Fifo, (0, 0));
    fs::hard_link(source.path("special/fifo"), source.path("special/fifo-too")).unwrap();
    source.node("special/null", FileType::CharacterDevice, (1, 3));
    source.node("special/big", FileType::BlockDevice, (259, 300_000));
    drop(UnixListener::bind(source.path("special/socket")).unwrap());
}

fn names(source: &Source) {
    let long = "n".repeat(255);
    for name in [
        &b"sp ace\ttab\nnl"[..],
        b"\xff\xfe not UTF-8",
        "\u{fc}ml\u{e4}ut".as_bytes(),
        long.as_bytes(),
    ] {
        source.file([&b"names/"[..], name].concat(), name);
    }
}

/// Names that would hide others in a layer.
fn hiding_names(source: &Source) {
    for name in [".wh.sp ace\ttab\nnl", ".wh..wh..opq", ".wh.", ".wh..wh.plnk/x"] {
        source.file(format!("names/{name}"), b"literal");
    }
    fs::hard_link(source.path("names/.wh."), source.path("names/.wh.link")).unwrap();
}

fn metadata(source: &Source) {
    for mode in [0o000, 0o4755, 0o2755, 0o6711, 0o777] {
        let path = source.file(format!("meta/mode{mode:o}"), b"m");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(source.path("meta/sticky")).unwrap();
    fs::set_permissions(source.path("meta/sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    for id in [65_535, 65_536, 1 << 31, u32::MAX - 1] {
        chown(source.file(format!("meta/uid{id}"), b"u"), Some(id), Some(id)).unwrap();
    }
    for seconds in [-1, -(1 << 31), 0, (1 << 31) - 1, 1 << 31, 1 << 33, 15_032_385_535] {
        source.file(format!("meta/time{seconds}"), b"t");
        source.time(&format!("meta/time{seconds}"), seconds, 123_456_789);
    }
    for name in ["user", "large", "capability", "acl", "trusted", "overlay"] {
        source.file(format!("xattr/{name}"), b"x");
    }
    source.xattr("xattr/user", "user.a", b"1\n\0");
    source.xattr("xattr/user", "user.empty", b"");
    source.xattr("xattr/large", "user.large", &vec![b'B'; source.block / 4 * 3 - 72]);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    source.xattr("xattr/capability", "security.capability", &capability);
    source.xattr("xattr/acl", "system.posix_acl_access", &acl(1000));
    fs::create_dir(source.path("xattr/directory")).unwrap();
    source.xattr("xattr/directory", "system.posix_acl_default", &acl(1000));
    source.xattr("xattr/directory", "user.on-a-directory", b"d");
    source.xattr("xattr/trusted", "trusted.note", b"t");
    symlink("nowhere", source.path("xattr/symlink")).unwrap();
    source.xattr("xattr/symlink", "trusted.on-a-link", b"l");
    source.node("xattr/fifo", FileType::Fifo, (0, 0));
    source.xattr("xattr/fifo", "security.note", b"f");
}

/// `u::rw-,u:USER:r--,g::r--,m::r--,o::r--`.
fn acl(user: u32) -> Vec<u8> {
    xattr::acl(&[(1, 6, NO_ID), (2, 4, user), (4, 4, NO_ID), (16, 4, NO_ID), (32, 4, NO_ID)])
}

#[test]
fn a_directory_is_kept_as_the_kernel_shows_it() {
    let bench = Bench::new();
    let Some(source) = Source::new(&bench) else { return };
    source.fill();
    hiding_names(&source);
    let report = bench.build(&source.origin(), "disk.ext4", &["--size", "fit+1M"]);
    gate::assert_clean(&bench.path("disk.ext4"));
    let mount = Mount::new(&bench.path("disk.ext4"), Access::ReadOnly).unwrap();
    source.expected().assert_same(&mount.tree(), "the directory against the image");
    // Holes stay holes: more than 512 MiB of them are in an image of some MiB.
    let stored = |name: &str| {
        let blocks = |root: &Path| fs::metadata(root.join(name)).unwrap().blocks();
        (blocks(source.mount.path()), blocks(mount.path()))
    };
    for name in ["sizes/sparse", "sizes/hole", "sizes/islands"] {
        let (there, here) = stored(name);
        // The kernel has not laid its extents out yet, and counts no blocks of their tree.
        assert!(here <= there + 64, "{name}: {here} sectors instead of {there}");
    }
    assert_eq!(report["content"]["hard_links"], 40 + 1 + 1 + 1);
    assert_eq!(report["losses_total"], 0, "{report:#}");
    mount.close();
    source.mount.close();
}

#[test]
fn an_added_directory_and_a_guests_are_kept_as_a_whole_root_is() {
    let bench = Bench::new();
    let Some(source) = Source::new(&bench) else { return };
    source.fill();
    hiding_names(&source);
    fs::create_dir_all(bench.path("empty")).unwrap();
    let guest = bench.path("guest");
    fs::create_dir_all(&guest).unwrap();
    symlink(source.mount.path(), guest.join("rootfs")).unwrap();
    let contents = format!("{}/.:/", source.mount.path().display());
    for words in [["--add", contents.as_str()], ["--guest", "guest"]] {
        let words = [&words[..], &["--size", "fit+1M", "--force"]].concat();
        let report = bench.build("dir:empty", "disk.ext4", &words);
        gate::assert_clean(&bench.path("disk.ext4"));
        let mount = Mount::new(&bench.path("disk.ext4"), Access::ReadOnly).unwrap();
        let (mut expected, mut found) = (source.expected(), mount.tree());
        // Everything is root's, and the root itself is the empty directory's.
        expected.change_all(|entry| (entry.uid, entry.gid) = (0, 0));
        for tree in [&mut expected, &mut found] {
            for kept in [&b""[..], b"lost+found"] {
                tree.remove(kept);
            }
        }
        expected.assert_same(&found, "the directory against the image");
        assert_eq!(report["content"]["hard_links"], 40 + 1 + 1 + 1, "{words:?}");
        assert_eq!(report["losses_total"], 0, "{report:#}");
        mount.close();
    }
    source.mount.close();
}

#[test]
fn the_attributes_of_an_overlay_are_lost_and_reported() {
    let bench = Bench::new();
    let Some(source) = Source::new(&bench) else { return };
    source.file("upper", b"x");
    source.xattr("upper", "trusted.overlay.opaque", b"y");
    let report = bench.build(&source.origin(), "disk.ext4", &[]);
    assert_eq!(report["losses_total"], 1, "{report:#}");
    assert!(report["losses"][0]["reason"].as_str().unwrap().contains("trusted.overlay.opaque"));
    let Some(mount) = Mount::new(&bench.path("disk.ext4"), Access::ReadOnly) else { return };
    assert!(mount.tree().get(b"upper").unwrap().attributes.as_ref().unwrap().is_empty());
    mount.close();
}

#[test]
fn the_same_directory_gives_the_same_bytes_and_another_one_another_uuid() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("root/etc")).unwrap();
    fs::write(bench.path("root/etc/hostname"), "here").unwrap();
    let first = bench.build("dir:root", "first.ext4", &[]);
    bench.build("dir:root/", "second.ext4", &[]);
    judge::succeed(
        "cp",
        ["-a", bench.path("root").to_str().unwrap(), bench.path("copy").to_str().unwrap()],
    );
    bench.build("dir:copy", "third.ext4", &[]);
    let bytes = |name: &str| fs::read(bench.path(name)).unwrap();
    assert!(bytes("first.ext4") == bytes("second.ext4"));
    assert!(bytes("first.ext4") == bytes("third.ext4"));
    fs::write(bench.path("root/etc/hostname"), "there").unwrap();
    let other = bench.build("dir:root", "other.ext4", &[]);
    assert_ne!(first["image"]["uuid"], other["image"]["uuid"]);
    gate::assert_clean(&bench.path("other.ext4"));
}

#[test]
fn additions_and_overlays_lie_over_a_directory() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("root/usr/bin")).unwrap();
    symlink("usr/bin", bench.path("root/bin")).unwrap();
    fs::write(bench.path("agent"), "#!agent").unwrap();
    bench.build("dir:root", "disk.ext4", &["--add", "agent:/bin/agent:755"]);
    let Some(mount) = Mount::new(&bench.path("disk.ext4"), Access::ReadOnly) else { return };
    assert_eq!(fs::read(mount.path().join("usr/bin/agent")).unwrap(), b"#!agent");
    mount.close();
}

#[test]
fn owners_are_given_to_one_or_numbered_anew() {
    let bench = Bench::new();
    let Some(source) = Source::new(&bench) else { return };
    for (name, uid, gid) in
        [("root", 1000, 1000), ("daemon", 100_000, 100_041), ("link", 1000, 1000)]
    {
        match name {
            "link" => symlink("root", source.path(name)).unwrap(),
            _ => fs::write(source.path(name), name).unwrap(),
        }
        lchown(source.path(name), Some(uid), Some(gid)).unwrap();
    }
    for name in ["", "lost+found"] {
        chown(source.path(name), Some(1000), Some(1000)).unwrap();
    }
    source.xattr("daemon", "system.posix_acl_access", &acl(100_004));
    let owners = |options: &[&str], output: &str| {
        bench.build(&source.origin(), output, options);
        gate::assert_clean(&bench.path(output));
        let mount = Mount::new(&bench.path(output), Access::ReadOnly).unwrap();
        let tree = mount.tree();
        mount.close();
        let owner = |name: &str| {
            let entry = tree.get(name.as_bytes()).unwrap();
            (entry.uid, entry.gid)
        };
        let acl = tree.get(b"daemon").unwrap().attributes.clone().unwrap();
        let acl = acl[&b"system.posix_acl_access"[..]].clone();
        (["", "root", "daemon", "link"].map(owner), acl)
    };
    let (kept, list) = owners(&[], "kept.ext4");
    assert_eq!(kept, [(1000, 1000), (1000, 1000), (100_000, 100_041), (1000, 1000)]);
    assert_eq!(list, acl(100_004));
    assert_eq!(owners(&["--owner", "0:5"], "one.ext4").0, [(0, 5); 4]);
    let map = ["--owner-map", "1000:0", "--owner-map", "100000:1:65535"];
    let (mapped, list) = owners(&map, "mapped.ext4");
    assert_eq!(mapped, [(0, 0), (0, 0), (1, 42), (0, 0)]);
    assert_eq!(list, acl(5));
    let message = bench.build_fails(&source.origin(), &map[..2], 65);
    assert!(message.contains("daemon belongs to 100000"), "{message}");
    let message = bench.build_fails(
        &source.origin(),
        &[&map[..2], &["--owner-map", "u:100000:1", "--owner-map", "g:100041:1"]].concat(),
        65,
    );
    assert!(message.contains("its ACL names 100004"), "{message}");
    for options in
        [&["--owner", "0", "--owner-map", "0:1"][..], &["--owner-map", "0:1", "--owner-map", "0:2"]]
    {
        let words = ["image", "build", &source.origin(), "none.ext4"];
        assert_eq!(bench.run(words.iter().chain(options)).status.code(), Some(2), "{options:?}");
    }
    bench.build_fails("tar:none.tar", &["--owner", "0:0"], 2);
}

#[test]
fn what_may_not_be_read_is_denied_and_nothing_is_made() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    open_to_all(&bench.path(""));
    fs::create_dir(bench.path("root")).unwrap();
    fs::write(bench.path("root/secret"), "secret").unwrap();
    fs::set_permissions(bench.path("root/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let (_directory, program) = program_for_everybody();
    let result = Command::new(judge::find("setpriv").unwrap())
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(program)
        .args(["image", "build", "dir:root", "disk.ext4"])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert_eq!(result.status.code(), Some(77), "{}", judge::text(&result));
    assert!(judge::text(&result).contains("root/secret"));
    assert_eq!(bench.images(), Vec::<PathBuf>::new());
    bench.build_fails("dir:none", &[], 66);
    bench.build_fails("dir:root/secret", &[], 2);
}
