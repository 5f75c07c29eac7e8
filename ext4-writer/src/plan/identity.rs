//! What tells one filesystem from another when the caller does not say: numbers that follow
//! from the label and the tree.

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
    let mut print = Fingerprint::new().and(b"uuid").and(&options.label).word(size);
    for (id, node) in tree.nodes() {
        print = with_node(print, node);
        for attribute in tree.attribute_list(id) {
            let print_of_name = print.word(u64::from(attribute.index)).and(&attribute.suffix);
            print = print_of_name.and(&attribute.value);
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
    let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let print = print
        .word(pair(node.uid, u32::from(node.kind().mode_bits() | node.mode)))
        .word(pair(node.gid, node.modified.nanoseconds))
        .word(node.modified.seconds.cast_unsigned());
    match &node.content {
        Content::Directory(directory) => {
            directory.entries.iter().fold(print, |print, (name, node)| {
                print.and(name).word(crate::format::units::widen(node.index()))
            })
        }
        Content::Regular { size, extents } => {
            let extents = extents.as_slice();
            let print = print.word(*size).word(crate::format::units::widen(extents.len()));
            extents.iter().fold(print, |print, extent| {
                print.word(u64::from(extent.at.get())).word(extent.run.start.get())
            })
        }
        Content::Inline(bytes) => print.word(crate::format::units::widen(bytes.len())),
        Content::Symlink(target) => print.and(target),
        Content::Special(
            Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor },
        ) => print.word(pair(*major, *minor)),
        Content::Special(Special::Fifo | Special::Socket) | Content::Gone => print,
    }
}

/// A product for every eight bytes: enough to tell trees apart, and nothing that secrecy rests on.
/// A byte at a time took a sixth of the time that a tree of small files takes at the end.
#[derive(Clone, Copy)]
struct Fingerprint(u128);

impl Fingerprint {
    /// 2^128 divided by the golden ratio, to the nearest odd number: no two states become one.
    const FACTOR: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

    fn new() -> Self {
        Self(Self::FACTOR)
    }

    /// Adds eight bytes. The upper half of the product, which depends on all of them, is folded into
    /// the lower one, where the next ones come.
    fn word(self, word: u64) -> Self {
        let product = (self.0 ^ u128::from(word)).wrapping_mul(Self::FACTOR);
        Self(product ^ product >> 64)
    }

    /// Adds a field; its length comes too, so that fields cannot run into each other.
    fn and(self, field: &[u8]) -> Self {
        let (words, rest) = field.as_chunks();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let print = words.fold(self.word(crate::format::units::widen(field.len())), Self::word);
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        if rest.is_empty() { print } else { print.word(last) }
    }

    fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_differs_anywhere_has_another_fingerprint() {
        let mut seen = BTreeSet::new();
        for length in 0..40 {
            let zeros = vec![0; length];
            assert!(seen.insert(Fingerprint::new().and(&zeros).0), "{length} zeros");
            for place in 0..length {
                for bit in 0..8 {
                    let mut field = zeros.clone();
                    field[place] = 1 << bit;
                    assert!(seen.insert(Fingerprint::new().and(&field).0), "{field:?}");
                }
            }
        }
        // The ends of fields count, and their order.
        let of = |fields: &[&[u8]]| fields.iter().fold(Fingerprint::new(), |p, f| p.and(f)).0;
        for fields in [[&b"ab"[..], b"c"], [b"a", b"bc"], [b"c", b"ab"], [b"abc", b""]] {
            assert!(seen.insert(of(&fields)), "{fields:?}");
        }
    }
}
