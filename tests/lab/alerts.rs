//! Whom the monitor tells, and how it gets there: receivers that are away, hang, refuse and want to do
//! harm; restarts, kills and reboots in between.

use std::time::Duration;

use serde_json::Value;

use crate::machine::{AppSpec, Machine, now, scenario};
use crate::receiver::{
    HOOK, LONG, asked, incident, install_receiver, messages, receive, receive_encrypted, told, wait_told,
    webhook,
};
use crate::support::{SOON, UNIT, as_nobody, config, count, let_pass, quick, table, watch};

const BOTH: [&str; 2] = ["incident-opened web-1", "incident-closed web-1"];

#[test]
fn alerts_get_through_to_a_receiver_that_refuses_asks_for_time_and_fails() {
    scenario("alert-retry", |m| {
        install_receiver(m);
        watch(m, &AppSpec::new("web", 3000), &webhook(""));
        let at = incident(m);
        let failed = m.wait_event(SOON, "web", "alert-failed", at);
        assert!(
            failed.message.contains("could not tell hook of incident-opened: cannot connect: connection refused; it is tried again in 5 s"),
            "{}",
            failed.message
        );
        assert_eq!(m.run("app-monitor alerts").status, 1, "a channel that fails needs attention");
        receive(m, "429");
        let tries = |how: &str| asked(m).iter().filter(|one| one["how"] == how).count();
        m.wait_for(SOON, "it is asked for time", || (tries("429") > 0).then_some(()));
        m.write("/srv/receiver/mode", "500");
        m.wait_for(SOON, "it fails", || (tries("500") > 0).then_some(()));
        m.write("/srv/receiver/mode", "ok");
        wait_told(m, LONG, &BOTH);
        assert_eq!(messages(m).len(), 1, "what waits goes out together");
        let text = messages(m)[0]["text"].as_str().unwrap_or_default().to_owned();
        assert!(text.contains("web: incident web-1: crashed") && text.contains("is over after"), "{text}");
        assert_eq!(count(m, "web", "alert-failed", at), 1, "told once, not at each try");
        assert_eq!(count(m, "web", "alert-sent", at), 2);
        let listed: Value = serde_json::from_str(&m.must("app-monitor alerts --json")).expect("JSON");
        assert_eq!((&listed[0]["waiting"], &listed[0]["failures"]), (&0.into(), &0.into()), "{listed}");
        assert_eq!(listed[0]["last"]["sent"], true, "{listed}");
        let_pass(Duration::from_secs(5));
        assert_eq!(told(m), BOTH);
    });
}

#[test]
fn alerts_go_over_tls_to_a_receiver_that_the_trust_store_vouches_for_and_to_no_other() {
    scenario("alert-tls", |m| {
        install_receiver(m);
        m.make_authority();
        receive_encrypted(m, "hooks.example", "-days 90");
        m.must("echo 127.0.0.1 hooks.example >>/etc/hosts");
        let url = "https://hooks.example:9000/hook/geheim-t0ken";
        watch(
            m,
            &AppSpec::new("web", 3000),
            &format!("[alerts.hook]\nkind = \"webhook\"\nurl = \"{url}\"\n"),
        );
        let refused = |at, why: &str| {
            let failed = m.wait_event(LONG, "web", "alert-failed", at).message;
            assert!(failed.contains(why) && failed.contains("it is tried again in 5 s"), "{failed}");
            assert!(!failed.contains("hooks.example") && !failed.contains("t0ken"), "{failed}");
        };
        // The authority of the house is not known to this host yet.
        let at = incident(m);
        refused(at, "certificate is of an authority that this host does not trust");
        assert_eq!(m.run("app-monitor alerts").status, 1, "a channel that fails needs attention");
        assert_eq!(asked(m).len(), 0, "nothing is said to a stranger");
        m.trust_authority();
        wait_told(m, LONG, &BOTH);
        assert_eq!(count(m, "web", "alert-failed", at), 1, "told once, not at each try");
        assert_eq!(m.run("app-monitor alerts").status, 0);

        // One for another name, and one that is not valid any more.
        receive_encrypted(m, "other.example", "-days 90");
        let at = incident(m);
        refused(at, "certificate is not valid for the name that is asked");
        receive_encrypted(m, "hooks.example", "-days 0");
        // Valid until the second in which it was made.
        let_pass(Duration::from_secs(2));
        let tested = m.run("app-monitor alerts test hook");
        assert!(tested.stderr.contains("certificate expired"), "{}", tested.stderr);
        assert_eq!(told(m), BOTH);
        receive_encrypted(m, "hooks.example", "-days 90");
        wait_told(m, LONG, &[BOTH[0], BOTH[1], "incident-opened web-2", "incident-closed web-2"]);
    });
}

