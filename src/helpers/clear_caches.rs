//! Clears caches: what is in the configured directories below an app's working directory, and in the
//! `CacheDirectory=` of its unit. The directories themselves stay.
//!
//! Only while every configured unit that uses one of them, or works in the same directory, is down, and
//! never where the configuration says never. It becomes the owner of a cache before it touches anything in
//! it, so that it can delete nothing that the owner could not; and a cache whose owner is not the app's user
//! is cleared only where nobody else had a hand in what lies under that name.

mod tree;
mod way;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use super::acting_as::{become_user, drop_capabilities};
use super::request::{Request, member};
use super::result::{Ending, Helper, Report, now};
use super::units::{Look, System, Units, user_id};
use crate::config::{Member, Settings};
use crate::judge::{ClearCaches, Moment, Role, UnitName};
use tree::Progress;
use way::Way;

/// All caches together are given so long; what is left then is no failure.
const DEADLINE: Duration = Duration::from_secs(45);
/// What is stuck in the kernel beyond the deadline is waited for no longer than this.
const STUCK: Duration = Duration::from_secs(2);
/// How often the units are looked at meanwhile.
const LOOK: Duration = Duration::from_secs(1);
/// Nobody's group, nogroup in Debian's base-passwd.
const NOGROUP: u32 = 65_534;

/// Clears them.
#[must_use]
pub fn run(request: &Request) -> Report {
    let began = now();
    let done = System::connect().and_then(|systemd| clear(request, &systemd, DEADLINE, LOOK));
    match done {
        Ok((ending, lines)) => request.report(Helper::ClearCaches, began, ending, lines),
        Err(why) => request.failed(Helper::ClearCaches, began, why),
    }
}

/// What it would empty, and what it would leave alone, in sentences. Nothing is touched.
///
/// # Errors
/// Why that cannot be told.
pub fn foresee(request: &Request) -> Result<Vec<String>, String> {
    let systemd = System::connect()?;
    let settings = request.settings()?;
    let member = member(&settings, &request.subject)?;
    let own = systemd.look(&member.target.unit)?;
    let working_directory = working_directory(member, &own);
    let mut lines = Vec::new();
    let caches = caches(&request.root, member, &own, working_directory.as_deref(), &mut lines);
    let sharers = sharers(&request.root, &settings, member, working_directory.as_deref(), &caches, &systemd);
    lines.extend(caches.iter().map(|(_, way)| format!("would empty {}", way.real.display())));
    let others = sharers.iter().filter(|unit| **unit != member.target.unit);
    let up = others.filter(|unit| !systemd.look(unit).is_ok_and(|look| look.down));
    lines.extend(up.map(|unit| format!("but {unit} shares them and is up: then nothing is emptied")));
    Ok(lines)
}

/// What became of one cache.
struct Cleared {
    name: String,
    files: u64,
    bytes: u64,
    left: u64,
    lines: Vec<String>,
    ended: Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    Through,
    Late,
    Stuck,
    Up,
}

fn clear(
    request: &Request,
    units: &dyn Units,
    at_most: Duration,
    look: Duration,
) -> Result<(Ending, Vec<String>), String> {
    let settings = request.settings()?;
    let member = member(&settings, &request.subject)?;
    if member.target.role != Role::App {
        return Err(format!("{} is no app", request.subject));
    }
    if member.policy.clear_caches == ClearCaches::Never {
        return Err(format!("clear_caches of {} is \"never\"", request.subject));
    }
    let until = now() + at_most;
    let own = units.look(&member.target.unit)?;
    let working_directory = working_directory(member, &own);
    let mut refused = Vec::new();
    let caches = caches(&request.root, member, &own, working_directory.as_deref(), &mut refused);
    if caches.is_empty() {
        return Ok((nothing(&refused), refused));
    }
    let sharers = sharers(&request.root, &settings, member, working_directory.as_deref(), &caches, units);
    all_down(&sharers, units)?;

    let user = user_id(&request.root, &own.execution.user).filter(|_| !own.execution.dynamic_user);
    let mut all = Vec::new();
    for (name, way) in caches {
        let owner = way.stat.st_uid;
        if (owner == 0 || Some(owner) != user)
            && let Err(why) = way::trusted(&way.passed, owner)
        {
            refused.push(format!("{name} is left alone: it is uid {owner}'s, and {why}"));
            continue;
        }
        match one(name, way, until, look, &|| all_down(&sharers, units).is_ok()) {
            Ok(cleared) => {
                let over = cleared.ended != Ended::Through;
                all.push(cleared);
                if over {
                    break;
                }
            }
            Err(why) => refused.push(why),
        }
    }
    Ok(told(&all, refused))
}

