//! `app-monitor doctor`: each finding once, on a server that has what it is about.

use serde_json::Value;

use crate::machine::{AppSpec, Machine, scenario};
use crate::support::{SOON, table};

/// What is found, as words, of an app or a unit (`--unit X`).
#[track_caller]
fn found(m: &Machine, whom: &str) -> Vec<String> {
    let said = m.run(&format!("app-monitor doctor {whom} --json"));
    let json: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let findings = json["findings"].as_array().cloned().unwrap_or_default();
    assert_eq!(said.status, i32::from(!findings.is_empty()), "{}{}", said.stdout, said.stderr);
    findings.iter().map(|finding| finding["finding"].as_str().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
fn has(m: &Machine, whom: &str, word: &str) {
    let found = found(m, whom);
    assert_eq!(found.iter().filter(|known| *known == word).count(), 1, "{word} of {whom}: {found:?}");
}

/// An app about which there is nothing to say.
fn sound() -> AppSpec {
    AppSpec {
        restart: "on-failure".to_owned(),
        service_lines: "RestartSec=3s\nTimeoutStopSec=20s".to_owned(),
        ..AppSpec::new("web", 3000)
    }
}

fn keep_the_journal(m: &Machine) {
    // Where the lab's host has little memory and no swap, that is true as well.
    m.must("mkdir -p /var/log/journal && ip link set lo up");
}

#[test]
fn doctor_finds_nothing_about_a_sound_app() {
    scenario("doctor-sound", |m| {
        keep_the_journal(m);
        m.install_app(&sound());
        m.configure(&table("web", 3000, ""));
        let mut found = found(m, "web");
        found.retain(|word| word != "no-swap");
        assert!(found.is_empty(), "{found:?}");
        let shown = m.run("app-monitor doctor nope");
        assert_eq!(shown.status, 1, "{}", shown.stderr);
        assert_eq!(m.run("app-monitor doctor --unit 'a b'").status, 2);
    });
}

#[test]
fn doctor_names_what_is_wrong_with_a_unit() {
    scenario("doctor-unit", |m| {
        keep_the_journal(m);
        let unit = "StartLimitIntervalSec=1h\nStartLimitBurst=2\nStartLimitAction=reboot";
        m.install_app(&AppSpec {
            bind: "127.0.0.1".to_owned(),
            unit_lines: unit.to_owned(),
            service_lines: "Environment=DATABASE_URL=postgres://u:s3cret@192.0.2.77:5432/x".to_owned(),
            ..AppSpec::new("web", 3000)
        });
        m.configure(&table("web", 3000, ""));
        for word in [
            "no-restart",
            "start-limit",
            "start-limit-action",
            "stop-timeout",
            "network-online",
            "one-family",
        ] {
            has(m, "web", word);
        }
        has(m, "--unit web", "no-http");
        let shown = m.run("app-monitor doctor");
        assert!(shown.stdout.lines().all(|line| line.chars().count() <= 80), "{}", shown.stdout);
        assert!(shown.stdout.contains("StartLimitAction=none"), "{}", shown.stdout);
        assert!(!shown.stdout.contains("s3cret"), "{}", shown.stdout);

        m.write(
            "/etc/systemd/system/gone.service",
            "[Service]\nExecStart=/usr/bin/nod x\nWorkingDirectory=/srv/gone\n",
        );
        m.must("systemctl daemon-reload");
        m.run("systemctl start gone");
        has(m, "--unit gone", "exec");
        has(m, "--unit gone", "chdir");
        has(m, "--unit nope", "no-unit");
    });
}

#[test]
fn doctor_looks_at_the_health_path() {
    scenario("doctor-health", |m| {
        keep_the_journal(m);
        m.install_app(&sound());
        m.write(
            "/srv/odd.js",
            "require('http').createServer((q, r) => {\n\
               if (q.url === '/named') { r.writeHead(q.headers.host === 'shop.example' ? 200 : 404); return r.end(); }\n\
               if (q.url === '/slow') return setTimeout(() => r.end('ok'), 800);\n\
               r.writeHead(200, { etag: 'x', 'last-modified': 'y' }); r.end();\n\
             }).listen(4000);\n",
        );
        m.write(
            "/etc/nginx/sites-enabled/default",
            "server { server_name shop.example; location / { proxy_pass http://127.0.0.1:4000; } }\n",
        );
        m.must("systemd-run --quiet --unit=odd node /srv/odd.js");
        m.wait_http_ok(SOON, 4000, "/static");
        let web = |path: &str| {
            m.configure(&format!(
                "[app.web]\nunit = \"web.service\"\nport = 3000\nhttp = \"{path}\"\nmode = \"watch\"\n"
            ));
        };
        web("/moved");
        has(m, "web", "health-redirects");
        web("/nothing");
        has(m, "web", "health-bad");
        for (path, word) in
            [("/named", "health-needs-host"), ("/slow", "health-slow"), ("/static", "health-static")]
        {
            m.configure(&format!(
                "[app.odd]\nunit = \"odd.service\"\nport = 4000\nhttp = \"{path}\"\nmode = \"watch\"\n"
            ));
            has(m, "odd", word);
        }
    });
}

#[test]
fn doctor_names_who_else_restarts_and_what_runs_elsewhere() {
    scenario("doctor-others", |m| {
        m.must("ip link set lo up; rm -rf /var/log/journal");
        m.install_app(&sound());
        m.write("/etc/cron.d/heal", "*/5 * * * * root systemctl restart web\n");
        m.write(
            "/root/watch.sh",
            "while sleep 5; do curl -sf localhost:3000 || systemctl restart web; done\n",
        );
        m.must("systemd-run --quiet --unit=watch bash /root/watch.sh");
        m.write("/srv/shop.js", "require('http').createServer((q, r) => r.end('ok')).listen(4000);\n");
        m.write(
            "/srv/god.js",
            "require('child_process').spawn(process.execPath, ['/srv/shop.js'], { cwd: '/srv' });\n\
             setInterval(() => {}, 1000);\n",
        );
        m.must("systemd-run --quiet --unit=pm2-root node --title='PM2 v5.4.0: God Daemon (/root/.pm2)' /srv/god.js");
        m.wait_http_ok(SOON, 4000, "/");
        for word in ["cron", "loop", "journal", "under-pm2"] {
            has(m, "--unit web", word);
        }
        has(m, "--unit pm2-root", "pm2");
    });
}
