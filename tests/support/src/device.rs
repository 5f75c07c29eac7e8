//! Block devices: files behind loop devices, and what other formats left on them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::judge;

/// A loop device; dropping it frees it, or leaves that to the unmount.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// A device over `file`; `None`, with the policy of [`judge::missing`], where that is not
    /// possible.
    #[must_use]
    pub fn over(file: &Path) -> Option<Self> {
        Self::attach(file, false)
    }

    pub(crate) fn attach(file: &Path, read_only: bool) -> Option<Self> {
        if !judge::kernel() {
            return None;
        }
        let mut arguments = vec![OsStr::new("--show"), OsStr::new("-f"), file.as_os_str()];
        if read_only {
            arguments.insert(0, OsStr::new("-r"));
        }
        let path = judge::succeed("losetup", arguments).trim().into();
        Some(Self { path })
    }

    /// The device's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let losetup = judge::find("losetup").unwrap_or_default();
        // In a failing test the first failure is the one to show.
        let _ = judge::run(&losetup, [OsStr::new("-d"), self.path.as_os_str()]);
    }
}

/// A directory whose files have no holes and cannot be given any: a mounted ramfs.
#[derive(Debug)]
pub struct WithoutHoles {
    point: tempfile::TempDir,
}

impl WithoutHoles {
    /// Mounts it; `None`, with the policy of [`judge::missing`], where that is not possible.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !judge::kernel() {
            return None;
        }
        let point = tempfile::tempdir().expect("a directory to mount on");
        let arguments = ["-t", "ramfs", "none"].map(OsStr::new);
        judge::succeed("mount", arguments.into_iter().chain([point.path().as_os_str()]));
        Some(Self { point })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for WithoutHoles {
    fn drop(&mut self) {
        let umount = judge::find("umount").unwrap_or_default();
        // A loop device over one of its files may be about to go.
        let _ = judge::run(&umount, [OsStr::new("-l"), self.point.path().as_os_str()]);
    }
}

/// A directory on exFAT, through FUSE: no hard links, no files without names, no renaming that
/// refuses a name which is taken.
#[derive(Debug)]
pub struct WithoutLinks {
    point: tempfile::TempDir,
    // Freed when nothing is mounted any more.
    _device: LoopDevice,
    _file: tempfile::NamedTempFile,
}

