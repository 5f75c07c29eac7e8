//! Contents read back from the sink, before the filesystem is finished.

use crate::error::{Error, Result, internal};
use crate::format::extent::Extent;
use crate::format::units::{BlockCount, BlockSize, at_most, length, widen};
use crate::reader::Source;

/// Fills `buffer` from the byte `offset` of a file on, which it must not pass the end of.
pub(crate) fn load<S: Source>(
    sink: &S,
    block_size: BlockSize,
    extents: &[Extent],
    offset: u64,
    buffer: &mut [u8],
) -> Result<()> {
    let end = offset.checked_add(widen(buffer.len())).ok_or(EXTENT_IS_CLIPPED)?;
    buffer.fill(0);
    for extent in extents.iter().filter(|extent| !extent.unwritten) {
        let first = block_size.bytes_in(BlockCount::new(u64::from(extent.at.get())));
        let (from, to) =
            (offset.max(first), end.min(first + block_size.bytes_in(extent.run.length)));
        if from >= to {
            continue;
        }
        // Both lie behind `offset`, and the first behind the extent's start.
        let place = length(from - offset)?..length(to - offset)?;
        let target = buffer.get_mut(place).ok_or(EXTENT_IS_CLIPPED)?;
        let at = block_size.offset(extent.run.start) + (from - first);
        read_back(sink, at, target)?;
    }
    Ok(())
}

/// Reads from a sink that may end early: zeros at its end were not written.
fn read_back<S: Source>(sink: &S, offset: u64, target: &mut [u8]) -> Result<()> {
    let length = widen(target.len());
    let failed = |source| Error::ReadImage { offset, length, source };
    let Some(there) = sink.length().map_err(failed)?.checked_sub(offset) else { return Ok(()) };
    let there = at_most(there, target.len());
    match target.get_mut(..there).ok_or(EXTENT_IS_CLIPPED)? {
        [] => Ok(()),
        target => sink.read_at(offset, target).map_err(failed),
    }
}

const EXTENT_IS_CLIPPED: Error = internal("what is read of an extent lies inside the buffer");
