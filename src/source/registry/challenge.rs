//! What a registry asks for when it answers 401: the schemes in `WWW-Authenticate`.
//!
//! Source of the grammar: RFC 9110, sections 5.6 and 11; of the parameters: the distribution
//! project's "Token Authentication Specification".

use std::iter::Peekable;
use std::str::Chars;

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// How much of all challenges is read.
const MAX_LENGTH: usize = 16 << 10;

/// One way to log in that a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Its name in lower case.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter; names are in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer. What is no challenge is passed over, as the grammar's own text
/// asks: a server may offer schemes that we have never heard of.
pub(super) fn all(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut length = 0_usize;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Ok(text) = value.to_str() else { continue };
        length = length.saturating_add(text.len());
        if length > MAX_LENGTH {
            break;
        }
        parse(text, &mut found);
    }
    found
}

fn parse(text: &str, found: &mut Vec<Challenge>) {
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace() || *c == ',').is_some() {}
        let word = token(&mut rest);
        if word.is_empty() {
            // A stray character: nothing that follows can be told apart with certainty.
            return;
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.next_if_eq(&'=').is_none() {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
            continue;
        }
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let value = match rest.next_if_eq(&'"') {
            Some(_) => quoted(&mut rest),
            None => token(&mut rest),
        };
        if let Some(challenge) = found.last_mut() {
            challenge.parameters.push((word.to_ascii_lowercase(), value));
        }
    }
}

fn token(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| is_in_token(*c)) {
        word.push(c);
    }
    word
}

/// The characters of a token, and those that servers forget to quote: addresses have them.
fn is_in_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:@?".contains(c)
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => value.extend(rest.next()),
            c => value.push(c),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        all(&headers)
    }

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Challenge { scheme: scheme.to_owned(), parameters: parameters.iter().map(owned).collect() }
    }

    #[test]
    fn every_challenge_of_every_header_is_seen() {
        let bearer = [("realm", "https://a/t"), ("service", "s,1"), ("scope", "repository:x:pull")];
        let text = r#"Bearer realm="https://a/t",service="s,1",scope="repository:x:pull""#;
        let (bearer, basic) = (challenge("bearer", &bearer), challenge("basic", &[("realm", "r")]));
        assert_eq!(read(&[text]), std::slice::from_ref(&bearer));
        assert_eq!(read(&[text, "BASIC Realm=\"r\""]), [bearer.clone(), basic.clone()]);
        assert_eq!(read(&[&format!("Basic realm=r , {text}")]), [basic, bearer]);
    }

    #[test]
    fn quotes_are_taken_off_and_unknown_schemes_kept_apart() {
        assert_eq!(
            read(&[r#"Negotiate, Basic realm="say \"hi\"", charset="UTF-8""#]),
            [
                challenge("negotiate", &[]),
                challenge("basic", &[("realm", "say \"hi\""), ("charset", "UTF-8")])
            ]
        );
    }

    #[test]
    fn nonsense_gives_nothing_and_ends() {
        for text in ["", "=", "\"", ",,,", "Bearer realm=\"", "Bearer =", "a=b=c"] {
            assert!(read(&[text]).iter().all(|found| found.scheme == "bearer"), "{text}");
        }
        assert_eq!(read(&[&"Basic ".repeat(1 << 20)]), []);
    }
}
