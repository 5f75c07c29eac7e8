//! What a file without a filesystem of ours holds instead, as far as a message can help with it.

use ext4_writer::reader::Source;

use super::Window;
use crate::signature::signatures;

/// The bytes of a sector, in which partition tables count.
const SECTOR: u64 = 512;
/// How many partitions a message names.
const NAMED: usize = 4;
/// How many entries of a GPT are looked at, and how long one is at most.
const GPT_ENTRIES: u32 = 128;
const GPT_ENTRY: u64 = 4096;

/// Archives and compressed data, by the bytes at a place: nothing that a disk holds, but what people
/// have instead of an image.
const ARCHIVES: [(u64, &[u8], &str); 4] = [
    (0, b"\x1f\x8b", "data compressed by gzip"),
    (0, b"\x28\xb5\x2f\xfd", "data compressed by zstd"),
    (0, b"\xfd7zXZ\0", "data compressed by xz"),
    (257, b"ustar", "a tar archive"),
];

/// What was found, and what to try.
pub(super) struct ForeignFormat {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

/// What `source` holds, if it is anything known but a filesystem of ours.
pub(super) fn found(source: &Window) -> Option<ForeignFormat> {
    // What cannot be read is told by whoever wanted the filesystem.
    let signatures = signatures(source).unwrap_or_default();
    let is_ours = |format: &str| format.starts_with("ext") || format == "jbd";
    let other = signatures.iter().find(|signature| !is_ours(signature.format))?;
    match other.format {
        "gpt" => [SECTOR, 4096]
            .into_iter()
            .find_map(|size| gpt(source, size))
            .map(|starts| partitioned("a disk with a GUID partition table", &starts)),
        "dos" => {
            mbr(source).map(|starts| partitioned("a disk with an MBR partition table", &starts))
        }
        _ => None,
    }
    .or_else(|| Some(ForeignFormat { what: other.to_string(), hint: None }))
}

/// Which archive or compressed data `source` is.
pub(super) fn archive(source: &Window) -> Option<ForeignFormat> {
    let known = ARCHIVES.iter().find(|(place, bytes, _)| {
        let mut found = vec![0; bytes.len()];
        source.read_at(*place, &mut found).is_ok() && found == *bytes
    });
    known.map(|(_, _, what)| ForeignFormat { what: (*what).to_owned(), hint: None })
}

fn partitioned(what: &str, starts: &[(usize, u64)]) -> ForeignFormat {
    let named: Vec<_> = starts
        .iter()
        .take(NAMED)
        .map(|(number, start)| format!("partition {number} at byte {start}"))
        .collect();
    let more = if starts.len() > NAMED { ", …" } else { "" };
    let what = if named.is_empty() {
        format!("{what}, which is empty")
    } else {
        format!("{what}: {}{more}", named.join(", "))
    };
    let hint = starts.first().map(|(_, start)| {
        format!("look into one of them by --offset BYTES, such as --offset {start}")
    });
    ForeignFormat { what, hint }
}

/// The numbers and first bytes of the partitions of an MBR.
///
/// Source: UEFI specification, 5.2.1 "Legacy Master Boot Record".
fn mbr(source: &Window) -> Option<Vec<(usize, u64)>> {
    let mut sector = [0; 512];
    source.read_at(0, &mut sector).ok()?;
    let (entries, _) = sector.get(446..510)?.as_chunks::<16>();
    let starts = entries.iter().zip(1..).filter_map(|(entry, number)| {
        let [_, _, _, _, kind, _, _, _, a, b, c, d, ..] = *entry;
        let start = u64::from(u32::from_le_bytes([a, b, c, d])).checked_mul(SECTOR)?;
        (kind != 0 && start != 0).then_some((number, start))
    });
    Some(starts.collect())
}

/// The numbers and first bytes of the partitions of a GPT on sectors of this size.
///
/// Source: UEFI specification, 5.3.2 "GPT Header", 5.3.3 "GPT Partition Entry Array".
fn gpt(source: &Window, sector: u64) -> Option<Vec<(usize, u64)>> {
    let mut header = [0; 92];
    source.read_at(sector, &mut header).ok()?;
    if !header.starts_with(b"EFI PART") {
        return None;
    }
    let word = |place: usize| {
        let bytes = header.get(place..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    let table = u64::from(word(72)) | u64::from(word(76)) << 32;
    let (count, length) = (word(80).min(GPT_ENTRIES), u64::from(word(84)).clamp(128, GPT_ENTRY));
    let mut starts = Vec::new();
    for number in 0..count {
        let place = u64::from(number).checked_mul(length)?.checked_add(table.checked_mul(sector)?);
        let mut entry = [0; 40];
        if place.is_none_or(|place| source.read_at(place, &mut entry).is_err()) {
            break;
        }
        let (kind, rest) = entry.split_at(16);
        let first = rest.get(16..).and_then(<[u8]>::first_chunk);
        let first = first.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if let Some(start) =
            first.checked_mul(sector).filter(|_| kind.iter().any(|byte| *byte != 0))
        {
            starts.push((usize::try_from(number).unwrap_or_default().saturating_add(1), start));
        }
    }
    Some(starts)
}
