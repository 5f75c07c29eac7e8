//! The programs of an image that its generated init needs, found before the image boots.

use super::user::User;
use crate::error::{Error, Result};
use crate::flatten::{Flattener, Seen, Target};

/// Where programs are; the distribution's own before what an image added to it.
const DIRECTORIES: [&str; 6] =
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// What starts a program as somebody else, the most exact first.
const STEPS_DOWN: [(&str, StepDown); 6] = [
    ("setpriv", StepDown::Setpriv),
    ("su-exec", StepDown::ByIds),
    ("gosu", StepDown::ByIds),
    ("chroot", StepDown::Chroot),
    ("setuidgid", StepDown::Setuidgid),
    ("su", StepDown::Su),
];

/// A kind of program that starts another as somebody else.
#[derive(Clone, Copy, Debug)]
enum StepDown {
    /// util-linux; busybox's sets no IDs.
    Setpriv,
    /// Takes `UID:GID` without further groups, or a login's name.
    ByIds,
    /// coreutils'; busybox's takes no user.
    Chroot,
    /// busybox's, which takes `UID:GID` without further groups.
    Setuidgid,
    /// Takes a login's name.
    Su,
}

/// The programs that were found.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    /// Busybox, where there is one: it stands in for what the image has no name for.
    pub(super) busybox: Option<String>,
    /// `mount`.
    pub(super) mount: Vec<String>,
    /// `env`.
    pub(super) env: Vec<String>,
    /// What precedes a program so that it runs as the user; nothing for root.
    pub(super) step_down: Vec<String>,
}

impl Tools {
    /// Looks for what a program that runs as `user` needs.
    pub(super) fn find<T: Target>(image: &mut Flattener<'_, T>, user: &User) -> Result<Self> {
        if !image.look(b"/bin/sh")?.is_some_and(|seen| seen.is_program()) {
            return Err(Error::bad_data("the image has no /bin/sh, which --init is written for")
                .with_hint("leave --init out and boot a program of the image by init=PATH"));
        }
        let mut search = Search { image, multicall: Vec::new() };
        let busybox = search.multicall()?;
        let mut need = |name: &str| -> Result<Vec<String>> {
            match (search.path(name)?, &busybox) {
                (Some((path, _)), _) => Ok(vec![path]),
                (None, Some(busybox)) => Ok(vec![busybox.clone(), name.to_owned()]),
                (None, None) => {
                    let why =
                        format!("the image has neither {name} nor busybox, which --init needs");
                    Err(Error::bad_data(why).with_hint(format!("add {name} by --add or --overlay")))
                }
            }
        };
        let mount = need("mount")?;
        let env = need("env")?;
        let step_down = search.step_down(user, busybox.as_deref())?;
        Ok(Self { busybox, mount, env, step_down })
    }
}

struct Search<'a, 'b, T: Target> {
    image: &'a mut Flattener<'b, T>,
    /// Programs that are many in one.
    multicall: Vec<T::Node>,
}

impl<T: Target> Search<'_, '_, T> {
    fn path(&mut self, name: &str) -> Result<Option<(String, T::Node)>> {
        for directory in DIRECTORIES {
            let path = format!("{directory}/{name}");
            if let Some(seen) = self.image.look(path.as_bytes())?.filter(Seen::is_program) {
                return Ok(Some((path, seen.node)));
            }
        }
        Ok(None)
    }

    /// Finds busybox and toybox, whose programs of the same names can do less.
    fn multicall(&mut self) -> Result<Option<String>> {
        let mut busybox = None;
        for name in ["busybox", "busybox.static", "toybox"] {
            if let Some((path, node)) = self.path(name)? {
                self.multicall.push(node);
                busybox = busybox.or_else(|| Some(path).filter(|_| name != "toybox"));
            }
        }
        Ok(busybox)
    }

    fn step_down(&mut self, user: &User, busybox: Option<&str>) -> Result<Vec<String>> {
        if (user.uid, user.gid) == (0, 0) {
            return Ok(Vec::new());
        }
        for (name, kind) in STEPS_DOWN {
            if let Some((path, node)) = self.path(name)?
                && let Some(words) = kind.words(path, self.multicall.contains(&node), user)
            {
                return Ok(words);
            }
        }
        if let Some(busybox) = busybox
            && let Some(mut words) = StepDown::Su.words(busybox.to_owned(), true, user)
        {
            words.insert(1, "su".to_owned());
            return Ok(words);
        }
        let User { uid, gid, groups, .. } = user;
        let more = match groups.len() {
            0 => String::new(),
            count => format!(" and {count} more groups"),
        };
        Err(Error::bad_data(format!(
            "the image's program is to run as {uid}:{gid}{more}, and the image has nothing that \
             could start it so: no setpriv, su-exec, gosu, chroot of coreutils, or su with an \
             entry in /etc/passwd"
        ))
        .with_hint("add one of them by --add or --overlay"))
    }
}

