//! The image as the root disk of a virtual machine.

use std::fs::OpenOptions;
use std::path::Path;

use banger_test_support::boot::{Task, boot};
use banger_test_support::layers::Compression;
use banger_test_support::registry::Registry;
use banger_test_support::{gate, judge};

use crate::banger::{Bench, push};
use crate::image::image;

const MIB: u64 = 1 << 20;

#[test]
fn the_image_boots_and_doubles_while_it_is_mounted() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "disk.ext4", &["--size", "128M"]);
    assert_boots_and_doubles(&bench.path("disk.ext4"));
}

#[test]
fn an_image_that_was_edited_copied_and_grown_boots_and_doubles() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "seed.ext4", &["--size", "64M"]);
    std::fs::write(bench.path("agent"), vec![7; 3 << 20]).unwrap();
    for words in [
        &["image", "edit", "seed.ext4", "--add", "agent:/opt/agent", "--chmod", "700:/opt"][..],
        &["disk", "create", "disk.ext4", "--from", "seed.ext4", "--size", "96M"],
        &["disk", "resize", "disk.ext4", "--size", "128M"],
        &["disk", "set", "disk.ext4", "--uuid", "random", "--label", "root"],
    ] {
        let result = bench.run(words);
        assert!(result.status.success(), "{}", judge::text(&result));
    }
    assert_boots_and_doubles(&bench.path("disk.ext4"));
}

fn assert_boots_and_doubles(disk: &Path) {
    OpenOptions::new().write(true).open(disk).unwrap().set_len(256 * MIB).unwrap();
    let Some(console) = boot(disk, Task::Grow) else { return };
    let said = [
        "bed: grown",
        "guest: up as 0, release second",
        "guest: wrote",
        "guest: read everything",
        "guest: done",
    ];
    for words in said {
        assert!(console.contains(words), "no \"{words}\" in:\n{console}");
    }
    gate::assert_clean(disk);
}
