//! The judges agree on an image of another maker, and object to a wrong tree.

#![cfg(test)]

use std::path::PathBuf;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::{Entry, Kind, Tree};
use banger_test_support::{gate, judge, view};

/// An image that mke2fs has filled from a directory.
fn specimen() -> Option<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::tempdir().unwrap();
    let content = directory.path().join("content");
    std::fs::create_dir_all(content.join("d/e")).unwrap();
    std::fs::write(content.join("d/file"), b"content").unwrap();
    std::fs::hard_link(content.join("d/file"), content.join("link")).unwrap();
    std::os::unix::fs::symlink("d/file", content.join("symlink")).unwrap();
    let image = directory.path().join("specimen.ext4");
    let mke2fs = judge::program("mke2fs")?;
    let options = ["-q", "-t", "ext4", "-b", "4096", "-E", "root_owner=0:0", "-d"];
    let mut arguments: Vec<_> = options.iter().map(AsRef::as_ref).collect();
    arguments.extend([content.as_os_str(), image.as_os_str(), "64M".as_ref()]);
    let output = judge::run(&mke2fs, arguments);
    assert!(output.status.success(), "{}", judge::text(&output));
    Some((directory, image))
}

#[test]
fn the_kernel_and_ext4_view_see_the_same_tree() {
    let Some((_directory, image)) = specimen() else { return };
    gate::assert_clean(&image);
    let Some(mount) = Mount::new(&image, Access::ReadOnly) else { return };
    let by_the_kernel = mount.tree();
    mount.close();
    assert!(by_the_kernel.len() > 6, "the tree has all its names");
    assert_eq!(view::assert_agrees(&image, &by_the_kernel), 0);
    assert_kernel_agrees(&image, &by_the_kernel);
}

#[test]
fn the_kernel_objects_to_a_tree_that_is_another() {
    let Some((_directory, image)) = specimen() else { return };
    let Some(mount) = Mount::new(&image, Access::ReadOnly) else { return };
    let found = mount.tree();
    mount.close();
    let mut other = Tree::new();
    other.insert("", Entry::new(Kind::Directory, 0o755));
    other.insert("d/file", Entry::new(Kind::file(b"Content"), 0o644));
    let differences = other.differences(&found).join("\n");
    assert!(differences.contains("/d/file: kind"), "{differences}");
    assert!(differences.contains("/link: should not be there"), "{differences}");
}
