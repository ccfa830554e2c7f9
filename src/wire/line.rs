//! One connection under one deadline, in clear or in TLS, and as the HTTP client's transport.
//!
//! Each read and write is given what is left of the whole, so that neither dripping headers, nor a
//! dripping body, nor a peer that hardly reads can stretch it.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::event::PollFlags;
use rustls::{ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::connect::{Patience, ready};

/// A connection whose reads and writes wait, but no longer than its patience lasts. What comes too
/// late is an error of the kind `TimedOut`.
#[derive(Debug)]
pub(crate) struct Patient<P> {
    stream: TcpStream,
    patience: P,
    /// Something was said, to which there can hardly be an answer yet.
    asked: bool,
}

impl<P: Patience> Patient<P> {
    /// Takes over a connection, which has to be non-blocking.
    pub(crate) fn new(stream: TcpStream, patience: P) -> Self {
        Self { stream, patience, asked: false }
    }

    /// Waits until it is ready for that.
    fn wait(&self, what: PollFlags) -> io::Result<()> {
        match ready(&self.stream, what, &self.patience) {
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

impl<P: Patience> Read for Patient<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.asked) {
            self.wait(PollFlags::IN)?;
        }
        loop {
            // A flood never blocks, and ends in time all the same.
            if self.patience.left().is_none() {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) => self.after(error, PollFlags::IN)?,
            }
        }
    }
}

impl<P: Patience> Write for Patient<P> {
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

/// Bytes both ways, which the HTTP client may take to wherever it works.
pub(crate) trait Stream: Read + Write + Send + Sync + 'static {}

impl<S: Read + Write + Send + Sync + 'static> Stream for S {}

/// What goes over the wire.
pub(crate) enum Wire<S: Stream> {
    /// As it is.
    Clear(S),
    /// In TLS, past its handshake.
    Tls(Box<StreamOwned<ClientConnection, S>>),
}

impl<S: Stream> Read for Wire<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer),
            // Many servers just close instead of saying so in TLS first.
            Self::Tls(stream) => match stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl<S: Stream> Write for Wire<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The first buffer for an answer: most have a head and a body that fit.
const FIRST: usize = 4096;

/// A connection, and the buffers that the client works in. The one for the answer grows as far as it
/// is allowed to when an answer needs it: zeroing the whole of it each time would cost more than
/// reading most answers does.
pub(super) struct Line<S: Stream> {
    wire: Wire<S>,
    buffers: LazyBuffers,
    input: usize,
    output: usize,
}

impl<S: Stream> fmt::Debug for Line<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl<S: Stream> Line<S> {
    pub(super) fn new(wire: Wire<S>, input: usize, output: usize) -> Self {
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

impl<S: Stream> Transport for Line<S> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let bytes = self.buffers.output().get(..amount).unwrap_or_default();
        self.wire.write_all(bytes)?;
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        self.make_room();
        let read = self.wire.read(self.buffers.input_append_buf())?;
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
