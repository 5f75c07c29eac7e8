//! Lists in JSON documents of which less is kept than they hold.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// Reads a list of what messages call `what`: each entry changes what the ones before it left, and
/// is forgotten.
pub(crate) fn fold<'de, D, E, T>(
    deserializer: D,
    what: &'static str,
    start: T,
    step: impl FnMut(T, E) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: Deserialize<'de>,
{
    deserializer.deserialize_seq(Fold { what, start, step, entries: PhantomData })
}

struct Fold<T, F, E> {
    what: &'static str,
    start: T,
    step: F,
    entries: PhantomData<E>,
}

impl<'de, T, F, E> Visitor<'de> for Fold<T, F, E>
where
    F: FnMut(T, E) -> T,
    E: Deserialize<'de>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<T, A::Error> {
        let mut folded = self.start;
        while let Some(entry) = list.next_element()? {
            folded = (self.step)(folded, entry);
        }
        Ok(folded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_folded_and_anything_else_told_apart() {
        let sum = |text: &str| {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            fold(&mut deserializer, "a list of numbers", 0, |sum: u32, next: u32| sum + next)
        };
        assert_eq!(sum("[1, 2, 3]").unwrap(), 6);
        assert_eq!(sum("[]").unwrap(), 0);
        let error = sum("{}").unwrap_err().to_string();
        assert!(error.contains("expected a list of numbers"), "{error}");
        assert!(sum("[1, -2]").is_err());
    }
}
