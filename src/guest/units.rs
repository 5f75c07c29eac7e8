//! Units of systemd, enabled as `systemctl enable` does: by links in the directories of those that
//! want them.
//!
//! Source: systemd.unit(5), "[INSTALL] SECTION OPTIONS"; systemctl(1), "enable".

use std::collections::{BTreeSet, VecDeque};

use ext4_writer::{FileKind, Timestamp};

use super::places::{SYSTEMD, UNITS};
use crate::error::{Error, Result};
use crate::flatten::{Flattener, ReadableTarget, Target};
use crate::layer::{Entry, EntryKind};
use crate::shown::excerpt;

/// The kinds of units that can be enabled.
const KINDS: [&str; 10] = [
    ".service",
    ".socket",
    ".target",
    ".timer",
    ".path",
    ".mount",
    ".automount",
    ".swap",
    ".slice",
    ".device",
];
/// The longest file of a unit that is read.
const MAX_UNIT: usize = 256 << 10;
/// The most units that one unit takes with it by `Also=`.
const MAX_TOTAL: usize = 2000;

/// A unit to enable, for somebody or for whom its file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UnitToEnable {
    pub(super) unit: String,
    pub(super) by: Option<String>,
}

/// What the `[Install]` section of a unit asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    /// Whom to hang it on, and in which kind of directory.
    by: Vec<(String, &'static str)>,
    aliases: Vec<String>,
    also: Vec<String>,
    instance: Option<String>,
}

/// Enables units of the image, which has all its files by now, for a bundle.
pub(super) fn enable<T: ReadableTarget>(
    image: &mut Flattener<'_, T>,
    bundle: &str,
    units: Vec<UnitToEnable>,
    time: Timestamp,
) -> Result<()> {
    if units.is_empty() {
        return Ok(());
    }
    let mut has_systemd = false;
    for path in SYSTEMD {
        has_systemd |= image.look(path)?.is_some();
    }
    if !has_systemd {
        return Err(Error::bad_data(format!(
            "cannot enable units of the guest bundle {bundle}: the image has no systemd"
        )));
    }
    let mut enabler = Enabler { image, bundle, time };
    // Each is counted and enabled once, also one that wants itself by Also=.
    let mut known: BTreeSet<UnitToEnable> = units.iter().cloned().collect();
    let mut waiting: VecDeque<UnitToEnable> = units.into();
    while let Some(wanted) = waiting.pop_front() {
        for unit in enabler.enable(&wanted)? {
            let also = UnitToEnable { unit, by: None };
            if known.insert(also.clone()) {
                waiting.push_back(also);
            }
            if known.len() > MAX_TOTAL {
                return Err(Error::bad_data(format!(
                    "the guest bundle {bundle} enables more than {MAX_TOTAL} units"
                )));
            }
        }
    }
    Ok(())
}

struct Enabler<'a, 'b, T: Target> {
    image: &'a mut Flattener<'b, T>,
    bundle: &'a str,
    time: Timestamp,
}

impl<T: ReadableTarget> Enabler<'_, '_, T> {
    /// Enables one unit; returns those that it takes with it.
    fn enable(&mut self, wanted: &UnitToEnable) -> Result<Vec<String>> {
        let unit = self.name(&wanted.unit)?.to_owned();
        let Some(path) = self.file(&unit)? else {
            let what = self.message(&unit);
            return Err(Error::not_found(format!(
                "{what}: neither the bundle nor the image has it"
            ))
            .with_hint("units are in etc/systemd/system, usr/lib/systemd/system, …"));
        };
        let install = match &wanted.by {
            Some(by) => Install { by: vec![(by.clone(), "wants")], ..Install::default() },
            None => self.install(&unit, &path)?,
        };
        let unit = match (template(&unit), &install.instance) {
            (Some((name, kind)), Some(instance)) => format!("{name}@{instance}{kind}"),
            (Some(_), None) => {
                let what = self.message(&unit);
                return Err(Error::bad_data(format!("{what}: a template needs an instance"))
                    .with_hint("name it, such as name@instance.service"));
            }
            (None, _) => unit,
        };
        self.name(&unit)?;
        for (by, kind) in &install.by {
            let by = self.name(by)?.to_owned();
            self.link(&unit, &format!("/etc/systemd/system/{by}.{kind}/{unit}"), &path)?;
        }
        for alias in &install.aliases {
            let alias = self.name(alias)?.to_owned();
            if alias != unit {
                self.link(&unit, &format!("/etc/systemd/system/{alias}"), &path)?;
            }
        }
        Ok(install.also)
    }

