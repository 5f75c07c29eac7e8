//! The feature `inline_data`: small files and directories inside their inodes.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::{debugfs, judge, xattr};
use ext4_writer::{Error, Features, FileContent, FileSink, Metadata, Options, Segment};

use crate::twin::{Image, Twin, noise, roomy};

fn inline() -> Options {
    let mut options = roomy();
    options.features |= Features::INLINE_DATA;
    options
}

/// The most that an inode of this size holds: `i_block`, and what is left for `system.data` behind
/// the fields, the magic number, the end of the list and its own entry.
fn capacity(options: &Options) -> usize {
    60 + usize::from(options.inode_size) - 160 - 4 - 4 - 20
}

/// Whether debugfs sees the content at `path` in the inode, without a block.
fn is_inline(image: &Path, path: &str) -> bool {
    let text = debugfs::read(image, &format!("stat {path}"));
    let (_, rest) = text.split_once("Flags: 0x").expect("stat prints the flags");
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    u64::from_str_radix(digits, 16).expect("hexadecimal flags") & 0x1000_0000 != 0
}

#[test]
fn files_are_inline_up_to_the_last_byte_of_every_inode_size() {
    for (inode_size, block_size) in [(256, 4096), (256, 1024), (512, 2048), (1024, 1024)] {
        let mut options = inline();
        (options.inode_size, options.block_size) = (inode_size, block_size);
        let most = capacity(&options);
        let sizes = [1, 2, 59, 60, 61, 63, 64, 65, most - 1, most, most + 1, most + 5000];
        let image = Image::build(options, |twin| {
            for size in sizes {
                twin.file(size.to_string(), &noise(1, size));
            }
            twin.file("empty", b"");
            twin.file("zeros", &vec![0; most]);
        });
        if judge::all(&["debugfs"]) {
            for size in sizes {
                assert_eq!(is_inline(&image.path, &format!("/{size}")), size <= most, "{size}");
            }
            assert!(!is_inline(&image.path, "/empty"));
        }
        image.assert_as_declared();
    }
}

#[test]
fn directories_are_inline_as_long_as_their_entries_fit() {
    for inode_size in [256, 512, 1024] {
        let mut options = inline();
        options.inode_size = inode_size;
        // The parent takes four bytes; an entry of a name of four bytes takes twelve.
        let most = (60 - 4) / 12 + (capacity(&options) - 60) / 12;
        let image = Image::build(options, |twin| {
            for count in [0, 1, 4, 5, most - 1, most, most + 1, most + 400] {
                twin.directory(format!("of-{count}"));
                for number in 0..count {
                    twin.file(format!("of-{count}/{number:04}"), b"in a small directory");
                }
            }
            twin.directory("long");
            twin.file([&b"long/"[..], &[b'n'; 255]].concat(), b"");
            let mut deep = "deep".to_owned();
            for level in 0..30 {
                twin.directory(&deep);
                twin.symlink(format!("{deep}/link"), b"..");
                deep = format!("{deep}/{level}");
            }
        });
        if judge::all(&["debugfs"]) {
            for (count, expected) in [(0, true), (most, true), (most + 1, false)] {
                assert_eq!(is_inline(&image.path, &format!("/of-{count}")), expected, "{count}");
            }
            assert!(!is_inline(&image.path, "/"), "the kernel wants a root with blocks");
            assert!(!is_inline(&image.path, "/lost+found"));
        }
        image.assert_as_declared();
    }
}

#[test]
fn names_fill_both_places_of_a_directory_to_the_byte() {
    let image = Image::build(inline(), |twin| {
        // 56 bytes in i_block, 68 in the attribute; in their order they would waste some.
        twin.directory("full");
        for (letter, length) in [("a", 12), ("b", 16), ("c", 28), ("d", 36)] {
            twin.file(format!("full/{}", letter.repeat(length)), b"x");
        }
        twin.directory("two");
        twin.file(format!("two/{}", "a".repeat(60)), b"x");
        twin.file(format!("two/{}", "b".repeat(48)), b"x");
    });
    if judge::all(&["debugfs"]) {
        assert!(is_inline(&image.path, "/full") && is_inline(&image.path, "/two"));
    }
    image.assert_as_declared();
}

