//! Extended attributes: where they go, what they share, and what a guest makes of them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::tree::{Entry, Kind};
use banger_test_support::xattr::{NO_ID, acl};
use banger_test_support::{debugfs, judge, xattr};
use ext4_writer::{Error, Features, FileSink, Options};

use crate::twin::{Image, Twin, noise, roomy};

/// An entry with a name of one to four bytes behind its prefix.
const ENTRY: usize = 16 + 4;
/// The four zero bytes that end a list.
const END: usize = 4;

/// What an inode has for attributes: behind its fields, without the magic number and the end.
fn inode_room(options: &Options) -> Option<usize> {
    usize::from(options.inode_size).checked_sub(128 + 32 + 4 + END)
}

/// What a block has for attributes: behind its header, without the end.
fn block_room(options: &Options) -> usize {
    usize::try_from(options.block_size).unwrap() - 32 - END
}

fn file() -> Entry {
    Entry::new(Kind::file(b"a"), 0o644)
}

/// A file with attributes `user.a`, `user.b` ... whose entries and values take so many bytes.
fn with_sizes(sizes: &[usize]) -> Entry {
    sizes.iter().zip(b'a'..).fold(file(), |entry, (size, letter)| {
        let value = vec![letter; size - ENTRY];
        entry.with_attribute(&[b"user.", &[letter][..]].concat(), &value)
    })
}

/// Asks the kernel without a storm.
fn assert_read(image: &Image) {
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    image.tree.assert_same(&mount.tree(), "the kernel");
    mount.close();
}

/// The block of attributes of an inode, 0 if it has none.
fn attribute_block(image: &Path, path: &str) -> u64 {
    let text = debugfs::read(image, &format!("stat {path}"));
    let (_, rest) = text.split_once("File ACL: ").expect("stat prints the block of attributes");
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().expect("a block number")
}

