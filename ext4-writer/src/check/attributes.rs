//! Extended attributes: entries, values, hashes, and who shares a block of them.
//!
//! Source of what counts: e2fsprogs, `e2fsck/pass1.c`, `check_ea_in_inode`, `check_ext_attr`,
//! `check_large_ea_inode`, `lib/ext2fs/ext_attr.c`; kernel, `fs/ext4/xattr.c`, `check_xattrs`.

use zerocopy::FromBytes;

use crate::check::bytes::u32_at;
use crate::check::context::Context;
use crate::check::facts::flag;
use crate::check::findings::{Finding, Findings};
use crate::check::kinds::Kind;
use crate::check::scan::{Output, Scan};
use crate::check::subject::Subject;
use crate::check::threads::in_parts;
use crate::format::units::{BlockIndex, widen};
use crate::reader::features::Feature;
use crate::reader::{ReadResult, Source};
use crate::record::acl::{DISK_VERSION, SHORT_ENTRY, tag_has_id};
use crate::record::xattr::{
    ALIGNMENT, DATA_NAME, Entry, Header, INDEX_ACL_ACCESS, INDEX_ACL_DEFAULT, INDEX_HURD,
    INDEX_SECURITY, INDEX_SYSTEM, INDEX_TRUSTED, INDEX_USER, INODE_HEAD, MAGIC,
};

/// The number of the prefix of the context of encryption: `EXT4_XATTR_INDEX_ENCRYPTION`.
const INDEX_ENCRYPTION: u8 = 9;
/// Its name: `EXT4_XATTR_NAME_ENCRYPTION_CONTEXT`.
const CONTEXT_NAME: &[u8] = b"c";
/// The longest value: `EXT2_XATTR_SIZE_MAX` of e2fsprogs.
const MAX_VALUE: u32 = 1 << 24;

/// The blocks of one part of the work.
const PART: usize = 64;

/// What attributes add to an inode.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    /// Clusters that the values in inodes count for.
    pub value_clusters: u64,
    pub values: Vec<u32>,
    /// The length of the value of `system.data`.
    pub inline: Option<usize>,
    /// The context of encryption.
    pub encryption: Option<Vec<u8>>,
}

/// Entries and values, and whom they are told of.
struct List<'a> {
    area: &'a [u8],
    /// Where entries begin.
    first: usize,
    /// Where values are counted from.
    base: usize,
    in_inode: bool,
}

impl List<'_> {
    /// Whether no entry begins at a place.
    fn ends_at(&self, place: usize) -> bool {
        let head = self.area.get(place..).and_then(|rest| u32_at(rest, 0));
        head.is_none_or(|head| head == 0)
    }

    /// The entry at a place, with its name; none if it reaches behind the end.
    fn entry(&self, place: usize) -> Option<(Entry, &[u8])> {
        let rest = self.area.get(place..)?;
        let (entry, names) = Entry::read_from_prefix(rest).ok()?;
        Some((entry, names.get(..usize::from(entry.name_len))?))
    }
}

/// Whoever has the attributes: only its number and generation matter.
#[derive(Clone, Copy)]
struct Owner {
    inode: u32,
    generation: u32,
    block: Option<u64>,
}

impl Owner {
    fn finding(self, kind: Kind) -> Finding {
        let finding = Finding::new(kind).inode(self.inode);
        match self.block {
            Some(block) => finding.block(block),
            None => finding,
        }
    }
}

impl<S: Source> Scan<'_, S> {
    /// The attributes behind the fields of an inode.
    pub(super) fn attributes_in_inode(&mut self, subject: &Subject<'_>) -> ReadResult<Attributes> {
        let mut attributes = Attributes::default();
        let Some(area) = subject.attribute_area() else { return Ok(attributes) };
        if area.len() <= INODE_HEAD || u32_at(area, 0) != Some(MAGIC) {
            return Ok(attributes);
        }
        let list = List { area, first: INODE_HEAD, base: INODE_HEAD, in_inode: true };
        let generation = subject.record.generation.get();
        let owner = Owner { inode: subject.number, generation, block: None };
        judge(self.context, &list, owner, (&mut self.out.findings, &mut attributes))?;
        self.out.values.extend_from_slice(&attributes.values);
        Ok(attributes)
    }

    /// The block of attributes of an inode, which others may share: what it adds to the inode.
    pub(super) fn attribute_block(
        &mut self,
        subject: &Subject<'_>,
        block: u64,
    ) -> ReadResult<Attributes> {
        self.out.attribute_blocks.push((block, subject.number));
        let is_needed = self.context.has(Feature::EA_INODE) || subject.has(flag::ENCRYPT);
        let mut attributes = Attributes::default();
        if is_needed {
            let bytes = self.context.image.block(block)?;
            let list = List { area: &bytes, first: size_of::<Header>(), base: 0, in_inode: false };
            let generation = subject.record.generation.get();
            let owner = Owner { inode: subject.number, generation, block: Some(block) };
            // It is judged once, with the number of its users.
            let mut unheard = Findings::default();
            judge(self.context, &list, owner, (&mut unheard, &mut attributes))?;
        }
        Ok(attributes)
    }
}

