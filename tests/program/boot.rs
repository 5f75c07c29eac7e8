//! The image as the root disk of a virtual machine.

use std::fs::OpenOptions;

use banger_test_support::boot::{Task, boot};
use banger_test_support::gate;
use banger_test_support::layers::Compression;
use banger_test_support::registry::Registry;

use crate::banger::{Bench, push};
use crate::image::image;

const MIB: u64 = 1 << 20;

#[test]
fn the_image_boots_and_doubles_while_it_is_mounted() {
    let Some(registry) = Registry::start() else { return };
    let reference = push(&registry, &[image(Compression::Gzip)], "small:latest");
    let bench = Bench::new();
    bench.pull(&reference, "disk.ext4", &["--size", "128M"]);
    let disk = bench.path("disk.ext4");
    OpenOptions::new().write(true).open(&disk).unwrap().set_len(256 * MIB).unwrap();
    let Some(console) = boot(&disk, Task::Grow) else { return };
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
    gate::assert_clean(&disk);
}
