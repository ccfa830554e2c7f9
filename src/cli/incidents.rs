//! `app-monitor incidents`: what happened, newest first; one incident whole.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::incidents::{self, Incident, Outcome, Places, Summary, day_and_time};
use crate::judge::{EventKind, Level, Span};

use super::terminal::{Terminal, Tone};
use super::{ATTENTION, OK, complain, json_text, print_text};

/// `incidents`.
#[derive(Debug, Args)]
pub struct Incidents {
    /// This one, whole, e.g. web-12
    #[arg(conflicts_with_all = ["app", "most"])]
    id: Option<String>,
    /// Only those of this app
    #[arg(long)]
    app: Option<String>,
    /// At most so many
    #[arg(short = 'n', value_name = "N", default_value_t = 20, value_parser = number)]
    most: usize,
    /// Print JSON: an array with the head of each, or the whole of one
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a whole number, e.g. 50".to_owned())
}

/// Shows incidents. Exit status 1 when there is none of that name, or they may not be read.
pub fn run(command: &Incidents) -> u8 {
    match show(command, &Places::system(), Terminal::of_stdout()) {
        Ok((text, remarks)) => {
            remarks.iter().for_each(complain);
            print_text(&text);
            OK
        }
        Err(error) => {
            complain(error);
            ATTENTION
        }
    }
}

fn show(
    command: &Incidents,
    places: &Places,
    terminal: Terminal,
) -> Result<(String, Vec<String>), incidents::ReadError> {
    if let Some(id) = &command.id {
        let incident = places.read(id)?;
        let text = if command.json { json_text(&incident) } else { whole(&incident, terminal) };
        return Ok((text, Vec::new()));
    }
    let mut listed = places.list()?;
    if let Some(app) = &command.app {
        listed.incidents.retain(|one| one.app.as_str() == app);
    }
    let left = listed.incidents.len().saturating_sub(command.most);
    listed.incidents.truncate(command.most);
    let text = if command.json {
        json_text(&listed.incidents)
    } else {
        table(&listed.incidents, left, command.app.as_deref(), terminal)
    };
    Ok((text, listed.remarks))
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Recovered => Tone::Good,
        Outcome::Open | Outcome::GaveUp => Tone::Bad,
        Outcome::EndedByItself | Outcome::SomebodyElse | Outcome::NotFollowed => Tone::Quiet,
    }
}

pub(super) fn length(millis: u64) -> String {
    Span(Duration::from_millis(millis)).to_string()
}

pub(super) fn table(heads: &[Summary], left: usize, app: Option<&str>, terminal: Terminal) -> String {
    if heads.is_empty() {
        let of = app.map_or_else(String::new, |app| format!(" of {app}"));
        return format!("no incident{of} is on record\n");
    }
    let rows: Vec<[String; 5]> = heads
        .iter()
        .map(|one| {
            let lasted = one.lasted_ms.map_or_else(|| "-".to_owned(), length);
            let mut opened = day_and_time(one.opened_seconds);
            if terminal.width.is_some_and(|width| width < 100) {
                // To the minute: what was seen needs the room.
                opened.truncate(16);
            }
            [one.id.clone(), opened, lasted, one.verdict.to_string(), one.outcome.to_string()]
        })
        .collect();
    // As wide as what stands in them, so that what was seen has the rest.
    let titles = ["ID", "OPENED (UTC)", "LASTED", "VERDICT", "OUTCOME"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().chain([&titles]).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5], seen: &str| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        terminal.fit(format!("{}  {seen}", cells.join("  ")).trim_end())
    };
    let mut text = format!("{}\n", line(&titles, "WHAT WAS SEEN"));
    for (one, row) in heads.iter().zip(&rows) {
        let line = line(row, &one.text);
        let word = one.outcome.word();
        // The last two columns alone: an app could be called like an outcome.
        let before: usize = widths[..3].iter().map(|width| width + 2).sum();
        let at = line.char_indices().nth(before).map_or(line.len(), |(at, _)| at);
        let (front, back) = line.split_at(at);
        let _ = writeln!(text, "{front}{}", back.replacen(word, &terminal.paint(tone(one.outcome), word), 1));
    }
    if left > 0 {
        let _ = writeln!(text, "and {left} more; -n {} shows them all", heads.len() + left);
    }
    text
}

/// `+0.012 s`, `-1.500 s`, then minutes and hours: when, as seen from the opening.
fn after(millis: i64) -> String {
    let sign = if millis < 0 { '-' } else { '+' };
    let length = Duration::from_millis(millis.unsigned_abs());
    if length < Duration::from_secs(60) {
        format!("{sign}{:.3} s", length.as_secs_f64())
    } else {
        format!("{sign}{}", Span(length))
    }
}

