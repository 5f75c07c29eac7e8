//! Which image of several is meant: by name, and by platform.

use super::image_reference::Choice;
use super::manifest::{Index, IndexEntry};
use super::platform::{self, Platform};
use super::{Config, Reference, excerpt};
use crate::error::{Error, Result};

/// How many names an error lists.
const MAX_LISTED: usize = 20;

/// The entry of an index that suits the platform best. `reference` is for messages.
pub(super) fn by_platform(
    index: Index,
    platform: &Platform,
    reference: &str,
) -> Result<IndexEntry> {
    let entries = index.entries;
    let offers = || entries.iter().map(|entry| entry.platform.as_ref());
    let chosen = platform.choose(offers()).or_else(|| {
        // A lone entry without a platform may suit: its config will tell.
        let mut nameless = offers().enumerate().filter(|(_, offer)| offer.is_none());
        let (place, _) = nameless.next()?;
        nameless.next().is_none().then_some(place)
    });
    let list = platform::list(offers());
    chosen.and_then(|place| entries.into_iter().nth(place)).ok_or_else(|| {
        Error::not_found(format!("{reference} has no image for {platform}; it has: {list}"))
            .with_hint("--platform chooses another")
    })
}

/// What the image runs on. The index is believed before the config: builders are known to leave
/// their own architecture in the configs of other platforms.
pub(super) fn resolve_platform(
    wanted: &Platform,
    promised: Option<Platform>,
    config: &Config,
    reference: &str,
) -> Result<Platform> {
    let Some(offered) = promised.or_else(|| config.platform()) else {
        return Ok(wanted.clone());
    };
    if wanted.distance(&offered).is_some() {
        return Ok(offered);
    }
    let shown = excerpt(&offered.to_string());
    let error = Error::not_found(format!("{reference} is for {shown}, not for {wanted}"));
    if offered.os_features.is_empty() {
        return Err(error.with_hint(format!("--platform {shown} takes it as it is")));
    }
    Err(error.with_hint("no system here has such os.features: ask for an image without them"))
}

/// The places among `images`, each given by its names, that the choice means: one, or several of
/// one image that differ in their platforms.
///
/// Without a choice there must be no question: all images have the same names.
pub(super) fn by_name(
    images: &[Vec<String>],
    choice: Option<&str>,
    reference: &str,
) -> Result<Vec<usize>> {
    let Some(wanted) = choice else {
        let first = images
            .first()
            .ok_or_else(|| Error::not_found(format!("{reference} holds no image")))?;
        if images.iter().any(|names| names != first) {
            let list = list(images);
            return Err(Error::usage(format!("{reference} holds several images: {list}"))
                .with_hint("say which one after a colon: its name, or @ and its number from 0"));
        }
        return Ok((0..images.len()).collect());
    };
    let means = |names: &&Vec<String>| names.iter().any(|name| is_name(name, wanted));
    let places: Vec<usize> = images
        .iter()
        .enumerate()
        .filter_map(|(place, names)| means(&names).then_some(place))
        .collect();
    if places.is_empty() {
        let (wanted, list) = (excerpt(wanted), list(images));
        return Err(Error::not_found(format!("{reference} has no image {wanted}; it has: {list}")));
    }
    Ok(places)
}

/// The image that a choice by number or digest means, or what by-name needs.
pub(super) fn name_of(choice: Option<&Choice>) -> Option<&str> {
    match choice {
        Some(Choice::Name(name)) => Some(name),
        _ => None,
    }
}

/// A name is meant when it is written so, or when both are the same reference in full.
fn is_name(name: &str, wanted: &str) -> bool {
    let reference = |text: &str| text.parse::<Reference>().ok();
    name == wanted || reference(name).is_some_and(|name| Some(name) == reference(wanted))
}

fn list(images: &[Vec<String>]) -> String {
    let mut shown: Vec<String> = Vec::new();
    for (place, names) in images.iter().enumerate() {
        if shown.len() == MAX_LISTED {
            shown.push("more".to_owned());
            break;
        }
        match names.first() {
            Some(name) => shown.push(excerpt(name)),
            None => shown.push(format!("@{place} without a name")),
        }
    }
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[&[&str]]) -> Vec<Vec<String>> {
        names.iter().map(|names| names.iter().map(|&name| name.to_owned()).collect()).collect()
    }

    #[test]
    fn a01_a_name_an_only_image_or_the_list_of_names() {
        let two = images(&[&["v1", "docker.io/library/app:v1"], &["v2"]]);
        assert_eq!(by_name(&two, Some("v2"), "x").unwrap(), [1]);
        assert_eq!(by_name(&two, Some("app:v1"), "x").unwrap(), [0]);
        let error = by_name(&two, None, "x").unwrap_err();
        assert_eq!((error.exit_code(), error.message().contains("v1, v2")), (2, true), "{error}");
        let error = by_name(&two, Some("v3"), "x").unwrap_err();
        assert_eq!((error.exit_code(), error.message().contains("v1, v2")), (66, true), "{error}");
        assert_eq!(by_name(&images(&[&["v1"]]), None, "x").unwrap(), [0]);
        // Several platforms straight in index.json.
        assert_eq!(by_name(&images(&[&[], &[]]), None, "x").unwrap(), [0, 1]);
        assert_eq!(by_name(&images(&[&["a"], &["a"]]), Some("a"), "x").unwrap(), [0, 1]);
        assert_eq!(by_name(&[], None, "x").unwrap_err().exit_code(), 66);
    }

    #[test]
    fn the_list_of_names_is_bounded() {
        let many: Vec<Vec<String>> = (0..1000).map(|n| vec![n.to_string()]).collect();
        assert!(by_name(&many, None, "x").unwrap_err().message().ends_with("19, more"));
    }
}