#[test]
fn alerts_survive_kills_restarts_and_a_reboot() {
    scenario("alert-durable", |m| {
        install_receiver(m);
        receive(m, "hang");
        watch(m, &AppSpec { enabled: true, ..AppSpec::new("web", 3000) }, &webhook(""));
        m.must("systemctl enable app-monitor");
        incident(m);
        m.wait_for(SOON, "it is in the middle of it", || (!asked(m).is_empty()).then_some(()));
        m.must(&format!("systemctl kill --signal=KILL {UNIT}"));
        m.write("/srv/receiver/mode", "ok");
        wait_told(m, SOON, &BOTH);
        // Taken while it is told to stop: what is on its way has a moment more.
        m.write("/srv/receiver/mode", "late");
        incident(m);
        let begun = || asked(m).iter().filter(|one| one["how"] == "late").count();
        m.wait_for(SOON, "it is told", || (begun() > 0).then_some(()));
        m.must(&format!("systemctl restart {UNIT}"));
        // The rest is not on its way yet: it waits for what may come with it.
        m.write("/srv/receiver/mode", "ok");
        let four = [BOTH[0], BOTH[1], "incident-opened web-2", "incident-closed web-2"];
        wait_told(m, SOON, &four);
        let waiting = || serde_json::from_str::<Value>(&m.must("app-monitor alerts --json")).expect("JSON");
        m.wait_for(SOON, "the answer is taken in", || (waiting()[0]["waiting"] == 0).then_some(()));
        // Nobody is there, and the host goes down.
        m.must("systemctl stop receiver");
        let at = incident(m);
        m.wait_event(SOON, "web", "alert-failed", at);
        m.reboot();
        let kept = m.must("cat /var/lib/app-monitor/alerts.json");
        assert!(kept.contains("web-3"), "{kept}");
        receive(m, "ok");
        m.wait_for(LONG, "the rest is told", || (told(m).len() >= 6).then_some(()));
        assert_eq!(told(m)[4..6], ["incident-opened web-3", "incident-closed web-3"]);
        let ids: std::collections::BTreeSet<String> = messages(m)
            .iter()
            .flat_map(|message| message["alerts"].as_array().cloned().unwrap_or_default())
            .map(|alert| alert["id"].to_string())
            .collect();
        assert_eq!(ids.len(), told(m).len(), "each once");
    });
}

#[test]
fn alerts_of_many_apps_at_once_are_one_message() {
    scenario("alert-group", |m| {
        install_receiver(m);
        receive(m, "ok");
        let apps: Vec<(String, u16)> = (0..5_u16).map(|i| (format!("web{i}"), 3000 + i)).collect();
        let tables: String = apps.iter().map(|(app, port)| table(app, *port, "")).collect();
        for (app, port) in &apps {
            m.install_app(&AppSpec::new(app, *port));
        }
        m.configure(&quick(&format!("{tables}{}", webhook("events = \"incident-opened\""))));
        for (app, _) in &apps {
            m.wait_verdict(SOON, app, "healthy", Duration::ZERO);
        }
        for (app, _) in &apps {
            m.fault(app, "crash");
        }
        m.wait_for(SOON, "all are told", || (told(m).len() >= 5).then_some(()));
        let messages = messages(m);
        assert_eq!(messages.len(), 1, "{messages:#?}");
        let title = messages[0]["title"].as_str().unwrap_or_default();
        assert!(title.ends_with(": 5 apps: 5 messages"), "{title}");
    });
}

#[test]
fn alerts_are_held_back_and_repeated_as_configured() {
    scenario("alert-pace", |m| {
        install_receiver(m);
        receive(m, "ok");
        watch(m, &AppSpec::new("web", 3000), &webhook("repeat = \"8s\"\nmin_duration = \"12s\""));
        incident(m);
        // What cannot be mended lasts.
        m.break_starts("web", "status 500");
        m.fault("web", "status 500");
        m.wait_for(LONG, "it is repeated", || {
            (told(m).iter().any(|one| one.ends_with("again"))).then_some(())
        });
        let first = told(m).first().cloned().unwrap_or_default();
        assert_eq!(first, "incident-opened web-2", "the first was over too soon: {:?}", told(m));
        m.mend("web");
        m.must("app-monitor recover web");
        m.wait_for(LONG, "it is over", || {
            told(m).iter().any(|one| one == "incident-closed web-2").then_some(())
        });
        let last = messages(m).pop().unwrap_or_default().to_string();
        assert!(last.contains("is over after"), "it says how long it took: {last}");
        let so_far = told(m).len();
        let_pass(Duration::from_secs(12));
        assert_eq!(told(m).len(), so_far, "what is over is not repeated: {:?}", told(m));
    });
}

