//! From a reference to an image: index, manifest and config, each verified and kept.

use super::connection::{Claimed, Connection};
use super::object::{Length, Object};
use super::options::Pull;
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, ErrorKind, Result};
use crate::source::limits::Bound;
use crate::source::manifest::{Descriptor, Document};
use crate::source::{Config, Image, Platform, select};

/// A document with the digest of its bytes.
struct Fetched {
    digest: Digest,
    body: Vec<u8>,
    content_type: Option<String>,
}

impl Connection {
    /// Finds the image for `platform`: index, manifest and config, each verified.
    pub(super) async fn resolve(&self, platform: &Platform) -> Result<Image> {
        let mut found = self.root().await?;
        let mut index_digest = None;
        let mut promised = None;
        let reference = self.reference.to_string();
        for _ in 0..=self.limits.nesting {
            let declared = found.content_type.as_deref();
            let document = Document::parse(&found.body, declared, &self.limits)
                .map_err(|error| self.unusable(error))?;
            self.cache.store(&found.digest, &found.body)?;
            match document {
                Document::Index(index) => {
                    index_digest.get_or_insert(found.digest);
                    let entry = select::by_platform(index, platform, &reference)?;
                    promised = entry.platform.or(promised);
                    found = self.manifest(&entry.descriptor).await?;
                }
                Document::Manifest(manifest) => {
                    let config = self.config(&manifest.config).await?;
                    self.record_tag(index_digest.as_ref().unwrap_or(&found.digest))?;
                    let layers = manifest.layers(&config).map_err(|error| self.unusable(error))?;
                    return Ok(Image {
                        reference: reference.clone(),
                        index_digest,
                        manifest_digest: Some(found.digest),
                        identity: Some(manifest.config.digest.clone()),
                        platform: Some(select::resolve_platform(
                            platform, promised, &config, &reference,
                        )?),
                        config,
                        layers,
                    });
                }
            }
        }
        Err(self.limits.nested_too_deep(&reference))
    }

    /// The document that the reference names.
    async fn root(&self) -> Result<Fetched> {
        let known = match self.reference.digest() {
            Some(digest) => Some(digest.clone()),
            None if self.pull == Pull::Always => None,
            None => self.cache.resolved_tag(&self.reference.to_string()),
        };
        if let Some(digest) = &known
            && let Some(body) = self.cache.document(digest, self.limits.manifest)?
        {
            return Ok(Fetched { digest: digest.clone(), body, content_type: None });
        }
        let name = match self.reference.digest() {
            Some(digest) => digest.to_string(),
            None => self.reference.tag().unwrap_or("latest").to_owned(),
        };
        let object = Object::Manifest(name);
        let response =
            self.client.document(&object, Length::AtMost(self.limits.of_manifest())).await?;
        let (body, content_type) = (response.body, response.content_type);
        if let Some(digest) = self.reference.digest() {
            return Ok(Fetched { digest: digest.clone(), body, content_type });
        }
        // The header is optional; its algorithm decides by which digest people know the image.
        let digest = match response.digest.as_deref().and_then(|digest| digest.parse().ok()) {
            Some(digest) => {
                self.client.verify(&body, &digest)?;
                digest
            }
            None => Digest::of(Algorithm::Sha256, &body),
        };
        Ok(Fetched { digest, body, content_type })
    }

    /// Writes down what the tag names, for the next time.
    fn record_tag(&self, digest: &Digest) -> Result<()> {
        match self.reference.digest() {
            Some(_) => Ok(()),
            None => match self.cache.record_tag(&self.reference.to_string(), digest) {
                // A cache that may only be read serves all the same.
                Err(error) if error.kind() == ErrorKind::Denied => Ok(()),
                result => result,
            },
        }
    }

    /// The document behind an entry of an index.
    async fn manifest(&self, entry: &Descriptor) -> Result<Fetched> {
        let digest = entry.digest.clone();
        let object = Object::Manifest(digest.to_string());
        let body = self.body(entry, &object, self.limits.of_manifest()).await?;
        // The media type of the index binds as a server's content type does.
        let content_type = Some(entry.media_type.clone()).filter(|name| !name.is_empty());
        Ok(Fetched { digest, body, content_type })
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Config> {
        let object = Object::Config(descriptor.digest.clone());
        let body = self.body(descriptor, &object, self.limits.of_config()).await?;
        Config::parse(body, &self.limits).map_err(|error| self.unusable(error))
    }

    /// The bytes of a manifest or a config, from the cache or the registry, verified.
    async fn body(
        &self,
        descriptor: &Descriptor,
        object: &Object,
        bound: Bound,
    ) -> Result<Vec<u8>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > bound.bytes {
            return Err(bound.refuse(format!(
                "{object} of {} is {size} bytes long, at most {} are read",
                self.reference, bound.bytes
            )));
        }
        loop {
            // However many processes ask, one fetches it.
            let claimed = self.claim(digest, *size).await?;
            if let Some(body) = self.cache.document(digest, *size)? {
                return Ok(body);
            }
            let Claimed::Ours(mut incoming) = claimed else { continue };
            let body = self.client.document(object, Length::Exactly(*size)).await?.body;
            incoming.restart()?;
            incoming.append(&body)?;
            incoming.verify()?.publish()?;
            return Ok(body);
        }
    }

    fn unusable(&self, error: Error) -> Error {
        error.with_prefix(&format!("cannot use {}", self.reference))
    }
}
