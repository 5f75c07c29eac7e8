//! Changes that go to their places directly, under an undo file or in an image that nobody has yet.
//!
//! What a new UUID or size changes may be more than memory is taken for. So it is made as it is
//! needed, some at a time: once to keep what is there, and once again to be written.

use std::collections::{BTreeMap, BTreeSet};

use crate::edit::device::Device;
use crate::edit::error::EditResult;
use crate::edit::filesystem::Filesystem;
use crate::edit::open::sync;
use crate::edit::overlay::write;
use crate::edit::undo::{self, Keeper, Undo};
use crate::error::{Error, internal};
use crate::format::units::BlockIndex;
use crate::reader::layout::SUPERBLOCK_OFFSET;

/// So many bytes of changed blocks are made before they go on.
const PIECE: usize = 4 << 20;

/// Where changed blocks go; each goes there once.
pub(crate) enum Drain<'a> {
    /// What they hold now goes to an undo file.
    Keep(Keeper<'a>, BTreeSet<u64>),
    /// They are written to their places.
    Write,
}

impl<D: Device> Filesystem<D> {
    /// Brings the changes to their places while an undo file keeps what was there; the superblock is
    /// the last of them.
    pub(crate) fn commit_in_place(mut self, mut undo: Box<dyn Undo>) -> EditResult<D> {
        self.overlay.lay_upper();
        let keeper = Keeper::new(undo.as_mut(), self.layout.block, self.device_length)?;
        let mut drain = Drain::Keep(keeper, BTreeSet::new());
        self.send_all(&mut drain)?;
        let Drain::Keep(mut keeper, kept) = drain else { return Err(KEPT_FIRST.into()) };
        let rest = self.overlay.changed().iter().filter(|(block, _)| !kept.contains(block));
        keeper.keep(self.overlay.device(), rest)?;
        keeper.finish()?;
        let device = self.write_last()?;
        undo.remove().map_err(undo::failed)?;
        Ok(device)
    }

    /// Brings the changes to their places in an image that is of no use after a cut.
    pub(crate) fn commit_unpublished(mut self) -> EditResult<D> {
        self.overlay.lay_upper();
        self.write_last()
    }

    /// Writes all changes, the superblock behind a sync.
    fn write_last(mut self) -> EditResult<D> {
        self.send_all(&mut Drain::Write)?;
        let block = self.layout.block;
        let holder = SUPERBLOCK_OFFSET / block.bytes();
        let mut changed = self.overlay.take_changed();
        let last = changed.remove(&holder).ok_or(MISSING)?;
        self.overlay.write(&changed)?;
        let (mut device, _) = self.overlay.into_parts();
        if !self.is_unpublished {
            sync(&mut device)?;
        }
        write(&mut device, block.offset(BlockIndex::new(holder)), &last)?;
        sync(&mut device)?;
        Ok(device)
    }

    /// Makes and sends what follows from a new UUID or size; the block of the superblock is none of
    /// it.
    fn send_all(&mut self, drain: &mut Drain<'_>) -> EditResult<()> {
        if let Some(uuid) = self.new_uuid {
            self.reseed(uuid, drain)?;
        }
        if self.is_reshaped {
            self.write_backups(drain)?;
        }
        self.send(drain, |_| true)
    }

    /// Sends blocks on if they are many; `takes` says which.
    pub(crate) fn send_many(
        &mut self,
        drain: &mut Drain<'_>,
        takes: impl Fn(u64) -> bool,
    ) -> EditResult<()> {
        if self.overlay.upper_len() * self.layout.block.len() < PIECE {
            return Ok(());
        }
        self.send(drain, takes)
    }

    fn send(&mut self, drain: &mut Drain<'_>, takes: impl Fn(u64) -> bool) -> EditResult<()> {
        let blocks: BTreeMap<u64, Vec<u8>> = self.overlay.take_upper(takes);
        match drain {
            Drain::Keep(keeper, kept) => {
                let changed = self.overlay.changed();
                kept.extend(blocks.keys().filter(|block| changed.contains_key(block)));
                keeper.keep(self.overlay.device(), blocks.iter())
            }
            Drain::Write => self.overlay.write(&blocks),
        }
    }
}

const MISSING: Error = internal("the superblock is among the changes");
const KEPT_FIRST: Error = internal("what is there is kept before it is changed");
