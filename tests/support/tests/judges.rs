//! The judges agree on an image of another maker, and object to a wrong tree.

#![cfg(test)]

use std::path::PathBuf;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::readers::Tally;
use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::{Entry, Kind, Tree};
use banger_test_support::{gate, judge, readers, view};

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

#[test]
fn debugfs_7z_sleuthkit_and_grub_see_the_tree_that_the_kernel_sees() {
    let Some((_directory, image)) = specimen() else { return };
    let Some(mount) = Mount::new(&image, Access::ReadOnly) else { return };
    let mut tree = mount.tree();
    mount.close();
    tree.change_all(|entry| entry.links = None);
    let mut tally = Tally::default();
    readers::ask_all(&image, &tree, &mut tally);
    for reader in readers::READERS {
        let account = tally.of(reader);
        assert!(account.names > 5 || !judge::required(), "{reader}: {account:?}");
    }
}

type Ask = fn(&std::path::Path, &Tree) -> Option<readers::Account>;

/// What each reader says of a tree in which one fact is another.
#[test]
fn debugfs_7z_sleuthkit_and_grub_object_to_a_tree_that_is_another() {
    let Some((_directory, image)) = specimen() else { return };
    let Some(mount) = Mount::new(&image, Access::ReadOnly) else { return };
    let tree = mount.tree();
    mount.close();
    let changes: [fn(&mut Tree); 5] = [
        |tree| tree.insert("d/more", Entry::new(Kind::file(b""), 0o644)),
        |tree| tree.remove(b"link"),
        |tree| tree.change(b"d/file", |entry| entry.kind = Kind::file(b"Content")),
        |tree| tree.change(b"d/file", |entry| entry.mode = 0o777),
        |tree| tree.change(b"d/file", |entry| entry.modified = Some((7, 0))),
    ];
    // GRUB tells neither modes nor times, and compares contents with the kernel's.
    let asks: [(Ask, usize); 4] = [
        (readers::ask_debugfs, 5),
        (readers::ask_seven_zip, 5),
        (readers::ask_sleuthkit, 5),
        (readers::ask_grub, 2),
    ];
    for (ask, facts) in asks {
        if ask(&image, &tree).is_none() {
            continue;
        }
        for (number, change) in changes.iter().take(facts).enumerate() {
            let mut other = tree.clone();
            change(&mut other);
            let objects = std::panic::catch_unwind(|| ask(&image, &other)).is_err();
            assert!(objects, "change {number} is not seen");
        }
    }
}