/// Judges a block of attributes that so many inodes use; returns the inodes of its values.
fn judge_block<S: Source>(
    context: &Context<S>,
    (block, users, first): (u64, usize, u32),
    findings: &mut Findings,
) -> ReadResult<Vec<u32>> {
    let bytes = context.image.block(block)?;
    let Ok((header, _)) = Header::read_from_prefix(&bytes) else { return Ok(Vec::new()) };
    let generation = context.inode_bytes(first)?;
    let generation = generation.and_then(|bytes| u32_at(&bytes, 0x64)).unwrap_or(0);
    let owner = Owner { inode: first, generation, block: Some(block) };
    let magic = header.magic.get();
    if magic != MAGIC {
        let finding = owner.finding(Kind::AttributeHeader).field("h_magic");
        let found = format!("{magic:#010x}");
        findings.push(finding.found(found).expected(format_args!("{MAGIC:#010x}")));
        return Ok(Vec::new());
    }
    if header.blocks.get() != 1 {
        let finding = owner.finding(Kind::AttributeHeader).field("h_blocks");
        findings.push(finding.found(header.blocks).expected(1));
    }
    let list = List { area: &bytes, first: size_of::<Header>(), base: 0, in_inode: false };
    let mut attributes = Attributes::default();
    judge(context, &list, owner, (findings, &mut attributes))?;
    if context.layout.seed.is_enabled() {
        let computed = context.layout.seed.attributes_sum(&bytes, BlockIndex::new(block));
        let stored = header.checksum.get();
        if stored != computed {
            let finding = owner.finding(Kind::AttributeChecksum).field("h_checksum");
            let found = format!("{stored:#x}");
            findings.push(finding.found(found).expected(format_args!("{computed:#x}")));
        }
    }
    let references = u64::from(header.refcount.get());
    if references != widen(users) {
        let finding = owner.finding(Kind::AttributeReferences).field("h_refcount");
        findings.push(finding.found(references).expected(users));
    }
    Ok(attributes.values)
}

type Taken<'a> = (&'a mut Findings, &'a mut Attributes);

/// Goes through a list of attributes, up to the first entry that cannot be one.
fn judge<S: Source>(
    context: &Context<S>,
    list: &List<'_>,
    owner: Owner,
    (findings, attributes): Taken<'_>,
) -> ReadResult<()> {
    let mut place = list.first;
    let mut regions = vec![(0, list.first)];
    let mut remain = list.area.len().saturating_sub(INODE_HEAD);
    let mut previous: Option<(u8, usize, Vec<u8>)> = None;
    loop {
        let in_room = !list.in_inode || remain >= size_of::<Entry>();
        if !in_room || list.ends_at(place) {
            break;
        }
        let Some((entry, name)) = list.entry(place) else {
            findings.push(owner.finding(Kind::AttributeOverlap).found("an entry behind the end"));
            return Ok(());
        };
        let name_room = name.len().next_multiple_of(ALIGNMENT);
        regions.push((place, place + size_of::<Entry>() + name_room));
        remain = remain.saturating_sub(size_of::<Entry>());
        if list.in_inode && name_room > remain {
            let finding = owner.finding(Kind::AttributeName).field("e_name_len");
            findings.push(finding.found(name.len()).expected(format_args!("at most {remain}")));
            return Ok(());
        }
        remain = remain.saturating_sub(name_room);
        if !list.in_inode && entry.name_index == 0 {
            findings.push(owner.finding(Kind::AttributeName).field("e_name_index").found(0));
            return Ok(());
        }
        if let Some(finding) = unreadable(list, (&entry, name), previous.as_ref()) {
            findings.push(owner.finding(Kind::AttributeUnreadable).name(name).found(finding));
        }
        previous = Some((entry.name_index, name.len(), name.to_vec()));
        if entry.value_inum.get() != 0 {
            value_inode(context, owner, (&entry, name), (findings, attributes))?;
        } else if let Some(kind) = value(list, (&entry, name), remain, (&mut regions, attributes)) {
            findings.push(owner.finding(kind).name(name).found(value_text(&entry)));
            if kind == Kind::AttributeValue {
                return Ok(());
            }
        } else if list.in_inode {
            let size = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
            remain = remain.saturating_sub(size);
        }
        place += size_of::<Entry>() + name_room;
    }
    regions.push((place, place + size_of::<u32>()));
    if overlap(&mut regions, list.area.len()) {
        findings.push(owner.finding(Kind::AttributeOverlap));
    }
    Ok(())
}