#[test]
fn alerts_show_their_secrets_to_nobody() {
    scenario("alert-secret", |m| {
        install_receiver(m);
        receive(m, "404");
        m.must("install -m 0600 /dev/null /etc/app-monitor/credentials/hook");
        m.write("/etc/app-monitor/credentials/hook", &format!("{HOOK}\n"));
        m.must(&format!("systemctl restart {UNIT}"));
        let tables = format!(
            "{}[alerts.cred]\nkind = \"webhook\"\ncredential = \"hook\"\n[alerts.lost]\nkind = \"ntfy\"\n\
             credential = \"lost\"\n[alerts.mail]\nkind = \"email\"\nto = \"a@b\"\n\
             url = \"smtp://geheim:geheim-passw0rd@127.0.0.1:9\"\n[heartbeat]\nurl = \"{HOOK}\"\nevery = \"1s\"",
            webhook("")
        );
        watch(m, &AppSpec::new("web", 3000), &tables);
        let at = incident(m);
        m.wait_for(LONG, "each has failed", || (count(m, "web", "alert-failed", at) >= 4).then_some(()));
        assert!(asked(m).len() >= 2, "both asked the same place: {:?}", asked(m));
        let tests: Vec<_> = ["hook", "cred", "lost", "mail"]
            .map(|name| m.run(&format!("app-monitor alerts test {name}")))
            .into();
        assert!(tests.iter().all(|test| test.status == 1), "{tests:?}");
        assert!(
            tests[2]
                .stderr
                .contains("credential lost is not there; put it into /etc/app-monitor/credentials/lost"),
            "{tests:?}"
        );
        assert!(m.journal_of(UNIT).contains("[alerts.lost]: credential lost is not there"));
        assert!(m.journal_of(UNIT).contains("the heartbeat does not get out: answers 404"));
        let mut seen = m.journal();
        for line in [
            "app-monitor alerts",
            "app-monitor alerts --json",
            "app-monitor config show",
            "app-monitor config show --json",
            "app-monitor status --json",
            "systemctl status app-monitor",
            "grep -r . /var/lib/app-monitor /run/app-monitor",
        ] {
            let shown = m.run(line);
            seen.push_str(&shown.stdout);
            seen.push_str(&shown.stderr);
        }
        seen.push_str(&format!("{tests:?}"));
        let told: Vec<&str> =
            seen.lines().filter(|line| line.contains("t0ken") || line.contains("passw0rd")).collect();
        assert!(told.is_empty(), "{told:#?}");
        // Nobody else reads it where it has to be.
        assert_eq!(m.must("stat -c '%U:%G %a' /etc/app-monitor/credentials"), "root:root 700");
        let others = as_nobody(
            m,
            "grep -r geheim /etc/app-monitor /run/app-monitor-resolved /run/credentials /var/lib/app-monitor",
        );
        assert!(others.stdout.is_empty(), "{}", others.stdout);
        assert!(!as_nobody(m, "app-monitor alerts").ok());
        assert!(!as_nobody(m, "app-monitor alerts test hook").ok());
        // It is the right place all the same.
        m.write("/srv/receiver/mode", "ok");
        assert_eq!(m.must("app-monitor alerts test cred"), "cred: sent; answers 200");
        assert_eq!(m.run("app-monitor alerts test none").status, 1);
        m.must("systemctl stop app-monitor");
        assert_eq!(m.run("app-monitor alerts test cred").status, 3);
        assert_eq!(m.run("app-monitor alerts").status, 3);
    });
}

