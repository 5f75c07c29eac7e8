//! What names an image: the key that a UUID which nobody chose follows from.
//!
//! The key is text that `docs/design.md` describes. It says what the image is made of, and nothing
//! of how that was said or where it lay: a change of the program that changes the key of the same
//! image changes everybody's bytes.

use std::fmt::{Display, Write as _};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use ext4_writer::{
    DirectoryHash, HashedBytes, Journal, OnError, Options, Reserved, Size, Timestamp,
};

use uuid::Uuid;

use super::size::ImageSize;
use crate::digest::{Algorithm, Digest, hex};
use crate::error::{Error, Result};
use crate::flatten::LayerSemantics;
use crate::inject::Owner;

/// A key on its way, line by line.
#[derive(Debug)]
pub(super) struct Key(String);

impl Key {
    /// Of an image with this content, which has a digest if there is one.
    pub(super) fn new(content: Option<&Digest>) -> Self {
        let mut key = Self("banger identity 1\n".to_owned());
        key.line("content", or_none(content));
        key
    }

    /// The size that was asked for.
    pub(super) fn image_size(&mut self, size: ImageSize) {
        match size {
            ImageSize::Automatic => self.line("size", "automatic"),
            ImageSize::Fit(room) => self.line("size", format!("fit+{room}")),
            ImageSize::Fixed(bytes) => self.line("size", bytes),
        }
    }

    /// The size of a filesystem with nothing in it.
    pub(super) fn size(&mut self, size: Size) {
        match size {
            Size::Fit { free_bytes, free_inodes } => {
                self.line("size", format!("fit+{free_bytes} inodes+{free_inodes}"));
            }
            Size::Fixed(bytes) => self.line("size", bytes),
        }
    }

    /// Everything else that was asked of the filesystem.
    pub(super) fn filesystem(&mut self, options: &Options) {
        self.line("features", options.features.names().collect::<Vec<_>>().join(","));
        self.line("block_size", options.block_size);
        self.line("inode_size", options.inode_size);
        self.line("label", hex(&options.label));
        self.line("hash_seed", or_none(options.hash_seed.map(|seed| hex(&seed))));
        self.line(
            "directory_hash",
            match options.directory_hash {
                DirectoryHash::HalfMd4 => "half_md4",
                DirectoryHash::Tea => "tea",
            },
        );
        self.line(
            "hashed_bytes",
            match options.hashed_bytes {
                HashedBytes::Signed => "signed",
                HashedBytes::Unsigned => "unsigned",
            },
        );
        self.line("directory_fill", options.directory_fill);
        self.line("inodes", or_none(options.inodes));
        self.line("bytes_per_inode", or_none(options.bytes_per_inode));
        self.line("groups_per_flex", options.groups_per_flex);
        match options.journal {
            Journal::Default => self.line("journal", "default"),
            Journal::Size(bytes) => self.line("journal", bytes),
            Journal::None => self.line("journal", "-"),
        }
        match options.reserved {
            Reserved::Percent(percent) => self.line("reserved", format!("{percent}%")),
            Reserved::Bytes(bytes) => self.line("reserved", bytes),
        }
        self.line("max_size", or_none(options.max_size));
        self.behaviour(options);
    }

    /// What the kernel is told of a filesystem, and how its parts are placed and written.
    fn behaviour(&mut self, options: &Options) {
        self.line(
            "on_error",
            match options.on_error {
                OnError::Continue => "continue",
                OnError::RemountReadOnly => "remount-ro",
                OnError::Panic => "panic",
            },
        );
        self.line("mount_options", format!("{:#06x}", options.mount_options.bits()));
        self.line("last_mounted", hex(&options.last_mounted));
        self.line("stable_placement", options.stable_placement);
        self.line("lazy_itable_init", options.lazy_itable_init);
        self.line("lazy_journal_init", options.lazy_journal_init);
    }

    /// The time of what has none of its own, and the latest that anything may have.
    pub(super) fn times(&mut self, epoch: Timestamp, latest: Option<Timestamp>) {
        let text = |time: Timestamp| format!("{}.{:09}", time.seconds, time.nanoseconds);
        self.line("epoch", text(epoch));
        self.line("latest", or_none(latest.map(text)));
    }

    /// What paths through symbolic links of lower layers mean.
    pub(super) fn semantics(&mut self, semantics: LayerSemantics) {
        self.line(
            "layer_semantics",
            match semantics {
                LayerSemantics::Follow => "follow",
                LayerSemantics::Overlay => "overlay",
            },
        );
    }

    /// Whose the root directory is to be.
    pub(super) fn root(&mut self, owner: Option<Owner>, mode: Option<u16>) {
        self.line("root_uid", or_none(owner.and_then(|owner| owner.uid)));
        self.line("root_gid", or_none(owner.and_then(|owner| owner.gid)));
        self.line("root_mode", or_none(mode.map(|mode| format!("{mode:04o}"))));
    }

    /// The digest of what is added to the content.
    pub(super) fn added(&mut self, added: &Digest) {
        self.line("added", added);
    }