/// Where the app works: as configured, else as its unit says.
fn working_directory(member: &Member, look: &Look) -> Option<PathBuf> {
    member.target.working_directory.clone().or_else(|| look.execution.working_directory.clone())
}

/// The caches that there are, with the names by which people know them.
fn caches(
    root: &Path,
    member: &Member,
    look: &Look,
    working_directory: Option<&Path>,
    refused: &mut Vec<String>,
) -> Vec<(String, Way)> {
    let mut found = Vec::new();
    let mut take = |name: String, way: Result<Way, Errno>| match way {
        Ok(way) => found.push((name, way)),
        Err(Errno::NOENT) => {}
        Err(Errno::LOOP) => refused.push(format!("{name} is left alone: a symbolic link leads to it")),
        Err(Errno::XDEV) => refused.push(format!("{name} is left alone: something is mounted there")),
        Err(Errno::NOTDIR) => refused.push(format!("{name} is left alone: it is no directory")),
        Err(error) => refused.push(format!("{name} is left alone: {error}")),
    };
    if let Some(directory) = working_directory
        && !member.target.caches.is_empty()
    {
        match way::to(root, directory) {
            Ok(top) => {
                for cache in member.target.caches.iter().filter(|cache| way::is_below(cache)) {
                    take(cache.display().to_string(), way::below(&top, cache));
                }
            }
            error => take(directory.display().to_string(), error),
        }
    }
    for name in &look.execution.cache_directories {
        let cache = Path::new(name);
        if way::is_below(cache) {
            let path = Path::new("/var/cache").join(cache);
            take(path.display().to_string(), way::to(root, &path));
        }
    }
    found
}

/// The app's unit, and every other configured one that uses any of its caches: it works in the same
/// directory, a cache lies below its directory or its directory below a cache, or two caches meet.
fn sharers(
    root: &Path,
    settings: &Settings,
    member: &Member,
    working_directory: Option<&Path>,
    caches: &[(String, Way)],
    units: &dyn Units,
) -> Vec<UnitName> {
    let identity = |way: &Way| (way.stat.st_dev, way.stat.st_ino);
    let ours = working_directory.and_then(|path| way::to(root, path).ok());
    let uses = |theirs: Way| {
        // Everything is below /, which says nothing.
        let somewhere = theirs.real.parent().is_some();
        ours.as_ref().is_some_and(|ours| identity(ours) == identity(&theirs))
            || caches.iter().any(|(_, cache)| {
                identity(cache) == identity(&theirs)
                    || theirs.real.starts_with(&cache.real)
                    || (somewhere && cache.real.starts_with(&theirs.real))
            })
    };
    let mut sharers = vec![member.target.unit.clone()];
    for other in settings.members.iter().filter(|other| other.target.role == Role::App) {
        if other.target.unit == member.target.unit {
            continue;
        }
        let shares = match units.look(&other.target.unit) {
            Ok(look) => used(other, &look).iter().any(|path| way::to(root, path).is_ok_and(uses)),
            // Nobody knows: it counts as one, and is asked once more whether it is down.
            Err(_) => true,
        };
        if shares {
            sharers.push(other.target.unit.clone());
        }
    }
    sharers
}

/// Where an app works, and where its caches are, by whatever links it reaches them.
fn used(member: &Member, look: &Look) -> Vec<PathBuf> {
    let directory = working_directory(member, look);
    let below = directory.iter().flat_map(|top| member.target.caches.iter().map(|cache| top.join(cache)));
    let named = look.execution.cache_directories.iter().map(|name| Path::new("/var/cache").join(name));
    let mut paths: Vec<PathBuf> = below.chain(named).collect();
    paths.extend(directory);
    paths
}

