//! Names of apps and units, checked once where they enter.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of an app: `[a-z0-9][a-z0-9-]{0,31}`. It is part of object paths, file names and
/// template instances, so nothing else may ever be one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

impl AppName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AppName {
    /// Stands where no app is: `unnamed`.
    pub(super) fn nobody() -> &'static Self {
        static NOBODY: std::sync::LazyLock<AppName> =
            std::sync::LazyLock::new(|| AppName("unnamed".to_owned()));
        &NOBODY
    }
}

impl TryFrom<String> for AppName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=32).contains(&bytes.len())
            && plain(&bytes[0])
            && bytes.iter().all(|b| plain(b) || *b == b'-');
        if fits { Ok(Self(text)) } else { Err(NameError::App(text)) }
    }
}

/// Who is judged: an app, one instance of it, or a unit that apps lean on (their proxy, their
/// database). As text: `web`, `web@2`, `nginx.service`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// An app that runs as one unit.
    App(AppName),
    /// One of the `instances` of an app, counted from 1 in the order of the configuration.
    Instance(AppName, u16),
    /// A unit that apps lean on. App names have no dot, unit names always have one.
    Unit(UnitName),
}

impl Subject {
    /// The app that it is, or is an instance of.
    #[must_use]
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Self::App(app) | Self::Instance(app, _) => Some(app),
            Self::Unit(_) => None,
        }
    }

    /// A number from 0 to 1 that belongs to the name: what many do at the same pace is spread over
    /// time by it.
    #[must_use]
    pub fn share(&self) -> f64 {
        // FNV-1a; its last bytes are hardly mixed, so splitmix64's last steps follow.
        let hash = self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from((hash >> 48) as u16) / f64::from(u16::MAX)
    }
}

impl From<AppName> for Subject {
    fn from(app: AppName) -> Self {
        Self::App(app)
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(app) => f.pad(app.as_str()),
            Self::Instance(app, number) => f.pad(&format!("{app}@{number}")),
            Self::Unit(unit) => f.pad(unit.as_str()),
        }
    }
}

impl TryFrom<String> for Subject {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        if text.contains('.') {
            return UnitName::try_from(text).map(Self::Unit);
        }
        let Some((app, number)) = text.split_once('@') else { return AppName::try_from(text).map(Self::App) };
        let parsed = number.parse::<u16>().ok().filter(|parsed| *parsed > 0 && parsed.to_string() == number);
        match (AppName::try_from(app.to_owned()), parsed) {
            (Ok(app), Some(number)) => Ok(Self::Instance(app, number)),
            _ => Err(NameError::App(text)),
        }
    }
}

impl std::str::FromStr for Subject {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

/// The full name of a systemd unit with its suffix, as systemd.unit(5) allows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

impl UnitName {
    /// The name as text, suffix included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a shell has to read it, behind the name of a command: of what a name may hold, a backslash has to be
    /// quoted, and a hyphen at its beginning would make it an option.
    #[must_use]
    pub fn in_shell(&self) -> String {
        let end = if self.0.starts_with('-') { "-- " } else { "" };
        if self.0.contains('\\') { format!("{end}'{}'", self.0) } else { format!("{end}{}", self.0) }
    }

    /// The name without its suffix: `web` of `web.service`.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(stem, _)| stem)
    }

    /// Whether starting it takes the host down (systemd.special(7)).
    #[must_use]
    pub fn takes_host_down(&self) -> bool {
        const WAYS: [&str; 5] = ["poweroff", "reboot", "halt", "kexec", "soft-reboot"];
        match self.0.rsplit_once('.') {
            Some((stem, "target")) => stem == "shutdown" || WAYS.contains(&stem),
            Some((stem, "service")) => stem.strip_prefix("systemd-").is_some_and(|way| WAYS.contains(&way)),
            _ => false,
        }
    }
}

impl TryFrom<String> for UnitName {
    type Error = NameError;
    /// systemd.unit(5): at most 255 characters of ASCII letters, digits and `:-_.\@`, then a dot
    /// and the type of unit.
    fn try_from(text: String) -> Result<Self, NameError> {
        const TYPES: [&str; 11] = [
            "service",
            "socket",
            "target",
            "timer",
            "mount",
            "automount",
            "swap",
            "path",
            "slice",
            "scope",
            "device",
        ];
        let fits = text.len() <= 255
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
            && text.rsplit_once('.').is_some_and(|(stem, kind)| !stem.is_empty() && TYPES.contains(&kind));
        if fits { Ok(Self(text)) } else { Err(NameError::Unit(text)) }
    }
}

/// Why a text is no name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Not the name of an app.
    App(String),
    /// Not the name of a unit.
    Unit(String),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(text) => write!(
                f,
                "\u{201c}{text}\u{201d} is no app name: 1 to 32 of a-z, 0-9 and -, not beginning with -"
            ),
            Self::Unit(text) => write!(
                f,
                "\u{201c}{text}\u{201d} is no unit name: it needs a suffix such as .service, and only letters, digits and :-_.\\@"
            ),
        }
    }
}

impl std::error::Error for NameError {}

macro_rules! text_like {
    ($name:ident) => {
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}
text_like!(AppName);
text_like!(UnitName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_are_narrow() {
        for good in ["a", "web", "web-1", "0", &"a".repeat(32)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "Web", "a_b", "a.b", "..", "a/b", &"a".repeat(33), "ä"] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn subjects_read_back_as_they_are_written() {
        for text in ["web", "web@1", "web@65535", "nginx.service", "web@1.service"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for bad in ["", "web@", "web@0", "web@01", "web@+1", "web@65536", "@1", "a@b@1", "Web@1", "../x"] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }

    #[test]
    fn unit_names_reach_a_command_as_they_are() {
        for (name, expected) in [
            ("web@1.service", "web@1.service"),
            ("a\\x2db.service", "'a\\x2db.service'"),
            ("-.slice", "-- -.slice"),
            ("-a\\x2db.service", "-- '-a\\x2db.service'"),
        ] {
            let unit: UnitName = name.parse().unwrap();
            assert_eq!(unit.in_shell(), expected);
            // What a name may hold and a shell reads in its own way is quoted everywhere alike.
            let quoted = crate::plain::in_shell(name);
            assert_eq!(unit.in_shell().trim_start_matches("-- "), quoted);
        }
    }

    #[test]
    fn unit_names_carry_their_type() {
        for good in ["web.service", "web@1.service", "a\\x2db.service", "app.socket"] {
            assert!(good.parse::<UnitName>().is_ok(), "{good}");
        }
        for bad in ["web", ".service", "web.conf", "a b.service", "../x.service"] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
    }
}
