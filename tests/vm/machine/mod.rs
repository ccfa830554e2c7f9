//! A throw-away Debian on a kernel of its own, in QEMU with software emulation: what a container has
//! no say over can be broken here. It has the face of the lab's machine, whose files it shares.
//!
//! [`Machine::boot`] starts QEMU, which ends with this thread, however that ends. Its disk is a
//! snapshot that QEMU keeps in a file without a name, commands go to an agent in the machine by
//! QEMU's standard input and output, the console is kept in memory: nothing is left behind.

#![allow(dead_code, unused_imports, reason = "shared with the lab, which needs other parts of it")]

#[path = "../../lab/machine/app.rs"]
mod app;
#[path = "../../lab/machine/cache.rs"]
mod cache;
mod image;
#[path = "../../lab/machine/journal.rs"]
mod journal;
mod port;
#[path = "../../lab/machine/shell.rs"]
mod shell;

pub use {app::AppSpec, journal::Event, shell::Output};

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use port::{Heard, Port};

/// How long a boot may take on a machine that others keep busy.
const BOOT: Duration = Duration::from_secs(150);
/// How long an app may take from its start to its first answer.
const APP_START: Duration = Duration::from_secs(60);
/// How long one command in a machine may take unless it says otherwise.
const COMMAND: Duration = Duration::from_secs(60);
/// How long a fault may take until it is named, and until it is over.
pub const PATIENCE: Duration = Duration::from_secs(150);
/// The journal is looked at so often while something is waited for. Each look is work that the machine
/// has to do besides.
pub const LOOK: Duration = Duration::from_secs(1);
/// What is given on top to the way there and back.
const WAY: Duration = Duration::from_secs(30);
/// How much of the console is kept.
const CONSOLE: usize = 16 << 10;

