//! What is said of the network: the way to the database at boot, and the addresses that the app is bound to.

use std::net::IpAddr;

use super::{Notes, Severity, toml};
use crate::judge::Address;
use crate::plain::{command, on_one_line};
use crate::server::nginx::Upstream;

pub fn online(notes: &mut Notes<'_>) {
    let waits = notes.patient.service.after.iter().any(|unit| unit == "network-online.target");
    let Some(host) = notes.patient.remote.as_ref().filter(|_| !waits) else { return };
    let mend = notes.edit("Unit", &["Wants=network-online.target", "After=network-online.target"]);
    notes.add(
        Severity::Warning,
        "network-online",
        format!("its database is at {host}, and the unit does not wait for the network"),
        "At boot it starts before there is a way to its database.",
        mend,
    );
}

pub fn families(notes: &mut Notes<'_>) {
    let listening = notes.patient.listening();
    for port in notes.patient.ports() {
        let at: Vec<_> = listening.iter().filter(|at| at.port == port).collect();
        let local = at.iter().all(|at| at.address.is_loopback() || at.address.is_unspecified());
        let v4 = at.iter().any(|at| at.families().0);
        let v6 = at.iter().any(|at| at.families().1);
        if at.is_empty() || !local || (v4 && v6) {
            continue;
        }
        // Whoever names an address of that family goes there alone.
        let same = |host: &String| host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() == v4);
        let (own, other) = if v4 { ("IPv4", "::1") } else { ("IPv6", "127.0.0.1") };
        let mut passed = false;
        let mut mend = Vec::new();
        for (site, _) in notes.patient.found.iter().flat_map(|found| &found.sites) {
            for to in site.passes_to(port).flat_map(|pass| &pass.to) {
                let Upstream::Host(host, at) = to else { continue };
                let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
                // Others of the same upstream are elsewhere.
                if *at != port || !here {
                    continue;
                }
                passed = true;
                let line = (!same(host)).then(|| {
                    let spelled = notes.patient.spelled.iter();
                    let spelled =
                        spelled.filter(|one| (&one.0, &one.1, one.2) == (&site.file, host, port)).count();
                    renamed(&site.file, host, port, v4, spelled > 0)
                });
                mend.extend(line.filter(|line| !mend.contains(line)));
            }
        }
        if passed && mend.is_empty() {
            continue;
        }
        if passed {
            let by_hand = mend.iter().all(|line| line.starts_with('#'));
            mend.push(
                if by_hand { "# then: systemctl reload nginx" } else { "systemctl reload nginx" }.to_owned(),
            );
        } else if matches!(notes.patient.target.address, Address::Ip(_)) {
            // Whoever says where it listens knows it.
            continue;
        } else {
            let address = if v4 { "127.0.0.1" } else { "::1" };
            mend = vec!["# let it listen without naming a host, or say that it is meant so:".to_owned()];
            mend.extend(notes.table("address", &toml(address)));
        }
        let shown: Vec<String> = at.iter().map(|at| at.shown()).collect();
        notes.add(
            Severity::Advice,
            "one-family",
            format!("port {port} is bound on {own} only ({})", shown.join(", ")),
            format!(
                "\u{201c}localhost\u{201d} means both: whoever tries {other} first is refused, nginx with localhost \
                 in proxy_pass among them."
            ),
            mend,
        );
    }
}

/// The command that has nginx name an address of the right family; a comment where its file does not name the
/// host and the port together: the port is implied, or either stands in a variable or in another file.
fn renamed(file: &str, host: &str, port: u16, v4: bool, spelled: bool) -> String {
    let to = if v4 { "127.0.0.1" } else { "[::1]" };
    if !spelled {
        return on_one_line(&format!(
            "# nginx, {file}: where it leads to {host}, port {port}, name {to}:{port}"
        ));
    }
    // Where a word begins and ends, so that other ports and hosts stay what they are.
    let from = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => format!("\\[{host}\\]"),
        _ => format!("\\b{}", host.replace('.', "\\.")),
    };
    command(&format!("sed -i --follow-symlinks 's/{from}:{port}\\b/{to}:{port}/g' {{}}"), &[file])
}
