//! A person at a terminal: what is typed there, what is asked and shown there.

use std::time::Duration;

use crate::machine::{AppSpec, Machine, scenario};
use crate::support::{SOON, view, wait_view, watch};

/// Of bash on Debian, for anybody.
const PROMPT: &str = "@lab:~$";

/// A terminal of the machine at which somebody has logged in.
struct Terminal<'m> {
    m: &'m Machine,
    /// What was on it already when something was typed last.
    seen: std::cell::Cell<usize>,
}

impl<'m> Terminal<'m> {
    /// Logs somebody in. Nothing of what is typed is there before this says so.
    #[track_caller]
    fn of(m: &'m Machine, user: &str) -> Self {
        m.write(
            "/tmp/terminal",
            &format!(
                "exec 3<>/tmp/keys\n\
                 exec socat EXEC:'su --login {user}',pty,setsid,ctty,stderr,sane STDIO <&3 >/tmp/screen 2>&1\n"
            ),
        );
        m.must("mkfifo /tmp/keys && systemd-run --quiet --unit=terminal bash /tmp/terminal");
        let terminal = Self { m, seen: 0.into() };
        terminal.sees(PROMPT);
        terminal.types("stty columns 80 rows 24\\n");
        terminal.sees(PROMPT);
        terminal
    }

    /// All that was written to it since something was typed last.
    fn screen(&self) -> String {
        let all = self.m.run("cat /tmp/screen").stdout;
        all.get(self.seen.get()..).unwrap_or_default().to_owned()
    }

    /// Types that, as it is.
    #[track_caller]
    fn types(&self, keys: &str) {
        self.seen.set(self.m.run("cat /tmp/screen").stdout.len());
        self.m.must(&format!("printf '{keys}' >/tmp/keys"));
    }

    /// Waits until that stands there.
    #[track_caller]
    fn sees(&self, text: &str) -> String {
        let mut last = String::new();
        for _ in 0..200 {
            last = self.screen();
            if last.contains(text) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("no \u{201c}{text}\u{201d} on the terminal:\n{last}");
    }
}

/// As by systemctl(1): polkit's agent asks on the terminal where the command was typed.
#[test]
fn whoever_knows_an_administrators_password_may_act() {
    scenario("terminal-polkit", |m| {
        m.must(
            "useradd --create-home --shell /bin/bash dev; useradd --groups sudo boss; \
             echo boss:right-one | chpasswd",
        );
        watch(m, &AppSpec::new("web", 3000), "");
        let terminal = Terminal::of(m, "dev");

        terminal.types("app-monitor pause web; echo status $?\\n");
        terminal.sees("Password:");
        terminal.types("a-wrong-one\\n");
        let said = terminal.sees("status 1");
        assert!(said.contains("app-monitor: polkit gave no leave (org.appmonitor1.control)"), "{said}");
        assert_eq!(view(m, "web")["paused_by"], serde_json::Value::Null);

        terminal.types("app-monitor pause web --reason lunch; echo status $?\\n");
        let said = terminal.sees("Password:");
        assert!(said.contains("act on a monitored application") && said.contains("boss"), "{said}");
        terminal.types("right-one\\n");
        let said = terminal.sees("status 0");
        assert!(said.contains("web: paused for 1 h"), "{said}");
        assert!(!said.contains("right-one"), "{said}");
        wait_view(m, "web", "it is paused", |view| (view["paused_by"] == "dev").then_some(()));

        // Whoever thinks better of it has his terminal back as it was.
        terminal.types("app-monitor resume web\\n");
        terminal.sees("Password:");
        terminal.types("\\003");
        terminal.sees(PROMPT);
        terminal.types("echo seen; stty -a | grep -o -- \"-*echo \"\\n");
        let said = terminal.sees("\necho ");
        assert!(said.contains("echo seen"), "{said}");
        assert_eq!(view(m, "web")["verdict"], "paused");
        m.wait_for(SOON, "no agent is left", || (!m.run("pgrep pkttyagent").ok()).then_some(()));
    });
}

/// On a terminal of that width, in a locale that knows ASCII alone: what a command prints there.
#[track_caller]
fn on_a_narrow_one(m: &Machine, columns: usize, line: &str) -> String {
    let typed = format!("stty columns {columns} rows 24; LC_ALL=C TERM=vt100 {line}");
    let said = m.run(&format!("script --quiet --command '{typed}' /dev/null </dev/null")).stdout;
    assert!(!said.trim().is_empty(), "{line} says nothing");
    assert!(said.is_ascii(), "{line}: {said}");
    for row in said.lines() {
        // Colours have no width.
        let plain: String = row.split("\u{1b}[").enumerate().fold(String::new(), |plain, (at, part)| {
            plain + if at == 0 { part } else { part.split_once('m').map_or(part, |(_, rest)| rest) }
        });
        assert!(plain.trim_end().len() <= columns, "{line}, {} columns: {row}\n{said}", plain.len());
    }
    said
}

#[test]
fn whatever_is_said_fits_the_terminal() {
    scenario("terminal-width", |m| {
        on_a_narrow_one(m, 40, "app-monitor status");
        watch(m, &AppSpec::new("web", 3000), "");
        let at = m.fault("web", "crash");
        m.wait_event(SOON, "web", "incident-closed", at);
        m.wait_for(SOON, "it is on record", || m.run("app-monitor incidents web-1").ok().then_some(()));
        for line in [
            "status",
            "status wbe",
            "check",
            "check nope",
            "wait nope",
            "incidents",
            "incidents web-1",
            "incidents nope-1",
            "why web",
            "pause nope",
            "pause --all",
            "status",
            "recover web --dry-run",
            "resume web",
            "alerts",
            "alerts test nope",
            "simulate --faults \"10:00 freeze; 11:00 db-down 10m\"",
            "simulate --faults \"10:00 frob\"",
        ] {
            on_a_narrow_one(m, 80, &format!("app-monitor {line}"));
            on_a_narrow_one(m, 40, &format!("app-monitor {line}"));
        }
        for line in ["doctor", "init", "config check", "--help", "pause --help", "stauts"] {
            on_a_narrow_one(m, 80, &format!("app-monitor {line}"));
        }
        m.must("systemctl stop app-monitor");
        on_a_narrow_one(m, 40, "app-monitor status");
        on_a_narrow_one(m, 40, "app-monitor wait web --for 1s");
    });
}