#[test]
fn alerts_to_somebody_hostile_cost_nothing() {
    scenario("alert-hostile", |m| {
        install_receiver(m);
        receive(m, "headers");
        watch(m, &AppSpec::new("web", 3000), &webhook(""));
        let memory = || -> u64 {
            let pid = m.main_pid(UNIT);
            let line = m.must(&format!("grep VmRSS /proc/{pid}/status"));
            line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a figure")
        };
        let pid = m.main_pid(UNIT);
        let before = memory();
        for (mode, why) in [
            ("headers", "answers with over 32 KiB of headers"),
            ("endless", "answers 500"),
            ("redirect", "answers 307, a redirect, which is not followed"),
        ] {
            m.write("/srv/receiver/mode", mode);
            let so_far = asked(m).len();
            let tested = m.run("app-monitor alerts test hook");
            assert_eq!(tested.status, 1, "{mode}");
            assert!(tested.stderr.contains(why), "{mode}: {}", tested.stderr);
            assert_eq!(asked(m).len(), so_far + 1, "{mode}: asked once");
        }
        assert!(memory() < before + 4_096, "{before} kB, then {} kB", memory());
        assert_eq!(m.main_pid(UNIT), pid);
        // One that hangs holds nothing else up.
        m.write("/srv/receiver/mode", "hang");
        let at = incident(m);
        assert!(now() - at < SOON);
    });
}

/// A mail server: whoever comes from elsewhere has to speak TLS and to know the password.
const EXIM: &str = r#"
primary_hostname = shop.example
local_interfaces = 192.0.2.2 : 127.0.0.1
daemon_smtp_ports = 25 : 587
tls_advertise_hosts = *
tls_certificate = /srv/tls/site.pem
tls_privatekey = /srv/tls/site.key
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_rcpt = rcpt
log_file_path = syslog
begin acl
rcpt:
  accept authenticated = *
  accept hosts = 127.0.0.1
  deny message = who are you
begin routers
all:
  driver = accept
  transport = inbox
begin transports
inbox:
  driver = appendfile
  file = /srv/inbox/mail
  user = postbox
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and {{eq{$auth2}{monitor}}{eq{$auth3}{p:w0rd@x}}}}
  server_set_id = $auth2
"#;

#[test]
fn alerts_go_by_mail_over_starttls() {
    let m = &Machine::builder("alert-mail").with_servers().boot();
    m.install_app(&AppSpec::new("web", 3000));
    m.make_world();
    m.must("useradd --system --no-create-home postbox && install -d -o postbox /srv/inbox");
    m.must("chgrp Debian-exim /srv/tls/site.key && chmod 0640 /srv/tls/site.key");
    m.write("/etc/exim4/exim4.conf", EXIM);
    let listens = || {
        let port = |address: &str| m.run(&format!("bash -c ': </dev/tcp/{address}/587'")).ok();
        m.wait_for(SOON, "exim listens", || (port("127.0.0.1") && port("192.0.2.2")).then_some(()));
    };
    m.must("systemd-run --quiet --unit=mail /usr/sbin/exim4 -bdf -q1m");
    listens();
    let mail = |name: &str, more: &str| {
        format!(
            "[alerts.{name}]\nkind = \"email\"\nto = \"admin@shop.example\"\nfrom = \"monitor@shop.example\"\n{more}\n"
        )
    };
    let tables = mail("far", "url = \"smtp://monitor:p%3Aw0rd%40x@shop.example\"")
        + &mail("wrong", "url = \"smtp://monitor:wr0ng-one@shop.example\"\nevents = \"blind\"")
        + &mail("local", "events = \"paused\"");
    m.configure(&config(&tables));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    let wrong = m.run("app-monitor alerts test wrong");
    assert!(wrong.stderr.contains("AUTH is answered 535"), "{}", wrong.stderr);
    assert_eq!(m.must("app-monitor alerts test local"), "local: sent; is taken");
    let at = incident(m);
    m.wait_for(LONG, "both are told", || (count(m, "web", "alert-sent", at) >= 2).then_some(()));
    let inbox = || m.read("/srv/inbox/mail").unwrap_or_default();
    m.wait_for(SOON, "the mail is there", || inbox().contains("is over after").then_some(()));
    m.wait_for(SOON, "so is the test", || inbox().contains("This is a test of").then_some(()));
    let inbox = inbox();
    // One mail or two, as slow as the machine is.
    for told in ["web: incident web-1: crashed", "is over after"] {
        let lines = inbox.lines().filter(|line| line.contains(told) && !line.starts_with("Subject:"));
        assert_eq!(lines.count(), 1, "{told}: {inbox}");
    }
    // As the server itself notes how it got there: with TLS and a password (RFC 3848).
    assert!(inbox.contains("with esmtpsa") && inbox.contains("Auto-Submitted: auto-generated"), "{inbox}");
    // A server whose certificate is for somebody else gets nothing.
    m.certify("other.example", "-days 90");
    m.must("systemctl restart mail || systemd-run --quiet --unit=mail2 /usr/sbin/exim4 -bdf -q1m");
    listens();
    let other = m.run("app-monitor alerts test far");
    assert!(other.stderr.contains("certificate is not valid for the name that is asked"), "{}", other.stderr);
}

