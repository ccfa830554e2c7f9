//! Apps that lean on something, go round, leak, or are late: what is done, and what is left alone.

use super::super::effect::{ActId, Event, RoundId};
use super::super::history::RoundResult;
use super::super::memory::AppMemory;
use super::super::observation::{CheckKind, Detail, Fault, Observation};
use super::super::plan::{Outcome, Step};
use super::super::policy::Policy;
use super::super::record::{EventKind, Record};
use super::super::target::{
    DatabasePlace, DatabaseProtocol, DatabaseTarget, HttpTarget, PreflightTarget, Target,
};
use super::super::testing::{self, down, up};
use super::super::unit::{Exit, InvocationId, JobId, JobResult, LoadState};
use super::super::verdict::Condition;
use super::*;

const WELL: fn(CheckKind) -> Observation = |_| Observation::good("well");

fn http() -> HttpTarget {
    HttpTarget { timeout: Duration::from_secs(2), ..testing::http("http://localhost:3000/health") }
}

fn leaning() -> Target {
    let database = DatabaseTarget {
        protocol: DatabaseProtocol::PostgreSql,
        places: vec![DatabasePlace::Host("127.0.0.1".into(), 5432)],
        tls: false,
        timeout: Duration::from_secs(3),
        interval: Duration::from_secs(60),
    };
    Target { database: Some(database), ..asked() }
}

fn asked() -> Target {
    Target { port: Some(3000), http: Some(http()), ..Target::of_unit("web.service".parse().unwrap()) }
}

/// An app on a stage: every check is answered at once by `answer`, every step ends as it should.
struct Stage {
    app: App,
    now: Moment,
    answer: Box<dyn Fn(CheckKind) -> Observation>,
    unit: UnitReading,
    steps: Vec<Step>,
    told: Vec<Record>,
    asked: Vec<CheckKind>,
    /// A start leads to nothing but the next fall.
    falls: bool,
    /// That check is never answered.
    silent: Option<CheckKind>,
    /// How every step ends,
    outcome: Outcome,
    /// but for this one.
    but: Option<(&'static str, Outcome)>,
    /// Readings are not answered.
    hangs: bool,
}

impl Stage {
    fn new(target: Target, policy: Policy) -> Self {
        let now = Moment::from_micros(1_000_000_000);
        let ever_good = target.round().chain(target.errands()).map(|kind| target.signature(kind)).collect();
        let memory = AppMemory { ever_good, ..AppMemory::default() };
        let mut stage = Self {
            app: App::new("web".parse().unwrap(), policy, target, memory, now),
            now,
            answer: Box::new(WELL),
            unit: up(1),
            steps: Vec::new(),
            told: Vec::new(),
            asked: Vec::new(),
            falls: false,
            silent: None,
            outcome: Outcome::Done,
            but: None,
            hangs: false,
        };
        stage.pass(1);
        assert_eq!(stage.app.verdict, Verdict::Healthy);
        stage
    }

    fn answer(&mut self, answer: impl Fn(CheckKind) -> Observation + 'static) {
        self.answer = Box::new(answer);
    }