    /// The file of a unit, of an instance its template's.
    fn file(&mut self, unit: &str) -> Result<Option<String>> {
        let mut names = vec![unit.to_owned()];
        if let Some((name, rest)) = unit.split_once('@')
            && let Some((_, kind)) = rest.rsplit_once('.')
        {
            names.push(format!("{name}@.{kind}"));
        }
        for name in names {
            for place in UNITS {
                let path = format!("{place}/{name}");
                if self.image.look(path.as_bytes())?.is_some_and(|seen| seen.is_file()) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    fn install(&mut self, unit: &str, path: &str) -> Result<Install> {
        let content = self.image.read(path.as_bytes(), MAX_UNIT)?.unwrap_or_default();
        let install = Install::parse(&String::from_utf8_lossy(&content));
        let instance = unit.split_once('@').and_then(|(_, rest)| rest.rsplit_once('.'));
        let instance = instance.map(|(instance, _)| instance.to_owned());
        let install = Install {
            instance: instance.filter(|instance| !instance.is_empty()).or(install.instance),
            ..install
        };
        if install.by.is_empty() && install.aliases.is_empty() && install.also.is_empty() {
            let what = self.message(unit);
            return Err(Error::bad_data(format!(
                "{what}: its file {path} does not say who wants it"
            ))
            .with_hint(
                "say it in guest.toml: { unit = \"…\", wanted-by = \"multi-user.target\" }",
            ));
        }
        Ok(install)
    }

    fn link(&mut self, unit: &str, path: &str, target: &str) -> Result<()> {
        // As systemctl: a link is replaced, a unit of the administrator's is not.
        if self.image.stands(path.as_bytes())?.is_some_and(|kind| kind != FileKind::Symlink) {
            let what = self.message(unit);
            return Err(Error::bad_data(format!("{what}: {path} is there, and is no link"))
                .with_hint("take that file out, or the name out of the unit's [Install]"));
        }
        let mut link = Entry::new(path, EntryKind::Symlink, 0o777, self.time);
        link.link = target.as_bytes().to_vec();
        self.image.apply(&link, &mut std::io::empty())
    }

    /// A unit's name, if it is one: it becomes a part of a path.
    fn name<'n>(&self, unit: &'n str) -> Result<&'n str> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        let is_name = unit.len() <= 255
            && !unit.starts_with(['.', '-', '@'])
            && unit.bytes().all(is_plain)
            && KINDS.iter().any(|kind| unit.len() > kind.len() && unit.ends_with(kind));
        if is_name {
            return Ok(unit);
        }
        let what = self.message(unit);
        Err(Error::bad_data(format!("{what}: that is no name of a unit")).with_hint(
            "a name ends in .service, .socket, .timer, …; specifiers such as %i are not read",
        ))
    }

    fn message(&self, unit: &str) -> String {
        format!("cannot enable {} of the guest bundle {}", excerpt(unit), self.bundle)
    }
}

/// A template's name before the `@` and its kind with the dot; nothing for what is none.
fn template(unit: &str) -> Option<(&str, &str)> {
    let (name, kind) = unit.split_once('@')?;
    kind.starts_with('.').then_some((name, kind))
}

impl Install {
    fn parse(text: &str) -> Self {
        let mut install = Self::default();
        let mut is_inside = false;
        for line in joined(text) {
            if line.starts_with('[') {
                is_inside = line == "[Install]";
            }
            if let Some((key, value)) = line.split_once('=').filter(|_| is_inside) {
                install.set(key.trim(), value.trim());
            }
        }
        install
    }

