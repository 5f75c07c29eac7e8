//! What people type wrong, and what they are told: the whole line and the exit code.

use std::fs;

use crate::banger::Bench;

/// The mistakes: words, exit code, and the first line of the answer.
const MISTAKES: [(&str, i32, &str); 30] = [
    (
        "pull debian",
        2,
        "error: there is no command `banger pull`; did you mean `banger image pull`?",
    ),
    ("build .", 2, "error: there is no command `banger build`; did you mean `banger image build`?"),
    (
        "images",
        2,
        "error: there is no command `banger images`; `banger cache ls` lists what was fetched",
    ),
    (
        "run debian",
        2,
        "error: there is no command `banger run`; `banger image pull --init` makes a disk that runs its program when it boots",
    ),
    (
        "login ghcr.io",
        2,
        "error: there is no command `banger login`; `banger auth check HOST` tries what docker login or podman login has stored",
    ),
    (
        "ls x",
        2,
        "error: there is no command `banger ls`; did you mean `banger image ls` or `banger cache ls`?",
    ),
    (
        "mkfs.ext4 x",
        2,
        "error: there is no command `banger mkfs.ext4`; did you mean `banger disk create`?",
    ),
    (
        "image pul x",
        2,
        "error: there is no command `banger image pul`; did you mean `banger image pull`?",
    ),
    (
        "image push x",
        2,
        "error: there is no command `banger image push`; `banger --help` lists the commands",
    ),
    (
        "image create x",
        2,
        "error: there is no command `banger image create`; did you mean `banger disk create`?",
    ),
    (
        "disk fsck x",
        2,
        "error: there is no command `banger disk fsck`; did you mean `banger image check`?",
    ),
    ("limits", 2, "error: there is no command `banger limits`; did you mean `banger help limits`?"),
    (
        "help nothing",
        2,
        "error: there is no command and no topic \"nothing\"; topics are sizes, sources, limits, exit-codes, environment; banger --help lists the commands",
    ),
    ("image pull", 2, "error: the following required arguments were not provided:"),
    ("image pull x --nope", 2, "error: unexpected argument '--nope' found"),
    (
        "image pull x --size 8X",
        2,
        "error: invalid value '8X' for '--size <SIZE>': \"8X\" is not a size; a size is a number of bytes, or one with K, M, G, T or P, such as 512M or 1.5G",
    ),
    (
        "image pull x --size big",
        2,
        "error: invalid value 'big' for '--size <SIZE>': \"big\" is not a size; sizes are 4G, 1.5G, 512M, fit or fit+512M",
    ),
    (
        "image pull x -U me",
        2,
        "error: invalid value 'me' for '--uuid <UUID>': \"me\" is not a UUID; a UUID is 8-4-4-4-12 hexadecimal digits; or write random or time",
    ),
    (
        "image pull x -U clear",
        2,
        "error: invalid value 'clear' for '--uuid <UUID>': a filesystem without a UUID is not made; e2fsck would give it one; write random, time or a UUID",
    ),
    (
        "image pull x -m 60",
        2,
        "error: invalid value '60' for '-m <PERCENT>': \"60\" is no percentage from 0 to 50; --reserved 64M says it in bytes",
    ),
    (
        "image pull x -E stride=4",
        2,
        "error: invalid value 'stride=4' for '-E <OPTION[,…]>': -E does not know \"stride=4\"; it takes lazy_itable_init, lazy_journal_init, discard, nodiscard",
    ),
    (
        "image pull x - --pull never",
        2,
        "error: an image is not written from its first byte to its last; name a file or a block device instead of -; a file of this name is ./-",
    ),
    (
        "disk create - --size 8M",
        2,
        "error: an image is not written from its first byte to its last; name a file or a block device instead of -; a file of this name is ./-",
    ),
    (
        "image build ./tree x.ext4",
        2,
        "error: \"./tree\" is not an image reference: invalid reference format; write dir:./tree",
    ),
    (
        "image build none x.ext4",
        2,
        "error: there is no file or directory none, and build asks no registry; use banger image pull for an image in one; sources of this host are tar:FILE, dir:PATH, oci:DIR, …",
    ),
    (
        "image build dir:tree x.ext4 --retry 2",
        2,
        "error: --retry has no meaning for dir:tree; no registry is asked for what is on this host",
    ),
    (
        "image build dir:none x.ext4",
        66,
        "error: cannot open none: No such file or directory (os error 2)",
    ),
    (
        "image ls none.ext4",
        66,
        "error: cannot read the image none.ext4: No such file or directory (os error 2)",
    ),
    (
        "disk create new.ext4",
        2,
        "error: nobody says how large the filesystem new.ext4 is to be; write --size 8G",
    ),
    (
        "disk create taken --size 8M",
        73,
        "error: cannot create a filesystem at taken: a file of 4 bytes is there; --force overwrites it",
    ),
];

#[test]
fn every_mistake_is_answered_by_what_to_do() {
    let bench = Bench::new();
    fs::create_dir(bench.path("tree")).unwrap();
    fs::write(bench.path("taken"), "mine").unwrap();
    let mut wrong = Vec::new();
    for (words, code, line) in MISTAKES {
        let result = bench.run(words.split(' '));
        let said = String::from_utf8(result.stderr).unwrap();
        let first = said.lines().find(|line| !line.starts_with("banger: ")).unwrap_or_default();
        if (result.status.code(), first) != (Some(code), line) {
            wrong.push(format!("{words}: {:?} {first}", result.status.code()));
        }
        assert_eq!(String::from_utf8(result.stdout).unwrap(), "", "{words}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_are_documents_where_documents_are_wanted() {
    let bench = Bench::new();
    for words in
        ["pull x --format json", "image pull --format=json", "image pull x --nope --format json"]
    {
        let result = bench.run(words.split(' '));
        assert_eq!(result.status.code(), Some(2), "{words}");
        let document: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
        assert_eq!(document["error"]["kind"], "usage", "{words}");
        assert_ne!(document["error"]["message"], "", "{words}");
        assert_eq!(result.stderr, b"", "{words}");
    }
}

#[test]
fn unknown_features_are_answered_by_those_that_are_known() {
    let bench = Bench::new();
    let result = bench.run(["disk", "create", "x.ext4", "--size", "8M", "-O", "foo"]);
    let said = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(2), "{said}");
    for feature in ["\"foo\"", "has_journal", "orphan_file", "inline_data", "sparse_super2"] {
        assert!(said.contains(feature) || said.contains(feature.trim_matches('"')), "{said}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let bench = Bench::new();
    let said = |words: &[&str], name: &str| {
        let result = bench.command(words).env(name, "1").output().unwrap();
        String::from_utf8(result.stderr).unwrap()
    };
    let red = "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m ";
    let wrong = ["image", "ls", "none.ext4"];
    assert!(said(&wrong, "X").starts_with("error: "));
    let always = [&["--color", "always"], &wrong[..]].concat();
    assert!(said(&always, "X").starts_with(red), "{:?}", said(&always, "X"));
    let never = [&["--color=never"], &wrong[..]].concat();
    assert!(said(&never, "CLICOLOR_FORCE").starts_with("error: "));
    assert!(said(&wrong, "CLICOLOR_FORCE").starts_with(red));
    let usage = said(&["--color", "always", "image", "pull", "--nope"], "X");
    assert!(usage.starts_with('\u{1b}'), "{usage:?}");
}
