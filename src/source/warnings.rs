//! What people should hear about a pull though it goes on: configuration that was passed over,
//! requests that are repeated.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lines that were said, each once. Copies share them.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    all: BTreeSet<String>,
    fresh: Vec<String>,
    listener: Option<Box<Listener>>,
}

/// Hears a line at the moment at which it is said.
type Listener = dyn Fn(&str) + Send;

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Said").field("all", &self.all).finish_non_exhaustive()
    }
}

impl Warnings {
    /// Says that what is at `path`, where configuration usually is, may not be read by us.
    pub(super) fn skip_unreadable(&self, path: &Path) {
        let denied = first_denied(path);
        let shown = denied.display();
        self.add(format!("{shown} may not be read; the configuration there is passed over"));
    }

    /// Has what is announced from now on heard by `listener`, which may be called by any thread.
    pub fn listen(&self, listener: impl Fn(&str) + Send + 'static) {
        self.said().listener = Some(Box::new(listener));
    }

    /// Says what is of interest only while it happens; without a listener nobody hears it.
    pub(super) fn announce(&self, line: &str) {
        if let Some(listener) = &self.said().listener {
            listener(line);
        }
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
    fn what_is_announced_is_heard_at_once_and_kept_nowhere() {
        let warnings = Warnings::default();
        warnings.announce("nobody hears this");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        warnings.clone().listen(move |line| ear.lock().unwrap().push(line.to_owned()));
        warnings.announce("a");
        warnings.announce("a");
        assert_eq!(*heard.lock().unwrap(), ["a", "a"]);
        assert_eq!((warnings.take(), warnings.all()), (Vec::new(), Vec::new()));
    }

    #[test]
    fn every_line_is_said_once() {
        let warnings = Warnings::default();
        let copy = warnings.clone();
        for path in ["/none/a", "/none/b", "/none/a"] {
            copy.skip_unreadable(Path::new(path));
        }
        let lines = ["a", "b"].map(|name| {
            format!("/none/{name} may not be read; the configuration there is passed over")
        });
        assert_eq!(warnings.take(), lines);
        assert_eq!(warnings.take(), [""; 0]);
        assert_eq!(warnings.all(), lines);
    }
}
