//! The formats that a few bytes at one place tell.

use super::{Signature, View};

/// A format with its signature in one place.
struct Simple {
    format: &'static str,
    offset: u64,
    magic: &'static [u8],
    id: Id,
    /// Where the label is, and its bytes.
    label: Option<(u64, usize)>,
}

/// Where a format has its UUID, and how.
enum Id {
    None,
    Uuid(u64),
    /// A serial number of 32 bits, as two words.
    Serial32(u64),
    /// A serial number of 64 bits.
    Serial64(u64),
}

const KIB: u64 = 1024;

const fn bare(format: &'static str, offset: u64, magic: &'static [u8]) -> Simple {
    Simple { format, offset, magic, id: Id::None, label: None }
}

const fn known(
    format: &'static str,
    place: (u64, &'static [u8]),
    id: Id,
    label: (u64, usize),
) -> Simple {
    let label = if label.1 == 0 { None } else { Some(label) };
    Simple { format, offset: place.0, magic: place.1, id, label }
}

const NO_LABEL: (u64, usize) = (0, 0);

/// Filesystems, volumes and images; sources beyond libblkid's: kernel, `fs/bcachefs/` (until 6.17),
/// `bcachefs_format.h`; QEMU, `docs/interop/qcow2.txt`.
const FORMATS: [Simple; 36] = [
    known("xfs", (0, b"XFSB"), Id::Uuid(32), (108, 12)),
    known(
        "btrfs",
        (64 * KIB + 0x40, b"_BHRfS_M"),
        Id::Uuid(64 * KIB + 0x20),
        (64 * KIB + 0x12b, 256),
    ),
    known("f2fs", (KIB, b"\x10\x20\xf5\xf2"), Id::Uuid(KIB + 108), NO_LABEL),
    known("erofs", (KIB, b"\xe2\xe1\xf5\xe0"), Id::Uuid(KIB + 48), (KIB + 64, 16)),
    known("bcachefs", (4 * KIB + 24, BCACHEFS), Id::Uuid(4 * KIB + 56), (4 * KIB + 72, 32)),
    known("bcache", (4 * KIB + 24, BCACHE), Id::Uuid(4 * KIB + 40), (4 * KIB + 72, 32)),
    known("iso9660", (32 * KIB + 1, b"CD001"), Id::None, (32 * KIB + 40, 32)),
    bare("udf", 32 * KIB + 1, b"BEA01"),
    known("reiserfs", (64 * KIB + 52, b"ReIsEr"), Id::Uuid(64 * KIB + 84), (64 * KIB + 100, 16)),
    known("jfs", (32 * KIB, b"JFS1"), Id::Uuid(32 * KIB + 136), (32 * KIB + 152, 16)),
    bare("hfsplus", KIB, b"H+\x00\x04"),
    bare("hfsplus", KIB, b"HX\x00\x05"),
    bare("nilfs2", KIB, b"\x02\0\0\0\0\0\x34\x34"),
    known("exfat", (3, b"EXFAT   "), Id::Serial32(100), NO_LABEL),
    known("ntfs", (3, b"NTFS    "), Id::Serial64(72), NO_LABEL),
    bare("BitLocker", 3, b"-FVE-FS-"),
    known("apfs", (32, b"NXSB"), Id::Uuid(72), NO_LABEL),
    bare("gfs2", 64 * KIB, b"\x01\x16\x19\x70"),
    bare("ocfs2", KIB, b"OCFSV2"),
    bare("ocfs2", 2 * KIB, b"OCFSV2"),
    bare("ocfs2", 4 * KIB, b"OCFSV2"),
    bare("ocfs2", 8 * KIB, b"OCFSV2"),
    bare("squashfs", 0, b"hsqs"),
    bare("squashfs", 0, b"sqsh"),
    bare("cramfs", 0, b"\x45\x3d\xcd\x28"),
    bare("romfs", 0, b"-rom1fs-"),
    bare("ceph_bluestore", 0, b"bluestore block device"),
    bare("vdo", 0, b"dmvdo001"),
    bare("stratis", 512 + 4, b"!Stra0tis\x86\xff\x02^\x41rh"),
    known("DM_verity_hash", (0, b"verity\0\0"), Id::Uuid(16), NO_LABEL),
    bare("DM_integrity", 0, b"integrt\0"),
    bare("swsuspend", 4086, b"S1SUSPEND"),
    bare("qcow2", 0, b"QFI\xfb"),
    bare("vmdk", 0, b"KDMV"),
    bare("vhdx", 0, b"vhdxfile"),
    bare("vdi", 64, b"\x7f\x10\xda\xbe"),
];

const BCACHEFS: &[u8] = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";

pub(super) fn simple(view: &View) -> Vec<Signature> {
    let found = FORMATS.iter().filter(|simple| view.has(simple.offset, simple.magic));
    let mut found: Vec<Signature> = found.map(|simple| simple.signature(view)).collect();
    found.extend(fat(view));
    found
}

impl Simple {
    fn signature(&self, view: &View) -> Signature {
        let id = match self.id {
            Id::None => None,
            Id::Uuid(offset) => view.uuid(offset),
            Id::Serial32(offset) => view.u32(offset).map(serial),
            Id::Serial64(offset) => view.u64(offset).map(|number| format!("{number:016X}")),
        };
        let label = self.label.and_then(|(offset, length)| view.at(offset, length));
        Signature::new(self.format, self.offset).labelled(label).identified(id)
    }
}

/// A serial number as DOS shows it.
fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xffff)
}

/// FAT, which has its name behind the parameters that its kind has, and the mark of a boot sector.
fn fat(view: &View) -> Option<Signature> {
    if !view.has(510, b"\x55\xaa") {
        return None;
    }
    let (name, serial_at, label) = if view.has(82, b"FAT32   ") {
        (82, 67, 71)
    } else if [&b"FAT12   "[..], b"FAT16   ", b"FAT     "].iter().any(|name| view.has(54, name)) {
        (54, 39, 43)
    } else {
        return None;
    };
    let label = view.at(label, 11).filter(|label| *label != b"NO NAME    ");
    let id = view.u32(serial_at).map(serial);
    Some(Signature::new("vfat", name).labelled(label).identified(id))
}
