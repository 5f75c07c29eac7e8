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
    for word in ["-rwsr-xr-x", "security.capability", "system.posix_acl_access", "/dev/null"] {
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
        for (path, _) in by_the_kernel.iter() {
            let path = format!("/{}", path.escape_ascii());
            assert!(shown.contains(&path), "{path} is not shown in:\n{shown}");
        }
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
