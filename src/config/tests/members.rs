//! Apps, their instances, and the units that they lean on.

use super::*;
use crate::judge::{ClearCaches, DatabasePlace, DatabaseProtocol, Role, Stragglers};

/// Subject, unit and role of each member.
fn listed(settings: &Settings) -> Vec<String> {
    let role = |role: &Role| match role {
        Role::App => String::new(),
        Role::Proxy { of } => format!(" (proxy of {of})"),
        Role::Database { of } => format!(" (database of {of})"),
    };
    let line =
        |member: &Member| format!("{}: {}{}", member.subject, member.target.unit, role(&member.target.role));
    settings.members.iter().map(line).collect()
}

#[test]
fn every_key_of_the_surroundings_reaches_its_place() {
    let settings = Host::with(
        r#"
[app.web]
unit = "web"
port = 3000
public = { url = "https://example.org/", expires_within = "7d", status = 204, timeout = "20s" }
egress = ["1.1.1.1:443", "[2606:4700::1111]:443", "example.org:80"]
proxy = "nginx"
min_available = "64M"
max_memory = "1.5G"
min_disk = 0
database = { url = "redis://:geheim@cache", timeout = "5s", interval = "30s", unit = "redis-server" }
public_interval = "2m"
overload_patience = "20m"
clear_caches = "always"
caches = ["./.next/cache", "tmp"]
stragglers = "port"
reclaim_swap = false
preflight = { files = ["dist/server.js", "/etc/hosts"], keys = ["SECRET"], port_free = true }
before_start = "migrate"
after_recovery = ["warm-up.service", "tell.target"]
on_give_up = []
"#,
    )
    .settings();
    let Member { target, policy, .. } = &settings.members[0];
    let public = target.public.as_ref().unwrap();
    assert_eq!(public.http.url, "https://example.org:443/");
    assert_eq!(public.http.timeout, seconds(20));
    assert_eq!(public.http.status, StatusSet(vec![(204, 204)]));
    assert_eq!(public.expires_within, seconds(7 * 86_400));
    let egress = [("1.1.1.1", 443), ("2606:4700::1111", 443), ("example.org", 80)];
    assert_eq!(target.egress, Some(egress.map(|(host, port)| (host.to_owned(), port)).to_vec()));
    assert_eq!(target.proxy.as_ref().unwrap().as_str(), "nginx.service");
    assert_eq!((target.min_available, target.max_memory, target.min_disk), (64 << 20, Some(3 << 29), 0));
    let database = target.database.as_ref().unwrap();
    assert_eq!(database.protocol, DatabaseProtocol::Redis);
    assert_eq!(database.places, [DatabasePlace::Host("cache".to_owned(), 6379)]);
    assert_eq!((database.timeout, database.interval, database.tls), (seconds(5), seconds(30), false));
    assert_eq!(target.database_unit.as_ref().unwrap().as_str(), "redis-server.service");
    assert_eq!(target.caches, [Path::new(".next/cache"), Path::new("tmp")]);
    assert_eq!(target.stragglers, Stragglers::Port);
    assert_eq!(target.preflight.files, [Path::new("dist/server.js"), Path::new("/etc/hosts")]);
    assert_eq!(target.preflight.keys, ["SECRET"]);
    assert!(target.preflight.port_free);
    assert_eq!((policy.public_interval, policy.overload_patience), (seconds(120), seconds(1_200)));
    assert_eq!((policy.clear_caches, policy.reclaim_swap), (ClearCaches::Always, false));
    let names = |units: &[crate::judge::UnitName]| units.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&policy.before_start), ["migrate.service"]);
    assert_eq!(names(&policy.after_recovery), ["warm-up.service", "tell.target"]);
    assert!(policy.on_give_up.is_empty());
}

#[test]
fn what_holds_when_nobody_says() {
    let settings = Host::with("[app.web]\nunit = \"web\"\npublic = \"https://example.org\"\n").settings();
    let target = &settings.members[0].target;
    assert_eq!((target.min_available, target.max_memory, target.min_disk), (100 << 20, None, 200 << 20));
    assert_eq!(target.caches, [Path::new(".next/cache"), Path::new("node_modules/.cache")]);
    assert_eq!(target.public.as_ref().unwrap().expires_within, seconds(14 * 86_400));
    assert_eq!((&target.egress, &target.database, &target.proxy), (&None, &None, &None));
    assert!(target.preflight.is_empty());
}

#[test]
fn each_instance_is_judged_for_itself() {
    let settings = Host::with(
        r#"
[app.web]
http = "/health"
max_memory = "1G"
instances = [
    { unit = "web@1", port = 3001 },
    { unit = "web@2", port = 3002, http = { url = "/other", headers = { Host = "a" } } },
    { unit = "web@3", port = 3003, http = "http://[::1]:3003/" },
]
[app.api]
unit = "api"
[app.solo]
port = 1
instances = [{ unit = "solo" }]
"#,
    )
    .settings();
    assert_eq!(
        listed(&settings),
        [
            "api: api.service",
            "solo@1: solo.service",
            "web@1: web@1.service",
            "web@2: web@2.service",
            "web@3: web@3.service"
        ]
    );
    assert_eq!(settings.apps().iter().map(|app| app.as_str()).collect::<Vec<_>>(), ["api", "solo", "web"]);
    let asked = |n: usize| {
        let target = &settings.members[n].target;
        (target.port, target.http.as_ref().map(|http| http.url.as_str()))
    };
    assert_eq!(asked(1), (Some(1), None));
    assert_eq!(asked(2), (Some(3001), Some("http://localhost:3001/health")));
    assert_eq!(asked(3), (Some(3002), Some("http://localhost:3002/other")));
    assert_eq!(asked(4), (Some(3003), Some("http://[::1]:3003/")));
    assert_eq!(settings.members[4].target.max_memory, Some(1 << 30));
}

