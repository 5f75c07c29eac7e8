//! Every valid size is taken, every other one is refused with the next that is; a fitted size is
//! the smallest that holds its tree; a filesystem grows as far as it was told it would.

use std::fs::File;
use std::path::Path;

use banger_test_support::{gate, judge};
use ext4_writer::{
    Builder, CountingSink, Error, Features, FileSink, Journal, Options, Reserved, Result, Sink,
    Size, Summary,
};

use crate::features::declare;
use crate::twin::{Image, Twin, noise};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn empty(options: Options) -> Result<Summary> {
    Ok(Builder::create(CountingSink::new(), options)?.finish()?.0)
}

fn sized(bytes: u64, block_size: u64, list: &str) -> Options {
    let mut options = Options::new(Size::Fixed(bytes));
    options.block_size = u32::try_from(block_size).unwrap();
    options.features = Features::DEFAULT.changed(list).unwrap();
    options
}

/// An empty filesystem of this size is made, or refused as invalid with a larger one that is not.
/// Returns the valid size.
fn valid(bytes: u64, block_size: u64, list: &str) -> u64 {
    let refused = match empty(sized(bytes, block_size, list)) {
        Ok(summary) => {
            assert_eq!(summary.size, bytes);
            return bytes;
        }
        Err(error @ Error::InvalidOption { option: "size", .. }) => error.to_string(),
        Err(error) => panic!("{bytes} bytes in blocks of {block_size}, {list}: {error}"),
    };
    let named: u64 = refused
        .rsplit(|c: char| !c.is_ascii_digit())
        .find_map(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no size is named: {refused}"));
    assert!(named > bytes, "{refused}");
    let again = empty(sized(named, block_size, list));
    assert!(again.is_ok(), "{refused}, but that is not: {again:?}");
    named
}

const LISTS: [&str; 4] = ["", "^flex_bg", "sparse_super2", "^resize_inode,^has_journal,^64bit"];

#[test]
fn every_size_from_one_block_on_is_made_or_refused_with_the_next_that_is() {
    for block_size in [KIB, 2 * KIB, 4 * KIB, 64 * KIB] {
        for list in LISTS {
            let mut next = 0;
            for blocks in 1..2500 {
                let size = valid(blocks * block_size, block_size, list);
                // All sizes up to the one that was named are refused, that one is not.
                assert!(size >= next, "{size} after {next}");
                next = size;
            }
        }
    }
}

#[test]
fn sizes_around_the_ends_of_groups_are_made_or_refused_with_the_next_that_is() {
    let ends = (1..=17).map(|k| k * 128 * MIB).chain((1..=6).map(|k| k * 2 * GIB));
    for end in ends {
        for list in LISTS {
            for above in (0..3 * MIB).step_by(4096).chain([3 * MIB]) {
                valid(end + above, 4096, list);
                valid(end - 4096 - above, 4096, list);
            }
        }
    }
    for end in (1..=17).map(|k| k * 8 * MIB) {
        for above in (0..MIB).step_by(1024) {
            valid(end + above, 1024, "");
            valid(end + above, 1024, "^flex_bg");
        }
    }
}

#[test]
fn judges_find_sizes_around_the_ends_of_groups_clean() {
    let some = |twin: &mut Twin<FileSink>| twin.file("f", &noise(1, 5000));
    for end in [128 * MIB, 640 * MIB, 2 * GIB, 4 * GIB] {
        for list in LISTS {
            for above in [0, 4 * KIB, 44 * KIB, MIB, 2 * MIB + 8 * KIB, 3 * MIB] {
                let size = valid(end + above, 4096, list);
                Image::build(sized(size, 4096, list), some);
            }
        }
    }
    for blocks in (1..2000).step_by(83) {
        for block_size in [KIB, 4 * KIB] {
            for list in ["", "^flex_bg"] {
                let size = valid(blocks * block_size, block_size, list);
                Image::build(sized(size, block_size, list), |_| ());
            }
        }
    }
}

#[test]
fn a_size_that_is_no_multiple_of_the_block_size_is_refused_with_its_neighbours() {
    for size in [8 * MIB + 1, 8 * MIB + 512, 100 * MIB - 1] {
        assert!(valid(size, 4096, "") < size + 4096);
    }
}

/// So few inodes that e2fsck is soon through with them.
const FEW_INODES: u64 = 16 * MIB;

/// Builds a filesystem of this size in memory that cannot hold files as large.
fn huge(size: u64, list: &str) {
    let shared_memory = Path::new("/dev/shm");
    if !shared_memory.is_dir() {
        return judge::missing("/dev/shm");
    }
    let directory = tempfile::tempdir_in(shared_memory).unwrap();
    let path = directory.path().join("image");
    let sink = FileSink::new(File::create_new(&path).unwrap()).unwrap();
    let mut options = sized(size, 4096, list);
    options.bytes_per_inode = Some(FEW_INODES);
    let (summary, _) = Builder::create(sink, options).unwrap().finish().unwrap();
    assert_eq!(summary.size, size);
    gate::assert_checked(&path);
}

#[test]
fn a_filesystem_of_64_tib_is_clean() {
    huge(64 * TIB, "sparse_super2");
}

#[test]
fn sizes_around_16_tib_are_clean_and_need_64bit_beyond() {
    for size in [16 * TIB - 4096, 16 * TIB + 3 * MIB] {
        huge(valid(size, 4096, "sparse_super2"), "sparse_super2");
    }
    let narrow = |size| empty(sized(size, 4096, "^64bit"));
    narrow(16 * TIB - 4096).unwrap();
    let refused = narrow(16 * TIB).unwrap_err();
    assert!(
        matches!(refused, Error::FeatureConflict { ref feature, .. } if feature == "^64bit"),
        "{refused}"
    );
}

/// The options under which a fixed size has the shape of this fitted one.
fn fixed_twin(options: &Options, summary: &Summary, size: u64) -> Options {
    let mut fixed = options.clone();
    fixed.size = Size::Fixed(size);
    fixed.inodes = Some(summary.inodes);
    fixed
}

fn build<S: Sink>(
    sink: S,
    options: Options,
    declare: &dyn Fn(&mut Builder<S>) -> Result<()>,
) -> Result<Summary> {
    let mut builder = Builder::create(sink, options)?;
    declare(&mut builder)?;
    Ok(builder.finish()?.0)
}

/// The fitted size holds the tree and the room as a fixed size too; a block less does not, and
/// neither does any size that halving the search visits.
fn assert_smallest(
    options: &Options,
    free_bytes: u64,
    declare: &dyn Fn(&mut Builder<CountingSink>) -> Result<()>,
) {
    let fitted = build(CountingSink::new(), options.clone(), declare).unwrap();
    let block = u64::from(options.block_size);
    let holds = |size| {
        let fixed = fixed_twin(options, &fitted, size);
        build(CountingSink::new(), fixed, declare)
            .is_ok_and(|summary| summary.available >= free_bytes)
    };
    let size = fitted.size;
    assert!(holds(size), "{size} bytes do not hold what was fitted into them: {options:?}");
    assert!(!holds(size - block), "{} bytes would do: {options:?}", size - block);
    let (mut least, mut most) = (0, size / block);
    while least + 1 < most {
        let middle = least.midpoint(most);
        if holds(middle * block) {
            most = middle;
        } else {
            least = middle;
        }
    }
    assert_eq!(most * block, size, "halving finds another size: {options:?}");
}

#[test]
fn a_fitted_size_is_the_smallest_that_holds_the_tree_and_the_room() {
    let files = |count: u64, length: u64| {
        move |builder: &mut Builder<CountingSink>| {
            let root = builder.root();
            let metadata = ext4_writer::Metadata::default();
            for number in 0..count {
                let mut zeros = std::io::Read::take(std::io::repeat(1), length);
                let content = ext4_writer::FileContent::new(length, &mut zeros);
                builder.add_file(root, format!("{number}").as_bytes(), &metadata, content)?;
            }
            Ok(())
        }
    };
    for (block_size, list) in [(4096, ""), (1024, ""), (4096, "^resize_inode,^has_journal")] {
        for free_bytes in [0, 10 * MIB, 150 * MIB, 500 * MIB] {
            for (count, length) in [(0, 0), (10, 3_000_000), (3000, 5000), (40, 6_000_000)] {
                for reserved in [Reserved::Percent(0), Reserved::Percent(5)] {
                    let mut options = sized(0, block_size, list);
                    options.size = Size::Fit { free_bytes, free_inodes: 50 };
                    options.reserved = reserved;
                    options.max_size = Some(16 * GIB);
                    assert_smallest(&options, free_bytes, &files(count, length));
                }
            }
        }
    }
}

#[test]
fn a_read_only_profile_fits_to_the_block() {
    let options = Options::for_profile(
        ext4_writer::Profile::ReadOnly,
        Size::Fit { free_bytes: 5, free_inodes: 5 },
    );
    let image = Image::build(options, declare);
    assert!(image.summary.free_blocks < 8, "{} blocks are free", image.summary.free_blocks);
}

/// Grows a filesystem of 4 GiB to `size` and returns the blocks that it holds back at first.
fn grows(max_size: u64, size: u64) -> u64 {
    let mut options = Options::new(Size::Fixed(4 * GIB));
    options.max_size = Some(max_size);
    let image = Image::build(options, declare);
    if !judge::all(&["resize2fs", "e2fsck", "dumpe2fs"]) {
        return 0;
    }
    let before = gate::dump(&image.path).unwrap().text;
    let file = File::options().write(true).open(&image.path).unwrap();
    file.set_len(size).unwrap();
    judge::succeed("resize2fs", [image.path.as_os_str()]);
    let report = gate::pass(&image.path).unwrap();
    assert_eq!(report.blocks * report.block_size, size);
    let tables = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.trim().starts_with("Inode table at"));
        lines.take(32).map(str::to_owned).collect()
    };
    assert_eq!(tables(&before), tables(&report.text), "growing moves no table");
    image.assert_as_declared();
    let held_back = before.lines().find_map(|line| line.strip_prefix("Reserved GDT blocks:"));
    held_back.map_or(0, |number| number.trim().parse().unwrap())
}

