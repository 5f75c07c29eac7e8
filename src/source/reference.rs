//! Which image: a registry, a repository in it, and a tag or a digest.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A checked reference, completed as docker does: `alpine` is `docker.io/library/alpine:latest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    whole: oci_client::Reference,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry as it was named: `docker.io`, `localhost:5000`, `[::1]:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.whole.registry()
    }

    /// The repository in its registry: `library/alpine`.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.whole.repository()
    }

    /// The tag; beside a digest it is for people only.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.whole.tag()
    }

    /// The digest, which decides when there is one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The file name to use when none is given: `<name>-<tag>.ext4`, or the first digits of the
    /// digest for the tag.
    #[must_use]
    pub fn default_output_name(&self) -> String {
        let repository = self.repository();
        let name = repository.rsplit_once('/').map_or(repository, |(_, last)| last);
        let version = match (self.tag(), &self.digest) {
            (Some(tag), _) => tag,
            (None, Some(digest)) => digest.short(),
            (None, None) => "latest",
        };
        format!("{name}-{version}.ext4")
    }

    /// Whether the registry is on this host.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.registry())
    }
}

/// Whether this `host[:port]` is this host.
pub(super) fn is_loopback(name: &str) -> bool {
    let host = match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => name.split_once(':').map_or(name, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Text that names a host, without what stands before it: that may be a password.
pub(super) fn without_login(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    // An address escapes what a password must not have; people do not.
    let end = match scheme.as_str() {
        "http://" | "https://" => rest.find(['/', '?', '#']).unwrap_or(rest.len()),
        _ => rest.len(),
    };
    let (head, tail) = rest.split_at(end);
    match after_login(head) {
        Some(host) => format!("{scheme}…@{host}{tail}"),
        None => text.to_owned(),
    }
}

/// What follows the last `@` that has no digest behind it.
fn after_login(text: &str) -> Option<&str> {
    let behind = text.rmatch_indices('@').filter_map(|(at, _)| text.get(at..)?.strip_prefix('@'));
    let is_digest = |text: &str| ["sha256:", "sha512:"].iter().any(|name| text.starts_with(name));
    behind.into_iter().find(|text| !is_digest(text))
}

/// Where the API of a registry of this name is: Docker Hub's is at another host.
pub(super) fn address_of(name: &str) -> &str {
    match name {
        "docker.io" => "index.docker.io",
        name => name,
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shown = super::excerpt(&without_login(text));
        let refuse =
            |why: &str| Error::usage(format!("\"{shown}\" is not an image reference: {why}"));
        if after_login(text).is_some() {
            return Err(refuse("what follows its @ is no digest").with_hint(
                "a user name and a password are read by --creds-stdin, or from a file",
            ));
        }
        // The transport's grammar lets letters of every script into a tag (a regex's `\w`).
        if !text.is_ascii() {
            return Err(refuse("it has characters other than ASCII"));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(refuse(&format!("{scheme}:// does not belong in it"))
                .with_hint(format!("write {}", super::excerpt(rest))));
        }
        let parsed =
            if text.starts_with('[') { parse_with_address(text) } else { parse_named(text) };
        let whole = parsed.map_err(|why| refuse(&why))?;
        let digest = whole
            .digest()
            .map(str::parse::<Digest>)
            .transpose()
            .map_err(|error| refuse(&error.to_string()))?;
        // The transport's grammar has them, the registries' has not.
        if whole.repository().bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refuse("a repository has no upper-case letters"));
        }
        if !has_valid_port(whole.registry()) {
            return Err(refuse("its port is not a number from 1 to 65535"));
        }
        Ok(Self { whole, digest })
    }
}

/// A reference as the transport's grammar has it.
fn parse_named(text: &str) -> Result<oci_client::Reference, String> {
    let whole: oci_client::Reference = text.parse().map_err(|error: oci_client::ParseError| {
        let lower = text.to_ascii_lowercase();
        if lower != text && lower.parse::<oci_client::Reference>().is_ok() {
            "a repository has no upper-case letters".to_owned()
        } else {
            error.to_string()
        }
    })?;
    // docker: reference.ParseNormalizedNamed; it would be taken for the ID of a local image.
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are an image ID, which no registry knows".to_owned());
    }
    Ok(whole)
}

/// A reference whose registry is an IPv6 address, which the transport's grammar does not know.
fn parse_with_address(text: &str) -> Result<oci_client::Reference, String> {
    let (registry, rest) =
        text.split_once('/').ok_or("nothing follows the registry's address".to_owned())?;
    let address = registry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .filter(|(_, port)| port.is_empty() || port.starts_with(':'));
    if address.is_none_or(|(address, _)| address.parse::<std::net::Ipv6Addr>().is_err()) {
        return Err("its registry is not an IPv6 address in brackets".to_owned());
    }
    let named = parse_named(&format!("localhost/{rest}"))?;
    let (registry, repository) = (registry.to_owned(), named.repository().to_owned());
    let (tag, digest) = (named.tag().map(str::to_owned), named.digest().map(str::to_owned));
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => {
            oci_client::Reference::with_tag_and_digest(registry, repository, tag, digest)
        }
        (None, Some(digest)) => oci_client::Reference::with_digest(registry, repository, digest),
        (tag, None) => oci_client::Reference::with_tag(
            registry,
            repository,
            tag.unwrap_or_else(|| "latest".to_owned()),
        ),
    })
}

