//! Questions to `debugfs`, which reads structures that a mount hides.

use std::path::Path;

use crate::judge;

/// What one debugfs command prints about `image`, which is opened read-only.
#[must_use]
pub fn read(image: &Path, request: &str) -> String {
    judge::succeed("debugfs", ["-R".as_ref(), request.as_ref(), image.as_os_str()])
}

/// Changes `image` by one debugfs command.
pub fn write(image: &Path, request: &str) {
    judge::succeed("debugfs", ["-w".as_ref(), "-R".as_ref(), request.as_ref(), image.as_os_str()]);
}

/// The blocks of the file at `path`, data and extent tree, in the order of debugfs.
#[must_use]
pub fn blocks(image: &Path, path: &str) -> Vec<u64> {
    read(image, &format!("blocks {path}"))
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Where in `image` the inode of `path` begins, in bytes; the image has blocks of 4096 bytes.
#[must_use]
pub fn inode_offset(image: &Path, path: &str) -> u64 {
    // "Inode 12 is part of block group 0\n\tlocated at block 37, offset 0x0b00"
    let text = read(image, &format!("imap {path}"));
    let (_, rest) = text.split_once("located at block ").expect("imap names the block");
    let (block, rest) = rest.split_once(", offset 0x").expect("imap names the offset");
    let block: u64 = block.parse().expect("a block number");
    block * 4096 + u64::from_str_radix(rest.trim(), 16).expect("a hexadecimal offset")
}

/// Whether the directory at `path` has a hashed index.
#[must_use]
pub fn is_indexed(image: &Path, path: &str) -> bool {
    // The flag EXT4_INDEX_FL (0x1000) of the inode; "stat" prints "Flags: 0x81000".
    let text = read(image, &format!("stat {path}"));
    let (_, rest) = text.split_once("Flags: 0x").expect("stat prints the flags");
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap_or_default();
    u64::from_str_radix(digits, 16).expect("hexadecimal flags") & 0x1000 != 0
}
