//! The daemon, as a command sees it over the bus.

use std::fmt;
use std::time::Duration;

use zbus::Connection;
use zbus::fdo::Error as Fdo;

use crate::alerts::ChannelView;
use crate::judge::{AppView, Rehearsal};

use super::agent::Agent;
use super::{ATTENTION, NO_DAEMON};

/// How long a command waits for the daemon.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long it waits where polkit may ask a person for a password, a little longer than the daemon does.
const PERSON: Duration = Duration::from_secs(135);
/// For a delivery, which has a minute itself, and the resolver.
const DELIVERY: Duration = Duration::from_secs(130);

#[zbus::proxy(
    interface = "org.appmonitor1.Manager",
    default_service = "org.appmonitor1",
    default_path = "/org/appmonitor1"
)]
trait Manager {
    fn report(&self) -> zbus::Result<String>;
    fn remarks(&self) -> zbus::Result<Vec<String>>;
    fn rehearse(&self, app: &str) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn recover(&self, app: &str) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn pause(&self, app: &str, seconds: u64, reason: &str) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn resume(&self, app: &str) -> zbus::Result<()>;
    #[zbus(allow_interactive_auth)]
    fn reset(&self, app: &str) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn alerts(&self) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn test_alert(&self, name: &str) -> zbus::Result<String>;
}

/// Why the daemon did not do it.
#[derive(Debug)]
pub enum Failure {
    /// It does not run, or does not answer.
    Absent(String),
    /// It said no.
    Refused(String),
}

impl Failure {
    /// The exit status that stands for it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Absent(_) => NO_DAEMON,
            Self::Refused(_) => ATTENTION,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(why) => {
                write!(f, "the daemon does not answer: {why}; see: systemctl status app-monitor")
            }
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        match error {
            // An answer under a name that the D-Bus specification knows; the text is the daemon's.
            zbus::Error::FDO(error) => match *error {
                Fdo::ServiceUnknown(_) | Fdo::NameHasNoOwner(_) => Self::Absent("it does not run".into()),
                Fdo::NoReply(text) | Fdo::Timeout(text) | Fdo::TimedOut(text) => Self::Absent(text),
                Fdo::AccessDenied(text)
                | Fdo::Failed(text)
                | Fdo::InvalidArgs(text)
                | Fdo::LimitsExceeded(text)
                | Fdo::UnknownObject(text) => Self::Refused(text),
                Fdo::ZBus(error) => Self::from(error),
                other => Self::Refused(other.to_string()),
            },
            zbus::Error::MethodError(name, text, _) => {
                Self::Refused(text.unwrap_or_else(|| name.to_string()))
            }
            other => Self::Absent(other.to_string()),
        }
    }
}

/// A connection to the daemon.
pub struct Client {
    manager: ManagerProxy<'static>,
    /// Asks for a password on this terminal, should polkit want one.
    _agent: Option<Agent>,
}

impl Client {
    /// Connects to the system bus.
    pub async fn connect() -> Result<Self, Failure> {
        within(async {
            let connection = Connection::system().await?;
            let manager = ManagerProxy::builder(&connection)
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await?;
            Ok(Self { manager, _agent: None })
        })
        .await
    }

    /// The same for a command that acts: where a person sits at the terminal who is not root, polkit may
    /// ask for a password there.
    pub async fn with_agent(self) -> Self {
        Self { _agent: Agent::start().await, ..self }
    }

    /// All apps at a glance.
    pub async fn views(&self) -> Result<Vec<AppView>, Failure> {
        let text = within(self.manager.report()).await?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::Absent(format!("its report cannot be read ({error}); is it another version?"))
        })
    }

    /// What of its own files the daemon could not use when it started. One of another version has nothing
    /// to say.
    pub async fn remarks(&self) -> Vec<String> {
        within(self.manager.remarks()).await.unwrap_or_default()
    }

    /// What a recovery would do.
    pub async fn rehearse(&self, app: &str) -> Result<Rehearsal, Failure> {
        let text = within(self.manager.rehearse(app)).await?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::Absent(format!("its plan cannot be read ({error}); is it another version?"))
        })
    }

    /// Recovers an app now.
    pub async fn recover(&self, app: &str) -> Result<(), Failure> {
        patiently(self.manager.recover(app)).await
    }

    /// Pauses an app.
    pub async fn pause(&self, app: &str, length: Duration, reason: &str) -> Result<(), Failure> {
        patiently(self.manager.pause(app, length.as_secs().max(1), reason)).await
    }

    /// Ends a pause.
    pub async fn resume(&self, app: &str) -> Result<(), Failure> {
        patiently(self.manager.resume(app)).await
    }

    /// Forgets attempts.
    pub async fn reset(&self, app: &str) -> Result<(), Failure> {
        patiently(self.manager.reset(app)).await
    }

    /// Whom it tells, and how that goes.
    pub async fn alerts(&self) -> Result<Vec<ChannelView>, Failure> {
        let text = within(self.manager.alerts()).await?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::Absent(format!("its report cannot be read ({error}); is it another version?"))
        })
    }

    /// Has it send a test. Says how it went.
    pub async fn test_alert(&self, name: &str) -> Result<String, Failure> {
        by(PERSON.max(DELIVERY), self.manager.test_alert(name)).await
    }

    /// Puts the resolved configuration in force.
    pub async fn reload(&self) -> Result<(), Failure> {
        within(self.manager.reload()).await
    }
}

async fn within<T>(work: impl Future<Output = zbus::Result<T>>) -> Result<T, Failure> {
    by(DEADLINE, work).await
}

/// Of root nobody asks for a password, so that an answer is there at once.
async fn patiently<T>(work: impl Future<Output = zbus::Result<T>>) -> Result<T, Failure> {
    by(if rustix::process::geteuid().is_root() { DEADLINE } else { PERSON }, work).await
}

async fn by<T>(deadline: Duration, work: impl Future<Output = zbus::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(_) => Err(Failure::Absent(format!("no answer within {} s", deadline.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_silence() {
        let failure = |error: Fdo| Failure::from(zbus::Error::FDO(Box::new(error)));
        let refused = failure(Fdo::AccessDenied("that takes root".into()));
        assert_eq!((refused.status(), refused.to_string().as_str()), (ATTENTION, "that takes root"));
        let absent = failure(Fdo::ServiceUnknown("The name is not activatable".into()));
        assert_eq!(absent.status(), NO_DAEMON);
        assert!(absent.to_string().starts_with("the daemon does not answer: it does not run;"));
    }
}
