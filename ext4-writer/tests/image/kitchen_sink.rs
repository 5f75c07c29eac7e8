//! Every kind of inode, name, number and attribute that ext4 can hold.

use banger_test_support::xattr::{NO_ID, acl};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind, Tree};
use banger_test_support::{debugfs, gate, judge, storm};
use ext4_writer::{FileSink, Segment};

use crate::twin::{Image, Twin, noise, roomy};

/// The attribute space of a 256-byte inode behind its 32 bytes of extra fields, without the magic
/// number and the four zero bytes that end the list.
const IN_INODE: usize = 256 - 128 - 32 - 4 - 4;
/// The same of a block, behind its header of 32 bytes.
const IN_BLOCK: usize = 4096 - 32 - 4;
/// An entry with a name of one to four bytes behind its prefix.
const ATTRIBUTE_ENTRY: usize = 16 + 4;

#[test]
fn every_kind_of_everything_is_found_as_declared() {
    let image = Image::build(roomy(), |twin| {
        sizes(twin);
        directories(twin);
        links(twin);
        special_files(twin);
        owners_modes_and_times(twin);
        names(twin);
        attributes(twin);
    });
    image.assert_as_declared();
}

fn sizes(twin: &mut Twin<FileSink>) {
    twin.directory("sizes");
    for size in
        [0, 1, 59, 60, 61, 4095, 4096, 4097, 48 << 10, (64 << 10) - 1, 1 << 20, (8 << 20) + 7]
    {
        let content = noise(1, size);
        twin.file(format!("sizes/{size}"), &content);
    }
    let mut holed = noise(2, 300_000);
    holed[20_000..200_000].fill(0);
    twin.file("sizes/zeros-in-the-middle", &holed);
    twin.file("sizes/zeros-only", &vec![0; 100_000]);
    let segments =
        [Segment { offset: 1 << 20, length: 5000 }, Segment { offset: (40 << 20) + 17, length: 1 }];
    twin.sparse(b"sizes/sparse", (64 << 20) + 123, &segments);
    twin.sparse(b"sizes/hole", 10_000, &[]);
}

fn directories(twin: &mut Twin<FileSink>) {
    twin.directory("directories");
    twin.directory("directories/empty");
    twin.directory("directories/of-5000");
    for number in 0..5000 {
        twin.file(format!("directories/of-5000/an-entry-with-a-rather-long-name-{number:06}"), b"");
    }
    // Around the end of the first block: 12-byte dots, then entries of 20 bytes.
    for count in [200, 201, 202, 203, 204] {
        twin.directory(format!("directories/of-{count}"));
        for number in 0..count {
            twin.file(format!("directories/of-{count}/name-{number:05}"), b"");
        }
    }
    let mut deep = b"directories/deep".to_vec();
    for level in 0..60 {
        twin.directory(&deep);
        deep.extend(format!("/level-{level}").into_bytes());
    }
    twin.file(&deep, b"the deepest");
}

fn links(twin: &mut Twin<FileSink>) {
    twin.directory("links");
    // Components of at most 100 bytes: ext4-view refuses those over 255.
    for length in [1, 58, 59, 60, 61, 255, 1024, 4094, 4095] {
        let target: Vec<u8> =
            (0..length).map(|place| if place % 101 == 100 { b'/' } else { b't' }).collect();
        twin.symlink(format!("links/to-{length}"), &target);
    }
    twin.file("links/one", b"one inode");
    for number in 0..40 {
        twin.link(format!("links/name-{number}").as_bytes(), b"links/one");
    }
    twin.link(b"directories/empty/elsewhere", b"links/one");
    twin.symlink("links/symlink", b"one");
    twin.link(b"links/symlink-too", b"links/symlink");
}

fn special_files(twin: &mut Twin<FileSink>) {
    twin.directory("special");
    let device = |major, minor| Some((major, minor));
    let kinds = [
        ("null", Kind::CharacterDevice(device(1, 3))),
        ("zero-zero", Kind::CharacterDevice(device(0, 0))),
        ("old-largest", Kind::BlockDevice(device(255, 255))),
        ("new-smallest", Kind::BlockDevice(device(255, 256))),
        ("disk", Kind::BlockDevice(device(259, 1_048_575))),
        ("largest", Kind::CharacterDevice(device(4095, 1_048_575))),
        ("pipe", Kind::Fifo),
        ("socket", Kind::Socket),
    ];
    for (name, kind) in kinds {
        twin.add(format!("special/{name}"), Entry::new(kind, 0o660).owned_by(0, 6), b"");
    }
    twin.link(b"special/null-too", b"special/null");
}

