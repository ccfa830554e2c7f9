//! The package as users get it: from a signed apt repository, on both Debians, from the first
//! `apt install` to the purge. The commands are those of the README.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::machine::{AppSpec, Machine, Output, cache};
use crate::support::{SOON, UNIT, count, view, wait_view};

/// Where the README says that the repository is.
const PUBLISHED: &str = "https://packages.example.org/app-monitor";
/// Where it is in the machine.
const SERVED: &str = "http://127.0.0.1:8080";
/// An administrator's own file and drop-in, which no package may touch.
const FRAGMENT: &str = "/etc/app-monitor/conf.d/90-mine.toml";
const DROP_IN: &str = "/etc/systemd/system/app-monitor.service.d/override.conf";
const CONFFILE: &str = "/etc/app-monitor/app-monitor.toml";
/// How long apt may take.
const APT: Duration = Duration::from_secs(90);

#[test]
fn distribution_debian_12_from_the_first_install_to_the_purge() {
    from_install_to_purge("bookworm", true);
}

#[test]
fn distribution_debian_13_from_the_first_install_to_the_purge() {
    from_install_to_purge("trixie", false);
}

/// `changed`: whether the administrator edits the conffile of the first version.
fn from_install_to_purge(suite: &str, changed: bool) {
    let folder = tempfile::tempdir().expect("a folder on the host");
    let repository = folder.path().join("repository");
    let machine = Machine::builder(&format!("distribution-{suite}")).suite(suite).without_package().boot();
    let m = &machine;
    serve(m);
    m.install_app(&AppSpec::new("web", 3000));
    let before = files(m);

    publish(m, &repository, suite, &previous(folder.path()));
    refuses_what_nobody_signed(m, suite);
    let installed = as_the_readme_says(m, suite);
    assert!(installed.ok(), "{}\n{}", installed.stdout, installed.stderr);
    let first = version(m);
    idles(m);
    configure_by_drop_in(m);
    recovers(m);
    m.write(FRAGMENT, "[app.web]\nstop_timeout = \"7s\"\n");
    if changed {
        m.must(&format!("printf '\\n# mine\\n' >> {CONFFILE}"));
    }
    m.must("systemctl reload app-monitor && app-monitor pause web --for 30m");
    let kept = wait_view(m, "web", "paused", |view| view["paused_seconds"].as_u64().map(|_| view.clone()));
    let incidents = incidents(m);

    publish(m, &repository, suite, &cache::package());
    apt(m, "apt-get update");
    apt(m, "apt-get upgrade --yes -o Dpkg::Options::=--force-confold");
    assert_ne!(version(m), first);
    m.wait_property(SOON, UNIT, "ActiveState", "active");
    let now = wait_view(m, "web", "judged", |view| (view["verdict"] == "paused").then(|| view.clone()));
    assert_eq!(now["attempts_left"], kept["attempts_left"]);
    assert_eq!(self::incidents(m), incidents);
    let conffile = m.read(CONFFILE).expect("the conffile is there");
    assert_eq!(conffile.contains("# mine"), changed);
    // One that nobody changed is the new package's.
    assert_eq!(as_packaged(m), !changed);
    assert_eq!(m.read(FRAGMENT).as_deref(), Some("[app.web]\nstop_timeout = \"7s\""));
    assert!(m.must("app-monitor config show web").contains("stop_timeout"));
    assert!(m.read("/srv/web/server.js").is_some(), "the app's files are nobody's");

    apt(m, "apt-get remove --yes app-monitor");
    assert!(!m.run("pgrep --exact app-monitord").ok(), "a process is left");
    assert!(m.unit_property(UNIT, "ActiveState") != "active");
    for kept in [CONFFILE, FRAGMENT, DROP_IN, "/var/lib/app-monitor/state.json"] {
        assert!(m.read(kept).is_some(), "{kept} is gone with the package");
    }
    apt(m, "apt-get install --yes app-monitor");
    wait_view(m, "web", "still paused", |view| view["paused_seconds"].as_u64());
    assert_eq!(self::incidents(m), incidents);

    apt(m, "apt-get purge --yes app-monitor");
    assert_eq!(m.unit_property("web.service", "ActiveState"), "active", "the app is nobody's to stop");
    // They are the administrator's.
    m.must(&format!("rm {DROP_IN} && rmdir {} && systemctl daemon-reload", parent(DROP_IN)));
    let left: Vec<_> = files(m).into_iter().filter(|file| before.binary_search(file).is_err()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let run = m.run("find /run /tmp /var/tmp /dev/shm -name '*app-monitor*' -o -name '*appmonitor*'").stdout;
    assert!(run.is_empty(), "left behind: {run}");
}

#[test]
fn distribution_states_expire_where_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder on the host");
    let repository = folder.path().join("repository");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/repository");
    let make = |arguments: &[&str]| {
        let mut command = Command::new(&script);
        command.args(["--suite", "bookworm"]).args(arguments).arg(&repository);
        command
    };
    assert!(!make(&[]).status().expect("it runs").success(), "nothing to publish");
    cache::must(make(&[]).arg(cache::package()));
    let seconds = |field: &str| -> Option<i64> {
        let release =
            std::fs::read_to_string(repository.join("dists/bookworm/InRelease")).expect("it is signed");
        let date = release.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "))?.to_owned();
        let read = Command::new("date").args(["+%s", "--date", &date]).output().expect("date runs");
        String::from_utf8_lossy(&read.stdout).trim().parse().ok()
    };
    assert_eq!(seconds("Valid-Until"), None, "valid for ever, since nobody may be there to sign it again");
    // Signed again, without another package.
    cache::must(&mut make(&["--valid-for", "30"]));
    let (signed, until) = (seconds("Date").expect("a date"), seconds("Valid-Until").expect("an end"));
    assert_eq!(until - signed, 30 * 86_400);
    for days in ["0", "1x", "-1"] {
        assert!(!make(&["--valid-for", days]).status().expect("it runs").success(), "{days}");
    }
}

