//! The hash of a name, by which large directories are ordered.
//!
//! Source: kernel, `fs/ext4/hash.c`; the rounds are those of MD4 (RFC 1320) on half the words.

use zerocopy::little_endian::U32;

use crate::format::hash::{DirectoryHash, HashedBytes};
use crate::format::units::widen;
use crate::record::{high32, low32};

/// How the names of one filesystem are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NameHasher {
    /// The four words that `s_hash_seed` starts the hash with.
    seed: [u32; 4],
    algorithm: DirectoryHash,
    bytes: HashedBytes,
}

/// A name's place in the order of its directory; the lowest bit is always clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameHash(
    /// The major hash above the minor one: as one number they are compared, and sorted, faster.
    u64,
);

/// The words of RFC 1320's initial state, used when the seed is all zeros.
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const ROUND_2: u32 = 0x5a82_7999;
const ROUND_3: u32 = 0x6ed9_eba1;
/// The hash that means "end of directory" and that no name may have: `EXT4_HTREE_EOF_32BIT`.
const END_OF_DIRECTORY: u32 = 0x7fff_ffff << 1;
/// The step of TEA's sum: 2³² divided by the golden ratio.
const TEA_DELTA: u32 = 0x9e37_79b9;
const TEA_ROUNDS: usize = 16;

impl NameHasher {
    /// A hasher with the seed in the order of bytes in which the superblock holds it.
    pub(crate) fn new(seed: [u8; 16], algorithm: DirectoryHash, bytes: HashedBytes) -> Self {
        Self { seed: seed_words(seed), algorithm, bytes }
    }

    /// The hash of a name.
    pub(crate) fn hash(self, name: &[u8]) -> NameHash {
        let mut state = if self.seed == [0; 4] { INITIAL } else { self.seed };
        let (major, minor) = match self.algorithm {
            DirectoryHash::HalfMd4 => {
                self.fold(name, |words| half_md4_transform(&mut state, words));
                let [_, major, minor, _] = state;
                (major, minor)
            }
            DirectoryHash::Tea => {
                self.fold(name, |words| tea_transform(&mut state, words));
                let [major, minor, ..] = state;
                (major, minor)
            }
        };
        let major = major & !1;
        let major = if major == END_OF_DIRECTORY { END_OF_DIRECTORY - 2 } else { major };
        NameHash(u64::from(major) << 32 | u64::from(minor))
    }

    /// Hands a name over in pieces of so many words, the last one padded.
    fn fold<const WORDS: usize>(self, name: &[u8], mut transform: impl FnMut(&[u32; WORDS])) {
        for (number, piece) in name.chunks(WORDS * 4).enumerate() {
            transform(&self.words_of(piece, name.len() - number * WORDS * 4));
        }
    }

    /// The bytes of a piece as words, padded with the length of it and all behind it.
    fn words_of<const WORDS: usize>(self, piece: &[u8], rest: usize) -> [u32; WORDS] {
        let length = low32(widen(rest));
        let padding = length | length << 8;
        let mut words = [padding | padding << 16; WORDS];
        for (word, chunk) in words.iter_mut().zip(piece.chunks(4)) {
            for byte in chunk {
                let number = match self.bytes {
                    HashedBytes::Signed => i32::from(i8::from_le_bytes([*byte])).cast_unsigned(),
                    HashedBytes::Unsigned => u32::from(*byte),
                };
                *word = (*word << 8).wrapping_add(number);
            }
        }
        words
    }
}

/// The words of `s_hash_seed`.
pub(crate) fn seed_words(bytes: [u8; 16]) -> [u32; 4] {
    let words: [U32; 4] = zerocopy::transmute!(bytes);
    words.map(U32::get)
}

impl NameHash {
    /// The part that the index holds.
    pub(crate) fn major(self) -> u32 {
        high32(self.0)
    }

    /// The part that orders names of one major hash.
    #[cfg(test)]
    fn minor(self) -> u32 {
        low32(self.0)
    }
}

/// Sixteen rounds of TEA on the first two words, with the name's words as the key.
fn tea_transform(state: &mut [u32; 4], key: &[u32; 4]) {
    let [k0, k1, k2, k3] = *key;
    let [first, second, ..] = state;
    let (mut a, mut b) = (*first, *second);
    let mix = |word: u32, sum: u32, left: u32, right: u32| {
        (word << 4).wrapping_add(left) ^ word.wrapping_add(sum) ^ (word >> 5).wrapping_add(right)
    };
    let mut sum: u32 = 0;
    for _ in 0..TEA_ROUNDS {
        sum = sum.wrapping_add(TEA_DELTA);
        a = a.wrapping_add(mix(b, sum, k0, k1));
        b = b.wrapping_add(mix(a, sum, k2, k3));
    }
    *first = first.wrapping_add(a);
    *second = second.wrapping_add(b);
}

