//! A longer filesystem: more groups behind the last.
//!
//! Each new group has its bitmaps and its table at its own start; where descriptors have flags,
//! they say that nothing of it was written.
//!
//! Source: e2fsprogs, `resize/resize2fs.c`; kernel, `fs/ext4/resize.c`.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use crate::edit::device::Device;
use crate::edit::error::{EditError, EditResult, refused};
use crate::edit::filesystem::Filesystem;
use crate::edit::group::Group;
use crate::edit::groups::{pad, set_bit};
use crate::error::{Error, internal};
use crate::format::checksum::unsummed;
use crate::format::units::{BlockCount, widen};
use crate::reader::groups::table_blocks;
use crate::record::feature::Feature;
use crate::record::group::Flags;
use crate::record::{high32, low32};

/// The resize inode.
const RESIZE: u32 = 7;
/// The place of the double indirect block in `i_block`: `EXT4_DIND_BLOCK`.
const DOUBLE_INDIRECT: usize = 13;
/// A last group of fewer blocks beside its own is left out, as by mke2fs.
const LEAST: u64 = 50;

/// How long a filesystem is to be.
struct Target {
    blocks: u64,
    groups: u32,
    /// The blocks of descriptors that are taken from those reserved.
    taken: u64,
}

impl<D: Device> Filesystem<D> {
    /// Lets the filesystem reach to `bytes`; `zeros` says that what is behind its end reads as zeros.
    pub(crate) fn grow(&mut self, bytes: u64, zeros: bool) -> EditResult<()> {
        let Some(target) = self.target(bytes)? else { return Ok(()) };
        let (old_blocks, old_groups) = (self.layout.blocks, self.layout.groups);
        let last = old_groups - 1;
        let before = self.layout.clusters_in(last);
        // Before the layout says otherwise: the bitmap agrees with the count.
        self.with_blocks(last)?;
        let old_descriptors = self.descriptor_blocks();
        self.set_size(&target)?;
        self.lengthen_last(last, before)?;
        self.fresh.add(old_blocks, target.blocks);
        for number in old_descriptors..self.descriptor_blocks() {
            // What was reserved had a list of its copies.
            let place = self.layout.first_data_block + 1 + number;
            self.put(place, &unsummed(vec![0; self.layout.block.len()]))?;
        }
        for number in old_groups..target.groups {
            self.add_group(number, zeros)?;
        }
        if self.has(Feature::RESIZE_INODE) {
            self.set_resize_map()?;
        }
        (self.is_changed, self.is_reshaped) = (true, true);
        Ok(())
    }

    fn descriptor_blocks(&self) -> u64 {
        u64::from(self.layout.groups).div_ceil(self.layout.descriptors_per_block())
    }

    /// The size that `bytes` give; none if it is that of now.
    fn target(&self, bytes: u64) -> EditResult<Option<Target>> {
        let layout = &self.layout;
        let wanted = layout.block.whole_blocks(bytes).get();
        let size = |blocks| layout.block.bytes_in(BlockCount::new(blocks));
        if bytes < size(layout.blocks) {
            return Err(EditError::Shorter { asked: bytes, size: size(layout.blocks) });
        }
        if bytes == size(layout.blocks) {
            return Ok(None);
        }
        for (feature, name) in
            [(Feature::META_BG, "meta_bg"), (Feature::SPARSE_SUPER2, "sparse_super2")]
        {
            if self.has(feature) && wanted > layout.blocks {
                let reason = "its new groups would need other copies; resize2fs does it";
                return Err(refused(format!("the size of an image with {name}"), reason));
            }
        }
        let limit = if self.has(Feature::BIT_64) && !self.has(Feature::RESIZE_INODE) {
            1 << 48
        } else {
            u64::from(u32::MAX)
        };
        if wanted > limit {
            let reason = "more blocks than its addresses reach; resize2fs -b";
            return Err(refused(format!("an image to {wanted} blocks"), reason));
        }
        let (blocks, groups) = self.whole_groups(wanted);
        if size(blocks) != bytes {
            let above = self.blocks_above(wanted);
            return Err(EditError::InvalidSize {
                asked: bytes,
                below: size(blocks),
                above: size(above),
            });
        }
        self.grown(blocks, groups).map(Some)
    }

