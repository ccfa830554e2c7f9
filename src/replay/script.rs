//! What goes wrong, and when: `10:00 freeze 40s; 12:00 db-down 5m`.

use std::fmt;
use std::time::Duration;

use crate::config::{duration, nearest};
use crate::incidents::{Incident, Outcome};
use crate::judge::{Span, Subject, Verdict};
use crate::plain::cut;

/// Happenings of one script.
const MOST: usize = 200;
/// Nothing lasts longer than that: a week.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The app exits with status 1. With a length: after each start again, until that is over.
    Crash,
    /// It takes nothing from its queue and answers nothing.
    Freeze,
    /// It answers 500.
    Error,
    /// It no longer listens.
    PortClosed,
    /// It takes connections, and is too slow for each of them.
    Overload,
    /// It is over `max_memory`.
    Leak,
    /// A build that answers 500 is deployed; the next one comes when the length is over.
    BadBuild,
    /// Somebody stops it, and starts it again when the length is over.
    Stop,
    /// Somebody restarts it.
    Restart,
    /// The database does not accept connections, and the app answers 500 meanwhile.
    DbDown,
    /// The proxy falls.
    ProxyDown,
    /// Neither the public name nor anything else out there can be reached.
    NetDown,
    /// Memory of the host is short.
    HostMemory,
    /// A file system is nearly full.
    DiskLow,
    /// Keys or files that a start needs are gone.
    ConfigMissing,
}

impl Kind {
    /// All of them, in the order of the manual.
    pub const ALL: [Self; 15] = [
        Self::Crash,
        Self::Freeze,
        Self::Error,
        Self::PortClosed,
        Self::Overload,
        Self::Leak,
        Self::BadBuild,
        Self::Stop,
        Self::Restart,
        Self::DbDown,
        Self::ProxyDown,
        Self::NetDown,
        Self::HostMemory,
        Self::DiskLow,
        Self::ConfigMissing,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Freeze => "freeze",
            Self::Error => "error",
            Self::PortClosed => "port-closed",
            Self::Overload => "overload",
            Self::Leak => "leak",
            Self::BadBuild => "bad-build",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::DbDown => "db-down",
            Self::ProxyDown => "proxy-down",
            Self::NetDown => "net-down",
            Self::HostMemory => "host-memory",
            Self::DiskLow => "disk-low",
            Self::ConfigMissing => "config-missing",
        }
    }

    /// No restart ends it, so that it has to be said how long it lasts.
    #[must_use]
    pub const fn needs_length(self) -> bool {
        matches!(
            self,
            Self::BadBuild
                | Self::Stop
                | Self::DbDown
                | Self::NetDown
                | Self::HostMemory
                | Self::DiskLow
                | Self::ConfigMissing
        )
    }

    /// It is over at once, whatever follows from it.
    const fn takes_no_length(self) -> bool {
        matches!(self, Self::Restart | Self::ProxyDown)
    }

    /// What an incident looks like from outside.
    fn of_verdict(verdict: Verdict, outcome: Outcome) -> Option<Self> {
        // Attempts in vain are what a build does that cannot work.
        let lasting = outcome == Outcome::GaveUp;
        Some(match verdict {
            Verdict::Crashed | Verdict::CrashLooping | Verdict::SystemdRestarting => Self::Crash,
            Verdict::Frozen | Verdict::Erroring | Verdict::PortClosed if lasting => Self::BadBuild,
            Verdict::Frozen => Self::Freeze,
            Verdict::Erroring | Verdict::NoProcess => Self::Error,
            Verdict::PortClosed => Self::PortClosed,
            Verdict::Overloaded => Self::Overload,
            Verdict::AppMemory => Self::Leak,
            Verdict::DatabaseDown => Self::DbDown,
            Verdict::ConfigMissing => Self::ConfigMissing,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Something that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Happening {
    /// When: since the midnight before the first one.
    pub at: Duration,
    /// What.
    pub kind: Kind,
    /// To whom; to the app and all of its instances where nobody is named.
    pub whom: Option<Subject>,
    /// How long it lasts, unless a restart ends it.
    pub length: Option<Duration>,
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(whom) = &self.whom {
            write!(f, " {whom}")?;
        }
        self.length.map_or(Ok(()), |length| write!(f, " for {}", Span(length)))
    }
}

/// What happens, in the order of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Script(pub Vec<Happening>);

impl Script {
    /// Reads `TIME KIND [SUBJECT] [LENGTH]; …`. A time that is earlier than the one before is one of the
    /// next day.
    ///
    /// # Errors
    /// The first that cannot be read, with what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        let mut midnight = Duration::ZERO;
        for part in text.split([';', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
            if script.0.len() >= MOST {
                return Err(format!("more than {MOST} happenings are no day of anybody"));
            }
            let mut one = read_one(part).map_err(|why| format!("{:?}: {why}", cut(part, 60)))?;
            one.at += midnight;
            if script.0.last().is_some_and(|before| one.at < before.at) {
                midnight += DAY;
                one.at += DAY;
            }
            script.0.push(one);
        }
        if script.0.is_empty() {
            return Err("nothing happens; expected something like \"10:00 freeze 40s\"".to_owned());
        }
        Ok(script)
    }

    /// What incidents on record look like from outside, and the midnight (seconds since the epoch, UTC)
    /// before the first; the second are those that nothing here looks like.
    #[must_use]
    pub fn of_incidents(incidents: &[Incident]) -> (Self, i64, Vec<String>) {
        const A_DAY: i64 = 86_400;
        let first = incidents.iter().map(|incident| incident.opened_seconds).min().unwrap_or(0);
        let midnight = first - first.rem_euclid(A_DAY);
        let (mut all, mut unlike) = (Vec::new(), Vec::new());
        for incident in incidents {
            let Some(kind) = Kind::of_verdict(incident.verdict, incident.outcome) else {
                unlike.push(incident.id.clone());
                continue;
            };
            // It began with the first line about it, which is before it was confirmed.
            let sign = incident.timeline.first().map_or(0, |entry| entry.after_ms.min(0));
            let opened = u64::try_from(incident.opened_seconds - midnight).unwrap_or(0);
            let at = Duration::from_secs(opened).saturating_sub(Duration::from_millis(sign.unsigned_abs()));
            let lasted = incident.lasted_ms.map(Duration::from_millis);
            let by_itself = incident.outcome != Outcome::Recovered;
            let length = (kind.needs_length() || (by_itself && !incident.is_open()))
                .then(|| lasted.unwrap_or(Duration::from_secs(300)).min(LONGEST));
            all.push(Happening { at, kind, whom: None, length });
        }
        all.sort_by_key(|one| one.at);
        (Self(all), midnight, unlike)
    }
}

fn read_one(text: &str) -> Result<Happening, String> {
    let mut words = text.split_whitespace();
    let at = words.next().and_then(time).ok_or("expected a time such as 10:00 or 10:00:30 first")?;
    let word = words.next().unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
        let all = Kind::ALL.map(Kind::word);
        match nearest(word, all.into_iter()) {
            Some(near) => format!("nothing is called {word:?}; did you mean {near:?}?"),
            None => format!("expected one of {}", all.join(", ")),
        }
    })?;
    let rest: Vec<&str> = words.collect();
    // A subject begins with a letter, or is no length; a length begins with a digit.
    let (whom, rest) = match rest.split_first() {
        Some((first, rest)) if !first.starts_with(|c: char| c.is_ascii_digit()) => {
            let whom = first.parse::<Subject>().map_err(|error| error.to_string())?;
            (Some(whom), rest)
        }
        _ => (None, rest.as_slice()),
    };
    let length = match rest {
        [] => None,
        words => Some(duration::parse(&words.join(" ")).map_err(|why| format!("how long? {why}"))?),
    };
    match length {
        None if kind.needs_length() => Err(format!("no restart ends {kind}: say how long it lasts, e.g. 5m")),
        Some(_) if kind.takes_no_length() => Err(format!("{kind} is over at once, and takes no length")),
        Some(length) if length.is_zero() || length > LONGEST => {
            Err(format!("expected a length from 1s to {}", Span(LONGEST)))
        }
        length => Ok(Happening { at, kind, whom, length }),
    }
}

