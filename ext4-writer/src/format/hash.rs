//! How the names of a directory can be hashed.

/// The hash by which large directories are ordered.
///
/// `siphash` is not among them: the kernel takes it only beside `casefold`, which is not written.
/// Source: kernel, `fs/ext4/hash.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectoryHash {
    /// Half of MD4, as mke2fs chooses.
    #[default]
    HalfMd4,
    /// The Tiny Encryption Algorithm.
    Tea,
}

/// How the bytes of a name from 128 on are counted in its hash: on every machine as `s_flags`
/// says, whatever that machine's own `char` is. Source: kernel, `fs/ext4/hash.c`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashedBytes {
    /// As negative numbers, as mke2fs on x86 chooses.
    #[default]
    Signed,
    /// As positive numbers, as mke2fs on Arm chooses.
    Unsigned,
}