    /// The growth to so many blocks and groups, if there is room for their inodes and descriptors.
    fn grown(&self, blocks: u64, groups: u64) -> EditResult<Target> {
        let layout = &self.layout;
        let inodes = groups.checked_mul(layout.inodes_per_group.into());
        let groups = u32::try_from(groups).ok();
        let fits = inodes.is_some_and(|inodes| u32::try_from(inodes).is_ok());
        let Some(groups) = groups.filter(|_| fits) else {
            let reason = "it would have more than 2^32 inodes";
            return Err(refused(format!("an image to {blocks} blocks"), reason));
        };
        let needed = u64::from(groups).div_ceil(layout.descriptors_per_block());
        let taken = needed - self.descriptor_blocks();
        let held =
            if self.has(Feature::RESIZE_INODE) { layout.reserved_descriptor_blocks } else { 0 };
        if taken > held {
            let what = format!("an image to {blocks} blocks");
            let reason = "too few blocks are reserved for descriptors; mounted, resize2fs grows it \
                by the feature meta_bg";
            return Err(refused(what, reason));
        }
        Ok(Target { blocks, groups, taken })
    }

    /// The bytes of the longest filesystem within so many.
    pub(crate) fn longest_within(&self, bytes: u64) -> u64 {
        let (blocks, _) = self.whole_groups(self.layout.block.whole_blocks(bytes).get());
        self.layout.block.bytes_in(BlockCount::new(blocks.max(self.layout.blocks)))
    }

    /// The blocks without those of a last group that is too short, and the groups.
    fn whole_groups(&self, wanted: u64) -> (u64, u64) {
        let layout = &self.layout;
        let all = wanted.saturating_sub(layout.first_data_block);
        let (whole, rest) = (all / layout.blocks_per_group, all % layout.blocks_per_group);
        if rest == 0 || (whole >= u64::from(layout.groups) && rest < self.least_blocks(whole)) {
            return (wanted - rest, whole);
        }
        (wanted, whole + 1)
    }

    /// The fewest blocks of a new last group.
    fn least_blocks(&self, group: u64) -> u64 {
        let layout = &self.layout;
        let mut base = 0;
        if layout.has_superblock(group) {
            base = 1 + self.descriptor_blocks() + layout.reserved_descriptor_blocks;
        }
        base + 2 + table_blocks(layout) + LEAST
    }

    /// The fewest blocks, and more than `blocks`, that are whole groups.
    fn blocks_above(&self, blocks: u64) -> u64 {
        let layout = &self.layout;
        let next = blocks + 1;
        let (valid, whole) = self.whole_groups(next);
        if valid == next {
            return next;
        }
        layout.first_data_block + whole * layout.blocks_per_group + self.least_blocks(whole)
    }

    fn set_size(&mut self, target: &Target) -> EditResult<()> {
        let old = self.layout.blocks;
        let low = u64::from(self.superblock.r_blocks_count_lo.get());
        let high = u64::from(self.superblock.r_blocks_count_hi.get()) << 32;
        let reserved = if self.has(Feature::BIT_64) { low | high } else { low };
        let scaled = u128::from(reserved) * u128::from(target.blocks) / u128::from(old.max(1));
        let scaled =
            u64::try_from(scaled).map_err(|_| internal("a share of the blocks is no more"))?;
        self.set_reserved_blocks(scaled);
        let layout = &mut self.layout;
        (layout.blocks, layout.groups) = (target.blocks, target.groups);
        layout.inodes = target.groups * layout.inodes_per_group;
        layout.reserved_descriptor_blocks -= target.taken;
        let superblock = &mut self.superblock;
        superblock.blocks_count_lo = U32::new(low32(target.blocks));
        if self.layout.has(Feature::BIT_64) {
            superblock.blocks_count_hi = U32::new(high32(target.blocks));
        }
        superblock.inodes_count = U32::new(self.layout.inodes);
        let held = u16::try_from(self.layout.reserved_descriptor_blocks);
        superblock.reserved_gdt_blocks = held.map_err(|_| FEWER_ARE_RESERVED)?.into();
        Ok(())
    }

    /// Lets what was the last group reach as far as a group goes.
    fn lengthen_last(&mut self, number: u32, before: u64) -> EditResult<()> {
        let after = self.layout.clusters_in(number);
        if after == before {
            return Ok(());
        }
        let group = self.group(number)?;
        let bitmap = group.blocks.as_mut().ok_or(internal("the bitmap was read"))?;
        for place in before..after {
            set_bit(bitmap, place, false)?;
        }
        let added = u32::try_from(after - before).map_err(|_| GROUPS_ARE_SHORT)?;
        group.set_free_blocks(group.free_blocks() + added);
        group.clear_flag(Flags::BLOCK_UNINIT);
        group.blocks_changed = true;
        self.free_blocks += after - before;
        Ok(())
    }

