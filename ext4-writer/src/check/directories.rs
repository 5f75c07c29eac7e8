//! Directories: entry by entry, block by block.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass2.c`, `check_dir_block`.

use std::sync::atomic::{AtomicBool, Ordering};

use zerocopy::FromBytes;

use crate::check::bytes::u32_at;
use crate::check::context::Context;
use crate::check::facts::{Sort, flag, own};
use crate::check::findings::{Finding, Findings};
use crate::check::htree::{Index, Role};
use crate::check::kinds::Kind;
use crate::check::scan::{Directory, DirectoryRun, Output};
use crate::check::subject::Subject;
use crate::check::threads::in_parts;
use crate::format::checksum::{InodeSeed, entries_tail};
use crate::format::units::{InodeNumber, widen};
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::directory::{ALIGNMENT, ENTRY_HEAD, Entry, TAIL_FILE_TYPE, Tail};
use crate::record::xattr::{DATA_NAME, INDEX_SYSTEM, INODE_HEAD};

/// The bytes of the parent's number before the entries in `i_block`: `EXT4_INLINE_DOTDOT_SIZE`.
const INLINE_PARENT: usize = 4;
/// The shortest name in an encrypted directory: `EXT4_CRYPTO_BLOCK_SIZE`.
const SHORTEST_ENCRYPTED: usize = 16;
/// Damaged blocks of one directory behind which the rest is not looked at.
const MOST_DAMAGED: u32 = 256;
/// The directories of one part of the work.
const PART: usize = 128;
/// The blocks that are read at once, where they lie together.
const WINDOW: u64 = 32;

/// Looks at all directories.
pub(super) fn check<S: Source + Sync>(
    context: &Context<S>,
    outputs: &[Output],
    findings: &mut Findings,
) -> ReadResult<()> {
    let mut all: Vec<(u64, usize, &Directory)> = Vec::new();
    for (output, number) in outputs.iter().zip(0usize..) {
        all.extend(output.directories.iter().map(|directory| {
            let first = output.runs.get(directory.first_run).map_or(0, |run| run.block);
            (first, number, directory)
        }));
    }
    // In the order of the disk.
    all.sort_by_key(|(block, number, directory)| (*block, *number, directory.first_run));
    let unjudged = AtomicBool::new(false);
    let parts = in_parts(all.len().div_ceil(PART), context.threads, |part| {
        let mut reader = Blocks { context, bytes: Vec::new(), first: 0, until: 0 };
        let mut findings = Findings::default();
        let own = all.iter().skip(part * PART).take(PART);
        let ends: Vec<u64> = own.clone().map(|(block, ..)| *block).collect();
        reader.plan(&ends);
        for (_, number, directory) in own {
            let runs = outputs.get(*number).map_or(&[][..], |output| &output.runs);
            let runs = runs.iter().skip(directory.first_run).take(directory.runs);
            let mut visit = Visit::new(context, directory, &mut findings);
            visit.directory(&mut reader, runs)?;
            if visit.finish() {
                unjudged.store(true, Ordering::Relaxed);
            }
        }
        Ok(findings)
    })?;
    for part in parts {
        findings.append(part);
    }
    if unjudged.load(Ordering::Relaxed) {
        findings.push(Finding::new(Kind::NamesUnjudged));
    }
    Ok(())
}

/// Blocks of directories, of which neighbours are read together.
struct Blocks<'a, S> {
    context: &'a Context<S>,
    bytes: Vec<u8>,
    /// The blocks that `bytes` holds.
    first: u64,
    /// The last block that is known to be asked for.
    until: u64,
}

impl<S: Source> Blocks<'_, S> {
    /// The first blocks of the directories that follow, ascending: neighbours are worth a long
    /// read when most of what lies between them is asked for.
    fn plan(&mut self, firsts: &[u64]) {
        let last = firsts.last().copied().unwrap_or(0);
        let first = firsts.first().copied().unwrap_or(0);
        let is_dense = last.saturating_sub(first) <= widen(firsts.len()).saturating_mul(4);
        self.until = if is_dense { last } else { 0 };
    }

    fn get(&mut self, block: u64) -> ReadResult<&[u8]> {
        let size = self.context.layout.block.len();
        let held = widen(self.bytes.len() / size);
        if block < self.first || block >= self.first.saturating_add(held) {
            let more = self.until.saturating_sub(block).saturating_add(1).min(WINDOW);
            let room = self.context.layout.blocks.saturating_sub(block);
            let count = usize::try_from(more.min(room).max(1)).unwrap_or(1);
            self.bytes.resize(count * size, 0);
            self.context.image.read_blocks(block, &mut self.bytes)?;
            self.first = block;
        }
        let place = usize::try_from(block - self.first).unwrap_or(usize::MAX);
        let start = place.saturating_mul(size);
        Ok(self.bytes.get(start..start.saturating_add(size)).unwrap_or_default())
    }
}

