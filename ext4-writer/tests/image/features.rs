//! Every feature, block and inode size that can be chosen, judged like the default.

use banger_test_support::tree::{Attributes, Entry, Kind};
use banger_test_support::{gate, judge};
use ext4_writer::{Features, Options, Segment, Sink, Size};

use crate::twin::{Image, Twin, noise};

const MIB: u64 = 1 << 20;

/// Something of everything that has a shape of its own: files of few and many extents, holes,
/// directories of one block and with an index, long and short links, devices, attributes.
pub(crate) fn declare<S: Sink>(twin: &mut Twin<S>) {
    twin.directory("d");
    twin.file("empty", b"");
    twin.file("small", b"some bytes");
    twin.file("large", &noise(1, 300_000));
    let every_other = |number: u64| Segment { offset: number * 131_072, length: 4096 };
    twin.sparse(b"sparse", 400 * 131_072, &(0..400).map(every_other).collect::<Vec<_>>());
    for number in 0..900 {
        let name = format!("d/\u{e9}-a-name-of-some-length-{number}");
        twin.file(&name, &noise(number, usize::try_from(number % 7 * 30).unwrap()));
    }
    twin.symlink("fast", b"target");
    twin.symlink("slow", b"a/long/target/".repeat(20).as_slice());
    twin.link(b"link", b"large");
    twin.add("device", Entry::new(Kind::BlockDevice(Some((259, 1_048_575))), 0o600), b"");
    twin.add("fifo", Entry::new(Kind::Fifo, 0o644), b"");
    let mut attributed = Entry::new(Kind::file(b"text"), 0o640).owned_by(70_000, 80_000);
    attributed.attributes = Some(Attributes::from([
        (b"user.short".to_vec(), b"value".to_vec()),
        (b"trusted.longer".to_vec(), noise(3, 300)),
        (b"security.other".to_vec(), noise(4, 20)),
    ]));
    twin.add("attributed", attributed, b"text");
}

fn with(list: &str) -> Options {
    let mut options = Options::new(Size::Fit { free_bytes: 64 * MIB, free_inodes: 4000 });
    options.features = Features::DEFAULT.changed(list).unwrap();
    options
}

/// Every choice alone, and some that share the same lines.
const LISTS: [&str; 16] = [
    "^has_journal",
    "^resize_inode",
    "^64bit",
    "^metadata_csum",
    "^dir_index",
    "^flex_bg",
    "orphan_file",
    "metadata_csum_seed",
    "large_dir",
    "sparse_super2",
    "^flex_bg,^metadata_csum,^64bit,^resize_inode,^has_journal,^dir_index",
    "^huge_file,^dir_nlink,^extra_isize",
    "orphan_file,^metadata_csum",
    "^64bit,^metadata_csum",
    "^flex_bg,sparse_super2",
    "^resize_inode,^flex_bg,orphan_file",
];

#[test]
fn every_feature_by_choice_is_what_the_judges_read() {
    for list in LISTS {
        let image = Image::build(with(list), declare);
        if judge::all(&["dumpe2fs"]) {
            let features = gate::dump(&image.path).unwrap().features;
            for word in list.split(',') {
                let (name, wanted) = match word.strip_prefix('^') {
                    Some(name) => (name, false),
                    None => (word, true),
                };
                let found = features.iter().any(|feature| feature == name);
                assert_eq!(found, wanted, "{name} in {list}: {features:?}");
            }
        }
        image.assert_as_declared();
    }
}

#[test]
fn every_block_and_inode_size_is_what_the_judges_read() {
    for block_size in [1024, 2048, 4096] {
        for inode_size in [128, 256, 512, 1024] {
            for list in ["", "^metadata_csum", "^flex_bg"] {
                let mut options = with(list);
                (options.block_size, options.inode_size) = (block_size, inode_size);
                let image = Image::build(options, declare);
                assert_eq!(image.summary.block_size, u64::from(block_size));
                image.assert_as_declared();
            }
        }
    }
}

/// No kernel of a machine with pages of 4 KiB mounts it: e2fsck judges alone.
#[test]
fn blocks_of_64_kib_are_clean() {
    for block_size in [8192, 16_384, 32_768, 65_536] {
        for list in ["", "^metadata_csum", "^flex_bg,^dir_index"] {
            let mut options = with(list);
            options.block_size = block_size;
            Image::build(options, declare);
        }
    }
}
