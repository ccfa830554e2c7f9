//! Apps that run outside of the system's services: under PM2, in containers, under a user's own manager,
//! or left behind by a login. app-monitor acts on units of the system alone, so these are named with what
//! to do about them.

use std::path::{Path, PathBuf};

use super::processes::{Place, Process, place, runtime};
use crate::checks::{Holder, Listener, World};
use crate::plain::{command, is_hidden};

/// Who keeps a stray alive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Keeper {
    /// PM2's daemon.
    Pm2,
    /// A container of that id.
    Container(String),
    /// A user's manager: the user's number, and the unit there.
    User(String, String),
    /// Nobody: it was started from a login session.
    Session,
}

/// A process that looks like a web app and is no service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stray {
    /// Who keeps it.
    pub keeper: Keeper,
    /// Its process.
    pub pid: u32,
    /// As people know it.
    pub name: String,
    /// Its command line.
    pub args: Vec<String>,
    /// Its user.
    pub user: String,
    /// Where it runs, if that can be seen.
    pub cwd: Option<PathBuf>,
    /// What it executes, if that can be seen.
    pub exe: Option<PathBuf>,
    /// Ports that it is seen to listen on.
    pub ports: Vec<u16>,
}

/// Most that are told.
const MOST: usize = 128;
/// Open files of a process among which its sockets are looked for.
const MOST_FILES: usize = 512;

/// PM2 calls itself `PM2 v5.4.0: God Daemon (/root/.pm2)`.
pub(super) fn is_pm2(process: &Process) -> bool {
    process.args.first().is_some_and(|first| first.starts_with("PM2 v") && first.contains("God Daemon"))
}

pub(super) fn find(world: &World, processes: &[Process], listeners: &[Listener]) -> Vec<Stray> {
    let gods: Vec<u32> = processes.iter().filter(|one| is_pm2(one)).map(|one| one.pid).collect();
    let mut found: Vec<Stray> = Vec::new();
    for process in processes.iter().filter(|one| !is_pm2(one)) {
        let keeper = match place(&process.cgroup) {
            _ if gods.contains(&process.parent) => Keeper::Pm2,
            // What npm and others started is told by its parent.
            Place::Container(id) => Keeper::Container(id),
            Place::User(user, unit) => Keeper::User(user, unit),
            Place::Session => Keeper::Session,
            Place::Service(_) | Place::Other => continue,
        };
        if keeper != Keeper::Pm2 && runtime(process).is_none() {
            continue;
        }
        let listens = |row: &&Listener| {
            world.holder_among([process.pid], row.inode, MOST_FILES) == Holder::Pid(process.pid)
        };
        let mut ports: Vec<u16> = listeners.iter().filter(listens).map(|row| row.port).collect();
        ports.sort_unstable();
        ports.dedup();
        // A shell's tools come and go; what serves nobody is no app.
        if ports.is_empty() && matches!(keeper, Keeper::Session | Keeper::User(..)) && process.cwd.is_some() {
            continue;
        }
        let same = |known: &Stray| match keeper {
            Keeper::Container(_) => known.keeper == keeper,
            _ => known.pid == process.parent && known.keeper == keeper && ports.is_empty(),
        };
        if found.len() < MOST && !found.iter().any(same) {
            found.push(Stray {
                keeper,
                pid: process.pid,
                name: process.name.clone(),
                args: process.args.clone(),
                user: process.user.clone(),
                cwd: process.cwd.clone(),
                exe: process.exe.clone(),
                ports,
            });
        }
    }
    found.sort_by(|a, b| (&a.keeper, a.pid).cmp(&(&b.keeper, b.pid)));
    found
}

