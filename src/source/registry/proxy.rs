//! Which proxy a request goes through: one decision for everything that speaks http.
//!
//! Source: golang.org/x/net/http/httpproxy, which docker, containerd and podman follow, and net/http,
//! `Transport.Proxy`; `ALL_PROXY` is curl's.

use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

use crate::error::{Error, Result};
use crate::source::excerpt;
use crate::source::reference::is_loopback;

/// The proxies that the environment names, and what does without.
#[derive(Default)]
pub(super) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    exceptions: Vec<Exception>,
}

/// What is asked without a proxy.
#[derive(Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    Network(IpNet),
    Address(IpAddr, Option<u16>),
    /// The names that end so, and with `whole` the name behind the first dot.
    Names {
        suffix: String,
        whole: bool,
        port: Option<u16>,
    },
}

impl Proxies {
    /// Those of the process's environment.
    pub(super) fn of_environment() -> Result<Self> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        // Who calls a CGI program fills HTTP_PROXY by a header of that name (CVE-2016-5385).
        let is_cgi = given("REQUEST_METHOD").is_some();
        let first = |names: &[&str]| {
            let trusted = names.iter().filter(|name| !(is_cgi && **name == "HTTP_PROXY"));
            let mut found = trusted.filter_map(|name| Some((*name, given(name)?)));
            found.next().map(|(name, text)| proxy(name, &text)).transpose()
        };
        let list = given("NO_PROXY").or_else(|| given("no_proxy")).unwrap_or_default();
        Ok(Self {
            http: first(&["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])?,
            https: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?,
            exceptions: list.split(',').filter_map(Exception::parse).collect(),
        })
    }

    /// The proxy for a request to `url`, if it does not go there directly, as all that stays on
    /// this host does.
    pub(super) fn through(&self, url: &Url) -> Option<Url> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let is_direct = is_loopback(url.host_str().unwrap_or_default())
            || self.exceptions.iter().any(|exception| exception.covers(url));
        proxy.clone().filter(|_| !is_direct)
    }

    /// The hosts that the proxies are on.
    fn hosts(&self) -> Vec<String> {
        let proxies = self.http.iter().chain(&self.https);
        proxies.filter_map(|proxy| proxy.host_str().map(str::to_owned)).collect()
    }
}

/// The hosts of the proxies, which may be anywhere. An environment that cannot be used has none: who
/// makes a client says why.
pub(super) fn hosts() -> Vec<String> {
    Proxies::of_environment().map_or_else(|_| Vec::new(), |proxies| proxies.hosts())
}

