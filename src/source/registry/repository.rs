//! One repository of a registry, to those who do not wait asynchronously.

use std::fmt;
use std::sync::Arc;

use super::connection::Connection;
use super::download::Downloads;
use super::login_check::LoginCheck;
use super::object::Subject;
use super::options::Options;
use crate::cache::Cache;
use crate::error::Result;
use crate::source::{Image, Platform, Reference};

/// One repository of a registry.
pub struct Registry {
    connection: Arc<Connection>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.connection.reference).finish()
    }
}

impl Registry {
    /// Prepares to speak with the registry of `reference`; nothing is sent yet. What is fetched
    /// goes into `cache`.
    pub fn connect(reference: &Reference, cache: &Cache, options: &Options) -> Result<Self> {
        Ok(Self { connection: Arc::new(Connection::new(reference, cache, options)?) })
    }

    /// Finds the image for `platform`: index, manifest and config, each verified.
    pub fn resolve(&self, platform: &Platform) -> Result<Image> {
        self.connection.runtime.block_on(self.connection.resolve(platform))
    }

    /// Shows the registry the credentials that are found for it.
    pub fn check_login(&self, subject: Subject) -> Result<LoginCheck> {
        self.connection.runtime.block_on(self.connection.check_login(subject))
    }

    /// Asks for every layer that the cache does not have, so that a missing one is found before
    /// the long work.
    pub fn touch(&self, image: &Image) -> Result<()> {
        self.connection.runtime.block_on(Connection::touch(&self.connection, image))
    }

    /// Begins to fetch the layers that the cache does not have, several at a time, oldest first.
    #[must_use]
    pub fn download(&self, image: &Image) -> Downloads {
        Downloads::begin(&self.connection, &image.layers)
    }
}
