//! Images as mke2fs makes them, of every usage and with every feature that it knows.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) use banger_test_support::noise::noise;
use banger_test_support::tree::Tree;
use banger_test_support::{debugfs, gate, judge, xattr};
use ext4_writer::reader::{Links, ReadError, Reader};

use crate::seen::{assert_as_mounted, open, tree};

/// An image in a directory that goes with it.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) directory: tempfile::TempDir,
}

/// A directory with something of everything, made once.
fn content() -> &'static Path {
    static CONTENT: OnceLock<tempfile::TempDir> = OnceLock::new();
    CONTENT
        .get_or_init(|| {
            let directory = tempfile::tempdir().unwrap();
            fill(directory.path());
            directory
        })
        .path()
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("sizes")).unwrap();
    for size in [0, 1, 59, 60, 61, 100, 160, 1023, 1024, 4097, 20_000, 300_000, 1_100_000] {
        fs::write(root.join(format!("sizes/{size}")), noise(1, size)).unwrap();
    }
    // mke2fs keeps the holes; on disk they are of whole blocks, whatever their size.
    let sparse = File::create(root.join("sizes/sparse")).unwrap();
    for place in [0, 1 << 17, 5 << 20, (70 << 20) + 12_345] {
        sparse.write_all_at(&noise(place, 70_000), place).unwrap();
    }
    sparse.set_len((80 << 20) + 17).unwrap();
    let hole = File::create(root.join("sizes/hole")).unwrap();
    hole.set_len(3 << 20).unwrap();
    fs::create_dir_all(root.join("names/of/the/way/down")).unwrap();
    for number in 0..900 {
        let name = format!("names/a-name-that-is-long-enough-to-fill-blocks-{number:05}");
        fs::write(root.join(name), number.to_string()).unwrap();
    }
    let odd = OsStr::from_bytes(b"names/not \xff UTF-8\n");
    fs::write(root.join(odd), b"odd").unwrap();
    fs::write(root.join("names").join("n".repeat(255)), b"long").unwrap();
    fs::hard_link(root.join("sizes/4097"), root.join("names/link")).unwrap();
    for length in [1, 59, 60, 61, 150, 1000] {
        symlink("t".repeat(length), root.join(format!("link-{length}"))).unwrap();
    }
    attributes(root);
    special(root);
}