#[test]
fn units_that_apps_lean_on_are_judged_once() {
    let settings = Host::with(
        r#"
[defaults]
proxy = "nginx"
[app.b]
unit = "b"
mode = "watch"
failures = 7
clear_caches = "always"
before_start = "x"
database = { unit = "postgresql", url = "postgres://h/" }
[app.a]
unit = "a"
failures = 5
stopped_alert_after = "1h"
[app.c]
instances = [{ unit = "c@1" }, { unit = "c@2" }]
proxy_recover = false
database = { unit = "d", url = "redis://h" }
[app.d]
unit = "d"
proxy = "d2"
database = { unit = "d2", url = "redis://h" }
"#,
    )
    .settings();
    assert_eq!(
        listed(&settings),
        [
            "a: a.service",
            "b: b.service",
            "d: d.service",
            "c@1: c@1.service",
            "c@2: c@2.service",
            "d2.service: d2.service (proxy of d)",
            "nginx.service: nginx.service (proxy of a)",
            "postgresql.service: postgresql.service (database of b)",
        ]
    );
    let nginx = &settings.members[6];
    let expected = Policy {
        mode: Mode::Watch,
        failures: 5,
        clear_caches: ClearCaches::Never,
        stopped_alert_after: Some(seconds(3_600)),
        ..Policy::default()
    };
    assert_eq!(nginx.policy, expected);
    assert_eq!(nginx.target.round().chain(nginx.target.errands()).count(), 0);
    let postgresql = &settings.members[7].policy;
    assert_eq!((postgresql.mode, postgresql.failures, postgresql.before_start.len()), (Mode::Watch, 7, 0));
    let c = &settings.members[3].target;
    assert_eq!(c.database_unit.as_ref().unwrap().as_str(), "d.service");
}

#[test]
fn instances_and_companions_that_cannot_be() {
    let errors = |text: &str| Host::with(text).errors().replace("app-monitor.toml:", "");
    for (text, error) in [
        (
            "[app.web]\nunit = \"web\"\ninstances = [{ unit = \"web@1\" }]\n",
            "3:13: [app.web] instances: stands for unit, which is set as well (2:8); leave one of them out",
        ),
        ("[app.web]\ninstances = []\n", "2:13: [app.web] instances: expected 1 to 64 instances, found 0"),
        (
            "[app.web]\ninstances = \"web@1\"\n",
            "2:13: [app.web] instances: expected a list such as [{ unit = \"web@1.service\", port = 3001 }], found \"web@1\"",
        ),
        (
            "[app.web]\ninstances = [\"web@1\", { port = 1 }, { unit = \"web@\" }, { unit = \"b\", prot = 1 }]\n",
            "2:14: [app.web] instances: expected a table such as { unit = \"web@1.service\", port = 3001 }, found \"web@1\"\n\
             2:23: [app.web] instances: the instance lacks its unit; for example { unit = \"web@1.service\", port = 3001 }\n\
             2:46: [app.web] instances.unit: expected an instance of the template, such as \"web@1.service\", found \"web@\"\n\
             2:70: [app.web] instances.prot: unknown key; did you mean \"port\"?",
        ),
        (
            "[app.web]\nhttp = \"/\"\ninstances = [{ unit = \"a\", port = 1 }, { unit = \"a\", port = 2 }, { unit = \"c\", port = 1 }, { unit = \"d\" }]\n",
            "3:49: [app.web] instances.unit: \"a.service\" is the unit of [app.web] already (3:23); a unit has one app\n\
             3:87: [app.web] instances.port: port 1 is that of web@1 already; each listens on its own\n\
             3:101: [app.web] instances: a path needs the instance's port: give it its port, or a full URL",
        ),
        (
            "[app.web]\nhttp = \"http://h/\"\ninstances = [{ unit = \"a\" }, { unit = \"b\" }]\n",
            "2:8: [app.web] http: asks the same of every instance; give a path, or each instance its own http",
        ),
        (
            "[app.web]\ninstances = [{ unit = \"a\", http = { url = \"http://h/\", x = 1 } }]\n",
            "2:56: [app.web] instances.http.x: unknown key",
        ),
        (
            "[app.web]\nunit = \"web\"\nproxy = \"web\"\nbefore_start = [\"x\", \"app-monitor\"]\non_give_up = \"app-monitor-reap@web.service\"\ndatabase = { unit = \"web.service\", url = \"redis://h\" }\n",
            "3:9: [app.web] proxy: \"web.service\" is the unit of the app itself\n\
             4:16: [app.web] before_start: \"app-monitor.service\" is a part of this monitor\n\
             5:14: [app.web] on_give_up: \"app-monitor-reap@web.service\" is a part of this monitor\n\
             6:21: [app.web] database.unit: \"web.service\" is the unit of the app itself",
        ),
        (
            "[app.web]\nunit = \"web\"\non_give_up = [\"reboot.target\", \"systemd-poweroff\", \"poweroff\"]\n",
            "3:14: [app.web] on_give_up: \"reboot.target\" takes the host down, which is no remedy\n\
             3:14: [app.web] on_give_up: \"systemd-poweroff.service\" takes the host down, which is no remedy",
        ),
    ] {
        assert_eq!(errors(text), error);
    }
}
