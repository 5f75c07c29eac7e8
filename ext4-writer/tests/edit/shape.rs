//! Size and identity: what e2fsck, the kernel and resize2fs say of them afterwards.

use std::fs::File;
use std::path::Path;

use banger_test_support::{gate, judge};
use ext4_writer::edit::{EditError, Editor, UndoFile};
use ext4_writer::{
    Builder, FileContent, MemorySink, Metadata, MountOptions, OnError, Options, Reserved, Size,
};

use crate::bed::{LAYOUTS, NOW, assert_holds, make, tree};
use crate::random::{Step, run};

fn edit(image: &Path) -> Editor<File> {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let undo = UndoFile::new(image.with_extension("undo"));
    Editor::open_with_undo(file, Box::new(undo), NOW).unwrap()
}

fn has(options: &[&str], feature: &str) -> bool {
    options.iter().any(|option| option.split(',').any(|name| name == feature))
}

#[test]
fn a_filesystem_grows_and_stays_what_it_was() {
    for (options, is_mounted) in LAYOUTS {
        let size = if *is_mounted { "48M" } else { "200M" };
        let Some(bed) = make(options, size) else { return };
        if has(options, "meta_bg") || has(options, "sparse_super2") {
            let refused = edit(&bed.path).grow(1 << 30).unwrap_err();
            assert!(matches!(refused, EditError::Refused { .. }), "{refused}");
            continue;
        }
        let mut expected = tree(&bed.path);
        let goals: &[u64] = if has(options, "^resize_inode") {
            &[49 << 20, 120 << 20]
        } else if *is_mounted {
            &[49 << 20, 130 << 20, 2 << 30]
        } else {
            &[300 << 20, 40 << 30]
        };
        for goal in goals {
            let mut editor = edit(&bed.path);
            // A last group that would be too short is left out.
            let goal = editor.longest_within(*goal);
            editor.grow(goal).unwrap_or_else(|error| panic!("{options:?} to {goal}: {error}"));
            editor.commit().unwrap();
            assert!(!bed.path.with_extension("undo").exists());
            assert_eq!(bed.path.metadata().unwrap().len(), goal, "{options:?}");
            assert_holds_still(&bed.path, &expected);
        }
        let steps: Vec<Step> = (0..14u8)
            .map(|kind| Step { kind, one: u16::from(kind) * 7, other: 31, size: 150_000 })
            .collect();
        run(&bed.path, &steps, &mut expected, 0);
        assert_holds(&bed.path, &expected, *is_mounted);
        // e2fsck still makes indexes anew, and the kernel's names are among them.
        let after = tree(&bed.path);
        let fsck = judge::find("e2fsck").unwrap();
        let output = judge::run(&fsck, ["-fyD".as_ref(), bed.path.as_os_str()]);
        assert!(output.status.code().unwrap() < 2, "{options:?}: {}", judge::text(&output));
        assert_holds_still(&bed.path, &after);
    }
}

fn assert_holds_still(image: &Path, expected: &banger_test_support::tree::Tree) {
    gate::assert_clean(image);
    expected.assert_same(&tree(image), "the reader");
}

#[test]
fn what_grew_is_grown_on_by_resize2fs() {
    let Some(bed) = make(&["-t", "ext4", "-b", "4096"], "64M") else { return };
    if !judge::all(&["resize2fs"]) {
        return;
    }
    let mut editor = edit(&bed.path);
    editor.grow(5 << 30).unwrap();
    editor.commit().unwrap();
    gate::assert_clean(&bed.path);
    for size in ["12G", "600M"] {
        judge::succeed("resize2fs", ["-f".as_ref(), bed.path.as_os_str(), size.as_ref()]);
        gate::assert_checked(&bed.path);
    }
}

#[test]
fn smaller_sizes_and_too_large_ones_are_refused() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "24M") else { return };
    let refused = edit(&bed.path).grow(1 << 20).unwrap_err();
    assert!(matches!(refused, EditError::Shorter { size: 0x0180_0000, .. }), "{refused}");
    let refused = edit(&bed.path).grow(1 << 50).unwrap_err();
    assert!(matches!(refused, EditError::Refused { .. }), "{refused}");
    edit(&bed.path).commit().unwrap();
    gate::assert_clean(&bed.path);
}

#[test]
fn a_size_that_cannot_be_is_refused_with_those_that_can() {
    // Groups of 8 MiB and one block before the first.
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "24M") else { return };
    for asked in [(40 << 20) + 2048, (30 << 20) + 1] {
        let refused = edit(&bed.path).grow(asked).unwrap_err();
        let EditError::InvalidSize { below, above, .. } = refused else { panic!("{refused}") };
        assert!(below < asked && asked < above && above - below < 1 << 20, "{below}, {above}");
        assert_eq!(edit(&bed.path).longest_within(asked), below);
        if above - 1024 > below {
            edit(&bed.path).grow(above - 1024).unwrap_err();
        }
        for size in [below, above] {
            let image = bed.directory.path().join("grown.ext4");
            std::fs::copy(&bed.path, &image).unwrap();
            let mut editor = edit(&image);
            editor.grow(size).unwrap();
            editor.commit().unwrap();
            assert_eq!(image.metadata().unwrap().len(), size);
            gate::assert_clean(&image);
        }
    }
}

