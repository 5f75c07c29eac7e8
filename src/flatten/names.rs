//! The users and groups that an image knows.

use std::collections::BTreeMap;

use crate::layer::Class;

/// The numbers of the users and groups that an image knows.
#[derive(Default)]
pub(super) struct Names {
    pub(super) users: BTreeMap<Vec<u8>, u32>,
    pub(super) groups: BTreeMap<Vec<u8>, u32>,
}

impl Names {
    /// The superuser and its group are 0 everywhere.
    pub(super) fn number(&self, class: Class, name: &[u8]) -> Option<u32> {
        let numbers = match class {
            Class::User => &self.users,
            Class::Group => &self.groups,
        };
        numbers.get(name).copied().or_else(|| (name == b"root").then_some(0))
    }
}

/// The name and the third field of every line; the first of a name counts (passwd(5), group(5)).
pub(super) fn read_numbers(content: &[u8], numbers: &mut BTreeMap<Vec<u8>, u32>) {
    for line in content.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        if let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next())
            && let Some(number) = str::from_utf8(number).ok().and_then(|text| text.parse().ok())
        {
            numbers.entry(name.to_vec()).or_insert(number);
        }
    }
}
