//! A body on its way, which may be as slow as any but no slower than the least that is put up with.

use std::ops::Deref;

use reqwest::Response;

use super::client::RepositoryClient;
use super::errors::MORE_TIME;
use super::object::Object;
use super::response::{MIN_THROUGHPUT, MinThroughput, coding};
use super::retry::Failure;
use crate::error::Error;

impl RepositoryClient {
    pub(super) fn body<'a>(&'a self, object: &'a Object, response: Response) -> Body<'a> {
        let throughput = MinThroughput::new(self.options.stall_timeout);
        Body { client: self, object, response, throughput }
    }
}

/// A body on its way.
pub(super) struct Body<'a> {
    client: &'a RepositoryClient,
    object: &'a Object,
    pub(super) response: Response,
    throughput: MinThroughput,
}

impl Body<'_> {
    /// The coding that it is said to have.
    pub(super) fn coding(&self) -> Option<String> {
        coding(self.response.headers())
    }

    /// The next part.
    pub(super) async fn chunk(
        &mut self,
    ) -> Result<Option<impl Deref<Target = [u8]> + use<>>, Failure> {
        let chunk = self.response.chunk().await;
        let chunk = chunk.map_err(|error| {
            let connecting = self.client.options.connect_timeout;
            self.client.broken(self.object, error, connecting)
        })?;
        let length = chunk.as_deref().map_or(0, <[u8]>::len);
        if chunk.is_some() && !self.throughput.holds(u64::try_from(length).unwrap_or(u64::MAX)) {
            let seconds = self.throughput.window.as_secs_f32();
            return Err(Failure::transient(
                Error::unavailable(format!(
                    "cannot fetch {} of {}: fewer than {MIN_THROUGHPUT} bytes came within {seconds} s",
                    self.object, self.client.reference
                ))
                .with_hint(MORE_TIME),
            ));
        }
        Ok(chunk)
    }
}
