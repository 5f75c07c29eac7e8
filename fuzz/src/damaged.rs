//! Small images with bytes changed.
//!
//! Bytes alone hardly ever are a filesystem, so a fuzzer's bytes are changes as well: every four of
//! them put one into one of two images. These have no checksums, so that damage is not noticed at
//! once and leads far.

use std::io::Read;
use std::sync::OnceLock;

use ext4_writer::{Builder, Features, FileContent, MemorySink, Metadata, Options, Size};

/// The image that these bytes make: the first chooses which, the others say what is changed.
pub fn image(bytes: &[u8]) -> Option<Vec<u8>> {
    static IMAGES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let images = IMAGES.get_or_init(|| {
        ["^metadata_csum,^has_journal", "^metadata_csum,inline_data,^has_journal,^64bit"]
            .map(|features| sound(features, Size::Fit { free_bytes: 0, free_inodes: 0 }))
    });
    let (choice, changes) = bytes.split_first()?;
    let mut image = images[usize::from(choice % 2)].clone();
    for change in changes.chunks_exact(4) {
        let place = u32::from_le_bytes([change[0], change[1], change[2], 0]);
        let place = usize::try_from(place).expect("24 bits") % image.len();
        image[place] = change[3];
    }
    Some(image)
}

/// An image with these features in which a directory has 60 files, with a link to it.
pub fn sound(features: &str, size: Size) -> Vec<u8> {
    let mut options = Options::new(size);
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
