//! Size and identity: what e2fsck, the kernel and resize2fs say of them afterwards.

use std::fs::File;
use std::path::Path;

use banger_test_support::{gate, judge};
use ext4_writer::edit::{EditError, Editor, UndoFile};
use ext4_writer::{MountOptions, OnError, Reserved};

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
            editor.grow(*goal).unwrap_or_else(|error| panic!("{options:?} to {goal}: {error}"));
            editor.commit().unwrap();
            assert!(!bed.path.with_extension("undo").exists());
            // A last group that would be too short is left out.
            let length = bed.path.metadata().unwrap().len();
            assert!((goal - (9 << 20)..=*goal).contains(&length), "{options:?}: {length}");
            assert_holds_still(&bed.path, &expected);
        }
        let steps: Vec<Step> = (0..14u8)
            .map(|kind| Step { kind, one: u16::from(kind) * 7, other: 31, size: 150_000 })
            .collect();
        run(&bed.path, &steps, &mut expected, 0);
        assert_holds(&bed.path, &expected, *is_mounted);
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
    for bytes in [1 << 20, 1 << 50] {
        let refused = edit(&bed.path).grow(bytes).unwrap_err();
        assert!(matches!(refused, EditError::Refused { .. }), "{refused}");
    }
    edit(&bed.path).commit().unwrap();
    gate::assert_clean(&bed.path);
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
fn a_uuid_that_the_checksums_begin_with_is_refused() {
    let options = ["-t", "ext4", "-O", "metadata_csum,^metadata_csum_seed"];
    let Some(bed) = make(&options, "24M") else { return };
    let refused = edit(&bed.path).set_uuid([7; 16]).unwrap_err().to_string();
    assert!(refused.contains("metadata_csum_seed"), "{refused}");
    let options = ["-t", "ext4", "-O", "^metadata_csum,uninit_bg"];
    let Some(bed) = make(&options, "24M") else { return };
    let mut editor = edit(&bed.path);
    editor.set_uuid([7; 16]).unwrap();
    editor.commit().unwrap();
    gate::assert_clean(&bed.path);
}
