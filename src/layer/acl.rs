//! POSIX ACLs as text, the form in which archives carry them beside or instead of the attribute.
//!
//! Sources: acl(5), "LONG TEXT FORM" and "SHORT TEXT FORM"; GNU tar, `src/xattrs.c`, and star(1)
//! for the fourth field; libarchive, `archive_acl.c`, `archive_acl_from_text_l`; kernel,
//! `include/uapi/linux/posix_acl_xattr.h` and `fs/posix_acl.c`, `posix_acl_valid`.

use std::collections::BTreeMap;

use super::header::Reason;
use crate::shown;

/// A valid ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    owner: u16,
    group: u16,
    other: u16,
    /// What bounds the group and all that are named; there where anybody is.
    mask: Option<u16>,
    named: BTreeMap<(Class, Subject), u16>,
}

/// The two ACLs of an inode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acls {
    /// Who may do what.
    pub access: Option<Acl>,
    /// What new files in a directory begin with.
    pub default: Option<Acl>,
}

/// What an ACL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    User,
    Group,
}

/// Whom a named entry is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Id(u32),
    Name(Vec<u8>),
}

/// The entries of an ACL as far as they were read.
#[derive(Default)]
struct PartialAcl {
    owner: Option<u16>,
    group: Option<u16>,
    other: Option<u16>,
    mask: Option<u16>,
    named: BTreeMap<(Class, Subject), u16>,
}

/// Which entry of an ACL a text is.
enum Tag {
    Owner,
    Group,
    Other,
    Mask,
    Named(Class, Subject),
}

/// The head of an ACL's attribute, and the id of entries that name nobody.
const VERSION: [u8; 4] = 2_u32.to_le_bytes();
const NO_ID: u32 = u32::MAX;

const ALL: u16 = 0o7;

impl Acls {
    /// Reads the text of a file's ACL, or of a directory's default ACL. An entry that says of
    /// itself that it is a default belongs to the latter in either.
    pub(super) fn parse(access: Option<&[u8]>, default: Option<&[u8]>) -> Result<Self, Reason> {
        let (mut for_access, mut for_default) = (PartialAcl::default(), PartialAcl::default());
        for (text, is_default) in [(access, false), (default, true)] {
            for entry in entries(text.unwrap_or_default()) {
                let refuse = |why: Reason| format!("\"{}\" {why}", shown::name(entry));
                let fields = fields(entry);
                let (fields, is_marked) = match fields.as_slice() {
                    [b"default" | b"d", rest @ ..] => (rest, true),
                    fields => (fields, false),
                };
                let (tag, permissions) = parse_entry(fields).map_err(refuse)?;
                let acl = if is_marked || is_default { &mut for_default } else { &mut for_access };
                if acl.set(tag, permissions).is_some_and(|before| before != permissions) {
                    return Err(refuse("contradicts an entry before it".to_owned()));
                }
            }
        }
        Ok(Self { access: for_access.finish()?, default: for_default.finish()? })
    }

    /// The bytes that they take in memory, more or less.
    pub(crate) fn size(&self) -> usize {
        let named = self.access.iter().chain(&self.default).flat_map(|acl| acl.named.keys());
        named.fold(0, |sum: usize, (_, subject)| {
            sum.saturating_add(size_of::<(Class, Subject)>()).saturating_add(match subject {
                Subject::Id(_) => 0,
                Subject::Name(name) => name.len(),
            })
        })
    }
}

impl PartialAcl {
    /// What the entry was before.
    fn set(&mut self, tag: Tag, permissions: u16) -> Option<u16> {
        match tag {
            Tag::Owner => self.owner.replace(permissions),
            Tag::Group => self.group.replace(permissions),
            Tag::Other => self.other.replace(permissions),
            Tag::Mask => self.mask.replace(permissions),
            Tag::Named(class, subject) => self.named.insert((class, subject), permissions),
        }
    }

    /// Nothing where there is no entry at all.
    fn finish(self) -> Result<Option<Acl>, Reason> {
        let Self { owner, group, other, mask, named } = self;
        if let (None, None, None, None, true) = (owner, group, other, mask, named.is_empty()) {
            return Ok(None);
        }
        let (Some(owner), Some(group), Some(other)) = (owner, group, other) else {
            return Err("it lacks the entry of the owner, the group or others".to_owned());
        };
        if mask.is_none() && !named.is_empty() {
            return Err("it names users or groups and has no mask".to_owned());
        }
        Ok(Some(Acl { owner, group, other, mask, named }))
    }
}