/// One directory at work.
struct Visit<'a, S> {
    context: &'a Context<S>,
    directory: &'a Directory,
    findings: &'a mut Findings,
    seed: Option<InodeSeed>,
    index: Option<Index>,
    damaged: u32,
    /// Hashes of names with where they stand, to find one that is there twice.
    names: Vec<(u32, usize)>,
}

/// A block's entries, as far as they may reach.
struct Area<'b> {
    bytes: &'b [u8],
    file_block: u64,
    block: u64,
    /// How many entries came before: 2 behind `.` and `..`.
    before: u32,
}

impl<'a, S: Source> Visit<'a, S> {
    fn new(context: &'a Context<S>, directory: &'a Directory, findings: &'a mut Findings) -> Self {
        let names = Vec::new();
        Self { context, directory, findings, seed: None, index: None, damaged: 0, names }
    }

    fn has(&self, flag: u32) -> bool {
        self.directory.flags & flag != 0
    }

    fn finding(&self, kind: Kind) -> Finding {
        Finding::new(kind).inode(self.directory.inode)
    }

    /// Whether the entries hold their hashes, behind the names.
    fn has_hashes(&self) -> bool {
        self.has(flag::CASEFOLD) && self.has(flag::ENCRYPT)
    }

    fn directory<'r>(
        &mut self,
        reader: &mut Blocks<'_, S>,
        runs: impl Iterator<Item = &'r DirectoryRun>,
    ) -> ReadResult<()> {
        let number = self.directory.inode;
        let inline = self.has(flag::INLINE_DATA) && self.context.has(Feature::INLINE_DATA);
        let generation = self.directory.generation;
        let seed = self.context.layout.seed.inode(InodeNumber::new(number), generation);
        self.seed = Some(seed);
        if inline {
            let bytes = self.context.inode_bytes(number)?;
            self.inline(bytes.as_deref().unwrap_or_default());
            return Ok(());
        }
        if self.has(flag::INDEX) && self.context.has(Feature::DIR_INDEX) {
            let levels = if self.context.has(Feature::LARGE_DIR) { 3 } else { 2 };
            let shape = (self.context.layout.block.len(), levels, self.has(flag::CASEFOLD));
            self.index = Index::new(number, seed, self.directory.blocks, shape);
        }
        for run in runs {
            if run.block == 0 {
                self.hole(run);
                continue;
            }
            for into in 0..run.length {
                let (block, file_block) =
                    (run.block.saturating_add(into), run.file_block.saturating_add(into));
                if self.damaged > MOST_DAMAGED {
                    return Ok(());
                }
                if self.context.claims.is_shared(block) && !self.context.may_repeat() {
                    continue;
                }
                let bytes = reader.get(block)?;
                self.block(file_block, block, bytes);
            }
        }
        Ok(())
    }

    /// Whether its index has an order that could not be judged.
    fn finish(self) -> bool {
        let Some(index) = self.index else { return false };
        let unjudged = index.is_unjudged();
        if self.damaged == 0 || !unjudged {
            index.finish(self.findings);
        }
        unjudged
    }

    fn hole(&mut self, run: &DirectoryRun) {
        let is_allowed =
            self.context.has(Feature::LARGE_DIR) && !self.context.has(Feature::INLINE_DATA);
        if !is_allowed {
            let found = format!("{} blocks", run.length);
            let finding = self.finding(Kind::DirectoryHole).file_block(run.file_block);
            self.findings.push(finding.found(found));
        }
    }

    fn block(&mut self, file_block: u64, block: u64, bytes: &[u8]) {
        let mut role = Role::Leaf;
        if let Some(index) = &mut self.index {
            role = index.role(self.context, file_block, bytes, self.findings);
        }
        let mut length = bytes.len();
        if role == Role::Leaf && self.context.layout.seed.is_enabled() {
            length = self.tail(file_block, bytes);
        }
        let area = Area {
            bytes: bytes.get(..length).unwrap_or(bytes),
            file_block,
            block,
            before: if file_block == 0 { 0 } else { 2 },
        };
        self.entries(&area);
        if role != Role::Leaf
            && let Some(index) = &mut self.index
        {
            index.node(file_block, bytes, self.findings);
        }
    }

    /// The checksum of a block of entries; how far the entries reach.
    fn tail(&mut self, file_block: u64, bytes: &[u8]) -> usize {
        let Some(seed) = self.seed else { return bytes.len() };
        let covered = bytes.len().saturating_sub(entries_tail(true));
        let tail = bytes.get(covered..).and_then(|tail| Tail::read_from_bytes(tail).ok());
        let is_tail = |tail: &Tail| {
            tail.reserved_zero1.get() == 0
                && tail.rec_len.get() == 12
                && tail.reserved_zero2 == 0
                && tail.reserved_ft == TAIL_FILE_TYPE
        };
        let finding = self.finding(Kind::DirectoryChecksum).file_block(file_block);
        let Some(tail) = tail.filter(is_tail) else {
            self.findings.push(finding.found("no room for a sum"));
            return bytes.len();
        };
        let computed = seed.sum(bytes.get(..covered).unwrap_or_default());
        let stored = tail.checksum.get();
        if stored != computed {
            let found = format!("{stored:#x}");
            self.findings.push(finding.found(found).expected(format_args!("{computed:#x}")));
        }
        covered
    }

    /// A directory inside its inode: entries in `i_block`, then in the attribute `system.data`.
    fn inline(&mut self, bytes: &[u8]) {
        let inode = Subject::new(self.context, self.directory.inode, bytes);
        let map = inode.record.block;
        let parent = u32_at(&map, 0).unwrap_or(0);
        let number = self.directory.inode;
        if let Some(state) = self.context.inodes.get(number) {
            state.add_name();
            state.dot_dot.store(parent, Ordering::Relaxed);
        }
        let is_target = self.is_target(parent);
        if is_target && let Some(state) = self.context.inodes.get(parent) {
            state.add_name();
        } else {
            let finding = self.finding(Kind::DirectoryTarget).name(b"..");
            self.findings.push(finding.found(format_args!("inode {parent}")));
        }
        let first = map.get(INLINE_PARENT..).unwrap_or_default();
        self.entries(&Area { bytes: first, file_block: 0, block: 0, before: 2 });
        let rest = inline_rest(&inode).unwrap_or_default();
        if rest.is_empty() {
            return;
        }
        if !rest.len().is_multiple_of(ALIGNMENT) || rest.len() < ENTRY_HEAD + ALIGNMENT {
            let finding = self.finding(Kind::InodeSize).field("system.data");
            self.findings.push(finding.found(format_args!("{} bytes", rest.len())));
        }
        self.entries(&Area { bytes: rest, file_block: 1, block: 0, before: 2 });
    }

    fn entries(&mut self, area: &Area<'_>) {
        let mut place = 0;
        let mut before = area.before;
        self.names.clear();
        while place < area.bytes.len() {
            let rest = area.bytes.get(place..).unwrap_or_default();
            let extended = before > 1 && self.has_hashes();
            let Some((entry, length)) = self.lengths(rest, extended) else {
                let finding = self.finding(Kind::DirectoryEntry).file_block(area.file_block);
                let finding = if area.block == 0 { finding } else { finding.block(area.block) };
                self.findings.push(finding.found(format_args!("at byte {place}")));
                self.damaged = self.damaged.saturating_add(1);
                return;
            };
            let name = rest.get(ENTRY_HEAD..ENTRY_HEAD + usize::from(entry.name_len));
            let name = name.unwrap_or_default();
            let (here, _) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            match before {
                0 => self.dot(entry, name, here),
                1 => self.dot_dot(entry, name, here),
                _ if entry.inode.get() == self.directory.inode => {
                    let finding = self.finding(Kind::DirectoryDot).name(name);
                    self.findings.push(finding.found("a name of the directory in itself"));
                }
                _ => {}
            }
            if entry.inode.get() != 0 {
                self.entry(area, before, (&entry, name, here));
                self.names.push((crate::format::checksum::fold(0, name), place));
            }
            place += length;
            before = before.saturating_add(1);
        }
        self.twice(area);
    }

    /// An entry and its length, if the lengths fit.
    fn lengths(&self, rest: &[u8], extended: bool) -> Option<(Entry, usize)> {
        let (entry, _) = Entry::read_from_prefix(rest).ok()?;
        let raw = usize::from(entry.rec_len.get());
        let block = self.context.layout.block.len();
        let length = if block < 65_536 {
            raw
        } else if raw == 65_535 || raw == 0 {
            block
        } else {
            (raw & 0xfffc) | ((raw & 3) << 16)
        };
        let hash = if extended { 8 } else { 0 };
        let needed = |name: usize| (ENTRY_HEAD + name).next_multiple_of(ALIGNMENT) + hash;
        let is_right = length <= rest.len()
            && length >= needed(1)
            && length % ALIGNMENT == 0
            && needed(usize::from(entry.name_len)) <= length;
        is_right.then_some((entry, length))
    }

    fn dot(&mut self, entry: Entry, name: &[u8], here: &[u8]) {
        let found = if entry.inode.get() == 0 {
            "missing"
        } else if name != b"." {
            "another name"
        } else if here.get(9) != Some(&0) {
            "not ended by a NUL"
        } else if entry.inode.get() != self.directory.inode {
            "the number of another inode"
        } else if here.len() > 24 {
            "a length that hides the next entry"
        } else {
            return;
        };
        let finding = self.finding(Kind::DirectoryDot).file_block(0).found(found);
        self.findings.push(finding);
    }

    fn dot_dot(&mut self, entry: Entry, name: &[u8], here: &[u8]) {
        let found = if entry.inode.get() == 0 {
            "missing"
        } else if name != b".." {
            "another name"
        } else if here.get(10) != Some(&0) {
            "not ended by a NUL"
        } else {
            if let Some(state) = self.context.inodes.get(self.directory.inode) {
                state.dot_dot.store(entry.inode.get(), Ordering::Relaxed);
            }
            return;
        };
        let finding = self.finding(Kind::DirectoryDotDot).file_block(0).found(found);
        self.findings.push(finding);
    }

    /// Whether a name may lead to an inode of this number.
    fn is_target(&self, number: u32) -> bool {
        let context = self.context;
        let record = &context.superblock;
        let is_own = [
            record.usr_quota_inum,
            record.grp_quota_inum,
            record.prj_quota_inum,
            record.orphan_file_inum,
        ];
        (number == own::ROOT || number >= context.first_inode())
            && number <= context.layout.inodes
            && is_own.iter().all(|own| own.get() != number)
    }

    fn entry(&mut self, area: &Area<'_>, before: u32, parts: (&Entry, &[u8], &[u8])) {
        let (entry, name, here) = parts;
        let number = entry.inode.get();
        let at = |finding: Finding| finding.file_block(area.file_block).name(name);
        if !self.is_target(number) {
            let finding = at(self.finding(Kind::DirectoryTarget));
            self.findings.push(finding.found(format_args!("inode {number}")));
            return;
        }
        if before > 1 {
            let kind = match name {
                b"." => Some(Kind::DirectoryDot),
                b".." => Some(Kind::DirectoryDotDot),
                b"" => Some(Kind::DirectoryName),
                _ if number == own::ROOT => Some(Kind::DirectoryTarget),
                _ => None,
            };
            if let Some(kind) = kind {
                let finding = at(self.finding(kind));
                self.findings.push(finding.found(format_args!("inode {number}")));
            }
        }
        let Some(told) = self.context.inodes.told(number) else {
            let finding = at(self.finding(Kind::DirectoryUnused));
            self.findings.push(finding.found(format_args!("inode {number}")));
            if let Some(state) = self.context.inodes.get(number) {
                state.add_name();
            }
            return;
        };
        if self.context.is_in_unwritten_table(number) {
            let finding = at(self.finding(Kind::DirectoryUnused));
            let found = format!("inode {number}, of a group marked as without inodes");
            self.findings.push(finding.found(found));
        }
        self.file_type(area, told.sort, parts);
        if before > 1 {
            self.name(area, (number, name));
        } else if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            self.findings.push(at(self.finding(Kind::DirectoryName)));
        }
        if let Some(index) = &mut self.index {
            let padded = (ENTRY_HEAD + name.len()).next_multiple_of(ALIGNMENT);
            index.name(area.file_block, name, here.get(padded..).unwrap_or_default());
        }
        self.count(area, before, (number, told.sort, name));
    }

    /// Counts a name, and keeps where a directory has its own.
    fn count(&mut self, area: &Area<'_>, before: u32, (number, sort, name): (u32, Sort, &[u8])) {
        let Some(state) = self.context.inodes.get(number) else { return };
        if before > 1 && sort == Sort::Directory {
            let own = self.directory.inode;
            // The lower number wins, whoever comes first.
            let take = |other: u32| Some(if other == 0 { own } else { other.min(own) });
            let other = state.parent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
            if other.is_ok_and(|other| other != 0) {
                let finding = self.finding(Kind::DirectoryLinked).file_block(area.file_block);
                self.findings.push(finding.name(name).found(format_args!("inode {number}")));
            }
        }
        state.add_name();
    }

    fn file_type(&mut self, area: &Area<'_>, sort: Sort, (entry, name, _): (&Entry, &[u8], &[u8])) {
        let expected = if self.context.has(Feature::FILETYPE) { sort.entry_type() } else { 0 };
        let raw = entry.file_type;
        if raw == expected || (sort == Sort::Unknown && self.context.has(Feature::FILETYPE)) {
            return;
        }
        let is_unset = raw == 0 && self.context.has(Feature::FILETYPE);
        let kind = if is_unset { Kind::DirectoryTypeUnset } else { Kind::DirectoryType };
        let finding = self.finding(kind).file_block(area.file_block).name(name);
        let finding = finding.field("file_type").found(raw);
        self.findings.push(finding.expected(expected));
    }

    fn name(&mut self, area: &Area<'_>, (number, name): (u32, &[u8])) {
        if self.has(flag::ENCRYPT) {
            let is_short = name.len() < SHORTEST_ENCRYPTED;
            let child = self.context.inodes.told(number);
            let is_plain = child.is_some_and(|told| {
                let has_content =
                    matches!(told.sort, Sort::Directory | Sort::Regular | Sort::Symlink);
                has_content && told.flags & flag::ENCRYPT == 0
            });
            for (is, kind) in [(is_short, Kind::DirectoryName), (is_plain, Kind::DirectoryPolicy)] {
                if is {
                    let finding = self.finding(kind).file_block(area.file_block).name(name);
                    self.findings.push(finding.found(format_args!("inode {number}")));
                }
            }
            return;
        }
        if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
            let finding = self.finding(Kind::DirectoryName).file_block(area.file_block);
            self.findings.push(finding.name(name));
        }
    }

    /// Looks for a name that the block has twice.
    fn twice(&mut self, area: &Area<'_>) {
        self.names.sort_unstable();
        let name = |place: usize| {
            let rest = area.bytes.get(place..)?;
            let length = usize::from(*rest.get(6)?);
            rest.get(ENTRY_HEAD..ENTRY_HEAD + length)
        };
        let pairs = self.names.iter().zip(self.names.iter().skip(1));
        let same = pairs.filter(|(one, other)| one.0 == other.0 && name(one.1) == name(other.1));
        let first = same.map(|(one, _)| one.1).min();
        if let Some(name) = first.and_then(name) {
            let finding = self.finding(Kind::DirectoryTwice).file_block(area.file_block);
            self.findings.push(finding.name(name));
        }
    }
}

/// The value of `system.data` behind an inode's fields.
fn inline_rest<'a>(inode: &Subject<'a>) -> Option<&'a [u8]> {
    use crate::record::xattr::Entry as Attribute;
    let area = inode.attribute_area()?.get(INODE_HEAD..)?;
    let mut place = 0;
    while u32_at(area, place)? != 0 {
        let (entry, rest) = Attribute::read_from_prefix(area.get(place..)?).ok()?;
        let length = usize::from(entry.name_len);
        if entry.name_index == INDEX_SYSTEM && rest.get(..length)? == DATA_NAME {
            let start = usize::from(entry.value_offs.get());
            let size = usize::try_from(entry.value_size.get()).ok()?;
            return area.get(start..)?.get(..size);
        }
        place += size_of::<Attribute>() + length.next_multiple_of(ALIGNMENT);
    }
    None
}
