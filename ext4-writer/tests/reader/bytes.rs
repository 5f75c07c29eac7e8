//! Images that were built to lead a reader astray: circles, and promises without end.

use ext4_writer::reader::{Links, ReadError, Reader, SegmentKind};
use ext4_writer::{Builder, Features, FileContent, MemorySink, Metadata, Options, Size};

use crate::made::noise;

const BLOCK: usize = 1024;

/// An image without checksums, with a directory `d` that holds a directory `e`, and a file `f`.
fn image() -> Vec<u8> {
    let mut options = Options::new(Size::Fit { free_bytes: 1 << 20, free_inodes: 10 });
    options.features = Features::DEFAULT.changed("^metadata_csum,^has_journal").unwrap();
    options.block_size = 1024;
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let (root, metadata) = (builder.root(), Metadata::default());
    let directory = builder.add_directory(root, b"d", &metadata).unwrap();
    builder.add_directory(directory, b"e", &metadata).unwrap();
    let bytes = noise(1, 50_000);
    let mut reader = bytes.as_slice();
    let content = FileContent::new(50_000, &mut reader);
    builder.add_file(root, b"f", &metadata, content).unwrap();
    builder.finish().unwrap().1.into_bytes()
}

/// Where the inode of a path is in the image, and its number.
fn inode(image: &[u8], path: &str) -> (usize, u32) {
    let reader = Reader::open(image).unwrap();
    let number = reader.lookup(path.as_bytes(), Links::Keep).unwrap().number();
    let facts = reader.superblock();
    let group = reader.group((number - 1) / facts.inodes_per_group).unwrap();
    let place = u64::from((number - 1) % facts.inodes_per_group) * facts.inode_size;
    let offset = group.inode_table * facts.block_size + place;
    (usize::try_from(offset).unwrap(), number)
}

/// The first block of a path.
fn block(image: &[u8], path: &str) -> usize {
    let reader = Reader::open(image).unwrap();
    let inode = reader.lookup(path.as_bytes(), Links::Keep).unwrap();
    let extent = reader.extents(&inode).unwrap().next().unwrap().unwrap();
    usize::try_from(extent.block).unwrap()
}

fn put(image: &mut [u8], place: usize, bytes: &[u8]) {
    image[place..place + bytes.len()].copy_from_slice(bytes);
}

