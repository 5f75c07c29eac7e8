//! What an image gets so that it runs as a machine: agents, an init that starts its program, and
//! a description of itself.
//!
//! All of it is applied through the [`Flattener`] as further layers, and follows from the image
//! and the options alone.

mod bundle;
mod description;
mod init;
pub(crate) mod places;
mod quote;
mod tools;
mod units;
mod user;

use ext4_writer::Timestamp;

use crate::error::{Error, Result};
use crate::flatten::{Flattener, ReadableTarget, Target};
use crate::inject::{Adding, TreeHasher};
use crate::layer::{Entry, EntryKind, Limits};
use crate::source::{self, Config};
use init::Program;
use tools::Tools;
use user::Names;

pub(crate) use bundle::Bundle;
pub(crate) use description::{DESCRIPTION_PATH, Description, MAX_DESCRIPTION};

/// What an image is to get.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// Agents, each a layer behind those of the image.
    pub bundles: Vec<Bundle>,
    /// How a container of it would be run, if an init is to do so.
    pub start: Option<Config>,
    /// What it says of itself, if it is to.
    pub description: Option<Description>,
}

/// The directories that the init mounts on, and their permissions.
const MOUNT_POINTS: [(&[u8], u16); 5] =
    [(b"/proc", 0o555), (b"/sys", 0o555), (b"/dev", 0o755), (b"/run", 0o755), (b"/tmp", 0o1777)];

impl Guest {
    /// Refuses what no tree can make good, before the long work.
    pub fn check(&self) -> Result<()> {
        self.start.as_ref().map_or(Ok(()), |config| Program::of(config).map(drop))
    }

    /// Puts the agents into the image, which has its layers by now.
    pub fn apply_bundles<T: ReadableTarget>(
        &self,
        image: &mut Flattener<'_, T>,
        limits: &Limits,
        adding: &mut Adding<'_>,
    ) -> Result<()> {
        self.bundles.iter().try_for_each(|bundle| bundle.apply(image, limits, adding))
    }

    /// Puts the rest into the image, which has all its other files by now: the init, and a
    /// description, which is returned as it became. `hasher` learns both.
    pub fn apply<T: ReadableTarget>(
        &self,
        image: &mut Flattener<'_, T>,
        mut description: Option<Description>,
        time: Timestamp,
        hasher: &mut TreeHasher,
    ) -> Result<Option<Description>> {
        let script = match &self.start {
            Some(config) => Some(start(image, config, description.as_mut())?),
            None => None,
        };
        if script.is_none() && description.is_none() {
            return Ok(None);
        }
        image.begin_addition("the guest's own files")?;
        if let Some(script) = script {
            for (path, mode) in MOUNT_POINTS {
                if !image.has_directory(path)? {
                    let entry = Entry::new(path, EntryKind::Directory, mode, time);
                    image.apply(&entry, &mut std::io::empty())?;
                }
            }
            hasher.field(b"init")?;
            hasher.field(script.as_bytes())?;
            put(image, places::INIT, 0o755, script.as_bytes(), time)?;
        }
        if let Some(description) = &description {
            let document = description.inside()?;
            hasher.field(b"description")?;
            hasher.field(&document)?;
            put(image, DESCRIPTION_PATH, 0o644, &document, time)?;
        }
        image.end_layer()?;
        Ok(description)
    }
}

/// Puts an init into a finished image, which starts it as the config in its description says, and
/// which the description tells of.
pub(crate) fn add_init<T: ReadableTarget>(
    image: &mut Flattener<'_, T>,
    limits: &source::Limits,
    adding: &mut Adding<'_>,
) -> Result<()> {
    let missing = |what: &str| {
        Error::not_found(format!("cannot add an init: {what}"))
            .with_hint("image pull and build describe an image with --metadata or --init")
    };
    let most = usize::try_from(MAX_DESCRIPTION).unwrap_or(usize::MAX);
    let document = image.read(DESCRIPTION_PATH.as_bytes(), most)?;
    let document = document.ok_or_else(|| missing(&format!("there is no {DESCRIPTION_PATH}")))?;
    let (description, config) = Description::read(&document)?;
    let config = config.ok_or_else(|| missing(&format!("{DESCRIPTION_PATH} has no config")))?;
    let start = Some(Config::parse(config, limits)?);
    let guest = Guest { start, ..Guest::default() };
    guest.check()?;
    guest.apply(image, Some(description), adding.epoch, adding.hasher).map(drop)
}

