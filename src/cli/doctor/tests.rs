//! Each finding, the text of a report, and the shape of JSON.

use std::net::IpAddr;
use std::time::Duration;

use super::super::tests::shapes::assert_shape;
use super::lint::{Finding, Severity};
use super::looking::{Health, Homeless, Inexecutable, LostFile, Patient, Unexecutable};
use super::says::Says;
use super::*;
use crate::judge::LoadState;
use crate::server::{Asked, FoundApp, Keeper, Listening, Restarter, Stray};
use crate::systemd::{Exec, ServiceReading};

fn configured(lines: &str) -> crate::config::Member {
    let text = format!("[app.web]\nunit = \"web.service\"\nport = 3000\n{lines}");
    let loaded = load_text(Path::new("/nonexistent"), Path::new("/x.toml"), &text).unwrap();
    loaded.settings.members[0].clone()
}

/// An app about which there is nothing to say: as systemd has it, but for `Restart=` and `RestartSec=`.
fn sound() -> Patient {
    let service = ServiceReading {
        load: LoadState::Loaded,
        restart: "always".into(),
        restart_delay: Some(Duration::from_secs(1)),
        limit_interval: Some(Duration::from_secs(10)),
        limit_burst: 5,
        timeout_stop: Some(Duration::from_secs(90)),
        ..ServiceReading::running("web.service", 7)
    };
    let member = configured("http = \"/health\"\n");
    let found = FoundApp {
        service: service.clone(),
        runtime: Some("node"),
        process: "node".into(),
        listening: vec![Listening { port: 3000, address: "::".parse().unwrap(), v6_only: false }],
        directory: None,
        databases: vec![],
        caches: vec![],
        sockets: vec![],
        sites: vec![],
    };
    Patient {
        name: "web".into(),
        table: Some("web".into()),
        says: Says::default(),
        service: ServiceReading { after: vec!["network-online.target".into()], ..service },
        policy: member.policy,
        target: member.target,
        found: Some(found),
        health: Some(answering(200, 5, &[])),
        better: None,
        unexecutable: None,
        homeless: None,
        lost: vec![],
        spelled: vec![],
        remote: Some("db.example.org".into()),
        of_a_user: false,
    }
}

fn asked(status: u16, ms: u64, headers: &[(&str, &str)]) -> Asked {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Asked { status, took: Duration::from_millis(ms), headers }
}

fn answering(status: u16, ms: u64, headers: &[(&str, &str)]) -> Health {
    let whole = match status {
        200..300 => Ok(()),
        _ => Err(format!("GET /health answers {status} (expected 200-299)")),
    };
    Health { path: "/health".into(), first: Ok(asked(status, ms, headers)), whole, with: vec![], end: None }
}

fn found(change: impl FnOnce(&mut Patient)) -> Vec<Finding> {
    let mut patient = sound();
    change(&mut patient);
    lint::app(&patient, &Server::empty())
}

fn unexecutable(line: &str, why: Inexecutable) -> Option<Unexecutable> {
    Some(Unexecutable { exec: line.into(), why })
}

fn words(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.finding).collect()
}

#[test]
fn nothing_is_said_of_a_sound_app() {
    assert_eq!(found(|_| ()), []);
}

type Change = fn(&mut Patient);

