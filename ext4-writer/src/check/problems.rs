//! The problems that e2fsck 1.47.0 knows, and what this check makes of each.
//!
//! Source of the names: e2fsprogs, `e2fsck/problem.h`.

use std::fmt::Write as _;

use crate::check::kinds::{Kind, Weight};

/// What the check makes of a problem of e2fsck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is found, as this kind.
    Found(Kind),
    /// There is nothing to find, for this reason.
    NotApplicable(&'static str),
    /// It is not looked for, for this reason.
    NotDone(&'static str),
}

/// Those that are not found, by the reason.
const OTHERS: &[(Problem, &[&str])] = &[
    (
        Problem::NotApplicable("said while repairing only, and the check repairs nothing"),
        &[
            "PR_0_ERR_MOVE_JOURNAL",
            "PR_0_ORPHAN_ALREADY_CLEARED_BLOCK",
            "PR_0_ORPHAN_ILLEGAL_BLOCK_NUM",
            "PR_1B_ADJ_EA_REFCOUNT",
            "PR_1D_CLONE_ERROR",
            "PR_1D_DUP_BLOCKS_DEALT",
            "PR_1_RELOC_FROM_TO",
            "PR_1_RELOC_READ_ERR",
            "PR_1_RELOC_TO",
            "PR_1_RELOC_WRITE_ERR",
            "PR_1_RESIZE_INODE_CREATE",
            "PR_2_ADJ_EA_REFCOUNT",
            "PR_2_FIX_INLINE_DIR_FAILED",
            "PR_2_WRITE_DIRBLOCK",
            "PR_3_ADJUST_INODE",
            "PR_3_CANT_EXPAND_LPF",
            "PR_3_CANT_RECONNECT",
            "PR_3_CREATE_LPF_ERROR",
            "PR_3_CREATE_ROOT_ERROR",
            "PR_3_ERR_FIND_LPF",
            "PR_3_ERR_LPF_NEW_BLOCK",
            "PR_3_ERR_LPF_NEW_DIR_BLOCK",
            "PR_3_ERR_LPF_NEW_INODE",
            "PR_3_ERR_LPF_WRITE_BLOCK",
            "PR_3_EXPAND_LF_DIR",
            "PR_3_FIX_PARENT_ERR",
            "PR_3_FIX_PARENT_NOFIND",
            "PR_3_LPF_ENCRYPTED",
            "PR_3_LPF_INLINE_DATA",
            "PR_3_LPF_NOTDIR",
            "PR_3_LPF_NO_SPACE",
            "PR_3_NO_LF_DIR",
            "PR_3_NO_LPF",
            "PR_3_NO_SPACE_TO_RECOVER",
            "PR_6_ORPHAN_FILE_CREATE_FAILED",
            "PR_6_ORPHAN_FILE_TRUNC_FAILED",
            "PR_6_RECREATE_JOURNAL",
            "PR_6_SET_BG_CHECKSUM",
            "PR_6_WRITE_QUOTAS",
        ],
    ),
    (
        Problem::NotApplicable("a heading, a question or the end of a list, no problem"),
        &[
            "PR_0_GDT_CSUM_LATCH",
            "PR_0_RELOCATE_HINT",
            "PR_1B_DUP_BLOCK_END",
            "PR_1B_PASS_HEADER",
            "PR_1C_PASS_HEADER",
            "PR_1D_CLONE_QUESTION",
            "PR_1D_DELETE_QUESTION",
            "PR_1D_PASS_HEADER",
            "PR_1E_OPTIMIZE_EXT_END",
            "PR_1E_OPTIMIZE_EXT_HEADER",
            "PR_1E_PASS_HEADER",
            "PR_1_BAD_PRIMARY_BLOCK_PROMPT",
            "PR_1_BBINODE_BAD_METABLOCK_PROMPT",
            "PR_1_INODE_BBLOCK_LATCH",
            "PR_1_INODE_BLOCK_LATCH",
            "PR_1_PASS_HEADER",
            "PR_1_SUPPRESS_MESSAGES",
            "PR_2_PASS_HEADER",
            "PR_3A_OPTIMIZE_DIR_END",
            "PR_3A_OPTIMIZE_DIR_HEADER",
            "PR_3A_PASS_HEADER",
            "PR_3_PASS_HEADER",
            "PR_4_PASS_HEADER",
            "PR_5_BLOCK_BITMAP_END",
            "PR_5_BLOCK_BITMAP_HEADER",
            "PR_5_INODE_BITMAP_END",
            "PR_5_INODE_BITMAP_HEADER",
            "PR_5_PASS_HEADER",
        ],
    ),
    (
        Problem::NotApplicable("a failure of e2fsck itself, not of the filesystem"),
        &[
            "PR_0_GETSIZE_ERROR",
            "PR_0_QUOTA_INIT_CTX",
            "PR_1B_ALLOCATE_IBITMAP_ERROR",
            "PR_1_ADD_DBLOCK",
            "PR_1_ALLOCATE_BBITMAP_ERROR",
            "PR_1_ALLOCATE_CASEFOLDED_DIRLIST",
            "PR_1_ALLOCATE_DBCOUNT",
            "PR_1_ALLOCATE_ENCRYPTED_INODE_LIST",
            "PR_1_ALLOCATE_IBITMAP_ERROR",
            "PR_1_ALLOCATE_ICOUNT",
            "PR_1_ALLOCATE_REFCOUNT",
            "PR_1_CONVERT_SUBCLUSTER",
            "PR_1_EA_ALLOC_REGION_ABORT",
            "PR_1_EXTATTR_READ_ABORT",
            "PR_1_EXTATTR_WRITE_ABORT",
            "PR_1_EXTENT_ALLOC_REGION_ABORT",
            "PR_1_ICOUNT_STORE",
            "PR_1_PROGERR_CLAIMED_BLOCK",
            "PR_1_RELOC_BLOCK_ALLOCATE",
            "PR_1_RELOC_MEMORY_ALLOCATE",
            "PR_2_ALLOCATE_ICOUNT",
            "PR_2_ALLOC_DIRBOCK",
            "PR_2_DEALLOC_INODE",
            "PR_2_NO_DIRINFO",
            "PR_3_ALLOCATE_IBITMAP_ERROR",
            "PR_3_NO_DIRINFO",
            "PR_5_BMAP_ENDPOINTS",
            "PR_5_COPY_BBITMAP_ERROR",
            "PR_5_COPY_IBITMAP_ERROR",
            "PR_5_FUDGE_BITMAP_ERROR",
        ],
    ),
    (
        Problem::NotApplicable("a read that fails ends the check with an error"),
        &[
            "PR_1B_BLOCK_ITERATE",
            "PR_1B_ISCAN_ERROR",
            "PR_1_BLOCK_ITERATE",
            "PR_1_ISCAN_ERROR",
            "PR_1_READ_INODE",
            "PR_2_DBLIST_ITERATE",
            "PR_2_READ_DIRBLOCK",
            "PR_6_FLUSH_FILESYSTEM",
            "PR_6_IO_FLUSH",
        ],
    ),
    (
        Problem::NotApplicable("an advice to make trees and directories smaller, no problem"),
        &[
            "PR_1E_CAN_COLLAPSE_EXTENT_TREE",
            "PR_1E_CAN_NARROW_EXTENT_TREE",
            "PR_1E_MAX_EXTENT_TREE_DEPTH",
            "PR_1E_OPTIMIZE_EXT",
            "PR_1E_OPTIMIZE_EXT_ERR",
            "PR_3A_OPTIMIZE_DIR",
            "PR_3A_OPTIMIZE_DIR_ERR",
            "PR_3A_OPTIMIZE_ITER",
        ],
    ),
    (
        Problem::NotDone("journals on other devices are not looked at"),
        &[
            "PR_0_EXTERNAL_JOURNAL_HINT",
            "PR_0_EXT_JOURNAL_BAD_SUPER",
            "PR_0_EXT_JOURNAL_SUPER_CSUM_INVALID",
        ],
    ),
    (
        Problem::NotApplicable("not said with -n"),
        &[
            "PR_0_ADD_UUID",
            "PR_0_BACKUP_JNL",
            "PR_0_CLEAR_TESTFS_FLAG",
            "PR_0_DIRHASH_HINT",
            "PR_0_HIDE_QUOTA",
            "PR_0_HURD_CLEAR_FILETYPE",
            "PR_0_MOVE_JOURNAL",
            "PR_1_CLEAR_UNINIT_EXTENT",
        ],
    ),
    (
        Problem::NotDone("a guess at what a damaged mode was; the mode itself is found"),
        &["PR_1_TREAT_AS_DIRECTORY"],
    ),
    (
        Problem::NotDone("e2fsck 1.47 has the code and never uses it"),
        &["PR_1_COMPR_SET", "PR_1_EOFBLOCKS_FL_SET", "PR_1_QUOTA_INODE_NOT_HIDDEN"],
    ),
    (
        Problem::NotDone("names of strict casefold directories need the tables of Unicode"),
        &["PR_2_BAD_ENCODED_NAME"],
    ),
    (
        Problem::NotDone(
            "inodes on bad blocks of the disk: lists of bad blocks are of the time of floppies",
        ),
        &["PR_2_BB_INODE"],
    ),
    (
        Problem::NotDone("e2fsck does not count it, nor says it with -n"),
        &["PR_4_DIR_OVERFLOW_REF_COUNT"],
    ),
    (
        Problem::NotDone("not said with -n: features with revision 0 are ignored by the kernel"),
        &["PR_0_FS_REV_LEVEL", "PR_1_FS_REV_LEVEL"],
    ),
];

/// All problems of e2fsck with what the check makes of each, in the order of their names.
#[must_use]
pub fn problems() -> Vec<(&'static str, Problem)> {
    let found = Kind::ALL.iter().flat_map(|kind| {
        kind.description().codes.iter().map(|code| (*code, Problem::Found(*kind)))
    });
    let others =
        OTHERS.iter().flat_map(|(problem, codes)| codes.iter().map(|code| (*code, *problem)));
    let mut problems: Vec<_> = found.chain(others).collect();
    problems.sort_unstable_by_key(|(code, _)| *code);
    problems
}

/// The document `docs/checks.md`.
#[must_use]
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    // Writing to a String cannot fail.
    for kind in Kind::ALL {
        let description = kind.description();
        let weight = match description.weight {
            Weight::Damage => "damage",
            Weight::KernelDamage => "damage, not for e2fsck",
            Weight::Notice => "notice",
        };
        let _ = writeln!(text, "| `{}` | {weight} | {} |", description.id, description.meaning);
    }
    text.push_str(MIDDLE);
    for (code, problem) in problems() {
        let _ = match problem {
            Problem::Found(kind) => writeln!(text, "| {code} | `{}` |", kind.id()),
            Problem::NotApplicable(reason) => {
                writeln!(text, "| {code} | not applicable: {reason} |")
            }
            Problem::NotDone(reason) => writeln!(text, "| {code} | not done: {reason} |"),
        };
    }
    text
}

const HEAD: &str = "\
# What `banger image check` finds

This page is made from the table in the code: `BANGER_WRITE_DOCS=1 cargo test -p ext4-writer --test
check` writes it anew.

A finding of the weight *damage* makes the exit code 65, for `--as e2fsck` too. *Damage, not for
e2fsck* is what e2fsck 1.47 passes over, or says without counting it, and the kernel refuses or
loses something by: it counts by default, and does not with `--as e2fsck`. A *notice* is said and
never counts.

## Kinds of findings

| kind | weight | meaning |
|---|---|---|
";

const MIDDLE: &str = "
## The problems of e2fsck

Every problem that e2fsck 1.47.0 has a code for, and the kind of finding that it is here.

| e2fsck | here |
|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_of_e2fsck_is_spoken_of_once() {
        let problems = problems();
        assert_eq!(problems.len(), 414);
        let mut codes: Vec<_> = problems.iter().map(|(code, _)| *code).collect();
        codes.dedup();
        assert_eq!(codes.len(), problems.len());
    }
}
