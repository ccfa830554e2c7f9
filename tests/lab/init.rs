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
    // One that comes later belongs to the app that is there, in whose file somebody has to add it.
    m.must("systemctl start web@3003");
    m.wait_http_ok(SOON, 3003, "/api/health");
    let entry = "  { unit = \"web@3003.service\", port = 3003, http = \"/api/health\" },";
    let said = m.must("app-monitor init");
    assert!(said.contains("web@3003.service is an instance of web, which is configured already"), "{said}");
    assert!(said.contains(&format!("# {entry}")) && !said.contains("[app.web-2]"), "{said}");
    let refused = m.run("app-monitor init --write");
    assert_eq!(refused.status, 1, "{}", refused.stdout);
    assert!(refused.stdout.contains("not written: web@3003.service is an instance"), "{}", refused.stdout);
    assert_eq!(m.read(FILE).unwrap_or_default(), text.trim_end());
    m.must(&format!("sed -i '/^instances/a {entry}' {FILE}"));
    m.must("app-monitor config check && systemctl reload app-monitor && app-monitor init --write");
    m.must("app-monitor check");
    // Likewise where one unit alone was configured.
    m.must(&format!("rm {FILE}"));
    m.configure("[app.web]\nunit = \"web@3001\"\nport = 3001\nhttp = \"/api/health\"\n");
    // Whether it runs or not.
    m.must("systemctl stop web@3003 web@3001");
    let json: Value = serde_json::from_str(&m.must("app-monitor init --json")).expect("it is JSON");
    let mut apps = json["apps"].as_array().into_iter().flatten();
    let app = apps.find(|app| app["belongs_to"] == "web").unwrap_or_else(|| panic!("{json:#}"));
    let whole = app["toml"].as_str().unwrap_or_default();
    m.must("systemctl start web@3001");
    m.wait_http_ok(SOON, 3001, "/api/health");
    m.configure(&format!("[app.web]\nhttp = \"/api/health\"\n{whole}"));
    let again = m.must("app-monitor config check && app-monitor check && app-monitor init --write");
    assert!(again.contains("web@3002.service: configured already, as web"), "{again}");
}

/// A program under another name, as which it is known by its executable.
fn disguised(m: &Machine, name: &str, path: &str) {
    m.must(&format!(
        "mkdir -p $(dirname {path}) && (ln /usr/bin/node {path} 2>/dev/null || cp /usr/bin/node {path})"
    ));
    m.write(
        &format!("/srv/{name}/app.js"),
        "const at = process.env.AT;\n\
         require('http').createServer((q, r) => {\n\
           if (q.url === '/health' || q.url === '/') return r.end('ok');\n\
           r.writeHead(404); r.end();\n\
         }).listen(at.startsWith('/') ? at : JSON.parse(at), () => at.startsWith('/') && require('fs').chmodSync(at, 0o666));\n",
    );
}

