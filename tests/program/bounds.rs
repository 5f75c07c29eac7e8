//! Documents and servers that ask for more than they may have: each bound ends the pull, names the
//! limit that it is, and ends by raising that.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_test_support::layers::{digest, host_architecture};
use banger_test_support::proxy::{Proxy, Reply, Request};
use banger_test_support::{gate, judge};
use serde_json::{Value, json};

use crate::banger::Bench;
use crate::faults::layer;

const MIB: usize = 1 << 20;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout that is written document by document.
struct Layout(PathBuf);

/// A document with spaces behind it.
fn padded(document: &Value, length: usize) -> Vec<u8> {
    let mut bytes = document.to_string().into_bytes();
    bytes.resize(bytes.len().max(length), b' ');
    bytes
}

impl Layout {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("blobs/sha256")).unwrap();
        fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(path.to_owned())
    }

    /// Keeps a blob; its descriptor.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = digest(bytes);
        let path = self.0.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        fs::write(path, bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    /// An image of so many layers, with documents of these lengths at least.
    fn image(&self, layers: usize, manifest: usize, config: usize) -> Value {
        let body = layer("file", 5000, 1);
        let document = json!({
            "architecture": host_architecture(), "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": vec![digest(&body); layers] },
        });
        let document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.blob(CONFIG, &padded(&document, config)),
            "layers": vec![self.blob(LAYER, &body); layers],
        });
        self.blob(MANIFEST, &padded(&document, manifest))
    }

    fn index(&self, entries: &[Value], length: usize) -> Value {
        self.blob(INDEX, &padded(&index(entries), length))
    }

    /// The layout holds this image or index.
    fn hold(self, root: &Value) {
        fs::write(self.0.join("index.json"), index(std::slice::from_ref(root)).to_string())
            .unwrap();
    }
}

fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })
}

/// A registry with what a layout holds as `app:latest`.
fn serve(layout: &Path) -> Proxy {
    let layout = layout.to_owned();
    Proxy::start("nobody", move |request, _| answer(&layout, request))
}

fn answer(layout: &Path, request: &Request) -> Reply {
    let list: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let root = &list["manifests"][0];
    let name = request.target.rsplit('/').next().unwrap();
    let name = if name == "latest" { root["digest"].as_str().unwrap() } else { name };
    match fs::read(layout.join("blobs").join(name.replace(':', "/"))) {
        Ok(body) if request.target.ends_with("latest") => {
            Reply::new(200, &body).with("Content-Type", root["mediaType"].as_str().unwrap())
        }
        Ok(body) => Reply::new(200, &body),
        Err(_) => Reply::new(404, b""),
    }
}

/// The error of a bound: it names the limit, and what has been given back is a message.
#[track_caller]
fn assert_names(message: &str, name: &str) {
    let advice = format!("; raise --limit {name}=VALUE if you trust the image");
    assert!(message.trim_end().ends_with(&advice), "{name}: {message}");
}

#[test]
fn every_bound_of_documents_is_kept_and_raised_by_its_name() {
    type Make = fn(&Layout) -> Value;
    let cases: [(&str, &str, Make); 6] = [
        ("manifest", "5M", |layout| layout.image(1, 4 * MIB + 1, 0)),
        ("manifest", "5M", |layout| {
            let image = layout.image(1, 0, 0);
            layout.index(&[image], 4 * MIB + 1)
        }),
        ("config", "9M", |layout| layout.image(1, 0, 8 * MIB + 1)),
        ("layers", "1001", |layout| layout.image(1001, 0, 0)),
        ("index-entries", "10001", |layout| {
            let mut entries = vec![layout.image(1, 0, 0); 10_001];
            for (number, entry) in entries.iter_mut().enumerate().skip(1) {
                let architecture = format!("other{number}");
                entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            }
            layout.index(&entries, 0)
        }),
        ("nesting", "4", |layout| {
            let image = layout.image(1, 0, 0);
            (0..4).fold(image, |inner, _| layout.index(&[inner], 0))
        }),
    ];
    for (name, enough, make) in cases {
        let bench = Bench::new();
        let layout = Layout::new(&bench.path("layout"));
        let root = make(&layout);
        layout.hold(&root);
        let registry = serve(&bench.path("layout"));
        let reference = format!("{}/app:latest", registry.host());
        assert_names(&bench.build_fails("oci:layout", &[], 65), name);
        assert_names(&bench.pull_fails(&reference, &[], 65), name);
        bench.build("oci:layout", "layout.ext4", &["--limit", &format!("{name}={enough}")]);
        bench.pull(&reference, "registry.ext4", &["--limit", &format!("{name}={enough}")]);
    }
}

/// An archive of docker save with a list of this length.
fn save(path: &Path, list: impl FnOnce(Value) -> Value, length: usize) {
    let body = layer("file", 5000, 1);
    let config = json!({
        "architecture": host_architecture(), "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest(&body)] },
    });
    let item = json!({ "Config": "config", "RepoTags": ["app:1"], "Layers": ["layer"] });
    let list = padded(&list(item), length);
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    let config = config.to_string().into_bytes();
    for (name, bytes) in [("config", &config), ("layer", &body), ("manifest.json", &list)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len().try_into().unwrap());
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.finish().unwrap();
}

