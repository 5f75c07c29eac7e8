//! Bad input is a typed error with the thing and the numbers, and the builder goes on.

use std::io;

use banger_test_support::storm::assert_kernel_agrees;
use banger_test_support::tree::Entry;
use ext4_writer::{
    Builder, Error, FileContent, FileSink, Journal, MemorySink, Metadata, Options, Reserved,
    Segment, Size, Special,
};

use crate::twin::{Image, Twin, noise, roomy};

/// Asserts that `result` is an error that matches `pattern`, and that its text holds `words`.
macro_rules! refused {
    ($result:expr, $pattern:pat, $words:expr) => {{
        let error = $result.map(drop).expect_err("bad input is refused");
        assert!(matches!(error, $pattern), "{error:?}");
        assert!(error.to_string().contains($words), "\"{error}\" names no \"{}\"", $words);
    }};
}

/// Lets `offend` try what is refused, then builds on: the image holds what was declared before and
/// after, and nothing of the attempt.
fn goes_on_after(offend: impl FnOnce(&mut Twin<FileSink>)) {
    let image = Image::build(roomy(), |twin| {
        twin.directory("d");
        twin.file("d/before", &noise(1, 70_000));
        offend(twin);
        twin.file("d/after", &noise(2, 70_000));
    });
    image.assert_as_declared();
}

const METADATA: Metadata = Metadata::root_owned(0o644, ext4_writer::Timestamp::from_seconds(0));

#[test]
fn names_that_no_directory_can_hold() {
    goes_on_after(|twin| {
        let root = twin.builder.root();
        let long = [b'n'; 256];
        let names: [&[u8]; 6] = [b"", b".", b"..", b"a/b", b"a\0b", &long];
        for name in names {
            let builder = &mut twin.builder;
            let shown = name.escape_ascii().to_string();
            refused!(
                builder.add_directory(root, name, &METADATA),
                Error::InvalidName { .. },
                &shown
            );
            let mut content: &[u8] = b"";
            let file = builder.add_file(root, name, &METADATA, FileContent::new(0, &mut content));
            refused!(file, Error::InvalidName { .. }, &shown);
            let symlink = builder.add_symlink(root, name, &METADATA, b"t");
            refused!(symlink, Error::InvalidName { .. }, &shown);
            let fifo = builder.add_special(root, name, &METADATA, Special::Fifo);
            refused!(fifo, Error::InvalidName { .. }, &shown);
            let node = twin.node(b"d/before");
            refused!(twin.builder.add_link(root, name, node), Error::InvalidName { .. }, &shown);
        }
    });
}

#[test]
fn a_name_that_exists() {
    goes_on_after(|twin| {
        let (root, node) = (twin.builder.root(), twin.node(b"d/before"));
        let builder = &mut twin.builder;
        refused!(builder.add_directory(root, b"d", &METADATA), Error::Exists { .. }, "\"d\"");
        let mut content = io::repeat(7);
        let file = builder.add_file(root, b"d", &METADATA, FileContent::new(1 << 20, &mut content));
        refused!(file, Error::Exists { .. }, "\"d\"");
        refused!(builder.add_link(root, b"d", node), Error::Exists { .. }, "\"d\"");
    });
}

#[test]
fn content_that_ends_early_or_goes_on() {
    goes_on_after(|twin| {
        let root = twin.builder.root();
        for size in [1, 4096, 5000, 3_000_000] {
            let content = noise(3, usize::try_from(size).unwrap());
            let mut short = &content[..content.len() - 1];
            let file =
                twin.builder.add_file(root, b"f", &METADATA, FileContent::new(size, &mut short));
            refused!(file, Error::ContentShort { .. }, &size.to_string());
            let mut long = content.as_slice();
            let file =
                twin.builder.add_file(root, b"f", &METADATA, FileContent::new(size - 1, &mut long));
            refused!(file, Error::ContentLong { .. }, &(size - 1).to_string());
        }
        let mut long: &[u8] = b"x";
        refused!(
            twin.builder.add_file(root, b"f", &METADATA, FileContent::new(0, &mut long)),
            Error::ContentLong { .. },
            "0"
        );
    });
}

#[test]
fn a_replacement_that_fails_leaves_the_old_content() {
    goes_on_after(|twin| {
        let node = twin.node(b"d/before");
        let mut short: &[u8] = b"too short";
        refused!(
            twin.builder.set_content(node, FileContent::new(10, &mut short)),
            Error::ContentShort { .. },
            "10"
        );
        let directory = twin.node(b"d");
        let mut content: &[u8] = b"";
        refused!(
            twin.builder.set_content(directory, FileContent::new(0, &mut content)),
            Error::WrongKind { .. },
            "file"
        );
    });
}

