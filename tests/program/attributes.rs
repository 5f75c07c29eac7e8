//! Attributes, ACLs and labels as GNU tar and libarchive write them, compared with the files that
//! they come from through the kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount, read_tree};
use banger_test_support::{gate, judge};

use crate::banger::Bench;
use crate::directories::Source;

/// Somebody whom every Debian knows, and whom the image numbers otherwise.
const NAMED: &str = "nobody";
const NUMBER: u32 = 70;

/// Files with ACLs of all kinds, labels and attributes with unusual names.
fn fill(source: &Source) {
    let numbers = format!("root:x:0:0::/:\n{NAMED}:x:{NUMBER}:{NUMBER}::/:\n");
    source.file("etc/passwd", numbers.as_bytes());
    source.file("etc/group", b"root:x:0:\n");
    for name in ["plain", "named", "numbers", "masked", "label"] {
        source.file(name, name.as_bytes());
    }
    fs::create_dir(source.path("d")).unwrap();
    let set = |acl: &[&str], name: &str| {
        let path = source.path(name).display().to_string();
        judge::succeed("setfacl", acl.iter().copied().chain([path.as_str()]));
    };
    set(&["-m", &format!("u:{NAMED}:rw,m::r")], "named");
    set(&["-m", "u:4711:rwx,g:4712:-,g::-"], "numbers");
    set(&["-m", "u:4711:rw,g::rwx,m::-"], "masked");
    set(&["-m", "u:4713:rwx"], "d");
    set(&["-d", "-m", &format!("u:{NAMED}:rx,o::-")], "d");
    for (name, key, value) in [
        ("plain", "user.a=b%c", &b"1"[..]),
        ("plain", "user.a b", b"2\n"),
        ("plain", "user.f\u{fc}r", b"3\0"),
        ("plain", "user.%3D%41", b"4"),
        ("label", "security.selinux", b"system_u:object_r:bin_t:s0\0"),
    ] {
        source.xattr(name, key, value);
    }
}

/// What getfacl says of a tree, in numbers; the kernel shows the files in any order.
fn acls(root: &Path) -> String {
    let said = judge::succeed("getfacl", ["-nRp".as_ref(), root.as_os_str()]);
    let said = said.replace(root.to_str().unwrap(), "");
    let mut files: Vec<_> = said.split("\n\n").collect();
    files.sort_unstable();
    files.join("\n\n")
}

/// Archives `source` by a program, and builds an image of that without a loss.
fn build(bench: &Bench, source: &Source, name: &str, program: &str, words: &[&str]) -> Mount {
    let (archive, image) = (format!("{name}.tar"), format!("{name}.ext4"));
    let (root, path) = (source.mount.path().display().to_string(), bench.path(&archive));
    let words = words.iter().copied();
    let words = words.chain(["-C", &root, "-cf", path.to_str().unwrap(), "."]);
    judge::succeed(program, words);
    bench.build(&format!("tar:{archive}"), &image, &["--strict"]);
    gate::assert_clean(&bench.path(&image));
    Mount::new(&bench.path(&image), Access::ReadOnly).unwrap()
}

#[test]
fn acls_labels_and_attributes_of_gnu_tar_and_libarchive_are_kept() {
    let bench = Bench::new();
    if !judge::all(&["tar", "bsdtar", "setfacl", "getfacl"]) {
        return;
    }
    let options = ["-t", "ext4", "-I", "256"];
    let Some(source) = Source::on(&bench, "source.img", 4096, &options) else { return };
    fill(&source);
    let expected = acls(source.mount.path());
    let tree = read_tree(source.mount.path()).unwrap();
    assert!(expected.contains("user:4711:rw-\t#effective:---"), "{expected}");

    // Attributes, and the same as text beside them.
    let gnu = ["--acls", "--selinux", "--xattrs", "--xattrs-include=*"];
    let mount = build(&bench, &source, "both", "tar", &gnu);
    tree.assert_same(&mount.tree(), "the files against the image of GNU tar's archive");
    assert_eq!(acls(mount.path()), expected);
    mount.close();

    // Text alone: libarchive writes numbers behind names; without the format named, it gives
    // nanoseconds only to files that need an extended header for something else.
    let libarchive = ["--format=pax", "--acls", "--xattrs"];
    let mount = build(&bench, &source, "libarchive", "bsdtar", &libarchive);
    tree.assert_same(&mount.tree(), "the files against the image of libarchive's archive");
    assert_eq!(acls(mount.path()), expected);
    mount.close();

    // GNU tar writes names, which are the image's own.
    let mount = build(&bench, &source, "text", "tar", &["--acls", "--selinux"]);
    let nobody = judge::succeed("id", ["-u", NAMED]);
    let renumbered = expected.replace(nobody.trim(), &NUMBER.to_string());
    assert_ne!(renumbered, expected);
    assert_eq!(acls(mount.path()), renumbered);
    let mut label = [0; 100];
    let length = rustix::fs::getxattr(mount.path().join("label"), "security.selinux", &mut label);
    assert_eq!(label[..length.unwrap()], *b"system_u:object_r:bin_t:s0\0");
    mount.close();
    source.mount.close();
}

#[test]
fn an_acl_that_is_lost_widens_nothing() {
    let bench = Bench::new();
    if !judge::all(&["tar", "setfacl"]) {
        return;
    }
    let options = ["-t", "ext4", "-I", "256"];
    let Some(source) = Source::on(&bench, "source.img", 4096, &options) else { return };
    let path = source.file("f", b"x");
    let acl = format!("u::rw,u:{NAMED}:rw,g::-,m::rw,o::-");
    judge::succeed("setfacl", ["--set", &acl, path.to_str().unwrap()]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let archive = bench.path("made.tar").display().to_string();
    let root = source.mount.path().display().to_string();
    judge::succeed("tar", ["--acls", "-C", &root, "-cf", &archive, "f"]);
    source.mount.close();

    // The image has no passwd that could tell who that is.
    let refused = bench.build_fails("tar:made.tar", &["--strict"], 65);
    assert!(refused.contains(&format!("names the user \"{NAMED}\"")), "{refused}");
    let report = bench.build("tar:made.tar", "made.ext4", &[]);
    assert_eq!((&report["losses_total"], &report["losses"][0]["path"]), (&1.into(), &"f".into()));
    gate::assert_clean(&bench.path("made.ext4"));
    let stat = bench.look_json(&["stat", "made.ext4", "/f"]);
    assert_eq!(stat["mode"], "0600", "{stat:#}");
}
