//! Lists and sets in documents, which are as long as whoever wrote them liked.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};
use crate::json::{self, fold};
use crate::source::excerpt;

/// How many entries a list inside a config may have, other than its layers.
pub(super) const MAX_LIST: usize = 10_000;

/// How many features of its system an image may need.
pub(super) const MAX_FEATURES: usize = 100;
pub(super) fn from_json<'de, T: Deserialize<'de>>(body: &'de [u8], what: &str) -> Result<T> {
    json::from_slice(body).map_err(|error| {
        // The parser repeats values of the document, whatever their length.
        Error::bad_data(format!("the image's {what} is malformed: {}", excerpt(&error.to_string())))
    })
}

/// How many entries a list has; none of them is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Count(pub(in crate::source) usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = |count: usize, _: IgnoredAny| count.saturating_add(1);
        fold(deserializer, "a list", 0, count).map(Self)
    }
}

/// A list of at most `MAX` entries, or `null`, which is how Go writes an empty one.
///
/// The limit holds while the list is read: a document of a few MiB could otherwise ask for
/// hundreds, two bytes an entry.
pub(super) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Bounded<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} entries")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = sequence.next_element()? {
                if entries.len() == MAX {
                    return Err(A::Error::custom(format!("a list has more than {MAX} entries")));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_any(Bounded::<T, MAX>(PhantomData))
}

/// The keys of a map from names to nothing, which is how Go writes a set; `null` is an empty one.
pub(super) fn keys<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Keys;

    impl<'de> Visitor<'de> for Keys {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a map with at most {MAX_LIST} names")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                if names.len() == MAX_LIST {
                    return Err(A::Error::custom(format!("a map has more than {MAX_LIST} names")));
                }
                names.push(name);
            }
            Ok(names)
        }
    }

    deserializer.deserialize_any(Keys)
}
