//! Extended attributes: their names on disk, and POSIX ACLs in ext4's own form.
//!
//! Source of the prefixes: kernel, `fs/ext4/xattr.h`, `EXT4_XATTR_INDEX_*`.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::format::acl;

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attribute {
    /// The number of the name's prefix.
    pub index: u8,
    /// The name behind the prefix.
    pub suffix: Box<[u8]>,
    /// The value as it goes to disk.
    pub value: Box<[u8]>,
}

/// What setting an attribute changed.
#[derive(Debug)]
pub(crate) struct Change {
    place: usize,
    before: Option<Attribute>,
}

/// The attributes of an inode, in the order in which the kernel searches a block for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<Attribute>);

const INDEX_ACL_ACCESS: u8 = 2;
const INDEX_ACL_DEFAULT: u8 = 3;
/// Of `system.` the kernel shows the ACLs alone.
const PREFIXES: [(&[u8], u8); 5] = [
    (b"system.posix_acl_access", INDEX_ACL_ACCESS),
    (b"system.posix_acl_default", INDEX_ACL_DEFAULT),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
];
/// The longest name behind the prefix: its length is one byte.
const MAX_SUFFIX: usize = 255;
/// The longest value that the kernel hands to a program: `XATTR_SIZE_MAX`.
const MAX_VALUE: usize = 65_536;

impl Attributes {
    /// Sets an attribute by its full name, in the form in which `getxattr` shows it.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) -> Result<Change> {
        let (index, suffix) = split(name)?;
        if value.len() > MAX_VALUE {
            return Err(invalid(name, "has a value of more than 65536 bytes"));
        }
        let value = match index {
            INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT => acl::to_disk(value)
                .ok_or_else(|| invalid(name, "is not a POSIX ACL of version 2"))?,
            _ => value.to_vec(),
        };
        let attribute = Attribute { index, suffix: suffix.into(), value: value.into() };
        match self.0.binary_search_by(|other| other.order().cmp(&attribute.order())) {
            Ok(place) => {
                let old = self.0.get_mut(place);
                let before = old.map(|old| std::mem::replace(old, attribute));
                Ok(Change { place, before })
            }
            Err(place) => {
                self.0.insert(place, attribute);
                Ok(Change { place, before: None })
            }
        }
    }

    /// Takes the last change back.
    pub(crate) fn undo(&mut self, change: Change) {
        match (change.before, self.0.get_mut(change.place)) {
            (Some(before), Some(changed)) => *changed = before,
            (None, Some(_)) => drop(self.0.remove(change.place)),
            (_, None) => {}
        }
    }

    /// The attributes in their order on disk.
    pub(crate) fn as_slice(&self) -> &[Attribute] {
        &self.0
    }

    /// Full names and values in the form in which `getxattr` shows them.
    pub(crate) fn named(&self) -> impl Iterator<Item = (Vec<u8>, Cow<'_, [u8]>)> {
        self.0.iter().map(|attribute| {
            let prefix = PREFIXES.iter().find(|(_, index)| *index == attribute.index);
            let mut name = prefix.map_or_else(Vec::new, |(prefix, _)| prefix.to_vec());
            name.extend_from_slice(&attribute.suffix);
            let value = match attribute.index {
                // What `set` took is an ACL.
                INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT => acl::from_disk(&attribute.value)
                    .map_or(Cow::Borrowed(&*attribute.value), Cow::Owned),
                _ => Cow::Borrowed(&*attribute.value),
            };
            (name, value)
        })
    }
}

impl Attribute {
    /// Source: kernel, `fs/ext4/xattr.c`, `xattr_find_entry`: prefix, then length, then bytes.
    fn order(&self) -> (u8, usize, &[u8]) {
        (self.index, self.suffix.len(), &self.suffix)
    }
}

fn split(name: &[u8]) -> Result<(u8, &[u8])> {
    for (prefix, index) in PREFIXES {
        let Some(suffix) = name.strip_prefix(prefix) else { continue };
        let whole = matches!(index, INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT);
        return match suffix.len() {
            0 if whole => Ok((index, suffix)),
            _ if whole => Err(invalid(name, "has no place in ext4")),
            0 => Err(invalid(name, "has nothing behind its prefix")),
            1..=MAX_SUFFIX if suffix.contains(&0) => Err(invalid(name, "has a NUL in its name")),
            1..=MAX_SUFFIX => Ok((index, suffix)),
            _ => Err(invalid(name, "is longer than 255 bytes behind its prefix")),
        };
    }
    Err(invalid(name, "has a prefix that ext4 does not know"))
}

fn invalid(name: &[u8], reason: &'static str) -> Error {
    Error::InvalidAttribute { name: name.to_vec(), reason }
}

#[cfg(test)]
mod tests {
    use banger_test_support::xattr::acl;

    use super::*;

    #[test]
    fn acls_lose_the_ids_that_mean_nothing_and_get_them_back() {
        let none = u32::MAX;
        let value = acl(&[(1, 7, none), (2, 5, 1000), (4, 5, none), (16, 5, none), (32, 0, none)]);
        let disk = acl::to_disk(&value).unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(disk[..4], [1, 0, 0, 0]);
        assert_eq!(acl::from_disk(&disk), Some(value));
    }

    #[test]
    fn malformed_acls_are_refused() {
        let name = b"system.posix_acl_access";
        for value in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01", &acl(&[(3, 7, 0)])] {
            let refused = Attributes::default().set(name, value);
            assert!(matches!(refused, Err(Error::InvalidAttribute { .. })), "{value:?}");
        }
    }

    #[test]
    fn attributes_are_in_the_order_of_the_kernel_and_unique() {
        let mut attributes = Attributes::default();
        for name in ["user.bb", "user.c", "security.x", "user.a", "trusted.y"] {
            attributes.set(name.as_bytes(), b"1").unwrap();
        }
        attributes.set(b"user.c", b"2").unwrap();
        let names: Vec<_> = attributes.named().map(|(name, _)| name).collect();
        let expected = ["user.a", "user.c", "user.bb", "trusted.y", "security.x"];
        assert_eq!(names, expected.map(|name| name.as_bytes().to_vec()));
        assert_eq!(attributes.named().nth(1).unwrap().1, Cow::Borrowed(b"2"));
    }

    #[test]
    fn names_without_a_place_are_refused() {
        for name in ["user.", "other.x", "x", "", "system.x", "system.posix_acl_accessory"] {
            assert!(Attributes::default().set(name.as_bytes(), b"").is_err(), "{name}");
        }
        let long = [b"user.".as_slice(), &[b'n'; 256]].concat();
        assert!(Attributes::default().set(&long, b"").is_err());
        assert!(Attributes::default().set(&long[..260], b"").is_ok());
    }
}
