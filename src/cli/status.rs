//! `app-monitor status`: every app at a glance.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use clap::Args;

use crate::judge::{AppView, Mode, Span, Verdict};
use crate::plain::{in_json, on_one_line};

use super::client::Client;
use super::terminal::{Terminal, Tone};
use super::{ATTENTION, OK, complain};

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
    let terminal = Terminal::of_stdout();
    let client = match Client::connect().await {
        Ok(client) => client,
        Err(failure) => {
            complain(&failure);
            return failure.status();
        }
    };
    loop {
        let views = match client.views().await {
            Ok(views) => views,
            Err(failure) => {
                complain(&failure);
                return failure.status();
            }
        };
        let shown: Vec<AppView> = match &command.app {
            Some(name) => views.into_iter().filter(|view| view.app.as_str() == name).collect(),
            None => views,
        };
        if let (Some(name), true) = (&command.app, shown.is_empty()) {
            complain(format_args!(
                "no app is called \u{201c}{name}\u{201d}; app-monitor status shows all of them"
            ));
            return ATTENTION;
        }
        let text = if command.json {
            let json = serde_json::to_string_pretty(&shown).unwrap_or_default();
            format!("{}\n", in_json(&json))
        } else {
            let remarks = client.remarks().await;
            let notes = remarks.iter().map(|remark| format!("note: {}\n", on_one_line(remark)));
            notes.fold(render(&shown, terminal), |text, note| text + &note)
        };
        let clear = if command.watch && terminal.is_terminal { "\x1b[H\x1b[2J" } else { "" };
        let mut out = std::io::stdout().lock();
        let printed = write!(out, "{clear}{text}").and_then(|()| out.flush());
        if !command.watch {
            return if shown.iter().all(|view| view.well) { OK } else { ATTENTION };
        }
        // Nobody reads any more (a closed pipe).
        if printed.is_err() {
            return OK;
        }
        drop(out);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn tone(view: &AppView) -> Tone {
    match view.verdict {
        Verdict::Healthy | Verdict::Idle if view.well => Tone::Good,
        _ if view.well => Tone::Quiet,
        Verdict::SystemdRestarting | Verdict::Changing => Tone::Quiet,
        _ => Tone::Bad,
    }
}

fn render(views: &[AppView], terminal: Terminal) -> String {
    if views.is_empty() {
        return "no app is configured; edit /etc/app-monitor/app-monitor.toml, then: systemctl reload app-monitor\n"
            .into();
    }
    let mut text = String::new();
    for (at, view) in views.iter().enumerate() {
        if at > 0 {
            text.push('\n');
        }
        for line in lines(view) {
            let fitted = terminal.fit(&line);
            // Painted after fitting, since colours have no width.
            let painted = match line.strip_prefix("● ") {
                Some(_) => {
                    fitted.replacen(view.verdict.word(), &terminal.paint(tone(view), view.verdict.word()), 1)
                }
                None if line.contains("  bad  ") => {
                    fitted.replacen("bad", &terminal.paint(Tone::Bad, "bad"), 1)
                }
                None => fitted,
            };
            let _ = writeln!(text, "{painted}");
        }
    }
    text
}

fn span(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds.max(1)))
}

/// An app of several instances begins with how many of them are healthy; each of them follows.
fn lines(view: &AppView) -> Vec<String> {
    if view.instances.is_empty() {
        return lines_of(view);
    }
    let healthy = view.instances.iter().filter(|one| one.verdict == Verdict::Healthy).count();
    let whole =
        format!("● {}: {}, {healthy} of {} instances healthy", view.app, view.verdict, view.instances.len());
    std::iter::once(whole).chain(view.instances.iter().flat_map(lines_of)).collect()
}

fn lines_of(view: &AppView) -> Vec<String> {
    let mut lines = Vec::new();
    let mark = if view.instance.is_some() { "  ○" } else { "●" };
    let pid = view.pid.map_or_else(String::new, |pid| format!(", pid {pid}"));
    let watched = if view.mode == Mode::Watch { ", only watched" } else { "" };
    lines.push(format!(
        "{mark} {}: {} for {} ({}{pid}{watched})",
        view.instance.as_deref().unwrap_or(view.app.as_str()),
        view.verdict,
        span(view.for_seconds),
        view.unit
    ));
    if !view.text.is_empty() {
        lines.push(format!("    {}", view.text));
    }
    for check in &view.checks {
        let result = if check.result == "none" { "not yet" } else { &check.result };
        lines.push(format!("    {:<11}  {result:<7}  {}", check.check, check.text).trim_end().to_owned());
    }
    for condition in &view.conditions {
        lines.push(format!(
            "    {} for {}: {}",
            condition.condition,
            span(condition.for_seconds),
            condition.text
        ));
    }
    lines.push(format!("    {}", outlook(view)));
    lines
}

/// What comes next.
fn outlook(view: &AppView) -> String {
    let mut parts = Vec::new();
    if let Some(recovery) = &view.recovery {
        let number = view.attempt.map_or_else(String::new, |number| format!(", attempt {number}"));
        parts.push(format!("{recovery}{number}"));
    }
    if let Some(seconds) = view.paused_seconds {
        parts.push(format!("paused for another {}", span(seconds)));
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
    if let Some(incident) = &view.incident {
        parts.push(format!("incident {incident}"));
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{CheckKind, CheckView, ConditionView, Moment};

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
            instance: None,
            since: Moment::default(),
            paused_until: None,
            instances: Vec::new(),
        }
    }

    #[test]
    fn a_frozen_app_at_a_glance() {
        let terminal = Terminal { colour: false, width: None, is_terminal: false };
        assert_eq!(
            render(&[view()], terminal),
            "● web: frozen for 12 s (web.service, pid 812)\n\
             \x20   GET /api/health timed out after 10 s, 3 times running\n\
             \x20   port         good     port 3003 listens on 127.0.0.1 (pid 812)\n\
             \x20   http         bad      GET /api/health timed out after 10 s\n\
             \x20   slow for 3 s: x\n\
             \x20   restarting, attempt 1; 2 attempts left; next check in 2 s; incident web-3\n"
        );
    }

    #[test]
    fn instances_follow_their_app() {
        let one = |name: &str, verdict| AppView { instance: Some(name.into()), verdict, ..view() };
        let instances = vec![one("web@1", Verdict::Frozen), one("web@2", Verdict::Healthy)];
        let terminal = Terminal { colour: false, width: None, is_terminal: false };
        let text = render(&[AppView { instances, ..view() }], terminal);
        assert!(
            text.starts_with("● web: frozen, 1 of 2 instances healthy\n  ○ web@1: frozen for 12 s"),
            "{text}"
        );
        assert!(text.contains("  ○ web@2: healthy for 12 s"), "{text}");
    }

    #[test]
    fn lines_fit_the_terminal() {
        let terminal = Terminal { colour: false, width: Some(40), is_terminal: true };
        assert!(render(&[view()], terminal).lines().all(|line| line.chars().count() <= 40));
    }
}
