//! The bench's app, and what it wrote down about who asked it when.

use std::collections::BTreeMap;

use crate::machine::Machine;

/// The app itself.
const SERVER: &str = include_str!("server.js");

/// When each port was asked, milliseconds, by the first word of the User-Agent.
pub type Asked = BTreeMap<u16, BTreeMap<String, Vec<f64>>>;

/// Path and text of the app and of its unit, `web.service`, on those ports.
pub fn files(first: u16, last: u16) -> Vec<(&'static str, String)> {
    let unit = format!(
        "[Unit]\nDescription=App of the benchmark\n\n\
         [Service]\nExecStart=/usr/bin/node /srv/web/server.js\nWorkingDirectory=/srv/web\n\
         Environment=FIRST={first} LAST={last}\n\
         ExecStartPost=/bin/sh -c 'echo $MAINPID >/run/web.pid'\nLimitNOFILE=65536\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    vec![("/srv/web/server.js", SERVER.to_owned()), ("/etc/systemd/system/web.service", unit)]
}

/// Tells the app something (see server.js).
#[track_caller]
pub fn tell(machine: &Machine, what: &str) -> String {
    machine.must(&format!("curl --silent --show-error --fail --max-time 20 'http://127.0.0.1:9000/{what}'"))
}

/// What it wrote down since the last reset.
#[track_caller]
pub fn report(machine: &Machine) -> Asked {
    let text = tell(machine, "report");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("cannot read the app's report: {error}"))
}
