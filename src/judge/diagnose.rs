//! Diagnosis: one pure function from what is known to one verdict and its evidence.
//!
//! The order of the questions is the order of precedence in `Verdict`.

use std::time::Duration;

use super::history::Confirmed;
use super::life::Ending;
use super::mutation::{Mutation, active};
use super::observation::Fault;
use super::time::Span;
use super::unit::{ActiveState, LoadState, UnitReading};
use super::verdict::Verdict;

/// How long a unit file may be missing or masked before that is the verdict: a package upgrade
/// takes it away for a moment.
pub const FILE_GONE_FOR: Duration = Duration::from_secs(30);

/// What is known of an app at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The unit as last read; none while it cannot be read.
    pub unit: Option<&'a UnitReading>,
    /// For how long its file could not be used.
    pub load_bad_for: Option<Duration>,
    /// The host goes down.
    pub stopping: bool,
    /// Why nothing is to be done: a pause, and its reason.
    pub paused: Option<&'a str>,
    /// How its last run ended.
    pub ending: Option<&'a Ending>,
    /// A job that is not ours is pending.
    pub foreign_job: bool,
    /// A recovery of ours is between its first and its last step: the verdict stays its cause.
    pub acting: Option<(Verdict, &'a str)>,
    /// Its port is held by that somebody, and the app is down or about to be started again.
    pub port_holder: Option<&'a str>,
    /// Its database does not accept connections, as that evidence says.
    pub database: Option<&'a str>,
    /// Keys or files that it needs are absent: these.
    pub config: Option<&'a str>,
    /// An answer that decides what is wrong with an app that fell or fails is awaited: who holds its
    /// port, whether its database accepts, whether everything is there that it needs.
    pub pending: bool,
    /// systemd restarts it again and again: so often, in words.
    pub looping: Option<&'a str>,
    /// It uses more memory than it may, as enough rounds in a row say.
    pub over_memory: Option<&'a str>,
    /// systemd's own restart is overdue.
    pub healing_overdue: bool,
    /// Within the grace after a start, no good round yet.
    pub starting: Option<Duration>,
    /// A fault that enough rounds agree on.
    pub confirmed: Option<Confirmed<'a>>,
    /// What was wrong with its answers when that was last confirmed, while not enough rounds are good
    /// since.
    pub held: Option<(Verdict, &'a str)>,
    /// Nothing that is configured could be checked.
    pub all_unknown: bool,
    /// There are checks, and no round was good since it was started (or we were).
    pub unproven: bool,
    /// The verdict until now, and its evidence: it holds where the world is in between.
    pub previous: (Verdict, &'a str),
}

/// Judges. Returns the verdict and its evidence in a few words.
#[must_use]
pub fn diagnose(facts: &Facts<'_>) -> (Verdict, String) {
    let same = || (facts.previous.0, facts.previous.1.to_owned());
    let Some(unit) = facts.unit else {
        if facts.stopping {
            return (Verdict::ShuttingDown, "the host is going down".into());
        }
        return (Verdict::Unknown, "its unit cannot be read".into());
    };
    let usable = active(Mutation::MaskIgnored);
    if facts.load_bad_for.is_some_and(|length| length >= FILE_GONE_FOR && !usable) {
        return unusable(unit);
    }
    if facts.stopping {
        return (Verdict::ShuttingDown, "the host is going down".into());
    }
    let fell = active(Mutation::PauseBelowCrash) && facts.ending == Some(&Ending::ByItself);
    if let Some(why) = facts.paused.filter(|_| !fell) {
        return (Verdict::Paused, why.to_owned());
    }
    if let Some((verdict, text)) = facts.acting {
        return (verdict, text.to_owned());
    }
    let down = unit.active.is_down() && !unit.auto_restarting();
    if down {
        return below(facts, unit).unwrap_or_else(same);
    }
    if let Some(text) = changing(facts, unit) {
        return (Verdict::Changing, text);
    }
    // One that goes round fails, also where it is up at the moment.
    let goes_round = unit.auto_restarting() || facts.looping.is_some();
    let failing = goes_round || facts.confirmed.is_some() || facts.held.is_some();
    if failing && let Some(needed) = wanting(facts, unit) {
        return needed;
    }
    if let Some(holder) = facts.port_holder {
        return (Verdict::PortTaken, holder.to_owned());
    }
    // A restart that comes again and again heals nothing, so this goes before systemd-restarting;
    // else the verdict would change with every beat.
    if let Some(often) = facts.looping {
        return (Verdict::CrashLooping, format!("{often}; last: {}", last_exit(unit)));
    }
    if unit.auto_restarting() {
        if facts.healing_overdue {
            return (Verdict::Crashed, format!("{}, and systemd does not start it again", last_exit(unit)));
        }
        return (Verdict::SystemdRestarting, last_exit(unit));
    }
    above(facts).unwrap_or_else(same)
}

/// What an app that fell or fails leans on is not there: restarting it would not help.
fn wanting(facts: &Facts<'_>, unit: &UnitReading) -> Option<(Verdict, String)> {
    let (verdict, why) = match (facts.database, facts.config) {
        (Some(why), _) => (Verdict::DatabaseDown, why),
        (None, Some(why)) => (Verdict::ConfigMissing, why),
        (None, None) => return None,
    };
    let what = match facts.confirmed {
        Some(confirmed) if unit.active == ActiveState::Active => confirmed.text.to_owned(),
        _ => last_exit(unit),
    };
    Some((verdict, format!("{why}; the app: {what}")))
}

fn unusable(unit: &UnitReading) -> (Verdict, String) {
    match unit.load {
        LoadState::Masked => (Verdict::Masked, "its unit is masked".into()),
        LoadState::BadSetting => (Verdict::NotFound, "its unit file has an error that systemd names".into()),
        LoadState::Error => (Verdict::NotFound, "its unit file cannot be read".into()),
        _ => (Verdict::NotFound, "systemd knows no such unit".into()),
    }
}

/// Verdicts on a unit that is down. None where it is not clear yet.
fn below(facts: &Facts<'_>, unit: &UnitReading) -> Option<(Verdict, String)> {
    if facts.foreign_job {
        return Some((Verdict::Changing, "a job that is not ours is pending".into()));
    }
    if facts.load_bad_for.is_some() && !active(Mutation::MaskIgnored) {
        return Some((Verdict::Changing, "its unit file is not there at the moment".into()));
    }
    match facts.ending {
        Some(Ending::Stopped) => Some((Verdict::StoppedByAdmin, "stopped by a job that is not ours".into())),
        Some(Ending::Unloaded) => {
            Some((Verdict::StoppedByAdmin, "stopped while nobody watched, and unloaded since".into()))
        }
        Some(Ending::StoppedWith(other)) => {
            Some((Verdict::StoppedWithDependency, format!("went down with {other}")))
        }
        None if unit.inactive_exit.is_none() => Some(never_ran(unit)),
        None => None,
        Some(Ending::ByItself) if unit.active == ActiveState::Inactive && unit.socket_listening => {
            Some((Verdict::Idle, "its socket waits for work".into()))
        }
        Some(Ending::ByItself) => {
            if let Some(needed) = wanting(facts, unit) {
                return Some(needed);
            }
            if let Some(holder) = facts.port_holder {
                return Some((Verdict::PortTaken, holder.to_owned()));
            }
            (!facts.pending).then(|| (Verdict::Crashed, last_exit(unit)))
        }
    }
}

fn never_ran(unit: &UnitReading) -> (Verdict, String) {
    if unit.socket_listening {
        return (Verdict::Idle, "its socket waits for work".into());
    }
    let missing = unit.dependencies.iter().find(|other| other.needed && other.active.is_down());
    let text = match missing {
        Some(other) if other.active == ActiveState::Failed => {
            format!("never started in this boot: {} failed", other.unit)
        }
        Some(other) if unit.enabled => format!("never started in this boot: {} is down", other.unit),
        _ if unit.condition_failed => "never started in this boot: a condition of its unit is not met".into(),
        _ if unit.enabled => "never started in this boot, though it is enabled".into(),
        _ => "never started in this boot, and not enabled".into(),
    };
    (Verdict::NotStarted, text)
}

fn changing(facts: &Facts<'_>, unit: &UnitReading) -> Option<String> {
    let state = match unit.active {
        ActiveState::Activating if !unit.auto_restarting() => Some("activating"),
        ActiveState::Deactivating => Some("deactivating"),
        ActiveState::Reloading => Some("reloading"),
        ActiveState::Maintenance => Some("maintenance"),
        _ => None,
    };
    if let Some(state) = state {
        return Some(format!("{state} ({})", unit.sub));
    }
    if facts.foreign_job && !unit.auto_restarting() {
        return Some("a job that is not ours is pending".into());
    }
    let busy = unit.dependencies.iter().find(|other| other.needed && other.job);
    busy.map(|other| format!("a job is pending on {}, which it needs", other.unit))
}

/// Verdicts on a unit that is up. None where it is not clear yet.
fn above(facts: &Facts<'_>) -> Option<(Verdict, String)> {
    if let Some(age) = facts.starting {
        return Some((Verdict::Starting, format!("up for {}, no good answer yet", Span(age))));
    }
    if let Some(text) = facts.over_memory {
        return Some((Verdict::AppMemory, text.to_owned()));
    }
    if let Some(confirmed) = facts.confirmed {
        if facts.pending {
            return None;
        }
        let times = match confirmed.of {
            None if confirmed.bad == 1 => String::new(),
            None => format!(", {} times running", confirmed.bad),
            Some(of) => format!(", {} of the last {of} times", confirmed.bad),
        };
        return Some((verdict_of(confirmed.fault), format!("{}{times}", confirmed.text)));
    }
    if let Some((verdict, text)) = facts.held {
        return Some((verdict, text.to_owned()));
    }
    if facts.all_unknown {
        return Some((Verdict::Unknown, "nothing that is configured could be checked".into()));
    }
    if facts.unproven {
        // The grace is over, but what follows it is not confirmed yet.
        let still = facts.previous.0 == Verdict::Starting;
        return (!still).then(|| (Verdict::Unknown, "no good answer yet".into()));
    }
    Some((Verdict::Healthy, String::new()))
}

/// The verdict that a confirmed fault means.
#[must_use]
pub fn verdict_of(fault: Fault) -> Verdict {
    match fault {
        Fault::NotListening | Fault::Refused => Verdict::PortClosed,
        Fault::ForeignListener => Verdict::PortTaken,
        Fault::Unanswered | Fault::UnansweredUnseen => Verdict::Frozen,
        Fault::Late => Verdict::Overloaded,
        Fault::WrongAnswer => Verdict::Erroring,
        Fault::TooFewProcesses => Verdict::NoProcess,
        Fault::OverMemory => Verdict::AppMemory,
        Fault::DatabaseDown => Verdict::DatabaseDown,
        Fault::ConfigMissing => Verdict::ConfigMissing,
        // Those of the surroundings are conditions; as a fault of the app they would be a wrong answer.
        Fault::ShortOfMemory
        | Fault::DiskLow
        | Fault::Unresolved
        | Fault::Tls
        | Fault::Upstream
        | Fault::Unreachable => Verdict::Erroring,
    }
}

/// How the last run ended, for people.
#[must_use]
pub fn last_exit(unit: &UnitReading) -> String {
    let exit = unit.exit.map(|exit| exit.to_string());
    // Where an automatic restart runs into the start limit, systemd keeps the result of the last
    // exit; that it no longer restarts a unit that it restarted before says the same.
    let gave_up = match unit.restarts {
        _ if unit.active != ActiveState::Failed => String::new(),
        0 => String::new(),
        1 => "; systemd gave up after restarting it once".into(),
        times => format!("; systemd gave up after restarting it {times} times"),
    };
    match (unit.result.as_str(), exit) {
        ("start-limit-hit", Some(exit)) if gave_up.is_empty() => {
            format!("{exit}; systemd gave up restarting it (start-limit-hit)")
        }
        ("start-limit-hit" | "exit-code" | "signal" | "core-dump", Some(exit)) => format!("{exit}{gave_up}"),
        ("success", Some(exit)) => exit,
        ("success", None) => "ended by itself".into(),
        (result, Some(exit)) => format!("{result}, {exit}"),
        (result, None) => format!("failed: {result}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{down, up};
    use super::super::unit::{Dependency, Exit, JobId};
    use super::*;

    fn facts(unit: &UnitReading) -> Facts<'_> {
        Facts {
            unit: Some(unit),
            load_bad_for: None,
            stopping: false,
            paused: None,
            ending: None,
            foreign_job: false,
            acting: None,
            port_holder: None,
            database: None,
            config: None,
            pending: false,
            looping: None,
            over_memory: None,
            healing_overdue: false,
            starting: None,
            confirmed: None,
            held: None,
            all_unknown: false,
            unproven: false,
            previous: (Verdict::Unknown, ""),
        }
    }

    fn verdict(facts: &Facts<'_>) -> Verdict {
        diagnose(facts).0
    }

    /// Facts under which every verdict holds at once; taking them away one by one walks down the
    /// table of precedence.
    #[test]
    fn precedence_of_a_running_unit() {
        let unit = UnitReading { load: LoadState::Masked, ..up(1) };
        let confirmed = Confirmed { fault: Fault::Unanswered, text: "x", bad: 3, of: None };
        let mut all = Facts {
            load_bad_for: Some(FILE_GONE_FOR),
            stopping: true,
            paused: Some("why"),
            foreign_job: true,
            database: Some("refused"),
            config: Some("DATABASE_URL is not set"),
            port_holder: Some("nc"),
            looping: Some("7 restarts"),
            over_memory: Some("400 MiB"),
            starting: Some(Duration::from_secs(3)),
            confirmed: Some(confirmed),
            all_unknown: true,
            ..facts(&unit)
        };
        assert_eq!(verdict(&all), Verdict::Masked);
        all.load_bad_for = Some(Duration::from_secs(29));
        assert_eq!(verdict(&all), Verdict::ShuttingDown);
        all.stopping = false;
        assert_eq!(verdict(&all), Verdict::Paused);
        all.paused = None;
        assert_eq!(verdict(&all), Verdict::Changing);
        all.foreign_job = false;
        assert_eq!(verdict(&all), Verdict::DatabaseDown);
        all.database = None;
        assert_eq!(verdict(&all), Verdict::ConfigMissing);
        all.config = None;
        assert_eq!(verdict(&all), Verdict::PortTaken);
        all.port_holder = None;
        assert_eq!(verdict(&all), Verdict::CrashLooping);
        all.looping = None;
        assert_eq!(verdict(&all), Verdict::Starting);
        all.starting = None;
        assert_eq!(verdict(&all), Verdict::AppMemory);
        all.over_memory = None;
        assert_eq!(verdict(&all), Verdict::Frozen);
        all.confirmed = None;
        assert_eq!(verdict(&all), Verdict::Unknown);
        all.all_unknown = false;
        assert_eq!(verdict(&all), Verdict::Healthy);
    }

    #[test]
    fn what_an_app_leans_on_is_no_fault_while_it_answers() {
        let unit = up(1);
        let leaning = Facts { database: Some("refused"), config: Some("no key"), ..facts(&unit) };
        assert_eq!(verdict(&leaning), Verdict::Healthy);
        let fallen = down(1);
        let ending = Ending::ByItself;
        let fallen = Facts { unit: Some(&fallen), ending: Some(&ending), ..leaning };
        assert_eq!(verdict(&fallen), Verdict::DatabaseDown);
        assert_eq!(verdict(&Facts { database: None, ..fallen }), Verdict::ConfigMissing);
        let pending = Facts { database: None, config: None, pending: true, ..fallen };
        assert_eq!(verdict(&pending), Verdict::Unknown, "as before, until the answer is there");
        let round = Facts { looping: Some("7 restarts"), ..leaning };
        assert_eq!(verdict(&round), Verdict::DatabaseDown, "between two of systemd's restarts as well");
        assert_eq!(verdict(&Facts { database: None, ..round }), Verdict::ConfigMissing);
    }

    #[test]
    fn every_ending_has_its_verdict() {
        let unit = UnitReading { exit: Some(Exit::Status(1)), ..down(1) };
        let other: super::super::names::UnitName = "db.service".parse().unwrap();
        for (ending, expected) in [
            (Ending::ByItself, Verdict::Crashed),
            (Ending::Stopped, Verdict::StoppedByAdmin),
            (Ending::Unloaded, Verdict::StoppedByAdmin),
            (Ending::StoppedWith(other), Verdict::StoppedWithDependency),
        ] {
            let known = Facts { ending: Some(&ending), ..facts(&unit) };
            assert_eq!(verdict(&known), expected);
            let under_job = Facts { foreign_job: true, ..known };
            assert_eq!(verdict(&under_job), Verdict::Changing, "{ending:?} with a job pending");
        }
        let socket = UnitReading { socket_listening: true, ..down(1) };
        assert_eq!(
            verdict(&Facts { ending: Some(&Ending::ByItself), ..facts(&socket) }),
            Verdict::Idle,
            "a clean exit before a listening socket"
        );
    }

    #[test]
    fn never_started_says_what_was_missing() {
        let needs = Dependency {
            unit: "db.service".parse().unwrap(),
            active: ActiveState::Failed,
            job: false,
            needed: true,
            left: None,
        };
        let unit =
            UnitReading { inactive_exit: None, invocation: None, dependencies: vec![needs], ..down(1) };
        assert_eq!(
            diagnose(&facts(&unit)),
            (Verdict::NotStarted, "never started in this boot: db.service failed".into())
        );
        let waiting = UnitReading { socket_listening: true, dependencies: vec![], ..unit };
        assert_eq!(verdict(&facts(&waiting)), Verdict::Idle);
    }

    #[test]
    fn systemd_heals_until_it_is_overdue() {
        let unit = UnitReading {
            active: ActiveState::Activating,
            sub: "auto-restart".into(),
            job: Some(JobId(3)),
            ..up(1)
        };
        assert_eq!(verdict(&facts(&unit)), Verdict::SystemdRestarting);
        assert_eq!(verdict(&Facts { healing_overdue: true, ..facts(&unit) }), Verdict::Crashed);
    }

    #[test]
    fn a_confirmed_fault_holds_until_it_is_over() {
        let unit = up(1);
        let held = Facts { held: Some((Verdict::Frozen, "timed out")), ..facts(&unit) };
        for before in [Verdict::Frozen, Verdict::Changing, Verdict::Unknown, Verdict::AppMemory] {
            let held = Facts { previous: (before, ""), ..held };
            assert_eq!(diagnose(&held), (Verdict::Frozen, "timed out".into()), "was {before}");
        }
        assert_eq!(verdict(&Facts { held: None, previous: (Verdict::Frozen, ""), ..held }), Verdict::Healthy);
        let reloading = UnitReading { active: ActiveState::Reloading, sub: "reload".into(), ..up(1) };
        assert_eq!(verdict(&Facts { unit: Some(&reloading), ..held }), Verdict::Changing);
    }

    #[test]
    fn exits_read_as_people_say_them() {
        let with = |result: &str, exit| last_exit(&UnitReading { result: result.into(), exit, ..down(1) });
        assert_eq!(with("exit-code", Some(Exit::Status(1))), "exited with status 1");
        assert_eq!(with("signal", Some(Exit::Signal(9))), "killed by SIGKILL");
        assert_eq!(with("success", Some(Exit::Status(0))), "exited with status 0");
        assert_eq!(with("oom-kill", Some(Exit::Signal(9))), "oom-kill, killed by SIGKILL");
        assert_eq!(
            with("start-limit-hit", Some(Exit::Status(1))),
            "exited with status 1; systemd gave up restarting it (start-limit-hit)"
        );
        let unit = down(1);
        let unit = UnitReading {
            active: ActiveState::Failed,
            result: "exit-code".into(),
            exit: Some(Exit::Status(1)),
            restarts: 5,
            ..unit
        };
        assert_eq!(last_exit(&unit), "exited with status 1; systemd gave up after restarting it 5 times");
    }
}
