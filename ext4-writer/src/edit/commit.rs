//! What an edit changed, brought to the disk in one step.

use std::collections::BTreeMap;

use zerocopy::little_endian::U32;

use crate::edit::device::Device;
use crate::edit::error::{EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::journal::Transaction;
use crate::edit::open::{flagged, sync, write_superblock};
use crate::edit::overlay::write;
use crate::error::internal;
use crate::reader;
use crate::reader::device::Device as Blocks;
use crate::reader::features::Feature;
use crate::reader::layout::SUPERBLOCK_OFFSET;
use crate::record::{high32, low32};
use crate::units::BlockIndex;

impl<D: Device> Filesystem<D> {
    /// Brings all changes to the disk: after a cut at any moment there is the old filesystem or the
    /// new one.
    pub(crate) fn commit(mut self) -> EditResult<D> {
        if !self.is_changed {
            return Ok(self.overlay.into_parts().0);
        }
        self.release()?;
        self.seal_groups()?;
        self.seal_superblock()?;
        self.flush_fresh()?;
        sync(self.overlay.device_mut())?;
        let layout = self.layout;
        let (mut device, mut changed) = self.overlay.into_parts();
        let number = self.superblock.journal_inum.get();
        if !layout.has(Feature::HAS_JOURNAL) {
            return Err(refused(
                "an image without a journal",
                "a cut would leave half of the edit",
            ));
        }
        let transaction = Transaction::plan(&device, (&layout, number), &changed, self.time)?;
        let (old, _) = reader::superblock(&Blocks::new(&device))?;
        // What is replayed after a cut in the middle of the replay says so still.
        let sealed = layout.seed.seal_superblock(flagged(&self.superblock, true));
        put_superblock(&mut changed, layout.block.bytes(), sealed.as_bytes())?;
        transaction.write_log(&mut device, &changed)?;
        sync(&mut device)?;
        write_superblock(&mut device, &layout, &old, true)?;
        sync(&mut device)?;
        transaction.publish(&mut device)?;
        for (block, bytes) in &changed {
            write(&mut device, layout.block.offset(BlockIndex::new(*block)), bytes)?;
        }
        sync(&mut device)?;
        transaction.retire(&mut device)?;
        write_superblock(&mut device, &layout, &self.superblock, false)?;
        sync(&mut device)?;
        Ok(device)
    }

    /// Puts the superblock with its counts into the overlay.
    fn seal_superblock(&mut self) -> EditResult<()> {
        let superblock = &mut self.superblock;
        superblock.free_blocks_count_lo = U32::new(low32(self.free_blocks));
        if self.layout.has(Feature::WIDE) {
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
