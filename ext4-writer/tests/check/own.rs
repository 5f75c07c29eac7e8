//! Images of our own writer are sound.

use ext4_writer::check::{Judge, Kind, Options, check};
use ext4_writer::reader::Reader;
use ext4_writer::{
    Builder, Features, FileContent, Journal, MemorySink, Metadata, Options as Write, Profile, Size,
};

/// An image with files, directories and links in it.
pub(crate) fn image(options: Write) -> Vec<u8> {
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let root = builder.root();
    let metadata = Metadata::default();
    let directory = builder.add_directory(root, b"many", &metadata).unwrap();
    for number in 0..600 {
        let text = vec![b'x'; number * 7];
        let mut bytes = text.as_slice();
        let content = FileContent::new(text.len().try_into().unwrap(), &mut bytes);
        let name = format!("a-name-that-is-rather-long-{number}");
        builder.add_file(directory, name.as_bytes(), &metadata, content).unwrap();
    }
    builder.add_symlink(root, b"link", &metadata, b"many").unwrap();
    builder.add_symlink(root, b"long", &metadata, [b'/'; 200]).unwrap();
    builder.finish().unwrap().1.into_bytes()
}

/// Options of every profile, and without checksums.
pub(crate) fn profiles() -> Vec<Write> {
    let size = Size::Fit { free_bytes: 4 << 20, free_inodes: 100 };
    let mut all: Vec<Write> = Profile::ALL
        .into_iter()
        .map(|profile| {
            let mut options = Write::new(size);
            options.features = profile.features();
            options
        })
        .collect();
    let mut plain = Write::new(size);
    plain.features -= Features::METADATA_CSUM;
    plain.block_size = 1024;
    plain.journal = Journal::None;
    all.push(plain);
    all
}

#[test]
fn images_of_our_own_are_sound() {
    for options in profiles() {
        let features = options.features;
        let image = image(options);
        let report = check(&image, &Options::default()).unwrap();
        assert!(report.findings.is_empty(), "{features:?}: {:#?}", report.findings);
        assert!(report.is_sound(Judge::Kernel));
    }
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let mut image = image(profiles().remove(0));
    let reader = Reader::open(&image).unwrap();
    let offsets: Vec<_> = (12..600).step_by(13).map(|number| reader.inode_offset(number)).collect();
    for offset in offsets {
        // i_blocks, i_size and a byte of the first extent
        let offset = usize::try_from(offset.unwrap()).unwrap();
        for field in [0x1c, 0x04, 0x3c] {
            image[offset + field] ^= 0x15;
        }
    }
    let found = |threads| {
        let options = Options { threads, ..Options::default() };
        check(&image, &options).unwrap().findings
    };
    let alone = found(1);
    assert!(!alone.is_empty());
    assert!(alone == found(2) && alone == found(5));
}

#[test]
fn a_finding_names_the_inode_the_path_and_the_numbers() {
    let mut image = image(profiles().pop().unwrap());
    let reader = Reader::open(&image).unwrap();
    let inode =
        reader.lookup(b"/many/a-name-that-is-rather-long-500", ext4_writer::reader::Links::Keep);
    let number = inode.unwrap().number();
    let offset = usize::try_from(reader.inode_offset(number).unwrap()).unwrap();
    // i_blocks
    image[offset + 0x1c] += 2;
    let report = check(&image, &Options::default()).unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{:#?}", report.findings) };
    assert_eq!(finding.kind, Kind::InodeBlocks);
    let expected = format!(
        "inode-blocks: /many/a-name-that-is-rather-long-500: inode {number}: an inode counts other \
         sectors than it has: i_blocks 10, expected 8"
    );
    assert_eq!(finding.to_string(), expected);
    assert!(!report.is_sound(Judge::E2fsck));
}

#[test]
fn bytes_that_are_no_filesystem_are_said_to_be_none() {
    for image in [Vec::new(), vec![0; 5000], vec![0xff; 1 << 20]] {
        let report = check(&image, &Options::default()).unwrap();
        assert_eq!(report.findings[0].kind, Kind::NotExt4);
    }
}
