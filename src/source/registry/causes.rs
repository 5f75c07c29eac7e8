//! What is behind an error of the HTTP client.

use std::error::Error as StdError;

/// The first cause of an error that is of this type.
pub(super) fn cause<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The fault of TLS among the causes of an error. It hides in I/O errors, which name the causes of
/// what they hold but not what they hold.
pub(super) fn tls_fault<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(fault) = error.downcast_ref() {
        return Some(fault);
    }
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(inner) => tls_fault(inner),
        None => tls_fault(error.source()?),
    }
}
