//! A registry in this process: the demo image over HTTP on 127.0.0.1, to be read only.
//!
//! Its server is asynchronous behind a thread of its own: nothing of that leaves this file.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::image::{Blob, DemoImage};
use super::{REPOSITORY, TAG};
use crate::error::{Error, Result};

/// The running registry; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct DemoRegistry {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DemoRegistry {
    /// Serves the image, made for this architecture, on a free port.
    pub(crate) fn start(architecture: &str) -> Result<Self> {
        let failed = |error: io::Error| Error::io("cannot serve on 127.0.0.1").with_source(error);
        let image = Arc::new(DemoImage::new(architecture)?);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let listener =
            runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("demo-registry".to_owned())
            .spawn(move || serve(&runtime, &listener, &image, stopped))
            .map_err(|error| Error::no_thread("cannot serve on 127.0.0.1", error))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The reference by which the image can be pulled.
    #[must_use]
    pub(crate) fn reference(&self) -> String {
        format!("{}/{REPOSITORY}:{TAG}", self.address)
    }
}

impl Drop for DemoRegistry {
    fn drop(&mut self) {
        // A thread that has ended has no ear for this, and needs none.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    runtime: &Runtime,
    listener: &TcpListener,
    image: &Arc<DemoImage>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::select! {
            () = accept(listener, image) => {}
            _ = stopped => {}
        }
    });
}

/// Serves connections until the listener fails.
async fn accept(listener: &TcpListener, image: &Arc<DemoImage>) {
    while let Ok((stream, _)) = listener.accept().await {
        let image = Arc::clone(image);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&image, request.method(), request.uri().path());
                async { Ok::<_, Infallible>(answer) }
            });
            // A client that goes away has nobody to be told.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The part of the distribution-spec that a pull needs: the base, the manifest by tag and by
/// digest, the blobs.
fn answer(image: &DemoImage, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    if path == "/v2/" || path == "/v2" {
        return empty(StatusCode::OK);
    }
    let found = path
        .strip_prefix("/v2/")
        .and_then(|rest| rest.strip_prefix(REPOSITORY))
        .and_then(|rest| find(image, rest));
    let Some((blob, media_type)) = found else { return empty(StatusCode::NOT_FOUND) };
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(&blob.bytes)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if let Ok(digest) = HeaderValue::from_str(&blob.digest.to_string()) {
        headers.insert("docker-content-digest", digest);
    }
    response
}

fn find<'a>(image: &'a DemoImage, path: &str) -> Option<(&'a Blob, &'static str)> {
    if let Some(name) = path.strip_prefix("/manifests/") {
        let known = name == TAG || name == image.manifest.digest.to_string();
        return known.then_some((&image.manifest, DemoImage::manifest_type()));
    }
    let digest = path.strip_prefix("/blobs/")?;
    let blob = image.blobs.iter().find(|blob| blob.digest.to_string() == digest)?;
    Some((blob, "application/octet-stream"))
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_image_has_is_served() {
        let image = DemoImage::new("amd64").unwrap();
        let status = |method: &Method, path: &str| answer(&image, method, path).status();
        let get = |path: &str| status(&Method::GET, path);
        assert_eq!(get("/v2/"), StatusCode::OK);
        assert_eq!(get("/v2/banger/demo/manifests/latest"), StatusCode::OK);
        assert_eq!(get("/v2/banger/demo/manifests/other"), StatusCode::NOT_FOUND);
        let blob = format!("/v2/banger/demo/blobs/{}", image.blobs[0].digest);
        assert_eq!(get(&blob), StatusCode::OK);
        assert_eq!(get("/v2/banger/demo/blobs/../../etc/passwd"), StatusCode::NOT_FOUND);
        assert_eq!(status(&Method::PUT, "/v2/"), StatusCode::METHOD_NOT_ALLOWED);
    }
}
