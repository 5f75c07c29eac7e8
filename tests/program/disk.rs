//! `banger disk create`: empty filesystems and seeded ones, in files and on devices.

mod device;
mod empty;
mod occupied;
mod seeded;

use std::path::{Path, PathBuf};

use banger_test_support::judge;
use serde_json::Value;

use crate::banger::Bench;

/// Creates a disk, which has to succeed, and returns the report.
fn create(bench: &Bench, place: impl AsRef<Path>, options: &[&str]) -> Value {
    let place = place.as_ref().to_str().unwrap();
    let words = ["disk", "create", place, "--format", "json"];
    let result = bench.run(words.iter().chain(options));
    assert!(result.status.success(), "{options:?}: {}", judge::text(&result));
    serde_json::from_slice(&result.stdout).unwrap()
}

/// Tries to create a disk, which has to fail with this exit code and one line; returns the line.
fn create_fails(
    bench: &Bench,
    place: impl AsRef<Path>,
    options: &[&str],
    exit_code: i32,
) -> String {
    let place = place.as_ref().to_str().unwrap();
    let words = ["disk", "create", place, "--quiet"];
    let result = bench.run(words.iter().chain(options));
    let message = judge::text(&result);
    assert_eq!(result.status.code(), Some(exit_code), "{place} {options:?}: {message}");
    assert!(message.starts_with("error: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

/// Everything that lies in the directory of a bench.
fn everything(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.path("")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// How many groups dumpe2fs speaks of.
fn groups(text: &str) -> usize {
    let is_group = |line: &&str| line.starts_with("Group ") && line.contains("(Blocks");
    text.lines().filter(is_group).count()
}
