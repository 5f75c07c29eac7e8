//! What every inode has: permissions, owners and times; and what some have beside.

use std::fmt;
use std::io::{self, Read};
use std::time::{SystemTime, UNIX_EPOCH};

use bitflags::bitflags;

/// A point in time, in seconds and nanoseconds since the start of 1970 (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds, rounded towards the past.
    pub seconds: i64,
    /// Nanoseconds behind them, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The earliest time that ext4 stores: 1901-12-13 20:45:52.
    ///
    /// Source: kernel, `Documentation/filesystems/ext4/inodes.rst`, "Inode Timestamps".
    pub const EARLIEST: Self = Self { seconds: -0x8000_0000, nanoseconds: 0 };

    /// The latest time that ext4 stores: 2446-05-10 22:38:55, and all but a nanosecond.
    pub const LATEST: Self = Self { seconds: 0x3_7fff_ffff, nanoseconds: 999_999_999 };

    /// A time of whole seconds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// The latest time that an inode of 128 bytes stores: 2038-01-19 03:14:07.
    pub const LATEST_SHORT: Self = Self { seconds: 0x7fff_ffff, nanoseconds: 0 };

    /// The nearest time that an inode of 128 bytes stores: whole seconds up to 2038.
    #[must_use]
    pub fn clamped_short(self) -> Self {
        Self { nanoseconds: 0, ..self }.clamp(Self::EARLIEST, Self::LATEST_SHORT)
    }

    /// Times that ext4 can store and e2fsck takes for others: from 2310-04-04 up to 2378-04-22 it
    /// sees a time before 1970 that an old kernel wrote wrongly, and moves it there.
    ///
    /// Source: e2fsprogs, `e2fsck/pass1.c`, `check_inode_extra_negative_epoch`.
    pub const MISTAKEN: std::ops::Range<i64> = 0x2_8000_0000..0x3_0000_0000;

    /// The nearest time that ext4 stores in an inode of 256 bytes or more; of [`Self::MISTAKEN`]
    /// ones the last before them.
    #[must_use]
    pub fn clamped(self) -> Self {
        if Self::MISTAKEN.contains(&self.seconds) {
            return Self { seconds: Self::MISTAKEN.start - 1, nanoseconds: 999_999_999 };
        }
        let nanoseconds = self.nanoseconds.min(999_999_999);
        Self { nanoseconds, ..self }.clamp(Self::EARLIEST, Self::LATEST)
    }
}

impl From<SystemTime> for Timestamp {
    /// The same time; one that 64 bits of seconds cannot tell is the first or last that they can.
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: after.subsec_nanos(),
            },
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, i64::wrapping_neg);
                match before.subsec_nanos() {
                    0 => Self { seconds, nanoseconds: 0 },
                    // Seconds are rounded towards the past.
                    nanoseconds => Self {
                        seconds: seconds.saturating_sub(1),
                        nanoseconds: 1_000_000_000_u32.saturating_sub(nanoseconds),
                    },
                }
            }
        }
    }
}

/// Permissions, owners and times of an inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The twelve permission bits: setuid, setgid, sticky and `rwxrwxrwx`. Higher bits are ignored.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When the content last changed.
    pub modified: Timestamp,
    /// When the content was last read; `modified` when not given.
    pub accessed: Option<Timestamp>,
    /// When the inode last changed; `modified` when not given.
    pub changed: Option<Timestamp>,
    /// When the inode was created; `modified` when not given.
    pub created: Option<Timestamp>,
}

impl Metadata {
    /// Root's, with these permission bits and this time of modification.
    #[must_use]
    pub const fn root_owned(mode: u16, modified: Timestamp) -> Self {
        Self { mode, uid: 0, gid: 0, modified, accessed: None, changed: None, created: None }
    }
}

bitflags! {
    /// The flags of an inode that `chattr` sets.
    ///
    /// Source: kernel, `include/uapi/linux/fs.h`, `FS_*_FL`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FileFlags: u32 {
        /// `s`: to be overwritten when removed, which no kernel does.
        const SECURE_REMOVAL = 0x0000_0001;
        /// `u`: to be recoverable when removed, which no kernel does.
        const UNREMOVE = 0x0000_0002;
        /// `c`: to be compressed, which ext4 does not.
        const COMPRESS = 0x0000_0004;
        /// `S`: writes wait for the disk.
        const SYNC = 0x0000_0008;
        /// `i`: nobody can change, rename, link or remove it.
        const IMMUTABLE = 0x0000_0010;
        /// `a`: it can only be appended to.
        const APPEND_ONLY = 0x0000_0020;
        /// `d`: `dump` leaves it out.
        const NO_DUMP = 0x0000_0040;
        /// `A`: reading does not change its time of access.
        const NO_ATIME = 0x0000_0080;
        /// `j`: its data goes through the journal.
        const JOURNAL_DATA = 0x0000_4000;
        /// `t`: its tail is not merged, which ext4 never does.
        const NO_TAIL = 0x0000_8000;
        /// `D`: changes of the directory wait for the disk.
        const SYNC_DIRECTORY = 0x0001_0000;
        /// `T`: the directories in it are unrelated, and may lie far from each other.
        const TOP_DIRECTORY = 0x0002_0000;
    }
}