#[test]
fn alerts_heartbeat_goes_out_while_the_monitor_works() {
    scenario("heartbeat", |m| {
        install_receiver(m);
        receive(m, "ok");
        watch(m, &AppSpec::new("web", 3000), &format!("[heartbeat]\nurl = \"{HOOK}\"\nevery = \"1s\""));
        m.wait_for(SOON, "it beats", || (asked(m).len() >= 3).then_some(()));
        assert!(asked(m).iter().all(|one| one["method"] == "GET"));
        m.must(&format!("systemctl kill --signal=STOP {UNIT}"));
        let stopped = asked(m).len();
        let_pass(Duration::from_secs(4));
        assert!(asked(m).len() <= stopped + 1, "a monitor that hangs has no heart");
        m.must(&format!("systemctl kill --signal=CONT {UNIT}"));
        m.wait_for(SOON, "it beats again", || (asked(m).len() > stopped + 2).then_some(()));
    });
}

#[test]
fn alerts_that_are_too_many_for_the_queue_are_bounded_and_the_beginnings_get_through() {
    scenario("alert-overflow", |m| {
        const APPS: usize = 60;
        install_receiver(m);
        receive(m, "429");
        m.write(
            "/etc/systemd/system/sleeper@.service",
            "[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
        );
        m.must(&format!("systemctl daemon-reload; systemctl start $(seq -f sleeper@%g {APPS})"));
        let app = |number: usize| format!("[app.app{number}]\nunit = \"sleeper@{number}.service\"\n");
        let apps: String = (1..=APPS).map(app).collect();
        let tables = format!(
            "max_parallel = 20\n{}",
            quick(&format!("{apps}{}", webhook("events = [\"incident-opened\", \"incident-closed\"]")))
        );
        m.configure(&tables);
        let listed = || -> Value {
            let text = m.run("app-monitor alerts --json").stdout;
            serde_json::from_str::<Value>(&text).unwrap_or_default()[0].clone()
        };
        let figure = |name: &str| listed()[name].as_u64().unwrap_or(0);
        m.wait_verdict(SOON, "app60", "healthy", Duration::ZERO);
        for round in 1..=2 {
            let at = now();
            m.must("systemctl kill --signal=KILL 'sleeper@*'");
            // Twenty at a time, and a polkit that is late with one of its answers.
            m.wait_for(2 * LONG, &format!("round {round} is over"), || {
                (count(m, "", "incident-closed", at) >= APPS).then_some(())
            });
            assert_eq!(count(m, "", "incident-opened", at), APPS);
            // A restart loses neither what waits nor what is missing.
            m.must(&format!("systemctl restart {UNIT}"));
            m.wait_for(SOON, "it is back", || (figure("waiting") > 0).then_some(()));
        }
        let missing = 4 * APPS - 200;
        assert_eq!((figure("waiting"), figure("missing")), (200, missing as u64), "{}", listed());
        assert_eq!(m.run("app-monitor alerts").status, 1, "a channel that fails needs attention");
        let size: usize = m.must("stat -c %s /var/lib/app-monitor/alerts.json").parse().expect("a size");
        assert!(size < 256 << 10, "{size} bytes");

        m.write("/srv/receiver/mode", "ok");
        m.wait_for(LONG, "what waits is told", || (told(m).len() >= 200).then_some(()));
        let_pass(Duration::from_secs(5));
        let told = told(m);
        let of = |event: &str| told.iter().filter(|one| one.starts_with(event)).count();
        assert_eq!((of("incident-opened"), of("incident-closed")), (2 * APPS, 2 * APPS - missing));
        let each: std::collections::BTreeSet<&String> = told.iter().collect();
        assert_eq!(each.len(), told.len(), "each once");
        let messages = messages(m);
        let gone: u64 = messages.iter().filter_map(|message| message["missing"].as_u64()).sum();
        assert_eq!(gone, missing as u64, "it is said how many are missing, once");
        let first = messages[0]["text"].as_str().unwrap_or_default();
        assert!(first.contains(&format!("{missing} earlier messages are missing")), "{first}");
        assert!(messages.len() < 40, "{} messages", messages.len());
        assert_eq!((figure("waiting"), figure("missing")), (0, 0), "{}", listed());
    });
}
