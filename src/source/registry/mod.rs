//! An image in a registry: found by its reference, its blobs fetched into the cache.
//!
//! This room owns the only asynchronous code of the program. Its runtime is private, its methods
//! block, and what leaves it are plain values and [`std::io::Read`].

mod body;
mod causes;
mod challenge;
mod client;
mod connection;
mod document;
mod download;
mod endpoint;
mod errors;
mod fetch;
mod login_check;
mod names;
mod object;
mod options;
mod probe;
mod proxy;
mod ranges;
mod repository;
mod resolve;
mod response;
mod retry;
mod route;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod trust;

pub use self::download::{BlobProgress, Downloads, Progress};
pub use self::login_check::LoginCheck;
pub use self::object::Subject;
pub use self::options::{Options, Pull};
pub use self::repository::Registry;
