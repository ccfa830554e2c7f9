//! Which files a service sees otherwise than the host has them (systemd.exec(5), "Paths" and "Sandboxing").

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use zbus::Variant;

use super::properties::{Value, plain};

/// What a service sees otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sight {
    /// It has a root of its own: nothing is known of its files.
    pub own_root: bool,
    /// What is mounted for it alone.
    pub covered: Vec<PathBuf>,
    /// What its sandbox shows otherwise, or hides from it.
    pub shut: Vec<PathBuf>,
    /// Directories that systemd makes for it when it starts, and hands to its user.
    pub made: Vec<PathBuf>,
    /// `ProtectHome=`, where it hides the homes.
    pub homes: Option<String>,
}

/// Places of each kind that are looked at.
const MANY: usize = 256;
/// What `ProtectHome=` is about.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What is made, below which folder.
const MADE: [(&str, &str); 5] = [
    ("StateDirectory", "/var/lib"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
    ("RuntimeDirectory", "/run"),
    ("ConfigurationDirectory", "/etc"),
];

impl Sight {
    /// What the properties of a service say.
    pub(super) fn of(side: &HashMap<&str, Variant<'_>>) -> Self {
        let text = |name: &str| match side.get(name).and_then(plain) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        };
        let texts = |name: &str| match side.get(name).and_then(plain) {
            Some(Value::Texts(texts)) => texts,
            _ => Vec::new(),
        };
        let mut covered = Vec::new();
        for (name, field) in
            [("BindPaths", 1), ("BindReadOnlyPaths", 1), ("TemporaryFileSystem", 0), ("MountImages", 1)]
        {
            covered.extend(side.get(name).map(|list| nth(list, field)).unwrap_or_default());
        }
        // One that may be missing, or is below a root, is marked so.
        let mut shut: Vec<String> = texts("InaccessiblePaths")
            .iter()
            .map(|path| path.trim_start_matches(['-', '+']).into())
            .collect();
        if matches!(side.get("PrivateTmp").and_then(plain), Some(Value::Flag(true))) {
            shut.extend(["/tmp".to_owned(), "/var/tmp".to_owned()]);
        }
        let extended = |name: &str| match side.get(name) {
            Some(Variant::Array(list)) => !list.is_empty(),
            _ => false,
        };
        if extended("ExtensionImages") || extended("ExtensionDirectories") {
            covered.extend(["/usr", "/opt", "/etc"].map(str::to_owned));
        }
        let made = MADE
            .iter()
            .flat_map(|(name, below)| texts(name).into_iter().map(move |path| Path::new(below).join(path)));
        let root = text("RootDirectory");
        Self {
            own_root: !matches!(root.as_str(), "" | "/") || !text("RootImage").is_empty(),
            covered: covered.into_iter().map(PathBuf::from).take(MANY).collect(),
            shut: shut.into_iter().map(PathBuf::from).take(MANY).collect(),
            made: made.take(MANY).collect(),
            homes: Some(text("ProtectHome")).filter(|how| matches!(how.as_str(), "yes" | "tmpfs")),
        }
    }

    /// What a command behind a `+` sees: the sandbox is not for it, a root and mounts of its own are (seen on
    /// 252 and 257).
    #[must_use]
    pub fn without_sandbox(&self) -> Self {
        Self { shut: Vec::new(), homes: None, ..self.clone() }
    }

    /// Whether a path may lead it elsewhere than it leads on the host, but for homes that are hidden.
    #[must_use]
    pub fn is_other(&self, path: &Path) -> bool {
        // What is mounted below it is made there.
        let on_its_way = |place: &PathBuf| path.starts_with(place) || place.starts_with(path);
        self.own_root || self.covered.iter().chain(&self.shut).any(on_its_way)
    }

    /// Whether `ProtectHome=` hides that path.
    #[must_use]
    pub fn hides(&self, path: &Path) -> bool {
        self.homes.is_some() && !self.is_other(path) && HOMES.iter().any(|home| path.starts_with(home))
    }

    /// Whether systemd makes that directory, or one below it, at its start.
    #[must_use]
    pub fn is_made(&self, path: &Path) -> bool {
        self.made.iter().any(|made| made.starts_with(path))
    }

    /// Whether the path lies in a directory that systemd hands to its user at its start.
    #[must_use]
    pub fn is_handed_over(&self, path: &Path) -> bool {
        self.made.iter().any(|made| path.starts_with(made))
    }
}

