//! An edit as one transaction in the image's own journal.
//!
//! Source: kernel, `fs/jbd2/commit.c`, `jbd2_journal_commit_transaction`; `fs/jbd2/recovery.c`.

use std::collections::BTreeMap;

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U16, U32, U64};

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::open::{seal_journal, sync};
use crate::edit::overlay::write;
use crate::error::{Error, internal};
use crate::format::checksum::{fold, fold_without};
use crate::format::units::{BlockIndex, BlockSize, widen};
use crate::metadata::Timestamp;
use crate::reader::device::Device as Blocks;
use crate::reader::inode;
use crate::reader::journal::Journal;
use crate::reader::layout::Layout;
use crate::reader::tags::tag_size;
use crate::record::journal::{
    COMMIT, CommitHeader, DESCRIPTOR, Header, Incompatible, JournalSuperblock, MAGIC,
    SUPERBLOCK_V2, TAG_UUID, TAIL_SIZE, Tag, Tag3, TagFlags,
};
use crate::record::{high32, low16, low32};

/// A transaction that has its place in the log.
pub(crate) struct Transaction {
    block: BlockSize,
    superblock: JournalSuperblock,
    features: Incompatible,
    seed: u32,
    /// The places on disk of the log's blocks from the first of the transaction on.
    places: Vec<u64>,
    /// Where the journal's superblock is.
    home: u64,
    /// The first block of the transaction, and the one behind its last.
    start: u32,
    end: u32,
    sequence: u32,
    time: Timestamp,
}

impl Transaction {
    /// Finds room for a transaction of these blocks in the journal, which is empty.
    pub(crate) fn plan<D: Device>(
        device: &D,
        (layout, number): (&Layout, u32),
        changed: &BTreeMap<u64, Vec<u8>>,
        time: Timestamp,
    ) -> EditResult<Self> {
        let blocks = Blocks::new(device).sized(layout.block, layout.blocks);
        let inode = inode::read(&blocks, layout, number)?;
        let journal = Journal::open(&blocks, &inode)?;
        let mut superblock = journal.superblock.clone();
        let features = features(&mut superblock, changed)?;
        let (first, last) = (superblock.first.get(), journal.last);
        let room = u64::from(last - first);
        let per = tags_per_block(layout.block, features);
        let count = widen(changed.len());
        let needed = count + count.div_ceil(widen(per)) + 1;
        if needed > room {
            let per = widen(per);
            let limit = (room - 1) * per / (per + 1);
            return Err(EditError::TooManyChanges { blocks: count, limit, place: "its journal" });
        }
        let head = superblock.head.get();
        let start = if (first..last).contains(&head) { head } else { first };
        // One more, which must not look like the next transaction.
        let used = (needed + 1).min(room);
        let ring = (start..last).chain(first..start);
        let numbers: Vec<u32> =
            ring.take(usize::try_from(used).map_err(|_| LOG_HAS_ROOM)?).collect();
        let places = numbers.iter().map(|block| journal.place(*block)).collect::<Result<_, _>>()?;
        let written = usize::try_from(needed).map_err(|_| LOG_HAS_ROOM)?;
        Ok(Self {
            block: layout.block,
            features,
            seed: journal.seed,
            places,
            home: journal.place(0)?,
            start,
            end: numbers.get(written).copied().unwrap_or(start),
            sequence: superblock.sequence.get().wrapping_add(1),
            superblock,
            time,
        })
    }

    /// Writes the blocks of the log; nothing leads to them yet.
    pub(crate) fn write_log<D: Device>(
        &self,
        device: &mut D,
        changed: &BTreeMap<u64, Vec<u8>>,
    ) -> EditResult<()> {
        let mut places = self.places.iter().copied();
        let mut put = |device: &mut D, bytes: &[u8]| match places.next() {
            Some(place) => {
                write(device, self.block.offset(BlockIndex::new(place)), bytes)?;
                Ok(places.len())
            }
            None => Err(EditError::from(LOG_HAS_ROOM)),
        };
        let blocks: Vec<(u64, &Vec<u8>)> = changed.iter().map(|(at, bytes)| (*at, bytes)).collect();
        for part in blocks.chunks(tags_per_block(self.block, self.features)) {
            let logged: Vec<Logged<'_>> =
                part.iter().map(|(block, bytes)| Logged::new(*block, bytes)).collect();
            put(device, &self.descriptor(&logged)?)?;
            for one in &logged {
                put(device, &one.bytes)?;
            }
        }
        let left = put(device, &self.commit_block()?)?;
        if left > 0 {
            put(device, &vec![0; self.block.len()])?;
        }
        Ok(())
    }

    fn has_sums(&self) -> bool {
        self.features.intersects(Incompatible::CSUM_V2 | Incompatible::CSUM_V3)
    }

    fn header(&self, kind: u32) -> Header {
        Header {
            magic: U32::new(MAGIC),
            blocktype: U32::new(kind),
            sequence: U32::new(self.sequence),
        }
    }

