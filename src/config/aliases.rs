//! Other names of a unit: symbolic links among the unit files (systemd.unit(5), "aliases").
//!
//! Only what lies in files is seen here. An alias by `Alias=` is such a link as well, once the unit
//! is enabled.

use std::path::{Component, Path, PathBuf};

use crate::files::below;
use crate::judge::UnitName;

/// Where unit files lie, first match first (systemd.unit(5), "System Unit Search Path").
pub(super) const DIRECTORIES: [&str; 7] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Where else the system's manager finds units: of generators, and made at run time.
pub(super) const OTHERS: [&str; 4] = [
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/run/systemd/transient",
];

/// Where root puts units of users (systemd.unit(5), "User Unit Search Path"). Homes are left out:
/// what lies there must not decide over the configuration.
const OF_USERS: [&str; 4] =
    ["/etc/systemd/user", "/run/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user"];

/// The file of a unit that only the managers of users know (`systemctl --user`).
pub(super) fn only_of_users(root: &Path, unit: &UnitName) -> Option<PathBuf> {
    let template = unit.stem().split_once('@').map(|(prefix, _)| format!("{prefix}@.service"));
    let find = |directories: &[&str]| {
        let names = [Some(unit.to_string()), template.clone()];
        let mut paths = names.into_iter().flatten().flat_map(|name| {
            directories.iter().map(move |directory| Path::new(directory).join(&name)).collect::<Vec<_>>()
        });
        paths.find(|path| below(root, path).symlink_metadata().is_ok())
    };
    find(&OF_USERS).filter(|_| find(&DIRECTORIES).is_none() && find(&OTHERS).is_none())
}

/// Links are followed so far; a longer chain is a circle or madness, and the name is left as it is.
const MOST_HOPS: usize = 16;

/// The name under which systemd knows the unit: the end of the chain of aliases.
pub(super) fn resolve(root: &Path, unit: &UnitName) -> UnitName {
    let mut name = unit.clone();
    for _ in 0..MOST_HOPS {
        match next(root, &name) {
            Some(other) => name = other,
            None => return name,
        }
    }
    unit.clone()
}

fn next(root: &Path, unit: &UnitName) -> Option<UnitName> {
    // An instance without a file of its own may be one of a template that is an alias.
    link(root, unit.as_str()).unwrap_or_else(|| {
        let (template, instance) = unit.stem().split_once('@')?;
        let target = link(root, &format!("{template}@.service"))??;
        let (other, empty) = target.stem().split_once('@')?;
        empty.is_empty().then(|| UnitName::try_from(format!("{other}@{instance}.service")).ok())?
    })
}

/// `None`: there is no such file. `Some(None)`: it is no alias.
fn link(root: &Path, name: &str) -> Option<Option<UnitName>> {
    for directory in DIRECTORIES {
        let path = Path::new(directory).join(name);
        let Ok(metadata) = std::fs::symlink_metadata(below(root, &path)) else { continue };
        if !metadata.is_symlink() {
            return Some(None);
        }
        let Ok(target) = std::fs::read_link(below(root, &path)) else { return Some(None) };
        let target = plain(&Path::new(directory).join(target));
        // A link that leads out of these directories is a linked unit file, under its own name; one
        // to /dev/null is a mask.
        let inside = target.parent().is_some_and(|parent| DIRECTORIES.iter().any(|d| parent == Path::new(d)));
        let other = target.file_name().and_then(|name| name.to_str());
        return Some(match other {
            Some(other) if inside && other != name => alias(name, other),
            _ => None,
        });
    }
    None
}

/// A link of an instance to a template is that template's instance.
fn alias(name: &str, other: &str) -> Option<UnitName> {
    let other = UnitName::try_from(other.to_owned()).ok()?;
    let instance = name.rsplit_once('.')?.0.split_once('@').map_or("", |(_, instance)| instance);
    if other.stem().ends_with('@') && !instance.is_empty() {
        return UnitName::try_from(format!("{}{instance}.service", other.stem())).ok();
    }
    Some(other)
}

/// Resolves `.` and `..` by text alone; the directories themselves are no links but /lib, which
/// leads to a place that has the same name below /usr.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn aliases_lead_to_the_name_that_systemd_uses() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/systemd/system");
        let usr = root.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::create_dir_all(&usr).unwrap();
        std::fs::write(usr.join("node-web.service"), "").unwrap();
        std::fs::write(usr.join("web@.service"), "").unwrap();
        symlink("/usr/lib/systemd/system/node-web.service", etc.join("web.service")).unwrap();
        symlink("web.service", etc.join("www.service")).unwrap();
        symlink("../../../opt/site.service", etc.join("linked.service")).unwrap();
        symlink("/dev/null", etc.join("masked.service")).unwrap();
        symlink("b.service", etc.join("a.service")).unwrap();
        symlink("a.service", etc.join("b.service")).unwrap();
        symlink("/usr/lib/systemd/system/web@.service", etc.join("site@1.service")).unwrap();
        symlink("/usr/lib/systemd/system/web@.service", etc.join("any@.service")).unwrap();

        let end = |name: &str| resolve(root.path(), &name.parse().unwrap()).to_string();
        assert_eq!(end("web.service"), "node-web.service");
        assert_eq!(end("www.service"), "node-web.service");
        assert_eq!(end("node-web.service"), "node-web.service");
        assert_eq!(end("linked.service"), "linked.service");
        assert_eq!(end("masked.service"), "masked.service");
        assert_eq!(end("a.service"), "a.service");
        assert_eq!(end("site@1.service"), "web@1.service");
        assert_eq!(end("any@2.service"), "web@2.service");
        assert_eq!(end("unheard-of.service"), "unheard-of.service");
    }
}
