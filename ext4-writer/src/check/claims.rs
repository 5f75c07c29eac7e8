//! Who uses which block: two bits a cluster, in memory only for groups in which something is used.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::reader::features::Feature;
use crate::reader::layout::Layout;

type Words = OnceLock<Box<[AtomicU64]>>;

/// The clusters of a group.
#[derive(Default)]
struct Group {
    used: Words,
    twice: Words,
}

/// The clusters of the filesystem.
pub(super) struct Claims {
    groups: Vec<Group>,
    per_group: u64,
    cluster_log: u32,
    first: u64,
    blocks: u64,
    any_twice: AtomicBool,
    /// The feature `shared_blocks`: files may have blocks together.
    may_share: bool,
}

const BITS: u64 = 64;
/// `EXT4_FEATURE_RO_COMPAT_SHARED_BLOCKS`.
const SHARED_BLOCKS: Feature = Feature::ReadOnly(0x4000);

impl Claims {
    pub(super) fn new(layout: &Layout) -> Self {
        Self {
            groups: (0..layout.groups).map(|_| Group::default()).collect(),
            per_group: layout.clusters_per_group,
            cluster_log: layout.cluster_blocks.trailing_zeros(),
            first: layout.first_data_block,
            blocks: layout.blocks,
            any_twice: AtomicBool::new(false),
            may_share: layout.has(SHARED_BLOCKS),
        }
    }

    /// Whether anything was claimed twice.
    pub(super) fn has_shared(&self) -> bool {
        self.any_twice.load(Ordering::Relaxed)
    }

    /// Claims the clusters of a run of blocks; true if one of them was claimed before.
    pub(super) fn claim(&self, start: u64, length: u64) -> bool {
        let mut shared = false;
        self.each_word(start, length, |group, word, mask| {
            let before = set(&group.used, self.words(), word, mask);
            let again = before & mask;
            if again != 0 && !self.may_share {
                set(&group.twice, self.words(), word, again);
                shared = true;
            }
        });
        if shared {
            self.any_twice.store(true, Ordering::Relaxed);
        }
        shared
    }

    /// Marks the clusters of metadata, which may share them with other metadata.
    pub(super) fn mark(&self, start: u64, length: u64) {
        self.each_word(start, length, |group, word, mask| {
            set(&group.used, self.words(), word, mask);
        });
    }

    /// Whether a block's cluster was claimed twice.
    pub(super) fn is_shared(&self, block: u64) -> bool {
        let mut shared = false;
        self.each_word(block, 1, |group, word, mask| {
            shared |= get(&group.twice, word) & mask != 0;
        });
        shared
    }

    /// The words of a group's bitmap, as they should be; none where nothing is used.
    pub(super) fn of_group(&self, group: u32) -> Option<Vec<u64>> {
        let group = usize::try_from(group).ok().and_then(|group| self.groups.get(group))?;
        let words = group.used.get()?;
        Some(words.iter().map(|word| word.load(Ordering::Relaxed)).collect())
    }

    fn words(&self) -> u64 {
        self.per_group.div_ceil(BITS)
    }

    /// Calls with each word that the run has bits in; blocks outside of the filesystem have none.
    fn each_word(&self, start: u64, length: u64, mut with: impl FnMut(&Group, usize, u64)) {
        let end = start.saturating_add(length).min(self.blocks);
        let start = start.max(self.first);
        if start >= end {
            return;
        }
        let mut cluster = (start - self.first) >> self.cluster_log;
        let last = (end - 1 - self.first) >> self.cluster_log;
        while cluster <= last {
            let number = usize::try_from(cluster / self.per_group).ok();
            let Some(group) = number.and_then(|number| self.groups.get(number)) else { return };
            let bit = cluster % self.per_group;
            let in_word = bit % BITS;
            let room = (BITS - in_word).min(self.per_group - bit).min(last - cluster + 1);
            let ones = if room == BITS { u64::MAX } else { (1 << room) - 1 };
            if let Ok(word) = usize::try_from(bit / BITS) {
                with(group, word, ones << in_word);
            }
            cluster += room;
        }
    }
}

fn set(words: &Words, count: u64, word: usize, mask: u64) -> u64 {
    let words = words.get_or_init(|| (0..count).map(|_| AtomicU64::new(0)).collect());
    words.get(word).map_or(0, |word| word.fetch_or(mask, Ordering::Relaxed))
}

fn get(words: &Words, word: usize) -> u64 {
    words.get().and_then(|words| words.get(word)).map_or(0, |word| word.load(Ordering::Relaxed))
}
