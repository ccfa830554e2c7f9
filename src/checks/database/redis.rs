//! Redis and Valkey: `PING`, which a server answers that wants a password first, too.

use super::wire::{Broken, Wire};
use super::{Answer, quoted, strange};
use crate::judge::DatabaseProtocol;

/// As an array of one string ("RESP protocol specification").
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const LONGEST_LINE: usize = 512;

pub(super) fn ask(wire: Wire) -> Result<Answer, Broken> {
    // A server with too many clients says so and closes, perhaps before it has our question.
    let sent = wire.send(PING);
    // The line is all that it has to say: it needs no farewell.
    match (wire.line(LONGEST_LINE), sent) {
        (Ok(line), _) => Ok(read(&line)),
        (Err(_), Err(broken)) | (Err(broken), Ok(())) => Err(broken),
    }
}

fn read(line: &[u8]) -> Answer {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(error) = line.strip_prefix(b"-") else {
        return if line == b"+PONG" { Answer::Accepts } else { strange(DatabaseProtocol::Redis) };
    };
    let word = error.split(|byte| *byte == b' ').next().unwrap_or_default();
    match word {
        // Not to us, but to those who may.
        b"NOAUTH" | b"NOPERM" | b"DENIED" | b"WRONGPASS" => Answer::Accepts,
        // It reads; what it does not do (writing, or that command) is no question of connections.
        b"MISCONF" | b"READONLY" | b"NOREPLICAS" => Answer::Accepts,
        b"ERR" if !error.starts_with(b"ERR max number of clients") => Answer::Accepts,
        _ => Answer::Down(quoted(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pong_and_errors() {
        for line in [
            &b"+PONG\r"[..],
            b"+PONG",
            b"-NOAUTH Authentication required.\r",
            b"-NOPERM this user has no permissions\r",
            b"-DENIED Redis is running in protected mode\r",
            b"-ERR operation not permitted\r",
        ] {
            assert_eq!(read(line), Answer::Accepts, "{}", quoted(line));
        }
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "BUSY Redis is busy running a script.",
            "ERR max number of clients reached",
        ] {
            assert_eq!(read(format!("-{text}\r").as_bytes()), Answer::Down(quoted(text.as_bytes())));
        }
        for line in [&b""[..], b"HTTP/1.1 400 Bad Request", b"+OK"] {
            assert!(matches!(read(line), Answer::Unknown(_)), "{}", quoted(line));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(line in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Answer::Down(text) | Answer::Unknown(text) = read(&line) {
                prop_assert!(text.chars().count() <= 80);
            }
        }
    }
}
