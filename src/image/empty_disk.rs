//! A filesystem with nothing in it.

use std::fs::File;
use std::path::PathBuf;

use ext4_writer::{Builder, Metadata, Options, Size, Summary};
use rustix::rand::{GetRandomFlags, getrandom};

use super::identity::Key;
use super::interruption::Interruption;
use super::output::{self, Output, OutputTarget};
use super::refused::refused;
use super::spec::Root;
use crate::error::{Error, Result};

/// Everything that decides an empty filesystem.
#[derive(Clone, Debug)]
pub struct EmptyDisk {
    /// Where it goes.
    pub output: PathBuf,
    /// What that is.
    pub target: OutputTarget,
    /// Whether it may replace a file that is there.
    pub replace: bool,
    /// The filesystem's options.
    pub filesystem: Options,
    /// Whose the root directory is.
    pub root: Root,
    /// What may end the work early.
    pub interruption: Interruption,
}

impl EmptyDisk {
    /// Makes the filesystem; a file has its name only when it is on the disk and `judge` finds
    /// nothing wrong with it.
    ///
    /// Without a UUID it gets one that follows from everything else that was asked for.
    pub fn create(&self, judge: impl FnOnce(File) -> Result<()>) -> Result<MadeDisk> {
        let refused = |error| refused(&self.output, error);
        let mut options = self.filesystem.clone();
        options.uuid = options.uuid.or_else(|| Some(self.derived_uuid()));
        let length = match options.size {
            Size::Fixed(length) => Some(length),
            Size::Fit { .. } => None,
        };
        output::check(&self.output, &self.target, self.replace, length)?;
        let target = self.target.clone();
        let (output, sink) = Output::open(&self.output, target, self.replace, &self.interruption)?;
        let mut builder = Builder::create(sink, options).map_err(refused)?;
        self.root.apply(&mut builder).map_err(refused)?;
        let root = builder.metadata(builder.root()).map_err(refused)?;
        let (summary, _) = builder.finish().map_err(refused)?;
        judge(output.file()?)?;
        output.publish(None)?;
        Ok(MadeDisk { summary, root })
    }

    fn derived_uuid(&self) -> [u8; 16] {
        let mut key = Key::new(None);
        key.size(self.filesystem.size);
        key.filesystem(&self.filesystem);
        key.times(self.filesystem.epoch, None);
        key.root(self.root.owner, self.root.mode);
        key.uuid()
    }
}

/// An empty filesystem that was made.
#[derive(Clone, Copy, Debug)]
pub struct MadeDisk {
    /// What it holds.
    pub summary: Summary,
    /// Whose its root directory is.
    pub root: Metadata,
}

/// A UUID of version 4, out of the kernel's random numbers (RFC 9562, section 5.4).
pub fn random_uuid() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Error::io("cannot get a random UUID").with_source(error))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
}
