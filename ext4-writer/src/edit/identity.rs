//! What a superblock says of a filesystem's owner: label, UUID, reserve, mount options.

use zerocopy::little_endian::{U16, U32};

use crate::edit::device::Device;
use crate::edit::error::{EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::in_place::Drain;
use crate::error::Error;
use crate::format::units::BlockIndex;
use crate::options::{MountOptions, OnError, Reserved};
use crate::record::feature::Feature;
use crate::record::superblock::{ERRORS_CONTINUE, ERRORS_PANIC, ERRORS_READ_ONLY, STATE_VALID};
use crate::record::{high32, low16, low32};

/// `EXT4_FEATURE_COMPAT_STABLE_INODES`: neither inode numbers nor the UUID may change.
///
/// Source: e2fsprogs, `misc/tune2fs.c`, `main`; kernel, `fs/crypto/policy.c`,
/// `supported_iv_ino_lblk_policy`.
const STABLE_INODES: Feature = Feature::Compatible(0x0800);

/// Refuses words that do not fit into a field, or end in it.
fn word(option: &'static str, bytes: &[u8], limit: usize) -> EditResult<()> {
    let reason = if bytes.len() > limit {
        format!("it has {} bytes, {limit} is the most", bytes.len())
    } else if bytes.contains(&0) {
        "it has a NUL".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::InvalidOption { option, reason }.into())
}

/// A field with these bytes, and zeros behind them.
fn field<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut field = [0; LENGTH];
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
    field
}

impl<D: Device> Filesystem<D> {
    pub(crate) fn set_label(&mut self, label: &[u8]) -> EditResult<()> {
        word("label", label, 16)?;
        self.superblock.volume_name = field(label);
        self.is_changed = true;
        Ok(())
    }

    pub(crate) fn set_last_mounted(&mut self, path: &[u8]) -> EditResult<()> {
        word("last_mounted", path, 63)?;
        self.superblock.last_mounted = field(path);
        self.is_changed = true;
        Ok(())
    }

    pub(crate) fn set_mount_options(&mut self, options: MountOptions) {
        // Bits that have no name here stay.
        let others = self.superblock.default_mount_opts.get() & !MountOptions::all().bits();
        self.superblock.default_mount_opts = U32::new(others | options.bits());
        self.is_changed = true;
    }

    pub(crate) fn set_on_error(&mut self, on_error: OnError) {
        self.superblock.errors = U16::new(match on_error {
            OnError::Continue => ERRORS_CONTINUE,
            OnError::RemountReadOnly => ERRORS_READ_ONLY,
            OnError::Panic => ERRORS_PANIC,
        });
        self.is_changed = true;
    }

    pub(crate) fn set_reserved(&mut self, reserved: Reserved) -> EditResult<()> {
        let all = self.layout.blocks;
        let blocks = match reserved {
            Reserved::Percent(percent) => {
                all / 100 * u64::from(percent) + all % 100 * u64::from(percent) / 100
            }
            Reserved::Bytes(bytes) => self.layout.block.whole_blocks(bytes).get(),
        };
        if blocks > all / 2 {
            let reason = format!("{blocks} of {all} blocks are more than half");
            return Err(Error::InvalidOption { option: "reserved", reason }.into());
        }
        self.set_reserved_blocks(blocks);
        self.is_changed = true;
        Ok(())
    }

    pub(crate) fn set_reserved_blocks(&mut self, blocks: u64) {
        self.superblock.r_blocks_count_lo = U32::new(low32(blocks));
        if self.has(Feature::BIT_64) {
            self.superblock.r_blocks_count_hi = U32::new(high32(blocks));
        }
    }

    /// Gives the filesystem another UUID; what is summed gets its new sums at the end, if those
    /// begin with it. The kernel takes it from the superblock before it replays a journal, so it
    /// cannot go through one.
    pub(crate) fn set_uuid(&mut self, uuid: [u8; 16]) -> EditResult<()> {
        if uuid == self.superblock.uuid {
            return Ok(());
        }
        if self.has(STABLE_INODES) {
            let reason = "keys of encrypted files are derived from it, as stable_inodes says";
            return Err(refused("the UUID of an image", reason));
        }
        if !self.has(Feature::CSUM_SEED) && self.has(Feature::EA_INODE) {
            let reason = "the hashes of large attributes begin with it; turn \
                metadata_csum_seed on by tune2fs, which Linux 4.4 reads";
            return Err(refused("the UUID of an image with ea_inode", reason));
        }
        (self.is_changed, self.is_reshaped) = (true, true);
        let is_in_sums = self.has_group_sums() && !self.has(Feature::CSUM_SEED);
        self.new_uuid = is_in_sums.then_some(uuid);
        self.superblock.uuid = uuid;
        Ok(())
    }

    /// Brings the copies of superblock and descriptors up to date.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/closefs.c`, `ext2fs_flush2`.
    pub(crate) fn write_backups(&mut self, drain: &mut Drain<'_>) -> EditResult<()> {
        let block = self.layout.block;
        let groups: Vec<u32> = (1..self.layout.groups)
            .filter(|group| self.layout.has_superblock((*group).into()))
            .collect();
        let per = self.layout.descriptors_per_block();
        let count = if self.has(Feature::META_BG) {
            self.layout.first_meta_group.min(u64::from(self.layout.groups).div_ceil(per))
        } else {
            u64::from(self.layout.groups).div_ceil(per)
        };
        for group in groups {
            let mut copy = self.superblock.clone();
            copy.block_group_nr = U16::new(low16(group));
            // A copy is no filesystem that was unmounted.
            copy.state = U16::new(copy.state.get() & !STATE_VALID);
            let sealed = self.layout.seed.seal_superblock(copy);
            let start = self.group_start(group);
            self.patch(block.offset(BlockIndex::new(start)), sealed.as_bytes())?;
            for number in 0..count {
                let own = self.layout.first_data_block + 1 + number;
                let bytes = self.blocks().read_block(own, crate::reader::Part::Superblock)?;
                self.put(start + 1 + number, &crate::format::checksum::unsummed(bytes))?;
            }
            // The descriptors are read for the next one again.
            let originals = self.layout.first_data_block + 1 + count;
            self.send_many(drain, |block| block >= originals)?;
        }
        Ok(())
    }
}
