//! MongoDB: `hello` in an OP_MSG, which needs no login.
//!
//! Just as much BSON as that takes: one document is written as it stands, and of the answer the
//! top level is walked through.

use super::wire::{Broken, Wire};
use super::{Answer, quoted, strange};
use crate::judge::DatabaseProtocol;

/// "MongoDB Wire Protocol".
const OP_MSG: u32 = 2013;
const HEADER: usize = 16;
/// `{ hello: 1, $db: "admin" }` (bsonspec.org).
const HELLO: &[u8] = b"\x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
/// The answer of a large replica set has some thousand bytes.
const LARGEST: usize = 48 * 1024;
/// CommandNotFound: a server before 4.4.2, which knows the same under another name.
const COMMAND_NOT_FOUND: f64 = 59.0;

pub(super) fn ask(wire: Wire) -> Result<Answer, Broken> {
    wire.send(&question())?;
    let head = wire.take(HEADER)?;
    let Some(length) = read_head(&head) else { return Ok(strange(DatabaseProtocol::MongoDb)) };
    let body = wire.take(length)?;
    wire.close(b"");
    Ok(read(&body))
}

fn question() -> Vec<u8> {
    // Header, no flags, one section of kind 0: the body.
    let length = (HEADER + 4 + 1 + HELLO.len()) as u32;
    let head = [length, 1, 0, OP_MSG, 0].map(u32::to_le_bytes).concat();
    [&head, &[0][..], HELLO].concat()
}

/// What follows the header of an answer.
fn read_head(head: &[u8]) -> Option<usize> {
    let code = u32_at(head, 12)?;
    let length = usize::try_from(u32_at(head, 0)?).ok()?.checked_sub(HEADER)?;
    (code == OP_MSG && (5..=LARGEST).contains(&length)).then_some(length)
}

fn read(body: &[u8]) -> Answer {
    let Some((0, document)) =
        body.get(4..).and_then(|rest| rest.split_first().map(|(kind, rest)| (*kind, rest)))
    else {
        return strange(DatabaseProtocol::MongoDb);
    };
    let Some(said) = fields(document) else { return strange(DatabaseProtocol::MongoDb) };
    match said {
        Said { ok: Some(1.0), .. } => Answer::Accepts,
        Said { code: Some(COMMAND_NOT_FOUND), .. } => Answer::Accepts,
        Said { ok: Some(_), text, .. } => Answer::Down(text.unwrap_or_else(|| "it answers ok: 0".to_owned())),
        Said { ok: None, .. } => strange(DatabaseProtocol::MongoDb),
    }
}

/// The fields of an answer that tell something.
#[derive(Default, PartialEq, Debug)]
struct Said {
    ok: Option<f64>,
    code: Option<f64>,
    text: Option<String>,
}

/// Walks through the top level of a document. None where it is not one.
fn fields(document: &[u8]) -> Option<Said> {
    let length = usize::try_from(u32_at(document, 0)?).ok()?;
    let mut rest = document.get(4..length)?;
    let mut said = Said::default();
    loop {
        let (kind, behind) = rest.split_first()?;
        if *kind == 0 {
            return behind.is_empty().then_some(said);
        }
        let end = behind.iter().position(|byte| *byte == 0)?;
        let (name, value) = (&behind[..end], &behind[end + 1..]);
        let length = length_of(*kind, value)?;
        let (value, next) = value.split_at_checked(length)?;
        match name {
            b"ok" => said.ok = number(*kind, value),
            b"code" => said.code = number(*kind, value),
            b"errmsg" if *kind == 0x02 => {
                said.text = value.get(4..).map(|text| quoted(text.strip_suffix(b"\0").unwrap_or(text)));
            }
            _ => {}
        }
        rest = next;
    }
}

fn number(kind: u8, value: &[u8]) -> Option<f64> {
    match kind {
        0x01 => Some(f64::from_le_bytes(value.try_into().ok()?)),
        0x08 => Some(f64::from(*value.first()?)),
        0x10 => Some(f64::from(i32::from_le_bytes(value.try_into().ok()?))),
        0x12 => i32::try_from(i64::from_le_bytes(value.try_into().ok()?)).ok().map(f64::from),
        _ => None,
    }
}