/// What is wrong, and beside it what only looks like it.
#[test]
fn each_finding_alone_and_what_is_none() {
    let seconds = Duration::from_secs;
    let changes: [(&str, Change, Change); 26] = [
        (
            "no-unit",
            |p| p.service.load = LoadState::NotFound,
            |p| p.service.active = crate::judge::ActiveState::Inactive,
        ),
        (
            "user-manager",
            |p| {
                p.service.load = LoadState::NotFound;
                p.of_a_user = true;
            },
            // One of the same name in the system counts.
            |p| p.of_a_user = true,
        ),
        (
            "pm2",
            |p| p.service.commands = vec!["/usr/bin/pm2-runtime".into()],
            |p| {
                p.service.commands = vec!["/usr/bin/pm25".into()];
            },
        ),
        (
            "container",
            |p| p.service.commands = vec!["/usr/bin/docker".into()],
            |p| {
                p.service.commands = vec!["/srv/docker/app".into()];
            },
        ),
        (
            "exec",
            |p| {
                p.unexecutable = unexecutable("/usr/bin/nod", Inexecutable::Missing(None));
            },
            // It failed so once, and runs by now.
            |p| {
                p.service.result = "exit-code".into();
                p.service.status = 203;
                p.service.active = crate::judge::ActiveState::Active;
            },
        ),
        (
            "exec",
            |p| {
                p.service.result = "exit-code".into();
                p.service.status = 203;
            },
            |p| {
                p.service.result = "exit-code".into();
                p.service.status = 1;
            },
        ),
        (
            "chdir",
            |p| p.homeless = Some(Homeless::Missing),
            |p| {
                p.service.working_directory = Some("/srv/web".into());
            },
        ),
        ("chdir", |p| p.homeless = Some(Homeless::Closed("/home/me".into())), |_| ()),
        (
            "chdir",
            |p| {
                p.service.result = "exit-code".into();
                p.service.status = 200;
            },
            |p| {
                p.service.result = "success".into();
                p.service.status = 200;
            },
        ),
        (
            "environment-file",
            |p| p.lost = vec![LostFile { path: "/srv/env".into(), optional: false, refused: None }],
            |p| p.service.environment_files = vec![("/srv/env".into(), false)],
        ),
        (
            "environment-file",
            |p| {
                let refused = Some("systemd refuses the whole file".into());
                p.lost = vec![LostFile { path: "/srv/env".into(), optional: true, refused }];
            },
            |_| (),
        ),
        ("no-restart", |p| p.service.restart = "no".into(), |p| p.service.restart = "on-failure".into()),
        (
            "no-restart",
            |p| p.service.restart = "on-success".into(),
            |p| p.service.restart = "on-abnormal".into(),
        ),
        (
            "start-limit-action",
            |p| p.service.limit_action = "reboot".into(),
            |p| {
                p.service.limit_action = "none".into();
            },
        ),
        (
            "start-limit-action",
            |p| p.service.failure_action = "poweroff".into(),
            |p| {
                p.service.failure_action = "none".into();
            },
        ),
        (
            "start-limit",
            |p| p.service.limit_interval = Some(Duration::from_secs(3600)),
            // As recoveries come: five in five minutes.
            |p| p.service.limit_interval = Some(Duration::from_secs(300)),
        ),
        // systemd's own limit and delay: app-monitor takes over where that gives up.
        (
            "start-limit",
            |p| p.service.limit_interval = None,
            |p| {
                p.service.restart_delay = Some(Duration::from_millis(100));
            },
        ),
        (
            "restart-delay",
            |p| p.service.restart_delay = Some(Duration::from_secs(600)),
            |p| {
                p.service.restart_delay = Some(Duration::from_secs(30));
            },
        ),
        (
            "stop-timeout",
            |p| p.service.timeout_stop = None,
            |p| {
                p.service.timeout_stop = Some(Duration::from_secs(20));
            },
        ),
        (
            "stop-timeout",
            |p| p.service.timeout_stop = Some(Duration::from_secs(300)),
            |p| {
                p.service.timeout_stop = Some(Duration::from_secs(300));
                p.policy.stop_timeout = Duration::from_secs(300);
            },
        ),
        (
            "network-online",
            |p| p.service.after.clear(),
            |p| {
                p.service.after.clear();
                p.remote = None;
            },
        ),
        (
            "one-family",
            |p| listen(p, "127.0.0.1"),
            |p| {
                listen(p, "127.0.0.1");
                p.target.address = crate::judge::Address::Ip(IpAddr::from([127, 0, 0, 1]));
            },
        ),
        // Whoever listens on an address of the network is not asked for localhost.
        ("one-family", |p| listen(p, "::1"), |p| listen(p, "192.0.2.7")),
        ("no-http", |p| p.target.http = None, |p| p.health = None),
        (
            "health-slow",
            |p| p.health = Some(answering(200, 2000, &[])),
            |p| p.health = Some(answering(200, 400, &[])),
        ),
        (
            "health-static",
            |p| p.health = Some(answering(200, 5, &[("x-nextjs-prerender", "1")])),
            // Express adds that to whatever it sends.
            |p| p.health = Some(answering(200, 5, &[("etag", "W/1")])),
        ),
    ];
    for (word, change, near) in changes {
        let findings = found(change);
        assert_eq!(words(&findings), [word], "{findings:#?}");
        assert!(!findings[0].mend.is_empty(), "{word} names no way to mend it");
        assert_eq!(found(near), [], "next to {word}");
        let manual = include_str!("../../../packaging/man/app-monitor-doctor.8");
        assert!(manual.contains(&word.replace('-', "\\-")), "{word} is not in the manual");
    }
    // What a manager of another mind gives everybody is no wish of anybody's, either.
    let mut patient = sound();
    patient.service.timeout_stop = Some(seconds(45));
    let mut server = Server::empty();
    assert_eq!(words(&lint::app(&patient, &server)), ["stop-timeout"]);
    server.usual_stop = Some(seconds(45));
    assert_eq!(lint::app(&patient, &server), []);
}

