//! Any bytes as an image: the check has an answer, with no panic and no end of memory.
//!
//! Bytes alone hardly ever are a filesystem. So they are changes as well: every four of them put
//! one into one of two small images, which are without checksums, so that damage leads far. What
//! is sound has to be readable.

#![no_main]

use std::io::Read;
use std::sync::OnceLock;

use ext4_writer::check::{Judge, Options, check};
use ext4_writer::reader::{Reader, Source};
use ext4_writer::{Builder, Features, FileContent, MemorySink, Metadata, Size};
use libfuzzer_sys::fuzz_target;

fn image(features: &str) -> Vec<u8> {
    let size = Size::Fit { free_bytes: 0, free_inodes: 0 };
    let mut options = ext4_writer::Options::new(size);
    options.features = Features::DEFAULT.changed(features).expect("features that are written");
    options.block_size = 1024;
    let mut builder = Builder::create(MemorySink::new(), options).expect("a new image");
    let (root, metadata) = (builder.root(), Metadata::default());
    let many = builder.add_directory(root, b"many", &metadata).expect("a directory");
    for number in 0..60u64 {
        let name = format!("a-name-that-fills-blocks-{number}");
        let mut content = std::io::repeat(b'x').take(number * 100);
        let content = FileContent::new(number * 100, &mut content);
        let file = builder.add_file(many, name.as_bytes(), &metadata, content).expect("a file");
        builder.set_xattr(file, b"user.name", &[b'v'; 90]).expect("an attribute");
    }
    builder.add_symlink(root, b"link", &metadata, b"many/../many").expect("a link");
    builder.finish().expect("an image").1.into_bytes()
}

fn ask<S: Source + Sync>(source: S) {
    let options = Options { threads: 1, ..Options::default() };
    let report = check(&source, &options).expect("memory can be read");
    assert!(report.findings.len() <= options.max_findings);
    if report.is_sound(Judge::Kernel) {
        let reader = Reader::open(&source).expect("what is sound can be opened");
        let root = reader.root().expect("what is sound has a root");
        for entry in reader.walk(&root) {
            entry.expect("what is sound can be walked");
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let images = IMAGES.get_or_init(|| {
        ["^metadata_csum,^has_journal", "^metadata_csum,inline_data,^has_journal,^64bit"].map(image)
    });
    ask(bytes);
    let Some((choice, changes)) = bytes.split_first() else { return };
    let mut image = images[usize::from(choice % 2)].clone();
    for change in changes.chunks_exact(4) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], 0]);
        let place = usize::try_from(place).expect("24 bits") % image.len();
        image[place] = change[3];
    }
    ask(image);
});
