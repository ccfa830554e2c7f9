//! A directory that looks like a system, looked at.

use super::*;

fn put(root: &Path, path: &str, text: &str) {
    let path = below(root, path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        put(fake.root(), "/sys/fs/cgroup/cgroup.controllers", "");
        put(fake.root(), "/etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:33:33::/home/me:/bin/sh\n");
        put(fake.root(), "/proc/meminfo", "MemTotal: 1024 kB\nSwapTotal: 0 kB\n");
        fake
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn process(&self, pid: u32, parent: u32, line: &str, cgroup: &str, cwd: &str, sockets: &[u32]) {
        let root = self.root();
        put(root, &format!("/proc/{pid}/cmdline"), &line.replace(' ', "\0"));
        put(root, &format!("/proc/{pid}/stat"), &format!("{pid} (x y) S {parent} 0 0\n"));
        put(root, &format!("/proc/{pid}/status"), "Uid:\t33\t33\t33\t33\n");
        put(root, &format!("/proc/{pid}/cgroup"), &format!("0::{cgroup}\n"));
        let link = |target: &str, at: &str| {
            let at = below(root, &format!("/proc/{pid}/{at}"));
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, at).unwrap();
        };
        link(cwd, "cwd");
        link("/usr/bin/node", "exe");
        for inode in sockets {
            link(&format!("socket:[{inode}]"), &format!("fd/{inode}"));
        }
        std::fs::create_dir_all(below(root, &format!("/proc/{pid}/fd"))).unwrap();
        std::fs::create_dir_all(below(root, &format!("/sys/fs/cgroup{cgroup}"))).unwrap();
    }

    fn listener(&self, port: u16, inode: u32, cgroup: &str) -> Listener {
        use std::os::unix::fs::MetadataExt as _;
        let folder = below(self.root(), &format!("/sys/fs/cgroup{cgroup}"));
        Listener {
            address: "127.0.0.1".parse().unwrap(),
            port,
            v6_only: false,
            inode,
            uid: 33,
            cgroup: Some(folder.metadata().unwrap().ino()),
            queued: 0,
        }
    }
}

fn service(unit: &str, pid: u32) -> ServiceReading {
    crate::systemd::ServiceReading::running(unit, pid)
}

#[test]
fn a_whole_server() {
    let fake = Fake::new();
    let root = fake.root();
    fake.process(7, 1, "/usr/bin/node server.js", "/system.slice/web.service", "/srv/web", &[70]);
    fake.process(8, 1, "/usr/bin/python3 /usr/bin/tool", "/system.slice/tool.service", "/", &[]);
    put(root, "/proc/9/cmdline", "PM2 v5.4.0: God Daemon (/home/me/.pm2)\0");
    put(root, "/proc/9/cgroup", "0::/user.slice/user-33.slice/session-3.scope\n");
    fake.process(
        10,
        9,
        "node /home/me/shop/a$b.js",
        "/user.slice/user-33.slice/session-3.scope",
        "/home/me/shop",
        &[71],
    );
    let scope = format!("/system.slice/docker-{}.scope", "0af3".repeat(16));
    fake.process(11, 1, "node app.js", &scope, "/app", &[]);
    fake.process(12, 1, "/bin/bash watch.sh", "/user.slice/user-33.slice/session-3.scope", "/root", &[]);
    put(
        root,
        "/root/watch.sh",
        "while sleep 5; do\n  curl -f localhost:3000 || systemctl restart web\ndone\n",
    );
    put(root, "/etc/cron.d/heal", "# m h\n* * * * * root systemctl restart web\n");
    put(root, "/var/spool/cron/crontabs/me", &"* * * * * true\n".repeat(4_000));
    put(
        root,
        "/etc/nginx/sites-enabled/web",
        "server { server_name shop.example; location / { proxy_pass http://127.0.0.1:3000; } }",
    );
    put(root, "/etc/nginx/conf.d/junk.conf", "}}{{ server \u{1b}[31m");
    put(root, "/srv/web/.env", "DATABASE_URL=postgres://u:s3cret@localhost/x\n");
    std::fs::create_dir_all(below(root, "/srv/web/.next/cache")).unwrap();
    let listeners = vec![
        fake.listener(3000, 70, "/system.slice/web.service"),
        fake.listener(4000, 71, "/user.slice/user-33.slice/session-3.scope"),
    ];
    let services = vec![service("tool.service", 8), service("web.service", 7)];
    let server = put_together(root, services, &[], listeners, Vec::new());

    assert_eq!(server.apps.len(), 1, "{:#?}", server.apps);
    let web = &server.apps[0];
    assert_eq!((web.runtime, web.ports()), (Some("node"), vec![3000]));
    assert_eq!(web.directory.as_deref(), Some(Path::new("/srv/web")));
    assert_eq!(web.caches, [".next/cache"]);
    assert_eq!(web.databases[0].key, "DATABASE_URL");
    assert_eq!(web.sites[0].0.url("shop.example", "/"), "http://shop.example/");
    assert!(!format!("{server:?}").contains("s3cret"));

    let strays: Vec<(String, Vec<u16>)> =
        server.strays.iter().map(|stray| (stray.kept_by(), stray.ports.clone())).collect();
    assert_eq!(
        strays,
        [("under PM2".to_owned(), vec![4000]), ("in container 0af30af30af3".to_owned(), vec![])]
    );
    let unit = server.strays[0].unit().unwrap();
    assert!(
        unit.contains(
            "User=me\nWorkingDirectory=/home/me/shop\nExecStart=/usr/bin/node \"/home/me/shop/a$$b.js\"\n"
        ),
        "{unit}"
    );

    let told: Vec<(&str, &str, bool)> = server
        .restarters
        .iter()
        .map(|one| (one.place.as_str(), one.command.as_str(), mends(one, "web", &[])))
        .collect();
    assert_eq!(
        told,
        [
            ("/etc/cron.d/heal, line 2", "systemctl restart web", true),
            ("/root/watch.sh (pid 12)", "systemctl restart web", true)
        ]
    );
    assert_eq!(
        server.host,
        Facts { memory: 1 << 20, swap: 0, journal_kept: false, journal_forbidden: false }
    );
}

#[test]
fn an_empty_server_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    let server = put_together(root.path(), Vec::new(), &[], Vec::new(), Vec::new());
    assert!(server.apps.is_empty() && server.strays.is_empty() && server.restarters.is_empty());
    assert!(server.unseen.is_empty(), "{:?}", server.unseen);
}

#[test]
fn the_journal_is_kept_where_it_is_told_to() {
    let root = tempfile::tempdir().unwrap();
    let kept = || host::read(root.path()).journal_kept;
    assert!(!kept());
    std::fs::create_dir_all(below(root.path(), "/var/log/journal")).unwrap();
    assert!(kept());
    put(root.path(), "/etc/systemd/journald.conf", "[Journal]\n#Storage=auto\nStorage=volatile\n");
    assert!(!kept());
    assert!(host::read(root.path()).journal_forbidden);
    put(root.path(), "/usr/lib/systemd/journald.conf.d/x.conf", "[Journal]\nStorage=volatile\n");
    put(root.path(), "/etc/systemd/journald.conf.d/x.conf", "[Journal]\nStorage=persistent\n");
    assert!(kept() && !host::read(root.path()).journal_forbidden);
}