impl Acl {
    /// Whether the permissions of a mode say the same.
    pub(crate) fn is_mode(&self) -> bool {
        self.mask.is_none()
    }

    /// The permissions that a mode has besides this ACL: the group's are the mask
    /// (kernel: `posix_acl_equiv_mode`).
    pub(crate) fn mode(&self) -> u16 {
        self.owner << 6 | self.mask.unwrap_or(self.group) << 3 | self.other
    }

    /// The permissions that a mode alone may keep of [`Self::mode`] so that nobody can do more than
    /// this ACL lets them: a named user is then one of the group or of the others, a member of a
    /// named group one of the others.
    pub(crate) fn mode_without(&self) -> u16 {
        let mask = self.mask.unwrap_or(ALL);
        let common = |class| {
            let named = self.named.iter().filter(|((other, _), _)| *other == class);
            named.fold(ALL, |common, (_, permissions)| common & permissions & mask)
        };
        let (users, groups) = (common(Class::User), common(Class::Group));
        self.owner << 6 | (self.group & mask & users) << 3 | (self.other & users & groups)
    }

    /// The value of the attribute. Names get the numbers that `lookup` knows; the first that it
    /// does not know is the error.
    pub(crate) fn to_xattr<'a>(
        &'a self,
        lookup: impl Fn(Class, &'a [u8]) -> Option<u32>,
    ) -> Result<Vec<u8>, (Class, &'a [u8])> {
        let mut numbered: BTreeMap<(Class, u32), u16> = BTreeMap::new();
        for ((class, subject), permissions) in &self.named {
            let id = match subject {
                Subject::Id(id) => *id,
                Subject::Name(name) => {
                    lookup(*class, name).filter(|id| *id != NO_ID).ok_or((*class, &**name))?
                }
            };
            // Two names of one number: neither may widen what the other leaves.
            *numbered.entry((*class, id)).or_insert(ALL) &= permissions;
        }
        let named = |class| {
            let of_class = numbered.iter().filter(move |((other, _), _)| *other == class);
            of_class.map(|((_, id), permissions)| (*permissions, *id))
        };
        let mut value = VERSION.to_vec();
        let mut put = |tag: u16, (permissions, id): (u16, u32)| {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&permissions.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        };
        // The tags in the order that the kernel insists on.
        put(0x01, (self.owner, NO_ID));
        named(Class::User).for_each(|entry| put(0x02, entry));
        put(0x04, (self.group, NO_ID));
        named(Class::Group).for_each(|entry| put(0x08, entry));
        self.mask.into_iter().for_each(|mask| put(0x10, (mask, NO_ID)));
        put(0x20, (self.other, NO_ID));
        Ok(value)
    }
}

/// The entries of a text: a line each, or between commas, and none in comments.
fn entries(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = text.split(|byte| *byte == b'\n');
    let bare = lines.filter_map(|line| line.split(|byte| *byte == b'#').next());
    let all = bare.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    all.filter(|entry| !entry.is_empty())
}

fn fields(entry: &[u8]) -> Vec<&[u8]> {
    entry.split(|byte| *byte == b':').map(<[u8]>::trim_ascii).collect()
}

/// `TAG:WHOM:PERMISSIONS[:NUMBER]`; Solaris writes `mask` and `other` without the empty field.
fn parse_entry(fields: &[&[u8]]) -> Result<(Tag, u16), Reason> {
    let (whom, permissions, number) = match fields {
        [b"mask" | b"m" | b"other" | b"o", permissions] => (&b""[..], *permissions, None),
        [_, whom, permissions] => (*whom, *permissions, None),
        [_, whom, permissions, number] => (*whom, *permissions, Some(*number)),
        _ => return Err("has too many or too few fields".to_owned()),
    };
    let named = |class| parse_subject(whom, number).map(|subject| Tag::Named(class, subject));
    let tag = match (fields.first().copied().unwrap_or_default(), whom.is_empty()) {
        (b"user" | b"u", true) => Tag::Owner,
        (b"user" | b"u", false) => named(Class::User)?,
        (b"group" | b"g", true) => Tag::Group,
        (b"group" | b"g", false) => named(Class::Group)?,
        (b"mask" | b"m", true) => Tag::Mask,
        (b"other" | b"o", true) => Tag::Other,
        _ => return Err("is of no known kind".to_owned()),
    };
    Ok((tag, parse_permissions(permissions)?))
}