fn all_down(sharers: &[UnitName], units: &dyn Units) -> Result<(), String> {
    for unit in sharers {
        let look = units.look(unit)?;
        if !look.down {
            return Err(format!(
                "{unit} uses the caches and is not down ({}); nothing is cleared",
                look.state
            ));
        }
    }
    Ok(())
}

/// Clears one cache, on a thread that is its owner.
fn one(
    name: String,
    way: Way,
    until: Moment,
    look: Duration,
    still_down: &dyn Fn() -> bool,
) -> Result<Cleared, String> {
    let progress = Arc::new(Progress::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, ended) = mpsc::channel();
    let (theirs, told_to_stop) = (Arc::clone(&progress), Arc::clone(&stop));
    let (owner, group) = (way.stat.st_uid, way.stat.st_gid);
    let work = move || {
        let result = become_owner(owner, group).and_then(|()| way::open_to_read(&way.directory)).map(|top| {
            tree::empty(&top, &theirs, &|| !told_to_stop.load(Ordering::Relaxed) && now() < until)
        });
        let _ = sender.send(result);
    };
    thread::Builder::new().spawn(work).map_err(|error| format!("cannot begin: {error}"))?;
    let mut up = false;
    let through = loop {
        match ended.recv_timeout(look) {
            Ok(Ok(through)) => break Some(through),
            Ok(Err(error)) => return Err(format!("{name}: cannot become its owner (uid {owner}): {error}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => break None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if !up && !still_down() {
                    up = true;
                    stop.store(true, Ordering::Relaxed);
                }
                if now() > until + STUCK {
                    break None;
                }
            }
        }
    };
    let ended = match through {
        _ if up => Ended::Up,
        Some(true) => Ended::Through,
        Some(false) => Ended::Late,
        None => Ended::Stuck,
    };
    let (left, lines) = progress.left();
    Ok(Cleared {
        lines: lines.into_iter().map(|line| format!("{name}/{line}")).collect(),
        name,
        files: progress.files.load(Ordering::Relaxed),
        bytes: progress.bytes.load(Ordering::Relaxed),
        left,
        ended,
    })
}

/// This thread is the owner from here on, as far as files go.
fn become_owner(owner: u32, group: u32) -> Result<(), Errno> {
    if owner == 0 {
        return drop_capabilities();
    }
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    become_user(owner, if group == 0 { NOGROUP } else { group }, &[])
}

fn nothing(refused: &[String]) -> Ending {
    if refused.is_empty() { Ending::Nothing } else { Ending::Failed(refused.join("; ")) }
}

fn told(all: &[Cleared], refused: Vec<String>) -> (Ending, Vec<String>) {
    let mut said = Vec::new();
    let mut lines = refused.clone();
    for cleared in all {
        let mut text = format!("{}: {}", cleared.name, amount(cleared.files, cleared.bytes));
        match cleared.ended {
            Ended::Through => {}
            Ended::Late => text.push_str(", then time was up"),
            Ended::Stuck => text.push_str(", then it was stuck in the file system"),
            Ended::Up => text.push_str(", then a unit that uses it was started"),
        }
        if cleared.left > 0 {
            text.push_str(&format!(", {} left", cleared.left));
        }
        lines.push(text.clone());
        lines.extend(cleared.lines.iter().cloned());
        if cleared.files > 0 || cleared.left > 0 || cleared.ended != Ended::Through {
            said.push(text);
        }
    }
    if said.is_empty() {
        return (nothing(&refused), lines);
    }
    said.extend(refused);
    (Ending::Done(format!("cleared {}", said.join("; "))), lines)
}

fn amount(files: u64, bytes: u64) -> String {
    let files = if files == 1 { "1 file".to_owned() } else { format!("{files} files") };
    let (size, unit) = match bytes {
        0..0x10_0000 => (bytes >> 10, "KiB"),
        0x10_0000..0x4000_0000 => (bytes >> 20, "MiB"),
        _ => (bytes >> 30, "GiB"),
    };
    format!("{files} ({size} {unit})")
}

#[cfg(test)]
mod tests;
