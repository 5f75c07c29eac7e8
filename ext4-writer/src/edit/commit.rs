//! What an edit changed, brought to the disk in one step.

use std::collections::BTreeMap;

use zerocopy::little_endian::U32;

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::journal::Transaction;
use crate::edit::open::{flagged, sync, write_superblock};
use crate::edit::overlay::write;
use crate::edit::undo::{InPlace, Undo};
use crate::error::internal;
use crate::reader;
use crate::reader::device::Device as Blocks;
use crate::reader::layout::{Layout, SUPERBLOCK_OFFSET};
use crate::record::feature::Feature;
use crate::record::superblock::Superblock;
use crate::record::{high32, low32};
use crate::units::{BlockCount, BlockIndex};

impl<D: Device> Filesystem<D> {
    /// Brings all changes to the disk: after a cut at any moment there is the old filesystem or the
    /// new one, once its journal was replayed or its undo file applied.
    pub(crate) fn commit(mut self, undo: Option<Box<dyn Undo>>) -> EditResult<D> {
        if !self.is_changed {
            return Ok(self.overlay.into_parts().0);
        }
        self.release()?;
        self.seal_groups()?;
        self.seal_superblock()?;
        if self.is_reshaped {
            self.write_backups()?;
            self.lengthen_device()?;
        }
        self.flush_fresh()?;
        sync(self.overlay.device_mut())?;
        let Self { overlay, layout, superblock, is_reshaped, time, device_length, .. } = self;
        let (mut device, mut changed) = overlay.into_parts();
        let has_journal = layout.has(Feature::HAS_JOURNAL) && !is_reshaped;
        let number = superblock.journal_inum.get();
        let planned =
            has_journal.then(|| Transaction::plan(&device, (&layout, number), &changed, time));
        match (planned, undo) {
            (Some(Ok(transaction)), _) => {
                by_journal(&mut device, (&layout, &superblock), &transaction, &mut changed)?;
            }
            (None | Some(Err(EditError::TooManyChanges { .. })), Some(mut undo)) => {
                let holder = SUPERBLOCK_OFFSET / layout.block.bytes();
                let mut place =
                    InPlace { device: &mut device, length: device_length, block: layout.block };
                place.change(undo.as_mut(), &changed, holder)?;
            }
            (Some(Err(error)), _) => return Err(error),
            (None, None) => {
                let what = if is_reshaped { "size or UUID" } else { "an image without a journal" };
                let reason = "only an undo file can make it safe, and none was given";
                return Err(refused(what, reason));
            }
        }
        Ok(device)
    }

    /// Makes the device as long as the filesystem.
    fn lengthen_device(&mut self) -> EditResult<()> {
        let needed = self.layout.block.bytes_in(BlockCount::new(self.layout.blocks));
        let failed = |source| EditError::Sync { source };
        let device = self.overlay.device_mut();
        if device.length().map_err(failed)? < needed {
            device.set_length(needed).map_err(failed)?;
        }
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
    for (block, bytes) in &*changed {
        write(device, layout.block.offset(BlockIndex::new(*block)), bytes)?;
    }
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
    let start = usize::try_from(SUPERBLOCK_OFFSET % block).unwrap_or_default();
    let holder = changed.get_mut(&(SUPERBLOCK_OFFSET / block)).ok_or(missing)?;
    let missing = internal("the superblock is within its block");
    holder.get_mut(start..start + bytes.len()).ok_or(missing)?.copy_from_slice(bytes);
    Ok(())
}