    /// So many seconds, in steps of a tenth.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds * 10 {
            self.now = self.now + Duration::from_millis(100);
            // As the host does it: nobody looks at an app whose time has not come.
            if self.app.wake_due(self.now) {
                self.send(Event::Tick);
            }
        }
    }

    fn send(&mut self, event: Event) {
        let mut effects = self.app.handle(self.now, event);
        if !self.app.recovery.as_ref().is_some_and(Recovery::is_acting)
            && let Some(want) = self.app.wants(self.now)
        {
            effects.extend(self.app.recover(self.now, want));
        }
        self.carry_out(effects);
    }

    /// The monitor is started anew.
    fn another_monitor(&mut self) {
        let (policy, target) = (self.app.policy.clone(), self.app.target.clone());
        self.app = App::new("web".parse().unwrap(), policy, target, self.app.memory(), self.now);
        self.send(Event::Tick);
    }

    /// Somebody stops it.
    fn admin_stops(&mut self) {
        self.unit.job = Some(JobId(70));
        self.unit.active = ActiveState::Deactivating;
        self.send(Event::JobNew(JobId(70)));
        self.unit.active = ActiveState::Inactive;
        self.send(Event::JobRemoved(JobId(70), JobResult::Done));
        let (left, exited) = (Some(self.now), Some(self.now + Duration::from_millis(1)));
        let bytes = self.unit.invocation.map_or(1, |InvocationId(bytes)| bytes[0]);
        self.unit =
            UnitReading { active_exit: left, main_exit: exited, inactive_enter: exited, ..down(bytes) };
        self.send(Event::Changed);
    }

    fn alerts(&self) -> usize {
        self.told.iter().filter(|record| record.alert).count()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ReadUnit if self.hangs => {}
                Effect::ReadUnit => self.send(Event::Unit(Box::new(self.unit.clone()))),
                Effect::Check(round, kinds) => self.check(round, kinds),
                Effect::Perform(act, step) => self.perform(act, step),
                Effect::Record(record) => self.told.push(record),
                Effect::Persist | Effect::GatherEvidence | Effect::Hook(_) => {}
            }
        }
    }

    fn check(&mut self, round: RoundId, kinds: Vec<CheckKind>) {
        for kind in kinds {
            self.asked.push(kind);
            if self.silent == Some(kind) {
                continue;
            }
            let seen = (self.answer)(kind);
            self.send(Event::Check(round, kind, seen));
        }
    }

    fn perform(&mut self, act: ActId, step: Step) {
        self.steps.push(step.clone());
        let other = self.but.clone().filter(|(word, _)| *word == step.word());
        let outcome = other.map_or_else(|| self.outcome.clone(), |(_, outcome)| outcome);
        match step {
            _ if outcome != Outcome::Done => {}
            Step::Start | Step::Restart { .. } => {
                let invocation = self.unit.invocation.map_or(1, |InvocationId(bytes)| bytes[0] + 1);
                let since = Some(self.now);
                self.unit = UnitReading { inactive_exit: since, active_enter: since, ..up(invocation) };
            }
            Step::Stop { .. } => {
                let (left, exited) = (Some(self.now), Some(self.now + Duration::from_millis(1)));
                let bytes = self.unit.invocation.map_or(1, |InvocationId(bytes)| bytes[0]);
                let before = self.unit.inactive_exit;
                self.unit = UnitReading {
                    active_exit: left,
                    main_exit: exited,
                    inactive_enter: exited,
                    inactive_exit: before,
                    ..down(bytes)
                };
            }
            _ => {}
        }
        self.send(Event::StepEnded(act, outcome));
        if self.falls && matches!(step, Step::Start | Step::Restart { .. }) {
            self.fall();
        }
    }

    /// It fails by itself.
    fn fall(&mut self) {
        let invocation = self.unit.invocation.map_or(1, |InvocationId(bytes)| bytes[0]);
        let ran = self.unit.inactive_exit;
        self.unit = UnitReading {
            active: ActiveState::Failed,
            result: "exit-code".into(),
            exit: Some(Exit::Status(1)),
            inactive_exit: ran,
            ..down(invocation)
        };
        self.send(Event::Changed);
    }

    /// systemd restarts it, and it falls again at once.
    fn go_round(&mut self) {
        let restarts = self.unit.restarts + 1;
        let bytes = self.unit.invocation.map_or(1, |InvocationId(bytes)| bytes[0]);
        self.unit = UnitReading {
            active: ActiveState::Activating,
            sub: "auto-restart".into(),
            restarts,
            exit: Some(Exit::Status(1)),
            inactive_exit: Some(self.now),
            ..up(bytes + 1)
        };
        self.send(Event::Changed);
    }

    /// What systemd restarts is up.
    fn comes_up(&mut self) {
        let bytes = self.unit.invocation.map_or(1, |InvocationId(bytes)| bytes[0]);
        let (restarts, since) = (self.unit.restarts, Some(self.now));
        self.unit = UnitReading { restarts, inactive_exit: since, active_enter: since, ..up(bytes) };
        self.send(Event::Changed);
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = self.told.iter().map(|record| record.verdict).collect();
        verdicts.dedup();
        verdicts
    }
}

