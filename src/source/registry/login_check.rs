//! What a registry says to the credentials that are found for it.

use reqwest::StatusCode;

use super::connection::Connection;
use super::object::Subject;
use crate::error::{Error, ErrorKind, Result};

/// What a registry says to the credentials that were found for it.
#[derive(Debug)]
pub struct LoginCheck {
    /// The file or helper that knew credentials.
    pub source: Option<String>,
    /// What they are, without what they say.
    pub kind: Option<&'static str>,
    /// The schemes that the registry asked for; none when it did not ask who we are.
    pub schemes: Vec<String>,
    /// Whether the image is there for us.
    pub exists: bool,
    /// Why the registry refused us.
    pub refusal: Option<Error>,
}

impl Connection {
    /// Shows the registry the credentials that are found for it.
    pub(super) async fn check_login(&self, subject: Subject) -> Result<LoginCheck> {
        let (status, refusal) = match self.client.ask(subject).await {
            // What the token server answers counts as the registry's answer.
            Err(error) if error.kind() == ErrorKind::Denied => {
                (StatusCode::UNAUTHORIZED, Some(error))
            }
            answer => answer?,
        };
        let upstream = self.client.upstream()?;
        let found = upstream.credentials().await?;
        let is_refused = matches!(status.as_u16(), 401 | 403);
        let is_missing = status.as_u16() == 404;
        let refusal = match refusal {
            Some(error) if !is_refused && !is_missing => return Err(error),
            refusal => refusal.filter(|_| is_refused),
        };
        Ok(LoginCheck {
            source: found.map(|found| found.source.clone()),
            kind: found.map(|found| found.credentials.kind()),
            schemes: upstream.asked().await,
            exists: status.is_success(),
            refusal,
        })
    }
}
