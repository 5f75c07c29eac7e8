//! Bytes to values and back.
//!
//! Every sequence of bytes is a case, and what is missing at the end reads as zeros: a fuzzer's
//! change of one byte changes one thing.

/// The bytes that are left.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of them.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether there is nothing more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes, or as many as there are.
    pub fn slice(&mut self, length: usize) -> &'a [u8] {
        let (slice, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        slice
    }
}

/// A value that bytes stand for.
pub trait Field: Sized {
    /// Reads it.
    fn take(input: &mut Input<'_>) -> Self;
    /// Writes it, so that [`take`](Self::take) reads the same.
    fn put(&self, output: &mut Vec<u8>);
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            fn take(input: &mut Input<'_>) -> Self {
                let mut bytes = [0; size_of::<Self>()];
                let found = input.slice(bytes.len());
                bytes[..found.len()].copy_from_slice(found);
                Self::from_le_bytes(bytes)
            }

            fn put(&self, output: &mut Vec<u8>) {
                output.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i64);

impl Field for bool {
    fn take(input: &mut Input<'_>) -> Self {
        u8::take(input) & 1 == 1
    }

    fn put(&self, output: &mut Vec<u8>) {
        output.push(u8::from(*self));
    }
}

/// A length of one byte, then the bytes.
impl Field for Vec<u8> {
    fn take(input: &mut Input<'_>) -> Self {
        let length = u8::take(input);
        input.slice(length.into()).to_vec()
    }

    fn put(&self, output: &mut Vec<u8>) {
        let short = &self[..self.len().min(255)];
        output.push(u8::try_from(short.len()).unwrap_or(u8::MAX));
        output.extend_from_slice(short);
    }
}

/// Whether there is one, then it.
impl<T: Field> Field for Option<T> {
    fn take(input: &mut Input<'_>) -> Self {
        bool::take(input).then(|| T::take(input))
    }

    fn put(&self, output: &mut Vec<u8>) {
        self.is_some().put(output);
        self.iter().for_each(|value| value.put(output));
    }
}

/// Declares a struct whose fields follow each other.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$about])* pub $field: $type,)* }

        impl $crate::input::Field for $name {
            fn take(input: &mut $crate::input::Input<'_>) -> Self {
                Self { $($field: $crate::input::Field::take(input),)* }
            }

            fn put(&self, output: &mut Vec<u8>) {
                $(self.$field.put(output);)*
            }
        }
    };
}

/// Declares an enum: a byte for the variant, then its fields.
#[macro_export]
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$about:meta])* $variant:ident { $($field:ident: $type:ty),* },)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the fields are called what they are")]
        pub enum $name { $($(#[$about])* $variant { $($field: $type),* },)* }

        impl $crate::input::Field for $name {
            fn take(input: &mut $crate::input::Input<'_>) -> Self {
                const NAMES: &[&str] = &[$(stringify!($variant)),*];
                let chosen = usize::from(<u8 as $crate::input::Field>::take(input)) % NAMES.len();
                $(if NAMES[chosen] == stringify!($variant) {
                    return Self::$variant { $($field: $crate::input::Field::take(input)),* };
                })*
                unreachable!("a variant was chosen")
            }

            fn put(&self, output: &mut Vec<u8>) {
                const NAMES: &[&str] = &[$(stringify!($variant)),*];
                let number = |name| NAMES.iter().position(|other| *other == name);
                match self {
                    $(Self::$variant { $($field),* } => {
                        let number = number(stringify!($variant)).unwrap_or_default();
                        output.push(u8::try_from(number).unwrap_or(u8::MAX));
                        $($field.put(output);)*
                    })*
                }
            }
        }
    };
}

/// Values up to the end of the bytes.
pub fn take_all<T: Field>(input: &mut Input<'_>) -> Vec<T> {
    let mut all = Vec::new();
    while !input.is_empty() {
        all.push(T::take(input));
    }
    all
}
