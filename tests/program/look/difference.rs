//! Two images against each other.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use banger_test_support::judge;
use serde_json::Value;

use crate::banger::Bench;

/// What `diff` prints, and its exit code.
fn diff(bench: &Bench, options: &[&str]) -> (String, Option<i32>) {
    let words = ["diff", "a.ext4", "b.ext4", "--quiet"];
    let output = bench.try_look(words.iter().chain(options));
    assert_eq!(output.stderr, b"");
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

fn build(bench: &Bench, name: &str, fill: impl FnOnce(&Path)) {
    let root = bench.path("root");
    fs::create_dir_all(&root).unwrap();
    fill(&root);
    bench.build("dir:root", name, &["--owner", "0", "--size", "fit+1M", "--force"]);
}

/// Files of one time, so that only what is meant differs.
fn settle(root: &Path) {
    let words = ["-exec", "touch", "-h", "-d", "2024-01-01T00:00:00Z", "{}", "+"];
    judge::succeed("find", [root.to_str().unwrap()].into_iter().chain(words));
}

fn first(root: &Path) {
    for path in ["etc", "gone/below", "turned"] {
        fs::create_dir_all(root.join(path)).unwrap();
    }
    for (path, content) in [
        ("etc/mode", "m"),
        ("etc/content", "abc"),
        ("etc/size", "abc"),
        ("etc/same", "same"),
        ("gone/below/file", "x"),
        ("turned/inside", "x"),
        ("xattr", "x"),
        ("one", "linked"),
    ] {
        fs::write(root.join(path), content).unwrap();
    }
    fs::hard_link(root.join("one"), root.join("two")).unwrap();
    symlink("old", root.join("link")).unwrap();
    let holes = File::create(root.join("holes")).unwrap();
    holes.set_len(1 << 40).unwrap();
    holes.write_all_at(b"end", (1 << 40) - 3).unwrap();
    settle(root);
}

/// What a temporary directory in memory may refuse.
fn attribute(root: &Path) -> rustix::io::Result<()> {
    rustix::fs::setxattr(root.join("xattr"), "user.a", b"1", rustix::fs::XattrFlags::empty())
}

fn second(root: &Path) {
    fs::set_permissions(root.join("etc/mode"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("etc/content"), "abd").unwrap();
    fs::write(root.join("etc/size"), "abcd").unwrap();
    fs::remove_dir_all(root.join("gone")).unwrap();
    fs::remove_dir_all(root.join("turned")).unwrap();
    fs::write(root.join("turned"), "x").unwrap();
    fs::create_dir_all(root.join("new/below")).unwrap();
    attribute(root).unwrap();
    fs::remove_file(root.join("two")).unwrap();
    fs::write(root.join("two"), "linked").unwrap();
    fs::remove_file(root.join("link")).unwrap();
    symlink("new", root.join("link")).unwrap();
    settle(root);
    judge::succeed(
        "touch",
        ["-d", "2024-01-01T00:00:00.5Z", root.join("etc/same").to_str().unwrap()],
    );
}

#[test]
fn an_image_does_not_differ_from_itself() {
    let bench = Bench::new();
    build(&bench, "a.ext4", first);
    build(&bench, "b.ext4", |_| {});
    assert_eq!(diff(&bench, &[]), (String::new(), Some(0)));
}

#[test]
fn every_difference_is_told_with_how() {
    let bench = Bench::new();
    build(&bench, "a.ext4", first);
    if attribute(&bench.path("root")).is_err() {
        return judge::missing("a temporary directory with extended attributes");
    }
    build(&bench, "b.ext4", second);
    let expected = "\
~ /etc/content  content
~ /etc/mode  mode 0644 -> 0755
~ /etc/same  modified 2024-01-01T00:00:00Z -> 2024-01-01T00:00:00.500000000Z
~ /etc/size  size 3 -> 4
- /gone
- /gone/below
- /gone/below/file
~ /link  target old -> new
+ /new
+ /new/below
~ /turned  type directory -> file, mode 0755 -> 0644
- /turned/inside
~ /two  hard link to /one -> none
~ /xattr  attribute user.a none -> \"1\"
";
    assert_eq!(diff(&bench, &[]), (expected.to_owned(), Some(1)));
    let without = expected.split_inclusive('\n').filter(|line| !line.contains("modified"));
    assert_eq!(diff(&bench, &["--no-times"]), (without.collect(), Some(1)));
    let brief = "~ /etc/content\n~ /etc/mode\n~ /etc/same\n~ /etc/size\n- /gone\n~ /link\n+ /new\n\
        ~ /turned\n- /turned/inside\n~ /two\n~ /xattr\n";
    assert_eq!(diff(&bench, &["--brief"]), (brief.to_owned(), Some(1)));
    let (json, code) = diff(&bench, &["--format", "json"]);
    let found: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!(
        (&found["added"], &found["removed"], &found["changed"]),
        (&2.into(), &4.into(), &8.into())
    );
    let mode = &found["differences"][1];
    assert_eq!((&mode["path"], &mode["change"]), (&"/etc/mode".into(), &"changed".into()));
    let detail = serde_json::json!({ "fact": "mode", "from": "0644", "to": "0755" });
    assert_eq!(mode["details"][0], detail);
    // The summary goes to people.
    let said = bench.try_look(["diff", "a.ext4", "b.ext4"]);
    assert_eq!(said.stderr, b"banger: 2 added, 4 removed, 8 changed\n");
}

#[test]
fn filesystems_of_other_layout_do_not_differ_in_their_trees() {
    let bench = Bench::new();
    build(&bench, "a.ext4", first);
    for options in [
        &["--profile", "max"][..],
        &["--block-size", "1024", "-O", "^metadata_csum"],
        &["--profile", "read-only"],
    ] {
        let words = ["--owner", "0", "--force"].iter().chain(options).copied();
        bench.build("dir:root", "b.ext4", &words.collect::<Vec<_>>());
        assert_eq!(diff(&bench, &[]), (String::new(), Some(0)), "{options:?}");
    }
}

#[test]
fn contents_that_differ_behind_a_hole_are_found() {
    let bench = Bench::new();
    build(&bench, "a.ext4", first);
    build(&bench, "b.ext4", |root| {
        let holes = File::options().write(true).open(root.join("holes")).unwrap();
        holes.write_all_at(b"in the middle", 1 << 39).unwrap();
        settle(root);
    });
    assert_eq!(diff(&bench, &[]), ("~ /holes  content\n".to_owned(), Some(1)));
    build(&bench, "b.ext4", |root| {
        // Zeros that are written are no difference.
        let holes = File::options().write(true).open(root.join("holes")).unwrap();
        holes.write_all_at(&[0; 13], 1 << 39).unwrap();
        settle(root);
    });
    assert_eq!(diff(&bench, &[]), (String::new(), Some(0)));
}

#[test]
fn an_image_that_cannot_be_read_is_not_called_different() {
    let bench = Bench::new();
    build(&bench, "a.ext4", first);
    for (b, code) in [("none.ext4", 66), ("root/xattr", 65), ("root", 66)] {
        let output = bench.try_look(["diff", "a.ext4", b]);
        assert_eq!(output.status.code(), Some(code), "{}", judge::text(&output));
        assert!(judge::text(&output).contains(b));
    }
}
