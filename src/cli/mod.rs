//! The commands: one file each. They talk to the daemon over the bus or read what is in force, and
//! never reach into the daemon.

mod agent;
mod alerts;
mod check;
mod client;
mod complete;
pub mod config;
mod control;
mod doctor;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod incidents;
mod init;
mod rehearsal;
mod run;
mod simulate;
mod status;
mod terminal;
#[cfg(test)]
mod tests;
mod wait;
mod why;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::{Errors, nearest};
use crate::helpers::result::Helper;
use crate::helpers::{Request, oneshot, resolve};
use crate::judge::Subject;
use crate::plain::{in_json, on_lines};

/// All is well, or stopped or paused on purpose.
pub const OK: u8 = 0;
/// An app needs attention, or the command was refused.
pub const ATTENTION: u8 = 1;
/// Wrong usage; clap ends with the same.
pub const USAGE: u8 = 2;
/// The daemon does not run or does not answer.
pub const NO_DAEMON: u8 = 3;
/// Bad configuration (sysexits.h, EX_CONFIG).
pub const BAD_CONFIGURATION: u8 = 78;

/// The exit status for what is wrong with a configuration. One that this user may not read need not be a bad
/// one.
fn status_of(errors: &Errors) -> u8 {
    if errors.are_of_permission() { ATTENTION } else { BAD_CONFIGURATION }
}

/// Keeps the web applications of this server alive, through systemd.
#[derive(Debug, Parser)]
#[command(
    name = "app-monitor",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 all is well (or stopped or paused on purpose); 1 an app needs attention, or the \
                  command was refused; 2 wrong usage; 3 the daemon does not run; 78 bad configuration.\n\n\
                  Begin with: app-monitor init, or man app-monitor."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every app at a glance, or one app
    Status(status::Status),
    /// Make all checks once, from this process; needs neither daemon nor configuration
    Check(check::Check),
    /// Wait until an app is healthy
    Wait(wait::Wait),
    /// Show what happened, newest first, or one incident whole; needs root or group adm
    Incidents(incidents::Incidents),
    /// Explain the last recovery of an app in a few sentences; needs root or group adm
    Why(why::Why),
    /// Watch, but do not act, until it ends by itself
    Pause(control::Pause),
    /// Act again
    Resume(control::Resume),
    /// Recover an app now; does not count as an attempt
    Recover(control::Recover),
    /// Forget attempts and close the breaker
    Reset(control::Reset),
    /// Play what could happen, or what happened, against the configuration: what would be done
    Simulate(simulate::Simulate),
    /// Show whom the monitor tells and what waits, or test a channel; the list needs root or group adm
    Alerts(alerts::Alerts),
    /// Check the configuration, or show what is in force
    #[command(subcommand)]
    Config(config::Config),
    /// Look at this server and propose a configuration for the apps that run on it
    Init(init::Init),
    /// Look over what is around an app, and say what to mend
    Doctor(doctor::Doctor),
    /// Run the daemon; app-monitor.service does that
    Run,
    /// Print what can be typed next; the completions of shells do that
    #[command(hide = true)]
    Complete(complete::Complete),
    /// Put the resolved configuration in force; systemctl reload app-monitor does that
    #[command(hide = true)]
    Reload,
    /// Resolve the configuration; app-monitor.service does that before it starts
    #[command(hide = true)]
    Resolve(Resolve),
    /// Do one thing that needs privilege for one app; the units app-monitor-…@.service do that
    #[command(hide = true)]
    Helper(HelperArguments),
}

#[derive(Debug, Args)]
struct Resolve {
    /// The running daemon is to take a changed configuration on
    #[arg(long)]
    reload: bool,
}

#[derive(Debug, Args)]
struct HelperArguments {
    /// evidence, reap, clear-caches or preflight
    #[arg(value_parser = helper)]
    helper: Helper,
    /// The app, its instance or the unit, exactly as it is configured
    subject: Subject,
}

fn helper(word: &str) -> Result<Helper, String> {
    Helper::from_word(word).ok_or_else(|| "expected evidence, reap, clear-caches or preflight".to_owned())
}

