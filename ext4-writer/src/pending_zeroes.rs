//! Blocks whose bytes nobody wants any more and that are not zeros yet.

use std::collections::BTreeMap;

use crate::format::units::{BlockIndex, Run};

/// Runs of blocks that do not touch each other.
#[derive(Debug, Default)]
pub(crate) struct PendingZeroes {
    /// Where each run ends, by where it starts.
    ends: BTreeMap<BlockIndex, BlockIndex>,
}

impl PendingZeroes {
    /// How many runs there are.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Adds the blocks from `start` to before `end`.
    pub(crate) fn add(&mut self, start: BlockIndex, end: BlockIndex) {
        if start >= end {
            return;
        }
        let (mut from, mut to) = (start, end);
        // From the last run that begins no later than the end, back to the first that touches.
        while let Some((&first, &last)) = self.ends.range(..=to).next_back() {
            if last < from {
                break;
            }
            self.ends.remove(&first);
            (from, to) = (from.min(first), to.max(last));
        }
        self.ends.insert(from, to);
    }

    /// Takes the blocks from `start` to before `end` out.
    pub(crate) fn remove(&mut self, start: BlockIndex, end: BlockIndex) {
        if start >= end {
            return;
        }
        while let Some((&first, &last)) = self.ends.range(..end).next_back() {
            if last <= start {
                return;
            }
            self.ends.remove(&first);
            if end < last {
                self.ends.insert(end, last);
            }
            if first < start {
                self.ends.insert(first, start);
                return;
            }
        }
    }

    /// Takes all runs out, in their order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Run> + use<> {
        let runs = std::mem::take(&mut self.ends).into_iter();
        runs.map(|(start, end)| Run::new(start, end - start))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_blocks_in_as_few_runs_as_can_be(
            steps in prop::collection::vec((any::<bool>(), 0..60_u64, 0..20_u64), 0..60),
        ) {
            let (mut pending, mut model) = (PendingZeroes::default(), BTreeSet::new());
            for (adds, start, length) in steps {
                let (from, to) = (BlockIndex::new(start), BlockIndex::new(start + length));
                if adds {
                    pending.add(from, to);
                    model.extend(start..start + length);
                } else {
                    pending.remove(from, to);
                    model.retain(|block| !(start..start + length).contains(block));
                }
                let starts = model.iter().filter(|block| {
                    block.checked_sub(1).is_none_or(|before| !model.contains(&before))
                });
                prop_assert_eq!(pending.count(), starts.count());
            }
            let blocks: Vec<u64> = pending
                .take()
                .flat_map(|run| run.start.get()..run.end().get())
                .collect();
            prop_assert_eq!(blocks, model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(pending.count(), 0);
        }
    }
}
