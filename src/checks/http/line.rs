//! One connection under one deadline: the client's transport.
//!
//! Each read and write is given what is left of the whole check, so that neither dripping headers,
//! nor a dripping body, nor a peer that hardly reads can stretch it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::super::pool::Allowance;

/// A connection, its deadline, and the buffers that the client works in.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    allowance: Allowance,
    buffers: LazyBuffers,
}

impl Line {
    pub(super) fn new(stream: TcpStream, allowance: Allowance, input: usize, output: usize) -> Self {
        Self { stream, allowance, buffers: LazyBuffers::new(input, output) }
    }
}

fn left(allowance: &Allowance) -> Result<Option<Duration>, Error> {
    allowance.left().map(Some).ok_or(Error::Timeout(ureq::Timeout::Global))
}

/// A socket says WouldBlock when its timeout is over (socket(7), SO_RCVTIMEO).
fn explain(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Timeout(ureq::Timeout::Global),
        _ => Error::Io(error),
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let mut rest = self.buffers.output().get(..amount).unwrap_or_default();
        while !rest.is_empty() {
            self.stream.set_write_timeout(left(&self.allowance)?)?;
            match self.stream.write(rest) {
                Ok(0) => return Err(Error::Io(ErrorKind::WriteZero.into())),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(error)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        loop {
            self.stream.set_read_timeout(left(&self.allowance)?)?;
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(explain(error)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Asked only before a connection is used again, which never happens.
        false
    }
}
