//! The inode numbers that the format fixes.
//!
//! Source: kernel, `fs/ext4/ext4.h`, `EXT4_ROOT_INO` and those behind it.

use crate::format::units::InodeNumber;

/// The list of bad blocks: `EXT4_BAD_INO`.
pub(crate) const BAD_BLOCKS: InodeNumber = InodeNumber::new(1);
/// The root directory: `EXT4_ROOT_INO`.
pub(crate) const ROOT: InodeNumber = InodeNumber::new(2);
/// The quotas of users: `EXT4_USR_QUOTA_INO`.
pub(crate) const USER_QUOTA: InodeNumber = InodeNumber::new(3);
/// The quotas of groups: `EXT4_GRP_QUOTA_INO`.
pub(crate) const GROUP_QUOTA: InodeNumber = InodeNumber::new(4);
/// The boot loader: `EXT4_BOOT_LOADER_INO`.
pub(crate) const BOOT_LOADER: InodeNumber = InodeNumber::new(5);
/// The inode that reserves blocks for descriptors: `EXT4_RESIZE_INO`.
pub(crate) const RESIZE: InodeNumber = InodeNumber::new(7);
/// The journal: `EXT4_JOURNAL_INO`.
pub(crate) const JOURNAL: InodeNumber = InodeNumber::new(8);
/// The first inode that the format does not keep for itself: `EXT4_GOOD_OLD_FIRST_INO`.
pub(crate) const FIRST_FREE_INODE: u32 = 11;
/// The list of orphans of a new filesystem: the first number that mke2fs has free for it.
pub(crate) const ORPHAN_FILE: InodeNumber = InodeNumber::new(12);
