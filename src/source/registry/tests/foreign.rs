//! Row C12: layers that a registry lacks, and the `urls` of their descriptors.

use super::*;
use crate::source::credentials::{Credentials, Secret};

/// An image whose first layer the registry lacks and whose manifest names these addresses for it.
fn lacking(urls: &[String]) -> Fixture {
    let mut fixture = naming(urls);
    let path = format!("/v2/repo/name{}", fixture.layer_path(0));
    fixture.replies.remove(&path).unwrap();
    fixture
}

/// The same with a registry that has all.
fn naming(urls: &[String]) -> Fixture {
    let mut fixture = Fixture::new();
    let manifest = fixture.image("linux", "amd64");
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["layers"][0]["urls"] = json!(urls);
    let manifest = manifest.to_string().into_bytes();
    fixture.say("/manifests/tag", Reply::typed(OCI_MANIFEST, &manifest));
    fixture
}

/// A server that says the same to everybody, and an address of it.
fn elsewhere(reply: &Reply) -> (Server, String) {
    let reply = reply.clone();
    let server = Server::start(move |_| reply.clone());
    let url = format!("http://{}/layer?sig=x", server.address);
    (server, url)
}

fn allowing() -> Options {
    let (retry_delay, stall_timeout) = (Duration::from_millis(1), Duration::from_secs(5));
    Options { foreign_urls: true, retries: 1, retry_delay, stall_timeout, ..Options::default() }
}

/// Asks for all layers first and then reads them.
fn pull(served: &Served, options: &Options) -> Result<Vec<Vec<u8>>> {
    let reference = format!("{}/repo/name:tag", served.server.address).parse().unwrap();
    let registry = Registry::connect(&reference, &served.cache, options)?;
    let image = registry.resolve(&Platform::new("linux", "amd64", None))?;
    registry.touch(&image)?;
    fetch(&registry, &image)
}

fn fetch(registry: &Registry, image: &Image) -> Result<Vec<Vec<u8>>> {
    let downloads = registry.download(image);
    let bodies: Result<Vec<_>> =
        (0..image.layers.len()).map(|index| read(downloads.open(index)?)).collect();
    let bodies = bodies?;
    downloads.finish()?;
    Ok(bodies)
}

#[test]
fn c12_a_layer_that_the_registry_lacks_comes_from_its_urls() {
    let (storage, url) = elsewhere(&Reply::new(200, b"the first layer"));
    let fixture = lacking(&[url]);
    let layer = fixture.layer_path(0);
    let served = fixture.serve();
    assert_eq!(pull(&served, &allowing()).unwrap(), served.layers);
    // For the first byte, for all of it, and once more by the download.
    assert_eq!(served.server.count("GET", &layer), 3, "the registry is asked first");
    assert_eq!(storage.count("GET", "/layer?sig=x"), 1);
    assert!(served.cache.contains(&Digest::sha256_of(&served.layers[0]), 15));
    served.assert_clean();
}

#[test]
fn c12_without_the_flag_nobody_else_is_asked_and_the_error_names_it() {
    let (storage, url) = elsewhere(&Reply::new(200, b"the first layer"));
    let served = lacking(&[url]).serve();
    let options = Options { foreign_urls: false, ..allowing() };
    let words = "has urls for it, at 127.0.0.1; --allow-foreign-urls asks there";
    assert_refused(pull(&served, &options), 66, words);
    let image = served.resolve().unwrap();
    assert_refused(fetch(&served.registry(), &image), 66, words);
    let never = Options { pull: Pull::Never, ..allowing() };
    assert_refused(pull(&served, &never), 66, "no registry may be asked");
    assert!(storage.log.lock().unwrap().is_empty());
}