/// An extent tree's root with these entries, each of them twelve bytes.
fn extents(depth: u16, entries: &[[u32; 3]]) -> Vec<u8> {
    let mut bytes = 0xf30a_u16.to_le_bytes().to_vec();
    let count = u16::try_from(entries.len()).unwrap();
    for half in [count, 4, depth, 0, 0] {
        bytes.extend_from_slice(&half.to_le_bytes());
    }
    for word in entries.iter().flatten() {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn outcome(image: &[u8]) -> Result<usize, ReadError> {
    let reader = Reader::open(image)?;
    let root = reader.root()?;
    reader.walk(&root).collect::<Result<Vec<_>, _>>().map(|entries| entries.len())
}

#[test]
fn a_directory_below_itself_is_met_once() {
    let mut image = image();
    assert_eq!(outcome(&image).unwrap(), 5);
    let (_, above) = inode(&image, "d");
    let entries = block(&image, "d") * BLOCK;
    // The third entry, behind `.` and `..`, is `e`: let it name `d` itself.
    put(&mut image, entries + 24, &above.to_le_bytes());
    let refused = outcome(&image).unwrap_err().to_string();
    assert!(refused.contains("second name"), "{refused}");
    // A path may go around as often as it says.
    let reader = Reader::open(image).unwrap();
    assert_eq!(reader.lookup(b"d/e/e/e/e", Links::Keep).unwrap().number(), above);
}

#[test]
fn names_that_would_lead_elsewhere_are_refused() {
    for name in [b".".as_slice(), b"..", b"/", b"a/b", b"\0", b""] {
        let mut image = image();
        let entry = block(&image, "d") * BLOCK + 24;
        put(&mut image, entry + 6, &[u8::try_from(name.len()).unwrap()]);
        put(&mut image, entry + 8, name);
        let refused = outcome(&image).unwrap_err();
        assert!(matches!(refused, ReadError::Corrupt { .. }), "{refused}");
        // A flag of encryption means nothing in a filesystem without that feature.
        let (place, _) = inode(&image, "d");
        let flags = u32::from_le_bytes(image[place + 32..place + 36].try_into().unwrap());
        put(&mut image, place + 32, &(flags | 0x800).to_le_bytes());
        let reader = Reader::open(image.as_slice()).unwrap();
        let directory = reader.lookup(b"d", Links::Keep).unwrap();
        let refused = reader.read_directory(&directory).unwrap().find_map(Result::err);
        assert!(matches!(refused, Some(ReadError::Corrupt { .. })), "{refused:?}");
    }
}

#[test]
fn an_extent_tree_that_leads_back_to_itself_ends() {
    let image = image();
    let (place, _) = inode(&image, "f");
    let content = block(&image, "f");
    let node = u32::try_from(content).unwrap();
    let mut image = image;
    // Five levels of nodes, all of them the same block.
    put(&mut image, place + 40, &extents(5, &[[0, node, 0], [10, node, 0], [20, node, 0]]));
    put(&mut image, content * BLOCK, &extents(5, &[[0, node, 0], [10, node, 0]]));
    let reader = Reader::open(image.as_slice()).unwrap();
    let file = reader.lookup(b"f", Links::Keep).unwrap();
    let refused = reader.extents(&file).unwrap().find_map(Result::err).unwrap();
    assert!(matches!(refused, ReadError::Corrupt { .. }), "{refused}");
    assert!(reader.read_at(&file, 0, &mut [0; 10]).is_err());
}

#[test]
fn blocks_that_a_file_has_more_often_than_the_filesystem_are_refused() {
    let mut image = image();
    let (place, _) = inode(&image, "f");
    let blocks = u32::try_from(image.len() / BLOCK).unwrap();
    let most = blocks - 1;
    // Each is as long as the filesystem; a length has 15 bits.
    let entries = [0, 1, 2, 3].map(|number| [number * most, most, 1]);
    put(&mut image, place + 40, &extents(0, &entries));
    let reader = Reader::open(image.as_slice()).unwrap();
    let file = reader.lookup(b"f", Links::Keep).unwrap();
    let refused = reader.extents(&file).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(refused.contains("more blocks than the filesystem"), "{refused}");
}

#[test]
fn addresses_that_lead_back_to_themselves_end() {
    let mut image = image();
    let (place, _) = inode(&image, "f");
    let content = block(&image, "f");
    let node = u32::try_from(content).unwrap().to_le_bytes();
    // No extents; every address, and every address of the block, is that block.
    put(&mut image, place + 32, &[0; 4]);
    for address in 0..15 {
        put(&mut image, place + 40 + 4 * address, &node);
    }
    for address in 0..BLOCK / 4 {
        put(&mut image, content * BLOCK + 4 * address, &node);
    }
    put(&mut image, place + 4, &[0xff; 4]);
    let reader = Reader::open(image.as_slice()).unwrap();
    let file = reader.lookup(b"f", Links::Keep).unwrap();
    let met = reader.extents(&file).unwrap().count();
    assert!(met <= image.len() / BLOCK + 1, "{met} runs");
    assert!(reader.extents(&file).unwrap().any(|extent| extent.is_err()));
}

#[test]
fn a_directory_that_has_a_block_twice_is_refused() {
    let mut image = image();
    let (place, _) = inode(&image, "d");
    let entries = u32::try_from(block(&image, "d")).unwrap();
    let twice: Vec<_> = (0..4).map(|number| [number, 1, entries]).collect();
    put(&mut image, place + 4, &u32::try_from(4 * BLOCK).unwrap().to_le_bytes());
    put(&mut image, place + 40, &extents(0, &twice));
    let reader = Reader::open(image).unwrap();
    let directory = reader.lookup(b"d", Links::Keep).unwrap();
    let refused = reader.read_directory(&directory).unwrap().find_map(Result::err).unwrap();
    assert!(refused.to_string().contains("twice"), "{refused}");
}

#[test]
fn a_hole_of_four_tebibytes_costs_nothing_and_a_longer_file_is_refused() {
    let mut image = image();
    let (place, _) = inode(&image, "f");
    put(&mut image, place + 40, &extents(0, &[]));
    put(&mut image, place + 108, &0x400_u32.to_le_bytes());
    let reader = Reader::open(image.clone()).unwrap();
    assert!(matches!(reader.lookup(b"f", Links::Keep), Err(ReadError::Corrupt { .. })));
    put(&mut image, place + 108, &0x3ff_u32.to_le_bytes());
    let reader = Reader::open(image).unwrap();
    let file = reader.lookup(b"f", Links::Keep).unwrap();
    assert!(file.size() > 1 << 41);
    assert_eq!(reader.segments(&file).unwrap().count(), 1);
    let mut buffer = [1; 100];
    assert_eq!(reader.read_at(&file, 1 << 41, &mut buffer).unwrap(), 100);
    assert_eq!(buffer, [0; 100]);
}

#[test]
fn a_size_that_an_inode_does_not_hold_is_a_hole_behind_what_it_holds() {
    let mut options = Options::new(Size::Fit { free_bytes: 1 << 20, free_inodes: 10 });
    let list = "^metadata_csum,^has_journal,inline_data";
    options.features = Features::DEFAULT.changed(list).unwrap();
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let (root, metadata) = (builder.root(), Metadata::default());
    let mut reader = b"within".as_slice();
    builder.add_file(root, b"f", &metadata, FileContent::new(6, &mut reader)).unwrap();
    let mut image = builder.finish().unwrap().1.into_bytes();
    let (place, _) = inode(&image, "f");
    put(&mut image, place + 108, &0x100_u32.to_le_bytes());
    let reader = Reader::open(image).unwrap();
    let file = reader.lookup(b"f", Links::Keep).unwrap();
    let segments: Vec<_> = reader.segments(&file).unwrap().map(Result::unwrap).collect();
    let [held, behind] = segments[..] else { panic!("{segments:?}") };
    assert_eq!((held.kind, behind.kind), (SegmentKind::Inline, SegmentKind::Hole));
    assert!(held.length < 256, "{held:?}");
    assert_eq!((behind.offset, behind.offset + behind.length), (held.length, file.size()));
    let mut buffer = [1; 300];
    assert_eq!(reader.read_at(&file, 0, &mut buffer).unwrap(), 300);
    assert_eq!((&buffer[..6], &buffer[6..]), (&b"within"[..], &[0; 294][..]));
    assert_eq!(reader.read_at(&file, 1 << 39, &mut buffer).unwrap(), 300);
}

/// Every byte of summed metadata: a change is noticed by whoever reads it.
#[test]
fn a_flipped_byte_under_a_checksum_is_noticed() {
    let mut options = Options::new(Size::Fit { free_bytes: 1 << 20, free_inodes: 10 });
    options.block_size = 1024;
    let mut builder = Builder::create(MemorySink::new(), options).unwrap();
    let (root, metadata) = (builder.root(), Metadata::default());
    let directory = builder.add_directory(root, b"d", &metadata).unwrap();
    for number in 0..200 {
        let name = format!("a-long-name-for-many-blocks-of-entries-{number}");
        let mut nothing = std::io::empty();
        let content = FileContent::new(0, &mut nothing);
        let file = builder.add_file(directory, name.as_bytes(), &metadata, content).unwrap();
        if number == 0 {
            builder.set_xattr(file, b"user.large", &noise(2, 600)).unwrap();
        }
    }
    let mut image = builder.finish().unwrap().1.into_bytes();
    let reader = Reader::open(image.as_slice()).unwrap();
    let (inode_place, _) = inode(&image, "d");
    let directory = reader.lookup(b"d", Links::Keep).unwrap();
    let name = b"d/a-long-name-for-many-blocks-of-entries-0";
    let attributes = reader.lookup(name, Links::Keep).unwrap().attribute_block().unwrap();
    let blocks: Vec<u64> = reader
        .extents(&directory)
        .unwrap()
        .flat_map(|extent| extent.map(|one| one.block..one.block + one.length).unwrap())
        .collect();
    let at = |block: u64| usize::try_from(block).unwrap() * BLOCK;
    let group = reader.group(0).unwrap();
    let all = |image: &[u8]| -> Result<(), ReadError> {
        let reader = Reader::open(image)?;
        for entry in reader.walk(&reader.root()?) {
            reader.attributes(&entry?.inode)?;
        }
        reader.free_runs(0)?;
        reader.free_inodes(0).map(|_| ())
    };
    all(&image).unwrap();
    let places = [
        ("the label", 1024 + 0x78),
        ("a descriptor", 2 * BLOCK + 0x0c),
        ("an inode", inode_place + 0x18),
        ("an index", at(blocks[0]) + 40),
        ("the end of an index's room", at(blocks[0]) + BLOCK - 6),
        ("a name", at(blocks[1]) + 9),
        ("attributes", at(attributes) + BLOCK - 1),
        ("the block bitmap", at(group.block_bitmap) + 3),
        ("the inode bitmap", at(group.inode_bitmap) + 2),
    ];
    for (what, place) in places {
        image[place] ^= 4;
        let noticed = all(&image).expect_err(what);
        assert!(matches!(noticed, ReadError::Checksum { .. }), "{what}: {noticed}");
        image[place] ^= 4;
    }
}
