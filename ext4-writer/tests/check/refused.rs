//! What the kernel refuses and e2fsck passes over, or the other way round.

use banger_test_support::judge;
use ext4_writer::check::{Judge, Kind, Options, check};
use ext4_writer::reader::Reader;

use crate::damage::bases::with_options;

/// `s_creator_os` and `s_journal_inum`, from the beginning of the image.
const CREATOR: usize = 1024 + 0x48;
const JOURNAL_NUMBER: usize = 1024 + 0xe0;
/// `s_desc_size` is the upper half of these four bytes.
const DESCRIPTOR: usize = 1024 + 0xfc;
/// Of a journal's superblock: its version, length, features and blocks of fast commits.
const VERSION: usize = 0x04;
const LENGTH: usize = 0x10;
const INCOMPATIBLE: usize = 0x28;
const FAST_COMMITS: usize = 0x54;
/// Of an inode: the block of its attributes, and where its fields end.
const ATTRIBUTES: usize = 0x68;
const EXTRA_SIZE: usize = 0x80;

struct Case {
    image: Vec<u8>,
    journal: usize,
}

impl Case {
    /// A filesystem without sums, so that nothing has to be sealed.
    fn new(features: &str) -> Option<Self> {
        if !judge::all(&["e2fsck", "mke2fs", "debugfs"]) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let options = format!("-t ext4 -b 1024 -O ^metadata_csum{features}");
        let image = with_options(directory.path(), &options)?.image;
        // The superblock of the journal begins with its magic and type, at a block.
        let head = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4];
        let journal = (0..image.len()).step_by(1024).find(|at| image[*at..].starts_with(&head));
        Some(Self { image, journal: journal.unwrap_or(0) })
    }

    fn little(mut self, offset: usize, number: u32) -> Self {
        self.image[offset..offset + 4].copy_from_slice(&number.to_le_bytes());
        self
    }

    fn journal(mut self, field: usize, number: u32) -> Self {
        let at = self.journal + field;
        self.image[at..at + 4].copy_from_slice(&number.to_be_bytes());
        self
    }

    fn inode(self, number: u32, field: usize, value: u32) -> Self {
        let offset = Reader::open(&self.image).unwrap().inode_offset(number).unwrap();
        self.little(usize::try_from(offset).unwrap() + field, value)
    }

    /// Asserts the first finding, and who counts it.
    fn assert(&self, kind: Option<Kind>, (kernel, e2fsck): (bool, bool)) {
        let options = Options { no_replay: true, ..Options::default() };
        let report = check(&self.image, &options).unwrap();
        assert_eq!(report.findings.first().map(|finding| finding.kind), kind);
        assert_eq!(report.is_sound(Judge::Kernel), kernel, "{:?}", report.findings);
        assert_eq!(report.is_sound(Judge::E2fsck), e2fsck, "{:?}", report.findings);
    }
}

#[test]
fn fast_commits_leave_the_log_as_many_blocks_as_a_journal_has_at_least() {
    // Seen with e2fsck 1.47.0 and Linux 6.18: 1,024 blocks have to be left, 256 are taken where
    // nothing is said, and e2fsck passes over more blocks than there are.
    for (length, blocks, kind, sound) in [
        (1024, 0, Some(Kind::JournalSuperblock), (false, false)),
        (1024, 1, Some(Kind::JournalSuperblock), (false, false)),
        (1024, 3000, Some(Kind::JournalRefused), (false, true)),
    ] {
        let Some(case) = Case::new(",^64bit") else { return };
        let case = case.journal(LENGTH, length).journal(INCOMPATIBLE, 0x20);
        case.journal(FAST_COMMITS, blocks).assert(kind, sound);
    }
}

#[test]
fn a_journal_of_the_first_version_has_no_features_to_be_set() {
    let Some(case) = Case::new("") else { return };
    case.journal(VERSION, 3).assert(Some(Kind::JournalRefused), (false, true));
    let Some(case) = Case::new(",^64bit") else { return };
    case.journal(VERSION, 3).assert(None, (true, true));
}

#[test]
fn the_size_of_a_descriptor_is_a_power_of_two_where_nobody_needs_it() {
    // Seen with e2fsck 1.47.0: 1, 32 and 1,024 pass, 3, 100 and 2,048 do not.
    for (size, kind) in [(32, None), (100, Some(Kind::SuperblockField))] {
        let Some(case) = Case::new(",^64bit") else { return };
        let kept = u32::from_le_bytes(case.image[DESCRIPTOR..DESCRIPTOR + 4].try_into().unwrap());
        case.little(DESCRIPTOR, kept & 0xffff | size << 16).assert(kind, (size == 32, size == 32));
    }
}

#[test]
fn the_hurd_has_no_64bit() {
    let Some(case) = Case::new("") else { return };
    case.little(CREATOR, 1).assert(Some(Kind::Hurd), (false, true));
}

#[test]
fn a_journal_is_named_where_there_is_one_alone() {
    let Some(case) = Case::new(",^has_journal") else { return };
    case.little(JOURNAL_NUMBER, 8).assert(Some(Kind::JournalInode), (false, false));
}

#[test]
fn the_kernel_opens_its_own_inodes_as_it_opens_any() {
    let Some(case) = Case::new("") else { return };
    case.inode(8, ATTRIBUTES, u32::MAX).assert(Some(Kind::OwnInodeRefused), (false, true));
    let Some(case) = Case::new("") else { return };
    case.inode(8, EXTRA_SIZE, 0x1020).assert(Some(Kind::OwnInodeRefused), (false, true));
}

#[test]
fn an_attribute_has_a_name_behind_its_prefix() {
    let Some(case) = Case::new("") else { return };
    let reader = Reader::open(&case.image).unwrap();
    let root = reader.root().unwrap();
    let mut files = reader.walk(&root).map(Result::unwrap);
    let number = files.find(|entry| entry.path == b"holes").unwrap().inode.number();
    drop(files);
    // Behind 32 bytes of fields: the magic, then an entry without a name, of the index of `user.`.
    for index in [1, 10] {
        let Some(case) = Case::new("") else { return };
        let case = case.inode(number, EXTRA_SIZE + 0x20, 0xea02_0000);
        let case = case.inode(number, EXTRA_SIZE + 0x24, index << 8);
        case.assert(Some(Kind::AttributeUnreadable), (false, true));
    }
}
