//! Each finding, the text of a report, and the shape of JSON.

use std::net::IpAddr;
use std::time::Duration;

use super::super::tests::shapes::assert_shape;
use super::lint::{Finding, Severity};
use super::looking::{Health, Patient};
use super::*;
use crate::judge::LoadState;
use crate::server::{Asked, FoundApp, Keeper, Listening, Restarter, Stray};
use crate::systemd::ServiceReading;

/// An app about which there is nothing to say.
fn sound() -> Patient {
    let service = ServiceReading {
        load: LoadState::Loaded,
        restart: "on-failure".into(),
        restart_delay: Some(Duration::from_secs(3)),
        limit_interval: Some(Duration::from_secs(10)),
        limit_burst: 5,
        timeout_stop: Some(Duration::from_secs(20)),
        ..ServiceReading::running("web.service", 7)
    };
    let text = "[app.web]\nunit = \"web.service\"\nport = 3000\nhttp = \"/health\"\n\
                database = { url = \"postgres://db.example.org/\" }\n";
    let loaded = load_text(Path::new("/nonexistent"), Path::new("/x.toml"), text).unwrap();
    let member = loaded.settings.members[0].clone();
    let found = FoundApp {
        service: service.clone(),
        runtime: Some("node"),
        process: "node".into(),
        listening: vec![Listening { port: 3000, address: "::".parse().unwrap(), v6_only: false }],
        directory: None,
        databases: vec![],
        caches: vec![],
        sites: vec![],
    };
    Patient {
        name: "web".into(),
        service: ServiceReading { after: vec!["network-online.target".into()], ..service },
        policy: member.policy,
        target: member.target,
        found: Some(found),
        health: Some(answering(200, 5, &[])),
        missing: vec![],
        homeless: false,
        of_a_user: false,
    }
}

fn asked(status: u16, ms: u64, headers: &[(&str, &str)]) -> Asked {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Asked { status, took: Duration::from_millis(ms), headers }
}

fn answering(status: u16, ms: u64, headers: &[(&str, &str)]) -> Health {
    Health { path: "/health".into(), plain: Ok(asked(status, ms, headers)), named: None }
}

fn found(change: impl FnOnce(&mut Patient)) -> Vec<Finding> {
    let mut patient = sound();
    change(&mut patient);
    lint::app(&patient, &Server::empty())
}

fn words(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.finding).collect()
}

#[test]
fn nothing_is_said_of_a_sound_app() {
    assert_eq!(found(|_| ()), []);
}

type Change = fn(&mut Patient);

#[test]
fn each_finding_alone() {
    let changes: [(&str, Change); 20] = [
        ("no-unit", |p| p.service.load = LoadState::NotFound),
        ("user-manager", |p| {
            p.service.load = LoadState::NotFound;
            p.of_a_user = true;
        }),
        ("pm2", |p| p.service.commands = vec!["/usr/bin/pm2".into()]),
        ("container", |p| p.service.commands = vec!["/usr/bin/docker".into()]),
        ("exec", |p| p.missing = vec!["/usr/bin/nod".into()]),
        ("exec", |p| {
            p.service.result = "exit-code".into();
            p.service.status = 203;
        }),
        ("chdir", |p| p.homeless = true),
        ("no-restart", |p| p.service.restart = "no".into()),
        ("start-limit-action", |p| p.service.limit_action = "reboot".into()),
        ("start-limit-action", |p| p.service.failure_action = "poweroff".into()),
        ("start-limit", |p| p.service.limit_interval = Some(Duration::from_secs(3600))),
        ("start-limit", |p| p.service.restart_delay = Some(Duration::from_millis(100))),
        ("stop-timeout", |p| p.service.timeout_stop = None),
        ("network-online", |p| p.service.after.clear()),
        ("one-family", |p| {
            if let Some(found) = &mut p.found {
                found.listening[0].address = IpAddr::from([127, 0, 0, 1]);
            }
        }),
        ("no-http", |p| p.target.http = None),
        ("health-redirects", |p| p.health = Some(answering(302, 5, &[("location", "/login")]))),
        ("health-needs-host", |p| {
            let named = Some(("shop.example".to_owned(), asked(200, 5, &[])));
            p.health = Some(Health { named, ..answering(404, 5, &[]) });
        }),
        ("health-slow", |p| p.health = Some(answering(200, 2000, &[]))),
        ("health-static", |p| p.health = Some(answering(200, 5, &[("x-nextjs-prerender", "1")]))),
    ];
    for (word, change) in changes {
        let findings = found(change);
        assert_eq!(words(&findings), [word], "{findings:#?}");
        assert!(!findings[0].mend.is_empty(), "{word} names no way to mend it");
    }
    let refused = Health { plain: Err("connection refused".into()), ..answering(200, 5, &[]) };
    assert_eq!(words(&found(|p| p.health = Some(refused))), ["health-unanswered"]);
    assert_eq!(words(&found(|p| p.health = Some(answering(500, 5, &[])))), ["health-bad"]);
}

/// nginx that goes to the very address is no reason to complain.
#[test]
fn one_family_is_enough_for_who_names_it() {
    use crate::server::nginx::{Pass, Site, Upstream};
    for (host, expected) in [("127.0.0.1", vec![]), ("localhost", vec!["one-family"])] {
        let findings = found(|p| {
            let Some(found) = &mut p.found else { return };
            found.listening[0].address = IpAddr::from([127, 0, 0, 1]);
            let passes = vec![Pass { location: "/".into(), to: vec![Upstream::Host(host.into(), 3000)] }];
            let site = Site { file: String::new(), names: vec![], ports: vec![(80, false)], passes };
            found.sites = vec![(site, 3000)];
        });
        assert_eq!(words(&findings), expected, "{host}");
    }
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
    server.host = crate::server::Facts { memory: 1 << 30, swap: 0, journal_kept: false };
    server.strays = vec![
        stray(Keeper::Pm2),
        stray(Keeper::Container("0af3".into())),
        stray(Keeper::User("1000".into(), "shop.service".into())),
        stray(Keeper::Session),
    ];
    server.restarters =
        vec![Restarter::of("cron", "/etc/crontab, line 3"), Restarter::of("loop", "/root/w.sh (pid 3)")];
    server
}

#[test]
fn the_host_and_who_else_restarts() {
    let server = crowded();
    assert_eq!(words(&lint::app(&sound(), &server)), ["cron", "loop"]);
    assert_eq!(
        words(&lint::host(&server)),
        ["no-swap", "journal", "under-pm2", "under-docker", "under-user", "under-session"]
    );
    let mut well = Server::empty();
    well.host = crate::server::Facts { memory: 8 << 30, swap: 0, journal_kept: true };
    assert_eq!(lint::host(&well), []);
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
    let text = shown(&answer, Terminal::PLAIN);
    assert!(text.starts_with("web: problem: /usr/bin/nod [31m does not exist"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
    let text = shown(&Answer { findings: vec![], apps: vec![], unseen: vec![] }, Terminal::PLAIN);
    assert!(
        text.contains("nothing was found about this host") && text.contains("app-monitor init"),
        "{text}"
    );
}
