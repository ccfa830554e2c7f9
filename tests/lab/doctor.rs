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
        restart: "always".to_owned(),
        service_lines: "RestartSec=1s".to_owned(),
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
        // What is no finding about an ordinary unit, systemd's own defaults among it.
        for lines in ["", "RestartSec=100ms", "WorkingDirectory=-/srv/gone", "TimeoutStopSec=20s"] {
            m.write(
                "/etc/systemd/system/web.service.d/x.conf",
                &format!("[Service]\nRestartSec=100ms\n{lines}\n"),
            );
            m.must("systemctl daemon-reload");
            let mut found = self::found(m, "web");
            found.retain(|word| word != "no-swap");
            assert!(found.is_empty(), "{lines}: {found:?}");
        }
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
            service_lines:
                "TimeoutStopSec=5min\nEnvironment=DATABASE_URL=postgres://u:s3cret@192.0.2.77:5432/x"
                    .to_owned(),
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

/// What is found, whole.
fn findings(m: &Machine) -> Vec<Value> {
    let json: Value = serde_json::from_str(&m.run("app-monitor doctor --json").stdout).unwrap_or_default();
    let mut findings = json["findings"].as_array().cloned().unwrap_or_default();
    // That one is about the lab's host.
    findings.retain(|finding| finding["finding"] != "no-swap");
    findings
}

/// The configuration as tables of lines.
type Tables = Vec<(String, Vec<String>)>;

fn configure(m: &Machine, tables: &Tables) {
    let text: Vec<String> =
        tables.iter().map(|(head, lines)| format!("{head}\n{}\n", lines.join("\n"))).collect();
    m.configure(&text.join("\n"));
}