#[test]
fn content_gives_way_to_attributes_and_whatever_fits_without_it_fits() {
    let entry = |content: &[u8]| Entry::new(Kind::file(content), 0o644);
    let image = Image::build(inline(), |twin| {
        let (small, large) = (noise(1, 40), noise(2, 128));
        let value = |length| vec![b'v'; length];
        for (name, content, sizes) in [
            ("beside", &small, vec![48]),
            ("moved", &large, vec![48]),
            ("moved-by-a-byte", &small, vec![49]),
            ("block-anyway", &large, vec![400]),
            ("fills-both", &large, vec![68, 4040]),
            ("fills-both-small", &small, vec![68, 4040]),
            ("fills-block", &small, vec![4040, 48]),
        ] {
            let entry = sizes.iter().zip(b'a'..).fold(entry(content), |entry, (size, letter)| {
                entry.with_attribute(&[b"user.", &[letter][..]].concat(), &value(*size))
            });
            twin.add(name, entry.clone(), content);
            let directory = Entry { kind: Kind::Directory, mode: 0o755, ..entry };
            twin.add(format!("{name}-directory"), directory, b"");
            for number in 0..content.len() / 14 {
                twin.file(format!("{name}-directory/{number:04}"), b"x");
            }
        }
    });
    if judge::all(&["debugfs"]) {
        for (name, expected) in [
            ("/beside", true),
            ("/moved", false),
            ("/moved-by-a-byte", false),
            ("/block-anyway", true),
            ("/fills-both", false),
            ("/fills-both-small", false),
            ("/fills-block", true),
        ] {
            assert_eq!(is_inline(&image.path, name), expected, "{name}");
            assert_eq!(is_inline(&image.path, &format!("{name}-directory")), expected, "{name}");
        }
    }
    image.assert_as_declared();
}

#[test]
fn content_changes_between_inode_and_blocks() {
    let image = Image::build(inline(), |twin| {
        let change = |twin: &mut Twin<FileSink>, path: &str, content: &[u8]| {
            let node = twin.node(path.as_bytes());
            let size = u64::try_from(content.len()).unwrap();
            let mut reader = content;
            twin.builder.set_content(node, FileContent::new(size, &mut reader)).unwrap();
            twin.tree.insert(path, Entry::new(Kind::file(content), 0o644));
        };
        assert_eq!(twin.builder.content_bytes(), 0);
        twin.file("grown", b"small");
        assert_eq!(twin.builder.file_size(twin.node(b"grown")), Some(5));
        assert_eq!(twin.builder.content_bytes(), 0);
        change(twin, "grown", &noise(1, 5000));
        assert_eq!(twin.builder.content_bytes(), 2 * 4096);
        twin.file("shrunk", &noise(2, 5000));
        change(twin, "shrunk", b"small");
        twin.file("changed", b"small");
        change(twin, "changed", &noise(3, 100));
        twin.file("emptied", b"small");
        change(twin, "emptied", b"");
        assert_eq!(twin.builder.content_bytes(), 2 * 4096);
        twin.file("removed", b"small");
        twin.remove(b"removed");
        twin.directory("removed");
        twin.file("removed/file", b"small");
        twin.remove(b"removed");
        twin.file("one", b"of three names");
        twin.link(b"two", b"one");
        twin.link(b"three", b"one");
        twin.remove(b"one");
        twin.file("preallocated", b"small");
        let node = twin.node(b"preallocated");
        twin.builder.preallocate(node, 0, 10_000).unwrap();
        assert_eq!(twin.builder.content_bytes(), 5 * 4096);
    });
    image.assert_as_declared();
}

#[test]
fn a_small_sparse_file_is_inline_only_if_it_has_data() {
    let image = Image::build(inline(), |twin| {
        twin.sparse(b"some", 100, &[Segment { offset: 10, length: 5 }]);
        let two = [Segment { offset: 0, length: 3 }, Segment { offset: 70, length: 30 }];
        twin.sparse(b"two", 110, &two);
        twin.sparse(b"hole", 100, &[]);
        twin.sparse(b"nothing", 100, &[Segment { offset: 50, length: 0 }]);
    });
    if judge::all(&["debugfs"]) {
        let inline = ["/some", "/two", "/hole", "/nothing"].map(|p| is_inline(&image.path, p));
        assert_eq!(inline, [true, true, false, false]);
    }
    image.assert_as_declared();
}

