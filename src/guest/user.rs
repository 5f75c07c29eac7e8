//! Who a program runs as: `User` of an image's config, by the image's own passwd and group.
//!
//! The rules are runc's (moby/sys: `user/user.go`, `GetExecUser`), except that a line whose numbers
//! are none is passed over, where runc would read it as root's.

use crate::error::{Error, Result};
use crate::shown::excerpt;

/// The most bytes of passwd or group that are read.
pub(super) const MAX_FILE: usize = 1 << 20;
/// The longest line of them that is read; runc's limit too.
const MAX_LINE: usize = 64 << 10;
/// The largest number of a user or group; runc's limit too.
const MAX_ID: u32 = 0x7fff_ffff;
/// The most groups that the kernel gives a process: `NGROUPS_MAX`.
const MAX_GROUPS: usize = 65_536;

/// The names that an image knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    users: Vec<Login>,
    groups: Vec<Group>,
}

/// A line of passwd.
#[derive(Clone, Debug)]
struct Login {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// A line of group.
#[derive(Clone, Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// A user of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The groups besides the one above.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
    /// The name with which a login would give the same user and groups.
    pub(super) login: Option<String>,
}

impl Names {
    /// Reads the two files; one that is missing holds nothing.
    pub(super) fn parse(passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<Self> {
        let mut names = Self::default();
        for fields in lines("/etc/passwd", passwd.unwrap_or_default())? {
            if let [name, _, uid, gid, rest @ ..] = fields.as_slice()
                && let (Some(uid), Some(gid)) = (id(uid), id(gid))
            {
                let home = rest.get(1).copied().unwrap_or_default().to_owned();
                names.users.push(Login { name: (*name).to_owned(), uid, gid, home });
            }
        }
        for fields in lines("/etc/group", group.unwrap_or_default())? {
            if let [name, _, gid, rest @ ..] = fields.as_slice()
                && let Some(gid) = id(gid)
            {
                let members = rest.first().copied().unwrap_or_default();
                let members = members.split(',').filter(|member| !member.is_empty());
                let members = members.map(ToOwned::to_owned).collect();
                names.groups.push(Group { name: (*name).to_owned(), gid, members });
            }
        }
        Ok(names)
    }

    /// The user that `USER[:GROUP]` means, names or numbers; nothing means root.
    pub(super) fn resolve(&self, spec: &str) -> Result<User> {
        let (user, group) = spec.split_once(':').unwrap_or((spec, ""));
        let wanted = if user.is_empty() { Some(0) } else { number(user, spec)? };
        let login = self.users.iter().find(|login| match wanted {
            Some(uid) => login.uid == uid,
            None => login.name == user,
        });
        let (uid, mut gid) = match (login, wanted) {
            (Some(login), _) => (login.uid, login.gid),
            (None, Some(uid)) => (uid, 0),
            (None, None) => return Err(unknown("user", user, "/etc/passwd", spec)),
        };
        let mut groups = Vec::new();
        if !group.is_empty() {
            gid = self.group(group, spec)?;
        } else if let Some(login) = login {
            groups = self.memberships(&login.name);
        }
        if groups.len() > MAX_GROUPS {
            let count = groups.len();
            return Err(Error::bad_data(format!(
                "the image's user \"{}\" is in {count} groups, {MAX_GROUPS} are possible",
                excerpt(spec)
            )));
        }
        let home = login.map(|login| login.home.clone()).filter(|home| !home.is_empty());
        let home = home.unwrap_or_else(|| "/".to_owned());
        let login = login.and_then(|login| self.equal_login(&login.name, uid, gid, &groups));
        Ok(User { uid, gid, groups, home, login })
    }

    fn group(&self, group: &str, spec: &str) -> Result<u32> {
        match number(group, spec)? {
            Some(gid) => Ok(gid),
            None => match self.groups.iter().find(|known| known.name == group) {
                Some(known) => Ok(known.gid),
                None => Err(unknown("group", group, "/etc/group", spec)),
            },
        }
    }

    /// The groups that list a user.
    fn memberships(&self, name: &str) -> Vec<u32> {
        let lists = |group: &&Group| group.members.iter().any(|member| member == name);
        self.groups.iter().filter(lists).map(|group| group.gid).collect()
    }

    /// The name, if who logs in by it becomes just this user.
    fn equal_login(&self, name: &str, uid: u32, gid: u32, groups: &[u32]) -> Option<String> {
        let first = self.users.iter().find(|login| login.name == name)?;
        let is_plain = !name.is_empty() && !name.starts_with('-') && !name.contains('\0');
        let is_same = (first.uid, first.gid) == (uid, gid) && self.memberships(name) == groups;
        (is_plain && is_same).then(|| name.to_owned())
    }
}

/// The fields of every line that is text.
fn lines<'a>(file: &str, content: &'a [u8]) -> Result<Vec<Vec<&'a str>>> {
    let mut lines = Vec::new();
    for (number, line) in (1_u64..).zip(content.split(|byte| *byte == b'\n')) {
        if line.len() > MAX_LINE {
            let length = line.len();
            return Err(Error::bad_data(format!(
                "line {number} of the image's {file} has {length} bytes, at most {MAX_LINE} are \
                 read"
            )));
        }
        // What is not UTF-8 names nobody that a config could, which is.
        if let Ok(line) = str::from_utf8(line) {
            lines.push(line.trim().split(':').collect());
        }
    }
    Ok(lines)
}

