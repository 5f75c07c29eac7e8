//! The commands in README and the documents, run as they stand there.
//!
//! A block of `sh`, and the lines behind `$ ` of one of `console`, are run in the order in which they
//! stand, all of one document by one shell in one empty directory; the registries of the internet are
//! one on this host. A comment before a block says what else there is:
//!
//! - `<!-- setup … -->`: commands that the reader does not need to see.
//! - `<!-- instead: COMMANDS (REASON) -->`: what the test runs in place of the next block.
//! - `<!-- not run: REASON -->`: why the next block is only read.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use banger_test_support::judge;
use banger_test_support::layers::{Compression, Image, host_architecture, write_layout_of};
use banger_test_support::registry::Registry;
use serde_json::json;

use crate::banger::{Bench, in_place_of};
use crate::guest::root;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and every document below `docs`, but the tables of checks and of rules.
fn documents() -> Vec<PathBuf> {
    let mut documents = vec![PathBuf::from("README.md")];
    for directory in ["docs", "docs/recipes"] {
        let entries = fs::read_dir(checkout().join(directory)).unwrap();
        let names = entries.map(|entry| Path::new(directory).join(entry.unwrap().file_name()));
        documents.extend(names.filter(|name| name.extension().is_some_and(|end| end == "md")));
    }
    documents.sort();
    documents
}

/// A piece of a document.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A fenced block: the language and the text.
    Block { language: String, text: String },
    /// A comment of HTML, without its ends.
    Comment(String),
}

fn pieces(document: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        if let Some(language) = start.strip_prefix("```") {
            let indent = line.len() - start.len();
            let text: Vec<_> = lines
                .by_ref()
                .take_while(|line| line.trim_start() != "```")
                .map(|line| line.get(indent..).unwrap_or_default())
                .collect();
            let text = text.join("\n") + "\n";
            pieces.push(Piece::Block { language: language.to_owned(), text });
        } else if let Some(comment) = start.strip_prefix("<!-- ") {
            let mut text = comment.to_owned();
            while !text.ends_with("-->") {
                text.push('\n');
                text.push_str(lines.next().expect("a comment has an end"));
            }
            pieces.push(Piece::Comment(text.trim_end_matches("-->").trim().to_owned()));
        }
    }
    pieces
}

/// The commands of a document, as one script.
fn script(document: &str) -> String {
    let mut script = String::new();
    let (mut skipped, mut instead) = (false, None);
    for piece in pieces(document) {
        match piece {
            Piece::Comment(text) if text.starts_with("setup") => {
                script += text.trim_start_matches("setup");
                script.push('\n');
            }
            Piece::Comment(text) if text.starts_with("not run: ") => skipped = true,
            Piece::Comment(text) => {
                let commands = text.strip_prefix("instead: ").expect("a known comment");
                let (commands, _) = commands.rsplit_once(" (").expect("a reason");
                instead = Some(commands.to_owned());
            }
            Piece::Block { language, text } => {
                let commands = match language.as_str() {
                    "sh" => text,
                    "console" => shown_commands(&text),
                    _ => {
                        assert!(!skipped && instead.is_none(), "a mark before no command: {text}");
                        continue;
                    }
                };
                let commands = instead.take().unwrap_or(commands);
                if !std::mem::take(&mut skipped) {
                    writeln!(script, "{}", commands.trim_end()).unwrap();
                }
            }
        }
    }
    assert!(!skipped && instead.is_none(), "a mark before no block");
    script
}

/// What stands behind the prompts.
fn shown_commands(text: &str) -> String {
    let commands = text.lines().filter_map(|line| line.strip_prefix("$ "));
    commands.collect::<Vec<_>>().join("\n")
}

/// The images that the documents pull, in a registry of this host; the shell's configuration of
/// registries leads there.
fn fill(bench: &Bench, registry: &Registry) -> Option<()> {
    let execution = json!({ "Cmd": ["/bin/sh", "-c", "echo up and running as $(id -u)"] });
    let layers = vec![root("busybox")?.finish()];
    let image = Image { architecture: host_architecture(), layers, compression: Compression::Gzip };
    let layout = bench.path("layout-of-the-test");
    write_layout_of(&layout, &[image], &execution);
    let mut host = String::new();
    for name in ["library/debian:bookworm-slim", "library/nginx:1.27", "me/app:1.2", "me/other:3"] {
        let reference = registry.push(&layout, name);
        host = reference.split('/').next().unwrap_or_default().to_owned();
    }
    fs::remove_dir_all(layout).unwrap();
    let hosts = ["docker.io", "ghcr.io"].map(|prefix| {
        format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{host}\"\ninsecure = true\n")
    });
    fs::write(bench.path("registries.conf"), hosts.concat()).unwrap();
    Some(())
}

