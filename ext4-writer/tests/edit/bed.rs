//! Images of other makers, with something of everything in them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use banger_test_support::mount::{Access, Mount};
pub(crate) use banger_test_support::noise::noise;
use banger_test_support::tree::Tree;
use banger_test_support::{gate, judge, storm, xattr};
use ext4_writer::edit::{Editor, UndoFile};
use ext4_writer::{Builder, FileContent, Metadata, Options, Profile, Size, Timestamp};

use crate::seen;

/// The time of every edit.
pub(crate) const NOW: Timestamp = Timestamp { seconds: 1_790_000_000, nanoseconds: 5 };

/// An image in a directory that goes with it.
pub(crate) struct Bed {
    pub(crate) path: PathBuf,
    pub(crate) directory: tempfile::TempDir,
}

/// Features and options of mke2fs that make another layout, and whether the kernel mounts it.
pub(crate) const LAYOUTS: &[(&[&str], bool)] = &[
    (&["-t", "ext4", "-b", "4096"], true),
    (&["-t", "ext4", "-b", "1024"], true),
    (&["-t", "ext4", "-b", "2048", "-I", "512"], true),
    (&["-t", "ext4", "-b", "65536"], false),
    (&["-t", "ext2", "-b", "1024", "-I", "128", "-O", "has_journal"], true),
    (&["-t", "ext3", "-b", "1024"], true),
    (&["-t", "ext3", "-b", "4096", "-I", "128"], true),
    (&["-t", "ext4", "-O", "^metadata_csum,uninit_bg", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "^64bit,^metadata_csum,uninit_bg", "-g", "2048", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "^metadata_csum,^uninit_bg", "-b", "4096"], true),
    (&["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "1024"], true),
    (&["-t", "ext4", "-O", "^flex_bg,^resize_inode", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "inline_data", "-b", "4096"], true),
    (&["-t", "ext4", "-O", "inline_data,ea_inode", "-I", "1024", "-b", "4096"], true),
    (&["-t", "ext4", "-O", "metadata_csum_seed,orphan_file,large_dir", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "^extent,^64bit", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "^dir_index,^huge_file,^dir_nlink", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "^filetype", "-b", "1024"], true),
    (&["-t", "ext4", "-O", "verity,encrypt,stable_inodes", "-b", "4096"], true),
    (&["-t", "ext4", "-O", "sparse_super2,fast_commit", "-b", "1024"], true),
];

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
    fs::create_dir_all(root.join("sizes/below")).unwrap();
    for size in [0, 1, 60, 100, 1024, 4097, 20_000, 1_100_000] {
        fs::write(root.join(format!("sizes/{size}")), noise(1, size)).unwrap();
    }
    let sparse = File::create(root.join("sizes/sparse")).unwrap();
    for place in [0, 1 << 17, 3 << 20] {
        sparse.write_all_at(&noise(place, 70_000), place).unwrap();
    }
    for (directory, count) in [("few", 3), ("block", 40), ("many", 700)] {
        let directory = root.join(directory);
        fs::create_dir(&directory).unwrap();
        for number in 0..count {
            let name = format!("a-name-that-is-long-enough-to-fill-blocks-{number:05}");
            fs::write(directory.join(name), number.to_string()).unwrap();
        }
    }
    fs::hard_link(root.join("sizes/4097"), root.join("few/link")).unwrap();
    for length in [1, 59, 60, 150] {
        symlink("t".repeat(length), root.join(format!("link-{length}"))).unwrap();
    }
    for (name, attribute, length) in
        [("few", "user.small", 9), ("sizes/1", "user.large", 700), ("sizes/60", "user.b", 40)]
    {
        xattr::set(&root.join(name), attribute, &noise(9, length));
    }
}

/// What mke2fs makes of the content with these options; `None` where judges are missing.
pub(crate) fn make(options: &[&str], size: &str) -> Option<Bed> {
    let bed = make_unchecked(options, size)?;
    // mke2fs leaves directories without an index; e2fsck makes one.
    let fsck = judge::find("e2fsck").unwrap();
    let _ = judge::run(&fsck, ["-fyD".as_ref(), bed.path.as_os_str()]);
    gate::assert_clean(&bed.path);
    Some(bed)
}

/// The same, as mke2fs leaves it.
pub(crate) fn make_unchecked(options: &[&str], size: &str) -> Option<Bed> {
    if !judge::all(&["mke2fs", "e2fsck", "debugfs", "dumpe2fs"]) || !judge::kernel() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.ext4");
    let mut arguments = vec![OsStr::new("-q"), OsStr::new("-F")];
    arguments.extend(options.iter().map(OsStr::new));
    arguments.extend([OsStr::new("-d"), content().as_os_str()]);
    arguments.extend([path.as_os_str(), OsStr::new(size)]);
    judge::succeed("mke2fs", arguments);
    Some(Bed { path, directory })
}

/// Opens an image to be changed, with an undo file beside it.
pub(crate) fn edit(image: &Path) -> Editor<File> {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let undo = UndoFile::new(image.with_extension("ext4.undo"));
    Editor::open_with_undo(file, Box::new(undo), NOW)
        .unwrap_or_else(|error| panic!("{}: {error}", image.display()))
}

/// What this library makes with a profile: some files, many names, attributes, links.
pub(crate) fn made_here(profile: Profile) -> Option<Bed> {
    if !judge::all(&["e2fsck", "debugfs", "dumpe2fs"]) || !judge::kernel() {
        return None;
    }
    let size = match profile {
        Profile::ReadOnly => Size::Fit { free_bytes: 12 << 20, free_inodes: 2000 },
        _ => Size::Fixed(64 << 20),
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.ext4");
    let sink = ext4_writer::FileSink::new(File::create_new(&path).unwrap()).unwrap();
    let mut builder = Builder::create(sink, Options::for_profile(profile, size)).unwrap();
    let (root, metadata) = (builder.root(), Metadata::root_owned(0o755, NOW));
    let many = builder.add_directory(root, b"many", &metadata).unwrap();
    for number in 0..900_usize {
        let content = noise(number.try_into().unwrap(), number * 7 % 9000);
        let length = content.len().try_into().unwrap();
        let mut reader = content.as_slice();
        let name = format!("a-name-that-is-long-enough-to-fill-blocks-{number}");
        let file = FileContent::new(length, &mut reader);
        let node = builder.add_file(many, name.as_bytes(), &metadata, file).unwrap();
        if number % 9 == 0 {
            builder.set_xattr(node, b"user.name", &noise(7, number)).unwrap();
        }
    }
    builder.add_symlink(root, b"link", &metadata, [b't'; 100]).unwrap();
    builder.finish().unwrap();
    gate::assert_clean(&path);
    Some(Bed { path, directory })
}

/// An image of mke2fs in which a kernel made, grew, renamed and removed files.
pub(crate) fn weathered(options: &[&str], size: &str) -> Option<Bed> {
    let bed = make(options, size)?;
    let expected = tree(&bed.path);
    let mount = Mount::new(&bed.path, Access::ReadWrite)?;
    storm::weather(mount.path(), &expected).unwrap();
    mount.close();
    gate::assert_clean(&bed.path);
    Some(bed)
}

/// An image of mke2fs that a kernel filled, but for one part in a hundred.
pub(crate) fn nearly_full(options: &[&str], size: &str) -> Option<Bed> {
    let bed = make(options, size)?;
    let mount = Mount::new(&bed.path, Access::Filling)?;
    let mut number = 0_usize;
    // As large as most, so that the holes between them are small.
    while fs::write(mount.path().join(format!("few/fill-{number}")), noise(1, 19_000)).is_ok() {
        number += 1;
    }
    for removed in (0..number).step_by(90) {
        let _ = fs::remove_file(mount.path().join(format!("few/fill-{removed}")));
    }
    mount.close();
    gate::assert_clean(&bed.path);
    let report = gate::dump(&bed.path).unwrap();
    assert!(report.free_blocks * 20 < report.blocks, "{} blocks are free", report.free_blocks);
    Some(bed)
}

/// The tree as the reader sees it.
pub(crate) fn tree(image: &Path) -> Tree {
    seen::tree(&seen::open(image))
}

/// Panics unless e2fsck finds nothing and the tree is the one that is expected, but for the times of
/// directories; so does the kernel's, where it mounts the image.
pub(crate) fn assert_holds(image: &Path, expected: &Tree, is_mounted: bool) {
    gate::assert_clean(image);
    let expected = expected.clone().without_directory_times();
    expected.assert_same(&tree(image).without_directory_times(), "the reader");
    if !is_mounted {
        return;
    }
    let Some(mount) = Mount::new(image, Access::ReadWrite) else { return };
    expected.assert_same(&mount.tree().without_directory_times(), "the kernel");
    // Another file in every directory shows that they can be written to.
    for (path, entry) in expected.iter() {
        use std::os::unix::ffi::OsStrExt as _;
        if entry.kind == banger_test_support::tree::Kind::Directory {
            let path = mount.path().join(OsStr::from_bytes(path)).join("by the kernel");
            match fs::write(path, b"x") {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                written => written.unwrap(),
            }
        }
    }
    mount.close();
    gate::assert_clean(image);
}
