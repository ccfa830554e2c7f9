//! What stands between the app and its visitors: proxy, name, network, certificate. The app is well
//! all the while, and is never touched.

use std::time::Duration;

use super::rows;
use super::seen::{Seen, condition, is_own, until};
use crate::machine::world::NAME;
use crate::machine::{AppSpec, Machine, now};
use crate::support::{SOON, config, let_pass};

rows! {
    Lab proxy_crashed: "nginx crashed" => "proxy-down", "reset-failed nginx.service, start nginx.service", 0;
    Lab proxy_silent: "nginx up and silent (SIGSTOP)" => "proxy-down", "reload nginx.service, kill nginx.service, restart nginx.service", 0;
    Lab proxy_misconfigured: "nginx silent, its configuration broken" => "proxy-down", "reload nginx.service (failed)", 0;
    Lab proxy_stopped: "nginx stopped by the administrator" => "proxy-down", "none", 0;
    Lab proxy_not_ours: "nginx crashed, proxy_recover = false" => "proxy-down", "none", 0;
    Lab proxy_upstream: "nginx points at another port (502)" => "proxy-upstream", "none", 0;
    Lab name_unknown: "the public name does not resolve" => "public-unreachable", "none", 0;
    Lab resolver_silent: "the resolver does not answer" => "public-unreachable", "none", 0;
    Lab elsewhere: "the public name leads where nobody listens" => "public-unreachable", "none", 0;
    Lab wrong_name: "certificate for another name" => "public-unreachable", "none", 0;
    Lab public_404: "the public page is gone (404)" => "public-unreachable", "none", 0;
    Lab network_down: "network cable out" => "network-down", "none", 0;
    Lab certificate: "certificate expires in 5 days" => "certificate-expiring", "none", 0;
}

/// The app behind nginx, in a world, with a public page that was seen good.
#[track_caller]
fn published(m: &Machine, path: &str, more: &str) {
    m.install_app(&AppSpec::new("web", 3000));
    m.make_world();
    let keys = format!(
        "public = \"https://{NAME}{path}\"\npublic_interval = \"1s\"\nproxy = \"nginx.service\"\n{more}"
    );
    m.configure(&config(&keys));
    m.wait_verdict(SOON, "web", "healthy", Duration::ZERO);
    // So that each of these checks was good once.
    let_pass(Duration::from_millis(2_500));
}

/// The condition comes alone, and the app is well throughout.
fn only(m: &Machine, at: Duration, word: &str, with: &[&str]) -> Seen {
    let seen = condition(m, at, word);
    let others: Vec<String> = super::seen::conditions(m, at)
        .into_iter()
        .filter(|other| other != word && !with.contains(&other.as_str()))
        .collect();
    let incidents = m
        .events_since("web", at)
        .iter()
        .filter(|event| event.name == "incident-opened" && is_own(event))
        .count();
    seen.and(others.is_empty(), || format!("also {}", others.join(", ")))
        .and(incidents == 0, || "an incident of the app".to_owned())
}

/// The same, and the public page is served again without anybody's help.
fn mended(m: &Machine, at: Duration) -> Seen {
    let served = until(SOON, || m.run(&format!("curl --silent --fail --max-time 2 https://{NAME}/")).ok());
    only(m, at, "proxy-down", &[]).and(served, || "the page is not served".to_owned())
}

const SILENCE: &str =
    "for pid in $(cat /sys/fs/cgroup/system.slice/nginx.service/cgroup.procs); do kill -STOP $pid; done";

fn proxy_crashed(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.must("systemctl kill --signal=KILL nginx");
    mended(m, at)
}

fn proxy_silent(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.must(SILENCE);
    mended(m, at)
}

fn proxy_misconfigured(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    m.write("/etc/nginx/sites-enabled/default", "server { listen 80; nonsense }\n");
    let at = now();
    m.must(SILENCE);
    let mut seen = only(m, at, "proxy-down", &[]);
    // As often as its budget allows, and no more than that.
    let_pass(Duration::from_secs(10));
    let after = Seen::since(m, at, "");
    let mut steps: Vec<&str> = after.actions.split(", ").collect();
    steps.dedup();
    seen.actions = steps.join(", ");
    let events = m.events_since("web", at);
    let incidents = events.iter().filter(|event| event.name == "incident-opened").count();
    let gave_up = events.iter().filter(|event| event.name == "breaker-opened").count();
    seen.and(incidents == 1, || format!("{incidents} incidents of nginx instead of one"))
        .and(gave_up <= 1, || format!("given up {gave_up} times"))
}

fn proxy_stopped(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.must("systemctl stop nginx");
    only(m, at, "proxy-down", &[])
}

fn proxy_not_ours(m: &Machine) -> Seen {
    published(m, "/api/health", "proxy_recover = false");
    let at = now();
    m.must("systemctl kill --signal=KILL nginx");
    only(m, at, "proxy-down", &[])
}

fn proxy_upstream(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    m.proxy_to(3999);
    let at = now();
    m.must("systemctl reload nginx");
    only(m, at, "proxy-upstream", &[])
}

fn name_unknown(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.resolve_to("");
    only(m, at, "public-unreachable", &[])
}

fn resolver_silent(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.must("systemctl kill --signal=STOP world-dns");
    only(m, at, "public-unreachable", &[])
}

fn elsewhere(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.resolve_to("192.0.2.1");
    only(m, at, "public-unreachable", &[])
}

fn wrong_name(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    m.certify("other.example", "-days 90");
    let at = now();
    m.must("systemctl reload nginx");
    only(m, at, "public-unreachable", &["certificate-expiring"])
}

fn public_404(m: &Machine) -> Seen {
    published(m, "/page", "");
    let at = now();
    m.must("rm /srv/pages/page");
    only(m, at, "public-unreachable", &[])
}

fn network_down(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    let at = now();
    m.must("ip link set out down");
    only(m, at, "network-down", &[])
}

fn certificate(m: &Machine) -> Seen {
    published(m, "/api/health", "");
    m.certify(NAME, "-days 5");
    let at = now();
    m.must("systemctl reload nginx");
    only(m, at, "certificate-expiring", &[])
}
