//! The conditions of an app's surroundings: one pure function from what is known to what holds.
//!
//! It does not remember anything and tells nobody: what has held so far is handed in, since evidence
//! that is missing at the moment neither begins nor ends a condition.

use std::time::Duration;

use super::names::UnitName;
use super::observation::{Detail, Fault, Finding, Observation};
use super::time::{Moment, Span};
use super::verdict::{Condition, Verdict};

/// An app that answers slowly for so long is told.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(600);

/// The conditions that are decided here.
pub(super) const OURS: [Condition; 10] = [
    Condition::HostMemory,
    Condition::ProxyDown,
    Condition::ProxyUpstream,
    Condition::PublicUnreachable,
    Condition::NetworkDown,
    Condition::DatabaseUnreachable,
    Condition::CertificateExpiring,
    Condition::DiskLow,
    Condition::Slow,
    Condition::RestartsOften,
];

/// What a check shows, as far as it may decide something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sight<'a> {
    /// Not asked yet, not configured, or never good, so that it proves nothing.
    #[default]
    Unasked,
    /// It could not be made.
    Unknown,
    /// As configured.
    Good,
    /// Bad, and not confirmed yet.
    Suspected(&'a Observation),
    /// Bad as often as it takes.
    Bad(&'a Observation),
}

impl<'a> Sight<'a> {
    /// `bad_in_a_row`: so often by now; `failures`: so often it takes.
    pub fn of(seen: &'a Observation, bad_in_a_row: u32, failures: u32) -> Self {
        match seen.finding {
            Finding::Good => Self::Good,
            Finding::Unknown => Self::Unknown,
            Finding::Bad(_) if bad_in_a_row >= failures => Self::Bad(seen),
            Finding::Bad(_) => Self::Suspected(seen),
        }
    }

    /// The fault, once it is confirmed.
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Bad(Observation { finding: Finding::Bad(fault), .. }) => Some(*fault),
            _ => None,
        }
    }

    /// The fault, be it confirmed or not.
    fn suspicion(self) -> Option<Fault> {
        match self {
            Self::Suspected(Observation { finding: Finding::Bad(fault), .. }) => Some(*fault),
            _ => self.fault(),
        }
    }

    /// Nothing that contradicts what has held so far.
    fn is_vague(self) -> bool {
        matches!(self, Self::Unasked | Self::Unknown | Self::Suspected(_))
    }
}

/// A unit that the app leans on, as it is judged itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaned<'a> {
    pub unit: &'a UnitName,
    pub verdict: Verdict,
    pub text: &'a str,
    /// Since when that verdict holds.
    pub since: Moment,
}

impl Leaned<'_> {
    /// It is down or silent, and nobody wished it so.
    fn has_fallen(self) -> bool {
        self.verdict.is_fault() || self.verdict == Verdict::CrashLooping
    }

    /// Somebody wants it to be as it is.
    fn is_wished(self) -> bool {
        matches!(
            self.verdict,
            Verdict::StoppedByAdmin | Verdict::StoppedWithDependency | Verdict::Masked | Verdict::Paused
        )
    }

    /// On its way from one state to another.
    fn is_passing(self) -> bool {
        matches!(
            self.verdict,
            Verdict::Changing | Verdict::SystemdRestarting | Verdict::Starting | Verdict::ShuttingDown
        )
    }

    fn headline(self) -> String {
        if self.text.is_empty() {
            format!("{} is {}", self.unit, self.verdict)
        } else {
            format!("{} is {}: {}", self.unit, self.verdict, self.text)
        }
    }
}

/// What is known of the surroundings of one app.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings<'a> {
    /// The app itself is well: a fault out there is not its own.
    pub answers: bool,
    /// Memory of the host is short, and by what it shows.
    pub short_of_memory: Option<String>,
    /// Free space. One look is enough.
    pub disk: Sight<'a>,
    /// Whether the database accepts connections.
    pub database: Sight<'a>,
    /// The public name, asked of the proxy.
    pub proxy: Sight<'a>,
    /// There is such a check, and it was good once.
    pub proxy_asked: bool,
    /// The public name is bad, and it was not made since that was seen.
    pub proxy_behind: bool,
    /// What the proxy shows may be the app's own doing.
    pub proxy_doubted: bool,
    /// The public name, asked as everybody does.
    pub public: Sight<'a>,
    /// What it shows may be the app's own doing.
    pub public_doubted: bool,
    /// Whether the network out is there; only what was seen since the public name is bad.
    pub egress: Sight<'a>,
    /// The certificate that the public check saw last: seconds until it is no longer valid.
    pub certificate: Option<i64>,
    /// The public name's host, for people.
    pub public_host: &'a str,
    /// A certificate that is valid for less is told.
    pub expires_within: Duration,
    pub proxy_unit: Option<Leaned<'a>>,
    pub database_unit: Option<Leaned<'a>>,
    /// Started too often, by whomever: so often, in words.
    pub often: Option<String>,
    /// Good, but slow: by what it shows, and since when.
    pub slow: Option<(&'a str, Moment)>,
    /// It was slow, and nothing was seen of it since.
    pub slow_before: bool,
    /// How long somebody's stop may last before it is told.
    pub stopped_alert_after: Option<Duration>,
    /// What has held so far, with its evidence.
    pub held: Vec<(Condition, &'a str)>,
}

/// When somebody is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Telling {
    /// At its beginning and its end.
    AtOnce,
    /// If it still holds then.
    At(Moment),
    /// At its end only: nobody could be reached before.
    AtEnd,
    /// Shown, told to nobody.
    Never,
}