impl StepDown {
    /// The words before a program, if this one can make it just that user's.
    fn words(self, path: String, is_multicall: bool, user: &User) -> Option<Vec<String>> {
        let User { uid, gid, groups, login, .. } = user;
        let list = groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let is_alone = groups.iter().all(|group| group == gid);
        let words = match self {
            Self::Setpriv | Self::Chroot if is_multicall => return None,
            Self::Setpriv => {
                let groups = if list.is_empty() {
                    "--clear-groups".to_owned()
                } else {
                    format!("--groups={list}")
                };
                vec![path, format!("--reuid={uid}"), format!("--regid={gid}"), groups]
            }
            Self::ByIds if is_alone => vec![path, format!("{uid}:{gid}")],
            Self::ByIds => vec![path, login.clone()?],
            Self::Chroot => {
                let (user, groups) =
                    (format!("--userspec={uid}:{gid}"), format!("--groups={list}"));
                vec![path, user, groups, "--skip-chdir".to_owned(), "/".to_owned()]
            }
            Self::Setuidgid if is_multicall && is_alone => vec![path, format!("{uid}:{gid}")],
            Self::Setuidgid => return None,
            Self::Su => {
                let login = login.clone()?;
                let [shell, exec] = ["/bin/sh", r#"exec "$0" "$@""#].map(ToOwned::to_owned);
                let [s, c, end] = ["-s", "-c", "--"].map(ToOwned::to_owned);
                vec![path, s, shell, c, exec, end, login]
            }
        };
        Some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatten::tests::{flatten_and, layer};

    fn find(image: &str, user: &User) -> Result<Tools> {
        let mut tools = None;
        flatten_and(vec![layer(&format!("mode:755 {image}"))], 0, |flattener| {
            tools = Some(Tools::find(flattener, user)?);
            Ok(())
        })?;
        Ok(tools.unwrap())
    }

    fn user(uid: u32, groups: &[u32], login: Option<&str>) -> User {
        let login = login.map(ToOwned::to_owned);
        User { uid, gid: uid, groups: groups.to_vec(), home: "/".to_owned(), login }
    }

    fn words(image: &str, user: &User) -> String {
        find(&format!("bin/sh=# bin/mount=# bin/env=# {image}"), user)
            .map_or_else(|error| error.to_string(), |tools| tools.step_down.join(" "))
    }

    #[test]
    fn the_most_exact_program_steps_down() {
        let (alone, member) = (user(5, &[], None), user(5, &[7, 8], Some("app")));
        let all = "bin/chroot=# bin/su=# usr/bin/setpriv=# usr/local/bin/gosu=#";
        assert_eq!(words(all, &alone), "/usr/bin/setpriv --reuid=5 --regid=5 --clear-groups");
        assert_eq!(words(all, &member), "/usr/bin/setpriv --reuid=5 --regid=5 --groups=7,8");
        assert_eq!(words(all, &user(0, &[4], Some("root"))), "");
        assert_eq!(words("sbin/su-exec=#", &alone), "/sbin/su-exec 5:5");
        assert_eq!(words("sbin/su-exec=#", &member), "/sbin/su-exec app");
        assert_eq!(
            words("usr/sbin/chroot=#", &member),
            "/usr/sbin/chroot --userspec=5:5 --groups=7,8 --skip-chdir /"
        );
        assert_eq!(words("bin/su=#", &member), r#"/bin/su -s /bin/sh -c exec "$0" "$@" -- app"#);
    }

    #[test]
    fn programs_of_busybox_are_not_taken_for_those_of_the_same_name() {
        let alone = user(5, &[], None);
        let busybox = "bin/busybox=# usr/bin/setpriv->/bin/busybox sbin/chroot=>bin/busybox";
        let refused = words(busybox, &alone);
        assert!(refused.contains("to run as 5:5, and the image has nothing"), "{refused}");
        let image = format!("{busybox} bin/setuidgid->busybox");
        assert_eq!(words(&image, &alone), "/bin/setuidgid 5:5");
        assert!(words(&image, &user(5, &[7], None)).contains("and 1 more groups"));
        let login = user(5, &[7], Some("app"));
        let expected = r#"/bin/busybox su -s /bin/sh -c exec "$0" "$@" -- app"#;
        assert_eq!(words(&image, &login), expected);
        // That of daemontools takes names only.
        assert!(words("bin/setuidgid=#", &alone).contains("nothing"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = user(0, &[], None);
        for (image, why) in [
            ("etc/", "no /bin/sh"),
            ("mode:644 bin/sh=#", "no /bin/sh"),
            ("bin/sh->/none", "no /bin/sh"),
            ("bin/sh=#", "neither mount nor busybox"),
            ("bin/sh=# bin/mount=#", "neither env nor busybox"),
        ] {
            let error = find(image, &root).unwrap_err();
            assert_eq!(error.exit_code(), 65, "{image}");
            assert!(error.to_string().contains(why), "{image}: {error}");
        }
        let tools = find("usr/bin/busybox=# bin/sh->/usr/bin/busybox", &root).unwrap();
        assert_eq!(tools.busybox.as_deref(), Some("/usr/bin/busybox"));
        assert_eq!(tools.env, ["/usr/bin/busybox", "env"]);
    }
}