fn value_text(entry: &Entry) -> String {
    let Entry { value_size, value_offs, hash, .. } = entry;
    format!("{value_size} bytes from byte {value_offs}, hash {hash:#x}")
}

/// Whether two of the regions overlap, or one reaches behind the end.
fn overlap(regions: &mut [(usize, usize)], length: usize) -> bool {
    regions.sort_unstable();
    let pairs = regions.iter().zip(regions.iter().skip(1));
    pairs.clone().any(|((_, end), (start, _))| end > start)
        || regions.iter().any(|(_, end)| *end > length)
}

/// The value that stands beside its entry: what is wrong with it.
fn value(
    list: &List<'_>,
    (entry, name): (&Entry, &[u8]),
    remain: usize,
    (regions, attributes): (&mut Vec<(usize, usize)>, &mut Attributes),
) -> Option<Kind> {
    let size = entry.value_size.get();
    let length = usize::try_from(size).ok().filter(|_| size <= MAX_VALUE);
    let Some(length) = length else { return Some(Kind::AttributeValue) };
    let offset = usize::from(entry.value_offs.get());
    let too_long = if list.in_inode {
        length > remain
    } else {
        offset.saturating_add(length) > list.area.len()
    };
    if too_long {
        return Some(Kind::AttributeValue);
    }
    let start = list.base + offset;
    let padded = length.next_multiple_of(ALIGNMENT);
    let bytes = list.area.get(start..start + padded);
    if length > 0 {
        regions.push((start, start + padded));
        let Some(bytes) = bytes else { return Some(Kind::AttributeOverlap) };
        let value = bytes.get(..length).unwrap_or(bytes);
        if entry.name_index == INDEX_ENCRYPTION && name == CONTEXT_NAME {
            attributes.encryption = Some(value.to_vec());
        }
    }
    // e2fsck compares names up to a NUL.
    let up_to_nul = name.split(|byte| *byte == 0).next();
    if entry.name_index == INDEX_SYSTEM && up_to_nul == Some(DATA_NAME) {
        // e2fsck looks for it with the bounds of a value, although it may have no bytes.
        attributes.inline = (start <= list.area.len()).then_some(length);
    }
    let stored = entry.hash.get();
    if list.in_inode && stored == 0 {
        return None;
    }
    let words = bytes.unwrap_or_default();
    let is_right = [false, true]
        .into_iter()
        .any(|signed| stored == value_hash(name_hash(name, signed), words));
    (!is_right).then_some(Kind::AttributeHash)
}

/// The hash of a name, whose bytes have signs or not.
///
/// Source: kernel, `fs/ext4/xattr.c`, `ext4_xattr_hash_entry`.
fn name_hash(name: &[u8], signed: bool) -> u32 {
    name.iter().fold(0, |hash: u32, byte| {
        let wide =
            if signed { i32::from(byte.cast_signed()).cast_unsigned() } else { u32::from(*byte) };
        hash.rotate_left(5) ^ wide
    })
}

fn value_hash(start: u32, padded: &[u8]) -> u32 {
    let words = (0..padded.len()).step_by(ALIGNMENT).filter_map(|place| u32_at(padded, place));
    words.fold(start, |hash, word| hash.rotate_left(16) ^ word)
}

/// What keeps the kernel from showing an attribute that e2fsck takes.
fn unreadable(
    list: &List<'_>,
    (entry, name): (&Entry, &[u8]),
    previous: Option<&(u8, usize, Vec<u8>)>,
) -> Option<&'static str> {
    if name.contains(&0) {
        return Some("a NUL in its name");
    }
    let has_prefix =
        matches!(entry.name_index, INDEX_USER | INDEX_TRUSTED | INDEX_SECURITY | INDEX_HURD);
    if name.is_empty() && has_prefix {
        return Some("no name behind its prefix");
    }
    let is_acl = matches!(entry.name_index, INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT);
    if is_acl && !name.is_empty() {
        return Some("a name behind that of an ACL");
    }
    if is_acl && entry.value_inum.get() == 0 && !is_whole_acl(list, entry) {
        return Some("its value is no ACL");
    }
    let key = (entry.name_index, name.len(), name);
    let before = previous.map(|(index, length, name)| (*index, *length, name.as_slice()));
    if !list.in_inode && before.is_some_and(|before| before >= key) {
        return Some("its place in the order of names");
    }
    None
}

