//! Which compression a blob has, told by its first bytes, and the bytes without it.
//!
//! The media type is not asked: registries hold gzip under zstd's name and the reverse, and the
//! diff ID decides whether the outcome is right.

use std::fmt;
use std::io::{self, Read};

use super::buffer::read_full;
use super::bzip2::{self, Bzip2};
use super::gzip::{self, Gzip, Trailer};
use super::input::{Input, invalid};
use super::pool::Share;
use super::streams::Streams;
use super::xz::{self, Xz};
use super::zstandard::{self, Zstandard};

/// How a blob is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: a plain tar archive.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// xz: no layer is to have it, but root filesystems have.
    Xz,
    /// bzip2, likewise.
    Bzip2,
}

impl Compression {
    /// As many first bytes as tell it.
    pub const HEAD: usize = 14;

    /// What the first bytes of a file say of its compression; the name of one that is not undone
    /// here is the error.
    pub fn of(head: &[u8]) -> Result<Self, &'static str> {
        if head.starts_with(&gzip::MAGIC) {
            return Ok(Self::Gzip);
        }
        if zstandard::is_magic(head) {
            return Ok(Self::Zstd);
        }
        if xz::is_magic(head) {
            return Ok(Self::Xz);
        }
        if bzip2::is_magic(head) {
            return Ok(Self::Bzip2);
        }
        foreign(head).map_or(Ok(Self::None), Err)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// A blob's bytes, decompressed.
pub(super) enum Decompressor<R> {
    None(Input<R>),
    Gzip(Gzip<R>),
    Zstd(Streams<R, Zstandard>),
    Xz(Streams<R, Xz>),
    Bzip2(Streams<R, Bzip2>),
}

/// A compression that nothing here undoes.
///
/// Sources: the heads of what lzip 1.23, lz4 1.9, lzop 1.04 and xz 5.4 (`--format=lzma`) write. The
/// last has properties, a window of 64 KiB or more, and the length or -1; a tar archive would have
/// the name of a file there.
fn foreign(head: &[u8]) -> Option<&'static str> {
    match head {
        [b'L', b'Z', b'I', b'P', 1, ..] => Some("lzip"),
        [0x04, 0x22, 0x4d, 0x18, ..] => Some("lz4"),
        [0x89, b'L', b'Z', b'O', 0, 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("lzop"),
        [0x5d, 0, 0, middle, high, ..] if (*middle, *high) != (0, 0) => Some("lzma"),
        _ => None,
    }
}

impl<R: Read> Decompressor<R> {
    /// Reads the first bytes of `blob` and chooses. What takes more memory than a layer is usually
    /// given waits for the turn of `share`.
    pub(super) fn new(blob: R, window_log: u32, share: &Share) -> io::Result<Self> {
        let mut input = Input::new(blob);
        let compression = Compression::of(input.look(Compression::HEAD)?).map_err(|name| {
            invalid(format!("it is compressed with {name}, which no layer may be"))
        })?;
        Ok(match compression {
            Compression::None => Self::None(input),
            Compression::Gzip => Self::Gzip(Gzip::new(input)),
            Compression::Zstd => {
                Self::Zstd(Streams::new(input, Zstandard::new(window_log, share.clone())?))
            }
            Compression::Xz => Self::Xz(Streams::new(input, Xz::new(window_log, share.clone())?)),
            Compression::Bzip2 => Self::Bzip2(Streams::new(input, Bzip2::new())),
        })
    }

    pub(super) fn compression(&self) -> Compression {
        match self {
            Self::None(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
            Self::Xz(_) => Compression::Xz,
            Self::Bzip2(_) => Compression::Bzip2,
        }
    }

    /// Compressed bytes taken from the blob so far.
    pub(super) fn received(&self) -> u64 {
        match self {
            Self::None(input) => input.received(),
            Self::Gzip(gzip) => gzip.received(),
            Self::Zstd(zstd) => zstd.received(),
            Self::Xz(xz) => xz.received(),
            Self::Bzip2(bzip2) => bzip2.received(),
        }
    }
}

impl<R: Read + Send + 'static> Decompressor<R> {
    /// Reads a compressed blob, and verifies it, on another thread than the one that inflates. A
    /// plain archive needs no processor but for that.
    pub(super) fn read_ahead(self) -> io::Result<Self> {
        Ok(match self {
            Self::None(input) => Self::None(input),
            Self::Gzip(gzip) => Self::Gzip(gzip.read_ahead()?),
            Self::Zstd(zstd) => Self::Zstd(zstd.read_ahead()?),
            Self::Xz(xz) => Self::Xz(xz.read_ahead()?),
            Self::Bzip2(bzip2) => Self::Bzip2(bzip2.read_ahead()?),
        })
    }
}

impl<R: Read> Decompressor<R> {
    /// Fills `out` as far as the blob reaches, or as far as it may before the trailers are taken;
    /// 0 at the end.
    pub(super) fn read_chunk(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(input) => read_full(input, out),
            Self::Gzip(gzip) => gzip.read_chunk(out),
            Self::Zstd(zstd) => read_full(zstd, out),
            Self::Xz(xz) => read_full(xz, out),
            Self::Bzip2(bzip2) => read_full(bzip2, out),
        }
    }

