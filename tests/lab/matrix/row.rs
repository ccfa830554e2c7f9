//! What a row of the matrix is; tests/vm has its own from here, too.

use crate::machine::Machine;

use super::seen::Seen;

/// Where a row is shown.
#[derive(Clone, Copy)]
pub enum Place {
    /// In a machine of the lab.
    Lab(fn(&Machine) -> Seen),
    /// In one that has real database servers, and a loader.
    Servers(fn(&Machine) -> Seen),
    /// In a virtual machine: a container has no say over memory. See tests/vm.
    Vm,
}

/// One fault, and what is right.
pub struct Row {
    /// The name of its test; for those of tests/vm the name of its outcome.
    pub name: &'static str,
    /// What is broken, for people.
    pub fault: &'static str,
    /// Verdict or condition.
    pub expect: &'static str,
    /// Steps in their order, each unit but the app's own named; `none`.
    pub actions: &'static str,
    /// How often the app starts from the fault to the end, whoever starts it.
    pub starts: usize,
    pub place: Place,
}
