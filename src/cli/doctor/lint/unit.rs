//! What is said of a unit: who keeps it, whether it can start and comes back, its limits and its stop.

use std::path::Path;
use std::time::Duration;

use super::super::looking::{Homeless, Inexecutable, Unexecutable};
use super::{Notes, Severity};
use crate::config::duration;
use crate::judge::{ActiveState, LoadState};
use crate::plain::{command, is_hidden, on_one_line};
use crate::server::{Keeper, Server};
use crate::systemd::Exec;

/// Recoveries never come quicker one after the other.
const QUICKEST: Duration = Duration::from_secs(2);
/// Longest `stop_timeout`.
const LONGEST_STOP: Duration = Duration::from_secs(3600);
/// An app may wait that long for its restart.
const PATIENT: Duration = Duration::from_secs(30);

pub fn unknown(notes: &mut Notes<'_>) {
    let unit = notes.patient.service.unit.to_string();
    if notes.patient.of_a_user {
        notes.add(
            Severity::Problem,
            "user-manager",
            format!("{unit} runs under a user's own manager"),
            "app-monitor asks the system's systemd, which does not know it, and it ends when the user has no \
             session (unless lingering).",
            vec![
                "# as its user, then as root, with User= added to it:".into(),
                notes.of_unit("systemctl --user disable --now {}"),
                notes.of_unit("mv ~/.config/systemd/user/{} /etc/systemd/system/"),
                notes.of_unit("systemctl daemon-reload && systemctl enable --now {}"),
            ],
        );
        return;
    }
    let (word, mend) = match notes.patient.service.load {
        LoadState::Masked => ("it is masked", notes.of_unit("systemctl unmask {}")),
        LoadState::BadSetting | LoadState::Error => {
            ("it cannot read its file", notes.of_unit("systemd-analyze verify {}  # tells the line"))
        }
        _ => ("there is no such file", notes.of_unit("systemctl edit --force --full {}")),
    };
    notes.add(
        Severity::Problem,
        "no-unit",
        format!("systemd has no {unit} that it could start: {word}"),
        "Without a unit nothing can be started.",
        vec![mend, "systemctl daemon-reload".into()],
    );
}

