//! The registry against a server of our own, which can be told to misbehave.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::source::{BlobReader, Image, Platform};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One request as the server saw it.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    host: String,
    authorization: Option<String>,
}

/// One answer of the server.
#[derive(Clone)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    /// What `Content-Length` says; without one the connection's end is the body's.
    length: Option<usize>,
    /// The parts of the body; before each but the first a word is awaited.
    parts: Vec<Vec<u8>>,
    gate: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl Reply {
    fn new(status: u16, body: &[u8]) -> Self {
        let parts = vec![body.to_vec()];
        Self { status, headers: Vec::new(), length: Some(body.len()), parts, gate: None }
    }

    fn typed(media_type: &str, body: &[u8]) -> Self {
        Self::new(200, body).with("Content-Type", media_type)
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn announcing(mut self, length: Option<usize>) -> Self {
        self.length = length;
        self
    }

    fn send(&self, mut stream: TcpStream, head: bool) -> std::io::Result<()> {
        write!(stream, "HTTP/1.1 {} Status\r\nConnection: close\r\n", self.status)?;
        for (name, value) in &self.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        if let Some(length) = self.length {
            write!(stream, "Content-Length: {length}\r\n")?;
        }
        stream.write_all(b"\r\n")?;
        if head {
            return Ok(());
        }
        for (number, part) in self.parts.iter().enumerate() {
            if let (1.., Some(gate)) = (number, &self.gate)
                && gate.lock().unwrap().recv().is_err()
            {
                return Ok(());
            }
            stream.write_all(part)?;
            stream.flush()?;
        }
        Ok(())
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on loopback that closes each connection after one answer.
struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&log));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                thread::spawn(move || serve(stream.unwrap(), &*answer, &seen));
            }
        });
        Self { address, log }
    }

    /// How often something was asked for.
    fn count(&self, method: &str, path: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|r| r.method == method && r.path.ends_with(path)).count()
    }
}

fn serve(stream: TcpStream, answer: &Answer, log: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    let authorization = headers.get("authorization").cloned();
    let request = Request { method, path, host: headers["host"].clone(), authorization };
    log.lock().unwrap().push(request.clone());
    // A client that has heard enough hangs up.
    let _ = answer(&request).send(stream, request.method == "HEAD");
}

/// An image `repo/name:tag` of two layers, and what the server says for each path.
struct Fixture {
    replies: HashMap<String, Vec<Reply>>,
    layers: Vec<Vec<u8>>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_layers(&[b"the first layer", b"the second layer, which is longer"])
    }

    fn with_layers(layers: &[&[u8]]) -> Self {
        let layers: Vec<Vec<u8>> = layers.iter().map(|layer| layer.to_vec()).collect();
        let mut fixture = Self { replies: HashMap::new(), layers };
        let manifest = fixture.image("linux", "amd64");
        fixture.say("/manifests/tag", Reply::typed(OCI_MANIFEST, &manifest));
        fixture
    }

    /// Serves the blobs of an image and gives its manifest.
    fn image(&mut self, os: &str, architecture: &str) -> Vec<u8> {
        let diff_ids: Vec<String> =
            self.layers.iter().map(|layer| Digest::sha256_of(layer).to_string()).collect();
        let config = json!({
            "os": os, "architecture": architecture,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = config.to_string().into_bytes();
        let descriptor = |media_type: &str, body: &[u8]| {
            let digest = Digest::sha256_of(body).to_string();
            json!({"mediaType": media_type, "digest": digest, "size": body.len()})
        };
        let layers: Vec<Value> =
            self.layers.iter().map(|layer| descriptor(OCI_LAYER, layer)).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config), "layers": layers,
        });
        for body in std::iter::once(config).chain(self.layers.clone()) {
            self.say(&blob_path(&body), Reply::new(200, &body));
        }
        manifest.to_string().into_bytes()
    }

    /// Serves a manifest or an index under its digest, and gives its entry for an index.
    fn entry(&mut self, media_type: &str, body: &[u8], platform: Option<Value>) -> Value {
        let digest = Digest::sha256_of(body).to_string();
        self.say(&format!("/manifests/{digest}"), Reply::typed(media_type, body));
        let mut entry = json!({"mediaType": media_type, "digest": digest, "size": body.len()});
        if let Some(platform) = platform {
            entry["platform"] = platform;
        }
        entry
    }

    fn index(&mut self, entries: &[Value]) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        let body = index.to_string().into_bytes();
        self.say("/manifests/tag", Reply::typed(OCI_INDEX, &body));
        body
    }

    fn say(&mut self, path: &str, reply: Reply) {
        self.say_in_turn(path, vec![reply]);
    }

    /// The last reply stays.
    fn say_in_turn(&mut self, path: &str, replies: Vec<Reply>) {
        self.replies.insert(format!("/v2/repo/name{path}"), replies);
    }

    fn layer_path(&self, index: usize) -> String {
        blob_path(&self.layers[index])
    }

    fn serve(self) -> Served {
        let layers = self.layers.clone();
        let replies = Mutex::new(self.replies);
        let server = Server::start(move |request| {
            let mut replies = replies.lock().unwrap();
            match replies.get_mut(&request.path) {
                Some(turns) if turns.len() > 1 => turns.remove(0),
                Some(turns) => turns[0].clone(),
                None if request.path == "/v2/" => Reply::new(200, b"{}"),
                None => Reply::new(404, b"{\"errors\":[{\"code\":\"NOPE\",\"message\":\"no\"}]}"),
            }
        });
        Served::by(server, layers)
    }
}