#[test]
fn a_reader_that_lies_about_a_small_file_is_refused() {
    let image = Image::build(inline(), |twin| {
        let root = twin.builder.root();
        let mut add = |size, mut bytes: &[u8]| {
            let content = FileContent::new(size, &mut bytes);
            twin.builder.add_file(root, b"f", &Metadata::default(), content).map(drop)
        };
        let short = add(9, b"12345");
        assert!(matches!(short, Err(Error::ContentShort { expected: 9, got: 5 })), "{short:?}");
        let long = add(3, b"12345");
        assert!(matches!(long, Err(Error::ContentLong { expected: 3 })), "{long:?}");
    });
    image.assert_as_declared();
}

/// Does one thing to each file; what it should be then, or `None` if it is gone.
fn change_file(path: &Path, number: u64) -> Option<Entry> {
    let write = |at: usize, bytes: &[u8]| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(bytes, u64::try_from(at).unwrap()).unwrap();
        // Not delayed: what follows meets the content where it came to be.
        file.sync_all().unwrap();
    };
    let length = length_of(number);
    let mut content = noise(number, length);
    let mut attributes: &[(&str, &[u8])] = &[];
    match number % 6 {
        0 => {
            // To the end of the inode and beyond it.
            write(length, &noise(7, 30));
            write(length + 30, &noise(8, 5000));
            content.extend([noise(7, 30), noise(8, 5000)].concat());
        }
        1 => {
            write(3, b"in the middle");
            content[3..16].copy_from_slice(b"in the middle");
        }
        2 => {
            OpenOptions::new().write(true).open(path).unwrap().set_len(7).unwrap();
            content.truncate(7);
        }
        3 => {
            attributes = &[("user.large", &[b'l'; 500]), ("user.small", b"s")];
            for (name, value) in attributes {
                xattr::set(path, name, value);
            }
        }
        4 => {
            OpenOptions::new().append(true).open(path).unwrap().write_all(b"!").unwrap();
            content.push(b'!');
        }
        _ => {
            fs::remove_file(path).unwrap();
            return None;
        }
    }
    let entry = Entry::new(Kind::file(&content), 0o644);
    Some(
        attributes
            .iter()
            .fold(entry, |entry, (name, value)| entry.with_attribute(name.as_bytes(), value)),
    )
}

fn length_of(number: u64) -> usize {
    20 + usize::try_from(number).unwrap()
}

/// Does one thing to each directory.
fn change_directory(root: &Path, number: u64) {
    let directory = root.join(format!("directory-{number}"));
    match number % 4 {
        // Until it has a block, and then an index.
        0 => (0..number * 10).for_each(|n| {
            fs::write(directory.join(format!("another-{n}")), b"").unwrap();
        }),
        1 => {
            // `..` of what is below changes.
            let next = root.join(format!("directory-{}", number + 1));
            fs::rename(directory.join("below"), next.join("moved")).unwrap();
        }
        2 => {
            fs::remove_dir(directory.join("below")).unwrap();
            fs::remove_file(directory.join("file")).unwrap();
        }
        _ => fs::remove_dir_all(&directory).unwrap(),
    }
}

#[test]
fn a_guest_grows_cuts_renames_and_removes_what_is_inline() {
    let image = Image::build(inline(), |twin| {
        for number in 0..60 {
            twin.file(format!("file-{number}"), &noise(number, length_of(number)));
            let directory = format!("directory-{number}");
            twin.directory(&directory);
            twin.directory(format!("{directory}/below"));
            twin.file(format!("{directory}/file"), b"x");
        }
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let name = |number| format!("file-{number}");
    let wanted: Vec<_> =
        (0..60).map(|number| change_file(&mount.path().join(name(number)), number)).collect();
    (0..60).for_each(|number| change_directory(mount.path(), number));
    mount.close();
    image.assert_clean();
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    let found = mount.tree();
    for (number, wanted) in (0..60).zip(&wanted) {
        let found = found.iter().find(|(path, _)| *path == name(number).as_bytes());
        let told = |entry: &Entry| (entry.kind.clone(), entry.attributes.clone());
        assert_eq!(wanted.as_ref().map(told), found.map(|(_, entry)| told(entry)), "{number}");
    }
    mount.close();
}
