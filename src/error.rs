//! Every way in which a command can fail, and the exit code of each.

use std::error::Error as StdError;
use std::{fmt, io};

use rustix::process::{Resource, getrlimit};

/// A boxed cause, kept for the last part of the message.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong: a class that decides the exit code, and one line for people.
///
/// The line says what was being done, to what, with which numbers; the hint says what to try.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A promise of banger's own code broke (exit code 1).
    Internal(Detail),
    /// The words of the command do not make sense (exit code 2).
    Usage(Detail),
    /// A blob, an archive or an image holds what it must not (exit code 65).
    BadData(Detail),
    /// The image, platform, blob or input file does not exist (exit code 66).
    NotFound(Detail),
    /// The registry could not be reached or answered with a fault of its own (exit code 69).
    Unavailable(Detail),
    /// The output cannot be made: it exists, it does not fit, or its directory refuses (exit code 73).
    CannotCreate(Detail),
    /// Reading or writing a local file failed (exit code 74).
    Io(Detail),
    /// The same call may succeed later: rate limits, busy locks (exit code 75).
    TryAgain(Detail),
    /// The registry or the host refused access (exit code 77).
    Denied(Detail),
    /// The user or the system asked to stop (exit code 130).
    Interrupted(Detail),
}

/// The text of an [`Error`].
#[derive(Debug)]
pub struct Detail {
    message: String,
    hint: Option<String>,
    cause: Option<Cause>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($name:ident => $variant:ident),* $(,)?) => {$(
        #[doc = concat!("An [`Error::", stringify!($variant), "`] with this message.")]
        pub fn $name(message: impl Into<String>) -> Self {
            Self::$variant(Detail { message: message.into(), hint: None, cause: None })
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
        .because(error)
    }

    /// What a failed write to an output is: one that does not fit cannot be made.
    #[must_use]
    pub fn of_write(message: impl Into<String>, why: io::ErrorKind) -> Self {
        match why {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::cannot_create(message).hint("free some space")
            }
            io::ErrorKind::FileTooLarge if is_file_size_limited() => {
                Self::io(message).hint("raise the limit of a file's size (ulimit -f)")
            }
            io::ErrorKind::FileTooLarge => Self::cannot_create(message)
                .hint("the filesystem of the output holds no file that large; take another"),
            _ => Self::io(message),
        }
    }

    /// A thread that the system does not grant: for all processes of the user, or for the memory
    /// of its stack.
    #[must_use]
    pub fn no_thread(message: impl Into<String>, error: io::Error) -> Self {
        Self::try_again(message).because(error).hint(
            "allow more processes and threads (ulimit -u) or more memory (ulimit -v), or end some",
        )
    }

    /// The same error with its cause, which ends the message.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.detail_mut().cause = Some(cause.into());
        self
    }

    /// The same error with something to try, said after a semicolon.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail_mut().hint = Some(hint.into());
        self
    }

    /// The exit code of the class, after sysexits.h.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.class().1
    }

    /// The name of the class, for machines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.class().0
    }

    /// What to try, when there is advice.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.detail().hint.as_deref()
    }

    /// The message and its causes, without the hint.
    #[must_use]
    pub fn message(&self) -> String {
        let mut line = self.detail().message.clone();
        let mut cause = self.detail().cause.as_ref().map(as_dyn);
        while let Some(current) = cause {
            let text = current.to_string();
            // Some libraries repeat their cause in their own message.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = current.source();
        }
        line
    }

    fn class(&self) -> (&'static str, u8) {
        match self {
            Self::Internal(_) => ("internal", 1),
            Self::Usage(_) => ("usage", 2),
            Self::BadData(_) => ("bad-data", 65),
            Self::NotFound(_) => ("not-found", 66),
            Self::Unavailable(_) => ("unavailable", 69),
            Self::CannotCreate(_) => ("cannot-create", 73),
            Self::Io(_) => ("io", 74),
            Self::TryAgain(_) => ("try-again", 75),
            Self::Denied(_) => ("denied", 77),
            Self::Interrupted(_) => ("interrupted", 130),
        }
    }

    fn detail(&self) -> &Detail {
        match self {
            Self::Internal(detail)
            | Self::Usage(detail)
            | Self::BadData(detail)
            | Self::NotFound(detail)
            | Self::Unavailable(detail)
            | Self::CannotCreate(detail)
            | Self::Io(detail)
            | Self::TryAgain(detail)
            | Self::Denied(detail)
            | Self::Interrupted(detail) => detail,
        }
    }

    fn detail_mut(&mut self) -> &mut Detail {
        match self {
            Self::Internal(detail)
            | Self::Usage(detail)
            | Self::BadData(detail)
            | Self::NotFound(detail)
            | Self::Unavailable(detail)
            | Self::CannotCreate(detail)
            | Self::Io(detail)
            | Self::TryAgain(detail)
            | Self::Denied(detail)
            | Self::Interrupted(detail) => detail,
        }
    }
}

/// Whether this process may not make files as large as the filesystem could hold.
fn is_file_size_limited() -> bool {
    getrlimit(Resource::Fsize).current.is_some()
}

fn as_dyn(cause: &Cause) -> &(dyn StdError + 'static) {
    &**cause
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self.advice() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {}

impl From<Error> for io::Error {
    /// Carries an error through an interface that knows [`io::Error`] only; [`carried`] takes it
    /// out again.
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The [`Error`] that `error` carries, or what `otherwise` makes of a true I/O error.
pub fn carried(error: io::Error, otherwise: impl FnOnce(io::Error) -> Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ends_with_the_cause_and_the_hint_follows() {
        let error = Error::io("cannot read layer 2")
            .because(std::io::Error::other("disk on fire"))
            .hint("put it out");
        assert_eq!(error.to_string(), "cannot read layer 2: disk on fire; put it out");
        assert_eq!((error.kind(), error.exit_code()), ("io", 74));
    }

    #[test]
    fn an_error_survives_the_way_through_io() {
        let sent = io::Error::from(Error::denied("no"));
        assert_eq!(carried(sent, |_| Error::internal("lost")).exit_code(), 77);
        let foreign = io::Error::other("disk on fire");
        assert_eq!(carried(foreign, |cause| Error::io("reading").because(cause)).exit_code(), 74);
    }
}
