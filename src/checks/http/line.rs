//! One connection under one deadline: the client's transport, in clear or in TLS.
//!
//! Each read and write is given what is left of the whole check, so that neither dripping headers,
//! nor a dripping body, nor a peer that hardly reads can stretch it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::event::PollFlags;
use rustls::{ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::super::connect::{LOOK, ready};
use super::super::pool::Allowance;
use super::silence::Watch;

/// A connection whose reads and writes wait, but no longer than the check may take. What comes too
/// late is an error of the kind `TimedOut`.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    allowance: Allowance,
    watch: Option<Watch>,
    /// Something was said, to which there can hardly be an answer yet.
    asked: bool,
}

impl Patient {
    /// Takes over a connection, which has to be non-blocking.
    pub(super) fn new(stream: TcpStream, allowance: Allowance, watch: Option<Watch>) -> Self {
        Self { stream, allowance, watch, asked: false }
    }

    /// Waits until it is ready for that.
    fn wait(&self, what: PollFlags) -> io::Result<()> {
        let turn = || self.watch.as_ref().map_or(LOOK, Watch::turn);
        match ready(&self.stream, what, &self.allowance, &turn) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ErrorKind::TimedOut.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What follows an error: waiting, another try, or the end.
    fn after(&self, error: io::Error, what: PollFlags) -> io::Result<()> {
        match error.kind() {
            ErrorKind::WouldBlock => self.wait(what),
            ErrorKind::Interrupted => Ok(()),
            _ => Err(error),
        }
    }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.asked) {
            self.wait(PollFlags::IN)?;
        }
        loop {
            // A flood never blocks, and ends in time all the same.
            if self.allowance.left().is_none() {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) => self.after(error, PollFlags::IN)?,
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(written) => {
                    self.asked = true;
                    return Ok(written);
                }
                Err(error) => self.after(error, PollFlags::OUT)?,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What goes over the wire.
pub(super) enum Wire {
    /// As it is.
    Plain(Patient),
    /// In TLS, past its handshake.
    Tls(Box<StreamOwned<ClientConnection, Patient>>),
}

/// The first buffer for an answer: most have a head and a body that fit.
const FIRST: usize = 4096;

/// A connection, and the buffers that the client works in. The one for the answer grows as far as it
/// is allowed to when an answer needs it: zeroing the whole of it each time would cost more than
/// reading most answers does.
pub(super) struct Line {
    wire: Wire,
    buffers: LazyBuffers,
    input: usize,
    output: usize,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    pub(super) fn new(wire: Wire, input: usize, output: usize) -> Self {
        Self { wire, buffers: LazyBuffers::new(FIRST.min(input), output), input, output }
    }

    /// Room for more of the answer: all that is allowed, once the first buffer is full.
    fn make_room(&mut self) {
        let kept = self.buffers.input().len();
        if kept >= FIRST && kept < self.input && self.buffers.input_append_buf().is_empty() {
            let mut larger = LazyBuffers::new(self.input, self.output);
            if let Some(room) = larger.input_append_buf().get_mut(..kept) {
                room.copy_from_slice(self.buffers.input());
                larger.input_appended(kept);
                self.buffers = larger;
            }
        }
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let bytes = self.buffers.output().get(..amount).unwrap_or_default();
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(bytes)?,
            Wire::Tls(stream) => stream.write_all(bytes)?,
        }
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        self.make_room();
        let room = self.buffers.input_append_buf();
        let read = match &mut self.wire {
            Wire::Plain(stream) => stream.read(room)?,
            // Many servers just close instead of saying so in TLS first.
            Wire::Tls(stream) => match stream.read(room) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
                read => read?,
            },
        };
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        // Asked only before a connection is used again, which never happens.
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }
}
