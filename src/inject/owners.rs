//! Who owns in the image what somebody owns on the host.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::shown;

/// What becomes of the owners of a directory of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// They stay.
    #[default]
    Kept,
    /// Everything gets this one: `UID[:GID]`.
    One(Owner),
    /// They are numbered anew; one without a number in the image is an error.
    Mapped(OwnerMap),
}

/// One owner, of which a part may stay as it is: `UID[:GID]`, the group being the same number when
/// it is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

/// Ranges of owners that do not overlap on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerMap(Vec<OwnerRange>);

/// A range of owners: `[u:|g:]HOST:IMAGE[:COUNT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRange {
    whom: Whom,
    host: u32,
    image: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Both,
    Users,
    Groups,
}

/// A kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdKind {
    User,
    Group,
}

impl OwnerMap {
    /// Ranges as they were given; two that speak of the same number of the host are refused.
    pub fn new(ranges: Vec<OwnerRange>) -> Result<Self> {
        let mut seen: Vec<&OwnerRange> = Vec::new();
        for range in &ranges {
            if let Some(other) = seen.iter().find(|other| other.overlaps(range)) {
                return Err(Error::usage(format!(
                    "two --owner-map speak of owner {} of the host",
                    range.host.max(other.host)
                )));
            }
            seen.push(range);
        }
        Ok(Self(ranges))
    }
}

impl OwnerRange {
    fn speaks_of(&self, class: IdKind) -> bool {
        match (self.whom, class) {
            (Whom::Both, _) | (Whom::Users, IdKind::User) | (Whom::Groups, IdKind::Group) => true,
            (Whom::Users, IdKind::Group) | (Whom::Groups, IdKind::User) => false,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let last = |range: &Self| range.host.saturating_add(range.count.saturating_sub(1));
        let share = |class| self.speaks_of(class) && other.speaks_of(class);
        (share(IdKind::User) || share(IdKind::Group))
            && self.host <= last(other)
            && other.host <= last(self)
    }

    /// The number in the image of one of the host's.
    fn find(&self, class: IdKind, id: u32) -> Option<u32> {
        let place = id.checked_sub(self.host).filter(|place| *place < self.count);
        place.filter(|_| self.speaks_of(class))?.checked_add(self.image)
    }
}

impl Owners {
    /// The number in the image for one of the host's; `None` when nobody said.
    pub(super) fn number(&self, class: IdKind, id: u32) -> Option<u32> {
        match (self, class) {
            (Self::Kept, _) => Some(id),
            (Self::One(owner), IdKind::User) => Some(owner.uid.unwrap_or(id)),
            (Self::One(owner), IdKind::Group) => Some(owner.gid.unwrap_or(id)),
            (Self::Mapped(OwnerMap(ranges)), _) => {
                ranges.iter().find_map(|range| range.find(class, id))
            }
        }
    }

    /// The value of an attribute that names owners, with the image's numbers in their place; the
    /// owner without one on failure. Other attributes stay as they are.
    pub(super) fn renumber(&self, name: &[u8], value: Vec<u8>) -> Result<Vec<u8>, u32> {
        match (self, name) {
            (Self::Mapped(_), b"system.posix_acl_access" | b"system.posix_acl_default") => {
                self.renumber_acl(value)
            }
            (Self::Mapped(_) | Self::One(_), b"security.capability") => {
                self.renumber_capability(value)
            }
            _ => Ok(value),
        }
    }

    /// Source: kernel, `include/uapi/linux/posix_acl_xattr.h`: a header of 4 bytes, then entries of
    /// tag, permissions and owner; only those of named users (2) and groups (8) have one.
    fn renumber_acl(&self, mut value: Vec<u8>) -> Result<Vec<u8>, u32> {
        let Some((_, entries)) = value.split_first_chunk_mut::<4>() else { return Ok(value) };
        let (entries, _) = entries.as_chunks_mut::<8>();
        for [tag, _, _, _, id @ ..] in entries {
            let class = match *tag {
                2 => IdKind::User,
                8 => IdKind::Group,
                _ => continue,
            };
            let host = u32::from_le_bytes(*id);
            *id = self.number(class, host).ok_or(host)?.to_le_bytes();
        }
        Ok(value)
    }

    /// Source: kernel, include/uapi/linux/capability.h: a capability of revision 3 counts only in
    /// the namespace of the root user that its last 4 bytes name. That of the image's own root is
    /// one of revision 2, which has no such bytes.
    fn renumber_capability(&self, mut value: Vec<u8>) -> Result<Vec<u8>, u32> {
        const REVISION_2: u8 = 2;
        const REVISION_3: u8 = 3;
        let Ok([_, _, _, revision, .., a, b, c, d]) = <&mut [u8; 24]>::try_from(&mut *value) else {
            return Ok(value);
        };
        if *revision != REVISION_3 {
            return Ok(value);
        }
        let host = u32::from_le_bytes([*a, *b, *c, *d]);
        let image = self.number(IdKind::User, host).ok_or(host)?;
        [*a, *b, *c, *d] = image.to_le_bytes();
        if image == 0 {
            *revision = REVISION_2;
            value.truncate(20);
        }
        Ok(value)
    }
}

impl FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(':').map(number);
        match (parts.next().flatten(), parts.next(), parts.next()) {
            (Some(uid), None, None) => Ok(Self { uid: Some(uid), gid: Some(uid) }),
            (Some(uid), Some(gid @ Some(_)), None) => Ok(Self { uid: Some(uid), gid }),
            _ => Err(Error::usage(format!("\"{}\" is no owner", shown::text(text)))
                .with_hint("write UID or UID:GID, numbers of at most 4294967294")),
        }
    }
}

