//! What tests/bench/run runs: measures a released app-monitor in the lab's machines, monit beside
//! it, and compares with the figures that it has to keep. See README.md in this folder.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement that cannot go on says so and ends"
)]

mod asked;
mod gauge;
#[path = "../lab/machine/mod.rs"]
mod machine;
mod many;
mod recovery;
mod steady;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;

/// A figure, and what it has to be.
struct Target {
    what: &'static str,
    measured: f64,
    bound: f64,
    most: bool,
}

impl Target {
    fn at_most(what: &'static str, measured: f64, bound: f64) -> Self {
        Self { what, measured, bound, most: true }
    }

    fn at_least(what: &'static str, measured: f64, bound: f64) -> Self {
        Self { what, measured, bound, most: false }
    }

    fn met(&self) -> bool {
        if self.most { self.measured <= self.bound } else { self.measured >= self.bound }
    }
}

fn title(text: &str) {
    println!("\n==> {text}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (Some(monit), parts) = (arguments.first().map(PathBuf::from), arguments.get(1..).unwrap_or_default())
    else {
        eprintln!("usage: bench MONIT.deb [steady] [whole] [many] [recovery]; tests/bench/run calls it");
        return ExitCode::from(2);
    };
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    let mut targets = Vec::new();
    if wanted("steady") {
        targets.extend(steady::run(&monit));
    }
    if wanted("whole") {
        targets.extend(whole::run());
    }
    if wanted("many") {
        targets.extend(many::run());
    }
    if wanted("recovery") {
        targets.extend(recovery::run());
    }
    title("Targets");
    for target in &targets {
        println!(
            "{:<7} {:<62} {:>10.2} ({} {})",
            if target.met() { "met" } else { "MISSED" },
            target.what,
            target.measured,
            if target.most { "at most" } else { "at least" },
            target.bound
        );
    }
    ExitCode::from(u8::from(!targets.iter().all(Target::met)))
}
