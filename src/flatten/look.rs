//! What the tree holds so far: what stands at a path, and what is in it.

use ext4_writer::FileKind;

use super::Flattener;
use super::missing::Missing;
use super::path::CleanPath;
use super::target::{ReadableTarget, Target};
use crate::error::{Error, Result};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<N> {
    /// Which node it is; two names of a file show the same.
    pub node: N,
    /// What it is.
    pub kind: FileKind,
    /// Its twelve bits of permissions.
    pub mode: u16,
}

impl<N> Seen<N> {
    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::Regular
    }

    /// Whether root could run it.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.is_file() && self.mode & 0o111 != 0
    }
}

impl<T: Target> Flattener<'_, T> {
    /// What a path of the image leads to, through symbolic links of the image; nothing where it
    /// leads nowhere. Never out of the image.
    pub fn look(&mut self, path: &[u8]) -> Result<Option<Seen<T::Node>>> {
        path.clone_into(&mut self.current);
        let path = CleanPath::parse(path).map_err(|why| self.refuse(why))?;
        let Some(node) = self.leaf(path.whole())? else { return Ok(None) };
        let (kind, mode) = (self.kind(node)?, self.metadata(node)?.mode);
        Ok(Some(Seen { node, kind, mode }))
    }

    /// What stands at a path itself, be it a link; those on the way are followed.
    pub fn stands(&mut self, path: &[u8]) -> Result<Option<FileKind>> {
        path.clone_into(&mut self.current);
        let path = CleanPath::parse(path).map_err(|why| self.refuse(why))?;
        let Some(directory) = self.find(path.parent(), Missing::Look)? else { return Ok(None) };
        let node = self.lookup(directory, path.name())?;
        node.map(|node| self.kind(node)).transpose()
    }
}

impl<T: ReadableTarget> Flattener<'_, T> {
    /// The content of the regular file that a path leads to; nothing where there is none. One of
    /// more than `limit` bytes is refused.
    pub fn read(&mut self, path: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
        let Some(Seen { node, kind: FileKind::Regular, .. }) = self.look(path)? else {
            return Ok(None);
        };
        let size = self.target.file_size(node).map_err(|error| self.fail(error))?;
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length > limit {
            let path = crate::shown::bytes(&path);
            return Err(Error::bad_data(format!(
                "cannot read {path} of the image: it has {size} bytes, at most {limit} are read"
            )));
        }
        let mut content = vec![0; length];
        let read = self.target.read(node, &mut content);
        let got = read.map_err(|error| self.fail(error))?;
        content.truncate(got);
        Ok(Some(content))
    }
}

#[cfg(test)]
mod tests {
    use crate::flatten::tests::{flatten_and, layer};

    fn contents(image: &str, paths: &[&str]) -> Vec<Option<String>> {
        let mut found = Vec::new();
        flatten_and(vec![layer(image)], 0, |flattener| {
            for path in paths {
                let content = flattener.read(path.as_bytes(), 10)?;
                found.push(content.map(|bytes| String::from_utf8(bytes).unwrap()));
            }
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn files_are_read_through_the_links_of_the_image_and_never_outside() {
        let image = "etc/ etc/passwd=inside up->../../../../etc abs->/etc/passwd loop->loop \
                     nowhere->/none deep->up/passwd f=1";
        let inside = Some("inside".to_owned());
        let paths = ["/etc/passwd", "up/passwd", "/abs", "deep", "etc//./passwd"];
        assert_eq!(contents(image, &paths), vec![inside; 5]);
        let paths = ["/etc", "loop", "nowhere", "none", "f/x", "up/none", "loop/x", "/etc/group"];
        assert_eq!(contents(image, &paths), vec![None; 8]);
    }

    #[test]
    fn a_file_that_is_too_long_is_refused_by_name() {
        let image = layer("etc/ etc/passwd={x*11}");
        let read =
            flatten_and(vec![image], 0, |flattener| flattener.read(b"/etc/passwd", 10).map(drop));
        let error = read.map(drop).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("/etc/passwd of the image: it has 11 bytes"), "{error}");
    }

    #[test]
    fn a_program_is_a_file_that_may_be_run() {
        let image = layer("mode:644 data mode:755 tool bin/ link->tool");
        flatten_and(vec![image], 0, |flattener| {
            let mut is_program =
                |path: &str| Ok(flattener.look(path.as_bytes())?.map(|seen| seen.is_program()));
            assert_eq!(is_program("data")?, Some(false));
            assert_eq!(is_program("tool")?, Some(true));
            assert_eq!(is_program("link")?, Some(true));
            assert_eq!(is_program("bin")?, Some(false));
            is_program("none").map(|found| assert_eq!(found, None))
        })
        .unwrap();
    }
}
