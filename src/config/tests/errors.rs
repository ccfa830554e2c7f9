//! Errors word for word: they are what an administrator gets to see.

use super::*;

/// Errors of `[app.web]` with its unit in line 2 and that text from line 3 on.
fn of_app(text: &str) -> String {
    Host::with(&format!("[app.web]\nunit = \"web\"\n{text}\n")).errors().replace("app-monitor.toml:", "")
}

#[test]
fn keys_are_named_with_the_one_that_was_meant() {
    assert_eq!(
        of_app("chek_interval = 1"),
        "3:1: [app.web] chek_interval: unknown key; did you mean \"check_interval\"?"
    );
    assert_eq!(of_app("colour = 1"), "3:1: [app.web] colour: unknown key");
    assert_eq!(
        of_app("log_level = \"info\""),
        "3:1: [app.web] log_level: belongs at the top of the file, above the first [table]"
    );
    assert_eq!(of_app("repeat = \"1h\""), "3:1: [app.web] repeat: belongs in [alerts.NAME]");
    assert_eq!(of_app("\"a\\nb\" = 1"), "3:1: [app.web] \"a\\nb\": unknown key");
    assert_eq!(
        of_app("http = { url = \"http://h/\", staus = 1 }"),
        "3:29: [app.web] http.staus: unknown key; did you mean \"status\"?"
    );
}

#[test]
fn tables_are_named() {
    assert_eq!(
        Host::with(
            "timeout = 1\nheartbeat = {}\nweb = 1\n[app]\nport = 1\n[app.Web_1]\nunit = \"web\"\nfailures = 0\n\
             [app.web.extra]\n[alert.x]\n[defaults]\nport = 1\n[app.api]\n[alerts.a]\n[alerts.b]\nkind = \"slack\"\nunit = \"tell\"\nurl = \"x\"\n"
        )
        .errors(),
        "app-monitor.toml:1:1: timeout: belongs in [defaults] or [app.NAME]\n\
         app-monitor.toml:2:1: [heartbeat]: url is missing; for example url = \"https://hc-ping.com/…\"\n\
         app-monitor.toml:3:1: web: expected a table, written [web], found 1\n\
         app-monitor.toml:5:1: [app] port: expected a table, written [app.NAME], found 1\n\
         app-monitor.toml:6:6: [app] \"Web_1\": a name has 1 to 32 of a-z, 0-9 and -, and does not begin with -; for example \"web-1\"\n\
         app-monitor.toml:8:12: [app.\"Web_1\"] failures: expected a whole number from 1 to 100, found 0\n\
         app-monitor.toml:9:6: [app.web]: unit is missing; for example unit = \"web.service\"\n\
         app-monitor.toml:9:10: [app.web] extra: unknown key\n\
         app-monitor.toml:10:2: alert: unknown key; did you mean \"alerts\"?\n\
         app-monitor.toml:12:1: [defaults] port: belongs in [app.NAME]\n\
         app-monitor.toml:13:6: [app.api]: unit is missing; for example unit = \"api.service\"\n\
         app-monitor.toml:14:9: [alerts.a]: kind is missing; for example kind = \"email\"\n\
         app-monitor.toml:17:8: [alerts.b] unit: belongs to kind = \"unit\", and this is \"slack\"; leave it out\n\
         app-monitor.toml:17:8: [alerts.b] unit: expected the name of a template such as \"tell@.service\", found \"tell\"\n\
         app-monitor.toml:18:7: [alerts.b] url: expected a URL that begins with https:// or http://"
    );
}

#[test]
fn a_page_that_is_not_there_yet_is_a_notice() {
    assert_eq!(
        Host::with("[web]\nlisten = \"127.0.0.1:9797\"\n").notices(),
        ["/etc/app-monitor/app-monitor.toml:1:2: [web] is not yet in force: this version has no status page"]
    );
}

