//! Blobs from a byte on, for downloads that were broken off.

use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Response, StatusCode};

use super::body::Body;
use super::client::RepositoryClient;
use super::endpoint::Endpoint;
use super::errors::coded;
use super::object::{Object, Requested};
use super::response::{ContentRange, coding, declared_length, is_page, is_whole};
use super::retry::{Failure, Part, may_refuse_range};
use crate::error::Error;
use crate::source::excerpt;

impl RepositoryClient {
    /// Begins to fetch the bytes of a blob of `size` bytes from `start` on: the body, and the
    /// byte with which it begins. A server that knows no ranges begins anew.
    pub(super) async fn get_from<'a>(
        &'a self,
        endpoint: &Endpoint,
        object: &'a Object,
        (start, size): (u64, u64),
    ) -> Result<(Body<'a>, u64), Failure> {
        let response = self.send(endpoint, Requested::From(start), object).await?;
        match response.status() {
            status if is_whole(status) => {
                self.check_length(object, &response, size)?;
                let is_page = is_page(response.headers());
                if is_page && declared_length(response.headers()).is_none() {
                    return Err(self.page(object).into());
                }
                Ok((self.body(object, response), 0))
            }
            StatusCode::PARTIAL_CONTENT => {
                self.check_range(object, response.headers(), (start, size))?;
                Ok((self.body(object, response), start))
            }
            status if start > 0 && may_refuse_range(status) => {
                let refused = self.refusal(endpoint, object, response).await;
                Err(Failure { part: Part::Refused, ..refused })
            }
            _ => Err(self.refusal(endpoint, object, response).await),
        }
    }

    /// A part must begin with the byte that was asked for; a server may send less than the rest,
    /// and need not know how long the whole is (RFC 9110, sections 14.4 and 15.3.7).
    fn check_range(
        &self,
        object: &Object,
        headers: &HeaderMap,
        (start, size): (u64, u64),
    ) -> Result<(), Failure> {
        let range = ContentRange::of(headers);
        if range.is_some_and(|range| {
            range.first == start && range.last < size && range.whole.unwrap_or(size) == size
        }) {
            return Ok(());
        }
        let wanted = format!("bytes {start}-{}/{size}", size.saturating_sub(1));
        let said = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let said =
            said.map_or_else(|| "nothing".to_owned(), |said| format!("\"{}\"", excerpt(said)));
        let error = Error::bad_data(format!(
            "asked for \"{wanted}\" of {object} of {}, the server sent {said}",
            self.reference
        ));
        Err(Failure { part: Part::Refused, ..Failure::transient(error) })
    }

    /// Compares the length that the server announces with the descriptor's.
    pub(super) fn check_length(
        &self,
        object: &Object,
        response: &Response,
        size: u64,
    ) -> Result<(), Failure> {
        let length = match declared_length(response.headers()) {
            Some(length) if length != size => length,
            _ => return Ok(()),
        };
        if is_page(response.headers()) {
            return Err(self.page(object).into());
        }
        let error = Error::bad_data(format!(
            "the server has {length} bytes for {object} of {}, whose descriptor declares {size}",
            self.reference
        ));
        match coding(response.headers()) {
            Some(coding) => Err(coded(error, &coding).into()),
            None => Err(Failure { part: Part::Contradicted, ..error.into() }),
        }
    }
}