/// Does what was said, to the letter.
fn follow(m: &Machine, findings: &[Value], tables: &mut Tables) {
    for (number, finding) in findings.iter().enumerate() {
        let mend = finding["mend"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mend: Vec<&str> = mend.filter(|line| !line.starts_with('#')).collect();
        let Some((first, rest)) = mend.split_first() else { continue };
        let edited = first.strip_prefix("systemctl edit ").filter(|unit| !unit.starts_with('-'));
        if let Some(unit) = edited {
            m.write(
                &format!("/etc/systemd/system/{unit}.d/{number:02}.conf"),
                &format!("{}\n", rest.join("\n")),
            );
        } else if let Some((_, lines)) = tables.iter_mut().find(|(head, _)| head == first) {
            for line in rest {
                let key = line.split(" = ").next().unwrap_or_default();
                lines.retain(|known| !known.starts_with(&format!("{key} = ")));
                lines.push((*line).to_owned());
            }
        } else {
            for line in mend {
                m.run(line);
            }
        }
    }
    m.must("systemctl daemon-reload");
    configure(m, tables);
}

#[test]
fn doctor_is_silent_when_what_it_said_is_done() {
    scenario("doctor-mends", |m| {
        m.must("ip link set lo up; useradd --system web");
        m.write("/etc/systemd/journald.conf.d/small.conf", "[Journal]\nStorage=volatile\n");
        m.install_app(&AppSpec {
            bind: "127.0.0.1".to_owned(),
            unit_lines:
                "StartLimitIntervalSec=1h\nStartLimitBurst=2\nStartLimitAction=reboot\nFailureAction=reboot"
                    .to_owned(),
            service_lines:
                "TimeoutStopSec=5min\nEnvironment=DATABASE_URL=postgres://u:s3cret@192.0.2.77:5432/x"
                    .to_owned(),
            ..AppSpec::new("web", 3000)
        });
        // What is slow, made beforehand, elsewhere, or answers to a name only; and a path that would do.
        m.write(
            "/srv/odd.js",
            "require('http').createServer((q, r) => {\n\
               if (q.url === '/up') return r.end('ok');\n\
               if (q.url === '/named' && q.headers.host === 'shop.example') return r.end('ok');\n\
               if (q.url === '/tls' && q.headers['x-forwarded-proto'] === 'https') return r.end('ok');\n\
               if (q.url === '/tls') { r.writeHead(301, { location: 'https://shop.example/tls' }); return r.end(); }\n\
               if (q.url === '/old') { r.writeHead(302, { location: '/old/' }); return r.end(); }\n\
               if (q.url === '/old/') return r.end('ok');\n\
               if (q.url === '/slow') return setTimeout(() => r.end('ok'), 800);\n\
               r.writeHead(q.url === '/page' ? 200 : 404, { etag: 'x', 'last-modified': 'y' }); r.end();\n\
             }).listen(4000);\n",
        );
        m.write(
            "/etc/systemd/system/odd.service",
            "[Service]\nExecStart=/usr/bin/node /srv/odd.js\nRestart=always\nRestartSec=10min\nTimeoutStopSec=infinity\n",
        );
        m.write(
            "/etc/nginx/sites-enabled/default",
            "server { server_name shop.example; location / { proxy_pass http://127.0.0.1:4000; } }\n\
             server { server_name web.example; location / { proxy_pass http://localhost:3000; } }\n",
        );
        // One that cannot start, for three reasons.
        m.write("/srv/lost/app.sh", "#!/bin/sh\nexec sleep 1d\n");
        m.must("chmod 755 /srv/lost && chmod 644 /srv/lost/app.sh && mkdir -p /srv/shut/in && chmod 700 /srv/shut");
        let lost = |name: &str, lines: &str| {
            m.write(
                &format!("/etc/systemd/system/{name}.service"),
                &format!("[Service]\nRestart=always\n{lines}\n"),
            );
        };
        lost("lost", "ExecStart=/srv/lost/app.sh\nWorkingDirectory=/srv/gone");
        lost("lost2", "ExecStart=/usr/local/bin/sleep 1d\nWorkingDirectory=/srv/shut/in\nUser=web");
        m.must("systemctl daemon-reload && systemctl start odd");
        m.wait_http_ok(SOON, 4000, "/up");

        // Who else restarts web.
        m.write("/etc/cron.d/heal", "# m h\n*/5 * * * * root systemctl restart web\n");
        m.write("/usr/local/bin/heal", "#!/bin/sh\ncurl -sf localhost:3000 || systemctl restart web\n");
        m.write("/etc/cron.daily/heal", "#!/bin/sh\n/usr/local/bin/heal\n");
        m.write(
            "/etc/systemd/system/heal.service",
            "[Service]\nType=oneshot\nExecStart=/usr/local/bin/heal\n",
        );
        m.write(
            "/etc/systemd/system/heal.timer",
            "[Timer]\nOnCalendar=*-*-* 04:00\n[Install]\nWantedBy=timers.target\n",
        );
        m.must(
            "chmod 755 /usr/local/bin/heal && systemctl daemon-reload && systemctl enable --now heal.timer",
        );
        m.must("systemd-run --quiet --unit=again --on-calendar='*-*-* 05:00' systemctl restart web");
        m.write(
            "/root/watch.sh",
            "while sleep 5; do curl -sf localhost:3000 || systemctl restart web; done\n",
        );
        m.must("systemd-run --quiet --unit=watch bash /root/watch.sh");

        let head = |app: &str| format!("[app.{app}]");
        let of = |app: &str, lines: &[&str]| {
            let mut all = vec![format!("unit = \"{app}.service\""), "mode = \"watch\"".to_owned()];
            all.extend(lines.iter().map(|line| (*line).to_owned()));
            (head(app), all)
        };
        let mut tables: Tables = vec![
            of("web", &["port = 3000"]),
            of("odd", &["port = 4000", "http = \"/slow\""]),
            of("lost", &["http = \"http://localhost:3000/api/health\""]),
            of("lost2", &["http = \"http://localhost:3000/api/health\""]),
        ];
        configure(m, &tables);
        let first = findings(m);
        let mut words: Vec<&str> = first.iter().filter_map(|finding| finding["finding"].as_str()).collect();
        words.sort_unstable();
        assert_eq!(
            words,
            [
                "chdir",
                "chdir",
                "cron",
                "cron",
                "exec",
                "exec",
                "health-slow",
                "journal",
                "loop",
                "network-online",
                "no-http",
                "no-restart",
                "one-family",
                "restart-delay",
                "start-limit",
                "start-limit-action",
                "start-limit-action",
                "stop-timeout",
                "stop-timeout",
                "timer",
                "timer"
            ],
            "{first:#?}"
        );
        follow(m, &first, &mut tables);
        // Whom to let in to a folder is left to the person.
        m.must("chgrp web /srv/shut && chmod g+x /srv/shut");
        let left = findings(m);
        assert!(left.is_empty(), "{left:#?}");
        let said = m.run("app-monitor doctor");
        if said.status == 0 {
            assert!(said.stdout.starts_with("nothing to mend"), "{}", said.stdout);
        }

        for path in ["/page", "/named", "/tls", "/old", "/none"] {
            let lines = tables.iter_mut().find(|(known, _)| *known == head("odd")).map(|(_, lines)| lines);
            let lines = lines.unwrap_or_else(|| panic!("it has a table"));
            lines.retain(|line| !line.starts_with("http = "));
            lines.push(format!("http = \"{path}\""));
            configure(m, &tables);
            let first = findings(m);
            assert_eq!(first.len(), 1, "{path}: {first:#?}");
            follow(m, &first, &mut tables);
            let left = findings(m);
            assert!(left.is_empty(), "{path}: {first:#?} {left:#?}");
        }
    });
}

/// What naps need: a program in a home, and folders that not everybody may enter.
fn for_naps(m: &Machine) {
    keep_the_journal(m);
    m.must("mkdir -p /home/me/web /data/web /srv/root && chmod 777 /home/me /home/me/web /data/web");
    m.must("cp /usr/bin/sleep /home/me/web/nap && chmod 755 /home/me/web/nap");
    // Nobody but root may pass on the host.
    m.must("mkdir -p /srv/shut && chmod 700 /srv/shut");
}

/// What is said of the paths of a unit that executes that, the same before it is started and after; and whether
/// it does start.
#[track_caller]
fn nap(m: &Machine, exec: &str, lines: &str) -> (bool, Vec<String>) {
    m.write(
        "/etc/systemd/system/nap.service",
        &format!("[Service]\nExecStart={exec}\nRestart=on-failure\nRestartSec=1d\n{lines}\n"),
    );
    m.must("systemctl daemon-reload; systemctl reset-failed nap 2>/dev/null; true");
    let mut before = found(m, "--unit nap");
    before.retain(|word| matches!(word.as_str(), "exec" | "chdir"));
    m.must("systemctl start nap && sleep 0.5");
    let works = m.run("systemctl is-active nap").stdout.trim() == "active";
    let mut after = found(m, "--unit nap");
    after.retain(|word| matches!(word.as_str(), "exec" | "chdir"));
    m.must("systemctl stop nap");
    assert_eq!(before, after, "{exec} {lines}");
    (works, before)
}

#[test]
fn doctor_accuses_no_path_that_its_service_sees_otherwise() {
    scenario("doctor-sandbox", |m| {
        for_naps(m);
        let words = |exec: &str, lines: &str| nap(m, exec, lines);
        let sleep = "/usr/bin/sleep 1d";
        let fine = (true, Vec::<String>::new());
        let bad = |word: &str| (false, vec![word.to_owned()]);
        for lines in [
            "BindPaths=/data/web:/srv/seen\nWorkingDirectory=/srv/seen",
            "BindReadOnlyPaths=/data/web:/srv/shut/web\nBindPaths=/data/web:/srv/shut\nWorkingDirectory=/srv/shut\nUser=fixture",
            "TemporaryFileSystem=/srv/shut\nWorkingDirectory=/srv/shut\nUser=fixture",
            "StateDirectory=nap\nWorkingDirectory=/var/lib/nap\nUser=fixture",
            "RuntimeDirectory=nap\nWorkingDirectory=/run/nap",
            "RootDirectory=/srv/root\nBindReadOnlyPaths=/usr /bin /lib /lib64\nBindPaths=/data/web:/inside\nWorkingDirectory=/inside",
            "ProtectHome=tmpfs\nBindPaths=/home/me/web\nWorkingDirectory=/home/me/web",
            "ProtectHome=read-only\nWorkingDirectory=/home/me/web",
        ] {
            assert_eq!(words(sleep, lines), fine, "{lines}");
        }
        assert_eq!(words("/srv/seen/nap 1d", "BindPaths=/home/me/web:/srv/seen"), fine);
        for how in ["yes", "tmpfs"] {
            let lines = format!("ProtectHome={how}");
            assert_eq!(words("/home/me/web/nap 1d", &lines), bad("exec"), "{how}");
            assert_eq!(
                words(sleep, &format!("{lines}\nWorkingDirectory=/home/me/web")),
                bad("chdir"),
                "{how}"
            );
        }
        assert_eq!(words(sleep, "WorkingDirectory=/srv/shut\nUser=fixture"), bad("chdir"));
        // What it says mends it.
        let lines = "ProtectHome=yes\nWorkingDirectory=/home/me/web\nProtectHome=read-only\nReadWritePaths=/home/me/web";
        assert_eq!(words("/home/me/web/nap 1d", lines), fine);
    });
}

#[test]
fn doctor_knows_what_stands_before_a_command() {
    scenario("doctor-prefixes", |m| {
        for_naps(m);
        let words = |exec: &str, lines: &str| nap(m, exec, lines);
        let sleep = "/usr/bin/sleep 1d";
        let fine = (true, Vec::<String>::new());
        let bad = |word: &str| (false, vec![word.to_owned()]);
        // What stands before a command: `+` is outside of the sandbox, but not of what is mounted; `!` is root
        // inside of it, `!!` what its unit is.
        let nap_at_home = "/home/me/web/nap 1d";
        let home = "ProtectHome=yes\nWorkingDirectory=/home/me/web";
        let shut = "WorkingDirectory=/srv/shut\nUser=fixture";
        for how in ["+", "-+", "+:", "@-+"] {
            let command =
                format!("{how}{}{nap_at_home}", if how.contains('@') { "/home/me/web/nap " } else { "" });
            assert_eq!(words(&command, home), fine, "{how}");
            assert_eq!(words(&command, shut), fine, "{how}");
        }
        assert_eq!(words(&format!("!{sleep}"), shut), fine);
        assert_eq!(words(&format!("!!{sleep}"), shut), bad("chdir"));
        for how in ["!", "!!", ":", "@"] {
            let command = format!("{how}{}{nap_at_home}", if how == "@" { "/home/me/web/nap " } else { "" });
            assert_eq!(words(&command, "ProtectHome=yes"), bad("exec"), "{how}");
        }
        assert_eq!(words(&format!("+{sleep}"), "InaccessiblePaths=/srv\nWorkingDirectory=/srv/shut"), fine);
        assert_eq!(
            words(&format!("+{sleep}"), "BindPaths=/data/web:/srv/bound\nWorkingDirectory=/srv/bound"),
            fine
        );
        let passed_over = (false, vec!["exec".to_owned()]);
        assert_eq!(words("-/srv/gone", ""), passed_over);
    });
}

#[test]
fn doctor_names_the_key_that_counts() {
    scenario("doctor-instances", |m| {
        keep_the_journal(m);
        m.write(
            "/srv/two.js",
            "require('http').createServer((q, r) => { r.writeHead(q.url === '/health' ? 200 : 404); r.end('ok'); })\n\
             .listen(+process.argv[2]);\n",
        );
        m.write(
            "/etc/systemd/system/two@.service",
            "[Service]\nExecStart=/usr/bin/node /srv/two.js %i\nRestart=always\nRestartSec=1s\n",
        );
        m.must("systemctl daemon-reload && systemctl start two@4001 two@4002");
        let instances = |own: &str| {
            m.configure(&format!(
                "[app.two]\nmode = \"watch\"\nhttp = \"/gone\"\ninstances = [\n\
                 {{ unit = \"two@4001\", port = 4001{own} }},\n{{ unit = \"two@4002\", port = 4002 }},\n]\n"
            ));
            m.wait_for(SOON, "they listen", || {
                m.run("curl -sf localhost:4001/health && curl -sf localhost:4002/health").ok().then_some(())
            });
            m.run("app-monitor doctor two").stdout
        };
        let said = instances(", http = \"/lost\"");
        assert!(
            said.contains("# in its instances, where unit is two@4001.service: http = \"/health\""),
            "{said}"
        );
        assert_eq!(said.matches("\n      http = \"/health\"").count(), 1, "{said}");
        let said = instances("");
        assert_eq!(said.matches("\n      http = \"/health\"").count(), 2, "{said}");
    });
}

#[test]
fn doctor_asks_as_the_daemon_does() {
    scenario("doctor-asks", |m| {
        keep_the_journal(m);
        m.must(
            "set -e; mkdir -p /srv/tls; cd /srv/tls
             openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
                 -subj '/CN=Lab authority' -keyout ca.key -out ca.pem 2>/dev/null
             openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=localhost' \
                 -addext 'subjectAltName=DNS:localhost' -keyout site.key -out site.csr 2>/dev/null
             openssl x509 -req -in site.csr -CA ca.pem -CAkey ca.key -CAcreateserial -copy_extensions copy \
                 -days 90 -out site.pem 2>/dev/null",
        );
        m.write(
            "/srv/tls/app.js",
            "const fs = require('fs');\n\
             require('https').createServer({ key: fs.readFileSync('/srv/tls/site.key'), cert: fs.readFileSync('/srv/tls/site.pem') }, (q, r) => {\n\
               if (q.headers['x-token'] !== 's3cret') { r.writeHead(401); return r.end('no'); }\n\
               if (q.url === '/slow') return setTimeout(() => r.end('ok'), 800);\n\
               if (q.url === '/login') { r.writeHead(302, { location: '/in?token=s3cret' }); return r.end(); }\n\
               if (q.url === '/page') { r.writeHead(200, { etag: 'x', 'last-modified': 'y' }); return r.end(); }\n\
               r.end(q.method === 'POST' ? 'posted' : 'ok');\n\
             }).listen(4443);\n",
        );
        m.write(
            "/etc/systemd/system/tls.service",
            "[Service]\nExecStart=/usr/bin/node /srv/tls/app.js\nRestart=always\nRestartSec=1s\n",
        );
        m.must("systemctl daemon-reload && systemctl start tls");
        m.wait_for(SOON, "it listens", || m.run("curl -ks https://localhost:4443/").ok().then_some(()));
        let of = |http: &str| {
            m.configure(&format!(
                "[app.tls]\nunit = \"tls.service\"\nport = 4443\nmode = \"watch\"\nhttp = {{ {http} }}\n"
            ));
            let said = m.run("app-monitor doctor");
            assert!(!said.stdout.contains("s3cret") && !said.stderr.contains("s3cret"), "{}", said.stdout);
            let mut found = found(m, "tls");
            found.retain(|word| word != "no-swap");
            found
        };
        let at = |path: &str, more: &str| {
            format!("url = \"https://localhost:4443{path}\", headers = {{ X-Token = \"s3cret\" }}{more}")
        };
        // Nobody vouches for its certificate yet.
        assert_eq!(of(&at("/", "")), ["health-unanswered"]);
        m.must("cat /srv/tls/ca.pem >>/etc/ssl/certs/ca-certificates.crt");
        assert_eq!(of(&at("/", "")), [""; 0]);
        assert_eq!(of(&at("/", ", method = \"POST\", body = \"posted\"")), [""; 0]);
        assert_eq!(of(&at("/", ", body = \"posted\"")), ["health-bad"]);
        assert_eq!(of("url = \"https://localhost:4443/\""), ["health-bad"]);
        assert_eq!(of(&at("/slow", "")), ["health-slow"]);
        assert_eq!(of(&at("/page", "")), ["health-static"]);
        assert_eq!(of(&at("/login", "")), ["health-redirects"]);
        assert_eq!(of(&at("/login", ", status = 302")), [""; 0]);
    });
}

#[test]
fn doctor_sees_timers_and_no_more_than_is_theirs() {
    scenario("doctor-timers", |m| {
        keep_the_journal(m);
        m.install_app(&sound());
        let timer = |name: &str, line: &str| {
            m.write(
                &format!("/etc/systemd/system/{name}.service"),
                &format!("[Service]\nType=oneshot\nExecStart={line}\n"),
            );
            m.write(&format!("/etc/systemd/system/{name}.timer"), "[Timer]\nOnCalendar=*-*-* 04:00\n");
            m.must(&format!("systemctl daemon-reload && systemctl start {name}.timer"));
        };
        // About another app, and about none.
        timer("other", "/usr/bin/systemctl restart shop");
        timer("tidy", "/usr/bin/find /srv/web -name x -delete");
        let timers = |m: &Machine| found(m, "--unit web").iter().filter(|word| *word == "timer").count();
        assert_eq!(timers(m), 0);
        timer("direct", "/usr/bin/systemctl restart web.service");
        assert_eq!(timers(m), 1);
        timer("curl", "/bin/sh -c 'curl -sf localhost:3000/api/health || systemctl restart web'");
        assert_eq!(timers(m), 2);
        m.write("/etc/systemd/system/kick.timer", "[Timer]\nOnCalendar=*-*-* 04:00\nUnit=web.service\n");
        m.must("systemctl daemon-reload && systemctl start kick.timer");
        assert_eq!(timers(m), 3);
        // One that does not tick does nothing.
        m.must("systemctl stop direct.timer curl.timer");
        assert_eq!(timers(m), 1);
        let said = m.run("app-monitor init");
        assert!(said.stdout.contains("kick.timer") && said.stdout.contains("other.timer"), "{}", said.stdout);
        assert!(!said.stdout.contains("tidy.timer"), "{}", said.stdout);
    });
}
