//! What can go wrong on the bus, sorted by what it means for the caller.

use std::fmt;

use zbus::DBusError as _;

use super::bus::DBUS;
use super::proof::Obstacle;
use crate::plain::on_one_line;

/// Why a call over the bus did not do what it was meant to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// No answer before our deadline, or the bus gave up waiting for one. Whether it was carried
    /// out is unknown.
    TimedOut,
    /// polkit or the bus policy says no.
    Refused(String),
    /// What keeps us from doing it is known.
    Hindered(Obstacle),
    /// No such unit, or it is not loaded.
    NoSuchUnit,
    /// The unit is masked. A masked polkit looks the same to the caller, so `LoadState` decides.
    Masked,
    /// No process in the unit to send a signal to.
    NoSuchProcess,
    /// No such job any more.
    NoSuchJob,
    /// Refused by job mode `fail`: a job of somebody else is pending and goes the other way.
    Conflict(String),
    /// The bus is gone, or systemd is not on it (in the middle of a daemon-reexec).
    Disconnected(String),
    /// Anything else: the D-Bus error name, empty if there was none, and its text.
    Other(String, String),
}

impl Error {
    /// Whether it is unknown if the call was or will be carried out.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Disconnected(_))
    }

    /// Sorts a D-Bus error reply by its name.
    pub(super) fn from_name(name: &str, text: &str) -> Self {
        let short = name
            .strip_prefix("org.freedesktop.systemd1.")
            .or_else(|| name.strip_prefix("org.freedesktop.DBus.Error."))
            .unwrap_or(name);
        match short {
            "AccessDenied" | "AuthFailed" => Self::Refused(bounded(text, short)),
            "InteractiveAuthorizationRequired" => Self::Hindered(Obstacle::NoRule),
            // The bus says NoReply when the callee left without answering.
            "NoReply" | "Timeout" | "TimedOut" => Self::TimedOut,
            "Disconnected" | "ServiceUnknown" | "NameHasNoOwner" | "NoServer" => {
                Self::Disconnected(bounded(text, short))
            }
            "NoSuchUnit" => Self::NoSuchUnit,
            "UnitMasked" => Self::Masked,
            "NoSuchProcess" | "System.Error.ESRCH" => Self::NoSuchProcess,
            "NoSuchJob" => Self::NoSuchJob,
            "TransactionIsDestructive" | "TransactionJobsConflicting" => Self::Conflict(bounded(text, short)),
            _ => Self::Other(name.to_owned(), bounded(text, "")),
        }
    }

    /// An answer that is not in the form that systemd promises.
    pub(super) fn malformed(what: &str, error: impl fmt::Display) -> Self {
        Self::Other(String::new(), format!("the answer of {what} cannot be read: {error}"))
    }
}

/// Error texts come from elsewhere and end in the journal: keep them short and on one line.
fn bounded(text: &str, otherwise: &str) -> String {
    let text = if text.is_empty() { otherwise } else { text };
    on_one_line(text).chars().take(300).collect()
}

impl Error {
    /// An answer that is an error, to a call for which systemd may have to ask polkit.
    pub(super) fn of_answer(answer: zbus::Message) -> Self {
        let peer = is_from_a_peer(&answer);
        let error = zbus::Error::from(answer);
        let text = match &error {
            zbus::Error::FDO(fdo) => fdo.description().unwrap_or_default().to_owned(),
            zbus::Error::MethodError(_, text, _) => text.clone().unwrap_or_default(),
            _ => String::new(),
        };
        match Self::from(error) {
            // Not the bus says that systemd gave no answer, but systemd that polkit gave none. It waits for
            // 25 s, if polkit is not gone before.
            Self::TimedOut if peer => Self::Hindered(if text.contains("timed out") {
                Obstacle::Silent
            } else {
                Obstacle::Broken(bounded(&text, "it went away"))
            }),
            error => error,
        }
    }
}

/// Sent by somebody on the bus, and not by the bus itself.
fn is_from_a_peer(answer: &zbus::Message) -> bool {
    answer.header().sender().is_some_and(|sender| sender.as_str() != DBUS)
}

