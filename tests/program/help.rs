//! Help, man pages and completions: what shells and man(1) make of them.

use std::fs;
use std::process::Command;

use banger_test_support::judge;

use crate::banger::Bench;

fn text(bench: &Bench, words: &[&str]) -> String {
    let result = bench.run(words);
    assert!(result.status.success(), "{words:?}: {}", judge::text(&result));
    String::from_utf8(result.stdout).unwrap()
}

#[test]
fn every_topic_is_listed_and_said() {
    let bench = Bench::new();
    let list = text(&bench, &["help"]);
    for (topic, word) in [
        ("sizes", "fit+512M"),
        ("sources", "docker-archive:FILE"),
        ("limits", "symlink"),
        ("exit-codes", "unavailable"),
        ("environment", "SOURCE_DATE_EPOCH"),
    ] {
        assert!(list.contains(&format!("  {topic} ")), "{topic} in:\n{list}");
        let said = text(&bench, &["help", topic]);
        assert!(said.contains(word) || topic == "limits" && said.contains("layers"), "{said}");
    }
    assert_eq!(
        text(&bench, &["help", "image", "pull"]),
        text(&bench, &["image", "pull", "--help"])
    );
    let result = bench.run(["help", "image", "push"]);
    assert_eq!(result.status.code(), Some(2));
    assert!(judge::text(&result).contains("\"image push\""), "{}", judge::text(&result));
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    let bench = Bench::new();
    for words in [&["image", "pull", "-h"][..], &["help", "sources"], &["image", "pull", "--help"]]
    {
        for columns in [40, 80] {
            let result = bench.command(words).env("COLUMNS", columns.to_string()).output().unwrap();
            let said = String::from_utf8(result.stdout).unwrap();
            // Words that are wider than the terminal have nowhere to be broken.
            let wide = said.lines().filter(|line| {
                line.chars().count() > columns && line.split_whitespace().count() > 4
            });
            let wide: Vec<&str> = wide.filter(|line| !line.contains("banger image")).collect();
            assert_eq!(wide, [""; 0], "{words:?} at {columns}");
        }
    }
}

#[test]
fn shells_read_the_completions() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&bench, &["completions", shell]);
        assert!(script.contains("image") && script.contains("no-journal"), "{shell}");
        let path = bench.path(shell);
        fs::write(&path, script).unwrap();
        let Some(program) = judge::program(shell) else { continue };
        let result = Command::new(program).arg("-n").arg(&path).output().unwrap();
        assert!(result.status.success(), "{shell}: {}", judge::text(&result));
    }
    // What bash offers behind `banger image build --`: options of build, and none of registries.
    let Some(program) = judge::program("bash") else { return };
    let asked = "source ./bash; COMP_WORDS=(banger image build --); COMP_CWORD=3; \
                 _banger banger -- build; echo \"${COMPREPLY[@]}\"";
    let result =
        Command::new(program).args(["-c", asked]).current_dir(bench.path("")).output().unwrap();
    let offered = String::from_utf8(result.stdout).unwrap();
    assert!(offered.contains("--no-journal"), "{offered}");
    assert!(!offered.contains("--plain-http"), "{offered}");
}

#[test]
fn man_reads_the_pages() {
    let bench = Bench::new();
    text(&bench, &["man", "man1"]);
    let page = fs::read_to_string(bench.path("man1/banger-image-pull.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("no\\-journal"), "{page}");
    let build = fs::read_to_string(bench.path("man1/banger-image-build.1")).unwrap();
    assert!(!build.contains("plain\\-http"), "{build}");
    assert!(fs::read_dir(bench.path("man1")).unwrap().count() > 20);
    if let Some(program) = judge::program("groff") {
        let result = Command::new(program)
            .args(["-Kutf8", "-man", "-ww", "-Tutf8", "-z"])
            .arg(bench.path("man1/banger-image-pull.1"))
            .output()
            .unwrap();
        assert_eq!(judge::text(&result), "");
    }
    fs::write(bench.path("file"), "").unwrap();
    assert_ne!(bench.run(["man", "file/below"]).status.code(), Some(0));
}