/// `10:00`, `10:00:30`.
fn time(text: &str) -> Option<Duration> {
    let mut parts = text.split(':').map(|part| {
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<u64>().ok()).flatten()
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let fits = hour < 24 && minute < 60 && second < 60 && parts.next().is_none();
    fits.then(|| Duration::from_secs(hour * 3_600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_is_read() {
        let Script(day) =
            Script::read("10:00 freeze 40s; 12:00:05 db-down 1h 30m\n9:30 crash web@2;").unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(
            day,
            [
                Happening { at: seconds(36_000), kind: Kind::Freeze, whom: None, length: Some(seconds(40)) },
                Happening {
                    at: seconds(43_205),
                    kind: Kind::DbDown,
                    whom: None,
                    length: Some(seconds(5_400))
                },
                Happening {
                    at: seconds(86_400 + 34_200),
                    kind: Kind::Crash,
                    whom: Some("web@2".parse().unwrap()),
                    length: None
                },
            ]
        );
        let told: Vec<_> = day.iter().map(Happening::to_string).collect();
        assert_eq!(told, ["freeze for 40 s", "db-down for 1 h 30 min", "crash web@2"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, why) in [
            ("", "nothing happens; expected something like \"10:00 freeze 40s\""),
            ("freeze", "\"freeze\": expected a time such as 10:00 or 10:00:30 first"),
            ("24:00 freeze", "\"24:00 freeze\": expected a time such as 10:00 or 10:00:30 first"),
            ("10:00 freez 1s", "\"10:00 freez 1s\": nothing is called \"freez\"; did you mean \"freeze\"?"),
            ("10:00 db-down", "\"10:00 db-down\": no restart ends db-down: say how long it lasts, e.g. 5m"),
            ("10:00 restart 5m", "\"10:00 restart 5m\": restart is over at once, and takes no length"),
            ("10:00 freeze 0s", "\"10:00 freeze 0s\": expected a length from 1s to 7 d"),
        ] {
            assert_eq!(Script::read(text).unwrap_err(), why);
        }
        assert!(Script::read("10:00 sunshine").unwrap_err().contains("expected one of crash, freeze,"));
        assert!(Script::read("10:00 freeze WEB").is_err());
        assert!(Script::read(&"10:00 crash;".repeat(201)).is_err());
    }

    proptest! {
        #[test]
        fn any_words_are_survived(text in "[0-9:; a-z@.]{0,60}") {
            let _ = Script::read(&text);
        }
    }
}
