//! What is in an image: its names, contents, inodes and facts, as an archive, and against another.
//!
//! Everything here reads, and trusts nothing that it reads: an [`Image`] may hold any bytes. What
//! is long is handed out piece by piece; what is kept in memory is the names of the directories on
//! the way, the numbers of those that were seen, and the first names of inodes with several.

mod capability;
mod check;
mod content;
mod diff;
mod difference;
mod entries;
mod export;
mod flags;
mod foreign;
mod image;
mod list;
mod names;
mod read_cache;
mod stat;
mod status;
mod summary;
pub(crate) mod text;
mod values;

pub(crate) use check::{Judged, judge, must_be_sound, refuse_damaged, refuse_damaged_copy};
pub(crate) use content::copy;
pub(crate) use diff::{Comparison, Scope};
pub(crate) use difference::{Detail, Difference, Kind, Value};
pub(crate) use export::{Exported, export};
pub(crate) use flags::flag_letters;
pub(crate) use image::{Image, Window};
pub(crate) use list::{Depth, Line, Listing, Step, Wanted};
pub(crate) use stat::Stat;
pub(crate) use status::{Status, kind_word, mode_text, time_text};
pub(crate) use summary::{Oci, Summary};
pub(crate) use values::{AttributeValue, decode};
