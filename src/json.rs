//! JSON as the programs read it that wrote it: with the rules of Go's `encoding/json`.
//!
//! `null` is what is not there: an empty text, list or map, or zero. The members of a struct are
//! found whatever the case of their names, and a list is no struct. A member that is there twice
//! stays an error: what could be read in two ways is not read at all.
//!
//! Source: pkg.go.dev/encoding/json, `Unmarshal`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IntoDeserializer as _, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

/// Reads a document, and nothing behind it.
pub(crate) fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> serde_json::Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(GoDeserializer(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

/// Reads values from `D` with Go's rules.
struct GoDeserializer<D>(D);

/// What `null` is where a value of some type is expected.
#[derive(Clone, Copy)]
enum Null {
    Unit,
    False,
    Zero,
    Text,
    List,
    Map,
}

impl<'de, D: Deserializer<'de>> GoDeserializer<D> {
    fn read<V: Visitor<'de>>(self, null: Null, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(GoVisitor { visitor, null, fields: None })
    }
}

/// The methods that differ in nothing but the type, and so in what `null` is.
macro_rules! null_is {
    ($($null:ident: $($method:ident)*;)*) => {$($(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.read(Null::$null, visitor)
        }
    )*)*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for GoDeserializer<D> {
    type Error = D::Error;

    null_is! {
        Unit: deserialize_any deserialize_unit;
        False: deserialize_bool;
        Zero: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
            deserialize_f32 deserialize_f64;
        Text: deserialize_char deserialize_str deserialize_string;
        List: deserialize_seq deserialize_bytes deserialize_byte_buf;
        Map: deserialize_map;
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_any(GoVisitor { visitor, null: Null::Map, fields: Some(fields) })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_option(GoVisitor { visitor, null: Null::Unit, fields: None })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.read(Null::Unit, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.read(Null::List, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.read(Null::List, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_identifier(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.deserialize_ignored_any(visitor)
    }
}

/// Hands on what is read, and Go's rules to all that lies within.
struct GoVisitor<V> {
    visitor: V,
    null: Null,
    /// The members of the struct that is expected.
    fields: Option<&'static [&'static str]>,
}

macro_rules! hand_on {
    ($($method:ident($value:ty);)*) => {$(
        fn $method<E: Error>(self, value: $value) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for GoVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    hand_on! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f64(f64);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        let visitor = self.visitor;
        match self.null {
            Null::Unit => visitor.visit_unit(),
            Null::False => visitor.visit_bool(false),
            Null::Zero => visitor.visit_u64(0),
            Null::Text => visitor.visit_str(""),
            Null::List => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            Null::Map => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(GoDeserializer(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        match self.fields {
            Some(_) => Err(A::Error::invalid_type(Unexpected::Seq, &self)),
            None => self.visitor.visit_seq(GoAccess { inner, fields: None }),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(GoAccess { inner, fields: self.fields })
    }
}

/// The entries of a list or a map.
struct GoAccess<A> {
    inner: A,
    fields: Option<&'static [&'static str]>,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for GoAccess<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.inner.next_element_seed(GoSeed(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for GoAccess<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(fields) = self.fields else { return self.inner.next_key_seed(seed) };
        let Some(key) = self.inner.next_key::<String>()? else { return Ok(None) };
        let same = |field: &&&str| field.eq_ignore_ascii_case(&key);
        let name = fields.iter().find(same).copied().unwrap_or(&key);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(GoSeed(seed))
    }
}

struct GoSeed<T>(T);

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for GoSeed<T> {
    type Value = T::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        self.0.deserialize(GoDeserializer(deserializer))
    }
}

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
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Sample {
        plain: String,
        two_words: u64,
        yes: bool,
        list: Vec<String>,
        map: BTreeMap<String, String>,
        optional: Option<Box<Sample>>,
    }

    #[test]
    fn null_is_what_is_not_there_at_any_depth() {
        let read = |text: &str| from_slice::<Sample>(text.as_bytes()).unwrap();
        for text in [
            "null",
            "{}",
            r#"{"plain":null,"twoWords":null,"yes":null,"list":null,"map":null,"optional":null}"#,
        ] {
            assert_eq!(read(text), Sample::default(), "{text}");
        }
        let deep = read(r#"{"list":[null,"a"],"map":{"k":null},"optional":{"plain":null}}"#);
        assert_eq!(deep.list, ["", "a"]);
        assert_eq!(deep.map["k"], "");
        assert_eq!(deep.optional, Some(Box::default()));
    }

    #[test]
    fn members_are_found_whatever_the_case_of_their_names() {
        let read = |text: &str| from_slice::<Sample>(text.as_bytes());
        let found = read(r#"{"PLAIN":"a","TwoWords":7,"unknown":[{}],"map":{"K":"v"}}"#).unwrap();
        assert_eq!((found.plain.as_str(), found.two_words), ("a", 7));
        assert_eq!(found.map["K"], "v");
        for ambiguous in [r#"{"plain":"a","Plain":"b"}"#, r#"{"plain":"a","plain":"b"}"#] {
            let error = read(ambiguous).unwrap_err().to_string();
            assert!(error.contains("duplicate field `plain`"), "{error}");
        }
    }

    #[test]
    fn types_and_what_follows_stay_checked_and_errors_name_the_place() {
        for (text, why) in [
            ("[]", "invalid type: sequence, expected struct Sample at line 1 column 2"),
            (r#"["a",1]"#, "invalid type: sequence, expected struct Sample"),
            (r#"{"optional":["a"]}"#, "invalid type: sequence, expected struct Sample"),
            (r#"{"plain":1}"#, "expected a string at line 1 column 10"),
            (r#"{"twoWords":"1"}"#, "expected u64"),
            (r#"{"twoWords":-1}"#, "expected u64"),
            (r#"{"list":{}}"#, "expected a sequence"),
            ("{} x", "trailing characters"),
            ("", "EOF"),
        ] {
            let error = from_slice::<Sample>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

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
