//! What every inode says of itself.

use chrono::{DateTime, SecondsFormat};
use ext4_writer::reader::{DeviceNumber, Inode};
use ext4_writer::{FileKind, Timestamp};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::flag_letters;
use crate::error::{Error, Result};

/// What `stat` tells of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Its number.
    pub inode: u32,
    /// What it is.
    pub kind: FileKind,
    /// The twelve permission bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// The names that it has.
    pub links: u16,
    /// The bytes of its content.
    pub size: u64,
    /// The storage that it takes, in units of 512 bytes.
    pub sectors: u64,
    /// The device that it stands for.
    pub device: Option<DeviceNumber>,
    /// When the content last changed.
    pub modified: Timestamp,
    /// When the content was last read.
    pub accessed: Timestamp,
    /// When the inode last changed.
    pub changed: Timestamp,
    /// When the inode was created, where it says so.
    pub created: Option<Timestamp>,
    /// All flags: `i_flags`.
    pub flags: u32,
    /// The generation.
    pub generation: u32,
    /// The project.
    pub project: u32,
}

impl Status {
    /// What this inode says; one that is nothing at all is an error.
    pub(super) fn new(inode: &Inode, image: &str) -> Result<Self> {
        let kind = inode.kind().ok_or_else(|| {
            let number = inode.number();
            Error::bad_data(format!("cannot read {image}: inode {number} has no file type"))
        })?;
        Ok(Self {
            inode: inode.number(),
            kind,
            mode: inode.mode(),
            uid: inode.uid(),
            gid: inode.gid(),
            links: inode.links(),
            size: inode.size(),
            sectors: inode.sectors(),
            device: inode.device(),
            modified: inode.modified(),
            accessed: inode.accessed(),
            changed: inode.changed(),
            created: inode.created(),
            flags: inode.flags(),
            generation: inode.generation(),
            project: inode.project(),
        })
    }

    /// The numbers of the device that it stands for: `MAJOR:MINOR`.
    pub(crate) fn device_text(&self) -> Option<String> {
        self.device.map(|device| format!("{}:{}", device.major, device.minor))
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("inode", &self.inode)?;
        map.serialize_entry("type", kind_word(self.kind))?;
        map.serialize_entry("permissions", &mode_text(self.kind, self.mode))?;
        map.serialize_entry("mode", &format_args!("{:04o}", self.mode))?;
        map.serialize_entry("uid", &self.uid)?;
        map.serialize_entry("gid", &self.gid)?;
        map.serialize_entry("links", &self.links)?;
        map.serialize_entry("size", &self.size)?;
        map.serialize_entry("blocks", &self.sectors)?;
        map.serialize_entry("device", &self.device_text())?;
        map.serialize_entry("modified", &time_text(self.modified))?;
        map.serialize_entry("accessed", &time_text(self.accessed))?;
        map.serialize_entry("changed", &time_text(self.changed))?;
        map.serialize_entry("created", &self.created.map(time_text))?;
        map.serialize_entry("flags", &flag_letters(self.flags))?;
        map.serialize_entry("flags_word", &self.flags)?;
        map.serialize_entry("generation", &self.generation)?;
        map.serialize_entry("project", &self.project)?;
        map.end()
    }
}

/// A kind in a word, for machines.
#[must_use]
pub(crate) const fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::CharacterDevice => "character-device",
        FileKind::BlockDevice => "block-device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
    }
}

/// A time in UTC in the form of RFC 3339, to the nanosecond, or to the second where it has none.
#[must_use]
pub(crate) fn time_text(time: Timestamp) -> String {
    let format = if time.nanoseconds == 0 { SecondsFormat::Secs } else { SecondsFormat::Nanos };
    let date = DateTime::from_timestamp(time.seconds, time.nanoseconds).unwrap_or_default();
    date.to_rfc3339_opts(format, true)
}

/// Ten letters as `ls -l` has them.
#[must_use]
pub(crate) fn mode_text(kind: FileKind, mode: u16) -> String {
    let letter = match kind {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharacterDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
    };
    // For each of owner, group and others: their bits, and the special bit shown at their "x".
    let classes = [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')];
    let mut text = String::from(letter);
    for (shift, special, with, without) in classes {
        let bits = mode >> shift;
        let may_execute = bits & 1 != 0;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, may_execute) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_shown_as_ls_shows_them() {
        assert_eq!(mode_text(FileKind::Regular, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text(FileKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(FileKind::Regular, 0o2644), "-rw-r-Sr--");
        assert_eq!(mode_text(FileKind::CharacterDevice, 0o600), "crw-------");
    }

    #[test]
    fn times_are_shown_in_utc_over_the_whole_range_of_the_format() {
        let time = |seconds, nanoseconds| time_text(Timestamp { seconds, nanoseconds });
        assert_eq!(time(1_704_067_200, 0), "2024-01-01T00:00:00Z");
        assert_eq!(time(-1, 750_000_000), "1969-12-31T23:59:59.750000000Z");
        assert_eq!(time_text(Timestamp::EARLIEST), "1901-12-13T20:45:52Z");
        assert_eq!(time_text(Timestamp::LATEST), "2446-05-10T22:38:55.999999999Z");
    }
}