    fn descriptor(&self, logged: &[Logged<'_>]) -> EditResult<Vec<u8>> {
        let mut bytes = self.header(DESCRIPTOR).as_bytes().to_vec();
        for (place, one) in logged.iter().enumerate() {
            let mut flags = TagFlags::empty();
            flags.set(TagFlags::ESCAPE, one.escaped);
            flags.set(TagFlags::SAME_UUID, place > 0);
            flags.set(TagFlags::LAST, place + 1 == logged.len());
            self.add_tag(&mut bytes, one, flags);
            if place == 0 {
                bytes.extend_from_slice(&self.superblock.uuid);
            }
        }
        if bytes.len() > self.block.len() {
            return Err(LOG_HAS_ROOM.into());
        }
        bytes.resize(self.block.len(), 0);
        if self.has_sums() {
            let place = bytes.len() - TAIL_SIZE;
            let sum = fold(self.seed, &bytes);
            bytes.get_mut(place..).ok_or(LOG_HAS_ROOM)?.copy_from_slice(&sum.to_be_bytes());
        }
        Ok(bytes)
    }

    fn add_tag(&self, bytes: &mut Vec<u8>, one: &Logged<'_>, flags: TagFlags) {
        let (low, high) = (U32::new(low32(one.block)), U32::new(high32(one.block)));
        let sum = fold(fold(self.seed, &self.sequence.to_be_bytes()), &one.bytes);
        let end = bytes.len() + tag_size(self.features);
        if self.features.contains(Incompatible::CSUM_V3) {
            let flags = U32::new(flags.bits().into());
            let tag = Tag3 { blocknr: low, flags, blocknr_high: high, checksum: U32::new(sum) };
            bytes.extend_from_slice(tag.as_bytes());
        } else {
            let sum = if self.has_sums() { low16(sum) } else { 0 };
            let (checksum, flags) = (U16::new(sum), U16::new(flags.bits()));
            let tag = Tag { blocknr: low, checksum, flags, blocknr_high: high };
            bytes.extend_from_slice(tag.as_bytes());
        }
        bytes.resize(end, 0);
    }

    fn commit_block(&self) -> EditResult<Vec<u8>> {
        let record = CommitHeader {
            header: self.header(COMMIT),
            chksum_type: 0,
            chksum_size: 0,
            padding: [0; 2],
            chksum: [U32::ZERO; 8],
            commit_sec: U64::new(self.time.seconds.cast_unsigned()),
            commit_nsec: U32::new(self.time.nanoseconds),
        };
        let mut bytes = record.as_bytes().to_vec();
        bytes.resize(self.block.len(), 0);
        if self.has_sums() {
            let place = std::mem::offset_of!(CommitHeader, chksum);
            let sum = fold_without(self.seed, &bytes, place, TAIL_SIZE);
            let field = bytes.get_mut(place..place + TAIL_SIZE).ok_or(LOG_HAS_ROOM)?;
            field.copy_from_slice(&sum.to_be_bytes());
        }
        Ok(bytes)
    }

    /// Lets the journal's superblock lead to the transaction: from then on it is what a mount
    /// replays.
    pub(crate) fn publish<D: Device>(&self, device: &mut D) -> EditResult<()> {
        let mut superblock = self.superblock.clone();
        (superblock.start, superblock.sequence) = (U32::new(self.start), U32::new(self.sequence));
        self.write_superblock(device, superblock)
    }

    /// Marks the journal empty, when all blocks are at their places.
    pub(crate) fn retire<D: Device>(&self, device: &mut D) -> EditResult<()> {
        let mut superblock = self.superblock.clone();
        superblock.start = U32::ZERO;
        superblock.sequence = U32::new(self.sequence.wrapping_add(1));
        if superblock.head.get() != 0 {
            superblock.head = U32::new(self.end);
        }
        self.write_superblock(device, superblock)
    }

    fn write_superblock<D: Device>(
        &self,
        device: &mut D,
        superblock: JournalSuperblock,
    ) -> EditResult<()> {
        let offset = self.block.offset(BlockIndex::new(self.home));
        write(device, offset, seal_journal(superblock).as_bytes())?;
        sync(device)
    }
}

const LOG_HAS_ROOM: Error = internal("the log has room for the transaction");

/// A block as it lies in the log.
struct Logged<'a> {
    block: u64,
    bytes: std::borrow::Cow<'a, [u8]>,
    /// Its first bytes, which looked like a block of the journal's own, are zeros there.
    escaped: bool,
}

impl<'a> Logged<'a> {
    fn new(block: u64, bytes: &'a [u8]) -> Self {
        let magic = MAGIC.to_be_bytes();
        match bytes.strip_prefix(&magic) {
            None => Self { block, bytes: bytes.into(), escaped: false },
            Some(rest) => {
                let bytes = [&[0; 4], rest].concat();
                Self { block, bytes: bytes.into(), escaped: true }
            }
        }
    }
}

/// The features with which the transaction is written: those that there are, and `64bit` if a
/// block's number needs it.
fn features(
    superblock: &mut JournalSuperblock,
    changed: &BTreeMap<u64, Vec<u8>>,
) -> EditResult<Incompatible> {
    let is_new = superblock.header_blocktype.get() == SUPERBLOCK_V2;
    let mut features = Incompatible::empty();
    if is_new {
        features = Incompatible::from_bits_retain(superblock.feature_incompat.get());
    }
    let last = changed.last_key_value().map_or(0, |(block, _)| *block);
    if last > u64::from(u32::MAX) && !features.contains(Incompatible::BIT_64) {
        if !is_new {
            let reason = "blocks behind the first 2^32 have no numbers in it";
            return Err(refused("an image with a journal of version 1", reason));
        }
        features |= Incompatible::BIT_64;
        superblock.feature_incompat = U32::new(features.bits());
    }
    Ok(features)
}

/// How many blocks one descriptor block describes.
fn tags_per_block(block: BlockSize, features: Incompatible) -> usize {
    let has_sums = features.intersects(Incompatible::CSUM_V2 | Incompatible::CSUM_V3);
    let tail = if has_sums { TAIL_SIZE } else { 0 };
    (block.len() - size_of::<Header>() - TAG_UUID - tail) / tag_size(features)
}
