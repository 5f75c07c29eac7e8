//! Archives of images: read by the archivers of others, and built again.

use std::fs::{self, File};
use std::path::Path;

use banger_test_support::device::LoopDevice;
use banger_test_support::mount::{Access, Mount, read_tree};
use banger_test_support::tree::{Kind, Tree};
use banger_test_support::{gate, judge};

use super::small;
use crate::banger::Bench;
use crate::directories::Source;

/// The tree that an archive of `tree` can hold.
fn archived(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.remove(b"special/socket");
    // mkfs makes it anew.
    tree.change(b"lost+found", |entry| entry.modified = None);
    tree
}

/// Takes out the time that GNU tar and libarchive misread: in the last second before 1970, which
/// is -0.876543211 of that year, they lose the sign of the zero.
fn without_last_second(mut tree: Tree) -> Tree {
    tree.change(b"meta/time-1", |entry| entry.modified = None);
    tree
}

/// Whether the image that is built of an image's archive has the same tree, and the same times of
/// access and change, and holes.
pub(super) fn assert_rebuilds(bench: &Bench, image: &str, tree: &Tree) {
    bench.look(["export", image, "-o", "tree.tar", "--force", "--quiet"]);
    // Holes are of whole blocks.
    let block = block(bench, image).to_string();
    let options = ["--size", "fit+1M", "--force", "--block-size", &block];
    let report = bench.build("tar:tree.tar", "again.ext4", &options);
    assert_eq!(report["losses_total"], 0, "{report:#}");
    gate::assert_clean(&bench.path("again.ext4"));
    let Some(mount) = Mount::new(&bench.path("again.ext4"), Access::ReadOnly) else { return };
    archived(tree).assert_same(&mount.tree(), "the image that was built again");
    mount.close();
    let stats = [image, "again.ext4"].map(|image| {
        ["/sizes/1", "/meta/time-1", "/links/out", "/dirs/big"].map(|path| {
            let stat = bench.look_json(&["stat", image, path, "--quiet"]);
            [stat["accessed"].clone(), stat["changed"].clone(), stat["modified"].clone()]
        })
    });
    assert_eq!(stats[0], stats[1]);
    for path in ["/sizes/sparse", "/sizes/hole", "/sizes/islands"] {
        let [there, here] = [image, "again.ext4"].map(|image| data(bench, image, path));
        assert_eq!(here, there, "holes of {path}");
    }
    // What an archive of the second holds is what that of the first does.
    bench.look(["export", "again.ext4", "-o", "again.tar", "--force", "--quiet"]);
    let archives = ["tree.tar", "again.tar"].map(|name| fs::read(bench.path(name)).unwrap());
    assert!(archives[0] == archives[1], "archives differ, of blocks of {block} bytes");
}

/// The bytes of a block.
fn block(bench: &Bench, image: &str) -> u64 {
    bench.look_json(&["inspect", image, "--quiet"])["block_size"].as_u64().unwrap()
}

/// The bytes of a file that are blocks with data.
fn data(bench: &Bench, image: &str, path: &str) -> u64 {
    let stat = bench.look_json(&["stat", image, path, "--quiet"]);
    let length = |extent: &serde_json::Value| extent["length"].as_u64().unwrap();
    let blocks: u64 = stat["extents"].as_array().unwrap().iter().map(length).sum();
    blocks * block(bench, image)
}

/// An image with something of everything, and its tree.
fn made(bench: &Bench) -> Option<Tree> {
    let source = Source::on(bench, "made.ext4", 4096, &["-t", "ext4"])?;
    source.fill();
    source.mount.close();
    let mount = Mount::new(&bench.path("made.ext4"), Access::ReadOnly)?;
    let tree = mount.tree();
    mount.close();
    let _ = bench.look(["export", "made.ext4", "-o", "tree.tar", "--quiet"]);
    Some(archived(&tree))
}

