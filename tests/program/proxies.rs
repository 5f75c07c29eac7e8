//! Registries behind proxies: names that nobody but the proxy knows.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use banger_test_support::judge;
use banger_test_support::layers::Compression;
use banger_test_support::proxy::Proxy;
use banger_test_support::registry::Registry;

use crate::banger::{Bench, push};
use crate::image::image;

/// A name under which no registry is known here.
const NAME: &str = "registry.banger.invalid:5000";

/// A SOCKS server (RFC 1928, RFC 1929) for which every name is one registry. Its threads end with
/// the test's process.
struct Socks {
    address: SocketAddr,
    /// Who asked for what: `user:password name:port`.
    seen: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    fn start(registry: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, registry) = (Arc::clone(&seen), registry.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, registry) = (Arc::clone(&log), registry.clone());
                // A client that breaks off is none of the server's business.
                thread::spawn(move || serve(stream.unwrap(), &registry, &log));
            }
        });
        Self { address, seen }
    }
}

fn bytes(stream: &mut TcpStream, count: u8) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count.into()];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A text with its length before it.
fn text(stream: &mut TcpStream) -> io::Result<String> {
    let length = bytes(stream, 1)?[0];
    Ok(String::from_utf8_lossy(&bytes(stream, length)?).into_owned())
}

fn serve(mut stream: TcpStream, registry: &str, log: &Mutex<Vec<String>>) -> io::Result<()> {
    let count = bytes(&mut stream, 2)?[1];
    let mut user = String::new();
    if bytes(&mut stream, count)?.contains(&2) {
        stream.write_all(&[5, 2])?;
        bytes(&mut stream, 1)?;
        user = format!("{}:{} ", text(&mut stream)?, text(&mut stream)?);
        stream.write_all(&[1, 0])?;
    } else {
        stream.write_all(&[5, 0])?;
    }
    let kind = bytes(&mut stream, 4)?[3];
    // A name is asked for, not an address that was looked up here.
    assert_eq!(kind, 3);
    let name = text(&mut stream)?;
    let port = bytes(&mut stream, 2)?;
    let port = u16::from_be_bytes([port[0], port[1]]);
    log.lock().unwrap().push(format!("{user}{name}:{port}"));
    let mut upstream = TcpStream::connect(registry)?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut back, mut answers) = (stream.try_clone()?, upstream.try_clone()?);
    thread::spawn(move || io::copy(&mut answers, &mut back));
    io::copy(&mut stream, &mut upstream)?;
    Ok(())
}

/// Pulls with this in the environment and no other proxy.
fn pull(bench: &Bench, environment: &[(&str, &str)]) -> std::process::Output {
    let reference = format!("{NAME}/team/app:latest");
    let words = ["image", "pull", "--force", "--plain-http", "--retry", "0", "--quiet"];
    let mut command = bench.command(words.into_iter().chain([reference.as_str(), "disk"]));
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.envs(environment.iter().copied()).output().unwrap()
}

#[test]
fn r28_a_registry_is_asked_through_the_proxy_of_the_environment() {
    let Some(registry) = Registry::start() else { return };
    push(&registry, &[image(Compression::Gzip)], "team/app:latest");
    let proxy = Proxy::start(&registry.host(), |request, upstream| upstream.answer(request));
    let http = format!("http://{}", proxy.host());
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        proxy.forget();
        let result =
            pull(&Bench::new(), &[(name, &http), ("no_proxy", "other.invalid, *.x.invalid")]);
        assert!(result.status.success(), "{name}: {}", judge::text(&result));
        let log = proxy.log();
        assert!(!log.is_empty(), "{name}");
        let address = format!("http://{NAME}/");
        assert!(log.iter().all(|request| request.target.starts_with(&address)), "{name}");
    }
    let socks = Socks::start(&registry.host());
    for (scheme, login) in [("socks5", ""), ("socks5h", "alice:secret@")] {
        socks.seen.lock().unwrap().clear();
        let address = format!("{scheme}://{login}{}", socks.address);
        let result = pull(&Bench::new(), &[("ALL_PROXY", &address)]);
        assert!(result.status.success(), "{scheme}: {}", judge::text(&result));
        let user = login.replace('@', " ");
        let seen = socks.seen.lock().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|asked| *asked == format!("{user}{NAME}")));
    }
    // What is on this host is asked directly, whatever the environment says.
    let bench = Bench::new();
    let nobody = [("http_proxy", "http://127.0.0.1:1"), ("no_proxy", "")];
    let reference = format!("{}/team/app:latest", registry.host());
    let mut command = bench.command(["image", "pull", &reference, "disk", "--quiet"]);
    let result = command.envs(nobody).output().unwrap();
    assert!(result.status.success(), "{}", judge::text(&result));
    let refused = pull(&bench, &[("ALL_PROXY", "socks4://alice:secret@127.0.0.1:1")]);
    let message = judge::text(&refused);
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("ALL_PROXY") && !message.contains("secret"), "{message}");
}
