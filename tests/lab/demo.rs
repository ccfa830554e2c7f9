//! What packaging/demo runs: a throw-away Debian in which an app is broken in front of the user,
//! and brought back. Shares the machines with the lab; asserts nothing beyond "it came back".

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a demonstration that cannot go on says so and ends"
)]

mod machine;

use std::io::IsTerminal as _;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use machine::{AppSpec, Machine, cache, now, wait_for};

/// The app's page, asked through nginx as a visitor does.
const SITE: &str = "server {
    listen 80 default_server;
    location / {
        proxy_pass http://127.0.0.1:3000;
        proxy_read_timeout 3s;
    }
}
";

/// Three lines make an app; the rest is for the impatience of a demonstration, in which faults
/// follow each other within a minute, which the cooldown between recoveries would otherwise stretch.
const CONFIG: &str = "[app.web]
unit = \"web.service\"
port = 3000
http = { url = \"/api/health\", json = { \"status\" = \"OK\", \"services.database\" = \"connected\" } }

[defaults]
check_interval = \"5s\"
timeout = \"4s\"
cooldown = \"1s\"
cooldown_max = \"1s\"
";

/// How long a recovery may take here before the demonstration calls it failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// One row of the summary.
struct Row {
    fault: &'static str,
    verdict: String,
    detected: Option<Duration>,
    served: Option<Duration>,
}

/// Text set off by an escape sequence where somebody can see it.
fn styled(code: u8, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn title(text: &str) {
    println!("\n{}", styled(1, &format!("==> {text}")));
}

/// Runs a command in front of the user.
fn show(machine: &Machine, line: &str) {
    println!("{}", styled(2, &format!("# {line}")));
    let output = machine.run_for(Duration::from_secs(120), line);
    for text in [output.stdout, output.stderr] {
        if !text.is_empty() {
            println!("{text}");
        }
    }
}

/// Shows `systemctl status`, without what is the same every time.
fn show_status(machine: &Machine) {
    println!("{}", styled(2, "# systemctl status app-monitor"));
    let status = machine.run("systemctl status app-monitor --lines=0").stdout;
    let dull = ["Docs:", "Process:", "Drop-In:", "Tasks:", "CGroup:"];
    for line in status.lines().filter(|line| {
        !line.trim().is_empty()
            && !line.contains('─')
            && !dull.iter().any(|word| line.trim_start().starts_with(word))
    }) {
        println!("{line}");
    }
}

/// Breaks the app and watches it come back.
fn recover(machine: &Machine, fault: &'static str, act: &dyn Fn() -> Duration) -> Row {
    title(fault);
    let invocation = machine.unit_property("web.service", "InvocationID");
    let at = act();
    let end = at + PATIENCE;
    let mut row = Row { fault, verdict: String::new(), detected: None, served: None };
    let mut shown = false;
    while now() < end {
        let events = machine.events_since("web", at);
        if let Some(event) = events.iter().find(|event| event.name == "recovery-started") {
            row.detected = Some(event.at.saturating_sub(at));
            if !shown {
                shown = true;
                show_status(machine);
            }
        }
        if row.verdict.is_empty()
            && let Some(event) = events.iter().find(|event| event.name == "incident-opened")
        {
            row.verdict = event.field("APP_MONITOR_VERDICT").to_owned();
        }
        if machine.unit_property("web.service", "InvocationID") != invocation
            && machine.http(80, "/api/health").status == 200
        {
            row.served = Some(now().saturating_sub(at));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // The verification is the end of the incident; the next fault shall be one of its own.
    let verified = || {
        machine.events_since("web", at).iter().any(|event| event.name == "recovery-verified").then_some(())
    };
    if row.served.is_some() && row.detected.is_some() {
        wait_for(PATIENCE, "the recovery is verified", verified);
    }
    row
}

fn summary(rows: &[Row]) -> bool {
    title("Summary");
    let seconds = |time: Option<Duration>| {
        time.map_or_else(|| "never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
    };
    println!("{:<44} {:<13} {:>12} {:>12}", "fault", "verdict", "detected", "HTTP 200");
    for row in rows {
        println!(
            "{:<44} {:<13} {:>12} {:>12}",
            row.fault,
            row.verdict,
            seconds(row.detected),
            seconds(row.served)
        );
    }
    rows.iter().all(|row| row.served.is_some())
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let interactive = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--interactive"] => true,
        _ => {
            eprintln!("usage: packaging/demo [--interactive]");
            return ExitCode::from(2);
        }
    };

    title("A throw-away Debian with systemd, nginx and a Node.js app");
    let deb = cache::package();
    let machine = Machine::builder("demo")
        .without_package()
        .app(AppSpec::new("web", 3000))
        .file("/etc/nginx/sites-enabled/default", SITE)
        .enable_packaged("nginx.service")
        .boot();
    machine.wait_http_ok(Duration::from_secs(15), 80, "/api/health");
    show(&machine, "systemctl --no-pager --no-legend list-units web.service nginx.service");

    title("Installing app-monitor");
    machine.copy_in(&deb, "/root/app-monitor.deb");
    show(
        &machine,
        "apt-get install --yes -qq /root/app-monitor.deb 2>&1 | grep -vE '^(\\(Reading|debconf:)'",
    );
    machine.write("/etc/app-monitor/conf.d/web.toml", CONFIG);
    show(&machine, "cat /etc/app-monitor/conf.d/web.toml; systemctl reload app-monitor");

    let mut journal = machine
        .command(Duration::from_secs(24 * 3600), "journalctl")
        .args([
            "--unit=app-monitor.service",
            "--follow",
            "--lines=0",
            "--output=short-precise",
            "--no-hostname",
        ])
        .stdin(Stdio::null())
        .spawn()
        .expect("bash runs");
    // An app has to have been good once before its health check counts.
    wait_for(PATIENCE, "app-monitor finds the app healthy", || {
        machine.unit_property("app-monitor.service", "StatusText").contains("healthy").then_some(())
    });
    show_status(&machine);

    let rows = [
        recover(&machine, "the app crashes", &|| machine.fault("web", "crash")),
        recover(&machine, "the app freezes (event loop blocked)", &|| machine.fault("web", "block")),
        recover(&machine, "its health check answers 500", &|| machine.fault("web", "status 500")),
        recover(&machine, "its health check answers, but says no", &|| machine.fault("web", "badjson")),
    ];
    title("After all that");
    show_status(&machine);
    let _ = journal.kill();
    let _ = journal.wait();

    let fine = summary(&rows);
    if interactive {
        title("A shell in the machine; it is gone when you leave it");
        println!(
            "Break the app: echo block > /srv/web/fault; systemctl kill -s USR2 web  (crash, status 500, drip, await…)"
        );
        machine.shell();
    }
    ExitCode::from(u8::from(!fine))
}