fn listen(patient: &mut Patient, address: &str) {
    if let Some(found) = &mut patient.found {
        found.listening[0].address = address.parse().unwrap();
    }
}

#[test]
fn what_a_health_path_answers() {
    let refused = Health { first: Err("is refused".into()), ..answering(500, 5, &[]) };
    let redirect = || Health { whole: Ok(()), ..answering(302, 5, &[("location", "/health/?t=s3cret")]) };
    let host = vec![("Host", "shop.example".to_owned())];
    let https = vec![("X-Forwarded-Proto", "https".to_owned())];
    for (word, health, mend) in [
        ("health-unanswered", refused, "app-monitor check web"),
        ("health-bad", answering(500, 5, &[]), "# /health; then name it in http"),
        ("health-redirects", redirect(), "# /health; then name it in http"),
        ("health-redirects", Health { end: Some("/health/".into()), ..redirect() }, "http = \"/health/\""),
        (
            "health-redirects",
            Health { with: https, ..redirect() },
            "http = { url = \"/health\", headers = { X-Forwarded-Proto = \"https\" } }",
        ),
        (
            "health-needs-host",
            Health { with: host, ..answering(404, 5, &[]) },
            "http = { url = \"/health\", headers = { Host = \"shop.example\" } }",
        ),
    ] {
        let findings = found(|p| p.health = Some(health));
        assert_eq!(words(&findings), [word], "{findings:#?}");
        assert_eq!(findings[0].mend.last().map(String::as_str), Some(mend));
        assert!(!format!("{findings:?}").contains("s3cret"), "{findings:#?}");
    }
    // A redirect that is configured as good is the answer.
    let member = configured("http = { url = \"/health\", status = 302 }\n");
    let findings = found(|p| {
        p.target.http = member.target.http.clone();
        p.health = Some(redirect());
    });
    assert_eq!(findings, []);
    // A better path is named where there is one.
    let findings = found(|p| {
        p.health = Some(answering(500, 5, &[]));
        p.better = Some("/up".into());
    });
    assert_eq!(findings[0].mend, ["[app.web]", "http = \"/up\""]);
}

#[test]
fn the_key_that_counts_is_named() {
    let better = |says: Says| {
        let findings = found(|p| {
            p.health = Some(answering(500, 5, &[]));
            p.better = Some("/up".into());
            p.says = says;
        });
        findings[0].mend.join("\n")
    };
    let own = Says { own_http: Some("web@1.service".into()), ..Says::default() };
    assert_eq!(better(own), "[app.web]\n# in its instances, where unit is web@1.service: http = \"/up\"");
    let variable = vec![("http".to_owned(), "APP_MONITOR_APP_WEB__HTTP".to_owned())];
    assert_eq!(
        better(Says { variables: variable, ..Says::default() }),
        "[app.web]\n# the environment of app-monitor.service says it, with APP_MONITOR_APP_WEB__HTTP; there: \
         http = \"/up\""
    );
}