/// A condition that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holds {
    pub what: Condition,
    pub text: String,
    pub telling: Telling,
}

/// What holds. Each condition at most once.
#[must_use]
pub(super) fn conditions(s: &Surroundings<'_>) -> Vec<Holds> {
    let mut out = Vec::new();
    if let Some(text) = &s.short_of_memory {
        out.push(at_once(Condition::HostMemory, text.clone()));
    }
    out.extend(proxy_down(s));
    out.extend(proxy_upstream(s));
    out.extend(network(s));
    out.extend(database(s));
    out.extend(certificate(s));
    match s.disk {
        Sight::Suspected(seen) | Sight::Bad(seen) => {
            out.push(at_once(Condition::DiskLow, seen.text.clone()));
        }
        Sight::Unasked | Sight::Unknown => out.extend(as_before(s, Condition::DiskLow, Telling::AtOnce)),
        Sight::Good => {}
    }
    if let Some((text, since)) = s.slow {
        let telling = Telling::At(since + SLOW_FOR);
        out.push(Holds { what: Condition::Slow, text: text.to_owned(), telling });
    }
    if s.slow.is_none() && s.slow_before {
        out.extend(as_before(s, Condition::Slow, Telling::Never));
    }
    if let Some(text) = &s.often {
        out.push(at_once(Condition::RestartsOften, text.clone()));
    }
    out
}

fn at_once(what: Condition, text: String) -> Holds {
    Holds { what, text, telling: Telling::AtOnce }
}

fn as_before(s: &Surroundings<'_>, what: Condition, telling: Telling) -> Option<Holds> {
    let (_, text) = s.held.iter().find(|(held, _)| *held == what)?;
    Some(Holds { what, text: (*text).to_owned(), telling })
}

/// It begins only while the app is well, and lasts as long as its own evidence does.
fn may_hold(s: &Surroundings<'_>, what: Condition) -> bool {
    s.answers || has_held(s, what)
}

fn has_held(s: &Surroundings<'_>, what: Condition) -> bool {
    s.held.iter().any(|(held, _)| *held == what)
}

fn is_silence(fault: Fault) -> bool {
    Finding::Bad(fault).is_silence()
}

fn proxy_down(s: &Surroundings<'_>) -> Option<Holds> {
    let what = Condition::ProxyDown;
    let silent = match s.proxy {
        Sight::Bad(seen) if s.proxy.fault().is_some_and(is_silence) => Some(seen),
        _ => None,
    };
    if let Some(unit) = s.proxy_unit {
        if unit.has_fallen() {
            return Some(at_once(what, unit.headline()));
        }
        if unit.is_passing() {
            return as_before(s, what, Telling::Never);
        }
        if !matches!(unit.verdict, Verdict::Healthy | Verdict::Idle | Verdict::Unknown) {
            // Somebody's wish, or nothing that it could do about it: what fails in public is told as
            // the consequence.
            let public = match s.public {
                Sight::Bad(seen) => Some(seen),
                _ => None,
            };
            let seen = silent.or(public).filter(|_| may_hold(s, what))?;
            let telling = match s.stopped_alert_after {
                _ if !unit.is_wished() => Telling::AtOnce,
                None => Telling::Never,
                Some(after) => Telling::At(unit.since + after),
            };
            return Some(Holds { what, text: format!("{}; {}", unit.headline(), seen.text), telling });
        }
    }
    match silent {
        Some(seen) => {
            let may = !s.proxy_doubted && s.answers || has_held(s, what);
            may.then(|| at_once(what, seen.text.clone()))
        }
        None if s.proxy.is_vague() => as_before(s, what, Telling::AtOnce),
        None => None,
    }
}

