//! Names of an image in JSON: as text, and beside it all bytes of one that is not UTF-8.

use serde::ser::{Serialize, SerializeSeq as _, Serializer};

use crate::digest::hex;

/// The bytes of a text that is not UTF-8.
fn hex_of(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).is_err().then(|| hex(bytes))
}

macro_rules! names {
    ($($type:ident { $text:ident, $hex:ident }),* $(,)?) => {$(
        /// Bytes as members of a JSON object.
        #[derive(Debug, serde::Serialize)]
        pub(crate) struct $type {
            pub(crate) $text: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            $hex: Option<String>,
        }

        impl $type {
            pub(crate) fn new(bytes: &[u8]) -> Self {
                Self { $text: String::from_utf8_lossy(bytes).into_owned(), $hex: hex_of(bytes) }
            }
        }
    )*};
}

names! {
    PathText { path, path_hex },
    TargetText { target, target_hex },
    NameText { name, name_hex },
    LabelText { label, label_hex },
    LastMountedText { last_mounted, last_mounted_hex },
}

/// The members of a path, for a field with `flatten`.
pub(super) fn path<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    PathText::new(path).serialize(serializer)
}

/// The members of the target of a link, if there is one, for a field with `flatten`.
#[expect(clippy::ref_option, reason = "serde hands over fields by reference")]
pub(super) fn target<S: Serializer>(
    target: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    target.as_deref().map(TargetText::new).serialize(serializer)
}

/// The members of a name, if there is one, for a field with `flatten`.
#[expect(clippy::ref_option, reason = "serde hands over fields by reference")]
pub(super) fn name<S: Serializer>(
    name: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    name.as_deref().map(NameText::new).serialize(serializer)
}

/// A list of names.
pub(super) fn names<S: Serializer>(names: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(names.len()))?;
    for name in names {
        list.serialize_element(&NameText::new(name))?;
    }
    list.end()
}
