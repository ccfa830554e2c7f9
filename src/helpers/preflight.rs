//! Looks whether everything is there that a start needs: files that the app's user can read, keys in
//! its environment, a free port.
//!
//! Says what is absent by name, never a value. What could not be looked at is not absent.

mod access;
mod keys;

use std::path::PathBuf;

use super::request::Request;
use super::result::{Ending, Helper, Report, now};
use crate::checks::straggler::{Class, Spared, UnitFacts, classify, holders};
use crate::checks::{Identity, World};
use crate::files::below;
use crate::judge::Target;
use crate::systemd::{Bus, Execution, Setting};

/// How a finding about files and keys begins, in the lines of a report.
pub const ABSENT: &str = "absent: ";
/// How a finding about the port begins.
pub const PORT: &str = "port: ";
/// How something begins that could not be looked at.
pub const BLIND: &str = "blind: ";

/// How the unit is to be started.
struct Start {
    /// It is up, or on its way.
    live: bool,
    execution: Execution,
    setting: Setting,
}

/// Looks.
#[must_use]
pub fn run(request: &Request) -> Report {
    let began = now();
    let lines = match request.member().map(|member| member.target) {
        Ok(target) if target.preflight.is_empty() => Vec::new(),
        Ok(target) => look(request, &target, ask(&target).as_ref().map_err(String::as_str)),
        Err(why) => return request.failed(Helper::Preflight, began, why),
    };
    request.report(Helper::Preflight, began, ending(&lines), lines)
}

fn ask(target: &Target) -> Result<Start, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let start = runtime.block_on(async {
        let bus = Bus::connect().await?;
        Ok(Start {
            live: !bus.read_unit_alone(&target.unit).await?.active.is_down(),
            execution: bus.read_execution(&target.unit).await?,
            setting: bus.read_setting(&target.unit).await?,
        })
    });
    start.map_err(|error: crate::systemd::Error| error.to_string())
}

fn look(request: &Request, target: &Target, start: Result<&Start, &str>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Err(why) = start {
        lines.push(format!("{BLIND}{} cannot be read: {why}", target.unit));
    }
    let start = start.ok();
    lines.extend(files(request, target, start));
    lines.extend(keys::lines(&request.root, target, start.map(|start| &start.setting)));
    if target.preflight.port_free {
        lines.extend(port(request, target, start));
    }
    lines
}

fn files(request: &Request, target: &Target, start: Option<&Start>) -> Vec<String> {
    let execution = start.map(|start| &start.execution);
    let directory = target
        .working_directory
        .clone()
        .or_else(|| execution.and_then(|execution| execution.working_directory.clone()));
    let mut lines = Vec::new();
    let mut paths: Vec<(String, PathBuf)> = Vec::new();
    for file in &target.preflight.files {
        let whole = match &directory {
            _ if file.is_absolute() => file.clone(),
            Some(directory) => directory.join(file),
            None => {
                lines.push(format!(
                    "{BLIND}{} has no known working directory for {}",
                    target.unit,
                    file.display()
                ));
                continue;
            }
        };
        let below = below(&request.root, &whole);
        paths.push((file.display().to_string(), below));
    }
    if paths.is_empty() {
        return lines;
    }
    let user = start.and_then(|start| access::user(&request.root, &start.execution, &start.setting));
    let name = execution.map_or("", |execution| execution.user.as_str()).to_owned();
    lines.extend(access::lines(paths, user, &name));
    lines
}

/// Whoever holds the port and is not ended by a later step.
fn port(request: &Request, target: &Target, start: Option<&Start>) -> Option<String> {
    let port = target.port?;
    let world = World::at(&request.root);
    let (held, _) = match holders(&world, port, target.address) {
        Ok(held) => held,
        Err(error) => return Some(format!("{BLIND}port {port} cannot be looked at: {error}")),
    };
    let unit = UnitFacts {
        name: target.unit.to_string(),
        live: start.is_none_or(|start| start.live),
        user: None,
        executables: Vec::new(),
        working_directory: None,
    };
    held.iter().find_map(|process| match classify(process, &unit, target.stragglers) {
        // Its own, which goes with its stop; a socket unit's; what the step that ends stragglers is for.
        Class::Spared(Spared::OwnUnit | Spared::System) => None,
        Class::Spared(_) => {
            let known = process.pid.and_then(|pid| Identity::of(&world, pid));
            let name = known.map_or_else(|| "a process".to_owned(), |known| known.name);
            let pid = process.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
            Some(format!("{PORT}port {port} is held by {name}{pid}"))
        }
        _ => None,
    })
}

fn ending(lines: &[String]) -> Ending {
    let of = |what: &[&str]| {
        let found = lines.iter().filter_map(|line| what.iter().find_map(|what| line.strip_prefix(what)));
        found.collect::<Vec<_>>().join("; ")
    };
    let (bad, blind) = (of(&[ABSENT, PORT]), of(&[BLIND]));
    match (bad.is_empty(), blind.is_empty()) {
        (false, _) => Ending::Failed(bad),
        (true, false) => Ending::Done(format!("not all could be looked at: {blind}")),
        (true, true) => Ending::Nothing,
    }
}

