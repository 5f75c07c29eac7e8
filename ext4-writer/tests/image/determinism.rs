//! An image is a function of its inputs.

use banger_test_support::layers::digest;
use ext4_writer::{
    CountingSink, Error, FileContent, MemorySink, Metadata, Options, Result, Segment, Sink, Size,
    WriteBehind,
};

use crate::twin::{Image, Twin, noise};

fn declare<S: Sink>(twin: &mut Twin<S>) {
    twin.directory("d");
    for number in 0..600 {
        twin.file(format!("d/file-{number}"), &noise(number, 700));
    }
    twin.sparse(b"sparse", 1 << 20, &[Segment { offset: 8192, length: 10_000 }]);
    twin.link(b"link", b"d/file-3");
    twin.remove(b"d/file-7");
    twin.symlink("symlink", &[b't'; 200]);
}

fn options() -> Options {
    Options::new(Size::Fit { free_bytes: 4 << 20, free_inodes: 100 })
}

fn image(options: Options) -> Result<Vec<u8>> {
    let mut twin = Twin::new(MemorySink::new(), options);
    declare(&mut twin);
    let (_, sink) = twin.builder.finish()?;
    Ok(sink.into_bytes())
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let first = image(options()).unwrap();
    assert_eq!(digest(&first), digest(&image(options()).unwrap()));
    let mut other = options();
    other.label = b"other".to_vec();
    assert_ne!(digest(&first), digest(&image(other).unwrap()));
}

/// More than all buffers hold, in parts that pass their ends, and room that was in use.
fn declare_large<S: Sink>(twin: &mut Twin<S>) {
    declare(twin);
    for number in 0..20 {
        twin.file(format!("large-{number}"), &noise(number, 900_001));
    }
    for number in (0..20).step_by(3) {
        twin.remove(format!("large-{number}").as_bytes());
    }
    twin.file("again", &noise(7, 3_000_000));
}

#[test]
fn a_thread_that_writes_changes_no_byte() {
    let mut expected = Twin::new(MemorySink::new(), options());
    declare_large(&mut expected);
    let (expected, sink) = expected.builder.finish().unwrap();
    let mut behind = Twin::new(WriteBehind::new(MemorySink::new()).unwrap(), options());
    declare_large(&mut behind);
    let (summary, behind) = behind.builder.finish().unwrap();
    assert_eq!((summary.size, summary.written), (expected.size, expected.written));
    assert_eq!(digest(behind.into_inner().unwrap().bytes()), digest(sink.bytes()));
}

/// An image of 100,000 files; one of them may have a block more than otherwise.
fn many_files(stable: bool, grown: Option<u64>) -> Vec<u8> {
    let mut options = Options::new(Size::Fit { free_bytes: 32 << 20, free_inodes: 1000 });
    // A UUID that follows from the tree would change every checksum.
    (options.uuid, options.hash_seed) = (Some([7; 16]), Some([8; 16]));
    options.stable_placement = stable;
    let mut twin = Twin::new(MemorySink::new(), options);
    for number in 0..100_000_u64 {
        let directory = number / 200;
        if number % 200 == 0 {
            twin.directory(format!("{directory}"));
        }
        let more = if grown == Some(number) { 4096 } else { 0 };
        let length = usize::try_from(number * 7919 % 9000 + more).unwrap();
        let parent = twin.node(format!("{directory}").as_bytes());
        let content = vec![u8::try_from(number % 251).unwrap() + 1; length];
        let mut reader = content.as_slice();
        let size = u64::try_from(length).unwrap();
        let name = format!("{number}");
        let content = FileContent::new(size, &mut reader);
        twin.builder.add_file(parent, name.as_bytes(), &Metadata::default(), content).unwrap();
    }
    twin.builder.finish().unwrap().1.into_bytes()
}

/// The chunks of 64 KiB that differ when one file grows by a block, and all there are.
#[expect(clippy::print_stdout, reason = "the test reports what it measured")]
fn different_chunks(stable: bool, grown: u64) -> (usize, usize) {
    const CHUNK: usize = 64 << 10;
    let (before, after) = (many_files(stable, None), many_files(stable, Some(grown)));
    let pairs = before.chunks(CHUNK).zip(after.chunks(CHUNK));
    let different = pairs.filter(|(one, other)| one != other).count();
    let chunks = before.len().div_ceil(CHUNK);
    println!(
        "stable placement {stable}: file {grown} of 100,000 grew by a block: {different} of \
         {chunks} chunks of 64 KiB differ"
    );
    (different, chunks)
}

/// Contents stand in the order in which they came: what two images have in common at their start
/// stands at the same place, and all behind a file that grew moves with it. Gaps before aligned files
/// stop that.
#[test]
fn a_stable_placement_lets_a_file_grow_without_moving_others() {
    for grown in [1_000, 50_000, 99_990] {
        let (different, chunks) = different_chunks(true, grown);
        assert!(different * 100 < chunks, "{different} of {chunks}");
    }
    let (different, chunks) = different_chunks(false, 50_000);
    assert!(different * 100 > chunks, "without alignment half of the image moves");
}

#[test]
fn a_stable_placement_is_clean_and_gives_its_gaps_up_when_nothing_else_is_left() {
    let mut options = options();
    options.stable_placement = true;
    let image = Image::build(options.clone(), |twin| {
        twin.directory("d");
        for number in 0..3000 {
            twin.file(format!("d/{number}"), &noise(number, 5000));
        }
    });
    image.assert_as_declared();
    options.size = Size::Fixed(32 << 20);
    Image::build(options, |twin| {
        let root = twin.builder.root();
        for number in 0.. {
            let content = noise(number, 9000);
            let mut reader = content.as_slice();
            let content = FileContent::new(9000, &mut reader);
            let name = format!("{number}");
            match twin.builder.add_file(root, name.as_bytes(), &Metadata::default(), content) {
                Ok(_) => {}
                Err(Error::ImageFull { needed: 3, available }) => {
                    assert!(available < 3, "{available}");
                    // Room for the directory itself.
                    for number in 0..30 {
                        twin.builder.remove(root, format!("{number}").as_bytes()).unwrap();
                    }
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn counting_tells_the_length_of_the_image_without_writing_it() {
    let mut twin = Twin::new(CountingSink::new(), options());
    declare(&mut twin);
    let (summary, sink) = twin.builder.finish().unwrap();
    let image = image(options()).unwrap();
    assert_eq!(sink.length(), u64::try_from(image.len()).unwrap());
    assert_eq!(summary.written, sink.written());
}
