//! What an image runs on, and which entry of an index suits it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// An operating system and a processor, in Go's names as the image-spec prescribes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor.
    pub architecture: String,
    /// Its generation; none for the one that the architecture's name means alone.
    pub variant: Option<String>,
    /// What the operating system must be able to do: `os.features`. No system here has any.
    pub os_features: Vec<String>,
}

/// How many platforms an error lists.
const MAX_LISTED: usize = 20;

impl Platform {
    /// A platform by its canonical names, normalised as containerd does: `x86_64` is `amd64`,
    /// `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    ///
    /// Source: containerd/platforms, database.go, `normalizeArch`.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let variant = variant.unwrap_or_default().to_ascii_lowercase();
        let architecture = architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "i686", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        let variant = Some(variant.to_owned()).filter(|variant| !variant.is_empty());
        Self { os, architecture: architecture.to_owned(), variant, os_features: Vec::new() }
    }

    /// The same with what its system must be able to do.
    #[must_use]
    pub fn needing(mut self, os_features: Vec<String>) -> Self {
        self.os_features = os_features;
        self.os_features.retain(|feature| !feature.is_empty());
        self
    }

    /// Linux on the processor that this program runs on.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture, None)
    }

    /// How well an image for `offered` runs here: 0 is exactly, more is worse, nothing is not.
    ///
    /// The order is containerd's (`platforms.OnlyStrict`): an older variant of the same
    /// architecture runs, another architecture does not, since a root disk brings no emulation.
    #[must_use]
    pub fn distance(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.architecture != offered.architecture {
            return None;
        }
        if !offered.os_features.iter().all(|feature| self.os_features.contains(feature)) {
            return None;
        }
        if self.variant == offered.variant {
            return Some(0);
        }
        let oldest = match self.architecture.as_str() {
            "amd64" => Generation { major: 1, minor: 0 },
            "arm" => Generation { major: 5, minor: 0 },
            "arm64" => Generation { major: 8, minor: 0 },
            _ => return None,
        };
        let generation = |platform: &Self| match &platform.variant {
            Some(variant) => Generation::parse(variant),
            None => Some(oldest),
        };
        let (wanted, offered) = (generation(self)?, generation(offered)?);
        (oldest <= offered && offered <= wanted).then(|| wanted.distance(offered))
    }

    /// The best of `offers` for this platform: its place among them.
    #[must_use]
    pub fn choose<'a>(&self, offers: impl Iterator<Item = Option<&'a Self>>) -> Option<usize> {
        offers
            .enumerate()
            .filter_map(|(place, offer)| Some((self.distance(offer?)?, place)))
            .min()
            .map(|(_, place)| place)
    }

    /// Whether an index uses this entry for something else, such as the attestations of `BuildKit`.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

/// The number in a variant: `v8` or, for the minor versions of Arm, `v8.2`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Generation {
    major: u8,
    minor: u8,
}

