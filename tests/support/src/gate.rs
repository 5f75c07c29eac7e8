//! The gate that every image of every test passes: e2fsck finds nothing to say, and the file is
//! as long as the filesystem.

use std::fmt;
use std::fs::File;
use std::path::Path;

use ext4_writer::check::{Judge, Options, check};

use crate::judge;

/// Why an image did not pass, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objections(pub Vec<String>);

impl fmt::Display for Objections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.join("\n"))
    }
}

/// What dumpe2fs says of a filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Blocks of the filesystem.
    pub blocks: u64,
    /// Bytes in a block.
    pub block_size: u64,
    /// Bytes in an inode.
    pub inode_size: u64,
    /// Inodes of the filesystem, used and free.
    pub inodes: u64,
    /// Blocks that the superblock calls free.
    pub free_blocks: u64,
    /// Blocks that only root may fill.
    pub reserved_blocks: u64,
    /// Inodes that the superblock calls free.
    pub free_inodes: u64,
    /// The names of the features, as `tune2fs -O` takes them.
    pub features: Vec<String>,
    /// The volume label.
    pub label: String,
    /// The UUID, in its usual notation.
    pub uuid: String,
    /// The whole text.
    pub text: String,
}

impl Report {
    /// Whether the filesystem has the feature of this name.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }
}

/// Passes `image`, to our check too, or panics with every objection.
///
/// Without e2fsprogs the policy of [`judge::missing`] applies.
pub fn assert_clean(image: &Path) {
    assert_sound_to_us(image);
    if !judge::all(&["e2fsck", "dumpe2fs"]) {
        return;
    }
    if let Err(objections) = pass(image) {
        panic!("{} does not pass the gate:\n{objections}", image.display());
    }
}

/// Passes `image` by e2fsck and our check alone, or panics: of a filesystem of many terabytes dumpe2fs prints
/// more than it is worth.
pub fn assert_checked(image: &Path) {
    assert_sound_to_us(image);
    if judge::all(&["e2fsck"]) {
        let objections = Objections(e2fsck(image));
        assert!(objections.0.is_empty(), "{} is not clean:\n{objections}", image.display());
    }
}

/// What e2fsck calls clean our check must not call damaged.
fn assert_sound_to_us(image: &Path) {
    let path = image.display();
    let file = File::open(image).unwrap_or_else(|error| panic!("{path}: {error}"));
    let report = check(file, &Options::default()).unwrap_or_else(|error| panic!("{path}: {error}"));
    let found: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert!(report.is_sound(Judge::Kernel), "our check of {path}:\n{}", found.join("\n"));
}

/// Asks e2fsck and dumpe2fs, which must be installed, about `image`.
///
/// An exit status of 0 is not enough: e2fsck exits 0 on an image that is shorter than its
/// superblock says, and neither compares the superblock's counters with the groups' under `-n`.
pub fn pass(image: &Path) -> Result<Report, Objections> {
    let mut objections = e2fsck(image);
    let report = match dump(image) {
        Ok(report) => report,
        Err(objection) => {
            objections.push(objection);
            return Err(Objections(objections));
        }
    };
    let length = std::fs::metadata(image).map_or(0, |metadata| metadata.len());
    let size = report.blocks.saturating_mul(report.block_size);
    if length != size {
        objections.push(format!("the file has {length} bytes, the filesystem {size}"));
    }
    let groups = group_totals(&report.text);
    if groups != (report.free_blocks, report.free_inodes) {
        objections.push(format!(
            "the superblock counts {} free blocks and {} free inodes, the groups {} and {}",
            report.free_blocks, report.free_inodes, groups.0, groups.1
        ));
    }
    if objections.is_empty() { Ok(report) } else { Err(Objections(objections)) }
}

fn e2fsck(image: &Path) -> Vec<String> {
    let program = judge::find("e2fsck").expect("e2fsck is installed");
    let output = judge::run(&program, ["-fn".as_ref(), image.as_os_str()]);
    let mut objections: Vec<String> = judge::text(&output)
        .lines()
        .filter(|line| !is_clean_line(line))
        .map(|line| format!("e2fsck: {line}"))
        .collect();
    if !output.status.success() {
        objections.push(format!("e2fsck -fn: {}", output.status));
    }
    objections
}