#[test]
fn values_say_what_was_expected() {
    for (text, error) in [
        ("port = 0", "3:8: [app.web] port: expected a port from 1 to 65535, found 0"),
        ("port = 65536", "3:8: [app.web] port: expected a port from 1 to 65535, found 65536"),
        ("port = \"3000\"", "3:8: [app.web] port: expected a port from 1 to 65535, found \"3000\""),
        (
            "port = 99999999999999999999",
            "3:8: [app.web] port: expected a port from 1 to 65535, found a number beyond 64 bits",
        ),
        ("failures = 0", "3:12: [app.web] failures: expected a whole number from 1 to 100, found 0"),
        ("failures = true", "3:12: [app.web] failures: expected a whole number from 1 to 100, found true"),
        (
            "failures_window = \"11 of 10\"",
            "3:19: [app.web] failures_window: expected \"BAD of ROUNDS\" such as \"5 of 10\", at most 64 rounds and no more bad ones than rounds, found \"11 of 10\"",
        ),
        (
            "check_interval = \"0s\"",
            "3:18: [app.web] check_interval: \"0s\" is too short: expected 100ms to 1d",
        ),
        ("timeout = \"1h\"", "3:11: [app.web] timeout: \"1h\" is too long: expected 100ms to 5m"),
        (
            "timeout = \"soon\"",
            "3:11: [app.web] timeout: expected a duration such as \"30s\" or \"1h 30m\", found \"soon\": it has to be whole numbers with a unit each",
        ),
        (
            "timeout = -1",
            "3:11: [app.web] timeout: expected a duration such as \"30s\" or whole seconds, found -1",
        ),
        (
            "timeout = 1.5",
            "3:11: [app.web] timeout: expected a duration such as \"30s\" or whole seconds, found 1.5",
        ),
        ("kill_after = \"2h\"", "3:14: [app.web] kill_after: \"2h\" is too long: expected 0s to 1h"),
        ("stop_timeout = 0", "3:16: [app.web] stop_timeout: 0 is too short: expected 100ms to 1h"),
        (
            "stopped_alert_after = \"nevr\"",
            "3:23: [app.web] stopped_alert_after: expected a duration such as \"30s\" or \"1h 30m\", found \"nevr\": it has to be whole numbers with a unit each",
        ),
        (
            "mode = \"wach\"",
            "3:8: [app.web] mode: expected \"act\" or \"watch\", found \"wach\"; did you mean \"watch\"?",
        ),
        ("give_up = 1", "3:11: [app.web] give_up: expected \"retry\" or \"wait\", found 1"),
        ("address = \"*\"", "3:11: [app.web] address: expected \"localhost\" or an IP address, found \"*\""),
        (
            "process = \"/usr/bin/node\"",
            "3:11: [app.web] process: expected the name of a process such as \"node\", without its path, found \"/usr/bin/node\"",
        ),
        (
            "working_directory = \"srv\"",
            "3:21: [app.web] working_directory: expected an absolute path without \"..\", found \"srv\"",
        ),
        (
            "working_directory = \"/srv/../etc\"",
            "3:21: [app.web] working_directory: expected an absolute path without \"..\", found \"/srv/../etc\"",
        ),
        (
            "min_processes = [1]",
            "3:17: [app.web] min_processes: expected a whole number from 0 to 100000, found a list",
        ),
        (
            "max_memory = 512",
            "3:14: [app.web] max_memory: 512 is too small: expected 1M to 1024T, or 0 for none",
        ),
        (
            "min_disk = \"5000T\"",
            "3:12: [app.web] min_disk: \"5000T\" is too large: expected 1M to 1024T, or 0 for none",
        ),
        (
            "min_available = \"10%\"",
            "3:17: [app.web] min_available: expected a size such as \"100M\" or \"1.5G\", found \"10%\": \"%\" is no unit of size; use K, M, G or T",
        ),
        (
            "max_memory = -1",
            "3:14: [app.web] max_memory: expected a size such as \"100M\" or \"1.5G\", found -1",
        ),
        ("proxy_recover = \"no\"", "3:17: [app.web] proxy_recover: expected true or false, found \"no\""),
        (
            "egress = [\"1.1.1.1\", \"::1:53\", \"h:0\"]",
            "3:11: [app.web] egress: expected HOST:PORT such as \"1.1.1.1:443\", found \"1.1.1.1\"\n\
             3:22: [app.web] egress: expected HOST:PORT such as \"1.1.1.1:443\", found \"::1:53\"\n\
             3:32: [app.web] egress: expected HOST:PORT such as \"1.1.1.1:443\", found \"h:0\"",
        ),
        (
            "egress = []",
            "3:10: [app.web] egress: an empty list asks nobody; leave it out for the resolver and the default gateway",
        ),
        (
            "caches = [\"/tmp\", \"../x\", \".\", \"\"]",
            "3:11: [app.web] caches: expected a path below the working directory such as \".next/cache\", without \"..\", found \"/tmp\"\n\
             3:19: [app.web] caches: expected a path below the working directory such as \".next/cache\", without \"..\", found \"../x\"\n\
             3:27: [app.web] caches: expected a path below the working directory such as \".next/cache\", without \"..\", found \".\"\n\
             3:32: [app.web] caches: expected a path below the working directory such as \".next/cache\", without \"..\", found \"\"",
        ),
        (
            "clear_caches = true",
            "3:16: [app.web] clear_caches: expected \"never\", \"retry\" or \"always\", found true",
        ),
        (
            "stragglers = \"all\"",
            "3:14: [app.web] stragglers: expected \"never\", \"own\" or \"port\", found \"all\"",
        ),
        (
            "before_start = \"npm run migrate\"",
            "3:16: [app.web] before_start: expected the name of a unit such as \"warm-up.service\", found \"npm run migrate\"",
        ),
        (
            "preflight = \"dist\"",
            "3:13: [app.web] preflight: expected a table such as { files = [\"dist/server.js\"], keys = [\"DATABASE_URL\"] }, found \"dist\"",
        ),
        (
            "preflight = { file = \"x\", keys = [\"A-B\"], port_free = 1 }",
            "3:15: [app.web] preflight.file: unknown key; did you mean \"files\"?\n\
             3:35: [app.web] preflight.keys: expected the name of an environment variable such as \"DATABASE_URL\", found \"A-B\"\n\
             3:55: [app.web] preflight.port_free: expected true or false, found 1",
        ),
        (
            "preflight = { port_free = true }",
            "3:27: [app.web] preflight.port_free: needs the app's port: set port in [app.web], or leave it out",
        ),
        (
            "public = \"/health\"",
            "3:10: [app.web] public: has to be a full URL such as \"https://example.org/\": a path says no public name",
        ),
        (
            "public = { url = \"/\" }",
            "3:18: [app.web] public.url: has to be a full URL such as \"https://example.org/\": a path says no public name",
        ),
        (
            "public = { url = \"https://h/\", expires_in = \"1d\" }",
            "3:32: [app.web] public.expires_in: unknown key; did you mean \"expires_within\"?",
        ),
        (
            "http = { url = \"https://h/\", expires_within = \"1d\" }",
            "3:30: [app.web] http.expires_within: belongs in public: certificates are looked at there",
        ),
        (
            "cooldown = \"2m\"\ncooldown_max = \"1m\"",
            "4:16: [app.web] cooldown_max: 1m is less than cooldown, which is 2m",
        ),
        (
            "min_uptime = \"30s\"",
            "3:14: [app.web] min_uptime: no recovery could be verified: min_uptime (30s) has to fit into verify_within (30s)",
        ),
    ] {
        assert_eq!(of_app(text), error);
    }
}

