//! An image of the local Docker daemon, asked for through its socket.
//!
//! Source: Docker Engine API, "Export an image" (`GET /images/{name}/get`).

use std::env;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::json;
use crate::source::excerpt;
use crate::source::image_reference::DaemonImage;
use crate::source::reference::without_login;

/// Where the daemon listens when nothing else is said.
const SOCKET: &str = "/var/run/docker.sock";
/// How long a daemon may send nothing: it may first have to write a large image out.
const STALL: Duration = Duration::from_secs(600);
/// How much of an answer that is no image is read.
const MAX_ANSWER: usize = 64 << 10;

/// Asks for the archive of an image; what comes is the answer's body.
pub(super) fn export(image: &DaemonImage) -> Result<Export> {
    let socket = socket(env::var_os("DOCKER_HOST").as_deref())?;
    let name = match image {
        DaemonImage::Named(reference) => reference.to_string(),
        DaemonImage::Id(id) => id.to_string(),
        DaemonImage::Short(word) => word.clone(),
    };
    let shown = format!("the Docker daemon at {}", crate::shown::path(&socket));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("cannot prepare to speak with the daemon").with_source(error))?;
    let stream = runtime
        .block_on(UnixStream::connect(&socket))
        .map_err(|error| unreachable(&shown, error))?;
    let response = runtime.block_on(ask(stream, &name)).map_err(|error| {
        Error::unavailable(format!("cannot ask {shown} for {name}")).with_source(error)
    })?;
    let is_success = response.status().is_success();
    let export = Export { response, runtime, rest: io::Cursor::default(), shown };
    if is_success { Ok(export) } else { Err(export.refusal(&name)) }
}

/// Sends the request and waits for the head of the answer.
async fn ask(stream: UnixStream, name: &str) -> io::Result<Response<Incoming>> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the answer, or with the runtime that drives it.
    tokio::spawn(connection);
    // The name has been checked: nothing in it needs to be escaped in a path.
    let request = Request::get(format!("/images/{name}/get"))
        .header("Host", "localhost")
        .header("User-Agent", concat!("banger/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    in_time(sender.send_request(request)).await?.map_err(io::Error::other)
}

/// Waits as long as a daemon may take.
async fn in_time<T>(answer: impl Future<Output = T>) -> io::Result<T> {
    tokio::time::timeout(STALL, answer).await.map_err(|_| {
        let seconds = STALL.as_secs();
        io::Error::new(io::ErrorKind::TimedOut, format!("it sent nothing for {seconds} s"))
    })
}

/// The socket that the variable names.
fn socket(host: Option<&std::ffi::OsStr>) -> Result<PathBuf> {
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Ok(PathBuf::from(SOCKET));
    };
    match host.as_bytes().strip_prefix(b"unix://") {
        Some(path) if path.starts_with(b"/") => {
            Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
        }
        _ => Err(Error::usage(format!(
            "DOCKER_HOST is \"{}\"; only a socket of this host is spoken to",
            without_login(&crate::shown::bytes(host.as_bytes()).to_string())
        ))
        .with_hint("write unix:///path, or pipe docker save into banger image build - OUTPUT")),
    }
}

/// Why a socket does not answer.
fn unreachable(shown: &str, error: io::Error) -> Error {
    let message = format!("cannot reach {shown}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::denied(message).with_source(error).with_hint(
            "run as a user of the group docker, or pipe docker save into banger image build -",
        ),
        _ => Error::unavailable(message)
            .with_source(error)
            .with_hint("start it, or name its socket in DOCKER_HOST"),
    }
}

/// The archive on its way.
#[derive(Debug)]
pub(super) struct Export {
    // Declared first: its connection ends before what drives it.
    response: Response<Incoming>,
    runtime: Runtime,
    rest: io::Cursor<Bytes>,
    shown: String,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

impl Export {
    /// The next bytes of the answer; `None` at its end.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let body = self.response.body_mut();
            match self.runtime.block_on(in_time(body.frame()))? {
                None => return Ok(None),
                // Trailers say nothing to us.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    Ok(_) | Err(_) => {}
                },
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
    }

    /// What an answer that is no image says.
    fn refusal(mut self, name: &str) -> Error {
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER {
            match self.next() {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        let text = json::from_slice(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).into_owned(),
            |Complaint { message }| message,
        );
        let status = self.response.status();
        let message =
            format!("{} has not given {name}: {status}: {}", self.shown, excerpt(text.trim()));
        match status.as_u16() {
            404 => Error::not_found(message).with_hint("docker images lists what it has"),
            401 | 403 => Error::denied(message),
            429 => Error::try_again(message),
            400 => Error::usage(message),
            _ => Error::unavailable(message),
        }
    }
}

impl Read for Export {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.rest.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.next() {
                Ok(Some(chunk)) => self.rest = io::Cursor::new(chunk),
                Ok(None) => return Ok(0),
                Err(error) => {
                    let message = format!("{} broke off its answer", self.shown);
                    return Err(Error::unavailable(message).with_source(error).into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_socket_follows_the_environment() {
        assert_eq!(socket(None).unwrap(), Path::new(SOCKET));
        assert_eq!(socket(Some(OsStr::new(""))).unwrap(), Path::new(SOCKET));
        let given = OsStr::new("unix:///run/user/1/docker.sock");
        assert_eq!(socket(Some(given)).unwrap(), Path::new("/run/user/1/docker.sock"));
        for host in ["tcp://127.0.0.1:2375", "ssh://host", "unix://relative", "/run/docker.sock"] {
            assert_eq!(socket(Some(OsStr::new(host))).unwrap_err().exit_code(), 2, "{host}");
        }
    }
}
