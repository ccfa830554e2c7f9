//! `app-monitor recover APP --dry-run`: the plan of a recovery, and what each step would touch.
//!
//! The plan is the daemon's own. What only root can see (processes, folders) is looked at from here, by
//! the eyes of the helpers that would do it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::helpers::{Request, clear_caches, reap};
use crate::judge::{Rehearsal, Span, Subject};
use crate::plain::on_one_line;
use crate::recovery::swaps_in_use;

use super::client::Client;
use super::control::named;
use super::terminal::Terminal;
use super::{ATTENTION, OK, complain, json_text, print_text};

/// Shows it. Exit status 1 where it would be refused.
pub async fn run(app: &str, json: bool) -> u8 {
    let asked = async {
        let client = Client::connect().await?;
        named(client.views().await?, Some(app))?;
        client.rehearse(app).await
    };
    let mut plan = match asked.await {
        Ok(plan) => plan,
        Err(failure) => {
            complain(&failure);
            return failure.status();
        }
    };
    if rustix::process::geteuid().is_root() {
        let looking = tokio::task::spawn_blocking(move || {
            look_closer(&mut plan);
            plan
        });
        plan = match looking.await {
            Ok(plan) => plan,
            Err(error) => {
                complain(error);
                return ATTENTION;
            }
        };
    }
    if json {
        print_text(&json_text(&plan));
    } else {
        print_text(&render(&plan, Terminal::of_stdout()));
    }
    if plan.refused.is_some() { ATTENTION } else { OK }
}

/// What the helpers would find, as root sees it.
fn look_closer(plan: &mut Rehearsal) {
    let Ok(subject) = plan.subject.parse::<Subject>() else { return };
    let request = Request::of_the_system(subject);
    for step in &mut plan.steps {
        let seen = match step.step.as_str() {
            "reap" => reap::foresee(&request),
            "clear-caches" => clear_caches::foresee(&request),
            "reclaim-swap" => {
                let swaps = swaps_in_use(Path::new("/proc")).into_iter();
                Ok(swaps.map(|(unit, path)| format!("{unit} ({path})")).collect())
            }
            _ => continue,
        };
        match seen {
            Ok(lines) if lines.is_empty() => step.touches.push("as it is now: nothing".to_owned()),
            Ok(lines) => step.touches.extend(lines),
            Err(why) => step.touches.push(format!("what it would find cannot be seen: {why}")),
        }
    }
}

fn seconds(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

fn render(plan: &Rehearsal, terminal: Terminal) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let indent = line.len() - line.trim_start().len();
        for line in terminal.hang(&line[..indent], &line[indent..]) {
            let _ = writeln!(text, "{line}");
        }
    };
    if let Some(why) = &plan.refused {
        line(format!("{}: a recovery would be refused: {}", plan.subject, on_one_line(why)));
        return text;
    }
    line(format!("{}: a recovery would do this (nothing is done now):", plan.subject));
    for (at, step) in plan.steps.iter().enumerate() {
        line(format!("{:>3}. {:<13} {}", at + 1, step.step, step.unit));
        line(format!("     {}", step.text));
        if let Some(after) = step.kill_after_seconds {
            line(format!(
                "     SIGKILL to all of its processes if it has not stopped after {}",
                seconds(after)
            ));
        }
        if let Some(deadline) = step.deadline_seconds {
            line(format!("     given up after {}", seconds(deadline)));
        }
        for touched in &step.touches {
            line(format!("     {touched}"));
        }
    }
    line(format!(
        "Then it counts as recovered when it is healthy for {} within {}.",
        seconds(plan.min_uptime_seconds),
        seconds(plan.verify_within_seconds)
    ));
    if !plan.after_recovery.is_empty() {
        line(format!("After that it starts {}.", plan.after_recovery.join(", ")));
    }
    line(format!("To do it: app-monitor recover {}", plan.subject));
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;
    use crate::judge::RehearsedStep;

    const PLAIN: Terminal = Terminal::PLAIN;

    fn plan() -> Rehearsal {
        let step = |step: &str, unit: &str, text: &str| RehearsedStep {
            step: step.into(),
            unit: unit.into(),
            text: text.into(),
            deadline_seconds: Some(60),
            kill_after_seconds: None,
            touches: Vec::new(),
        };
        let stop = RehearsedStep {
            kill_after_seconds: Some(5),
            ..step("stop", "web.service", "one stop job, pid 812")
        };
        let mut reap = step("reap", "app-monitor-reap@web.service", "end whoever holds port 3000");
        reap.touches = vec!["would end node (pid 99, user web), which held port 3000".into()];
        Rehearsal {
            subject: "web".into(),
            unit: "web.service".into(),
            refused: None,
            steps: vec![stop, reap, step("start", "web.service", "one start job")],
            min_uptime_seconds: 10,
            verify_within_seconds: 30,
            after_recovery: vec!["warm.service".into()],
        }
    }

    #[test]
    fn a_plan_reads_step_by_step() {
        assert_eq!(
            render(&plan(), PLAIN),
            "web: a recovery would do this (nothing is done now):
  1. stop          web.service
     one stop job, pid 812
     SIGKILL to all of its processes if it has not stopped after 5 s
     given up after 1 min
  2. reap          app-monitor-reap@web.service
     end whoever holds port 3000
     given up after 1 min
     would end node (pid 99, user web), which held port 3000
  3. start         web.service
     one start job
     given up after 1 min
Then it counts as recovered when it is healthy for 10 s within 30 s.
After that it starts warm.service.
To do it: app-monitor recover web
"
        );
        let refused = Rehearsal { refused: Some("its unit is masked".into()), steps: Vec::new(), ..plan() };
        assert_eq!(render(&refused, PLAIN), "web: a recovery would be refused: its unit is masked\n");
    }

    #[test]
    fn its_json_is_stable() {
        assert_shape("recover-dry-run", &json_text(&plan()));
    }
}