/// The files and keys that are absent, by a report; none when all are there.
#[must_use]
pub fn missing(report: &Report) -> Option<String> {
    found(report, ABSENT)
}

/// What could not be looked at, by a report.
#[must_use]
pub fn blind(report: &Report) -> Option<String> {
    found(report, BLIND)
}

fn found(report: &Report, what: &str) -> Option<String> {
    let found: Vec<&str> = report.lines.iter().filter_map(|line| line.strip_prefix(what)).collect();
    (!found.is_empty()).then(|| found.join("; "))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::oneshot::tests::Host;
    use super::*;
    use crate::judge::PreflightTarget;

    fn target(host: &Host, files: &[&str], keys: &[&str], env_file: Option<&str>) -> Target {
        fs::create_dir_all(host.folder.path().join("srv/web")).unwrap();
        Target {
            working_directory: Some("/srv/web".into()),
            preflight: PreflightTarget {
                files: files.iter().map(PathBuf::from).collect(),
                keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                env_file: env_file.map(PathBuf::from),
                port_free: false,
            },
            ..Target::of_unit("web.service".parse().unwrap())
        }
    }

    fn start(environment: &[&str], files: &[(&str, bool)]) -> Start {
        Start {
            live: false,
            execution: Execution::default(),
            setting: Setting {
                environment: environment.iter().map(|one| (*one).to_owned()).collect(),
                environment_files: files.iter().map(|(path, optional)| (path.into(), *optional)).collect(),
                ..Setting::default()
            },
        }
    }

    #[test]
    fn what_is_absent_is_named_and_no_value_is_shown() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let root = host.folder.path();
        let keys = ["DATABASE_URL", "TOKEN", "EMPTY", "GONE"];
        let target =
            target(&host, &["dist/server.js", "there.js", "/etc/none"], &keys, Some("/srv/web/.env"));
        fs::write(root.join("srv/web/there.js"), "").unwrap();
        fs::write(root.join("srv/web/.env"), "TOKEN=hunter2\nEMPTY=\n").unwrap();
        let start = start(&["DATABASE_URL=postgres://u:hunter2@h/d", "GONE=", "EMPTY="], &[]);
        let lines = look(&host.request("web"), &target, Ok(&start));
        assert_eq!(
            ending(&lines),
            Ending::Failed(
                "dist/server.js is missing; /etc/none is missing; EMPTY is empty in /srv/web/.env; \
                 GONE is not set in /srv/web/.env"
                    .to_owned()
            )
        );
        assert!(lines.iter().all(|line| !line.contains("hunter2")), "{lines:?}");
    }

    #[test]
    fn environment_files_of_the_unit_count_and_have_to_be_there() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let target = target(&host, &[], &["DATABASE_URL"], None);
        fs::create_dir_all(host.folder.path().join("etc")).unwrap();
        fs::write(host.folder.path().join("etc/web.env"), "DATABASE_URL='x'\n").unwrap();
        let request = host.request("web");
        let files = [("/etc/web.env", false), ("/etc/other.env", true)];
        assert_eq!(ending(&look(&request, &target, Ok(&start(&[], &files)))), Ending::Nothing);
        let mut unset = start(&[], &files);
        unset.setting.unset = vec!["DATABASE_URL".to_owned()];
        assert_eq!(
            ending(&look(&request, &target, Ok(&unset))),
            Ending::Failed("DATABASE_URL is not set in the environment of web.service".to_owned())
        );
        let files = [("/etc/web.env", false), ("/etc/other.env", false)];
        assert_eq!(
            ending(&look(&request, &target, Ok(&start(&[], &files)))),
            Ending::Failed("/etc/other.env (EnvironmentFile=) is missing".to_owned())
        );
    }

    #[test]
    fn what_a_file_of_the_unit_exports_is_absent_and_said_to_be_so() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let mut target = target(&host, &[], &["TOKEN"], None);
        fs::create_dir_all(host.folder.path().join("etc")).unwrap();
        fs::write(host.folder.path().join("etc/web.env"), "export TOKEN=hunter2\n").unwrap();
        let (request, start) = (host.request("web"), start(&[], &[("/etc/web.env", false)]));
        assert_eq!(
            ending(&look(&request, &target, Ok(&start))),
            Ending::Failed(
                "TOKEN is not set in the environment of web.service (/etc/web.env has it behind `export`, a \
                 line that systemd ignores)"
                    .to_owned()
            )
        );
        // The app reads the same file itself.
        target.preflight.env_file = Some("/etc/web.env".into());
        assert_eq!(ending(&look(&request, &target, Ok(&start))), Ending::Nothing);
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_absent() {
        let host = Host::new("[app.web]\nunit = \"web\"\n");
        let mut target = target(&host, &["a.js"], &["KEY"], None);
        target.working_directory = None;
        let lines = look(&host.request("web"), &target, Err("no answer"));
        assert!(matches!(ending(&lines), Ending::Done(text) if text.contains("no answer")), "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with(BLIND)), "{lines:?}");
    }
}
