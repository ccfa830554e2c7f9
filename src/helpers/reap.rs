//! Ends stragglers: who is left of the app's unit though that is down, and who holds its port and
//! answers nothing, as far as `stragglers` allows.
//!
//! Only while the unit is down. Who a straggler is, is judged in [`crate::checks::straggler`]; here is
//! looked with privilege, asked for the health check, and ended: never by number, always by a handle
//! (pidfd) of a process that is still the one that was judged.

mod ending;

use std::sync::Arc;
use std::time::Duration;

use super::request::Request;
use super::result::{Ending, Helper, Report, now};
use super::units::{Look, System, Units, user_id};
use crate::checks::straggler::{
    Class, Place, ProcessFacts, Spared, UnitFacts, classify, executables, holders,
};
use crate::checks::{Identity, Limits, Pool, Probe, World, observe};
use crate::config::Member;
use crate::judge::{CheckKind, Finding, Moment, Role, Stragglers};

/// All of it is given so long; systemd ends it after 15 s.
const DEADLINE: Duration = Duration::from_secs(12);
/// A holder of the port that has not answered the health check by then does not answer it well.
const ANSWER: Duration = Duration::from_secs(3);
/// What a round takes where they answer nothing and do not end by themselves, at least.
const ROUND: Duration = Duration::from_secs(4);
/// Whoever starts others while he is being ended is met again: so often is looked.
const ROUNDS: usize = 3;
/// So many are ended at a time. More are no stragglers but a mistake of ours.
const MANY: usize = 64;

/// Ends them.
#[must_use]
pub fn run(request: &Request) -> Report {
    let began = now();
    let done = System::connect().and_then(|systemd| {
        let member = &request.member()?;
        let world = Arc::new(World::at(&request.root));
        let answers = || systemd.block_on(answers(member, &world));
        reap(request, member, &world, &systemd, &answers, began + DEADLINE)
    });
    match done {
        Ok((ending, lines)) => request.report(Helper::Reap, began, ending, lines),
        Err(why) => request.failed(Helper::Reap, began, why),
    }
}

/// Whom it would end were the unit down now, and whom it would leave alone, in sentences. Nobody is
/// touched; the health check may be asked.
///
/// # Errors
/// Why that cannot be told.
pub fn foresee(request: &Request) -> Result<Vec<String>, String> {
    let systemd = System::connect()?;
    let member = &request.member()?;
    if member.target.stragglers == Stragglers::Never {
        return Ok(Vec::new());
    }
    let world = Arc::new(World::at(&request.root));
    let look = systemd.look(&member.target.unit)?;
    let unit = UnitFacts { live: !look.down, ..unit_facts(request, member, &look, &world) };
    let found = find(&world, member, &unit, &|| systemd.block_on(answers(member, &world)))?;
    // The app at work ends with the unit, not by this.
    let own = |line: &String| line.ends_with(&reason(&Spared::OwnUnit));
    let doomed = found.doomed.into_iter().map(|doomed| format!("would end {}, {}", doomed.who, doomed.why));
    Ok(doomed.chain(found.spared.into_iter().filter(|line| !own(line))).collect())
}

/// What a holder of the port has to say to the health check.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    /// Nothing good, or nobody can ask.
    None,
    /// What a healthy app says.
    Well,
    /// The question could not be asked.
    Unknown(String),
}

async fn answers(member: &Member, world: &Arc<World>) -> Answer {
    let mut target = member.target.clone();
    let Some(http) = &mut target.http else { return Answer::None };
    http.timeout = http.timeout.min(ANSWER);
    let probe = Probe {
        target: Arc::new(target),
        control_group: None,
        socket_activated: false,
        down: true,
        working_directory: None,
        proxy_group: None,
        timeout: ANSWER,
        world: Arc::clone(world),
    };
    let pool = Pool::new(Limits { threads: 1, ..Limits::default() });
    let seen = observe(CheckKind::Http, &probe, &pool).await;
    match seen.finding {
        Finding::Good => Answer::Well,
        Finding::Bad(_) => Answer::None,
        Finding::Unknown => Answer::Unknown(seen.text),
    }
}

fn reap(
    request: &Request,
    member: &Member,
    world: &World,
    units: &dyn Units,
    answers: &dyn Fn() -> Answer,
    until: Moment,
) -> Result<(Ending, Vec<String>), String> {
    let target = &member.target;
    if target.role != Role::App {
        return Err(format!("{} is no app", request.subject));
    }
    if target.stragglers == Stragglers::Never {
        return Ok((Ending::Nothing, Vec::new()));
    }
    let mut ended: Vec<String> = Vec::new();
    let mut spared = Vec::new();
    for _ in 0..ROUNDS {
        let look = units.look(&target.unit)?;
        if !look.down {
            if ended.is_empty() {
                return Err(format!(
                    "{} is not down ({}); whoever is there is its own",
                    target.unit, look.state
                ));
            }
            break;
        }
        let unit = unit_facts(request, member, &look, world);
        let found = find(world, member, &unit, answers)?;
        spared = found.spared;
        if found.doomed.is_empty() {
            break;
        }
        // The question took its time. Whoever was started meanwhile is none of ours.
        if !units.look(&target.unit)?.down {
            return Err(format!("{} was started meanwhile; nobody is ended", target.unit));
        }
        for (doomed, how) in ending::end(world, found.doomed, until) {
            match how {
                ending::How::Gone => {}
                ending::How::Ended { killed } => {
                    let sigkill = if killed { " with SIGKILL" } else { "" };
                    ended.push(format!("ended {}{sigkill}, {}", doomed.who, doomed.why));
                }
                ending::How::Failed(why) => {
                    ended.push(format!("could not end {}, {}: {why}", doomed.who, doomed.why));
                    return Ok((Ending::Failed(ended.join("; ")), ended));
                }
            }
        }
        // Whoever is met next is asked and ended as well, or not begun with: what is left is told.
        if now() + ROUND > until {
            break;
        }
    }
    Ok(if !ended.is_empty() {
        (Ending::Done(ended.join("; ")), [ended, spared].concat())
    } else if spared.is_empty() {
        (Ending::Nothing, Vec::new())
    } else {
        (Ending::Failed(spared.join("; ")), spared)
    })
}

