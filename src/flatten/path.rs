//! Paths of entries: brought to one form, and what their last part means.

/// The prefix that hides a name of the lower layers (OCI image-spec, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// What AUFS keeps for itself begins with the prefix twice.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The longest name that a directory can hold: `EXT4_NAME_LEN`.
const MAX_NAME: usize = 255;

/// A path below the root without empty, `.` and `..` parts and without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CleanPath {
    bytes: Vec<u8>,
    /// Where the last part begins.
    name: usize,
}

/// What an entry's path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PathKind<'a> {
    /// The root's own attributes.
    Root,
    /// A name in a directory.
    Name { parent: &'a [u8], name: &'a [u8] },
    /// A name of the lower layers to hide.
    Whiteout { parent: &'a [u8], name: &'a [u8] },
    /// A directory whose lower contents are to be hidden.
    Opaque { directory: &'a [u8] },
    /// Bookkeeping of AUFS.
    Reserved,
}

impl CleanPath {
    /// Resolves `..` before any symbolic link, as Go's `path.Clean` does; what would leave the
    /// root is refused.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, String> {
        let mut bytes = Vec::with_capacity(raw.len());
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if bytes.is_empty() => return Err("it leads out of the root".to_owned()),
                b".." => bytes.truncate(last_slash(&bytes).unwrap_or(0)),
                _ if part.len() > MAX_NAME => {
                    let length = part.len();
                    return Err(format!("a part has {length} bytes, at most 255 are possible"));
                }
                _ if part.contains(&0) => return Err("it holds a NUL byte".to_owned()),
                _ => {
                    if !bytes.is_empty() {
                        bytes.push(b'/');
                    }
                    bytes.extend_from_slice(part);
                }
            }
        }
        let name = last_slash(&bytes).map_or(0, |slash| slash.saturating_add(1));
        Ok(Self { bytes, name })
    }

    /// The whole path; empty for the root.
    pub(super) fn whole(&self) -> &[u8] {
        &self.bytes
    }

    /// The last part; empty for the root.
    pub(super) fn name(&self) -> &[u8] {
        self.bytes.get(self.name..).unwrap_or_default()
    }

    /// All but the last part.
    pub(super) fn parent(&self) -> &[u8] {
        self.bytes.get(..self.name.saturating_sub(1)).unwrap_or_default()
    }

    /// The path as a name and nothing else, whatever it would mean in a layer.
    pub(super) fn as_name(&self) -> PathKind<'_> {
        match self.name() {
            b"" => PathKind::Root,
            name => PathKind::Name { parent: self.parent(), name },
        }
    }

    /// What the path asks for; the name decides, whatever the entry's type is.
    pub(super) fn kind(&self) -> Result<PathKind<'_>, String> {
        let (parent, name) = (self.parent(), self.name());
        if parent.split(|byte| *byte == b'/').any(|part| part.starts_with(RESERVED)) {
            return Ok(PathKind::Reserved);
        }
        match name {
            b"" => Ok(PathKind::Root),
            OPAQUE => Ok(PathKind::Opaque { directory: parent }),
            _ if name.starts_with(RESERVED) => Ok(PathKind::Reserved),
            _ => match name.strip_prefix(WHITEOUT) {
                None => Ok(PathKind::Name { parent, name }),
                Some(hidden @ (b"" | b"." | b"..")) => Err(format!(
                    "\"{}\" is no name that it could hide",
                    crate::shown::bytes(&hidden)
                )),
                Some(hidden) => Ok(PathKind::Whiteout { parent, name: hidden }),
            },
        }
    }
}

/// Splits the last part of a clean path off.
pub(super) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match last_slash(path).and_then(|slash| path.split_at_checked(slash)) {
        Some((parent, name)) => (parent, name.strip_prefix(b"/").unwrap_or(name)),
        None => (b"", path),
    }
}

fn last_slash(path: &[u8]) -> Option<usize> {
    path.iter().rposition(|byte| *byte == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(raw: &str) -> Result<String, String> {
        CleanPath::parse(raw.as_bytes()).map(|path| path.bytes.escape_ascii().to_string())
    }

    #[test]
    fn p01_p04_p05_paths_come_to_one_form_inside_the_root() {
        for (raw, expected) in [
            ("./a", "a"),
            ("/a", "a"),
            ("a//b", "a/b"),
            ("a/./b/", "a/b"),
            ("./", ""),
            ("/", ""),
            (".", ""),
            ("a/..", ""),
            ("a/b/../c", "a/c"),
            ("..foo/foo../...", "..foo/foo../..."),
        ] {
            assert_eq!(clean(raw).as_deref(), Ok(expected), "{raw}");
        }
        for raw in ["..", "../x", "a/../../x", "/..", "a/../.."] {
            assert!(clean(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn p14_a_name_of_255_bytes_is_the_longest() {
        assert!(clean(&format!("a/{}/b", "n".repeat(255))).is_ok());
        assert!(clean(&format!("a/{}/b", "n".repeat(256))).is_err());
    }

    #[test]
    fn w11_w12_w13_the_name_decides_what_an_entry_means() {
        let name = |parent, name| Ok(PathKind::Name { parent, name });
        let whiteout = |parent, name| Ok(PathKind::Whiteout { parent, name });
        for (raw, expected) in [
            ("a/b", name(&b"a"[..], &b"b"[..])),
            ("b", name(b"", b"b")),
            (".wh.etc/file", name(b".wh.etc", b"file")),
            (".wh", name(b"", b".wh")),
            ("a/.wh.b", whiteout(b"a", b"b")),
            (".wh....", whiteout(b"", b"...")),
            ("a/.wh..wh..opq", Ok(PathKind::Opaque { directory: b"a" })),
            (".wh..wh..opq", Ok(PathKind::Opaque { directory: b"" })),
            (".wh..wh.aufs", Ok(PathKind::Reserved)),
            (".wh..wh.plnk", Ok(PathKind::Reserved)),
            ("a/.wh..wh.plnk/1.2", Ok(PathKind::Reserved)),
            ("/.wh..wh.plnk/1.2", Ok(PathKind::Reserved)),
            ("/", Ok(PathKind::Root)),
        ] {
            assert_eq!(CleanPath::parse(raw.as_bytes()).unwrap().kind(), expected, "{raw}");
        }
        for raw in [".wh.", "a/.wh.", ".wh..", "a/.wh...", ".wh.../"] {
            assert!(CleanPath::parse(raw.as_bytes()).unwrap().kind().is_err(), "{raw}");
        }
    }
}
