//! The kinds of findings: one table, from which `docs/checks.md` is made too.
//!
//! Whether e2fsck counts a finding was seen by experiment with e2fsck 1.47.0 (`-fn`): what it says
//! before its first pass mostly does not change its exit code.

/// How much a kind weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Damage, for e2fsck and for this check alike.
    Damage,
    /// Damage that e2fsck passes over or does not count: the kernel refuses the filesystem, or
    /// loses something.
    KernelDamage,
    /// Said, and no damage: the kernel puts up with it.
    Notice,
}

/// What a kind means.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The name, which stays the same from version to version.
    pub id: &'static str,
    /// How much it weighs.
    pub weight: Weight,
    /// What is wrong, in one sentence.
    pub meaning: &'static str,
    /// The codes of e2fsck's problems that it stands for.
    pub codes: &'static [&'static str],
    /// The pass of e2fsck that it belongs to; findings are told in this order.
    pub(super) pass: u8,
}

macro_rules! kinds {
    ($($pass:literal { $($name:ident $id:literal $weight:ident [$($code:literal)*] $meaning:literal;)* })*) => {
        /// A kind of finding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[doc = $meaning] $name,)*)*
        }

        impl Kind {
            /// All kinds, in the order of the table.
            pub const ALL: &'static [Self] = &[$($(Self::$name,)*)*];

            /// What it means.
            #[must_use]
            pub const fn description(self) -> Description {
                match self {
                    $($(Self::$name => Description {
                        id: $id,
                        weight: Weight::$weight,
                        meaning: $meaning,
                        codes: &[$($code),*],
                        pass: $pass,
                    },)*)*
                }
            }
        }
    };
}