#[test]
fn every_bound_of_the_lists_in_archives_is_kept_and_raised_by_its_name() {
    let bench = Bench::new();
    save(&bench.path("long.tar"), |item| json!([item]), 4 * MIB + 1);
    save(&bench.path("many.tar"), |item| json!(vec![item; 10_001]), 0);
    let names = |mut item: Value| {
        item["RepoTags"] = (0..10_001).map(|number| format!("app:{number}")).collect();
        json!([item])
    };
    save(&bench.path("names.tar"), names, 0);
    let layout = Layout::new(&bench.path("layout"));
    let root = layout.image(1, 0, 0);
    layout.hold(&root);
    let list = bench.path("layout/index.json");
    fs::write(&list, [fs::read(&list).unwrap(), vec![b' '; 4 * MIB]].concat()).unwrap();
    for (source, name, enough) in [
        ("docker-archive:long.tar", "archive-index", "5M"),
        ("docker-archive:many.tar:@1", "index-entries", "10001"),
        ("docker-archive:names.tar", "index-entries", "10001"),
        ("oci:layout", "archive-index", "5M"),
    ] {
        assert_names(&bench.build_fails(source, &[], 65), name);
        bench.build(source, "enough.ext4", &["--limit", &format!("{name}={enough}")]);
        fs::remove_file(bench.path("enough.ext4")).unwrap();
    }
}

/// A layout with an image, for servers that stand before it.
fn plain(bench: &Bench) -> PathBuf {
    let layout = Layout::new(&bench.path("layout"));
    let root = layout.image(1, 0, 0);
    layout.hold(&root);
    bench.path("layout")
}

#[test]
fn a_request_is_sent_on_ten_times_unless_more_is_allowed() {
    let bench = Bench::new();
    let layout = plain(&bench);
    let registry = Proxy::start("nobody", move |request, _| {
        let (path, hop) = request.target.split_once("?hop=").unwrap_or((&request.target, "0"));
        let hop: u32 = hop.parse().unwrap();
        if path.contains("/manifests/") && hop < 11 {
            return Reply::new(307, b"").with("Location", &format!("{path}?hop={}", hop + 1));
        }
        answer(&layout, &Request { target: path.to_owned(), ..request.clone() })
    });
    let reference = format!("{}/app:latest", registry.host());
    let message = bench.pull_fails(&reference, &[], 69);
    assert!(message.contains("redirects more than 10 times"), "{message}");
    assert_names(&message, "redirects");
    assert_eq!(registry.log().len(), 11, "a redirect that is refused is not tried again");
    bench.pull(&reference, "more.ext4", &["--limit", "redirects=11"]);
}

/// Wants a token, which is `token` bytes of JSON, before it shows a layout.
fn wanting_a_token(layout: PathBuf, token: usize) -> Proxy {
    Proxy::start("nobody", move |request, _| {
        if request.target.starts_with("/token") {
            return Reply::new(200, &padded(&json!({ "token": "secret" }), token));
        }
        if request.header("authorization") == Some("Bearer secret") {
            return answer(&layout, request);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        Reply::new(401, b"").with("WWW-Authenticate", &realm)
    })
}

#[test]
fn a_token_longer_than_it_may_be_is_bad_data_unless_more_is_allowed() {
    let bench = Bench::new();
    let registry = wanting_a_token(plain(&bench), MIB + 1);
    let reference = format!("{}/app:latest", registry.host());
    let message = bench.pull_fails(&reference, &[], 65);
    assert!(message.contains("answered with more than 1048576 bytes"), "{message}");
    assert_names(&message, "token");
    bench.pull(&reference, "more.ext4", &["--limit", "token=2M"]);
}

#[test]
fn so_much_of_an_error_is_read_as_is_allowed() {
    let bench = Bench::new();
    let refusal = json!({ "about": "x".repeat(70_000), "errors": [{ "message": "the reason" }] });
    let registry =
        Proxy::start("nobody", move |_, _| Reply::new(403, refusal.to_string().as_bytes()));
    let reference = format!("{}/app:latest", registry.host());
    let message = bench.pull_fails(&reference, &[], 77);
    assert!(!message.contains("the reason") && message.len() < 1000, "{message}");
    let message = bench.pull_fails(&reference, &["--limit", "error=100K"], 77);
    assert!(message.contains("the reason"), "{message}");
}

/// Answers with this head and then with spaces, up to a gibibyte; how much of that was sent.
fn endless(head: &'static str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (host, sent) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicU64::new(0)));
    let (address, count) = (host.clone(), Arc::clone(&sent));
    std::thread::spawn(move || {
        let block = vec![b' '; MIB];
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 8192];
            let length = stream.read(&mut request).unwrap_or(0);
            let wants_token = request[..length].starts_with(b"GET /token");
            let head = match head.split_once("token: ") {
                Some((_, token)) if wants_token => token.to_owned(),
                Some((first, _)) => first.replace("HOST", &address),
                None => head.to_owned(),
            };
            let is_short = head.contains("Content-Length: 0");
            if stream.write_all(head.as_bytes()).is_err() || is_short {
                continue;
            }
            for _ in 0..1024 {
                if stream.write_all(&block).is_err() {
                    break;
                }
                count.fetch_add(MIB.try_into().unwrap(), Ordering::Relaxed);
            }
        }
    });
    (host, sent)
}

