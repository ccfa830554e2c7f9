//! When the host itself is suspected: most of its apps turn bad at once, or one of them starves it.
//!
//! Recoveries wait a moment for what the host shows; they are not given up, since an app that hangs
//! where memory is short may hang for a reason of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::app::App;
use super::effect::Effect;
use super::errands::Seen;
use super::host::Host;
use super::names::{AppName, Subject};
use super::observation::{CheckKind, Finding};
use super::target::Role;
use super::time::Moment;
use super::verdict::Verdict;

/// Fewer apps than that are no crowd.
const CROWD: usize = 3;
/// Apps that turn bad within that time of each other do so at once.
const AT_ONCE: Duration = Duration::from_secs(10);
/// How long the host is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How long recoveries wait for a host that is found bad: after that they go on, one after the other,
/// since the host may be bad because of one of the apps.
const WAIT: Duration = Duration::from_secs(60);

/// Most of the apps turned bad at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Suspicion {
    since: Moment,
    /// When recoveries go on at the latest; none once they do.
    until: Option<Moment>,
}

/// More than half of several apps turned bad within moments of each other.
fn is_crowd(mut turned: Vec<Moment>, apps: usize) -> bool {
    turned.sort();
    let at_once = |first: usize| {
        turned[first..].iter().take_while(|moment| moment.since(turned[first]) <= AT_ONCE).count()
    };
    apps >= CROWD && (0..turned.len()).any(|first| at_once(first) * 2 > apps)
}

impl App {
    /// Since when it is bad, or suspected to be.
    pub(super) fn turned_bad(&self) -> Option<Moment> {
        if let Some(recovery) = &self.recovery {
            return Some(
                self.trouble_since.map_or(recovery.intent.began, |since| since.min(recovery.intent.began)),
            );
        }
        let bad = self.verdict.is_fault() || self.history.bad_in_a_row() > 0;
        bad.then(|| self.trouble_since.unwrap_or(self.verdict_since))
    }
}

impl Host {
    /// Whether recoveries have to wait because it may be the host that is bad.
    pub(super) fn waits_for_host(&mut self, now: Moment) -> bool {
        let members = self.apps.values().filter(|app| app.target().role == Role::App);
        // Instances of one app count as one.
        let mut turned: BTreeMap<&AppName, Option<Moment>> = BTreeMap::new();
        for app in members {
            let known = turned.entry(app.told_as()).or_default();
            *known = [*known, app.turned_bad()].into_iter().flatten().min();
        }
        let apps = turned.len();
        if !is_crowd(turned.into_values().flatten().collect(), apps) {
            if self.suspicion.take().is_some() {
                self.suspect(false);
            }
            return false;
        }
        let suspicion = match self.suspicion {
            Some(Suspicion { until: None, .. }) => return false,
            Some(suspicion) => suspicion,
            None => {
                self.suspect(true);
                Suspicion { since: now, until: Some(now + LOOK) }
            }
        };
        let looking = now < suspicion.since + LOOK && !self.host_was_seen(suspicion.since);
        let until = if looking {
            Some(suspicion.since + LOOK)
        } else if self.host_is_bad(suspicion.since) {
            Some(suspicion.since + WAIT).filter(|until| now < *until)
        } else {
            None
        };
        if until.is_none() {
            self.suspect(false);
        }
        self.suspicion = Some(Suspicion { until, ..suspicion });
        until.is_some()
    }

    /// When recoveries that wait for the host go on.
    pub(super) fn suspicion_due(&self) -> Option<Moment> {
        self.suspicion?.until
    }

    fn suspect(&mut self, suspected: bool) {
        for app in self.apps.values_mut() {
            app.around.host_suspected = suspected;
        }
    }

    /// One app's look at it is enough, of each kind that is made at all.
    fn host_was_seen(&self, since: Moment) -> bool {
        let disk = |app: &App| app.errands.seen_since(CheckKind::Disk, since).is_some();
        let memory = |app: &App| app.around.memory_seen.is_some_and(|seen| seen >= since);
        let asked = |kind| self.apps.values().any(|app| app.target().has(kind));
        // Memory is looked at with a round, which an app that is down has none of.
        let rounds = self.apps.values().any(|app| app.target().has(CheckKind::HostMemory) && !app.is_down());
        let network = |app: &App| app.errands.seen_since(CheckKind::Egress, since).is_some();
        // Whatever came of it.
        let read = |app: &App| app.read_at.is_some_and(|read| read >= since);
        (!asked(CheckKind::Disk) || self.apps.values().any(disk))
            && (!asked(CheckKind::Egress) || self.apps.values().any(network))
            && (!rounds || self.apps.values().any(memory))
            && self.apps.values().any(read)
    }

    /// Asks PID 1 after a unit: any will do.
    pub(super) fn ask_pid_1(&mut self, now: Moment) -> Option<(Subject, Vec<Effect>)> {
        let (name, app) = self.apps.iter_mut().next()?;
        Some((name.clone(), app.freshen(now)))
    }