fn blob_path(body: &[u8]) -> String {
    format!("/blobs/{}", Digest::sha256_of(body))
}

/// A running server with a cache of its own.
struct Served {
    server: Server,
    layers: Vec<Vec<u8>>,
    directory: TempDir,
    cache: Cache,
}

impl Served {
    fn by(server: Server, layers: Vec<Vec<u8>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path()).unwrap();
        Self { server, layers, directory, cache }
    }

    fn registry(&self) -> Registry {
        self.registry_of("repo/name:tag")
    }

    fn registry_of(&self, name: &str) -> Registry {
        let reference = format!("{}/{name}", self.server.address).parse().unwrap();
        let options = Options {
            retries: 2,
            retry_delay: Duration::from_millis(1),
            stall_timeout: Duration::from_secs(5),
            ..Options::default()
        };
        Registry::connect(&reference, &self.cache, &options).unwrap()
    }

    fn resolve(&self) -> Result<Image> {
        self.registry().resolve(&Platform::new("linux", "amd64", None))
    }

    /// Reads all layers in order, as an image is made.
    fn pull(&self) -> Result<Vec<Vec<u8>>> {
        let registry = self.registry();
        let image = registry.resolve(&Platform::new("linux", "amd64", None))?;
        let downloads = registry.download(&image);
        let bodies: Result<Vec<_>> =
            (0..image.layers.len()).map(|index| read(downloads.open(index)?)).collect();
        let bodies = bodies?;
        downloads.finish()?;
        Ok(bodies)
    }

    /// No temporary file, and no blob that is not what its name says.
    fn assert_clean(&self) {
        let files = |name: &str| {
            let entries = std::fs::read_dir(self.directory.path().join(name)).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        assert!(files("ingest").is_empty(), "{:?}", files("ingest"));
        for path in files("blobs/sha256") {
            let digest = Digest::sha256_of(&std::fs::read(&path).unwrap());
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), digest.hex());
        }
    }
}

fn read(mut reader: BlobReader) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    reader
        .read_to_end(&mut body)
        .map_err(|error| Error::from_io(error, |error| panic!("{error} carries nothing")))?;
    Ok(body)
}

#[track_caller]
fn assert_refused<T: fmt::Debug>(result: Result<T>, exit_code: u8, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.exit_code(), exit_code, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.to_string().len() < 800, "{error}");
}