/// How long the value of an element is, by its kind (bsonspec.org, "element").
fn length_of(kind: u8, value: &[u8]) -> Option<usize> {
    let counted = |more: usize| usize::try_from(u32_at(value, 0)?).ok()?.checked_add(more);
    let to_zero = |from: usize| {
        let rest = value.get(from..)?;
        Some(from + rest.iter().position(|byte| *byte == 0)? + 1)
    };
    match kind {
        0x06 | 0x0a | 0x7f | 0xff => Some(0),
        0x08 => Some(1),
        0x10 => Some(4),
        0x01 | 0x09 | 0x11 | 0x12 => Some(8),
        0x07 => Some(12),
        0x13 => Some(16),
        0x02 | 0x0d | 0x0e => counted(4),
        // These count their own head.
        0x03 | 0x04 | 0x0f => counted(0).filter(|length| *length >= 5),
        0x05 => counted(5),
        0x0c => counted(16),
        0x0b => to_zero(0).and_then(to_zero),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
        [&[kind], name.as_bytes(), &[0], value].concat()
    }

    fn document(elements: &[Vec<u8>]) -> Vec<u8> {
        let inside = elements.concat();
        [&((inside.len() + 5) as u32).to_le_bytes()[..], &inside, &[0]].concat()
    }

    fn string(text: &str) -> Vec<u8> {
        [&((text.len() + 1) as u32).to_le_bytes()[..], text.as_bytes(), &[0]].concat()
    }

    fn body(elements: &[Vec<u8>]) -> Vec<u8> {
        [&[0; 5][..], &document(elements)].concat()
    }

    fn ok(value: f64) -> Vec<u8> {
        element(0x01, "ok", &value.to_le_bytes())
    }

    /// A whole answer, as it goes over the wire.
    pub(in super::super) fn well() -> Vec<u8> {
        let body = body(&[element(0x08, "isWritablePrimary", &[1]), ok(1.0)]);
        let head = [(HEADER + body.len()) as u32, 9, 1, OP_MSG].map(u32::to_le_bytes).concat();
        [head, body].concat()
    }

    #[test]
    fn the_question_is_well_formed() {
        assert_eq!(fields(HELLO), Some(Said::default()));
        assert_eq!(
            document(&[element(0x10, "hello", &[1, 0, 0, 0]), element(2, "$db", &string("admin"))]),
            HELLO
        );
        let question = question();
        assert_eq!(read_head(&question), Some(question.len() - HEADER));
    }

    #[test]
    fn answers() {
        let every_kind = [
            element(0x03, "topologyVersion", &document(&[element(0x07, "processId", &[7; 12])])),
            element(0x04, "hosts", &document(&[element(0x02, "0", &string("a:27017"))])),
            element(0x05, "bin", &[3, 0, 0, 0, 0, 1, 2, 3]),
            element(0x09, "localTime", &[1; 8]),
            element(0x0a, "none", &[]),
            element(0x0b, "regex", b"a\0i\0"),
            element(0x11, "clusterTime", &[2; 8]),
            element(0x13, "decimal", &[0; 16]),
            ok(1.0),
        ];
        assert_eq!(read(&body(&every_kind)), Answer::Accepts);
        assert_eq!(read(&body(&[element(0x10, "ok", &[1, 0, 0, 0])])), Answer::Accepts);
        let old = [ok(0.0), element(0x10, "code", &59i32.to_le_bytes())];
        assert_eq!(read(&body(&old)), Answer::Accepts);
        let ending = [ok(0.0), element(0x02, "errmsg", &string("The server is in quiesce mode"))];
        assert_eq!(read(&body(&ending)), Answer::Down("The server is in quiesce mode".to_owned()));
        assert!(matches!(read(&body(&[])), Answer::Unknown(_)));
        assert!(matches!(read(b""), Answer::Unknown(_)));
        assert_eq!(read_head(b"HTTP/1.1 200 OK\r"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            prop_assert!(read_head(&bytes).is_none_or(|length| length <= LARGEST));
        }

        #[test]
        fn a_damaged_answer_is_survived(at in 0usize..60, to in any::<u8>()) {
            let mut bytes = well().split_off(HEADER);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let _ = read(&bytes);
        }
    }
}
