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

/// What a layer above the root adds for the scenarios that need real servers, and load on them. All
/// of it stays off until a scenario starts it.
const SERVERS: &[&str] = &["postgresql", "mariadb-server", "redis-server", "exim4-daemon-light", "wrk"];

/// Run in the layer: none of its services is started by the boot.
const SERVERS_OFF: &str = "for unit in /etc/systemd/system/*.wants/*; do case \"$unit\" in \
     */postgresql*|*/mariadb*|*/redis*|*/exim4*) rm -f \"$unit\";; esac; done; \
     rm -f /etc/systemd/system/mysql.service /etc/systemd/system/mysqld.service \
     /etc/systemd/system/redis.service /etc/rc?.d/S??exim4";

/// The units of the tree under test.
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");

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

/// A file with the host's own Debian sources, `suite` put in the place of the host's release.
pub fn sources(suite: &str) -> PathBuf {
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
    let list = directory().join(".sources.list");
    fs::write(&list, lines.join("\n") + "\n").expect("the cache directory can be written");
    list
}

/// Proxies and validity checks are the host's business, and hold for the lab's downloads too.
fn acquire_conf() -> PathBuf {
    let conf: String = must(Command::new("apt-config").arg("dump"))
        .lines()
        .filter(|line| line.starts_with("Acquire::"))
        .map(|line| format!("{line}\n"))
        .collect();
    let file = directory().join(".apt.conf");
    fs::write(&file, conf).expect("the cache directory can be written");
    file
}

/// The root file system of a Debian suite (`bookworm`, `trixie`), built when it is not there yet.
/// The build takes about half a minute and needs the package mirror; nothing afterwards does.
pub fn root(suite: &str) -> PathBuf {
    let recipe = format!("1\n{suite}\n{}\n{CUSTOMIZE}", PACKAGES.join(","));
    let include = PACKAGES.join(",");
    kept(Kept { lock: "root", kind: suite, keep: 1 }, recipe.as_bytes(), |half| {
        must(
            debian(&["--variant=minbase"], &include)
                .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
                .arg("--dpkgopt=path-exclude=/usr/share/man/*")
                .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
                .arg(format!("--customize-hook={CUSTOMIZE}"))
                .arg(suite)
                .arg(half)
                .arg(sources(suite)),
        );
    })
}

/// mmdebstrap with packages to include, everything said but suite, target and [`sources`]. Call it
/// under the lock `root`.
pub fn debian(options: &[&str], include: &str) -> Command {
    let mut command = Command::new("mmdebstrap");
    command
        .arg("--mode=root")
        .args(options)
        .arg(format!("--include={include}"))
        .arg(format!("--aptopt={}", acquire_conf().display()))
        .arg("--aptopt=Apt::Install-Recommends false");
    command
}

/// A kind of things in the cache.
pub struct Kept<'a> {
    /// The lock under which it is built.
    pub lock: &'a str,
    /// What its names start with, before the hash.
    pub kind: &'a str,
    /// How many are kept beside a new one.
    pub keep: usize,
}

/// The folder KIND-HASH of the cache, HASH being that of all that it is made of. When it is not
/// there yet, `build` fills the folder that it is given.
pub fn kept(kept: Kept<'_>, recipe: &[u8], build: impl FnOnce(&Path)) -> PathBuf {
    let Kept { lock, kind, keep } = kept;
    let target = directory().join(format!("{kind}-{}", digest(recipe)));
    if target.is_dir() {
        return target;
    }
    let _lock = Lock::take(lock);
    if target.is_dir() {
        return target;
    }
    eprintln!("lab: building {} (once)", target.display());
    forget_old(&format!("{kind}-"), keep);
    let half = directory().join(format!(".half-{kind}"));
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half).expect("the cache directory can be written");
    build(&half);
    fs::rename(&half, &target).expect("what is whole can be renamed");
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

/// The package that an upgrade begins with: `APP_MONITOR_PREVIOUS_DEB`, or the one under test.
pub fn previous() -> PathBuf {
    std::env::var_os("APP_MONITOR_PREVIOUS_DEB").map_or_else(package, |path| {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "APP_MONITOR_PREVIOUS_DEB names no file: {}", path.display());
        path
    })
}

/// The commands and the daemon that take the place of those in the package under test, where
/// `APP_MONITOR_LAB_BINARY` names them.
pub fn development() -> Option<(PathBuf, PathBuf)> {
    let binary = PathBuf::from(std::env::var_os("APP_MONITOR_LAB_BINARY")?);
    let daemon = binary.with_file_name("app-monitord");
    Some((binary, daemon))
}

