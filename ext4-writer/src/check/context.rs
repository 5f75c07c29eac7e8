//! What every pass of the check knows.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::check::claims::Claims;
use crate::check::facts::{Sort, flag, own};
use crate::check::groups::GroupFacts;
use crate::check::image::Image;
use crate::format::units::widen;
use crate::reader::features::Feature;
use crate::reader::inode::{self, Inode};
use crate::reader::layout::Layout;
use crate::reader::{ReadResult, Source};
use crate::record::group::Flags;
use crate::record::superblock::{OS_HURD, Superblock};

/// The first inode that is not the filesystem's own, in the first revision: `EXT2_GOOD_OLD_FIRST_INO`.
const FIRST_INODE: u32 = 11;

/// What is kept of an inode: 16 bytes.
#[derive(Default)]
pub(super) struct InodeState {
    /// Its links in the upper half, then [`USED`] and the rest, the sort in the lowest bits.
    state: AtomicU32,
    /// The names that were found, `.` and `..` among them.
    pub names: AtomicU32,
    /// The directory that has its name, of a directory.
    pub parent: AtomicU32,
    /// Where `..` leads to, of a directory.
    pub dot_dot: AtomicU32,
}

/// The inode is in use.
const USED: u32 = 0x8000;
/// It is the filesystem's own.
const OWN: u32 = 0x4000;
/// The flags that are kept, with their bits here.
const FLAGS: [(u32, u32); 3] =
    [(flag::EA_INODE, 0x2000), (flag::INDEX, 0x1000), (flag::ENCRYPT, 0x0800)];

/// What is known of the way from a directory up to the root, in two bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody went it.
    Unknown,
    /// It is being gone.
    Walked,
    /// It ends, at the root or at a directory that has no name.
    Ends,
    /// It leads back to where it began.
    Circle,
}

impl Way {
    /// Whether it was gone to its end.
    pub(super) const fn is_known(self) -> bool {
        matches!(self, Self::Ends | Self::Circle)
    }

    const fn bits(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Walked => 0x0100,
            Self::Ends => 0x0200,
            Self::Circle => 0x0300,
        }
    }
}

/// The bits of [`Way`].
const WAY: u32 = 0x0300;

/// What is told of an inode in use.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub sort: Sort,
    pub links: u16,
    /// It is the filesystem's own, and not judged by its names.
    pub is_own: bool,
    /// Of `i_flags` those that are kept.
    pub flags: u32,
}

impl Told {
    /// Whether it holds the value of an attribute.
    pub(super) const fn is_value(self) -> bool {
        self.flags & flag::EA_INODE != 0
    }
}

impl InodeState {
    pub(super) fn tell(&self, told: Told) {
        let own = if told.is_own { OWN } else { 0 };
        let flags = FLAGS.iter().filter(|(flag, _)| told.flags & flag != 0);
        let flags = flags.fold(0, |bits, (_, bit)| bits | bit);
        let sort = u32::from(told.sort.entry_type());
        let state = u32::from(told.links) << 16 | USED | own | flags | sort;
        self.state.store(state, Ordering::Relaxed);
    }

    /// What was told; none of an inode that is not in use.
    pub(super) fn told(&self) -> Option<Told> {
        let state = self.state.load(Ordering::Relaxed);
        (state & USED != 0).then(|| Told {
            sort: Sort::of_entry_type(state & 0xf),
            links: crate::record::high16(state),
            is_own: state & OWN != 0,
            flags: FLAGS
                .iter()
                .filter(|(_, bit)| state & bit != 0)
                .fold(0, |all, (flag, _)| all | flag),
        })
    }

    pub(super) fn way(&self) -> Way {
        match self.state.load(Ordering::Relaxed) & WAY {
            0x0100 => Way::Walked,
            0x0200 => Way::Ends,
            WAY => Way::Circle,
            _ => Way::Unknown,
        }
    }

    pub(super) fn set_way(&self, way: Way) {
        self.state.fetch_and(!WAY, Ordering::Relaxed);
        self.state.fetch_or(way.bits(), Ordering::Relaxed);
    }

    /// One more name; the count stops at the top.
    pub(super) fn add_name(&self) {
        if self.names.fetch_add(1, Ordering::Relaxed) == u32::MAX {
            self.names.store(u32::MAX, Ordering::Relaxed);
        }
    }
}

type States = OnceLock<Box<[InodeState]>>;

/// What is kept of all inodes; nothing of groups that have none.
pub(super) struct Inodes {
    groups: Vec<States>,
    per_group: u32,
    count: u32,
}

impl Inodes {
    fn new(layout: &Layout) -> Self {
        Self {
            groups: (0..layout.groups).map(|_| OnceLock::new()).collect(),
            per_group: layout.inodes_per_group,
            count: layout.inodes,
        }
    }

    /// An inode's state, if its part of the table was looked at.
    pub(super) fn get(&self, number: u32) -> Option<&InodeState> {
        if number == 0 || number > self.count {
            return None;
        }
        let slot = number - 1;
        let group = self.groups.get(usize::try_from(slot / self.per_group).ok()?)?;
        group.get()?.get(usize::try_from(slot % self.per_group).ok()?)
    }