#[test]
fn c12_a_layer_that_the_registry_lacks_is_named_with_its_urls_which_nobody_asks() {
    let storage = Server::start(|_| Reply::new(200, b"the first layer"));
    let mut fixture = Fixture::new();
    let manifest = fixture.image("linux", "amd64");
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    manifest["layers"][0]["urls"] =
        json!([format!("http://{}/layer?signature=hunter2", storage.address)]);
    fixture.say("/manifests/tag", Reply::typed(OCI_MANIFEST, manifest.to_string().as_bytes()));
    let path = format!("/v2/repo/name{}", fixture.layer_path(0));
    fixture.replies.remove(&path).unwrap();
    let served = fixture.serve();
    let (image, registry) = (served.resolve().unwrap(), served.registry());
    let words = "the manifest has urls for it, at 127.0.0.1, which are never fetched";
    for result in [registry.touch(&image), registry.download(&image).finish()] {
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), 66, "{error}");
        let shown = error.to_string();
        assert!(shown.contains("there is no layer 1 of 2") && shown.contains(words), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(storage.log.lock().unwrap().is_empty());
}

#[test]
fn an_image_is_resolved_and_its_layers_are_read_in_order() {
    let served = Fixture::new().serve();
    let registry = served.registry();
    let image = registry.resolve(&Platform::new("linux", "amd64", None)).unwrap();
    assert_eq!(image.reference, format!("{}/repo/name:tag", served.server.address));
    assert_eq!((image.index_digest.as_ref(), image.layers.len()), (None, 2));
    assert_eq!(image.platform.as_ref().unwrap().to_string(), "linux/amd64");
    registry.touch(&image).unwrap();
    let downloads = registry.download(&image);
    let progress = downloads.progress();
    for (index, layer) in served.layers.iter().enumerate() {
        assert_eq!(read(downloads.open(index).unwrap()).unwrap(), *layer);
    }
    downloads.finish().unwrap();
    assert_eq!((progress.received(), progress.total(), progress.cached()), (48, 48, 0));
    assert!(progress.blobs().all(|blob| blob.done && blob.received == blob.size));
    served.assert_clean();
}

#[test]
fn what_the_cache_has_is_not_fetched_again() {
    let fixture = Fixture::new();
    let layer = fixture.layer_path(1);
    let served = fixture.serve();
    assert_eq!(served.pull().unwrap(), served.layers);
    let registry = served.registry();
    let image = served.resolve().unwrap();
    registry.touch(&image).unwrap();
    assert_eq!(registry.download(&image).progress().cached(), 48);
    assert_eq!(served.pull().unwrap(), served.layers);
    assert_eq!(served.server.count("GET", &layer), 1);
    assert_eq!(served.server.count("HEAD", &layer), 0);
}

#[test]
fn a_known_digest_needs_no_registry() {
    let mut fixture = Fixture::new();
    let manifest = fixture.image("linux", "amd64");
    let digest = Digest::sha256_of(&manifest);
    fixture.say(&format!("/manifests/{digest}"), Reply::typed(OCI_MANIFEST, &manifest));
    let served = fixture.serve();
    let platform = Platform::new("linux", "amd64", None);
    let name = format!("repo/name@{digest}");
    let first = served.registry_of(&name).resolve(&platform).unwrap();
    assert_eq!(first.manifest_digest, Some(digest));
    let asked = served.server.log.lock().unwrap().len();
    served.registry_of(&name).resolve(&platform).unwrap();
    assert_eq!(served.server.log.lock().unwrap().len(), asked);
}

#[test]
fn c07_a_layer_of_other_bytes_or_another_size_does_not_enter_the_cache() {
    for (body, announced, code, words) in [
        (&b"the first lAyer"[..], Some(15), 65, "its bytes are sha256:"),
        (b"the first lay", Some(13), 65, "has 13 bytes for layer 1 of 2"),
        (b"the first layer, and more", Some(25), 65, "has 25 bytes for layer 1 of 2"),
        (b"the first layer, and more", None, 65, "longer than the 15 bytes"),
        (b"the first lay", None, 65, "ended after 13 of the 15 bytes"),
        (b"the first lay", Some(15), 69, "cannot fetch layer 1 of 2"),
    ] {
        let mut fixture = Fixture::new();
        let reply = Reply::new(200, body).announcing(announced);
        fixture.say(&fixture.layer_path(0), reply);
        let served = fixture.serve();
        assert_refused(served.pull(), code, words);
        assert!(!served.cache.contains(&Digest::sha256_of(&served.layers[0]), 15));
        served.assert_clean();
    }
}