/// The number behind an entry is whom the writer meant by the name.
fn parse_subject(whom: &[u8], number: Option<&[u8]>) -> Result<Subject, Reason> {
    let digits = match number {
        Some(number) => number,
        None if whom.iter().all(u8::is_ascii_digit) => whom,
        None => return Ok(Subject::Name(unescape(whom))),
    };
    let id = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
    let id = id.and_then(|digits| digits.parse().ok()).filter(|id| *id != NO_ID);
    id.map(Subject::Id).ok_or_else(|| "has a number that is no user's or group's".to_owned())
}

/// libacl writes what would end a name as a backslash and three octal digits.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, behind)) = rest.split_first() {
        let escaped = behind.split_first_chunk::<3>().filter(|_| *byte == b'\\');
        let octal = escaped.and_then(|(digits, behind)| {
            let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            Some((u8::from_str_radix(digits, 8).ok()?, behind))
        });
        let (byte, behind) = octal.unwrap_or((*byte, behind));
        plain.push(byte);
        rest = behind;
    }
    plain
}

fn parse_permissions(text: &[u8]) -> Result<u16, Reason> {
    let bit = |byte: &u8| match byte {
        b'r' => Some(4),
        b'w' => Some(2),
        b'x' => Some(1),
        b'-' => Some(0),
        _ => None,
    };
    let bits: Option<Vec<u16>> = text.iter().map(bit).collect();
    let bits = bits.filter(|bits| (1..=3).contains(&bits.len()));
    let bits = bits.ok_or("has permissions that are none")?;
    Ok(bits.into_iter().fold(0, |all, bit| all | bit))
}

/// The permissions that an ACL of NFS 4 denies somebody by name: without the ACL these are one of the
/// group or of the others.
///
/// Source: libarchive, `archive_acl.c`, for the short form (`user:joe:rwx---:------:deny:1000`);
/// Solaris' acl(5) for the long one (`read_data/write_data`).
pub(super) fn denied_by_nfs4(text: &[u8]) -> u16 {
    let mut denied = 0;
    for entry in entries(text) {
        let fields = fields(entry);
        let [b"user" | b"group" | b"u" | b"g", _, permissions, rest @ ..] = fields.as_slice()
        else {
            continue;
        };
        if !rest.contains(&&b"deny"[..]) {
            continue;
        }
        for word in permissions.split(|byte| *byte == b'/') {
            denied |= match word {
                b"read_data" | b"list_directory" => 4,
                b"write_data" | b"add_file" | b"append_data" => 2,
                b"execute" => 1,
                // A long word has letters of the short form in it that mean nothing.
                long if long.contains(&b'_') => 0,
                short => parse_short(short),
            };
        }
    }
    denied
}