    /// What was told of an inode in use.
    pub(super) fn told(&self, number: u32) -> Option<Told> {
        self.get(number)?.told()
    }

    /// Room for the first `count` inodes of a group.
    pub(super) fn prepare(&self, group: u32, count: u32) {
        let cell = usize::try_from(group).ok().and_then(|group| self.groups.get(group));
        if let Some(cell) = cell {
            cell.get_or_init(|| (0..count).map(|_| InodeState::default()).collect());
        }
    }

    /// The states of a group, if there are any.
    pub(super) fn group(&self, group: u32) -> Option<&[InodeState]> {
        self.groups.get(usize::try_from(group).ok()?)?.get().map(|states| &**states)
    }
}

/// What every pass knows.
pub(super) struct Context<S> {
    pub image: Image<S>,
    pub superblock: Superblock,
    pub layout: Layout,
    pub groups: Vec<GroupFacts>,
    pub claims: Claims,
    pub inodes: Inodes,
    /// How often a block that was read already may be read once more: what is mapped twice is
    /// looked at again, but not without end.
    repeats: AtomicUsize,
    pub threads: usize,
}

/// What [`Context::repeats`] begins with.
const REPEATS: usize = 100_000;

impl<S: Source> Context<S> {
    pub(super) fn new(
        image: Image<S>,
        superblock: Superblock,
        layout: Layout,
        groups: Vec<GroupFacts>,
        threads: usize,
    ) -> Self {
        Self {
            claims: Claims::new(&layout),
            inodes: Inodes::new(&layout),
            image,
            superblock,
            layout,
            groups,
            repeats: AtomicUsize::new(REPEATS),
            threads,
        }
    }

    pub(super) const fn has(&self, feature: Feature) -> bool {
        self.layout.has(feature)
    }

    pub(super) fn is_hurd(&self) -> bool {
        self.superblock.creator_os.get() == OS_HURD
    }

    /// The first inode that is not the filesystem's own.
    pub(super) fn first_inode(&self) -> u32 {
        if self.superblock.rev_level.get() == 0 {
            FIRST_INODE
        } else {
            self.superblock.first_ino.get()
        }
    }

    /// Whether a block may be data: `EXT4_VALID_BLOCK`.
    pub(super) fn is_block(&self, block: u64) -> bool {
        block >= self.layout.first_data_block && block < self.layout.blocks && block != 0
    }

    /// Takes one of the repeats that are left.
    pub(super) fn may_repeat(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        self.repeats.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Whether an inode is in a group that is marked as one without inodes.
    pub(super) fn is_in_unwritten_table(&self, number: u32) -> bool {
        let group = number.saturating_sub(1) / self.layout.inodes_per_group;
        let facts = usize::try_from(group).ok().and_then(|group| self.groups.get(group));
        facts.is_some_and(|facts| facts.raw_flags.contains(Flags::INODE_UNINIT))
    }

    /// The inode of a quota, by its type: 0 for users, 1 for groups, 2 for projects.
    fn quota_inodes(&self) -> [(u32, u32); 3] {
        let record = &self.superblock;
        [
            (own::USER_QUOTA, record.usr_quota_inum.get()),
            (own::GROUP_QUOTA, record.grp_quota_inum.get()),
            (record.prj_quota_inum.get(), record.prj_quota_inum.get()),
        ]
    }

    /// Whether an inode is kept for a quota.
    pub(super) fn is_kept_for_quota(&self, number: u32) -> bool {
        self.quota_inodes().iter().any(|(kept, _)| *kept == number)
    }

    /// Whether the superblock says that an inode holds a quota.
    pub(super) fn is_quota(&self, number: u32) -> bool {
        self.quota_inodes().iter().any(|(_, told)| *told == number)
    }

    /// An inode as the reader sees it, whatever is wrong with its group's descriptor; none if the
    /// reader does not take it.
    pub(super) fn readable_inode(&self, number: u32) -> ReadResult<Option<Inode>> {
        let Some(bytes) = self.inode_bytes(number)? else { return Ok(None) };
        Ok(inode::parse(&self.layout, number, bytes).ok())
    }

    /// The bytes of an inode; none if its table is nowhere.
    pub(super) fn inode_bytes(&self, number: u32) -> ReadResult<Option<Vec<u8>>> {
        if number == 0 || number > self.layout.inodes {
            return Ok(None);
        }
        let slot = number - 1;
        let group = usize::try_from(slot / self.layout.inodes_per_group).ok();
        let Some(table) =
            group.and_then(|group| self.groups.get(group)).and_then(GroupFacts::table)
        else {
            return Ok(None);
        };
        let into = u64::from(slot % self.layout.inodes_per_group);
        let mut bytes = vec![0; self.layout.inode_len];
        let start = table.saturating_mul(self.layout.block.bytes());
        self.image.read(start.saturating_add(into * widen(bytes.len())), &mut bytes)?;
        Ok(Some(bytes))
    }
}