    fn set(&mut self, key: &str, value: &str) {
        let names = || value.split_ascii_whitespace().map(ToOwned::to_owned);
        let kind = match key {
            "WantedBy" => "wants",
            "RequiredBy" => "requires",
            "UpheldBy" => "upholds",
            "Alias" => return extend(&mut self.aliases, names()),
            "Also" => return extend(&mut self.also, names()),
            "DefaultInstance" => {
                self.instance = Some(value.to_owned()).filter(|value| !value.is_empty());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            self.by.retain(|(_, known)| *known != kind);
        }
        self.by.extend(names().map(|name| (name, kind)));
    }
}

/// Adds to a list, which an empty value empties (systemd.syntax(7)).
fn extend(list: &mut Vec<String>, names: impl Iterator<Item = String>) {
    let before = list.len();
    list.extend(names);
    if list.len() == before {
        list.clear();
    }
}

/// The lines of a unit's file that say something; a backslash at the end joins two.
fn joined(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && open.is_empty()) {
            continue;
        }
        open.push_str(line.strip_suffix('\\').unwrap_or(line));
        if line.ends_with('\\') {
            open.push(' ');
        } else {
            lines.push(std::mem::take(&mut open).trim().to_owned());
        }
    }
    lines.push(open.trim().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatten::tests::{flatten_and, layer};

    /// The links in an image after units were enabled: `unit` or `unit<target`.
    fn links(image: &str, units: &[&str]) -> Result<Vec<String>> {
        let image = format!("usr/lib/systemd/systemd=x {image}");
        let wanted = units.iter().map(|unit| match unit.split_once('<') {
            Some((unit, by)) => UnitToEnable { unit: unit.to_owned(), by: Some(by.to_owned()) },
            None => UnitToEnable { unit: (*unit).to_owned(), by: None },
        });
        let wanted: Vec<UnitToEnable> = wanted.collect();
        let outcome = flatten_and(vec![layer(&image)], 5, |flattener| {
            flattener.begin_addition("test")?;
            enable(flattener, "test", wanted, Timestamp::from_seconds(5))?;
            flattener.end_layer()
        })?;
        let words = outcome.tree.split(' ').filter(|word| word.contains("->"));
        let links = words.map(|word| word.trim_start_matches("etc/systemd/system/"));
        Ok(links.map(|link| link.split('[').next().unwrap_or_default().to_owned()).collect())
    }

    const A: &str = "usr/lib/systemd/system/a.service=[Install]%0aWantedBy=multi-user.target";

    #[test]
    fn a_unit_is_linked_where_its_file_says_or_the_manifest() {
        let target = "/usr/lib/systemd/system/a.service";
        assert_eq!(
            links(A, &["a.service"]).unwrap(),
            [format!("multi-user.target.wants/a.service->{target}")]
        );
        assert_eq!(
            links(A, &["a.service<sysinit.target"]).unwrap(),
            [format!("sysinit.target.wants/a.service->{target}")]
        );
        let all = "etc/systemd/system/b.socket=[Unit]%0aWantedBy=no.target%0a[Install]%0a\
                   WantedBy=gone.target%0aWantedBy=%0aWantedBy=x.target%20\\%0a%20y.target%0a\
                   RequiredBy=z.target%0aUpheldBy=u.target%0aAlias=other.socket%0aAlso=a.service";
        let target = "/etc/systemd/system/b.socket";
        assert_eq!(
            links(&format!("{A} {all}"), &["b.socket"]).unwrap(),
            [
                "multi-user.target.wants/a.service->/usr/lib/systemd/system/a.service".to_owned(),
                format!("other.socket->{target}"),
                format!("u.target.upholds/b.socket->{target}"),
                format!("x.target.wants/b.socket->{target}"),
                format!("y.target.wants/b.socket->{target}"),
                format!("z.target.requires/b.socket->{target}"),
            ]
        );
    }

    #[test]
    fn templates_are_enabled_by_their_instances() {
        let template = "lib/systemd/system/t@.service=[Install]%0aWantedBy=x.target";
        let target = "/lib/systemd/system/t@.service";
        assert_eq!(
            links(template, &["t@one.service"]).unwrap(),
            [format!("x.target.wants/t@one.service->{target}")]
        );
        assert!(links(template, &["t@.service"]).unwrap_err().to_string().contains("an instance"));
        let usual = format!("{template}%0aDefaultInstance=two");
        assert_eq!(
            links(&usual, &["t@.service"]).unwrap(),
            [format!("x.target.wants/t@two.service->{target}")]
        );
    }

    #[test]
    fn units_that_cannot_be_enabled_are_named() {
        for (image, unit, code, why) in [
            (A, "b.service", 66, "enable b.service of the guest bundle test: neither the bundle"),
            (A, "a", 65, "no name of a unit"),
            (A, "../a.service", 65, "no name of a unit"),
            (A, ".service", 65, "no name of a unit"),
            (A, "a.service<../x.target", 65, "no name of a unit"),
            ("lib/systemd/system/a.service=x", "a.service", 65, "does not say who wants it"),
            ("lib/systemd/system/a.service->/none", "a.service", 66, "neither"),
            (
                "lib/systemd/system/a.service=[Install]%0aAlso=b.service",
                "a.service",
                66,
                "b.service",
            ),
            (
                "lib/systemd/system/a.service=[Install]%0aWantedBy=%25i.target",
                "a.service",
                65,
                "%i",
            ),
        ] {
            let error = links(image, &[unit]).unwrap_err();
            assert_eq!(error.exit_code(), code, "{unit}: {error}");
            assert!(error.to_string().contains(why), "{unit}: {error}");
        }
        let circle = "lib/systemd/system/a.service=[Install]%0aAlso=a.service%20b.service%0aWantedBy=x.target \
                      lib/systemd/system/b.service=[Install]%0aAlso=a.service";
        assert_eq!(links(circle, &["a.service"]).unwrap().len(), 1);
        // A name that comes many times is one unit, and many names are too many.
        let also = |names: &mut dyn Iterator<Item = u32>| {
            let units = names.map(|number| format!("u{number}.service"));
            let units = units.collect::<Vec<_>>().join("%20");
            format!(
                "lib/systemd/system/a.service=[Install]%0aAlso={units} \
                     lib/systemd/system/u0.service=[Install]%0aWantedBy=x.target"
            )
        };
        let image = also(&mut std::iter::repeat_n(0, 5000));
        assert_eq!(links(&image, &["a.service", "a.service"]).unwrap().len(), 1);
        let error = links(&also(&mut (0..5000)), &["a.service"]).unwrap_err();
        assert!(error.to_string().contains("more than 2000 units"), "{error}");
        // What the administrator wrote is not replaced by an alias; a link is.
        let alias = "lib/systemd/system/a.service=[Install]%0aAlias=b.service";
        let error = links(&format!("{alias} etc/systemd/system/b.service=x"), &["a.service"]);
        let error = error.unwrap_err();
        assert_eq!(error.exit_code(), 65, "{error}");
        assert!(error.to_string().contains("/etc/systemd/system/b.service is there"), "{error}");
        let link = links(&format!("{alias} etc/systemd/system/b.service->/old"), &["a.service"]);
        assert_eq!(link.unwrap(), ["b.service->/lib/systemd/system/a.service"]);
        let none = flatten_and(vec![layer("etc/")], 5, |flattener| {
            let wanted = vec![UnitToEnable { unit: "a.service".to_owned(), by: None }];
            enable(flattener, "test", wanted, Timestamp::from_seconds(5))
        });
        assert!(none.unwrap_err().to_string().contains("the image has no systemd"));
    }
}
