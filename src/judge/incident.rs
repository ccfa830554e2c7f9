//! The incident of an app: what opens it, what it takes for it to be over, and what else is told when
//! something lasts or is given up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::app::App;
use super::effect::Effect;
use super::level::Level;
use super::mutation::{Mutation, active};
use super::record::EventKind;
use super::time::{Moment, Span};
use super::verdict::Verdict;

/// A unit that was not started is given so long: at boot, its turn may still come.
pub(super) const NOT_STARTED_FOR: Duration = Duration::from_secs(10);

/// Something that somebody has to be told about, from its beginning to its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// Its name, `web-12`: unique for the app.
    pub id: String,
    /// The verdict that opened it.
    pub verdict: Verdict,
    /// Its evidence.
    pub text: String,
    /// Since when.
    pub since: Moment,
    /// Swap was had back in its course, which is done once.
    #[serde(default)]
    pub swap_reclaimed: bool,
}

impl App {
    pub(super) fn keep_incident(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let patient = self.verdict == Verdict::NotStarted && now.since(self.verdict_since) < NOT_STARTED_FOR;
        if self.verdict.opens_incident() && self.incident.is_none() && !patient {
            self.incidents += 1;
            let id = format!("{}-{}", self.name, self.incidents);
            // The verdict was told with its evidence; the name is what is new.
            let text = format!("incident {id}: {}", self.headline());
            self.incident = Some(Incident {
                id: id.clone(),
                verdict: self.verdict,
                text: self.verdict_text.clone(),
                since: now,
                swap_reclaimed: false,
            });
            self.dirty = true;
            let policy = self.policy.clone();
            if self.budget_for(self.verdict == Verdict::AppMemory).fell(now, &policy) {
                self.tell_breaker(out);
            }
            let alert = self.tells_incident(self.verdict);
            self.tell_all(out, EventKind::IncidentOpened, Level::Warn, text, alert);
        }
        let over = self.verdict.is_well() && !matches!(self.verdict, Verdict::Starting | Verdict::Paused);
        // Up, and nothing that could prove its health: that is all there is to know.
        let over = over || self.verdict == Verdict::Unknown && self.is_well_enough();
        // A loop that pauses for one good round is no end of it.
        let looped = self.incident.as_ref().is_some_and(|incident| incident.verdict == Verdict::CrashLooping);
        let settled = self.healthy_since.is_some_and(|since| now.since(since) >= self.policy.healthy_for);
        let over = over && (!(looped || self.is_unheard()) || settled || self.verdict != Verdict::Healthy);
        let over = over && self.stays_up_since().is_none_or(|since| now >= since + self.policy.min_uptime);
        if over && self.recovery.is_none() {
            self.close_incident(now, out);
            // Refused though nothing was wrong: a person had asked. That shows when it is needed again.
            self.forget_refusal(now, out);
        }
    }

    /// What starts and falls again, because something that it needs is absent, seems healthy in between:
    /// since when it has to stay so. Where only processes are counted, each of systemd's own restarts
    /// would end an incident and begin another.
    pub(super) fn stays_up_since(&self) -> Option<Moment> {
        let lacked =
            self.incident.as_ref().is_some_and(|incident| incident.verdict == Verdict::ConfigMissing);
        self.healthy_since.filter(|_| lacked)
    }

    /// What was wrong with a proxy's answers is remembered, and nobody has asked it since the monitor began.
    pub(super) fn is_unheard(&self) -> bool {
        let of_answers = self.incident.as_ref().is_some_and(|incident| incident.verdict.is_of_answers());
        of_answers && self.is_companion() && !self.companion.is_fed()
    }

    pub(super) fn close_incident(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(incident) = self.incident.clone().filter(|_| !active(Mutation::IncidentStaysOpen)) else {
            return;
        };
        let text = format!(
            "{} is over after {}: {}",
            incident.verdict,
            Span(now.since(incident.since)),
            self.headline()
        );
        let alert = self.tells_incident(incident.verdict);
        self.tell_all(out, EventKind::IncidentClosed, Level::Info, text, alert);
        self.incident = None;
        self.dirty = true;
        self.forget_refusal(now, out);
    }

    pub(super) fn tell_long_stop(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(after) = self.policy.stopped_alert_after else { return };
        let since = self.stopped_since();
        let long = now.since(since) >= after;
        if self.verdict == Verdict::StoppedByAdmin && long && !self.stop_told {
            self.stop_told = true;
            self.dirty = true;
            let text = format!("still stopped after {}", Span(now.since(since)));
            self.tell_all(out, EventKind::StoppedByAdmin, Level::Warn, text, true);
        }
    }

    /// Since when it is stopped, whoever watched it then.
    pub(super) fn stopped_since(&self) -> Moment {
        let down = self.unit.as_ref().and_then(|unit| unit.inactive_enter);
        down.map_or(self.verdict_since, |down| down.min(self.verdict_since))
    }

    pub(super) fn tell_breaker(&self, out: &mut Vec<Effect>) {
        let next = match self.policy.give_up {
            super::policy::GiveUp::Retry => {
                format!("one careful attempt every {} from now on", Span(self.policy.retry_interval))
            }
            super::policy::GiveUp::Wait => "nothing more until a person resets it".to_owned(),
        };
        let text = format!(
            "{} recoveries did not help; {next}; app-monitor reset {} tries again",
            self.budget.allowed(&self.policy),
            self.name
        );
        self.tell_all(out, EventKind::BreakerOpened, Level::Error, text, true);
        self.set_off(&self.policy.on_give_up, out);
    }
}
