//! One app that is well, watched by app-monitor and by monit side by side.

use std::path::Path;
use std::time::Duration;

use crate::asked;
use crate::gauge::{Gauge, Sample, at_share, cpu_of};
use crate::machine::{Machine, wait_for};
use crate::{Target, title};

/// Until threads that idle have ended and what a start left behind is settled.
const SETTLE: Duration = Duration::from_secs(25);
/// Samples are taken that often, so often.
const EVERY: Duration = Duration::from_secs(6);
const SAMPLES: usize = 15;

/// All checks that there are; the unit is watched by itself.
const CONFIG: &str = "[app.web]
unit = \"web.service\"
port = 3000
http = { url = \"/api/health\", json = { \"status\" = \"OK\", \"services.database\" = \"connected\" } }
process = \"node\"
check_interval = \"1s\"
";

/// The same questions in monit's words.
const MONITRC: &str = "set daemon 1
set pidfile /run/monit.pid
set idfile /var/lib/monit/id
set statefile /var/lib/monit/state
set log /var/log/monit.log
check process web with pidfile /run/web.pid
  start program = \"/bin/systemctl start web\"
  stop program = \"/bin/systemctl stop web\"
  if failed host 127.0.0.1 port 3000 type tcp with timeout 10 seconds for 3 cycles then restart
  if failed host 127.0.0.1 port 3000 protocol http request \"/api/health\" status = 200
     content = '\"database\":\"connected\"' with timeout 10 seconds for 3 cycles then restart
";

const MONIT_UNIT: &str = "[Service]\nExecStart=/usr/bin/monit -I -c /etc/monit/bench.rc\nUMask=0077\n";

/// Figures of one of the two.
struct Row {
    name: &'static str,
    first: Sample,
    last: Sample,
    rss: Vec<f64>,
    anonymous: Vec<f64>,
    threads: u64,
    rounds: usize,
}

impl Row {
    #[allow(clippy::cast_precision_loss)]
    fn cpu_per_round(&self) -> f64 {
        (self.last.cpu - self.first.cpu) as f64 / 1000.0 / self.rounds.max(1) as f64
    }

    fn show(&self) {
        #[allow(clippy::cast_precision_loss)]
        let wakes = (self.last.wakes - self.first.wakes) as f64 / self.rounds.max(1) as f64;
        println!(
            "{:<12} {:>6.0} {:>7} {:>10.0} {:>8} {:>7} {:>15.2} {:>12.1}",
            self.name,
            at_share(&self.rss, 0.5),
            self.last.peak,
            at_share(&self.anonymous, 0.5),
            self.threads,
            self.rounds,
            self.cpu_per_round(),
            wakes,
        );
    }
}

/// Runs it; the targets that were missed or met.
pub fn run(monit: &Path) -> Vec<Target> {
    title("One healthy Node app, all checks, every second: app-monitor and monit");
    let mut builder = Machine::builder("bench-steady").config(CONFIG).enable("web.service");
    for (path, text) in asked::files(3000, 3000) {
        builder = builder.file(path, &text);
    }
    let machine = builder
        .file("/etc/systemd/system/monit.service", MONIT_UNIT)
        .file("/etc/monit/bench.rc", MONITRC)
        .boot();
    machine.wait_http_ok(Duration::from_secs(20), 3000, "/api/health");
    wait_for(Duration::from_secs(30), "app-monitor finds the app healthy", || {
        machine.unit_property("app-monitor.service", "StatusText").contains("1 app healthy").then_some(())
    });
    machine.copy_in(monit, "/root/monit.deb");
    machine.must(
        "dpkg-deb --extract /root/monit.deb / && chmod 600 /etc/monit/bench.rc && mkdir -p /var/lib/monit",
    );
    machine.must("monit -t -c /etc/monit/bench.rc && systemctl start monit");
    println!("{}; {}", machine.must("app-monitor --version"), machine.must("monit -V | head -n 1"));
    std::thread::sleep(SETTLE);

    let gauges = [
        ("app-monitor", Gauge::of(&machine, "app-monitor.service")),
        ("monit", Gauge::of(&machine, "monit.service")),
    ];
    let mut rows: Vec<Row> = Vec::new();
    machine.must("touch /root/mark");
    let entries = || machine.must("journalctl --quiet --unit=app-monitor.service --output=cat | wc -l");
    let entries_before = entries();
    asked::tell(&machine, "reset");
    let bus_before = (cpu_of(&machine, "init.scope"), cpu_of(&machine, "system.slice/dbus.service"));
    for (name, gauge) in &gauges {
        gauge.forget_peak(&machine);
        let first = gauge.read(&machine);
        let (rss, anonymous) = (Vec::new(), Vec::new());
        rows.push(Row { name, first, last: first, rss, anonymous, threads: 0, rounds: 0 });
    }
    for sample in 0..SAMPLES {
        // Off the beat of the rounds, so that now and then one is caught at its work.
        let shift = u64::try_from(sample).unwrap_or(0) * 37;
        std::thread::sleep(EVERY + Duration::from_millis(shift % 1000) / 2);
        for ((_, gauge), row) in gauges.iter().zip(&mut rows) {
            row.last = gauge.read(&machine);
            row.threads = row.threads.max(row.last.threads);
            #[allow(clippy::cast_precision_loss)]
            {
                row.rss.push(row.last.rss as f64);
                row.anonymous.push(row.last.anonymous as f64);
            }
        }
    }
    let asked = asked::report(&machine);
    let bus_after = (cpu_of(&machine, "init.scope"), cpu_of(&machine, "system.slice/dbus.service"));
    for row in &mut rows {
        row.rounds = asked.get(&3000).and_then(|who| who.get(row.name)).map_or(0, Vec::len);
        row.rss.sort_by(f64::total_cmp);
        row.anonymous.sort_by(f64::total_cmp);
    }
    let changed = machine.must(
        "find /var/lib/app-monitor /run/app-monitor /run/app-monitor-resolved -newer /root/mark | tr '\\n' ' '",
    );
    let said = entries() != entries_before;

    println!(
        "\n{:<12} {:>6} {:>7} {:>10} {:>8} {:>7} {:>15} {:>12}",
        "", "RSS", "peak", "anonymous", "threads", "rounds", "CPU ms a round", "wakes"
    );
    rows.iter().for_each(Row::show);
    println!("(kB; median of {SAMPLES} samples, peak in between; threads: most seen; CPU with all children)");
    println!(
        "CPU of PID 1 and of the bus meanwhile: {} ms and {} ms",
        (bus_after.0 - bus_before.0) / 1000,
        (bus_after.1 - bus_before.1) / 1000
    );
    println!(
        "app-monitor wrote {} bytes to disks; files changed: {}; journal: {}",
        rows[0].last.written - rows[0].first.written,
        if changed.is_empty() { "none" } else { &changed },
        if said { "it said something" } else { "nothing" }
    );
    println!(
        "\nmemory of app-monitor by mapping (kB resident, kB anonymous)\n{}",
        maps(&machine, gauges[0].1.pid())
    );

    let own = &rows[0];
    #[allow(clippy::cast_precision_loss)]
    let peak = own.last.peak as f64;
    vec![
        Target::at_most("RSS, at its peak (kB)", peak, 6.0 * 1024.0),
        Target::at_most("anonymous memory, at its largest (kB)", at_share(&own.anonymous, 1.0), 1.5 * 1024.0),
        Target::at_most("CPU a round (ms)", own.cpu_per_round(), 1.0),
        Target::at_most(
            "files, journal entries or blocks written",
            f64::from(u8::from(said || !changed.is_empty() || own.last.written != own.first.written)),
            0.0,
        ),
        Target::at_least(
            "rounds seen by the app",
            {
                #[allow(clippy::cast_precision_loss)]
                let rounds = own.rounds as f64;
                rounds
            },
            60.0,
        ),
    ]
}

/// The mappings with the most resident memory.
fn maps(machine: &Machine, pid: u32) -> String {
    machine.must(&format!(
        "awk '/^[0-9a-f]+-[0-9a-f]+ /{{n=$6; if(n==\"\")n=\"(anonymous)\"}} /^Rss:/{{r[n]+=$2}} /^Anonymous:/{{a[n]+=$2}} \
         END{{for(n in r) if(r[n]>0) printf \"%6d %6d %s\\n\", r[n], a[n], n}}' /proc/{pid}/smaps | sort -rn | head -n 14"
    ))
}
