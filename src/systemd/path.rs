//! Object paths of units: how systemd writes a unit's name as a path, and back.
//!
//! ASCII letters and digits stay, but for a digit at the beginning; every other byte becomes `_`
//! and two hexadecimal digits; an empty label is a lone `_` (sd_bus_path_encode(3)).

use std::fmt::Write as _;

use crate::judge::UnitName;

/// Where systemd keeps its unit objects.
pub(super) const UNITS: &str = "/org/freedesktop/systemd1/unit/";

/// The object path of a unit.
#[must_use]
pub fn unit_path(unit: &UnitName) -> String {
    let mut path = String::with_capacity(UNITS.len() + unit.as_str().len() * 2);
    path.push_str(UNITS);
    escape(unit.as_str(), &mut path);
    path
}

/// The unit whose object path this is; none if it is no path of a unit.
#[must_use]
pub fn unit_from_path(path: &str) -> Option<UnitName> {
    unescape(path.strip_prefix(UNITS)?)?.parse().ok()
}

fn escape(name: &str, into: &mut String) {
    if name.is_empty() {
        into.push('_');
    }
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && at > 0) {
            into.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(into, "_{byte:02x}");
        }
    }
}

fn unescape(label: &str) -> Option<String> {
    if label == "_" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(label.len());
    let mut rest = label.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'_' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_as_systemd_writes_them() {
        let path = |name: &str| unit_path(&name.parse().unwrap());
        assert_eq!(path("web.service"), "/org/freedesktop/systemd1/unit/web_2eservice");
        assert_eq!(path("web@1.service"), "/org/freedesktop/systemd1/unit/web_401_2eservice");
        assert_eq!(path("3proxy.service"), "/org/freedesktop/systemd1/unit/_33proxy_2eservice");
        assert_eq!(path("-.mount"), "/org/freedesktop/systemd1/unit/_2d_2emount");
        assert_eq!(path("a\\x2db_c.service"), "/org/freedesktop/systemd1/unit/a_5cx2db_5fc_2eservice");
    }

    #[test]
    fn what_is_no_path_of_a_unit_is_none() {
        for bad in ["/", "/org/freedesktop/systemd1/job/3", "/org/freedesktop/systemd1/unit/_"] {
            assert_eq!(unit_from_path(bad), None, "{bad}");
        }
        for bad in ["a_2", "a_", "a_zz", "_ff_2eservice", "a_+1_2eservice"] {
            assert_eq!(unit_from_path(&format!("{UNITS}{bad}")), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_name_survives_the_way_there_and_back(stem in r"[a-zA-Z0-9:_.\\@-]{1,60}") {
            let unit: UnitName = format!("{stem}.service").parse().unwrap();
            prop_assert_eq!(unit_from_path(&unit_path(&unit)), Some(unit));
        }

        #[test]
        fn no_label_makes_it_panic(label in "[ -~]{0,40}") {
            let _ = unescape(&label);
        }
    }
}
