//! PAX extended headers: records split by their length, never by their newlines.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ext4_writer::Timestamp;

use super::acl::{Acls, denied_by_nfs4};
use super::header::Reason;
use super::sparse::SparseRecords;
use super::{Unsupported, Xattr, widen};

/// What the extended headers say of the next entry, over its own header.
#[derive(Clone, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) modified: Option<Timestamp>,
    pub(super) accessed: Option<Timestamp>,
    pub(super) changed: Option<Timestamp>,
    pub(super) created: Option<Timestamp>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) sparse: SparseRecords,
    unsupported: BTreeSet<Vec<u8>>,
    /// By their names as the records have them.
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    libarchive_xattrs: BTreeMap<Vec<u8>, Xattr>,
    selinux: Option<Vec<u8>>,
    access_acl: Option<Vec<u8>>,
    default_acl: Option<Vec<u8>>,
    nfs4_acl: Option<Vec<u8>>,
}

/// What the extended headers say of who may do what, as far as it is known.
pub(super) struct Rights {
    pub(super) acls: Acls,
    /// The permissions that a mode must not grant because of an ACL that is not kept.
    pub(super) withheld: u16,
}

/// Whether records speak of the next entry or of all that follow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Entry,
    Global,
}

/// libarchive omits the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Attributes that no field of an entry holds; they are reported, not lost in silence.
const UNSUPPORTED: [&[u8]; 5] =
    [b"SCHILY.acl.", b"SCHILY.fflags", b"RHT.", b"SUN.", b"LIBARCHIVE.symlinktype"];

const ACCESS_ACL: &str = "SCHILY.acl.access";
const DEFAULT_ACL: &str = "SCHILY.acl.default";
const NFS4_ACL: &str = "SCHILY.acl.ace";

impl Records {
    /// Adds the records of an extended header's body, later ones over earlier ones.
    pub(super) fn read(&mut self, mut body: &[u8], scope: Scope) -> Result<(), Reason> {
        while !body.is_empty() {
            let PaxRecord { key, value, rest } = split_record(body)?;
            self.set(key, value, scope)
                .map_err(|why| format!("its record \"{}\" {why}", crate::shown::bytes(&key)))?;
            body = rest;
        }
        Ok(())
    }

    /// The bytes of what can be many and stays in memory.
    pub(super) fn size(&self) -> u64 {
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        let others = self.libarchive_xattrs.iter().map(|(key, Xattr { name, value })| {
            key.len().saturating_add(name.len()).saturating_add(value.len())
        });
        let texts = [&self.selinux, &self.access_acl, &self.default_acl, &self.nfs4_acl];
        let texts = texts.into_iter().flatten().map(Vec::len);
        let sizes = xattrs.chain(others).chain(texts).chain(self.unsupported.iter().map(Vec::len));
        sizes.fold(0, |sum, size| sum.saturating_add(widen(size)))
    }

    /// The attributes, those in star's form over those in libarchive's, and a label of its own
    /// record where no attribute says it.
    ///
    /// libarchive writes every attribute in both forms, and escapes the names in both, whereas star's
    /// form has no escapes but GNU tar's: a name that stands in both forms is libarchive's.
    pub(super) fn xattrs(&mut self) -> Vec<Xattr> {
        let mut all = BTreeMap::new();
        let mut libarchive = std::mem::take(&mut self.libarchive_xattrs);
        for (key, value) in std::mem::take(&mut self.xattrs) {
            let twin = libarchive.remove(&key).map(|twin| twin.name);
            all.insert(twin.unwrap_or_else(|| unescape(&key)), value);
        }
        for Xattr { name, value } in libarchive.into_values() {
            all.entry(name).or_insert(value);
        }
        if let Some(label) = self.selinux.take() {
            all.entry(b"security.selinux".to_vec()).or_insert(label);
        }
        all.into_iter().map(|(name, value)| Xattr { name, value }).collect()
    }

