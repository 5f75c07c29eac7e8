//! One promise of the editor at a time.

use std::fs::File;

use banger_test_support::{debugfs, gate};
use ext4_writer::edit::{EditError, Editor, Trial};
use ext4_writer::reader::{Links, Reader};
use ext4_writer::{Error, FileContent, Metadata};

use crate::bed::{NOW, edit, make, noise};

#[test]
fn a_small_edit_is_done_and_clean() {
    let Some(bed) = make(&["-t", "ext4", "-b", "4096"], "48M") else { return };
    let mut editor = edit(&bed.path);
    let content = noise(5, 300_000);
    let mut reader = content.as_slice();
    let file = FileContent::new(300_000, &mut reader);
    let metadata = Metadata::root_owned(0o644, NOW);
    editor.add_file(editor.root(), b"agent", &metadata, file).unwrap();
    editor.commit().unwrap();
    gate::assert_clean(&bed.path);
    let shown = debugfs::read(&bed.path, "stat /agent");
    assert!(shown.contains("Size: 300000"), "{shown}");
}

#[test]
fn bad_arguments_leave_the_edit_as_it_was() {
    let Some(bed) = make(&["-t", "ext4", "-b", "4096"], "48M") else { return };
    let mut editor = edit(&bed.path);
    let (root, metadata) = (editor.root(), Metadata::root_owned(0o755, NOW));
    let is = |result: Result<u32, EditError>, wanted: fn(&Error) -> bool| match result {
        Err(EditError::Change(error)) => assert!(wanted(&error), "{error}"),
        other => panic!("{other:?}"),
    };
    is(editor.add_directory(root, b"few", &metadata), |e| matches!(e, Error::Exists { .. }));
    is(editor.add_directory(root, b"a/b", &metadata), |e| matches!(e, Error::InvalidName { .. }));
    is(editor.add_symlink(root, b"l", &metadata, b""), |e| {
        matches!(e, Error::InvalidTarget { .. })
    });
    let removed = editor.remove(root, b"lost+found").map(|()| 0);
    is(removed, |e| matches!(e, Error::Protected { .. }));
    is(editor.remove(root, b"nothing").map(|()| 0), |e| matches!(e, Error::NotFound { .. }));
    editor.commit().unwrap();
    gate::assert_clean(&bed.path);
}

#[test]
fn an_edit_that_failed_changes_nothing() {
    let Some(bed) = make(&["-t", "ext4", "-b", "4096"], "48M") else { return };
    let mut editor = edit(&bed.path);
    let mut short = b"too short".as_slice();
    let file = FileContent::new(100, &mut short);
    let metadata = Metadata::root_owned(0o644, NOW);
    let failed = editor.add_file(editor.root(), b"file", &metadata, file).unwrap_err();
    assert!(matches!(failed, EditError::Change(Error::ContentShort { .. })), "{failed}");
    assert!(matches!(editor.commit().unwrap_err(), EditError::Stopped));
    gate::assert_clean(&bed.path);
    let mut editor = edit(&bed.path);
    let mut endless = std::io::repeat(7);
    let file = FileContent::new(1 << 30, &mut endless);
    let failed = editor.add_file(editor.root(), b"file", &metadata, file).unwrap_err();
    assert!(matches!(failed, EditError::Change(Error::ImageFull { .. })), "{failed}");
    gate::assert_clean(&bed.path);
    assert!(debugfs::read(&bed.path, "ls /").contains("sizes"));
}

#[test]
fn a_trial_shows_the_edit_and_writes_nothing() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    let before = std::fs::read(&bed.path).unwrap();
    let mut editor = Editor::open(Trial::new(File::open(&bed.path).unwrap()), NOW).unwrap();
    let content = noise(5, 900_000);
    let mut reader = content.as_slice();
    let file = FileContent::new(900_000, &mut reader);
    let metadata = Metadata::root_owned(0o644, NOW);
    editor.add_file(editor.root(), b"agent", &metadata, file).unwrap();
    editor.add_symlink(editor.root(), b"link", &metadata, &[b't'; 300]).unwrap();
    editor.remove(editor.root(), b"many").unwrap();
    let link = editor.lookup(editor.root(), b"link").unwrap().unwrap();
    assert_eq!(editor.symlink_target(link).unwrap().unwrap(), [b't'; 300]);
    let trial = editor.commit().unwrap();
    assert!(std::fs::read(&bed.path).unwrap() == before);
    let reader = Reader::open(trial).unwrap();
    assert_eq!(reader.lookup(b"/agent", Links::Keep).unwrap().size(), 900_000);
    reader.lookup(b"/many", Links::Keep).unwrap_err();
}

#[test]
fn what_is_detached_stays_whole_until_it_is_discarded() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    let mut editor = edit(&bed.path);
    let root = editor.root();
    let sizes = editor.resolve(b"sizes", Links::Keep).unwrap();
    // A file with one name, one with two, a tree.
    let one = editor.detach(sizes, b"20000").unwrap();
    let two = editor.detach(sizes, b"4097").unwrap();
    let tree = editor.detach(root, b"sizes").unwrap();
    assert_eq!(tree, sizes);
    for (node, links) in [(one, 0), (two, 1), (tree, 0)] {
        assert_eq!(editor.link_count(node).unwrap(), links);
    }
    let mut buffer = vec![0; 30_000];
    assert_eq!(editor.read(one, &mut buffer).unwrap(), 20_000);
    assert!(buffer[..20_000] == noise(1, 20_000));
    assert!(editor.lookup(tree, b"60").unwrap().is_some());
    editor.add_link(root, b"again", one).unwrap();
    for node in [one, two, tree, tree] {
        editor.discard(node).unwrap();
    }
    assert_eq!(editor.link_count(one).unwrap(), 1);
    editor.commit().unwrap();
    gate::assert_clean(&bed.path);
    let reader = Reader::open(File::open(&bed.path).unwrap()).unwrap();
    assert_eq!(reader.lookup(b"/again", Links::Keep).unwrap().size(), 20_000);
    assert_eq!(reader.lookup(b"/few/link", Links::Keep).unwrap().size(), 4097);
    reader.lookup(b"/sizes", Links::Keep).unwrap_err();
}

#[test]
fn what_is_left_detached_is_not_committed() {
    let Some(bed) = make(&["-t", "ext4", "-b", "1024"], "48M") else { return };
    let mut editor = edit(&bed.path);
    editor.detach(editor.root(), b"few").unwrap();
    assert!(matches!(editor.commit().unwrap_err(), EditError::Detached { .. }));
    gate::assert_clean(&bed.path);
}

#[test]
fn what_cannot_be_kept_true_is_refused_by_name() {
    for (options, name) in [
        (&["-t", "ext4", "-O", "quota"][..], "quota"),
        (&["-t", "ext4", "-O", "bigalloc"], "bigalloc"),
        (&["-t", "ext4", "-O", "mmp"], "mmp"),
    ] {
        let Some(bed) = crate::bed::make_unchecked(options, "48M") else { return };
        let file = File::options().read(true).write(true).open(&bed.path).unwrap();
        let refused = Editor::open(file, NOW).unwrap_err();
        assert!(matches!(refused, EditError::Refused { .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
}