pub(super) fn whole(incident: &Incident, terminal: Terminal) -> String {
    let mut text = String::new();
    let mut line = |front: &str, rest: &str| {
        for line in terminal.hang(front, rest) {
            let _ = writeln!(text, "{line}");
        }
    };
    let what = format!("{}, {} ({})", incident.verdict, incident.outcome, incident.unit);
    line(&format!("\u{25cf} {}: ", incident.id), &what);
    if !incident.text.is_empty() {
        line("    ", &incident.text);
    }
    line("    ", &format!("opened {} UTC", day_and_time(incident.opened_seconds)));
    match (incident.closed_seconds, incident.lasted_ms) {
        (Some(closed), lasted) => {
            let lasted = lasted.map_or_else(String::new, |lasted| format!(", after {}", length(lasted)));
            line("    ", &format!("over   {} UTC{lasted}", day_and_time(closed)));
        }
        _ => line("    ", &format!("not over yet; now: app-monitor status {}", incident.app)),
    }
    line("", "");
    line("", "Timeline");
    let cut = timeline_cut(incident);
    for (at, entry) in incident.timeline.iter().enumerate() {
        if cut == Some(at) {
            line("    ", &format!("\u{2026} {} lines were left out", incident.left_out));
        }
        let mark = if entry.level <= Level::Warn { '!' } else { ' ' };
        line(&format!("  {mark} {:>10}  {:<17}  ", after(entry.after_ms), entry.event), &entry.text);
    }
    if !incident.steps.is_empty() {
        line("", "");
        line("", "Steps");
        for step in &incident.steps {
            let done = if step.done { "done" } else { "failed" };
            let number = if incident.recoveries > 1 { format!("{} ", step.recovery) } else { String::new() };
            line("    ", &format!("{number}{:<14}  {done:<6}  {}", step.step, length(step.took_ms)));
        }
    }
    for evidence in &incident.evidence {
        line("", "");
        line("", &format!("Evidence, gathered at {}", after(evidence.after_ms)));
        if let Some(problem) = &evidence.problem {
            line("    not whole: ", problem);
        }
        for seen in &evidence.lines {
            let what = seen.split_once(": ").map_or(0, |(what, _)| what.len() + 2);
            let (front, rest) = seen.split_at(if what > 16 { 0 } else { what });
            line(&format!("    {front}"), rest);
        }
    }
    text.replacen(
        incident.outcome.word(),
        &terminal.paint(tone(incident.outcome), incident.outcome.word()),
        1,
    )
}

/// Before which entry the left-out ones were: where the time between two entries is longest.
fn timeline_cut(incident: &Incident) -> Option<usize> {
    if incident.left_out == 0 {
        return None;
    }
    let gaps = incident.timeline.windows(2).enumerate();
    let longest = gaps.max_by_key(|(_, pair)| match pair {
        [one, other] => other.after_ms.saturating_sub(one.after_ms),
        _ => 0,
    });
    longest.map(|(at, _)| at + 1)
}