fn database_is_down(kind: CheckKind) -> Observation {
    match kind {
        CheckKind::Database => Observation::bad(Fault::DatabaseDown, "PostgreSQL refuses"),
        CheckKind::Http => Observation::bad(Fault::WrongAnswer, "answers 500"),
        _ => WELL(kind),
    }
}

#[test]
fn an_app_that_fell_with_its_database_is_back_with_it_and_no_attempt_is_used() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.falls = true;
    stage.answer(database_is_down);
    stage.fall();
    stage.pass(300);
    assert_eq!(stage.app.verdict, Verdict::DatabaseDown);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start], "it may live without, which is tried once");
    stage.steps.clear();
    stage.falls = false;
    stage.answer(WELL);
    stage.pass(4);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start], "no cooldown holds it back");
    stage.pass(20);
    assert_eq!(stage.app.verdict, Verdict::Healthy);
    assert_eq!(stage.app.budget.left(stage.now, &Policy::default()), 3);
    let told =
        stage.told.iter().filter(|record| record.text.contains("its database accepts again, uncounted"));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_running_app_that_fails_with_its_database_is_not_restarted() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.answer(database_is_down);
    stage.pass(600);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::DatabaseDown, 0));
    stage.answer(|kind| {
        if kind == CheckKind::Http { Observation::bad(Fault::WrongAnswer, "answers 500") } else { WELL(kind) }
    });
    stage.pass(20);
    assert_eq!(stage.app.verdict, Verdict::Starting, "counters at zero and the grace of a start");
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
    stage.pass(30);
    assert_eq!(stage.steps.len(), 1, "by itself it is a fault like any other");
}

#[test]
fn a_database_that_never_accepted_proves_nothing() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.app.ever_good.remove(&CheckKind::Database);
    stage.answer(database_is_down);
    stage.fall();
    stage.pass(5);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start]);
    assert!(!stage.verdicts().contains(&Verdict::DatabaseDown));
}

#[test]
fn a_database_that_fell_while_the_unit_was_masked_is_known_when_it_is_not() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.unit.load = LoadState::Masked;
    stage.send(Event::Changed);
    stage.pass(60);
    assert_eq!(stage.app.verdict, Verdict::Masked);
    stage.answer(database_is_down);
    stage.pass(60);
    stage.unit.load = LoadState::Loaded;
    stage.send(Event::Changed);
    stage.pass(30);
    assert_eq!((stage.app.verdict, &stage.steps[..]), (Verdict::DatabaseDown, &[][..]));
}

#[test]
fn what_a_person_is_told_to_type_is_one_word_of_a_shell() {
    let named = Target { unit: "web\\x2dshop.service".parse().unwrap(), ..leaning() };
    let mut stage = Stage::new(named, Policy::default());
    stage.unit.load = LoadState::Masked;
    stage.send(Event::Changed);
    stage.pass(60);
    let refused = stage.app.refuses_recovery().unwrap();
    assert!(refused.contains("systemctl unmask 'web\\x2dshop.service' is"), "{refused}");
}

#[test]
fn what_the_database_answered_before_the_app_failed_again_is_too_old() {
    let mut stage = Stage::new(leaning(), Policy::default());
    let (trouble, fails) = (stage.now - Duration::from_secs(60), stage.now + Duration::from_secs(1));
    stage.app.trouble_since = Some(trouble);
    assert!(!stage.app.errand_pending(stage.now, CheckKind::Database));
    let bad = RoundResult::Bad(Fault::WrongAnswer, "answers 500".into());
    let policy = stage.app.policy.clone();
    stage.app.history.enter(fails, bad, &policy);
    assert!(stage.app.errand_pending(fails, CheckKind::Database));
}

