//! A connection to a server that may refuse, hang, drip, flood or break off: each wait under the
//! deadline of the whole check, nothing read beyond what was asked for.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, recv, send,
    shutdown, socket_with,
};

use super::super::pool::Allowance;
use crate::wire::{Unconnected, connect, ready};

/// The queue of a socket in the file system is full: the kernel does not tell when it no longer is.
const AGAIN: Duration = Duration::from_millis(20);
/// No part of an answer is larger than that.
const LARGEST: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    /// Nobody listens there.
    Refused,
    /// Not in time: connecting, waiting and reading all count.
    Unanswered,
    /// There is no way there, or the connection broke; in what way.
    Lost(&'static str),
    /// We are not able to ask; why.
    Unable(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Unanswered => f.write_str("no answer in time"),
            Self::Lost(how) => f.write_str(how),
            Self::Unable(why) => f.write_str(why),
        }
    }
}

/// A connection and its deadline.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
    allowance: Allowance,
}

impl Wire {
    /// One that somebody else has made.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn over(socket: OwnedFd, allowance: Allowance) -> Self {
        Self { socket, allowance }
    }

    /// Connects over TCP.
    pub(super) fn to_address(to: SocketAddr, allowance: Allowance) -> Result<Self, Broken> {
        if allowance.left().is_none() {
            return Err(Broken::Unanswered);
        }
        let (socket, _) = connect(to, &allowance)?;
        Ok(Self { socket, allowance })
    }

    /// Connects to a socket in the file system.
    pub(super) fn to_socket(to: &SocketAddrUnix, allowance: Allowance) -> Result<Self, Broken> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(unable)?;
        loop {
            let left = allowance.left().ok_or(Broken::Unanswered)?;
            match rustix::net::connect(&socket, to) {
                Ok(()) => return Ok(Self { socket, allowance }),
                Err(Errno::AGAIN) => std::thread::sleep(left.min(AGAIN)),
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(Broken::Lost("no such socket")),
                Err(errno) => return Err(Unconnected::from(errno).into()),
            }
        }
    }

    /// Waits until the connection is ready for that, or the time is over.
    fn wait(&self, what: PollFlags) -> Result<(), Broken> {
        let seen = ready(&self.socket, what, &self.allowance).map_err(unable)?;
        seen.map(drop).ok_or(Broken::Unanswered)
    }

    /// Sends all of it.
    pub(super) fn send(&self, mut rest: &[u8]) -> Result<(), Broken> {
        while !rest.is_empty() {
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(broken(errno)),
            }
        }
        Ok(())
    }

    /// Reads exactly so many bytes.
    pub(super) fn take(&self, length: usize) -> Result<Vec<u8>, Broken> {
        self.read(length, |_| false)
    }

    /// Reads a line, without its end, or so many bytes. What came with it is thrown away.
    pub(super) fn line(&self, limit: usize) -> Result<Vec<u8>, Broken> {
        let end = |bytes: &[u8]| bytes.iter().position(|byte| *byte == b'\n');
        let mut line = self.read(limit, |bytes| end(bytes).is_some())?;
        line.truncate(end(&line).unwrap_or(line.len()));
        Ok(line)
    }

    /// Reads until `enough` says so, or there are `length` bytes.
    pub(super) fn read(&self, length: usize, enough: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Broken> {
        let length = length.min(LARGEST);
        let mut bytes = Vec::new();
        // An answer is hardly there at once.
        self.wait(PollFlags::IN)?;
        while bytes.len() < length && !enough(&bytes) {
            // A flood never blocks, and ends in time all the same.
            self.allowance.left().ok_or(Broken::Unanswered)?;
            // An answer is short as a rule; one that is longer makes room as it comes.
            let mut part = [0; 1024];
            let room = part.len().min(length - bytes.len());
            match recv(&self.socket, part.get_mut(..room).unwrap_or_default(), RecvFlags::empty()) {
                Ok((_, 0)) => return Err(Broken::Lost("it closes the connection without an answer")),
                Ok((_, read)) => bytes.extend(part.get(..read).unwrap_or_default()),
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(broken(errno)),
            }
        }
        Ok(bytes)
    }

    /// Says that nothing more comes, and takes what was still on its way, for a moment at most: a
    /// connection with unread bytes would be reset, and show as an error in the server's log.
    pub(super) fn close(self, last_word: &[u8]) {
        const MOMENT: Duration = Duration::from_millis(50);
        let _ = self.send(last_word);
        let _ = shutdown(&self.socket, Shutdown::Write);
        let moment = self.allowance.left().map(|left| left.min(MOMENT)).unwrap_or_default();
        let wire = Self { allowance: Allowance::starting_now(moment), ..self };
        let _ = wire.read(LARGEST, |_| false);
    }
}

impl From<Unconnected> for Broken {
    fn from(why: Unconnected) -> Self {
        match why {
            Unconnected::Refused => Self::Refused,
            Unconnected::TimedOut => Self::Unanswered,
            Unconnected::Broke => Self::Lost("reset while connecting"),
            Unconnected::NoWay(Errno::HOSTUNREACH | Errno::HOSTDOWN) => {
                Self::Lost("its host cannot be reached")
            }
            Unconnected::NoWay(Errno::NETUNREACH) => Self::Lost("there is no route to its host"),
            Unconnected::NoWay(errno) | Unconnected::Failed(errno) => unable(errno),
        }
    }
}

fn broken(errno: Errno) -> Broken {
    match errno {
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => Broken::Lost("it resets the connection"),
        Errno::TIMEDOUT => Broken::Unanswered,
        errno => unable(errno),
    }
}

fn unable(errno: Errno) -> Broken {
    Broken::Unable(std::io::Error::from(errno).to_string())
}