#[test]
fn identity_is_what_dumpe2fs_prints() {
    let Some(bed) = make(&["-t", "ext4", "-O", "metadata_csum_seed"], "48M") else { return };
    let expected = tree(&bed.path);
    let mut editor = edit(&bed.path);
    editor.set_label(b"new label").unwrap();
    editor.set_last_mounted(b"/srv").unwrap();
    editor.set_reserved(Reserved::Percent(1)).unwrap();
    editor.set_on_error(OnError::RemountReadOnly);
    editor.set_mount_options(MountOptions::ACL | MountOptions::DISCARD);
    editor.set_uuid(*b"0123456789abcdef").unwrap();
    editor.set_label(b"a label that is too long").unwrap_err();
    editor.set_reserved(Reserved::Percent(60)).unwrap_err();
    editor.commit().unwrap();
    assert_holds_still(&bed.path, &expected);
    let report = gate::dump(&bed.path).unwrap();
    assert_eq!(report.label, "new label");
    assert_eq!(report.uuid, "30313233-3435-3637-3839-616263646566");
    assert_eq!(report.reserved_blocks, report.blocks / 100);
    for line in ["Last mounted on:          /srv", "Remount read-only", "acl discard"] {
        assert!(report.text.contains(line), "{line}: {}", report.text);
    }
    // A copy that has another UUID would make -p check everything.
    let fsck = judge::find("e2fsck").unwrap();
    let output = judge::run(&fsck, ["-p".as_ref(), bed.path.as_os_str()]);
    assert!(judge::text(&output).contains("clean"), "{}", judge::text(&output));
}

#[test]
fn a_new_uuid_gives_all_that_is_summed_new_sums() {
    for (options, is_mounted) in LAYOUTS {
        let size = if *is_mounted { "48M" } else { "200M" };
        let Some(bed) = make(options, size) else { return };
        let mut expected = tree(&bed.path);
        let mut editor = edit(&bed.path);
        let reason = [("ea_inode", "metadata_csum_seed"), ("stable_inodes", "stable_inodes")]
            .into_iter()
            .find(|(feature, _)| has(options, feature));
        if let Some((_, reason)) = reason {
            let refused = editor.set_uuid([7; 16]).unwrap_err().to_string();
            assert!(refused.contains(reason), "{refused}");
            continue;
        }
        // What was freed, and changed in the same edit, is summed too.
        editor.remove(editor.root(), b"block").unwrap();
        expected.remove(b"block");
        editor.set_uuid(*b"0123456789abcdef").unwrap();
        editor.set_metadata(editor.root(), &Metadata::root_owned(0o711, NOW)).unwrap();
        expected.change(b"", |entry| entry.mode = 0o711);
        editor.commit().unwrap_or_else(|error| panic!("{options:?}: {error}"));
        assert_eq!(gate::dump(&bed.path).unwrap().uuid, "30313233-3435-3637-3839-616263646566");
        assert_holds(&bed.path, &expected, *is_mounted);
        // A group that was changed is changed again.
        let steps: Vec<Step> = (0..14u8)
            .map(|kind| Step { kind, one: u16::from(kind) * 7, other: 31, size: 150_000 })
            .collect();
        let mut expected = tree(&bed.path);
        run(&bed.path, &steps, &mut expected, 0);
        assert_holds(&bed.path, &expected, *is_mounted);
        if judge::all(&["tune2fs"]) {
            // It wants one that was checked since it was mounted.
            judge::succeed("e2fsck", ["-fp".as_ref(), bed.path.as_os_str()]);
            judge::succeed("tune2fs", ["-U".as_ref(), "random".as_ref(), bed.path.as_os_str()]);
            gate::assert_clean(&bed.path);
        }
    }
}

/// More than is held in memory at once.
#[test]
fn a_new_uuid_gives_the_metadata_of_many_files_new_sums() {
    let metadata = Metadata::root_owned(0o755, NOW);
    let sink = MemorySink::new();
    let mut builder = Builder::create(sink, Options::new(Size::Fixed(256 << 20))).unwrap();
    let root = builder.root();
    let many = builder.add_directory(root, b"many", &metadata).unwrap();
    for number in 0..30_000 {
        let name = format!("a-name-that-is-long-enough-to-fill-blocks-{number}");
        let mut nothing = std::io::empty();
        let file = FileContent::new(0, &mut nothing);
        let node = builder.add_file(many, name.as_bytes(), &metadata, file).unwrap();
        if number % 9 == 0 {
            // Of every two, one has a block of its own.
            builder.set_xattr(node, b"user.name", &vec![7; 200 + number % 2]).unwrap();
        }
    }
    let image = builder.finish().unwrap().1.into_bytes();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.ext4");
    for is_unpublished in [false, true] {
        std::fs::write(&path, &image).unwrap();
        let expected = tree(&path);
        let file = || File::options().read(true).write(true).open(&path).unwrap();
        let mut editor = if is_unpublished {
            Editor::open_unpublished(file(), NOW).unwrap()
        } else {
            edit(&path)
        };
        editor.set_uuid([7; 16]).unwrap();
        editor.grow(1 << 30).unwrap();
        editor.commit().unwrap();
        assert_holds(&path, &expected, true);
    }
}

#[test]
fn what_is_damaged_gets_no_new_sums() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    let reader = crate::seen::open(&bed.path);
    let inode = reader.lookup(b"/many", ext4_writer::reader::Links::Keep).unwrap();
    let last = reader.extents(&inode).unwrap().last().unwrap().unwrap();
    let place = last.block * 1024 + 500;
    let mut bytes = std::fs::read(&bed.path).unwrap();
    bytes[usize::try_from(place).unwrap()] ^= 1;
    std::fs::write(&bed.path, &bytes).unwrap();
    let mut editor = edit(&bed.path);
    editor.set_uuid([7; 16]).unwrap();
    let refused = editor.commit().unwrap_err();
    assert!(matches!(refused, EditError::Read(_)), "{refused}");
    assert!(std::fs::read(&bed.path).unwrap() == bytes);
    assert!(!bed.path.with_extension("undo").exists());
}