/// What is configured beside the path stays, and secrets stay where they are.
#[test]
fn a_mended_check_keeps_what_it_has() {
    let slash = || Some(Health { end: Some("/h/".into()), whole: Ok(()), ..answering(301, 5, &[]) });
    let member = configured(
        "http = { url = \"/h\", method = \"HEAD\", status = \"200-204\", max_latency = \"2s\" }\n",
    );
    let findings = found(|p| {
        p.target.http = member.target.http.clone();
        p.health = slash();
    });
    let line = &findings[0].mend[1];
    assert_eq!(
        line,
        "http = { url = \"/h/\", method = \"HEAD\", status = \"200-204\", max_latency = \"2s\" }"
    );
    configured(&format!("{line}\n"));
    let member = configured("http = { url = \"/h\", headers = { Authorization = \"Bearer s3cret\" } }\n");
    let findings = found(|p| {
        p.target.http = member.target.http.clone();
        p.health = slash();
    });
    assert!(!format!("{findings:?}").contains("s3cret"), "{findings:#?}");
    assert!(findings[0].mend.iter().all(|line| line.starts_with('#')), "{findings:#?}");
}

/// The very line, where it can be known.
#[test]
fn lines_that_mend() {
    let of = |change: Change| found(change).remove(0).mend;
    assert_eq!(
        of(|p| {
            let line = "/usr/local/bin/node server.js --port 3000";
            p.unexecutable = unexecutable(line, Inexecutable::Missing(Some("/usr/bin/node".into())));
        }),
        [
            "systemctl edit web.service",
            "[Service]",
            "ExecStart=",
            "ExecStart=/usr/bin/node server.js --port 3000"
        ]
    );
    // What stands before it stays; a word with a blank, another name, and other commands would not.
    let missing = |change: fn(&mut Exec, &mut Patient)| {
        let findings = found(|p| {
            let mut exec = Exec::from("/usr/local/bin/node server.js");
            change(&mut exec, p);
            p.unexecutable =
                Some(Unexecutable { exec, why: Inexecutable::Missing(Some("/usr/bin/node".into())) });
        });
        findings[0].mend.last().cloned().unwrap()
    };
    let link = "ln -s /usr/bin/node /usr/local/bin/node";
    assert_eq!(missing(|exec, _| exec.prefix = "-+:".into()), "ExecStart=-+:/usr/bin/node server.js");
    assert_eq!(missing(|exec, _| exec.words.push("a b".into())), link);
    assert_eq!(missing(|exec, _| exec.words.push(String::new())), link);
    assert_eq!(missing(|exec, _| exec.words[0] = "web".into()), link);
    assert_eq!(missing(|_, p| p.service.commands.push("/usr/bin/true".into())), link);
    // A command line may hold a token.
    assert_eq!(
        of(|p| {
            let line = "/usr/local/bin/node server.js --token=s3cret";
            p.unexecutable = unexecutable(line, Inexecutable::Missing(Some("/usr/bin/node".into())));
        }),
        ["ln -s /usr/bin/node /usr/local/bin/node"]
    );
    assert_eq!(
        of(|p| p.unexecutable = unexecutable("/srv/x.sh", Inexecutable::Unmarked)),
        ["chmod +x /srv/x.sh"]
    );
    assert_eq!(
        of(|p| {
            p.homeless = Some(Homeless::Missing);
            p.service.user = "www-data".into();
            p.service.working_directory = Some("/srv/gone".into());
        }),
        ["install -d -o www-data /srv/gone"]
    );
    assert_eq!(
        of(|p| p.service.timeout_stop = Some(Duration::from_secs(60))),
        ["[app.web]", "stop_timeout = \"1m\""]
    );
    let unconfigured: Change = |p| {
        p.table = None;
        p.service.timeout_stop = Some(Duration::from_secs(60));
    };
    assert_eq!(of(unconfigured), ["systemctl edit web.service", "[Service]", "TimeoutStopSec=20s"]);
    assert_eq!(
        of(|p| p.service.load = LoadState::Masked),
        ["systemctl unmask web.service", "systemctl daemon-reload"]
    );
}

