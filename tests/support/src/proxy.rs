//! A server before a real registry that answers as a test wants: with the registry's own words, with
//! others, or with words that break off.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest body that is carried.
const MAX_BODY: u64 = 256 << 20;

/// Under this name a reply to HEAD carries the length of the body that it does not have.
const HEAD_LENGTH: &str = "length of the body";

/// One request, as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `HEAD`, ...
    pub method: String,
    /// The path with its query, or the whole address that a proxy is asked for.
    pub target: String,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a blob is asked for, as a whole or in part.
    #[must_use]
    pub fn fetches_blob(&self) -> bool {
        self.method == "GET" && self.target.contains("/blobs/")
    }

    /// The same without this header.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other.headers.retain(|(known, _)| known != name);
        other
    }
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should be.
    Whole,
    /// With the right length announced and the end after so many bytes.
    Cut(usize),
    /// The same, but the connection is reset.
    Reset(usize),
    /// So many bytes, and then nothing for so long.
    Stall(usize, Duration),
    /// So many bytes at a time, with pauses between them.
    Drip(usize, Duration),
    /// Without a length: the end of the connection is the body's.
    WithoutLength,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers, but for those of the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How it is sent.
    pub manner: Manner,
}

impl Reply {
    /// An answer of the test's own.
    #[must_use]
    pub fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec(), manner: Manner::Whole }
    }

    /// The same with another header; its name replaces one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, sent in this manner.
    #[must_use]
    pub fn sent(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    fn send(&self, stream: &mut TcpStream, head: bool) -> io::Result<()> {
        let mut text =
            format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", self.status).into_bytes();
        for (name, value) in self.headers.iter().filter(|(name, _)| name != HEAD_LENGTH) {
            write!(text, "{name}: {value}\r\n")?;
        }
        let announced = self.headers.iter().find(|(name, _)| name == HEAD_LENGTH);
        match (announced, self.manner) {
            (_, Manner::WithoutLength) => {}
            (Some((_, length)), _) if head => {
                write!(text, "Content-Length: {length}\r\n")?;
            }
            _ => write!(text, "Content-Length: {}\r\n", self.body.len())?,
        }
        text.extend_from_slice(b"\r\n");
        stream.write_all(&text)?;
        if head {
            return Ok(());
        }
        let part = |length: usize| self.body.get(..length.min(self.body.len())).unwrap_or_default();
        match self.manner {
            Manner::Whole | Manner::WithoutLength => stream.write_all(&self.body),
            Manner::Cut(length) => stream.write_all(part(length)),
            Manner::Reset(length) => {
                stream.write_all(part(length))?;
                // A reset overtakes what still waits to be sent; the client has read it by then.
                thread::sleep(Duration::from_millis(500));
                rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
                Ok(())
            }
            Manner::Stall(length, pause) => {
                stream.write_all(part(length))?;
                thread::sleep(pause);
                Ok(())
            }
            Manner::Drip(length, pause) => {
                for piece in self.body.chunks(length.max(1)) {
                    stream.write_all(piece)?;
                    thread::sleep(pause);
                }
                Ok(())
            }
        }
    }
}

/// The registry behind the proxy.
#[derive(Debug, Clone)]
pub struct Upstream(String);

impl Upstream {
    /// What the registry answers to this request.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Reply {
        self.ask(request).unwrap_or_else(|error| Reply::new(502, error.to_string().as_bytes()))
    }

    fn ask(&self, request: &Request) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(&self.0)?;
        let path = match request.target.strip_prefix("http://") {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => &request.target,
        };
        let mut text =
            format!("{} {path} HTTP/1.1\r\nConnection: close\r\n", request.method).into_bytes();
        for (name, value) in &request.headers {
            if !matches!(name.as_str(), "connection" | "proxy-connection") {
                write!(text, "{name}: {value}\r\n")?;
            }
        }
        text.extend_from_slice(b"\r\n");
        stream.write_all(&text)?;
        stream.write_all(&request.body)?;
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(502);
        let mut headers = headers(&mut reader)?;
        let length = take_length(&mut headers);
        let mut body = Vec::new();
        if request.method == "HEAD" {
            headers.push((HEAD_LENGTH.to_owned(), length.unwrap_or_default().to_string()));
        } else {
            reader.take(length.unwrap_or(MAX_BODY)).read_to_end(&mut body)?;
        }
        Ok(Reply { status, headers, body, manner: Manner::Whole })
    }
}