#[test]
fn c12_what_the_registry_has_is_asked_of_nobody_else() {
    let (storage, url) = elsewhere(&Reply::new(200, b"the first layer"));
    let served = naming(std::slice::from_ref(&url)).serve();
    assert_eq!(pull(&served, &allowing()).unwrap(), served.layers);
    // That the registry is out of order is no reason either.
    let mut broken = naming(&[url]);
    broken.say(&broken.layer_path(0), Reply::new(503, b""));
    assert_refused(pull(&broken.serve(), &allowing()), 69, "answered 503");
    assert!(storage.log.lock().unwrap().is_empty());
}

#[test]
fn c12_credentials_are_never_shown_to_urls() {
    let storage = Server::start(|request| {
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.host);
        let reply = Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\"");
        reply.with("WWW-Authenticate", &challenge)
    });
    let url = format!("http://{}/layer", storage.address);
    let Fixture { replies, layers } = lacking(&[url]);
    let guarded = Server::start(move |request| match replies.get(&request.path) {
        _ if request.authorization.is_none() => {
            Reply::new(401, b"").with("WWW-Authenticate", "Basic realm=\"x\"")
        }
        Some(turns) => turns[0].clone(),
        None => Reply::new(404, b""),
    });
    let served = Served::by(guarded, layers);
    let secret = |text: &str| Secret::new(text.to_owned());
    let mut options = allowing();
    options.credentials.given = Some(Credentials::Password(secret("me"), secret("hunter2")));
    assert_refused(pull(&served, &options), 77, "credentials are never shown to foreign urls");
    let log = storage.log.lock().unwrap();
    assert!(!log.is_empty());
    for request in &*log {
        assert_eq!((request.path.as_str(), &request.authorization), ("/layer", &None));
    }
}

#[test]
fn c12_wrong_bytes_of_one_url_are_seen_by_nobody_and_the_next_is_asked() {
    let right = elsewhere(&Reply::new(200, b"the first layer"));
    for (reply, code, words) in [
        (Reply::new(200, b"the first lAyer"), 65, "sent other bytes than the digest names"),
        (Reply::new(200, b"the first lay"), 65, "has 13 bytes for layer 1 of 2"),
        (Reply::new(200, b"the first layer, too").announcing(None), 65, "longer than the 15"),
        (Reply::new(404, b""), 66, "there is no layer 1 of 2"),
        (Reply::new(503, b""), 69, "answered 503"),
    ] {
        let wrong = elsewhere(&reply);
        let served = lacking(std::slice::from_ref(&wrong.1)).serve();
        assert_refused(pull(&served, &allowing()), code, words);
        assert!(!served.cache.contains(&Digest::sha256_of(&served.layers[0]), 15));
        served.assert_clean();
        let served = lacking(&["ftp://x/".to_owned(), wrong.1, right.1.clone()]).serve();
        assert_eq!(pull(&served, &allowing()).unwrap(), served.layers, "{words}");
        served.assert_clean();
    }
}

#[test]
fn c12_a_wrong_beginning_of_an_earlier_run_is_thrown_away() {
    let (_storage, url) = elsewhere(&Reply::new(200, b"the first layer"));
    let served = lacking(&[url]).serve();
    let mut other = claimed(&served);
    other.append(b"THE").unwrap();
    other.leave();
    assert_eq!(pull(&served, &allowing()).unwrap(), served.layers);
    served.assert_clean();
}

#[test]
fn c12_urls_and_their_redirects_lead_to_no_private_address() {
    for (target, words) in [
        ("http://169.254.169.254/latest", "redirects to \"169.254.169.254\""),
        ("http://10.0.0.1/layer", "redirects to \"10.0.0.1\""),
        ("https://[fd00::1]/layer", "redirects to \"[fd00::1]\""),
    ] {
        let (storage, url) = elsewhere(&Reply::new(302, b"").with("Location", target));
        let served = lacking(&[url]).serve();
        assert_refused(pull(&served, &allowing()), 69, words);
        assert_eq!(storage.log.lock().unwrap().len(), 1, "once is enough");
        let served = lacking(&[target.to_owned()]).serve();
        assert_refused(pull(&served, &allowing()), 77, "a private network");
    }
}