/// nginx that goes to the very address is no reason to complain.
#[test]
fn one_family_is_enough_for_who_names_it() {
    use crate::server::nginx::{Pass, Site, Upstream};
    for (host, expected, mend) in [
        ("127.0.0.1", vec![], ""),
        ("localhost", vec!["one-family"], "'s/\\blocalhost:3000\\b/127.0.0.1:3000/g' '/etc/nginx/my site'"),
        ("::1", vec!["one-family"], "'s/\\[::1\\]:3000\\b/127.0.0.1:3000/g' '/etc/nginx/my site'"),
    ] {
        let findings = found(|p| {
            let Some(found) = &mut p.found else { return };
            found.listening[0].address = IpAddr::from([127, 0, 0, 1]);
            let passes = vec![Pass { location: "/".into(), to: vec![Upstream::Host(host.into(), 3000)] }];
            p.spelled = vec![("/etc/nginx/my site".into(), host.into(), 3000)];
            let site =
                Site { file: "/etc/nginx/my site".into(), names: vec![], ports: vec![(80, false)], passes };
            found.sites = vec![(site, Some(3000))];
        });
        assert_eq!(words(&findings), expected, "{host}");
        let line = findings.first().map(|finding| finding.mend[0].clone()).unwrap_or_default();
        assert!(line.contains(mend), "{line}");
    }
    // What would replace nothing, or another server of the upstream, is no command.
    let findings = found(|p| {
        let Some(found) = &mut p.found else { return };
        found.listening[0].address = IpAddr::from([127, 0, 0, 1]);
        let to = [("localhost", 3000), ("::1", 3001), ("192.0.2.1", 3000)]
            .map(|(host, port)| Upstream::Host(host.into(), port));
        let passes = vec![Pass { location: "/".into(), to: to.into() }];
        let site = Site { file: "/etc/nginx/x".into(), names: vec![], ports: vec![(80, false)], passes };
        found.sites = vec![(site, Some(3000))];
    });
    assert_eq!(
        findings[0].mend,
        [
            "# nginx, /etc/nginx/x: where it leads to localhost, port 3000, name 127.0.0.1:3000",
            "# then: systemctl reload nginx"
        ]
    );
}

/// Who runs there is let in; who failed so is not, and nobody is told to open a folder to everybody.
#[test]
fn a_folder_that_is_closed() {
    use crate::judge::ActiveState;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let root = tempfile::tempdir().unwrap();
    let web = root.path().join("srv/my web");
    std::fs::create_dir_all(&web).unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::set_permissions(&web, std::fs::Permissions::from_mode(0o700)).unwrap();
    let owner = web.metadata().unwrap();
    let passwd = format!("me:x:{}:{}::/:/bin/sh\n", owner.uid() + 7, owner.gid() + 7);
    std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
    let closed = Some(Homeless::Closed("/srv/my web".into()));
    for (active, result, status, expected) in [
        (ActiveState::Active, "success", 0, None),
        (ActiveState::Active, "exit-code", 1, None),
        (ActiveState::Active, "exit-code", 200, closed.clone()),
        (ActiveState::Active, "exit-code", 203, closed.clone()),
        (ActiveState::Failed, "exit-code", 200, closed.clone()),
        (ActiveState::Inactive, "success", 0, closed.clone()),
    ] {
        let service = ServiceReading {
            user: "me".into(),
            working_directory: Some("/srv/my web".into()),
            result: result.into(),
            active,
            status,
            ..ServiceReading::running("web.service", 7)
        };
        assert_eq!(
            looking::homeless(root.path(), &service, looking::runs(&service)),
            expected,
            "{active:?} {result} {status}"
        );
    }
    let findings = found(|p| {
        p.homeless = closed;
        p.service.user = "me".into();
        p.service.working_directory = Some("/srv/my web".into());
    });
    assert_eq!(
        findings[0].mend,
        [
            "namei -l '/srv/my web'  # shows whom each of these lets in",
            "# let me in to /srv/my web: chgrp to a group of the unit and chmod g+x, or setfacl -m u:me:x"
        ]
    );
}

