//! The scan of the inode tables: long reads, in parts, each part once.

use crate::check::bytes::is_zero;
use crate::check::context::Context;
use crate::check::scan::{Output, Scan};
use crate::check::subject::Subject;
use crate::check::threads::in_parts;
use crate::format::units::widen;
use crate::reader::{ReadResult, Source};

/// The inodes of a part: half a mebibyte of those of 256 bytes.
const PART: u32 = 2048;

/// Inodes of one group.
#[derive(Clone, Copy)]
struct Part {
    group: u32,
    first: u32,
    count: u32,
}

/// Looks at every inode; the outcomes are in the order of their numbers.
pub(super) fn scan<S: Source + Sync>(context: &Context<S>) -> ReadResult<Vec<Output>> {
    let mut parts = Vec::new();
    for (facts, group) in context.groups.iter().zip(0u32..) {
        let used = facts.used_inodes(&context.layout);
        if used == 0 {
            continue;
        }
        context.inodes.prepare(group, used);
        let mut first = 0;
        while first < used {
            let count = PART.min(used - first);
            parts.push(Part { group, first, count });
            first += count;
        }
    }
    in_parts(parts.len(), context.threads, |number| match parts.get(number) {
        Some(part) => part.scan(context),
        None => Ok(Output::default()),
    })
}

impl Part {
    fn scan<S: Source>(self, context: &Context<S>) -> ReadResult<Output> {
        let mut scan = Scan::new(context);
        let layout = &context.layout;
        let group = usize::try_from(self.group).ok().and_then(|group| context.groups.get(group));
        let Some(table) = group.and_then(super::groups::GroupFacts::table) else {
            return Ok(scan.out);
        };
        let length = widen(layout.inode_len);
        let bytes = u64::from(self.count).saturating_mul(length);
        let mut bytes = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let start = table.saturating_mul(layout.block.bytes());
        let start = start.saturating_add(u64::from(self.first).saturating_mul(length));
        context.image.read(start, &mut bytes)?;
        let first = self.group * layout.inodes_per_group + self.first + 1;
        for (bytes, number) in bytes.chunks_exact(layout.inode_len).zip(first..) {
            if is_zero(bytes) && number >= context.first_inode() {
                continue;
            }
            if is_free(bytes) && number >= context.first_inode() && !layout.seed.is_enabled() {
                continue;
            }
            scan.inode(&Subject::new(context, number, bytes))?;
        }
        Ok(scan.out)
    }
}

/// Whether mode, links and time of deletion are all zero.
fn is_free(bytes: &[u8]) -> bool {
    let zero = |place: usize, length: usize| bytes.get(place..place + length).is_some_and(is_zero);
    zero(0, 2) && zero(0x14, 4) && zero(0x1a, 2)
}
