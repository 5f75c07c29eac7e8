//! Times as inodes have them: 32 bits of seconds; behind them, in longer inodes, 30 bits of
//! nanoseconds over 2 more bits of seconds.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `ext4_encode_extra_time`;
//! `Documentation/filesystems/ext4/inodes.rst`, "Inode Timestamps".

use zerocopy::little_endian::U32;

use crate::metadata::Timestamp;
use crate::record::{high32, low32};

/// The most nanoseconds that a time has.
const MAX_NANOSECONDS: u32 = 999_999_999;

/// The two words of a time.
pub(crate) fn encode(time: Timestamp) -> (U32, U32) {
    let low = low32(time.seconds.cast_unsigned());
    let epoch = high32((time.seconds + 0x8000_0000).cast_unsigned()) & 3;
    (U32::new(low), U32::new((time.nanoseconds << 2) | epoch))
}

/// The time of its seconds, which are signed, and its second word, if the inode has one.
pub(crate) fn decode(seconds: U32, extra: Option<u32>) -> Timestamp {
    let low = i64::from(seconds.get().cast_signed());
    let Some(extra) = extra else { return Timestamp::from_seconds(low) };
    let seconds = low + (i64::from(extra & 3) << 32);
    Timestamp { seconds, nanoseconds: (extra >> 2).min(MAX_NANOSECONDS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_use_the_epoch_bits() {
        let encoded = |seconds, nanoseconds| {
            let time = Timestamp { seconds, nanoseconds };
            let (low, extra) = encode(time);
            assert_eq!(decode(low, Some(extra.get())), time);
            (low.get(), extra.get())
        };
        assert_eq!(encoded(-1, 5), (0xffff_ffff, 20));
        assert_eq!(encoded(0x7fff_ffff, 0), (0x7fff_ffff, 0));
        assert_eq!(encoded(0x8000_0000, 0), (0x8000_0000, 1));
        assert_eq!(encoded(0x3_7fff_ffff, 999_999_999), (0x7fff_ffff, 999_999_999 << 2 | 3));
    }
}
