//! What tells one filesystem from another when the caller does not say: numbers that follow
//! from the label and the tree.

use crate::attributes::Attributes;
use crate::metadata::Special;
use crate::options::{Options, Size};
use crate::tree::{Content, Node, Tree};

/// The UUID and the seed of the name hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub uuid: [u8; 16],
    pub hash_seed: [u8; 16],
}

impl Identity {
    /// The caller's choice, else derived: equal trees have equal UUIDs.
    pub(crate) fn new(options: &Options, tree: &Tree) -> Self {
        let uuid = options.uuid.unwrap_or_else(|| derived_uuid(options, tree));
        let derived_seed = || Fingerprint::new().and(b"hash seed").and(&uuid).bytes();
        Self { uuid, hash_seed: options.hash_seed.unwrap_or_else(derived_seed) }
    }
}

/// A UUID of version 8, "vendor-specific" (RFC 9562, section 5.8).
fn derived_uuid(options: &Options, tree: &Tree) -> [u8; 16] {
    let size = match options.size {
        Size::Fixed(bytes) => bytes,
        Size::Fit { free_bytes, .. } => free_bytes,
    };
    let mut print = Fingerprint::new().and(b"uuid").and(&options.label).and(&size.to_le_bytes());
    for (id, node) in tree.nodes() {
        print = with_node(print, node);
        for attribute in tree.attributes(id).map(Attributes::as_slice).unwrap_or_default() {
            print = print.and(&[attribute.index]).and(&attribute.suffix).and(&attribute.value);
        }
    }
    let mut uuid = print.bytes();
    if let Some(version) = uuid.get_mut(6) {
        *version = 0x80 | (*version & 0x0f);
    }
    if let Some(variant) = uuid.get_mut(8) {
        *variant = 0x80 | (*variant & 0x3f);
    }
    uuid
}

fn with_node(print: Fingerprint, node: &Node) -> Fingerprint {
    let print = print
        .and(&(node.kind().mode_bits() | node.mode).to_le_bytes())
        .and(&node.uid.to_le_bytes())
        .and(&node.gid.to_le_bytes())
        .and(&node.modified.seconds.to_le_bytes())
        .and(&node.modified.nanoseconds.to_le_bytes());
    match &node.content {
        Content::Directory(directory) => {
            directory.entries.iter().fold(print, |print, (name, entry)| {
                print.and(name).and(&crate::sink::widen(entry.node.index()).to_le_bytes())
            })
        }
        Content::Regular { size, extents } => {
            let print = print.and(&size.to_le_bytes());
            extents.as_slice().iter().fold(print, |print, extent| {
                print.and(&extent.at.get().to_le_bytes()).and(&extent.run.start.get().to_le_bytes())
            })
        }
        Content::Inline(bytes) => print.and(&crate::sink::widen(bytes.len()).to_le_bytes()),
        Content::Symlink(target) => print.and(target),
        Content::Special(
            Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor },
        ) => print.and(&major.to_le_bytes()).and(&minor.to_le_bytes()),
        Content::Special(Special::Fifo | Special::Socket) | Content::Gone => print,
    }
}

/// FNV-1a with 128 bits: enough to tell trees apart, and nothing that secrecy rests on.
///
/// Source: RFC 9923, "The FNV Non-Cryptographic Hash Algorithm".
#[derive(Clone, Copy)]
struct Fingerprint(u128);

impl Fingerprint {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn new() -> Self {
        Self(Self::BASIS)
    }

    /// Adds a field; its length comes too, so that fields cannot run into each other.
    fn and(self, field: &[u8]) -> Self {
        let length = crate::sink::widen(field.len()).to_le_bytes();
        let step = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        Self(length.iter().chain(field).fold(self.0, step))
    }

    fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}
