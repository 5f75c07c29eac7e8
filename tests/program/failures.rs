//! Whatever fails: the exit code tells what, one line tells why, and nothing is left at OUTPUT.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use banger_test_support::layers::{Compression, Image, Layer, host_architecture};
use banger_test_support::registry::Registry;
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{gate, judge};
use rustix::process::Signal;
use serde_json::Value;

use crate::banger::{Bench, by_way_of, push};
use crate::image::image;

fn one_layer(layer: Vec<u8>) -> Image {
    let (architecture, compression) = (host_architecture(), Compression::Gzip);
    Image { architecture, layers: vec![layer], compression }
}

#[test]
fn words_that_make_no_sense_are_a_usage_error() {
    let bench = Bench::new();
    let cases: [&[&str]; 7] = [
        &["image", "pull"],
        &["image", "pull", "127.0.0.1:1/UPPER:tag"],
        &["image", "pull", "127.0.0.1:1/b", "--size", "many"],
        &["image", "pull", "127.0.0.1:1/b", "--uuid", "short"],
        &["image", "pull", "127.0.0.1:1/b", "--no-journal", "--journal-size", "8M"],
        &["image", "pull", "127.0.0.1:1/b", "--platform", ""],
        &["imagine"],
    ];
    for words in cases {
        let result = bench.run(words);
        assert_eq!(result.status.code(), Some(2), "{words:?}: {}", judge::text(&result));
        assert!(!result.stderr.is_empty());
    }
    assert_eq!(bench.images(), Vec::<PathBuf>::new());
}

#[test]
fn a_password_in_a_reference_is_repeated_by_nobody() {
    let bench = Bench::new();
    for reference in [
        "user:hunter2@ghcr.io/app",
        "docker://user:hunter2@ghcr.io/app:1",
        "https://user:hunter2@ghcr.io/app",
        "docker-daemon:user:hunter2@ghcr.io/app",
        "user:hunter2/x@ghcr.io/app",
    ] {
        for words in [
            &["image", "pull", reference, "disk"][..],
            &["image", "build", reference, "disk"],
            &["image", "pull", reference, "disk", "--format", "json"],
            &["image", "pull", reference],
            &["auth", "check", reference],
            &["disk", "create", "disk", "--from", reference],
        ] {
            let result = bench.run(words);
            let text = judge::text(&result) + &String::from_utf8_lossy(&result.stdout);
            assert!(!result.status.success(), "{words:?}");
            assert!(!text.contains("hunter2"), "{words:?}: {text}");
        }
    }
}

#[test]
fn a_registry_that_is_not_there_is_unavailable() {
    let bench = Bench::new();
    // The port of a listener that is gone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let message = bench.pull_fails(&format!("{address}/image:tag"), &[], 69);
    assert!(message.contains(&address.to_string()), "{message}");
}

#[test]
fn what_a_registry_does_not_have_is_not_found() {
    let Some(registry) = Registry::start() else { return };
    let bench = Bench::new();
    let message = bench.pull_fails(&format!("{}/none:latest", registry.host()), &[], 66);
    assert!(message.contains("none"), "{message}");
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    bench.pull_fails(&reference.replace(":latest", ":other"), &[], 66);
}

#[test]
fn an_output_that_exists_is_kept_unless_forced() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    fs::write(bench.path("disk"), b"mine").unwrap();
    let result = bench.run(["image", "pull", &reference, "disk"]);
    assert_eq!(result.status.code(), Some(73), "{}", judge::text(&result));
    assert!(judge::text(&result).contains("--force"));
    assert_eq!(fs::read(bench.path("disk")).unwrap(), b"mine");
    bench.pull(&reference, "disk", &["--force"]);
    gate::assert_clean(&bench.path("disk"));
}

#[test]
fn a_directory_that_is_missing_cannot_hold_an_output() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    let result = bench.run(["image", "pull", &reference, "no/such/directory/disk.ext4"]);
    assert_eq!(result.status.code(), Some(73), "{}", judge::text(&result));
    fs::create_dir(bench.path("directory")).unwrap();
    let result = bench.run(["image", "pull", &reference, "directory", "--force"]);
    assert_eq!(result.status.code(), Some(73), "{}", judge::text(&result));
    fs::write(bench.path("file"), "").unwrap();
    let result = bench.run(["image", "pull", &reference, "file/disk.ext4"]);
    assert_eq!(result.status.code(), Some(73), "{}", judge::text(&result));
    assert!(judge::text(&result).contains("file is not a directory; name a file in a directory"));
}

#[test]
fn content_that_does_not_fit_is_refused_with_the_numbers() {
    let Some(registry) = Registry::start() else { return };
    let content = vec![b'x'; 40 << 20];
    let mut layer = Layer::new();
    layer.put("large", &Entry::new(Kind::file(&content), 0o644), &content);
    let reference = push(&registry, &[one_layer(layer.finish())], "large:latest");
    let bench = Bench::new();
    let message = bench.pull_fails(&reference, &["--size", "32M"], 73);
    assert!(message.contains("--size"), "{message}");
    assert!(message.contains("free"), "{message}");
}