/// Of what its sandbox shows otherwise nothing is said, but that it hides a home.
#[test]
fn a_folder_that_is_seen_otherwise() {
    use crate::judge::ActiveState;
    use crate::systemd::Sight;
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("home/me/web")).unwrap();
    std::fs::create_dir_all(root.path().join("srv")).unwrap();
    std::os::unix::fs::symlink("../home/me/web", root.path().join("srv/link")).unwrap();
    let home = Sight { homes: Some("yes".into()), ..Sight::default() };
    let bound = Sight { covered: vec!["/srv/gone".into(), "/home/me".into()], ..home.clone() };
    let made = Sight { made: vec!["/var/lib/web".into()], ..Sight::default() };
    let own_root = Sight { own_root: true, ..Sight::default() };
    let missing = Some(Homeless::Missing);
    for (sight, path, expected) in [
        (Sight::default(), "/srv/gone", missing.clone()),
        (bound.clone(), "/srv/gone/app", None),
        (own_root, "/srv/gone", None),
        (made.clone(), "/var/lib/web", None),
        (made, "/var/lib/web/app", missing.clone()),
        (Sight::default(), "/home/me/web", None),
        (home.clone(), "/home/me/web", Some(Homeless::Hidden)),
        (home.clone(), "/home/you", Some(Homeless::Hidden)),
        (home.clone(), "/srv/link", Some(Homeless::Hidden)),
        (bound.clone(), "/home/me/web", None),
        (bound, "/srv/link", None),
    ] {
        let mut service = ServiceReading {
            working_directory: Some(path.into()),
            active: ActiveState::Failed,
            sight,
            ..ServiceReading::running("web.service", 7)
        };
        assert_eq!(
            looking::homeless(root.path(), &service, looking::runs(&service)),
            expected,
            "{path} {:?}",
            service.sight
        );
        service.active = ActiveState::Active;
        let hidden = expected.filter(|one| *one != Homeless::Hidden);
        assert_eq!(
            looking::homeless(root.path(), &service, looking::runs(&service)),
            hidden,
            "who runs sees it: {path}"
        );
    }
    let mended = |path: &str| {
        let findings = found(|p| {
            p.homeless = Some(Homeless::Hidden);
            p.unexecutable = unexecutable("/root/.nvm/node", Inexecutable::Hidden);
            p.service.sight = home.clone();
            p.service.working_directory = Some(path.into());
        });
        assert_eq!(words(&findings), ["exec", "chdir"]);
        assert!(findings.iter().all(|one| one.what.contains("hidden from it by ProtectHome=yes")));
        findings[1].mend.last().cloned().unwrap()
    };
    assert_eq!(mended("/home/me/web"), "ReadWritePaths=/home/me/web");
    assert!(mended("/home/me/my web").starts_with("# "));
}