impl Stray {
    /// Who keeps it, in a few words.
    #[must_use]
    pub fn kept_by(&self) -> String {
        match &self.keeper {
            Keeper::Pm2 => "under PM2".to_owned(),
            Keeper::Container(id) => format!("in container {id}"),
            Keeper::User(user, unit) if unit.is_empty() => format!("under the manager of user {user}"),
            Keeper::User(user, unit) => format!("as {unit} of user {user}'s own manager"),
            Keeper::Session => "out of a login session".to_owned(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match &self.keeper {
            Keeper::Pm2 => {
                "make it a service of the system: write the unit below, then \"pm2 delete\" it and \
                            \"systemctl enable --now\" the unit"
                    .to_owned()
            }
            Keeper::Container(id) => format!(
                "run the container from a service of the system (ExecStart=docker run --rm, or \
                 podman generate systemd), with no restart policy of its own: docker update --restart=no {id}"
            ),
            Keeper::User(..) => {
                "move the unit to /etc/systemd/system with User= set; units of user managers \
                                 cannot be watched"
                    .to_owned()
            }
            Keeper::Session => {
                "make it a service of the system: nothing starts it again after a crash or a reboot"
                    .to_owned()
            }
        }
    }

    /// The command by which PM2 lets go of it. Without a name of its own PM2 calls an app after its script.
    /// A comment where PM2 would take that for more than a name: all of them, or a number.
    #[must_use]
    pub fn leave_pm2(&self) -> String {
        let words = self.args.iter().flat_map(|arg| arg.split(' '));
        let script = words.skip(1).find(|word| !word.starts_with('-')).unwrap_or(&self.name);
        let file = script.rsplit('/').next().unwrap_or(script);
        let name = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        if name == "all" || name.bytes().all(|b| b.is_ascii_digit()) {
            return "# pm2 list shows its name, pm2 delete NAME && pm2 save --force lets go of it".to_owned();
        }
        command("pm2 delete {} && pm2 save --force  # pm2 list shows its name", &[name])
    }

    /// A unit that would run it, to be completed by a person; none where its command is not known, or would
    /// be shown as another than it is: a line break in a name must not become a line of the unit.
    #[must_use]
    pub fn unit(&self) -> Option<String> {
        let (exe, cwd) = (self.exe.as_ref()?, self.cwd.as_ref()?);
        if !matches!(self.keeper, Keeper::Pm2 | Keeper::Session) {
            return None;
        }
        let shown = |text: &str| !text.contains(is_hidden);
        if ![exe, cwd].into_iter().all(|path| path.to_str().is_some_and(shown))
            || !self.args.iter().chain([&self.user]).all(|word| shown(word))
        {
            return None;
        }
        // PM2 puts a wrapper of its own in front; what it wraps is shown by a title or not at all.
        let rest = self.args.iter().skip(1).map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let title = self.args.first().map(String::as_str).unwrap_or_default();
        let command = match title.split_once(' ') {
            // `node /srv/web/server.js`, as one word.
            Some((_, script)) if self.args.len() == 1 => {
                script.split_whitespace().map(quoted).collect::<Vec<_>>().join(" ")
            }
            _ => rest,
        };
        let command = format!("{} {command}", program(exe));
        let user = &self.user;
        Some(format!(
            "[Unit]\nWants=network-online.target\nAfter=network-online.target\n\n\
             [Service]\nUser={user}\nWorkingDirectory={}\nExecStart={}\n\
             Environment=NODE_ENV=production\nRestart=on-failure\nRestartSec=3s\nTimeoutStopSec=20s\n\n\
             [Install]\nWantedBy=multi-user.target\n",
            // The whole rest of the line is the path.
            cwd.display().to_string().replace('%', "%%"),
            command.trim_end()
        ))
    }
}

/// A word as systemd reads it (systemd.syntax(7)).
fn quoted(word: &str) -> String {
    in_quotes(&word.replace('%', "%%").replace('$', "$$"))
}

/// The first word of a command: variables do not count there.
fn program(path: &Path) -> String {
    in_quotes(&path.display().to_string().replace('%', "%%"))
}

fn in_quotes(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stray(args: &[&str], cwd: &str) -> Stray {
        Stray {
            keeper: Keeper::Pm2,
            pid: 9,
            name: "node".into(),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            user: "me".into(),
            cwd: Some(cwd.into()),
            exe: Some("/usr/bin/node".into()),
            ports: vec![],
        }
    }

    /// Whoever may run something under PM2 chooses that name; root is to paste it into a shell.
    #[test]
    fn names_stay_names_in_a_shell() {
        let rest = "&& pm2 save --force  # pm2 list shows its name";
        for (script, name) in [
            ("/srv/web.js", "web"),
            ("/srv/50%off.js", "50%off"),
            ("`reboot`.js", "'`reboot`'"),
            ("/srv/$(reboot).js", "'$(reboot)'"),
            ("a;it's.js", "'a;it'\\''s'"),
        ] {
            assert_eq!(stray(&["node", script], "/srv").leave_pm2(), format!("pm2 delete {name} {rest}"));
        }
        for script in ["/srv/--force.js", "/srv/all.js", "/srv/0.js", "/srv/a\nreboot.js"] {
            let line = stray(&["node", script], "/srv").leave_pm2();
            assert!(line.starts_with('#') && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_unit_has_no_lines_of_strangers() {
        let unit = stray(&["node /srv/a;b.js 50%"], "/srv/my web/50%").unit().unwrap();
        assert!(unit.contains("\nWorkingDirectory=/srv/my web/50%%\n"), "{unit}");
        assert!(unit.contains("\nExecStart=/usr/bin/node \"/srv/a;b.js\" 50%%\n"), "{unit}");
        let evil = "x\nExecStartPre=+/tmp/evil";
        assert_eq!(stray(&["node", "x.js"], &format!("/srv/{evil}")).unit(), None);
        assert_eq!(stray(&["node", evil], "/srv").unit(), None);
        assert_eq!(stray(&[&format!("node {evil}")], "/srv").unit(), None);
        let odd = Stray { exe: Some("/srv/my $x/node".into()), ..stray(&["node", "x.js"], "/srv") };
        let unit = odd.unit().unwrap();
        assert!(unit.contains("\nExecStart=\"/srv/my $x/node\" x.js\n"), "{unit}");
    }
}
