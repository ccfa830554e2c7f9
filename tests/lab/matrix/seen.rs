//! From a fault to what came of it: waits that give up instead of failing, since what did not come
//! belongs in the table, too; steps out of the journal, and starts as the app counts them.

use std::any::Any;
use std::time::Duration;

use crate::machine::{AppSpec, Event, LOOK, Machine, PATIENCE, now};
use crate::support::{let_pass, said_at, watch};

/// How long nothing more may happen where nothing is to be done.
const QUIET: Duration = Duration::from_secs(3);

/// What was seen from the fault on.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The verdict, or condition, that it was called.
    pub verdict: String,
    /// Steps in their order; `none`.
    pub actions: String,
    /// How often the app started.
    pub starts: usize,
    /// What else was wrong.
    pub remarks: Vec<String>,
    /// A figure worth knowing.
    pub figure: String,
}

impl Seen {
    /// A row that could not go on.
    pub(super) fn broken(panic: &Box<dyn Any + Send>) -> Self {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it broke off");
        let first = text.lines().next().unwrap_or_default();
        Self { verdict: "?".into(), actions: "?".into(), remarks: vec![first.to_owned()], ..Self::default() }
    }

    /// What was done since a moment, under the verdict given.
    pub(super) fn since(m: &Machine, at: Duration, verdict: &str) -> Self {
        let steps: Vec<String> = m.events_since("", at).iter().filter_map(step).collect();
        Self {
            verdict: verdict.to_owned(),
            actions: if steps.is_empty() { "none".to_owned() } else { steps.join(", ") },
            starts: said_at(m, "web.service", "starting, pid", at).len(),
            ..Self::default()
        }
    }

    /// Something else that has to hold.
    pub(super) fn and(mut self, holds: bool, remark: impl FnOnce() -> String) -> Self {
        if !holds {
            self.remarks.push(remark());
        }
        self
    }

    /// A figure for the table.
    pub(super) fn figure(mut self, text: String) -> Self {
        self.figure = text;
        self
    }
}

/// Whom a line is about (`web`, `web@2`, `nginx.service`), and what it says. That of a unit that the
/// app leans on begins with both: `web: nginx.service: reload: done`.
fn split(event: &Event) -> (&str, &str) {
    let (app, text) = event.message.split_once(": ").unwrap_or(("", &event.message));
    match text.split_once(": ") {
        Some((unit, text)) if unit.ends_with(".service") && !unit.contains(' ') => (unit, text),
        _ => (app, text),
    }
}

/// It is about the app or one of its instances, not about a unit that it leans on.
pub(super) fn is_own(event: &Event) -> bool {
    !split(event).0.contains('.')
}

/// A step in the words of the table: `restart`, `reload nginx.service (failed)`.
fn step(event: &Event) -> Option<String> {
    if event.name != "step-done" && event.name != "step-failed" {
        return None;
    }
    let (whom, text) = split(event);
    // A remark on why a step is not taken is none.
    if text.contains("it is not restarted") {
        return None;
    }
    let mut words = if text.starts_with("it does not stop by itself") {
        "kill".to_owned()
    } else {
        text.split(": ").next()?.split(" (").next()?.replace("start hook ", "hook ")
    };
    if !is_own(event) {
        words = format!("{words} {whom}");
    }
    if event.name == "step-failed" {
        words += " (failed)";
    }
    Some(words)
}

/// Asks until it is so, or patience ends; gives whether it came to be.
pub(super) fn until(patience: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let end = now() + patience;
    loop {
        if probe() {
            return true;
        }
        if now() > end {
            return false;
        }
        std::thread::sleep(LOOK.max(Duration::from_millis(200)));
    }
}

/// The app `web`, watched and healthy, with further keys of its table.
#[track_caller]
pub(super) fn healthy(m: &Machine, keys: &str) {
    watch(m, &AppSpec::new("web", 3000), keys);
}

/// The same, broken.
#[track_caller]
pub(super) fn broken_by(m: &Machine, fault: &str) -> Duration {
    healthy(m, "");
    m.fault("web", fault)
}

/// The verdict of the incident that began after a moment, else the app's last.
pub(super) fn called(m: &Machine, at: Duration) -> String {
    let mut events = m.events_since("web", at);
    events.retain(is_own);
    let incident = events.iter().find(|event| event.name == "incident-opened");
    incident.or(events.last()).map_or("healthy", |event| event.field("APP_MONITOR_VERDICT")).to_owned()
}

/// Waits until the fault is over.
pub(super) fn recovered(m: &Machine, at: Duration) -> Seen {
    let over = until(PATIENCE, || {
        m.events_since("web", at).iter().any(|event| event.name == "incident-closed" && is_own(event))
    });
    let seen = Seen::since(m, at, &called(m, at));
    let serves = m.http(3000, "/api/health").status == 200;
    seen.and(over, || format!("not over after {PATIENCE:?}")).and(serves, || "it does not serve".to_owned())
}

/// Waits until the app is called that, for `patience`, then whether more is done than is right.
pub(super) fn called_within(m: &Machine, at: Duration, patience: Duration, verdict: &str) -> Seen {
    // A stop by somebody is told by a name of its own.
    let told = |event: &Event| matches!(event.name.as_str(), "verdict-changed" | "stopped-by-admin");
    let came = until(patience, || {
        m.events_since("web", at)
            .iter()
            .any(|event| told(event) && event.field("APP_MONITOR_VERDICT") == verdict)
    });
    if came {
        let_pass(QUIET);
    }
    let word = if came { verdict.to_owned() } else { called(m, at) };
    Seen::since(m, at, &word)
}

/// Waits until the app is called that, and whether more is done than is right.
pub(super) fn held(m: &Machine, at: Duration, verdict: &str) -> Seen {
    called_within(m, at, PATIENCE, verdict)
}

/// The name of the condition that an event is about: `web: slow: GET / answers 200 in 3 s`.
fn condition_of(event: &Event) -> String {
    split(event).1.split(':').next().unwrap_or_default().to_owned()
}

/// Conditions of the app that began since a moment.
pub(super) fn conditions(m: &Machine, at: Duration) -> Vec<String> {
    let mut events = m.events_since("web", at);
    events.retain(|event| event.name == "condition-began");
    events.iter().map(condition_of).collect()
}

/// Waits until a condition of the app begins, and whether more is done than is right.
pub(super) fn condition(m: &Machine, at: Duration, word: &str) -> Seen {
    let began = || conditions(m, at);
    let came = until(PATIENCE, || began().iter().any(|began| began == word));
    if came {
        let_pass(QUIET);
    }
    let all = began();
    let name = if came { word.to_owned() } else { all.join("+") };
    let name = if name.is_empty() { called(m, at) } else { name };
    Seen::since(m, at, &name)
}