fn owners_modes_and_times(twin: &mut Twin<FileSink>) {
    twin.directory("meta");
    for mode in [0, 0o1777, 0o2755, 0o4755, 0o6755, 0o7777] {
        twin.add(format!("meta/file-{mode:o}"), Entry::new(Kind::file(b"m"), mode), b"m");
        twin.add(format!("meta/directory-{mode:o}"), Entry::new(Kind::Directory, mode), b"");
    }
    for id in [1, 65_534, 65_535, 65_536, 1 << 31, u32::MAX - 1] {
        let entry = Entry::new(Kind::file(b"o"), 0o644).owned_by(id, id.wrapping_sub(1));
        twin.add(format!("meta/of-{id}"), entry, b"o");
    }
    let last = 0x3_7fff_ffff;
    for seconds in
        [-(1 << 31), -1, 0, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 33, last]
    {
        for nanoseconds in [0, 1, 999_999_999] {
            let entry = Entry::new(Kind::file(b""), 0o644).modified_at(seconds, nanoseconds);
            twin.add(format!("meta/at-{seconds}.{nanoseconds}"), entry, b"");
        }
    }
}

fn names(twin: &mut Twin<FileSink>) {
    twin.directory("names");
    let names: [&[u8]; 9] = [
        &[b'n'; 255],
        &[0xff; 255],
        b"space tab\tnewline\n",
        "ümläut 日本".as_bytes(),
        b"bad\xff\xfeutf8",
        b"...",
        b"-rf",
        b"\x01",
        b"back\\slash\"quote",
    ];
    for name in names {
        twin.file([b"names/", name].concat(), name);
    }
}

/// `u::rw-,u:1000:r--,g::r--,g:77:rw-,m::rw-,o::---`.
fn access_acl() -> Vec<u8> {
    acl(&[(1, 6, NO_ID), (2, 4, 1000), (4, 4, NO_ID), (8, 6, 77), (16, 6, NO_ID), (32, 0, NO_ID)])
}

fn attributes(twin: &mut Twin<FileSink>) {
    twin.directory("attributes");
    let file = || Entry::new(Kind::file(b"a"), 0o644);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let fits_inode = vec![b'i'; IN_INODE - ATTRIBUTE_ENTRY];
    let fits_block = vec![b'b'; IN_BLOCK - ATTRIBUTE_ENTRY];
    let mut many = file();
    for number in 0..40 {
        many = many.with_attribute(format!("user.k{number:02}").as_bytes(), &vec![b'v'; number]);
    }
    let entries = [
        ("none", file()),
        ("empty", file().with_attribute(b"user.empty", b"")),
        ("in-inode", file().with_attribute(b"user.a", b"1")),
        ("fills-inode", file().with_attribute(b"user.a", &fits_inode)),
        ("over-inode", file().with_attribute(b"user.a", &[&fits_inode[..], b"+"].concat())),
        ("fills-block", file().with_attribute(b"user.a", &fits_block)),
        (
            "fills-both",
            file().with_attribute(b"user.a", &fits_inode).with_attribute(b"user.b", &fits_block),
        ),
        ("many", many),
        ("binary", file().with_attribute(b"user.bin\xff", b"\0\n\xff\0")),
        ("of-security", file().with_attribute(b"security.capability", &capability)),
        ("of-trusted", file().with_attribute(b"trusted.overlay.x", b"y")),
        ("selinux", file().with_attribute(b"security.selinux", b"system_u:object_r:bin_t:s0\0")),
        ("long-name", file().with_attribute(&[b"user.", &[b'n'; 250][..]].concat(), b"v")),
        ("same-everywhere", file().with_attribute(b"user.a", &[b's'; 200])),
        ("same-everywhere-too", file().with_attribute(b"user.a", &[b's'; 200])),
    ];
    for (name, entry) in entries {
        twin.add(format!("attributes/{name}"), entry, b"a");
    }
    let mut entry = Entry::new(Kind::file(b"a"), 0o660).owned_by(1, 2);
    entry = entry.with_attribute(b"system.posix_acl_access", &access_acl());
    twin.add("attributes/acl", entry, b"a");
    let default = Entry::new(Kind::Directory, 0o755)
        .with_attribute(b"system.posix_acl_default", &access_acl())
        .with_attribute(b"user.on-a-directory", b"yes");
    twin.add("attributes/default-acl", default, b"");
    let link = Entry::new(Kind::Symlink(b"none".to_vec()), 0o777)
        .with_attribute(b"trusted.on-a-symlink", b"yes");
    twin.add("attributes/symlink", link, b"");
    let device = Entry::new(Kind::CharacterDevice(Some((1, 5))), 0o600)
        .with_attribute(b"security.on-a-device", &[b'd'; 300]);
    twin.add("attributes/device", device, b"");
}

