//! Values and signals as systemd, or somebody in its place, sends them.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use zbus::wire::LE;
use zbus::wire::serialized::{Context, Data};
use zbus::{Message, Variant};

use super::bus::{DBUS, POLKIT, SYSTEMD};
use super::exec::execs;
use super::path::{UNITS, unit_from_path, unit_path};
use super::properties::{Properties, plain};
use super::setting::environment_files;
use super::signals::{Event, by_label, event};
use super::speakers::{LOGIND, Speakers};
use super::unit::{needs, reading};
use crate::judge::UnitName;

const MEMBERS: [&str; 7] = [
    "PropertiesChanged",
    "JobNew",
    "JobRemoved",
    "Reloading",
    "PrepareForShutdown",
    "NameOwnerChanged",
    "UnitNew",
];

/// The first byte says what the rest is read as.
pub(crate) fn dbus(bytes: &[u8]) {
    let Some((what, rest)) = bytes.split_first() else { return };
    let data = Data::new(rest, Context::new(LE, 0));
    match what % 4 {
        0 => {
            let Ok((properties, _)) = data.deserialize::<Properties>() else { return };
            let found = reading(&properties, &properties);
            assert!(found.main_pid != Some(0) && found.job.is_none_or(|job| job.0 != 0));
            assert!(needs(&properties).len() <= 16);
        }
        1 => {
            let Ok((value, _)) = data.deserialize::<Variant<'_>>() else { return };
            let _ = plain(&value);
            assert!(execs(&value).len() <= 64);
            assert!(environment_files(&value).len() <= 64);
        }
        2 => {
            let Ok((Variant::Structure(body), _)) = data.deserialize::<Variant<'_>>() else { return };
            let watched: UnitName = "web.service".parse().expect("a unit");
            let path = unit_path(&watched);
            let known = by_label([watched.clone()]);
            let mut speakers = Speakers::default();
            [SYSTEMD, LOGIND, POLKIT].iter().for_each(|name| speakers.told(name, ":1.7"));
            for path in [path.as_str(), "/org/freedesktop/systemd1"] {
                for member in MEMBERS {
                    let signal = Message::signal(path, "org.freedesktop.systemd1.Manager", member);
                    let sender = if member == "NameOwnerChanged" { DBUS } else { ":1.7" };
                    let Ok(message) = signal.sender(sender).build(&body) else { continue };
                    match event(&message, &known, &speakers) {
                        Some(Event::UnitChanged(unit)) => assert_eq!(unit, watched),
                        Some(Event::JobNew { unit, .. } | Event::JobRemoved { unit, .. }) => {
                            assert!(unit == watched || unit.takes_host_down(), "{unit}");
                        }
                        _ => {}
                    }
                }
            }
        }
        _ => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            if let Some(unit) = unit_from_path(text).or_else(|| unit_from_path(&format!("{UNITS}{text}"))) {
                assert_eq!(unit_from_path(&unit_path(&unit)), Some(unit));
            }
        }
    }
}
