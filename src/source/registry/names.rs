//! Where names lead: they are looked up here, and the addresses looked at before one is connected
//! to. Whoever answers a request can name any host for the next.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::causes::cause;
use super::proxy;

/// What there is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressScope {
    /// Anybody, in the world or in a network of somebody's own.
    World,
    /// This host.
    Loopback,
    /// Neighbours, and the services that clouds have for their machines.
    Link,
}

impl AddressScope {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// Source: IANA IPv4 Special-Purpose Address Registry.
    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [0 | 127, ..] => Self::Loopback,
            // What Alibaba's machines ask about themselves.
            [100, 100, 100, 200] => Self::Link,
            _ if address.is_link_local() => Self::Link,
            _ => Self::World,
        }
    }

    /// Source: IANA IPv6 Special-Purpose Address Registry.
    fn of_v6(address: Ipv6Addr) -> Self {
        if address.is_loopback() || address.is_unspecified() {
            return Self::Loopback;
        }
        match address.segments() {
            // Mapped, compatible, translated (RFC 6052) and 6to4: another address is meant.
            [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => {
                Self::of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
            }
            [first, ..] if first & 0xffc0 == 0xfe80 => Self::Link,
            // What Amazon's machines ask about themselves.
            [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Self::Link,
            _ => Self::World,
        }
    }

    /// What an address without a name says of itself.
    pub(super) fn named(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let name = host.trim_end_matches('.');
        match host.parse() {
            Ok(address) => Self::of(address),
            Err(_) if name == "localhost" || name.ends_with(".localhost") => Self::Loopback,
            Err(_) => Self::World,
        }
    }

    /// Whether only this host and its neighbours are there.
    fn is_near(self) -> bool {
        matches!(self, Self::Loopback | Self::Link)
    }

    /// Whether who is at `self` may send us on to `other`: near addresses are for the like. A
    /// registry on this host has no more business with the services of a cloud than any other.
    pub(super) fn may_lead_to(self, other: Self) -> bool {
        !other.is_near() || other == self
    }
}

/// Resolves the names that a registry sends us on to: its own leads anywhere, others not to this
/// host, or its link, unless the registry's does so itself.
pub(super) struct Resolver {
    host: String,
    proxies: Vec<String>,
}

impl Resolver {
    /// For the registry with this API.
    pub(super) fn from(api: &str) -> Self {
        let api: Option<Url> = api.parse().ok();
        let host = api.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
        Self { host, proxies: proxy::hosts() }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = self.host.clone();
        let is_proxy = self.proxies.iter().any(|proxy| proxy.eq_ignore_ascii_case(name.as_str()));
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addresses = found.iter().map(SocketAddr::ip);
            if !is_proxy && let Some(address) = refused(&host, name.as_str(), addresses).await {
                return Err(ForbiddenAddress { name: name.as_str().to_owned(), address }.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// The first address of a name that it must not lead to, when `host` has sent us to it.
async fn refused(
    host: &str,
    name: &str,
    addresses: impl Iterator<Item = IpAddr>,
) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case(name) {
        return None;
    }
    let near: Vec<_> = addresses.filter(|address| AddressScope::of(*address).is_near()).collect();
    if near.is_empty() {
        return None;
    }
    let own = scopes_of(host).await;
    near.into_iter().find(|address| !own.contains(&AddressScope::of(*address)))
}

/// Where a host is, by name or number; a name may lead to several places.
async fn scopes_of(host: &str) -> Vec<AddressScope> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return vec![AddressScope::of(address)];
    }
    let found = tokio::net::lookup_host((host, 0)).await;
    found.map_or_else(
        |_| Vec::new(),
        |found| found.map(|found| AddressScope::of(found.ip())).collect(),
    )
}

/// A name that leads where its owner has no business.
#[derive(Debug)]
struct ForbiddenAddress {
    name: String,
    address: IpAddr,
}

impl fmt::Display for ForbiddenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address } = self;
        write!(f, "{name} is {address}, an address of this host or its link")
    }
}

impl StdError for ForbiddenAddress {}

/// Whether an error comes from a name that leads inwards.
pub(super) fn is_forbidden_address(error: &(dyn StdError + 'static)) -> bool {
    cause::<ForbiddenAddress>(error).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::super::tls;
    use super::*;
    use crate::source::hosts::Host;

    async fn resolve(resolver: Resolver) -> Result<usize, String> {
        let found = resolver.resolve("localhost".parse().unwrap()).await;
        found.map(Iterator::count).map_err(|error| {
            let error: Box<dyn StdError> = error;
            assert!(is_forbidden_address(&*error), "{error}");
            error.to_string()
        })
    }

    #[tokio::test]
    async fn the_name_of_a_proxy_may_lead_to_this_host() {
        let proxies = vec!["LocalHost".to_owned()];
        let resolver = Resolver { host: "198.51.100.7".to_owned(), proxies };
        assert!(resolve(resolver).await.unwrap() > 0);
    }

    #[tokio::test]
    async fn a_registry_sends_us_to_this_host_only_when_it_is_here_itself() {
        for api in ["https://198.51.100.7/v2", "https://10.1.2.3:5000/v2"] {
            let error = resolve(Resolver::from(api)).await.unwrap_err();
            assert!(error.ends_with("an address of this host or its link"), "{error}");
        }
        for api in ["http://127.0.0.1:5000/v2", "http://[::1]/v2", "http://LOCALHOST:1/v2"] {
            assert!(resolve(Resolver::from(api)).await.unwrap() > 0, "{api}");
        }
    }

    #[tokio::test]
    async fn a_registry_on_this_host_does_not_lead_to_the_services_of_its_cloud() {
        let [loopback, link] = ["127.0.0.1", "169.254.169.254"].map(|text| text.parse().unwrap());
        let refused = async |host: &str, address: IpAddr| {
            refused(host, "other.example", std::iter::once(address)).await.is_some()
        };
        for host in ["127.0.0.1", "[::1]", "localhost"] {
            assert!(refused(host, link).await && !refused(host, loopback).await, "{host}");
        }
        assert!(refused("169.254.1.1", loopback).await && !refused("169.254.1.1", link).await);
    }

    #[tokio::test]
    async fn the_clients_of_a_registry_are_led_by_it() {
        let host = Host::for_test("https://198.51.100.7/v2");
        for make in [tls::client, tls::token_client] {
            let client = make(&host, &host.api, &Options::default()).unwrap();
            let error = client.get("http://localhost:1/").send().await.unwrap_err();
            assert!(is_forbidden_address(&error), "{error:?}");
        }
    }
}