#[test]
fn what_never_ends_is_read_no_further_than_its_bound() {
    // What the two kernels keep of a stream that nobody reads.
    const SLACK: u64 = 16 << 20;
    let asks = "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"http://HOST/token\"\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\ntoken: HTTP/1.1 200 Yes\r\n\r\n";
    for (head, code, bound) in [
        ("HTTP/1.1 200 Yes\r\nContent-Type: application/json\r\n\r\n", 65, 4 << 20),
        ("HTTP/1.1 404 No\r\n\r\n", 66, 64 << 10),
        (asks, 65, 1 << 20),
    ] {
        let (host, sent) = endless(head);
        Bench::new().pull_fails(&format!("{host}/app:latest"), &[], code);
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < bound + SLACK, "{sent} bytes were sent: {head}");
    }
}

/// A gzip file with what another holds.
fn gzipped(from: &Path, to: &Path) {
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(to).unwrap(), flate2::Compression::fast());
    std::io::copy(&mut fs::File::open(from).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn archives_that_are_copied_first_take_no_more_memory_than_others() {
    const SIZE: u64 = 256 << 20;
    const MEMORY: u64 = 96 << 20;
    let bench = Bench::new();
    let mut header = tar::Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_mode(0o644);
    header.set_size(SIZE);
    header.set_cksum();
    let mut flat = fs::File::create(bench.path("flat.tar")).unwrap();
    flat.write_all(header.as_bytes()).unwrap();
    // The rest is zeros: a hole of the host's.
    flat.set_len(512 + SIZE + 1024).unwrap();
    let layout = Layout::new(&bench.path("layout"));
    let body = fs::read(bench.path("flat.tar")).unwrap();
    let config = json!({
        "architecture": host_architecture(), "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [digest(&body)] },
    });
    let document = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": layout.blob(CONFIG, config.to_string().as_bytes()),
        "layers": [layout.blob(LAYER, &body)],
    });
    drop(body);
    let root = layout.blob(MANIFEST, document.to_string().as_bytes());
    layout.hold(&root);
    let (from, to) = (bench.path("layout"), bench.path("image.tar"));
    judge::succeed("tar", ["-C", from.to_str().unwrap(), "-cf", to.to_str().unwrap(), "."]);
    gzipped(&bench.path("flat.tar"), &bench.path("flat.tar.gz"));
    gzipped(&bench.path("image.tar"), &bench.path("image.tar.gz"));
    for (source, input) in [
        ("-", Some("flat.tar")),
        ("-", Some("flat.tar.gz")),
        ("-", Some("image.tar")),
        ("oci-archive:image.tar.gz", None),
    ] {
        // What is decompressed before its turn has a bound of its own.
        let words = ["image", "build", source, "disk.ext4", "--force", "--quiet", "--memory", "8M"];
        let Some(mut build) = bench.command_within(MEMORY, words) else { return };
        if let Some(input) = input {
            build.stdin(fs::File::open(bench.path(input)).unwrap());
        }
        let result = build.output().unwrap();
        assert!(result.status.success(), "{source} {input:?}: {}", judge::text(&result));
    }
    gate::assert_clean(&bench.path("disk.ext4"));
}

#[test]
fn the_limits_are_listed_and_each_can_be_set_as_it_is_listed() {
    let bench = Bench::new();
    let layout = plain(&bench);
    let source = format!("oci:{}", layout.display());
    let listed = bench.run(["help", "limits"]);
    assert!(listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let rows = listed.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("  ")?.split_once(' ')?;
        let value = rest.split_whitespace().next()?;
        value.starts_with(|c: char| c.is_ascii_digit()).then(|| format!("{name}={value}"))
    });
    let rows: Vec<String> = rows.collect();
    assert_eq!(rows.len(), 25, "{listed}");
    let (servers, images): (Vec<_>, Vec<_>) = rows.iter().partition(|row| {
        ["token", "error", "redirects"].iter().any(|name| row.starts_with(&format!("{name}=")))
    });
    let words: Vec<&str> = images.iter().flat_map(|row| ["--limit", row.as_str()]).collect();
    bench.build(&source, "image.ext4", &words);
    for row in servers {
        let message = bench.build_fails(&source, &["--limit", row], 2);
        assert!(message.contains("--limit ") && message.contains("no registry"), "{message}");
    }
}
