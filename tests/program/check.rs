//! Whether a filesystem is sound, as `banger image check` says it.

use std::fs;
use std::path::Path;
use std::process::Output;

use banger_test_support::judge;
use serde_json::Value;

use crate::banger::Bench;

/// A filesystem of mke2fs with a file in it, at the byte `offset` of a file.
fn make(path: &Path, offset: usize) -> bool {
    if !judge::all(&["mke2fs", "debugfs"]) {
        return false;
    }
    let single = path.with_extension("single");
    let words = ["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum"];
    let place = single.to_str().unwrap();
    judge::succeed("mke2fs", words.into_iter().chain([place, "8M"]));
    let source = path.with_extension("source");
    fs::write(&source, "hello").unwrap();
    banger_test_support::debugfs::write(&single, &format!("write {} file", source.display()));
    let mut bytes = vec![0; offset];
    bytes.extend(fs::read(&single).unwrap());
    fs::write(path, bytes).unwrap();
    true
}

/// Makes the file's inode count two sectors more.
fn damage(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    let reader = ext4_writer::reader::Reader::open(&bytes[offset..]).unwrap();
    let file = reader.lookup(b"/file", ext4_writer::reader::Links::Keep).unwrap();
    let inode = usize::try_from(reader.inode_offset(file.number()).unwrap()).unwrap();
    bytes[offset + inode + 0x1c] += 2;
    fs::write(path, bytes).unwrap();
}

fn run(bench: &Bench, words: &[&str]) -> Output {
    bench.command(["image", "check", "disk.ext4"]).args(words).output().unwrap()
}

fn said(output: &Output, code: i32) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*error), (Some(code), ""));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_sound_image_is_said_to_be_sound_and_a_damaged_one_exits_with_65() {
    let bench = Bench::new();
    let path = bench.path("disk.ext4");
    if !make(&path, 0) {
        return;
    }
    assert_eq!(said(&run(&bench, &[]), 0), "disk.ext4: sound: 12 inodes, 8192 blocks\n");
    damage(&path, 0);
    let expected = "error inode-blocks: /file: inode 12: an inode counts other sectors than it has: \
        i_blocks 4, expected 2\ndisk.ext4: damaged: 1 error, 0 warnings\n";
    assert_eq!(said(&run(&bench, &[]), 65), expected);
    assert_eq!(said(&run(&bench, &["--as", "e2fsck"]), 65), expected);
    let none = said(&run(&bench, &["--max-findings", "0"]), 65);
    assert_eq!(
        none,
        "disk.ext4: damaged: 1 error, 0 warnings; 0 are shown, --max-findings shows more\n"
    );
}

#[test]
fn a_finding_is_told_to_machines_with_its_place() {
    let bench = Bench::new();
    let path = bench.path("disk.ext4");
    let offset = 1 << 20;
    if !make(&path, offset) {
        return;
    }
    damage(&path, offset);
    let json = said(&run(&bench, &["--offset", "1M", "--format", "json"]), 65);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["sound"], &json["errors"]), (&false.into(), &1.into()));
    let finding = &json["findings"][0];
    assert_eq!(finding["id"], "inode-blocks");
    assert_eq!((&finding["path"], &finding["inode"]), (&"/file".into(), &12.into()));
    assert_eq!((&finding["found"], &finding["expected"]), (&"4".into(), &"2".into()));
    let sarif = said(&run(&bench, &["--offset", "1M", "--format", "sarif"]), 65);
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"inode-blocks".into(), &"error".into()));
    let location = &result["locations"][0];
    assert_eq!(location["logicalLocations"][0]["fullyQualifiedName"], "/file");
    assert_eq!(location["physicalLocation"]["artifactLocation"]["uri"], "disk.ext4");
}

#[test]
fn what_e2fsck_passes_over_is_damage_unless_it_is_asked_as() {
    let bench = Bench::new();
    let path = bench.path("disk.ext4");
    if !make(&path, 0) {
        return;
    }
    // The last block is cut off: e2fsck -fn exits with 0, the kernel does not mount it.
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 1024);
    fs::write(&path, bytes).unwrap();
    let error = said(&run(&bench, &[]), 65);
    assert!(error.starts_with("error image-short: "), "{error}");
    let warning = said(&run(&bench, &["--as", "e2fsck"]), 0);
    assert!(warning.starts_with("warning image-short: "), "{warning}");
}

#[test]
fn what_is_no_filesystem_is_damaged_and_what_cannot_be_read_is_an_error() {
    let bench = Bench::new();
    let path = bench.path("disk.ext4");
    fs::write(&path, vec![7; 5000]).unwrap();
    let none = said(&run(&bench, &[]), 65);
    assert!(none.starts_with("error not-ext4: "), "{none}");
    fs::remove_file(&path).unwrap();
    assert_eq!(run(&bench, &[]).status.code(), Some(66));
    fs::create_dir(&path).unwrap();
    assert_eq!(run(&bench, &[]).status.code(), Some(66));
}

#[test]
fn what_is_made_or_changed_is_checked_where_that_is_asked_for() {
    let bench = Bench::new();
    let path = bench.path("disk.ext4");
    if !make(&path, 0) {
        return;
    }
    let run = |words: &[&str]| bench.command(words).output().unwrap();
    let empty = run(&["disk", "create", "empty.ext4", "--size", "16M", "--check"]);
    assert!(empty.status.success(), "{}", judge::text(&empty));
    let copy = ["disk", "create", "copy.ext4", "--from", "disk.ext4", "--size", "16M", "--check"];
    let copied = run(&copy);
    assert!(copied.status.success(), "{}", judge::text(&copied));
    let edit = ["image", "edit", "disk.ext4", "--chmod", "600:/file", "--check"];
    let edited = run(&edit);
    assert!(edited.status.success(), "{}", judge::text(&edited));
    damage(&path, 0);
    fs::remove_file(bench.path("copy.ext4")).unwrap();
    let before = fs::read(&path).unwrap();
    for words in [&copy[..], &edit[..]] {
        let refused = run(words);
        assert_eq!(refused.status.code(), Some(65), "{}", judge::text(&refused));
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(error.contains("disk.ext4 is damaged: inode-blocks: /file: inode 12:"), "{error}");
    }
    assert!(fs::read(&path).unwrap() == before, "a damaged image was changed");
    assert!(!bench.path("copy.ext4").exists());
}
