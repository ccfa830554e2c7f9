//! `app-monitor status`: every app at a glance.

mod watch;

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use crate::incidents::day_and_time;
use crate::judge::{AppName, AppView, Mode, NO_APP, Span, UnitName, Verdict};
use crate::plain::in_shell;

use super::client::{Client, Failure};
use super::terminal::{Terminal, Tone};
use super::{ATTENTION, OK, complain, json_text, no_such_app, print_text};

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this app
    app: Option<String>,
    /// Print JSON: an array with one object for each app
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Show it again every second until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Shows the apps. Exit status 1 when one of them needs attention.
pub async fn run(command: &Status) -> u8 {
    if command.watch {
        return watch::run(command.app.as_deref()).await;
    }
    let client = match Client::connect().await {
        Ok(client) => client,
        Err(failure) => {
            complain(&failure);
            return failure.status();
        }
    };
    let shown = match look(&client, command.app.as_deref()).await {
        Ok(shown) => shown,
        Err(blind) => return blind.complain(),
    };
    let text = if command.json {
        json_text(&shown)
    } else {
        let terminal = Terminal::of_stdout();
        let remarks = client.remarks().await;
        let notes = remarks.iter().flat_map(|remark| terminal.hang("note: ", remark));
        notes.fold(render(&shown, terminal, wall()), |text, row| format!("{text}{row}\n"))
    };
    print_text(&text);
    if shown.iter().all(|view| view.well) { OK } else { ATTENTION }
}

/// Why there is nothing to show.
enum Blind {
    Failed(Failure),
    NoSuchApp(String),
}

impl Blind {
    /// Says so; the exit status.
    fn complain(self) -> u8 {
        match self {
            Self::Failed(failure) => {
                complain(&failure);
                failure.status()
            }
            Self::NoSuchApp(text) => {
                complain(text);
                ATTENTION
            }
        }
    }
}

/// All apps, or that one.
async fn look(client: &Client, app: Option<&str>) -> Result<Vec<AppView>, Blind> {
    let views = client.views().await.map_err(Blind::Failed)?;
    let Some(name) = app else { return Ok(views) };
    let known: Vec<AppName> = views.iter().map(|view| view.app.clone()).collect();
    let wanted: Vec<AppView> = views.into_iter().filter(|view| view.app.as_str() == name).collect();
    if wanted.is_empty() {
        return Err(Blind::NoSuchApp(no_such_app(name, known.iter().map(AppName::as_str))));
    }
    Ok(wanted)
}

/// CLOCK_REALTIME in seconds, for people.
fn wall() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec
}

fn tone(view: &AppView) -> Tone {
    match view.verdict {
        Verdict::Healthy | Verdict::Idle if view.well => Tone::Good,
        _ if view.well => Tone::Quiet,
        Verdict::SystemdRestarting | Verdict::Changing => Tone::Quiet,
        _ => Tone::Bad,
    }
}

fn render(views: &[AppView], terminal: Terminal, wall: i64) -> String {
    if views.is_empty() {
        return terminal.hang("", NO_APP).iter().map(|line| format!("{line}\n")).collect();
    }
    let mut text = String::new();
    // Whoever looks at night looks for these, and the screen may end before the others do.
    let (well, unwell): (Vec<&AppView>, Vec<&AppView>) = views.iter().partition(|view| view.well);
    for (at, view) in unwell.into_iter().chain(well).enumerate() {
        if at > 0 {
            text.push('\n');
        }
        for line in lines(view, wall) {
            let (word, tone) = match &line {
                Line::Head { of, .. } => (Some(of.verdict.word()), tone(of)),
                Line::Check(_, result, _) if result == "bad" => (Some("bad"), Tone::Bad),
                _ => (None, Tone::Quiet),
            };
            let fitted = line.fitted(terminal);
            for (row, fitted) in fitted.iter().enumerate() {
                // Painted after fitting, since colours have no width.
                let painted = match word.filter(|_| row == 0) {
                    Some(word) => paint_last_column(fitted, &line, word, terminal.paint(tone, word)),
                    None => fitted.clone(),
                };
                let _ = writeln!(text, "{painted}");
            }
        }
    }
    text
}

