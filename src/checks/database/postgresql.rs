//! PostgreSQL: a start-up message without password, as pg_isready(1) sends it.
//!
//! A request for TLS would leave no trace at all, but a server that is starting up or shutting down
//! grants it too; only behind a start-up message does it say so. Where a password is asked, which is
//! Debian's default over TCP, hanging up at that question leaves no line in the server's log. Where none
//! is (`trust`, or `peer` on a socket), our name is refused, with one line a question.

use super::wire::{Broken, Wire};
use super::{Answer, quoted, strange};
use crate::judge::DatabaseProtocol;

/// Version 3.0 of the protocol ("Message Formats", StartupMessage).
const VERSION: u32 = 3 << 16;
/// The name by which we ask; it appears in the server's log. No such role is needed.
const PARAMETERS: &[u8] = b"user\0app-monitor\0database\0app-monitor\0application_name\0app-monitor\0\0";
/// An error has a severity, a code and a text; more is not read.
const LARGEST: u32 = 8192;

pub(super) fn ask(wire: Wire) -> Result<Answer, Broken> {
    wire.send(&start_up())?;
    let head = wire.take(5)?;
    let Some((kind, length)) = read_head(&head) else {
        return Ok(strange(DatabaseProtocol::PostgreSql));
    };
    if length > LARGEST {
        // From before its own protocol: the postmaster could not make a process for us.
        let answer = match kind {
            b'E' => Answer::Down("the server cannot take it on (out of processes or memory?)".to_owned()),
            _ => strange(DatabaseProtocol::PostgreSql),
        };
        return Ok(answer);
    }
    let body = wire.take(length.saturating_sub(4) as usize)?;
    let answer = read(kind, &body);
    // Logged in without a password: then, and only then, a goodbye is expected.
    let logged_in = kind == b'R' && body == [0, 0, 0, 0];
    wire.close(if logged_in { b"X\0\0\0\x04" } else { b"" });
    Ok(answer)
}

fn start_up() -> Vec<u8> {
    let length = 8 + PARAMETERS.len() as u32;
    [&length.to_be_bytes(), &VERSION.to_be_bytes(), PARAMETERS].concat()
}

/// Kind and length, the latter counting itself.
fn read_head(head: &[u8]) -> Option<(u8, u32)> {
    let (kind, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (matches!(kind, b'R' | b'E' | b'v' | b'N') && length >= 4).then_some((*kind, length))
}

/// An authentication request, or an error by its SQLSTATE ("PostgreSQL Error Codes").
fn read(kind: u8, body: &[u8]) -> Answer {
    if kind != b'E' {
        return Answer::Accepts;
    }
    let field = |wanted: u8| {
        body.split(|byte| *byte == 0)
            .find_map(|field| field.split_first().filter(|(kind, _)| **kind == wanted))
    };
    let Some((_, code)) = field(b'C') else { return strange(DatabaseProtocol::PostgreSql) };
    let text = || field(b'M').map_or_else(|| quoted(code), |(_, text)| quoted(text));
    match code {
        // cannot_connect_now, the shutdowns, too_many_connections and its kin of lacking resources.
        [b'5', b'7', b'P', ..] | [b'5', b'3', ..] => Answer::Down(text()),
        _ => Answer::Accepts,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(code: &str, text: &str) -> Vec<u8> {
        format!("SFATAL\0VFATAL\0C{code}\0M{text}\0Fpostmaster.c\0\0").into_bytes()
    }

    #[test]
    fn a_question_for_a_password_and_a_refused_name_are_an_answer() {
        assert_eq!(read(b'R', &[0, 0, 0, 10]), Answer::Accepts);
        for code in ["28000", "28P01", "3D000", "08P01", "0A000"] {
            assert_eq!(read(b'E', &error(code, "no")), Answer::Accepts, "{code}");
        }
    }

    #[test]
    fn starting_up_and_too_many_clients_are_down() {
        for (code, text) in [
            ("57P03", "the database system is starting up"),
            ("57P01", "terminating connection due to administrator command"),
            ("53300", "sorry, too many clients already"),
        ] {
            assert_eq!(read(b'E', &error(code, text)), Answer::Down(text.to_owned()));
        }
        assert_eq!(read(b'E', b"C57P03\0\0"), Answer::Down("57P03".to_owned()));
        assert!(matches!(read(b'E', b"x"), Answer::Unknown(_)));
    }

    #[test]
    fn the_start_up_message_tells_its_own_length() {
        let message = start_up();
        assert_eq!(message[..4], (message.len() as u32).to_be_bytes());
        assert_eq!(read_head(b"R\0\0\0\x08"), Some((b'R', 8)));
        assert_eq!(read_head(b"R\0\0\0\x03"), None);
        assert_eq!(read_head(b"HTTP/"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(kind in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(kind, &body);
            let _ = read_head(&body);
        }
    }
}