fn proxy_upstream(s: &Surroundings<'_>) -> Option<Holds> {
    let what = Condition::ProxyUpstream;
    for (sight, doubted) in [(s.proxy, s.proxy_doubted), (s.public, s.public_doubted)] {
        if let Sight::Bad(seen) = sight
            && sight.fault() == Some(Fault::Upstream)
        {
            let may = !doubted && s.answers || has_held(s, what);
            return may.then(|| at_once(what, seen.text.clone()));
        }
    }
    let vague = s.proxy.is_vague() && s.public != Sight::Good;
    vague.then(|| as_before(s, what, Telling::AtOnce)).flatten()
}

/// `public-unreachable` and `network-down`.
fn network(s: &Surroundings<'_>) -> Vec<Holds> {
    let mut out = Vec::new();
    let (unreachable, down) = (Condition::PublicUnreachable, Condition::NetworkDown);
    let Sight::Bad(seen) = s.public else {
        if s.public.is_vague() {
            out.extend(as_before(s, unreachable, Telling::AtOnce));
            out.extend(as_before(s, down, Telling::AtEnd));
        }
        return out;
    };
    match s.egress {
        Sight::Bad(egress) => {
            let text = format!("{}; {}", egress.text, seen.text);
            out.push(Holds { what: down, text, telling: Telling::AtEnd });
            // Its end would be no news yet.
            out.extend(as_before(s, unreachable, Telling::AtOnce));
        }
        Sight::Unasked | Sight::Suspected(_) => {
            out.extend(as_before(s, unreachable, Telling::AtOnce));
            out.extend(as_before(s, down, Telling::AtEnd));
        }
        Sight::Good | Sight::Unknown => {
            let may = !s.public_doubted && s.answers || has_held(s, unreachable);
            if proxy_is_fine(s) && may {
                // A certificate that is not valid is told as such.
                let told = is_invalid_certificate(s, seen);
                let telling = if told { Telling::Never } else { Telling::AtOnce };
                let doubt = match s.egress {
                    Sight::Unknown => "; whether the network out is there is not known",
                    _ => "",
                };
                out.push(Holds { what: unreachable, text: format!("{}{doubt}", seen.text), telling });
            }
        }
    }
    out
}

/// Nothing about the proxy explains what fails in public.
fn proxy_is_fine(s: &Surroundings<'_>) -> bool {
    let fallen = s
        .proxy_unit
        .is_some_and(|unit| !matches!(unit.verdict, Verdict::Healthy | Verdict::Idle | Verdict::Unknown));
    let explained = s.proxy.suspicion().is_some_and(|fault| is_silence(fault) || fault == Fault::Upstream);
    let awaited = s.proxy_asked && (s.proxy == Sight::Unasked || s.proxy_behind);
    let upstream = s.public.fault() == Some(Fault::Upstream);
    !fallen && !explained && !awaited && !upstream
}

fn is_invalid_certificate(s: &Surroundings<'_>, public: &Observation) -> bool {
    public.finding == Finding::Bad(Fault::Tls) && s.certificate.is_some()
}

fn database(s: &Surroundings<'_>) -> Option<Holds> {
    let what = Condition::DatabaseUnreachable;
    match s.database {
        Sight::Bad(seen) if may_hold(s, what) => {
            let unit = s.database_unit.filter(|unit| unit.verdict != Verdict::Healthy);
            let because = unit.map_or_else(String::new, |unit| format!("; {}", unit.headline()));
            Some(at_once(what, format!("{}{because}", seen.text)))
        }
        sight if sight.is_vague() => as_before(s, what, Telling::AtOnce),
        _ => None,
    }
}

fn certificate(s: &Surroundings<'_>) -> Option<Holds> {
    let what = Condition::CertificateExpiring;
    let Some(left) = s.certificate else { return as_before(s, what, Telling::AtOnce) };
    let span = |seconds: i64| Span(Duration::from_secs(seconds.unsigned_abs()));
    let within = i64::try_from(s.expires_within.as_secs()).unwrap_or(i64::MAX);
    if let Sight::Bad(seen) = s.public
        && is_invalid_certificate(s, seen)
    {
        return Some(at_once(what, seen.text.clone()));
    }
    if left <= 0 {
        let text = format!("the certificate of {} is not valid (by {})", s.public_host, span(left));
        return Some(at_once(what, text));
    }
    (left < within).then(|| {
        let text = format!("the certificate of {} is valid for another {}", s.public_host, span(left));
        at_once(what, text)
    })
}

/// The certificate that an observation tells of.
pub(super) fn certificate_of(seen: &Observation) -> Option<i64> {
    match seen.detail.as_deref() {
        Some(Detail::Certificate(left)) => Some(*left),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
