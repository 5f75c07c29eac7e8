//! The values of extended attributes as people write them.

use super::capability;

/// What a value says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AttributeValue {
    /// An ACL or file capabilities, in the words of `getfacl` or `getcap`.
    Decoded(String),
    /// Printable text.
    Text(String),
    /// Any other bytes.
    Bytes,
}

/// What the value of the attribute `name` says.
#[must_use]
pub(crate) fn decode(name: &[u8], value: &[u8]) -> AttributeValue {
    let words = match name {
        b"system.posix_acl_access" | b"system.posix_acl_default" => acl(value),
        b"security.capability" => capability::text(value),
        _ => None,
    };
    if let Some(words) = words {
        return AttributeValue::Decoded(words);
    }
    // SELinux labels end in a NUL.
    let text = value.strip_suffix(b"\0").unwrap_or(value);
    match str::from_utf8(text) {
        Ok(text) if !text.chars().any(char::is_control) => AttributeValue::Text(text.to_owned()),
        _ => AttributeValue::Bytes,
    }
}

/// A POSIX ACL in the short text form.
///
/// Source: kernel, `include/uapi/linux/posix_acl_xattr.h`, `posix_acl.h`; acl(5), "SHORT TEXT
/// FORM".
fn acl(value: &[u8]) -> Option<String> {
    let (entries, rest) = value.strip_prefix(&2_u32.to_le_bytes())?.as_chunks::<8>();
    let entry = |entry: &[u8; 8]| {
        let [tag, 0, permissions, 0, id @ ..] = *entry else { return None };
        let id = u32::from_le_bytes(id);
        let (class, id) = match tag {
            0x01 => ("user", String::new()),
            0x02 => ("user", id.to_string()),
            0x04 => ("group", String::new()),
            0x08 => ("group", id.to_string()),
            0x10 => ("mask", String::new()),
            0x20 => ("other", String::new()),
            _ => return None,
        };
        let letter = |bit: u8, letter| if permissions & bit == 0 { '-' } else { letter };
        let (read, write, execute) = (letter(4, 'r'), letter(2, 'w'), letter(1, 'x'));
        (permissions < 8).then(|| format!("{class}:{id}:{read}{write}{execute}"))
    };
    let entries: Option<Vec<_>> = entries.iter().map(entry).collect();
    entries.filter(|_| rest.is_empty()).map(|entries| entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_are_shown_in_the_short_text_form() {
        let entry = |tag: u16, permissions: u16, id: u32| {
            [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries = [
            vec![2, 0, 0, 0],
            entry(1, 7, none),
            entry(2, 5, 1000),
            entry(4, 5, none),
            entry(8, 4, 50),
            entry(16, 5, none),
            entry(32, 0, none),
        ];
        let value = entries.concat();
        let words =
            "user::rwx,user:1000:r-x,group::r-x,group:50:r--,mask::r-x,other::---".to_owned();
        let name = b"system.posix_acl_access";
        assert_eq!(decode(name, &value), AttributeValue::Decoded(words));
        assert_eq!(decode(name, &value[..13]), AttributeValue::Bytes);
        assert_eq!(decode(name, &entry(3, 7, none)), AttributeValue::Bytes);
    }

    #[test]
    fn text_is_told_from_other_bytes() {
        let label = "system_u:object_r:bin_t:s0".to_owned();
        let value = format!("{label}\0");
        assert_eq!(decode(b"security.selinux", value.as_bytes()), AttributeValue::Text(label));
        for value in [&b"a\nb"[..], b"\xff", b"\0\0", b"a\x1b[31m"] {
            assert_eq!(decode(b"user.a", value), AttributeValue::Bytes, "{}", value.escape_ascii());
        }
        assert_eq!(decode(b"user.a", b""), AttributeValue::Text(String::new()));
        assert_eq!(decode(b"security.capability", b"cap"), AttributeValue::Text("cap".to_owned()));
    }
}
