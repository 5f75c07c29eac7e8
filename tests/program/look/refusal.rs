//! What is not there, not readable, no image, or damaged.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use banger_test_support::device::LoopDevice;
use banger_test_support::{debugfs, judge};
use serde_json::Value;

use super::small;
use crate::banger::{Bench, open_to_all, program_for_everybody};

/// A command, which has to fail with this exit code and one line; the line.
fn fails(bench: &Bench, words: &[&str], code: i32) -> String {
    let output = bench.try_look(words);
    let text = judge::text(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: "), "{said}");
    said
}

/// The words of every command, about one image.
const COMMANDS: [&[&str]; 7] = [
    &["ls", "-lR"],
    &["ls", "-R", "--format", "json"],
    &["cat", "/long"],
    &["stat", "/usr"],
    &["inspect"],
    &["export"],
    &["diff"],
];

/// Each of them as its whole words; a comparison is with itself.
fn commands(image: &str) -> impl Iterator<Item = Vec<&str>> {
    COMMANDS.into_iter().map(move |words| {
        let (name, rest) = words.split_first().unwrap();
        let (options, paths): (Vec<_>, Vec<_>) =
            rest.iter().copied().partition(|word| !word.starts_with('/'));
        let again = (*name == "diff").then_some(image);
        [*name].into_iter().chain(options).chain([image]).chain(again).chain(paths).collect()
    })
}

#[test]
fn what_is_not_there_is_not_found() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    fs::create_dir(bench.path("directory")).unwrap();
    for words in commands("none.ext4").chain(commands("directory")) {
        if !words.contains(&"json") {
            fails(&bench, &words, 66);
        }
    }
    for (words, said) in [
        (&["ls", "small.ext4", "/usr/none"][..], "there is no \"/usr/none\""),
        (&["ls", "small.ext4", "/long/x"], "is not a directory"),
        (&["cat", "small.ext4", "/usr"], "it is a directory"),
        (&["cat", "small.ext4", "/long", "none"], "there is no \"/none\""),
        (&["stat", "small.ext4", "/long/"], "is not a directory"),
        (&["stat", "small.ext4", "<4000000000>"], "there is no inode 4000000000"),
        (&["stat", "small.ext4", "<120>"], "inode 120 is not in use"),
    ] {
        let found = fails(&bench, words, 66);
        assert!(found.contains(said), "{found}");
    }
    let looped = fails(&bench, &["cat", "small.ext4", "/loop"], 65);
    assert!(looped.contains("more than 40 links"), "{looped}");
    let output = bench.try_look(["ls", "none.ext4", "--format", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["exit_code"], 66);
}

#[test]
fn other_formats_are_refused_by_their_names() {
    let bench = Bench::new();
    for (bytes, place, what) in [
        (&b"QFI\xfb"[..], 0, "it is qcow2"),
        (b"\x1f\x8b", 0, "compressed by gzip"),
        (b"hsqs", 0, "squashfs"),
        (b"ustar", 257, "a tar archive"),
        (b"XFSB", 0, "it is xfs"),
        (b"", 0, "not an ext4 filesystem"),
    ] {
        let file = File::create(bench.path("other.img")).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(bytes, place).unwrap();
        let said = fails(&bench, &["inspect", "other.img"], 65);
        assert!(said.contains(what), "{said}");
    }
    fs::write(bench.path("other.img"), "").unwrap();
    fails(&bench, &["inspect", "other.img"], 65);
}

/// A disk with the image as its second partition, at this byte.
fn disk(bench: &Bench, label: &str, start: u64) {
    let image = fs::read(bench.path("small.ext4")).unwrap();
    let file = File::create(bench.path("disk.img")).unwrap();
    file.set_len(start + u64::try_from(image.len()).unwrap() + (2 << 20)).unwrap();
    let script = format!("label: {label}\nstart=2048, size=2048\nstart={}\n", start / 512);
    fs::write(bench.path("script"), script).unwrap();
    let output = Command::new(judge::find("sfdisk").unwrap())
        .arg("--quiet")
        .arg(bench.path("disk.img"))
        .stdin(File::open(bench.path("script")).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", judge::text(&output));
    file.write_all_at(&image, start).unwrap();
}

#[test]
fn a_partitioned_disk_is_refused_with_its_partitions_and_read_by_offset() {
    let bench = Bench::new();
    if !judge::all(&["sfdisk"]) {
        return;
    }
    small(&bench, "small.ext4");
    for (label, what) in [("dos", "an MBR partition table"), ("gpt", "a GUID partition table")] {
        disk(&bench, label, 4 << 20);
        for words in commands("disk.img").filter(|words| !words.contains(&"json")) {
            let said = fails(&bench, &words, 65);
            assert!(said.contains(what), "{said}");
            let places = "partition 1 at byte 1048576, partition 2 at byte 4194304";
            assert!(said.contains(places) && said.contains("--offset"), "{said}");
            let mut words = words.clone();
            words.extend(["--offset", "4M"]);
            bench.look(&words);
        }
        let words = ["diff", "small.ext4", "disk.img", "--offset-b", "4M"];
        assert_eq!(bench.look(words), b"");
    }
    let said = fails(&bench, &["ls", "small.ext4", "--offset", "1G"], 2);
    assert!(said.contains("behind the end"), "{said}");
}

#[test]
fn a_block_device_is_read_like_a_file() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    let Some(device) = LoopDevice::over(&bench.path("small.ext4")) else { return };
    let name = device.path().to_str().unwrap();
    assert_eq!(bench.look(["ls", "-lR", name]), bench.look(["ls", "-lR", "small.ext4"]));
    assert_eq!(bench.look(["diff", name, "small.ext4"]), b"");
}

#[test]
fn a_directory_with_two_names_ends_every_walk_with_an_error() {
    let bench = Bench::new();
    if !judge::all(&["debugfs"]) {
        return;
    }
    small(&bench, "small.ext4");
    let root = bench.look_json(&["stat", "small.ext4", "/usr"])["inode"].to_string();
    debugfs::write(&bench.path("small.ext4"), &format!("link <{root}> /usr/lib/x/up"));
    for words in [&["ls", "-R", "small.ext4"][..], &["export", "small.ext4"]] {
        let output = bench.try_look(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{said}");
        assert!(said.contains("has a second name"), "{said}");
    }
    let output = bench.try_look(["diff", "small.ext4", "small.ext4"]);
    assert_eq!(output.status.code(), Some(65));
    // A listing of machines ends as a document, with the error in it.
    let output = bench.try_look(["ls", "-R", "small.ext4", "--format", "json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &document["error"]["kind"]), (Some(65), &"bad-data".into()));
    assert!(document["entries"].as_array().unwrap().len() > 5);
}

#[test]
fn what_people_hear_of_a_damaged_filesystem_is_told_to_machines() {
    let bench = Bench::new();
    if !judge::all(&["debugfs"]) {
        return;
    }
    small(&bench, "small.ext4");
    let words = ["--owner", "0", "--force", "--journal-size", "4M"];
    bench.build("dir:root", "small.ext4", &words);
    let caveats = |words: &[&str]| {
        let document = bench.try_look(words.iter().chain(&["--format", "json", "--quiet"]));
        let document: Value = serde_json::from_slice(&document.stdout).unwrap();
        document["caveats"].as_array().unwrap().clone()
    };
    assert_eq!(caveats(&["ls", "small.ext4"]), Vec::<Value>::new());
    // EXT4_ERROR_FS, and a journal that has to be replayed.
    debugfs::write(&bench.path("small.ext4"), "set_super_value state 2");
    let found = caveats(&["inspect", "small.ext4"]);
    let [errors] = &found[..] else { panic!("{found:?}") };
    assert!(errors.as_str().unwrap().contains("the kernel found errors"), "{errors}");
    debugfs::write(&bench.path("small.ext4"), "feature needs_recovery");
    for words in
        [&["ls", "small.ext4"][..], &["stat", "small.ext4", "/long"], &["inspect", "small.ext4"]]
    {
        let found = caveats(words);
        let [journal, again] = &found[..] else { panic!("{found:?}") };
        assert!(journal.as_str().unwrap().contains("was not unmounted"), "{journal}");
        assert_eq!(again, errors);
    }
    let said = bench.try_look(["ls", "small.ext4"]);
    assert_eq!(String::from_utf8(said.stderr).unwrap().lines().count(), 2);
}

#[test]
fn damage_behind_a_link_is_told() {
    let bench = Bench::new();
    if !judge::all(&["debugfs"]) {
        return;
    }
    small(&bench, "small.ext4");
    let told = bench.look(["ls", "small.ext4", "/loop"]);
    assert_eq!(told, b"/loop\n");
    // The directory that `/lib` leads to loses its inode.
    debugfs::write(&bench.path("small.ext4"), "set_inode_field /usr/lib links_count 0");
    let said = fails(&bench, &["ls", "small.ext4", "/lib"], 65);
    assert!(said.contains("is not in use"), "{said}");
}

/// Numbers without a pattern.
fn dice(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 11).unwrap() % below
}

#[test]
fn damaged_images_are_bad_data_and_nothing_else() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    let words = ["--owner", "0", "--force", "--no-journal", "-O", "^metadata_csum"];
    bench.build("dir:root", "unsummed.ext4", &words);
    let mut refused = 0;
    for image in ["small.ext4", "unsummed.ext4"] {
        let whole = fs::read(bench.path(image)).unwrap();
        let places: Vec<_> = (0..whole.len()).filter(|place| whole[*place] != 0).collect();
        let file = OpenOptions::new().write(true).open(bench.path(image)).unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for _ in 0..25 {
            let mut undo = Vec::new();
            for _ in 0..40 {
                let place = places[dice(&mut state, places.len())];
                let byte = u8::try_from(dice(&mut state, 256)).unwrap();
                undo.push(place);
                file.write_all_at(&[byte], u64::try_from(place).unwrap()).unwrap();
            }
            for words in commands(image) {
                let output = bench.try_look(&words);
                let code = output.status.code();
                // An image is no different from itself either, whatever it holds.
                assert!(
                    matches!(code, Some(0 | 65 | 66)),
                    "{words:?} with {undo:?}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                refused += usize::from(code == Some(65));
            }
            for place in undo {
                file.write_all_at(&[whole[place]], u64::try_from(place).unwrap()).unwrap();
            }
        }
        file.set_len(u64::try_from(whole.len() / 2).unwrap()).unwrap();
        for words in commands(image) {
            assert_eq!(bench.try_look(&words).status.code(), Some(65), "{words:?} of a half");
        }
    }
    assert!(refused > 50, "{refused} commands noticed the damage");
}

#[test]
fn everything_works_without_rights_and_without_other_programs() {
    if !judge::kernel() || !judge::all(&["setpriv"]) {
        return;
    }
    let bench = Bench::new();
    open_to_all(&bench.path(""));
    small(&bench, "small.ext4");
    let (_directory, program) = program_for_everybody();
    let command = |words: &[&str]| {
        Command::new(judge::find("setpriv").unwrap())
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&program)
            .arg("image")
            .args(words)
            .current_dir(bench.path(""))
            .env_clear()
            .env("PATH", "/nonexistent")
            .output()
            .unwrap()
    };
    for words in commands("small.ext4") {
        let output = command(&words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", judge::text(&output));
        assert!(!output.stdout.is_empty() || words[0] == "diff", "{words:?}");
    }
    let output = command(&["export", "small.ext4", "-o", "small.tar"]);
    assert_eq!(output.status.code(), Some(0), "{}", judge::text(&output));
    fs::set_permissions(bench.path("small.ext4"), fs::Permissions::from_mode(0o600)).unwrap();
    for words in commands("small.ext4") {
        assert_eq!(command(&words).status.code(), Some(77), "{words:?}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_work_without_a_word() {
    let bench = Bench::new();
    small(&bench, "small.ext4");
    // Enough for every pipe to be full.
    for number in 0..4000 {
        let name = format!("root/etc/a-name-that-fills-the-pipe-{number}");
        fs::write(bench.path(&name), "x").unwrap();
    }
    small(&bench, "small.ext4");
    fs::create_dir(bench.path("empty")).unwrap();
    bench.build("dir:empty", "empty.ext4", &["--owner", "0"]);
    for words in [
        &["cat", "small.ext4", "/long"][..],
        &["diff", "small.ext4", "empty.ext4"],
        &["diff", "small.ext4", "empty.ext4", "--format", "json"],
        &["ls", "-lR", "small.ext4"],
        &["ls", "-R", "small.ext4", "--format", "json"],
        &["export", "small.ext4"],
    ] {
        let mut child = bench
            .command(["image"])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut start = [0; 10];
        child.stdout.take().unwrap().read_exact(&mut start).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(141), vec![]), "{words:?}");
    }
}
