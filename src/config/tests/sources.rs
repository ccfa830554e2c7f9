//! Files, drop-ins and the environment: which are read, and which of them wins.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn later_sources_win_key_by_key() {
    let host =
        Host::with("[defaults]\nfailures = 4\ntimeout = \"7s\"\n[app.web]\nunit = \"web\"\nfailures = 5\n")
            .file("conf.d/20-b.toml", "[app.web]\nsuccesses = 3\n")
            .file("conf.d/10-a.toml", "[app.web]\nsuccesses = 2\n[app.api]\nunit = \"api\"\n")
            .variable("APP_MONITOR_TIMEOUT", "8s")
            .variable("APP_MONITOR_APP_WEB__MAX_ATTEMPTS", "9")
            .variable("PATH", "/bin");
    let settings = host.settings();
    let (api, web) = (&settings.members[0].policy, &settings.members[1].policy);
    assert_eq!((api.failures, api.successes, api.max_attempts, api.timeout), (4, 1, 3, seconds(8)));
    assert_eq!((web.failures, web.successes, web.max_attempts, web.timeout), (5, 3, 9, seconds(8)));
}

#[test]
fn only_drop_ins_that_are_meant_are_read() {
    let junk = "junk = junk";
    let host = Host::new()
        .file("conf.d/web.toml", "[app.web]\nunit = \"web\"\n")
        .file("conf.d/.hidden.toml", junk)
        .file("conf.d/#web.toml#", junk)
        .file("conf.d/web.toml~", junk)
        .file("conf.d/web.toml.dpkg-old", junk)
        .file("conf.d/README", junk)
        .file("conf.d/api.conf", junk);
    assert_eq!(host.settings().members.len(), 1);
    assert_eq!(
        host.notices(),
        ["/etc/app-monitor/conf.d/api.conf: is not read: the name of a drop-in has to end in .toml"]
    );
}

#[test]
fn files_that_cannot_be_read_are_named_and_hide_nothing() {
    let host = Host::new()
        .file("app-monitor.toml", b"x = \"\xc3\xa4\xff\"\n")
        .file("conf.d/a.toml", vec![b'#'; 1_048_577])
        .file("conf.d/z.toml", "[app.web]\nfailures = 0\n");
    symlink("loop.toml", host.path("/etc/app-monitor/conf.d/loop.toml")).unwrap();
    symlink("/nowhere", host.path("/etc/app-monitor/conf.d/gone.toml")).unwrap();
    std::fs::create_dir(host.path("/etc/app-monitor/conf.d/dir.toml")).unwrap();
    assert_eq!(
        host.errors(),
        "app-monitor.toml:1:7: is not UTF-8: byte 0xff\n\
         conf.d/a.toml: is larger than 1M\n\
         conf.d/dir.toml: is not a regular file\n\
         conf.d/gone.toml: is a symbolic link to nothing\n\
         conf.d/loop.toml: cannot read it: its symbolic links lead in a circle\n\
         conf.d/z.toml:2:12: [app.web] failures: expected a whole number from 1 to 100, found 0"
    );
}

