//! Which images are changed, and what is done to one before: its journal is replayed, in place.

use std::collections::{BTreeMap, BTreeSet};

use zerocopy::IntoBytes;
use zerocopy::big_endian::U32 as Big;
use zerocopy::little_endian::U32;

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::overlay::{Overlay, write};
use crate::edit::runs::Runs;
use crate::format::checksum::fold;
use crate::format::units::BlockIndex;
use crate::metadata::Timestamp;
use crate::reader::device::Device as Blocks;
use crate::reader::journal::Journal;
use crate::reader::layout::{Layout, SUPERBLOCK_OFFSET};
use crate::reader::{self, Part, ReadError, Reader, Recovery, device};
use crate::record::feature::Feature;
use crate::record::journal::{Incompatible, JournalSuperblock, MAGIC, SUPERBLOCK_V2};
use crate::record::superblock::{STATE_ERRORS, STATE_VALID, Superblock};

/// `s_creator_os`: the Hurd, whose inodes have other fields.
const HURD: u32 = 1;

/// The features of which an image is not changed, with the reason.
const REFUSED: [(Feature, &str); 11] = [
    (Feature::Incompatible(0x0008), "it is a journal, not a filesystem"),
    (Feature::Incompatible(0x0100), "several machines may write to it at once"),
    (Feature::ReadOnly(0x0080), "its blocks may belong to snapshots"),
    (Feature::ReadOnly(0x0100), "its quota files would not be kept true; turn it off by tune2fs"),
    (Feature::BIGALLOC, "clusters are not allocated here"),
    (Feature::ReadOnly(0x0800), "replicas are not kept here"),
    (Feature::ReadOnly(0x1000), "it says of itself that it is not to be changed"),
    (Feature::PROJECT, "the projects of new files are not kept here; turn it off by tune2fs"),
    (Feature::ReadOnly(0x4000), "its blocks may belong to several files"),
    (
        Feature::ReadOnly(0x1_0000),
        "files that were open when it crashed are not cleaned up yet; \
        mount it once, or run e2fsck -p",
    ),
    (Feature::Compatible(0x0002), "its inodes have other fields"),
];
/// The read-only-compatible features of which images are changed.
const KNOWN_READ_ONLY: u32 = 0x0001 // sparse_super
    | 0x0002 // large_file
    | 0x0004 // btree_dir, which no kernel uses
    | 0x0008 // huge_file
    | 0x0010 // uninit_bg
    | 0x0020 // dir_nlink
    | 0x0040 // extra_isize
    | 0x0400 // metadata_csum
    | 0x8000; // verity

impl<D: Device> Filesystem<D> {
    /// Opens the filesystem on a device that is to be changed.
    pub(crate) fn open(mut device: D, time: Timestamp) -> EditResult<Self> {
        let (superblock, layout) = superblock(&device)?;
        check_features(&layout)?;
        check_state(&superblock)?;
        let recovery = recover(&mut device)?;
        let (superblock, layout) = self::superblock(&device)?;
        check_features(&layout)?;
        check_state(&superblock)?;
        if superblock.last_orphan.get() != 0 {
            let reason = "files that were open when it crashed are not cleaned up yet; mount it \
                once, or run e2fsck -p";
            return Err(refused("an image with orphans", reason));
        }
        let block = layout.block;
        let length = device.length().map_err(|source| EditError::Sync { source })?;
        let mut filesystem = Self {
            overlay: Overlay::new(device, block, length),
            layout,
            superblock,
            groups: BTreeMap::new(),
            fresh: Runs::default(),
            freed: Runs::default(),
            freed_inodes: BTreeMap::new(),
            detached: BTreeSet::new(),
            system: Runs::default(),
            free_blocks: 0,
            free_inodes: 0,
            time,
            flush_at: 0,
            is_changed: false,
            is_reshaped: false,
            new_uuid: None,
            is_unpublished: false,
            recovery,
            device_length: length,
            device_blocks: length / block.bytes(),
        };
        filesystem.survey()?;
        Ok(filesystem)
    }
}

fn superblock<D: Device>(device: &D) -> EditResult<(Superblock, Layout)> {
    Ok(reader::superblock(&Blocks::new(device))?)
}

fn check_features(layout: &Layout) -> EditResult<()> {
    for (feature, reason) in REFUSED {
        if layout.has(feature) {
            return Err(refused(format!("an image with {}", feature.name()), reason));
        }
    }
    let unknown = layout.features.read_only & !KNOWN_READ_ONLY;
    if unknown != 0 {
        let feature = Feature::ReadOnly(1 << unknown.trailing_zeros());
        let reason = "a filesystem with this feature can be read without knowing it, not changed";
        return Err(refused(format!("an image with {}", feature.name()), reason));
    }
    Ok(())
}

fn check_state(superblock: &Superblock) -> EditResult<()> {
    let state = superblock.state.get();
    if state & STATE_ERRORS != 0 {
        return Err(refused("an image with errors", "its superblock says so; run e2fsck -f"));
    }
    if state & STATE_VALID == 0 {
        return Err(refused("an image that was not unmounted", "it has no journal; run e2fsck"));
    }
    if superblock.creator_os.get() == HURD {
        return Err(refused("an image of the Hurd", "its inodes have other fields"));
    }
    Ok(())
}

