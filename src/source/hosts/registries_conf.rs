//! Containers' `registries.conf`: where a name really is, its mirrors, and what is blocked.
//!
//! Source: containers-registries.conf(5), version 2.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{Files, malformed};
use super::host::Serves;
use crate::error::{Error, Result};
use crate::source::Reference;

/// A repository at a host, as the file or the reference names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) name: String,
    pub(super) repository: String,
    pub(super) insecure: bool,
    pub(super) serves: Serves,
    pub(super) is_mirror: bool,
}

#[derive(Deserialize)]
struct RegistriesConf {
    #[serde(default)]
    registry: Vec<RegistryTable>,
    /// Version 1 of the format.
    registries: Option<toml::Table>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryTable {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(rename = "pull-from-mirror")]
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    All,
    DigestOnly,
    TagOnly,
}

impl RegistryTable {
    fn prefix(&self) -> &str {
        if self.prefix.is_empty() { &self.location } else { &self.prefix }
    }

    /// What follows the prefix in `name`, when it is one: `/repo` behind a host, nothing behind a
    /// whole name. A prefix `*.example.com` is for the hosts below that domain.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        if let Some(domain) = self.prefix().strip_prefix('*') {
            let host = name.split('/').next()?;
            let plain = host.split(':').next()?;
            return plain.ends_with(domain).then(|| name.strip_prefix(host)).flatten();
        }
        let rest = name.strip_prefix(self.prefix())?;
        (rest.is_empty() || rest.starts_with(['/', ':'])).then_some(rest)
    }
}

/// The places of an image: the mirrors that the best entry names, then where it says that the
/// image is; without an entry the reference itself.
pub(super) fn find(reference: &Reference, files: &Files) -> Result<Vec<Location>> {
    let name = format!("{}/{}", reference.registry(), reference.repository());
    let origin = |text: &str| {
        split(text).map(|(name, repository)| Location {
            name,
            repository,
            insecure: false,
            serves: Serves { tags: true, digests: true },
            is_mirror: false,
        })
    };
    let itself =
        || origin(&name).ok_or_else(|| Error::internal("a checked reference has no repository"));
    let Some((path, registry)) = best(&name, files)? else { return Ok(vec![itself()?]) };
    if registry.blocked {
        return Err(Error::denied(format!("{name} is blocked by {}", path.display())));
    }
    let Some(rest) = registry.rest(&name) else { return Ok(vec![itself()?]) };
    let place = |location: &str| {
        let found = origin(&format!("{}{rest}", location.trim_end_matches('/')));
        let shown = crate::source::excerpt(location);
        found.ok_or_else(|| malformed(&path, format!("\"{shown}\" is no location of {name}")))
    };
    let mut places = Vec::new();
    for mirror in &registry.mirror {
        let by_digest = reference.digest().is_some();
        let kind = match mirror.kind {
            Some(kind) => kind,
            None if registry.mirror_by_digest_only => Kind::DigestOnly,
            None => Kind::All,
        };
        let (tags, digests) = match kind {
            Kind::All => (true, true),
            Kind::DigestOnly => (false, by_digest),
            Kind::TagOnly => (!by_digest, !by_digest),
        };
        if tags || digests {
            let found = place(&mirror.location)?;
            let insecure = mirror.insecure;
            places.push(Location {
                insecure,
                serves: Serves { tags, digests },
                is_mirror: true,
                ..found
            });
        }
    }
    let found = if registry.location.is_empty() { itself()? } else { place(&registry.location)? };
    places.push(Location { insecure: registry.insecure, ..found });
    Ok(places)
}

/// The entry with the longest prefix, and its file. A later file's replaces an earlier one's of
/// the same prefix.
fn best(name: &str, files: &Files) -> Result<Option<(PathBuf, RegistryTable)>> {
    let mut best: Option<(PathBuf, RegistryTable)> = None;
    for path in &files.paths {
        let Some(text) = files.expectation.text_of(path)? else { continue };
        for registry in parse(path, &text)? {
            let length = registry.prefix().len();
            let is_better = best.as_ref().is_none_or(|(_, best)| length >= best.prefix().len());
            if length > 0 && is_better && registry.rest(name).is_some() {
                best = Some((path.clone(), registry));
            }
        }
    }
    Ok(best)
}

fn parse(path: &Path, text: &str) -> Result<Vec<RegistryTable>> {
    let document: RegistriesConf = toml::from_str(text).map_err(|error| {
        // It shows the line, over several lines.
        let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        malformed(path, crate::source::excerpt(&why))
    })?;
    if document.registries.is_some() {
        return Err(malformed(path, "it is of version 1, which is obsolete")
            .with_hint("write [[registry]] tables"));
    }
    Ok(document.registry)
}

/// `host/repository`; a location has both once the rest has been appended.
fn split(text: &str) -> Option<(String, String)> {
    let (host, repository) = text.split_once('/')?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let is_repository = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
    let valid = !host.is_empty()
        && host.chars().all(is_host)
        && repository.chars().all(is_repository)
        && repository.split('/').all(|part| !matches!(part, "" | "." | ".."));
    valid.then(|| (host.to_owned(), repository.to_owned()))
}