    /// What is still to be compared with the bytes that were read since the last call.
    pub(super) fn take_trailers(&mut self) -> Vec<Trailer> {
        match self {
            Self::None(_) | Self::Zstd(_) | Self::Xz(_) | Self::Bzip2(_) => Vec::new(),
            Self::Gzip(gzip) => gzip.take_trailers(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::layer::forge::{bzip2, gzip, xz, xz_at};
    use crate::layer::gzip::Members;
    use crate::layer::pool::Pool;

    fn open<R: Read>(reader: R, window_log: u32) -> io::Result<Decompressor<R>> {
        Decompressor::new(reader, window_log, &Pool::new(0).join(0))
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn skippable(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        [&[0x5a, 0x2a, 0x4d, 0x18][..], &length, bytes].concat()
    }

    /// Hands out one byte at a time, as a slow socket may.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(1);
            self.0.read(&mut out[..count])
        }
    }

    /// All bytes, in pieces of an odd length, compared with what is said of them.
    fn drain<R: Read>(reader: &mut Decompressor<R>) -> io::Result<Vec<u8>> {
        let (mut bytes, mut members, mut chunk) = (Vec::new(), Members::new(), [0; 999]);
        loop {
            let count = reader.read_chunk(&mut chunk)?;
            let trailers = reader.take_trailers();
            members.verify(&chunk[..count], &trailers).map_err(|(_, error)| error)?;
            if count == 0 && trailers.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&chunk[..count]);
        }
    }

    fn read_all<R: Read>(reader: R) -> io::Result<(Compression, u64, Vec<u8>)> {
        let mut reader = open(reader, 27)?;
        let bytes = drain(&mut reader)?;
        Ok((reader.compression(), reader.received(), bytes))
    }

    fn decompress(blob: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (slow, fast) = (read_all(Slow(blob)), read_all(blob));
        match (&slow, &fast) {
            (Ok(slow), Ok(fast)) => assert_eq!(slow, fast),
            (Err(slow), Err(fast)) => assert_eq!(slow.to_string(), fast.to_string()),
            _ => panic!("{slow:?} but {fast:?}"),
        }
        let (compression, received, bytes) = fast?;
        assert_eq!(received, u64::try_from(blob.len()).unwrap());
        Ok((compression, bytes))
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn c01_the_magic_tells_the_compression() {
        let bytes = noise(300_000);
        assert_eq!(decompress(&bytes).unwrap(), (Compression::None, bytes.clone()));
        assert_eq!(decompress(&gzip(&bytes)).unwrap(), (Compression::Gzip, bytes.clone()));
        assert_eq!(decompress(&zstd(&bytes)).unwrap(), (Compression::Zstd, bytes.clone()));
        assert_eq!(decompress(&xz(&bytes)).unwrap(), (Compression::Xz, bytes.clone()));
        assert_eq!(decompress(&bzip2(&bytes)).unwrap(), (Compression::Bzip2, bytes));
        assert_eq!(decompress(b"").unwrap(), (Compression::None, Vec::new()));
        assert_eq!(decompress(&gzip(b"")).unwrap(), (Compression::Gzip, Vec::new()));
        assert_eq!(decompress(&xz(b"")).unwrap(), (Compression::Xz, Vec::new()));
        assert_eq!(decompress(&bzip2(b"")).unwrap(), (Compression::Bzip2, Vec::new()));
        // The names of files in plain archives.
        for name in [&b"]\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], b"BZh9\0\0\0\0\0\0\0", b"LZIP\0\0"] {
            assert_eq!(Compression::of(name), Ok(Compression::None), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn c02_every_gzip_member_is_read_and_zero_padding_is_tolerated() {
        let members = [gzip(b""), gzip(b"one "), gzip(b""), gzip(b"two"), gzip(b"")].concat();
        assert_eq!(decompress(&members).unwrap().1, b"one two");
        let padded = [members.as_slice(), &[0; 700]].concat();
        assert_eq!(decompress(&padded).unwrap().1, b"one two");
        let tiny = [gzip(b"t"), gzip(b"")].concat().repeat(3000);
        assert_eq!(decompress(&tiny).unwrap().1, [b't'; 3000]);
    }

    #[test]
    fn c02_every_optional_header_field_is_skipped() {
        let mut blob = Vec::new();
        let mut encoder = flate2::GzBuilder::new()
            .filename("layer.tar")
            .comment("a comment")
            .extra(vec![7; 300])
            .write(&mut blob, flate2::Compression::fast());
        encoder.write_all(b"body").unwrap();
        encoder.finish().unwrap();
        // The flag and the two bytes of a header checksum, which the encoder cannot write.
        blob[3] |= FLAG_HEADER_CRC;
        let end = 10 + 2 + 300 + "layer.tar\0a comment\0".len();
        blob.splice(end..end, [0, 0]);
        assert_eq!(decompress(&blob).unwrap().1, b"body");
    }
    const FLAG_HEADER_CRC: u8 = 2;

    #[test]
    fn c03_every_zstd_frame_is_read_and_skippable_ones_are_skipped() {
        let frames = [skippable(b"x"), zstd(b"one "), skippable(b""), zstd(b""), zstd(b"two")];
        let blob = [frames.concat(), skippable(&vec![9; 70_000])].concat();
        assert_eq!(decompress(&blob).unwrap(), (Compression::Zstd, b"one two".to_vec()));
        assert_eq!(decompress(&[blob, vec![0; 9]].concat()).unwrap().1, b"one two");
    }

    #[test]
    fn c03_a_window_over_the_limit_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.write_all(&noise(100)).unwrap();
        let blob = encoder.finish().unwrap();
        drain(&mut open(&blob[..], 24).unwrap()).unwrap();
        assert!(drain(&mut open(&blob[..], 20).unwrap()).is_err());
    }

    #[test]
    fn c05_every_stream_of_xz_and_the_padding_between_them_is_read() {
        let padding = |count| vec![0; count];
        let streams =
            [xz(b""), xz(b"one "), padding(8), xz(b""), padding(4), xz(b"two"), padding(400)];
        assert_eq!(decompress(&streams.concat()).unwrap(), (Compression::Xz, b"one two".to_vec()));
        for odd in [[xz(b"x"), padding(5)], [xz(b"x"), [padding(3), xz(b"y")].concat()]] {
            let error = decompress(&odd.concat()).unwrap_err();
            assert!(error.to_string().contains("no multiple of four"), "{error}");
        }
    }

    #[test]
    fn c05_every_stream_of_bzip2_is_read() {
        let streams = [bzip2(b""), bzip2(b"one "), bzip2(b""), bzip2(b"two"), vec![0; 9]];
        assert_eq!(decompress(&streams.concat()).unwrap().1, b"one two");
    }

    #[test]
    fn c05_a_window_of_xz_over_the_limit_is_refused() {
        // A window of 64 MiB.
        let blob = xz_at(9, b"x");
        assert_eq!(drain(&mut open(&blob[..], 26).unwrap()).unwrap(), b"x");
        let error = drain(&mut open(&blob[..], 25).unwrap()).unwrap_err();
        assert!(error.to_string().contains("wants more than 33816576 bytes"), "{error}");
    }

    #[test]
    fn c05_an_unusual_window_of_xz_waits_for_the_turn_of_its_layer() {
        let pool = Pool::new(0);
        let (_first, second) = (pool.join(0), pool.join(1));
        let read = |level, share| {
            let blob = [xz_at(6, b"usual "), xz_at(level, b"unusual")].concat();
            let blob = io::Cursor::new(blob);
            std::thread::spawn(move || drain(&mut Decompressor::new(blob, 27, &share).unwrap()))
        };
        assert_eq!(read(6, second.clone()).join().unwrap().unwrap(), b"usual unusual");
        let waiting = read(8, second.clone());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        pool.begin_turn(1);
        assert_eq!(waiting.join().unwrap().unwrap(), b"usual unusual");
        // Nobody reads it any longer.
        let third = pool.join(2);
        let waiting = read(8, third.clone());
        third.close();
        assert!(waiting.join().unwrap().is_err());
    }

    #[test]
    fn c05_a_flipped_bit_gives_no_other_bytes() {
        let bytes = noise(300);
        for (blob, start) in [(xz(&bytes), 6), (bzip2(&bytes), 10)] {
            for place in start..blob.len() {
                for bit in 0..8 {
                    let mut blob = blob.clone();
                    blob[place] ^= 1 << bit;
                    // bzip2 has bits that mean nothing here: the last ones, and whether a block
                    // that is too short for it was randomised.
                    if let Ok((compression, got)) = decompress(&blob) {
                        let is_same = compression == Compression::Bzip2 && got == bytes;
                        assert!(is_same, "{place}: {bit}");
                    }
                }
            }
        }
    }

    #[test]
    fn c06_other_bytes_after_the_stream_are_refused() {
        for blob in [gzip(b"x"), zstd(b"x"), xz(b"x"), bzip2(b"x")] {
            let error = decompress(&[blob, b"\0\0junk".to_vec()].concat()).unwrap_err();
            assert!(error.to_string().contains("other data follows"), "{error}");
        }
    }

    #[test]
    fn truncation_is_an_error_wherever_it_falls() {
        let bytes = noise(2000);
        for (blob, start) in
            [(gzip(&bytes), 4), (zstd(&bytes), 4), (xz(&bytes), 6), (bzip2(&bytes), 10)]
        {
            for length in start..blob.len() {
                assert!(decompress(&blob[..length]).is_err(), "{length} of {}", blob.len());
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_gzip_trailer_is_noticed() {
        for blob in [gzip(&noise(2000)), gzip(b"")] {
            for (before, after) in [(Vec::new(), Vec::new()), (gzip(b"one"), gzip(b"two"))] {
                for back in 1..=8 {
                    let mut blob = [before.as_slice(), &blob].concat();
                    let place = blob.len() - back;
                    blob[place] ^= 1;
                    blob.extend_from_slice(&after);
                    assert!(decompress(&blob).unwrap_err().to_string().contains("trailer says"));
                }
            }
        }
    }
}
