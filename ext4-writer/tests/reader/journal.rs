//! Images that were not unmounted: read as the kernel shows them once it replayed their journal.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, judge};
use ext4_writer::reader::{Links, Part, ReadError, Reader};

use crate::made::{Made, make, make_of, noise};
use crate::seen::{assert_facts, open, tree};
use crate::written::work;

/// The journal's magic number, as it stands on disk.
const MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];

fn copy(image: &Path, name: &str) -> PathBuf {
    let copy = image.with_file_name(name);
    judge::succeed("cp", ["--sparse=always".as_ref(), image.as_os_str(), copy.as_os_str()]);
    copy
}

/// Panics unless the reader sees in a dirty image what the kernel shows after its recovery.
fn assert_as_recovered(dirty: &Path) {
    let recovered = copy(dirty, "recovered.ext4");
    // A mount for reading only replays the journal, too, unless the device is for reading only.
    let Some(mount) = Mount::new(&recovered, Access::ReadWrite) else { return };
    let shown = mount.tree();
    let reader = open(dirty);
    shown.assert_same(&tree(&reader), "the reader");
    mount.close();
    fs::remove_file(recovered).unwrap();
}

/// Copies of an image at the moments at which `write` asks for one, while it is mounted.
fn dirty_copies(made: &Made, write: impl FnOnce(&Path, &mut dyn FnMut())) -> Vec<PathBuf> {
    let Some(mount) = Mount::new(&made.path, Access::ReadWrite) else { return Vec::new() };
    let mut copies = Vec::new();
    let mut take = || {
        copies.push(copy(&made.path, &format!("dirty-{}.ext4", copies.len())));
    };
    write(mount.path(), &mut take);
    mount.close();
    copies
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// Commits small and large, removals whose blocks are used again, contents that look like the
/// journal's own blocks.
fn writes(root: &Path, take: &mut dyn FnMut()) {
    take();
    fs::write(root.join("first"), b"first").unwrap();
    sync(&root.join("first"));
    take();
    work(root, 500);
    sync(root);
    take();
    for round in 0..6 {
        let directory = root.join(format!("round-{round}"));
        fs::create_dir(&directory).unwrap();
        for number in 0..200 {
            let name = directory.join(format!("a-name-that-fills-directory-blocks-{number}"));
            fs::write(name, noise(number, 900)).unwrap();
        }
        sync(&directory);
        if round % 2 == 0 {
            fs::remove_dir_all(&directory).unwrap();
            sync(root);
        }
        // What was a directory's block may now be a file's.
        let mut content = noise(round, 400_000);
        for block in content.chunks_mut(1024) {
            block[..4].copy_from_slice(&MAGIC);
        }
        let file = root.join(format!("like-a-journal-{round}"));
        fs::write(&file, &content).unwrap();
        sync(&file);
        take();
    }
    let open_and_gone = root.join("open-and-gone");
    let mut file = OpenOptions::new().create_new(true).write(true).open(&open_and_gone).unwrap();
    file.write_all(b"still open").unwrap();
    fs::remove_file(&open_and_gone).unwrap();
    fs::write(root.join("last"), b"last").unwrap();
    sync(&root.join("last"));
    take();
}

fn assert_recovers(options: &[&str], size: &str) {
    if let Some(made) = make(options, size) {
        assert_copies_recover(&made);
    }
}

/// Panics unless the reader sees in copies of an image that is written to what the kernel shows
/// after their recovery.
pub(crate) fn assert_copies_recover(made: &Made) {
    let copies = dirty_copies(made, writes);
    let mut replayed = 0;
    for dirty in &copies {
        let reader = open(dirty);
        replayed += reader.recovery().map_or(0, |recovery| recovery.blocks);
        assert_as_recovered(dirty);
    }
    assert!(copies.is_empty() || replayed > 100, "{replayed} blocks were replayed");
}

#[test]
fn a_dirty_image_reads_as_after_recovery() {
    assert_recovers(&["-t", "ext4", "-b", "1024"], "120M");
    assert_recovers(&["-t", "ext4", "-b", "4096", "-O", "inline_data"], "120M");
}

#[test]
fn a_dirty_image_with_a_journal_that_is_not_summed_reads_as_after_recovery() {
    assert_recovers(&["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"], "120M");
    assert_recovers(&["-t", "ext3", "-b", "4096"], "120M");
}

#[test]
fn a_dirty_image_with_sums_of_whole_transactions_reads_as_after_recovery() {
    let options = ["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"];
    let Some(made) = make(&options, "120M") else { return };
    let arguments = ["-E", "mount_opts=journal_checksum"].map(AsRef::as_ref);
    judge::succeed("tune2fs", arguments.into_iter().chain([made.path.as_os_str()]));
    assert_copies_recover(&made);
    assert!(debugfs::read(&made.path, "logdump -S").contains("journal_checksum"));
}

#[test]
fn data_that_went_through_the_journal_is_read_from_it() {
    for features in ["^metadata_csum", "metadata_csum"] {
        let Some(made) = make(&["-t", "ext4", "-b", "1024", "-O", features], "120M") else {
            return;
        };
        judge::succeed("tune2fs", ["-o".as_ref(), "journal_data".as_ref(), made.path.as_os_str()]);
        let copies = dirty_copies(&made, writes);
        for dirty in &copies {
            assert_as_recovered(dirty);
        }
    }
}

#[test]
fn a_dirty_image_read_as_it_lies_is_not_replayed() {
    let Some(made) = make(&["-t", "ext4", "-b", "1024"], "60M") else { return };
    let copies = dirty_copies(&made, |root, take| {
        fs::write(root.join("new"), b"new").unwrap();
        sync(&root.join("new"));
        take();
    });
    let Some(dirty) = copies.first() else { return };
    let reader = open(dirty);
    assert!(reader.recovery().is_some_and(|recovery| recovery.transactions > 0));
    assert!(!reader.superblock().is_clean);
    assert!(reader.lookup(b"new", Links::Keep).is_ok());
    let unreplayed = Reader::open_unreplayed(File::open(dirty).unwrap()).unwrap();
    assert!(unreplayed.recovery().is_none());
    assert_facts(&open(&made.path), Mount::new(&made.path, Access::ReadOnly).unwrap().path());
}

/// A journal of debugfs's, of this version: two transactions, of which the second revokes a block
/// of the first.
fn by_debugfs(version: &str, features: &str) -> Option<Made> {
    let made = make_of(None, &["-t", "ext4", "-b", "1024", "-O", features], "16M")?;
    // Blocks that nothing else has: those of a file.
    let content = made.directory.path().join("content");
    fs::write(&content, vec![b'o'; 6 * 1024]).unwrap();
    debugfs::write(&made.path, &format!("write {} file", content.display()));
    let blocks: Vec<_> = debugfs::blocks(&made.path, "/file");
    let (first, second) = (made.directory.path().join("first"), made.directory.path().join("more"));
    let mut bytes = noise(1, 3 * 1024);
    bytes[1024..1028].copy_from_slice(&MAGIC);
    fs::write(&first, &bytes).unwrap();
    fs::write(&second, noise(2, 1024)).unwrap();
    let script = made.directory.path().join("script");
    let open = match version {
        "0" => "jo".to_owned(),
        version => format!("jo -c -v {version}"),
    };
    // debugfs sums revoke blocks into whole transactions, which the kernel does not.
    let revoke = if version == "1" { String::new() } else { format!("jw -r {}\n", blocks[2]) };
    let commands = format!(
        "{open}\njw -b {},{},{} {}\njw -b {} {}\n{revoke}jc\n",
        blocks[0],
        blocks[1],
        blocks[2],
        first.display(),
        blocks[3],
        second.display(),
    );
    fs::write(&script, commands).unwrap();
    judge::succeed(
        "debugfs",
        ["-w".as_ref(), "-f".as_ref(), script.as_os_str(), made.path.as_os_str()],
    );
    Some(made)
}

#[test]
fn journals_of_every_version_of_checksums_are_replayed() {
    for (version, features) in [
        ("0", "^metadata_csum,^64bit"),
        ("1", "^metadata_csum"),
        ("2", "metadata_csum,^64bit"),
        ("2", "metadata_csum,64bit"),
        ("3", "metadata_csum,64bit"),
        ("3", "metadata_csum,^64bit"),
    ] {
        let Some(made) = by_debugfs(version, features) else { return };
        let reader = open(&made.path);
        let recovery = reader.recovery().expect("debugfs leaves it dirty");
        assert!(recovery.transactions >= 2, "version {version}: {recovery:?}");
        let expected = if version == "1" { 4 } else { 3 };
        assert_eq!(recovery.blocks, expected, "version {version} with {features}");
        assert_as_recovered(&made.path);
    }
}

#[test]
fn a_journal_whose_inode_was_not_written_is_replayed_by_the_copy_in_the_superblock() {
    for features in ["metadata_csum,64bit", "^metadata_csum,^extent,^64bit"] {
        let Some(made) = by_debugfs("0", features) else { return };
        let whole = tree(&open(&made.path));
        debugfs::write(&made.path, "clri <8>");
        let reader = open(&made.path);
        assert!(reader.recovery().is_some_and(|recovery| recovery.blocks == 3), "{features}");
        tree(&reader).assert_same(&whole, "the reader");
        // Without the copy it cannot be found.
        debugfs::write(&made.path, "ssv jnl_backup_type 0");
        let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err();
        let part = matches!(refused, ReadError::Corrupt { part: Part::Inode(8), .. });
        assert!(part || matches!(refused, ReadError::FreeInode { inode: 8 }), "{refused}");
    }
}

#[test]
fn a_journal_that_brings_another_block_size_is_refused_by_name() {
    let made = make_of(None, &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit"], "16M");
    let Some(made) = made else { return };
    let mut superblock = vec![0; 1024];
    File::open(&made.path).unwrap().read_exact_at(&mut superblock, 1024).unwrap();
    superblock[0x18] = 2;
    let content = made.directory.path().join("superblock");
    fs::write(&content, superblock).unwrap();
    let script = made.directory.path().join("script");
    fs::write(&script, format!("jo\njw -b 1 {}\njc\n", content.display())).unwrap();
    judge::succeed(
        "debugfs",
        ["-w".as_ref(), "-f".as_ref(), script.as_os_str(), made.path.as_os_str()],
    );
    let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err();
    let expected = matches!(refused, ReadError::Corrupt { part: Part::Superblock, .. });
    assert!(expected && refused.to_string().contains("blocks of 4096 bytes"), "{refused}");
}

/// Where in the image a block of the journal is that begins with the journal's magic number and a
/// word of this kind.
fn journal_block(image: &Path, kind: u32, number: usize) -> Option<u64> {
    let bytes = fs::read(image).unwrap();
    let head = [MAGIC, kind.to_be_bytes()].concat();
    let found = bytes.chunks(1024).enumerate().filter(|(_, block)| block.starts_with(&head));
    found.map(|(place, _)| u64::try_from(place).unwrap() * 1024).nth(number)
}

#[test]
fn a_damaged_journal_is_refused_where_the_kernel_refuses_it() {
    // A descriptor, a commit, a revoke block, and the journal's superblock.
    for (kind, place) in [(1, 20), (2, 50), (5, 17), (4, 27)] {
        let Some(made) = by_debugfs("3", "metadata_csum,64bit") else { return };
        let block = journal_block(&made.path, kind, 0).expect("there is one of every kind");
        let file = OpenOptions::new().read(true).write(true).open(&made.path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, block + place).unwrap();
        file.write_all_at(&[byte[0] ^ 1], block + place).unwrap();
        let refused = Reader::open(File::open(&made.path).unwrap()).unwrap_err();
        assert!(
            matches!(refused, ReadError::Checksum { .. } | ReadError::Corrupt { .. }),
            "kind {kind}: {refused}"
        );
        assert!(!kernel_mounts(&made.path), "the kernel mounts it with a damaged kind {kind}");
    }
}

/// Whether the kernel mounts the image, which it changes.
fn kernel_mounts(image: &Path) -> bool {
    let device = banger_test_support::device::LoopDevice::over(image).unwrap();
    let point = tempfile::tempdir().unwrap();
    let mount = judge::find("mount").unwrap();
    let arguments =
        ["-t".as_ref(), "ext4".as_ref(), device.path().as_os_str(), point.path().as_os_str()];
    let mounted = judge::run(&mount, arguments).status.success();
    if mounted {
        judge::succeed("umount", [point.path()]);
    }
    mounted
}

#[test]
fn fast_commits_are_refused_by_name_and_their_feature_alone_is_not() {
    let Some(made) = make(&["-t", "ext4", "-b", "4096", "-O", "fast_commit"], "120M") else {
        return;
    };
    let mut refused = 0;
    let copies = dirty_copies(&made, |root, take| {
        take();
        for round in 0..4 {
            let file = root.join(format!("file-{round}"));
            fs::write(&file, noise(round, 3000)).unwrap();
            sync(&file);
            take();
        }
        judge::succeed("sync", ["-f".as_ref(), root.as_os_str()]);
        take();
    });
    for dirty in &copies {
        match Reader::open(File::open(dirty).unwrap()) {
            Ok(_) => assert_as_recovered(dirty),
            Err(ReadError::Unsupported { what, .. }) if what.contains("fast commits") => {
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(copies.is_empty() || refused > 0, "no fast commit was made");
    assert!(copies.is_empty() || refused < copies.len(), "every copy was refused");
}

/// A dirty copy of a small image, for damage.
pub(crate) fn dirty_small(made: &Made) -> Option<PathBuf> {
    let copies = dirty_copies(made, |root, take| {
        for name in ["a", "b"] {
            fs::create_dir(root.join(name)).unwrap();
            for number in 0..60u32 {
                let file = root.join(name).join(format!("file-{number}"));
                fs::write(&file, noise(number.into(), 500)).unwrap();
                if number % 7 == 0 {
                    sync(&file);
                    fs::remove_file(&file).unwrap();
                }
            }
        }
        sync(&root.join("a"));
        take();
    });
    copies.into_iter().next()
}
