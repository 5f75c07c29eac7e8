//! What names, targets and device numbers can be.

use crate::error::{Error, Result};
use crate::format::units::BlockSize;
use crate::metadata::Special;
use crate::record::directory::MAX_NAME;

/// The most names that a file can have: `EXT4_LINK_MAX` of `fs/ext4/ext4.h`.
pub(crate) const MAX_LINKS: u32 = 65_000;
/// The name of the directory where e2fsck puts what it finds.
pub(crate) const LOST_AND_FOUND: &[u8] = b"lost+found";
/// The longest target of a symbolic link: `PATH_MAX` with its NUL.
const MAX_TARGET: usize = 4095;
/// The largest device numbers: 12 bits of major, 20 of minor.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Refuses what cannot be a name in a directory.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    let reason = match name {
        [] => "is empty",
        b"." | b".." => "is one that every directory has",
        _ if name.len() > MAX_NAME => "is longer than 255 bytes",
        _ if name.contains(&b'/') => "has a slash",
        _ if name.contains(&0) => "has a NUL",
        _ => return Ok(()),
    };
    Err(Error::InvalidName { name: name.to_vec(), reason })
}

/// Refuses what cannot be the target of a symbolic link.
pub(crate) fn check_target(target: &[u8], block: BlockSize) -> Result<()> {
    let reason = match target {
        [] => "is empty",
        _ if target.len() > MAX_TARGET => "is longer than 4095",
        // Source: kernel, fs/ext4/namei.c, ext4_symlink.
        _ if target.len() >= block.len() => {
            "does not fit into a block with a NUL behind it; larger blocks hold it"
        }
        _ if target.contains(&0) => "has a NUL",
        _ => return Ok(()),
    };
    Err(Error::InvalidTarget { length: target.len(), reason })
}

/// Refuses device numbers that an inode cannot hold.
pub(crate) fn check_device(special: Special) -> Result<()> {
    match special {
        Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor }
            if major > MAX_MAJOR || minor > MAX_MINOR =>
        {
            Err(Error::InvalidDevice { major, minor })
        }
        _ => Ok(()),
    }
}
