//! An image in the shape of a small Debian: what its layers hold, and what it should become.

use banger_test_support::xattr::{self, NO_ID};
use std::fs;

use banger_test_support::judge;
use banger_test_support::layers::{Compression, Image, Layer, host_architecture};
use banger_test_support::tree::{Entry, Kind, Tree};

/// An entry of a layer.
type Item = (Vec<u8>, Entry, Vec<u8>);

/// Some day of 2023, with nanoseconds.
const BUILT: (i64, u32) = (1_700_000_000, 123_456_789);

fn directory(path: &str) -> Item {
    (path.into(), Entry::new(Kind::Directory, 0o755).modified_at(BUILT.0, BUILT.1), vec![])
}

fn file(path: &str, mode: u16, content: &[u8]) -> Item {
    let entry = Entry::new(Kind::file(content), mode).modified_at(BUILT.0, BUILT.1);
    (path.into(), entry, content.to_vec())
}

fn symlink(path: &str, target: &str) -> Item {
    let entry = Entry::new(Kind::Symlink(target.into()), 0o777).modified_at(BUILT.0, 0);
    (path.into(), entry, vec![])
}

fn special(path: &str, mode: u16, kind: Kind) -> Item {
    (path.into(), Entry::new(kind, mode).modified_at(BUILT.0, BUILT.1), vec![])
}

fn change(mut item: Item, change: impl FnOnce(Entry) -> Entry) -> Item {
    item.1 = change(item.1);
    item
}

/// `CAP_NET_RAW`, permitted and effective, in the form of `VFS_CAP_REVISION_2`.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// `u::rwx,u:1000:r-x,g::r-x,m::r-x,o::---` as programs give it.
fn acl() -> Vec<u8> {
    xattr::acl(&[(1, 7, NO_ID), (2, 5, 1000), (4, 5, NO_ID), (16, 5, NO_ID), (32, 0, NO_ID)])
}

/// The content of file `number` of the documentation: some of no, of one and of many blocks.
fn page(number: usize) -> Vec<u8> {
    format!("page {number}\n").into_bytes().repeat(number * number % 4000)
}

fn perl() -> Item {
    file("usr/bin/perl", 0o755, &b"perl\0".repeat(50_000))
}

/// The first layer: everything that the distribution has.
fn base() -> Vec<Item> {
    let mut items = vec![
        change(directory("./"), |entry| entry.modified_at(1_600_000_000, 1)),
        directory("usr/"),
        directory("usr/bin/"),
        symlink("bin", "usr/bin"),
        directory("usr/sbin/"),
        symlink("sbin", "usr/sbin"),
        directory("etc/"),
        file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\n"),
        file("etc/shadow", 0o640, b"root:*::::::\n"),
        file("etc/old.conf", 0o644, b"old"),
        file("etc/twice.conf", 0o644, b"first"),
        change(file("usr/bin/su", 0o4755, b"#!su"), |entry| entry.owned_by(0, 4)),
        change(file("usr/bin/ping", 0o755, b"#!ping"), |entry| {
            entry.with_attribute(b"security.capability", &NET_RAW)
        }),
        perl(),
        directory("dev/"),
        special("dev/null", 0o666, Kind::CharacterDevice(Some((1, 3)))),
        special("dev/nvme", 0o660, Kind::BlockDevice(Some((259, 300_000)))),
        special("dev/initctl", 0o600, Kind::Fifo),
        change(directory("tmp/"), |entry| Entry { mode: 0o1777, ..entry }),
        directory("proc/"),
        directory("var/"),
        directory("var/cache/"),
        file("var/cache/index", 0o644, b"old index"),
        directory("var/cache/archives/"),
        file("var/cache/archives/one.deb", 0o644, &[7; 9000]),
        change(directory("srv/"), |entry| {
            Entry { mode: 0o750, ..entry }
                .owned_by(4_000_000_000, 1000)
                .with_attribute(b"system.posix_acl_default", &acl())
                .with_attribute(b"system.posix_acl_access", &acl())
                .with_attribute(b"user.note", b"line\nline\0end")
        }),
        directory("opt/"),
        file("opt/was-a-file", 0o600, b"file"),
        directory("opt/was-a-directory/"),
        file("opt/was-a-directory/child", 0o600, b"child"),
        directory("usr/share/"),
    ];
    for number in 0..400 {
        let path = format!("usr/share/page-{number:03}-{}", "x".repeat(number % 150));
        items.push(file(&path, 0o644, &page(number)));
    }
    let mut strange = file("", 0o644, b"strange");
    strange.0 = b"usr/share/\xff\xfe not UTF-8".to_vec();
    items.push(strange);
    items
}

