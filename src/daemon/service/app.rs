//! `org.appmonitor1.App`: how one app is, as properties.

use std::collections::{BTreeMap, HashMap};

use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant, fdo, interface};

use crate::judge::{AppName, AppView};

use super::super::clock;
use super::{Asking, path_of};

const INTERFACE: &str = "org.appmonitor1.App";

/// One check: which, its result, its evidence.
type CheckRow = (String, String, String);

/// The values of those properties whose changes are signalled.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Properties {
    verdict: String,
    since: u64,
    conditions: Vec<String>,
    checks: Vec<CheckRow>,
    attempts_left: u32,
    breaker_state: String,
    paused_until: u64,
}

impl Properties {
    fn of(view: &AppView) -> Self {
        let check = |check: &crate::judge::CheckView| {
            (check.check.word().to_owned(), check.result.clone(), check.text.clone())
        };
        Self {
            verdict: view.verdict.word().to_owned(),
            since: clock::real_micros(view.since),
            conditions: view.conditions.iter().map(|one| one.condition.clone()).collect(),
            checks: view.checks.iter().map(check).collect(),
            attempts_left: view.attempts_left,
            breaker_state: view.breaker.clone(),
            paused_until: view.paused_until.map_or(0, clock::real_micros),
        }
    }

    /// What is another than before. Of checks the results count: their evidence, with the latency in it,
    /// is another in every round.
    fn changed<'a>(&'a self, before: Option<&Self>) -> HashMap<&'static str, Variant<'a>> {
        let mut changed = HashMap::new();
        let mut put = |name, same: fn(&Self, &Self) -> bool, value: Variant<'a>| {
            if before.is_none_or(|before| !same(self, before)) {
                changed.insert(name, value);
            }
        };
        put("Verdict", |a, b| a.verdict == b.verdict, Variant::from(self.verdict.as_str()));
        put("Since", |a, b| a.since == b.since, Variant::from(self.since));
        put("Conditions", |a, b| a.conditions == b.conditions, Variant::from(&self.conditions[..]));
        put("Checks", same_results, Variant::from(self.checks.clone()));
        put("AttemptsLeft", |a, b| a.attempts_left == b.attempts_left, Variant::from(self.attempts_left));
        put(
            "BreakerState",
            |a, b| a.breaker_state == b.breaker_state,
            Variant::from(self.breaker_state.as_str()),
        );
        put("PausedUntil", |a, b| a.paused_until == b.paused_until, Variant::from(self.paused_until));
        changed
    }
}

fn same_results(one: &Properties, other: &Properties) -> bool {
    let results = |of: &'_ Properties| {
        of.checks.iter().map(|(check, result, _)| (check.clone(), result.clone())).collect::<Vec<_>>()
    };
    results(one) == results(other)
}

/// Signals what changed since it was signalled last; nothing, if nothing did.
pub(super) async fn changed(
    connection: &Connection,
    shown: &mut BTreeMap<AppName, Properties>,
    view: &AppView,
) -> zbus::Result<()> {
    let now = Properties::of(view);
    let changed = now.changed(shown.get(&view.app));
    if !changed.is_empty() {
        let emitter = SignalEmitter::new(connection, path_of(&view.app))?;
        let interface = InterfaceName::from_static_str(INTERFACE)?;
        fdo::Properties::properties_changed(&emitter, interface, changed, (&[][..]).into()).await?;
    }
    shown.insert(view.app.clone(), now);
    Ok(())
}

pub(super) struct AppObject {
    app: AppName,
    asking: Asking,
}

impl AppObject {
    pub(super) fn new(app: AppName, asking: Asking) -> Self {
        Self { app, asking }
    }

    async fn properties(&self) -> fdo::Result<Properties> {
        Ok(Properties::of(&self.asking.view(&self.app).await?))
    }
}

#[interface(name = "org.appmonitor1.App")]
impl AppObject {
    /// The verdict in one word.
    #[zbus(property)]
    async fn verdict(&self) -> fdo::Result<String> {
        Ok(self.properties().await?.verdict)
    }

    /// Its evidence; empty when healthy.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn text(&self) -> fdo::Result<String> {
        Ok(self.asking.view(&self.app).await?.text)
    }

    /// Since when the verdict holds: microseconds of CLOCK_REALTIME, as systemd's timestamps.
    #[zbus(property)]
    async fn since(&self) -> fdo::Result<u64> {
        Ok(self.properties().await?.since)
    }

    /// What holds besides the verdict.
    #[zbus(property)]
    async fn conditions(&self) -> fdo::Result<Vec<String>> {
        Ok(self.properties().await?.conditions)
    }

    /// Each check as last made: which, `good`, `bad`, `unknown` or `none`, and its evidence. Changes of
    /// the evidence alone are not signalled.
    #[zbus(property)]
    async fn checks(&self) -> fdo::Result<Vec<(String, String, String)>> {
        Ok(self.properties().await?.checks)
    }

    /// Attempts that are left.
    #[zbus(property)]
    async fn attempts_left(&self) -> fdo::Result<u32> {
        Ok(self.properties().await?.attempts_left)
    }

    /// `closed`, `open` or `half-open`.
    #[zbus(property)]
    async fn breaker_state(&self) -> fdo::Result<String> {
        Ok(self.properties().await?.breaker_state)
    }

    /// When the pause ends, in microseconds of CLOCK_REALTIME; 0 where there is none.
    #[zbus(property)]
    async fn paused_until(&self) -> fdo::Result<u64> {
        Ok(self.properties().await?.paused_until)
    }
}
