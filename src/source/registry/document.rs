//! Small bodies that are fetched as a whole: indexes, manifests, configs.

use reqwest::header::{CONTENT_TYPE, HeaderName};

use super::body::Body;
use super::client::RepositoryClient;
use super::endpoint::Endpoint;
use super::errors::coded;
use super::object::{Length, Object, Requested};
use super::response::{is_page, is_whole};
use super::retry::Failure;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::limits::Bound;

/// Source: OCI distribution-spec, "Pulling manifests".
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// A small body and what came with it.
#[derive(Debug)]
pub(super) struct FetchedBody {
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<String>,
    pub(super) digest: Option<String>,
}

impl RepositoryClient {
    /// Fetches a document, verified when it is asked for by its digest.
    pub(super) async fn document(&self, object: &Object, length: Length) -> Result<FetchedBody> {
        let mut route = self.route(object)?;
        loop {
            match self.try_document(route.endpoint()?, object, length).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_document(
        &self,
        endpoint: &Endpoint,
        object: &Object,
        length: Length,
    ) -> Result<FetchedBody, Failure> {
        let mut body = self.get(endpoint, object).await?;
        let header = |name: HeaderName| {
            let value = body.response.headers().get(name);
            value.and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (content_type, digest) = (header(CONTENT_TYPE), header(DOCKER_CONTENT_DIGEST));
        let (is_page, coding) = (is_page(body.response.headers()), body.coding());
        let bytes = self.read(&mut body, object, length).await?;
        let is_right = match object.digest() {
            Some(digest) => self.verify(&bytes, &digest),
            None => Ok(()),
        };
        let is_document = object.digest().is_some() || bytes.trim_ascii_start().starts_with(b"{");
        match (is_right, coding) {
            (Err(_), _) if is_page => Err(self.page(object).into()),
            (Err(error), Some(coding)) => Err(coded(error, &coding).into()),
            (Ok(()), Some(coding)) if !is_document => {
                let error = format!("cannot read {object} of {}", self.reference);
                Err(coded(Error::bad_data(error), &coding).into())
            }
            (Err(error), None) => Err(error.into()),
            (Ok(()), _) => Ok(FetchedBody { body: bytes, content_type, digest }),
        }
    }

    /// Reads a document, which is no longer than it may be and has the length that it must have.
    async fn read(
        &self,
        body: &mut Body<'_>,
        object: &Object,
        length: Length,
    ) -> Result<Vec<u8>, Failure> {
        let bound = match length {
            Length::AtMost(bound) => bound,
            Length::Exactly(size) => Bound::fixed(size),
        };
        let noted = |error: Error, body: &Body<'_>| match body.coding() {
            Some(coding) => Failure::from(coded(error, &coding)),
            None => error.into(),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if u64::try_from(bytes.len()).is_ok_and(|length| length > bound.bytes) {
                let error = bound.refuse(format!(
                    "{object} of {} is longer than the {} bytes that it may have",
                    self.reference, bound.bytes
                ));
                return Err(noted(error, body));
            }
        }
        match length {
            Length::Exactly(size) if u64::try_from(bytes.len()).ok() != Some(size) => {
                let error = Error::bad_data(format!(
                    "the registry sent {} bytes of {object} of {}, whose descriptor declares {size}",
                    bytes.len(),
                    self.reference
                ));
                Err(noted(error, body))
            }
            _ => Ok(bytes),
        }
    }

    pub(super) fn verify(&self, body: &[u8], digest: &Digest) -> Result<()> {
        let found = Digest::of(digest.algorithm(), body);
        if found == *digest {
            return Ok(());
        }
        Err(Error::bad_data(format!(
            "the registry sent other bytes than {digest} of {}: they are {found}",
            self.reference
        )))
    }

    /// Begins to fetch an object.
    async fn get<'a>(
        &'a self,
        endpoint: &Endpoint,
        object: &'a Object,
    ) -> Result<Body<'a>, Failure> {
        let response = self.send(endpoint, Requested::From(0), object).await?;
        if !is_whole(response.status()) {
            return Err(self.refusal(endpoint, object, response).await);
        }
        // What has a digest is judged by it.
        if object.digest().is_none() && is_page(response.headers()) {
            return Err(self.page(object).into());
        }
        Ok(self.body(object, response))
    }
}
