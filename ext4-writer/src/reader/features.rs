//! The features of a filesystem that is read, and which of them keep it from being read.

use crate::reader::error::{ReadError, ReadResult};
pub(crate) use crate::record::feature::Feature;

/// The three words of features of a superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureWords {
    /// `s_feature_compat`: who does not know one may write nevertheless.
    pub compatible: u32,
    /// `s_feature_incompat`: who does not know one may not read.
    pub incompatible: u32,
    /// `s_feature_ro_compat`: who does not know one may not write.
    pub read_only: u32,
}

/// The incompatible features that are read.
const READ: u32 = 0x0002 // filetype
    | 0x0004 // needs_recovery
    | 0x0010 // meta_bg
    | 0x0040 // extent
    | 0x0080 // 64bit
    | 0x0100 // mmp
    | 0x0200 // flex_bg
    | 0x0400 // ea_inode
    | 0x2000 // metadata_csum_seed
    | 0x4000 // large_dir
    | 0x8000 // inline_data
    | 0x1_0000 // encrypt: names are shown as they are, contents are refused
    | 0x2_0000; // casefold

/// The bits of a word, each alone.
fn bits(word: u32) -> impl Iterator<Item = u32> {
    (0..u32::BITS).map(|place| 1 << place).filter(move |bit| word & bit != 0)
}

impl FeatureWords {
    /// Whether the feature is on.
    pub(crate) const fn has(self, feature: Feature) -> bool {
        match feature {
            Feature::Compatible(bit) => self.compatible & bit != 0,
            Feature::Incompatible(bit) => self.incompatible & bit != 0,
            Feature::ReadOnly(bit) => self.read_only & bit != 0,
        }
    }

    /// Whether the feature of this name, as dumpe2fs prints it, is on.
    #[must_use]
    pub fn has_name(self, name: &str) -> bool {
        self.names().iter().any(|other| other == name)
    }

    /// The names of all features, as dumpe2fs prints them; one that has no name is shown by its
    /// word and bit, as in `FEATURE_I27`.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        let compatible = bits(self.compatible).map(Feature::Compatible);
        let incompatible = bits(self.incompatible).map(Feature::Incompatible);
        let read_only = bits(self.read_only).map(Feature::ReadOnly);
        compatible.chain(incompatible).chain(read_only).map(Feature::name).collect()
    }

    /// Refuses a filesystem that cannot be read truthfully.
    pub(crate) fn check(self) -> ReadResult<()> {
        let unread = Self { incompatible: self.incompatible & !READ, ..Self::default() };
        if unread.incompatible == 0 {
            return Ok(());
        }
        let reason = "a filesystem with this feature is laid out in a way that is not known here";
        Err(ReadError::Unsupported { what: unread.names().join(" "), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_have_the_names_of_dumpe2fs_and_the_others_their_bits() {
        let words =
            FeatureWords { compatible: 0x3c, incompatible: 0x0800_02c2, read_only: 0x0000_046b };
        let expected = "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg \
            FEATURE_I27 sparse_super large_file huge_file dir_nlink extra_isize metadata_csum";
        assert_eq!(words.names().join(" "), expected);
        let refused = words.check().unwrap_err().to_string();
        assert!(refused.contains("FEATURE_I27"), "{refused}");
    }
}
