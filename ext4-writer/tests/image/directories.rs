//! Directories large enough for an index: every name is found by its hash, in ours and after the
//! guest's changes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, judge};
use ext4_writer::{
    Builder, CountingSink, DirectoryHash, Error, Features, HashedBytes, Metadata, NodeId, Options,
    Size, Special,
};

use crate::twin::{Image, Twin, roomy};

const NO_METADATA: Metadata = Metadata::root_owned(0o644, ext4_writer::Timestamp::from_seconds(0));

/// Gives names in a directory to as few inodes as their links allow.
fn name_all<S: ext4_writer::Sink>(
    builder: &mut Builder<S>,
    directory: NodeId,
    names: impl Iterator<Item = Vec<u8>>,
) {
    let root = builder.root();
    let mut target = None;
    for (number, name) in names.enumerate() {
        match target {
            Some(node) if number % 60_000 != 0 => {
                builder.add_link(directory, &name, node).unwrap();
            }
            _ => {
                let anchor = format!("anchor-{number}");
                let special = Special::Fifo;
                let node =
                    builder.add_special(root, anchor.as_bytes(), &NO_METADATA, special).unwrap();
                builder.add_link(directory, &name, node).unwrap();
                target = Some(node);
            }
        }
    }
}

/// An image with a directory `d` of these names.
fn crowded(options: Options, names: impl Iterator<Item = Vec<u8>>) -> Image {
    Image::build(options, |twin: &mut Twin<_>| {
        twin.directory("d");
        let directory = twin.node(b"d");
        name_all(&mut twin.builder, directory, names);
    })
}

/// The kernel lists as many names as there are, finds those of `sample` by their hashes, and
/// makes, finds and removes some more.
fn assert_found(image: &Image, count: usize, sample: impl Iterator<Item = Vec<u8>>) {
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let directory = mount.path().join("d");
    let find = |name: &[u8]| fs::symlink_metadata(directory.join(OsStr::from_bytes(name)));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), count);
    for name in sample {
        find(&name).unwrap_or_else(|error| panic!("{}: {error}", name.escape_ascii()));
    }
    for number in 0..500 {
        fs::write(directory.join(format!("new-{number}")), b"").unwrap();
    }
    for number in 0..500 {
        find(format!("new-{number}").as_bytes()).unwrap();
        fs::remove_file(directory.join(format!("new-{number}"))).unwrap();
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), count);
    mount.close();
    image.assert_clean();
}

fn index_of(image: &Path) -> String {
    debugfs::read(image, "htree /d")
}

#[test]
fn names_are_found_whatever_the_hash_and_however_it_counts_bytes() {
    // Bytes from 128 on are what the two ways of counting differ in.
    let name = |number: u32| format!("\u{fc}ml\u{e4}ut-\u{1f980}-{number}").into_bytes();
    for directory_hash in [DirectoryHash::HalfMd4, DirectoryHash::Tea] {
        for hashed_bytes in [HashedBytes::Signed, HashedBytes::Unsigned] {
            let mut options = roomy();
            (options.directory_hash, options.hashed_bytes) = (directory_hash, hashed_bytes);
            let image = crowded(options, (0..5000).map(name));
            assert_found(&image, 5000, (0..5000).map(name));
        }
    }
}

/// Names of one `half_md4` hash under a seed of ones, three by three.
const OF_ONE_HASH: [[&str; 3]; 24] = [
    ["c54294b", "c5a7f94", "ca855e9"],
    ["c828bbd", "c911d3f", "ca8be11"],
    ["c371f9", "c3450a5", "cb18fd6"],
    ["c1d19e3", "c6ebb22", "c842d34"],
    ["c268f15", "c4692ad", "c6f1c76"],
    ["c59a785", "c6483b9", "c71e3bb"],
    ["c29450f", "c4581f9", "c53e4c6"],
    ["c24f581", "c397155", "ca8c9f7"],
    ["c9b48a3", "ca202e7", "ca29a2e"],
    ["c63a3f2", "c7ca87b", "ca85c08"],
    ["c789c66", "c7ca68c", "c917c27"],
    ["c2cf637", "c6fab67", "cb3693a"],
    ["c47b14", "c2bcadd", "c542861"],
    ["c3148e6", "c569097", "c9af74f"],
    ["c362ce5", "c8f153b", "ca2a6f0"],
    ["c733e", "c41e2d3", "c52a54a"],
    ["c14edb9", "c52144a", "c52a5c9"],
    ["c3f50fb", "c62e712", "c7b0982"],
    ["c98e55", "c4feb62", "c79261e"],
    ["ca704c", "c685edd", "c9c601a"],
    ["c1131cb", "c4c6883", "c803ae7"],
    ["c262eaa", "c48b25d", "cad50d0"],
    ["c4750cf", "c69fcee", "c769d09"],
    ["c28944b", "c42eb21", "c54bc48"],
];

