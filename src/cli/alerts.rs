//! `app-monitor alerts`: whom the monitor tells, what waits, and whether it gets there.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::alerts::ChannelView;
use crate::incidents::day_and_time;
use crate::judge::Span;

use super::client::{Client, Failure};
use super::terminal::{Terminal, Tone};
use super::{ATTENTION, OK, complain, json_text, print_text, say};

/// `alerts`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alerts {
    #[command(subcommand)]
    command: Option<Act>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Send a test to a channel, and say whether it got there
    Test(Test),
}

#[derive(Debug, Args)]
struct Test {
    /// NAME of its table [alerts.NAME]
    name: String,
    /// Print JSON: an object
    #[arg(long)]
    json: bool,
}

/// How a test went: what `--json` prints.
#[derive(Debug, Serialize)]
struct Tested {
    name: String,
    sent: bool,
    /// What the other side said, or why it did not get there.
    text: String,
}

/// Lists the channels, or tests one.
pub async fn run(command: &Alerts) -> u8 {
    let outcome = match &command.command {
        Some(Act::Test(test)) => return try_one(test).await,
        None => list(command.json).await,
    };
    outcome.unwrap_or_else(|failure| {
        complain(&failure);
        failure.status()
    })
}

async fn try_one(test: &Test) -> u8 {
    let outcome = async { Client::connect().await?.with_agent().await.test_alert(&test.name).await }.await;
    let status = match &outcome {
        Ok(text) if !test.json => {
            say(&format!("{}: sent; {text}", test.name));
            OK
        }
        Ok(_) => OK,
        Err(failure) => {
            complain(failure);
            failure.status()
        }
    };
    if test.json {
        let (name, sent) = (test.name.clone(), outcome.is_ok());
        let text = outcome.unwrap_or_else(|failure| failure.to_string());
        print_text(&json_text(&Tested { name, sent, text }));
    }
    status
}

async fn list(json: bool) -> Result<u8, Failure> {
    let channels = Client::connect().await?.alerts().await?;
    if json {
        print_text(&json_text(&channels));
    } else {
        print_text(&table(&channels, &Terminal::of_stdout()));
    }
    let fails = |channel: &ChannelView| channel.waiting > 0 && channel.failures > 0;
    Ok(if channels.iter().any(fails) { ATTENTION } else { OK })
}

fn table(channels: &[ChannelView], terminal: &Terminal) -> String {
    if channels.is_empty() {
        let nobody = "nobody is told: no [alerts.NAME] is configured; see app-monitor.toml(5)";
        return terminal.hang("", nobody).iter().map(|row| format!("{row}\n")).collect();
    }
    let wide = |of: fn(&ChannelView) -> &str, least: usize| {
        channels.iter().map(|channel| of(channel).chars().count()).max().unwrap_or(0).max(least)
    };
    let (name, kind) = (wide(|channel| &channel.name, 4), wide(|channel| &channel.kind, 4));
    let mut out = String::new();
    for channel in channels {
        let (tone, state) = state(channel);
        let line = terminal.fit(&format!("{:name$}  {:kind$}  {state}", channel.name, channel.kind));
        let _ = writeln!(out, "{}", terminal.paint(tone, &line));
        if let Some(last) = &channel.last {
            let how = if last.sent { "sent" } else { "failed" };
            let line = format!("{:name$}  last {how} {} UTC: {}", "", day_and_time(last.time), last.text);
            let _ = writeln!(out, "{}", terminal.fit(&line));
        }
    }
    out
}

fn state(channel: &ChannelView) -> (Tone, String) {
    let mut text = match channel.waiting {
        0 => "nothing waits".to_owned(),
        1 => "1 waits".to_owned(),
        more => format!("{more} wait"),
    };
    if channel.missing > 0 {
        let _ = write!(text, ", {} dropped", channel.missing);
    }
    if channel.failures == 0 || channel.waiting == 0 {
        return (if channel.waiting == 0 { Tone::Good } else { Tone::Quiet }, text);
    }
    let next = channel.next_try_in_seconds.map(std::time::Duration::from_secs);
    let next = next.map_or(String::new(), |next| format!(", next try in {}", Span(next)));
    let _ = write!(text, ", failed {} times{next}", channel.failures);
    (Tone::Bad, text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::shapes::assert_shape;
    use super::*;
    use crate::alerts::Last;

    fn quiet() -> ChannelView {
        let (name, kind) = ("ops".into(), "slack".into());
        ChannelView { name, kind, waiting: 0, missing: 0, failures: 0, next_try_in_seconds: None, last: None }
    }

    fn down() -> ChannelView {
        let text = "cannot connect: connection refused".into();
        ChannelView {
            name: "mail".into(),
            kind: "email".into(),
            waiting: 2,
            missing: 1,
            failures: 3,
            next_try_in_seconds: Some(20),
            last: Some(Last { time: 1_795_329_612, sent: false, text }),
        }
    }

    #[test]
    fn the_shapes_of_channels_and_of_a_test() {
        assert_shape("alerts", &json_text(&[quiet(), down()]));
        let tested = Tested { name: "ops".into(), sent: true, text: "200 OK".into() };
        assert_shape("alerts-test", &json_text(&tested));
    }

    #[test]
    fn each_channel_has_its_line_and_how_it_went() {
        let plain = Terminal { width: Some(70), ..Terminal::PLAIN };
        assert!(table(&[], &plain).starts_with("nobody is told"));
        assert_eq!(
            table(&[quiet(), down()], &plain),
            "ops   slack  nothing waits\n\
             mail  email  2 wait, 1 dropped, failed 3 times, next try in 20 s\n\
             \u{20}     last failed 2026-11-22 06:40:12 UTC: cannot connect: connection…\n"
        );
    }
}
