//! Rows C: blobs, compressed in every way, onto the tree. What the streams alone decide is tested
//! beside them, in `layer::stream` and `layer::decompress`; C07 for blobs in `source::registry`, C12
//! there too, C13 and C14 in `source::manifest`.

use crate::layer::forge::{bzip2, gzip, xz};

use super::*;
use crate::digest::Digest;

rows! {
    c09_the_same_layer_twice_is_applied_twice:
        ["a=1 d/ .wh.x d/b=>a", "a=1 d/ .wh.x d/b=>a"] => "a=1 d/ d/b==a";
    c09_a_layer_again_after_another_is_applied_again: ["a=1", "a=2 b=>a", "a=1"] => "a=1 b=2";
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layer of some blocks, and what it becomes.
fn sample() -> (Vec<u8>, &'static str) {
    (layer("a=1 d/ d/b=2").finish(), "a=1 d/ d/b=2")
}

fn apply(blob: Vec<u8>, diff_id: Digest) -> Result<String> {
    let mut builder = Builder::create(MemorySink::new(), fit()).unwrap();
    let mut flattener = Flattener::new(&mut builder, FlattenOptions::default()).unwrap();
    let (name, reader) = ("layer 1".to_owned(), io::Cursor::new(blob));
    let blob = LayerBlob { name, reader, verified: None, diff_id: Some(diff_id) };
    flattener.apply_layer(LayerStream::open(blob, &Limits::default())?)?;
    flattener.finish()?;
    let words = Dump::new(&builder).words();
    let (_, sink) = builder.finish().unwrap();
    let image = ext4_view::Ext4::load(Box::new(sink.into_bytes())).unwrap();
    Ok(words.into_iter().map(|word| word.with_content(&image)).collect::<Vec<_>>().join(" "))
}

fn refusal(blob: Vec<u8>) -> String {
    let error = apply(blob, Digest::sha256_of(&sample().0)).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    error.to_string()
}

#[test]
fn c01_c04_the_bytes_tell_how_a_layer_is_compressed() {
    // No media type is asked: what it says cannot make a difference.
    let (bytes, tree) = sample();
    for blob in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
        assert_eq!(apply(blob, Digest::sha256_of(&bytes)).unwrap(), tree);
    }
}

#[test]
fn c02_every_member_of_a_gzip_blob_is_applied() {
    let (bytes, tree) = sample();
    let parts = bytes.chunks(300).map(gzip).collect::<Vec<_>>();
    let blob = [&gzip(b"")[..], &parts.concat(), &gzip(b""), &[0; 100]].concat();
    assert_eq!(apply(blob, Digest::sha256_of(&bytes)).unwrap(), tree);
}

#[test]
fn c03_every_frame_of_a_zstd_blob_is_applied() {
    let (bytes, tree) = sample();
    let skippable = b"\x50\x2a\x4d\x18\x03\0\0\0toc";
    let parts = bytes.chunks(300).map(zstd).collect::<Vec<_>>();
    let blob = [&skippable[..], &parts.concat(), skippable].concat();
    assert_eq!(apply(blob, Digest::sha256_of(&bytes)).unwrap(), tree);
}

#[test]
fn c03_a_frame_that_wants_a_dictionary_is_refused() {
    let dictionary = b"a dictionary of whoever made this ".repeat(30);
    let mut encoder = zstd::bulk::Compressor::with_dictionary(1, &dictionary).unwrap();
    encoder.include_dictid(true).unwrap();
    let (bytes, _) = sample();
    let blob = encoder.compress(&[&bytes[..], &dictionary].concat()).unwrap();
    assert!(refusal(blob).contains("its zstd stream is broken"));
}

#[test]
fn c05_layers_of_xz_and_bzip2_are_applied() {
    let (bytes, tree) = sample();
    let half = bytes.len() / 2;
    for pack in [xz, bzip2] {
        assert_eq!(apply(pack(&bytes), Digest::sha256_of(&bytes)).unwrap(), tree);
        let parts = [pack(&bytes[..half]), pack(&bytes[half..])].concat();
        assert_eq!(apply(parts, Digest::sha256_of(&bytes)).unwrap(), tree);
    }
}

#[test]
fn c05_other_compressions_are_refused_by_name() {
    for (start, name) in [
        (&b"LZIP\x01\x0c"[..], "lzip"),
        (b"\x04\x22\x4d\x18\x64\x40", "lz4"),
        (b"\x89LZO\0\x0d\x0a\x1a\x0a", "lzop"),
        (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0", "lzma"),
    ] {
        let error = refusal([start, &[7; 3000]].concat());
        assert!(error.contains(&format!("compressed with {name}")), "{error}");
    }
    let bytes = layer("BZh9=1").finish();
    assert_eq!(apply(bytes.clone(), Digest::sha256_of(&bytes)).unwrap(), "BZh9=1");
}

#[test]
fn c06_bytes_after_the_compressed_stream_are_refused() {
    let (bytes, _) = sample();
    for blob in [gzip(&bytes), zstd(&bytes)] {
        let error = refusal([&blob[..], b"more"].concat());
        assert!(error.contains("other data follows"), "{error}");
    }
}

#[test]
fn c08_a_layer_of_another_diff_id_is_refused() {
    let (bytes, _) = sample();
    for blob in [bytes.clone(), gzip(&bytes), zstd(&bytes)] {
        let error = apply(blob, Digest::sha256_of(b"another")).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("not what the image's configuration lists"), "{error}");
    }
}

#[test]
fn c10_a_diff_id_can_be_of_sha512() {
    let (bytes, tree) = sample();
    let digest = |bytes: &[u8]| {
        use sha2::Digest as _;
        let hash = sha2::Sha512::digest(bytes);
        let text = hash.iter().fold("sha512:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        text.parse::<Digest>().unwrap()
    };
    assert_eq!(apply(gzip(&bytes), digest(&bytes)).unwrap(), tree);
    assert_eq!(apply(gzip(&bytes), digest(b"another")).unwrap_err().exit_code(), 65);
}
