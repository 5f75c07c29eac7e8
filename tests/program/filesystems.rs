//! Outputs on filesystems that cannot do what ext4 can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_test_support::device::WithoutLinks;
use banger_test_support::{gate, judge};

use crate::banger::Bench;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_output_needs_neither_hard_links_nor_files_without_names() {
    let Some(place) = WithoutLinks::new(64 << 20) else { return };
    assert!(fs::write(place.path().join("a"), "a").is_ok());
    assert!(fs::hard_link(place.path().join("a"), place.path().join("b")).is_err());
    fs::remove_file(place.path().join("a")).unwrap();
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    fs::write(bench.path("tree/file"), "content").unwrap();
    let at = |name: &str| place.path().join(name);
    let disk = at("disk.ext4");
    let disk = disk.to_str().unwrap();
    let words = ["--size", "4M", "--no-journal", "--metadata"];
    bench.build("dir:tree", disk, &words);
    assert_eq!(names(place.path()), ["disk.ext4", "disk.ext4.json"]);
    gate::assert_clean(&at("disk.ext4"));
    let first = fs::read(disk).unwrap();

    // What is there stays unless it may be replaced.
    let refused = bench.run(["image", "build", "dir:tree", disk, "--quiet"]);
    assert_eq!(refused.status.code(), Some(73), "{}", judge::text(&refused));
    assert!(fs::read(disk).unwrap() == first);
    fs::write(bench.path("tree/file"), "other content").unwrap();
    bench.build("dir:tree", disk, &["--size", "4M", "--no-journal", "--metadata", "--force"]);
    assert_eq!(names(place.path()), ["disk.ext4", "disk.ext4.json"]);
    gate::assert_clean(&at("disk.ext4"));
    assert!(fs::read(disk).unwrap() != first);

    let (empty, archive) = (at("empty.ext4"), at("x.tar"));
    for words in [
        &["disk", "create", "--quiet", "--size", "4M", empty.to_str().unwrap()][..],
        &["image", "export", "--quiet", disk, "--output", archive.to_str().unwrap()],
    ] {
        let made = bench.run(words);
        assert!(made.status.success(), "{words:?}: {}", judge::text(&made));
    }
    gate::assert_clean(&empty);
    assert_eq!(names(place.path()), ["disk.ext4", "disk.ext4.json", "empty.ext4", "x.tar"]);
}

#[test]
fn a_failed_output_leaves_no_name_where_files_cannot_be_without() {
    let Some(place) = WithoutLinks::new(16 << 20) else { return };
    let bench = Bench::new();
    let disk = place.path().join("disk.ext4");
    let words = ["disk", "create", "--quiet", "--size", "64M", disk.to_str().unwrap()];
    let failed = bench.run(words);
    assert_eq!(failed.status.code(), Some(73), "{}", judge::text(&failed));
    assert_eq!(names(place.path()), Vec::<String>::new());
}

/// In a directory such as /tmp nobody but its owner replaces a file: said before the work.
#[test]
fn a_file_that_cannot_be_replaced_in_the_end_is_refused_in_the_beginning() {
    let bench = Bench::new();
    let Some(nobody) = crate::banger::Nobody::new(&bench) else { return };
    fs::create_dir(bench.path("sticky")).unwrap();
    let mode = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(bench.path("sticky"), mode).unwrap();
    fs::write(bench.path("sticky/disk.ext4"), "mine").unwrap();
    let words = ["image", "pull", "127.0.0.1:1/x", "sticky/disk.ext4", "--force", "--quiet"];
    let refused = nobody.command(&words).output().unwrap();
    // Before the registry, which is not there, is asked.
    assert_eq!(refused.status.code(), Some(73), "{}", judge::text(&refused));
    let said = judge::text(&refused);
    assert!(said.contains("another user") && said.lines().count() == 1, "{said}");
    assert_eq!(fs::read(bench.path("sticky/disk.ext4")).unwrap(), b"mine");
}
