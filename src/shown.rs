//! Names for messages: one line each, whatever bytes they have.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// As much of a name as a message shows.
pub(crate) const MAX_SHOWN: usize = 200;

/// A path of the host.
pub(crate) fn path(path: &Path) -> String {
    path.as_os_str().as_bytes().escape_ascii().to_string()
}

/// A name that came from outside; hostile ones can be long.
pub(crate) fn name(name: &[u8]) -> String {
    match name.get(..MAX_SHOWN) {
        Some(start) if name.len() > MAX_SHOWN => format!("{}...", start.escape_ascii()),
        _ => name.escape_ascii().to_string(),
    }
}
