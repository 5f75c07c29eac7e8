//! Damaged images: whatever the bytes, everything that can be asked has an answer.

use std::fs;
use std::io::Read as _;

use ext4_writer::reader::{Inode, Links, Reader, Source};
use ext4_writer::{Builder, Features, FileContent, MemorySink, Metadata, Options, Segment, Size};

use crate::made::{make_of, noise};

/// How much of everything is asked for: a damaged image may promise more than there is time for.
const ENOUGH: usize = 3000;

/// Numbers without a pattern.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap() % below
    }
}

/// Asks for everything, and counts the answers that are no errors.
pub(crate) fn ask_everything<S: Source>(source: S) -> usize {
    let Ok(reader) = Reader::open(source) else { return 0 };
    let mut answers = 1;
    let mut count = |is_answer: bool| answers += usize::from(is_answer);
    for group in 0..reader.superblock().groups.min(8) {
        count(reader.group(group).is_ok());
        count(reader.free_runs(group).is_ok());
        count(reader.free_inodes(group).is_ok());
    }
    for path in ["/a/link-0", "a/../b/c", "lost+found"] {
        count(reader.lookup(path.as_bytes(), Links::Follow).is_ok());
    }
    if let Ok(root) = reader.root() {
        for entry in reader.walk(&root).take(ENOUGH) {
            let Ok(entry) = entry else { break };
            ask(&reader, &entry.inode, &mut count);
        }
    }
    for number in 1..reader.superblock().inodes.min(60) {
        if let Ok(inode) = reader.inode(number) {
            ask(&reader, &inode, &mut count);
        }
    }
    answers
}

fn ask<S: Source>(reader: &Reader<S>, inode: &Inode, count: &mut impl FnMut(bool)) {
    count(reader.attributes(inode).is_ok());
    count(reader.read_link(inode).is_ok());
    if let Ok(extents) = reader.extents(inode) {
        count(extents.take(ENOUGH).all(|extent| extent.is_ok()));
    }
    if let Ok(blocks) = reader.map_blocks(inode) {
        count(blocks.take(ENOUGH).all(|block| block.is_ok()));
    }
    if let Ok(segments) = reader.segments(inode) {
        count(segments.take(ENOUGH).all(|segment| segment.is_ok()));
    }
    if let Ok(contents) = reader.contents(inode) {
        count(contents.take(200_000).read_to_end(&mut Vec::new()).is_ok());
    }
    let mut buffer = [0; 3000];
    count(reader.read_at(inode, inode.size() / 2, &mut buffer).is_ok());
    if let Ok(entries) = reader.read_directory(inode) {
        count(entries.take(ENOUGH).all(|entry| entry.is_ok()));
    }
    let _ = (inode.modified(), inode.accessed(), inode.changed(), inode.created(), inode.device());
}

/// A small image with something of everything.
fn own(list: &str, block_size: u32) -> Vec<u8> {
    let mut options = Options::new(Size::Fit { free_bytes: 0, free_inodes: 0 });
    options.features = Features::DEFAULT.changed(list).unwrap();
    options.block_size = block_size;
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let (root, metadata) = (builder.root(), Metadata::default());
    for name in ["a", "b"] {
        let directory = builder.add_directory(root, name.as_bytes(), &metadata).unwrap();
        for number in 0..40 {
            let bytes = noise(number, 40 * usize::try_from(number).unwrap());
            let mut reader = bytes.as_slice();
            let content = FileContent::new(bytes.len().try_into().unwrap(), &mut reader);
            let name = format!("file-{number}-{}", "x".repeat(60));
            let file = builder.add_file(directory, name.as_bytes(), &metadata, content).unwrap();
            builder.set_xattr(file, b"user.name", &noise(number, 30)).unwrap();
            builder.set_xattr(file, b"trusted.more", &noise(number % 3, 200)).unwrap();
        }
        builder.add_symlink(directory, b"link-0", &metadata, b"file-0").unwrap();
        builder.add_symlink(directory, b"link-1", &metadata, [b'y'; 200]).unwrap();
    }
    let segments: Vec<_> =
        (0..400).map(|number| Segment { offset: number << 13, length: 100 }).collect();
    let bytes = noise(7, 40_000);
    let mut reader = bytes.as_slice();
    let content = FileContent::sparse(1 << 22, &segments, &mut reader);
    builder.add_file(root, b"c", &metadata, content).unwrap();
    builder.finish().unwrap().1.into_bytes()
}

