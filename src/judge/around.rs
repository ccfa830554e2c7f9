//! What an app knows of its surroundings, and how it tells of what holds there.
//!
//! What holds is decided in `surroundings`; what other members of the host know is handed in by it.

use std::time::Duration;

use super::app::App;
use super::effect::Effect;
use super::errands::Seen;
use super::level::Level;
use super::mutation::{Mutation, active};
use super::noting::{BLIND_FOR, ConditionState};
use super::observation::{CheckKind, Detail, Finding, HostMemory, Observation};
use super::record::{EventKind, Record};
use super::surroundings::{Holds, Leaned, OURS, Sight, Surroundings, Telling, certificate_of};
use super::time::{Moment, Span};
use super::unit::ActiveState;
use super::verdict::{Condition, Verdict};

/// Checks at a pace of their own that are told when they cannot be made for long.
pub(super) const AROUND: [CheckKind; 4] =
    [CheckKind::Disk, CheckKind::Database, CheckKind::Proxy, CheckKind::Public];

const DAY: Duration = Duration::from_secs(86_400);
/// An app has found its usual size so long after its start, until it is seen for longer.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Work waits for memory (PSI full) for more than so many percent of the time: the host is in need.
const PRESSURE: u32 = 20;

/// What is known of the surroundings besides the latest observations.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// Rounds in a row in which memory of the host was short, and in which there was enough.
    short: u32,
    enough: u32,
    /// Since when it is short without a break.
    pub short_since: Option<Moment>,
    /// When it was looked at last.
    pub memory_seen: Option<Moment>,
    /// Since when the app answers slowly without a break.
    slow_since: Option<Moment>,
    /// Its size in bytes once it had settled after its start, and for how long it had been up then.
    settled: Option<(u64, Duration)>,
    /// It is restarted for the host's sake: why.
    pub accused: Option<String>,
    /// The whole host is suspected: what it offers is looked at at once.
    pub host_suspected: bool,
}

impl Around {
    /// Another run begins.
    pub fn begin(&mut self) {
        self.settled = None;
        self.slow_since = None;
        self.accused = None;
    }
}

impl App {
    /// A whole round was taken in.
    pub(super) fn look_at_host(&mut self, now: Moment) {
        if let Some(seen) = self.latest.get(&CheckKind::HostMemory) {
            self.around.memory_seen = Some(now);
            match seen.finding {
                Finding::Bad(_) => {
                    self.around.short = self.around.short.saturating_add(1);
                    self.around.enough = 0;
                    self.around.short_since.get_or_insert(now);
                }
                Finding::Good => {
                    self.around.enough = self.around.enough.saturating_add(1);
                    self.around.short = 0;
                    self.around.short_since = None;
                    self.around.accused = None;
                }
                Finding::Unknown => {}
            }
        }
        self.note_size(now);
        let slow = self.latest.get(&CheckKind::Http).is_some_and(|seen| seen.slow);
        self.around.slow_since = slow.then(|| self.around.slow_since.unwrap_or(now));
    }

    // Memory.

    /// How the host is off for memory, as last seen.
    pub(super) fn host_memory(&self) -> Option<&HostMemory> {
        match self.latest.get(&CheckKind::HostMemory)?.detail.as_deref() {
            Some(Detail::HostMemory(memory)) => Some(memory),
            _ => None,
        }
    }

    /// Its own size in bytes, as last seen.
    pub(super) fn size(&self) -> Option<u64> {
        if let Some(Detail::Memory(bytes)) =
            self.latest.get(&CheckKind::Memory).and_then(|seen| seen.detail.as_deref())
        {
            return Some(*bytes);
        }
        let host = self.host_memory()?;
        let unit = self.target.unit.as_str();
        let named = || host.biggest.iter().find(|(name, _)| name == unit).map(|(_, bytes)| *bytes);
        host.own.or_else(named)
    }

    fn note_size(&mut self, now: Moment) {
        let began = self.unit.as_ref().and_then(|unit| unit.active_enter.or(unit.inactive_exit));
        let (Some(size), Some(began)) = (self.size(), began) else { return };
        let age = now.since(began);
        let known = match self.around.settled {
            None => age >= SETTLED_AFTER,
            // Looked at once more when it has run for as long as health takes to be believed.
            Some((_, then)) => then < self.policy.healthy_for && age >= self.policy.healthy_for,
        };
        if known && self.verdict == Verdict::Healthy {
            self.around.settled = Some((size, age));
        }
    }