#[test]
fn nobody_is_restarted_before_the_database_has_answered() {
    let mut stage = Stage::new(leaning(), Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Http => Observation::bad(Fault::WrongAnswer, "answers 500"),
        _ => WELL(kind),
    });
    stage.asked.clear();
    stage.pass(30);
    let restart = stage.asked.iter().position(|kind| *kind == CheckKind::Database);
    assert!(restart.is_some(), "asked at once, not at its interval");
    assert!(stage.steps.iter().any(|step| matches!(step, Step::Restart { .. })));
}

#[test]
fn a_recovery_that_is_taken_over_does_not_fail_before_the_database_has_answered() {
    let policy = Policy { failures: 1, startup_grace: Duration::from_secs(1), ..Policy::default() };
    let mut stage = Stage::new(leaning(), policy);
    stage.app.asked = Some("a person".into());
    let want = stage.app.wants(stage.now).unwrap();
    let effects = stage.app.recover(stage.now, want);
    stage.carry_out(effects);
    stage.pass(2);
    assert!(stage.app.recovery.is_some(), "it is verified");
    stage.answer(database_is_down);
    stage.silent = Some(CheckKind::Database);
    stage.another_monitor();
    stage.pass(2);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::Healthy, 1));
    stage.pass(3);
    assert_eq!(stage.steps.len(), 2, "it had its time");
}

#[test]
fn what_is_missing_holds_the_start_until_it_is_there() {
    let preflight = PreflightTarget { keys: vec!["DATABASE_URL".into()], ..PreflightTarget::default() };
    let mut stage = Stage::new(Target { preflight, ..asked() }, Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Preflight => Observation::bad(Fault::ConfigMissing, "DATABASE_URL is not set"),
        _ => WELL(kind),
    });
    stage.fall();
    stage.pass(300);
    assert_eq!(stage.app.verdict, Verdict::ConfigMissing);
    assert!(stage.app.headline().contains("DATABASE_URL is not set"), "{}", stage.app.headline());
    assert!(stage.steps.is_empty());
    stage.answer(WELL);
    stage.pass(15);
    assert_eq!(stage.steps, [Step::ResetFailed, Step::Start]);
}

#[test]
fn what_starts_again_and_again_without_what_it_needs_is_one_incident() {
    let preflight = PreflightTarget { keys: vec!["DATABASE_URL".into()], ..PreflightTarget::default() };
    let counted = Target { min_processes: 1, ..Target::of_unit("web.service".parse().unwrap()) };
    let mut stage = Stage::new(Target { preflight, ..counted }, Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Preflight => Observation::bad(Fault::ConfigMissing, "DATABASE_URL is not set"),
        _ => WELL(kind),
    });
    for _ in 0..20 {
        stage.go_round();
        stage.pass(1);
        assert_eq!(stage.app.verdict, Verdict::ConfigMissing);
        stage.comes_up();
        stage.pass(1);
    }
    let told = |stage: &Stage, event| stage.told.iter().filter(|record| record.event == event).count();
    assert_eq!(stage.app.verdict, Verdict::Healthy, "so it seems, with nothing but a process to count");
    assert_eq!((told(&stage, EventKind::IncidentOpened), told(&stage, EventKind::IncidentClosed)), (1, 0));
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
    stage.pass(10);
    assert_eq!(told(&stage, EventKind::IncidentClosed), 1, "it stays up, with or without");
}

#[test]
fn what_the_app_said_is_for_those_who_read_logs_alone() {
    let mut stage = Stage::new(asked(), Policy::default());
    let secret = "connect postgres://u:geheim@h";
    stage.answer(move |kind| match kind {
        CheckKind::Http => {
            Observation::bad(Fault::WrongAnswer, "answers 500").quoting(Some(secret.to_owned()))
        }
        kind => WELL(kind),
    });
    stage.outcome = Outcome::Refused("polkit says no".into());
    stage.pass(30);
    assert_eq!(stage.app.verdict, Verdict::Erroring);
    let view = format!("{:?} {}", stage.app.view(stage.now), stage.app.headline());
    assert!(view.contains("answers 500") && !view.contains("geheim"), "{view}");
    let said: Vec<_> = stage.told.iter().filter(|record| record.text.contains("geheim")).collect();
    assert!(said.iter().all(|record| record.event == EventKind::CheckFailed) && said.len() == 1, "{said:?}");
}

