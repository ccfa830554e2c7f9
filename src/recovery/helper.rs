//! Helper units: started, followed to their end, and asked for what they left.

use std::path::Path;

use rustix::io::Errno;

use super::job::Kind;
use super::{On, Removals, aside, untold};
use crate::files::not_written;
use crate::helpers::result::{self, Ending, Helper, Report};
use crate::judge::{Outcome, Subject, UnitName};
use crate::plain::in_shell;
use crate::systemd::Error;

/// A start that met an earlier run under way merged into it, whose result is not ours: once more.
const RUNS: usize = 2;

/// Runs a helper and turns what it left into an outcome.
pub(super) async fn step(helper: Helper, on: On<'_>, removed: &mut Removals) -> Outcome {
    match follow(helper, on, removed).await {
        Ok(report) => match report.ending {
            Ending::Done(text) => Outcome::Told(text),
            Ending::Nothing => Outcome::AlreadySo,
            Ending::Failed(why) => Outcome::Failed(why),
        },
        Err(outcome) => outcome,
    }
}

/// Runs a helper for the subject, and reads what it left.
///
/// # Errors
/// `Refused` where systemd or polkit does, `Hindered` where polkit itself is away; `TimedOut` where its job is still pending; else
/// `Unknown`, with the reason why there is no result of this run.
pub async fn run(helper: Helper, on: On<'_>) -> Result<Report, Outcome> {
    follow(helper, on, &mut untold()).await
}

async fn follow(helper: Helper, on: On<'_>, removed: &mut Removals) -> Result<Report, Outcome> {
    let unknown = |why: &dyn std::fmt::Display| Outcome::Unknown(format!("{} helper: {why}", helper.word()));
    let unit = helper.unit(on.subject).map_err(|error| unknown(&error))?;
    let began = result::now();
    for _ in 0..RUNS {
        match start(&unit, on, removed).await {
            Ok(Outcome::TimedOut(why)) => return Err(Outcome::TimedOut(format!("{unit}: {why}"))),
            // However its job ended: what it left tells more.
            Ok(_) => {}
            Err(Error::Hindered(obstacle)) if obstacle.is_general() => {
                return Err(Outcome::Hindered(obstacle.to_string()));
            }
            Err(error @ (Error::Refused(_) | Error::Hindered(_))) => {
                return Err(Outcome::Refused(format!("{unit}: {error}")));
            }
            Err(error) => return Err(unknown(&error)),
        }
        match result::read(&on.places.results, helper, on.subject) {
            Ok(report) if report.began >= began => return Ok(report),
            Ok(_) => {}
            // None before, and none now.
            Err(_) if !result::path(&on.places.results, helper, on.subject).exists() => break,
            Err(why) => return Err(unknown(&format!("cannot read what it left: {why}"))),
        }
    }
    Err(unknown(&no_result(&on.places.results, helper, on.subject, &unit)))
}

/// Most likely there was no room for it.
fn no_result(results: &Path, helper: Helper, subject: &Subject, unit: &UnitName) -> String {
    let is_full = rustix::fs::statvfs(results).is_ok_and(|now| now.f_bavail == 0 || now.f_favail == 0);
    let path = result::path(results, helper, subject);
    let why = if is_full {
        not_written(&path, &Errno::NOSPC.into())
    } else {
        format!("journalctl -u {}", in_shell(unit.as_str()))
    };
    format!("it left no result; {why}")
}

/// One that failed before starts as well: systemd forgets it at once (CollectMode=), and counts no
/// starts of it.
async fn start(unit: &UnitName, on: On<'_>, removed: &mut Removals) -> Result<Outcome, Error> {
    aside(Kind::Run, unit, on.bus, on.deadlines, removed).await
}
