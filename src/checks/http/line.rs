//! One connection under one deadline: the client's transport.
//!
//! Each read and write is given what is left of the whole check, so that neither dripping headers,
//! nor a dripping body, nor a peer that hardly reads can stretch it. Waiting is by poll(2): the
//! socket timeouts SO_RCVTIMEO and SO_SNDTIMEO run on the kernel's coarse timer wheel, which is
//! late by up to an eighth (3.2 s were seen for 3 s).

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::super::pool::Allowance;

/// Whoever waits looks that often whether the answer is still wanted.
const LOOK: Duration = Duration::from_millis(250);

/// A connection, its deadline, and the buffers that the client works in.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    allowance: Allowance,
    buffers: LazyBuffers,
}

impl Line {
    /// Takes over a connection, which has to be non-blocking.
    pub(super) fn new(stream: TcpStream, allowance: Allowance, input: usize, output: usize) -> Self {
        Self { stream, allowance, buffers: LazyBuffers::new(input, output) }
    }
}

/// What follows an error: waiting, another try, or the end.
fn after(error: io::Error, stream: &TcpStream, what: PollFlags, allowance: &Allowance) -> Result<(), Error> {
    match error.kind() {
        ErrorKind::WouldBlock => wait(stream, what, allowance),
        ErrorKind::Interrupted => Ok(()),
        _ => Err(Error::Io(error)),
    }
}

/// Waits until the connection is ready for that, or the time is over.
fn wait(stream: &TcpStream, what: PollFlags, allowance: &Allowance) -> Result<(), Error> {
    loop {
        let left = allowance.left().ok_or(Error::Timeout(ureq::Timeout::Global))?;
        let left = Timespec::try_from(left.min(LOOK)).map_err(|_| Error::Timeout(ureq::Timeout::Global))?;
        match poll(&mut [PollFd::new(stream, what)], Some(&left)) {
            Ok(1..) => return Ok(()),
            Ok(0) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::Io(errno.into())),
        }
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let mut rest = self.buffers.output().get(..amount).unwrap_or_default();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(Error::Io(ErrorKind::WriteZero.into())),
                Ok(written) => rest = &rest[written..],
                Err(error) => after(error, &self.stream, PollFlags::OUT, &self.allowance)?,
            }
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        loop {
            // A flood never blocks, and ends in time all the same.
            if self.allowance.left().is_none() {
                return Err(Error::Timeout(ureq::Timeout::Global));
            }
            match self.stream.read(self.buffers.input_append_buf()) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    return Ok(read > 0);
                }
                Err(error) => after(error, &self.stream, PollFlags::IN, &self.allowance)?,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Asked only before a connection is used again, which never happens.
        false
    }
}