/// A fresh filesystem to unpack into, whose `lost+found` is as it always is.
fn unpacked(bench: &Bench, unpack: impl FnOnce(&Path)) -> Option<Tree> {
    let target = Source::on(bench, "target.ext4", 4096, &["-t", "ext4"])?;
    unpack(target.mount.path());
    let tree = read_tree(target.mount.path()).unwrap();
    target.mount.close();
    Some(tree)
}

#[test]
fn gnu_tar_unpacks_the_same_tree() {
    let bench = Bench::new();
    let Some(tree) = made(&bench) else { return };
    let found = unpacked(&bench, |target| {
        let archive = bench.path("tree.tar");
        let (archive, target) = (archive.to_str().unwrap(), target.to_str().unwrap());
        let words =
            ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore"];
        // The tree has old and future times, and names that are not UTF-8.
        let calm = ["--warning=no-timestamp", "--warning=no-unknown-keyword"];
        let words = ["-xpf", archive, "-C", target].into_iter().chain(words).chain(calm);
        let output = judge::output("tar", words);
        assert_eq!((output.status.code(), judge::text(&output).as_str()), (Some(0), ""));
    });
    let Some(found) = found else { return };
    without_last_second(tree).assert_same(&found, "GNU tar");
}

#[test]
fn bsdtar_unpacks_the_same_tree() {
    let bench = Bench::new();
    if !judge::all(&["bsdtar"]) {
        return;
    }
    let Some(mut tree) = made(&bench) else { return };
    let found = unpacked(&bench, |target| {
        let archive = bench.path("tree.tar");
        let (archive, target) = (archive.to_str().unwrap(), target.to_str().unwrap());
        let output = judge::output("bsdtar", ["-xpf", archive, "-C", target, "--numeric-owner"]);
        assert_eq!((output.status.code(), judge::text(&output).as_str()), (Some(0), ""));
    });
    let Some(mut found) = found else { return };
    // It keeps ACLs in records of its own only, and sets no attributes of links and pipes.
    for tree in [&mut tree, &mut found] {
        tree.change_all(|entry| {
            if let Some(attributes) = &mut entry.attributes {
                attributes.retain(|name, _| name.starts_with(b"user."));
            }
        });
    }
    // The directory that it is told to unpack into keeps its time.
    found.change(b"", |entry| entry.modified = None);
    without_last_second(tree).assert_same(&found, "bsdtar");
}

#[test]
fn python_reads_every_member() {
    const SCRIPT: &str = r"
import sys, tarfile
out = sys.stdout.buffer
for member in tarfile.open(sys.argv[1], errors='surrogateescape'):
    name = member.name.encode('utf-8', 'surrogateescape')
    out.write(b'%s\0%s\0%o\0%d\0%d\0%d\n\0' % (
        name, member.type, member.mode, member.uid, member.gid, member.size))
";
    let bench = Bench::new();
    if !judge::all(&["python3"]) {
        return;
    }
    let Some(tree) = made(&bench) else { return };
    let archive = bench.path("tree.tar");
    let output = judge::bytes("python3", ["-c", SCRIPT, archive.to_str().unwrap()]);
    let fields: Vec<_> = output.split(|byte| *byte == 0).collect();
    let (members, rest) = fields.as_chunks::<6>();
    assert_eq!(rest.len(), 1);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().trim().to_owned();
    let mut count = 0;
    for [name, kind, mode, uid, gid, size] in members {
        let path = if *name == b"." { b"" } else { *name };
        let entry = tree.get(path).unwrap_or_else(|| panic!("{}", name.escape_ascii()));
        assert_eq!(text(mode), format!("{:o}", entry.mode), "{}", name.escape_ascii());
        assert_eq!((text(uid), text(gid)), (entry.uid.to_string(), entry.gid.to_string()));
        if let Kind::File { size: expected, .. } = entry.kind
            && *kind != b"1"
        {
            assert_eq!(text(size), expected.to_string(), "{}", name.escape_ascii());
        }
        count += 1;
    }
    // All but lost+found, which every filesystem has.
    assert_eq!(count + 1, tree.len());
}

