//! What the lab asks of the host, and what it must clean up there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::RUN;

/// Whether a process is PID 1 of a namespace one below ours.
pub(super) fn is_init(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
        status.lines().any(|line| {
            line.strip_prefix("NSpid:").is_some_and(|ids| {
                let ids: Vec<_> = ids.split_whitespace().collect();
                ids.len() == 2 && ids[1] == "1"
            })
        })
    })
}

/// Refuses to go on where machines cannot run, naming all that is missing; gives the folder under
/// which machines get their cgroups.
#[track_caller]
pub(super) fn requirements() -> PathBuf {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root (run `tests/run lab`, which uses sudo)".to_owned());
    }
    for (tool, package) in [
        ("mmdebstrap", "mmdebstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("nsenter", "util-linux"),
        ("unshare", "util-linux"),
        ("setpriv", "util-linux"),
    ] {
        let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(tool).exists());
        if !found {
            missing.push(format!("{tool} (apt-get install {package})"));
        }
    }
    let groups = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.join("cgroup.procs").exists() && path.join("cgroup.controllers").exists());
    if groups.is_none() {
        missing.push("a cgroup2 mount on /sys/fs/cgroup or /sys/fs/cgroup/unified".to_owned());
    }
    assert!(missing.is_empty(), "the lab cannot run here; missing: {}", missing.join("; "));
    groups.unwrap_or_default()
}

/// Removes what machines left whose test process was killed together with its supervisor.
pub(super) fn sweep(groups: &Path) {
    let dead = |name: &str| {
        name.split(['-', '.'])
            .next()
            .and_then(|pid| pid.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    let v1 = PathBuf::from("/sys/fs/cgroup/systemd");
    for parent in [groups, &v1] {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.strip_prefix("app-monitor-lab-").is_some_and(dead) {
                let _ = fs::write(entry.path().join("cgroup.kill"), "1");
                // The killed take a moment to be gone.
                for _ in 0..20 {
                    let _ = Command::new("find")
                        .arg(entry.path())
                        .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"])
                        .stderr(Stdio::null())
                        .status();
                    if !entry.path().exists() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
    for entry in fs::read_dir(RUN).into_iter().flatten().flatten() {
        if dead(&entry.file_name().to_string_lossy()) {
            let path = entry.path();
            // Mounts are in namespaces that died with their processes; these are plain files.
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
        }
    }
}
