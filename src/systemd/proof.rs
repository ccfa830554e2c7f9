//! Whether systemd would do something for us, found out without having it done.
//!
//! A job mode that does not go with a verb, or a signal that does nothing to a process that nobody
//! has, is turned down only after polkit was asked: whoever is answered in that way may do the real
//! thing. ResetFailedUnit and RefUnit have no such form: the one changes what it is tried on, the
//! other is its own proof.

use std::fmt;
use std::time::Duration;

use super::bus::{Bus, DBUS, DBUS_PATH, Hand, POLKIT};
use super::error::Error;
use crate::judge::{UnitName, Verb};

/// A signal that goes to a process only where one is at work on the unit's behalf, and lets it go on:
/// 18 on every architecture that Debian has (signal(7)).
const SIGCONT: i32 = 18;

/// Why systemd would not do it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// No rule of polkit says anything about it, so that a person would have to be asked.
    NoRule,
    /// A rule of polkit, or the policy of the bus, says no.
    Denied(String),
    /// There is no polkit.
    Absent,
    /// polkit does not answer, though systemd does.
    Silent,
    /// polkit is masked, and does not run.
    Masked,
    /// polkit went away, or cannot be started.
    Broken(String),
}

impl Obstacle {
    /// It lies in polkit itself, whatever is asked of it.
    #[must_use]
    pub fn is_general(&self) -> bool {
        !matches!(self, Self::NoRule | Self::Denied(_))
    }

    /// How to mend it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoRule => "systemctl reload app-monitor writes the rule anew",
            Self::Denied(_) => "look into /etc/polkit-1/rules.d and /etc/dbus-1/system.d",
            Self::Absent => "apt install polkitd",
            Self::Silent => "systemctl restart polkit",
            Self::Masked => "systemctl unmask polkit",
            Self::Broken(_) => "systemctl status polkit",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule of polkit allows it"),
            Self::Denied(text) => write!(f, "polkit or the bus says no ({text})"),
            Self::Absent => f.write_str("polkit is not there"),
            Self::Silent => f.write_str("polkit does not answer"),
            Self::Masked => f.write_str("polkit is masked"),
            Self::Broken(text) => write!(f, "polkit cannot be asked ({text})"),
        }
    }
}

impl Hand {
    /// Asks without effect.
    async fn propose(&self, unit: &UnitName, verb: Verb) -> Result<(), Error> {
        let answer = match verb {
            // Only a stop can be `triggering` (systemctl(1), --job-mode=),
            Verb::Start => self.act("StartUnit", &(unit.as_str(), "triggering")).await,
            // and only a start can isolate.
            Verb::Stop => self.act("StopUnit", &(unit.as_str(), "isolate")).await,
            Verb::Restart => self.act("RestartUnit", &(unit.as_str(), "isolate")).await,
            Verb::Reload => self.act("ReloadUnit", &(unit.as_str(), "isolate")).await,
            Verb::Kill => self.act("KillUnit", &(unit.as_str(), "control", SIGCONT)).await,
            Verb::ResetFailed | Verb::Ref => return Ok(()),
        };
        match (verb, answer) {
            (_, Ok(_)) | (Verb::Stop | Verb::Kill, Err(Error::NoSuchUnit)) => Ok(()),
            (Verb::Kill, Err(Error::NoSuchProcess)) => Ok(()),
            (_, Err(Error::Other(name, _))) if name == "org.freedesktop.DBus.Error.InvalidArgs" => Ok(()),
            (_, Err(error)) => Err(error),
        }
    }
}

impl Bus {
    /// What keeps us from doing that to the unit; nothing, if it may be done. The hand is of no more
    /// use afterwards if it was not answered.
    ///
    /// # Errors
    /// Nobody knows: systemd itself, or the bus, does not answer.
    pub async fn obstacle(
        &self,
        hand: &Hand,
        unit: &UnitName,
        verb: Verb,
    ) -> Result<Option<Obstacle>, Error> {
        let Err(error) = hand.propose(unit, verb).await else { return Ok(None) };
        self.obstacle_in(error).await.map(Some)
    }