/// Bytes of an image.
fn bytes(image: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open(image).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// How many inodes a block of attributes says it has, in an image of 4 KiB blocks.
fn references(image: &Path, block: u64) -> u32 {
    let word = bytes(image, block * 4096 + 4, 4);
    u32::from_le_bytes(word.try_into().unwrap())
}

#[test]
fn values_fill_the_inode_and_the_block_to_the_byte() {
    for block_size in [1024, 2048, 4096, 65_536] {
        for inode_size in [128, 256, 512, 1024] {
            let mut options = roomy();
            (options.block_size, options.inode_size) = (block_size, inode_size);
            // A value of a name in the block begins below 2^16.
            let in_block = block_room(&options).min(65_535 + ENTRY) / 4 * 4;
            let image = Image::build(options.clone(), |twin| {
                twin.add("block", with_sizes(&[in_block]), b"a");
                let Some(in_inode) = inode_room(&options) else { return };
                twin.add("inode", with_sizes(&[in_inode]), b"a");
                twin.add("one-over", with_sizes(&[in_inode + 1]), b"a");
                twin.add("both", with_sizes(&[in_inode, in_block]), b"a");
                twin.add("both-turned", with_sizes(&[in_block, in_inode]), b"a");
            });
            if judge::all(&["debugfs"]) && inode_size > 128 {
                assert_eq!(attribute_block(&image.path, "/inode"), 0);
                assert_ne!(attribute_block(&image.path, "/one-over"), 0);
            }
            if block_size <= 4096 {
                assert_read(&image);
            }
        }
    }
}

#[test]
fn one_byte_more_than_inode_and_block_hold_is_refused() {
    let options = roomy();
    let (inode, block) = (inode_room(&options).unwrap(), block_room(&options));
    let image = Image::build(options, |twin| {
        let refused = twin.try_add(b"over", &with_sizes(&[inode, block + 1]), b"a");
        assert!(matches!(refused, Err(Error::AttributesTooLarge { .. })), "{refused:?}");
        // What was set before the one that did not fit is there, and so is what a value had been
        // before it was to be too large.
        let node = twin.node(b"over");
        let refused = twin.builder.set_xattr(node, b"user.a", &vec![b'+'; inode + block]);
        assert!(matches!(refused, Err(Error::AttributesTooLarge { .. })), "{refused:?}");
        twin.tree.insert("over", with_sizes(&[inode]));
    });
    assert_read(&image);
}

/// Taken in any order but one, these leave a gap in the inode that the block has no room for.
#[test]
fn attributes_fit_whenever_some_choice_of_them_does() {
    let mut options = roomy();
    options.inode_size = 512;
    let (inode, block) = (inode_room(&options).unwrap(), block_room(&options));
    let image = Image::build(options, |twin| {
        for (name, sizes) in [
            ("two", vec![180, 172, inode - 172, block - 180]),
            ("three", vec![88, 100, inode - 200, 100, block - 88]),
            ("small", [vec![24; 14], vec![inode - 24 * 9, block - 24 * 5]].concat()),
        ] {
            assert_eq!(sizes.iter().sum::<usize>(), inode + block);
            twin.add(name, with_sizes(&sizes), b"a");
        }
    });
    assert_read(&image);
}

#[test]
fn attributes_are_on_every_kind_of_node() {
    let image = Image::build(roomy(), |twin| {
        let large = [b'l'; 300];
        let root = Entry::new(Kind::Directory, 0o755);
        for (path, entry) in [
            ("file", file().with_attribute(b"user.small", b"1").with_attribute(b"user.l", &large)),
            ("link", Entry::new(Kind::Symlink(b"file".to_vec()), 0o777)),
            ("long-link", Entry::new(Kind::Symlink(vec![b't'; 100]), 0o777)),
            ("device", Entry::new(Kind::BlockDevice(Some((8, 1))), 0o600)),
            ("pipe", Entry::new(Kind::Fifo, 0o600)),
            ("socket", Entry::new(Kind::Socket, 0o600)),
            ("directory", root.clone().with_attribute(b"user.on-a-directory", &large)),
        ] {
            let entry = entry
                .with_attribute(b"trusted.overlay.opaque", b"y")
                .with_attribute(b"security.selinux", b"system_u:object_r:etc_t:s0\0")
                .with_attribute(b"security.large", &large);
            twin.add(path, entry, b"a");
        }
        for (path, mode) in [("", 0o755), ("lost+found", 0o700)] {
            let node = twin.node(path.as_bytes());
            for (name, value) in [(&b"user.r"[..], &large[..]), (b"trusted.root", b"yes")] {
                twin.builder.set_xattr(node, name, value).unwrap();
            }
            let mut entry = Entry::new(Kind::Directory, mode)
                .with_attribute(b"user.r", &large)
                .with_attribute(b"trusted.root", b"yes");
            if !path.is_empty() {
                entry.modified = None;
            }
            twin.tree.insert(path, entry);
        }
    });
    image.assert_as_declared();
}

/// Names whose bytes are negative as a `char` of x86 had two hashes in the history of Linux.
#[test]
fn names_and_values_of_any_bytes_are_hashed_as_e2fsck_and_the_kernel_do() {
    let image = Image::build(roomy(), |twin| {
        let mut entry = file();
        for number in 0..60u8 {
            let name = [b"user.", &[0xff - number, 0x80 + number, b'n'][..]].concat();
            entry = entry.with_attribute(&name, &noise(number.into(), number.into()));
        }
        twin.add("bytes", entry, b"a");
        twin.add("zeros", file().with_attribute(b"user.zeros", &[0; 500]), b"a");
    });
    image.assert_as_declared();
}

/// Declares `count` files with the same attributes, too many for an inode.
fn same(twin: &mut Twin<FileSink>, count: usize) {
    for number in 0..count {
        let entry = file()
            .with_attribute(b"user.same", &[b's'; 200])
            .with_attribute(b"security.other", &[b'o'; 100]);
        twin.add(format!("same-{number:04}"), entry, b"a");
    }
}

#[test]
fn nodes_with_the_same_attributes_share_blocks_of_1024() {
    let image = Image::build(roomy(), |twin| {
        same(twin, 2100);
        twin.add("other", file().with_attribute(b"user.same", &[b't'; 200]), b"a");
    });
    if judge::all(&["debugfs"]) {
        let block = |name: &str| attribute_block(&image.path, name);
        let blocks = [block("/same-0000"), block("/same-1024"), block("/same-2048")];
        assert_eq!(blocks.map(|block| references(&image.path, block)), [1024, 1024, 52]);
        assert_eq!(block("/same-1023"), blocks[0]);
        assert_eq!(block("/same-2047"), blocks[1]);
        assert_eq!(block("/same-2099"), blocks[2]);
        assert_eq!(references(&image.path, block("/other")), 1);
    }
    image.assert_as_declared();
}

/// The kernel finds a block to share by the hash in its head: it must be the one that it computes.
#[test]
fn a_guest_shares_the_blocks_that_came_with_the_image() {
    if !judge::all(&["debugfs"]) {
        return;
    }
    let image = Image::build(roomy(), |twin| {
        twin.add("old", file().with_attribute(b"user.a", &[b's'; 200]), b"a");
    });
    let block = attribute_block(&image.path, "/old");
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    assert_eq!(xattr::get(&mount.path().join("old"), "user.a"), [b's'; 200]);
    let new = mount.path().join("new");
    fs::write(&new, b"n").unwrap();
    xattr::set(&new, "user.a", &[b's'; 200]);
    mount.close();
    image.assert_clean();
    assert_eq!(attribute_block(&image.path, "/new"), block);
    assert_eq!(references(&image.path, block), 2);
}

#[test]
fn lists_in_inodes_and_blocks_are_byte_for_byte_those_of_the_kernel() {
    if !judge::all(&["debugfs"]) {
        return;
    }
    // What the kernel meets in this order, it puts first into the inode, then into a block.
    let lists: [&[(&str, &[u8])]; 3] = [
        &[("user.a", b"1"), ("user.bcd", b"23456"), ("security.x", b"")],
        &[("user.a", &[b'a'; 60]), ("user.b", &[b'b'; 90]), ("trusted.c", &[b'c'; 301])],
        &[("user.long", &[b'x'; 4000])],
    ];
    let image = Image::build(roomy(), |twin| {
        for (number, list) in lists.iter().enumerate() {
            let entry = list
                .iter()
                .fold(file(), |entry, (name, value)| entry.with_attribute(name.as_bytes(), value));
            twin.add(format!("ours-{number}"), entry, b"a");
            twin.add(format!("theirs-{number}"), file(), b"a");
        }
    });
    let ours: Vec<u64> =
        (0..lists.len()).map(|n| attribute_block(&image.path, &format!("/ours-{n}"))).collect();
    // Ours are not read before, so the kernel does not know them and makes blocks of its own.
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    for (number, list) in lists.iter().enumerate() {
        let path = mount.path().join(format!("theirs-{number}"));
        list.iter().for_each(|(name, value)| xattr::set(&path, name, value));
    }
    mount.close();
    for (number, our_block) in ours.into_iter().enumerate() {
        let in_inode = |name: &str| {
            let at = debugfs::inode_offset(&image.path, &format!("/{name}-{number}"));
            bytes(&image.path, at + 160, 96)
        };
        assert_eq!(in_inode("ours"), in_inode("theirs"), "list {number} in the inode");
        let block = attribute_block(&image.path, &format!("/theirs-{number}"));
        let in_block = |block: u64| {
            let mut bytes = bytes(&image.path, block * 4096, 4096);
            // The checksum holds the block's number.
            bytes[16..20].fill(0);
            bytes
        };
        assert_eq!(our_block == 0, block == 0);
        assert_eq!(in_block(our_block), in_block(block), "list {number} in the block");
    }
}

#[test]
fn a_guest_sets_replaces_and_removes_old_attributes() {
    let image = Image::build(roomy(), |twin| {
        same(twin, 1030);
        for number in 0..40 {
            twin.add(format!("full-{number}"), with_sizes(&[88, 4060]), b"a");
        }
    });
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let mut tree = image.tree.clone();
    let plain = file().with_attribute(b"security.other", &[b'o'; 100]);
    let numbers: Vec<usize> = (0..1015).step_by(7).chain(1018..1030).collect();
    for number in numbers {
        let name = format!("same-{number:04}");
        let path = mount.path().join(&name);
        match number % 4 {
            0 => {
                xattr::set(&path, "user.same", &[b'S'; 250]);
                tree.insert(&name, plain.clone().with_attribute(b"user.same", &[b'S'; 250]));
            }
            1 => {
                xattr::remove(&path, "user.same");
                tree.insert(&name, plain.clone());
            }
            2 => {
                xattr::set(&path, "trusted.more", b"more");
                let same = plain.clone().with_attribute(b"user.same", &[b's'; 200]);
                tree.insert(&name, same.with_attribute(b"trusted.more", b"more"));
            }
            _ => {
                fs::remove_file(&path).unwrap();
                tree.remove(name.as_bytes());
            }
        }
    }
    for number in 0..40 {
        let name = format!("full-{number}");
        xattr::remove(&mount.path().join(&name), if number % 2 == 0 { "user.a" } else { "user.b" });
        let (letter, size) = if number % 2 == 0 { (b'b', 4040) } else { (b'a', 68) };
        let name_left = [b"user.", &[letter][..]].concat();
        tree.insert(&name, file().with_attribute(&name_left, &vec![letter; size]));
    }
    mount.close();
    image.assert_clean();
    let Some(mount) = Mount::new(&image.path, Access::ReadOnly) else { return };
    tree.without_directory_times().assert_same(&mount.tree(), "the kernel, after the changes,");
    mount.close();
}

#[test]
fn what_a_guest_makes_in_a_directory_inherits_its_default_acl() {
    if !judge::all(&["getfacl"]) {
        return;
    }
    // More named users than an inode has room for.
    let named = (0..40).map(|number| (2, 5, 1000 + number));
    let entries: Vec<_> = [(1, 7, NO_ID)]
        .into_iter()
        .chain(named)
        .chain([(4, 5, NO_ID), (8, 7, 77), (16, 5, NO_ID), (32, 0, NO_ID)])
        .collect();
    let image = Image::build(roomy(), |twin| {
        let directory = Entry::new(Kind::Directory, 0o750)
            .with_attribute(b"system.posix_acl_access", &acl(&entries))
            .with_attribute(b"system.posix_acl_default", &acl(&entries));
        twin.add("directory", directory, b"");
    });
    image.assert_as_declared();
    let Some(mount) = Mount::new(&image.path, Access::ReadWrite) else { return };
    let made = mount.path().join("directory/made");
    fs::create_dir(&made).unwrap();
    let shown = |path: &Path| {
        let options = ["--numeric", "--omit-header", "--absolute-names"].map(AsRef::as_ref);
        judge::succeed("getfacl", options.into_iter().chain([path.as_os_str()]).collect::<Vec<_>>())
    };
    let inherited = shown(&made);
    assert_eq!(inherited, shown(&mount.path().join("directory")));
    for line in ["user:1039:r-x", "group:77:rwx\t#effective:r-x", "mask::r-x", "default:mask::r-x"]
    {
        assert!(inherited.contains(line), "{line} in {inherited}");
    }
    mount.close();
    image.assert_clean();
}

#[test]
fn attributes_without_checksums_are_shared_and_hashed_as_well() {
    let mut options = roomy();
    options.features -= Features::METADATA_CSUM;
    let image = Image::build(options, |twin| same(twin, 3));
    if judge::all(&["debugfs"]) {
        assert_eq!(references(&image.path, attribute_block(&image.path, "/same-0002")), 3);
    }
    image.assert_as_declared();
}
