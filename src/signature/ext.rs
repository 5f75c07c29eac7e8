//! ext2, ext3 and ext4.

use super::{Signature, View, text};

/// `EXT4_SUPER_MAGIC`.
const MAGIC: u16 = 0xef53;
/// Where the superblock begins.
const START: u64 = 1024;
/// `INCOMPAT_JOURNAL_DEV`.
const JOURNAL_DEVICE: u32 = 0x0008;
/// `COMPAT_HAS_JOURNAL`.
const HAS_JOURNAL: u32 = 0x0004;
/// What ext3 has of the features that are not compatible: `filetype`, `needs_recovery`,
/// `meta_bg`. Source: kernel, `fs/ext4/ext4.h`, `EXT3_FEATURE_INCOMPAT_SUPP`.
const INCOMPATIBLE_OF_EXT3: u32 = 0x0002 | 0x0004 | 0x0010;
/// And of those that a reader need not know: `sparse_super`, `large_file`, `btree_dir`.
const READ_ONLY_OF_EXT3: u32 = 0x0001 | 0x0002 | 0x0004;

pub(super) fn superblock(view: &View) -> Option<Signature> {
    if view.u16(START + 0x38)? != MAGIC {
        return None;
    }
    let compatible = view.u32(START + 0x5c)?;
    let incompatible = view.u32(START + 0x60)?;
    let read_only = view.u32(START + 0x64)?;
    let is_older = incompatible & !INCOMPATIBLE_OF_EXT3 == 0 && read_only & !READ_ONLY_OF_EXT3 == 0;
    let format = match incompatible {
        _ if incompatible & JOURNAL_DEVICE != 0 => "jbd",
        _ if !is_older => "ext4",
        _ if compatible & HAS_JOURNAL != 0 => "ext3",
        _ => "ext2",
    };
    let mounted = view.at(START + 0x88, 64).map(text).filter(|path| !path.is_empty());
    let mounted = mounted.map(|path| format!("last mounted on {}", path.escape_ascii()));
    Some(
        Signature::new(format, START + 0x38)
            .labelled(view.at(START + 0x78, 16))
            .identified(view.uuid(START + 0x68))
            .detailed(mounted),
    )
}