/// The script that starts an image as its config says.
fn start<T: ReadableTarget>(
    image: &mut Flattener<'_, T>,
    config: &Config,
    description: Option<&mut Description>,
) -> Result<String> {
    let program = Program::of(config)?;
    let passwd = image.read(b"/etc/passwd", user::MAX_FILE)?;
    let group = image.read(b"/etc/group", user::MAX_FILE)?;
    let user = Names::parse(passwd.as_deref(), group.as_deref())?.resolve(&config.user)?;
    let tools = Tools::find(image, &user)?;
    if let Some(description) = description {
        description.set_start(&program, &user, &tools);
    }
    program.script(&user, &tools)
}

fn put<T: Target>(
    image: &mut Flattener<'_, T>,
    path: &str,
    mode: u16,
    content: &[u8],
    time: Timestamp,
) -> Result<()> {
    let mut file = Entry::new(path, EntryKind::Regular, mode, time);
    file.size = u64::try_from(content.len()).unwrap_or(u64::MAX);
    image.apply(&file, &mut &*content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatten::tests::{flatten_and, layer};

    fn config(user: &str) -> Config {
        let program = vec!["/bin/app".to_owned()];
        Config { entrypoint: program, user: user.to_owned(), ..Config::default() }
    }

    /// The tree of an image that got an init, without the script's text.
    fn started(image: &str, config: Config) -> Result<String> {
        let guest = Guest { start: Some(config), ..Guest::default() };
        let image = vec![layer(image)];
        let outcome = flatten_and(image, 5, |flattener| {
            let time = Timestamp::from_seconds(5);
            guest.apply(flattener, None, time, &mut TreeHasher::default()).map(drop)
        })?;
        let words =
            outcome.tree.split(' ').filter(|word| word.contains('/') || word.contains("->"));
        let names = words.map(|word| word.split_once('=').map_or(word, |(name, _)| name));
        Ok(names
            .filter(|name| !name.starts_with(['\'', '"', '$', '#']))
            .collect::<Vec<_>>()
            .join(" "))
    }

    const TOOLS: &str =
        "mode:755 usr/ usr/sbin/ sbin->usr/sbin bin/ bin/sh=# bin/mount=# bin/env=#";

    #[test]
    fn the_init_stands_inside_the_image_whatever_its_links_say() {
        let tree = started(&format!("{TOOLS} usr/sbin/banger-init->/etc/shadow proc/"), config(""));
        let tree = tree.unwrap();
        for name in ["proc/", "sys/[555,@5]", "dev/[@5]", "run/[@5]", "tmp/[1777,@5]"] {
            assert!(tree.split(' ').any(|word| word == name), "{name}: {tree}");
        }
        assert!(tree.contains("usr/sbin/banger-init ") || tree.ends_with("usr/sbin/banger-init"));
        assert!(!tree.contains("etc/shadow"), "{tree}");
    }

    #[test]
    fn users_come_from_the_image_and_never_from_the_host() {
        // Every host knows daemon; this image does not.
        let error = started(TOOLS, config("daemon")).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("/etc/passwd knows no user \"daemon\""), "{error}");
        // Nor does it through a link that would lead out of it.
        let link = format!("{TOOLS} etc/ etc/passwd->../../../../../../etc/passwd");
        assert_eq!(started(&link, config("daemon")).unwrap_err().exit_code(), 65);
        let known = format!("{TOOLS} bin/setpriv=# etc/ etc/passwd=daemon:x:5:6::/:");
        started(&known, config("daemon")).unwrap();
        let cannot = format!("{TOOLS} etc/ etc/passwd=daemon:x:5:6::/:");
        let error = started(&cannot, config("daemon")).unwrap_err();
        assert!(error.to_string().contains("to run as 5:6, and the image has nothing"), "{error}");
    }
}