/// A device, a pipe or a socket.
///
/// Source of the limits: kernel, `include/linux/kdev_t.h`, `MINORBITS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A character device.
    CharacterDevice {
        /// The driver's number, at most 4,095.
        major: u32,
        /// The device's number, at most 1,048,575.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// The driver's number, at most 4,095.
        major: u32,
        /// The device's number, at most 1,048,575.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket of the local domain.
    Socket,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileKind {
    /// The type bits of `i_mode`.
    ///
    /// Source: kernel, `include/uapi/linux/stat.h`, `S_IF*`.
    #[must_use]
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0x1000,
            Self::CharacterDevice => 0x2000,
            Self::Directory => 0x4000,
            Self::BlockDevice => 0x6000,
            Self::Regular => 0x8000,
            Self::Symlink => 0xa000,
            Self::Socket => 0xc000,
        }
    }

    /// The `file_type` byte of a directory entry.
    ///
    /// Source: kernel, `fs/ext4/ext4.h`, `EXT4_FT_*`.
    #[must_use]
    pub const fn entry_type(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharacterDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// A part of a sparse file that holds data; all else is a hole. Blocks of which a part is data are
/// blocks of the file as a whole, padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
}

/// Who has the bytes of a file.
pub(crate) enum ContentReader<'a> {
    Reader(&'a mut dyn Read),
    Bytes(&'a [u8]),
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Reader(reader) => reader.read(buffer),
            Self::Bytes(bytes) => bytes.read(buffer),
        }
    }
}

/// The bytes of a regular file: how many, and who has them.
pub struct FileContent<'a> {
    pub(crate) size: u64,
    /// `None` when there are no holes.
    pub(crate) segments: Option<&'a [Segment]>,
    pub(crate) reader: ContentReader<'a>,
}

impl<'a> FileContent<'a> {
    /// `size` bytes that `reader` has, and no more.
    #[must_use]
    pub fn new(size: u64, reader: &'a mut dyn Read) -> Self {
        Self { size, segments: None, reader: ContentReader::Reader(reader) }
    }

    /// These bytes.
    #[must_use]
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self {
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            segments: None,
            reader: ContentReader::Bytes(bytes),
        }
    }

    /// Nothing: a file of no bytes.
    #[must_use]
    pub fn empty() -> FileContent<'static> {
        FileContent::bytes(&[])
    }

    /// `size` bytes that are a hole but for `segments`, ascending without overlap, whose bytes
    /// `reader` has one behind the other, and no more.
    #[must_use]
    pub fn sparse(size: u64, segments: &'a [Segment], reader: &'a mut dyn Read) -> Self {
        Self { size, segments: Some(segments), reader: ContentReader::Reader(reader) }
    }
}

impl fmt::Debug for FileContent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileContent")
            .field("size", &self.size)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_beyond_the_format_are_clamped_to_its_ends() {
        let far = Timestamp { seconds: i64::MAX, nanoseconds: u32::MAX };
        assert_eq!(far.clamped(), Timestamp::LATEST);
        assert_eq!(Timestamp::from_seconds(i64::MIN).clamped(), Timestamp::EARLIEST);
        assert_eq!(Timestamp::from_seconds(-1).clamped(), Timestamp::from_seconds(-1));
    }

    #[test]
    fn times_of_the_system_keep_their_nanoseconds_on_both_sides_of_1970() {
        use std::time::Duration;
        let half = Duration::new(7, 500);
        let after = Timestamp::from(UNIX_EPOCH + half);
        assert_eq!(after, Timestamp { seconds: 7, nanoseconds: 500 });
        let before = Timestamp::from(UNIX_EPOCH - half);
        assert_eq!(before, Timestamp { seconds: -8, nanoseconds: 999_999_500 });
        let whole = Timestamp::from(UNIX_EPOCH - Duration::from_secs(7));
        assert_eq!(whole, Timestamp::from_seconds(-7));
    }

    #[test]
    fn times_that_e2fsck_takes_for_others_become_the_last_before_them() {
        let kept = |seconds| Timestamp::from_seconds(seconds).clamped().seconds == seconds;
        let (first, behind) = (0x2_8000_0000, 0x3_0000_0000);
        assert!(kept(first - 1) && kept(behind));
        for seconds in [first, behind - 1] {
            let stored = Timestamp::from_seconds(seconds).clamped();
            assert_eq!(stored, Timestamp { seconds: first - 1, nanoseconds: 999_999_999 });
        }
    }
}