impl FromStr for OwnerRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (whom, rest) = match text.split_at_checked(2) {
            Some(("u:", rest)) => (Whom::Users, rest),
            Some(("g:", rest)) => (Whom::Groups, rest),
            _ => (Whom::Both, text),
        };
        let mut parts = rest.split(':').map(number);
        let (host, image) = (parts.next().flatten(), parts.next().flatten());
        let count = parts.next().unwrap_or(Some(1)).filter(|count| *count > 0);
        let is_whole = parts.next().is_none();
        let range = host.zip(image).zip(count).filter(|_| is_whole);
        let range = range.map(|((host, image), count)| Self { whom, host, image, count });
        // The last number must be one, too: 4294967295 means nobody.
        let fits = |start: u32, count: u32| start.checked_add(count).is_some();
        let range =
            range.filter(|range| fits(range.host, range.count) && fits(range.image, range.count));
        range.ok_or_else(|| {
            Error::usage(format!("\"{}\" is no range of owners", shown::text(text)))
                .with_hint("write [u:|g:]HOST:IMAGE[:COUNT], such as 1000:0 or 100000:1:65536")
        })
    }
}

fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(ranges: &[&str]) -> Result<Owners> {
        let ranges = ranges.iter().map(|text| text.parse()).collect::<Result<_>>()?;
        OwnerMap::new(ranges).map(Owners::Mapped)
    }

    #[test]
    fn owners_stay_become_one_or_are_numbered_anew() {
        let one = Owners::One("5:6".parse().unwrap());
        let map = mapped(&["1000:0", "100000:1:65535", "g:50:100000:2"]).unwrap();
        for (class, host, kept, single, numbered) in [
            (IdKind::User, 1000, 1000, 5, Some(0)),
            (IdKind::Group, 1000, 1000, 6, Some(0)),
            (IdKind::User, 100_000, 100_000, 5, Some(1)),
            (IdKind::User, 165_534, 165_534, 5, Some(65_535)),
            (IdKind::User, 165_535, 165_535, 5, None),
            (IdKind::Group, 51, 51, 6, Some(100_001)),
            (IdKind::User, 51, 51, 5, None),
            (IdKind::User, 0, 0, 5, None),
        ] {
            assert_eq!(Owners::Kept.number(class, host), Some(kept));
            assert_eq!(one.number(class, host), Some(single));
            assert_eq!(map.number(class, host), numbered, "{class:?} {host}");
        }
        assert_eq!("7".parse::<Owner>().unwrap(), Owner { uid: Some(7), gid: Some(7) });
        let user = Owners::One(Owner { uid: Some(7), gid: None });
        assert_eq!([IdKind::User, IdKind::Group].map(|c| user.number(c, 50)), [Some(7), Some(50)]);
    }

    #[test]
    fn words_that_make_no_owners_are_usage_errors() {
        for text in ["", ":", "1:", ":1", "a", "-1", "+1", "1:2:3", "4294967295", "1:4294967295"] {
            assert_eq!(text.parse::<Owner>().unwrap_err().exit_code(), 2, "{text}");
        }
        for text in
            ["", "1", "1:", "1:2:0", "1:2:3:4", "x:1:2", "u:1", "4294967294:0:2", "0:1:4294967295"]
        {
            assert_eq!(text.parse::<OwnerRange>().unwrap_err().exit_code(), 2, "{text}");
        }
        for ranges in [&["1:2", "1:3"][..], &["0:0:10", "9:50:5"], &["u:1:2", "1:5"]] {
            assert_eq!(mapped(ranges).unwrap_err().exit_code(), 2, "{ranges:?}");
        }
        mapped(&["u:1:2", "g:1:3", "2:9"]).unwrap();
    }

    #[test]
    fn the_owners_in_attributes_are_renumbered_too() {
        let entry = |tag: u16, id: u32| {
            [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let acl = |user, group| {
            [vec![2, 0, 0, 0], entry(1, u32::MAX), entry(2, user), entry(8, group)].concat()
        };
        let map = mapped(&["1000:0", "g:50:60"]).unwrap();
        let name = b"system.posix_acl_access";
        assert_eq!(map.renumber(name, acl(1000, 50)), Ok(acl(0, 60)));
        assert_eq!(map.renumber(name, acl(1001, 50)), Err(1001));
        assert_eq!(Owners::Kept.renumber(name, acl(1000, 50)), Ok(acl(1000, 50)));
        assert_eq!(map.renumber(b"user.x", acl(1000, 50)), Ok(acl(1000, 50)));
        assert_eq!(map.renumber(name, vec![2, 0]), Ok(vec![2, 0]));
    }

    #[test]
    fn a_capability_of_the_images_root_loses_its_namespace() {
        let name = b"security.capability";
        let body = [1, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let owned = |id: u32| [&body[..], &id.to_le_bytes()].concat();
        let map = mapped(&["1000:0", "2000:7"]).unwrap();
        let mut plain = body.to_vec();
        plain[3] = 2;
        assert_eq!(map.renumber(name, owned(1000)), Ok(plain.clone()));
        assert_eq!(map.renumber(name, owned(2000)), Ok(owned(7)));
        assert_eq!(map.renumber(name, owned(1)), Err(1));
        assert_eq!(map.renumber(name, plain.clone()), Ok(plain.clone()));
        let all = Owners::One("0".parse().unwrap());
        assert_eq!(all.renumber(name, owned(1234)), Ok(plain));
        assert_eq!(Owners::Kept.renumber(name, owned(1000)), Ok(owned(1000)));
    }
}