#[test]
fn segments_that_make_no_file() {
    goes_on_after(|twin| {
        let root = twin.builder.root();
        let segment = |offset, length| Segment { offset, length };
        let cases = [
            vec![segment(0, 10), segment(5, 10)],
            vec![segment(8192, 10), segment(0, 10)],
            vec![segment(0, 4097)],
            vec![segment(4096, 1)],
            vec![segment(u64::MAX, 2)],
            vec![segment(1, u64::MAX)],
        ];
        for segments in cases {
            let mut content = io::repeat(1);
            let file = twin.builder.add_file(
                root,
                b"s",
                &METADATA,
                FileContent::sparse(4096, &segments, &mut content),
            );
            refused!(file, Error::InvalidSegments { .. }, "segment");
        }
    });
}

#[test]
fn files_and_targets_and_devices_beyond_the_format() {
    goes_on_after(|twin| {
        let root = twin.builder.root();
        let builder = &mut twin.builder;
        let huge = builder.add_file(
            root,
            b"f",
            &METADATA,
            FileContent::sparse(u64::MAX, &[], &mut io::empty()),
        );
        refused!(huge, Error::FileTooLarge { .. }, &u64::MAX.to_string());
        for target in [vec![], vec![b't'; 4096], b"a\0b".to_vec()] {
            let length = target.len().to_string();
            let symlink = builder.add_symlink(root, b"l", &METADATA, &target);
            refused!(symlink, Error::InvalidTarget { .. }, &length);
        }
        for (major, minor) in [(4096, 0), (0, 1 << 20), (u32::MAX, u32::MAX)] {
            let device = Special::BlockDevice { major, minor };
            let device = builder.add_special(root, b"b", &METADATA, device);
            refused!(device, Error::InvalidDevice { .. }, &major.to_string());
        }
    });
}

/// Source: kernel, `fs/ext4/namei.c`, `ext4_symlink`.
#[test]
fn a_target_ends_with_its_block() {
    for block_size in [1024, 2048, 4096] {
        let mut options = roomy();
        options.block_size = block_size;
        let longest = usize::try_from(block_size).unwrap() - 1;
        let image = Image::build(options, |twin| {
            twin.symlink("longest", &b"t/".repeat(longest)[..longest]);
            let over = b"t/".repeat(longest);
            let builder = &mut twin.builder;
            let root = builder.root();
            let symlink = builder.add_symlink(root, b"over", &METADATA, &over[..=longest]);
            refused!(symlink, Error::InvalidTarget { .. }, &(longest + 1).to_string());
        });
        image.assert_as_declared();
    }
}

#[test]
fn attributes_beyond_the_format() {
    goes_on_after(|twin| {
        let node = twin.node(b"d/before");
        let builder = &mut twin.builder;
        let long = [b"user.".as_slice(), &[b'n'; 256]].concat();
        let names: [&[u8]; 6] = [b"", b"user", b"user.", b"os2.x", b"user.a\0b", &long];
        for name in names {
            let shown = name.escape_ascii().to_string();
            refused!(builder.set_xattr(node, name, b"v"), Error::InvalidAttribute { .. }, &shown);
        }
        let acl = builder.set_xattr(node, b"system.posix_acl_access", b"\x01\0\0\0");
        refused!(acl, Error::InvalidAttribute { .. }, "posix_acl_access");
    });
}

#[test]
fn attributes_that_fill_more_than_a_block() {
    goes_on_after(|twin| {
        let node = twin.node(b"d/before");
        twin.builder.set_xattr(node, b"user.kept", b"v").unwrap();
        twin.tree.change(b"d/before", |entry| {
            *entry = entry.clone().with_attribute(b"user.kept", b"v");
        });
        let too_large = twin.builder.set_xattr(node, b"user.large", &[b'v'; 4060]);
        refused!(too_large, Error::AttributesTooLarge { .. }, "block");
    });
}

#[test]
fn nodes_of_the_wrong_kind() {
    goes_on_after(|twin| {
        let (root, file, directory) =
            (twin.builder.root(), twin.node(b"d/before"), twin.node(b"d"));
        let builder = &mut twin.builder;
        refused!(
            builder.add_directory(file, b"x", &METADATA),
            Error::WrongKind { .. },
            "directory"
        );
        refused!(builder.add_link(root, b"x", directory), Error::WrongKind { .. }, "link");
        refused!(builder.names(file), Error::WrongKind { .. }, "directory");
        refused!(builder.parent(file), Error::WrongKind { .. }, "directory");
        assert_eq!(builder.lookup(file, b"x"), None);
    });
}

