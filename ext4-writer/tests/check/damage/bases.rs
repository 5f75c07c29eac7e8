//! Sound filesystems with something of everything in them: as mke2fs makes them, as a kernel leaves
//! them, and our own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use banger_test_support::judge;
use banger_test_support::mount::{Access, Mount};

use crate::own;

/// A sound filesystem.
pub(crate) struct Base {
    pub label: String,
    pub image: Vec<u8>,
}

/// Options of mke2fs.
const OPTIONS: [&str; 22] = [
    "-t ext4 -b 4096",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048 -O ^flex_bg",
    "-t ext2 -b 1024 -I 128",
    "-t ext3 -b 1024",
    "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg",
    "-t ext4 -b 1024 -O ^metadata_csum",
    "-t ext4 -b 1024 -O orphan_file",
    "-t ext4 -b 1024 -O inline_data",
    "-t ext4 -b 4096 -O inline_data,ea_inode",
    "-t ext4 -b 1024 -O bigalloc -C 4096",
    "-t ext4 -b 1024 -O meta_bg,^resize_inode",
    "-t ext4 -b 1024 -O sparse_super2",
    "-t ext4 -b 1024 -O quota,project",
    "-t ext4 -b 1024 -O mmp",
    "-t ext4 -b 1024 -O large_dir,metadata_csum_seed",
    "-t ext4 -b 1024 -O ^64bit",
    "-t ext4 -b 1024 -I 512",
    "-t ext4 -b 1024 -O ^has_journal",
    "-t ext4 -b 1024 -O ^extent,^64bit",
    "-t ext4 -b 1024 -g 2048",
    "-t ext2 -b 1024 -O ^dir_index,^resize_inode",
];

/// Makes all of them.
pub(super) fn make(directory: &Path) -> Vec<Base> {
    let tree = directory.join("tree");
    fill(&tree);
    let made = OPTIONS.iter().filter_map(|options| one(directory, &tree, options));
    let mut bases: Vec<Base> = made.collect();
    let used = [0, 1, 3].iter().filter_map(|index| used(directory, bases.get(*index)?));
    let used: Vec<Base> = used.collect();
    bases.extend(used);
    for options in own::profiles() {
        let label = format!("own, {:?}", options.features);
        bases.push(Base { label, image: own::image(options) });
    }
    bases
}

/// What a kernel makes of a filesystem by using it: files removed, grown, cut and made.
fn used(directory: &Path, base: &Base) -> Option<Base> {
    let path = directory.join("used.img");
    fs::write(&path, &base.image).unwrap();
    let mount = Mount::new(&path, Access::ReadWrite)?;
    let root = mount.path();
    for number in (0..260).step_by(3) {
        let name = format!("big/a-file-with-a-long-name-{number:04}-to-fill-blocks");
        fs::remove_file(root.join(name)).unwrap();
    }
    fs::File::options().append(true).open(root.join("f.txt")).unwrap().set_len(70_000).unwrap();
    fs::File::options().write(true).open(root.join("d1/large")).unwrap().set_len(100_001).unwrap();
    fs::create_dir_all(root.join("made/below")).unwrap();
    fs::rename(root.join("d1/d2/small"), root.join("made/below/moved")).unwrap();
    for number in 0..40 {
        fs::write(root.join(format!("made/{number}")), vec![b'm'; number * 97]).unwrap();
    }
    mount.close();
    let (damaged, said) = super::verdict(&path);
    assert!(!damaged, "{}, used: {said}", base.label);
    Some(Base { label: format!("{}, used", base.label), image: fs::read(&path).unwrap() })
}

fn fill(tree: &Path) {
    fs::create_dir_all(tree.join("d1/d2/d3")).unwrap();
    fs::create_dir(tree.join("empty")).unwrap();
    fs::create_dir(tree.join("big")).unwrap();
    for number in 0..260 {
        let name = format!("big/a-file-with-a-long-name-{number:04}-to-fill-blocks");
        fs::write(tree.join(name), b"").unwrap();
    }
    fs::write(tree.join("f.txt"), b"hello\n").unwrap();
    fs::write(tree.join("d1/large"), vec![7; 300_000]).unwrap();
    fs::write(tree.join("d1/d2/small"), vec![8; 5000]).unwrap();
    fs::hard_link(tree.join("f.txt"), tree.join("d1/hard")).unwrap();
    symlink("f.txt", tree.join("short")).unwrap();
    symlink("x".repeat(200), tree.join("long")).unwrap();
    // Holes: an extent each.
    let mut holes = vec![0; 1 << 20];
    for piece in holes.chunks_mut(16_384) {
        piece[0] = 1;
    }
    fs::write(tree.join("holes"), holes).unwrap();
}

/// One that mke2fs makes with these options.
pub(crate) fn with_options(directory: &Path, options: &str) -> Option<Base> {
    let tree = directory.join("tree");
    fill(&tree);
    one(directory, &tree, options)
}

fn one(directory: &Path, tree: &Path, options: &str) -> Option<Base> {
    let path = directory.join("base.img");
    let _ = fs::remove_file(&path);
    let mut words: Vec<&str> = vec!["-q", "-F", "-N", "512", "-J", "size=1"];
    if !has_journal(options) {
        words.truncate(4);
    }
    words.extend(["-E", "hash_seed=01234567-89ab-cdef-0123-456789abcdef", "-U"]);
    words.push("f0e1d2c3-b4a5-9687-7869-5a4b3c2d1e0f");
    words.extend(options.split(' '));
    let size = if options.contains("4096") && !options.contains("bigalloc") { "12M" } else { "8M" };
    let tree = tree.to_str().unwrap();
    let program = judge::find("mke2fs").unwrap();
    let made = Command::new(program)
        .args(words)
        .args(["-d", tree, path.to_str().unwrap(), size])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // An older mke2fs lacks some features.
    if !made.status.success() {
        return None;
    }
    attributes(&path);
    let (damaged, said) = super::verdict(&path);
    assert!(!damaged, "{options}: {said}");
    Some(Base { label: options.to_owned(), image: fs::read(&path).unwrap() })
}

fn has_journal(options: &str) -> bool {
    !options.contains("ext2") && !options.contains("^has_journal")
}

/// Devices and extended attributes, and an index of the large directory.
fn attributes(path: &Path) {
    let value = "v".repeat(150);
    let requests = [
        "mknod cd c 5 1".to_owned(),
        "mknod pipe p".to_owned(),
        "ea_set f.txt user.small value".to_owned(),
        format!("ea_set d1/large user.long {value}"),
        format!("ea_set d1/large user.other {value}"),
        format!("ea_set d1 user.dir {value}"),
    ];
    let script = path.with_extension("debugfs");
    fs::write(&script, requests.join("\n")).unwrap();
    let debugfs = judge::find("debugfs").unwrap();
    let words = ["-w".as_ref(), "-f".as_ref(), script.as_os_str(), path.as_os_str()];
    let _ = judge::run(&debugfs, words);
    // Indexes the directories; it changes what it says, so it exits with 1.
    let e2fsck = judge::find("e2fsck").unwrap();
    let _ = judge::run(&e2fsck, ["-fyD".as_ref(), path.as_os_str()]);
    let _ = judge::run(&e2fsck, ["-fy".as_ref(), path.as_os_str()]);
}
