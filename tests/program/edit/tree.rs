//! `banger image edit`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use banger_test_support::mount::{Access, Mount};
use banger_test_support::{debugfs, gate, xattr};

use super::{bench, everything, fails, leave_transaction, run};

const LAYOUTS: [&[&str]; 5] = [
    &["-t", "ext4"],
    &["-t", "ext2", "-b", "1024"],
    &["-t", "ext3", "-b", "1024", "-I", "128"],
    &["-t", "ext4", "-O", "inline_data,metadata_csum_seed"],
    &["-t", "ext4", "-O", "^has_journal,^extent,^64bit,^dir_index", "-b", "2048"],
];

#[test]
fn steps_are_done_in_the_order_given() {
    for options in LAYOUTS {
        let Some((bench, image)) = bench(options, "48M") else { return };
        debugfs::write(&image, "symlink link etc");
        let words = ["image", "edit", "disk.ext4", "--rename", "/large:/etc/larger"];
        let more = ["--chmod", "4750:link/larger", "--chown", "7:70000:/link/larger"];
        let last = ["--remove", "/etc/hostname", "--rename", "/etc/larger:/etc/hostname"];
        let report = run(&bench, &[&words[..], &more, &last].concat());
        assert_eq!(report["changes"].as_array().unwrap().len(), 5);
        assert_eq!(report["changes"][1], "chmod 4750 link/larger");
        gate::assert_clean(&image);
        assert!(!bench.path("disk.ext4.undo").exists());
        let shown = debugfs::read(&image, "stat /etc/hostname");
        for part in ["Mode:  04750", "User:     7", "Group: 70000", "Size: 300000"] {
            assert!(shown.contains(part), "{options:?}: {part}: {shown}");
        }
        assert!(!debugfs::read(&image, "ls /").contains("large"));
        // A tree, and a link of which the target stays.
        run(&bench, &["image", "edit", "disk.ext4", "--remove", "link", "--remove", "etc/"]);
        gate::assert_clean(&image);
        assert!(!debugfs::read(&image, "ls /").contains("etc"));
    }
}

#[test]
fn a_failed_edit_changes_no_byte() {
    for options in LAYOUTS {
        let Some((bench, _)) = bench(options, "48M") else { return };
        let edit = |steps: &[&str], code| {
            fails(&bench, &[&["image", "edit", "disk.ext4"], steps].concat(), code)
        };
        let done = ["--remove", "/large", "--chmod", "700:/etc"];
        let message = edit(&[&done[..], &["--remove", "/nothing"]].concat(), 66);
        assert!(message.contains("cannot remove /nothing in disk.ext4"), "{message}");
        let message = edit(&[&done[..], &["--rename", "/etc:/etc/hostname/x"]].concat(), 65);
        assert!(message.contains("cannot rename /etc"), "{message}");
        let message = edit(&[&done[..], &["--rename", "/etc:/lost+found"]].concat(), 73);
        assert!(message.contains("--remove takes"), "{message}");
        edit(&[&done[..], &["--rename", "/etc:/etc/below"]].concat(), 65);
        edit(&["--remove", "/lost+found"], 2);
        edit(&["--remove", "/"], 2);
        edit(&["--remove", "/etc/.."], 2);
        assert_eq!(
            bench.run(["image", "edit", "disk.ext4", "--chmod", "x"]).status.code(),
            Some(2)
        );
    }
}

#[test]
fn a_dry_run_says_all_and_changes_no_byte() {
    for options in LAYOUTS {
        let Some((bench, image)) = bench(options, "48M") else { return };
        if gate::dump(&image).unwrap().has("has_journal") {
            leave_transaction(&image, "/large", b"new\n");
        }
        let before = everything(&bench);
        let words = ["image", "edit", "disk.ext4", "--remove", "/large", "--chmod", "700:/etc"];
        let dry = run(&bench, &[&words[..], &["--dry-run"]].concat());
        assert_eq!(
            (&dry["dry_run"], &dry["changes"][1]),
            (&true.into(), &"chmod 0700 /etc".into())
        );
        assert!(everything(&bench) == before, "{options:?}");
        fails(&bench, &[&words[..], &["--remove", "/large", "--dry-run"]].concat(), 66);
        let done = run(&bench, &words);
        assert_eq!(done["changes"], dry["changes"]);
        assert_eq!(done["replayed_transactions"], dry["replayed_transactions"]);
        gate::assert_clean(&image);
    }
}

#[test]
fn chmod_is_what_the_kernel_does_with_an_acl() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    let Some(mount) = Mount::new(&image, Access::ReadWrite) else { return };
    for name in ["ours", "theirs"] {
        let path = mount.path().join(name);
        fs::write(&path, b"x").unwrap();
        let none = u32::MAX;
        let entries =
            [(1, 6, none), (2, 7, 7), (4, 4, none), (8, 4, 8), (0x10, 7, none), (0x20, 4, none)];
        xattr::set(&path, "system.posix_acl_access", &xattr::acl(&entries));
    }
    let permissions = fs::Permissions::from_mode(0o741);
    fs::set_permissions(mount.path().join("theirs"), permissions).unwrap();
    mount.close();
    run(&bench, &["image", "edit", "disk.ext4", "--chmod", "0741:/ours"]);
    gate::assert_clean(&image);
    let Some(mount) = Mount::new(&image, Access::ReadOnly) else { return };
    let acl = |name: &str| xattr::get(&mount.path().join(name), "system.posix_acl_access");
    assert_eq!(acl("ours"), acl("theirs"));
    mount.close();
}

#[test]
fn an_image_in_use_is_not_edited_and_not_tried() {
    let Some((bench, image)) = bench(&["-t", "ext4"], "48M") else { return };
    let holder = fs::File::options().read(true).write(true).open(&image).unwrap();
    holder.lock().unwrap();
    let words = ["image", "edit", "disk.ext4", "--remove", "/large"];
    assert!(fails(&bench, &words, 73).contains("lock"));
    assert!(fails(&bench, &[&words[..], &["--dry-run"]].concat(), 73).contains("lock"));
}