#[test]
fn what_was_never_there_is_told_beforehand_and_holds_nothing() {
    let preflight = PreflightTarget { keys: vec!["DATABASE_ULR".into()], ..PreflightTarget::default() };
    let mut stage = Stage::new(Target { preflight, ..asked() }, Policy::default());
    stage.app.ever_good.remove(&CheckKind::Preflight);
    let missing = |kind: CheckKind| match kind {
        CheckKind::Preflight => Observation::bad(Fault::ConfigMissing, "DATABASE_ULR is not set"),
        _ => WELL(kind),
    };
    let looked = |stage: &Stage| stage.asked.iter().filter(|kind| **kind == CheckKind::Preflight).count();
    stage.answer(missing);
    stage.pass(300);
    assert_eq!(looked(&stage), 1, "at a slow pace");
    assert_eq!(stage.app.verdict, Verdict::Healthy);
    let held = &stage.app.conditions[&Condition::NeverHealthy];
    assert!(held.text.contains("DATABASE_ULR is not set"), "{}", held.text);
    assert_eq!(stage.alerts(), 1);
    stage.fall();
    stage.pass(30);
    assert!(!stage.verdicts().contains(&Verdict::ConfigMissing));
    assert_eq!(stage.steps, [Step::Preflight, Step::ResetFailed, Step::Start]);
    // Somebody mends the configuration: from then on it is believed.
    stage.answer(WELL);
    stage.pass(900);
    assert!(!stage.app.conditions.contains_key(&Condition::NeverHealthy));
    let before = looked(&stage);
    stage.answer(missing);
    stage.pass(900);
    assert_eq!(looked(&stage), before, "once is enough");
    stage.steps.clear();
    stage.fall();
    stage.pass(300);
    assert_eq!(stage.app.verdict, Verdict::ConfigMissing);
    assert_eq!(stage.steps, []);
}

#[test]
fn a_preflight_that_was_never_good_ends_no_recovery() {
    let preflight = PreflightTarget { keys: vec!["KEY".into()], ..PreflightTarget::default() };
    let mut stage = Stage::new(Target { preflight, ..asked() }, Policy::default());
    stage.app.ever_good.remove(&CheckKind::Preflight);
    stage.answer(|kind| match kind {
        CheckKind::Preflight => Observation::bad(Fault::ConfigMissing, "KEY is not set"),
        _ => WELL(kind),
    });
    stage.outcome = Outcome::Failed("KEY is not set".into());
    stage.fall();
    stage.pass(5);
    assert!(stage.steps.contains(&Step::Start), "{:?}", stage.steps);
}

/// What is seen of an app that is up for no longer than a blink.
fn nobody_listens(kind: CheckKind) -> Observation {
    match kind {
        CheckKind::Http => Observation::bad(Fault::Refused, "refused"),
        _ => Observation::bad(Fault::NotListening, "nobody listens"),
    }
}

#[test]
fn a_loop_of_restarts_is_broken_once_and_counts_as_no_attempt() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(nobody_listens);
    for _ in 0..60 {
        stage.go_round();
        stage.pass(5);
        if stage.steps.contains(&Step::Start) {
            break;
        }
    }
    assert!(stage.verdicts().contains(&Verdict::CrashLooping));
    assert!(matches!(stage.steps[0], Step::Stop { .. }), "{:?}", stage.steps);
    assert_eq!(stage.app.budget.left(stage.now, &Policy::default()), 3);
    stage.steps.clear();
    for _ in 0..100 {
        stage.go_round();
        stage.pass(5);
    }
    let told: Vec<_> = stage.told.iter().map(|record| &record.text).collect();
    assert!(stage.steps.is_empty(), "once in an attempts_window: {:?} {told:#?}", stage.steps);
}

