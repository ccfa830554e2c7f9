//! Answers of servers that are databases, or say that they are.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::super::pool::Allowance;
use super::wire::Wire;
use super::{Answer, mongodb, mysql, postgresql, redis};
use crate::fuzzing::kit::assert_plain;

/// The first byte says which protocol; what the server says follows.
pub(crate) fn answers(bytes: &[u8]) {
    let Some((protocol, said)) = bytes.split_first() else { return };
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.set_nonblocking(true).and_then(|()| ours.set_nonblocking(true)).expect("not to block");
    let _ = theirs.write(said);
    let _ = theirs.shutdown(Shutdown::Write);
    let wire = Wire::over(ours.into(), Allowance::starting_now(Duration::from_secs(2)));
    let answer = match protocol % 4 {
        0 => postgresql::ask(wire),
        1 => mysql::ask(wire),
        2 => redis::ask(wire),
        _ => mongodb::ask(wire),
    };
    match answer.unwrap_or_else(Answer::from) {
        Answer::Accepts => {}
        Answer::Down(text) | Answer::Unknown(text) => assert_plain(&text, 120),
    }
}