/// Runs every command of a document.
fn run(name: &str) {
    let bench = Bench::new();
    let document = fs::read_to_string(checkout().join(name)).unwrap();
    let script = script(&document);
    assert!(!script.is_empty(), "{name} has no commands");
    let Some(registry) = Registry::start() else { return };
    let Some(()) = fill(&bench, &registry) else { return };
    let needed = ["python3", "make", "skopeo", "qemu-system-x86_64"];
    if !judge::all(&needed) {
        return;
    }
    let directory = bench.path("empty");
    fs::create_dir(&directory).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_banger")).parent().unwrap();
    let path = format!("{}:{}:/usr/sbin:/sbin", program.display(), std::env::var("PATH").unwrap());
    let bed = checkout().join("target/boot-bed");
    let words = bench.command(["300", "bash", "-euxo", "pipefail", "-c", &script]);
    let output = in_place_of(Command::new("timeout"), &words)
        .current_dir(directory)
        .env("PATH", path)
        .env("CHECKOUT", checkout())
        .env("BED", std::env::var_os("BANGER_BOOT_BED").map_or(bed, PathBuf::from))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}\n{}", output.status, judge::text(&output));
    if script.contains("qemu-system") {
        let said = judge::text(&output);
        assert!(said.contains("up and running as 0"), "{name} boots nothing:\n{said}");
    }
}

/// A test for each document with commands, and a list of all of them.
macro_rules! documents {
    ($($test:ident: $name:literal),+ $(,)?) => {
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )+

        const RUN: &[&str] = &[$($name),+];
    };
}

documents! {
    readme: "README.md",
    cache: "docs/cache.md",
    formats: "docs/formats.md",
    guests: "docs/guests.md",
    guide: "docs/guide.md",
    registries: "docs/registries.md",
    security: "docs/security.md",
    cloud_hypervisor: "docs/recipes/cloud-hypervisor.md",
    firecracker: "docs/recipes/firecracker.md",
    github_actions: "docs/recipes/github-actions.md",
    kubernetes_jobs: "docs/recipes/kubernetes-jobs.md",
    kubevirt: "docs/recipes/kubevirt.md",
    libkrun: "docs/recipes/libkrun.md",
    makefile: "docs/recipes/makefile.md",
    podman: "docs/recipes/podman.md",
    qemu: "docs/recipes/qemu.md",
}

#[test]
fn every_document_with_commands_is_run() {
    for name in documents() {
        let document = fs::read_to_string(checkout().join(&name)).unwrap();
        let name = name.to_str().unwrap();
        let has_commands = !script(&document).trim().is_empty();
        assert_eq!(has_commands, RUN.contains(&name), "{name}");
    }
}

#[test]
fn every_block_says_its_language_and_every_mark_its_reason() {
    let languages = ["console", "dockerfile", "json", "make", "rust", "sh", "text", "toml", "yaml"];
    for name in documents() {
        for piece in pieces(&fs::read_to_string(checkout().join(&name)).unwrap()) {
            match piece {
                Piece::Block { language, text } => {
                    assert!(
                        languages.contains(&language.as_str()),
                        "{name:?}: {language}:\n{text}"
                    );
                }
                Piece::Comment(text) => {
                    let known = ["setup\n", "not run: ", "instead: "];
                    assert!(known.iter().any(|start| text.starts_with(start)), "{name:?}: {text}");
                }
            }
        }
    }
}

#[test]
fn readme_begins_with_its_two_commands_and_is_short() {
    let readme = fs::read_to_string(checkout().join("README.md")).unwrap();
    let words = readme.split_whitespace().count();
    assert!(words <= 1200, "{words} words");
    let first = pieces(&readme).into_iter().find(|piece| matches!(piece, Piece::Block { .. }));
    let Some(Piece::Block { text, .. }) = first else { panic!("README has no block") };
    let commands: Vec<_> =
        text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- demo", "tests/run"]);
}

#[test]
fn every_link_of_a_document_leads_to_a_file() {
    for name in documents() {
        let document = fs::read_to_string(checkout().join(&name)).unwrap();
        let place = checkout().join(&name).parent().unwrap().to_path_buf();
        for link in document.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() {
                assert!(place.join(file).exists(), "{}: {link}", name.display());
            }
        }
    }
}