/// Somebody who is to be ended.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Doomed {
    facts: ProcessFacts,
    who: String,
    why: String,
}

#[derive(Default, Debug)]
struct Found {
    doomed: Vec<Doomed>,
    /// Who holds the port and is not to be ended, and why.
    spared: Vec<String>,
}

fn unit_facts(request: &Request, member: &Member, look: &Look, world: &World) -> UnitFacts {
    let execution = &look.execution;
    UnitFacts {
        name: member.target.unit.to_string(),
        live: false,
        user: user_id(&request.root, &execution.user).filter(|_| !execution.dynamic_user),
        executables: execution.commands.iter().flat_map(|command| executables(world, command)).collect(),
        working_directory: member
            .target
            .working_directory
            .clone()
            .or_else(|| execution.working_directory.clone()),
    }
}

fn find(
    world: &World,
    member: &Member,
    unit: &UnitFacts,
    answers: &dyn Fn() -> Answer,
) -> Result<Found, String> {
    let target = &member.target;
    let (holding, unseen) = match target.port {
        Some(port) => holders(world, port, target.address)
            .map_err(|error| format!("cannot see who listens on port {port}: {error}"))?,
        None => (Vec::new(), false),
    };
    let all = ProcessFacts::all(world).collect::<Vec<_>>();
    let named = |facts: &ProcessFacts| {
        let known = facts.pid.and_then(|pid| Identity::of(world, pid));
        known.map_or_else(|| format!("pid {}", facts.pid.unwrap_or(0)), |known| known.to_string())
    };
    let mut found = judge(holding, all, unit, target.stragglers, target.port, answers, &named);
    if unseen && let Some(port) = target.port {
        found.spared.push(format!("somebody who cannot be seen holds port {port}"));
    }
    Ok(found)
}

/// Who is to be ended of those that hold the port and of all others. The health check is asked once,
/// and only where its answer decides.
fn judge(
    holding: Vec<ProcessFacts>,
    all: Vec<ProcessFacts>,
    unit: &UnitFacts,
    stragglers: Stragglers,
    port: Option<u16>,
    answers: &dyn Fn() -> Answer,
    named: &dyn Fn(&ProcessFacts) -> String,
) -> Found {
    let mut found = Found::default();
    let mut asked: Option<Answer> = None;
    let held = port.map_or(String::new(), |port| format!("which held port {port}"));
    let holds = port.map_or(String::new(), |port| format!("holds port {port}"));
    for facts in holding {
        let who = named(&facts);
        let spared = match classify(&facts, unit, stragglers) {
            Class::Orphan => None,
            Class::Stray => match asked.get_or_insert_with(answers) {
                Answer::None => None,
                Answer::Well => Some("answers the health check well".to_owned()),
                Answer::Unknown(why) => Some(format!("nobody knows how it answers ({why})")),
            },
            Class::Unproven => Some("nobody knows whose it is".to_owned()),
            Class::Spared(why) => Some(reason(&why)),
        };
        match spared {
            None => found.doomed.push(Doomed { facts, who, why: held.clone() }),
            Some(why) => found.spared.push(format!("{who} {holds} and is left alone: {why}")),
        }
    }
    for facts in all {
        let known = found.doomed.iter().any(|doomed| doomed.facts.pid == facts.pid);
        if !known && is_left_over(&facts, unit) && classify(&facts, unit, stragglers) == Class::Orphan {
            let who = named(&facts);
            found.doomed.push(Doomed { facts, who, why: format!("left over from {}", unit.name) });
        }
    }
    if found.doomed.len() > MANY {
        found
            .spared
            .push(format!("{} stragglers are more than anybody's; none is ended", found.doomed.len()));
        found.doomed.clear();
    }
    found
}

/// Whether somebody who holds no port lives where only the app's unit leaves its own: in its cgroup, or
/// in no unit at all. What outlived its session (tmux, nohup) or another unit may have been left there on
/// purpose, a migration of the database for one, and is in nobody's way.
fn is_left_over(facts: &ProcessFacts, unit: &UnitFacts) -> bool {
    match &facts.place {
        Some(Place::Unit { name, .. }) => *name == unit.name,
        Some(Place::Nowhere) => true,
        _ => false,
    }
}

fn reason(spared: &Spared) -> String {
    match spared {
        Spared::System => "it is part of the system".to_owned(),
        Spared::Ourselves => "it is app-monitor".to_owned(),
        Spared::OwnUnit => "it is the app at work".to_owned(),
        Spared::OtherUnit(unit) => format!("it belongs to {unit}"),
        Spared::Session(session) => format!("it lives in the login session {session}"),
        Spared::Container(container) => format!("it lives in the container {container}"),
        Spared::ByConfiguration => "stragglers does not cover it".to_owned(),
        Spared::Unseen => "too little of it can be seen".to_owned(),
    }
}

#[cfg(test)]
mod tests;