/// Paints the word behind what stands in front of it: an app could be called like a verdict.
fn paint_last_column(fitted: &str, line: &Line<'_>, word: &str, painted: String) -> String {
    let skip = match line {
        Line::Head { name, .. } => name.chars().count() + 2,
        _ => 15,
    };
    let at = fitted.char_indices().nth(skip).map_or(fitted.len(), |(at, _)| at);
    let (front, back) = fitted.split_at(at);
    format!("{front}{}", back.replacen(word, &painted, 1))
}

/// One line of what is shown, before it is fitted to the terminal.
enum Line<'a> {
    /// The app, its verdict, its unit.
    Head { of: &'a AppView, name: String, rest: String },
    /// A check, its result, its evidence.
    Check(String, String, String),
    /// Text, which is never cut.
    Text(String),
}

impl Line<'_> {
    fn fitted(&self, terminal: Terminal) -> Vec<String> {
        match self {
            Self::Head { name, rest, .. } => terminal.hang(&format!("{name}: "), rest),
            Self::Check(check, result, text) => {
                let front = format!("    {check:<11}  {result:<7}  ");
                // What is good is cut where it is long, anything else is evidence.
                if matches!(result.as_str(), "good" | "not yet") {
                    vec![terminal.fit(format!("{front}{text}").trim_end())]
                } else {
                    terminal.hang(&front, text)
                }
            }
            Self::Text(text) => terminal.hang("    ", text),
        }
    }
}

fn span(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds.max(1)))
}

/// An app of several instances begins with how many of them are healthy; each of them follows.
fn lines(view: &AppView, wall: i64) -> Vec<Line<'_>> {
    if view.instances.is_empty() {
        return lines_of(view, wall);
    }
    let healthy = view.instances.iter().filter(|one| one.verdict == Verdict::Healthy).count();
    let rest = format!("{}, {healthy} of {} instances healthy", view.verdict, view.instances.len());
    let whole = Line::Head { of: view, name: format!("\u{25cf} {}", view.app), rest };
    std::iter::once(whole).chain(view.instances.iter().flat_map(|one| lines_of(one, wall))).collect()
}

fn lines_of(view: &AppView, wall: i64) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mark = if view.instance.is_some() { "  \u{25cb}" } else { "\u{25cf}" };
    let pid = view.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    let watched = if view.mode == Mode::Watch { ", only watched" } else { "" };
    lines.push(Line::Head {
        of: view,
        name: format!("{mark} {}", view.instance.as_deref().unwrap_or(view.app.as_str())),
        rest: format!("{} for {} ({}{pid}{watched})", view.verdict, span(view.for_seconds), view.unit),
    });
    // Of a pause by a person, its line says more.
    let told_below = view.verdict == Verdict::Paused && view.paused_seconds.is_some();
    if !view.text.is_empty() && !told_below {
        lines.push(Line::Text(view.text.clone()));
    }
    for check in &view.checks {
        let result = if check.result == "none" { "not yet" } else { &check.result };
        lines.push(Line::Check(check.check.to_string(), result.to_owned(), check.text.clone()));
    }
    for condition in &view.conditions {
        let age = span(condition.for_seconds);
        lines.push(Line::Text(format!("{} for {age}: {}", condition.condition, condition.text)));
    }
    lines.extend(pause(view, wall).map(Line::Text));
    lines.extend(available(view).map(Line::Text));
    lines.push(Line::Text(outlook(view)));
    lines.extend(advice(view).map(Line::Text));
    lines
}

/// Who paused it, why, and until when.
fn pause(view: &AppView, wall: i64) -> Option<String> {
    let left = view.paused_seconds?;
    let until = day_and_time(wall.saturating_add(i64::try_from(left).unwrap_or(0)));
    // To the minute.
    let until = until.get(..16).unwrap_or(&until).to_owned();
    let by = view.paused_by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let why = view.paused_reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    Some(format!("paused{by} for another {}, until {until} UTC{why}", span(left)))
}

/// How available it was lately; windows that say no more than a shorter one are left out.
fn available(view: &AppView) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for figure in &view.figures {
        let whole = match figure.window.as_str() {
            "day" => 86_400,
            "week" => 7 * 86_400,
            _ => 30 * 86_400,
        };
        // A second or two may be missing from what is watched for just as long.
        let all = figure.watched_seconds + 2 >= whole;
        let of = if all { figure.window.clone() } else { span(figure.watched_seconds).to_string() };
        let restarts = match figure.restarts {
            0 => String::new(),
            1 => " (1 restart)".to_owned(),
            restarts => format!(" ({restarts} restarts)"),
        };
        parts.push(format!("{} % of the last {of}{restarts}", figure.available_percent));
        if !all {
            break;
        }
    }
    (!parts.is_empty()).then(|| format!("available {}", parts.join(", ")))
}