    /// The ACLs that stand in records of their own, but for those that `xattrs` have already. What
    /// is no ACL that an inode can have is added to what is unsupported.
    pub(super) fn rights(&mut self, xattrs: &[Xattr], lost: &mut Vec<Unsupported>) -> Rights {
        let has = |name: &[u8]| xattrs.iter().any(|xattr| xattr.name == name);
        let access = self.access_acl.take().filter(|_| !has(b"system.posix_acl_access"));
        let has_default = has(b"system.posix_acl_default");
        let default = self.default_acl.take().filter(|_| !has_default);
        let mut withheld = 0;
        if let Some(text) = self.nfs4_acl.take() {
            let denied = denied_by_nfs4(&text);
            withheld |= denied << 3 | denied;
            lost.push(Unsupported::new(NFS4_ACL, "is an NFSv4 ACL, which ext4 does not have"));
        }
        let mut read = |keyword: &str, access: Option<&[u8]>, default: Option<&[u8]>| {
            Acls::parse(access, default).map_err(|why| {
                let instead =
                    if access.is_some() { ", so the mode gives its group nothing" } else { "" };
                lost.push(Unsupported::new(keyword, format!("is no POSIX ACL{instead}: {why}")));
            })
        };
        let from_access = read(ACCESS_ACL, access.as_deref(), None).unwrap_or_else(|()| {
            // The group's permissions may be the mask alone.
            withheld |= 0o070;
            Acls::default()
        });
        let from_default = read(DEFAULT_ACL, None, default.as_deref()).unwrap_or_default();
        let default = from_default.default.or(from_access.default).filter(|_| !has_default);
        Rights { acls: Acls { access: from_access.access, default }, withheld }
    }

    /// What nothing of an entry holds.
    pub(super) fn unsupported(&mut self) -> Vec<Unsupported> {
        let keywords = std::mem::take(&mut self.unsupported);
        let lost = |keyword: Vec<u8>| {
            Unsupported::new(crate::shown::name(&keyword), "cannot be represented")
        };
        keywords.into_iter().map(lost).collect()
    }

    fn set(&mut self, key: &[u8], value: &[u8], scope: Scope) -> Result<(), Reason> {
        let of_one_entry = matches!(key, b"path" | b"linkpath" | b"size");
        if scope == Scope::Global && (of_one_entry || key.starts_with(b"GNU.sparse.")) {
            // Readers disagree whether it renames every entry or none.
            return Err("stands in a global header".to_owned());
        }
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = decimal(value)?,
            b"uid" => self.uid = decimal(value)?,
            b"gid" => self.gid = decimal(value)?,
            b"mtime" => self.modified = time(value)?,
            b"atime" => self.accessed = time(value)?,
            b"ctime" => self.changed = time(value)?,
            b"LIBARCHIVE.creationtime" => self.created = time(value)?,
            // Of devices whose numbers have no room in their fields (libarchive: `tar.5`).
            b"SCHILY.devmajor" => self.major = decimal(value)?,
            b"SCHILY.devminor" => self.minor = decimal(value)?,
            b"SCHILY.acl.access" => self.access_acl = text(value)?,
            b"SCHILY.acl.default" => self.default_acl = text(value)?,
            b"SCHILY.acl.ace" => self.nfs4_acl = text(value)?,
            b"RHT.security.selinux" => self.selinux = label(value)?,
            _ => self.set_vendor(key, value)?,
        }
        Ok(())
    }

    fn set_vendor(&mut self, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.insert(xattr_name(name.to_vec())?, value.to_vec());
        } else if let Some(key) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = xattr_name(percent_decode(key).ok_or("is not url-encoded")?)?;
            let value = BASE64.decode(value).map_err(|error| format!("is not base64: {error}"))?;
            self.libarchive_xattrs.insert(key.to_vec(), Xattr { name, value });
        } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
            self.sparse.set(name, value)?;
        } else if UNSUPPORTED.iter().any(|prefix| key.starts_with(prefix)) {
            self.unsupported.insert(key.to_vec());
        }
        // What is left (comment, charset, uname, vendors' notes) describes nothing that an inode
        // has; POSIX lets a reader ignore it.
        Ok(())
    }
}