fn has_valid_port(registry: &str) -> bool {
    let after_address = registry.rsplit_once(']').map_or(registry, |(_, rest)| rest);
    after_address
        .split_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.whole.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_completed_as_docker_does() {
        for (text, canonical, output) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine-latest.ext4"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine-3.20.ext4"),
            ("a/b", "docker.io/a/b:latest", "b-latest.ext4"),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "b-latest.ext4"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine-latest.ext4"),
            ("ghcr.io/o/r/n:v1", "ghcr.io/o/r/n:v1", "n-v1.ext4"),
            ("host:5000/x", "host:5000/x:latest", "x-latest.ext4"),
            ("localhost/x", "localhost/x:latest", "x-latest.ext4"),
            ("localhost:5000/x:T", "localhost:5000/x:T", "x-T.ext4"),
            ("127.0.0.1:5000/a/x", "127.0.0.1:5000/a/x:latest", "x-latest.ext4"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "x-latest.ext4"),
            ("[::1]/a/x:1", "[::1]/a/x:1", "x-1.ext4"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(reference.default_output_name(), output, "{text}");
        }
    }

    #[test]
    fn a_digest_decides_and_its_tag_is_kept_for_people() {
        for registry in ["ghcr.io", "[::1]:5000"] {
            let both: Reference = format!("{registry}/r:t@{DIGEST}").parse().unwrap();
            assert_eq!(both.digest().unwrap().to_string(), DIGEST);
            assert_eq!(both.to_string(), format!("{registry}/r:t@{DIGEST}"));
            assert_eq!(both.default_output_name(), "r-t.ext4");
            let alone: Reference = format!("{registry}/r@{DIGEST}").parse().unwrap();
            assert_eq!((alone.tag(), alone.to_string()), (None, format!("{registry}/r@{DIGEST}")));
            assert_eq!(alone.default_output_name(), "r-e3b0c44298fc.ext4");
        }
    }

    #[test]
    fn malformed_references_are_usage_errors() {
        let upper_digest = format!("a@{}", DIGEST.to_uppercase());
        let image_id = "e".repeat(64);
        for text in [
            "",
            ":tag",
            "a:",
            "a@",
            "Alpine",
            "a b",
            "a/../b",
            "../a",
            "/a",
            "a//b",
            "a:tä",
            "a\n",
            "a?x",
            "host:0/x",
            "host:99999/x",
            "a@sha256:00",
            "a@sha256:../../x",
            "https://ghcr.io/a/b",
            "docker://alpine",
            "[::1]",
            "[::1]x/y",
            "[fe80::1%eth0]:5000/x",
            "[127.0.0.1]:5000/x",
            "[::1]:port/x",
            &upper_digest,
            &image_id,
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error.exit_code(), 2, "{text}: {error}");
        }
    }

    #[test]
    fn a_password_before_the_host_is_not_repeated() {
        for text in [
            "user:hunter2@ghcr.io/a",
            "hunter2@ghcr.io/a:1",
            "user:hunter2/x@y@ghcr.io/a",
            "https://user:hunter2@ghcr.io/a",
            "docker://user:a/hunter2@ghcr.io/a",
            &format!("user:hunter2@ghcr.io/a@{DIGEST}"),
            "user:hunter2@ghcr.io/ä",
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            let message = error.to_string();
            assert!(!message.contains("hunter2") && message.contains("ghcr.io/"), "{message}");
            assert!(message.contains("--creds-stdin"), "{message}");
            assert_eq!(error.exit_code(), 2, "{message}");
        }
        for text in ["ghcr.io/a", "ghcr.io/a@sha256:00", "https://x.example/a@b?c@d", "a:1"] {
            assert_eq!(without_login(text), text);
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        let refusal = |text: &str| text.parse::<Reference>().unwrap_err().to_string();
        assert_eq!(
            refusal("docker://alpine"),
            "\"docker://alpine\" is not an image reference: docker:// does not belong in it; \
             write alpine"
        );
        assert_eq!(
            refusal("Alpine"),
            "\"Alpine\" is not an image reference: a repository has no upper-case letters"
        );
    }

    #[test]
    fn loopback_registries_are_known_by_name_and_address() {
        for (text, loopback) in [
            ("localhost/x", true),
            ("localhost:5000/x", true),
            ("127.0.0.1:5000/x", true),
            ("127.8.9.1/x", true),
            ("[::1]:5000/x", true),
            ("[::2]:5000/x", false),
            ("alpine", false),
            ("128.0.0.1/x", false),
            ("localhost.example.com/x", false),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