/// systemd.service(5), "Command lines": what stands before a command decides what it sees and may.
#[test]
fn a_command_that_is_more_than_its_service() {
    use crate::judge::ActiveState;
    use crate::systemd::{Power, Sight};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for folder in ["home/me/web", "srv/shut", "etc"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    std::fs::write(at("home/me/app"), "").unwrap();
    std::fs::set_permissions(at("home/me/app"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(at("srv/shut"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let owner = at("srv/shut").metadata().unwrap();
    std::fs::write(at("etc/passwd"), format!("me:x:{}:{}::/:/bin/sh\n", owner.uid() + 7, owner.gid() + 7))
        .unwrap();
    let service = |commands: &[(Power, bool)], file: &str, directory: &str| ServiceReading {
        commands: commands
            .iter()
            .map(|(power, optional)| Exec { power: *power, optional: *optional, ..Exec::from(file) })
            .collect(),
        active: ActiveState::Failed,
        user: "me".into(),
        sight: Sight { homes: Some("yes".into()), shut: vec!["/opt".into()], ..Sight::default() },
        working_directory: Some(directory.into()),
        ..ServiceReading::running("web.service", 7)
    };
    let why = |commands: &[(Power, bool)], file: &str| {
        let service = service(commands, file, "/");
        looking::unexecutable(root.path(), &service, false).map(|bad| bad.why)
    };
    let (app, gone) = ("/home/me/app", "/srv/gone");
    let homeless = |commands: &[(Power, bool)], directory: &str| {
        looking::homeless(root.path(), &service(commands, app, directory), false)
    };
    let (web, shut) = ("/home/me/web", "/srv/shut");
    let closed = Some(Homeless::Closed(shut.into()));
    let (hidden, missing) = (Some(Inexecutable::Hidden), Some(Inexecutable::Missing(None)));
    // The ordinary one, and what is no more: `-`, `:`, `!!`, `@`.
    for unit in [(Power::Unit, false), (Power::Unit, true)] {
        assert_eq!((why(&[unit], app), why(&[unit], gone)), (hidden.clone(), missing.clone()));
        assert_eq!(homeless(&[unit], web), Some(Homeless::Hidden));
        assert_eq!(homeless(&[unit], shut), closed);
    }
    // `!`: root, who is let in everywhere, in the sandbox.
    let root_of_unit = (Power::Root, false);
    assert_eq!((why(&[root_of_unit], app), homeless(&[root_of_unit], web)), (hidden, Some(Homeless::Hidden)));
    assert_eq!(homeless(&[root_of_unit], shut), None);
    // `+`: the host, as root has it.
    for full in [(Power::Full, false), (Power::Full, true)] {
        assert_eq!((why(&[full], app), why(&[full], gone)), (None, missing.clone()));
        assert_eq!(why(&[full], "/opt/gone"), missing, "what is shut is so for the sandbox alone");
        assert_eq!((homeless(&[full], web), homeless(&[full], shut)), (None, None));
        assert_eq!(homeless(&[full], gone), Some(Homeless::Missing));
    }
    assert_eq!(why(&[(Power::Unit, false)], "/opt/gone"), None);
    // Another command of the unit is as it is; one that may be missing is not needed beside it.
    assert_eq!(homeless(&[(Power::Full, false), (Power::Unit, false)], shut), closed);
    assert_eq!(why(&[(Power::Full, false), (Power::Unit, true)], app), None);
    let findings = found(|p| {
        let exec = Exec { optional: true, ..Exec::from(gone) };
        p.unexecutable = Some(Unexecutable { exec, why: Inexecutable::Missing(None) });
    });
    assert_eq!(findings[0].what, "/srv/gone does not exist (the - before it hides that)");
}

#[test]
fn environment_files_that_a_start_goes_without() {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [("good", &b"A=1\n"[..]), ("bad", b"A=1\nB=\xff\n")] {
        std::fs::write(root.path().join(name), text).unwrap();
    }
    let files = ["good", "bad", "none", "no*"].map(|name| Path::new("/").join(name));
    let lost = |optional: bool| {
        let environment_files = files.iter().map(|path| (path.clone(), optional)).collect();
        let service = ServiceReading { environment_files, ..ServiceReading::running("web.service", 7) };
        looking::lost_files(root.path(), &service)
    };
    let refused = Some("systemd refuses the whole file: its line 2 is to be written as UTF-8".to_owned());
    let bad = |optional| LostFile { path: "/bad".into(), optional, refused: refused.clone() };
    let none = LostFile { path: "/none".into(), optional: false, refused: None };
    assert_eq!((lost(false), lost(true)), (vec![bad(false), none], vec![bad(true)]));
    let findings = found(|p| p.lost = lost(false));
    let said: Vec<&str> = findings.iter().map(|finding| finding.what.as_str()).collect();
    let refused =
        "/bad (EnvironmentFile=): systemd refuses the whole file: its line 2 is to be written as UTF-8";
    assert_eq!(said, [refused, "/none (EnvironmentFile=) does not exist"]);
}

/// What root is to paste holds no commands of others.
#[test]
fn names_of_strangers_stay_names() {
    let mut server = crowded();
    let mut mend = |user: &str, unit: &str| {
        server.strays[2].keeper = Keeper::User(user.into(), unit.into());
        lint::host(&server).into_iter().find(|one| one.finding == "under-user").unwrap().mend
    };
    assert_eq!(
        mend("1000", "a\\x2db.service").last().map(String::as_str),
        Some("systemctl --user --machine=1000@ disable --now 'a\\x2db.service'")
    );
    for (user, unit) in [
        ("1000", "x;reboot;"),
        ("1000", "$(reboot).service"),
        ("1000", "a\nreboot.service"),
        ("1000", "-Hme.service"),
        (";reboot;", "a.service"),
    ] {
        let mend = mend(user, unit);
        assert!(mend.iter().all(|line| line.starts_with('#') && !line.contains('\n')), "{mend:?}");
    }
    let findings = found(|p| {
        let path = "/srv/$(reboot)/it's.sh";
        p.unexecutable = unexecutable(path, Inexecutable::Unmarked);
    });
    assert_eq!(findings[0].mend, ["chmod +x '/srv/$(reboot)/it'\\''s.sh'"]);
}

fn crowded() -> Server {
    let stray = |keeper| Stray {
        keeper,
        pid: 9,
        name: "node".into(),
        args: vec![],
        user: "me".into(),
        cwd: None,
        exe: None,
        ports: vec![],
    };
    let mut server = Server::empty();
    server.host =
        crate::server::Facts { memory: 1 << 30, swap: 0, journal_kept: false, journal_forbidden: false };
    server.strays = vec![
        stray(Keeper::Pm2),
        stray(Keeper::Container("0af3".into())),
        stray(Keeper::User("1000".into(), "shop.service".into())),
        stray(Keeper::Session),
    ];
    server.restarters = vec![
        Restarter::of("cron", "/etc/crontab, line 3"),
        Restarter::of("timer", "heal.timer"),
        Restarter::of("loop", "/root/w.sh (pid 3)"),
    ];
    server
}

#[test]
fn the_host_and_who_else_restarts() {
    let server = crowded();
    assert_eq!(words(&lint::app(&sound(), &server)), ["cron", "timer", "loop"]);
    // About another app nothing of that is said.
    let mut other = sound();
    other.service = ServiceReading { unit: "shop.service".parse().unwrap(), ..other.service };
    other.found = None;
    assert_eq!(lint::app(&other, &server), []);
    assert_eq!(
        words(&lint::host(&server)),
        ["no-swap", "journal", "under-pm2", "under-docker", "under-user", "under-session"]
    );
    let mut well = Server::empty();
    for (memory, swap) in [(8 << 30, 0), (2 << 30, 0), (1 << 30, 1 << 20), (0, 0)] {
        let facts = crate::server::Facts { memory, swap, journal_kept: true, journal_forbidden: false };
        well.host = facts;
        assert_eq!(lint::host(&well), [], "{memory} {swap}");
    }
    well.host = crate::server::Facts { journal_kept: false, journal_forbidden: true, ..well.host };
    let findings = lint::host(&well);
    assert_eq!(words(&findings).last(), Some(&"journal"));
    assert!(
        findings
            .last()
            .is_some_and(|finding| finding.mend.iter().any(|line| line.contains("Storage=persistent")))
    );
}

#[test]
fn the_shape_of_json_and_of_the_report() {
    let finding = Finding {
        app: Some("web".into()),
        unit: Some("web.service".into()),
        severity: Severity::Problem,
        finding: "exec",
        what: "/usr/bin/nod \u{1b}[31m does not exist (203/EXEC)".into(),
        why: "it ".repeat(60),
        mend: vec!["systemctl edit web.service".into()],
    };
    let answer = Answer {
        findings: vec![finding],
        apps: vec!["web.service".into()],
        unseen: vec!["/root: no".into()],
    };
    assert_shape("doctor", &json_text(&answer));
    let ascii = shown(&answer, Terminal { colour: true, ascii: true, ..Terminal::PLAIN });
    assert!(ascii.starts_with("web: \u{1b}[1;31mproblem\u{1b}[0m: "), "{ascii:?}");
    let text = shown(&answer, Terminal::PLAIN);
    assert!(text.starts_with("web: problem: /usr/bin/nod [31m does not exist"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
    let text = shown(&Answer { findings: vec![], apps: vec![], unseen: vec![] }, Terminal::PLAIN);
    assert!(text.contains("nothing to mend about this host") && text.contains("app-monitor init"), "{text}");
}