    /// What an error says of polkit, by which a call was answered that systemd would carry out if only
    /// it was allowed.
    ///
    /// # Errors
    /// As [`Bus::obstacle`].
    pub async fn obstacle_in(&self, error: Error) -> Result<Obstacle, Error> {
        match error {
            Error::Hindered(obstacle) => Ok(obstacle),
            Error::Refused(text) => {
                // The bus may have said it; and polkit is started when it is asked.
                let absent = self.has_name("NameHasOwner").await == Ok(false)
                    && self.has_name("ListActivatableNames").await == Ok(false);
                Ok(if absent { Obstacle::Absent } else { Obstacle::Denied(text) })
            }
            // Whoever is answered by systemd otherwise knows for whom it waits.
            Error::TimedOut => self.system_state().await.map(|_| Obstacle::Silent),
            // A unit that is masked is no reason to turn the question down: this is polkit's.
            Error::Masked => Ok(Obstacle::Masked),
            Error::Disconnected(_) => Err(error),
            other => Ok(Obstacle::Broken(other.to_string())),
        }
    }

    /// Whether somebody has polkit's name, or would be started for it.
    async fn has_name(&self, member: &str) -> Result<bool, Error> {
        let malformed = |error| Error::malformed(member, error);
        if member == "NameHasOwner" {
            let answer = self.ask(DBUS, DBUS_PATH, DBUS, member, &POLKIT).await?;
            return answer.body().deserialize().map_err(malformed);
        }
        let answer = self.ask(DBUS, DBUS_PATH, DBUS, member, &()).await?;
        let body = answer.body();
        let names: Vec<&str> = body.deserialize().map_err(malformed)?;
        Ok(names.contains(&POLKIT))
    }

    /// A hand by which each of those things may be done to the unit, as was asked just now: what is
    /// not answered then is not asked in earnest, so that it cannot be carried out later.
    ///
    /// # Errors
    /// [`Error::Hindered`] when one of them may not be done; nothing was done then, nor if nobody
    /// knows.
    pub async fn hand_for(&self, unit: &UnitName, verbs: &[Verb]) -> Result<Hand, Error> {
        let mut tries = 0;
        loop {
            let hand = self.hand().await?;
            match self.first_obstacle(&hand, unit, verbs).await? {
                None => return Ok(hand),
                // It is being restarted, and comes by itself when it is asked again.
                Some(Obstacle::Broken(_)) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(BETWEEN).await;
                }
                Some(obstacle) => return Err(Error::Hindered(obstacle)),
            }
        }
    }

    async fn first_obstacle(
        &self,
        hand: &Hand,
        unit: &UnitName,
        verbs: &[Verb],
    ) -> Result<Option<Obstacle>, Error> {
        for verb in verbs {
            if let Some(obstacle) = self.obstacle(hand, unit, *verb).await? {
                return Ok(Some(obstacle));
            }
        }
        Ok(None)
    }
}

/// How often a polkit that went away in the middle of a question is asked again, and how long apart.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    const VERBS: [Verb; 5] = [Verb::Start, Verb::Stop, Verb::Restart, Verb::Reload, Verb::Kill];

    async fn asked(fake: &Fake, verb: Verb) -> Result<Option<Obstacle>, Error> {
        let bus = fake.bus().await;
        let hand = bus.hand().await.unwrap();
        bus.obstacle(&hand, &"web.service".parse().unwrap(), verb).await
    }

    #[tokio::test]
    async fn what_is_granted_is_found_out_without_effect() {
        let fake = Fake::new();
        for verb in VERBS {
            assert_eq!(asked(&fake, verb).await, Ok(None), "{verb}");
        }
        assert!(fake.jobs().is_empty());
    }

    #[tokio::test]
    async fn each_reason_has_a_name() {
        for (name, expected) in [
            ("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", Obstacle::NoRule),
            ("org.freedesktop.DBus.Error.AccessDenied", Obstacle::Denied("the fake refuses".into())),
            ("org.freedesktop.systemd1.UnitMasked", Obstacle::Masked),
        ] {
            let fake = Fake::new();
            fake.refuse("StartUnit?", name);
            assert_eq!(asked(&fake, Verb::Start).await, Ok(Some(expected.clone())));
            assert_eq!(asked(&fake, Verb::Stop).await, Ok(None), "another verb");
            assert!(!expected.is_general() || expected == Obstacle::Masked);
        }
        let fake = Fake::new();
        fake.refuse("StartUnit?", "org.freedesktop.DBus.Error.Spawn.Failed");
        assert!(matches!(asked(&fake, Verb::Start).await, Ok(Some(Obstacle::Broken(_)))));
    }

    #[tokio::test]
    async fn silence_of_polkit_is_told_from_that_of_systemd() {
        let fake = Fake::new();
        fake.silence("StartUnit?");
        assert_eq!(asked(&fake, Verb::Start).await, Ok(Some(Obstacle::Silent)));
        fake.silence("Get");
        assert_eq!(asked(&fake, Verb::Start).await, Err(Error::TimedOut));
    }
}