kinds! {
    0 {
        NotExt4 "not-ext4" Damage ["PR_0_SB_CORRUPT" "PR_0_OPEN_FAILED"]
            "there is no superblock of ext2, ext3 or ext4";
        SuperblockField "superblock-field" Damage
            ["PR_0_MISC_CORRUPT_SUPER" "PR_0_INODE_COUNT_WRONG" "PR_0_INODE_COUNT_BIG"
             "PR_0_FIRST_DATA_BLOCK" "PR_0_BLOCKS_PER_GROUP" "PR_0_NO_FRAGMENTS"]
            "a number of the superblock is outside of what the format allows";
        SuperblockChecksum "superblock-checksum" Damage []
            "the superblock is not what was summed";
        SuperblockFeatures "superblock-features" Damage []
            "the superblock has features that nobody knows, or that cannot be together";
        FirstMetaGroup "first-meta-group" Notice ["PR_0_FIRST_META_BG_TOO_BIG"]
            "the first meta group lies behind the last";
        JournalInode "journal-inode" Damage ["PR_0_JOURNAL_BAD_INODE" "PR_0_JOURNAL_HAS_JOURNAL"]
            "the inode that is to be the journal is not one";
        JournalUuid "journal-uuid" Damage ["PR_0_JOURNAL_BAD_UUID" "PR_0_CANT_FIND_JOURNAL"]
            "the superblock names a journal on another device, and this is not it";
        JournalSuperblock "journal-superblock" Damage
            ["PR_0_JOURNAL_BAD_SUPER" "PR_0_JOURNAL_UNSUPP_SUPER" "PR_0_JOURNAL_UNSUPP_ROCOMPAT"
             "PR_0_JOURNAL_UNSUPP_INCOMPAT" "PR_0_JOURNAL_UNSUPP_VERSION"
             "PR_0_JOURNAL_UNSUPP_MULTIFS" "PR_0_CLEAR_V2_JOURNAL"]
            "the superblock of the journal is damaged";
        MmpBlock "mmp-block" Damage
            ["PR_0_MMP_INVALID_BLK" "PR_0_MMP_INVALID_MAGIC" "PR_0_MMP_CSUM_INVALID"]
            "the block that protects from two mounts at once is damaged";
        OrphanFileInode "orphan-file-inode" Damage []
            "the inode that is to be the orphan file cannot be it";
        QuotaInode "quota-inode" Damage ["PR_0_INVALID_QUOTA_INO"]
            "the inode that is to hold quotas cannot do it";
        ImageShort "image-short" KernelDamage ["PR_0_FS_SIZE_WRONG"]
            "the image ends before its filesystem does";
        SuperblockExtraSize "superblock-extra-size" KernelDamage
            ["PR_0_BAD_MIN_EXTRA_ISIZE" "PR_0_BAD_WANT_EXTRA_ISIZE"]
            "the extra size of inodes that the superblock asks for does not fit into an inode";
        HashVersion "hash-version" KernelDamage []
            "the default hash of names is none that the kernel knows";
        MountOptions "mount-options" KernelDamage []
            "the mount options in the superblock have no end";
        JournalDevice "journal-device" KernelDamage []
            "the superblock names a journal inode and a journal device";
        JournalRefused "journal-refused" KernelDamage []
            "the kernel does not take this journal";
        OwnInodeRefused "own-inode-refused" KernelDamage []
            "the kernel does not open an inode of the filesystem's own";
        Hurd "hurd" KernelDamage []
            "a filesystem of the Hurd has a feature that the kernel does not take there";
        JournalLog "journal-log" KernelDamage
            ["PR_0_JNL_TXN_CORRUPT" "PR_0_JOURNAL_RESET_JOURNAL"]
            "the log of the journal cannot be replayed";
        JournalUnflagged "journal-unflagged" KernelDamage ["PR_0_JOURNAL_RECOVERY_CLEAR"]
            "the journal has transactions, and the superblock does not say so: they would be lost";
        JournalPending "journal-pending" Notice
            ["PR_0_JOURNAL_RUN" "PR_0_JOURNAL_RUN_DEFAULT" "PR_0_JOURNAL_RECOVER_SET"]
            "the filesystem was not unmounted; its journal is to be replayed";
        DescriptorPlace "descriptor-place" Damage
            ["PR_0_BB_NOT_GROUP" "PR_0_IB_NOT_GROUP" "PR_0_ITABLE_NOT_GROUP"
             "PR_0_CHECK_DESC_FAILED"]
            "a bitmap or an inode table is outside of where it may be";
        DescriptorChecksum "descriptor-checksum" KernelDamage ["PR_0_GDT_CSUM"]
            "a group descriptor is not what was summed: the kernel mounts read-only";
        DescriptorUnusedInodes "descriptor-unused-inodes" Notice ["PR_0_GDT_ITABLE_UNUSED"]
            "a group has more inodes that were never used than free ones";
        DescriptorFlags "descriptor-flags" Notice
            ["PR_0_GDT_UNINIT" "PR_0_BB_UNINIT_LAST" "PR_0_BB_UNINIT_IB_INIT"]
            "a group descriptor has flags that it cannot have";
        FeatureConflict "feature-conflict" Notice
            ["PR_0_META_AND_GDT_CSUM_SET" "PR_0_CSUM_SEED_WITHOUT_META_CSUM"
             "PR_0_64BIT_WITHOUT_EXTENTS" "PR_0_DISABLE_RESIZE_INODE"]
            "two features contradict each other";
        ReservedDescriptors "reserved-descriptors" Notice ["PR_0_NONZERO_RESERVED_GDT_BLOCKS"]
            "blocks are reserved for descriptors, and nothing can use them";
        ResizeInode "resize-inode" Notice ["PR_0_RESIZE_INODE_INVALID" "PR_0_CLEAR_RESIZE_INODE"]
            "the inode that reserves room for descriptors is not as resize2fs needs it";
        FutureTime "future-time" Notice
            ["PR_0_FUTURE_SB_LAST_MOUNT" "PR_0_FUTURE_SB_LAST_MOUNT_FUDGED"
             "PR_0_FUTURE_SB_LAST_WRITE" "PR_0_FUTURE_SB_LAST_WRITE_FUDGED"]
            "the last mount or write is in the future";
        OrphanList "orphan-list" KernelDamage
            ["PR_0_ORPHAN_ILLEGAL_HEAD_INODE" "PR_0_ORPHAN_ILLEGAL_INODE"]
            "the list of orphans leads to an inode that is none: the kernel would truncate it";
        Orphans "orphans" Notice ["PR_0_ORPHAN_CLEAR_INODE"]
            "inodes wait to be deleted or truncated at the next mount";
        ErrorState "error-state" Notice []
            "the kernel found errors in this filesystem that nobody repaired";
        BackupSuperblock "backup-superblock" Notice []
            "a copy of the superblock differs from it in what must agree";
        BackupDescriptors "backup-descriptors" Notice []
            "a copy of the group descriptors differs in where bitmaps and tables are";
    }
    1 {
        MetadataOverlap "metadata-overlap" Damage
            ["PR_1_BB_CONFLICT" "PR_1_IB_CONFLICT" "PR_1_ITABLE_CONFLICT"]
            "a bitmap or an inode table lies on other metadata";
        BadBlocksInode "bad-blocks-inode" Damage
            ["PR_1_INVALID_BAD_INODE" "PR_1_BB_ILLEGAL_BLOCK_NUM" "PR_1_BB_FS_BLOCK"
             "PR_1_BAD_PRIMARY_BLOCK" "PR_1_BAD_PRIMARY_SUPERBLOCK"
             "PR_1_BAD_PRIMARY_GROUP_DESCRIPTOR" "PR_1_BAD_SUPERBLOCK"
             "PR_1_BAD_GROUP_DESCRIPTORS" "PR_1_BB_BAD_BLOCK" "PR_1_IB_BAD_BLOCK"
             "PR_1_BBINODE_BAD_METABLOCK" "PR_1_BADBLOCKS_IN_BADBLOCKS"]
            "the inode that lists bad blocks is damaged, or lists metadata";
        RootNotDirectory "root-not-directory" Damage
            ["PR_1_ROOT_NO_DIR" "PR_3_NO_ROOT_INODE" "PR_3_NO_ROOT_INODE_ABORT"
             "PR_3_ROOT_NOT_DIR_ABORT"]
            "the root is no directory";
        InodeChecksum "inode-checksum" Damage
            ["PR_1_INODE_ONLY_CSUM_INVALID" "PR_1_INODE_IS_GARBAGE"]
            "an inode is not what was summed";
        DeletionTimeLow "deletion-time-low" Damage
            ["PR_1_LOW_DTIME" "PR_1_ORPHAN_LIST_REFUGEES"]
            "an inode's time of deletion is an inode number: it was in the list of orphans";
        DeletionTimeMissing "deletion-time-missing" Damage ["PR_1_ZERO_DTIME"]
            "an inode without links has a mode and no time of deletion";
        DeletionTimeSet "deletion-time-set" Damage ["PR_1_SET_DTIME" "PR_1_ROOT_DTIME"]
            "an inode in use has a time of deletion";
        ReservedInode "reserved-inode" Damage
            ["PR_1_RESERVED_BAD_MODE" "PR_1_JOURNAL_INODE_NOT_CLEAR" "PR_1_JOURNAL_BAD_MODE"
             "PR_1_QUOTA_INODE_NOT_CLEAR" "PR_1_QUOTA_BAD_MODE" "PR_1_ORPHAN_FILE_NOT_CLEAR"
             "PR_1_ORPHAN_FILE_BAD_MODE"]
            "an inode of the filesystem's own is not what it must be";
        InodeMode "inode-mode" Damage ["PR_2_BAD_MODE"]
            "an inode in use is of no kind of file";
        DeviceInode "device-inode" Damage
            ["PR_2_BAD_CHAR_DEV" "PR_2_BAD_BLOCK_DEV" "PR_2_BAD_FIFO" "PR_2_BAD_SOCKET"]
            "a device, FIFO or socket has flags of a file with blocks";
        DeviceSize "device-size" Damage ["PR_1_SET_NONZSIZE"]
            "a device, FIFO or socket has a size";
        InodeImmutable "inode-immutable" Notice ["PR_1_SET_IMMUTABLE"]
            "a device, FIFO or socket is immutable or append-only";
        SymlinkImmutable "symlink-immutable" KernelDamage []
            "a symbolic link is immutable or append-only: the kernel does not open its inode";
        InodeFragment "inode-fragment" Damage
            ["PR_2_FADDR_ZERO" "PR_2_FRAG_ZERO" "PR_2_FSIZE_ZERO"]
            "an inode has the address of a fragment";
        InodeBlocksHigh "inode-blocks-high" Damage ["PR_2_BLOCKS_HI_ZERO"]
            "an inode counts more than 32 bits of sectors without the feature `huge_file`";
        InodeAttributeBlock "inode-attribute-block" Damage
            ["PR_2_FILE_ACL_ZERO" "PR_2_FILE_ACL_BAD" "PR_2_I_FILE_ACL_HI_ZERO"
             "PR_1_ATTR_VALUE_BLOCK"]
            "the block of extended attributes of an inode cannot be it";
        DirectorySizeHigh "directory-size-high" Damage ["PR_2_DIR_SIZE_HIGH_ZERO"]
            "a directory has more than 32 bits of size without the feature `large_dir`";
        InodeFlags "inode-flags" Damage
            ["PR_1_SET_IMAGIC" "PR_1_CASEFOLD_NONDIR" "PR_1_CASEFOLD_FEATURE"
             "PR_1_FAST_SYMLINK_EXTENT_FL" "PR_1_EXTENT_FEATURE" "PR_1_EXTENTS_SET"
             "PR_1_UNSET_EXTENT_FL" "PR_1_INLINE_DATA_FEATURE" "PR_1_INLINE_DATA_SET"
             "PR_1_CLEAR_EXTENT_FOR_INLINE_DATA" "PR_1_CLEAR_INLINE_DATA_FOR_EXTENT"
             "PR_1_CLEAR_EXTENT_INLINE_DATA_FLAGS" "PR_1_CLEAR_EXTENT_INLINE_DATA_INODE"
             "PR_1_SPECIAL_EXTENTS_IDATA" "PR_1_HTREE_NODIR" "PR_1_HTREE_SET"]
            "an inode has a flag that its kind or the features do not allow";
        InodeValueFlag "inode-value-flag" KernelDamage []
            "a file with a name has the flag of values of attributes: the kernel does not open it";
        InodeExtraSize "inode-extra-size" Damage ["PR_1_EXTRA_ISIZE"]
            "the fields of an inode reach to a place where they cannot end";
        InodeTime "inode-time" Notice ["PR_1_EA_TIME_OUT_OF_RANGE"]
            "a time of an inode is one that old kernels wrote for a time before 1970";
        InodeSize "inode-size" Damage
            ["PR_1_BAD_I_SIZE" "PR_1_INODE_TOOBIG" "PR_1_TOOBIG_DIR" "PR_1_TOOBIG_REG"
             "PR_1_TOOBIG_SYMLINK" "PR_2_BAD_INLINE_DIR_SIZE"]
            "the size of an inode does not fit to its blocks";
        InodeBlocks "inode-blocks" Damage ["PR_1_BAD_I_BLOCKS"]
            "an inode counts other sectors than it has";
        DirectoryEmpty "directory-empty" Damage ["PR_1_ZERO_LENGTH_DIR"]
            "a directory has no block";
        ExtentHeader "extent-header" Damage
            ["PR_1_MISSING_EXTENT_HEADER" "PR_1_EXTENT_HEADER_INVALID" "PR_1_READ_EXTENT"]
            "a node of an extent tree has no right header";
        ExtentDepth "extent-depth" KernelDamage ["PR_1_EXTENT_BAD_MAX_DEPTH"]
            "a node of an extent tree tells another depth than it has: the kernel does not read it";
        ExtentNodeEmpty "extent-node-empty" Damage ["PR_1_EXTENT_ITERATE_FAILURE"]
            "a node of an extent tree below the root has no entry";
        ExtentChecksum "extent-checksum" Damage ["PR_1_EXTENT_ONLY_CSUM_INVALID"]
            "a node of an extent tree is not what was summed";
        ExtentRange "extent-range" Damage
            ["PR_1_EXTENT_BAD_START_BLK" "PR_1_EXTENT_ENDS_BEYOND"]
            "an extent has blocks outside of the filesystem";
        ExtentOrder "extent-order" Damage
            ["PR_1_OUT_OF_ORDER_EXTENTS" "PR_1_EXTENT_COLLISION"
             "PR_1_EXTENT_END_OUT_OF_BOUNDS" "PR_1_EXTENT_INDEX_START_INVALID"]
            "an extent is not in the order of its file";
        ExtentLength "extent-length" Damage ["PR_1_EXTENT_LENGTH_ZERO"]
            "an extent has no block";
        ExtentLast "extent-last" KernelDamage []
            "an extent has the block behind the last one that a file can have";
        ExtentDirectory "extent-directory" Damage
            ["PR_1_UNINIT_DBLOCK" "PR_1_COLLAPSE_DBLOCK"]
            "a directory has a hole, or blocks that were never written";
        ClusterPhase "cluster-phase" Damage ["PR_1_MISALIGNED_CLUSTER"]
            "a block is at another place of its cluster than in the file";
        BlockMapBigalloc "block-map-bigalloc" Damage ["PR_1_NO_BIGALLOC_BLOCKMAP_FILES"]
            "a file is mapped by blocks although the filesystem has clusters";
        BlockRange "block-range" Damage ["PR_1_ILLEGAL_BLOCK_NUM" "PR_1_TOO_MANY_BAD_BLOCKS"]
            "a file has a block outside of the filesystem";
        InlineData "inline-data" Damage ["PR_1_INLINE_DATA_NO_ATTR"]
            "the content is to be in the inode, and is not";
        SymlinkTarget "symlink-target" Damage ["PR_2_INVALID_SYMLINK"]
            "a symbolic link has no right target";
        AttributeHeader "attribute-header" Damage
            ["PR_1_READ_EA_BLOCK" "PR_1_BAD_EA_BLOCK" "PR_1_EA_MULTI_BLOCK"]
            "a block of extended attributes has no right header";
        AttributeChecksum "attribute-checksum" Damage ["PR_1_EA_BLOCK_ONLY_CSUM_INVALID"]
            "a block of extended attributes is not what was summed";
        AttributeName "attribute-name" Damage ["PR_1_EA_BAD_NAME" "PR_1_ATTR_NAME_LEN"]
            "the name of an extended attribute is not one";
        AttributeValue "attribute-value" Damage
            ["PR_1_EA_BAD_VALUE" "PR_1_ATTR_VALUE_SIZE" "PR_1_ATTR_VALUE_OFFSET"]
            "the value of an extended attribute is not where it can be";
        AttributeOverlap "attribute-overlap" Damage
            ["PR_1_EA_ALLOC_COLLISION" "PR_1_INODE_EA_ALLOC_COLLISION"]
            "extended attributes lie on each other";
        AttributeHash "attribute-hash" Damage ["PR_1_ATTR_HASH"]
            "the hash of an extended attribute is not that of its name and value";
        AttributeInode "attribute-inode" Damage
            ["PR_1_ATTR_VALUE_EA_INODE" "PR_1_ATTR_NO_EA_INODE_FL" "PR_1_ATTR_SET_EA_INODE_FL"]
            "the inode that is to hold the value of an extended attribute does not";
        AttributeReferences "attribute-references" Damage ["PR_1_EXTATTR_REFCOUNT"]
            "a block of extended attributes counts other inodes than use it";
        AttributeUnreadable "attribute-unreadable" KernelDamage []
            "the kernel does not show the extended attributes of an inode";
        EncryptionContext "encryption-context" Damage
            ["PR_1_MISSING_ENCRYPTION_XATTR" "PR_1_CORRUPT_ENCRYPTION_XATTR"]
            "an encrypted inode does not say by which key";
        HtreeRoot "htree-root" Damage
            ["PR_1_HTREE_BADROOT" "PR_1_HTREE_HASHV" "PR_1_HTREE_INCOMPAT" "PR_1_HTREE_DEPTH"
             "PR_1_HTREE_NEEDS_SIPHASH" "PR_1_HTREE_CANNOT_SIPHASH" "PR_2_HTREE_BAD_ROOT"]
            "the root of a directory's index is damaged";
        BlockShared "block-shared" Damage
            ["PR_1B_DUP_BLOCK" "PR_1B_DUP_RANGE" "PR_1B_DUP_BLOCK_HEADER" "PR_1D_DUP_FILE"
             "PR_1D_DUP_FILE_LIST" "PR_1D_NUM_DUP_INODES" "PR_1_DUP_BLOCKS_PREENSTOP"]
            "a block belongs to two files, or to a file twice";
        BlockOfMetadata "block-of-metadata" Damage
            ["PR_1D_SHARE_METADATA" "PR_1_BLOCK_OVERLAPS_METADATA"
             "PR_1_CRITICAL_METADATA_COLLISION"]
            "a file has a block that belongs to the filesystem itself";
    }
    2 {
        DirectoryHole "directory-hole" Damage ["PR_2_DIRECTORY_HOLE"]
            "a block of a directory is missing";
        DirectoryEntry "directory-entry" Damage ["PR_2_DIR_CORRUPTED" "PR_2_FINAL_RECLEN"]
            "an entry of a directory has lengths that do not fit";
        DirectoryDot "directory-dot" Damage
            ["PR_2_MISSING_DOT" "PR_2_1ST_NOT_DOT" "PR_2_DOT_NULL_TERM" "PR_2_BAD_INODE_DOT"
             "PR_2_SPLIT_DOT" "PR_2_DUP_DOT" "PR_2_LINK_DOT"]
            "the entry . of a directory is missing, wrong or there twice";
        DirectoryDotDot "directory-dot-dot" Damage
            ["PR_2_MISSING_DOT_DOT" "PR_2_2ND_NOT_DOT_DOT" "PR_2_DOT_DOT_NULL_TERM"
             "PR_2_DUP_DOT_DOT"]
            "the entry .. of a directory is missing, wrong or there twice";
        DirectoryTarget "directory-target" Damage
            ["PR_2_BAD_INO" "PR_2_LINK_ROOT"]
            "an entry names an inode that no name may lead to";
        DirectoryUnused "directory-unused" Damage
            ["PR_2_UNUSED_INODE" "PR_2_INOREF_BG_INO_UNINIT" "PR_2_INOREF_IN_UNUSED"]
            "an entry names an inode that is not in use";
        DirectoryName "directory-name" Damage
            ["PR_2_BAD_NAME" "PR_2_NULL_NAME" "PR_2_FILENAME_LONG" "PR_2_BAD_ENCRYPTED_NAME"]
            "a name is empty or has a slash or a NUL";
        DirectoryType "directory-type" Damage
            ["PR_2_BAD_FILETYPE" "PR_2_CLEAR_FILETYPE"]
            "an entry tells another kind of file than its inode";
        DirectoryTypeUnset "directory-type-unset" Notice ["PR_2_SET_FILETYPE"]
            "an entry does not tell the kind of file";
        DirectoryTwice "directory-twice" Damage
            ["PR_2_REPORT_DUP_DIRENT" "PR_2_DUPLICATE_DIRENT" "PR_2_NON_UNIQUE_FILE"
             "PR_2_NON_UNIQUE_FILE_NO_RENAME"]
            "a directory has a name twice";
        DirectoryLinked "directory-linked" Damage ["PR_2_LINK_DIR"]
            "a directory has two names";
        DirectoryChecksum "directory-checksum" Damage
            ["PR_2_LEAF_NODE_ONLY_CSUM_INVALID" "PR_2_LEAF_NODE_MISSING_CSUM"]
            "a block of a directory is not what was summed, or has no sum";
        DirectoryPolicy "directory-policy" Damage
            ["PR_2_UNENCRYPTED_FILE" "PR_2_INCONSISTENT_ENCRYPTION_POLICY"]
            "a file in an encrypted directory is not encrypted like it";
        HtreeChecksum "htree-checksum" Damage
            ["PR_2_HTREE_ROOT_CSUM_INVALID" "PR_2_HTREE_NODE_CSUM_INVALID"]
            "a node of a directory's index is not what was summed";
        HtreeNode "htree-node" Damage
            ["PR_2_HTREE_BAD_LIMIT" "PR_2_HTREE_BAD_COUNT" "PR_2_HTREE_BADBLK"
             "PR_2_HTREE_HASH_ORDER" "PR_2_UNEXPECTED_HTREE_BLOCK" "PR_2_HTREE_CLEAR"]
            "a node of a directory's index has numbers that do not fit";
        HtreeLeaf "htree-leaf" Damage
            ["PR_2_HTREE_NOTREF" "PR_2_HTREE_DUPREF" "PR_2_HTREE_BAD_DEPTH"]
            "the index of a directory leads to a block not once";
        HtreeHash "htree-hash" Damage ["PR_2_HTREE_MIN_HASH" "PR_2_HTREE_MAX_HASH"]
            "a name lies in another block than its hash leads to";
        LargeFile "large-file" Damage ["PR_2_FEATURE_LARGE_FILES" "PR_2_FEATURE_LARGE_DIRS"]
            "a file or directory is larger than the features allow";
        NamesUnjudged "names-unjudged" Notice []
            "the order of names in an index depends on a table or key that is not here";
    }
    3 {
        DirectoryParent "directory-parent" Damage ["PR_3_BAD_DOT_DOT"]
            "the entry .. of a directory does not lead to where it has its name";
        DirectoryUnattached "directory-unattached" Damage
            ["PR_3_UNCONNECTED_DIR" "PR_3_LOOPED_DIR"]
            "a directory cannot be reached from the root";
    }
    4 {
        InodeUnattached "inode-unattached" Damage ["PR_4_UNATTACHED_INODE" "PR_4_ZERO_LEN_INODE"]
            "an inode in use has no name";
        InodeLinks "inode-links" Damage
            ["PR_4_BAD_REF_COUNT" "PR_4_INCONSISTENT_COUNT" "PR_4_DIR_NLINK_FEATURE"]
            "an inode counts other names than it has";
        AttributeInodeReferences "attribute-inode-references" Damage ["PR_4_EA_INODE_REF_COUNT"]
            "an inode that holds the value of an attribute counts other users than it has";
    }
    5 {
        BlockBitmap "block-bitmap" Damage
            ["PR_5_BLOCK_UNUSED" "PR_5_BLOCK_USED" "PR_5_BLOCK_RANGE_UNUSED"
             "PR_5_BLOCK_RANGE_USED" "PR_5_BLOCK_UNINIT"]
            "a block bitmap does not say what is used";
        FreeBlocks "free-blocks" Damage ["PR_5_FREE_BLOCK_COUNT_GROUP"]
            "a group descriptor counts other free blocks than there are";
        FreeBlocksTotal "free-blocks-total" Notice
            ["PR_5_FREE_BLOCK_COUNT" "PR_0_FREE_BLOCK_COUNT"]
            "the superblock counts other free blocks than there are";
        InodeBitmap "inode-bitmap" Damage
            ["PR_5_INODE_UNUSED" "PR_5_INODE_USED" "PR_5_INODE_RANGE_UNUSED"
             "PR_5_INODE_RANGE_USED" "PR_5_INODE_UNINIT"]
            "an inode bitmap does not say what is used";
        FreeInodes "free-inodes" Damage ["PR_5_FREE_INODE_COUNT_GROUP"]
            "a group descriptor counts other free inodes than there are";
        Directories "directories" Damage ["PR_5_FREE_DIR_COUNT_GROUP"]
            "a group descriptor counts other directories than there are";
        FreeInodesTotal "free-inodes-total" Notice
            ["PR_5_FREE_INODE_COUNT" "PR_0_FREE_INODE_COUNT"]
            "the superblock counts other free inodes than there are";
        InodeBitmapPadding "inode-bitmap-padding" Damage ["PR_5_INODE_BMAP_PADDING"]
            "the end of an inode bitmap, which stands for nothing, is not all ones";
        BlockBitmapPadding "block-bitmap-padding" Damage ["PR_5_BLOCK_BMAP_PADDING"]
            "the end of a block bitmap, which stands for nothing, is not all ones";
        InodeBitmapChecksum "inode-bitmap-checksum" Damage ["PR_5_INODE_BITMAP_CSUM_INVALID"]
            "an inode bitmap is not what was summed";
        BlockBitmapChecksum "block-bitmap-checksum" Damage ["PR_5_BLOCK_BITMAP_CSUM_INVALID"]
            "a block bitmap is not what was summed";
    }
    6 {
        OrphanFile "orphan-file" Damage
            ["PR_6_ORPHAN_FILE_CORRUPTED" "PR_6_ORPHAN_FILE_WRONG_SIZE" "PR_6_ORPHAN_FILE_HOLE"
             "PR_6_ORPHAN_BLOCK_DIRTY" "PR_6_ORPHAN_FILE_BITMAP_INVALID"
             "PR_0_ORPHAN_FILE_HOLE" "PR_0_ORPHAN_FILE_BAD_MAGIC"
             "PR_0_ORPHAN_FILE_BAD_CHECKSUM" "PR_0_ORPHAN_FILE_WRONG_SIZE"
             "PR_6_ORPHAN_FILE_WITHOUT_JOURNAL"]
            "the orphan file is damaged, or lists inodes although the filesystem was unmounted";
        OrphanPresent "orphan-present" Damage
            ["PR_6_ORPHAN_PRESENT_CLEAN_FILE" "PR_6_ORPHAN_PRESENT_NO_FILE"]
            "the superblock says that the orphan file lists inodes, and it does not";
        QuotaUsage "quota-usage" Damage ["PR_6_UPDATE_QUOTAS"]
            "a quota file counts other blocks or inodes than are used";
    }
}

impl Kind {
    /// The name.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.description().id
    }

    /// Whether it is damage in the eyes of `judge`.
    #[must_use]
    pub const fn is_damage(self, judge: Judge) -> bool {
        match self.description().weight {
            Weight::Damage => true,
            Weight::KernelDamage => matches!(judge, Judge::Kernel),
            Weight::Notice => false,
        }
    }
}

/// In whose eyes something is damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judge {
    /// What e2fsck counts, and beyond it what the kernel refuses.
    #[default]
    Kernel,
    /// What makes the exit code of `e2fsck -fn` other than 0.
    E2fsck,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let ids: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.id()).collect();
        assert_eq!(ids.len(), Kind::ALL.len());
        let plain = |id: &str| id.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '4');
        assert!(ids.iter().all(|id| plain(id)));
    }

    #[test]
    fn a_code_of_e2fsck_belongs_to_one_kind() {
        let codes: Vec<_> = Kind::ALL.iter().flat_map(|kind| kind.description().codes).collect();
        let unique: BTreeSet<_> = codes.iter().collect();
        assert_eq!(unique.len(), codes.len());
    }
}
