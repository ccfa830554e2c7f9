//! The root file systems that machines are booted from, each built once and kept.
//!
//! A root is a directory under the lab's cache named after a hash of its recipe; a second, thin
//! layer above it holds an installed .deb. Both are built under a file lock, beside their final
//! name, and renamed when whole: an interrupted build leaves nothing that a later run would trust.
//! Nothing here boots a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a machine needs beyond Debian's minimal system: systemd with what it talks to, the
/// fixture's interpreter, a proxy, and the tools with which scenarios look and break things.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "polkitd",
    "init-system-helpers",
    "nginx",
    "nodejs",
    "iproute2",
    "procps",
    "socat",
    "curl",
    "ca-certificates",
];

/// Run in the finished root by mmdebstrap. nginx stays off until a scenario wants it; systemd is
/// told that it has caught up with /usr, or every boot would rebuild what depends on it.
const CUSTOMIZE: &str = "chroot \"$1\" systemctl --quiet disable nginx.service; \
     chroot \"$1\" useradd --system --home-dir /srv --shell /usr/sbin/nologin fixture; \
     rm -f \"$1/etc/resolv.conf\" \"$1/etc/hostname\"; \
     echo 'nameserver 127.0.0.1' > \"$1/etc/resolv.conf\"; \
     touch -r \"$1/usr\" \"$1/etc/.updated\" \"$1/var/.updated\"; \
     rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*.bin";

/// Where roots and layers are kept: `APP_MONITOR_LAB_CACHE`, or /var/cache/app-monitor-lab.
pub fn directory() -> PathBuf {
    std::env::var_os("APP_MONITOR_LAB_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/app-monitor-lab"), PathBuf::from)
}

/// Runs a command to its end and gives its output; panics with what it said when it fails.
#[track_caller]
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The first 16 hexadecimal digits of the SHA-256 of some bytes.
fn digest(bytes: &[u8]) -> String {
    use std::io::Write as _;
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum (coreutils) runs");
    child.stdin.take().expect("stdin was piped").write_all(bytes).expect("sha256sum reads its input");
    let output = child.wait_with_output().expect("sha256sum ends");
    String::from_utf8_lossy(&output.stdout).chars().take(16).collect()
}

/// Holds the cache's lock for as long as it lives; other test processes wait.
struct Lock(#[expect(dead_code, reason = "closing the file releases the lock")] fs::File);

impl Lock {
    fn take(name: &str) -> Self {
        let path = directory().join(format!(".{name}.lock"));
        fs::create_dir_all(directory())
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", directory().display()));
        let file = fs::File::create(&path)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        file.lock().unwrap_or_else(|error| panic!("cannot lock {}: {error}", path.display()));
        Self(file)
    }
}

/// The host's own Debian sources, with `suite` put in the place of the host's release.
fn sources(suite: &str) -> String {
    let listed = must(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(REPO_URI)|$(COMPONENT)",
        "Created-By: Packages",
    ]));
    let host = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let host =
        host.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("").trim_matches('"');
    let mut lines: Vec<String> = Vec::new();
    for target in listed.lines() {
        let mut fields = target.split('|');
        let (Some("Debian"), Some(_), Some(release), Some(uri), Some("main")) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if !host.is_empty() && release.starts_with(host) {
            let release = release.replacen(host, suite, 1);
            let line = format!(
                "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {uri} {release} main"
            );
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    assert!(
        !lines.is_empty(),
        "apt knows no Debian sources on this machine: the lab needs a Debian host (12 or later) \
         whose package lists were fetched (apt-get update)"
    );
    lines.join("\n") + "\n"
}

/// The root file system of a Debian suite (`bookworm`, `trixie`), built when it is not there yet.
/// The build takes about half a minute and needs the package mirror; nothing afterwards does.
pub fn root(suite: &str) -> PathBuf {
    let recipe = format!("1\n{suite}\n{}\n{CUSTOMIZE}", PACKAGES.join(","));
    let target = directory().join(format!("{suite}-{}", digest(recipe.as_bytes())));
    if target.is_dir() {
        return target;
    }
    let _lock = Lock::take("root");
    if target.is_dir() {
        return target;
    }
    eprintln!("lab: building the root file system {} (once)", target.display());
    forget_old(&format!("{suite}-"), 1);
    let half = directory().join(format!(".half-{suite}"));
    let _ = fs::remove_dir_all(&half);
    let list = directory().join(".sources.list");
    fs::write(&list, sources(suite)).expect("the cache directory can be written");
    // Proxies and validity checks are the host's business, and hold for this download too.
    let conf: String = must(Command::new("apt-config").arg("dump"))
        .lines()
        .filter(|line| line.starts_with("Acquire::"))
        .map(|line| format!("{line}\n"))
        .collect();
    let conf_file = directory().join(".apt.conf");
    fs::write(&conf_file, conf).expect("the cache directory can be written");
    must(
        Command::new("mmdebstrap")
            .args(["--mode=root", "--variant=minbase"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg(format!("--aptopt={}", conf_file.display()))
            .arg("--aptopt=Apt::Install-Recommends false")
            .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
            .arg("--dpkgopt=path-exclude=/usr/share/man/*")
            .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
            .arg(format!("--customize-hook={CUSTOMIZE}"))
            .arg(suite)
            .arg(&half)
            .arg(&list),
    );
    fs::rename(&half, &target).expect("a finished root can be renamed");
    target
}

/// The package under test: `APP_MONITOR_DEB`, or the newest in target/package/.
pub fn package() -> PathBuf {
    if let Some(path) = std::env::var_os("APP_MONITOR_DEB") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "APP_MONITOR_DEB names no file: {}", path.display());
        return path;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/package");
    let newest = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("app-monitor_") && name.ends_with(".deb")
        })
        .max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    newest.unwrap_or_else(|| {
        panic!(
            "no app-monitor_*.deb in {}: run `tests/run package` first, or name one in APP_MONITOR_DEB",
            folder.display()
        )
    })
}