/// Reads the command line and carries the command out.
pub fn main() -> ExitCode {
    let status = match Arguments::parse().command {
        Command::Run => run::run(),
        Command::Status(command) => block_on(status::run(&command)),
        Command::Check(command) => block_on(check::run(&command)),
        Command::Wait(command) => block_on(wait::run(&command)),
        Command::Incidents(command) => incidents::run(&command),
        Command::Why(command) => block_on(why::run(&command)),
        Command::Pause(command) => block_on(control::pause(&command)),
        Command::Resume(command) => block_on(control::resume(&command)),
        Command::Recover(command) => block_on(control::recover(&command)),
        Command::Reset(command) => block_on(control::reset(&command)),
        Command::Alerts(command) => block_on(alerts::run(&command)),
        Command::Config(command) => {
            config::run(&command, &config::Surroundings::system(), &mut Stdout, &mut io::stderr())
        }
        Command::Simulate(command) => simulate::run(&command),
        Command::Init(command) => block_on(init::run(&command)),
        Command::Doctor(command) => block_on(doctor::run(&command)),
        Command::Complete(command) => block_on(complete::run(&command)),
        Command::Reload => block_on(control::reload()),
        Command::Resolve(command) => resolve_now(command.reload),
        Command::Helper(command) => {
            let (status, text) =
                oneshot::serve(command.helper, &Request::of_the_system(command.subject.clone()));
            let _ = io::stderr().write_all(text.as_bytes());
            status
        }
    };
    // What has no line's end waits for this.
    let _ = Stdout.flush();
    let unprinted = status == OK && UNPRINTED.load(Ordering::Relaxed);
    ExitCode::from(if unprinted { ATTENTION } else { status })
}

fn resolve_now(reload: bool) -> u8 {
    let outcome = resolve::resolve_when_there_is_room(
        &resolve::request_of_this_process(reload),
        resolve::is_tried_again,
        || std::thread::sleep(Duration::from_secs(1)),
    );
    let mut text = outcome.text.as_str();
    if reload && outcome.status != 0 && resolve::journal_rejection(&outcome) {
        // The last line is in the journal as an event, and stderr ends up there, too.
        text = text.trim_end().rfind('\n').map_or("", |end| &text[..=end]);
    }
    let _ = io::stderr().write_all(text.as_bytes());
    outcome.status
}

/// Runs a command to its end on this thread.
fn block_on(work: impl Future<Output = u8>) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            let status = runtime.block_on(work);
            runtime.shutdown_timeout(Duration::from_millis(50));
            status
        }
        Err(error) => {
            eprintln!("app-monitor: cannot start: {error}");
            ATTENTION
        }
    }
}

/// What went wrong, on stderr, with the program's name in front as every tool has it.
fn complain(text: impl std::fmt::Display) {
    let terminal = terminal::Terminal::of(&io::stderr());
    let mut front = "app-monitor: ";
    for line in on_lines(&text.to_string()).lines() {
        for row in terminal.hang(std::mem::take(&mut front), line) {
            let _ = writeln!(io::stderr(), "{row}");
        }
    }
}

/// Something was not printed, e.g. on a full disk.
static UNPRINTED: AtomicBool = AtomicBool::new(false);

/// Stdout, where it is said when it does not take all: half a file must not pass for a whole one. Whoever
/// closes the pipe has read enough.
struct Stdout;

impl Stdout {
    fn noted<T>(done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::Interrupted)
            && !UNPRINTED.swap(true, Ordering::Relaxed)
        {
            complain(format_args!("not all could be printed: {error}"));
        }
        done
    }
}

impl Write for Stdout {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        Self::noted(io::stdout().write(text))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::noted(io::stdout().flush())
    }
}

/// Text for stdout.
fn print_text(text: &str) {
    let _ = Stdout.write_all(text.as_bytes());
}

/// A sentence on stdout, on as many lines of the terminal as it takes.
fn say(text: &str) {
    for row in terminal::Terminal::of_stdout().hang("", text) {
        print_text(&format!("{row}\n"));
    }
}

/// `known`: those that there are.
fn no_such_app<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean \u{201c}{near}\u{201d}?"),
        None if known.is_empty() => {
            "none is configured; app-monitor init proposes a configuration".to_owned()
        }
        None if known.len() > 8 => format!("there is {} and {} more", known[..7].join(", "), known.len() - 7),
        None => format!("there is {}", known.join(", ")),
    };
    format!("no app is called \u{201c}{name}\u{201d}; {hint}")
}

/// An answer as `--json` prints it.
fn json_text(answer: &(impl Serialize + ?Sized)) -> String {
    format!("{}\n", in_json(&serde_json::to_string_pretty(answer).unwrap_or_default()))
}

/// A length of time as the configuration has it, for `--for`.
fn length(text: &str) -> Result<Duration, String> {
    match crate::config::duration::parse(text) {
        Ok(Duration::ZERO) => Err("expected more than nothing, e.g. 10m".into()),
        Ok(length) => Ok(length),
        Err(why) => Err(format!("{why}, e.g. 10m or \"1h 30m\"")),
    }
}