#[test]
fn a_filesystem_grows_as_far_as_it_was_told_it_would() {
    // 800 groups are 13 blocks of descriptors, of which one is there already.
    let held_back = grows(100 * GIB, 100 * GIB);
    assert!(held_back == 12 || held_back == 0, "{held_back} blocks");
    grows(8 * TIB, 2 * TIB);
}

/// In memory, since a file of 16 TiB is longer than many filesystems allow.
#[test]
fn a_filesystem_of_4_gib_grows_to_16_tib() {
    let shared_memory = Path::new("/dev/shm");
    if !shared_memory.is_dir() || !judge::all(&["resize2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    let directory = tempfile::tempdir_in(shared_memory).unwrap();
    let path = directory.path().join("image");
    let mut options = sized(4 * GIB, 4096, "");
    options.max_size = Some(16 * TIB);
    options.bytes_per_inode = Some(FEW_INODES);
    let sink = FileSink::new(File::create_new(&path).unwrap()).unwrap();
    Builder::create(sink, options).unwrap().finish().unwrap();
    File::options().write(true).open(&path).unwrap().set_len(16 * TIB - 4096).unwrap();
    judge::succeed("resize2fs", [path.as_os_str()]);
    gate::assert_checked(&path);
}

#[test]
fn filesystems_of_every_feature_grow_twice_and_sixteenfold() {
    if !judge::all(&["resize2fs", "e2fsck", "dumpe2fs"]) {
        return;
    }
    for list in [
        "",
        "^flex_bg",
        "sparse_super2",
        "^resize_inode",
        "^64bit",
        "^metadata_csum",
        "orphan_file,metadata_csum_seed,large_dir",
    ] {
        let mut options = sized(0, 4096, list);
        options.size = Size::Fit { free_bytes: 160 * MIB, free_inodes: 4000 };
        let image = Image::build(options, declare);
        for times in [2, 16] {
            // resize2fs drops a last group that it finds too short.
            let size = (image.summary.size * times).next_multiple_of(128 * MIB);
            File::options().write(true).open(&image.path).unwrap().set_len(size).unwrap();
            judge::succeed("resize2fs", [image.path.as_os_str()]);
            gate::assert_clean(&image.path);
        }
        image.assert_as_declared();
    }
}

#[test]
fn a_journal_and_a_reserve_of_any_valid_size_are_made() {
    for (journal, reserved) in [
        (Journal::Size(4 * MIB), Reserved::Bytes(0)),
        (Journal::Size(130 * MIB), Reserved::Bytes(64 * MIB)),
        (Journal::Size(300 * MIB), Reserved::Percent(50)),
    ] {
        let mut options = Options::new(Size::Fixed(GIB));
        (options.journal, options.reserved) = (journal, reserved);
        let image = Image::build(options, declare);
        if let Journal::Size(bytes) = journal {
            assert_eq!(image.summary.journal, bytes);
        }
        image.assert_as_declared();
    }
    let mut options = Options::new(Size::Fixed(GIB));
    options.journal = Journal::Size(4 * MIB - 4096);
    assert!(matches!(empty(options), Err(Error::InvalidOption { option: "journal", .. })));
}