/// e2fsck says nothing of an ACL in the form of programs on disk; the kernel answers everybody but
/// the owner by an error. So an ordinary user has to ask.
#[test]
fn an_acl_lets_in_whom_it_names_and_nobody_else() {
    if !judge::kernel() || !judge::all(&["setpriv", "getfacl"]) {
        return;
    }
    let image = Image::build(roomy(), |twin| {
        let entry = Entry::new(Kind::file(b"secret"), 0o660)
            .owned_by(1, 2)
            .with_attribute(b"system.posix_acl_access", &access_acl());
        twin.add("acl", entry, b"secret");
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    let file = mount.path().join("acl");
    let read_as = |uid: u32, gid: u32| {
        let output = Command::new(judge::find("setpriv").unwrap())
            .args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".into()])
            .arg("cat")
            .arg(&file)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read_as(1000, 1000), "secret", "the user that the ACL names");
    assert_eq!(read_as(1001, 77), "secret", "a member of the group that the ACL names");
    assert_eq!(read_as(1001, 1001), "", "anybody else");
    let shown = judge::succeed(
        "getfacl",
        [
            "--numeric".as_ref(),
            "--omit-header".as_ref(),
            "--absolute-names".as_ref(),
            file.as_os_str(),
        ],
    );
    let lines: Vec<_> = shown.split_whitespace().collect();
    assert_eq!(
        lines,
        ["user::rw-", "user:1000:r--", "group::r--", "group:77:rw-", "mask::rw-", "other::---"]
    );
    mount.close();
}

#[test]
fn more_than_65000_subdirectories_count_as_one_link() {
    let image = Image::build(roomy(), |twin| {
        twin.directory("wide");
        for number in 0..70_000 {
            twin.directory(format!("wide/{number}"));
        }
    });
    stands_a_storm_in(&image, "wide", |directory| {
        assert_eq!(fs::metadata(directory).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(directory).unwrap().count(), 70_000);
    });
}

#[test]
fn a_directory_of_120000_names_has_an_index_of_two_levels_and_takes_more() {
    let name = |number: u32| format!("tall/a-name-that-fills-the-leaves-{number:080}");
    let image = Image::build(roomy(), |twin| {
        twin.directory("tall");
        // One inode has at most 65,000 names.
        twin.file("first", b"60000 names");
        twin.file("second", b"60000 names");
        for number in 0..120_000 {
            let target: &[u8] = if number < 60_000 { b"first" } else { b"second" };
            twin.link(name(number).as_bytes(), target);
        }
    });
    if judge::all(&["debugfs"]) {
        assert!(debugfs::is_indexed(&image.path, "/tall"));
        let index = debugfs::read(&image.path, "htree /tall");
        let levels = index.lines().find(|line| line.contains("Indirect levels")).unwrap();
        assert!(levels.ends_with(" 1"), "{levels}");
    }
    stands_a_storm_in(&image, "tall", |directory| {
        assert_eq!(fs::read_dir(directory).unwrap().count(), 120_000);
        let first = fs::metadata(directory.join("../first")).unwrap();
        assert_eq!(first.nlink(), 60_001);
        // Every name is found by its hash.
        for number in 0..120_000 {
            let found = fs::metadata(directory.join("..").join(name(number))).unwrap();
            assert_eq!(found.ino() == first.ino(), number < 60_000);
        }
    });
}

/// Lets `look` see a directory that is too large to compare entry by entry, lets a guest write
/// there, and looks again.
fn stands_a_storm_in(image: &Image, directory: &str, look: impl Fn(&Path)) {
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let path = mount.path().join(directory);
    look(&path);
    let mut touched = Tree::new();
    touched.insert(directory, Entry::new(Kind::Directory, 0o755));
    storm::weather(mount.path(), &touched).unwrap();
    for number in 0..3000 {
        fs::write(path.join(format!("another-{number}")), b"").unwrap();
    }
    for number in 0..3000 {
        fs::remove_file(path.join(format!("another-{number}"))).unwrap();
    }
    look(&path);
    mount.close();
    gate::assert_clean(&image.path);
}

#[test]
fn holes_of_a_sparse_file_take_no_blocks() {
    let image = Image::build(roomy(), |twin| {
        twin.sparse(b"sparse", 64 << 20, &[Segment { offset: 32 << 20, length: 4096 }]);
    });
    if judge::all(&["debugfs"]) {
        assert_eq!(debugfs::blocks(&image.path, "/sparse").len(), 1);
    }
}

#[test]
fn a_lost_and_found_of_the_input_is_that_of_the_filesystem() {
    let image = Image::build(roomy(), |twin| {
        let entry = Entry::new(Kind::Directory, 0o750).owned_by(3, 4).modified_at(77, 0);
        twin.add("lost+found", entry.with_attribute(b"user.kept", b"yes"), b"");
        twin.file("lost+found/#12", b"found");
    });
    image.assert_as_declared();
}
