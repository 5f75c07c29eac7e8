//! The README's first command.

use std::fs;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::Kind;
use banger_test_support::{gate, judge, view};

use crate::banger::Bench;

#[test]
fn the_demonstration_makes_an_image_without_a_network() {
    let bench = Bench::new();
    let result = bench.run(["demo"]);
    assert!(result.status.success(), "{}", judge::text(&result));
    let image = bench.path("demo.ext4");
    gate::assert_clean(&image);
    let shown = String::from_utf8(result.stdout).unwrap();
    let listed = bench.run(["image", "ls", "-lR", "demo.ext4"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(shown.starts_with(&listed), "{listed} is not the beginning of {shown}");
    for word in ["-rwsr-xr-x", "/dev:", " 1, 3 ", "e2fsck -fn demo.ext4"] {
        assert!(shown.contains(word), "no {word} in:\n{shown}");
    }
    let found = view::read_tree(&image).unwrap();
    assert!(found.iter().any(|(_, entry)| entry.mode & 0o4000 != 0), "a setuid file");
    assert!(found.iter().any(|(_, entry)| matches!(entry.kind, Kind::CharacterDevice(_))));
    assert!(!found.iter().any(|(path, _)| path.windows(4).any(|part| part == b".wh.")));
    if let Some(mount) = Mount::new(&image, Access::ReadOnly) {
        let by_the_kernel = mount.tree();
        mount.close();
        by_the_kernel.assert_same(&found, "ext4-view");
    }
    let result = bench.run(["demo", "--force", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(document["tree"].as_array().unwrap().len(), found.iter().count() - 1);
    for name in ["security.capability", "system.posix_acl_access"] {
        let text = document["tree"].to_string();
        assert!(text.contains(name), "no {name} in:\n{text}");
    }
}

#[test]
fn the_demonstration_replaces_nothing() {
    let bench = Bench::new();
    fs::write(bench.path("demo.ext4"), b"mine").unwrap();
    let result = bench.run(["demo"]);
    assert_eq!(result.status.code(), Some(73), "{}", judge::text(&result));
    assert_eq!(fs::read(bench.path("demo.ext4")).unwrap(), b"mine");
}