struct PaxRecord<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// The first record, `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn split_record(body: &[u8]) -> Result<PaxRecord<'_>, Reason> {
    let parse = || {
        let space = body.iter().position(|byte| *byte == b' ')?;
        let digits = body.get(..space).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let length: usize = str::from_utf8(digits).ok()?.parse().ok()?;
        let (record, rest) = body.split_at_checked(length)?;
        let record = record.get(space.checked_add(1)?..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = record.split_at_checked(equals)?;
        Some(PaxRecord { key, value: value.strip_prefix(b"=")?, rest })
    };
    let record = parse().ok_or_else(|| {
        let start = body.get(..body.len().min(40)).unwrap_or_default();
        format!("its extended header has a malformed record \"{}\"", crate::shown::bytes(&start))
    })?;
    if record.key.is_empty() || record.key.contains(&0) {
        return Err(format!(
            "its record \"{}\" has no proper name",
            crate::shown::bytes(&record.key)
        ));
    }
    Ok(record)
}

/// An empty value takes back what was said before (POSIX pax, "pax Extended Header").
fn text(value: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    if value.contains(&0) {
        return Err(format!("holds a NUL byte: \"{}\"", crate::shown::bytes(&value)));
    }
    Ok(Some(value.to_vec()).filter(|value| !value.is_empty()))
}

fn decimal<T: std::str::FromStr>(value: &[u8]) -> Result<Option<T>, Reason> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = Some(value)
        .filter(|digits| digits.iter().all(u8::is_ascii_digit))
        .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    let bits = size_of::<T>() * 8;
    let refuse = || format!("is not a number of {bits} bits: \"{}\"", crate::shown::bytes(&value));
    number.map(Some).ok_or_else(refuse)
}

fn time(value: &[u8]) -> Result<Option<Timestamp>, Reason> {
    if value.is_empty() {
        return Ok(None);
    }
    let refuse = || format!("is not a time: \"{}\"", crate::shown::bytes(&value));
    parse_time(value).map(Some).ok_or_else(refuse)
}

/// `[-]SECONDS[.FRACTION]`; digits beyond nanoseconds are cut off.
fn parse_time(value: &[u8]) -> Option<Timestamp> {
    let text = str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().map(|byte| u32::from(byte - b'0'));
    let padded = digits.chain(std::iter::repeat(0)).take(9);
    let nanoseconds = padded.fold(0, |value, digit| value * 10 + digit);
    let seconds: i64 = whole.parse().ok()?;
    match (negative, nanoseconds) {
        (false, _) => Some(Timestamp { seconds, nanoseconds }),
        (true, 0) => Some(Timestamp { seconds: -seconds, nanoseconds }),
        (true, _) => {
            Some(Timestamp { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds })
        }
    }
}

fn xattr_name(name: Vec<u8>) -> Result<Vec<u8>, Reason> {
    if name.is_empty() || name.contains(&0) {
        return Err("names no attribute".to_owned());
    }
    Ok(name)
}

/// A security label is stored with a NUL behind it, and archived without (libselinux:
/// `setfilecon`; GNU tar: `src/xattrs.c`).
fn label(value: &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    let label = text(value.strip_suffix(b"\0").unwrap_or(value))?;
    Ok(label.map(|label| [label.as_slice(), b"\0"].concat()))
}