/// A layer to put above `root` in which `deb` is installed, not started. With
/// `APP_MONITOR_LAB_BINARY` its /usr/bin/app-monitor is that file instead (a development build
/// is quicker to make than the package).
pub fn installed(root: &Path, deb: &Path) -> PathBuf {
    let mut content = fs::read(deb).unwrap_or_else(|error| panic!("cannot read {}: {error}", deb.display()));
    let binary = std::env::var_os("APP_MONITOR_LAB_BINARY").map(PathBuf::from);
    if let Some(binary) = &binary {
        content.extend(
            fs::read(binary).unwrap_or_else(|error| panic!("cannot read {}: {error}", binary.display())),
        );
    }
    content.extend(root.as_os_str().as_encoded_bytes());
    let target = directory().join(format!("deb-{}", digest(&content)));
    if target.is_dir() {
        return target;
    }
    let _lock = Lock::take("deb");
    if target.is_dir() {
        return target;
    }
    forget_old("deb-", 12);
    let half = directory().join(".half-deb");
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half).expect("the cache directory can be written");
    // On a tmpfs, since an overlay cannot write to another overlay; in a mount namespace, so that
    // nothing stays mounted when this is interrupted.
    must(
        Command::new("unshare")
            .args(["--mount", "--", "bash", "-euc"])
            .arg(
                "mount --make-rprivate /
                 mount -t tmpfs -o mode=0755 lab /mnt
                 mkdir /mnt/upper /mnt/work /mnt/root
                 mount -t overlay overlay -o \"lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work\" /mnt/root
                 cp -- \"$2\" /mnt/root/package.deb
                 chroot /mnt/root env DEBIAN_FRONTEND=noninteractive dpkg --install /package.deb
                 rm /mnt/root/package.deb
                 if [ -n \"$4\" ]; then install -m 0755 -- \"$4\" /mnt/root/usr/bin/app-monitor; fi
                 touch -r /mnt/root/usr /mnt/root/etc/.updated /mnt/root/var/.updated
                 chmod --reference=\"$1\" /mnt/upper
                 cp -a /mnt/upper/. \"$3/\"",
            )
            .arg("bash")
            .args([root, deb, &half])
            .arg(binary.unwrap_or_default()),
    );
    fs::rename(&half, &target).expect("a finished layer can be renamed");
    target
}

/// Removes all but the newest `keep` entries of the cache whose names start with `prefix`; what a
/// machine runs on is younger than that.
fn forget_old(prefix: &str, keep: usize) {
    let mut entries: Vec<_> = fs::read_dir(directory())
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    entries.sort();
    for (_, path) in entries.iter().rev().skip(keep) {
        let _ = fs::remove_dir_all(path);
    }
}
