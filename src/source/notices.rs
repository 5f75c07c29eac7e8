//! What people should hear about a pull though it goes on: configuration that was passed over.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lines that were said, each once. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    all: BTreeSet<String>,
    fresh: Vec<String>,
}

impl Notices {
    /// Says that what is at `path`, where configuration usually is, may not be read by us.
    pub(super) fn pass_over(&self, path: &Path) {
        let denied = first_denied(path);
        let shown = denied.display();
        self.add(format!("{shown} may not be read; the configuration there is passed over"));
    }

    fn add(&self, line: String) {
        let mut said = self.said();
        if said.all.insert(line.clone()) {
            said.fresh.push(line);
        }
    }

    /// The lines since this was asked last.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.said().fresh)
    }

    /// All lines.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.said().all.iter().cloned().collect()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // No code panics while it holds the lock halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The uppermost part of a path that we may not enter or read: one line for all that is below.
fn first_denied(path: &Path) -> &Path {
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    let hidden = ancestors.iter().position(|ancestor| {
        fs::metadata(ancestor).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    });
    // What cannot be looked at lies in what cannot be entered.
    let place = hidden.and_then(|place| ancestors.get(place.checked_sub(1)?));
    place.copied().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_said_once() {
        let notices = Notices::default();
        let copy = notices.clone();
        for path in ["/none/a", "/none/b", "/none/a"] {
            copy.pass_over(Path::new(path));
        }
        let lines = ["a", "b"].map(|name| {
            format!("/none/{name} may not be read; the configuration there is passed over")
        });
        assert_eq!(notices.take(), lines);
        assert_eq!(notices.take(), [""; 0]);
        assert_eq!(notices.all(), lines);
    }
}
