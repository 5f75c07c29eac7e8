//! In what two inodes of the same name differ.

use ext4_writer::FileKind;
use ext4_writer::reader::{Attribute, DeviceNumber};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::flags::settable_flags;
use super::{AttributeValue, Status, decode, flag_letters, kind_word, text, time_text};
use crate::digest::hex;

/// A path in which two trees differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Difference {
    /// The path from the root on.
    #[serde(flatten, serialize_with = "text::path")]
    pub path: Vec<u8>,
    /// Which tree has it.
    #[serde(rename = "change")]
    pub kind: Kind,
    /// What it is, in the second tree where that has it.
    #[serde(rename = "type", serialize_with = "kind")]
    pub what: FileKind,
    /// In what it differs.
    pub details: Vec<Detail>,
}

/// Which of two trees has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Only the second.
    Added,
    /// Only the first.
    Removed,
    /// Both.
    Changed,
}

/// One fact in which two inodes differ.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Detail {
    /// Which fact.
    pub fact: &'static str,
    /// The name of an extended attribute.
    #[serde(flatten, serialize_with = "text::name")]
    pub attribute: Option<Vec<u8>>,
    /// What the first has.
    pub from: Option<Value>,
    /// What the second has.
    pub to: Option<Value>,
}

/// A fact's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Words.
    Text(String),
    /// Text that may hold anything, such as words.
    Quoted(String),
    /// A number.
    Number(u64),
    /// Bytes that mean a name.
    Name(Vec<u8>),
    /// Other bytes.
    Bytes(Vec<u8>),
}

/// Numbers as numbers, text as strings, and what is no text as `{ "hex": … }`.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = match self {
            Self::Number(number) => return serializer.serialize_u64(*number),
            Self::Text(text) | Self::Quoted(text) => return serializer.serialize_str(text),
            Self::Name(name) => match str::from_utf8(name) {
                Ok(name) => return serializer.serialize_str(name),
                Err(_) => name,
            },
            Self::Bytes(bytes) => bytes,
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("hex", &hex(bytes))?;
        map.end()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over fields by reference")]
fn kind<S: Serializer>(kind: &FileKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind_word(*kind))
}

/// The differences of two inodes while they are gathered.
#[derive(Default)]
pub(super) struct Details(pub(super) Vec<Detail>);

impl Details {
    /// Compares one fact.
    pub(super) fn compare(&mut self, fact: &'static str, from: Option<Value>, to: Option<Value>) {
        if from != to {
            self.0.push(Detail { fact, attribute: None, from, to });
        }
    }

    /// Says that a fact differs which is too long to be shown.
    pub(super) fn note(&mut self, fact: &'static str) {
        self.0.push(Detail { fact, attribute: None, from: None, to: None });
    }

    /// Compares what every inode says, but for its times.
    pub(super) fn statuses(&mut self, a: &Status, b: &Status) {
        let text = |text: String| Some(Value::Text(text));
        self.compare("type", text(kind_word(a.kind).into()), text(kind_word(b.kind).into()));
        let mode = |status: &Status| text(format!("{:04o}", status.mode));
        self.compare("mode", mode(a), mode(b));
        let number = |number: u32| Some(Value::Number(number.into()));
        self.compare("uid", number(a.uid), number(b.uid));
        self.compare("gid", number(a.gid), number(b.gid));
        if (a.kind, b.kind) == (FileKind::Regular, FileKind::Regular) {
            self.compare("size", Some(Value::Number(a.size)), Some(Value::Number(b.size)));
        }
        let device =
            |device: DeviceNumber| Value::Text(format!("{}:{}", device.major, device.minor));
        self.compare("device", a.device.map(device), b.device.map(device));
        let flags = |status: &Status| text(flag_letters(settable_flags(status.flags)));
        let is_set = |value: &Value| *value != Value::Text(String::new());
        self.compare("flags", flags(a).filter(is_set), flags(b).filter(is_set));
        self.compare("project", number(a.project), number(b.project));
    }

    /// Compares times of modification.
    pub(super) fn times(&mut self, a: &Status, b: &Status) {
        let time = |status: &Status| Some(Value::Text(time_text(status.modified)));
        self.compare("modified", time(a), time(b));
    }

    /// Compares extended attributes, whatever their order and places.
    pub(super) fn attributes(&mut self, mut a: Vec<Attribute>, mut b: Vec<Attribute>) {
        for list in [&mut a, &mut b] {
            list.sort_by(|one, other| one.name.cmp(&other.name));
        }
        let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
        loop {
            let (from, to) = match (a.peek(), b.peek()) {
                (None, None) => return,
                (Some(one), Some(other)) if one.name == other.name => (a.next(), b.next()),
                (Some(one), Some(other)) if one.name > other.name => (None, b.next()),
                (Some(_), _) => (a.next(), None),
                (None, Some(_)) => (None, b.next()),
            };
            let name = from.as_ref().or(to.as_ref()).map(|attribute| attribute.name.clone());
            let bytes = |one: &Option<Attribute>| one.as_ref().map(|one| one.value.clone());
            let (old, new) = (bytes(&from), bytes(&to));
            if old != new {
                let (mut from, mut to) = (from.map(value), to.map(value));
                // The same words may stand for other bytes.
                if from == to {
                    (from, to) = (old.map(Value::Bytes), new.map(Value::Bytes));
                }
                self.0.push(Detail { fact: "attribute", attribute: name, from, to });
            }
        }
    }
}

/// The value as people write it, where that says everything.
fn value(attribute: Attribute) -> Value {
    match decode(&attribute.name, &attribute.value) {
        AttributeValue::Decoded(words) => Value::Text(words),
        AttributeValue::Text(text) if text.len() == attribute.value.len() => Value::Quoted(text),
        _ => Value::Bytes(attribute.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ext4_writer::reader::AttributePlace;

    fn differing(name: &[u8], a: &[u8], b: &[u8]) -> Vec<(Option<Value>, Option<Value>)> {
        let list = |value: &[u8]| {
            let place = AttributePlace::Inode;
            vec![Attribute { name: name.to_vec(), value: value.to_vec(), place }]
        };
        let mut details = Details::default();
        details.attributes(list(a), list(b));
        details.0.into_iter().map(|detail| (detail.from, detail.to)).collect()
    }

    #[test]
    fn attributes_of_the_same_words_and_other_bytes_differ() {
        let bytes =
            |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        // The same capabilities in the first revision and in the second.
        let one = bytes(&[0x0100_0001, 1 << 13, 0]);
        let two = bytes(&[0x0200_0001, 1 << 13, 0, 0, 0]);
        let found = differing(b"security.capability", &one, &two);
        assert_eq!(found, [(Some(Value::Bytes(one.clone())), Some(Value::Bytes(two)))]);
        assert_eq!(differing(b"security.capability", &one, &one), []);
        let quoted = |text: &str| Some(Value::Quoted(text.to_owned()));
        assert_eq!(differing(b"user.a", b"1", b"2"), [(quoted("1"), quoted("2"))]);
    }

    #[test]
    fn all_flags_that_people_set_are_compared() {
        for (flag, letter) in
            [(0x4000_0000, "F"), (0x2000_0000, "P"), (0x0010_0000, "V"), (0x0200_0000, "x")]
        {
            assert_eq!(flag_letters(settable_flags(flag)), letter);
        }
        // Those of extents and of an index are the filesystem's own.
        assert_eq!(settable_flags(0x0008_1000), 0);
    }
}
