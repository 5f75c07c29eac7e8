//! Partition tables.

use super::{Signature, View};

/// The formats whose boot sector looks like a partition table of DOS.
const WITH_BOOT_SECTOR: [&str; 4] = ["vfat", "exfat", "ntfs", "BitLocker"];

pub(super) fn partitions(view: &View, others: &[Signature]) -> Option<Signature> {
    gpt(view).or_else(|| {
        let is_boot_sector =
            others.iter().any(|signature| WITH_BOOT_SECTOR.contains(&signature.format));
        if is_boot_sector { None } else { dos(view) }
    })
}

/// The header in the second sector, or its copy in the last.
///
/// Source: UEFI specification, section 5.3.
fn gpt(view: &View) -> Option<Signature> {
    const MAX_ENTRIES: u64 = 1024;
    for sector in [512, 4096] {
        let last = view.length.checked_sub(sector).map(|last| last / sector * sector);
        for header in [Some(sector), last].into_iter().flatten() {
            if !view.has(header, b"EFI PART") {
                continue;
            }
            let found = Signature::new("gpt", header).identified(view.guid(header + 56));
            let array = view.u64(header + 72).and_then(|block| block.checked_mul(sector));
            let number = view.u32(header + 80).map(u64::from);
            let length = view.u32(header + 84).map(u64::from).filter(|length| *length >= 128);
            let (Some(array), Some(number), Some(length)) = (array, number, length) else {
                return Some(found);
            };
            let used = (0..number.min(MAX_ENTRIES)).filter_map(|entry| {
                let at = array.checked_add(entry.checked_mul(length)?)?;
                view.bytes::<16>(at).filter(|kind| *kind != [0; 16])
            });
            return Some(found.detailed(Some(partitions_text(used.count()))));
        }
    }
    None
}

/// A table of DOS: four entries that make sense, of which one is used, and the mark.
///
/// Source: util-linux, `libblkid/src/partitions/dos.c`.
fn dos(view: &View) -> Option<Signature> {
    if !view.has(510, b"\x55\xaa") {
        return None;
    }
    let entries: Vec<[u8; 16]> =
        (0..4).filter_map(|number| view.bytes(446 + 16 * number)).collect();
    let makes_sense = |entry: &[u8; 16]| matches!(entry, [0 | 0x80, ..]);
    let is_used = |entry: &&[u8; 16]| matches!(entry, [_, _, _, _, kind, ..] if *kind != 0);
    let used = entries.iter().filter(is_used).count();
    if used == 0 || !entries.iter().all(makes_sense) {
        return None;
    }
    let id = view.u32(440).filter(|id| *id != 0).map(|id| format!("{id:08x}"));
    Some(Signature::new("dos", 510).identified(id).detailed(Some(partitions_text(used))))
}

fn partitions_text(count: usize) -> String {
    format!("{count} partition{}", if count == 1 { "" } else { "s" })
}