/// The proxy that a variable names; it may hold a password, and is never repeated.
fn proxy(name: &str, text: &str) -> Result<Url> {
    let refuse = |why: &str| {
        Error::usage(format!("{name} {why}"))
            .with_hint("write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
    };
    let url = |text: &str| Url::parse(text).ok().filter(Url::has_host);
    let found = if text.contains("://") { url(text) } else { url(&format!("http://{text}")) };
    let mut found = found.ok_or_else(|| refuse("is no address of a proxy"))?;
    match found.scheme() {
        "http" | "https" | "socks5h" => Ok(found),
        // net/http asks the proxy for names in either case; the client would look them up here.
        "socks5" => match found.set_scheme("socks5h") {
            Ok(()) => Ok(found),
            Err(()) => Err(Error::internal("a SOCKS proxy has no other scheme")),
        },
        other => Err(refuse(&format!("is a proxy of the scheme {}", excerpt(other)))),
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Ok(network) = entry.parse() {
            return Some(Self::Network(network));
        }
        let (host, port) = match entry.rsplit_once(':') {
            _ if entry.parse::<IpAddr>().is_ok() => (entry.as_str(), None),
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry.as_str(), None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Some(Self::Address(address, port));
        }
        let host = if host.starts_with("*.") { host.get(1..)? } else { host };
        let name = host.strip_prefix('.').unwrap_or(host);
        // The names that are asked for have been put into ASCII.
        let url = Url::parse(&format!("http://{name}/")).ok()?;
        let suffix = format!(".{}", url.host_str()?);
        Some(Self::Names { suffix, whole: !host.starts_with('.'), port })
    }

    fn covers(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let is_port = |port: &Option<u16>| port.is_none() || *port == url.port_or_known_default();
        match self {
            Self::Everything => true,
            Self::Network(network) => address.is_some_and(|address| network.contains(&address)),
            Self::Address(own, port) => address == Some(*own) && is_port(port),
            Self::Names { suffix, whole, port } => {
                let is_whole = *whole && suffix.strip_prefix('.') == Some(host);
                (is_whole || host.ends_with(suffix)) && is_port(port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(environment: &[(&str, &str)]) -> Result<Proxies> {
        Proxies::of(|name| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn through(environment: &[(&str, &str)], url: &str) -> Option<String> {
        let proxy = proxies(environment).unwrap().through(&url.parse().unwrap());
        proxy.map(|proxy| proxy.to_string())
    }

    #[test]
    fn r28_no_proxy_is_read_as_go_reads_it() {
        for (list, url, is_direct) in [
            ("registry.corp.test", "https://registry.corp.test/", true),
            ("registry.corp.test", "https://REGISTRY.corp.test:5000/", true),
            ("corp.test", "https://registry.corp.test/", true),
            ("corp.test", "https://other-corp.test/", false),
            (".corp.test", "https://registry.corp.test/", true),
            (".corp.test", "https://corp.test/", false),
            ("*.corp.test", "https://registry.corp.test/", true),
            ("*.corp.test", "https://corp.test/", false),
            (" other , Registry.Corp.Test ", "https://registry.corp.test/", true),
            ("registry.corp.test:5050", "http://registry.corp.test:5050/", true),
            ("registry.corp.test:5050", "http://registry.corp.test/", false),
            ("registry.corp.test:443", "https://registry.corp.test/", true),
            ("registry.corp.test:80", "https://registry.corp.test/", false),
            ("*.corp.test:5050", "http://registry.corp.test:5050/", true),
            ("registry.corp.test:x", "https://registry.corp.test/", false),
            ("*", "https://registry.corp.test/", true),
            ("10.0.0.0/8", "https://10.1.2.3/", true),
            ("10.0.0.0/8", "https://11.1.2.3/", false),
            ("2001:db8::/32", "https://[2001:db8::1]/", true),
            ("10.1.2.3", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3:5000/", true),
            ("10.1.2.3:5000", "https://10.1.2.3/", false),
            ("2001:db8::1", "https://[2001:db8::1]/", true),
            ("[2001:db8::1]:5000", "https://[2001:db8::1]:5000/", true),
            ("[2001:db8::1]:5000", "https://[2001:db8::1]/", false),
            ("b\u{fc}cher.test", "https://xn--bcher-kva.test/", true),
            (",, ,.,:80,", "https://registry.corp.test/", false),
            ("", "http://127.0.0.1:5000/", true),
            ("", "http://localhost:5000/", true),
            ("", "http://[::1]:5000/", true),
        ] {
            let environment = [("http_proxy", "p"), ("https_proxy", "p"), ("no_proxy", list)];
            assert_eq!(through(&environment, url).is_none(), is_direct, "{list}: {url}");
        }
    }

    #[test]
    fn a_proxy_is_taken_by_the_scheme_of_the_request() {
        let both = [("HTTP_PROXY", "one:1"), ("HTTPS_PROXY", "https://u:p@two:2")];
        assert_eq!(through(&both, "http://r.test/").unwrap(), "http://one:1/");
        assert_eq!(through(&both, "https://r.test/").unwrap(), "https://u:p@two:2/");
        assert_eq!(through(&both[..1], "https://r.test/"), None);
        let cases = [("HTTP_PROXY", "upper"), ("http_proxy", "lower"), ("no_proxy", "x")];
        assert_eq!(through(&cases, "http://r.test/").unwrap(), "http://upper/");
        for (text, url) in [
            ("socks5://u:p@s:1080", "socks5h://u:p@s:1080"),
            ("socks5h://s", "socks5h://s"),
            ("localhost:3128", "http://localhost:3128/"),
            ("10.0.0.1:3128", "http://10.0.0.1:3128/"),
        ] {
            for name in ["ALL_PROXY", "all_proxy"] {
                assert_eq!(through(&[(name, text)], "http://r.test/").as_deref(), Some(url));
                assert_eq!(through(&[(name, text)], "https://r.test/").as_deref(), Some(url));
            }
        }
        assert_eq!(proxies(&both).unwrap().hosts(), ["one", "two"]);
    }

    #[test]
    fn a_caller_of_a_cgi_program_names_no_proxy() {
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(through(&[cgi, ("HTTP_PROXY", "evil")], "http://r.test/"), None);
        let own = [cgi, ("HTTP_PROXY", "evil"), ("http_proxy", "own")];
        assert_eq!(through(&own, "http://r.test/").unwrap(), "http://own/");
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for text in ["socks4://u:secret@h", "ftp://u:secret@h", "http://u:secret@", "u:secret@:"] {
            let error = proxies(&[("ALL_PROXY", text)]).map(|_| ()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}");
            let shown = error.to_string();
            assert!(shown.starts_with("ALL_PROXY is ") && !shown.contains("secret"), "{shown}");
        }
    }
}