/// That field of each element of a list such as `a(ssbt)`.
fn nth(value: &Variant<'_>, field: usize) -> Vec<String> {
    let list = match value {
        Variant::Variant(inner) => return nth(inner, field),
        Variant::Array(list) => list,
        _ => return Vec::new(),
    };
    let text = |one: &Variant<'_>| {
        let Variant::Structure(one) = one else { return None };
        match one.fields().get(field) {
            Some(Variant::Str(text)) => Some(text.as_str().to_owned()),
            _ => None,
        }
    };
    list.iter().filter_map(text).take(MANY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(side: &[(&'static str, Variant<'static>)]) -> Sight {
        Sight::of(&side.iter().map(|(name, value)| (*name, value.try_clone().unwrap())).collect())
    }

    #[test]
    fn what_is_seen_otherwise() {
        let other = |sight: &Sight, path: &str| sight.is_other(Path::new(path));
        let plain =
            sight(&[("RootDirectory", Variant::from("")), ("ProtectHome", Variant::from("read-only"))]);
        assert_eq!(plain, Sight::default());
        assert!(!other(&plain, "/srv/web"));
        for of in ["RootDirectory", "RootImage"] {
            assert!(other(&sight(&[(of, Variant::from("/srv/root"))]), "/usr/bin/node"), "{of}");
        }
        let binds = vec![("/data/web", "/srv/web", false, 0_u64)];
        for of in ["BindPaths", "BindReadOnlyPaths"] {
            let sight = sight(&[(of, Variant::from(binds.clone()))]);
            for (path, expected) in
                [("/srv/web/app", true), ("/srv", true), ("/srv/webs", false), ("/data/web", false)]
            {
                assert_eq!(other(&sight, path), expected, "{of} {path}");
            }
        }
        let sight = sight(&[
            ("TemporaryFileSystem", Variant::from(vec![("/srv", "ro")])),
            ("InaccessiblePaths", Variant::from(vec!["-/mnt", "+/opt/x"])),
            ("PrivateTmp", Variant::from(true)),
        ]);
        for (path, expected) in
            [("/srv/web", true), ("/mnt/a", true), ("/opt/x", true), ("/opt/y", false), ("/var/tmp/a", true)]
        {
            assert_eq!(other(&sight, path), expected, "{path}");
            let mounted = expected && path.starts_with("/srv");
            assert_eq!(other(&sight.without_sandbox(), path), mounted, "{path}, outside of the sandbox");
        }
    }

    #[test]
    fn homes_that_are_hidden_and_what_is_shown_of_them() {
        let binds = vec![("/home/me/web", "/home/me/web", false, 0_u64)];
        for (how, hidden) in [("yes", true), ("tmpfs", true), ("read-only", false), ("no", false)] {
            let sight =
                sight(&[("ProtectHome", Variant::from(how)), ("BindPaths", Variant::from(binds.clone()))]);
            for (path, below) in
                [("/home/you/web", true), ("/root", true), ("/home/me/web/app", false), ("/srv/home", false)]
            {
                assert_eq!(sight.hides(Path::new(path)), hidden && below, "{how} {path}");
                assert!(!sight.without_sandbox().hides(Path::new(path)), "{how} {path}");
            }
        }
    }

    #[test]
    fn what_is_made_at_its_start() {
        let sight = sight(&[("StateDirectory", Variant::from(vec!["web/data"]))]);
        for (path, made, handed) in [
            ("/var/lib/web/data", true, true),
            ("/var/lib/web", true, false),
            ("/var/lib/web/data/app", false, true),
            ("/var/lib/webs", false, false),
        ] {
            assert_eq!(
                (sight.is_made(path.as_ref()), sight.is_handed_over(path.as_ref())),
                (made, handed),
                "{path}"
            );
        }
    }
}
