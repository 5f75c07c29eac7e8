//! Secrets, and what a registry is shown of them.

use std::fmt;

/// A password or a token. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, to be sent to whom it is for.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a registry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A user name and a password.
    Password(Secret, Secret),
    /// A token by which the token server knows the user (docker's `identitytoken`), and the name
    /// and password beside it for a server that does not know tokens.
    Identity(Secret, Option<(Secret, Secret)>),
    /// A token that the registry itself takes (docker's `registrytoken`).
    Bearer(Secret),
}

impl Credentials {
    /// A user name and a password; helpers give identity tokens to the user `<token>`.
    ///
    /// Source: docker/docker-credential-helpers, README, "Credentials for identity tokens".
    pub(super) fn of_user(user: String, password: String) -> Self {
        if user == "<token>" {
            return Self::Identity(Secret::new(password), None);
        }
        Self::Password(Secret::new(user), Secret::new(password))
    }

    /// Whether a text repeats one of the secrets, as it is or as a header shows it.
    #[must_use]
    pub fn are_repeated_in(&self, text: &str) -> bool {
        use base64::Engine as _;
        let tells = |secret: &str| !secret.is_empty() && text.contains(secret);
        let tells_pair = |user: &Secret, password: &Secret| {
            let pair = format!("{}:{}", user.reveal(), password.reveal());
            let shown = base64::engine::general_purpose::STANDARD.encode(pair);
            tells(password.reveal()) || tells(&shown)
        };
        match self {
            Self::Password(user, password) => tells_pair(user, password),
            Self::Identity(token, None) | Self::Bearer(token) => tells(token.reveal()),
            Self::Identity(token, Some((user, password))) => {
                tells(token.reveal()) || tells_pair(user, password)
            }
        }
    }

    /// What they are, without what they say.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Password(..) => "user name and password",
            Self::Identity(..) => "identity token",
            Self::Bearer(_) => "registry token",
        }
    }
}

/// Credentials, and who knew them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundCredentials {
    /// The credentials.
    pub credentials: Credentials,
    /// The file with the key, or the helper with the file that names it.
    pub source: String,
}
