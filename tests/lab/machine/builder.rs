//! How a machine is to be before it boots: its Debian, its files, its units.

use std::fs;
use std::path::Path;

use super::{AppSpec, Machine};

/// Where units of the administrator, and of packages, are.
const LOCAL: &str = "/etc/systemd/system";
const PACKAGED: &str = "/lib/systemd/system";

/// Generators of what no machine of the lab has: disks, consoles, a virtual machine around it. All of them
/// are run at each boot and at each daemon-reload, which together is a good part of what a scenario costs.
const NO_GENERATORS: &[&str] = &[
    "cryptsetup",
    "debug",
    "fstab",
    "getty",
    "gpt-auto",
    "hibernate-resume",
    "integritysetup",
    "rc-local",
    "run",
    "ssh",
    "system-update",
    "tpm2",
    "veritysetup",
];

/// How a machine is to be, before it is booted.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) name: String,
    pub(super) suite: String,
    pub(super) package: bool,
    pub(super) previous: bool,
    pub(super) servers: bool,
    pub(super) files: Vec<(String, String)>,
    pub(super) enabled: Vec<(String, &'static str)>,
    pub(super) apps: Vec<AppSpec>,
    pub(super) memory: String,
    pub(super) settle: bool,
}

impl Builder {
    /// Without the package: scenarios about installing it bring it in with [`Machine::copy_in`].
    pub fn without_package(mut self) -> Self {
        self.package = false;
        self
    }

    /// With the package that an upgrade begins with, as it was released.
    pub fn previous_package(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Another Debian suite than `APP_MONITOR_LAB_SUITE`, or bookworm.
    pub fn suite(mut self, suite: &str) -> Self {
        self.suite = suite.to_owned();
        self
    }

    /// With PostgreSQL, MariaDB, Redis, Exim and wrk, none of them running.
    pub fn with_servers(mut self) -> Self {
        self.servers = true;
        self
    }

    /// A file that is there before the first boot.
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// A configuration fragment of app-monitor that is there before the first boot.
    pub fn config(self, text: &str) -> Self {
        self.file("/etc/app-monitor/conf.d/50-lab.toml", text)
    }

    /// A fixture app that is there, enabled if it says so, before the first boot.
    pub fn app(mut self, app: AppSpec) -> Self {
        for (path, text) in app.files() {
            self.files.push((path, text));
        }
        if app.enabled {
            self.enabled.push((app.unit(), LOCAL));
        }
        self.apps.push(app);
        self
    }

    /// A unit given as a file to be pulled in by multi-user.target at the first boot.
    pub fn enable(mut self, unit: &str) -> Self {
        self.enabled.push((unit.to_owned(), LOCAL));
        self
    }

    /// A unit of one of Debian's packages to be pulled in by multi-user.target at the first boot.
    pub fn enable_packaged(mut self, unit: &str) -> Self {
        self.enabled.push((unit.to_owned(), PACKAGED));
        self
    }

    /// Does not wait until the boot's last job is done, only until PID 1 and its bus answer.
    pub fn without_settling(mut self) -> Self {
        self.settle = false;
        self
    }

    /// Boots it.
    #[track_caller]
    pub fn boot(self) -> Machine {
        Machine::start(self)
    }
}

impl Machine {
    /// A machine to be described further before it is booted.
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            suite: std::env::var("APP_MONITOR_LAB_SUITE").unwrap_or_else(|_| "bookworm".to_owned()),
            package: true,
            previous: false,
            servers: false,
            files: Vec::new(),
            enabled: Vec::new(),
            apps: Vec::new(),
            memory: "1G".to_owned(),
            settle: true,
        }
    }
}

/// Lays out, on the host, the files that a machine is to have before its first boot.
pub(super) fn stage_files(stage: &Path, builder: &Builder) {
    let inside = |path: &str| stage.join(path.trim_start_matches('/'));
    fs::create_dir_all(stage).expect("the run folder can be written");
    let generators = inside("/etc/systemd/system-generators");
    fs::create_dir_all(&generators).expect("the run folder can be written");
    for name in NO_GENERATORS {
        // systemd.generator(7): this is how one is masked.
        let masked = generators.join(format!("systemd-{name}-generator"));
        std::os::unix::fs::symlink("/dev/null", masked).expect("each is masked once");
    }
    for (path, text) in &builder.files {
        let path = inside(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .expect("the run folder can be written");
        fs::write(&path, text).expect("the run folder can be written");
    }
    for (unit, folder) in &builder.enabled {
        let wants = inside("/etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).expect("the run folder can be written");
        std::os::unix::fs::symlink(format!("{folder}/{unit}"), wants.join(unit))
            .expect("a unit is enabled once");
    }
}
