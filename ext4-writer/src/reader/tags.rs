//! The tags of a descriptor block of the journal: which blocks follow, in four shapes.
//!
//! Source: kernel, `fs/jbd2/journal.c`, `journal_tag_bytes`; `fs/jbd2/recovery.c`, `count_tags`.

use zerocopy::FromBytes;

use crate::record::journal::{
    Header, Incompatible, TAG_UUID, TAIL_SIZE, Tag as Record, Tag3, TagFlags,
};
use crate::record::low16;

/// A block that follows a descriptor block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The block of the filesystem that it replaces.
    pub block: u64,
    /// Its first four bytes were the journal's magic number.
    pub escaped: bool,
    /// The sum of it, in a journal with sums.
    pub checksum: Option<u32>,
}

/// The tags of a descriptor block.
pub(crate) fn tags(bytes: &[u8], features: Incompatible) -> impl Iterator<Item = Tag> + use<'_> {
    let has_sums = features.intersects(Incompatible::CSUM_V2 | Incompatible::CSUM_V3);
    let end = bytes.len().saturating_sub(if has_sums { TAIL_SIZE } else { 0 });
    let mut rest = bytes.get(size_of::<Header>()..end);
    std::iter::from_fn(move || {
        let (tag, flags) = tag(rest?, features)?;
        let uuid = if flags.contains(TagFlags::SAME_UUID) { 0 } else { TAG_UUID };
        rest = if flags.contains(TagFlags::LAST) {
            None
        } else {
            rest?.get(tag_size(features).saturating_add(uuid)..)
        };
        Some(tag)
    })
}

/// The bytes of a tag without a UUID.
pub(crate) fn tag_size(features: Incompatible) -> usize {
    if features.contains(Incompatible::CSUM_V3) {
        return size_of::<Tag3>();
    }
    let wide = if features.contains(Incompatible::BIT_64) { 4 } else { 0 };
    let summed = if features.contains(Incompatible::CSUM_V2) { 2 } else { 0 };
    8 + wide + summed
}

fn tag(bytes: &[u8], features: Incompatible) -> Option<(Tag, TagFlags)> {
    let bytes = bytes.get(..tag_size(features))?;
    let is_wide = features.contains(Incompatible::BIT_64);
    let wide =
        |low: u32, high: u32| u64::from(low) | if is_wide { u64::from(high) << 32 } else { 0 };
    let (block, flags, checksum) = if features.contains(Incompatible::CSUM_V3) {
        let (tag, _) = Tag3::read_from_prefix(bytes).ok()?;
        let block = wide(tag.blocknr.get(), tag.blocknr_high.get());
        (block, low16(tag.flags.get()), Some(tag.checksum.get()))
    } else {
        // The shorter ones end before the high half of the number.
        let mut whole = [0; size_of::<Record>()];
        for (byte, from) in whole.iter_mut().zip(bytes) {
            *byte = *from;
        }
        let (tag, _) = Record::read_from_prefix(&whole).ok()?;
        let sum = u32::from(tag.checksum.get());
        let checksum = features.contains(Incompatible::CSUM_V2).then_some(sum);
        (wide(tag.blocknr.get(), tag.blocknr_high.get()), tag.flags.get(), checksum)
    };
    let flags = TagFlags::from_bits_retain(flags);
    Some((Tag { block, escaped: flags.contains(TagFlags::ESCAPE), checksum }, flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_every_shape_are_as_long_as_in_the_kernel() {
        let sizes = [
            (Incompatible::empty(), 8),
            (Incompatible::BIT_64, 12),
            (Incompatible::CSUM_V2, 10),
            (Incompatible::CSUM_V2 | Incompatible::BIT_64, 14),
            (Incompatible::CSUM_V3, 16),
            (Incompatible::CSUM_V3 | Incompatible::BIT_64, 16),
        ];
        for (features, size) in sizes {
            assert_eq!(tag_size(features), size, "{features:?}");
        }
    }

    #[test]
    fn a_uuid_behind_the_first_tag_is_passed_over() {
        let mut block = vec![0; 64];
        block[12..20].copy_from_slice(&[0, 0, 0, 5, 0, 0, 0, 0]);
        block[36..44].copy_from_slice(&[0, 0, 0, 6, 0, 0, 0, 0x0b]);
        let found: Vec<_> = tags(&block, Incompatible::empty()).collect();
        let plain = Tag { block: 5, escaped: false, checksum: None };
        assert_eq!(found, [plain, Tag { block: 6, escaped: true, ..plain }]);
    }
}