impl Generation {
    fn parse(variant: &str) -> Option<Self> {
        let number = variant.strip_prefix('v')?;
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    fn distance(self, older: Self) -> u32 {
        let rank = |generation: Self| {
            u32::from(generation.major).saturating_mul(0x100) + u32::from(generation.minor)
        };
        rank(self).saturating_sub(rank(older))
    }
}

/// What there is, for people: each platform once, without the entries that are no images.
pub(super) fn list<'a>(offers: impl Iterator<Item = Option<&'a Platform>>) -> String {
    let mut names: Vec<String> = Vec::new();
    for offer in offers {
        let name = match offer {
            Some(platform) if platform.is_unknown() => continue,
            Some(platform) => super::excerpt(&platform.to_string()),
            None => "an entry without a platform".to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
        if names.len() > MAX_LISTED {
            names.pop();
            names.push("more".to_owned());
            break;
        }
    }
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The architectures that may stand alone, by all names that [`Platform::new`] knows and those of Go.
const ARCHITECTURES: [&str; 18] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x",
    "i386", "i686", "x86_64", "x86-64", "aarch64", "armhf", "armel", "mips64",
];

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_word = |word: &str| {
            word.starts_with(|first: char| first.is_ascii_alphanumeric())
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        let words: Vec<&str> = text.split('/').collect();
        match words.as_slice() {
            _ if !words.iter().all(|word| is_word(word)) => {}
            // An architecture alone is linux's; the name of a system is none.
            [architecture] if ARCHITECTURES.contains(&&*architecture.to_ascii_lowercase()) => {
                return Ok(Self::new("linux", architecture, None));
            }
            [os, architecture] => return Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => return Ok(Self::new(os, architecture, Some(variant))),
            _ => {}
        }
        Err(Error::usage(format!("\"{}\" is not a platform", super::excerpt(text)))
            .with_hint("write os/architecture or os/architecture/variant, such as linux/arm64; arm64 alone is linux's"))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.os)?;
        if !self.os_features.is_empty() {
            write!(f, "(+{})", self.os_features.join("+"))?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_normalised_as_containerd_does() {
        for (text, canonical) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(platform(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn malformed_platforms_are_usage_errors() {
        for text in ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/../x"] {
            assert_eq!(text.parse::<Platform>().unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn the_nearest_compatible_entry_wins() {
        for (wanted, offers, chosen) in [
            ("linux/amd64", &["linux/arm64", "linux/amd64"][..], Some(1)),
            ("linux/amd64", &["linux/amd64/v3", "linux/amd64"], Some(1)),
            ("linux/amd64", &["linux/amd64/v3"], None),
            ("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
            ("linux/amd64", &["linux/386"], None),
            ("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], Some(1)),
            ("linux/arm/v6", &["linux/arm/v7"], None),
            ("linux/arm64", &["linux/arm64/v8"], Some(0)),
            ("linux/arm64", &["linux/arm64/v9"], None),
            ("linux/arm64/v9", &["linux/arm64/v8", "linux/arm64/v8.2"], Some(1)),
            ("linux/arm64", &["linux/arm/v7"], None),
            ("linux/amd64", &["windows/amd64", "unknown/unknown"], None),
            ("linux/ppc64le", &["linux/ppc64le/power9"], None),
            ("linux/amd64", &["linux/amd64", "linux/amd64"], Some(0)),
        ] {
            let offers: Vec<Platform> = offers.iter().map(|text| platform(text)).collect();
            let found = platform(wanted).choose(offers.iter().map(Some));
            assert_eq!(found, chosen, "{wanted} among {offers:?}");
        }
    }

    #[test]
    fn r22_an_entry_that_needs_features_of_its_system_never_matches() {
        let erofs = platform("linux/amd64").needing(vec!["erofs".to_owned()]);
        let nothing = platform("linux/amd64").needing(vec![String::new()]);
        assert_eq!(platform("linux/amd64").choose([Some(&erofs)].into_iter()), None);
        assert_eq!(
            platform("linux/amd64").choose([Some(&erofs), Some(&nothing)].into_iter()),
            Some(1)
        );
        assert_eq!(list([Some(&erofs)].into_iter()), "linux(+erofs)/amd64");
    }

    #[test]
    fn the_list_for_people_has_each_platform_once_and_no_attestations() {
        let offers = ["linux/amd64", "unknown/unknown", "linux/amd64", "linux/arm64"].map(platform);
        let listed = list(offers.iter().map(Some).chain([None]));
        assert_eq!(listed, "linux/amd64, linux/arm64, an entry without a platform");
        assert_eq!(list(std::iter::empty()), "none");
    }

    #[test]
    fn the_list_for_people_is_bounded() {
        let offers: Vec<Platform> =
            (0..1000).map(|number| Platform::new("linux", &format!("cpu{number}"), None)).collect();
        assert!(list(offers.iter().map(Some)).ends_with("linux/cpu19, more"));
    }
}
