//! The two forms of a POSIX ACL: that of programs, version 2, with a 32-bit id in every entry, and
//! that of the disk, version 1, with the id only where it means something.
//!
//! Source: kernel, `include/uapi/linux/posix_acl.h`, `posix_acl_xattr.h`; `fs/ext4/acl.h`.

/// The head of the form of programs.
pub(crate) const PROGRAM_VERSION: [u8; 4] = 2u32.to_le_bytes();
/// The head of the form of the disk.
pub(crate) const DISK_VERSION: [u8; 4] = 1u32.to_le_bytes();
/// The tag and the permissions of an entry.
pub(crate) const SHORT_ENTRY: usize = 4;
/// The id of an entry that has none.
pub(crate) const NO_ID: [u8; 4] = u32::MAX.to_le_bytes();

/// Does an entry of this tag name somebody?
pub(crate) fn tag_has_id(tag: [u8; 2]) -> Option<bool> {
    match u16::from_le_bytes(tag) {
        0x02 | 0x08 => Some(true),
        0x01 | 0x04 | 0x10 | 0x20 => Some(false),
        _ => None,
    }
}
