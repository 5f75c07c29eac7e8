//! What makes calls shorter makes the same images: sinks of every form, paths, host trees, options
//! and errors that convert.

use std::fs;
use std::io::{self, Cursor, ErrorKind};
use std::path::Path;

use banger_test_support::gate;
use banger_test_support::tree::{Entry as Expected, Kind, Tree};
use banger_test_support::{mount, view};
use ext4_writer::reader::Reader;
use ext4_writer::{
    Builder, Entry, Error, FileContent, MemorySink, Metadata, Options, Profile, Sink, Size,
    Special, Timestamp,
};

const TIME: Timestamp = Timestamp::from_seconds(1_767_225_600);

fn options() -> Options {
    Options::new(Size::Fit { free_bytes: 1 << 20, free_inodes: 20 }).with_epoch(TIME)
}

/// The same small tree on any sink.
fn fill<S: Sink>(sink: S, options: Options) -> S {
    let mut builder = Builder::create(sink, options).unwrap();
    let metadata = Metadata::root_owned(0o640, TIME);
    let text = FileContent::bytes(b"PermitRootLogin no\n");
    let file = builder.add_path("/etc/ssh//sshd_config", &metadata, Entry::File(text)).unwrap();
    builder.add_path("etc/ssh/again", &metadata, Entry::Link(file)).unwrap();
    builder.add_path("var/empty", &metadata, Entry::File(FileContent::empty())).unwrap();
    builder.add_path("var/run", &metadata, Entry::Symlink(b"/run")).unwrap();
    builder.add_path("run/pipe", &metadata, Entry::Special(Special::Fifo)).unwrap();
    let directory = Metadata::root_owned(0o700, TIME);
    builder.add_path("var", &directory, Entry::Directory).unwrap();
    builder.finish().unwrap().1
}

fn assert_is_the_small_tree(bytes: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    fs::write(&image, bytes).unwrap();
    gate::assert_clean(&image);
    let found = view::read_tree(&image).unwrap();
    let mode = |path: &[u8]| found.get(path).unwrap().mode & 0o7777;
    assert_eq!(mode(b"etc"), 0o755);
    assert_eq!(mode(b"etc/ssh"), 0o755);
    assert_eq!(mode(b"var"), 0o700);
    let file = found.get(b"etc/ssh/again").unwrap();
    assert_eq!(file.kind, Kind::file(b"PermitRootLogin no\n"));
    assert_eq!(found.get(b"var/empty").unwrap().kind, Kind::file(b""));
    assert_eq!(found.get(b"var/run").unwrap().kind, Kind::Symlink(b"/run".to_vec()));
}

#[test]
fn every_sink_in_memory_gives_the_same_bytes() {
    let expected = fill(MemorySink::new(), options()).into_bytes();
    assert_is_the_small_tree(&expected);
    assert!(fill(Vec::new(), options()) == expected);
    assert!(fill(Cursor::new(Vec::new()), options()).into_inner() == expected);
    let mut bytes = Vec::new();
    let boxed: Box<dyn Sink + '_> = Box::new(&mut bytes);
    drop(fill(boxed, options()));
    assert!(bytes == expected);
}

#[test]
fn a_vector_that_held_something_is_taken_for_a_used_disk() {
    let used = fill(vec![0xaa; 40 << 20], options());
    assert_is_the_small_tree(&used);
}

#[test]
fn a_path_leads_through_directories_alone_and_names_something() {
    let mut builder = Builder::create(Vec::new(), options()).unwrap();
    let metadata = Metadata::root_owned(0o644, TIME);
    builder.add_path("bin", &metadata, Entry::Symlink(b"usr/bin")).unwrap();
    let below = builder.add_path("bin/sh", &metadata, Entry::Directory);
    assert!(matches!(below, Err(Error::WrongKind { .. })), "{below:?}");
    for path in ["", "/", "a/../b", "."] {
        let refused = builder.add_path(path, &metadata, Entry::Directory);
        assert!(matches!(refused, Err(Error::InvalidName { .. })), "{path}: {refused:?}");
    }
    let taken = builder.add_path("bin", &metadata, Entry::Directory);
    assert!(matches!(taken, Err(Error::Exists { .. })), "{taken:?}");
}