impl From<zbus::Error> for Error {
    fn from(error: zbus::Error) -> Self {
        match &error {
            zbus::Error::MethodError(name, text, _) => {
                Self::from_name(name.as_str(), text.as_deref().unwrap_or_default())
            }
            zbus::Error::FDO(fdo) => match &**fdo {
                zbus::fdo::Error::ZBus(inner) => Self::from(inner.clone()),
                fdo => Self::from_name(fdo.name().as_str(), fdo.description().unwrap_or_default()),
            },
            zbus::Error::InputOutput(_)
            | zbus::Error::Connection(..)
            | zbus::Error::Handshake(_)
            | zbus::Error::Address(_) => Self::Disconnected(bounded(&error.to_string(), "")),
            _ => Self::Other(String::new(), bounded(&error.to_string(), "")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Refused(text) => write!(f, "not allowed: {text}"),
            Self::Hindered(obstacle) => obstacle.fmt(f),
            Self::NoSuchUnit => f.write_str("no such unit"),
            Self::Masked => f.write_str("the unit is masked"),
            Self::NoSuchProcess => f.write_str("no process is left in the unit"),
            Self::NoSuchJob => f.write_str("no such job"),
            Self::Conflict(text) => write!(f, "another job is pending: {text}"),
            Self::Disconnected(text) => write!(f, "the bus is gone: {text}"),
            Self::Other(name, text) if name.is_empty() => f.write_str(text),
            Self::Other(name, text) => write!(f, "{text} ({name})"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_name() {
        let of = |name: &str| Error::from_name(name, "text");
        assert_eq!(of("org.freedesktop.DBus.Error.AccessDenied"), Error::Refused("text".into()));
        assert_eq!(
            of("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"),
            Error::Hindered(Obstacle::NoRule)
        );
        assert_eq!(of("org.freedesktop.systemd1.NoSuchUnit"), Error::NoSuchUnit);
        assert_eq!(of("org.freedesktop.systemd1.NoSuchProcess"), Error::NoSuchProcess);
        assert_eq!(of("org.freedesktop.systemd1.UnitMasked"), Error::Masked);
        assert!(matches!(of("org.freedesktop.systemd1.TransactionIsDestructive"), Error::Conflict(_)));
        assert!(of("org.freedesktop.DBus.Error.NoReply").is_unknown());
        assert!(of("org.freedesktop.DBus.Error.ServiceUnknown").is_unknown());
        let other = of("org.freedesktop.systemd1.LoadFailed");
        assert!(!other.is_unknown());
        assert_eq!(other.to_string(), "text (org.freedesktop.systemd1.LoadFailed)");
    }

    #[test]
    fn systemd_says_of_polkit_what_the_bus_says_of_systemd() {
        let answer = |sender: &str, name: &str, text: &str| {
            let call = zbus::Message::method_call("/", "StartUnit").build(&()).unwrap();
            let answer = zbus::Message::error(&call.header(), name).sender(sender).build(&text).unwrap();
            Error::of_answer(answer)
        };
        let no_reply = "org.freedesktop.DBus.Error.NoReply";
        assert_eq!(answer(":1.0", no_reply, "Method call timed out"), Error::Hindered(Obstacle::Silent));
        let gone = "Message recipient disconnected from message bus without replying";
        assert_eq!(answer(":1.0", no_reply, gone), Error::Hindered(Obstacle::Broken(gone.into())));
        assert_eq!(answer(DBUS, no_reply, gone), Error::TimedOut, "it is systemd that left");
        let denied = "org.freedesktop.DBus.Error.AccessDenied";
        assert_eq!(answer(":1.0", denied, "no"), Error::Refused("no".into()));
        assert_eq!(answer(":1.0", "org.freedesktop.systemd1.NoSuchUnit", "no"), Error::NoSuchUnit);
    }

    #[test]
    fn texts_of_strangers_are_bounded_and_on_one_line() {
        let Error::Refused(text) =
            Error::from_name("org.freedesktop.DBus.Error.AccessDenied", &"a\n".repeat(1_000))
        else {
            panic!("refused");
        };
        assert_eq!(text.chars().count(), 300);
        assert!(!text.contains('\n'));
    }
}