#[test]
fn a_leaking_app_is_restarted_by_its_own_manners_and_on_a_budget_of_its_own() {
    let target = Target { max_memory: Some(100), ..asked() };
    let mut stage = Stage::new(target, Policy::default());
    stage.answer(|kind| match kind {
        CheckKind::Memory => Observation::bad(Fault::OverMemory, "uses 200 B").with(Detail::Memory(200)),
        _ => WELL(kind),
    });
    stage.pass(30);
    let own_manners = Step::Restart { kill_after: Duration::from_secs(90) };
    assert_eq!(stage.steps[0], own_manners, "TimeoutStopSec of the unit");
    assert!(stage.verdicts().contains(&Verdict::AppMemory));
    stage.pass(3_000);
    assert_eq!(stage.app.budget.left(stage.now, &Policy::default()), 3, "a crash has all its attempts");
    assert_eq!(stage.app.memory_budget.left(stage.now, &Policy::default()), 0);
    assert!(stage.steps.iter().all(|step| *step == own_manners));
    assert!(stage.steps.len() <= 5, "{:?}", stage.steps);
}

fn late(cpu: u32) -> impl Fn(CheckKind) -> Observation {
    move |kind| match kind {
        CheckKind::Http => Observation::bad(Fault::Unanswered, "timed out")
            .with(Detail::Silence { taken: Some(true), cpu: Some(cpu) }),
        _ => WELL(kind),
    }
}

#[test]
fn an_app_that_works_its_queue_off_is_left_to_it_for_its_patience() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(late(95));
    stage.pass(300);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::Overloaded, 0));
    stage.pass(320);
    assert_eq!(stage.steps.len(), 1, "not one answer in ten minutes");
    let mut answers = Stage::new(asked(), Policy::default());
    for _ in 0..20 {
        answers.answer(late(95));
        answers.pass(100);
        answers.answer(WELL);
        answers.pass(11);
    }
    assert!(answers.steps.is_empty(), "an answer now and then: {:?}", answers.steps);
}

#[test]
fn taken_and_idle_is_frozen() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(late(3));
    stage.pass(20);
    assert_eq!(stage.steps[0], Step::Restart { kill_after: Policy::default().kill_after });
    assert!(stage.verdicts().contains(&Verdict::Frozen));
}

#[test]
fn a_refusal_to_a_person_does_not_outlast_the_moment_for_an_app_that_is_well() {
    let mut stage = Stage::new(asked(), Policy::default());
    let mut out = Vec::new();
    stage.app.note(stage.now, Condition::MayNotAct, Some("polkit says no".into()), &mut out);
    stage.pass(15);
    assert!(!stage.app.conditions.contains_key(&Condition::MayNotAct));
}

fn held(reapable: bool) -> impl Fn(CheckKind) -> Observation {
    move |kind| match kind {
        CheckKind::Port => Observation::bad(Fault::ForeignListener, "port 3000 is held by nc (pid 9)")
            .with(Detail::Holder { reapable, own_orphan: false }),
        CheckKind::Http => Observation::bad(Fault::WrongAnswer, "no HTTP"),
        _ => WELL(kind),
    }
}

#[test]
fn who_may_be_ended_is_ended_before_the_start_and_who_may_not_is_named() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(held(true));
    stage.fall();
    stage.pass(3);
    assert_eq!(stage.steps, [Step::Reap, Step::ResetFailed, Step::Start]);
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(held(false));
    stage.fall();
    stage.pass(300);
    assert_eq!((stage.app.verdict, stage.steps.len()), (Verdict::PortTaken, 0));
    assert!(stage.app.headline().contains("nc (pid 9)"));
}

/// Whatever systemd is at, at each beat: the holder is named, and nothing is stopped or started.
#[test]
fn a_port_that_somebody_holds_is_not_freed_by_breaking_the_loop() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(held(false));
    for beat in 0..60 {
        stage.go_round();
        stage.pass(2);
        stage.comes_up();
        stage.pass(2);
        if beat > 2 {
            assert_eq!(stage.app.verdict, Verdict::PortTaken, "beat {beat}: {}", stage.app.headline());
        }
    }
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
    stage.go_round();
    stage.pass(1);
    // Its memory of who holds the port is gone with the monitor before; that is looked at first.
    stage.silent = Some(CheckKind::Port);
    stage.another_monitor();
    assert_eq!(stage.app.verdict, Verdict::CrashLooping);
    assert_eq!(stage.app.wants(stage.now), None, "not known yet");
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
}

