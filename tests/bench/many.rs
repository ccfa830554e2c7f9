//! Two hundred apps, of which ten hang: what that does to the checks of the others, seen by those
//! who are asked.

use std::fmt::Write as _;
use std::time::Duration;

use crate::asked::{self, Asked};
use crate::gauge::{Gauge, Sample, at_share};
use crate::machine::{Machine, wait_for};
use crate::{Target, title};

const FIRST: u16 = 10_000;
const APPS: u16 = 200;
const HANGING: u16 = 10;
/// What the apps are configured to be asked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long each half is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// By so much an app may be asked later than configured, on a machine that runs all 200 of them too.
const LATE: f64 = 300.0;

/// Each app has a unit of its own, and a port of the one server. A port check would name that
/// server as a stranger to the unit, so these apps have an HTTP and a process check each.
const UNIT: &str = "[Unit]\nDescription=App %i\n\n[Service]\nExecStart=/bin/sleep infinity\n";

fn config() -> String {
    let mut text = format!("[defaults]\ncheck_interval = \"{}s\"\n", INTERVAL.as_secs());
    for number in 0..APPS {
        let port = FIRST + number;
        let _ = write!(
            text,
            "\n[app.a{number:03}]\nunit = \"app@{number:03}.service\"\nhttp = \"http://127.0.0.1:{port}/api/health\"\n"
        );
    }
    text
}

/// What one half came to.
struct Half {
    name: &'static str,
    /// Between two questions to one and the same healthy app, all apps together, milliseconds, sorted.
    between: Vec<f64>,
    /// Questions to the apps that hang, or are going to.
    asked_hanging: usize,
    before: Sample,
    after: Sample,
    threads: u64,
    anonymous: u64,
}

impl Half {
    fn show(&self) {
        println!(
            "{:<12} {:>9} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>10} {:>7.1} {:>7} {:>10} {:>8}",
            self.name,
            self.between.len(),
            at_share(&self.between, 0.0),
            at_share(&self.between, 0.5),
            at_share(&self.between, 0.99),
            at_share(&self.between, 1.0),
            self.asked_hanging,
            self.cpu_share(),
            self.after.peak,
            self.anonymous,
            self.threads,
        );
    }

    /// Per cent of one processor.
    #[allow(clippy::cast_precision_loss)]
    fn cpu_share(&self) -> f64 {
        (self.after.cpu - self.before.cpu) as f64 / WATCHED.as_micros() as f64 * 100.0
    }
}

fn between(asked: &Asked) -> Vec<f64> {
    let healthy = asked.range(FIRST + HANGING..FIRST + APPS).map(|(_, who)| who);
    let mut all: Vec<f64> = healthy
        .filter_map(|who| who.get("app-monitor"))
        .flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0]))
        .collect();
    all.sort_by(f64::total_cmp);
    all
}

fn watch(machine: &Machine, gauge: &Gauge, name: &'static str) -> Half {
    gauge.forget_peak(machine);
    asked::tell(machine, "reset");
    let before = gauge.read(machine);
    let mut after = before;
    let (mut threads, mut anonymous) = (0, 0);
    for _ in 0..6 {
        std::thread::sleep(WATCHED / 6);
        after = gauge.read(machine);
        threads = threads.max(after.threads);
        anonymous = anonymous.max(after.anonymous);
    }
    let asked = asked::report(machine);
    let quiet = (FIRST + HANGING..FIRST + APPS)
        .filter(|port| asked.get(port).and_then(|who| who.get("app-monitor")).map_or(0, Vec::len) < 2)
        .count();
    assert!(quiet == 0, "{quiet} healthy apps were asked less than twice in {WATCHED:?}");
    let asked_hanging =
        asked.range(..FIRST + HANGING).map(|(_, who)| who.values().map(Vec::len).sum::<usize>()).sum();
    Half { name, between: between(&asked), asked_hanging, before, after, threads, anonymous }
}

/// Runs it; the targets that were missed or met.
pub fn run() -> Vec<Target> {
    title(&format!("{APPS} apps, asked every second, of which {HANGING} hang"));
    let mut builder = Machine::builder("bench-many")
        .enable("web.service")
        .file("/etc/systemd/system/app@.service", UNIT)
        .config(&config());
    for (path, text) in asked::files(FIRST, FIRST + APPS - 1) {
        builder = builder.file(path, &text);
    }
    // The apps are started before the monitor looks at them: it would not start what never ran.
    let machine = builder
        .file("/etc/systemd/system/app-monitor.service.d/late.conf", "[Unit]\nAfter=web.service\n")
        .boot();
    machine.must(&format!(
        "systemctl stop app-monitor; for i in $(seq -w 0 {}); do echo app@$i.service; done | xargs systemctl start",
        APPS - 1
    ));
    machine.must("systemctl start app-monitor");
    let all = format!("{APPS} apps healthy");
    wait_for(Duration::from_secs(60), "app-monitor finds all apps healthy", || {
        machine.unit_property("app-monitor.service", "StatusText").contains(&all).then_some(())
    });
    std::thread::sleep(Duration::from_secs(15));
    let gauge = Gauge::of(&machine, "app-monitor.service");
    let well = watch(&machine, &gauge, "all well");
    asked::tell(&machine, &format!("hang?{HANGING}"));
    let hung = watch(&machine, &gauge, "ten hang");
    let status = machine.unit_property("app-monitor.service", "StatusText");

    println!(
        "\n{:<12} {:>9} {:>8} {:>8} {:>8} {:>8} {:>10} {:>7} {:>7} {:>10} {:>8}",
        "",
        "intervals",
        "least",
        "median",
        "p99",
        "most",
        "to hanging",
        "CPU %",
        "peak",
        "anonymous",
        "threads"
    );
    well.show();
    hung.show();
    println!(
        "(ms between two questions to the same healthy app, as the app saw them; % of one processor; kB)"
    );
    println!("status at the end: {status}");

    #[allow(clippy::cast_precision_loss)]
    let interval = INTERVAL.as_millis() as f64;
    vec![
        Target::at_most(
            "longest interval of a healthy app while ten hang (ms)",
            at_share(&hung.between, 1.0),
            interval + LATE,
        ),
        Target::at_most(
            "median interval, against that while all are well (ms later)",
            at_share(&hung.between, 0.5) - at_share(&well.between, 0.5),
            20.0,
        ),
        Target::at_least(
            "questions to the apps that hang",
            {
                #[allow(clippy::cast_precision_loss)]
                let asked = hung.asked_hanging as f64;
                asked
            },
            10.0,
        ),
    ]
}
