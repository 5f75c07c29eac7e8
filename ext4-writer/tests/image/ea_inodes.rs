//! The feature `ea_inode`: values of attributes in inodes of their own.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{debugfs, judge, xattr};
use ext4_writer::{Error, Features, FileSink, Options, Profile};

use crate::twin::{Image, Twin, noise, roomy};

fn large() -> Options {
    let mut options = roomy();
    options.features |= Features::EA_INODE;
    options
}

fn file() -> Entry {
    Entry::new(Kind::file(b"a"), 0o644)
}

/// A line of what debugfs says of the inode of this number, from behind `label`.
fn said(image: &Path, number: u32, label: &str) -> String {
    let text = debugfs::read(image, &format!("stat <{number}>"));
    let (_, rest) = text.split_once(label).unwrap_or_else(|| panic!("no {label} in {text}"));
    rest.split_whitespace().next().unwrap_or_default().to_owned()
}

fn is_value(image: &Path, number: u32) -> bool {
    let flags = said(image, number, "Flags: 0x");
    u32::from_str_radix(&flags, 16).unwrap() & 0x20_0000 != 0
}

/// The lower half of the count of references.
fn references(image: &Path, number: u32) -> u64 {
    let version = said(image, number, "Version: 0x");
    let (_, low) = version.rsplit_once(':').unwrap();
    u64::from_str_radix(low, 16).unwrap()
}

#[test]
fn values_of_64_kib_are_on_every_kind_of_node_in_every_format() {
    for (block_size, inode_size, features) in [
        (4096, 256, Features::empty()),
        (4096, 256, Features::METADATA_CSUM_SEED | Features::ORPHAN_FILE),
        (4096, 256, Features::INLINE_DATA),
        (1024, 128, Features::empty()),
        (1024, 1024, Features::INLINE_DATA),
        (2048, 512, Features::empty()),
        (65_536, 256, Features::empty()),
    ] {
        let mut options = large();
        (options.block_size, options.inode_size) = (block_size, inode_size);
        options.features |= features;
        let image = Image::build(options, every_kind);
        if block_size <= 4096 {
            image.assert_as_declared();
        }
    }
}

fn every_kind(twin: &mut Twin<FileSink>) {
    for (seed, size) in (1..).zip([100, 900, 4040, 4041, 4096, 4097, 40_000, 65_535, 65_536]) {
        let entry = file().with_attribute(b"user.value", &noise(seed, size));
        twin.add(format!("of-{size}"), entry, b"a");
    }
    let many = (0..30).fold(file(), |entry, number: u64| {
        let name = format!("trusted.number-{number}");
        entry.with_attribute(
            name.as_bytes(),
            &noise(number, 60_000 + usize::try_from(number).unwrap()),
        )
    });
    twin.add("many", many, b"a");
    for (path, kind) in [
        ("directory", Kind::Directory),
        ("link", Kind::Symlink(b"directory".to_vec())),
        ("long-link", Kind::Symlink(vec![b't'; 100])),
        ("device", Kind::CharacterDevice(Some((1, 3)))),
        ("pipe", Kind::Fifo),
    ] {
        let entry = Entry::new(kind, 0o755).owned_by(70_000, 3);
        let entry = entry.with_attribute(b"trusted.large", &noise(50, 65_536));
        twin.add(path, entry.with_attribute(b"security.other", &noise(51, 5000)), b"");
    }
    let root = twin.builder.root();
    twin.builder.set_xattr(root, b"user.root", &noise(52, 65_536)).unwrap();
    let entry = Entry::new(Kind::Directory, 0o755);
    twin.tree.insert("", entry.with_attribute(b"user.root", &noise(52, 65_536)));
}

#[test]
fn without_metadata_checksums_values_are_hashed_as_well() {
    let mut options = large();
    options.features -= Features::METADATA_CSUM;
    let image = Image::build(options, every_kind);
    image.assert_as_declared();
}

#[test]
fn equal_values_share_an_inode_that_counts_them() {
    let image = Image::build(large(), |twin| {
        let shared = noise(1, 60_000);
        // In the inodes: each counts.
        for number in 0..5 {
            let name = format!("user.n{number}");
            twin.add(
                format!("inode-{number}"),
                file().with_attribute(name.as_bytes(), &shared),
                b"a",
            );
        }
        // In one block for three: it counts once.
        for number in 0..3 {
            let entry = file()
                .with_attribute(b"user.fills-inode", &[b'i'; 60])
                .with_attribute(b"user.in-block", &shared);
            twin.add(format!("block-{number}"), entry, b"a");
        }
        twin.add("other", file().with_attribute(b"user.v", &noise(2, 60_000)), b"a");
        twin.add(
            "twice",
            {
                let entry = file().with_attribute(b"user.a", &noise(3, 5000));
                entry.with_attribute(b"user.b", &noise(3, 5000))
            },
            b"a",
        );
    });
    if judge::all(&["debugfs"]) {
        // Ten files behind lost+found, which is 11.
        let counts = [22, 23, 24].map(|number| references(&image.path, number));
        assert_eq!(counts, [6, 1, 2]);
        assert!((22..=24).all(|number| is_value(&image.path, number)));
        assert!(!is_value(&image.path, 21));
    }
    image.assert_as_declared();
}

