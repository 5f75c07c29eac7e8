//! The hosts that one request is sent to, one after the other.

use super::endpoint::Endpoint;
use super::foreign::Foreign;
use super::retry::{Contact, Failure, Tries};
use crate::error::{Error, Result};

/// Who is asked for something.
#[derive(Clone, Copy)]
pub(super) enum Giver<'a> {
    /// A registry.
    Registry(&'a Endpoint),
    /// A server that the manifest names.
    Foreign(&'a Foreign),
}

impl Giver<'_> {
    /// Whether this is a way to `other`'s host that is for hosts which do not speak TLS.
    fn is_plain_way_of(self, other: Self) -> bool {
        match (self, other) {
            (Self::Registry(plain), Self::Registry(secure)) => plain.is_plain_way_of(secure),
            _ => false,
        }
    }
}

/// The way of one request: from host to host, and at the last as often as the tries allow.
pub(super) struct Route<'a> {
    givers: Vec<Giver<'a>>,
    place: usize,
    tries: Tries,
}

impl<'a> Route<'a> {
    pub(super) fn new(givers: Vec<Giver<'a>>, tries: Tries) -> Self {
        Self { givers, place: 0, tries }
    }

    /// Whom to ask now.
    pub(super) fn giver(&self) -> Result<Giver<'a>> {
        let giver = self.givers.get(self.place).copied();
        giver.ok_or_else(|| Error::internal("there is no host to ask"))
    }

    /// Goes on to the next host, or waits before the last is asked again, or gives up.
    pub(super) async fn again_after(&mut self, failure: Failure) -> Result<()> {
        let Some(next) = self.next(failure.contact)? else {
            return self.tries.again_after(failure).await;
        };
        if let (Giver::Registry(endpoint), true) = (self.giver()?, failure.contact.is_down()) {
            endpoint.is_found_down();
        }
        self.place = next;
        Ok(())
    }

    /// Whether nobody is asked any more after this failure.
    pub(super) fn ends_with(&self, failure: &Failure) -> Result<bool> {
        Ok(self.next(failure.contact)?.is_none() && self.tries.end_with(failure))
    }

    /// Says how many bytes have arrived.
    pub(super) fn progressed_to(&mut self, received: u64) {
        self.tries.progressed_to(received);
    }

    /// The place of who is asked after the one that was asked now.
    fn next(&self, contact: Contact) -> Result<Option<usize>> {
        let giver = self.giver()?;
        let speaks_tls = matches!(contact, Contact::Answered | Contact::Tls)
            || matches!(giver, Giver::Registry(endpoint) if endpoint.has_answered());
        let mut behind = self.givers.iter().enumerate().skip(self.place.saturating_add(1));
        let next = behind.find(|(_, next)| !(speaks_tls && next.is_plain_way_of(giver)));
        Ok(next.map(|(place, _)| place))
    }
}
