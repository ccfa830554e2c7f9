//! Who is heard: a signal may be sent to one connection alone, by anybody and in any words, and no match
//! rule keeps that away. What cannot be forged is the sender's name, which the bus itself sets.

use std::collections::BTreeMap;

use super::bus::{DBUS, POLKIT, SYSTEMD};

/// logind, which announces a shutdown.
pub(super) const LOGIND: &str = "org.freedesktop.login1";
/// Whose signals we hear.
pub(super) const HEARD: [&str; 3] = [SYSTEMD, LOGIND, POLKIT];

/// Who has the names of those whose signals we hear.
#[derive(Clone, Default, Debug)]
pub(super) struct Speakers(BTreeMap<&'static str, Option<String>>);

impl Speakers {
    /// The bus was asked. What it has told by itself since is newer.
    pub(super) fn asked(&mut self, name: &'static str, owner: Option<String>) {
        self.0.entry(name).or_insert(owner);
    }

    /// The bus tells: nobody has it where `owner` is empty.
    pub(super) fn told(&mut self, name: &str, owner: &str) {
        if let Some(name) = HEARD.into_iter().find(|heard| *heard == name) {
            self.0.insert(name, (!owner.is_empty()).then(|| owner.to_owned()));
        }
    }

    /// Whether a message with that sender comes from whoever has the name.
    pub(super) fn is(&self, sender: Option<&str>, name: &str) -> bool {
        let owner = if name == DBUS { Some(DBUS) } else { self.0.get(name).and_then(Option::as_deref) };
        owner.is_some() && sender == owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_owners_alone() {
        let mut speakers = Speakers::default();
        assert!(!speakers.is(Some(":1.7"), SYSTEMD) && !speakers.is(None, SYSTEMD), "nobody is known");
        speakers.asked(SYSTEMD, Some(":1.7".to_owned()));
        assert!(speakers.is(Some(":1.7"), SYSTEMD));
        assert!(!speakers.is(Some(":1.8"), SYSTEMD) && !speakers.is(Some(":1.7"), LOGIND));
        speakers.told(SYSTEMD, "");
        assert!(!speakers.is(Some(":1.7"), SYSTEMD) && !speakers.is(None, SYSTEMD));
        speakers.told(SYSTEMD, ":1.9");
        speakers.asked(SYSTEMD, Some(":1.7".to_owned()));
        assert!(speakers.is(Some(":1.9"), SYSTEMD), "the answer was older");
        speakers.told("org.example", ":1.9");
        assert!(!speakers.is(Some(":1.9"), "org.example"));
        assert!(speakers.is(Some(DBUS), DBUS) && !speakers.is(Some(":1.9"), DBUS));
    }
}
