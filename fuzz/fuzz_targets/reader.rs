//! Any bytes as an image: whatever is asked of the reader has an answer, or an error.
//!
//! Bytes alone hardly ever are a filesystem. So they are changes as well: every four of them
//! put one into one of two small images, which are without checksums, so that damage is not noticed
//! at once.

#![no_main]

use std::io::Read;
use std::sync::OnceLock;

use ext4_writer::reader::{Inode, Links, Reader, Source};
use ext4_writer::{Builder, Features, FileContent, MemorySink, Metadata, Options, Size};
use libfuzzer_sys::fuzz_target;

/// How much of everything is asked for.
const ENOUGH: usize = 500;

fn image(features: &str) -> Vec<u8> {
    let mut options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
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

fn ask<S: Source>(source: S) {
    let Ok(reader) = Reader::open(source) else { return };
    for group in 0..reader.superblock().groups.min(4) {
        let _ = (reader.free_runs(group), reader.free_inodes(group));
    }
    let _ = reader.lookup(b"/link/a-name-that-fills-blocks-7", Links::Follow);
    if let Ok(root) = reader.root() {
        for entry in reader.walk(&root).take(ENOUGH).map_while(Result::ok) {
            ask_inode(&reader, &entry.inode);
        }
    }
    for number in 1..reader.superblock().inodes.min(20) {
        if let Ok(inode) = reader.inode(number) {
            ask_inode(&reader, &inode);
        }
    }
}

fn ask_inode<S: Source>(reader: &Reader<S>, inode: &Inode) {
    let _ = (reader.attributes(inode), reader.read_link(inode), inode.device(), inode.created());
    let _ = reader.extents(inode).map(|extents| extents.take(ENOUGH).count());
    let _ = reader.segments(inode).map(|segments| segments.take(ENOUGH).count());
    let _ = reader.read_directory(inode).map(|entries| entries.take(ENOUGH).count());
    let _ =
        reader.contents(inode).map(|contents| contents.take(100_000).read_to_end(&mut Vec::new()));
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
