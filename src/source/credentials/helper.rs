//! A program that knows credentials: `docker-credential-NAME get`.
//!
//! Source of the protocol: docker/docker-credential-helpers, README, "Development".

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Credentials;
use crate::error::{Error, Result};
use crate::json;
use crate::source::excerpt;

/// How much of a helper's answer is read.
const MAX_ANSWER: u64 = 64 << 10;

/// How often a helper is looked at that has closed its output.
const LOOK: Duration = Duration::from_millis(5);

/// What a helper says of a registry that it does not know
/// (docker-credential-helpers: credentials/error.go).
const UNKNOWN: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
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
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            failed(error.to_string()).hint("install it, or remove its name from the file")
        })?;
    let answered = converse(&mut child, server, limit);
    let Some((output, success)) = answered else {
        // It may have ended just now; either way it is gone then.
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(format!("it gave no answer within {} s", limit.as_secs_f32())));
    };
    if !success {
        if String::from_utf8_lossy(&output).trim() == UNKNOWN {
            return Ok(None);
        }
        return Err(
            failed("it failed".to_owned()).hint(format!("echo {server} | {program} get shows how"))
        );
    }
    let answer: Answer = json::from_slice(&output)
        .map_err(|_| failed("its answer is not what helpers answer".to_owned()))?;
    if answer.username.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(Credentials::of_user(answer.username, answer.secret)))
}

/// Tells the helper the server; its output and whether it succeeded, or nothing when the time is
/// over first.
fn converse(child: &mut Child, server: &str, limit: Duration) -> Option<(Vec<u8>, bool)> {
    let end = Instant::now().checked_add(limit)?;
    let (mut input, output) = (child.stdin.take()?, child.stdout.take()?);
    let server = server.to_owned();
    let (sender, receiver) = mpsc::channel();
    // Both may wait for ever on a helper that neither reads nor writes; they end with it.
    thread::spawn(move || {
        // A helper need not read what it does not care about.
        let _ = input.write_all(server.as_bytes());
    });
    thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = output.take(MAX_ANSWER).read_to_end(&mut answer);
        // Nobody listens any more when the time was over.
        let _ = sender.send(answer);
    });
    let answer = receiver.recv_timeout(limit).ok()?;
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some((answer, status.success()));
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(LOOK);
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
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
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
    fn a_helper_that_does_not_answer_is_given_up() {
        assert_eq!(shell("exec sleep 600", Duration::from_millis(100)), None);
        assert_eq!(shell("exec >&-; exec sleep 600", Duration::from_millis(100)), None);
    }
}