/// Whether a line of e2fsck proposes nothing and warns of nothing: the version, the five passes,
/// and the summary. Everything else, known or unknown, is an objection.
fn is_clean_line(line: &str) -> bool {
    const PASSES: [&str; 5] = [
        "Pass 1: Checking inodes, blocks, and sizes",
        "Pass 2: Checking directory structure",
        "Pass 3: Checking directory connectivity",
        "Pass 4: Checking reference counts",
        "Pass 5: Checking group summary information",
    ];
    line.is_empty() || line.starts_with("e2fsck 1.") || PASSES.contains(&line) || is_summary(line)
}

/// `LABEL: 12/65536 files (0.0% non-contiguous), 13000/262144 blocks`.
fn is_summary(line: &str) -> bool {
    let Some((_, counts)) = line.rsplit_once(": ") else { return false };
    let shape: String = counts.chars().filter(|c| !c.is_ascii_digit()).collect();
    shape == "/ files (.% non-contiguous), / blocks"
}

/// Reads dumpe2fs's account of `image`.
pub fn dump(image: &Path) -> Result<Report, String> {
    let program = judge::find("dumpe2fs").expect("dumpe2fs is installed");
    let output = judge::run(&program, [image.as_os_str()]);
    let text = judge::text(&output);
    if !output.status.success() {
        return Err(format!("dumpe2fs: {}: {}", output.status, text.trim_end()));
    }
    // dumpe2fs marks a group descriptor whose checksum is wrong by "(EXPECTED 0x...)".
    if let Some(line) = text.lines().find(|line| line.contains("EXPECTED")) {
        return Err(format!("dumpe2fs: {line}"));
    }
    let number = |name: &str| -> Result<u64, String> {
        let value = field(&text, name).ok_or_else(|| format!("dumpe2fs prints no \"{name}\""))?;
        value.parse().map_err(|_| format!("dumpe2fs: \"{name}\" is \"{value}\""))
    };
    Ok(Report {
        blocks: number("Block count")?,
        block_size: number("Block size")?,
        inode_size: number("Inode size")?,
        inodes: number("Inode count")?,
        free_blocks: number("Free blocks")?,
        reserved_blocks: number("Reserved block count")?,
        free_inodes: number("Free inodes")?,
        features: field(&text, "Filesystem features")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        label: field(&text, "Filesystem volume name").unwrap_or_default().to_owned(),
        uuid: field(&text, "Filesystem UUID").unwrap_or_default().to_owned(),
        text,
    })
}

