//! The hosts of a reference, in the order in which they are asked.

use std::time::Duration;

use super::files::ConfigurationPaths;
use super::host::{Host, HostOptions, Trust};
use super::{containerd, registries_conf};
use crate::error::Result;
use crate::source::Reference;
use crate::source::reference::{address_of, is_loopback};

/// How long a host on loopback may take to answer in TLS: long enough for one that does.
const TLS_ON_LOOPBACK: Duration = Duration::from_secs(5);

/// The hosts that may have the image, at least one; the last is the registry itself.
pub(in crate::source) fn find(
    reference: &Reference,
    host_options: &HostOptions,
    places: &ConfigurationPaths,
) -> Result<Vec<Host>> {
    let found = registries_conf::find(reference, &places.registries)?;
    let mut hosts = Vec::new();
    for place in found {
        let is_origin = !place.is_mirror;
        let is_local = is_local_by_custom(&place.name, host_options, places);
        let mut local = containerd::HostDirectory::find(&place.name, &places.directories)?;
        if is_origin {
            hosts.append(&mut local.mirrors(&place.repository, &place.name)?);
        }
        hosts.extend(stand(&place, host_options, &local, is_local)?);
    }
    Ok(hosts)
}

/// On loopback TLS is tried without verifying who answers, then http is spoken, unless something was said
/// about TLS.
fn is_local_by_custom(name: &str, host_options: &HostOptions, places: &ConfigurationPaths) -> bool {
    let speaks_of_tls = host_options.insecure
        || !host_options.authorities.is_empty()
        || host_options.identity.is_some();
    let names = containerd::names_of(name);
    let mut directories = places.directories.paths.iter();
    let configured =
        directories.any(|directory| names.iter().any(|name| directory.join(name).is_dir()));
    is_loopback(name) && !speaks_of_tls && !configured
}

/// The host itself, by the ways in which it may be spoken to.
fn stand(
    place: &registries_conf::Location,
    host_options: &HostOptions,
    local: &containerd::HostDirectory,
    is_local: bool,
) -> Result<Vec<Host>> {
    let is_origin = !place.is_mirror;
    let (server, mut settings) = local.server()?;
    settings.authorities.extend(host_options.authorities.iter().cloned());
    if is_origin && let Some(identity) = &host_options.identity {
        settings.identities = vec![identity.clone()];
    }
    let address = address_of(&place.name);
    let plain = format!("http://{address}/v2");
    // containerd: whoever is not the registry itself is told for which registry it is asked.
    let namespace = server.as_ref().filter(|api| !is_at(api, &place.name));
    let namespace = namespace.map(|_| place.name.clone());
    let host = |api: String| Host {
        name: place.name.clone(),
        repository: place.repository.clone(),
        api,
        namespace: namespace.clone(),
        serves: place.serves,
        trust: Trust {
            insecure: (host_options.insecure && is_origin) || place.insecure || settings.insecure,
            authorities: settings.authorities.clone(),
            identity: None,
        },
        headers: settings.headers.clone(),
        dial_timeout: settings.dial_timeout,
        is_mirror: place.is_mirror,
    };
    let named = match server {
        Some(api) if host_options.plain_http && is_origin => {
            return Ok(vec![host(without_tls(&api))]);
        }
        None if host_options.plain_http && is_origin => return Ok(vec![host(plain)]),
        None if is_local => {
            // moby: registry/service_v2.go, lookupV2Endpoints. It need not prove who it is, and
            // what waits for a whole request before it says a word must not be waited for.
            let mut secure = host(format!("https://{address}/v2"));
            secure.trust.insecure = true;
            secure.dial_timeout = Some(TLS_ON_LOOPBACK);
            return Ok(vec![secure, host(plain)]);
        }
        server => server.unwrap_or_else(|| format!("https://{address}/v2")),
    };
    let secure = host(named);
    let mut ways = secure.showing_each(settings.identities.clone());
    if place.insecure {
        // containers-registries.conf(5): an insecure location may also speak http.
        ways.push(host(plain));
    }
    Ok(ways)
}

/// Whether the API at this address is that of the registry of this name.
fn is_at(api: &str, name: &str) -> bool {
    let origin = |text: &str| reqwest::Url::parse(text).ok().map(|url| url.origin());
    let mut names = vec![name];
    if name == "docker.io" {
        names.extend(["registry-1.docker.io", "index.docker.io"]);
    }
    let of = |scheme, name| origin(api) == origin(&format!("{scheme}://{name}/"));
    names.iter().any(|name| of("https", name) || of("http", name))
}

/// The same address, asked by http.
fn without_tls(api: &str) -> String {
    api.strip_prefix("https://").map_or_else(|| api.to_owned(), |rest| format!("http://{rest}"))
}
