//! What the UUID of an image follows from, and what is the same image.

use std::fs::{self, File, FileTimes};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use banger_test_support::layers::{Compression, Layer};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge};

use crate::banger::Bench;

/// A file of the same mode and time wherever it lies.
fn file(bench: &Bench, path: &str, content: &str) {
    let path = bench.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    settle(&path);
}

fn settle(path: &std::path::Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn archive(content: &str) -> Vec<u8> {
    let mut layer = Layer::new();
    let kind = Kind::file(content.as_bytes());
    layer.put("etc/file", &Entry::new(kind, 0o644), content.as_bytes());
    layer.finish()
}

/// The UUID and the bytes of what these words make.
fn made(bench: &Bench, source: &str, words: &[&str]) -> (String, Vec<u8>) {
    let report = bench.build(source, "made.ext4", &[words, &["--force"]].concat());
    let bytes = fs::read(bench.path("made.ext4")).unwrap();
    (report["image"]["uuid"].as_str().unwrap().to_owned(), bytes)
}

#[test]
fn what_is_added_counts_and_not_where_it_lay_or_how_that_was_said() {
    let bench = Bench::new();
    fs::write(bench.path("base.tar"), archive("base")).unwrap();
    for place in ["here", "there"] {
        file(&bench, &format!("{place}/agent"), "agent");
        fs::write(bench.path(&format!("{place}/over.tar")), archive("over")).unwrap();
        file(&bench, &format!("{place}/guest/rootfs/agent"), "guest");
        settle(&bench.path(&format!("{place}/guest/rootfs")));
    }
    let made = |words: &[&str]| made(&bench, "tar:base.tar", words);
    let plain = made(&[]);
    for (one, same) in [
        (["--add", "here/agent:/a"], ["--add", "./there/../there/agent:/a"]),
        (["--overlay", "here/over.tar"], ["--overlay", "there/over.tar"]),
        (["--guest", "here/guest"], ["--guest", "there/guest"]),
        (["--size", "64M"], ["--size", "65536K"]),
    ] {
        let first = made(&one);
        assert!(first == made(&same), "{same:?}");
        assert_ne!(first.0, plain.0, "{one:?}");
    }
    // Other contents below the same paths, of the same length and time.
    let words = ["--add", "here/agent:/a"];
    let before = made(&words);
    file(&bench, "here/agent", "AGENT");
    assert_ne!(made(&words).0, before.0);
    let words = ["--overlay", "here/over.tar"];
    let before = made(&words);
    fs::write(bench.path("here/over.tar"), archive("OVER")).unwrap();
    assert_ne!(made(&words).0, before.0);
    let words = ["--guest", "here/guest"];
    let before = made(&words);
    file(&bench, "here/guest/rootfs/agent", "GUEST");
    assert_ne!(made(&words).0, before.0);
    gate::assert_clean(&bench.path("made.ext4"));
}

#[test]
fn other_contents_of_a_directory_are_another_image_though_nothing_else_differs() {
    let bench = Bench::new();
    file(&bench, "root/file", "one");
    settle(&bench.path("root"));
    let one = made(&bench, "dir:root", &[]);
    file(&bench, "root/file", "two");
    settle(&bench.path("root"));
    assert_ne!(made(&bench, "dir:root", &[]).0, one.0);
    file(&bench, "root/file", "one");
    settle(&bench.path("root"));
    assert!(made(&bench, "dir:root", &[]) == one);
}

#[test]
fn a_flat_archive_is_read_once_and_never_copied() {
    let bench = Bench::new();
    let bytes = archive("flat");
    fs::write(bench.path("flat.tar"), &bytes).unwrap();
    fs::write(bench.path("flat.tar.gz"), Compression::Gzip.compress(&bytes)).unwrap();
    bench.build("tar:flat.tar", "disk.ext4", &[]);
    let expected = fs::read(bench.path("disk.ext4")).unwrap();
    for source in ["tar:flat.tar", "tar:flat.tar.gz", "tar:-", "tar:/dev/stdin"] {
        let name = if source.ends_with("gz") { "flat.tar.gz" } else { "flat.tar" };
        let mut command = bench.command(["image", "build", source, "again.ext4", "--force"]);
        // A copy would find no place.
        let command = command.env("TMPDIR", bench.path("none")).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // Those that read a file close it.
        let _ = input.write_all(&fs::read(bench.path(name)).unwrap());
        drop(input);
        assert!(child.wait().unwrap().success(), "{source}");
        assert!(fs::read(bench.path("again.ext4")).unwrap() == expected, "{source}");
    }
}

#[test]
fn standard_input_is_added_once_and_read_to_its_end() {
    let bench = Bench::new();
    fs::write(bench.path("base.tar"), archive("base")).unwrap();
    let content = "x".repeat(3 << 20);
    let added = |words: &[&str]| {
        let words = [&["image", "build", "tar:base.tar", "disk.ext4", "--force"], words].concat();
        let mut command = bench.command(&words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{words:?}");
        let cat = bench.run(["image", "cat", "disk.ext4", "/etc/added"]);
        assert!(cat.stdout == content.as_bytes(), "{words:?}");
        fs::read(bench.path("disk.ext4")).unwrap()
    };
    let first = added(&["--add", "-:/etc/added"]);
    assert!(first == added(&["--add", "/dev/stdin:/etc/added"]));
    gate::assert_clean(&bench.path("disk.ext4"));
    for words in [&["tar:-", "out", "--add", "-:/x"][..], &["-", "out", "--add", "-:/x"]] {
        let refused = bench.run([&["image", "build"], words].concat());
        assert_eq!(refused.status.code(), Some(2), "{}", judge::text(&refused));
    }
    let refused = bench.build_fails("tar:base.tar", &["--add", "-:/a", "--add", "-:/b"], 2);
    assert!(refused.contains("standard input"), "{refused}");
    bench.build("tar:base.tar", "disk.ext4", &["--force", "--add", "/proc/version:/etc/version"]);
    let cat = bench.run(["image", "cat", "disk.ext4", "/etc/version"]);
    assert_eq!(cat.stdout, fs::read("/proc/version").unwrap());
}