/// The value of the header line `NAME:   VALUE`; the lines of the groups are indented.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The free blocks and inodes of all groups: `  23513 free blocks, 8181 free inodes, ...`.
fn group_totals(text: &str) -> (u64, u64) {
    let count = |part: Option<&str>, unit: &str| -> Option<u64> {
        part?.trim().strip_suffix(unit)?.trim().parse().ok()
    };
    text.lines()
        .filter_map(|line| {
            let mut parts = line.strip_prefix("  ")?.split(',');
            Some((count(parts.next(), "free blocks")?, count(parts.next(), "free inodes")?))
        })
        .fold((0, 0), |total, group| (total.0 + group.0, total.1 + group.1))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::debugfs;

    struct Specimen {
        _directory: tempfile::TempDir,
        image: PathBuf,
    }

    /// A good image of another maker, with a file and a directory of its own.
    fn specimen() -> Option<Specimen> {
        if !judge::all(&["mke2fs", "e2fsck", "dumpe2fs", "debugfs"]) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let content = directory.path().join("content");
        fs::create_dir_all(content.join("directory")).unwrap();
        fs::write(content.join("file"), vec![b'x'; 10_000]).unwrap();
        fs::write(content.join("directory/inner"), b"inner").unwrap();
        let image = directory.path().join("specimen.ext4");
        judge::succeed(
            "mke2fs",
            [
                "-q".as_ref(),
                "-t".as_ref(),
                "ext4".as_ref(),
                "-b".as_ref(),
                "4096".as_ref(),
                "-d".as_ref(),
                content.as_os_str(),
                image.as_os_str(),
                "64M".as_ref(),
            ],
        );
        Some(Specimen { _directory: directory, image })
    }

    fn flip(image: &Path, offset: u64) {
        let file = OpenOptions::new().read(true).write(true).open(image).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 0x04], offset).unwrap();
    }

    fn objects_to_a_flip_at(offset: impl FnOnce(&Path) -> u64) {
        let Some(Specimen { _directory, image }) = specimen() else { return };
        flip(&image, offset(&image));
        let objections = pass(&image).expect_err("a flipped byte passes the gate");
        assert!(!objections.0.is_empty());
    }

    /// The block number after `label` in the account of group 0.
    fn place(image: &Path, label: &str) -> u64 {
        let text = dump(image).unwrap().text;
        let (_, rest) = text.split_once(label).expect("dumpe2fs names the place");
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_good_image_passes() {
        let Some(specimen) = specimen() else { return };
        let report = pass(&specimen.image).unwrap();
        assert_eq!((report.blocks, report.block_size), (16_384, 4096));
        assert!(report.features.iter().any(|feature| feature == "metadata_csum"));
    }

    #[test]
    fn a_flipped_byte_in_the_superblock_is_objected_to() {
        // The label, which nothing but the checksum protects.
        objects_to_a_flip_at(|_| 1024 + 0x78);
    }

    #[test]
    fn a_flipped_byte_in_a_group_descriptor_is_objected_to() {
        // The checksum of the inode bitmap, low half.
        objects_to_a_flip_at(|_| 4096 + 0x1A);
    }

    #[test]
    fn a_flipped_byte_in_an_inode_is_objected_to() {
        // The group of /file.
        objects_to_a_flip_at(|image| debugfs::inode_offset(image, "/file") + 0x18);
    }

    #[test]
    fn a_flipped_byte_in_a_directory_block_is_objected_to() {
        // The second byte of the name of the first entry after "." and "..".
        objects_to_a_flip_at(|image| {
            debugfs::blocks(image, "/directory").first().unwrap() * 4096 + 24 + 8 + 1
        });
    }

    #[test]
    fn a_flipped_byte_in_a_block_bitmap_is_objected_to() {
        objects_to_a_flip_at(|image| place(image, "Block bitmap at ") * 4096 + 1);
    }

    #[test]
    fn a_flipped_byte_in_an_inode_bitmap_is_objected_to() {
        objects_to_a_flip_at(|image| place(image, "Inode bitmap at ") * 4096 + 20);
    }

    #[test]
    fn a_truncated_file_is_objected_to() {
        let Some(specimen) = specimen() else { return };
        let file = OpenOptions::new().write(true).open(&specimen.image).unwrap();
        file.set_len(64 * 1024 * 1024 - 4096).unwrap();
        assert!(pass(&specimen.image).is_err());
    }

    #[test]
    fn a_file_longer_than_its_filesystem_is_objected_to() {
        let Some(specimen) = specimen() else { return };
        let file = OpenOptions::new().write(true).open(&specimen.image).unwrap();
        file.set_len(64 * 1024 * 1024 + 512).unwrap();
        let objections = pass(&specimen.image).unwrap_err();
        assert_eq!(objections.0, ["the file has 67109376 bytes, the filesystem 67108864"]);
    }

    #[test]
    fn a_wrong_free_counter_under_a_right_checksum_is_objected_to() {
        let Some(specimen) = specimen() else { return };
        debugfs::write(&specimen.image, "set_super_value free_inodes_count 7");
        assert!(pass(&specimen.image).is_err());
    }

    #[test]
    fn only_the_lines_of_a_clean_run_are_clean() {
        assert!(is_clean_line("root: 12/65536 files (0.0% non-contiguous), 130/262144 blocks"));
        assert!(!is_clean_line("Warning! /dev/sda1 is in use."));
        assert!(!is_clean_line(
            "Inode 12 extent tree (at level 1) could be shorter.  Optimize? no"
        ));
        assert!(!is_clean_line("root: ********** WARNING: Filesystem still has errors **********"));
    }
}