#[test]
fn only_what_does_not_fit_otherwise_has_an_inode() {
    let image = Image::build(large(), |twin| {
        twin.add(
            "fits",
            {
                file()
                    .with_attribute(b"user.a", &[b'a'; 68])
                    .with_attribute(b"user.b", &[b'b'; 4040])
            },
            b"a",
        );
        twin.add(
            "one-does-not",
            {
                let entry = file().with_attribute(b"user.a", &[b'a'; 69]);
                entry.with_attribute(b"user.b", &[b'b'; 4041])
            },
            b"a",
        );
    });
    // Ten of the format, lost+found, two files and one value.
    assert_eq!(image.summary.inodes - image.summary.free_inodes, 14);
    image.assert_as_declared();
}

#[test]
fn values_are_numbered_behind_the_list_of_orphans_and_the_tree() {
    let mut options = large();
    options.features |= Features::ORPHAN_FILE;
    let image = Image::build(options, |twin| {
        twin.add("a", file().with_attribute(b"user.a", &noise(1, 50_000)), b"a");
        twin.file("b", b"");
    });
    if judge::all(&["debugfs"]) {
        assert!(!is_value(&image.path, 12));
        assert!(!is_value(&image.path, 14));
        assert!(is_value(&image.path, 15));
        assert_eq!(said(&image.path, 15, "Size: "), "50000");
    }
    image.assert_as_declared();
}

#[test]
fn without_the_feature_a_large_value_is_refused() {
    let image = Image::build(roomy(), |twin| {
        let refused = twin.try_add(b"f", &file().with_attribute(b"user.a", &noise(1, 5000)), b"a");
        assert!(matches!(refused, Err(Error::AttributesTooLarge { .. })), "{refused:?}");
        twin.tree.insert("f", file());
    });
    image.assert_as_declared();
}

/// The kernel finds a value to share by the hash that its inode keeps.
#[test]
fn a_guest_shares_and_counts_old_values_as_its_own() {
    if !judge::all(&["debugfs"]) {
        return;
    }
    let value = noise(1, 30_000);
    let image = Image::build(large(), |twin| {
        twin.add("old", file().with_attribute(b"user.v", &value), b"a");
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let (old, new, own) =
        (mount.path().join("old"), mount.path().join("new"), mount.path().join("own"));
    assert_eq!(xattr::get(&old, "user.v"), value);
    for (path, value) in [(&new, &value), (&own, &noise(2, 30_000))] {
        fs::write(path, b"a").unwrap();
        xattr::set(path, "user.v", value);
    }
    let blocks = |path: &Path| fs::metadata(path).unwrap().blocks();
    assert_eq!([blocks(&new), blocks(&own)], [blocks(&old); 2]);
    mount.close();
    image.assert_clean();
    assert_eq!(references(&image.path, 13), 2);
}

#[test]
fn a_guest_replaces_and_removes_old_values() {
    let image = Image::build(Options::for_profile(Profile::Max, roomy().size), |twin| {
        for number in 0..40 {
            let entry = file()
                .with_attribute(b"user.fills-inode", &[b'i'; 50])
                .with_attribute(b"user.shared", &noise(1, 20_000))
                .with_attribute(b"user.own", &noise(100 + number, 30_000));
            twin.add(format!("file-{number}"), entry, b"a");
            let entry = file().with_attribute(b"user.shared", &noise(1, 20_000));
            twin.add(format!("small-{number}"), entry, b"a");
        }
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let mut tree = image.tree.clone();
    for number in 0..40 {
        for name in [format!("file-{number}"), format!("small-{number}")] {
            let path = mount.path().join(&name);
            match number % 4 {
                0 => xattr::set(&path, "user.shared", &noise(number, 40_000)),
                1 => xattr::set(&path, "user.shared", b"small now"),
                2 => xattr::remove(&path, "user.shared"),
                _ => fs::remove_file(&path).unwrap(),
            }
            let found = tree.iter().find(|(path, _)| *path == name.as_bytes());
            let mut entry = found.unwrap().1.clone();
            let attributes = entry.attributes.as_mut().unwrap();
            let shared = b"user.shared".to_vec();
            match number % 4 {
                0 => drop(attributes.insert(shared, noise(number, 40_000))),
                1 => drop(attributes.insert(shared, b"small now".to_vec())),
                2 => drop(attributes.remove(&shared)),
                _ => {
                    tree.remove(name.as_bytes());
                    continue;
                }
            }
            tree.insert(&name, entry);
        }
    }
    mount.close();
    image.assert_clean();
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    tree.without_directory_times().assert_same(&mount.tree(), "the kernel, after the changes,");
    mount.close();
}