/// Apps of many kinds, behind nginx as people write it.
#[test]
fn init_knows_many_ways() {
    let m = Machine::builder("init-many").boot();
    let service = |name: &str, exe: &str, at: &str, lines: &str| {
        disguised(&m, name, exe);
        m.write(
            &format!("/etc/systemd/system/{name}.service"),
            &format!(
                "[Service]\nExecStart={exe} /srv/{name}/app.js\nWorkingDirectory=/srv/{name}\nEnvironment='AT={at}'\n{lines}\n"
            ),
        );
    };
    // Python behind a socket in the file system, PHP likewise with a site for whatever name, Ruby on IPv6
    // alone, a program of one's own, Java.
    service("py", "/srv/py/venv/bin/gunicorn", "/run/py/app.sock", "RuntimeDirectory=py");
    service("php8.2-fpm", "/usr/sbin/php-fpm8.2", "/run/php/php8.2-fpm.sock", "RuntimeDirectory=php");
    service(
        "rails",
        "/usr/local/bin/puma",
        "{\"port\":9292,\"host\":\"::1\"}",
        "EnvironmentFile=/etc/rails.env",
    );
    service("api", "/srv/api/bin/api", "{\"port\":8080,\"host\":\"0.0.0.0\"}", "");
    service("shop", "/usr/local/bin/java", "{\"port\":8081}", "");
    m.write("/etc/rails.env", "# shell\nREDIS_URL='redis://:s3cret@localhost:6379/0'\n");
    m.write(
        "/srv/api/.env",
        "export DATABASE_URL=\"postgres://u:s3cret@localhost:5432/x?sslmode=disable\" # main\n",
    );
    m.write("/srv/py/.env", "DATABASE_URL = 'mysql://u:s3cret@[::1]:3306/x'\n");
    m.must("systemctl daemon-reload && systemctl start py php8.2-fpm rails api shop");

    m.install_app(&AppSpec::new("web", 3000));
    m.make_world();
    let names = ["www.py.example", "rails.example", "api.example", "java.example", "shop.example"];
    let zone: String = names.iter().map(|name| format!("{name} 192.0.2.2\n")).collect();
    m.write("/srv/world/zone", &zone);
    let site = |name: &str, text: &str| m.write(&format!("/etc/nginx/sites-enabled/{name}"), text);
    // Its first name leads nowhere.
    site(
        "py",
        "upstream py { server unix:/run/py/app.sock fail_timeout=0; }\n\
         server { listen 80; listen [::]:80; server_name py.example www.py.example;\n\
           location /static/ { root /srv/static; }\n\
           location / { try_files $uri @py; }\n  location @py { proxy_pass http://py; } }\n",
    );
    site(
        "php",
        "server { listen 8082 default_server; server_name _;\n\
           location ~ \\.php$ { fastcgi_pass unix:/var/run/php/php8.2-fpm.sock; } }\n",
    );
    site("rails", "server { listen 80; server_name rails.example; include /etc/nginx/parts/rails; }\n");
    m.write(
        "/etc/nginx/parts/rails",
        "location / { proxy_pass http://[::1]:9292; proxy_set_header Host $host; }\n",
    );
    site(
        "api",
        "server { listen 80; server_name ~^(www\\.)?x$ api.example *.api.example;\n\
           location /v1/ { set $up http://127.0.0.1:8080/health; proxy_pass $up; } }\n",
    );
    m.must("sed -i 's|include /etc/nginx/sites-enabled|include /etc/nginx/vhosts/*.vhost;\\n&|' /etc/nginx/nginx.conf");
    m.write(
        "/etc/nginx/vhosts/java.vhost",
        "server { listen 80; listen [::]:80; server_name java.example; location / { proxy_pass http://localhost:8081; } }\n",
    );
    m.write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
    m.must("nginx -t 2>&1 && systemctl restart nginx");
    m.wait_http_ok(SOON, 8081, "/health");

    let text = m.must("app-monitor init");
    assert!(!text.contains("would act beside"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    let json: Value = serde_json::from_str(&m.must("app-monitor init --json")).expect("it is JSON");
    let of = |unit: &str, key: &str| -> Option<String> {
        let mut apps = json["apps"].as_array()?.iter();
        let app = apps.find(|app| app["unit"] == unit)?;
        let line = app["lines"].as_array()?.iter().find(|line| line["key"] == key)?;
        match line["left_out"].as_str() {
            None => line["value"].as_str().map(str::to_owned),
            Some(_) => Some("left out".to_owned()),
        }
    };
    for (unit, key, expected) in [
        ("py.service", "port", None),
        ("py.service", "public", Some("\"http://www.py.example/\"")),
        ("py.service", "proxy", Some("\"nginx.service\"")),
        ("php8.2-fpm.service", "port", None),
        ("php8.2-fpm.service", "public", None),
        ("rails.service", "port", Some("9292")),
        ("rails.service", "http", Some("\"/health\"")),
        ("rails.service", "public", Some("\"http://rails.example/\"")),
        ("api.service", "port", Some("8080")),
        ("api.service", "public", Some("\"http://api.example/v1/\"")),
        ("shop.service", "public", Some("\"http://java.example/\"")),
        ("web.service", "public", Some("\"https://shop.example/\"")),
        // Nobody listens there.
        ("rails.service", "database", Some("left out")),
        ("api.service", "database", Some("left out")),
        ("py.service", "database", Some("left out")),
    ] {
        assert_eq!(of(unit, key).as_deref(), expected, "{unit} {key}\n{text}");
    }
    // No key asks a socket, which is said, with what can be done.
    let notes = |unit: &str| {
        let mut apps = json["apps"].as_array().into_iter().flatten();
        apps.find(|app| app["unit"] == unit).map(|app| app["notes"].to_string()).unwrap_or_default()
    };
    for (unit, parts) in [
        (
            "py.service",
            ["it listens on /run/py/app.sock, and no key asks", "from the public page", "127.0.0.1, too"],
        ),
        ("php8.2-fpm.service", ["/run/php/php8.2-fpm.sock", "that is not seen", "request_terminate_timeout"]),
    ] {
        for part in parts {
            assert!(notes(unit).contains(part), "{unit} {part}: {}", notes(unit));
        }
    }
    assert_eq!(notes("api.service"), "[]");
    let said = m.must("app-monitor init --write");
    assert!(said.contains("Note: it listens on /run/py/app.sock"), "{said}");
    m.must("app-monitor config check && systemctl reload app-monitor");
    m.must("app-monitor check");
}