    /// It is by far the biggest user of a host in need, and it has grown by half since it settled:
    /// the host would be helped by its restart. `since`: memory has to be short from then on, for a
    /// minute at least.
    pub(super) fn starves_the_host(&self, now: Moment, since: Option<Moment>) -> Option<String> {
        const MINUTE: Duration = Duration::from_secs(60);
        let short_since = self.around.short_since?;
        let short_since = since.map_or(short_since, |since| since.max(short_since));
        let memory = self.host_memory()?;
        let pressed = memory.pressure.is_some_and(|pressure| pressure > PRESSURE);
        let (biggest, size) = memory.biggest.first()?;
        let next = memory.biggest.get(1).map_or(0, |(_, bytes)| *bytes);
        let (settled, _) = self.around.settled?;
        let guilty = biggest == self.target.unit.as_str()
            && *size >= next.saturating_mul(2)
            && *size >= settled.saturating_add(settled / 2);
        let starves = now.since(short_since) >= MINUTE && pressed && guilty;
        starves.then(|| {
            format!(
                "the host is short of memory for {}, and it uses {} MiB, up from {} MiB",
                Span(now.since(short_since)),
                size >> 20,
                settled >> 20
            )
        })
    }

    // Conditions.

    /// The app itself is well, so that a fault out there is not its own.
    pub(super) fn is_plainly_well(&self) -> bool {
        let up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        self.verdict == Verdict::Healthy && up && self.history.bad_in_a_row() == 0
    }

    /// What the public name, or the proxy, shows now may be the app's own doing, which its own checks had
    /// no time to find: that it is well must have been seen after the first sign of it.
    pub(super) fn vouches_for(&self, kind: CheckKind) -> bool {
        let Some(seen) = self.errands.seen(kind).filter(|seen| seen.is_bad()) else { return true };
        if active(Mutation::OwnDoingIgnored) {
            return true;
        }
        if self.target.has(CheckKind::Http) || self.target.has(CheckKind::Port) {
            // One that comes and goes is no witness either, nor one that keeps us waiting at this moment.
            let seen_well = self.good_round >= Some(seen.since) && self.probing.calm();
            return seen_well && !self.history.was_bad_lately();
        }
        // Where nothing can be asked of the app itself, it is given the time that a start takes.
        let up = self.unit.as_ref().and_then(|unit| unit.active_enter.or(unit.inactive_exit));
        up.is_some_and(|up| seen.began >= up + self.grace())
    }

    /// It seems to be well, and a look at it has to bear that out: since when.
    pub(super) fn has_to_vouch_since(&self) -> Option<Moment> {
        let kinds = [CheckKind::Proxy, CheckKind::Public].into_iter();
        let doubted = kinds.filter(|kind| self.target.has(*kind) && !self.vouches_for(*kind));
        let since = doubted.filter_map(|kind| Some(self.errands.seen(kind)?.since)).max()?;
        (self.is_plainly_well() && !self.history.was_bad_lately()).then_some(since)
    }

    /// It was not well until now: what was seen from outside meanwhile was its own doing.
    pub(super) fn doubt_what_was_seen_outside(&mut self) {
        self.errands.doubt(&[CheckKind::Proxy, CheckKind::Public]);
    }