#[test]
fn units_are_services() {
    let unit = |unit: &str| Host::with(&format!("[app.web]\nunit = \"{unit}\"\n")).errors();
    assert_eq!(
        unit("web.socket"),
        "app-monitor.toml:2:8: [app.web] unit: expected the name of a service such as \"web.service\", found \"web.socket\""
    );
    assert_eq!(
        unit("web@.service"),
        "app-monitor.toml:2:8: [app.web] unit: expected an instance of the template, such as \"web@1.service\", found \"web@.service\""
    );
    assert_eq!(
        unit("app-monitor"),
        "app-monitor.toml:2:8: [app.web] unit: is this monitor itself, over which systemd's watchdog watches"
    );
    assert_eq!(
        unit(""),
        "app-monitor.toml:2:8: [app.web] unit: expected the name of a service such as \"web.service\", found \"\""
    );
}

#[test]
fn health_checks_say_what_no_check_can_do() {
    for (http, error) in [
        (
            "\"/health\"",
            "3:8: [app.web] http: a path needs the app's port: set port in [app.web], or give a full URL",
        ),
        (
            "\"health\"",
            "3:8: [app.web] http: expected a path such as \"/health\" or a URL such as \"http://127.0.0.1:3000/health\", found \"health\"",
        ),
        ("3000", "3:8: [app.web] http: expected a path, a URL or a table { url = … }, found 3000"),
        ("{ method = \"GET\" }", "3:8: [app.web] http: the table lacks url, a path or a URL"),
        (
            "{ url = \"http://h/\", method = \"get\" }",
            "3:38: [app.web] http.method: methods are case-sensitive; did you mean \"GET\"?",
        ),
        (
            "{ url = \"http://h/\", method = \"G T\" }",
            "3:38: [app.web] http.method: expected a method such as \"GET\" or \"HEAD\", found \"G T\"",
        ),
        (
            "{ url = \"http://h/\", method = \"HEAD\", body = \"ok\" }",
            "3:8: [app.web] http.method: an answer to HEAD has no body; use GET, or leave body and json out",
        ),
        (
            "{ url = \"http://h/\", status = 99 }",
            "3:38: [app.web] http.status: expected status codes from 100 to 599 such as 200 or \"200-299,304\", found 99",
        ),
        (
            "{ url = \"http://h/\", status = \"299-200\" }",
            "3:38: [app.web] http.status: the range \"299-200\" runs backwards",
        ),
        (
            "{ url = \"http://h/\", status = [200, \"x\"] }",
            "3:44: [app.web] http.status: expected status codes from 100 to 599 such as 200 or \"200-299,304\", found \"x\"",
        ),
        (
            "{ url = \"http://h/\", headers = { \"X Y\" = \"1\" } }",
            "3:41: [app.web] http.headers.X Y: is no name of a header",
        ),
        (
            "{ url = \"http://h/\", headers = { X = \"geheim\\r\\nY: z\" } }",
            "3:45: [app.web] http.headers.X: the value holds a line break or another control character, which no header may",
        ),
        (
            "{ url = \"http://h/\", headers = { Connection = \"close\" } }",
            "3:41: [app.web] http.headers.Connection: is set by the check itself; leave it out",
        ),
        (
            "{ url = \"http://h/\", json = { a = 1979-05-27 } }",
            "3:42: [app.web] http.json: expected a string, a number, true, false or a list of these at \"a\", found a date or time",
        ),
        (
            "{ url = \"http://h/\", json = { a.b = 1, \"a.b\" = 2 } }",
            "3:47: [app.web] http.json: the path \"a.b\" is given twice",
        ),
        (
            "{ url = \"http://h/\", json = {} }",
            "3:36: [app.web] http.json: an empty table expects nothing; leave it out",
        ),
        (
            "{ url = \"http://h/\", timeout = \"1h\" }",
            "3:39: [app.web] http.timeout: \"1h\" is too long: expected 100ms to 5m",
        ),
    ] {
        assert_eq!(of_app(&format!("http = {http}")), error);
    }
}