fn half_md4_transform(state: &mut [u32; 4], words: &[u32; 8]) {
    let [i0, i1, i2, i3, i4, i5, i6, i7] = *words;
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let majority = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;

    let mut mixed = *state;
    round(&mut mixed, choose, [i0, i1, i2, i3, i4, i5, i6, i7], [3, 7, 11, 19], 0);
    round(&mut mixed, majority, [i1, i3, i5, i7, i0, i2, i4, i6], [3, 5, 9, 13], ROUND_2);
    round(&mut mixed, parity, [i3, i7, i2, i6, i1, i5, i0, i4], [3, 9, 11, 15], ROUND_3);
    for (word, new) in state.iter_mut().zip(mixed) {
        *word = word.wrapping_add(new);
    }
}

/// Eight steps; after each one the roles of the four words move on by one.
fn round(
    state: &mut [u32; 4],
    mix: impl Fn(u32, u32, u32) -> u32,
    words: [u32; 8],
    shifts: [u32; 4],
    constant: u32,
) {
    let [mut a, mut b, mut c, mut d] = *state;
    for (word, shift) in words.into_iter().zip(shifts.into_iter().cycle()) {
        let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(word).wrapping_add(constant);
        (a, b, c, d) = (d, sum.rotate_left(shift), b, c);
    }
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 16] = [
        0xa7, 0x22, 0x97, 0x0b, 0xfe, 0xa8, 0x49, 0x39, 0x85, 0xaa, 0x2b, 0x66, 0xbc, 0x3b, 0xf2,
        0x5f,
    ];

    /// From `debugfs -R 'dx_hash -h HASH -s SEED NAME'` of e2fsprogs 1.47.0.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed = NameHasher::new(SEED, DirectoryHash::HalfMd4, HashedBytes::Signed);
        let vectors: [(&[u8], u32, u32); 4] = [
            (b"a", 0xeaed_dbd0, 0x851b_7f9e),
            (b"hello", 0x76d4_4dea, 0x54c9_a059),
            (
                b"a-name-of-more-than-thirty-two-bytes-so-that-it-takes-two-rounds",
                0xfe6f_e590,
                0xa650_d5fe,
            ),
            (b"\xff\xfe", 0xd9a8_4802, 0xd943_d5df),
        ];
        for (name, major, minor) in vectors {
            let hash = seed.hash(name);
            assert_eq!((hash.major(), hash.minor()), (major, minor), "{}", name.escape_ascii());
        }
        let unseeded = NameHasher { seed: [0; 4], ..seed };
        assert_eq!(unseeded.hash(b"a").major(), 0xd5fa_7d7a);
    }

    /// From `debugfs -R 'dx_hash -h tea -s SEED NAME'` of e2fsprogs 1.47.0.
    #[test]
    fn tea_hashes_are_those_of_debugfs() {
        let seed = NameHasher::new(SEED, DirectoryHash::Tea, HashedBytes::Signed);
        let vectors: [(&[u8], u32, u32); 4] = [
            (b"a", 0x5c96_dd24, 0x1361_cc85),
            (b"hello", 0x8914_a47a, 0xad8e_bf59),
            (
                b"a-name-of-more-than-thirty-two-bytes-so-that-it-takes-two-rounds",
                0x67c5_6f1a,
                0x2676_d6ce,
            ),
            (b"\xff\xfe", 0x0a2d_1646, 0xd624_bd54),
        ];
        for (name, major, minor) in vectors {
            let hash = seed.hash(name);
            assert_eq!((hash.major(), hash.minor()), (major, minor), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn only_bytes_beyond_ascii_are_counted_otherwise() {
        for algorithm in [DirectoryHash::HalfMd4, DirectoryHash::Tea] {
            let signed = NameHasher::new(SEED, algorithm, HashedBytes::Signed);
            let unsigned = NameHasher::new(SEED, algorithm, HashedBytes::Unsigned);
            assert_eq!(signed.hash(b"hello"), unsigned.hash(b"hello"));
            assert_ne!(signed.hash(b"\xff\xfe"), unsigned.hash(b"\xff\xfe"));
        }
    }
}