    fn add_group(&mut self, number: u32, zeros: bool) -> EditResult<()> {
        let start = self.group_start(number);
        let length = self.layout.clusters_in(number);
        let table = table_blocks(&self.layout);
        let base = self.layout.base_blocks(number);
        let own = base + 2 + table;
        let inodes = self.layout.inodes_per_group;
        let mut group = Group::at(number, [start + base, start + base + 1, start + base + 2]);
        let free = length.checked_sub(own).and_then(|free| u32::try_from(free).ok());
        let free = free.ok_or(GROUPS_ARE_SHORT)?;
        group.set_free_blocks(free);
        group.set_free_inodes(inodes);
        if self.has_group_sums() {
            group.set_unused_inodes(inodes);
            group.set_flag(Flags::INODE_UNINIT);
            if zeros {
                group.set_flag(Flags::INODE_ZEROED);
            }
            if number + 1 < self.layout.groups {
                group.set_flag(Flags::BLOCK_UNINIT);
            }
        } else if !zeros {
            let reason = "its new inode tables would have to be zeroed; resize2fs does it";
            return Err(refused("the size of an image without metadata_csum on a device", reason));
        }
        // What the flags say is not written need not be.
        group.blocks_changed = !group.flags().contains(Flags::BLOCK_UNINIT);
        group.inodes_changed = !group.flags().contains(Flags::INODE_UNINIT);
        if group.blocks_changed {
            let mut bitmap = vec![0; self.layout.block.len()];
            for place in 0..own {
                set_bit(&mut bitmap, place, true)?;
            }
            pad(&mut bitmap, length);
            group.blocks = Some(bitmap);
        }
        if group.inodes_changed {
            let mut bitmap = vec![0; self.layout.block.len()];
            pad(&mut bitmap, inodes.into());
            group.inodes = Some(bitmap);
        }
        self.system.add(start, start + own);
        self.free_blocks += u64::from(free);
        self.free_inodes += u64::from(inodes);
        let overhead = u64::from(self.superblock.overhead_clusters.get());
        // 0 says that nobody counted.
        let overhead = if overhead == 0 { 0 } else { overhead + own };
        self.superblock.overhead_clusters = U32::new(u32::try_from(overhead).unwrap_or(0));
        // It goes to its place at once: groups are many.
        self.seal_group(group)
    }

    /// Makes the lists of blocks reserved for descriptors anew.
    ///
    /// Source: e2fsprogs, `lib/ext2fs/res_gdt.c`, `ext2fs_create_resize_inode`.
    fn set_resize_map(&mut self) -> EditResult<()> {
        let mut resize = self.inode(RESIZE)?;
        let map: [U32; 15] = zerocopy::transmute!(resize.record.block);
        let top = map.get(DOUBLE_INDIRECT).map_or(0, |place| place.get());
        if top == 0 || u64::from(top) >= self.layout.blocks || self.system.has(top.into()) {
            let reason = "its resize inode has no map; run e2fsck -f";
            return Err(refused("the size of an image", reason));
        }
        let groups = 1..self.layout.groups;
        let copies: Vec<u64> = groups
            .filter(|group| self.layout.has_superblock((*group).into()))
            .map(|group| self.group_start(group))
            .collect();
        let first = self.descriptor_blocks();
        let held = self.layout.reserved_descriptor_blocks;
        let addresses = self.layout.block.addresses();
        let mut list = vec![U32::ZERO; self.layout.block.len() / size_of::<U32>()];
        for number in first..first + held {
            let place = self.layout.first_data_block + 1 + number;
            let slot = usize::try_from(number % addresses).map_err(|_| FEWER_ARE_RESERVED)?;
            *list.get_mut(slot).ok_or(FEWER_ARE_RESERVED)? = U32::new(low32(place));
            let mut block = vec![0; self.layout.block.len()];
            for (target, start) in block.chunks_mut(4).zip(&copies) {
                target.copy_from_slice(&low32(start + 1 + number).to_le_bytes());
            }
            self.put(place, &unsummed(block))?;
        }
        self.put(top.into(), &unsummed(list.as_bytes().to_vec()))?;
        let blocks = held * (1 + widen(copies.len())) + 1;
        let sectors = self.layout.block.sectors(BlockCount::new(blocks));
        resize.record.blocks_lo = U32::new(low32(sectors));
        self.store(&resize)
    }
}

const FEWER_ARE_RESERVED: Error = internal("no more blocks are reserved than the format allows");
const GROUPS_ARE_SHORT: Error = internal("a group has room for what is its own");
