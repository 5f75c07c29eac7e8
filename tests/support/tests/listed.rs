//! `tests/run` installs whatever the tests run.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Programs of packages that every Debian has ("Essential: yes"), or that Rust brings.
const EVERYWHERE: &[&str] = &[
    "bash", "cargo", "chmod", "cp", "dash", "env", "find", "id", "mknod", "sh", "stat", "sync",
    "tar", "timeout", "touch", "truncate",
];

/// What stands before the name of a program that is run.
const CALLS: &[&str] = &[
    "judge::find(",
    "judge::program(",
    "judge::succeed(",
    "judge::output(",
    "judge::bytes(",
    "judge::all(",
    "Command::new(",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The words in quotes at the beginning of arguments: one, or those of a list.
fn names(arguments: &str) -> Vec<String> {
    let arguments = arguments.trim_start();
    let (text, is_list) = match arguments.strip_prefix("&[") {
        Some(list) => (list.split(']').next().unwrap(), true),
        None => (arguments, false),
    };
    if !is_list && !text.starts_with('"') {
        return Vec::new();
    }
    let words = text.split('"').skip(1).step_by(2).map(str::to_owned);
    words.take(if is_list { usize::MAX } else { 1 }).collect()
}

#[test]
fn every_program_that_a_test_runs_is_installed_by_tests_run() {
    let script = fs::read_to_string(root().join("tests/run")).unwrap();
    let listed: BTreeSet<&str> = script
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once(':'))
        .map(|(program, _)| program)
        .collect();
    assert!(listed.contains("e2fsck"), "{listed:?}");
    let mut files = Vec::new();
    for directory in ["tests", "ext4-writer/tests", "src", "ext4-writer/src"] {
        sources(&root().join(directory), &mut files);
    }
    let mut asked = BTreeSet::new();
    let mut missing = BTreeSet::new();
    for path in files.iter().filter(|path| !path.ends_with("tests/listed.rs")) {
        let text = fs::read_to_string(path).unwrap();
        // The `Command` of clap is none that is run.
        let runs = text.contains("process::");
        let calls = CALLS.iter().filter(|call| runs || **call != "Command::new(");
        let calls = calls.flat_map(|call| text.split(call).skip(1));
        for name in calls.flat_map(names) {
            if !listed.contains(name.as_str()) && !EVERYWHERE.contains(&name.as_str()) {
                missing.insert(format!("{name} in {}", path.display()));
            }
            asked.insert(name);
        }
    }
    assert!(asked.len() > 40, "the calls are not found any more: {asked:?}");
    assert_eq!(missing, BTreeSet::new());
}
