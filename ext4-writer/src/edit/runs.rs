//! Sets of blocks, as runs.

use std::collections::BTreeMap;

/// Blocks, from the first of each run to behind its last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// Whether one of these blocks is in the set.
    pub(crate) fn touches(&self, start: u64, end: u64) -> bool {
        self.0.range(..end).next_back().is_some_and(|(_, met)| *met > start)
    }

    /// Whether the block is in the set.
    pub(crate) fn has(&self, block: u64) -> bool {
        self.touches(block, block.saturating_add(1))
    }

    /// Adds blocks; those that are there already stay.
    pub(crate) fn add(&mut self, start: u64, end: u64) {
        let (mut start, mut end) = (start, end);
        while let Some((first, last)) = self.0.range(..=end).next_back().map(|(a, b)| (*a, *b)) {
            if last < start {
                break;
            }
            self.0.remove(&first);
            (start, end) = (start.min(first), end.max(last));
        }
        if start < end {
            self.0.insert(start, end);
        }
    }

    /// All runs, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(start, end)| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_become_one() {
        let mut runs = Runs::default();
        for (start, end) in [(5, 7), (1, 2), (2, 3), (9, 12), (6, 9), (20, 20)] {
            runs.add(start, end);
        }
        assert_eq!(runs.iter().collect::<Vec<_>>(), [(1, 3), (5, 12)]);
        assert!(runs.has(11) && !runs.has(12) && !runs.has(4));
        assert!(runs.touches(3, 6) && !runs.touches(3, 5));
    }
}
