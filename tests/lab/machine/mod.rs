//! A throw-away Debian with a real systemd, for one scenario.
//!
//! [`Machine::boot`] lays an overlay over the cached root, boots it with systemd-nspawn in a cgroup
//! of its own, and waits for PID 1. Dropping the machine kills it and removes every trace; so does
//! the supervisor when the test process dies. When a test panics, the machine's journal is printed.
//! Nothing here knows what app-monitor should do; scenarios say that.
//!
//! Everything panics with a clear message where it cannot go on: this is test code, and a scenario
//! that cannot run has failed.

// Each user of this module (the lab, the demo) leaves another part of it unused.
#![allow(dead_code)]

mod app;
mod builder;
pub mod cache;
mod host;
mod journal;
mod shell;
pub mod world;

#[allow(unused_imports, reason = "each user of this module needs another part of it")]
pub use {
    app::{AppSpec, HttpAnswer},
    builder::Builder,
    journal::Event,
    shell::Output,
};

use builder::stage_files;
use host::{is_init, requirements, sweep};
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Folder of the machines that run now, `PID-NUMBER` each; on /run, since nothing of it is to stay.
const RUN: &str = "/run/app-monitor-lab";
/// How long a machine may take from nspawn's start until PID 1 has no more jobs.
const BOOT: Duration = Duration::from_secs(60);
/// How long an app may take from its start to its first answer.
const APP_START: Duration = Duration::from_secs(15);
/// How long a fault may take until it is named, and until it is over.
pub const PATIENCE: Duration = Duration::from_secs(50);
/// The journal is looked at so often while something is waited for.
pub const LOOK: Duration = Duration::from_millis(50);
/// How long one command in a machine may take unless it says otherwise.
const COMMAND: Duration = Duration::from_secs(30);

/// The supervisor, as it is started by bash.
const SUPERVISE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/machine/supervise.sh");

/// CLOCK_MONOTONIC, which machine and host share: comparable with the journal's timestamps.
pub fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Asks `probe` until it gives something; panics after `deadline`, naming `what`.
#[track_caller]
pub fn wait_for<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        let waited = now() - begun;
        assert!(waited < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(pause(waited));
    }
}

/// How long until it is asked again after so long in vain. To ask means some processes: whoever has waited for
/// seconds asks more rarely, or those who wait keep the cores from those who work.
fn pause(waited: Duration) -> Duration {
    if waited < Duration::from_secs(1) { LOOK / 2 } else { (waited / 10).min(Duration::from_millis(250)) }
}

/// A booted machine. Dropping it kills it and removes what it left.
pub struct Machine {
    name: String,
    dir: PathBuf,
    cgroup: PathBuf,
    supervisor: rustix::process::Pid,
    leader: Cell<u32>,
    wait: Option<JoinHandle<std::process::ExitStatus>>,
    settle: bool,
    said: RefCell<journal::Said>,
}

/// Boots a machine with the package installed, runs the scenario in it, and removes it.
#[track_caller]
pub fn scenario(name: &str, body: impl FnOnce(&Machine)) {
    let machine = Machine::boot(name);
    body(&machine);
}

impl Machine {
    /// A machine with the package installed, its service running (idle, as nothing is configured).
    #[track_caller]
    pub fn boot(name: &str) -> Self {
        Self::builder(name).boot()
    }

    #[track_caller]
    fn start(builder: Builder) -> Self {
        let groups = requirements();
        sweep(&groups);
        let mut lower = vec![cache::root(&builder.suite)];
        if builder.servers {
            lower.insert(0, cache::servers(&lower[0]));
        }
        if builder.package {
            let deb = if builder.previous { cache::previous() } else { cache::package() };
            lower.insert(0, cache::installed(&lower, &deb));
        }
        let lower = cache::stacked(&lower);

        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let id = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new(RUN).join(&id);
        let cgroup = groups.join(format!("app-monitor-lab-{id}"));
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot create {}: {error}", dir.display()));
        let stage = Path::new(RUN).join(format!("{id}-stage"));
        stage_files(&stage, &builder);

        let console = fs::File::create(Path::new(RUN).join(format!("{id}.console")))
            .expect("the run folder can be written");
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--", "bash", SUPERVISE])
            .arg(&dir)
            .arg(&cgroup)
            .arg(&lower)
            .arg(&builder.memory)
            .arg(&stage)
            .stdin(Stdio::null())
            .stdout(console.try_clone().expect("a file can be duplicated"))
            .stderr(console)
            // Ctrl-C at the terminal is the test runner's; the machine goes when the test does.
            .process_group(0);
        // The death signal is tied to the thread that forks: one that lives as long as the machine.
        let (tell, told) = std::sync::mpsc::channel();
        let wait = std::thread::spawn(move || {
            let mut child = command.spawn().expect("setpriv (util-linux) runs");
            let _ = tell.send(child.id());
            child.wait().expect("our own child can be waited for")
        });
        let supervisor = told.recv().expect("the machine's supervisor starts");
        let supervisor = i32::try_from(supervisor)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a process id is positive");
        let machine = Self {
            name: builder.name,
            dir,
            cgroup,
            supervisor,
            leader: Cell::new(0),
            wait: Some(wait),
            settle: builder.settle,
            said: RefCell::default(),
        };
        machine.wait_until_up(0);
        machine
    }