/// The version before the one under test, with a conffile of its own, said to be older.
fn previous(folder: &Path) -> PathBuf {
    let deb = folder.join("previous.deb");
    let script = "dpkg-deb -R \"$1\" tree
        sed -i 's/^Version: .*/Version: 0.0.9~previous/' tree/DEBIAN/control
        printf '\\n# The first version.\\n' >>tree/etc/app-monitor/app-monitor.toml
        dpkg-deb --root-owner-group -Znone -b tree \"$2\"";
    cache::must(
        Command::new("bash")
            .args(["-euc", script, "bash"])
            .arg(cache::previous())
            .arg(&deb)
            .current_dir(folder),
    );
    deb
}

/// A web server in the machine publishes /srv/repository.
fn serve(m: &Machine) {
    m.write(
        "/etc/nginx/sites-enabled/repository",
        "server { listen 127.0.0.1:8080; root /srv/repository; }\n",
    );
    // Nothing else can be reached.
    m.must("rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* && systemctl restart nginx");
}

/// Adds a package to the repository on the host, and brings what is published into the machine. The
/// secret key stays on the host.
fn publish(m: &Machine, repository: &Path, suite: &str, deb: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/repository");
    cache::must(Command::new(script).args(["--suite", suite]).arg(repository).arg(deb));
    let packed = repository.with_extension("tar");
    cache::must(Command::new("tar").arg("-C").arg(repository).arg("-cf").arg(&packed).arg("."));
    m.copy_in(&packed, "/root/repository.tar");
    m.must("mkdir -p /srv/repository && tar -C /srv/repository -xf /root/repository.tar && rm /root/repository.tar");
}

/// What stands in the README behind "From an apt repository", on this suite and from this machine.
fn as_the_readme_says(m: &Machine, suite: &str) -> Output {
    let commands: Vec<&str> = include_str!("../../README.md")
        .lines()
        .skip_while(|line| !line.starts_with("From an apt repository"))
        .skip_while(|line| !line.starts_with("    "))
        .take_while(|line| line.starts_with("    "))
        .map(|line| line.trim_start_matches("    "))
        .collect();
    let script = commands.join("\n").replace(PUBLISHED, SERVED).replace("bookworm", suite);
    assert!(script.contains(SERVED) && script.contains("apt install"), "the README has: {script}");
    // apt asks nobody here.
    let script = script.replace("apt install", "apt install --yes");
    m.write("/root/readme.sh", &script);
    let done = m.run_for(APT, "sh -eu /root/readme.sh");
    m.must("rm /root/readme.sh");
    done
}

