//! What is said of the host, of who else restarts an app, and of what runs where app-monitor cannot act.

use super::{Finding, Notes, Severity};
use crate::config::size;
use crate::judge::UnitName;
use crate::plain::command;
use crate::server::{Keeper, Server, Stray, mends};

/// A host with less than that is small.
const SMALL: u64 = 2 << 30;

pub fn others(notes: &mut Notes<'_>, server: &Server) {
    let stem = notes.patient.service.unit.stem().to_owned();
    let ports = notes.patient.ports();
    for other in server.restarters.iter().filter(|one| mends(one, &stem, &ports)) {
        notes.add(
            Severity::Warning,
            match other.kind {
                "cron" => "cron",
                "timer" => "timer",
                _ => "loop",
            },
            format!("{} also restarts it: \u{201c}{}\u{201d}", other.place, other.command),
            "Two keepers undo each other's work: a restart in the middle of a recovery looks like another crash, \
             and a stop by an administrator does not last.",
            vec![other.end.clone()],
        );
    }
}

/// What is to be done about an app that runs elsewhere, by hand for the most part.
fn stray_mend(stray: &Stray, advice: &str) -> Vec<String> {
    let mut mend = vec![format!("# {advice}")];
    if stray.unit().is_some() {
        mend.push("app-monitor init  # shows a unit for it".to_owned());
    }
    match &stray.keeper {
        Keeper::Pm2 => mend.push(stray.leave_pm2()),
        Keeper::Container(id) => mend.push(format!("docker update --restart=no {id}")),
        // Names below a user's manager are the user's choice.
        Keeper::User(user, unit) if !unit.is_empty() => {
            mend.push(match (user.parse::<u32>(), unit.parse::<UnitName>()) {
                (Ok(uid), Ok(unit)) => {
                    let line = format!("systemctl --user --machine={uid}@ disable --now {{}}");
                    command(&line, &[unit.as_str()])
                }
                _ => format!(
                    "# what it is part of has no name of a unit; systemctl status {} shows it",
                    stray.pid
                ),
            });
        }
        Keeper::User(..) | Keeper::Session => mend.push(format!("kill {}", stray.pid)),
    }
    mend
}

/// All about the host.
pub fn host(server: &Server) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut add = |severity, finding, what: String, why: &str, mend: Vec<&str>| {
        let mend = mend.into_iter().map(str::to_owned).collect();
        all.push(Finding { app: None, unit: None, severity, finding, what, why: why.to_owned(), mend });
    };
    let host = &server.host;
    if host.memory > 0 && host.memory < SMALL && host.swap == 0 {
        let what = format!("no swap, and {} of memory", size::show(host.memory >> 20 << 20));
        add(
            Severity::Advice,
            "no-swap",
            what,
            "A build or a leak meets the kernel's OOM killer at once, instead of becoming slow first.",
            vec![
                "fallocate -l 1G /swapfile && chmod 600 /swapfile && mkswap /swapfile",
                "echo '/swapfile none swap sw 0 0' >>/etc/fstab && swapon -a",
            ],
        );
    }
    if !host.journal_kept {
        add(
            Severity::Advice,
            "journal",
            "the journal is not kept over a reboot".to_owned(),
            "What an app said before the host went down is what explains it.",
            if host.journal_forbidden {
                vec![
                    "mkdir -p /etc/systemd/journald.conf.d",
                    "printf '[Journal]\\nStorage=persistent\\n' >/etc/systemd/journald.conf.d/zz-persistent.conf",
                    "systemctl restart systemd-journald",
                ]
            } else {
                vec!["mkdir -p /var/log/journal && systemctl restart systemd-journald"]
            },
        );
    }
    for stray in &server.strays {
        let finding = match &stray.keeper {
            Keeper::Pm2 => "under-pm2",
            Keeper::Container(_) => "under-docker",
            Keeper::User(..) => "under-user",
            Keeper::Session => "under-session",
        };
        let what =
            format!("{} (pid {}, user {}) runs {}", stray.name, stray.pid, stray.user, stray.kept_by());
        let advice = stray.advice();
        add(
            Severity::Warning,
            finding,
            what,
            "app-monitor acts on services of the system; this app is not watched.",
            stray_mend(stray, &advice).iter().map(String::as_str).collect(),
        );
    }
    all
}
