//! What users, groups and projects use.

use std::collections::BTreeMap;

/// What is counted by a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    User,
    Group,
    Project,
}

/// Bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub bytes: u64,
    pub inodes: u64,
}

/// What is used, by whom.
#[derive(Debug, Default)]
pub(super) struct Usage(pub BTreeMap<(Of, u32), Count>);

impl Usage {
    pub(super) fn add(&mut self, other: Self) {
        for (who, count) in other.0 {
            let sum = self.0.entry(who).or_default();
            sum.bytes = sum.bytes.saturating_add(count.bytes);
            sum.inodes = sum.inodes.saturating_add(count.inodes);
        }
    }
}
