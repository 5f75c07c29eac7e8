//! POSIX ACLs between ext4's form and that of programs.
//!
//! Source: kernel, `fs/ext4/acl.h`, `fs/ext4/acl.c`, `ext4_acl_from_disk`;
//! `include/uapi/linux/posix_acl_xattr.h`.

use crate::record::acl::{DISK_VERSION, NO_ID, PROGRAM_VERSION, SHORT_ENTRY, tag_has_id};

/// The bytes of an entry in the form of programs.
const PROGRAM_ENTRY: usize = 8;

/// A POSIX ACL as programs see it, in ext4's form; `None` when it is malformed.
pub(crate) fn to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.strip_prefix(&PROGRAM_VERSION)?;
    if entries.len() % PROGRAM_ENTRY != 0 {
        return None;
    }
    let mut disk = DISK_VERSION.to_vec();
    for entry in entries.chunks_exact(PROGRAM_ENTRY) {
        let (head, id) = entry.split_at_checked(SHORT_ENTRY)?;
        disk.extend_from_slice(head);
        if tag_has_id(head.first_chunk().copied()?)? {
            disk.extend_from_slice(id);
        }
    }
    Some(disk)
}

/// An ACL as `getxattr` shows it; `None` when the kernel could not read it.
pub(crate) fn from_disk(disk: &[u8]) -> Option<Vec<u8>> {
    let mut rest = disk.strip_prefix(&DISK_VERSION)?;
    let mut value = PROGRAM_VERSION.to_vec();
    while !rest.is_empty() {
        let (head, behind) = rest.split_first_chunk::<SHORT_ENTRY>()?;
        value.extend_from_slice(head);
        let [low, high, ..] = *head;
        if tag_has_id([low, high])? {
            let (id, behind) = behind.split_first_chunk::<4>()?;
            value.extend_from_slice(id);
            rest = behind;
        } else {
            value.extend_from_slice(&NO_ID);
            rest = behind;
        }
    }
    Some(value)
}
