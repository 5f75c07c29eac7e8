//! A program that knows credentials: `docker-credential-NAME get`.
//!
//! Source of the protocol: docker/docker-credential-helpers, README, "Development".

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::secret::Credentials;
use crate::error::{Error, Result};
use crate::json;
use crate::source::excerpt;

/// How much of a helper's answer is read.
const MAX_ANSWER: usize = 64 << 10;

/// How long the output of a helper that has ended may stay open.
const GRACE: Duration = Duration::from_millis(500);

/// How often a helper is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a helper says of a registry that it does not know
/// (docker-credential-helpers: credentials/error.go).
const UNKNOWN: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks the helper `name`, which `place` names, about `server`. What it prints is never repeated:
/// it may be the secret.
pub(super) fn get(
    name: &str,
    server: &str,
    place: &str,
    limit: Duration,
) -> Result<Option<Credentials>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(Error::bad_data(format!(
            "{place} names a credential helper \"{}\", which is no such name",
            excerpt(name)
        )));
    }
    let program = format!("docker-credential-{name}");
    let failed = |why: String| {
        Error::denied(format!("cannot ask {program}, {place}, about {server}: {why}"))
    };
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            failed(error.to_string()).with_hint("install it, or remove its name from the file")
        })?;
    let printed = converse(&mut child, server, limit);
    let Some(Printed { output, complaint, is_success }) = printed else {
        // It may have ended just now; either way it is gone then.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(format!("it gave no answer within {} s", limit.as_secs_f32())));
    };
    if !is_success {
        if String::from_utf8_lossy(&output).trim() == UNKNOWN {
            return Ok(None);
        }
        // docker shows what a helper says on standard error; its answer alone is secret.
        let complaint = String::from_utf8_lossy(&complaint);
        let why = match complaint.trim() {
            "" => "it failed".to_owned(),
            complaint => format!("it failed: {}", excerpt(complaint)),
        };
        return Err(failed(why).with_hint(format!("echo {server} | {program} get shows how")));
    }
    let answer: HelperAnswer = json::from_slice(&output)
        .map_err(|_| failed("its answer is not what helpers answer".to_owned()))?;
    if answer.username.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials::of_user(answer.username, answer.secret)))
}

/// What a helper printed until it ended, the beginning of it.
struct Printed {
    output: Vec<u8>,
    complaint: Vec<u8>,
    is_success: bool,
}

/// Tells the helper the server; what it prints, or nothing when the time is over first. A child
/// that it leaves behind with its output is not waited for.
fn converse(child: &mut Child, server: &str, limit: Duration) -> Option<Printed> {
    let end = Instant::now().checked_add(limit)?;
    let mut input = child.stdin.take()?;
    let (output, complaint) = (child.stdout.take()?, child.stderr.take()?);
    let server = server.to_owned();
    // It may wait for ever on a helper that does not read; it ends with it.
    thread::spawn(move || {
        // A helper need not read what it does not care about.
        let _ = input.write_all(server.as_bytes());
    });
    let (output, complaint) = (Heard::of(output), Heard::of(complaint));
    let status = loop {
        if let Ok(Some(status)) = child.try_wait() {
            break status;
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(LOOK);
    };
    let left = Instant::now().checked_add(GRACE)?.min(end);
    let (output, complaint) = (output.until(left), complaint.until(left));
    Some(Printed { output, complaint, is_success: status.success() })
}

/// The beginning of a stream that is read to its end, however much it is.
struct Heard {
    bytes: Arc<Mutex<Vec<u8>>>,
    ended: mpsc::Receiver<()>,
}

impl Heard {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (sender, ended) = mpsc::channel();
        let heard = Arc::clone(&bytes);
        thread::spawn(move || {
            // Its end tells that the stream has ended.
            let _sender = sender;
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MAX_ANSWER.saturating_sub(heard.len()).min(count);
                heard.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        });
        Self { bytes, ended }
    }

    /// What was read when the stream had ended, or at that time.
    fn until(self, end: Instant) -> Vec<u8> {
        let left = end.saturating_duration_since(Instant::now());
        // Nothing is ever sent: either it has ended or the time is over.
        let _ = self.ended.recv_timeout(left);
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        for name in ["", "../x", "a b", "a;b", "$(x)"] {
            let error = get(name, "h", "file", Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.exit_code(), 65, "{name}");
        }
    }

    #[test]
    fn a_helper_that_is_not_installed_is_named() {
        let limit = Duration::from_secs(1);
        let error = get("of-banger-no-such", "h", "credsStore of file", limit).unwrap_err();
        assert_eq!(error.exit_code(), 77);
        let words = "docker-credential-of-banger-no-such, credsStore of file";
        assert!(error.to_string().contains(words), "{error}");
    }

    fn shell(script: &str, limit: Duration) -> Option<(Vec<u8>, bool)> {
        let printed = printed(script, limit)?;
        Some((printed.output, printed.is_success))
    }

    fn printed(script: &str, limit: Duration) -> Option<Printed> {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answered = converse(&mut child, "server.example", limit);
        let _ = child.kill();
        child.wait().unwrap();
        answered
    }

    #[test]
    fn a_helper_is_told_the_server_and_its_answer_is_bounded() {
        let long = Duration::from_secs(60);
        let answered = shell("read s; printf \"$s\"", long);
        // `read` fails at the end of the input without a newline, but sets the variable.
        assert_eq!(answered, Some((b"server.example".to_vec(), true)));
        let (endless, _) = shell("yes | head -c 200000; exit 3", long).unwrap();
        assert_eq!(endless.len(), 64 << 10);
        assert_eq!(shell("exit 1", long), Some((Vec::new(), false)));
    }

    #[test]
    fn what_a_helper_complains_of_is_bounded_and_does_not_stop_it() {
        let long = Duration::from_secs(60);
        let loud = printed("yes | head -c 300000 >&2; printf done", long).unwrap();
        assert_eq!((loud.output.as_slice(), loud.complaint.len()), (&b"done"[..], 64 << 10));
    }

    #[test]
    fn a_child_that_a_helper_leaves_behind_is_not_waited_for() {
        let begun = Instant::now();
        // It ends by itself, and holds both streams until then.
        let answered = shell("sleep 20 & printf here", Duration::from_secs(15));
        assert_eq!(answered, Some((b"here".to_vec(), true)));
        assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_helper_that_does_not_answer_is_given_up() {
        assert_eq!(shell("exec sleep 600", Duration::from_millis(100)), None);
        assert_eq!(shell("exec >&-; exec sleep 600", Duration::from_millis(100)), None);
    }
}