/// What comes next.
fn outlook(view: &AppView) -> String {
    let mut parts = Vec::new();
    if let Some(recovery) = &view.recovery {
        let number = view.attempt.map_or_else(String::new, |number| format!(", attempt {number}"));
        parts.push(format!("{recovery}{number}"));
    }
    if let Some(seconds) = view.next_attempt_in_seconds {
        parts.push(format!("next attempt in {}", span(seconds)));
    }
    let plural = if view.attempts_left == 1 { "attempt" } else { "attempts" };
    let breaker =
        if view.breaker == "closed" { String::new() } else { format!(" (breaker {})", view.breaker) };
    parts.push(format!("{} {plural} left{breaker}", view.attempts_left));
    if let Some(millis) = view.next_check_in_ms {
        parts.push(format!("next check in {} s", millis.div_ceil(1_000)));
    }
    parts.join("; ")
}

/// What to type next, where a person may want to.
fn advice(view: &AppView) -> Option<String> {
    let name = view.instance.as_deref().unwrap_or(view.app.as_str());
    if view.paused_seconds.is_some() {
        return Some(format!("to end the pause: app-monitor resume {name}"));
    }
    let incident = view.incident.as_ref();
    if view.breaker == "open" {
        let look =
            incident.map_or_else(String::new, |incident| format!("app-monitor incidents {incident}; "));
        return Some(format!("to do: {look}mend it, then app-monitor reset {name}"));
    }
    if let Some(incident) = incident {
        return Some(format!("more: app-monitor incidents {incident}"));
    }
    // The daemon names units only, but it is asked, not believed.
    let unit = match view.unit.parse::<UnitName>() {
        Ok(unit) => unit.in_shell(),
        Err(_) => in_shell(&view.unit),
    };
    match view.verdict {
        Verdict::StoppedByAdmin => Some(format!("to start it: systemctl start {unit}")),
        Verdict::Masked => Some(format!("to unmask it: systemctl unmask {unit}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;
    use crate::judge::{CheckKind, CheckView, ConditionView, Figure, Moment};

    fn view() -> AppView {
        AppView {
            app: "web".parse().unwrap(),
            unit: "web.service".into(),
            verdict: Verdict::Frozen,
            text: "GET /api/health timed out after 10 s, 3 times running".into(),
            for_seconds: 12,
            well: false,
            mode: Mode::Act,
            pid: Some(812),
            checks: vec![
                CheckView {
                    check: CheckKind::Port,
                    result: "good".into(),
                    text: "port 3003 listens on 127.0.0.1 (pid 812)".into(),
                    latency_ms: None,
                },
                CheckView {
                    check: CheckKind::Http,
                    result: "bad".into(),
                    text: "GET /api/health timed out after 10 s".into(),
                    latency_ms: None,
                },
            ],
            conditions: vec![ConditionView { condition: "slow".into(), text: "x".into(), for_seconds: 3 }],
            attempts_left: 2,
            breaker: "closed".into(),
            next_attempt_in_seconds: None,
            recovery: Some("restarting".into()),
            attempt: Some(1),
            paused_seconds: None,
            paused_by: None,
            paused_reason: None,
            next_check_in_ms: Some(1_200),
            incident: Some("web-3".into()),
            figures: vec![
                Figure {
                    window: "day".into(),
                    watched_seconds: 86_400,
                    down_seconds: 12,
                    available_percent: 99.986,
                    restarts: 1,
                },
                Figure {
                    window: "week".into(),
                    watched_seconds: 200_000,
                    down_seconds: 12,
                    available_percent: 99.994,
                    restarts: 3,
                },
            ],
            instance: None,
            since: Moment::default(),
            paused_until: None,
            instances: Vec::new(),
        }
    }

    #[test]
    fn the_shape_of_an_app_and_of_its_instances() {
        let one = AppView { instance: Some("web@1".into()), checks: vec![], figures: vec![], ..view() };
        assert_shape("status", &json_text(&[AppView { instances: vec![one], ..view() }]));
    }

    /// 2026-11-22 06:40:12 UTC.
    const WALL: i64 = 1_795_329_612;
    const SCREEN: Terminal =
        Terminal { width: Some(80), height: Some(24), is_terminal: true, ..Terminal::PLAIN };

    #[test]
    fn a_frozen_app_at_a_glance() {
        assert_eq!(
            render(&[view()], Terminal::PLAIN, WALL),
            "● web: frozen for 12 s (web.service, pid 812)\n\
             \x20   GET /api/health timed out after 10 s, 3 times running\n\
             \x20   port         good     port 3003 listens on 127.0.0.1 (pid 812)\n\
             \x20   http         bad      GET /api/health timed out after 10 s\n\
             \x20   slow for 3 s: x\n\
             \x20   available 99.986 % of the last day (1 restart), 99.994 % of the last 2 d 7 h (3 restarts)\n\
             \x20   restarting, attempt 1; 2 attempts left; next check in 2 s\n\
             \x20   more: app-monitor incidents web-3\n"
        );
    }

    #[test]
    fn a_pause_says_by_whom_why_and_until_when() {
        let paused = AppView {
            verdict: Verdict::Paused,
            text: String::new(),
            paused_seconds: Some(540),
            paused_by: Some("root".into()),
            paused_reason: Some("deploy 1.4.2".into()),
            ..view()
        };
        let text = render(&[paused], Terminal::PLAIN, WALL);
        for part in [
            "    paused by root for another 9 min, until 2026-11-22 06:49 UTC: deploy 1.4.2\n",
            "    to end the pause: app-monitor resume web\n",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_is_to_be_typed_is_one_word_of_a_shell() {
        for (verdict, unit, line) in [
            (Verdict::StoppedByAdmin, "web@1.service", "    to start it: systemctl start web@1.service\n"),
            (
                Verdict::StoppedByAdmin,
                "a\\x2db.service",
                "    to start it: systemctl start 'a\\x2db.service'\n",
            ),
            (Verdict::Masked, "a\\x2db.service", "    to unmask it: systemctl unmask 'a\\x2db.service'\n"),
            (Verdict::Masked, "-x.service", "    to unmask it: systemctl unmask -- -x.service\n"),
            // No daemon of ours names such a one.
            (Verdict::Masked, "x; reboot", "    to unmask it: systemctl unmask 'x; reboot'\n"),
        ] {
            let text = render(
                &[AppView { verdict, unit: unit.into(), incident: None, ..view() }],
                Terminal::PLAIN,
                WALL,
            );
            assert!(text.ends_with(line), "{text}");
        }
    }

    #[test]
    fn instances_follow_their_app() {
        let one = |name: &str, verdict| AppView { instance: Some(name.into()), verdict, ..view() };
        let instances = vec![one("web@1", Verdict::Frozen), one("web@2", Verdict::Healthy)];
        let text = render(&[AppView { instances, ..view() }], Terminal::PLAIN, WALL);
        assert!(
            text.starts_with("● web: frozen, 1 of 2 instances healthy\n  ○ web@1: frozen for 12 s"),
            "{text}"
        );
        assert!(text.contains("  ○ web@2: healthy for 12 s"), "{text}");
    }

    #[test]
    fn lines_fit_the_terminal_and_evidence_is_never_cut() {
        let long = format!("GET /api/health answers 500 without {}", "what was expected of it ".repeat(6));
        let view = AppView { text: long.clone(), ..view() };
        for width in [40, 60, 80] {
            let terminal = Terminal { width: Some(width), ..SCREEN };
            let text = render(std::slice::from_ref(&view), terminal, WALL);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.join(" ").contains(long.trim()), "{text}");
        }
    }

    #[test]
    fn colours_are_for_verdicts_and_what_is_bad() {
        let named = AppView { app: "frozen".parse().unwrap(), ..view() };
        let text = render(&[named], Terminal { colour: true, ..SCREEN }, WALL);
        assert!(text.starts_with("● frozen: \u{1b}[1;31mfrozen\u{1b}[0m for 12 s"), "{text}");
        assert!(text.contains("    http         \u{1b}[1;31mbad\u{1b}[0m      GET"), "{text}");
        assert!(!render(&[view()], SCREEN, WALL).contains('\u{1b}'));
    }
}
