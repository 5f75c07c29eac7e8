//! One 512-byte header block: v7, ustar, star or GNU, with the semantics of Go's `archive/tar`.

use ext4_writer::Timestamp;

/// The unit of a tar archive.
pub(super) const BLOCK: usize = 512;
/// The same, to count with.
pub(super) const BLOCK_BYTES: u64 = 512;

/// Why a header or record is refused; the archive adds which one.
pub(super) type Reason = String;

/// A header whose checksum is right.
pub(super) struct Header {
    block: tar::Header,
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// star(1) puts times where ustar has the end of its prefix, and this at the end of the block.
const STAR_TRAILER: &[u8] = b"tar\0";
const STAR_PREFIX: usize = 131;
const STAR_TIME: usize = 12;

impl Header {
    /// Takes a block that is not all zeros.
    pub(super) fn parse(bytes: &[u8; BLOCK]) -> Result<Self, Reason> {
        let mut block = tar::Header::from_byte_slice(bytes).clone();
        verify_checksum(&block)?;
        let magic = bytes.get(257..263).unwrap_or_default();
        let format = match magic {
            b"ustar\0" if bytes.ends_with(STAR_TRAILER) => Format::Star,
            b"ustar\0" => Format::Ustar,
            b"ustar " if block.as_gnu().is_some() => Format::Gnu,
            _ => Format::V7,
        };
        // The record type insists on version "00"; Go and old writers do not.
        if let (b"ustar\0", Some(version)) = (magic, block.as_mut_bytes().get_mut(263..265)) {
            version.copy_from_slice(b"00");
        }
        Ok(Self { block, format })
    }

    pub(super) fn typeflag(&self) -> u8 {
        let [flag] = self.block.as_old().linkflag;
        flag
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.block.as_old().name);
        let prefix = self.prefix();
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn prefix(&self) -> &[u8] {
        let ustar = self.block.as_ustar().map(|header| &header.prefix);
        match self.format {
            Format::V7 => &[],
            Format::Ustar => ustar.map(|prefix| until_nul(prefix)).unwrap_or_default(),
            Format::Star => {
                let prefix = ustar.and_then(|prefix| prefix.get(..STAR_PREFIX));
                prefix.map(until_nul).unwrap_or_default()
            }
            Format::Gnu => self.misplaced_prefix().unwrap_or_default(),
        }
    }

    /// Go before 1.8 wrote a ustar prefix into GNU headers, over their atime and ctime. As Go
    /// does since: what is no number but ASCII text is that prefix.
    fn misplaced_prefix(&self) -> Option<&[u8]> {
        let gnu = self.block.as_gnu()?;
        if gnu_time(&gnu.atime).is_ok() && gnu_time(&gnu.ctime).is_ok() {
            return None;
        }
        let field = self.block.as_bytes().get(345..500)?;
        Some(until_nul(field)).filter(|text| text.is_ascii())
    }

    pub(super) fn link(&self) -> &[u8] {
        until_nul(&self.block.as_old().linkname)
    }

    pub(super) fn size(&self) -> Result<u64, Reason> {
        unsigned("size", &self.block.as_old().size)
    }

    /// The low 12 bits; writers put the file type above them.
    pub(super) fn mode(&self) -> Result<u16, Reason> {
        let mode = number("mode", &self.block.as_old().mode)?;
        u16::try_from(mode & 0o7777).map_err(|error| error.to_string())
    }

    pub(super) fn uid(&self) -> Result<u32, Reason> {
        id("uid", &self.block.as_old().uid)
    }

    pub(super) fn gid(&self) -> Result<u32, Reason> {
        id("gid", &self.block.as_old().gid)
    }

    pub(super) fn modified(&self) -> Result<Timestamp, Reason> {
        let seconds = number("mtime", &self.block.as_old().mtime)?;
        Ok(Timestamp { seconds, nanoseconds: 0 })
    }

    pub(super) fn accessed(&self) -> Result<Option<Timestamp>, Reason> {
        match (self.format, self.block.as_gnu()) {
            (Format::Star, _) => self.star_time("atime", STAR_PREFIX),
            (Format::Gnu, Some(gnu)) => Ok(gnu_time(&gnu.atime).unwrap_or_default()),
            _ => Ok(None),
        }
    }

    pub(super) fn changed(&self) -> Result<Option<Timestamp>, Reason> {
        match (self.format, self.block.as_gnu()) {
            (Format::Star, _) => self.star_time("ctime", STAR_PREFIX + STAR_TIME),
            (Format::Gnu, Some(gnu)) => Ok(gnu_time(&gnu.ctime).unwrap_or_default()),
            _ => Ok(None),
        }
    }

    fn star_time(&self, name: &str, start: usize) -> Result<Option<Timestamp>, Reason> {
        let prefix = self.block.as_ustar().map(|header| &header.prefix);
        let field = prefix.and_then(|prefix| prefix.get(start..start + STAR_TIME));
        let seconds = number(name, field.unwrap_or_default())?;
        Ok(Some(Timestamp { seconds, nanoseconds: 0 }))
    }