#[test]
fn the_same_image_gives_the_same_archive_on_standard_output_and_in_a_file() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    let piped = bench.look(["export", "small.ext4"]);
    let report = bench.look_json(&["export", "small.ext4", "-o", "small.tar"]);
    assert!(piped == fs::read(bench.path("small.tar")).unwrap());
    assert_eq!(report["files"], 6);
    let refused = bench.try_look(["export", "small.ext4", "-o", "small.tar"]);
    assert_eq!(refused.status.code(), Some(73), "{}", judge::text(&refused));
    let refused = bench.try_look(["export", "small.ext4", "--format", "json"]);
    assert_eq!(refused.status.code(), Some(2), "{}", judge::text(&refused));
}

#[test]
fn an_archive_never_replaces_its_image() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    std::os::unix::fs::symlink("small.ext4", bench.path("link")).unwrap();
    fs::hard_link(bench.path("small.ext4"), bench.path("other-name")).unwrap();
    let whole = fs::read(bench.path("small.ext4")).unwrap();
    for output in ["small.ext4", "./small.ext4", "link", "other-name"] {
        let refused = bench.try_look(["export", "small.ext4", "-o", output, "--force"]);
        let said = judge::text(&refused);
        assert_eq!(refused.status.code(), Some(2), "{output}: {said}");
        assert!(said.contains("would replace the image"), "{said}");
    }
    assert!(whole == fs::read(bench.path("small.ext4")).unwrap());
    let Some(device) = LoopDevice::over(&bench.path("small.ext4")) else { return };
    let name = device.path().to_str().unwrap();
    let refused = bench.try_look(["export", name, "-o", name, "--force"]);
    assert_eq!(refused.status.code(), Some(2), "{}", judge::text(&refused));
}

#[test]
fn what_an_archive_cannot_hold_is_listed() {
    let bench = Bench::new();
    let Some(source) = Source::on(&bench, "made.ext4", 4096, &["-t", "ext4"]) else { return };
    source.file("frozen", b"x");
    source.file(".wh.hidden", b"x");
    // A further name of a file, too.
    fs::hard_link(source.path(".wh.hidden"), source.path(".wh.linked")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(source.path("socket")).unwrap());
    let frozen = source.path("frozen");
    judge::succeed("chattr", ["+ia".as_ref(), frozen.as_os_str()]);
    source.mount.close();
    let report = bench.look_json(&["export", "made.ext4", "-o", "made.tar"]);
    let losses: Vec<_> = report["losses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|loss| (loss["path"].as_str().unwrap(), loss["reason"].as_str().unwrap()))
        .collect();
    let [(whiteout, why), (linked, same), (flags, letters), (socket, _)] = losses[..] else {
        panic!("{losses:?}")
    };
    assert_eq!((whiteout, linked, same), ("/.wh.hidden", "/.wh.linked", why));
    assert_eq!((flags, socket), ("/frozen", "/socket"));
    assert!(why.contains("whiteout"), "{why}");
    assert!(letters.contains(" ia "), "{letters}");
    let said = bench.try_look(["export", "made.ext4"]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("not in the archive (4):\n  /.wh.hidden: "), "{said}");
}

#[test]
fn a_file_of_many_holes_is_archived_whole() {
    use std::os::unix::fs::FileExt as _;
    let bench = Bench::new();
    fs::create_dir(bench.path("root")).unwrap();
    let file = File::create(bench.path("root/islands")).unwrap();
    for number in 0..12_000_u64 {
        file.write_all_at(&number.to_le_bytes(), number * 8192).unwrap();
    }
    bench.build("dir:root", "many.ext4", &["--owner", "0", "--size", "fit+1M"]);
    let report = bench.look_json(&["export", "many.ext4", "-o", "many.tar"]);
    let reason = report["losses"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("--limit sparse=12000"), "{reason}");
    bench.build_fails("tar:many.tar", &[], 65);
    bench.build("tar:many.tar", "again.ext4", &["--limit", "sparse=12000"]);
    let told = bench.look(["diff", "many.ext4", "again.ext4", "--no-times"]);
    assert_eq!(told, b"");
    assert_eq!(data(&bench, "many.ext4", "/islands"), data(&bench, "again.ext4", "/islands"));
}
