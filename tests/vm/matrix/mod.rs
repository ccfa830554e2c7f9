//! Rows of the fault matrix that are shown in virtual machines. A boot takes long, so that rows which
//! leave the machine as they found it share one.

#![allow(dead_code, reason = "shared with the lab, which needs other parts of it")]

mod clock;
mod disk;
mod memory;
#[path = "../../lab/matrix/outcome.rs"]
mod outcome;
mod reboot;
#[path = "../../lab/matrix/row.rs"]
mod row;
#[path = "../../lab/matrix/vm.rs"]
mod rows;
#[path = "../../lab/matrix/seen.rs"]
mod seen;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::machine::Machine;
use outcome::Outcome;
use row::{Place, Row};
use seen::Seen;

/// Breaks a machine and says what was seen.
type Body = fn(&Machine) -> Seen;

/// Shows rows of those names one after the other, writes down what came of each, and panics at the
/// end when one was wrong. A row that broke off does not keep the next from trying.
#[track_caller]
fn show(m: &Machine, bodies: &[(&str, Body)]) {
    let mut wrong = Vec::new();
    for (name, _) in bodies {
        outcome::forget("vm", name);
    }
    for (name, body) in bodies {
        let row =
            rows::ROWS.iter().find(|row| row.name == *name).expect("tests/lab/matrix/vm.rs has the row");
        let seen = catch_unwind(AssertUnwindSafe(|| body(m))).unwrap_or_else(|panic| Seen::broken(&panic));
        let outcome = Outcome::of(row, "vm", &seen);
        outcome.write();
        eprintln!("{outcome}");
        if !outcome.pass {
            wrong.push(outcome.to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
