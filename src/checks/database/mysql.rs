//! MySQL and MariaDB: their greeting is read, and nothing is sent.
//!
//! The server counts that as a broken handshake; from another host, some of them in a row lock us out
//! (max_connect_errors), which is why such a server is asked on suspicion only.

use super::wire::{Broken, Wire};
use super::{Answer, quoted, strange};
use crate::judge::DatabaseProtocol;

/// A greeting has some eighty bytes, an error at most 512.
const LARGEST: usize = 2048;
/// "Connection Phase Packets", Protocol::HandshakeV10; before version 3.21 it was 9.
const PROTOCOL: u8 = 10;
const ERROR: u8 = 0xff;
/// ER_HOST_IS_BLOCKED.
const HOST_IS_BLOCKED: u16 = 1129;

pub(super) fn ask(wire: Wire) -> Result<Answer, Broken> {
    let head = wire.take(4)?;
    let Some(length) = read_head(&head) else { return Ok(strange(DatabaseProtocol::MySql)) };
    let body = wire.take(length)?;
    wire.close(b"");
    Ok(read(&body))
}

/// Length of the first packet: three bytes, then its number, which is 0.
fn read_head(head: &[u8]) -> Option<usize> {
    let &[a, b, c, 0] = head else { return None };
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    (1..=LARGEST).contains(&length).then_some(length)
}

fn read(body: &[u8]) -> Answer {
    match body {
        [PROTOCOL, ..] => Answer::Accepts,
        [ERROR, low, high, text @ ..] => {
            let code = u16::from_le_bytes([*low, *high]);
            // '#' and five letters of SQLSTATE, in most versions not at this stage.
            let text = match text {
                [b'#', _, _, _, _, _, rest @ ..] => rest,
                _ => text,
            };
            match code {
                HOST_IS_BLOCKED => Answer::Unknown(
                    "the server has blocked this host after broken handshakes; mend it with mysqladmin flush-hosts"
                        .to_owned(),
                ),
                _ => Answer::Down(format!("{} ({code})", quoted(text))),
            }
        }
        _ => strange(DatabaseProtocol::MySql),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_greeting_and_errors() {
        assert_eq!(read(b"\x0a8.0.36\0"), Answer::Accepts);
        let many = Answer::Down("Too many connections (1040)".to_owned());
        assert_eq!(read(b"\xff\x10\x04Too many connections"), many);
        assert_eq!(read(b"\xff\x10\x04#08004Too many connections"), many);
        let Answer::Unknown(text) = read(b"\xff\x69\x04Host '10.0.0.5' is blocked") else { panic!() };
        assert!(text.contains("mysqladmin flush-hosts"), "{text}");
        assert!(matches!(read(b"\x09old"), Answer::Unknown(_)));
        assert_eq!(read_head(&[78, 0, 0, 0]), Some(78));
        for strange in [&[0, 0, 0, 0][..], &[1, 0, 0, 1], b"HTTP", &[1, 0]] {
            assert_eq!(read_head(strange), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
            prop_assert!(read_head(&body).is_none_or(|length| length <= LARGEST));
        }
    }
}