    /// A UUID of version 8, "vendor-specific" (RFC 9562, section 5.8): the first bytes of the
    /// key's BLAKE3 digest.
    pub(super) fn uuid(&self) -> [u8; 16] {
        let mut leading = [0; 16];
        blake3::Hasher::new().update(self.0.as_bytes()).finalize_xof().fill(&mut leading);
        Uuid::new_v8(leading).into_bytes()
    }

    fn line(&mut self, name: &str, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name} {value}");
    }
}

/// The UUID of a copy that nobody chose one for: it follows from the superblock of what is copied,
/// and from the bytes that the copy has.
pub(crate) fn copied_uuid(image: &File, size: u64) -> Result<[u8; 16]> {
    let mut superblock = [0; 1024];
    image
        .read_exact_at(&mut superblock, 1024)
        .map_err(|error| Error::io("cannot read a superblock").with_source(error))?;
    let mut key = Key::new(Some(&Digest::of(Algorithm::Blake3, &superblock)));
    key.line("copy", size);
    Ok(key.uuid())
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ext4_writer::{Features, MountOptions, Profile};

    use super::*;

    fn options() -> Options {
        Options::for_profile(Profile::Default, Size::Fixed(1 << 30))
    }

    /// The key of an image of which everything was asked.
    fn golden() -> Key {
        let mut options = options();
        options.label = b"root disk".to_vec();
        options.journal = Journal::Size(8 << 20);
        let mut key = Key::new(Some(&Digest::sha256_of(b"config")));
        key.image_size(ImageSize::Fit(1 << 20));
        key.filesystem(&options);
        let time = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
        key.times(time, Some(Timestamp::from_seconds(1_800_000_000)));
        key.semantics(LayerSemantics::Follow);
        key.root(Some(Owner { uid: Some(7), gid: None }), Some(0o1777));
        key.added(&Digest::of(Algorithm::Blake3, b""));
        key
    }

    #[test]
    fn the_key_of_an_image_never_changes_its_words() {
        let expected = "\
banger identity 1
content sha256:b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910
size fit+1048576
features FEATURES
block_size 4096
inode_size 256
label 726f6f74206469736b
hash_seed -
directory_hash half_md4
hashed_bytes signed
directory_fill 80
inodes -
bytes_per_inode -
groups_per_flex 16
journal 8388608
reserved 5%
max_size -
on_error continue
mount_options 0x000c
last_mounted 
stable_placement false
lazy_itable_init true
lazy_journal_init false
epoch 1700000000.000000005
latest 1800000000.000000000
layer_semantics follow
root_uid 7
root_gid -
root_mode 1777
added blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262
";
        let features = "has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,\
                        sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";
        let key = golden();
        assert_eq!(key.0, expected.replace("FEATURES", features));
        let uuid = Uuid::from_bytes(key.uuid()).to_string();
        assert_eq!(uuid, "3f5af225-378a-8ec6-8122-a6afb6269680");
    }

    #[test]
    fn every_option_of_a_filesystem_is_in_the_key() {
        let changes: &[fn(&mut Options)] = &[
            |options| options.features |= Features::METADATA_CSUM_SEED,
            |options| options.block_size = 1024,
            |options| options.inode_size = 512,
            |options| options.label = b"x".to_vec(),
            |options| options.hash_seed = Some([1; 16]),
            |options| options.directory_hash = DirectoryHash::Tea,
            |options| options.hashed_bytes = HashedBytes::Unsigned,
            |options| options.directory_fill = 81,
            |options| options.epoch = Timestamp::from_seconds(1),
            |options| options.inodes = Some(5),
            |options| options.bytes_per_inode = Some(5),
            |options| options.groups_per_flex = 32,
            |options| options.journal = Journal::None,
            |options| options.reserved = Reserved::Bytes(5),
            |options| options.max_size = Some(5),
            |options| options.on_error = OnError::Panic,
            |options| options.mount_options = MountOptions::DEBUG,
            |options| options.last_mounted = b"/".to_vec(),
            |options| options.stable_placement = true,
            |options| options.lazy_itable_init = false,
            |options| options.lazy_journal_init = true,
            |options| options.size = Size::Fit { free_bytes: 1, free_inodes: 0 },
            |options| options.size = Size::Fit { free_bytes: 0, free_inodes: 1 },
        ];
        let uuid = |options: &Options| {
            let mut key = Key::new(None);
            key.size(options.size);
            key.filesystem(options);
            key.times(options.epoch, None);
            key.uuid()
        };
        let mut seen = BTreeSet::from([uuid(&options())]);
        for (number, change) in changes.iter().enumerate() {
            let mut other = options();
            change(&mut other);
            assert!(seen.insert(uuid(&other)), "change {number} gives no other UUID");
        }
        // Whoever adds an option has to name it above and in the key. The size is changed twice,
        // and the UUID, which is what the key is for, never.
        let text = format!("{:#?}", options());
        let fields = text.lines().filter(|line| {
            line.starts_with("    ") && !line.starts_with("     ") && line.contains(": ")
        });
        assert_eq!(fields.count(), changes.len(), "{text}");
    }
}