/// The entries of the last recovery, from its beginning on.
pub(super) fn last_recovery(incident: &Incident) -> Option<usize> {
    incident.timeline.iter().rposition(|entry| entry.event == EventKind::RecoveryStarted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;

    const PLAIN: Terminal = Terminal::PLAIN;

    /// A crash that was recovered, as a file has it.
    pub(in crate::cli) fn recovered() -> Incident {
        let entry = |after_ms: i64, event: &str, level: &str, verdict: &str, text: &str| {
            serde_json::json!({ "time": "2026-11-22T06:40:12.000Z", "after_ms": after_ms, "event": event,
                "level": level, "verdict": verdict, "text": text })
        };
        let incident = serde_json::json!({
            "version": 1, "id": "web-12", "app": "web", "unit": "web.service", "verdict": "crashed",
            "text": "exited with status 1", "outcome": "recovered",
            "opened": "2026-11-22T06:40:12.000Z", "opened_seconds": 1_795_329_612,
            "closed": "2026-11-22T06:40:23.100Z", "closed_seconds": 1_795_329_623, "lasted_ms": 11_100,
            "timeline": [
                entry(-40, "check-failed", "info", "healthy", "GET /api/health: connection refused"),
                entry(0, "incident-opened", "warn", "crashed", "incident web-12: crashed: exited with status 1"),
                entry(1, "recovery-started", "info", "crashed", "starting it, attempt 1 of 3"),
                entry(4, "step-done", "info", "crashed", "reset-failed: done in 3 ms"),
                entry(29, "step-done", "info", "crashed", "start: done in 25 ms"),
                entry(11_090, "recovery-verified", "info", "healthy",
                    "recovered from crashed: healthy 1.0 s after it began, and for 10 s since"),
                entry(11_100, "incident-closed", "info", "healthy", "crashed is over after 11 s: healthy"),
            ],
            "left_out": 0, "recoveries": 1,
            "steps": [
                { "recovery": 1, "step": "reset-failed", "done": true, "took_ms": 3, "after_ms": 4,
                  "text": "reset-failed: done in 3 ms" },
                { "recovery": 1, "step": "start", "done": true, "took_ms": 25, "after_ms": 29,
                  "text": "start: done in 25 ms" },
            ],
            "evidence": [{ "time": "2026-11-22T06:40:12.080Z", "after_ms": 80,
                "lines": ["unit: web.service is failed", "journal: Error: boom"] }],
        });
        serde_json::from_value(incident).unwrap()
    }

    fn put(directory: &std::path::Path, id: &str, app: &str, opened: i64) {
        let mut one = recovered();
        (one.id, one.app, one.opened_seconds) = (id.to_owned(), app.parse().unwrap(), opened);
        std::fs::write(directory.join(format!("{id}.json")), serde_json::to_vec(&one).unwrap()).unwrap();
    }

    fn command(app: Option<&str>, most: usize, json: bool) -> Incidents {
        Incidents { id: None, app: app.map(str::to_owned), most, json }
    }

    #[test]
    fn the_list_is_a_table() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "web-12", "web", 1_795_329_612);
        put(folder.path(), "api-1", "api", 1_795_329_600);
        let shown = |command: &Incidents| show(command, &Places::below(folder.path()), PLAIN).unwrap().0;
        assert_eq!(
            shown(&command(None, 20, false)),
            "ID      OPENED (UTC)         LASTED  VERDICT  OUTCOME    WHAT WAS SEEN\n\
             web-12  2026-11-22 06:40:12  11 s    crashed  recovered  exited with status 1\n\
             api-1   2026-11-22 06:40:00  11 s    crashed  recovered  exited with status 1\n"
        );
        assert!(shown(&command(None, 1, false)).ends_with("and 1 more; -n 2 shows them all\n"));
        assert!(!shown(&command(Some("api"), 20, false)).contains("web-12"));
        assert_eq!(shown(&command(Some("db"), 20, false)), "no incident of db is on record\n");
    }

    #[test]
    fn the_shapes_of_the_list_and_of_one() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "web-12", "web", 1_795_329_612);
        let shown = |command: &Incidents| show(command, &Places::below(folder.path()), PLAIN).unwrap().0;
        assert_shape("incidents", &shown(&command(None, 20, true)));
        let whole = Incidents { id: Some("web-12".into()), ..command(None, 20, true) };
        assert_shape("incidents-ID", &shown(&whole));
    }

    #[test]
    fn one_incident_is_shown_whole() {
        assert_eq!(
            whole(&recovered(), PLAIN),
            "● web-12: crashed, recovered (web.service)
    exited with status 1
    opened 2026-11-22 06:40:12 UTC
    over   2026-11-22 06:40:23 UTC, after 11 s

Timeline
      -0.040 s  check-failed       GET /api/health: connection refused
  !   +0.000 s  incident-opened    incident web-12: crashed: exited with status 1
      +0.001 s  recovery-started   starting it, attempt 1 of 3
      +0.004 s  step-done          reset-failed: done in 3 ms
      +0.029 s  step-done          start: done in 25 ms
     +11.090 s  recovery-verified  recovered from crashed: healthy 1.0 s after it began, and for 10 s since
     +11.100 s  incident-closed    crashed is over after 11 s: healthy

Steps
    reset-failed    done    3 ms
    start           done    25 ms

Evidence, gathered at +0.080 s
    unit: web.service is failed
    journal: Error: boom
"
        );
    }

    #[test]
    fn lines_fit_the_terminal_and_colours_have_no_width() {
        let narrow = Terminal { width: Some(60), is_terminal: true, ..PLAIN };
        assert!(whole(&recovered(), narrow).lines().all(|line| line.chars().count() <= 60));
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "recovered-1", "recovered", 5);
        let colour = Terminal { colour: true, is_terminal: true, ..PLAIN };
        let text = show(&command(None, 20, false), &Places::below(folder.path()), colour).unwrap().0;
        assert!(text.contains("\nrecovered-1  ") && text.contains("\u{1b}[32mrecovered\u{1b}[0m"), "{text}");
    }
}
