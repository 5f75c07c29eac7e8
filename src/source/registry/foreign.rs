//! The addresses that a manifest names for a layer which its registry may not give out: the `urls`
//! of a descriptor.
//!
//! Whoever made the image chose them, so they are shown nothing of ours (CVE-2020-15157), and lead
//! nowhere but out into the world or to where the registry is itself. Names are resolved here, and
//! their addresses looked at before one is connected to.
//!
//! Source: OCI image-spec, descriptor.md, "Properties".

use reqwest::header::HeaderMap;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Url};

use super::Options;
use super::endpoint::host_of;
use super::names::{Guide, Zone};
use super::tls::{follow_at_most, make};
use crate::error::{Error, Result};
use crate::source::excerpt;
use crate::source::hosts::{Host, Serves, Trust};
use crate::source::reference::without_login;

/// Where a foreign address may lead: out, and to where the registry is.
#[derive(Clone, Copy, Debug)]
struct Door(Zone);

impl Door {
    fn of(registry: &Host) -> Self {
        let api: Option<Url> = registry.api.parse().ok();
        Self(api.as_ref().map_or(Zone::World, Zone::named))
    }

    /// Why an address may not be asked.
    fn refusal(self, url: &Url) -> Option<&'static str> {
        if !matches!(url.scheme(), "http" | "https") {
            Some("which is no address of a web server")
        } else if !url.username().is_empty() || url.password().is_some() {
            Some("which has a user name in it")
        } else if !self.0.lies_open_from(Zone::named(url)) {
            Some("which is an address of this host, its link or a private network")
        } else {
            None
        }
    }

    fn follow(self, attempt: Attempt<'_>, most: u16) -> Action {
        let is_secure = attempt.previous().last().is_some_and(|last| last.scheme() == "https");
        if let Some(why) = self.refusal(attempt.url()) {
            let host = excerpt(attempt.url().host_str().unwrap_or_default());
            attempt.error(format!("it redirects to \"{host}\", {why}"))
        } else if is_secure && attempt.url().scheme() == "http" {
            attempt.error("it redirects from https to http")
        } else {
            follow_at_most(most, attempt)
        }
    }
}

/// A foreign address, and a client that shows it nothing.
pub(super) struct Foreign {
    pub(super) url: Url,
    pub(super) http: Client,
    name: String,
}

impl Foreign {
    /// What `text` names, when it may be asked for something that `registry` lacks.
    pub(super) fn new(text: &str, registry: &Host, options: &Options) -> Result<Self> {
        let door = Door::of(registry);
        let refused = |why: &str| {
            Error::denied(format!(
                "the manifest names \"{}\" for a layer, {why}",
                excerpt(&without_login(text))
            ))
        };
        let url: Url = text.parse().map_err(|_| refused("which is no address"))?;
        if let Some(why) = door.refusal(&url) {
            return Err(refused(why));
        }
        let name = host_of(&url);
        // What the user said of the registry, that it need not prove who it is, is not said of
        // others; authorities are for all.
        let authorities = options.hosts.authorities.clone();
        let host = Host {
            name: name.clone(),
            repository: String::new(),
            api: text.to_owned(),
            namespace: None,
            serves: Serves { tags: false, digests: true },
            trust: Trust { authorities, ..Trust::default() },
            headers: HeaderMap::new(),
            dial_timeout: None,
            is_mirror: true,
        };
        let most = options.limits.redirects;
        let http = make(&host, options, |builder| {
            let policy = Policy::custom(move |attempt| door.follow(attempt, most));
            builder.redirect(policy).referer(false).dns_resolver(Guide::out_or_to(door.0))
        })?;
        Ok(Self { url, http, name })
    }

    /// The server, as shown to people.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::leads_inwards;
    use super::*;

    fn is_asked(api: &str, url: &str) -> bool {
        match Foreign::new(url, &Host::for_test(api), &Options::default()) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.exit_code(), 77, "{error}");
                assert!(!error.to_string().contains("hunter2"), "{error}");
                false
            }
        }
    }

    #[test]
    fn c12_a_foreign_address_is_in_the_world_or_where_the_registry_is() {
        let (named, local) = ("https://registry.example/v2", "http://127.0.0.1:5000/v2");
        let (private, link) = ("https://10.1.2.3/v2", "http://169.254.7.7/v2");
        for (api, url, asked) in [
            (named, "https://blobs.example/layer?x=y", true),
            (named, "http://blobs.example/layer", true),
            (named, "https://198.51.100.7:8443/layer", true),
            (named, "https://[2001:db8::1]/layer", true),
            (named, "ftp://blobs.example/layer", false),
            (named, "file:///etc/passwd", false),
            (named, "/layer", false),
            (named, "", false),
            (named, "https://user:hunter2@blobs.example/layer", false),
            (named, "https://127.0.0.1/layer", false),
            (named, "http://2130706433/layer", false),
            (named, "http://0x7f.1/layer", false),
            (named, "http://0.0.0.0/layer", false),
            (named, "https://localhost/layer", false),
            (named, "https://LOCALHOST./layer", false),
            (named, "https://a.localhost/layer", false),
            (named, "https://[::1]/layer", false),
            (named, "https://[::ffff:127.0.0.1]/layer", false),
            (named, "https://[::127.0.0.1]/layer", false),
            (named, "https://[64:ff9b::10.0.0.1]/layer", false),
            (named, "https://[2002:a00:1::]/layer", false),
            (named, "http://169.254.169.254/latest", false),
            (named, "https://[fe80::1]/layer", false),
            (named, "https://10.0.0.1/layer", false),
            (named, "https://172.31.0.1/layer", false),
            (named, "https://192.168.1.1/layer", false),
            (named, "https://100.64.0.1/layer", false),
            (named, "https://100.128.0.1/layer", true),
            (named, "https://224.0.0.1/layer", false),
            (named, "https://[fd00::1]/layer", false),
            (named, "https://[ff02::1]/layer", false),
            (local, "http://127.0.0.1:5001/layer", true),
            (local, "http://localhost:5001/layer", true),
            (local, "http://169.254.169.254/latest", false),
            (local, "http://10.0.0.1/layer", false),
            (local, "https://blobs.example/layer", true),
            (private, "http://10.0.0.1/layer", true),
            (private, "http://127.0.0.1/layer", false),
            (link, "http://169.254.169.254/latest", true),
            (link, "http://192.168.0.1/layer", false),
        ] {
            assert_eq!(is_asked(api, url), asked, "{api} names {url}");
        }
    }

    #[tokio::test]
    async fn c12_the_client_of_a_foreign_address_connects_to_no_inner_name() {
        let api = Host::for_test("https://registry.example/v2");
        let foreign = Foreign::new("http://blobs.example/", &api, &Options::default()).unwrap();
        let error = foreign.http.get("http://localhost:1/").send().await.unwrap_err();
        assert!(leads_inwards(&error), "{error:?}");
        let api = Host::for_test("http://127.0.0.1:5000/v2");
        let foreign = Foreign::new("http://blobs.example/", &api, &Options::default()).unwrap();
        let error = foreign.http.get("http://localhost:1/").send().await.unwrap_err();
        assert!(!leads_inwards(&error), "{error:?}");
    }
}
