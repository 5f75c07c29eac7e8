//! `banger disk create --from IMAGE.ext4`: a copy of a filesystem, with another identity and size.

use std::path::{Path, PathBuf};

use super::Create;
use crate::cli::epoch::{now, source_date_epoch};
use crate::cli::signals::interruption;
use crate::edit::{Copied, Copy, CopySize};
use crate::error::{Error, Result};
use crate::image::{CheckedOutput, ImageSize, OutputKind, Root, random_uuid};
use crate::shown::path as shown;
use crate::source::ImageReference;

impl Create {
    /// The copy of the filesystem in a file that is asked for.
    pub(super) fn copied(self, from: PathBuf, checked: &CheckedOutput) -> Result<Copied> {
        self.refuse_options_of_new(&from)?;
        let size = match (self.disk.given_size(), &checked.kind) {
            (Some(ImageSize::Fixed(bytes)), _) => CopySize::Exactly(bytes),
            (Some(_), _) => return Err(makes_anew(&from, "--size fit")),
            (None, OutputKind::Device(_)) => CopySize::Within(checked.length.unwrap_or_default()),
            (None, OutputKind::File) => match checked.length {
                Some(length) if length > 0 && self.force => CopySize::Within(length),
                _ => CopySize::Same,
            },
        };
        let mut identity = self.disk.identity();
        let epoch = source_date_epoch()?;
        if identity.uuid.is_none() && epoch.is_none() {
            identity.uuid = Some(random_uuid()?);
        }
        let copy = Copy {
            from,
            output: checked.path.clone(),
            target: self.device.target(checked, self.force),
            replace: self.force && checked.length.is_some(),
            size,
            identity,
            root: Root { owner: self.owner, mode: self.mode },
            check: self.check,
            time: epoch.unwrap_or_else(now),
            interruption: interruption(),
        };
        copy.run()
    }

    /// Refuses what a copy has from what is copied.
    fn refuse_options_of_new(&self, from: &Path) -> Result<()> {
        if let Some(option) = self.disk.option_of_new() {
            return Err(makes_anew(from, option));
        }
        if self.device.is_eager() {
            return Err(makes_anew(from, "--eager"));
        }
        let seed = &self.seed;
        if seed.uid.is_some() || seed.gid.is_some() || !seed.owner_map.is_empty() {
            return Err(makes_anew(from, "--uid, --gid or --owner-map"));
        }
        seed.source_options.suits(&ImageReference::Filesystem(from.to_owned()))
    }
}

fn makes_anew(from: &Path, option: &str) -> Error {
    let from = shown(from);
    Error::usage(format!("{option} has no meaning for a copy of {from}"))
        .with_hint(format!("--from ext4:{from} makes the filesystem anew"))
}