type Rule = dyn Fn(&Request, &Upstream) -> Reply + Send + Sync;

/// A running proxy. It stops when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    /// Serves before the registry at `upstream` (`HOST:PORT`), by this rule.
    #[must_use]
    pub fn start(
        upstream: &str,
        rule: impl Fn(&Request, &Upstream) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("a listener has an address");
        let (log, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (Arc::clone(&log), Arc::clone(&stopped));
        let (rule, upstream): (Arc<Rule>, _) = (Arc::new(rule), Upstream(upstream.to_owned()));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (rule, upstream, seen) =
                    (Arc::clone(&rule), upstream.clone(), Arc::clone(&seen));
                // A client that has heard enough hangs up.
                thread::spawn(move || drop(serve(stream, &upstream, &*rule, &seen)));
            }
        });
        Self { address, log, stopped }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The requests so far.
    #[must_use]
    pub fn log(&self) -> Vec<Request> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // The listener waits for a connection to see that.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    upstream: &Upstream,
    rule: &Rule,
    log: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if target.is_empty() {
        return Ok(());
    }
    let mut headers = headers(&mut reader)?;
    if method == "CONNECT" {
        let request = Request { method, target, headers, body: Vec::new() };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        return tunnel(stream, &upstream.0);
    }
    let length = take_length(&mut headers).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length.min(MAX_BODY)).read_to_end(&mut body)?;
    let request = Request { method, target, headers, body };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    rule(&request, upstream).send(&mut stream, request.method == "HEAD")
}

/// Carries bytes both ways, whatever they mean.
fn tunnel(mut client: TcpStream, upstream: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Both)
}

fn headers(reader: &mut impl io::BufRead) -> io::Result<Vec<(String, String)>> {
    const MAX_HEADERS: usize = 200;
    let mut headers = Vec::new();
    for line in reader.lines().take(MAX_HEADERS) {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(headers)
}

fn take_length(headers: &mut Vec<(String, String)>) -> Option<u64> {
    let at = headers.iter().position(|(name, _)| name == "content-length")?;
    headers.remove(at).1.parse().ok()
}

/// A port of this host where no connection comes about: the queue of those that nobody accepts is
/// full, and the kernel leaves further ones without an answer.
#[derive(Debug)]
pub struct Silent {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    /// Fills the queue of a new port.
    #[must_use]
    pub fn start() -> Self {
        const WAIT: Duration = Duration::from_millis(500);
        const ENOUGH: usize = 64;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        rustix::net::listen(&listener, 0).expect("a queue of none");
        let address = listener.local_addr().expect("a listener has an address");
        let connect = |_| TcpStream::connect_timeout(&address, WAIT).ok();
        let waiting: Vec<_> = (0..ENOUGH).map_while(connect).collect();
        assert!(waiting.len() < ENOUGH, "a queue of none takes everybody");
        Self { listener, _waiting: waiting }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.listener.local_addr().expect("a listener has an address").to_string()
    }
}

/// A server that sends interim answers (103) and never a final one: so many at once, again and
/// again after a pause.
#[derive(Debug)]
pub struct Hinting(SocketAddr);

impl Hinting {
    /// Begins to answer on a new port, for as long as the process lasts; each connection for at
    /// most a minute.
    #[must_use]
    pub fn start(at_once: usize, pause: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("a listener has an address");
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n".repeat(at_once);
        let answer = move |mut connection: TcpStream| {
            let mut request = [0; 4096];
            let end = Instant::now() + Duration::from_secs(60);
            let _read = connection.read(&mut request);
            // A greeting of TLS is no request.
            while request[0] != 0x16 && Instant::now() < end {
                if connection.write_all(hints.as_bytes()).is_err() {
                    break;
                }
                thread::sleep(pause);
            }
        };
        thread::spawn(move || {
            for connection in listener.incoming().take(100).flatten() {
                let answer = answer.clone();
                thread::spawn(move || answer(connection));
            }
        });
        Self(address)
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.0.to_string()
    }
}

/// A rule that treats the first requests of a kind otherwise: counts them.
#[derive(Debug, Default)]
pub struct Count(Mutex<std::collections::BTreeMap<String, usize>>);

impl Count {
    /// How often `what` was counted before.
    pub fn next(&self, what: &str) -> usize {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(what.to_owned()).or_default();
        *count += 1;
        *count - 1
    }
}
