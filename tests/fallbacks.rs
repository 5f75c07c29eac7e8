//! No silent fallback on our own promises: what writes images says an error where a number of its
//! own is wrong. A default in its place would write a wrong image, or report bytes as written that
//! were not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What writes: all of the library but what only reads images that others made, and the output.
const WRITERS: [&str; 2] = ["ext4-writer/src", "src/image"];
const READS_OTHERS: [&str; 2] = ["ext4-writer/src/reader", "ext4-writer/src/check"];

/// The ways to go on with another number than the one that was computed.
const FALLBACKS: [&str; 5] =
    [".unwrap_or(", ".unwrap_or_default(", ".unwrap_or_else(", ".map_or(0,", ".saturating_"];
/// A mutex whose holder panicked still has its value.
const POISONED_MUTEX: &str = ".unwrap_or_else(PoisonError::into_inner)";

/// The lines that may: the file or its folder, a part of the line, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    // The library.
    ("write_behind.rs", "failure.unwrap_or_else(gone)", "both are errors"),
    ("buffer.rs", "self.memory.get(self.place())", "who asks for a part of nothing gets an error"),
    ("buffer.rs", "self.memory.get_mut(place)", "likewise"),
    ("builder.rs", "segments.unwrap_or(&whole)", "a file without segments is one"),
    ("builder.rs", "offset.saturating_add(length)", "the caller's numbers, refused if too large"),
    ("host_tree.rs", "usize::try_from(first.length.saturating_sub(", "a minimum"),
    ("src/metadata.rs", "after.as_secs()).unwrap_or(i64::MAX)", "the last time there is"),
    ("src/metadata.rs", "seconds.saturating_sub(1)", "the first time there is"),
    ("src/metadata.rs", "1_000_000_000_u32.saturating_sub(", "the clock's own limit"),
    ("src/metadata.rs", "u64::try_from(bytes.len())", "cannot fail, asserted in units.rs"),
    ("options/size.rs", "end.unwrap_or(text.len())", "a number without a unit"),
    ("options/size.rs", ".unwrap_or((number, ", "a number without a fraction"),
    ("deferred_error.rs", "error.downcast().unwrap_or_else", "both are errors"),
    ("ext4-writer/src/device.rs", "end.unwrap_or(u64::MAX)", "a number in an error's text"),
    ("threads.rs", "spares.try_recv().unwrap_or_default()", "a new piece where none is spare"),
    ("emit/render.rs", "group.unwrap_or(0)", "0 stands for no backup"),
    ("geometry.rs", "options.max_size.unwrap_or(default)", "an option"),
    ("options/mod.rs", "bytes.saturating_mul(", "the caller's size, with a limit of its own"),
    ("identity.rs", "options.uuid.unwrap_or_else", "an option"),
    ("identity.rs", "options.hash_seed.unwrap_or_else", "an option"),
    ("plan/inline.rs", "bytes.get(BLOCK_MAP_SIZE..)", "what is shorter has no rest"),
    ("split.rs", "rest.map_or(0,", "no content is in the inode"),
    ("render/inode.rs", "block.map_or(0,", "0 stands for no block"),
    ("render/superblock.rs", "sources.orphan_file.map_or(0,", "0 stands for no inode"),
    ("render/xattr.rs", "one.ea_inode.map_or(0,", "likewise"),
    ("packing.rs", "rposition(Option::is_some).unwrap_or(0)", "no piece fits"),
    ("render/directory.rs", "reach.saturating_mul(most)", "a number in an error's text"),
    ("render/superblock.rs", "u16::try_from(group)", "the format's own limit"),
    ("render/superblock.rs", "u32::try_from(sources.overhead.get())", "0 lets the kernel count"),
    ("tree.rs", "self.extras.get(&node)", "most nodes have none"),
    ("units.rs", "u64::try_from(length).unwrap_or(u64::MAX)", "cannot fail, asserted beside it"),
    ("units.rs", "usize::try_from(number).unwrap_or(usize::MAX)", "likewise"),
    // Changes of finished images, whose numbers others wrote.
    (
        "src/edit/",
        ".unwrap_or(usize::MAX)",
        "nothing has such a place: an error follows, or a minimum",
    ),
    ("src/edit/", "u32::try_from(block).unwrap_or(u32::MAX)", "a number in an error's text"),
    ("edit/reseed.rs", "u32::try_from(number).unwrap_or(u32::MAX)", "a number in an error's text"),
    ("edit/attributes.rs", "value.unwrap_or(b", "of what goes only the name counts"),
    ("edit/attributes.rs", "room.saturating_sub(", "an inode too small for a list has no room"),
    ("edit/attributes.rs", "at.unwrap_or(0)", "0 stands for no block"),
    (
        "edit/attributes.rs",
        "self.references(found, at)?.saturating_sub(1)",
        "others' count may be 0",
    ),
    ("edit/attributes.rs", "one.outside.map_or(0,", "0 stands for no inode, and for its hash"),
    ("edit/attributes.rs", "size(&others).saturating_sub(inode)", "what fits is not in excess"),
    ("edit/content.rs", "segments.unwrap_or(&whole)", "a file without segments is one"),
    ("edit/directory.rs", "size_high.get()) << 32)", "others' number, compared with the map"),
    ("edit/directory.rs", "bytes.get(at..end)", "what is short is refused at once"),
    ("edit/directory.rs", "last.saturating_add(1)", "where to look first"),
    (
        "edit/overlay.rs",
        "self.upper.as_mut().unwrap_or(",
        "without an upper map the lower one changes",
    ),
    ("edit/overlay.rs", "self.upper.as_ref().map_or(0,", "no map has no blocks"),
    ("edit/filesystem.rs", "self.layout.", "the group of any number is one that there is"),
    ("edit/groups.rs", "= self.free_", "others' numbers, compared with the superblock's"),
    ("edit/groups.rs", "self.system.add(", "others' numbers"),
    ("edit/groups.rs", "length.saturating_sub(place)", "behind the last bit nothing is inside"),
    ("edit/grow.rs", "wanted.saturating_sub(", "the caller's number"),
    ("edit/grow.rs", "u32::try_from(overhead).unwrap_or(0)", "0 lets the kernel count"),
    ("edit/grow.rs", "map.get(DOUBLE_INDIRECT).map_or(0,", "0 stands for no block"),
    ("edit/htree.rs", "self.entries.get(1..)", "one entry has no others"),
    ("edit/htree.rs", "bytes.get(", "what is short is refused at once"),
    ("edit/inline.rs", "entry.kind.map_or(0,", "0 stands for an unknown kind"),
    ("edit/inode.rs", "self.bytes.len().saturating_sub(", "a short inode has no room"),
    ("edit/inode.rs", "inode.bytes.get(size_of::<Record>()..)", "a short inode has nothing behind"),
    ("edit/inode.rs", ".unwrap_or(metadata.modified)", "an option"),
    ("edit/journal.rs", "numbers.get(written)", "a full log begins anew"),
    ("edit/journal.rs", "changed.last_key_value().map_or(0,", "nothing has changed"),
    ("edit/map.rs", "saturating_", "more than a map can hold is refused before"),
    ("edit/overlay.rs", "offset.saturating_add(", "the end of what is read"),
    ("edit/overlay.rs", "start.saturating_add(", "the end of a block of the device"),
    ("edit/reseed.rs", "per_group.saturating_sub(", "others' number"),
    ("edit/runs.rs", "block.saturating_add(1)", "the end of a range"),
    ("edit/space.rs", "goal.saturating_sub(start)", "where to look first"),
    ("edit/space.rs", "self.first_inode().saturating_sub(1)", "others' number"),
    ("edit/space.rs", "per_group.saturating_sub(", "others' number"),
    ("edit/space.rs", "place.saturating_add(most)", "a minimum"),
    ("edit/space.rs", ".unwrap_or(limit)", "all are free up to there"),
    ("edit/trial.rs", "self.source.length()?.saturating_sub(", "behind the end nothing is left"),
    ("edit/undo.rs", "parent.unwrap_or_else(", "a name alone is in the current directory"),
    // The output.
    ("staged_copy.rs", ".unwrap_or(u64::MAX)", "every length in memory has 64 bits at most"),
    ("staged_copy.rs", ".unwrap_or(PIECE).min(PIECE)", "a minimum"),
    ("staged_copy.rs", ".unwrap_or(BUFFER).min(BUFFER)", "a minimum"),
    ("staged_copy.rs", ".unwrap_or(usize::MAX)", "nothing has such a place: an error follows"),
    ("src/image/", "self.waiting.saturating_add", "only says when to sync early"),
    ("direct_file.rs", ".saturating_", "a throughput, which decides on speed alone"),
    ("src/image/", "thread.join().unwrap_or_else", "both are errors"),
    ("src/image/", "self.owner.unwrap_or_default()", "an option"),
    ("src/image/", "owner.uid.unwrap_or(metadata.uid)", "an option"),
    ("src/image/", "owner.gid.unwrap_or(metadata.gid)", "an option"),
    ("src/image/", "self.mode.unwrap_or(metadata.mode)", "an option"),
    ("src/image/", "block_number(&device).map(mounts)", "the kernel shows no such device"),
    ("src/image/", "backing.unwrap_or_default()", "the kernel shows no file of the device"),
    ("src/image/", "backing.strip_suffix", "the line may have no end"),
    ("src/image/", "shown.strip_suffix", "the path may be whole"),
    ("src/image/", "fs::read_to_string(\"/proc/", "without /proc nobody is known"),
    ("src/image/", "byte.unwrap_or((*first, behind))", "a byte that is not escaped"),
    ("src/image/", "users.unwrap_or_default()", "words of an error"),
    ("src/image/", "stem.get(..MAX_STEM).unwrap_or(stem)", "a short name is whole"),
    ("src/image/", "u64::try_from(length).unwrap_or(u64::MAX)", "asks for storage early"),
    ("src/image/", "fs::metadata(&self.output).map_or(0,", "a link to nothing has nothing"),
    ("src/image/", "elapsed()", "a duration in a report"),
    ("src/image/", "u32::try_from(room / BYTES_PER_INODE)", "the format's own limit"),
    ("src/image/", "text.find(", "a number without a unit"),
    ("src/image/", "fraction.unwrap_or_default()", "a number without a fraction"),
    ("src/image/", "fs::canonicalize(parent)", "a directory that is not there"),
];

#[test]
fn a_number_of_ours_that_is_wrong_is_an_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut unused: Vec<_> = ALLOWED.iter().map(|(file, part, _)| (*file, *part)).collect();
    let mut found = Vec::new();
    for file in sources(root).unwrap() {
        let path = file.strip_prefix(root).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        for (number, line) in (1..).zip(code.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            let line = line.replace(POISONED_MUTEX, "");
            if is_comment || !FALLBACKS.iter().any(|fallback| line.contains(fallback)) {
                continue;
            }
            let allows = |file: &str, part: &str| path.contains(file) && line.contains(part);
            if ALLOWED.iter().any(|(file, part, _)| allows(file, part)) {
                unused.retain(|(file, part)| !allows(file, part));
            } else {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new(), "return Error::Internal, or say here why not");
    assert_eq!(unused, Vec::new(), "nothing has these any more");
}

/// The source files of what writes.
fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut waiting: Vec<PathBuf> = WRITERS.iter().map(|writer| root.join(writer)).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if READS_OTHERS.iter().any(|other| path == root.join(other)) {
            continue;
        }
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                waiting.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
