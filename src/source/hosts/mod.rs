//! Which hosts may have a repository, in the order in which they are asked: the mirrors that the
//! host's configuration names, then the registry itself.
//!
//! Both customs are read, and neither is required: containers' `registries.conf` and containerd's
//! `hosts.toml`, and the certificates that lie beside the latter.

mod containerd;
mod files;
mod find;
mod host;
mod registries_conf;
#[cfg(test)]
mod tests;

pub(super) use self::files::ConfigurationPaths;
pub(super) use self::find::find;
pub(super) use self::host::{Host, Trust};
pub use self::host::{HostOptions, Identity};
