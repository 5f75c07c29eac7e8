//! An image is a function of its inputs.

use banger_test_support::layers::digest;
use ext4_writer::{CountingSink, MemorySink, Options, Result, Segment, Sink, Size};

use crate::twin::{Twin, noise};

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

#[test]
fn counting_tells_the_length_of_the_image_without_writing_it() {
    let mut twin = Twin::new(CountingSink::new(), options());
    declare(&mut twin);
    let (summary, sink) = twin.builder.finish().unwrap();
    let image = image(options()).unwrap();
    assert_eq!(sink.length(), u64::try_from(image.len()).unwrap());
    assert_eq!(summary.written, sink.written());
}