#[test]
fn chained_options_are_what_the_reader_finds() {
    let options = Options::for_profile("max".parse::<Profile>().unwrap(), "64M".parse().unwrap())
        .with_features("^has_journal".parse().unwrap())
        .with_block_size(1024)
        .with_label("work")
        .with_uuid(*b"0123456789abcdef")
        .with_inodes(2048)
        .with_reserved(ext4_writer::Reserved::Percent(1));
    let image = fill(Vec::new(), options);
    assert_eq!(image.len(), 64 << 20);
    let reader = Reader::open(image.as_slice()).unwrap();
    let found = reader.superblock();
    assert_eq!((found.label.as_slice(), found.uuid), (&b"work"[..], *b"0123456789abcdef"));
    assert_is_the_small_tree(&image);
}

#[test]
fn errors_become_those_of_input_and_output() {
    let mut builder = Builder::create(Vec::new(), options()).unwrap();
    let mut short = &b"abc"[..];
    let content = FileContent::new(5, &mut short);
    let error = builder.add_file(builder.root(), "f", &Metadata::default(), content).unwrap_err();
    let error = io::Error::from(error);
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("3 of 5 bytes"), "{error}");
    let full =
        Builder::create(Vec::new(), Options::new(Size::Fixed(1 << 20)).with_block_size(1024));
    let mut full = full.unwrap();
    let content = vec![1; 2 << 20];
    let content = FileContent::bytes(&content);
    let error = full.add_file(full.root(), "f", &Metadata::default(), content).unwrap_err();
    assert_eq!(io::Error::from(error).kind(), ErrorKind::StorageFull);
    let error = Reader::open(vec![0; 100_000]).unwrap_err();
    assert_eq!(io::Error::from(error).kind(), ErrorKind::InvalidData);
}

/// A tree on this host with one of everything that an ordinary user can make.
fn make_tree(root: &Path) {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    fs::create_dir_all(root.join("srv/deep/deeper")).unwrap();
    fs::write(root.join("srv/data"), vec![7; 10_000]).unwrap();
    fs::hard_link(root.join("srv/data"), root.join("srv/deep/again")).unwrap();
    fs::set_permissions(root.join("srv/deep"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("../srv/data", root.join("srv/link")).unwrap();
    let sparse = fs::File::create(root.join("srv/sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", (1 << 30) - 3).unwrap();
    for index in 0..300 {
        fs::write(root.join(format!("srv/deep/deeper/{index}")), index.to_string()).unwrap();
    }
    let _listener = std::os::unix::net::UnixListener::bind(root.join("srv/socket")).unwrap();
}

#[test]
fn a_tree_of_this_host_is_what_the_image_holds() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path().join("tree");
    fs::create_dir(&root).unwrap();
    make_tree(&root);
    let mut builder = Builder::create(Vec::new(), options()).unwrap();
    builder.add_tree(builder.root(), &root).unwrap();
    assert!(builder.content_bytes() < 2 << 20, "holes stay holes");
    let image = host.path().join("image");
    fs::write(&image, builder.finish().unwrap().1).unwrap();
    gate::assert_clean(&image);
    let mut expected: Tree = mount::read_tree(&root).unwrap();
    expected
        .insert("lost+found", Expected::new(Kind::Directory, 0o700).modified_at(TIME.seconds, 0));
    let found = view::read_tree(&image).unwrap();
    expected.assert_same(&found, "ext4-view");
}

#[test]
fn what_of_a_tree_cannot_be_added_is_named() {
    let host = tempfile::tempdir().unwrap();
    let mut builder = Builder::create(Vec::new(), options()).unwrap();
    let missing = builder.add_tree(builder.root(), host.path().join("none")).unwrap_err();
    let Error::HostFile { path, source } = &missing else { panic!("{missing}") };
    assert!(path.ends_with("none") && source.kind() == ErrorKind::NotFound, "{missing}");
    fs::create_dir(host.path().join("there")).unwrap();
    builder.add_path("there", &Metadata::default(), Entry::Symlink(b"x")).unwrap();
    let taken = builder.add_tree(builder.root(), host.path()).unwrap_err();
    let Error::HostFile { path, source } = &taken else { panic!("{taken}") };
    assert!(path.ends_with("there") && source.kind() == ErrorKind::AlreadyExists, "{taken}");
}
