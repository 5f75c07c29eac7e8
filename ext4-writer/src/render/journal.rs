//! The journal: its inode and its first block. All others stay zeros.

use zerocopy::IntoBytes;
use zerocopy::big_endian::U32;

use crate::error::{Result, internal};
use crate::format::checksum::{Sealed, unsummed};
use crate::format::units::{BlockCount, BlockSize};
use crate::record::journal::{JournalSuperblock, MAGIC, SUPERBLOCK_V2};

/// What the journal's other blocks hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherBlocks {
    /// Zeros.
    Zeros,
    /// Anything, such as the blocks of a journal that was there before.
    Anything,
}

impl OtherBlocks {
    /// The number of the first transaction. After a crash the kernel goes on replaying as long as
    /// the next block bears the next number (kernel: `fs/jbd2/recovery.c`, `do_one_pass`), so
    /// where old blocks may lie, the numbers begin at one that they hardly have.
    fn first_transaction(self, uuid: [u8; 16]) -> u32 {
        let [a, b, c, d, ..] = uuid;
        match self {
            Self::Zeros => 1,
            Self::Anything => (u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff).max(1),
        }
    }
}

/// The first block of a journal of so many blocks: empty, and without features, which the kernel adds when it mounts.
///
/// Source: e2fsprogs, `lib/ext2fs/mkjournal.c`, `ext2fs_create_journal_superblock2`.
pub(crate) fn render(
    block_size: BlockSize,
    length: BlockCount,
    uuid: [u8; 16],
    others: OtherBlocks,
) -> Result<Sealed<Vec<u8>>> {
    const FITS: crate::error::Error = internal("a journal's length and blocks fit into 32 bits");
    let mut superblock = JournalSuperblock::empty();
    superblock.header_magic = U32::new(MAGIC);
    superblock.header_blocktype = U32::new(SUPERBLOCK_V2);
    superblock.blocksize = U32::new(u32::try_from(block_size.len()).map_err(|_| FITS)?);
    superblock.maxlen = U32::new(u32::try_from(length.get()).map_err(|_| FITS)?);
    superblock.first = U32::new(1);
    superblock.sequence = U32::new(others.first_transaction(uuid));
    superblock.uuid = uuid;
    superblock.nr_users = U32::new(1);
    Ok(unsummed(superblock.as_bytes().to_vec()))
}