#[test]
fn a_body_that_breaks_off_is_continued_in_the_next_try() {
    let mut fixture = Fixture::new();
    let whole = Reply::new(200, b"the first layer");
    let truncation = Reply::new(200, b"the fi").announcing(Some(15));
    fixture.say_in_turn(&fixture.layer_path(0), vec![truncation, whole]);
    let served = fixture.serve();
    assert_eq!(served.pull().unwrap(), served.layers);
}

#[test]
fn wrong_bytes_of_an_earlier_try_are_not_covered_up_by_a_later_one() {
    let mut fixture = Fixture::new();
    let whole = Reply::new(200, b"the first layer");
    let truncation = Reply::new(200, b"THE fi").announcing(Some(15));
    fixture.say_in_turn(&fixture.layer_path(0), vec![truncation, whole]);
    let served = fixture.serve();
    assert_refused(served.pull(), 65, "its bytes are");
    served.assert_clean();
}

#[test]
fn a_missing_layer_is_found_before_any_is_fetched() {
    let mut fixture = Fixture::new();
    let missing = fixture.layer_path(1);
    fixture.say(&missing, Reply::new(404, b""));
    let served = fixture.serve();
    let image = served.resolve().unwrap();
    let digest = image.layers[1].digest.to_string();
    let refused = served.registry().touch(&image);
    assert_refused(refused, 66, &format!("there is no layer 2 of 2 ({digest}) of"));
    assert_eq!(served.server.count("GET", &blob_path(&served.layers[0])), 0);
}

#[test]
fn touching_copes_with_storage_that_refuses_head() {
    let server = Fixture::new().serve();
    let image = server.resolve().unwrap();
    let storage = Server::start(|request| match request.method.as_str() {
        "GET" if request.path.contains("/blobs/") => Reply::new(206, b"t"),
        "HEAD" => Reply::new(403, b""),
        _ => Reply::new(200, b""),
    });
    let storage = Served::by(storage, Vec::new());
    storage.registry().touch(&image).unwrap();
}

#[test]
fn only_a_get_says_that_a_blob_is_not_there() {
    let of_head = |reply: Reply| {
        let fixture = Fixture::new();
        let layers = fixture.layers.clone();
        let paths = [fixture.layer_path(0), fixture.layer_path(1)];
        let image = fixture.serve().resolve().unwrap();
        let cold = Server::start(move |request| {
            let index = paths.iter().position(|path| request.path.ends_with(path)).unwrap();
            if request.method == "HEAD" { reply.clone() } else { Reply::new(200, &layers[index]) }
        });
        Served::by(cold, Vec::new()).registry().touch(&image)
    };
    for status in [400, 403, 404, 405, 410, 500, 501, 503] {
        of_head(Reply::new(status, b"")).unwrap();
    }
    of_head(Reply::new(200, b"")).unwrap();
    of_head(Reply::new(200, b"").announcing(None)).unwrap();
    of_head(Reply::new(200, b"").announcing(Some(7))).unwrap();
}

#[test]
fn touching_compares_the_size() {
    let mut fixture = Fixture::new();
    fixture.say(&fixture.layer_path(0), Reply::new(200, b"short"));
    let served = fixture.serve();
    let image = served.resolve().unwrap();
    assert_refused(served.registry().touch(&image), 65, "has 5 bytes for layer 1 of 2");
}

#[test]
fn statuses_become_classes() {
    for (status, code, words) in [
        (401, 77, "credentials"),
        (403, 77, "credentials"),
        (404, 66, "there is no manifest tag"),
        (418, 69, "answered 418"),
        (429, 75, "SLOW: down"),
        (408, 69, "answered 408"),
        (499, 69, "answered 499"),
        (501, 69, "answered 501"),
        (522, 69, "answered 522"),
        (500, 69, "answered 500"),
        (503, 69, "answered 503"),
        (204, 69, "answered 204"),
    ] {
        let mut fixture = Fixture::new();
        let body = br#"{"errors":[{"code":"SLOW","message":"down"}]}"#;
        let body = if status == 204 { &b""[..] } else { body };
        fixture.say("/manifests/tag", Reply::new(status, body));
        let served = fixture.serve();
        assert_refused(served.resolve(), code, words);
        let tries = if matches!(status, 408 | 429 | 499 | 500 | 503 | 522) { 3 } else { 1 };
        assert_eq!(served.server.count("GET", "/manifests/tag"), tries, "{status}");
    }
}