    /// Waits for PID 1 of a boot other than the one that `before` led.
    #[track_caller]
    fn wait_until_up(&self, before: u32) {
        let end = now() + BOOT;
        let members = self.cgroup.join("payload/init.scope/cgroup.procs");
        loop {
            let leader = fs::read_to_string(&members)
                .unwrap_or_default()
                .lines()
                .filter_map(|pid| pid.parse().ok())
                .find(|pid| is_init(*pid));
            if let Some(leader) = leader
                && leader != before
            {
                self.leader.set(leader);
                let state = self.run("systemctl is-system-running").stdout;
                let up = match state.as_str() {
                    "running" | "degraded" => true,
                    "starting" => !self.settle && self.run("busctl status").ok(),
                    _ => false,
                };
                if up {
                    return;
                }
            }
            let gone = self.wait.as_ref().is_some_and(JoinHandle::is_finished);
            if gone || now() > end {
                panic!(
                    "the machine did not come up ({}); its console said:\n{}",
                    if gone { "nspawn ended" } else { "deadline passed" },
                    self.console()
                );
            }
            // Asking costs as much as what is waited for.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The name of the scenario.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Places on the host that exist while the machine does, and not a moment longer.
    pub fn traces(&self) -> Vec<PathBuf> {
        let group = self.cgroup.file_name().unwrap_or_default();
        vec![
            self.dir.clone(),
            self.dir.with_extension("console"),
            self.cgroup.clone(),
            Path::new("/sys/fs/cgroup/systemd").join(group),
        ]
    }

    /// PID 1 of the machine, as the host numbers it.
    pub fn leader(&self) -> u32 {
        self.leader.get()
    }

    /// What systemd wrote to the console, the last 8 kB.
    pub fn console(&self) -> String {
        let text = fs::read(self.console_path()).unwrap_or_default();
        let from = text.len().saturating_sub(8192);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn console_path(&self) -> PathBuf {
        self.dir.with_extension("console")
    }

    /// A command that will run in the machine, as root, outside every unit.
    pub fn command(&self, timeout: Duration, program: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", "/root")
            .env("TERM", std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned()))
            .env("SYSTEMD_PAGER", "cat")
            .env("DEBIAN_FRONTEND", "noninteractive")
            // A group beside the machine's own, so that what a command leaves running belongs to
            // no unit, yet dies with the machine.
            .arg("-c")
            .arg(
                "[ -d \"$0\" ] || mkdir -p \"$0\"; echo 0 >\"$0/cgroup.procs\" || exit 125
                 exec timeout --kill-after=2 \"$1\" nsenter --all --target \"$2\" \
                 -- \"${@:3}\"",
            )
            .arg(self.cgroup.join("payload/lab"))
            .arg(format!("{}", timeout.as_secs_f64()))
            .arg(self.leader().to_string())
            .arg(program);
        command
    }

    /// A shell in the machine on the terminal of this process, until it is left.
    pub fn shell(&self) {
        let _ = Command::new("nsenter")
            .args(["--all", "--target", &self.leader().to_string(), "--", "bash", "--login"])
            .env("SYSTEMD_PAGER", "cat")
            .status();
    }

    #[track_caller]
    fn feed(&self, timeout: Duration, line: &str, input: &str) -> Output {
        let mut child = self
            .command(timeout, "/bin/sh")
            .args(["-c", line])
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs");
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().expect("our own child can be waited for");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Output {
            status: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Changes with each entry that journald writes: the headers of its files, which have the numbers of
    /// the last one. None where there are none yet.
    fn journal_mark(&self) -> Option<Vec<u8>> {
        // `struct Header` of systemd's documentation of the journal file format.
        const HEADER: u64 = 272;
        let root = PathBuf::from(format!("/proc/{}/root", self.leader()));
        let mut mark = Vec::new();
        for folder in ["run/log/journal", "var/log/journal"] {
            for of_machine in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
                let files = fs::read_dir(of_machine.path()).into_iter().flatten().flatten();
                let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
                files.sort();
                for path in files {
                    mark.extend(path.as_os_str().as_encoded_bytes());
                    let mut header = Vec::new();
                    fs::File::open(&path).ok()?.take(HEADER).read_to_end(&mut header).ok()?;
                    mark.append(&mut header);
                }
            }
        }
        (!mark.is_empty()).then_some(mark)
    }

    /// Copies a file of the host into the machine.
    #[track_caller]
    pub fn copy_in(&self, from: &Path, to: &str) {
        let file =
            fs::File::open(from).unwrap_or_else(|error| panic!("cannot open {}: {error}", from.display()));
        let status = self
            .command(COMMAND, "/bin/sh")
            .args(["-c", &format!("cat > '{to}'")])
            .stdin(file)
            .status()
            .expect("bash runs");
        assert!(status.success(), "cannot write {to} in the machine: {status}");
    }

    /// Reboots and waits until the machine is up again. What it wrote is kept, save under /run
    /// and /tmp, as on a real one.
    #[track_caller]
    pub fn reboot(&self) {
        let before = self.leader();
        self.must("systemctl reboot");
        wait_for(Duration::from_secs(30), "the machine goes down", || (!is_init(before)).then_some(()));
        self.wait_until_up(before);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("APP_MONITOR_LAB_JOURNAL").is_some() {
            eprintln!("--- journal of the machine of {} (last 200 lines)", self.name);
            eprintln!("{}", self.run("journalctl -b --no-pager -o short-monotonic -n 200").stdout);
            eprintln!("--- end of the journal of {}", self.name);
        }
        if let Some(wait) = self.wait.take() {
            if !wait.is_finished() {
                let _ = rustix::process::kill_process(self.supervisor, rustix::process::Signal::TERM);
            }
            let _ = wait.join();
        }
        let _ = fs::remove_file(self.console_path());
    }
}
