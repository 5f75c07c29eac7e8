//! Any bytes as an image: whatever is asked of the reader has an answer, or an error.

#![no_main]

use std::io::Read;

use banger_fuzz::damaged;
use ext4_writer::reader::{Inode, Links, Reader, Source};
use libfuzzer_sys::fuzz_target;

/// How much of everything is asked for.
const ENOUGH: usize = 500;

fn ask<S: Source>(source: S) {
    let Ok(reader) = Reader::open(source) else { return };
    for group in 0..reader.superblock().groups.min(4) {
        let _ = (reader.free_runs(group), reader.free_inodes(group));
    }
    let _ = reader.lookup(b"/link/a-name-that-fills-blocks-7", Links::Follow);
    if let Ok(root) = reader.root() {
        for entry in reader.walk(&root).take(ENOUGH).map_while(Result::ok) {
            ask_inode(&reader, &entry.inode);
        }
    }
    for number in 1..reader.superblock().inodes.min(20) {
        if let Ok(inode) = reader.inode(number) {
            ask_inode(&reader, &inode);
        }
    }
}

fn ask_inode<S: Source>(reader: &Reader<S>, inode: &Inode) {
    let _ = (reader.attributes(inode), reader.read_link(inode), inode.device(), inode.created());
    let _ = reader.extents(inode).map(|extents| extents.take(ENOUGH).count());
    let _ = reader.segments(inode).map(|segments| segments.take(ENOUGH).count());
    let _ = reader.read_directory(inode).map(|entries| entries.take(ENOUGH).count());
    let _ =
        reader.contents(inode).map(|contents| contents.take(100_000).read_to_end(&mut Vec::new()));
}

fuzz_target!(|bytes: &[u8]| {
    ask(bytes);
    if let Some(image) = damaged::image(bytes) {
        ask(image);
    }
});