#[test]
fn a_passing_fault_is_survived() {
    let mut fixture = Fixture::new();
    let whole = Reply::new(200, b"the first layer");
    fixture.say_in_turn(
        &fixture.layer_path(0),
        vec![Reply::new(500, b"oops"), Reply::new(429, b""), whole],
    );
    let served = fixture.serve();
    assert_eq!(served.pull().unwrap(), served.layers);
}

#[test]
fn nobody_listening_is_unavailable() {
    let served = Fixture::new().serve();
    // The port was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reference = format!("127.0.0.1:{port}/x").parse().unwrap();
    let options = Options { retry_delay: Duration::from_millis(1), ..Options::default() };
    let registry = Registry::connect(&reference, &served.cache, &options).unwrap();
    let platform = Platform::host();
    assert_refused(registry.resolve(&platform), 69, "Connection refused");
}

#[test]
fn a_server_without_tls_is_told_by_the_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path()).unwrap();
    // Leads to this host, but is no loopback address: TLS is spoken.
    let reference = format!("0.0.0.0:{port}/x").parse().unwrap();
    let options = Options { retries: 0, ..Options::default() };
    let registry = Registry::connect(&reference, &cache, &options).unwrap();
    assert_refused(registry.resolve(&Platform::host()), 69, "use --plain-http");
}

#[test]
fn an_index_leads_to_the_image_of_the_platform() {
    let mut fixture = Fixture::new();
    let (amd64, arm64) = (fixture.image("linux", "amd64"), fixture.image("linux", "arm64"));
    let platform = |architecture: &str| Some(json!({"os": "linux", "architecture": architecture}));
    let unknown = Some(json!({"os": "unknown", "architecture": "unknown"}));
    let entries = [
        fixture.entry(OCI_MANIFEST, b"an attestation", unknown),
        fixture.entry(OCI_MANIFEST, &arm64, platform("arm64")),
        fixture.entry(OCI_MANIFEST, &amd64, platform("amd64")),
    ];
    let index = fixture.index(&entries);
    let served = fixture.serve();
    for (architecture, manifest) in [("amd64", &amd64), ("arm64", &arm64)] {
        let wanted = Platform::new("linux", architecture, None);
        let image = served.registry().resolve(&wanted).unwrap();
        assert_eq!(image.manifest_digest, Some(Digest::sha256_of(manifest)));
        assert_eq!(image.index_digest, Some(Digest::sha256_of(&index)));
        assert_eq!(image.platform, Some(wanted));
    }
    let refused = served.registry().resolve(&Platform::new("linux", "riscv64", None));
    assert_refused(refused, 66, "no image for linux/riscv64; it has: linux/arm64, linux/amd64;");
}

#[test]
fn an_image_without_an_index_must_suit_the_platform() {
    let served = Fixture::new().serve();
    let refused = served.registry().resolve(&Platform::new("linux", "arm64", None));
    assert_refused(refused, 66, "is for linux/amd64, not for linux/arm64");
}

#[test]
fn a_lone_entry_without_a_platform_is_judged_by_its_config() {
    let mut fixture = Fixture::new();
    let amd64 = fixture.image("linux", "amd64");
    let entry = fixture.entry(OCI_MANIFEST, &amd64, None);
    fixture.index(&[entry]);
    let served = fixture.serve();
    assert_eq!(served.resolve().unwrap().manifest_digest, Some(Digest::sha256_of(&amd64)));
    let refused = served.registry().resolve(&Platform::new("linux", "arm64", None));
    assert_refused(refused, 66, "is for linux/amd64");
}

