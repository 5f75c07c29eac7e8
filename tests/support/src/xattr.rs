//! Extended attributes of a mounted image, as a guest handles them; symbolic links are not
//! followed.

use std::path::Path;

use rustix::fs::{XattrFlags, lgetxattr, lremovexattr, lsetxattr};

/// The kernel's `XATTR_SIZE_MAX`.
const LONGEST: usize = 64 * 1024;

/// The id of an entry of an ACL that names nobody.
pub const NO_ID: u32 = u32::MAX;

/// A POSIX ACL as programs give it: version 2, entries of tag, permissions and id.
///
/// Source: kernel, `include/uapi/linux/posix_acl_xattr.h`.
#[must_use]
pub fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// Sets an attribute, or gives it another value.
pub fn set(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("cannot set {name} of {}: {error}", path.display()));
}

/// The value of an attribute.
#[must_use]
pub fn get(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; LONGEST];
    let length = lgetxattr(path, name, value.as_mut_slice())
        .unwrap_or_else(|error| panic!("cannot get {name} of {}: {error}", path.display()));
    value.truncate(length);
    value
}

/// Removes an attribute.
pub fn remove(path: &Path, name: &str) {
    lremovexattr(path, name)
        .unwrap_or_else(|error| panic!("cannot remove {name} of {}: {error}", path.display()));
}