thread_local! {
    /// What CLOCK_MONOTONIC of the host shows when that of this thread's machine begins.
    static BEGAN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn host_now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// CLOCK_MONOTONIC of the machine that this thread booted, comparable with its journal: never ahead
/// of it, behind it by the time that an answer takes. A thread has one machine at a time.
pub fn now() -> Duration {
    host_now().saturating_sub(BEGAN.get())
}

/// Asks `probe` every 500 ms until it gives something; panics after `deadline`, naming `what`.
#[track_caller]
pub fn wait_for<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = host_now() + deadline;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(host_now() < end, "waited {deadline:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A booted machine. Dropping it ends it.
pub struct Machine {
    name: String,
    qemu: Child,
    port: Port,
    console: Arc<Mutex<Vec<u8>>>,
    booted: RefCell<String>,
    said: RefCell<journal::Said>,
}

impl Machine {
    /// A machine with so much memory (`640M`), the package installed, its service running, idle as
    /// nothing is configured. /dev/vdb is an empty ext4 of 32 MB.
    #[track_caller]
    pub fn boot(name: &str, memory: &str) -> Self {
        image::requirements();
        let suite = std::env::var("APP_MONITOR_LAB_SUITE").unwrap_or_else(|_| "bookworm".to_owned());
        let image = image::image(&suite);
        let disk = |file: &Path| format!("file={},format=raw,if=virtio,snapshot=on", file.display());
        let mut qemu = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64", "-nodefaults", "-no-user-config"])
            .args(["-display", "none", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .args(["-m", memory, "-drive", &disk(&image.root), "-drive", &disk(&image.spare)])
            .args(["-kernel".as_ref(), image.kernel.as_os_str()])
            .args(["-initrd".as_ref(), image.initrd.as_os_str()])
            // Pressure is off in Debian's kernels unless asked for.
            .args(["-append", "console=ttyS0 quiet psi=1 nokaslr mitigations=off net.ifnames=0 panic=-1"])
            .args(["-device", "virtio-serial", "-chardev", "stdio,id=agent,signal=off"])
            .args(["-device", "virtserialport,chardev=agent,nr=1"])
            .args(["-chardev", "file,id=console,path=/dev/stderr", "-serial", "chardev:console"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv (util-linux) runs");
        let console = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = qemu.stderr.take() {
            let console = Arc::clone(&console);
            std::thread::spawn(move || keep_end(stderr, &console));
        }
        let port = Port::new(qemu.stdin.take(), qemu.stdout.take());
        let machine = Self {
            name: name.to_owned(),
            qemu,
            port,
            console,
            booted: RefCell::default(),
            said: RefCell::default(),
        };
        machine.wait_until_up();
        machine
    }

    /// Waits for a boot other than the last one, and until its jobs are done.
    #[track_caller]
    fn wait_until_up(&self) {
        let end = host_now() + BOOT;
        loop {
            match self.port.hear(end.saturating_sub(host_now())) {
                Some(Heard::Up(boot)) if boot != *self.booted.borrow() => {
                    *self.booted.borrow_mut() = boot;
                    break;
                }
                Some(_) => {}
                None => panic!("the machine did not come up; its console said:\n{}", self.console()),
            }
        }
        wait_for(BOOT, "the boot is done", || {
            let state = self.run("systemctl is-system-running").stdout;
            ["running", "degraded"].contains(&state.as_str()).then_some(())
        });
    }

    /// The name of the scenario.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kernel and systemd wrote to the console, its end.
    pub fn console(&self) -> String {
        let console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&console).into_owned()
    }

    /// What is in the machine's memory cannot be seen from here: its journal is read each time.
    fn journal_mark(&self) -> Option<Vec<u8>> {
        None
    }

    #[track_caller]
    fn feed(&self, timeout: Duration, line: &str, input: &str) -> Output {
        let id = self.port.ask(timeout, line, input);
        let end = host_now() + timeout + WAY;
        loop {
            match self.port.hear(end.saturating_sub(host_now())) {
                Some(Heard::Answer { id: of, uptime, output }) if of == id => {
                    BEGAN.set(host_now().saturating_sub(uptime));
                    return output;
                }
                // Of a question that was given up, or an agent that started anew.
                Some(_) => {}
                None => panic!("the machine does not answer `{line}`; its console said:\n{}", self.console()),
            }
        }
    }

    /// Reboots and waits until the machine is up again. What it wrote is kept, save under /run
    /// and /tmp.
    #[track_caller]
    pub fn reboot(&self) {
        // The answer may not come any more.
        self.port.ask(COMMAND, "systemctl reboot", "");
        self.wait_until_up();
    }

    /// Cuts the power and boots again: nobody in it is told.
    #[track_caller]
    pub fn power_cycle(&self) {
        self.port.ask(COMMAND, "echo 1 >/proc/sys/kernel/sysrq; sync; echo b >/proc/sysrq-trigger", "");
        self.wait_until_up();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("APP_MONITOR_LAB_JOURNAL").is_some() {
            self.port.ask(COMMAND, "journalctl -b --no-pager -o short-monotonic -n 200", "");
            let mut said = None;
            while let Some(heard) = self.port.hear(Duration::from_secs(20)) {
                if let Heard::Answer { output, .. } = heard {
                    said = Some(output.stdout);
                    if self.port.idle() {
                        break;
                    }
                }
            }
            eprintln!("--- journal of the machine of {} (last 200 lines)", self.name);
            eprintln!("{}", said.unwrap_or_else(|| self.console()));
            eprintln!("--- end of the journal of {}", self.name);
        }
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Keeps the end of what comes.
fn keep_end(mut from: ChildStderr, kept: &Mutex<Vec<u8>>) {
    let mut block = [0; 1024];
    while let Ok(read) = from.read(&mut block) {
        if read == 0 {
            break;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&block[..read]);
        let surplus = kept.len().saturating_sub(CONSOLE);
        kept.drain(..surplus);
    }
}