#[test]
fn names_of_one_hash_are_found_across_a_leaf_boundary() {
    let mut options = roomy();
    options.block_size = 1024;
    options.hash_seed = Some([1; 16]);
    // Six such names fill a leaf to a tenth.
    options.directory_fill = 10;
    // One name alone, so that the leaves do not begin where the triples do.
    let all = || OF_ONE_HASH.iter().flatten().chain([&"c7e", &"c7ff"]);
    let names = || all().map(|name| name.as_bytes().to_vec());
    let image = crowded(options, names());
    if judge::all(&["debugfs"]) {
        // The lowest bit of a hash in the index says that it began in the leaf before.
        let index = index_of(&image.path);
        let hashes = index
            .lines()
            .filter_map(|line| line.strip_prefix("Entry #"))
            .filter_map(|line| line.split("Hash 0x").nth(1)?.split([',', ' ']).next());
        let continued = hashes
            .filter(|hash| u32::from_str_radix(hash, 16).unwrap() & 1 == 1)
            .collect::<BTreeSet<_>>();
        assert!(continued.len() >= 2, "{} continued hashes:\n{index}", continued.len());
    }
    assert_found(&image, 74, names());
}

#[test]
fn leaves_are_as_full_as_was_asked_for() {
    let name = |number: u32| format!("a-name-of-23-bytes-{number:04}").into_bytes();
    let blocks = |fill: u8| {
        let mut options = roomy();
        options.directory_fill = fill;
        let image = crowded(options, (0..9000).map(name));
        image.summary.written
    };
    let written = [100, 80, 50, 10].map(blocks);
    assert!(written.is_sorted(), "{written:?}");
    // 9,000 entries of 32 bytes fill 71 leaves, or 713 to a tenth.
    assert!(written[3] - written[0] > 600 * 4096, "{written:?}");
    assert!(written[3] - written[0] < 700 * 4096, "{written:?}");
}

/// The guest's first new name in each leaf does not split it.
#[test]
fn the_guests_first_names_find_room() {
    let name = |number: u32| format!("a-name-of-23-bytes-{number:04}").into_bytes();
    let image = crowded(roomy(), (0..9000).map(name));
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let directory = mount.path().join("d");
    let length = fs::metadata(&directory).unwrap().len();
    for number in 0..50 {
        fs::write(directory.join(format!("{number}")), b"").unwrap();
    }
    assert_eq!(fs::metadata(&directory).unwrap().len(), length);
    mount.close();
    image.assert_clean();
}

#[test]
fn names_of_255_bytes_need_no_more_than_their_blocks() {
    let name = |number: u32| format!("{number:0255}").into_bytes();
    for block_size in [1024, 4096] {
        let mut options = roomy();
        options.block_size = block_size;
        let image = crowded(options, (0..3000).map(name));
        assert_found(&image, 3000, (0..3000).map(name));
    }
}

/// Two million names in one directory, and a third level of the index where two do not reach.
#[test]
fn two_million_names_are_listed_and_found() {
    let name = |number: u32| format!("{number:x}").into_bytes();
    let image = crowded(roomy(), (0..2_000_000).map(name));
    assert_found(&image, 2_000_000, (0..2_000_000).step_by(97).map(name));
}

#[test]
fn a_third_level_of_the_index_leads_to_every_name() {
    let name = |number: u32| format!("{number:0200}").into_bytes();
    let mut options = roomy();
    options.block_size = 1024;
    let mut refused = Builder::create(CountingSink::new(), options.clone()).unwrap();
    let root = refused.root();
    name_all(&mut refused, root, (0..60_000).map(name));
    let refused = refused.finish().map(drop).unwrap_err();
    assert!(matches!(refused, Error::DirectoryTooLarge { .. }), "{refused}");
    options.features |= Features::LARGE_DIR;
    let image = crowded(options, (0..60_000).map(name));
    if judge::all(&["debugfs"]) {
        let index = index_of(&image.path);
        let levels = index.lines().find(|line| line.contains("Indirect levels")).unwrap();
        assert!(levels.ends_with(" 2"), "{levels}");
    }
    assert_found(&image, 60_000, (0..60_000).map(name));
}

#[test]
fn without_index_there_are_as_many_subdirectories_as_links_can_count() {
    for list in ["^dir_index", "^dir_nlink"] {
        let mut options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
        options.features = Features::DEFAULT.changed(list).unwrap();
        let mut builder = Builder::create(CountingSink::new(), options).unwrap();
        let root = builder.root();
        // `lost+found` is one of them.
        for number in 0..64_997 {
            let name = format!("{number}");
            builder.add_directory(root, name.as_bytes(), &NO_METADATA).unwrap();
        }
        let refused = builder.add_directory(root, b"one more", &NO_METADATA);
        let expected = matches!(refused, Err(Error::TooManySubdirectories { .. }));
        assert!(expected, "{list}: {refused:?}");
        let taken = builder.add_directory(root, b"1", &NO_METADATA);
        assert!(matches!(taken, Err(Error::Exists { .. })), "{list}: {taken:?}");
        builder.add_special(root, b"a pipe", &NO_METADATA, Special::Fifo).unwrap();
    }
}
