//! Properties as systemd sends them (`a{sv}`), reduced to the ones that a reading needs.
//!
//! `GetAll` on a service brings over 300 properties. Only those in [`WANTED`] are kept, in a
//! plain form that tests can write down.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use zbus::Variant;
use zbus::wire::{Signature, Type};

/// What is kept, in the order of the alphabet (binary search). Names: org.freedesktop.systemd1(5).
const WANTED: [&str; 34] = [
    "ActiveEnterTimestampMonotonic",
    "ActiveExitTimestampMonotonic",
    "ActiveState",
    "BindsTo",
    "CacheDirectory",
    "ConditionResult",
    "ConditionTimestampMonotonic",
    "ControlGroup",
    "ExecMainCode",
    "ExecMainExitTimestampMonotonic",
    "ExecMainStatus",
    "FreezerState",
    "Id",
    "InactiveEnterTimestampMonotonic",
    "InactiveExitTimestampMonotonic",
    "InvocationID",
    "Job",
    "KillMode",
    "LoadState",
    "MainPID",
    "NRestarts",
    "PartOf",
    "Requires",
    "Requisite",
    "Restart",
    "RestartUSec",
    "RestartUSecNext",
    "Result",
    "SubState",
    "TimeoutStartUSec",
    "TimeoutStopUSec",
    "TriggeredBy",
    "UnitFileState",
    "WorkingDirectory",
];

/// One value in a plain form.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
}

/// Some properties of one interface. A missing one reads as its empty value.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Properties(pub(super) HashMap<&'static str, Value>);

impl Properties {
    /// A text, empty when missing.
    pub(super) fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// A number, 0 when missing. Unsigned 64-bit numbers are kept bit by bit.
    pub(super) fn number(&self, name: &str) -> i64 {
        match self.0.get(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    /// The same as the unsigned number that it was.
    pub(super) fn unsigned(&self, name: &str) -> u64 {
        self.number(name).cast_unsigned()
    }

    /// A flag; none when missing.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// A list of bytes.
    pub(super) fn bytes(&self, name: &str) -> &[u8] {
        match self.0.get(name) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }
}

/// The plain form of a value; none for types that no wanted property has.
pub(super) fn plain(value: &Variant<'_>) -> Option<Value> {
    Some(match value {
        Variant::Str(text) => Value::Text(text.as_str().to_owned()),
        Variant::ObjectPath(path) => Value::Text(path.as_str().to_owned()),
        Variant::Bool(flag) => Value::Flag(*flag),
        Variant::I32(number) => Value::Number(i64::from(*number)),
        Variant::U32(number) => Value::Number(i64::from(*number)),
        Variant::I64(number) => Value::Number(*number),
        Variant::U64(number) => Value::Number(number.cast_signed()),
        // `Job` is (id, path); the id says it all.
        Variant::Structure(structure) => plain(structure.fields().first()?)?,
        Variant::Variant(inner) => plain(inner)?,
        Variant::Array(array) => {
            let mut texts = Vec::new();
            let mut bytes = Vec::new();
            for element in array.iter() {
                match element {
                    Variant::Str(text) => texts.push(text.as_str().to_owned()),
                    Variant::U8(byte) => bytes.push(*byte),
                    _ => return None,
                }
            }
            if bytes.is_empty() { Value::Texts(texts) } else { Value::Bytes(bytes) }
        }
        _ => return None,
    })
}

impl Type for Properties {
    const SIGNATURE: &'static Signature = <HashMap<&str, Variant<'_>> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl<'de> Visitor<'de> for Keep {
            type Value = Properties;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of properties")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut kept = HashMap::new();
                while let Some(name) = map.next_key::<&str>()? {
                    let Ok(at) = WANTED.binary_search(&name) else {
                        // Skipped without being built: most of what is sent, command lines and all.
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    if let Some(value) = plain(&map.next_value::<Variant<'_>>()?) {
                        kept.insert(WANTED[at], value);
                    }
                }
                Ok(Properties(kept))
            }
        }
        deserializer.deserialize_map(Keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched() {
        assert!(WANTED.is_sorted());
    }

    #[test]
    fn what_is_not_wanted_is_skipped_whatever_it_is() {
        let commands: Vec<(&str, Vec<&str>, bool, u64)> = vec![("/bin/sh", vec!["sh", "-c", "x"], false, 7)];
        let sent: HashMap<&str, Variant<'_>> = [
            ("ActiveState", Variant::from("active")),
            ("ExecStart", Variant::from(commands)),
            ("NRestarts", Variant::from(3_u32)),
            ("CPUAffinity", Variant::from(vec![1_u8, 2])),
            ("Zeal", Variant::Variant(Box::new(Variant::from(7_i16)))),
            ("TimeoutStopUSec", Variant::from(u64::MAX)),
            // A wanted one of a type that it should not have.
            ("MainPID", Variant::from(2.5_f64)),
        ]
        .into();
        let message = zbus::Message::signal("/a", "a.b", "C").build(&sent).unwrap();
        let kept: Properties = message.body().deserialize_ignore_signature().unwrap();
        assert_eq!(kept.0.len(), 3);
        assert_eq!(kept.text("ActiveState"), "active");
        assert_eq!(kept.number("NRestarts"), 3);
        assert_eq!(kept.unsigned("TimeoutStopUSec"), u64::MAX);
    }
}
