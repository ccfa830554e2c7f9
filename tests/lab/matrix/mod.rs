//! The fault matrix: every row of the two tables of judgement, each on a machine of its own, on the
//! oldest and the newest systemd that are supported.
//!
//! A row says what is broken, which verdict or condition that is, which steps are taken, and how
//! often the app starts afterwards, which the app itself counts. What came of it is left as one line
//! of JSON below target/matrix/, from which [`table`] makes the table. How long things take, and how
//! they are worded, is for the scenarios beside this folder.

mod answers;
mod database;
mod outcome;
mod outside;
mod row;
mod seen;
mod steps;
mod surroundings;
mod table;
mod unit;
mod vm;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::machine::{Builder, Machine};
use outcome::Outcome;
use row::{Place, Row};
use seen::Seen;

/// All rows by the tables that they stand in.
const SECTIONS: &[(&str, &[Row])] = &[
    ("What systemd says", unit::ROWS),
    ("What the app answers", answers::ROWS),
    ("Recovery, step by step", steps::ROWS),
    ("Its database", database::ROWS),
    ("Proxy, name, network, certificate", outside::ROWS),
    ("The host, and oddities", surroundings::ROWS),
    ("Memory, clock, power (virtual machines)", vm::ROWS),
];

/// The suites, each by the systemd that it has.
const SUITES: [(&str, &str); 2] = [("252", "bookworm"), ("257", "trixie")];

/// Rows of one subject: `name: fault => verdict, actions, starts;` and a function of that name that
/// breaks a machine and says what was seen. Makes a test of each, for each suite.
macro_rules! rows {
    ($($place:ident $name:ident: $fault:literal => $expect:literal, $actions:literal, $starts:literal;)*) => {
        pub(super) const ROWS: &[super::Row] = &[$(super::Row {
            name: stringify!($name),
            fault: $fault,
            expect: $expect,
            actions: $actions,
            starts: $starts,
            place: super::Place::$place($name),
        }),*];
        $(mod $name {
            #[test]
            fn systemd_252() {
                crate::matrix::run(super::ROWS, stringify!($name), "252");
            }
            #[test]
            fn systemd_257() {
                crate::matrix::run(super::ROWS, stringify!($name), "257");
            }
        })*
    };
}
use rows;

/// Runs a row on a suite and writes down what came of it.
fn run(rows: &[Row], name: &str, suite: &str) {
    let row = rows.iter().find(|row| row.name == name).expect("a row has the name of its test");
    outcome::forget(suite, name);
    let debian = SUITES.iter().find(|(systemd, _)| *systemd == suite).expect("a known suite").1;
    let builder = Machine::builder(name).suite(debian);
    let (builder, body): (Builder, fn(&Machine) -> Seen) = match row.place {
        Place::Lab(body) => (builder, body),
        Place::Servers(body) => (builder.with_servers(), body),
        Place::Vm => panic!("{name} is shown in a virtual machine"),
    };
    let m = builder.boot();
    let version = m.must("systemctl --version | head -n 1");
    assert!(version.starts_with(&format!("systemd {suite} ")), "{debian} has {version}");
    let seen = catch_unwind(AssertUnwindSafe(|| body(&m)));
    let outcome = match &seen {
        Ok(seen) => Outcome::of(row, suite, seen),
        Err(panic) => Outcome::of(row, suite, &Seen::broken(panic)),
    };
    outcome.write();
    if let Err(panic) = seen {
        resume_unwind(panic);
    }
    assert!(outcome.pass, "{outcome}");
}