#[test]
fn nodes_and_names_that_are_gone() {
    goes_on_after(|twin| {
        twin.directory("gone");
        twin.file("gone/file", b"x");
        let (root, directory, file) =
            (twin.builder.root(), twin.node(b"gone"), twin.node(b"gone/file"));
        twin.remove(b"gone");
        let builder = &mut twin.builder;
        refused!(builder.remove(root, b"gone"), Error::NotFound { .. }, "\"gone\"");
        refused!(
            builder.add_directory(directory, b"x", &METADATA),
            Error::StaleNode { .. },
            "node"
        );
        refused!(builder.add_link(root, b"x", file), Error::StaleNode { .. }, "node");
        refused!(builder.set_metadata(file, &METADATA), Error::StaleNode { .. }, "node");
        refused!(builder.set_xattr(file, b"user.a", b"v"), Error::StaleNode { .. }, "node");
        let mut content: &[u8] = b"";
        refused!(
            builder.set_content(file, FileContent::new(0, &mut content)),
            Error::StaleNode { .. },
            "node"
        );
    });
}

#[test]
fn what_belongs_to_the_filesystem_stays() {
    goes_on_after(|twin| {
        let root = twin.builder.root();
        let detached = twin.builder.detach(root, b"lost+found");
        refused!(detached, Error::Protected { .. }, "lost+found");
        let mut content: &[u8] = b"x";
        let file = twin.builder.add_file(
            root,
            b"lost+found",
            &METADATA,
            FileContent::new(1, &mut content),
        );
        refused!(file, Error::Exists { .. }, "lost+found");
        // Removing it empties it.
        twin.file("lost+found/#12", b"x");
        twin.builder.remove(root, b"lost+found").unwrap();
        twin.tree.remove(b"lost+found/#12");
    });
}

#[test]
fn one_name_more_than_links_can_be_counted() {
    let image = Image::build(roomy(), |twin| {
        twin.file("file", b"x");
        twin.directory("names");
        for number in 1..65_000 {
            twin.link(format!("names/{number}").as_bytes(), b"file");
        }
        let (directory, file) = (twin.node(b"names"), twin.node(b"file"));
        refused!(
            twin.builder.add_link(directory, b"one-more", file),
            Error::TooManyLinks { .. },
            "65000"
        );
    });
    assert_eq!(image.tree.len(), 65_003);
    assert_kernel_agrees(&image.path, &image.tree);
}

#[test]
fn an_image_that_is_full_says_how_full_and_takes_what_fits() {
    let mut options = Options::new(Size::Fixed(16 << 20));
    options.journal = Journal::None;
    let image = Image::build(options, |twin| {
        let root = twin.builder.root();
        let mut content = io::repeat(b'x');
        let large = twin.builder.add_file(
            root,
            b"large",
            &METADATA,
            FileContent::new(64 << 20, &mut content),
        );
        refused!(large, Error::ImageFull { .. }, "blocks");
        twin.file("small", &noise(5, 1 << 20));
    });
    assert_eq!(std::fs::metadata(&image.path).unwrap().len(), 16 << 20);
    assert_eq!(image.tree.get(b"large").map(|_: &Entry| ()), None);
}

#[test]
fn an_image_that_its_metadata_fills_is_refused_at_the_end() {
    let mut options = Options::new(Size::Fixed(8 << 20));
    options.journal = Journal::None;
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let root = builder.root();
    let mut failed = None;
    for number in 0..4000 {
        let name = format!("directory-{number}");
        failed = builder.add_directory(root, name.as_bytes(), &METADATA).err();
        if failed.is_some() {
            break;
        }
    }
    let error = failed.or_else(|| builder.finish().err()).expect("4000 blocks do not fit 2048");
    assert!(matches!(error, Error::ImageFull { .. }), "{error}");
}

#[test]
fn more_inodes_than_were_asked_for() {
    let mut options = Options::new(Size::Fixed(64 << 20));
    options.inodes = Some(64);
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let root = builder.root();
    let mut failed = None;
    for number in 0..20_000 {
        let name = format!("pipe-{number}");
        let added = builder.add_special(root, name.as_bytes(), &METADATA, Special::Fifo);
        failed = added.err();
        if failed.is_some() {
            break;
        }
    }
    let error = failed.or_else(|| builder.finish().err()).expect("20000 inodes are not 64");
    assert!(matches!(error, Error::TooFewInodes { .. }), "{error}");
}

#[test]
fn options_that_cannot_be_met() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::new(Size::Fixed(64 << 20));
        change(&mut options);
        Builder::create(MemorySink::new(), options).and_then(Builder::finish)
    };
    refused!(with(|o| o.label = vec![b'l'; 17]), Error::InvalidOption { .. }, "17");
    refused!(with(|o| o.reserved = Reserved::Percent(51)), Error::InvalidOption { .. }, "half");
    refused!(with(|o| o.journal = Journal::Size(4096)), Error::InvalidOption { .. }, "1024");
    refused!(with(|o| o.journal = Journal::Size(1 << 40)), Error::InvalidOption { .. }, "journal");
    refused!(
        with(|o| o.size = Size::Fixed((64 << 20) + 1)),
        Error::InvalidOption { .. },
        "67112960"
    );
    refused!(with(|o| o.size = Size::Fixed(u64::MAX)), Error::InvalidOption { .. }, "size");
}
