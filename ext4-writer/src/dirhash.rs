//! The hash of a name, by which large directories are ordered.
//!
//! Source: kernel, `fs/ext4/hash.c`; the rounds are those of MD4 (RFC 1320) on half the words.

/// The four words that `s_hash_seed` starts the hash with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashSeed([u32; 4]);

/// A name's place in the order of its directory; the lowest bit is always clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameHash {
    major: u32,
    minor: u32,
}

/// The words of RFC 1320's initial state, used when the seed is all zeros.
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
const ROUND_2: u32 = 0x5a82_7999;
const ROUND_3: u32 = 0x6ed9_eba1;
/// The hash that means "end of directory" and that no name may have: `EXT4_HTREE_EOF_32BIT`.
const END_OF_DIRECTORY: u32 = 0x7fff_ffff << 1;
const WORDS: usize = 8;

impl HashSeed {
    /// The seed in the order of bytes in which the superblock holds it.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_le_bytes(chunk.try_into().unwrap_or_default());
        }
        Self(words)
    }

    /// The words of the superblock.
    pub(crate) fn words(self) -> [u32; 4] {
        self.0
    }

    /// `half_md4` of a name taken as signed bytes.
    pub(crate) fn half_md4(self, name: &[u8]) -> NameHash {
        let mut state = if self.0 == [0; 4] { INITIAL } else { self.0 };
        let mut rest = name;
        while !rest.is_empty() {
            half_md4_transform(&mut state, &words_of(rest));
            rest = rest.get(WORDS * 4..).unwrap_or_default();
        }
        let [_, major, minor, _] = state;
        let major = major & !1;
        NameHash {
            major: if major == END_OF_DIRECTORY { END_OF_DIRECTORY - 2 } else { major },
            minor,
        }
    }
}

impl NameHash {
    /// The part that the index holds.
    pub(crate) fn major(self) -> u32 {
        self.major
    }
}

/// Up to 32 bytes of a name as words, padded with its length.
fn words_of(rest: &[u8]) -> [u32; WORDS] {
    // The length is that of all that is left, not of this piece; names end at 255.
    let length = u8::try_from(rest.len()).unwrap_or(u8::MAX);
    let padding = u32::from_le_bytes([length; 4]);
    let mut words = [padding; WORDS];
    let piece = rest.get(..WORDS * 4).unwrap_or(rest);
    for (word, chunk) in words.iter_mut().zip(piece.chunks(4)) {
        for byte in chunk {
            let signed = i32::from(i8::from_le_bytes([*byte]));
            *word = (*word << 8).wrapping_add(signed.cast_unsigned());
        }
    }
    words
}

fn half_md4_transform(state: &mut [u32; 4], words: &[u32; WORDS]) {
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
    words: [u32; WORDS],
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

    /// From `debugfs -R 'dx_hash -h half_md4 -s SEED NAME'` of e2fsprogs 1.47.0.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let seed = HashSeed::from_bytes([
            0xa7, 0x22, 0x97, 0x0b, 0xfe, 0xa8, 0x49, 0x39, 0x85, 0xaa, 0x2b, 0x66, 0xbc, 0x3b,
            0xf2, 0x5f,
        ]);
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
            let hash = seed.half_md4(name);
            assert_eq!((hash.major, hash.minor), (major, minor), "{}", name.escape_ascii());
        }
        assert_eq!(HashSeed::from_bytes([0; 16]).half_md4(b"a").major, 0xd5fa_7d7a);
    }
}
