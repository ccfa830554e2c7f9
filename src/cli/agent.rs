//! polkit's agent for terminals, pkttyagent(1): asks for a password where the person is who typed the
//! command, as systemctl(1) has it. It is started before the daemon is called, and ended with the command.

use std::io::{IsTerminal as _, Read as _};
#[expect(clippy::disallowed_types, reason = "commands may spawn; the daemon never does")]
use std::process::Command;
use std::process::{Child, Stdio};
use std::time::Duration;

const PROGRAM: &str = "/usr/bin/pkttyagent";
/// It says that it is there by closing a pipe; without it, polkit says no by itself.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// An agent that runs for as long as this lives.
#[derive(Debug)]
pub struct Agent(Child);

impl Agent {
    /// Starts one for this process. None: nobody has to be asked (root), or can be (no terminal, none
    /// installed).
    pub async fn start() -> Option<Self> {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if rustix::process::geteuid().is_root() || !terminal {
            return None;
        }
        // What it closes when it is registered is its stdout; its dialog is on /dev/tty. An agent that is
        // there already (a desktop has one) stays the one that is asked.
        #[expect(clippy::disallowed_types, reason = "as above")]
        let mut child = Command::new(PROGRAM)
            .args(["--notify-fd", "1", "--fallback"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let ready = child.stdout.take();
        let agent = Self(child);
        let waiting = tokio::task::spawn_blocking(move || {
            let _ = ready?.read(&mut [0]);
            Some(())
        });
        let _ = tokio::time::timeout(READY_WITHIN, waiting).await;
        Some(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It puts the terminal as it was, which SIGKILL would not let it do.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        for _ in 0..20 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