#[test]
fn a_named_pipe_holds_nothing_up() {
    let host = Host::new();
    let path = host.path("/etc/app-monitor/app-monitor.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(host.errors(), "app-monitor.toml: is not a regular file");
}

#[test]
fn what_somebody_else_could_have_written_is_refused() {
    let host = Host::with("")
        .mode("/etc/app-monitor/app-monitor.toml", 0o646)
        .mode("/etc/app-monitor/conf.d", 0o757);
    assert_eq!(
        host.errors(),
        "app-monitor.toml: may be written by everybody (mode 0646), and whoever writes it decides over the \
         units named in it; chmod go-w app-monitor.toml\n\
         conf.d: may be written by everybody (mode 0757), and whoever writes it decides over the units named \
         in it; chmod go-w conf.d"
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    assert_eq!(Host::with("\u{feff}max_parallel = 2\n").settings().max_parallel, 2);
}

#[test]
fn variables_need_no_quotes() {
    let host = Host::new()
        .variable("APP_MONITOR_LOG_LEVEL", "warn")
        .variable("APP_MONITOR_MAX_PARALLEL", "2")
        .variable("APP_MONITOR_STARTUP_GRACE", "90")
        .variable("APP_MONITOR_PROCESS", "12")
        .variable("APP_MONITOR_APP_MY_SHOP__UNIT", "shop.service")
        .variable("APP_MONITOR_APP_MY_SHOP__PORT", "3001")
        .variable("APP_MONITOR_APP_MY_SHOP__ADDRESS", "127.0.0.1")
        .variable("APP_MONITOR_APP_MY_SHOP__HTTP", "{ url = \"/h\", status = 204 }");
    let settings = host.settings();
    assert_eq!((settings.log_level, settings.max_parallel), (Level::Warn, 2));
    let app = &settings.members[0];
    assert_eq!(app.subject.to_string(), "my-shop");
    assert_eq!(app.policy.startup_grace, seconds(90));
    assert_eq!(app.target.process.as_deref(), Some("12"));
    assert_eq!(app.target.address, Address::Ip("127.0.0.1".parse().unwrap()));
    assert_eq!(app.target.http.as_ref().unwrap().url, "http://localhost:3001/h");
}

#[test]
fn variables_alone_make_one_app() {
    let host = Host::with("# nothing\n")
        .variable("APP_MONITOR_UNIT", "Node_Web@1")
        .variable("APP_MONITOR_PORT", "3000")
        .variable("APP_MONITOR_HTTP", "/health");
    let app = &host.settings().members[0];
    assert_eq!(app.subject.to_string(), "node-web-1");
    assert_eq!(app.target.unit.as_str(), "Node_Web@1.service");
    assert_eq!(app.target.http.as_ref().unwrap().url, "http://localhost:3000/health");
}

#[test]
fn variables_that_mean_nothing_are_named() {
    let host = Host::with("[app.web]\nunit = \"web\"\n")
        .variable("APP_MONITOR_CHEK_INTERVAL", "5s")
        .variable("APP_MONITOR_LOGLEVEL", "debug")
        .variable("APP_MONITOR_APP_WEB__PROT", "1")
        .variable("APP_MONITOR_APP_WEB_PORT", "1")
        .variable("APP_MONITOR_APP_WBE__PORT", "1")
        .variable("APP_MONITOR_APP_OTHER__PORT", "1")
        .variable("APP_MONITOR_APP_WEB__LOG_LEVEL", "info")
        .variable("APP_MONITOR_APP_WEB__HTTP", "{ url = ")
        .variable("APP_MONITOR_APP_WEB__PORT", "x")
        .variable("APP_MONITOR_DATABASE", "{}")
        .variable("APP_MONITOR_UNIT", "api")
        .variable("APP_MONITOR_EVENTS", "[]")
        .variable("APP_MONITOR_WEB", "{ listen = \"127.0.0.1:9797\" }")
        .variable("APP_MONITOR_WEBB", "1")
        .variable("APP_MONITOR_HEARTBEAT", "{ every = \"1m\" }")
        .variable("APP_MONITOR_HEARTBEET", "1")
        .variable("APP_MONITOR_APP_WEB__HEARTBEAT", "{}")
        .variable("APP_MONITOR_WHATEVER", "1");
    assert_eq!(
        host.errors(),
        "environment: APP_MONITOR_APP_OTHER__PORT: no app \"other\" is configured; set APP_MONITOR_APP_OTHER__UNIT to make one\n\
         environment: APP_MONITOR_APP_WBE__PORT: no app \"wbe\" is configured; did you mean \"web\"?\n\
         environment: APP_MONITOR_APP_WEB_PORT: two underscores have to stand between the name of the app and the key, as in APP_MONITOR_APP_WEB__PORT\n\
         environment: APP_MONITOR_APP_WEB__HEARTBEAT: [heartbeat] can be written in a file alone\n\
         environment: APP_MONITOR_APP_WEB__HTTP: not TOML: unclosed inline table, expected `}`\n\
         environment: APP_MONITOR_APP_WEB__LOG_LEVEL: is for the host, not for one app: leave APP_<NAME>__ out\n\
         environment: APP_MONITOR_APP_WEB__PORT: expected a port from 1 to 65535, found \"x\"\n\
         environment: APP_MONITOR_APP_WEB__PROT: unknown variable; did you mean \"APP_MONITOR_APP_WEB__PORT\"?\n\
         environment: APP_MONITOR_CHEK_INTERVAL: unknown variable; did you mean \"APP_MONITOR_CHECK_INTERVAL\"?\n\
         environment: APP_MONITOR_DATABASE: does not say where the database is: give url or keys; for example keys = [\"DATABASE_URL\"]\n\
         environment: APP_MONITOR_EVENTS: alerts are configured in a file alone, in [alerts.NAME]\n\
         environment: APP_MONITOR_HEARTBEAT: [heartbeat] can be written in a file alone\n\
         environment: APP_MONITOR_HEARTBEET: unknown variable\n\
         environment: APP_MONITOR_LOGLEVEL: unknown variable; did you mean \"APP_MONITOR_LOG_LEVEL\"?\n\
         environment: APP_MONITOR_UNIT: is for a host without any configured app; here there is \"web\", whose variable would be APP_MONITOR_APP_WEB__UNIT\n\
         environment: APP_MONITOR_WEB: [web] can be written in a file alone\n\
         environment: APP_MONITOR_WEBB: unknown variable\n\
         environment: APP_MONITOR_WHATEVER: unknown variable"
    );
}

#[test]
fn variables_of_one_app_need_its_unit() {
    let host = Host::new().variable("APP_MONITOR_PORT", "3000").variable("APP_MONITOR_PUBLIC", "https://x/");
    assert_eq!(
        host.errors(),
        "environment: APP_MONITOR_PORT: no app is configured; set APP_MONITOR_UNIT, its systemd unit, too\n\
         environment: APP_MONITOR_PUBLIC: no app is configured; set APP_MONITOR_UNIT, its systemd unit, too"
    );
    let host = Host::new().variable("APP_MONITOR_UNIT", "a b").variable("APP_MONITOR_PORT", "0");
    assert_eq!(
        host.errors(),
        "environment: APP_MONITOR_PORT: expected a port from 1 to 65535, found 0\n\
         environment: APP_MONITOR_UNIT: expected the name of a service such as \"web.service\", found \"a b\""
    );
}

#[test]
fn two_apps_cannot_share_a_unit_under_any_name() {
    let host = Host::with(
        "[app.a]\nunit = \"web\"\n[app.b]\nunit = \"web.service\"\n[app.c]\nunit = \"www\"\n[app.d]\nunit = \"solo\"\n",
    );
    std::fs::create_dir_all(host.path("/etc/systemd/system")).unwrap();
    std::fs::create_dir_all(host.path("/usr/lib/systemd/system")).unwrap();
    symlink("/usr/lib/systemd/system/web.service", host.path("/etc/systemd/system/www.service")).unwrap();
    assert_eq!(
        host.errors(),
        "app-monitor.toml:4:8: [app.b] unit: \"web.service\" is the unit of [app.a] already (app-monitor.toml:2:8); a unit has one app\n\
         app-monitor.toml:6:8: [app.c] unit: \"www.service\" is an alias of \"web.service\", which is the unit of [app.a] already (app-monitor.toml:2:8); a unit has one app"
    );
    let host = host.file("app-monitor.toml", "[app.c]\nunit = \"www\"\n");
    assert_eq!(host.settings().members[0].target.unit.as_str(), "web.service");
    assert_eq!(
        host.notices(),
        [
            "/etc/app-monitor/app-monitor.toml:2:8: \"www.service\" is an alias of \"web.service\", which is the name by which it is watched"
        ]
    );
}

#[test]
fn a_unit_of_users_is_out_of_reach() {
    let host =
        Host::with("[app.web]\nunit = \"web\"\n[app.api]\nunit = \"api@1\"\n[app.both]\nunit = \"both\"\n");
    for path in [
        "etc/systemd/user/web.service",
        "usr/lib/systemd/user/api@.service",
        "etc/systemd/user/both.service",
        "run/systemd/transient/both.service",
    ] {
        std::fs::create_dir_all(host.path(path).parent().unwrap()).unwrap();
        std::fs::write(host.path(path), "").unwrap();
    }
    assert_eq!(
        host.errors(),
        "app-monitor.toml:2:8: [app.web] unit: \"web.service\" is a unit of users (/etc/systemd/user/web.service), over which the system's manager has no power; put it into /etc/systemd/system, with User= for whom it runs as\n\
         app-monitor.toml:4:8: [app.api] unit: \"api@1.service\" is a unit of users (/usr/lib/systemd/user/api@.service), over which the system's manager has no power; put it into /etc/systemd/system, with User= for whom it runs as"
    );
}