#[test]
fn indexes_nest_three_deep_and_no_deeper() {
    for (depth, allowed) in [(3, true), (4, false)] {
        let mut fixture = Fixture::new();
        let manifest = fixture.image("linux", "amd64");
        let mut entry = fixture.entry(OCI_MANIFEST, &manifest, None);
        for _ in 1..depth {
            let index = fixture.index(&[entry]);
            entry = fixture.entry(OCI_INDEX, &index, None);
        }
        fixture.index(&[entry]);
        let served = fixture.serve();
        if allowed {
            served.resolve().unwrap();
        } else {
            assert_refused(served.resolve(), 65, "more than 3 deep");
        }
    }
}

#[test]
fn a_manifest_that_is_not_what_it_is_called_is_refused() {
    let mut fixture = Fixture::new();
    let manifest = fixture.image("linux", "amd64");
    fixture.say("/manifests/tag", Reply::typed(OCI_INDEX, &manifest));
    assert_refused(fixture.serve().resolve(), 65, "but it came as");

    let mut fixture = Fixture::new();
    let manifest = fixture.image("linux", "amd64");
    let mut entry = fixture.entry(OCI_MANIFEST, &manifest, None);
    entry["mediaType"] = OCI_INDEX.into();
    fixture.index(&[entry]);
    assert_refused(fixture.serve().resolve(), 65, "but it came as");

    let mut fixture = Fixture::new();
    fixture.say("/manifests/tag", Reply::typed("text/html", b"<html>Please log in</html>"));
    assert_refused(fixture.serve().resolve(), 65, "a web page came instead of manifest tag");
}

#[test]
fn documents_are_verified() {
    let mut fixture = Fixture::new();
    let manifest = fixture.image("linux", "amd64");
    let other = Digest::sha256_of(b"other").to_string();
    let reply = Reply::typed(OCI_MANIFEST, &manifest).with("Docker-Content-Digest", &other);
    fixture.say("/manifests/tag", reply);
    assert_refused(fixture.serve().resolve(), 65, "sent other bytes");

    let mut fixture = Fixture::new();
    let mut manifest = fixture.image("linux", "amd64");
    let entry = fixture.entry(OCI_MANIFEST, &manifest, None);
    let path = format!("/manifests/{}", Digest::sha256_of(&manifest));
    manifest.reverse();
    fixture.say(&path, Reply::typed(OCI_MANIFEST, &manifest));
    fixture.index(std::slice::from_ref(&entry));
    assert_refused(fixture.serve().resolve(), 65, "sent other bytes");

    let mut fixture = Fixture::new();
    fixture.say(&path, Reply::typed(OCI_MANIFEST, b"{}"));
    fixture.index(&[entry]);
    assert_refused(fixture.serve().resolve(), 65, "sent 2 bytes");
}

#[test]
fn endless_documents_and_errors_are_cut() {
    let mut fixture = Fixture::new();
    let endless = vec![b' '; 5 << 20];
    fixture.say("/manifests/tag", Reply::typed(OCI_MANIFEST, &endless).announcing(None));
    assert_refused(fixture.serve().resolve(), 65, "longer than the 4194304 bytes");
    let mut fixture = Fixture::new();
    fixture.say("/manifests/tag", Reply::new(404, &endless).announcing(None));
    assert_refused(fixture.serve().resolve(), 66, "there is no manifest");
}

#[test]
fn a_corrupt_cached_layer_is_moved_aside_and_fetched_the_next_time() {
    let served = Fixture::new().serve();
    served.pull().unwrap();
    let path = served.cache.blob_path(&Digest::sha256_of(&served.layers[0]));
    std::fs::write(&path, b"the first lAyer").unwrap();
    assert_refused(served.pull(), 65, "run again");
    assert_eq!(served.pull().unwrap(), served.layers);
}

#[test]
fn c09_a_layer_that_stands_twice_is_fetched_once_and_read_twice() {
    let layers: [&[u8]; 3] = [b"same", b"other", b"same"];
    let served = Fixture::with_layers(&layers).serve();
    assert_eq!(served.pull().unwrap(), layers);
    assert_eq!(served.server.count("GET", &blob_path(b"same")), 1);
    assert_eq!(served.pull().unwrap(), layers);
}

