//! The error of everything in this crate: its kind, its message and what to try.

use std::error::Error as StdError;
use std::sync::Arc;
use std::{fmt, io};

use rustix::process::{Resource, getrlimit};

/// What went wrong: a kind that decides the exit code, and one line for people.
///
/// The line says what was being done, to what, with which numbers; the hint says what to try.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of errors; each has an exit code, after sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A promise of banger's own code broke (exit code 1).
    Internal,
    /// The arguments of the command do not make sense (exit code 2).
    Usage,
    /// A blob, an archive or an image holds what it must not (exit code 65).
    BadData,
    /// The image, platform, blob or input file does not exist (exit code 66).
    NotFound,
    /// The registry could not be reached or answered with a fault of its own (exit code 69).
    Unavailable,
    /// The output cannot be made: it exists, it does not fit, or its directory refuses (exit code 73).
    CannotCreate,
    /// Reading or writing a local file failed (exit code 74).
    Io,
    /// The same call may succeed later: rate limits, busy locks (exit code 75).
    TryAgain,
    /// The registry or the host refused access (exit code 77).
    Denied,
    /// The user or the system asked to stop (exit code 130).
    Interrupted,
}

impl ErrorKind {
    /// The exit code of a command that fails so.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        self.facts().1
    }

    /// The name of the kind, for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    fn facts(self) -> (&'static str, u8) {
        match self {
            Self::Internal => ("internal", 1),
            Self::Usage => ("usage", 2),
            Self::BadData => ("bad-data", 65),
            Self::NotFound => ("not-found", 66),
            Self::Unavailable => ("unavailable", 69),
            Self::CannotCreate => ("cannot-create", 73),
            Self::Io => ("io", 74),
            Self::TryAgain => ("try-again", 75),
            Self::Denied => ("denied", 77),
            Self::Interrupted => ("interrupted", 130),
        }
    }
}

const MORE_MEMORY: &str = "allow more memory (ulimit -v), or end what uses it";

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {$(
        #[doc = concat!("An error of [`ErrorKind::", stringify!($kind), "`] with this message.")]
        pub fn $name(message: impl Into<String>) -> Self {
            let kind = ErrorKind::$kind;
            Self { kind, message: message.into(), hint: None, source: None }
        }
    )*};
}

impl Error {
    constructors! {
        internal => Internal,
        usage => Usage,
        bad_data => BadData,
        not_found => NotFound,
        unavailable => Unavailable,
        cannot_create => CannotCreate,
        io => Io,
        try_again => TryAgain,
        denied => Denied,
        interrupted => Interrupted,
    }

    /// What a failed look at a file of the host is, by what the host answered: not found, denied,
    /// or a fault of input and output.
    #[must_use]
    pub fn of_file(message: impl Into<String>, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::not_found(message),
            io::ErrorKind::PermissionDenied => Self::denied(message),
            _ => Self::io(message),
        }
        .with_source(error)
    }

    /// What a failed write to an output is: one that does not fit cannot be made.
    #[must_use]
    pub fn of_write(message: impl Into<String>, why: io::ErrorKind) -> Self {
        match why {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::cannot_create(message).with_hint("free some space")
            }
            io::ErrorKind::FileTooLarge if is_file_size_limited() => {
                Self::io(message).with_hint("raise the limit of a file's size (ulimit -f)")
            }
            io::ErrorKind::FileTooLarge => Self::cannot_create(message)
                .with_hint("the filesystem of the output holds no file that large; take another"),
            io::ErrorKind::OutOfMemory => Self::try_again(message).with_hint(MORE_MEMORY),
            _ => Self::io(message),
        }
    }

    /// A thread that the system does not grant: for all processes of the user, or for the memory
    /// of its stack.
    #[must_use]
    pub fn no_thread(message: impl Into<String>, error: io::Error) -> Self {
        Self::try_again(message).with_source(error).with_hint(
            "allow more processes and threads (ulimit -u) or more memory (ulimit -v), or end some",
        )
    }

    /// The same error with its source, which ends the message.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(Arc::from(source.into())), ..self }
    }

    /// The same error with something to try, said after a semicolon.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same error with what was being done before its message.
    #[must_use]
    pub fn with_prefix(self, doing: &str) -> Self {
        Self { message: format!("{doing}: {}", self.message), ..self }
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The exit code of its kind.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// What to try, when there is advice.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message and its sources, without the hint.
    #[must_use]
    pub fn message(&self) -> String {
        let mut line = self.message.clone();
        let mut source: Option<&dyn StdError> = match &self.source {
            Some(source) => Some(&**source),
            None => None,
        };
        while let Some(current) = source {
            let text = current.to_string();
            // Some libraries repeat their source in their own message.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = current.source();
        }
        line
    }

    /// The [`Error`] that went through an interface as an [`io::Error`], or what `otherwise` makes
    /// of a true I/O error.
    pub fn from_io(error: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        error.downcast().unwrap_or_else(otherwise)
    }
}

/// Whether this process may not make files as large as the filesystem could hold.
fn is_file_size_limited() -> bool {
    getrlimit(Resource::Fsize).current.is_some()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {}

impl From<Error> for io::Error {
    /// Carries an error through an interface that knows [`io::Error`] only; [`Error::from_io`]
    /// takes it out again.
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ends_with_the_cause_and_the_hint_follows() {
        let error = Error::io("cannot read layer 2")
            .with_source(std::io::Error::other("disk on fire"))
            .with_hint("put it out");
        assert_eq!(error.to_string(), "cannot read layer 2: disk on fire; put it out");
        assert_eq!((error.kind().name(), error.exit_code()), ("io", 74));
    }

    #[test]
    fn an_error_survives_the_way_through_io() {
        let sent = io::Error::from(Error::denied("no"));
        assert_eq!(Error::from_io(sent, |_| Error::internal("lost")).exit_code(), 77);
        let foreign = io::Error::other("disk on fire");
        assert_eq!(
            Error::from_io(foreign, |cause| Error::io("reading").with_source(cause)).exit_code(),
            74
        );
    }
}