    fn host_is_bad(&self, since: Moment) -> bool {
        // PID 1 answers nobody; a single unit that cannot be read is that app's own affair.
        let readable = |app: &App| app.read_begun.is_some_and(|begun| begun >= since);
        let deaf =
            self.apps.values().any(|app| app.unreadable_since.is_some()) && !self.apps.values().any(readable);
        deaf || self.apps.values().any(|app| {
            let bad = |kind| app.errands.seen_since(kind, since).is_some_and(|seen: &Seen| seen.is_bad());
            let memory = app.latest.get(&CheckKind::HostMemory);
            let memory = memory.is_some_and(|seen| matches!(seen.finding, Finding::Bad(_)))
                && app.around.memory_seen.is_some_and(|seen| seen >= since);
            bad(CheckKind::Disk) || bad(CheckKind::Egress) || memory
        })
    }

    /// A healthy app that starves the host is accused, so that it is judged to use too much memory.
    /// Never two at once, and never while another app is bad: that one's restart may help as well.
    pub(super) fn accuse(&mut self, now: Moment) -> Option<Subject> {
        let busy = self
            .apps
            .values()
            .any(|app| app.recovery.is_some() || app.verdict.is_fault() || app.around.accused.is_some());
        if busy {
            return None;
        }
        let since = self.accused_at;
        let (name, text) = self
            .apps
            .values()
            .filter(|app| app.target().role == Role::App && app.verdict == Verdict::Healthy)
            .find_map(|app| Some((app.name().clone(), app.starves_the_host(now, since)?)))?;
        self.apps.get_mut(&name)?.around.accused = Some(text);
        self.accused_at = Some(now);
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::effect::Event;
    use super::super::memory::Memory;
    use super::super::observation::{Fault, Observation};
    use super::super::policy::Policy;
    use super::super::target::{PublicTarget, Target};
    use super::super::testing::http;
    use super::super::testing::up;
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_micros(seconds * 1_000_000)
    }

    /// An app that is asked from outside, beside one that is not.
    fn host() -> Host {
        let http = http("https://shop.example/");
        let public = Some(PublicTarget { http, expires_within: Duration::ZERO });
        let of = |unit: &str| {
            let bare = Target::of_unit(format!("{unit}.service").parse().unwrap());
            let bare = Target { min_disk: 0, min_available: 0, min_processes: 0, ..bare };
            (unit.parse().unwrap(), Policy::default(), bare)
        };
        let web = Target { public, ..of("web").2 };
        let apps = [of("api"), (of("web").0, Policy::default(), web)];
        let mut host = Host::new(apps, 1, Memory::default(), false, at(0));
        for name in ["api", "web"] {
            let _ = host.handle(at(1), &name.parse().unwrap(), Event::Unit(Box::new(up(1))));
        }
        host
    }

    #[test]
    fn the_network_and_pid_1_are_looked_at() {
        for (network, readable, bad) in [(true, true, false), (false, true, true), (true, false, true)] {
            let mut host = host();
            assert!(!host.host_was_seen(at(10)));
            let (name, effects) = host.ask_pid_1(at(10)).unwrap();
            assert_eq!(effects, [Effect::ReadUnit]);
            let told = match readable {
                true => Event::Unit(Box::new(up(1))),
                false => Event::UnitUnreadable("no answer".into()),
            };
            let _ = host.handle(at(11), &name, told);
            assert!(!host.host_was_seen(at(10)), "the network was not looked at");
            let web = host.apps.get_mut(&"web".parse().unwrap()).unwrap();
            web.hurry(CheckKind::Egress, true);
            let mut effects = Vec::new();
            web.run_errands(at(11), &mut effects);
            let asked = |effect: &Effect| match effect {
                Effect::Check(id, kinds) if kinds[..] == [CheckKind::Egress] => Some(*id),
                _ => None,
            };
            let id = effects.iter().find_map(asked).unwrap();
            let seen = match network {
                true => Observation::good("1.1.1.1 answers"),
                false => Observation::bad(Fault::Unreachable, "nothing answers"),
            };
            assert!(web.errands.take(at(12), id, CheckKind::Egress, seen));
            assert!(host.host_was_seen(at(10)));
            assert_eq!(host.host_is_bad(at(10)), bad, "network {network}, PID 1 {readable}");
        }
    }

    #[test]
    fn more_than_half_of_several_within_ten_seconds() {
        assert!(is_crowd(vec![at(0), at(10)], 3));
        assert!(!is_crowd(vec![at(0), at(11)], 3), "too far apart");
        assert!(!is_crowd(vec![at(0), at(1)], 4), "no more than half");
        assert!(!is_crowd(vec![at(0), at(1)], 2), "two are no crowd");
        assert!(is_crowd(vec![at(90), at(0), at(95), at(85)], 5), "whenever that was");
        assert!(!is_crowd(Vec::new(), 3));
    }
}