/// Changes a byte in the middle of the largest blob that the registry holds.
fn damage_largest_blob(registry: &Registry) {
    fn files(directory: &Path, found: &mut Vec<(u64, PathBuf)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else {
                found.push((fs::metadata(&path).unwrap().len(), path));
            }
        }
    }
    let mut found = Vec::new();
    files(&registry.data(), &mut found);
    let (_, path) = found.into_iter().max().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_blob_that_is_not_what_its_digest_says_is_bad_data() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::None)], "small:latest");
    damage_largest_blob(&registry);
    let bench = Bench::new();
    let message = bench.pull_fails(&reference, &[], 65);
    assert!(message.contains("sha256:"), "{message}");
    // A blob that was refused is not kept: the next pull says the same.
    bench.pull_fails(&reference, &[], 65);
}

#[test]
fn an_archive_that_would_leave_the_image_is_bad_data() {
    let Some(registry) = Registry::start() else { return };
    // The crate tar refuses to write such a name, so it goes into the header by hand.
    let mut header = tar_header(b"../escape");
    let checksum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    let archive = [header, vec![0; 1024]].concat();
    let reference = push(&registry, &[one_layer(archive)], "escape:latest");
    let bench = Bench::new();
    let message = bench.pull_fails(&reference, &[], 65);
    assert!(message.contains("../escape"), "{message}");
}

/// The ustar header of an empty regular file, with spaces for its checksum.
fn tar_header(name: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(b"00000000000\0");
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header
}

#[test]
fn an_archive_that_ends_early_is_bad_data() {
    let Some(registry) = Registry::start() else { return };
    let mut archive = crate::image::layers().remove(0);
    archive.truncate(archive.len() / 2);
    let reference = push(&registry, &[one_layer(archive)], "short:latest");
    Bench::new().pull_fails(&reference, &[], 65);
}

#[test]
fn a_failure_is_a_json_document_for_machines() {
    let bench = Bench::new();
    let result = bench.run(["image", "pull", "127.0.0.1:1/none", "--format", "json"]);
    assert_eq!(result.status.code(), Some(69));
    let document: Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(document["error"]["exit_code"], 69);
    assert_eq!(document["error"]["kind"], "unavailable");
    assert!(result.stderr.is_empty(), "{}", judge::text(&result));
}

/// An image whose pull takes long enough to be stopped.
fn long_pull(registry: &Registry) -> String {
    let content: Vec<u8> =
        (0..48 << 20).map(|n: u32| n.wrapping_mul(0x9e37_79b9).to_be_bytes()[0]).collect();
    let mut layer = Layer::new();
    layer.put("large", &Entry::new(Kind::file(&content), 0o644), &content);
    push(registry, &[one_layer(layer.finish())], "large:latest")
}

/// Starts a pull and stops it by `signal` after `milliseconds`. Returns its exit code:
/// 0 when it came to its end, `None` when the signal itself ended it.
fn stopped(bench: &Bench, reference: &str, signal: Signal, milliseconds: u64) -> Option<i32> {
    let program = bench.command(["image", "pull", reference, "disk.ext4", "--quiet"]);
    // Who starts the tests may ignore signals, as nohup(1) does; the program would too.
    let mut heeding = Command::new("env");
    heeding.arg("--default-signal");
    let mut child = by_way_of(heeding, &program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(milliseconds));
    judge::signal(&child, signal);
    let status = child.wait().unwrap();
    if status.success() {
        gate::assert_clean(&bench.path("disk.ext4"));
        fs::remove_file(bench.path("disk.ext4")).unwrap();
    } else {
        assert!(!bench.path("disk.ext4").exists(), "{signal:?} after {milliseconds} ms");
    }
    status.code()
}

#[test]
fn a_killed_pull_leaves_nothing_at_its_output() {
    let Some(registry) = Registry::start() else { return };
    let reference = long_pull(&registry);
    let bench = Bench::new();
    let times = [0, 30, 60, 120, 240, 480];
    let killed = times
        .iter()
        .filter(|time| stopped(&bench, &reference, Signal::KILL, **time).is_none())
        .count();
    assert!(killed > 0, "no pull was slow enough to be killed");
    // What the killed ones left in the cache does no harm.
    bench.pull(&reference, "disk.ext4", &[]);
    gate::assert_clean(&bench.path("disk.ext4"));
}

#[test]
fn an_interrupted_pull_says_so_and_leaves_nothing_behind() {
    let Some(registry) = Registry::start() else { return };
    let reference = long_pull(&registry);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let interrupted = [400, 200, 100, 50].iter().any(|time| {
            // A cache of its own: a blob that is there already makes a pull short.
            let bench = Bench::new();
            let code = stopped(&bench, &reference, signal, *time);
            assert_eq!(bench.images(), Vec::<PathBuf>::new());
            code == Some(130)
        });
        assert!(interrupted, "no pull ended with 130 by {signal:?}");
    }
}