fn id(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id <= MAX_ID)
}

/// A number, or nothing for a name.
fn number(text: &str, spec: &str) -> Result<Option<u32>> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match id(text) {
        Some(id) => Ok(Some(id)),
        None => Err(Error::bad_data(format!(
            "the image's user \"{}\" has a number beyond {MAX_ID}",
            excerpt(spec)
        ))),
    }
}

fn unknown(what: &str, name: &str, file: &str, spec: &str) -> Error {
    let (name, spec) = (excerpt(name), excerpt(spec));
    Error::bad_data(format!(
        "the image is to run as \"{spec}\", and its {file} knows no {what} \"{name}\""
    ))
    .with_hint(format!("add the {what} to {file} by --overlay or --add"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        \n# a comment\nbroken:x:zero:0::/:/bin/sh\nshort:x:7\n\
        daemon:x:1:2:::\n  app:x:1000:1001:App:/srv/app:/bin/sh\n\
        twin:x:1000:5::/twin:\n-x:x:50:50::/x:\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:app,root\nstaff:x:50:app\nbad:x:-1:app\n\
        none:x:60:,\ndaemon:x:2:\n";

    fn resolve(spec: &str) -> Result<User> {
        Names::parse(Some(PASSWD.as_bytes()), Some(GROUP.as_bytes()))?.resolve(spec)
    }

    fn user(uid: u32, gid: u32, groups: &[u32], home: &str, login: &str) -> User {
        let login = Some(login.to_owned()).filter(|login| !login.is_empty());
        User { uid, gid, groups: groups.to_vec(), home: home.to_owned(), login }
    }

    #[test]
    fn users_are_those_that_runc_would_find() {
        for (spec, expected) in [
            ("", user(0, 0, &[4], "/root", "root")),
            ("root", user(0, 0, &[4], "/root", "root")),
            ("0", user(0, 0, &[4], "/root", "root")),
            ("app", user(1000, 1001, &[4, 50], "/srv/app", "app")),
            // The first of two with this number; its groups count too.
            ("1000", user(1000, 1001, &[4, 50], "/srv/app", "app")),
            ("twin", user(1000, 5, &[], "/twin", "twin")),
            ("daemon", user(1, 2, &[], "/", "daemon")),
            // A group that was said takes the others away, so a login would be somebody else.
            ("app:staff", user(1000, 50, &[], "/srv/app", "")),
            ("app:7", user(1000, 7, &[], "/srv/app", "")),
            ("daemon:2", user(1, 2, &[], "/", "daemon")),
            (":staff", user(0, 50, &[], "/root", "")),
            ("4242", user(4242, 0, &[], "/", "")),
            ("4242:4343", user(4242, 4343, &[], "/", "")),
            ("app:", user(1000, 1001, &[4, 50], "/srv/app", "app")),
            ("-x", user(50, 50, &[], "/x", "")),
        ] {
            assert_eq!(resolve(spec).unwrap(), expected, "{spec:?}");
        }
    }

    #[test]
    fn who_is_unknown_is_never_root() {
        for (spec, why) in [
            ("nobody", "its /etc/passwd knows no user \"nobody\""),
            ("app:nobody", "its /etc/group knows no group \"nobody\""),
            ("app:staff:more", "knows no group \"staff:more\""),
            ("broken", "knows no user"),
            ("short", "knows no user"),
            ("+5", "knows no user"),
            ("-1", "knows no user"),
            ("2147483648", "beyond 2147483647"),
            ("1:4294967296", "beyond 2147483647"),
            ("99999999999999999999", "beyond"),
        ] {
            let error = resolve(spec).unwrap_err();
            assert_eq!(error.exit_code(), 65, "{spec}");
            assert!(error.to_string().contains(why), "{spec}: {error}");
        }
        let empty = Names::parse(None, None).unwrap();
        assert_eq!(empty.resolve("").unwrap(), user(0, 0, &[], "/", ""));
        assert_eq!(empty.resolve("5").unwrap(), user(5, 0, &[], "/", ""));
        assert_eq!(empty.resolve("root").unwrap_err().exit_code(), 65);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let long = [&b"root:x:0:0::/root:/bin/sh\n"[..], &vec![b'a'; MAX_LINE + 1]].concat();
        let error = Names::parse(Some(&long), None).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains("line 2 of the image's /etc/passwd"), "{error}");
        assert!(Names::parse(Some(&[0xff, b':', b'\n']), Some(&[0; 100])).is_ok());
    }
}