/// A journal that is to be marked as empty.
struct Pending {
    replaced: device::Overlay,
    recovery: Recovery,
    superblock: JournalSuperblock,
    /// Where that is, in bytes.
    offset: u64,
}

/// What the journal holds; nothing if the image was unmounted.
fn pending<D: Device>(device: &D, layout: &Layout, number: u32) -> EditResult<Option<Pending>> {
    let unreplayed = Reader::open_unreplayed(device)?;
    let inode = unreplayed.journal_inode(number)?;
    let blocks = Blocks::new(device).sized(layout.block, layout.blocks);
    let journal = Journal::open(&blocks, &inode)?;
    check_journal(&journal.superblock)?;
    if journal.superblock.start.get() != 0 && !layout.has(Feature::NEEDS_RECOVERY) {
        let what = "a journal of which the superblock says that it is empty";
        return Err(refused(what, "it holds transactions; run e2fsck"));
    }
    let superblock = journal.superblock.clone();
    let offset = layout.block.offset(BlockIndex::new(journal.place(0)?));
    // In memory first: it examines what the filesystem will be.
    let replayed = Reader::open(device)?.into_replaced();
    Ok(replayed.map(|(replaced, recovery)| Pending { replaced, recovery, superblock, offset }))
}

/// Brings what the journal holds to its places, and marks it empty; what it held if it was not
/// known to be empty.
pub(crate) fn recover<D: Device>(device: &mut D) -> EditResult<Option<Recovery>> {
    let (old, layout) = superblock(device)?;
    if !layout.has(Feature::HAS_JOURNAL) {
        if layout.has(Feature::NEEDS_RECOVERY) {
            let detail = "it is to be recovered, without a journal";
            return Err(ReadError::corrupt(Part::Superblock, detail).into());
        }
        return Ok(None);
    }
    let number = old.journal_inum.get();
    if number == 0 {
        return Err(refused("an image with a journal on another device", "that would be needed"));
    }
    let Some(found) = pending(device, &layout, number)? else { return Ok(None) };
    for (block, from) in found.replaced {
        let mut bytes = vec![0; layout.block.len()];
        device::read(&*device, layout.block.offset(from.at), &mut bytes)?;
        if let Some(start) = bytes.first_chunk_mut().filter(|_| from.escaped) {
            *start = MAGIC.to_be_bytes();
        }
        write(device, layout.block.offset(BlockIndex::new(block)), &bytes)?;
    }
    sync(device)?;
    let mut journal = found.superblock;
    if journal.start.get() != 0 {
        // The kernel leaves one number out behind the last (fs/jbd2/recovery.c,
        // jbd2_journal_recover).
        let sequence = journal.sequence.get().wrapping_add(found.recovery.transactions);
        journal.sequence = Big::new(sequence.wrapping_add(1));
        journal.start = Big::ZERO;
        write(device, found.offset, seal_journal(journal).as_bytes())?;
        sync(device)?;
    }
    let (superblock, layout) = superblock(device)?;
    write_superblock(device, &layout, &superblock, false)?;
    sync(device)?;
    Ok(Some(found.recovery))
}

fn check_journal(superblock: &JournalSuperblock) -> EditResult<()> {
    let errno = superblock.errno.get();
    if errno == 0 {
        return Ok(());
    }
    let what = format!("an image whose journal was aborted with error {}", errno.cast_signed());
    Err(refused(what, "run e2fsck"))
}

/// The journal's superblock with its sum.
pub(crate) fn seal_journal(mut superblock: JournalSuperblock) -> JournalSuperblock {
    let features = Incompatible::from_bits_retain(superblock.feature_incompat.get());
    let is_new = superblock.header_blocktype.get() == SUPERBLOCK_V2;
    if is_new && features.intersects(Incompatible::CSUM_V2 | Incompatible::CSUM_V3) {
        superblock.checksum = Big::ZERO;
        superblock.checksum = Big::new(fold(u32::MAX, superblock.as_bytes()));
    }
    superblock
}

/// Writes the superblock to its place, its journal to be replayed or not.
pub(crate) fn write_superblock<D: Device>(
    device: &mut D,
    layout: &Layout,
    superblock: &Superblock,
    needs_recovery: bool,
) -> EditResult<()> {
    let sealed = layout.seed.seal_superblock(flagged(superblock, needs_recovery));
    write(device, SUPERBLOCK_OFFSET, sealed.as_bytes())
}

/// The superblock, its journal to be replayed or not.
pub(crate) fn flagged(superblock: &Superblock, needs_recovery: bool) -> Superblock {
    let mut superblock = superblock.clone();
    let Feature::Incompatible(bit) = Feature::NEEDS_RECOVERY else { return superblock };
    let others = superblock.feature_incompat.get() & !bit;
    superblock.feature_incompat = U32::new(if needs_recovery { others | bit } else { others });
    superblock
}

/// Waits until everything is safe on the disk.
pub(crate) fn sync<D: Device>(device: &mut D) -> EditResult<()> {
    device.sync().map_err(|source| EditError::Sync { source })
}
