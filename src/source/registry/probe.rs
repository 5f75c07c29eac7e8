//! Whether something is there, without fetching it.

use std::sync::Arc;

use reqwest::StatusCode;
use tokio::task::JoinSet;

use super::client::RepositoryClient;
use super::connection::Connection;
use super::download::distinct;
use super::endpoint::Endpoint;
use super::object::{Object, Requested, Subject};
use super::response::{ContentRange, declared_length, is_whole};
use super::retry::{Contact, Failure, may_refuse_range};
use crate::error::{Error, Result};
use crate::source::{Image, Layer};

impl Connection {
    /// Asks for the distinct layers, several at a time; of several failures the first layer's is
    /// told.
    pub(super) async fn touch(connection: &Arc<Self>, image: &Image) -> Result<()> {
        let mut wanted = distinct(&image.layers)
            .into_iter()
            .filter(|layer| !connection.cache.contains(&layer.digest, layer.size));
        let count = image.layers.len();
        let mut tasks = JoinSet::new();
        let mut first: Option<(usize, Error)> = None;
        loop {
            while tasks.len() < connection.jobs
                && first.is_none()
                && let Some(layer) = wanted.next()
            {
                let (connection, layer) = (Arc::clone(connection), layer.clone());
                tasks.spawn(async move { connection.touch_layer(&layer, count).await });
            }
            match tasks.join_next().await {
                None => return first.map_or(Ok(()), |(_, error)| Err(error)),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err((index, error)))) => {
                    if first.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                        first = Some((index, error));
                    }
                }
                Some(Err(error)) => {
                    return Err(Error::internal("asking for a layer failed").with_source(error));
                }
            }
        }
    }

    async fn touch_layer(&self, layer: &Layer, count: usize) -> Result<(), (usize, Error)> {
        let object = Object::layer(layer, count);
        self.client.probe(&object, layer.size).await.map_err(|error| (layer.index, error))
    }
}

impl RepositoryClient {
    /// Asks whether the registry has a blob, and of which size, without fetching it.
    ///
    /// Only the answer to a GET can say that it has not: proxies that fetch a blob when it is
    /// asked for first know nothing of it before, and storage may refuse HEAD and ranges.
    pub(super) async fn probe(&self, object: &Object, size: u64) -> Result<()> {
        let mut route = self.route(object)?;
        loop {
            match self.try_probe(route.endpoint()?, object, size).await {
                Ok(()) => return Ok(()),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_probe(
        &self,
        endpoint: &Endpoint,
        object: &Object,
        size: u64,
    ) -> Result<(), Failure> {
        match self.send(endpoint, Requested::Header, object).await {
            // A HEAD has no body to measure: only the header tells.
            Ok(response) if is_whole(response.status()) => {
                if declared_length(response.headers()).is_none_or(|length| length == size) {
                    return Ok(());
                }
            }
            Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.refusal(endpoint, object, response).await);
            }
            Ok(_) => {}
            Err(failure) if matches!(failure.contact, Contact::Silent | Contact::Broken) => {}
            Err(failure) => return Err(failure),
        }
        let response = self.send(endpoint, Requested::FirstByte, object).await?;
        let status = response.status();
        if status == StatusCode::PARTIAL_CONTENT {
            let whole = ContentRange::of(response.headers()).and_then(|range| range.whole);
            if whole.is_none_or(|whole| whole == size) {
                return Ok(());
            }
        } else if is_whole(status) {
            return self.check_length(object, &response, size);
        } else if !may_refuse_range(status) {
            return Err(self.refusal(endpoint, object, response).await);
        }
        let response = self.send(endpoint, Requested::From(0), object).await?;
        if is_whole(response.status()) {
            return self.check_length(object, &response, size);
        }
        Err(self.refusal(endpoint, object, response).await)
    }

    /// Whether the registry itself lets us read the image: its answer, and the error when not.
    pub(super) async fn ask(&self, subject: Subject) -> Result<(StatusCode, Option<Error>)> {
        let name = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let object = match subject {
            Subject::Image => Object::Manifest(name),
            Subject::Registry => Object::Root,
        };
        let mut route = self.route_along(|endpoint| !endpoint.host.is_mirror);
        loop {
            match self.try_ask(route.endpoint()?, &object).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => route.again_after(failure).await?,
            }
        }
    }

    async fn try_ask(
        &self,
        endpoint: &Endpoint,
        object: &Object,
    ) -> Result<(StatusCode, Option<Error>), Failure> {
        // A GET counts for Docker Hub's limit, a HEAD does not; but what it refuses may be the HEAD.
        match self.send(endpoint, Requested::Header, object).await {
            Ok(response) if is_whole(response.status()) => return Ok((response.status(), None)),
            Ok(_) => {}
            Err(failure) if matches!(failure.contact, Contact::Silent | Contact::Broken) => {}
            Err(failure) => return Err(failure),
        }
        let response = self.send(endpoint, Requested::From(0), object).await?;
        let status = response.status();
        if is_whole(status) {
            return Ok((status, None));
        }
        let failure = self.refusal(endpoint, object, response).await;
        if failure.transient { Err(failure) } else { Ok((status, Some(failure.error))) }
    }
}