/// Who may be ended is ended between two runs, not in the middle of one that may get its port.
#[test]
fn a_run_of_which_nothing_is_known_is_not_interrupted_for_who_held_its_port() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(held(false));
    for _ in 0..4 {
        stage.go_round();
        stage.pass(2);
    }
    assert_eq!(stage.app.verdict, Verdict::PortTaken);
    stage.answer(held(true));
    stage.silent = Some(CheckKind::Http);
    stage.comes_up();
    stage.pass(5);
    assert_eq!(stage.app.verdict, Verdict::PortTaken, "as far as is known");
    assert!(stage.steps.is_empty(), "{:?}", stage.steps);
    stage.silent = None;
    stage.go_round();
    stage.pass(2);
    assert!(stage.steps.contains(&Step::Reap), "{:?}", stage.steps);
}

#[test]
fn what_systemd_gave_up_is_no_loop_whatever_went_before() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(nobody_listens);
    stage.falls = true;
    for _ in 0..5 {
        stage.go_round();
        stage.pass(3);
    }
    assert_eq!(stage.app.verdict, Verdict::CrashLooping);
    stage.fall();
    stage.pass(1_500);
    assert_eq!(stage.app.budget.left(stage.now, &Policy::default()), 0, "tried as any other crash");
    let uncounted = stage.told.iter().filter(|record| record.text.contains("uncounted")).count();
    assert_eq!(uncounted, 0, "{:#?}", stage.told);
    let stops = stage.steps.iter().filter(|step| matches!(step, Step::Stop { .. })).count();
    assert_eq!(stops, 0, "{:?}", stage.steps);
}

/// What an open breaker lets through has no number: there is no attempt 4 of 3.
#[test]
fn attempts_after_giving_up_are_called_so() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.answer(nobody_listens);
    stage.falls = true;
    stage.fall();
    stage.pass(4_000);
    let began = stage.told.iter().filter(|record| record.event == EventKind::RecoveryStarted);
    let texts: Vec<&str> = began.map(|record| record.text.as_str()).collect();
    assert!(texts.len() > 3, "{texts:?}");
    for (number, text) in texts.iter().enumerate() {
        let words = match number {
            0..3 => format!(", attempt {} of 3", number + 1),
            _ => ", a careful attempt after giving up".to_owned(),
        };
        assert!(text.ends_with(&words), "{texts:#?}");
    }
}

#[test]
fn nothing_is_begun_on_a_reading_that_does_not_come() {
    let mut stage = Stage::new(asked(), Policy::default());
    let frozen = |kind| match kind {
        CheckKind::Http => Observation::bad(Fault::Unanswered, "timed out"),
        _ => Observation::good("well"),
    };
    stage.answer(frozen);
    // systemd hangs, and somebody may have restarted the app since.
    stage.hangs = true;
    stage.pass(60);
    assert_eq!(stage.steps, []);
    stage.hangs = false;
    stage.pass(60);
    assert!(!stage.steps.is_empty(), "it is read again, and then acted on");
}

mod harm;
mod inherited;
mod permission;

#[test]
fn what_was_seen_before_a_gap_calls_for_nothing_after_it() {
    let mut stage = Stage::new(asked(), Policy::default());
    stage.outcome = Outcome::Refused("polkit says no".into());
    stage.answer(|_| Observation::bad(Fault::WrongAnswer, "answers 500"));
    stage.pass(30);
    let tried = stage.steps.len();
    assert!(tried > 0 && stage.app.verdict == Verdict::Erroring);
    stage.answer(WELL);
    stage.send(Event::Gap(Duration::from_secs(600)));
    stage.pass(60);
    assert_eq!(stage.steps.len(), tried, "it answers by now");
    assert_eq!(stage.app.verdict, Verdict::Healthy);
}