impl WithoutLinks {
    /// Mounts it; `None`, with the policy of [`judge::missing`], where that is not possible.
    #[must_use]
    pub fn new(size: u64) -> Option<Self> {
        if !judge::kernel() || !judge::all(&["mkfs.exfat", "mount.exfat-fuse"]) {
            return None;
        }
        if !Path::new("/dev/fuse").exists() {
            judge::missing("/dev/fuse");
            return None;
        }
        let file = tempfile::NamedTempFile::new().expect("a file for the filesystem");
        file.as_file().set_len(size).expect("a sparse file");
        judge::succeed("mkfs.exfat", [file.path()]);
        // FUSE mounts it with the type "fuseblk", for which it has to be a device.
        let device = LoopDevice::over(file.path())?;
        let point = tempfile::tempdir().expect("a directory to mount on");
        judge::succeed("mount.exfat-fuse", [device.path(), point.path()]);
        Some(Self { point, _device: device, _file: file })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for WithoutLinks {
    fn drop(&mut self) {
        let umount = judge::find("umount").unwrap_or_default();
        // In a failing test the first failure is the one to show.
        let _ = judge::run(&umount, [self.point.path()]);
    }
}

/// The names of all formats of which wipefs finds a signature, which must be installed.
#[must_use]
pub fn signatures(device: &Path) -> Vec<String> {
    let arguments = ["--noheadings", "--output", "TYPE"].map(OsStr::new);
    let found = judge::succeed("wipefs", arguments.into_iter().chain([device.as_os_str()]));
    let mut names: Vec<String> = found.lines().map(|line| line.trim().to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Writes the signatures of other formats over `device`, which has whole units of 64 KiB: what
/// [`signatures`] then finds is [`PLANTED`].
pub fn plant_signatures(device: &mut [u8]) {
    xfs(device);
    swap(device);
    iso9660(device);
    btrfs(device);
    luks2(device);
    md(device);
    gpt_backup(device);
}

/// What [`plant_signatures`] leaves, sorted.
pub const PLANTED: [&str; 7] =
    ["btrfs", "crypto_LUKS", "gpt", "iso9660", "linux_raid_member", "swap", "xfs"];

fn put(device: &mut [u8], offset: usize, bytes: &[u8]) {
    let place = device.get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()));
    place.expect("the device has room for every signature").copy_from_slice(bytes);
}

/// A superblock of version 4. Source: kernel, `fs/xfs/libxfs/xfs_format.h`, `struct xfs_dsb`.
fn xfs(device: &mut [u8]) {
    put(device, 0, &[0; 512]);
    put(device, 0, b"XFSB");
    put(device, 4, &4096_u32.to_be_bytes());
    put(device, 8, &4096_u64.to_be_bytes());
    put(device, 80, &1_u32.to_be_bytes());
    put(device, 84, &4096_u32.to_be_bytes());
    put(device, 88, &1_u32.to_be_bytes());
    put(device, 100, &4_u16.to_be_bytes());
    put(device, 102, &512_u16.to_be_bytes());
    put(device, 104, &256_u16.to_be_bytes());
    put(device, 106, &16_u16.to_be_bytes());
    put(device, 120, &[12, 9, 8, 4, 12, 0, 0, 25]);
}

/// The header of a swap area with pages of 4 KiB. Source: kernel, `include/linux/swap.h`,
/// `union swap_header`.
fn swap(device: &mut [u8]) {
    put(device, 1024, &[0; 512]);
    put(device, 1024, &1_u32.to_le_bytes());
    put(device, 1028, &1000_u32.to_le_bytes());
    put(device, 4086, b"SWAPSPACE2");
}

/// The primary volume descriptor (ECMA-119, section 8.4).
fn iso9660(device: &mut [u8]) {
    put(device, 32 << 10, b"\x01CD001\x01\x00");
}

/// A superblock with its checksum. Source: kernel, `include/uapi/linux/btrfs_tree.h`,
/// `struct btrfs_super_block`.
fn btrfs(device: &mut [u8]) {
    const PLACE: usize = 64 << 10;
    const SIZE: usize = 4096;
    put(device, PLACE, &[0; SIZE]);
    put(device, PLACE + 0x40, b"_BHRfS_M");
    put(device, PLACE + 0x90, &4096_u32.to_le_bytes());
    let summed = device.get(PLACE + 0x20..PLACE + SIZE).unwrap_or_default();
    let sum = crc32(summed, 0x82f6_3b78);
    put(device, PLACE, &sum.to_le_bytes());
}

/// The second header, where it can be farthest from the start (LUKS2 On-Disk Format, section 2).
fn luks2(device: &mut [u8]) {
    const PLACE: u64 = 4 << 20;
    let place = usize::try_from(PLACE).unwrap_or(usize::MAX);
    put(device, place, b"SKUL\xba\xbe\x00\x02");
    put(device, place + 256, &PLACE.to_be_bytes());
}

/// A superblock of version 0.90, in the last whole 64 KiB. Source: kernel,
/// `include/uapi/linux/raid/md_p.h`, `mdp_super_t`.
fn md(device: &mut [u8]) {
    let place = (device.len() & !0xffff) - 0x10000;
    put(device, place, &[0; 4096]);
    put(device, place, &0xa92b_4efc_u32.to_le_bytes());
    put(device, place + 8, &90_u32.to_le_bytes());
}

/// The header in the last sector and the empty array before it (UEFI, section 5.3).
fn gpt_backup(device: &mut [u8]) {
    const SECTOR: usize = 512;
    const ARRAY: usize = 128 * 128;
    let sectors = device.len() / SECTOR;
    let number = |sector: usize| u64::try_from(sector).unwrap_or(u64::MAX).to_le_bytes();
    let (header, array) = ((sectors - 1) * SECTOR, (sectors - 1) * SECTOR - ARRAY);
    put(device, array, &vec![0; ARRAY + SECTOR]);
    put(device, header, b"EFI PART");
    put(device, header + 8, &0x0001_0000_u32.to_le_bytes());
    put(device, header + 12, &92_u32.to_le_bytes());
    put(device, header + 24, &number(sectors - 1));
    put(device, header + 32, &number(1));
    put(device, header + 40, &number(34));
    put(device, header + 48, &number(sectors - 34));
    put(device, header + 56, b"sixteen bytes id");
    put(device, header + 72, &number(sectors - 33));
    put(device, header + 80, &128_u32.to_le_bytes());
    put(device, header + 84, &128_u32.to_le_bytes());
    put(device, header + 88, &crc32(&vec![0; ARRAY], 0xedb8_8320).to_le_bytes());
    let sum = crc32(device.get(header..header + 92).unwrap_or_default(), 0xedb8_8320);
    put(device, header + 16, &sum.to_le_bytes());
}

/// The reflected CRC of 32 bits with this polynomial.
fn crc32(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { polynomial } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_signature_is_found() {
        if !judge::all(&["wipefs"]) {
            return;
        }
        let mut bytes = vec![0; 16 << 20];
        plant_signatures(&mut bytes);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("device");
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(signatures(&file), PLANTED);
    }
}
