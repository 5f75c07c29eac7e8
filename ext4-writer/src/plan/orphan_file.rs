//! The file that lists orphans: the one file of the filesystem's own that is placed before the
//! contents.
//!
//! Each of its blocks has a checksum in which the block's own number stands. resize2fs 1.47.0 does
//! not renew it when it moves such a block, and the kernel then refuses the filesystem; likewise a
//! new inode number is not written to `s_orphan_file_inum`. So blocks and inode lie low, where
//! shrinking takes nothing away, and behind the descriptors that growing can need.

use crate::alloc::Allocator;
use crate::error::Result;
use crate::format::Format;
use crate::format::units::BlockCount;
use crate::geometry;
use crate::options::Options;
use crate::plan::internal_file::InternalFile;

/// Allocates the blocks of the file, before any others; none if no filesystem
/// of these options has such a file.
pub(crate) fn allocate(
    options: &Options,
    format: &Format,
    allocator: &mut Allocator,
) -> Result<InternalFile> {
    let length = geometry::orphan_file(options, format)?;
    if length == BlockCount::ZERO {
        return Ok(InternalFile::default());
    }
    let start = geometry::behind_growth(options, format, allocator.layout());
    allocator.skip_to(start.max(allocator.end()));
    InternalFile::allocate_ahead(length, format.block, allocator)
}

/// The space without the file, for a filesystem that turns out to have none.
pub(crate) fn free(file: &InternalFile, allocator: &mut Allocator) -> Result<()> {
    let nodes =
        file.nodes.iter().map(|block| crate::format::units::Run::new(*block, BlockCount::new(1)));
    file.extents
        .iter()
        .map(|extent| extent.run)
        .chain(nodes)
        .try_for_each(|run| allocator.free(run))
}