/// The places of bytes that are not zero, where damage tells.
fn places(image: &[u8]) -> Vec<usize> {
    let all = image.iter().enumerate();
    all.filter(|(_, byte)| **byte != 0).map(|(place, _)| place).collect()
}

/// Damages an image in `rounds` ways, and asks everything of each.
fn withstands(mut image: Vec<u8>, rounds: u64) {
    let whole = ask_everything(image.as_slice());
    assert!(whole > 100, "the image gives {whole} answers while it is whole");
    let places = places(&image);
    let mut harmed = 0;
    for round in 0..rounds {
        let mut dice = Dice((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut undo = Vec::new();
        for _ in 0..=dice.roll(6) {
            let near = dice.roll(8);
            let place = (places[dice.roll(places.len())] + near).min(image.len() - 1);
            undo.push((place, image[place]));
            image[place] = match dice.roll(3) {
                0 => image[place] ^ (1 << dice.roll(8)),
                1 => u8::try_from(dice.roll(256)).unwrap(),
                _ => [0, 0xff, 0x7f, 0x80][dice.roll(4)],
            };
        }
        harmed += u64::from(ask_everything(image.as_slice()) != whole);
        for (place, byte) in undo.into_iter().rev() {
            image[place] = byte;
        }
    }
    assert!(harmed > rounds / 20, "{harmed} of {rounds} damages were noticed");
    assert_eq!(ask_everything(image.as_slice()), whole);
}

#[test]
fn images_of_this_library_withstand_damage() {
    withstands(own("^metadata_csum,^has_journal", 1024), 1500);
    withstands(own("^metadata_csum,inline_data,^has_journal,^64bit", 1024), 1000);
    withstands(own("^has_journal,^resize_inode", 4096), 500);
}

#[test]
fn images_of_mke2fs_withstand_damage() {
    let content = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(content.path().join(name)).unwrap();
        for number in 0..30u32 {
            let length = usize::try_from(number * number * number).unwrap();
            let path = content.path().join(name).join(format!("file-{number}"));
            // Few bytes of content: the damage is to meet metadata.
            let mut content = vec![0; length];
            content.iter_mut().step_by(1024).for_each(|byte| *byte = b'x');
            fs::write(path, content).unwrap();
        }
        std::os::unix::fs::symlink("file-1", content.path().join(name).join("link-0")).unwrap();
    }
    for options in [
        &["-t", "ext2", "-b", "1024"][..],
        &["-t", "ext2", "-b", "1024", "-I", "128", "-O", "meta_bg,^resize_inode", "-g", "512"],
        &["-t", "ext4", "-O", "^metadata_csum,^has_journal,bigalloc", "-b", "1024", "-C", "4096"],
    ] {
        let Some(made) = make_of(Some(content.path()), options, "3M") else { return };
        withstands(fs::read(&made.path).unwrap(), 700);
    }
}

#[test]
fn a_dirty_image_withstands_damage_of_its_journal() {
    let Some(made) = make_of(None, &["-t", "ext3", "-b", "1024", "-J", "size=1"], "6M") else {
        return;
    };
    let Some(dirty) = crate::journal::dirty_small(&made) else { return };
    let image = fs::read(dirty).unwrap();
    withstands(image, 1500);
}

#[test]
fn an_image_cut_short_anywhere_is_refused() {
    let image = own("^metadata_csum", 1024);
    for length in (0..image.len()).step_by(997) {
        assert_eq!(ask_everything(&image[..length]), 0, "with {length} bytes");
    }
}

#[test]
fn bytes_without_a_filesystem_are_refused() {
    for seed in 0..200 {
        let mut bytes = noise(seed, 40_000);
        // Half of them at least look like one.
        if seed % 2 == 0 {
            bytes[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        }
        assert_eq!(ask_everything(bytes), 0);
    }
}
