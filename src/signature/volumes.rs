//! Swap areas, and volumes that other devices are made of or that are encrypted.

use std::io;

use ext4_writer::reader::Source;

use super::{Signature, View, grouped, read, text};

const KIB: u64 = 1024;

/// `MD_SB_MAGIC`.
const MD: u32 = 0xa92b_4efc;
/// The magic of an uberblock of ZFS, which is in the byte order of its writer.
const UBERBLOCK: u64 = 0x00ba_b10c;

pub(super) fn all(view: &View) -> Vec<Signature> {
    let found = [swap(view), luks(view), lvm(view), md(view), zfs(view)];
    found.into_iter().flatten().collect()
}

/// The mark stands at the end of the first page, whose size is the machine's.
///
/// Source: kernel, `include/linux/swap.h`, `union swap_header`.
fn swap(view: &View) -> Option<Signature> {
    let pages = [4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB];
    let is_mark = |mark: &u64| view.has(*mark, b"SWAPSPACE2") || view.has(*mark, b"SWAP-SPACE");
    let mark = pages.into_iter().map(|page| page - 10).find(is_mark)?;
    let found = Signature::new("swap", mark);
    // Only version 1, which has either byte order, has UUID and label.
    match view.bytes::<4>(KIB) {
        Some([1, 0, 0, 0] | [0, 0, 0, 1]) => {
            Some(found.labelled(view.at(KIB + 28, 16)).identified(view.uuid(KIB + 12)))
        }
        _ => Some(found),
    }
}

/// Source: LUKS1 and LUKS2 On-Disk Format Specifications, the headers.
fn luks(view: &View) -> Option<Signature> {
    if !view.has(0, b"LUKS\xba\xbe") {
        return None;
    }
    let version = view.bytes(6).map(u16::from_be_bytes)?;
    let label = if version == 2 { view.at(24, 48) } else { None };
    Some(luks_header(0, label, view.at(168, 40)).detailed(Some(format!("version {version}"))))
}

fn luks_header(offset: u64, label: Option<&[u8]>, uuid: Option<&[u8]>) -> Signature {
    let uuid = uuid.map(text).filter(|uuid| !uuid.is_empty());
    let uuid = uuid.map(|uuid| uuid.escape_ascii().to_string());
    Signature::new("crypto_LUKS", offset).labelled(label).identified(uuid)
}

/// The second header of LUKS2, which survives when the first is overwritten.
pub(super) fn second_luks_header<S: Source + ?Sized>(
    source: &S,
    view: &View,
) -> io::Result<Option<Signature>> {
    if view.has(0, b"LUKS\xba\xbe") {
        return Ok(None);
    }
    for shift in 14..=22 {
        let offset = 1 << shift;
        let header = match view.at(offset, 256) {
            Some(header) => header.to_vec(),
            None if offset < view.length => read(source, offset, 256)?,
            None => continue,
        };
        if header.starts_with(b"SKUL\xba\xbe\0\x02") {
            let found = luks_header(offset, header.get(24..72), header.get(168..208));
            return Ok(Some(found.detailed(Some("the second header alone".to_owned()))));
        }
    }
    Ok(None)
}

/// The label of a physical volume is in one of the first four sectors.
///
/// Source: LVM2, `lib/label/label.h` and `lib/format_text/layout.h`.
fn lvm(view: &View) -> Option<Signature> {
    let is_label = |at: &u64| view.has(*at, b"LABELONE") && view.has(*at + 24, b"LVM2 001");
    let at = [0, 512, 1024, 1536].into_iter().find(is_label)?;
    let header = at + u64::from(view.u32(at + 20)?);
    let uuid = view.at(header, 32).filter(|uuid| uuid.iter().all(u8::is_ascii_graphic));
    let uuid = uuid.and_then(|uuid| str::from_utf8(uuid).ok());
    let uuid = uuid.map(|uuid| grouped(uuid, &[6, 10, 14, 18, 22, 26]));
    Some(Signature::new("LVM2_member", at).identified(uuid))
}

/// Source: kernel, `include/uapi/linux/raid/md_p.h`, `mdp_superblock_1` and `mdp_super_t`.
fn md(view: &View) -> Option<Signature> {
    let near_end = |back: u64, unit: u64| Some(view.length.checked_sub(back)? / unit * unit);
    let version_1 = [Some(0), Some(4 * KIB), near_end(8 * KIB, 4 * KIB)];
    let is_version_1 = |at: &u64| view.u32(*at) == Some(MD) && view.u32(*at + 4) == Some(1);
    if let Some(at) = version_1.into_iter().flatten().find(is_version_1) {
        let found = Signature::new("linux_raid_member", at).labelled(view.at(at + 32, 32));
        return Some(found.identified(view.uuid(at + 16)));
    }
    let at = near_end(64 * KIB, 64 * KIB).filter(|at| view.u32(*at) == Some(MD))?;
    Some(Signature::new("linux_raid_member", at))
}

/// The first label has its uberblocks from 128 KiB on.
///
/// Source: ZFS, `include/sys/vdev_impl.h` and `include/sys/uberblock_impl.h`.
fn zfs(view: &View) -> Option<Signature> {
    let is_uberblock = |at: &u64| {
        view.u64(*at).is_some_and(|magic| [UBERBLOCK, UBERBLOCK.swap_bytes()].contains(&magic))
    };
    let at = (0..128).map(|number| (128 + number) * KIB).find(is_uberblock)?;
    Some(Signature::new("zfs_member", at))
}
