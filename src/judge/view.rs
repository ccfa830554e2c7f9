//! How an app looks from outside: what `status`, the bus and the STATUS line of systemd show.

use std::hash::{Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

use super::app::App;
use super::budget::Gate;
use super::chronicle::Figure;
use super::host::Host;
use super::names::{AppName, Subject};
use super::observation::{CheckKind, Finding};
use super::policy::Mode;
use super::time::{Moment, Span};
use super::verdict::Verdict;

/// What there is to say while nothing is configured, with the next step.
pub const NO_APP: &str =
    "no app is configured; app-monitor init looks at this server and proposes a configuration";

/// One app at a glance. Lengths of time are whole seconds unless their name says otherwise.
/// This shape is public interface (`status --json`, the `Report` property on the bus).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AppView {
    /// The app.
    pub app: AppName,
    /// Which instance of it, as `web@2`; none where it is the whole app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Its unit.
    pub unit: String,
    /// The verdict in one word.
    pub verdict: Verdict,
    /// Its evidence; empty when healthy.
    pub text: String,
    /// For how long the verdict has held.
    pub for_seconds: u64,
    /// All is well, or as somebody wished it.
    pub well: bool,
    /// `act` or `watch`.
    pub mode: Mode,
    /// Its main process.
    pub pid: Option<u32>,
    /// Each check as last made.
    pub checks: Vec<CheckView>,
    /// What holds besides the verdict.
    pub conditions: Vec<ConditionView>,
    /// Attempts that are left within `attempts_window`.
    pub attempts_left: u32,
    /// `closed`, `open` or `half-open`.
    pub breaker: String,
    /// When the next recovery may begin, while one has to wait.
    pub next_attempt_in_seconds: Option<u64>,
    /// The recovery under way: `restarting`, `starting it` or `verifying`.
    pub recovery: Option<String>,
    /// Its number.
    pub attempt: Option<u32>,
    /// What is left of a pause.
    pub paused_seconds: Option<u64>,
    /// Who paused it; null where nobody did, or it is not known.
    #[serde(default)]
    pub paused_by: Option<String>,
    /// Why, in that person's words.
    #[serde(default)]
    pub paused_reason: Option<String>,
    /// When the next round of checks begins.
    pub next_check_in_ms: Option<u64>,
    /// The incident that is open.
    pub incident: Option<String>,
    /// How available it was over the last day, week and month.
    #[serde(default)]
    pub figures: Vec<Figure>,
    /// When the verdict began to hold, and when the pause ends, by the clock of this boot.
    #[serde(skip)]
    pub since: Moment,
    /// See `since`.
    #[serde(skip)]
    pub paused_until: Option<Moment>,
    /// Its instances; the app itself is then shown as the worst of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<AppView>,
}

/// One check as last made.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckView {
    /// `port`, `http`, `processes`, `memory`, `host-memory`, `disk`, `database`, `proxy`, `public`,
    /// `egress` or `preflight`.
    pub check: CheckKind,
    /// `good`, `bad` or `unknown`; `none` while it was not made yet.
    pub result: String,
    /// Its evidence.
    pub text: String,
    /// How long the answer took, in milliseconds.
    pub latency_ms: Option<u64>,
}

/// One condition that holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConditionView {
    /// Its name.
    pub condition: String,
    /// Its evidence.
    pub text: String,
    /// For how long it has held.
    pub for_seconds: u64,
}

