//! The host itself: memory, swap, and whether its journal outlives a reboot.

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
}

pub(super) fn read(root: &Path) -> Facts {
    let meminfo = std::fs::read_to_string(super::below(root, "/proc/meminfo")).unwrap_or_default();
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        kib.saturating_mul(1024)
    };
    Facts { memory: of("MemTotal"), swap: of("SwapTotal"), journal_kept: journal_kept(root) }
}

/// journald.conf(5), `Storage=`: `auto` keeps it where /var/log/journal exists.
fn journal_kept(root: &Path) -> bool {
    let mut files = Vec::new();
    for folder in ["/usr/lib/systemd", "/run/systemd", "/etc/systemd"] {
        let drop_ins = format!("{folder}/journald.conf.d");
        let names = super::folder(root, &drop_ins, &mut Vec::new());
        files.extend(
            names.into_iter().filter(|name| name.ends_with(".conf")).map(|name| (name, drop_ins.clone())),
        );
    }
    files.sort();
    let paths = ["/usr/lib/systemd/journald.conf".to_owned(), "/etc/systemd/journald.conf".to_owned()]
        .into_iter()
        .chain(files.into_iter().map(|(name, folder)| format!("{folder}/{name}")));
    let mut storage = "auto".to_owned();
    for path in paths {
        let Some(text) = super::text(root, &path, &mut Vec::new()) else { continue };
        let set = text.lines().filter_map(|line| line.trim().strip_prefix("Storage=")).next_back();
        if let Some(set) = set {
            storage = set.trim().to_owned();
        }
    }
    match storage.as_str() {
        "persistent" => true,
        "volatile" | "none" => false,
        _ => super::below(root, "/var/log/journal").is_dir(),
    }
}
