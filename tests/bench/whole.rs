//! One app with everything around it, all of it asked every second: what a round of all checks costs.

use std::time::Duration;

use crate::asked;
use crate::gauge::Gauge;
use crate::machine::{Machine, wait_for};
use crate::{Target, title};

const SETTLE: Duration = Duration::from_secs(15);
const MEASURED: Duration = Duration::from_secs(60);

/// Everything that there is to ask, each at every round but for free space, which goes its own way.
const CONFIG: &str = "[app.web]
unit = \"web.service\"
port = 3000
http = { url = \"/api/health\", json = { \"status\" = \"OK\", \"services.database\" = \"connected\" } }
process = \"node\"
max_memory = \"1G\"
proxy = \"nginx.service\"
public = \"http://shop.test/api/health\"
public_interval = \"1s\"
database = { url = \"redis://127.0.0.1:6379\", interval = \"1s\" }
check_interval = \"1s\"
";

const SITE: &str = "server {
  listen 80;
  server_name shop.test;
  access_log off;
  location / { proxy_pass http://127.0.0.1:3000; }
}
";

/// Runs it; the targets that were missed or met.
pub fn run() -> Vec<Target> {
    title("One healthy app, its proxy, public name, database, memory and disk, every second");
    let mut builder =
        Machine::builder("bench-whole").config(CONFIG).enable("web.service").enable("nginx.service");
    for (path, text) in asked::files(3000, 3000) {
        builder = builder.file(path, &text);
    }
    let machine = builder
        .file("/etc/nginx/conf.d/shop.conf", SITE)
        .file("/etc/hosts", "127.0.0.1 localhost shop.test\n::1 localhost\n")
        .boot();
    machine.wait_http_ok(Duration::from_secs(20), 3000, "/api/health");
    wait_for(Duration::from_secs(30), "app-monitor finds the app healthy", || {
        machine.unit_property("app-monitor.service", "StatusText").contains("1 app healthy").then_some(())
    });
    std::thread::sleep(SETTLE);
    println!("{}", machine.must("app-monitor status || true"));
    let gauge = Gauge::of(&machine, "app-monitor.service");
    asked::tell(&machine, "reset");
    let before = gauge.read(&machine);
    std::thread::sleep(MEASURED);
    let after = gauge.read(&machine);
    let asked = asked::report(&machine);
    // Two requests a round go through the proxy: one to it, one to the public name.
    let requests = asked.get(&3000).and_then(|who| who.get("app-monitor")).map_or(0, Vec::len);
    let rounds = requests / 3;
    #[allow(clippy::cast_precision_loss)]
    let each = (after.cpu - before.cpu) as f64 / 1000.0 / rounds.max(1) as f64;
    println!(
        "{rounds} rounds; CPU {each:.2} ms a round; RSS {} kB, anonymous {} kB",
        after.rss, after.anonymous
    );
    #[allow(clippy::cast_precision_loss)]
    let (rounds, rss, anonymous) = (rounds as f64, after.rss as f64, after.anonymous as f64);
    vec![
        Target::at_most("RSS with all checks (kB)", rss, 6144.0),
        Target::at_most("anonymous memory with all checks (kB)", anonymous, 1536.0),
        Target::at_most("CPU a round of all checks (ms)", each, 2.0),
        Target::at_least("rounds of all checks", rounds, 50.0),
    ]
}