/// What GNU tar makes of a name's `=`, which would end the key, and of its `%` (GNU tar:
/// `src/xheader.c`, `xattr_encode_keyword`). Other escapes are none.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, behind)) = rest.split_first() {
        let (byte, behind) = match rest {
            [b'%', b'3', b'D', behind @ ..] => (b'=', behind),
            [b'%', b'2', b'5', behind @ ..] => (b'%', behind),
            _ => (*byte, behind),
        };
        plain.push(byte);
        rest = behind;
    }
    plain
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    fn read(body: &[u8]) -> Result<Records, Reason> {
        let mut records = Records::default();
        records.read(body, Scope::Entry).map(|()| records)
    }

    #[test]
    fn f04_a_newline_in_a_value_injects_nothing() {
        let value = b"x\n22 linkpath=/etc/evil\n\0\n";
        let body = [record("SCHILY.xattr.user.a", value), record("path", b"real")].concat();
        let mut records = read(&body).unwrap();
        assert_eq!((records.link.clone(), records.path.as_deref()), (None, Some(&b"real"[..])));
        let expected = Xattr { name: b"user.a".to_vec(), value: value.to_vec() };
        assert_eq!(records.xattrs(), [expected]);
    }

    #[test]
    fn malformed_records_are_refused() {
        for body in [
            &b"path=x\n"[..],
            b"9 path=x",
            b"99 path=x\n",
            b"8 path=x\n",
            b"0 path=x\n",
            b"+9 path=x\n",
            b" path=x\n",
            b"5 =x\n",
            b"6 abc\n",
            b"18446744073709551616 path=x\n",
            b"10 pa\0th=\n",
            b"11 path=a\0\n",
            b"10 size=-1\n",
            b"12 uid=1e99\n",
            b"26 size=99999999999999999999\n",
            b"19 uid=4294967296\n",
            b"11 mtime=x\n",
            b"14 mtime=1.2.3\n",
            b"18 SCHILY.xattr.=\n",
            b"26 LIBARCHIVE.xattr.%4=YQ\n",
            b"25 LIBARCHIVE.xattr.a=Y!\n",
        ] {
            assert!(read(body).is_err(), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn the_last_record_wins_and_an_empty_one_takes_back() {
        let body = [record("path", b"a"), record("path", b"b"), record("uid", b"7")].concat();
        let records = read(&[body, record("uid", b"")].concat()).unwrap();
        assert_eq!((records.path.as_deref(), records.uid), (Some(&b"b"[..]), None));
    }

    #[test]
    fn f09_times_keep_nanoseconds_and_sign() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("1.5", 1, 500_000_000),
            ("1.0000000009", 1, 0),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.5", -1, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("15032385535", 15_032_385_535, 0),
        ] {
            let got = parse_time(text.as_bytes());
            assert_eq!(got, Some(Timestamp { seconds, nanoseconds }), "{text}");
        }
        for text in ["", ".", "x", "1x", "--1", "+1", "1.-5", "9223372036854775808"] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn m09_libarchive_xattrs_are_decoded_and_yield_to_those_of_star() {
        let body = [
            record("SCHILY.xattr.user.both", b"star"),
            record("LIBARCHIVE.xattr.user.both", b"eHg"),
            record("LIBARCHIVE.xattr.user.%61%20b", b"AQo="),
        ];
        let xattrs = read(&body.concat()).unwrap().xattrs();
        let xattr = |name: &[u8], value: &[u8]| Xattr { name: name.into(), value: value.into() };
        assert_eq!(xattrs, [xattr(b"user.a b", b"\x01\n"), xattr(b"user.both", b"star")]);
    }

    #[test]
    fn f10_a_global_header_may_not_name_or_size_an_entry() {
        let mut records = Records::default();
        for key in ["path", "linkpath", "size", "GNU.sparse.size"] {
            assert!(records.read(&record(key, b"1"), Scope::Global).is_err(), "{key}");
        }
        let body = [record("uid", b"5"), record("comment", b"a git commit")].concat();
        records.read(&body, Scope::Global).unwrap();
        assert_eq!(records.uid, Some(5));
    }
}