fn attributes(root: &Path) {
    let set = |name: &str, attribute: &str, value: &[u8]| {
        xattr::set(&root.join("attributes").join(name), attribute, value);
    };
    fs::create_dir_all(root.join("attributes/default")).unwrap();
    for name in ["small", "large", "many", "acl"] {
        fs::write(root.join("attributes").join(name), name).unwrap();
    }
    set("small", "user.one", b"1");
    set("small", "trusted.empty", b"");
    set("large", "user.large", &noise(9, 900));
    for number in 0..12 {
        set("many", &format!("user.name-{number}"), &noise(number, 30));
    }
    set("many", "security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let none = u32::MAX;
    let entries =
        [(1, 7, none), (2, 5, 1000), (4, 5, none), (8, 4, 77), (16, 5, none), (32, 0, none)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend_from_slice(&u16::to_le_bytes(tag));
        acl.extend_from_slice(&u16::to_le_bytes(permissions));
        acl.extend_from_slice(&u32::to_le_bytes(id));
    }
    set("acl", "system.posix_acl_access", &acl);
    set("default", "system.posix_acl_default", &acl);
}

fn special(root: &Path) {
    fs::create_dir(root.join("special")).unwrap();
    for (name, arguments) in [
        ("null", &["c", "1", "3"][..]),
        ("disk", &["b", "259", "1048575"]),
        ("low", &["b", "0", "0"]),
        ("pipe", &["p"]),
    ] {
        let path = root.join("special").join(name);
        let arguments = arguments.iter().map(AsRef::as_ref);
        judge::succeed("mknod", [path.as_os_str()].into_iter().chain(arguments));
    }
    fs::set_permissions(root.join("special"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(root.join("sizes/1"), Some(3_000_000_000), Some(70_000)).unwrap();
}

/// What mke2fs makes of [`content`] with these options; `None` where judges are missing.
pub(crate) fn make(options: &[&str], size: &str) -> Option<Made> {
    make_of(Some(content()), options, size)
}

/// What mke2fs makes of `content`.
pub(crate) fn make_of(content: Option<&Path>, options: &[&str], size: &str) -> Option<Made> {
    // Devices and owners take root, as mounting does.
    if !judge::all(&["mke2fs", "e2fsck", "debugfs"]) || !judge::kernel() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.ext4");
    let mut arguments = vec![OsStr::new("-q"), OsStr::new("-F")];
    arguments.extend(options.iter().map(OsStr::new));
    if let Some(content) = content {
        arguments.extend([OsStr::new("-d"), content.as_os_str()]);
    }
    arguments.extend([path.as_os_str(), OsStr::new(size)]);
    judge::succeed("mke2fs", arguments);
    Some(Made { path, directory })
}

/// Makes an image, and asks the kernel whether the reader is right.
fn agrees(options: &[&str], size: &str) -> Option<Made> {
    let made = make(options, size)?;
    assert_clean(&made.path, options);
    assert_as_mounted(&made.path)?;
    assert_space(&made.path);
    Some(made)
}

/// Panics if e2fsck has something to say; the gate cannot count clusters.
fn assert_clean(image: &Path, options: &[&str]) {
    let has = |feature| options.iter().any(|option| option.contains(feature));
    if has("quota") {
        // mke2fs 1.47.0 does not count for quotas what it fills a filesystem with.
        return;
    }
    if has("bigalloc") {
        judge::succeed("e2fsck", ["-fn".as_ref(), image.as_os_str()]);
    } else {
        gate::assert_clean(image);
    }
}

/// What dumpe2fs counts as free is what the bitmaps say.
fn assert_space(image: &Path) {
    let report = gate::dump(image).unwrap();
    let reader = open(image);
    let facts = reader.superblock();
    assert_eq!((facts.blocks, facts.block_size), (report.blocks, report.block_size));
    assert_eq!(facts.free_blocks, report.free_blocks);
    assert_eq!(facts.reserved_blocks, report.reserved_blocks);
    assert_eq!(u64::from(facts.free_inodes), report.free_inodes);
    assert_eq!(facts.label, report.label.replace("<none>", "").into_bytes());
    assert_eq!(facts.features.names(), report.features);
    let (mut blocks, mut inodes) = (0, 0);
    for group in reader.groups() {
        let group = group.unwrap();
        let runs = reader.free_runs(group.number).unwrap();
        let length: u64 = runs.iter().map(|run| run.length).sum();
        let clusters = length.div_ceil(facts.cluster_size / facts.block_size);
        assert_eq!(clusters, u64::from(group.free_clusters), "group {}", group.number);
        let free = reader.free_inodes(group.number).unwrap();
        assert_eq!(free, u64::from(group.free_inodes), "group {}", group.number);
        (blocks, inodes) = (blocks + length, inodes + free);
    }
    assert_eq!(inodes, report.free_inodes);
    assert!(blocks <= report.free_blocks);
}

#[test]
fn every_usage_of_mke2fs_reads_as_the_kernel_shows_it() {
    agrees(&["-t", "ext2"], "40M");
    agrees(&["-t", "ext3"], "60M");
    agrees(&["-t", "ext4", "-L", "a label"], "60M");
    agrees(&["-t", "ext4", "-T", "news"], "80M");
    agrees(&["-t", "ext4", "-T", "default"], "100M");
}

#[test]
fn blocks_and_inodes_of_every_size_that_the_kernel_mounts_are_read() {
    for block in ["1024", "2048", "4096"] {
        for inode in ["128", "256", "512", "1024"] {
            agrees(&["-t", "ext4", "-b", block, "-I", inode], "80M");
        }
        agrees(&["-t", "ext3", "-b", block, "-I", "128"], "80M");
    }
}

#[test]
fn every_feature_that_the_kernel_mounts_is_read() {
    for (features, extra) in [
        ("inline_data", &[][..]),
        ("inline_data", &["-I", "1024"]),
        ("^64bit", &[]),
        ("^64bit,^metadata_csum,uninit_bg", &["-g", "2048"]),
        ("^metadata_csum,uninit_bg", &["-b", "1024"]),
        ("^metadata_csum,^uninit_bg", &[]),
        ("meta_bg,^resize_inode", &["-b", "1024", "-g", "1024"]),
        ("meta_bg,^resize_inode,^metadata_csum,^64bit", &["-b", "1024", "-g", "256"]),
        ("sparse_super2", &["-b", "1024"]),
        ("^flex_bg", &["-b", "1024"]),
        ("^sparse_super,^resize_inode", &["-b", "1024"]),
        ("bigalloc", &["-C", "16384"]),
        ("bigalloc", &["-b", "1024", "-C", "65536"]),
        ("large_dir", &[]),
        ("ea_inode", &[]),
        ("metadata_csum_seed,orphan_file", &[]),
        ("^extent,^64bit", &["-b", "1024"]),
        ("^extent,^64bit,^huge_file,^extra_isize,^dir_index,^has_journal", &["-b", "2048"]),
        ("^filetype", &[]),
        ("^ext_attr,mmp", &[]),
        ("project,quota,verity,encrypt,fast_commit,stable_inodes", &[]),
    ] {
        let features = features.to_owned();
        let mut options = vec!["-t", "ext4", "-O", &features];
        options.extend(extra);
        if is_mounted(&features) {
            agrees(&options, "100M");
        } else {
            as_another(&options, "100M");
        }
    }
}

/// Whether the running kernel mounts the features that not every kernel is built with.
fn is_mounted(features: &str) -> bool {
    !features.contains("quota") || Path::new("/proc/sys/fs/quota").exists()
}

/// Compares an image that this kernel does not mount with one that it does.
fn as_another(options: &[&str], size: &str) {
    static ANOTHER: OnceLock<Tree> = OnceLock::new();
    let Some(made) = make(options, size) else { return };
    assert_clean(&made.path, options);
    let expected = ANOTHER.get_or_init(|| {
        let made = make(&["-t", "ext4", "-b", "4096"], "100M").unwrap();
        assert_as_mounted(&made.path).unwrap()
    });
    let is_inline = options.iter().any(|option| option.contains("inline_data"));
    let same = |tree: &Tree| {
        // `lost+found` is new in every image.
        let mut tree = tree.clone().without_directory_times();
        if is_inline {
            // mke2fs 1.47.0 loses the hole at the end of a file that it begins inside its inode.
            tree.remove(b"sizes/sparse");
            tree.remove(b"sizes/hole");
        }
        tree
    };
    same(expected).assert_same(&same(&tree(&open(&made.path))), "the reader");
    assert_space(&made.path);
}

#[test]
fn blocks_that_are_longer_than_a_page_are_read() {
    for block in ["8192", "16384", "65536"] {
        as_another(&["-t", "ext4", "-b", block], "200M");
        as_another(&["-t", "ext4", "-b", block, "-I", block, "-N", "1500"], "400M");
        as_another(&["-t", "ext3", "-b", block, "-O", "^has_journal"], "200M");
    }
    as_another(
        &["-t", "ext4", "-b", "65536", "-O", "inline_data,bigalloc", "-C", "131072"],
        "300M",
    );
}

#[test]
fn the_feature_casefold_without_casefold_directories_is_read() {
    as_another(&["-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"], "100M");
}

#[test]
fn blocks_and_inodes_are_where_debugfs_finds_them() {
    for options in [&["-t", "ext4", "-b", "1024"][..], &["-t", "ext3", "-b", "1024"]] {
        let Some(made) = make(options, "100M") else { return };
        let reader = open(&made.path);
        for path in ["/sizes/1100000", "/sizes/sparse", "/names", "/sizes/0"] {
            let inode = reader.lookup(path.as_bytes(), Links::Keep).unwrap();
            let mut found: Vec<u64> = reader
                .extents(&inode)
                .unwrap()
                .flat_map(|extent| {
                    let extent = extent.unwrap();
                    extent.block..extent.block + extent.length
                })
                .chain(reader.map_blocks(&inode).unwrap().map(Result::unwrap))
                .collect();
            let mut expected = debugfs::blocks(&made.path, path);
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{path} with {options:?}");
        }
        let Some(made) = make(&["-t", options[1], "-b", "4096"], "100M") else { return };
        let reader = open(&made.path);
        let inode = reader.lookup(b"/names", Links::Keep).unwrap();
        let found = reader.inode_offset(inode.number()).unwrap();
        assert_eq!(found, debugfs::inode_offset(&made.path, "/names"));
    }
}

#[test]
fn an_index_that_e2fsck_makes_is_read() {
    for options in [
        &["-t", "ext4", "-b", "1024"][..],
        &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum"],
        &["-t", "ext3", "-b", "1024"],
    ] {
        let Some(made) = make(options, "60M") else { return };
        let fsck = judge::find("e2fsck").unwrap();
        let _ = judge::run(&fsck, ["-fyD".as_ref(), made.path.as_os_str()]);
        assert!(debugfs::is_indexed(&made.path, "/names"));
        assert_as_mounted(&made.path);
    }
}

#[test]
fn a_journal_device_and_unknown_features_are_refused_by_name() {
    let Some(made) = make_of(None, &["-O", "journal_dev", "-b", "4096"], "16M") else { return };
    let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err();
    let ReadError::Unsupported { what, .. } = &refused else { panic!("{refused}") };
    assert_eq!(what, "journal_dev");
    let Some(made) = make_of(None, &["-t", "ext4", "-O", "^metadata_csum"], "8M") else { return };
    debugfs::write(&made.path, "feature FEATURE_I27");
    let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("FEATURE_I27"), "{refused}");
}

#[test]
fn what_is_encrypted_is_refused_and_its_names_are_shown() {
    let Some(made) = make(&["-t", "ext4", "-O", "encrypt"], "60M") else { return };
    // EXT4_ENCRYPT_FL beside the flag of extents, on a file, a link and a directory.
    for path in ["/sizes/4097", "/link-150", "/names/of"] {
        debugfs::write(&made.path, &format!("set_inode_field {path} flags 0x80800"));
    }
    let reader = open(&made.path);
    let inode = |path: &str| reader.lookup(path.as_bytes(), Links::Keep).unwrap();
    let is_refused = |error| matches!(error, ReadError::Encrypted { .. });
    assert!(is_refused(reader.read_at(&inode("sizes/4097"), 0, &mut [0]).unwrap_err()));
    assert!(is_refused(reader.contents(&inode("sizes/4097")).err().unwrap()));
    assert!(is_refused(reader.read_link(&inode("link-150")).unwrap_err()));
    assert_eq!(reader.read_directory(&inode("names/of")).unwrap().count(), 1);
    let refused = reader.walk(&inode("names")).find_map(Result::err).unwrap();
    assert!(is_refused(refused));
}

#[test]
fn names_in_casefold_directories_are_found_as_they_are_spelled() {
    let options = ["-t", "ext4", "-O", "casefold", "-E", "encoding=utf8"];
    let Some(made) = make(&options, "60M") else { return };
    debugfs::write(&made.path, "set_inode_field /names/of flags 0x40080000");
    let reader = open(&made.path);
    assert!(reader.lookup(b"names/of/the", Links::Keep).is_ok());
    let refused = reader.lookup(b"names/of/THE", Links::Keep).unwrap_err();
    assert!(matches!(refused, ReadError::Unsupported { .. }), "{refused}");
}

#[test]
fn a_dirty_image_whose_journal_is_elsewhere_is_refused() {
    let Some(made) = make_of(None, &["-t", "ext4"], "16M") else { return };
    debugfs::write(&made.path, "set_super_value journal_inum 0");
    assert!(Reader::open(File::open(&made.path).unwrap()).is_ok());
    debugfs::write(&made.path, "feature needs_recovery");
    let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("another device"), "{refused}");
}

#[test]
fn a_filesystem_longer_than_its_image_is_refused_with_both_lengths() {
    let Some(made) = make_of(None, &["-t", "ext4"], "8M") else { return };
    let file = File::options().write(true).open(&made.path).unwrap();
    file.set_len((8 << 20) - 1).unwrap();
    let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err();
    let lengths = (8 << 20, (8 << 20) - 1);
    assert!(
        matches!(refused, ReadError::Truncated { needed, length } if (needed, length) == lengths)
    );
}