/// What is run in a chroot on an overlay, on a tmpfs (an overlay cannot write to another overlay),
/// in a mount namespace (nothing stays mounted when this is interrupted). `$1`: lower folders, `$2`:
/// where the layer goes, `$3`: the script, what follows are its own arguments.
const LAYER: &str = "
    mount --make-rprivate /
    mount -t tmpfs -o mode=0755 lab /mnt
    mkdir /mnt/upper /mnt/work /mnt/root
    mount -t overlay overlay -o \"lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work\" /mnt/root
    lower=$1 half=$2
    eval \"$3\"
    touch -r /mnt/root/usr /mnt/root/etc/.updated /mnt/root/var/.updated
    chmod --reference=\"${lower##*:}\" /mnt/upper
    cp -a /mnt/upper/. \"$half/\"";

/// Folders of an overlay, the uppermost first.
pub fn stacked(lower: &[PathBuf]) -> String {
    lower.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")
}

/// Builds the layer `KIND-HASH` above `lower`, when it is not there yet.
fn layer(
    kind: &str,
    keep: usize,
    hashed: &[u8],
    lower: &[PathBuf],
    script: &str,
    arguments: &[&Path],
) -> PathBuf {
    let mut recipe = hashed.to_vec();
    recipe.extend(stacked(lower).as_bytes());
    recipe.extend(script.as_bytes());
    kept(Kept { lock: kind, kind, keep }, &recipe, |half| {
        must(
            Command::new("unshare")
                .args(["--mount", "--", "bash", "-euc", LAYER, "bash"])
                .arg(stacked(lower))
                .arg(half)
                .arg(script)
                .args(arguments),
        );
    })
}

/// A layer to put above a root with the servers of [`SERVERS`], none of them enabled. Building it
/// takes about half a minute and needs the package mirror.
pub fn servers(root: &Path) -> PathBuf {
    let script = format!(
        "mount --bind /dev /mnt/root/dev
         mount -t proc proc /mnt/root/proc
         cp --remove-destination /etc/resolv.conf /mnt/root/etc/resolv.conf
         printf '#!/bin/sh\\nexit 101\\n' >/mnt/root/usr/sbin/policy-rc.d
         chmod 0755 /mnt/root/usr/sbin/policy-rc.d
         cp \"$4\" /mnt/root/etc/apt/apt.conf.d/99lab
         chroot /mnt/root apt-get update -qq
         chroot /mnt/root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \\
             apt-get install --yes -qq --no-install-recommends {packages}
         chroot /mnt/root bash -c '{SERVERS_OFF}'
         rm -rf /mnt/root/var/lib/apt/lists/* /mnt/root/var/cache/apt/* /mnt/root/usr/sbin/policy-rc.d
         rm -f /mnt/root/etc/apt/apt.conf.d/99lab
         echo 'nameserver 127.0.0.1' >/mnt/root/etc/resolv.conf
         umount /mnt/root/proc /mnt/root/dev",
        packages = SERVERS.join(" ")
    );
    let conf = acquire_conf();
    // One of each suite, and of the one before.
    layer("servers", 3, b"1", &[root.to_owned()], &script, &[&conf])
}

/// A layer to put above `lower` in which `deb` is installed, not started. With
/// `APP_MONITOR_LAB_BINARY`, and of the package under test, its /usr/bin/app-monitor is that file instead, its daemon the one beside
/// that, and its units are those of the tree (a development build is quicker to make than the package).
pub fn installed(lower: &[PathBuf], deb: &Path) -> PathBuf {
    let read = |path: &Path| {
        fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    };
    let mut content = read(deb);
    let development = development().filter(|_| deb == package());
    if let Some((binary, daemon)) = &development {
        content.extend(read(binary));
        content.extend(read(daemon));
        let mut units: Vec<PathBuf> = fs::read_dir(Path::new(UNITS))
            .unwrap_or_else(|error| panic!("cannot read {UNITS}: {error}"))
            .flatten()
            .map(|entry| entry.path())
            .collect();
        units.sort();
        for unit in units {
            content.extend(unit.as_os_str().as_encoded_bytes());
            content.extend(read(&unit));
        }
    }
    let script = "cp -- \"$4\" /mnt/root/package.deb
         chroot /mnt/root env DEBIAN_FRONTEND=noninteractive dpkg --install /package.deb
         rm /mnt/root/package.deb
         if [ -n \"${5:-}\" ]; then
             install -m 0755 -- \"$5\" /mnt/root/usr/bin/app-monitor
             install -D -m 0755 -- \"$6\" /mnt/root/usr/libexec/app-monitor/app-monitord
             install -m 0644 -- \"$7\"/* /mnt/root/usr/lib/systemd/system/
         fi";
    let mut arguments = vec![deb];
    if let Some((binary, daemon)) = &development {
        arguments.extend([binary.as_path(), daemon.as_path(), Path::new(UNITS)]);
    }
    layer("deb", 24, &content, lower, script, &arguments)
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