/// A fixture whose first layer stops halfway until a word comes.
fn slow() -> (Fixture, mpsc::Sender<()>) {
    let mut fixture = Fixture::new();
    let (sender, receiver) = mpsc::channel();
    let reply = Reply {
        parts: vec![b"the fi".to_vec(), b"rst layer".to_vec()],
        gate: Some(Arc::new(Mutex::new(receiver))),
        ..Reply::new(200, b"the first layer")
    };
    fixture.say(&fixture.layer_path(0), reply);
    (fixture, sender)
}

#[test]
fn a_slow_layer_is_read_while_it_arrives() {
    let (fixture, word) = slow();
    let served = fixture.serve();
    let registry = served.registry();
    let image = served.resolve().unwrap();
    let downloads = registry.download(&image);
    let mut reader = downloads.open(0).unwrap();
    let mut half = [0; 6];
    reader.read_exact(&mut half).unwrap();
    assert_eq!(&half, b"the fi");
    assert!(!served.cache.contains(&image.layers[0].digest, 15));
    word.send(()).unwrap();
    assert_eq!(read(reader).unwrap(), b"rst layer");
    downloads.finish().unwrap();
    assert!(served.cache.contains(&image.layers[0].digest, 15));
}

#[test]
fn dropping_a_download_stops_it_and_cleans_the_cache() {
    let (fixture, _word) = slow();
    let served = fixture.serve();
    let registry = served.registry();
    let image = served.resolve().unwrap();
    let downloads = registry.download(&image);
    let mut reader = downloads.open(0).unwrap();
    reader.read_exact(&mut [0; 6]).unwrap();
    let waiting = thread::spawn(move || read(reader));
    drop(downloads);
    assert_refused(waiting.join().unwrap(), 130, "was stopped");
    served.assert_clean();
}

#[test]
fn a_silent_server_is_given_up() {
    let (fixture, _word) = slow();
    let served = fixture.serve();
    let reference = format!("{}/repo/name:tag", served.server.address).parse().unwrap();
    let options = Options {
        retries: 1,
        retry_delay: Duration::from_millis(1),
        stall_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let registry = Registry::connect(&reference, &served.cache, &options).unwrap();
    let image = registry.resolve(&Platform::new("linux", "amd64", None)).unwrap();
    let downloads = registry.download(&image);
    assert_refused(read(downloads.open(0).unwrap()), 69, "nothing came for 0.1 s; --timeout");
    assert_refused(downloads.finish(), 69, "nothing came for 0.1 s");
}

#[test]
fn a_layer_that_is_not_there_is_an_internal_error() {
    let served = Fixture::new().serve();
    let image = served.resolve().unwrap();
    assert_refused(served.registry().download(&image).open(2), 1, "the image has 2");
}

/// A server that gives out tokens 1, 2, 3 …, each good for two requests, and redirects blobs to
/// `storage`.
fn guarded(storage: SocketAddr) -> Served {
    let Fixture { replies, layers } = Fixture::new();
    let state = Mutex::new((0, 0));
    let server = Server::start(move |request| {
        let (number, used) = &mut *state.lock().unwrap();
        if request.path.starts_with("/token?") {
            assert!(request.path.contains("scope=repository%3Arepo%2Fname%3Apull"));
            (*number, *used) = (*number + 1, 0);
            return Reply::new(200, format!("{{\"token\":\"{number}\"}}").as_bytes());
        }
        if request.authorization != Some(format!("Bearer {number}")) || *used == 2 {
            let challenge = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.host);
            return Reply::new(401, b"").with("WWW-Authenticate", &challenge);
        }
        *used += 1;
        if request.path.contains("/blobs/") {
            let place = format!("http://{storage}{}", request.path);
            return Reply::new(307, b"").with("Location", &place);
        }
        replies[&request.path][0].clone()
    });
    Served::by(server, layers)
}

