//! The host itself: memory, swap, and whether its journal outlives a reboot.

use std::collections::BTreeMap;
use std::path::Path;

/// What matters of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// MemTotal in bytes; 0 where it could not be read.
    pub memory: u64,
    /// SwapTotal in bytes.
    pub swap: u64,
    /// The journal is kept over a reboot.
    pub journal_kept: bool,
    /// It is told not to be: making its folder does not help.
    pub journal_forbidden: bool,
}

pub(super) fn read(root: &Path) -> Facts {
    let meminfo = std::fs::read_to_string(super::below(root, "/proc/meminfo")).unwrap_or_default();
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        kib.saturating_mul(1024)
    };
    let storage = journal_storage(root);
    Facts {
        memory: of("MemTotal"),
        swap: of("SwapTotal"),
        journal_kept: match storage.as_str() {
            "persistent" => true,
            "volatile" | "none" => false,
            // `auto` keeps it where the folder exists.
            _ => super::below(root, "/var/log/journal").is_dir(),
        },
        journal_forbidden: matches!(storage.as_str(), "volatile" | "none"),
    }
}

/// Names that /etc/hosts gives to loopback addresses, and the host's own.
#[must_use]
pub fn names_of_this_host(root: &Path) -> Vec<String> {
    let read = |path: &str| super::text(root, path, &mut Vec::new()).unwrap_or_default();
    let mut names: Vec<String> = read("/etc/hostname").split_whitespace().map(str::to_owned).collect();
    for line in read("/etc/hosts").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<std::net::IpAddr>().ok());
        if address.is_some_and(|address| address.is_loopback()) {
            names.extend(words.map(str::to_owned));
        }
    }
    names
}

/// journald.conf(5), `Storage=`. Of files with the same name, the one in /etc counts, then in /run.
fn journal_storage(root: &Path) -> String {
    const FOLDERS: [&str; 4] = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
    let there = |path: &String| super::below(root, path).exists();
    let main = FOLDERS.iter().map(|folder| format!("{folder}/journald.conf")).find(there);
    let mut drop_ins: BTreeMap<String, String> = BTreeMap::new();
    for folder in FOLDERS {
        let folder = format!("{folder}/journald.conf.d");
        for name in super::folder(root, &folder, &mut Vec::new()) {
            if name.ends_with(".conf") {
                let path = format!("{folder}/{name}");
                drop_ins.entry(name).or_insert(path);
            }
        }
    }
    let paths = main.into_iter().chain(drop_ins.into_values());
    let mut storage = "auto".to_owned();
    for path in paths {
        let Some(text) = super::text(root, &path, &mut Vec::new()) else { continue };
        let set = text.lines().filter_map(|line| line.trim().strip_prefix("Storage=")).next_back();
        if let Some(set) = set {
            storage = set.trim().to_owned();
        }
    }
    storage
}
