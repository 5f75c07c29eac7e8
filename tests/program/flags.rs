//! Options of which nothing else would miss the effect, and the promise that none is without a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use banger_test_support::{gate, judge};

use crate::banger::Bench;

fn text(bench: &Bench, words: &[&str]) -> String {
    let result = bench.run(words);
    assert!(result.status.success(), "{words:?}: {}", judge::text(&result));
    String::from_utf8(result.stdout).unwrap()
}

/// The source of every test of the program, as one text.
fn tests() -> String {
    let mut all = String::new();
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                all.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    all
}

#[test]
fn every_flag_of_the_help_is_used_by_a_test() {
    let bench = Bench::new();
    text(&bench, &["man", "pages"]);
    let mut flags = BTreeSet::new();
    for page in fs::read_dir(bench.path("pages")).unwrap() {
        // roff: `\fB\-\-no\-journal\fR`.
        let page = fs::read_to_string(page.unwrap().path()).unwrap().replace("\\-", "-");
        for rest in page.split("\\fB--").skip(1) {
            flags.insert(rest.split('\\').next().unwrap().to_owned());
        }
    }
    assert!(flags.len() > 60 && flags.contains("no-journal"), "{flags:?}");
    let tests = tests();
    let is_used = |flag: &String| {
        let ends = ["\"", "=", " ", "}"].map(|end| format!("--{flag}{end}"));
        ends.iter().any(|word| tests.contains(word))
    };
    // The tests of ext4-writer ask what this one does.
    flags.remove("stable-placement");
    let unused: Vec<_> = flags.iter().filter(|flag| !is_used(flag)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn long_names_of_short_options_mean_the_same() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("tree/lib/sub")).unwrap();
    fs::write(bench.path("tree/lib/sub/file"), "x").unwrap();
    text(&bench, &["image", "build", "dir:tree", "a.ext4", "--features", "orphan_file"]);
    let ls = |words: &[&str]| text(&bench, &[&["image", "ls", "a.ext4"], words].concat());
    assert_eq!(ls(&["--directory", "/lib"]), "/lib\n");
    assert_eq!(ls(&["--recursive", "/lib"]), "/lib:\nsub\n\n/lib/sub:\nfile\n");
    if judge::all(&["dumpe2fs"]) {
        let features = gate::dump(&bench.path("a.ext4")).unwrap().features;
        assert!(features.iter().any(|feature| feature == "orphan_file"), "{features:?}");
    }
    assert_eq!(text(&bench, &["--version"]), format!("banger {}\n", env!("CARGO_PKG_VERSION")));
}
