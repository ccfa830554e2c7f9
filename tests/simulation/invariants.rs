//! What must hold at every step, whatever happens. Each invariant is a function with a name.

use app_monitor::judge::{ActId, EventKind, GiveUp, Mode, Record, Role, Step, Subject, UnitReading, Verdict};

use crate::ledger::{Budget, Said};
use crate::surroundings::Proxy;
use crate::systemd::{Kind, Who, Wish};
use crate::world::{M, World, seconds};

/// An act of the judge, about to be carried out.
pub struct Deed<'a> {
    pub member: M,
    pub act: ActId,
    pub step: &'a Step,
    pub at: i64,
    /// A recovery begins with it.
    pub begins: bool,
    /// A person asked for the recovery.
    pub asked: bool,
    /// It begins a recovery that counts.
    pub counted: bool,
    /// The recovery is for memory's sake.
    pub memory: bool,
    /// The verdict that called for it.
    pub cause: Verdict,
}

type Holds = Result<(), String>;
type OfActs = (&'static str, fn(&World, &Deed<'_>) -> Holds);
type OfRecords = (&'static str, fn(&World, M, &Record) -> Holds);

pub fn of_acts() -> &'static [OfActs] {
    &[
        ("what somebody stopped is left alone", left_alone_when_stopped),
        ("what is masked is left alone", left_alone_when_masked),
        ("what somebody is changing is left alone", left_alone_when_changing),
        ("nothing is done while paused", nothing_while_paused),
        ("nothing is done in watch mode", nothing_in_watch_mode),
        ("nothing is done while the host goes down", nothing_while_stopping),
        ("what runs is interrupted for good reasons only", interruption),
        ("what does not count has a reason of its own", uncounted),
        ("a proxy is left alone but for its own silence", proxy),
        ("a database is only ever started", database),
        ("instances are recovered one after the other", one_instance),
        ("the cooldown is kept", cooldown),
        ("attempts are bounded, over restarts of the monitor too", attempts),
        ("no more recoveries at a time than allowed", parallel),
        ("the intent is written ahead", intent),
        ("caches are cleared while the unit is down", caches),
        ("nothing is started while its caches are cleared", started_while_cleared),
        ("systemd's own restart is not raced", systemd_heals),
    ]
}

/// What must hold when a recovery begins that will interrupt a run.
pub fn of_interruptions() -> &'static [OfActs] {
    &[
        ("what answers is not restarted", what_answers_is_left_alone),
        ("nothing is restarted without evidence of its present run", evidence),
        ("what runs is not restarted for its database", not_for_the_database),
        ("what is overloaded is left to work", overloaded),
    ]
}

pub fn of_records() -> &'static [OfRecords] {
    &[
        ("an incident is told once", incidents),
        ("the breaker is told once", breakers),
        ("a condition is told once, and its end once", conditions),
        ("the journal is not flooded", flood),
    ]
}

