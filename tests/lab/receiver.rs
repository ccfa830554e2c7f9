//! Somebody who is told over HTTP, and what became of it: app/receiver.js, in any mood.

use std::time::Duration;

use serde_json::Value;

use crate::machine::Machine;
use crate::support::SOON;

const RECEIVER: &str = include_str!("app/receiver.js");
/// Where it is, with what nobody is to see.
pub const HOOK: &str = "http://127.0.0.1:9000/hook/geheim-t0ken";
/// The waits between tries grow, and this one is behind three of them.
pub const LONG: Duration = Duration::from_secs(90);

pub fn webhook(more: &str) -> String {
    format!("[alerts.hook]\nkind = \"webhook\"\nurl = \"{HOOK}\"\n{more}\n")
}

/// Somebody who can be told; not yet there.
pub fn install_receiver(m: &Machine) {
    m.write("/srv/receiver/receiver.js", RECEIVER);
    m.write(
        "/etc/systemd/system/receiver.service",
        "[Service]\nExecStart=/usr/bin/node /srv/receiver/receiver.js\n",
    );
    m.must("systemctl daemon-reload");
}

/// There it is, in that mood.
pub fn receive(m: &Machine, mode: &str) {
    m.write("/srv/receiver/mode", "ok");
    m.must("systemctl start receiver");
    m.wait_for(SOON, "it listens", || {
        m.run("curl -s -o /dev/null -X PUT http://127.0.0.1:9000/up").ok().then_some(())
    });
    m.write("/srv/receiver/mode", mode);
}

/// Every request to the hook so far.
pub fn asked(m: &Machine) -> Vec<Value> {
    let log = m.read("/srv/receiver/log").unwrap_or_default();
    let all = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.filter(|one| one["url"].as_str().is_some_and(|url| url.starts_with("/hook"))).collect()
}

/// The messages that were taken.
pub fn messages(m: &Machine) -> Vec<Value> {
    let taken = asked(m).into_iter().filter(|one| one["taken"] == true);
    taken.map(|one| serde_json::from_str(one["body"].as_str().unwrap_or("")).expect("JSON")).collect()
}

/// What was told, in its order: `incident-opened web-1`.
pub fn told(m: &Machine) -> Vec<String> {
    let of = |message: &Value| message["alerts"].as_array().cloned().unwrap_or_default();
    let one = |alert: Value| {
        let word = |key: &str| alert[key].as_str().unwrap_or_default().to_owned();
        let again = if alert["repeated"] == true { " again" } else { "" };
        format!("{} {}{again}", word("event"), word("incident"))
    };
    messages(m).iter().flat_map(of).map(one).collect()
}

#[track_caller]
pub fn wait_told(m: &Machine, within: Duration, expected: &[&str]) {
    m.wait_for(within, &format!("{expected:?} is told"), || (told(m).len() >= expected.len()).then_some(()));
    assert_eq!(told(m), expected);
}

/// A crash and its end.
pub fn incident(m: &Machine) -> Duration {
    let at = m.fault("web", "crash");
    m.wait_event(SOON, "web", "incident-closed", at);
    at
}

/// A receiver that proves who it is with a certificate for that name.
pub fn receive_encrypted(m: &Machine, name: &str, validity: &str) {
    m.certify(name, validity);
    m.must("install -m 0600 /srv/tls/site.pem /srv/tls/site.key /srv/receiver && systemctl restart receiver");
    let up = "curl -s -k -o /dev/null -X PUT https://127.0.0.1:9000/up";
    m.wait_for(SOON, "it listens", || m.run(up).ok().then_some(()));
}

/// What was told, in its order and its words.
pub fn texts(m: &Machine) -> Vec<String> {
    let of = |message: &Value| message["alerts"].as_array().cloned().unwrap_or_default();
    let alerts = messages(m).iter().flat_map(of).collect::<Vec<_>>();
    alerts.iter().map(|alert| alert["text"].as_str().unwrap_or_default().to_owned()).collect()
}