/// A repository with another list under the signature is not taken.
fn refuses_what_nobody_signed(m: &Machine, suite: &str) {
    let signed = format!("/srv/repository/dists/{suite}/InRelease");
    // Of another time, too: apt resumes a download of what seems to be the same file.
    m.must(&format!(
        "cp {signed} /root/InRelease && sed -i 's/^Label: .*/Label: another/' {signed} && \
         touch -d '2020-01-01' {signed}"
    ));
    let refused = as_the_readme_says(m, suite);
    assert!(!refused.ok() && !m.run("test -e /usr/bin/app-monitor").ok(), "it was installed");
    m.must(&format!("mv /root/InRelease {signed}"));
}

/// What is on record, however a version shows it.
fn incidents(m: &Machine) -> String {
    m.must("app-monitor incidents --json | grep -E '\"(id|app|verdict|outcome|opened)\":'")
}

#[track_caller]
fn apt(m: &Machine, line: &str) {
    let done = m.run_for(APT, line);
    assert!(done.ok(), "`{line}`:\n{}\n{}", done.stdout, done.stderr);
}

fn version(m: &Machine) -> String {
    m.must("dpkg-query -W -f '${Version}' app-monitor")
}

fn idles(m: &Machine) {
    assert_eq!(m.must("systemctl is-enabled app-monitor"), "enabled");
    m.wait_property(SOON, UNIT, "ActiveState", "active");
    let line = m.unit_property(UNIT, "StatusText");
    assert!(line.starts_with("idle: no app is configured"), "{line}");
    assert_eq!(m.run("app-monitor status").status, 0);
}

/// Whether the conffile is the one that the installed version has.
fn as_packaged(m: &Machine) -> bool {
    let sum = m.must(&format!("md5sum {CONFFILE} | cut -d' ' -f1"));
    m.must("dpkg-query -W -f '${Conffiles}' app-monitor").contains(&format!("{CONFFILE} {sum}"))
}

/// As `systemctl edit app-monitor` does it.
fn configure_by_drop_in(m: &Machine) {
    m.write(
        DROP_IN,
        "[Service]\nEnvironment=APP_MONITOR_APP_WEB__UNIT=web.service\n\
         Environment=APP_MONITOR_APP_WEB__PORT=3000\n\
         Environment=APP_MONITOR_APP_WEB__HTTP=/api/health\n\
         Environment=APP_MONITOR_CHECK_INTERVAL=1s APP_MONITOR_CONFIRM_INTERVAL=500ms\n\
         Environment=APP_MONITOR_STARTUP_GRACE=3s APP_MONITOR_MIN_UPTIME=2s\n\
         Environment=APP_MONITOR_COOLDOWN=1s APP_MONITOR_COOLDOWN_MAX=1s\n",
    );
    m.must("systemctl daemon-reload && systemctl restart app-monitor");
    m.must("app-monitor wait web");
}

/// The first recovery is in vain and is an attempt; the second one helps.
fn recovers(m: &Machine) {
    m.break_starts("web", "status 500");
    let at = m.fault("web", "status 500");
    m.wait_event(SOON * 3, "web", "recovery-failed", at);
    m.mend("web");
    m.wait_event(SOON, "web", "recovery-verified", at);
    m.wait_event(SOON, "web", "incident-closed", at);
    assert_eq!(count(m, "web", "recovery-started", at), 2);
    assert_eq!(m.http(3000, "/api/health").status, 200);
    assert_eq!(view(m, "web")["attempts_left"], 2);
}

/// All files and folders but the books of dpkg, apt, debconf and the journal, in order.
fn files(m: &Machine) -> Vec<String> {
    let found = m.must(
        "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp \
         -o -path /srv/repository -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/cache/apt \
         -o -path /var/cache/debconf -o -path /var/log -o -path /etc/apt/sources.list.d -o -path /etc/apt/keyrings \\) -prune -o -print",
    );
    let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
    found.sort();
    found
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(parent, _)| parent)
}