/// The second layer: what an update changes. Whiteouts stand before and after what they must not
/// hide.
fn update() -> Vec<Item> {
    vec![
        file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/bash\n"),
        file("var/cache/new-index", 0o644, b"new"),
        // Through the symbolic link of the layer below.
        file("bin/hello", 0o755, b"#!hello"),
        directory("opt/was-a-file/"),
        file("opt/was-a-file/inside", 0o600, b"inside"),
        file("opt/was-a-directory", 0o600, b"now a file"),
        change(directory("tmp/"), |entry| {
            Entry { mode: 0o1770, ..entry }.modified_at(1_700_000_001, 0)
        }),
    ]
}

/// The last layer: the guest's own start.
fn start() -> Vec<Item> {
    let busybox = judge::find("busybox").map(|path| fs::read(path).unwrap());
    vec![
        file("usr/bin/busybox", 0o755, &busybox.unwrap_or_default()),
        file("usr/sbin/init", 0o755, INIT),
        file("etc/twice.conf", 0o644, b"second"),
    ]
}

/// What the booted guest does; the tests look for its words.
const INIT: &[u8] = b"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
echo \"guest: up as $($b id -u), release $($b cat /etc/twice.conf)\"
$b date > /written && $b cat /written > /proc/self/fd/1 && $b rm /written && echo 'guest: wrote'
$b find / -xdev -type f -exec $b cat {} + > /dev/null && echo 'guest: read everything'
$b mount -o remount,ro / && echo 'guest: done'
$b poweroff -f
";

/// The layers, lowest first.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    let mut lowest = Layer::new();
    for (path, entry, content) in base() {
        lowest.put(path, &entry, &content);
    }
    let perl = perl().1;
    lowest.link("usr/bin/perl5", "usr/bin/perl", &perl);
    lowest.link("usr/bin/perl5.36", "usr/bin/perl", &perl);
    let mut middle = Layer::new();
    middle.whiteout("etc", "old.conf").whiteout("etc", "twice.conf").whiteout("etc", "never-was");
    for (path, entry, content) in update() {
        middle.put(path, &entry, &content);
    }
    // Behind the new index, which it must not hide.
    middle.opaque("var/cache").whiteout("usr/bin", "perl5");
    let mut highest = Layer::new();
    for (path, entry, content) in start() {
        highest.put(path, &entry, &content);
    }
    vec![lowest.finish(), middle.finish(), highest.finish()]
}

/// The image for this host.
pub(crate) fn image(compression: Compression) -> Image {
    Image { architecture: host_architecture(), layers: layers(), compression }
}

/// What the image should become, by the rules and by hand.
pub(crate) fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut put = |items: Vec<Item>| {
        for (path, entry, _) in items {
            let path = path.strip_suffix(b"/").unwrap_or(&path);
            tree.insert(if path == b"." { b"" } else { path }, entry);
        }
    };
    put(base());
    put(update());
    put(start());
    tree.link("usr/bin/perl5.36", "usr/bin/perl");
    for gone in [&b"etc/old.conf"[..], b"var/cache/index", b"var/cache/archives"] {
        tree.remove(gone);
    }
    tree.remove(b"opt/was-a-directory/child");
    let hello = tree.get(b"bin/hello").unwrap().clone();
    tree.remove(b"bin/hello");
    tree.insert("usr/bin/hello", hello);
    let mut lost_and_found = Entry::new(Kind::Directory, 0o700);
    lost_and_found.modified = None;
    tree.insert("lost+found", lost_and_found);
    tree
}

/// What the first layer alone should become.
pub(crate) fn lowest_tree() -> Tree {
    let mut tree = Tree::new();
    for (path, entry, _) in base() {
        let path = path.strip_suffix(b"/").unwrap_or(&path);
        tree.insert(if path == b"." { b"" } else { path }, entry);
    }
    tree.link("usr/bin/perl5", "usr/bin/perl");
    tree.link("usr/bin/perl5.36", "usr/bin/perl");
    let mut lost_and_found = Entry::new(Kind::Directory, 0o700);
    lost_and_found.modified = None;
    tree.insert("lost+found", lost_and_found);
    tree
}