fn parse_short(permissions: &[u8]) -> u16 {
    [(b'r', 4), (b'w', 2), (b'x', 1)]
        .into_iter()
        .filter(|(letter, _)| permissions.contains(letter))
        .fold(0, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use banger_test_support::xattr;

    use super::*;

    fn access(text: &str) -> Acl {
        Acls::parse(Some(text.as_bytes()), None).unwrap().access.unwrap()
    }

    fn failure(text: &str) -> String {
        Acls::parse(Some(text.as_bytes()), None).unwrap_err()
    }

    fn nobody(_: Class, _: &[u8]) -> Option<u32> {
        None
    }

    const NONE: u32 = NO_ID;

    #[test]
    fn every_way_of_writing_gives_the_same_acl() {
        let expected = xattr::acl(&[
            (1, 6, NONE),
            (2, 4, 70),
            (2, 6, 1000),
            (4, 4, NONE),
            (8, 1, 50),
            (16, 4, NONE),
            (32, 0, NONE),
        ]);
        for text in [
            // GNU tar, by libacl.
            "user::rw-\nuser:70:r--\nuser:1000:rw-\ngroup::r--\ngroup:50:--x\nmask::r--\nother::---\n",
            // libarchive and star.
            "user::rw-,group::r--,other::---,user:joe:rw-:1000,user:al:r--:70,group:staff:--x:50,mask::r--",
            // getfacl and the short form.
            "# file: a\nu::rw- \nu:70:r\n\nuser:1000:rw-\t#effective:r--\ng::r,g:50:x,m::r--,o::-",
            // Solaris.
            "user::rw-,user:70:r--,user:1000:rw-,group::r--,group:50:--x,mask:r--,other:---",
            // The same twice.
            "u::rw,u::rw,u:70:r,u:1000:rw,u:1000:rw,g::r,g:50:x,m::r,o::-",
        ] {
            let acl = access(text);
            assert_eq!(acl.to_xattr(nobody).unwrap(), expected, "{text}");
            assert_eq!((acl.mode(), acl.is_mode()), (0o640, false), "{text}");
        }
    }

    #[test]
    fn names_are_numbered_by_who_knows_them() {
        let text = r"u::rw,u:joe\040x:rw,u:DOM\134al:r,u:5:rwx,g::r,g:joe\040x:x,m::rwx,o::-";
        let acl = access(text);
        let known = |class, name: &[u8]| match (class, name) {
            (Class::User, b"joe x") => Some(9),
            (Class::User, b"DOM\\al") => Some(5),
            (Class::Group, b"joe x") => Some(8),
            _ => None,
        };
        let expected = [
            (1, 6, NONE),
            (2, 4, 5),
            (2, 6, 9),
            (4, 4, NONE),
            (8, 1, 8),
            (16, 7, NONE),
            (32, 0, NONE),
        ];
        assert_eq!(acl.to_xattr(known).unwrap(), xattr::acl(&expected));
        assert_eq!(acl.to_xattr(nobody), Err((Class::User, &b"DOM\\al"[..])));
    }

    #[test]
    fn defaults_are_told_by_their_record_or_by_themselves() {
        let (a, d) = ("u::rwx,g::r,o::-", "u::rwx,g::w,o::x");
        let marked = format!("{a},d:{}", d.replace(',', ",default:"));
        let both = Acls::parse(Some(a.as_bytes()), Some(d.as_bytes())).unwrap();
        assert_eq!(Acls::parse(Some(marked.as_bytes()), None).unwrap(), both);
        let modes = (both.access.unwrap().mode(), both.default.unwrap().mode());
        assert_eq!(modes, (0o740, 0o721));
        let none = Acls::parse(Some(b" \n# nothing\n"), None).unwrap();
        assert_eq!(none, Acls::default());
    }

    #[test]
    fn what_is_no_acl_is_refused_with_its_entry() {
        for (text, why) in [
            ("user::rw-", "lacks the entry"),
            ("u::rw,g::r,o::-,u:5:r", "no mask"),
            ("u::rw,g::r,o::-,u::r", "\"u::r\" contradicts"),
            ("u::rw,g::r,o::-,x::r", "\"x::r\" is of no known kind"),
            ("u::rw,g::r,o::-,mask:5:r", "no known kind"),
            ("u::rw,g::r,o::-,m", "too few fields"),
            ("u::rw,g::r,o::-,u:a:r:5:6", "too many"),
            ("u::rw,g::r,o::-,u:a:r:b", "number"),
            ("u::rw,g::r,o::-,u:a:r:+5", "number"),
            ("u::rw,g::r,o::-,u:4294967295:r", "number"),
            ("u::rw,g::r,o::-,u:4294967296:r", "number"),
            ("u::rw,g::r,o::q", "permissions"),
            ("u::rw,g::r,o::", "permissions"),
            ("u::rw,g::r,o::rwxr", "permissions"),
        ] {
            assert!(failure(text).contains(why), "{text}: {}", failure(text));
        }
    }

    #[test]
    fn a_mode_without_its_acl_grants_nobody_more() {
        for (text, without) in [
            ("u::rw,g::-,u:5:rw,m::rw,o::-", 0o600),
            ("u::rw,g::r,m::-,o::r", 0o604),
            ("u::rwx,g::rx,g:5:rx,m::rx,o::rx", 0o755),
            ("u::rwx,g::rx,u:5:-,m::rx,o::rx", 0o700),
            ("u::rwx,g::rx,g:5:r,m::rwx,o::rx", 0o754),
        ] {
            let acl = access(text);
            assert_eq!(acl.mode_without(), without, "{text}");
            assert_eq!(acl.mode() & without, without, "{text}");
        }
    }

    #[test]
    fn what_an_nfs4_acl_denies_by_name_is_known() {
        for (text, denied) in [
            ("owner@:rw-p--aARWcCos:-------:allow,everyone@:r-----a-R-c--s:-------:allow", 0),
            ("group@:rwx-----------:-------:deny", 0),
            ("user:joe:rw-p--aARWcCos:-------:allow:1000", 0),
            ("user:joe:-w-p----------:-------:deny:1000,group:x:r-------------:-------:deny", 6),
            ("user:joe:write_data/execute/read_attributes:deny", 3),
        ] {
            assert_eq!(denied_by_nfs4(text.as_bytes()), denied, "{text}");
        }
    }
}
