//! What an edit changed, brought to the disk in one step.

use std::collections::BTreeMap;

use zerocopy::little_endian::U32;

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult};
use crate::edit::filesystem::Filesystem;
use crate::edit::journal::Transaction;
use crate::edit::open::{flagged, sync, write_superblock};
use crate::edit::overlay::write_all;
use crate::edit::undo::Undo;
use crate::error::internal;
use crate::format::units::{BlockCount, length};
use crate::reader;
use crate::reader::device::Device as Blocks;
use crate::reader::layout::{Layout, SUPERBLOCK_OFFSET};
use crate::record::feature::Feature;
use crate::record::superblock::Superblock;
use crate::record::{high32, low32};

impl<D: Device> Filesystem<D> {
    /// Brings all changes to the disk: after a cut at any moment there is the old filesystem or the
    /// new one, once its journal was replayed or its undo file applied.
    pub(crate) fn commit(mut self, undo: Option<Box<dyn Undo>>) -> EditResult<D> {
        if !self.is_changed {
            return Ok(self.overlay.into_parts().0);
        }
        if let Some(node) = self.detached.first() {
            return Err(EditError::Detached { node: *node });
        }
        if self.is_reshaped && undo.is_none() && !self.is_unpublished {
            return Err(EditError::NeedsUndo { what: "size or UUID" });
        }
        self.release()?;
        self.seal_groups()?;
        self.seal_superblock()?;
        if self.is_reshaped {
            self.lengthen_device()?;
        }
        self.flush_fresh()?;
        match self.way(undo)? {
            Way::Journal(transaction) => self.commit_by_journal(&transaction),
            Way::Unpublished => self.commit_unpublished(),
            Way::InPlace(undo) => self.commit_in_place(undo),
        }
    }

    /// How the changes come to their places.
    fn way(&self, undo: Option<Box<dyn Undo>>) -> EditResult<Way> {
        if self.is_unpublished {
            return Ok(Way::Unpublished);
        }
        let (device, changed) = (self.overlay.device(), self.overlay.changed());
        if self.layout.has(Feature::HAS_JOURNAL) && !self.is_reshaped {
            let journal = (&self.layout, self.superblock.journal_inum.get());
            match (Transaction::plan(device, journal, changed, self.time), &undo) {
                (Ok(transaction), _) => return Ok(Way::Journal(Box::new(transaction))),
                (Err(EditError::TooManyChanges { .. }), Some(_)) => {}
                (Err(error), _) => return Err(error),
            }
        }
        undo.map(Way::InPlace).ok_or(EditError::NeedsUndo { what: "an image without a journal" })
    }

    fn commit_by_journal(self, transaction: &Transaction) -> EditResult<D> {
        let Self { overlay, layout, superblock, .. } = self;
        let is_written = overlay.is_written();
        let (mut device, mut changed) = overlay.into_parts();
        // Only now nothing but the device can fail.
        if is_written {
            sync(&mut device)?;
        }
        by_journal(&mut device, (&layout, &superblock), transaction, &mut changed)?;
        Ok(device)
    }

    /// Makes the device as long as the filesystem.
    pub(crate) fn lengthen_device(&mut self) -> EditResult<()> {
        let needed = self.layout.block.bytes_in(BlockCount::new(self.layout.blocks));
        self.overlay.lengthen(needed).map_err(|source| EditError::Sync { source })?;
        self.device_blocks = self.device_blocks.max(self.layout.blocks);
        Ok(())
    }

    /// Puts the superblock with its counts into the overlay.
    fn seal_superblock(&mut self) -> EditResult<()> {
        let superblock = &mut self.superblock;
        superblock.free_blocks_count_lo = U32::new(low32(self.free_blocks));
        if self.layout.has(Feature::BIT_64) {
            superblock.free_blocks_count_hi = U32::new(high32(self.free_blocks));
        }
        superblock.free_inodes_count = U32::new(low32(self.free_inodes));
        let seconds = self.time.seconds.clamp(0, 0xff_ffff_ffff).cast_unsigned();
        superblock.wtime = U32::new(low32(seconds));
        let [high, ..] = high32(seconds).to_le_bytes();
        superblock.wtime_hi = high;
        let sealed = self.layout.seed.seal_superblock(superblock.clone());
        self.patch(SUPERBLOCK_OFFSET, sealed.as_bytes())
    }
}

/// How changed blocks come to their places.
enum Way {
    Journal(Box<Transaction>),
    InPlace(Box<dyn Undo>),
    Unpublished,
}

/// Brings changed blocks to their places through the journal. A cut before its superblock leads to
/// the transaction leaves the old filesystem; behind that, what replays it has the new one.
fn by_journal<D: Device>(
    device: &mut D,
    (layout, superblock): (&Layout, &Superblock),
    transaction: &Transaction,
    changed: &mut BTreeMap<u64, Vec<u8>>,
) -> EditResult<()> {
    let (old, _) = reader::superblock(&Blocks::new(&*device))?;
    // What is replayed after a cut in the middle of the replay says so still.
    let sealed = layout.seed.seal_superblock(flagged(superblock, true));
    put_superblock(changed, layout.block.bytes(), sealed.as_bytes())?;
    transaction.write_log(device, changed)?;
    sync(device)?;
    write_superblock(device, layout, &old, true)?;
    sync(device)?;
    transaction.publish(device)?;
    write_all(device, layout.block, changed.iter().map(|(block, bytes)| (*block, bytes)))?;
    sync(device)?;
    transaction.retire(device)?;
    write_superblock(device, layout, superblock, false)?;
    sync(device)
}

/// Lays the superblock over the block that holds it.
fn put_superblock(
    changed: &mut BTreeMap<u64, Vec<u8>>,
    block: u64,
    bytes: &[u8],
) -> EditResult<()> {
    let missing = internal("the superblock is among the changes");
    let start = length(SUPERBLOCK_OFFSET % block)?;
    let holder = changed.get_mut(&(SUPERBLOCK_OFFSET / block)).ok_or(missing)?;
    let missing = internal("the superblock is within its block");
    holder.get_mut(start..start + bytes.len()).ok_or(missing)?.copy_from_slice(bytes);
    Ok(())
}