/// Source: kernel, `fs/ext4/acl.c`, `ext4_acl_from_disk`.
fn is_whole_acl(list: &List<'_>, entry: &Entry) -> bool {
    let start = list.base + usize::from(entry.value_offs.get());
    let length = usize::try_from(entry.value_size.get()).unwrap_or(usize::MAX);
    let value = list.area.get(start..).and_then(|rest| rest.get(..length));
    let Some((version, mut rest)) = value.and_then(|value| value.split_at_checked(4)) else {
        return false;
    };
    while let Some((short, behind)) = rest.split_at_checked(SHORT_ENTRY) {
        let tag = short.first_chunk().copied().and_then(tag_has_id);
        rest = match tag {
            Some(true) if behind.len() >= 4 => behind.get(4..).unwrap_or_default(),
            Some(false) => behind,
            _ => return false,
        };
    }
    version == DISK_VERSION && rest.is_empty()
}

/// A value that has an inode of its own.
fn value_inode<S: Source>(
    context: &Context<S>,
    owner: Owner,
    (entry, name): (&Entry, &[u8]),
    (findings, attributes): Taken<'_>,
) -> ReadResult<()> {
    let number = entry.value_inum.get();
    attributes.values.push(number);
    let wrong =
        owner.finding(Kind::AttributeInode).name(name).found(format_args!("inode {number}"));
    if number < context.first_inode() || number > context.layout.inodes {
        findings.push(wrong);
        return Ok(());
    }
    let Some(bytes) = context.inode_bytes(number)? else { return Ok(()) };
    let holder = Subject::new(context, number, &bytes);
    let value = holder.record.atime.get();
    let stored = entry.hash.get();
    let size = u64::from(entry.value_size.get());
    let hashes = [false, true].map(|signed| name_hash(name, signed).rotate_left(16) ^ value);
    if hashes.contains(&stored) {
        let ratio = context.layout.cluster_blocks.saturating_mul(context.layout.block.bytes());
        let clusters = size.div_ceil(ratio);
        attributes.value_clusters = attributes.value_clusters.saturating_add(clusters);
    } else {
        // Lustre's, which came first, point back at their owner and are not summed.
        let of_lustre = holder.record.mtime.get() == owner.inode
            && holder.record.generation.get() == owner.generation;
        if !of_lustre {
            if holder.is_value() {
                let found = format!("{stored:#x}");
                findings.push(owner.finding(Kind::AttributeHash).name(name).found(found));
            } else {
                findings.push(wrong);
            }
            return Ok(());
        }
    }
    if !holder.is_value() {
        findings.push(wrong);
    } else if holder.size != size {
        let finding = owner.finding(Kind::AttributeUnreadable).name(name);
        let finding = finding.found(format_args!("inode {number} has {} bytes", holder.size));
        findings.push(finding.expected(size));
    }
    Ok(())
}

/// Whether a context of encryption is one of the two that the kernel knows.
///
/// Source: kernel, `fs/crypto/fscrypt_private.h`, `fscrypt_context_size`.
pub(super) fn is_context(context: &[u8]) -> bool {
    matches!((context.first(), context.len()), (Some(1), 28) | (Some(2), 40))
}

/// Judges every block of attributes once, and claims it; returns the inodes of all values,
/// ascending, one for each attribute.
pub(super) fn judge_blocks<S: Source + Sync>(
    context: &Context<S>,
    outputs: &[Output],
    findings: &mut Findings,
) -> ReadResult<Vec<u32>> {
    let mut values: Vec<u32> =
        outputs.iter().flat_map(|output| output.values.iter().copied()).collect();
    let mut users: Vec<(u64, u32)> =
        outputs.iter().flat_map(|output| output.attribute_blocks.iter().copied()).collect();
    users.sort_unstable();
    let blocks: Vec<&[(u64, u32)]> = users.chunk_by(|one, other| one.0 == other.0).collect();
    let parts = in_parts(blocks.len().div_ceil(PART), context.threads, |part| {
        let mut findings = Findings::default();
        let mut values = Vec::new();
        for users in blocks.iter().skip(part * PART).take(PART) {
            let Some((block, first)) = users.first() else { continue };
            context.claims.claim(*block, 1);
            let block = (*block, users.len(), *first);
            values.extend(judge_block(context, block, &mut findings)?);
        }
        Ok((findings, values))
    })?;
    for (part, more) in parts {
        findings.append(part);
        values.extend(more);
    }
    values.sort_unstable();
    Ok(values)
}