    fn sight(&self, kind: CheckKind) -> Sight<'_> {
        self.errands.seen(kind).map_or(Sight::Unasked, |seen| self.sight_of(kind, seen))
    }

    fn sight_of<'a>(&self, kind: CheckKind, seen: &'a Seen) -> Sight<'a> {
        if seen.is_bad() && kind.needs_proof() && !self.was_ever_good(kind) {
            return Sight::Unasked;
        }
        Sight::of(&seen.observation, seen.bad_in_a_row, self.policy.failures)
    }

    /// The public name as last asked. What was seen of it before the proxy was good again says what the
    /// proxy did, not what is wrong now.
    fn public_sight(&self) -> Sight<'_> {
        let proxy = self.errands.seen(CheckKind::Proxy).filter(|proxy| proxy.is_good());
        match (self.sight(CheckKind::Public), self.errands.seen(CheckKind::Public)) {
            (Sight::Bad(seen), Some(public)) if proxy.is_some_and(|proxy| public.began < proxy.since) => {
                Sight::Suspected(seen)
            }
            (sight, _) => sight,
        }
    }

    /// The public name is bad, and the check has not been made since it was asked.
    fn is_behind(&self, kind: CheckKind) -> bool {
        let public = self.errands.seen(CheckKind::Public).map(|seen| seen.began);
        let asked = self.errands.seen(kind).map(|seen| seen.began);
        self.public_bad_since().is_some() && asked < public
    }

    /// The public name is bad, be it confirmed or not: since when.
    fn public_bad_since(&self) -> Option<Moment> {
        let seen = self.errands.seen(CheckKind::Public).filter(|seen| seen.is_bad())?;
        self.was_ever_good(CheckKind::Public).then_some(seen.since)
    }

    pub(super) fn surroundings<'a>(
        &'a self,
        now: Moment,
        proxy_unit: Option<Leaned<'a>>,
        database_unit: Option<Leaned<'a>>,
    ) -> Surroundings<'a> {
        let public = self.target.public.as_ref();
        let egress = self
            .public_bad_since()
            .and_then(|since| self.errands.seen_since(CheckKind::Egress, since))
            .map_or(Sight::Unasked, |seen| self.sight_of(CheckKind::Egress, seen));
        let held = OURS.iter().filter(|what| self.can_tell(**what));
        let held = held.filter_map(|what| Some((*what, self.conditions.get(what)?.text.as_str())));
        Surroundings {
            answers: self.is_plainly_well(),
            short_of_memory: self.short_of_memory(),
            disk: self.sight(CheckKind::Disk),
            database: self.sight(CheckKind::Database),
            proxy: self.sight(CheckKind::Proxy),
            proxy_asked: self.target.has(CheckKind::Proxy) && self.was_ever_good(CheckKind::Proxy),
            proxy_behind: self.is_behind(CheckKind::Proxy),
            proxy_doubted: !self.vouches_for(CheckKind::Proxy),
            public: self.public_sight(),
            public_doubted: !self.vouches_for(CheckKind::Public),
            egress,
            certificate: self
                .errands
                .seen(CheckKind::Public)
                .and_then(|seen| certificate_of(&seen.observation)),
            public_host: public.map_or("", |public| host_of(&public.http.url)),
            expires_within: public.map_or(Duration::ZERO, |public| public.expires_within),
            proxy_unit,
            database_unit,
            often: self.loops.often(now),
            slow: self.slow(),
            slow_before: self.may_still_hold(now, Condition::Slow),
            stopped_alert_after: self.policy.stopped_alert_after,
            held: held.collect(),
        }
    }

    /// What is not asked any more holds no longer.
    fn can_tell(&self, what: Condition) -> bool {
        match what {
            Condition::HostMemory => self.target.has(CheckKind::HostMemory),
            Condition::DiskLow => self.target.has(CheckKind::Disk),
            Condition::DatabaseUnreachable => self.target.has(CheckKind::Database),
            Condition::ProxyDown => self.target.proxy.is_some(),
            Condition::ProxyUpstream
            | Condition::PublicUnreachable
            | Condition::NetworkDown
            | Condition::CertificateExpiring => self.target.has(CheckKind::Public),
            _ => true,
        }
    }

    fn short_of_memory(&self) -> Option<String> {
        let state =
            self.conditions.get(&Condition::HostMemory).filter(|_| self.target.has(CheckKind::HostMemory));
        let still = state.is_some() && self.around.enough < self.policy.failures;
        let short = self.around.short >= self.policy.failures;
        if !short && !still {
            return None;
        }
        let seen = self.latest.get(&CheckKind::HostMemory);
        let Some(seen) = seen.filter(|seen| matches!(seen.finding, Finding::Bad(_))) else {
            return state.map(|state| state.text.clone());
        };
        Some(seen.text.clone())
    }

    fn slow(&self) -> Option<(&str, Moment)> {
        let since = self.around.slow_since.filter(|_| self.is_plainly_well())?;
        let seen = self.latest.get(&CheckKind::Http).filter(|seen| seen.slow)?;
        Some((seen.text.as_str(), since))
    }

    /// What holds is told: what began, what ended, and what has lasted for long enough.
    /// `is_shared`: another app of the host has told the same already.
    pub(super) fn hold(
        &mut self,
        now: Moment,
        holding: Vec<Holds>,
        is_shared: impl Fn(&Holds) -> bool,
    ) -> Vec<Effect> {
        let mut out = Vec::new();
        for what in OURS {
            if let Some(state) = self.conditions.get(&what)
                && !holding.iter().any(|holds| holds.what == what)
            {
                let line = format!("{what} is over after {}", Span(now.since(state.since)));
                let told = state.alerted;
                self.conditions.remove(&what);
                self.tell_condition(&mut out, what, EventKind::ConditionEnded, Level::Info, line, told);
                if what == Condition::HostMemory {
                    // What was seen of the app meanwhile was not its own doing.
                    self.history.clear();
                    self.probing.drop_rounds();
                }
            }
        }
        for holds in holding {
            let shared = is_shared(&holds);
            self.hold_one(now, holds, shared, &mut out);
        }
        if !out.is_empty() {
            out.insert(0, Effect::Persist);
        }
        out
    }

    fn hold_one(&mut self, now: Moment, holds: Holds, shared: bool, out: &mut Vec<Effect>) {
        let Holds { what, text, telling } = holds;
        let due = match telling {
            Telling::AtOnce => true,
            Telling::At(at) => now >= at,
            Telling::AtEnd | Telling::Never => false,
        };
        let line = format!("{what}: {text}");
        let Some(state) = self.conditions.get_mut(&what) else {
            let silenced = shared;
            let alert = due && !silenced;
            let level = if matches!(telling, Telling::Never | Telling::At(_)) && !due {
                Level::Info
            } else {
                Level::Warn
            };
            let alerted = alert || (telling == Telling::AtEnd && !silenced);
            let state = ConditionState { since: now, text, told: now, alerted, silenced, about: None };
            self.conditions.insert(what, state);
            self.tell_condition(out, what, EventKind::ConditionBegan, level, line, alert);
            return;
        };
        state.text = text;
        let daily = what == Condition::CertificateExpiring && now.since(state.told) >= DAY;
        let late = due && !state.alerted;
        if (daily || late) && !state.silenced {
            state.told = now;
            state.alerted = true;
            let line = format!("{what} for {}: {}", Span(now.since(state.since)), state.text);
            self.tell_condition(out, what, EventKind::ConditionBegan, Level::Warn, line, true);
        }
    }

    fn tell_condition(
        &self,
        out: &mut Vec<Effect>,
        what: Condition,
        event: EventKind,
        level: Level,
        text: String,
        alert: bool,
    ) {
        let condition = Some(what);
        out.push(Effect::Record(Record { condition, ..self.record(event, level, text, alert) }));
    }

    /// What is known of a check, be it of a round or an errand.
    pub(super) fn last_seen(&self, kind: CheckKind) -> Option<&Observation> {
        let errand = || self.errands.seen(kind).map(|seen| &seen.observation);
        self.latest.get(&kind).or_else(errand)
    }

    /// An errand that cannot be made for so long that it has to be told.
    pub(super) fn blind_errand(&self, now: Moment) -> Option<String> {
        AROUND
            .into_iter()
            .filter(|kind| self.target.has(*kind))
            .filter_map(|kind| Some((kind, self.errands.seen(kind)?)))
            .find(|(_, seen)| {
                // Where it is asked on suspicion only, an old answer is no news.
                seen.observation.finding == Finding::Unknown
                    && now.since(seen.since) >= BLIND_FOR
                    && now.since(seen.began) < BLIND_FOR
            })
            .map(|(kind, seen)| format!("{kind}: {}, for more than 5 min", seen.observation.text))
    }

    /// Presses for what is needed to tell one fault out there from another. `proxy_in_trouble`: the
    /// proxy in front is suspected or being recovered.
    pub(super) fn press_around(&mut self, now: Moment, proxy_in_trouble: bool) -> Vec<Effect> {
        let unit_up = self.unit.as_ref().is_some_and(|unit| unit.active == ActiveState::Active);
        let unsure = |app: &Self, kind| matches!(app.sight(kind), Sight::Suspected(_));
        let behind = |app: &Self, kind: CheckKind| app.is_behind(kind);
        let suspected = self.around.host_suspected;
        let wanted = [
            (CheckKind::Public, unit_up && unsure(self, CheckKind::Public)),
            (
                CheckKind::Proxy,
                unit_up
                    && (proxy_in_trouble || unsure(self, CheckKind::Proxy) || behind(self, CheckKind::Proxy)),
            ),
            (
                CheckKind::Egress,
                suspected
                    || unit_up
                        && self.public_bad_since().is_some()
                        && (behind(self, CheckKind::Egress) || unsure(self, CheckKind::Egress)),
            ),
            (CheckKind::Disk, suspected),
        ];
        let mut news = false;
        for (kind, pressing) in wanted {
            news |= pressing && self.target.has(kind) && !self.errands.is_pressing(kind);
            self.hurry(kind, pressing);
        }
        let mut out = Vec::new();
        if news {
            self.follow(now, &mut out);
        }
        out
    }
}

/// The host of a URL.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = &rest[..end];
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url() {
        for (url, host) in [
            ("https://shop.example/health", "shop.example"),
            ("https://shop.example:8443", "shop.example"),
            ("http://u:p@shop.example:80/x", "shop.example"),
            ("http://[::1]:80/", "[::1]"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}