impl App {
    /// The app at a glance.
    #[must_use]
    pub fn view(&self, now: Moment) -> AppView {
        let checks =
            CheckKind::ALL.into_iter().filter(|kind| self.target.has(*kind) && self.was_asked(*kind));
        let checks = checks.map(|kind| self.check_view(kind)).collect();
        let conditions = self.conditions.iter().map(|(condition, state)| ConditionView {
            condition: condition.word().to_owned(),
            text: state.text.clone(),
            for_seconds: now.since(state.since).as_secs(),
        });
        let millis = |at: Moment| u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX);
        AppView {
            app: self.told_as().clone(),
            instance: matches!(self.name, Subject::Instance(..)).then(|| self.name.to_string()),
            unit: self.target.unit.to_string(),
            verdict: self.verdict,
            text: self.verdict_text.clone(),
            for_seconds: now.since(self.verdict_since).as_secs(),
            well: self.is_well(),
            mode: self.policy.mode,
            pid: self.unit.as_ref().and_then(|unit| unit.main_pid),
            checks,
            conditions: conditions.collect(),
            attempts_left: self.budget.left(now, &self.policy),
            breaker: self.budget.breaker().word().to_owned(),
            next_attempt_in_seconds: match self.next_attempt(now) {
                Some(Gate::NotBefore(at)) => Some(at.since(now).as_secs()),
                _ => None,
            },
            recovery: self.recovery.as_ref().map(|recovery| recovery.doing().to_owned()),
            attempt: self.recovery.as_ref().and_then(super::recovery::Recovery::attempt),
            paused_seconds: self.pause.as_ref().map(|pause| pause.until.since(now).as_secs()),
            paused_by: self.pause.as_ref().and_then(|pause| pause.by.clone()),
            paused_reason: self.pause.as_ref().and_then(|pause| pause.reason.clone()),
            next_check_in_ms: self.round_due().map(millis),
            incident: self.incident.as_ref().map(|incident| incident.id.clone()),
            figures: self.chronicle.figures(now),
            since: self.verdict_since,
            paused_until: self.pause.as_ref().map(|pause| pause.until),
            instances: Vec::new(),
        }
    }

    /// Those that go out only when they are needed are shown when they were.
    fn was_asked(&self, kind: CheckKind) -> bool {
        !matches!(kind, CheckKind::Egress | CheckKind::Preflight) || self.errands.seen(kind).is_some()
    }

    fn check_view(&self, kind: CheckKind) -> CheckView {
        let errand = self.errands.seen(kind).map(|seen| &seen.observation);
        let seen = self.latest.get(&kind).or(errand);
        // Made last while it was up; nobody counts what a unit that is down does not have.
        let of_the_unit = matches!(kind, CheckKind::Processes | CheckKind::Memory);
        let seen = seen.filter(|_| !(of_the_unit && self.is_down()));
        // What was good of one that was stopped is no more, and nobody looks again.
        let of_the_app = matches!(kind, CheckKind::Port | CheckKind::Http);
        let looked_at = !self.is_down() || self.round_due().is_some();
        let seen = seen.filter(|seen| looked_at || !of_the_app || seen.finding != Finding::Good);
        CheckView {
            check: kind,
            result: seen.map_or("none", |seen| seen.finding.word()).to_owned(),
            text: seen.map_or_else(String::new, |seen| seen.text.clone()),
            latency_ms: seen
                .and_then(|seen| seen.latency)
                .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Needs nobody: the verdict is well and so is what surrounds it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.verdict.is_well() && !self.conditions.keys().any(|condition| condition.alerts())
    }

    /// What shows of it as properties on the bus, in a number: where that is the same, so are they.
    #[must_use]
    pub fn mark(&self, now: Moment) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.verdict.hash(&mut hasher);
        self.verdict_since.hash(&mut hasher);
        self.conditions.keys().for_each(|condition| condition.hash(&mut hasher));
        for kind in CheckKind::ALL {
            let errand = || self.errands.seen(kind).map(|seen| &seen.observation);
            let seen = self.latest.get(&kind).or_else(errand);
            seen.map(|seen| std::mem::discriminant(&seen.finding)).hash(&mut hasher);
        }
        self.budget.left(now, &self.policy).hash(&mut hasher);
        self.budget.breaker().word().hash(&mut hasher);
        self.pause.as_ref().map(|pause| pause.until).hash(&mut hasher);
        hasher.finish()
    }

    fn phrase(&self, now: Moment) -> String {
        let age = Span(now.since(self.verdict_since).max(std::time::Duration::from_secs(1)));
        let mut phrase = format!("{}: {} for {age}", self.name, self.verdict);
        if let Some(recovery) = &self.recovery {
            phrase = format!("{phrase}, {}", recovery.doing());
            if let Some(number) = recovery.attempt() {
                phrase = format!("{phrase} ({})", self.attempt_words(number, recovery.intent.memory));
            }
        } else {
            match self.next_attempt(now) {
                Some(Gate::NotBefore(at)) => {
                    phrase = format!("{phrase}, next attempt in {}", Span(at.since(now)));
                }
                Some(Gate::Never) => phrase = format!("{phrase}, given up until app-monitor reset"),
                _ => {}
            }
        }
        for condition in self.conditions.keys().filter(|condition| condition.alerts()) {
            phrase = format!("{phrase}, {condition}");
        }
        phrase
    }
}

impl Host {
    /// One true sentence on all apps, for `systemctl status` (sd_notify(3), STATUS=).
    #[must_use]
    pub fn status_line(&self, now: Moment) -> String {
        const MOST: usize = 4;
        // What apps lean on shows where it is not well.
        let all: Vec<&App> =
            self.apps().filter(|app| !app.is_companion() || app.verdict != Verdict::Healthy).collect();
        if all.is_empty() {
            return format!("idle: {NO_APP}");
        }
        let healthy = all
            .iter()
            .filter(|app| app.verdict == Verdict::Healthy && app.is_well() && app.recovery.is_none())
            .count();
        let others: Vec<&&App> = all
            .iter()
            .filter(|app| app.verdict != Verdict::Healthy || !app.is_well() || app.recovery.is_some())
            .collect();
        let mut parts = Vec::new();
        if healthy > 0 {
            parts.push(format!("{healthy} {} healthy", if healthy == 1 { "app" } else { "apps" }));
        }
        parts.extend(others.iter().take(MOST).map(|app| app.phrase(now)));
        if others.len() > MOST {
            parts.push(format!("and {} more", others.len() - MOST));
        }
        parts.join("; ")
    }
}
