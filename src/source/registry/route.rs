//! The hosts that one request is sent to, one after the other.

use super::endpoint::Endpoint;
use super::retry::{Contact, Failure, Tries};
use crate::error::{Error, Result};

/// The way of one request: from host to host, and at the last as often as the tries allow.
pub(super) struct Route<'a> {
    endpoints: Vec<&'a Endpoint>,
    place: usize,
    tries: Tries,
}

impl<'a> Route<'a> {
    pub(super) fn new(endpoints: Vec<&'a Endpoint>, tries: Tries) -> Self {
        Self { endpoints, place: 0, tries }
    }

    /// Whom to ask now.
    pub(super) fn endpoint(&self) -> Result<&'a Endpoint> {
        let endpoint = self.endpoints.get(self.place).copied();
        endpoint.ok_or_else(|| Error::internal("there is no host to ask"))
    }

    /// Goes on to the next host, or waits before the last is asked again, or gives up.
    pub(super) async fn again_after(&mut self, failure: Failure) -> Result<()> {
        let Some(next) = self.next(failure.contact)? else {
            return self.tries.again_after(failure).await;
        };
        if failure.contact.is_down() {
            self.endpoint()?.mark_down();
        }
        self.place = next;
        Ok(())
    }

    /// Whether nobody is asked any more after this failure.
    pub(super) fn ends_with(&self, failure: &Failure) -> Result<bool> {
        Ok(self.next(failure.contact)?.is_none() && self.tries.end_with(failure))
    }

    /// Says how many bytes have been received.
    pub(super) fn progressed_to(&mut self, received: u64) {
        self.tries.progressed_to(received);
    }

    /// The place of who is asked after the one that was asked now.
    fn next(&self, contact: Contact) -> Result<Option<usize>> {
        let endpoint = self.endpoint()?;
        let speaks_tls =
            matches!(contact, Contact::Answered | Contact::Tls) || endpoint.has_answered();
        let mut behind = self.endpoints.iter().enumerate().skip(self.place.saturating_add(1));
        let next = behind.find(|(_, next)| !(speaks_tls && next.is_plain_way_of(endpoint)));
        Ok(next.map(|(place, _)| place))
    }
}
