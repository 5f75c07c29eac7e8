//! An image of a Docker daemon, asked for through a socket that a server of the tests listens on.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::thread;

use banger_test_support::layers::{Compression, write_layout};
use banger_test_support::{gate, judge};

use crate::banger::Bench;
use crate::image::image;

/// What the daemon answers to every request.
#[derive(Clone)]
enum Answer {
    Archive(Vec<u8>),
    /// The first half of an archive, then the end of the connection.
    Half(Vec<u8>),
    /// A status line and a body.
    Refusal(&'static str, &'static str),
}

/// A daemon with one answer. Its thread ends with the test's process.
struct Daemon {
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn start(bench: &Bench, answer: Answer) -> Self {
        let socket = bench.path("docker.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that breaks off is none of the daemon's business.
                let _ = serve(&stream.unwrap(), &answer, &seen);
            }
        });
        Self { socket, requests }
    }

    fn build(&self, bench: &Bench, source: &str, output: &str) -> Output {
        bench
            .command(["image", "build", source, output, "--quiet"])
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .output()
            .unwrap()
    }

    fn fails(&self, bench: &Bench, source: &str, exit_code: i32) -> String {
        let result = self.build(bench, source, "none.ext4");
        let message = judge::text(&result);
        assert_eq!(result.status.code(), Some(exit_code), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!bench.path("none.ext4").exists());
        message
    }
}

fn serve(stream: &UnixStream, answer: &Answer, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    // Whoever only looks whether the socket answers asks nothing.
    let Some(request) = lines.next() else { return Ok(()) };
    seen.lock().unwrap().push(request?);
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut stream = stream;
    match answer {
        Answer::Archive(archive) => {
            // As Docker does: without a length, in chunks.
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-tar\r\n\
                        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            for chunk in archive.chunks(70_000) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")
        }
        Answer::Half(archive) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len())?;
            stream.write_all(&archive[..archive.len() / 2])
        }
        Answer::Refusal(status, body) => {
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
        }
    }
}

/// What docker save would write of the small image, made by skopeo; the layout of it is `layout`.
fn saved(bench: &Bench) -> Vec<u8> {
    write_layout(&bench.path("layout"), &[image(Compression::Gzip)]);
    let source = format!("oci:{}:latest", bench.path("layout").display());
    let target = format!("docker-archive:{}:small:v1", bench.path("save.tar").display());
    judge::succeed("skopeo", ["--insecure-policy", "copy", "--quiet", &source, &target]);
    fs::read(bench.path("save.tar")).unwrap()
}

#[test]
fn a07_an_image_of_the_docker_daemon_gives_the_bytes_of_its_layout() {
    if !judge::all(&["skopeo"]) {
        return;
    }
    let bench = Bench::new();
    let daemon = Daemon::start(&bench, Answer::Archive(saved(&bench)));
    bench.build("oci:layout", "layout.ext4", &[]);
    gate::assert_clean(&bench.path("layout.ext4"));
    let layout = fs::read(bench.path("layout.ext4")).unwrap();
    let id = format!("sha256:{}", "0".repeat(64));
    let by_id = format!("docker-daemon:{id}");
    for (source, output) in [
        ("docker-daemon:small:v1", "name.ext4"),
        (&by_id, "id.ext4"),
        ("docker-daemon:0123456789ab", "short.ext4"),
    ] {
        let result = daemon.build(&bench, source, output);
        assert!(result.status.success(), "{}", judge::text(&result));
        assert!(fs::read(bench.path(output)).unwrap() == layout, "{source}");
    }
    assert_eq!(
        *daemon.requests.lock().unwrap(),
        [
            "GET /images/docker.io/library/small:v1/get HTTP/1.1".to_owned(),
            format!("GET /images/{id}/get HTTP/1.1"),
            "GET /images/0123456789ab/get HTTP/1.1".to_owned(),
        ]
    );
    // The answer holds another image than the one that was asked for.
    daemon.fails(&bench, "docker-daemon:other:v1", 66);
}

#[test]
fn an_answer_of_the_daemon_that_is_no_image_is_told_by_its_kind() {
    let bench = Bench::new();
    let gone = r#"{"message":"No such image: none:latest"}"#;
    for (status, body, exit_code, words) in [
        ("404 Not Found", gone, 66, "No such image: none:latest"),
        ("500 Internal Server Error", "<html>\u{1b}[2J", 69, "\\x1b"),
        ("403 Forbidden", "{}", 77, "403"),
    ] {
        let daemon = Daemon::start(&bench, Answer::Refusal(status, body));
        let message = daemon.fails(&bench, "docker-daemon:none", exit_code);
        assert!(message.contains(words), "{message}");
    }
    let daemon = Daemon::start(&bench, Answer::Archive(vec![9; 4096]));
    daemon.fails(&bench, "docker-daemon:none", 65);
    let daemon = Daemon::start(&bench, Answer::Half(vec![0; 1 << 20]));
    daemon.fails(&bench, "docker-daemon:none", 69);
}

#[test]
fn a_daemon_that_cannot_be_reached_is_unavailable_or_denied() {
    let bench = Bench::new();
    let host = |host: String| {
        let words = ["image", "build", "docker-daemon:small", "none.ext4", "--quiet"];
        let result = bench.command(words).env("DOCKER_HOST", host).output().unwrap();
        (result.status.code(), judge::text(&result))
    };
    let (code, message) = host(format!("unix://{}", bench.path("none.sock").display()));
    assert_eq!((code, message.contains("none.sock")), (Some(69), true), "{message}");
    // A socket that nobody listens on any more.
    drop(UnixListener::bind(bench.path("dead.sock")).unwrap());
    assert_eq!(host(format!("unix://{}", bench.path("dead.sock").display())).0, Some(69));
    let (code, message) = host("tcp://user:hunter2@127.0.0.1:2375".to_owned());
    assert_eq!((code, message.contains("docker save")), (Some(2), true), "{message}");
    assert!(message.contains("@127.0.0.1:2375") && !message.contains("hunter2"), "{message}");
}
