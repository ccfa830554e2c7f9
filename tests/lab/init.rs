//! `app-monitor init` on a server with an app behind nginx and a database, as a new user has it.

use std::path::Path;

use serde_json::Value;

use crate::machine::{AppSpec, Machine, cache};
use crate::support::{SOON, let_pass, view};

const DEB: &str = "/root/app-monitor.deb";
const FILE: &str = "/etc/app-monitor/conf.d/web.toml";

/// A Node app with a cache of Next.js and an env file, nginx in front of it under a public name, and
/// PostgreSQL.
fn shop(m: &Machine) -> String {
    let postgresql = format!("postgresql@{}-main.service", m.must("ls /etc/postgresql"));
    m.must(&format!("systemctl start {postgresql}"));
    m.write("/srv/web/.next/cache/x", "");
    m.write("/srv/web/web.env", "SECRET=s3cret\nDATABASE_URL=postgresql://web:s3cret@localhost:5432/web\n");
    let mut app = AppSpec::new("web", 3000);
    app.restart = "on-failure".to_owned();
    app.service_lines = "EnvironmentFile=/srv/web/web.env".to_owned();
    m.install_app(&app);
    m.make_world();
    postgresql
}

#[test]
fn init_a_new_users_path() {
    let m = Machine::builder("init").with_servers().without_package().boot();
    let postgresql = shop(&m);
    m.copy_in(&cache::package(), DEB);
    m.must(&format!("apt-get install --yes {DEB}"));
    // A development build in the place of the packaged one.
    if let Some(binary) = std::env::var_os("APP_MONITOR_LAB_BINARY") {
        for (file, name) in [
            (Path::new(&binary).to_owned(), "/usr/bin/app-monitor"),
            (Path::new(&binary).with_file_name("app-monitord"), "/usr/libexec/app-monitor/app-monitord"),
        ] {
            m.copy_in(&file, "/root/built");
            m.must(&format!("chmod 755 /root/built && mv /root/built {name}"));
        }
        m.must("systemctl restart app-monitor");
    }

    // What is proposed is a configuration, and nothing is written yet.
    let proposed = m.must("app-monitor init");
    assert!(proposed.lines().all(|line| line.chars().count() <= 80), "{proposed}");
    assert!(!proposed.contains("s3cret"), "{proposed}");
    assert!(m.read(FILE).is_none());

    let said = m.must("app-monitor init --write");
    assert!(said.contains(&format!("{FILE}: written")), "{said}");
    assert!(said.contains("systemctl reload app-monitor"), "{said}");
    assert_eq!(m.must(&format!("stat -c '%U:%G %a' {FILE}")), "root:app-monitor 640");
    let text = m.read(FILE).unwrap_or_default();
    for line in [
        "unit = \"web.service\"",
        "port = 3000",
        "http = \"/api/health\"",
        "public = \"https://shop.example/\"",
        "proxy = \"nginx.service\"",
        &format!("database = {{ keys = [\"DATABASE_URL\"], unit = \"{postgresql}\" }}"),
        "caches = [\".next/cache\"]",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(!text.contains("s3cret"), "{text}");

    m.must("systemctl reload app-monitor");
    m.wait_for(SOON, "all is well", || {
        let view = view(&m, "web");
        let good = |check: &str| {
            let mut checks = view["checks"].as_array().into_iter().flatten();
            checks.any(|seen| seen["check"] == check && seen["result"] == "good")
        };
        let all = ["port", "http", "public", "database"].into_iter().all(good);
        (all && view["verdict"] == "healthy").then_some(())
    });
    m.must("app-monitor status");
    m.must("app-monitor check");

    // A second time there is nothing to do, and what is there stays as it is.
    m.must(&format!("echo '# mine' >>{FILE}"));
    let again = m.must("app-monitor init --write");
    assert!(again.contains("web.service: configured already, as web"), "{again}");
    assert!(m.read(FILE).unwrap_or_default().ends_with("# mine"));
    assert_eq!(m.must("ls -A /etc/app-monitor/conf.d"), "web.toml");
}

#[test]
fn init_leaves_out_what_does_not_pass_and_writes_over_nothing() {
    let m = Machine::builder("init-odd").boot();
    m.must("ip link set lo up");
    m.write(
        "/etc/nginx/sites-enabled/default",
        "server { server_name gone.example; location / { proxy_pass http://[::1]:3000; } }\n",
    );
    m.write("/etc/nginx/conf.d/junk.conf", "}} server { \\");
    m.write("/srv/web/.env", "DATABASE_URL=postgres://u:s3cret@127.0.0.1:5432/x\n");
    m.install_app(&AppSpec::new("web", 3000));
    m.write(FILE, "# mine\n");
    let refused = m.run("app-monitor init --write");
    assert_eq!(refused.status, 1, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stdout.contains("there is such a file already"), "{}", refused.stdout);
    assert_eq!(m.read(FILE).as_deref(), Some("# mine"));
    m.must(&format!("rm {FILE}"));

    let json: Value = serde_json::from_str(&m.must("app-monitor init --json")).expect("it is JSON");
    let app = &json["apps"][0];
    let left_out = |key: &str| {
        let mut lines = app["lines"].as_array().into_iter().flatten();
        lines.find(|line| line["key"] == key).map(|line| line["left_out"].clone())
    };
    assert_eq!(left_out("http"), Some(Value::Null), "{json:#}");
    for key in ["public", "database"] {
        assert!(left_out(key).is_some_and(|why| why.is_string()), "{key}: {json:#}");
    }
    assert!(!json.to_string().contains("s3cret"));

    // Another user is told what could not be seen.
    let said = m.run("setpriv --reuid=nobody --clear-groups app-monitor init");
    assert!(said.stdout.contains("needs root"), "{}{}", said.stdout, said.stderr);
}

#[test]
fn init_names_what_runs_elsewhere_and_what_else_restarts() {
    let m = Machine::builder("init-elsewhere").boot();
    m.must("ip link set lo up");
    let none = m.run("app-monitor init");
    assert_eq!(none.status, 1, "{}", none.stdout);
    assert!(none.stdout.contains("No web app was found"), "{}", none.stdout);

    // As PM2 is: a daemon that calls itself so, with the app as its child.
    m.write(
        "/srv/god.js",
        "process.title = 'PM2 v5.4.0: God Daemon (/root/.pm2)';\n\
         require('child_process').spawn(process.execPath, ['/srv/shop.js'], { cwd: '/srv' });\n\
         setInterval(() => {}, 1000);\n",
    );
    m.write("/srv/shop.js", "require('http').createServer((q, r) => r.end('ok')).listen(4000);\n");
    m.must(
        "systemd-run --quiet --unit=pm2-root node --title='PM2 v5.4.0: God Daemon (/root/.pm2)' /srv/god.js",
    );
    m.write(
        "/etc/cron.d/heal",
        "*/5 * * * * root TOKEN=s3cret curl -f localhost:4000 || systemctl restart shop\n",
    );
    m.write("/root/watch.sh", "while sleep 5; do curl -sf localhost:4000 || pm2 restart shop; done\n");
    m.must("systemd-run --quiet --unit=watch bash /root/watch.sh");
    m.wait_http_ok(SOON, 4000, "/");
    let_pass(std::time::Duration::from_millis(500));
    let said = m.run("app-monitor init");
    for part in [
        "runs under PM2",
        "WorkingDirectory=/srv",
        "ExecStart=",
        "systemctl restart shop",
        "pm2 restart shop",
    ] {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    assert!(!said.stdout.contains("s3cret"), "{}", said.stdout);
}

/// A template whose instances listen on the port that they are named after, and run the same files.
fn template(m: &Machine, name: &str, ports: &[u16]) {
    m.install_app(&AppSpec { enabled: false, ..AppSpec::new(name, ports[0]) });
    m.must(&format!("systemctl stop {name}"));
    let unit = m.read(&format!("/etc/systemd/system/{name}.service")).unwrap_or_default();
    let of_port = unit.replace(&format!("PORT={}", ports[0]), "PORT=%i");
    m.write(&format!("/etc/systemd/system/{name}@.service"), &of_port);
    m.must(&format!("rm /etc/systemd/system/{name}.service && systemctl daemon-reload"));
    for port in ports {
        m.must(&format!("systemctl start {name}@{port}"));
        m.wait_http_ok(SOON, *port, "/api/health");
    }
}

#[test]
fn init_sees_instances_of_a_template_as_one_app() {
    let m = Machine::builder("init-instances").boot();
    m.must("ip link set lo up");
    template(&m, "web", &[3001, 3002]);
    // Another template, whose instances run each in a folder of their own, is two apps.
    m.write(
        "/etc/systemd/system/site@.service",
        "[Service]\nWorkingDirectory=/srv/%i\nExecStart=/usr/bin/node app.js\n",
    );
    for (name, port) in [("blog", 4001), ("docs", 4002)] {
        let text = format!("require('http').createServer((q, r) => r.end('ok')).listen({port});\n");
        m.write(&format!("/srv/{name}/app.js"), &text);
        m.must(&format!("systemctl start site@{name}"));
        m.wait_http_ok(SOON, port, "/");
    }
    let json: Value = serde_json::from_str(&m.must("app-monitor init --json")).expect("it is JSON");
    let apps: Vec<(&str, usize)> = json["apps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|app| (app["app"].as_str().unwrap_or_default(), app["units"].as_array().map_or(0, Vec::len)))
        .collect();
    assert_eq!(apps, [("site-blog", 1), ("site-docs", 1), ("web", 2)], "{json:#}");

    m.must("app-monitor init --write");
    let text = m.read(FILE).unwrap_or_default();
    for line in [
        "  { unit = \"web@3001.service\", port = 3001, http = \"/api/health\" },",
        "  { unit = \"web@3002.service\", port = 3002, http = \"/api/health\" },",
    ] {
        let (before, _) = text.split_once(line).unwrap_or_else(|| panic!("{line}\n{text}"));
        // Where it came from stands above it.
        assert!(before.trim_end().lines().last().is_some_and(|line| line.starts_with("# ")), "{text}");
    }
    assert!(!text.contains("\nunit ="), "{text}");
    m.must("app-monitor config check");
    m.must("systemctl reload app-monitor");
    m.must("app-monitor check");
    m.wait_verdict(SOON, "web", "healthy", std::time::Duration::ZERO);
    let again = m.must("app-monitor init --write");
    for unit in ["web@3001.service", "web@3002.service"] {
        assert!(again.contains(&format!("{unit}: configured already, as web")), "{again}");
    }
}