/// Who else keeps it alive.
pub fn keepers(notes: &mut Notes<'_>, server: &Server) {
    let service = &notes.patient.service;
    let commands: Vec<String> = service
        .commands
        .iter()
        .filter_map(|exec| Some(exec.file.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let by = |name: &str| {
        commands.iter().any(|command| command == name || command.starts_with(&format!("{name}-")))
    };
    let unit = service.unit.to_string();
    let directory = service.working_directory.clone();
    let elsewhere = server
        .strays
        .iter()
        .find(|stray| stray.keeper == Keeper::Pm2 && directory.is_some() && stray.cwd == directory);
    if by("pm2") || unit.starts_with("pm2-") {
        let mend = vec![
            "app-monitor init  # shows a unit for each app under PM2, to be written and started".to_owned(),
            notes.of_unit("systemctl disable --now {}"),
        ];
        notes.add(
            Severity::Problem,
            "pm2",
            format!("{unit} runs PM2, which keeps the app"),
            "PM2 restarts it by itself, so that two keepers work against each other, and the app's own \
             processes are not what the unit starts and stops.",
            mend,
        );
    } else if let Some(stray) = elsewhere {
        notes.add(
            Severity::Problem,
            "pm2",
            format!("{unit} and PM2 both keep this app"),
            "Two of it run, or one cannot have its port; what PM2 runs is not what the unit starts and stops.",
            vec![stray.leave_pm2()],
        );
    }
    if by("docker") || by("podman") {
        let engine = if by("docker") { "docker" } else { "podman" };
        let lines: Vec<String> = service.commands.iter().map(Exec::line).collect();
        let line = lines.join(" ");
        let mut words = line.split([' ', '=']).skip_while(|word| *word != "--name");
        // What only the shell or systemd at a start knows is left to the person.
        let name = words.nth(1).filter(|name| !name.contains('$')).unwrap_or("NAME").to_owned();
        notes.add(
            Severity::Warning,
            "container",
            format!("{unit} runs a container"),
            "Its processes are not in the unit's cgroup, so that their memory and their ports are not seen, and a \
             restart policy of the container would work against recoveries.",
            vec![
                command(&format!("{engine} update --restart=no {{}}"), &[&name]),
                "# and where its memory and port are to be seen: run the app itself, without a container".into(),
            ],
        );
    }
}

/// Whether it can start at all, and comes back by itself.
pub fn start(notes: &mut Notes<'_>) {
    let service = &notes.patient.service;
    let failed = |status: i64| {
        service.result == "exit-code" && service.active != ActiveState::Active && service.status == status
    };
    let (no_exec, no_chdir) = (failed(203), failed(200));
    let how = service.sight.homes.clone().unwrap_or_default();
    let bad = notes.patient.unexecutable.clone();
    if bad.is_some() || no_exec {
        let (what, mend) = match &bad {
            Some(Unexecutable { exec, why }) => inexecutable(notes, exec, why),
            None => {
                let first = service.commands.first().map(|exec| exec.file.display().to_string());
                let first = first.unwrap_or_default();
                (
                    format!("{first} could not be executed (203/EXEC)"),
                    vec![
                        command("namei -l {}  # its user has to be let in to it", &[&first]),
                        command("head -1 {}  # of a script: #! and a program that exists", &[&first]),
                    ],
                )
            }
        };
        notes.add(
            Severity::Problem,
            "exec",
            what,
            "ExecStart= needs the absolute path of a program that its user may execute; node of a version manager \
             lies in a home that it may not see. A script needs its first line (#!) and chmod +x.",
            mend,
        );
    }
    let service = &notes.patient.service;
    let directory = service.working_directory.as_ref().map(|path| path.display().to_string());
    let directory = directory.unwrap_or_default();
    let what = match &notes.patient.homeless {
        Some(Homeless::Missing) => {
            let owner = if service.user.is_empty() { "root" } else { service.user.as_str() };
            Some((
                format!("its working directory {directory} does not exist (200/CHDIR)"),
                vec![command("install -d -o {} {}", &[owner, &directory])],
            ))
        }
        Some(Homeless::Hidden) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let write = match directory.chars().all(plain) {
                true => format!("ReadWritePaths={directory}"),
                false => "# and ReadWritePaths= with its directory, as systemd.exec(5) quotes it".to_owned(),
            };
            Some((
                format!(
                    "its working directory {directory} is hidden from it by ProtectHome={how} (200/CHDIR)"
                ),
                notes.edit("Service", &["ProtectHome=read-only", &write]),
            ))
        }
        Some(Homeless::Closed(at)) => Some((
            format!("{} is not let in to {} (200/CHDIR)", service.user, at.display()),
            // Who else is to be let in is a decision, and everybody is seldom right.
            vec![
                command("namei -l {}  # shows whom each of these lets in", &[&directory]),
                on_one_line(&format!(
                    "# let {} in to {}: chgrp to a group of the unit and chmod g+x, or setfacl -m u:{}:x",
                    service.user,
                    at.display(),
                    service.user
                )),
            ],
        )),
        None => no_chdir.then(|| {
            (
                format!("its working directory {directory} could not be entered (200/CHDIR)"),
                vec![command("namei -l {}  # its user has to be let in to all of these", &[&directory])],
            )
        }),
    };
    if let Some((what, mend)) = what {
        notes.add(
            Severity::Problem,
            "chdir",
            what,
            "WorkingDirectory= has to be there, and its user has to be let in to it and to all above it.",
            mend,
        );
    }
    let restart = notes.patient.service.restart.clone();
    if matches!(restart.as_str(), "no" | "" | "on-success") {
        let what = if restart == "on-success" {
            "Restart=on-success leaves a crashed app down"
        } else {
            "Restart= is not set"
        };
        notes.add(
            Severity::Advice,
            "no-restart",
            what,
            "systemd itself brings a crashed app back within a second, also while app-monitor is being upgraded; \
             app-monitor counts such restarts and steps in when they do not help.",
            notes.edit("Service", &["Restart=on-failure", "RestartSec=3s"]),
        );
    }
}

/// What is said of a command that cannot be executed, and what mends it.
fn inexecutable(notes: &Notes<'_>, exec: &Exec, why: &Inexecutable) -> (String, Vec<String>) {
    let service = &notes.patient.service;
    let path = exec.file.display().to_string();
    let end = if exec.optional { "the - before it hides that" } else { "203/EXEC" };
    match why {
        Inexecutable::Hidden => {
            let how = service.sight.homes.clone().unwrap_or_default();
            (
                format!("{path} is hidden from it by ProtectHome={how} ({end})"),
                notes.edit("Service", &["ProtectHome=read-only"]),
            )
        }
        Inexecutable::Unmarked => {
            (format!("{path} is not marked as executable ({end})"), vec![command("chmod +x {}", &[&path])])
        }
        Inexecutable::Missing(instead) => {
            let mend = match (instead, service.commands.as_slice()) {
                (Some(instead), [_]) if is_plain(exec) => {
                    let words = exec.words[1..].iter().map(|word| format!(" {word}"));
                    let line = format!(
                        "ExecStart={}{}{}",
                        exec.prefix,
                        instead.display(),
                        words.collect::<String>()
                    );
                    notes.edit("Service", &["ExecStart=", &line])
                }
                (Some(instead), _) => vec![command("ln -s {} {}", &[&instead.to_string_lossy(), &path])],
                (None, _) => vec![
                    command(
                        "# put the program there, or name the one that is: command -v {}",
                        &[name_of(&path)],
                    ),
                    notes.of_unit("systemctl edit --full {}"),
                ],
            };
            (format!("{path} does not exist ({end})"), mend)
        }
    }
}

/// Whether its words can be written as they are read, and none may be a secret.
fn is_plain(exec: &Exec) -> bool {
    let special =
        |c: char| c.is_whitespace() || is_hidden(c) || ['=', '"', '\'', '$', '%', '\\'].contains(&c);
    let odd =
        |word: &String| matches!(word.as_str(), "" | ";") || word.contains("://") || word.contains(special);
    exec.words.first().is_some_and(|name| Path::new(name) == exec.file) && !exec.words.iter().any(odd)
}

/// Environment files that are not there, or that systemd refuses.
pub fn environment(notes: &mut Notes<'_>) {
    for file in notes.patient.lost.clone() {
        let path = file.path.display();
        let mend = match &file.refused {
            Some(_) => "# mend that line; then: systemctl restart {}",
            None => {
                "# put it there; or, where the unit does well without it, a - before it: systemctl edit --full {}"
            }
        };
        let what = match &file.refused {
            Some(why) => format!("{path} (EnvironmentFile=): {why}"),
            None => format!("{path} (EnvironmentFile=) does not exist"),
        };
        let why = match file.optional {
            true => "The unit starts, for the - before that file, and nothing that is in it is set.",
            false => "The unit cannot start.",
        };
        let mend = vec![notes.of_unit(mend)];
        notes.add(Severity::Problem, "environment-file", on_one_line(&what), why, mend);
    }
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What would keep systemd from starting it. That quick crashes use the usual limit up is no finding:
/// app-monitor takes over at that moment, with a clean slate and a budget of its own.
pub fn limits(notes: &mut Notes<'_>) {
    let service = &notes.patient.service;
    for (name, action) in
        [("StartLimitAction", &service.limit_action), ("FailureAction", &service.failure_action)]
    {
        if !matches!(action.as_str(), "" | "none") {
            let what = format!("{name}={action}");
            let mend = notes.edit("Unit", &[&format!("{name}=none")]);
            let why = "A broken app would take the whole host down, again and again.";
            notes.add(Severity::Problem, "start-limit-action", what, why, mend);
        }
    }
    let service = &notes.patient.service;
    let cooldown = notes.patient.policy.cooldown;
    let restarts = !matches!(service.restart.as_str(), "no" | "");
    let late = service.restart_delay.is_none_or(|delay| delay > cooldown.max(PATIENT));
    if restarts && late {
        let shown = service.restart_delay.map_or_else(|| "infinity".to_owned(), duration::show);
        let mend = notes.edit("Service", &["RestartSec=3s"]);
        notes.add(
            Severity::Advice,
            "restart-delay",
            format!("RestartSec={shown} leaves a crashed app down for so long"),
            "While systemd waits to restart an app, app-monitor does, too: two that restart get in each other's way.",
            mend,
        );
    }
    let service = &notes.patient.service;
    let interval = service.limit_interval.unwrap_or(Duration::MAX);
    if interval.is_zero() || service.limit_burst == 0 {
        return;
    }
    let burst = u32::try_from(service.limit_burst).unwrap_or(u32::MAX);
    if interval > cooldown.max(QUICKEST).saturating_mul(burst) {
        let shown = service.limit_interval.map_or_else(|| "infinity".to_owned(), duration::show);
        let mend = notes.edit("Unit", &["StartLimitIntervalSec=10s", "StartLimitBurst=5"]);
        notes.add(
            Severity::Warning,
            "start-limit",
            format!(
                "at most {burst} starts in {shown} are allowed, and recoveries come every {}",
                duration::show(cooldown)
            ),
            "Starts by app-monitor count, too: after so many systemd refuses the next one until that time is over.",
            mend,
        );
    }
}

/// A stop that is given longer than app-monitor gives it. What nobody has set is no wish of anybody's:
/// app-monitor helps such a stop along after its own time.
pub fn stop(notes: &mut Notes<'_>, server: &Server) {
    let (theirs, ours) = (notes.patient.service.timeout_stop, notes.patient.policy.stop_timeout);
    let shown = duration::show(ours);
    let as_ours = [format!("TimeoutStopSec={shown}")];
    let as_ours = [as_ours[0].as_str()];
    match theirs {
        None => {
            let mend = notes.edit("Service", &as_ours);
            notes.add(
                Severity::Warning,
                "stop-timeout",
                "TimeoutStopSec=infinity waits for ever for the app to end",
                format!(
                    "app-monitor ends a stop with SIGKILL after stop_timeout = \"{shown}\"; a shutdown, an upgrade \
                     and an administrator would wait for ever."
                ),
                mend,
            );
        }
        Some(theirs) if theirs > ours && server.usual_stop != Some(theirs) => {
            let mend = if notes.patient.table.is_some() && theirs <= LONGEST_STOP {
                notes.table("stop_timeout", &format!("\"{}\"", duration::show(theirs)))
            } else {
                notes.edit("Service", &as_ours)
            };
            notes.add(
                Severity::Advice,
                "stop-timeout",
                format!("TimeoutStopSec={} is longer than stop_timeout = \"{shown}\"", duration::show(theirs)),
                "Somebody gave the app that time to end its work; app-monitor ends a stop with SIGKILL after its own.",
                mend,
            );
        }
        Some(_) => {}
    }
}
