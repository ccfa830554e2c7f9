//! All sources laid over each other: the later one wins, key by key, and each value keeps its place.

use std::collections::BTreeMap;

use super::fragment::{Fragment, Section};
use super::origin::Origin;
use super::value::Value;

/// A value in force and where it came from.
#[derive(Debug)]
pub(super) struct Sourced {
    /// `None`: it was given, but refused.
    pub value: Option<Value>,
    pub at: Origin,
    /// The table in which it stands, which is `defaults` for many of an app's.
    pub table: String,
}

/// One section after merging.
#[derive(Debug)]
pub(super) struct Values {
    /// Where it begins, in the source that named it first.
    pub declared: Option<Origin>,
    pub values: BTreeMap<&'static str, Sourced>,
}

/// All sections after merging.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub sections: BTreeMap<Section, Values>,
}

impl Merged {
    /// Lays a source over those before it.
    pub fn add(&mut self, fragment: Fragment) {
        for (section, at) in fragment.declared {
            self.section(section).declared.get_or_insert(at);
        }
        for assignment in fragment.assignments {
            let table = assignment.section.label();
            let sourced = Sourced { value: assignment.value, at: assignment.at, table };
            self.section(assignment.section).values.insert(assignment.key.name, sourced);
        }
    }

    fn section(&mut self, section: Section) -> &mut Values {
        self.sections.entry(section).or_insert_with(|| Values { declared: None, values: BTreeMap::new() })
    }

    /// A value of that section; for an app, of the defaults where it has none of its own.
    pub fn get(&self, section: &Section, key: &str) -> Option<&Sourced> {
        let own = |section| self.sections.get(section).and_then(|values: &Values| values.values.get(key));
        own(section).or_else(|| match section {
            Section::App(_) => own(&Section::Defaults),
            _ => None,
        })
    }
}
