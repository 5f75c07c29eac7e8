//! Who we are to a registry: found in the files and helpers that docker, podman and skopeo use.
//!
//! The first place in the order of `Search::places` that knows the registry answers. Nothing
//! here prints a secret: [`Secret`] has no text, and errors about files name lines, not contents.

mod file;
mod helper;
mod input;
mod search;
mod secret;
#[cfg(test)]
mod tests;

pub use self::input::from_input;
pub use self::search::Search;
pub use self::secret::{Credentials, FoundCredentials, Secret};