fn holds(holds: bool, otherwise: impl FnOnce() -> String) -> Holds {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn starts_or_stops(step: &Step) -> bool {
    matches!(step, Step::Start | Step::Restart { .. } | Step::Stop { .. })
}

fn interrupts(step: &Step) -> bool {
    matches!(step, Step::Restart { .. } | Step::Stop { .. })
}

fn left_alone_when_stopped(world: &World, deed: &Deed<'_>) -> Holds {
    let unit = &world.units[world.members[deed.member].unit];
    let known = &world.ledger.members[deed.member];
    match unit.wish {
        // Whoever took it down is up again: it may follow.
        Wish::StoppedWith(other) if world.units[other].is_up() || known.saw_all_up() => Ok(()),
        // A person may have it without what it went down with.
        Wish::StoppedWith(_) if deed.asked => Ok(()),
        // What systemd forgot, and we, too, is up to whoever asks.
        _ if deed.asked && unit.says.inactive_enter.is_none() => Ok(()),
        Wish::StoppedWith(_) | Wish::Stopped { .. } => {
            holds(!known.knows_stop(unit.wish, &unit.says), || format!("{:?}", unit.wish))
        }
        Wish::Off => {
            let needs = unit.requires.is_some_and(|needed| world.units[needed].is_up());
            holds(deed.asked || needs, || "it was not started in this boot".into())
        }
        Wish::Up | Wish::Forgotten => Ok(()),
    }
}

fn left_alone_when_masked(world: &World, deed: &Deed<'_>) -> Holds {
    let masked = world.units[world.members[deed.member].unit].masked;
    holds(masked.is_none() || !world.ledger.members[deed.member].is_masked(), || "its unit is masked".into())
}

fn left_alone_when_changing(world: &World, deed: &Deed<'_>) -> Holds {
    let unit = &world.units[world.members[deed.member].unit];
    let known = &world.ledger.members[deed.member];
    let Some(job) = unit.foreign_job().filter(|_| starts_or_stops(deed.step)) else { return Ok(()) };
    // A start becomes part of that which somebody is at already.
    let same = job.kind == Kind::Start || deed.asked && job.kind == Kind::Restart;
    if *deed.step == Step::Start && same {
        return Ok(());
    }
    // The first job in the pause before a restart of systemd's own, as far as was read, is taken for that
    // restart; where it is somebody's, what a person asks of us is refused by systemd, or joins it, and does
    // no harm.
    if deed.asked && known.reading.as_ref().is_some_and(UnitReading::auto_restarting) {
        return Ok(());
    }
    // Whose a job is that is merely found there, no monitor knows that goes on with a step of another.
    let found = deed.begins && known.reading.as_ref().is_some_and(|seen| seen.job == Some(job.id));
    holds(!found && !known.jobs_begun.contains(&job.id), || {
        format!("the {:?} job {} of somebody else is pending", job.kind, job.id.0)
    })
}

fn nothing_while_paused(world: &World, deed: &Deed<'_>) -> Holds {
    let known = &world.ledger.members[deed.member];
    let unit = &world.units[world.members[deed.member].unit];
    // It sends no signal.
    let frozen = unit.frozen.is_some_and(|since| known.looked > since || deed.at - since > 7_000_000);
    let paused = known.paused_until.is_some_and(|until| deed.at < until);
    holds(!deed.begins || deed.asked || !(paused || frozen), || "somebody works on it".into())
}

fn nothing_in_watch_mode(world: &World, deed: &Deed<'_>) -> Holds {
    let mode = world.members[deed.member].policy.mode;
    holds(mode == Mode::Act || deed.asked, || "mode is watch".into())
}

fn nothing_while_stopping(world: &World, _: &Deed<'_>) -> Holds {
    holds(!world.ledger.stopping, || "the host is going down".into())
}

/// The unit runs, and nothing but the state of the run itself can call for its end.
fn runs(world: &World, deed: &Deed<'_>) -> bool {
    let unit = &world.units[world.members[deed.member].unit];
    // A loop of automatic restarts is broken whatever its present run says.
    let app = *role(world, deed) == Role::App;
    app && unit.is_up() && deed.cause != Verdict::CrashLooping
}

fn role<'a>(world: &'a World, deed: &Deed<'_>) -> &'a Role {
    &world.members[deed.member].target.role
}

fn proxy(world: &World, deed: &Deed<'_>) -> Holds {
    if !matches!(role(world, deed), Role::Proxy { .. }) || deed.asked {
        return Ok(());
    }
    let unit = &world.units[world.members[deed.member].unit];
    let known = &world.ledger.members[deed.member];
    let well = world.around.proxy != Proxy::Silent && deed.at - world.around.proxy_since > 180_000_000;
    // What was read of it before the monitor was stalled may call for its start, which does nothing then.
    let harmless = matches!(deed.step, Step::Start | Step::ResetFailed);
    let touches = deed.begins && unit.is_up() && !harmless;
    let up_for = world.now.since(unit.says.active_enter.unwrap_or(world.now));
    if touches && well && up_for > seconds(180) && !world.answers_by_luck() {
        return Err("it answers".into());
    }
    holds(!interrupts(deed.step) || known.reload_worked == Some(true), || {
        "its last reload did not work".into()
    })
}

fn database(world: &World, deed: &Deed<'_>) -> Holds {
    let only = matches!(deed.step, Step::Start | Step::ResetFailed);
    let asked = deed.asked || !matches!(role(world, deed), Role::Database { .. });
    holds(asked || only, || "that is no start".into())
}

fn one_instance(world: &World, deed: &Deed<'_>) -> Holds {
    let name = &world.members[deed.member].name;
    if !deed.begins || deed.asked || !matches!(name, Subject::Instance(..)) {
        return Ok(());
    }
    let other = (0..world.members.len()).find(|other| {
        let sibling = *other != deed.member && world.members[*other].name.app() == name.app();
        let recovered = world.ledger.members[*other].open.as_ref().is_some_and(|open| !open.asked);
        sibling && recovered && !waits_for_people(world, *other, deed.at)
    });
    match other {
        Some(other) => Err(format!("{} is being recovered", world.members[other].name)),
        None => Ok(()),
    }
}

/// Whether a recovery helped cannot be seen while somebody works on the unit, or nothing gets through.
fn waits_for_people(world: &World, member: M, at: i64) -> bool {
    let unit = &world.units[world.members[member].unit];
    let known = &world.ledger.members[member];
    let paused = known.paused_until.is_some_and(|until| at < until);
    // Nobody can see it for as long as it had to show that it is well again.
    let policy = &world.members[member].policy;
    let had = i64::try_from(policy.verify_within.unwrap_or(policy.startup_grace).as_micros()).unwrap();
    // One that the monitor before this one had begun is among them.
    let began = known.open.as_ref().map(|open| open.began);
    let blind = known.blind.map(|(since, _)| since).zip(began);
    let unseen = blind.is_some_and(|(since, began)| at - since.max(began) >= had);
    let stopped = unit.is_down() && matches!(unit.wish, Wish::Stopped { .. });
    // Somebody's job is pending as far as was told.
    let told = known.unheard.is_some() && world.monitor.works[member].is_none();
    unseen
        || paused
        || stopped
        || told
        || unit.frozen.is_some()
        // That it was let go sends no signal, and that systemd answers again is news of that unit only which
        // was read since.
        || known.reading.as_ref().is_some_and(|seen| seen.frozen)
        || known.unreadable
        || unit.foreign_job().is_some()
        || world.around.hung
}

/// What spoke against it when the recovery began.
fn interruption(world: &World, deed: &Deed<'_>) -> Holds {
    let open = world.ledger.members[deed.member].open.as_ref();
    let objection = open.and_then(|open| open.objection.as_ref());
    match objection.filter(|_| interrupts(deed.step) && !deed.asked && runs(world, deed)) {
        Some((rule, what)) => Err(format!("{rule}: {what}")),
        None => Ok(()),
    }
}

fn what_answers_is_left_alone(world: &World, deed: &Deed<'_>) -> Holds {
    let known = &world.ledger.members[deed.member];
    let unit = &world.units[world.members[deed.member].unit];
    let same_run = known.run.is_some() && known.run == unit.says.invocation;
    let last = known.said.last().filter(|_| same_run);
    let good = last.is_some_and(|last| last.said == Said::Good && !last.memory);
    holds(!good, || "its last answer was good".into())
}

fn evidence(world: &World, deed: &Deed<'_>) -> Holds {
    let known = &world.ledger.members[deed.member];
    let unit = &world.units[world.members[deed.member].unit];
    let policy = &world.members[deed.member].policy;
    let mine = known.run == unit.says.invocation;
    let bad = known.confirmed && known.said.last().is_some_and(|last| last.said == Said::Bad);
    let starves = known.starved_since().is_some_and(|since| deed.at - since >= 60_000_000);
    let leaks = for_memory(deed) && (starves || known.over_memory_in_a_row() >= policy.failures as usize);
    holds(mine && (leaks || bad), || {
        format!("{} bad in a row, confirmed: {}, of this run: {mine}", known.bad_in_a_row(), known.confirmed)
    })
}

/// The app's own memory is the matter, or the host's.
fn for_memory(deed: &Deed<'_>) -> bool {
    deed.memory || deed.cause == Verdict::AppMemory
}

fn not_for_the_database(world: &World, deed: &Deed<'_>) -> Holds {
    let member = &world.members[deed.member];
    let known = &world.ledger.members[deed.member];
    let asked = member.target.database.is_some() && known.database_good;
    let blind = world.around.blind.contains_key(&deed.member);
    // It is asked as soon as something is suspected, be it within the grace, or while nothing was answered.
    let run = world.units[member.unit].says.invocation;
    let unanswered = known.under_way.iter().filter(|round| round.run == run).map(|round| round.began);
    let suspected = unanswered.chain(known.suspected).min();
    let suspected = suspected.map(|began| world.before + began.as_micros());
    let before = world.around.database_down.zip(suspected).is_some_and(|(down, suspected)| down < suspected);
    holds(!(asked && before) || blind || for_memory(deed), || {
        "its database does not accept connections".into()
    })
}

fn overloaded(world: &World, deed: &Deed<'_>) -> Holds {
    let known = &world.ledger.members[deed.member];
    let patience = world.members[deed.member].policy.overload_patience;
    let patience = i64::try_from(patience.as_micros()).unwrap();
    let streak = known.said.iter().rev().take_while(|seen| seen.said == Said::Bad);
    let at_work = streak.clone().count() > 0 && streak.clone().all(|seen| seen.overloaded);
    let since = streak.last().map_or(deed.at, |first| first.at);
    holds(!at_work || deed.at - since >= patience - 60_000_000 || for_memory(deed), || {
        format!("for {} s only", (deed.at - since) / 1_000_000)
    })
}

fn uncounted(world: &World, deed: &Deed<'_>) -> Holds {
    if !deed.begins || deed.counted || deed.asked {
        return Ok(());
    }
    let member = &world.members[deed.member];
    let unit = &world.units[member.unit];
    let known = &world.ledger.members[deed.member];
    if matches!(unit.wish, Wish::StoppedWith(_) | Wish::Off) {
        return Ok(());
    }
    // systemd has forgotten it since, the monitor has not.
    let needed = unit.requires.is_some_and(|needed| world.units[needed].is_up());
    if deed.cause == Verdict::StoppedWithDependency && unit.wish == Wish::Forgotten && needed {
        return Ok(());
    }
    if deed.cause == Verdict::CrashLooping {
        let window = i64::try_from(member.policy.attempts_window.as_micros()).unwrap();
        let again = known.broke_loop.is_some_and(|broke| deed.at - broke < window);
        return holds(!again, || "the loop was broken already within attempts_window".into());
    }
    // It may live without its database, which is tried once, and is started when that is back.
    let times = if known.outage.0 == world.around.outages { known.outage.1 } else { 0 };
    let leans = member.target.database.is_some() && world.around.outages > 0;
    holds(leans && times < 2, || format!("{times} times before, cause {}", deed.cause))
}

fn budget<'a>(world: &'a World, deed: &Deed<'_>) -> &'a Budget {
    let known = &world.ledger.members[deed.member];
    if deed.memory { &known.memory_budget } else { &known.budget }
}

fn cooldown(world: &World, deed: &Deed<'_>) -> Holds {
    if !deed.counted {
        return Ok(());
    }
    let policy = &world.members[deed.member].policy;
    let budget = budget(world, deed);
    let Some(last) = budget.last.filter(|_| budget.since_healthy > 0) else { return Ok(()) };
    let most = policy.cooldown_max.max(policy.cooldown);
    let wait = policy.cooldown.saturating_mul(1 << (budget.since_healthy - 1).min(16)).min(most);
    let wait = i64::try_from(wait.as_micros()).unwrap();
    holds(deed.at - last >= wait, || {
        format!(
            "{} ms after the last one, {} since it was healthy",
            (deed.at - last) / 1_000,
            budget.since_healthy
        )
    })
}

fn attempts(world: &World, deed: &Deed<'_>) -> Holds {
    if !deed.counted {
        return Ok(());
    }
    let policy = &world.members[deed.member].policy;
    let budget = budget(world, deed);
    let window = i64::try_from(policy.attempts_window.as_micros()).unwrap();
    if let Some(until) = budget.open_until.filter(|_| !budget.half_open) {
        let waits = policy.give_up == GiveUp::Wait;
        return holds(!waits && deed.at >= until, || "all attempts are used up".into());
    }
    let used = budget.attempts.iter().filter(|began| deed.at - **began < window).count();
    let verified = budget.verified.iter().filter(|at| deed.at - **at < 3_600_000_000).count();
    let within = used <= budget.allowed as usize || budget.half_open;
    let spare = 10 + budget.allowed as usize + 6;
    holds(within && verified <= spare, || format!("{used} of {} used, {verified} verified", budget.allowed))
}

fn parallel(world: &World, deed: &Deed<'_>) -> Holds {
    if deed.asked || !starts_or_stops(deed.step) {
        return Ok(());
    }
    // Its job may be over before that is told: one that was configured anew finds its unit as it is.
    let pending = |id| world.units.iter().any(|unit| unit.job.as_ref().is_some_and(|job| job.id == id));
    let others = (0..world.members.len()).filter(|other| {
        let asked = world.ledger.members[*other].open.as_ref().is_some_and(|open| open.asked);
        let work = world.monitor.works[*other].as_ref();
        let acts = work.is_some_and(|work| starts_or_stops(&work.step) && work.job.is_none_or(pending));
        *other != deed.member && !asked && acts
    });
    let others = others.count();
    holds(others < world.max_parallel as usize, || format!("{others} others are acting"))
}

fn intent(world: &World, deed: &Deed<'_>) -> Holds {
    if !world.around.writable {
        return Ok(());
    }
    let name = &world.members[deed.member].name;
    let kept = world.monitor.kept.as_ref().and_then(|kept| kept.apps.get(name));
    let written = kept
        .and_then(|kept| kept.intent.as_ref())
        .is_some_and(|intent| intent.act == deed.act && intent.steps.get(intent.next) == Some(deed.step));
    holds(written, || "it is not on disk".into())
}

fn caches(world: &World, deed: &Deed<'_>) -> Holds {
    if *deed.step != Step::ClearCaches {
        return Ok(());
    }
    let known = &world.ledger.members[deed.member];
    let up = world.units[world.members[deed.member].unit].is_up();
    let seen_up = known.reading.as_ref().is_none_or(|seen| !seen.active.is_down());
    holds(!up || !seen_up, || "it is up".into())
}

fn started_while_cleared(world: &World, deed: &Deed<'_>) -> Holds {
    if deed.asked || !matches!(deed.step, Step::Start | Step::Restart { .. }) {
        return Ok(());
    }
    let clears = |other: &M| {
        let work = world.monitor.works[*other].as_ref();
        *other != deed.member && work.is_some_and(|work| work.step == Step::ClearCaches)
    };
    let other = world.sharers(deed.member).find(clears);
    other.map_or(Ok(()), |other| Err(format!("{} has them cleared", world.members[other].name)))
}

fn systemd_heals(world: &World, deed: &Deed<'_>) -> Holds {
    let unit = &world.units[world.members[deed.member].unit];
    let job = unit.job.as_ref().filter(|job| job.who == Who::Systemd);
    let known = &world.ledger.members[deed.member];
    let seen = known.reading.as_ref().is_some_and(|seen| seen.auto_restarting());
    let healing = unit.says.auto_restarting() || job.is_some();
    // A loop of such restarts is broken by one stop, and one that somebody else's listener keeps from
    // coming up by ending that at its third automatic restart.
    let taken = deed.cause == Verdict::PortTaken && unit.says.restarts >= 3;
    // One that does not come is waited for no longer than its own time and half a minute.
    let own = unit.says.restart_delay.unwrap_or_default() + unit.says.timeout_start.unwrap_or_default();
    let since = unit.says.inactive_exit.unwrap_or(world.now);
    let overdue = deed.cause == Verdict::Crashed && world.now.since(since) >= own + seconds(30);
    let races = deed.begins && deed.cause != Verdict::CrashLooping && !taken && !overdue;
    holds(!(races && healing && seen && !deed.asked), || "systemd is about to start it".into())
}

// What is told.

fn incidents(world: &World, member: M, record: &Record) -> Holds {
    let open = world.ledger.members[member].incident;
    // What apps lean on is told as a condition or verdict of theirs, not twice.
    let told = record.alert || world.members[member].target.role != Role::App;
    match record.event {
        EventKind::IncidentOpened => holds(!open && told, || "opened twice, or nobody was told".into()),
        EventKind::IncidentClosed => holds(open && told, || "closed, but none is open".into()),
        _ => Ok(()),
    }
}

fn breakers(world: &World, member: M, record: &Record) -> Holds {
    let known = &world.ledger.members[member];
    let told = known.breaker_told[usize::from(known.last_was_memory)];
    holds(record.event != EventKind::BreakerOpened || (!told && record.alert), || "told twice".into())
}

fn conditions(world: &World, member: M, record: &Record) -> Holds {
    let known = &world.ledger.members[member];
    let holds_now = record.condition.is_some_and(|condition| known.conditions.contains(&condition));
    match record.event {
        // What lasts is told again in other words.
        EventKind::ConditionBegan
            if record.condition.is_some_and(|what| record.text.starts_with(&format!("{what}: "))) =>
        {
            holds(!holds_now, || format!("{} began twice", record.text))
        }
        EventKind::ConditionEnded if record.condition.is_some() => {
            holds(holds_now, || format!("{} never began", record.text))
        }
        _ => Ok(()),
    }
}

fn flood(world: &World, member: M, _: &Record) -> Holds {
    let lines = world.ledger.members[member].records.len();
    holds(lines < 1_500, || format!("{lines} lines within an hour"))
}