    /// Major and minor number; v7 headers have none.
    pub(super) fn device(&self) -> Result<(u32, u32), Reason> {
        let Some((major, minor)) = (match self.format {
            Format::V7 => None,
            Format::Gnu => self.block.as_gnu().map(|gnu| (&gnu.dev_major, &gnu.dev_minor)),
            Format::Ustar | Format::Star => {
                self.block.as_ustar().map(|ustar| (&ustar.dev_major, &ustar.dev_minor))
            }
        }) else {
            return Ok((0, 0));
        };
        Ok((id("device major number", major)?, id("device minor number", minor)?))
    }

    /// The header of an old GNU sparse file.
    pub(super) fn gnu(&self) -> Option<&tar::GnuHeader> {
        self.block.as_gnu()
    }
}

/// The sum of the block's bytes, its own field taken as spaces (POSIX pax, "ustar Header Block");
/// some old writers summed signed bytes.
fn verify_checksum(block: &tar::Header) -> Result<(), Reason> {
    let field = &block.as_old().cksum;
    let expected = number("checksum", field)?;
    let spaces = i64::from(b' ') * 8;
    let sum = |bytes: &[u8]| i64::from(bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>());
    let unsigned = sum(block.as_bytes()) - sum(field) + spaces;
    if expected == unsigned {
        return Ok(());
    }
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum::<i64>();
    let signed = sum(block.as_bytes()) - sum(field) + spaces;
    if expected != signed {
        return Err(format!("its checksum is {unsigned}, the header says {expected}"));
    }
    Ok(())
}

/// A text field: up to its first NUL.
pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A GNU time, which is absent where its first byte is NUL.
fn gnu_time(field: &[u8]) -> Result<Option<Timestamp>, Reason> {
    match field.first() {
        None | Some(0) => Ok(None),
        Some(_) => Ok(Some(Timestamp { seconds: number("time", field)?, nanoseconds: 0 })),
    }
}

/// A number that cannot be negative.
pub(super) fn unsigned(name: &str, field: &[u8]) -> Result<u64, Reason> {
    let value = number(name, field)?;
    u64::try_from(value).map_err(|_| format!("its {name} is {value}"))
}

fn id(name: &str, field: &[u8]) -> Result<u32, Reason> {
    let value = number(name, field)?;
    u32::try_from(value).map_err(|_| format!("its {name} is {value}, which 32 bits do not hold"))
}

/// A numeric field: octal text, or base 256 in two's complement where the first bit is set.
fn number(name: &str, field: &[u8]) -> Result<i64, Reason> {
    let refuse = || format!("its {name} \"{}\" is not a number", crate::shown::bytes(&field));
    let first = field.first().copied().unwrap_or_default();
    if first & 0x80 != 0 {
        return binary(field).ok_or_else(refuse);
    }
    let text = until_nul(trim(field, |byte| matches!(byte, b' ' | 0)));
    if text.is_empty() {
        return Ok(0);
    }
    let text = str::from_utf8(text).map_err(|_| refuse())?;
    i64::from_str_radix(text, 8).ok().filter(|_| !text.starts_with(['+', '-'])).ok_or_else(refuse)
}

fn trim(mut bytes: &[u8], blank: impl Fn(u8) -> bool) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && blank(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The first bit only says that the number is binary; the second one is its sign.
fn binary(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let invert = if negative { 0xff } else { 0 };
    let mut value = i64::from((first ^ invert) & 0x7f);
    for byte in rest {
        value = value.checked_mul(256)?.checked_add(i64::from(byte ^ invert))?;
    }
    Some(if negative { !value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f07_numbers_are_octal_text_or_base_256_in_twos_complement() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0 644\0", Some(0o644)),
            (b"644\0junk", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"8", None),
            (b"-1", None),
            (b"+1", None),
            (b"64 4", None),
            (b"\x80\0\0\0\0\0\x01\x00", Some(256)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, expected) in cases {
            assert_eq!(number("x", field).ok(), *expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn f16_the_checksum_may_be_signed_but_not_wrong() {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..9].fill(0xe4);
        header.set_cksum();
        let block = |header: &tar::Header| <[u8; BLOCK]>::try_from(&header.as_bytes()[..]).unwrap();
        assert!(Header::parse(&block(&header)).is_ok());
        let sum = header.cksum().unwrap();
        let text = |sum: u32| format!("{sum:06o}\0 ").into_bytes();
        header.as_old_mut().cksum.copy_from_slice(&text(sum - 256 * 9));
        assert!(Header::parse(&block(&header)).is_ok());
        header.as_old_mut().cksum.copy_from_slice(&text(sum + 1));
        assert!(Header::parse(&block(&header)).is_err());
    }
}