#[test]
fn a_token_is_fetched_renewed_and_kept_from_other_hosts() {
    let storage = Fixture::new().serve();
    let served = guarded(storage.server.address);
    assert_eq!(served.pull().unwrap(), served.layers);
    assert_eq!(served.server.count("GET", "pull&service=s"), 2);
    let log = storage.server.log.lock().unwrap();
    assert_eq!(log.len(), 3, "a config and two layers");
    assert!(log.iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_refused_token_request_is_told() {
    let strict = Server::start(|request| {
        if request.path.starts_with("/token?") {
            return Reply::new(
                403,
                b"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no guests\"}]}",
            );
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.host);
        Reply::new(401, b"").with("WWW-Authenticate", &challenge)
    });
    let served = Served::by(strict, Vec::new());
    assert_refused(served.resolve(), 77, "answered 403: DENIED: no guests");
}

#[test]
fn redirects_come_to_an_end() {
    let circling = Server::start(|request| match request.path.as_str() {
        "/v2/" => Reply::new(200, b""),
        path => Reply::new(307, b"").with("Location", path),
    });
    let served = Served::by(circling, Vec::new());
    assert_refused(served.resolve(), 69, "more than 10 times");
    assert_eq!(served.server.count("GET", "/manifests/tag"), 11);
}

/// The blob of the first layer, claimed by somebody else.
fn claimed(served: &Served) -> crate::cache::Incoming {
    let digest = Digest::sha256_of(&served.layers[0]);
    match served.cache.claim(&digest, 15).unwrap() {
        crate::cache::Claim::Ours(incoming) => *incoming,
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_process_that_fetches_a_blob_is_waited_for() {
    let fixture = Fixture::new();
    let layer = fixture.layer_path(0);
    let served = fixture.serve();
    let mut other = claimed(&served);
    other.append(b"the fi").unwrap();
    let bodies = thread::scope(|scope| {
        let pull = scope.spawn(|| served.pull().unwrap());
        thread::sleep(Duration::from_millis(100));
        assert!(!pull.is_finished(), "nobody was waited for");
        other.append(b"rst layer").unwrap();
        other.verify().unwrap().publish().unwrap();
        pull.join().unwrap()
    });
    assert_eq!(bodies, served.layers);
    assert_eq!(served.server.count("GET", &layer), 0);
}

#[test]
fn another_process_that_does_nothing_is_not_waited_for_for_ever() {
    let served = Fixture::new().serve();
    let mut other = claimed(&served);
    other.append(b"the fi").unwrap();
    let reference = format!("{}/repo/name:tag", served.server.address).parse().unwrap();
    let (patience, stall_timeout) = (Duration::ZERO, Duration::from_secs(1));
    let options = Options { stall_timeout, patience, ..Options::default() };
    let registry = Registry::connect(&reference, &served.cache, &options).unwrap();
    let image = served.resolve().unwrap();
    let downloads = registry.download(&image);
    assert_eq!(read(downloads.open(0).unwrap()).unwrap(), served.layers[0]);
    downloads.finish().unwrap();
    // The one that slept finds its work done, and does no harm.
    other.append(b"rst layer").unwrap();
    other.verify().unwrap().publish().unwrap();
    assert_eq!(served.pull().unwrap(), served.layers);
    served.assert_clean();
}

#[test]
fn bytes_of_an_earlier_run_are_shown_to_nobody_before_they_are_verified() {
    let mut fixture = Fixture::new();
    let (sender, receiver) = mpsc::channel();
    let whole = Reply {
        parts: vec![b"the first".to_vec(), b" layer".to_vec()],
        gate: Some(Arc::new(Mutex::new(receiver))),
        ..Reply::new(200, b"the first layer")
    };
    fixture.say(&fixture.layer_path(0), whole);
    let served = fixture.serve();
    let mut other = claimed(&served);
    other.append(b"THE").unwrap();
    other.leave();
    let image = served.resolve().unwrap();
    let registry = served.registry();
    let downloads = registry.download(&image);
    for _ in 0..4 {
        sender.send(()).unwrap();
    }
    // The server knows no ranges: the wrong start is believed until the end, and then thrown away.
    assert_eq!(read(downloads.open(0).unwrap()).unwrap(), served.layers[0]);
    downloads.finish().unwrap();
    served.assert_clean();
}