#[test]
fn a_path_in_the_defaults_needs_a_port_of_every_app() {
    assert_eq!(
        Host::with(
            "[defaults]\nhttp = \"/health\"\n[app.a]\nunit = \"a\"\nport = 1\n[app.b]\nunit = \"b\"\n"
        )
        .errors(),
        "app-monitor.toml:2:8: [defaults] http: a path needs the app's port: set port in [app.b], or give a full URL"
    );
}

#[test]
fn events_are_named() {
    assert_eq!(
        Host::with("[alerts.a]\nkind = \"unit\"\nunit = \"tell@\"\nevents = [\"incident-opend\", \"alert-sent\", 1]\n").errors(),
        "app-monitor.toml:4:11: [alerts.a] events: expected the name of an event such as \"incident-opened\", found \"incident-opend\"; did you mean \"incident-opened\"?\n\
         app-monitor.toml:4:29: [alerts.a] events: expected the name of an event such as \"incident-opened\", found \"alert-sent\"; an alert about alerts would never end\n\
         app-monitor.toml:4:43: [alerts.a] events: expected the name of an event such as \"incident-opened\", found 1"
    );
}

#[test]
fn a_line_that_is_no_toml_hides_no_other_error() {
    assert_eq!(
        Host::with(
            "[app.web]\nunit = web\nport = 0\n[app.web]\nfailures = 0\n[app.api]\nunit = \"api\"\nfailures = = 3\nsuccesses = 0\nx\n"
        )
        .errors(),
        "app-monitor.toml:2:8: not TOML: string values must be quoted, expected literal string\n\
         app-monitor.toml:3:8: [app.web] port: expected a port from 1 to 65535, found 0\n\
         app-monitor.toml:4:6: not TOML: duplicate key; a key or table may come once in a file\n\
         app-monitor.toml:8:12: not TOML: extra `=`, expected nothing\n\
         app-monitor.toml:9:13: [app.api] successes: expected a whole number from 1 to 100, found 0\n\
         app-monitor.toml:10:2: not TOML: key with no value, expected `=`"
    );
}

#[test]
fn what_is_beyond_all_measure_is_cut_short() {
    let apps: String = (0..1_100).map(|n| format!("[app.a{n}]\nunit = \"a{n}\"\n")).collect();
    assert_eq!(Host::with(&apps).errors(), "1100 apps and alerts; at most 1000 are watched");
    let wrong: String = (0..300).map(|n| format!("k{n} = 1\n")).collect();
    let errors = Host::with(&wrong).errors();
    assert_eq!(errors.lines().count(), 201);
    assert!(errors.ends_with("and 100 errors more"), "{errors}");
    let paths: String = (0..3_000).map(|n| format!("k{n} = 1,")).collect();
    let http = format!("http = {{ url = \"http://h/\", json = {{ {paths} }} }}");
    assert!(of_app(&http).contains("http.json: more than 100 paths"));
}
