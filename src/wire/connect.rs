//! Connecting and waiting under a deadline, without a thread that cannot be called back.
//!
//! Waiting is by poll(2): the socket timeouts SO_RCVTIMEO and SO_SNDTIMEO run on the kernel's
//! coarse timer wheel, which is late by up to an eighth (3.2 s were seen for 3 s).

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, getsockname, socket_with};

/// Whoever waits looks that often whether the answer is still wanted.
pub(crate) const LOOK: Duration = Duration::from_millis(250);

/// How long somebody waits.
pub(crate) trait Patience {
    /// What is left; none when the time is over, or nobody waits for the result any more.
    fn left(&self) -> Option<Duration>;

    /// Called whenever it waits; for how long it may wait until the next call.
    fn turn(&self) -> Duration {
        LOOK
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unconnected {
    /// Nobody listens there, and somebody said so.
    Refused,
    /// No answer.
    TimedOut,
    /// Broken off while connecting.
    Broke,
    /// No way there: no route, no such host, the network is down.
    NoWay(Errno),
    /// It could not be tried.
    Failed(Errno),
}

impl From<Errno> for Unconnected {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::CONNREFUSED => Self::Refused,
            Errno::TIMEDOUT => Self::TimedOut,
            Errno::CONNRESET | Errno::CONNABORTED => Self::Broke,
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN | Errno::HOSTDOWN => Self::NoWay(errno),
            errno => Self::Failed(errno),
        }
    }
}

/// A non-blocking socket of that kind that goes to that address.
pub(crate) fn socket(to: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Begins to connect; true when it is done already, as it mostly is on loopback.
pub(crate) fn begin(socket: &OwnedFd, to: SocketAddr) -> Result<bool, Errno> {
    match rustix::net::connect(socket, &to) {
        Ok(()) => Ok(true),
        Err(Errno::INPROGRESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Connects; the second is our end of it, as far as the kernel tells. The socket is non-blocking.
pub(crate) fn connect(
    to: SocketAddr,
    patience: &dyn Patience,
) -> Result<(OwnedFd, Option<SocketAddr>), Unconnected> {
    let socket = socket(to, SocketType::STREAM)?;
    if !begin(&socket, to)? {
        let failed = PollFlags::ERR | PollFlags::HUP;
        match ready(&socket, PollFlags::OUT, patience)? {
            None => return Err(Unconnected::TimedOut),
            Some(seen) if seen.intersects(failed) => socket_error(&socket)??,
            Some(_) => {}
        }
    }
    let from = getsockname(&socket).ok().and_then(|from| SocketAddr::try_from(from).ok());
    // A port of the ephemeral range that nobody listens on may connect to itself.
    if from == Some(to) { Err(Unconnected::Refused) } else { Ok((socket, from)) }
}

/// Waits until the socket is ready for that, and what it is ready for; none when the time was over
/// before.
pub(crate) fn ready(
    socket: impl AsFd,
    what: PollFlags,
    patience: &dyn Patience,
) -> Result<Option<PollFlags>, Errno> {
    loop {
        let Some(left) = patience.left() else { return Ok(None) };
        let left = Timespec::try_from(left.min(patience.turn())).map_err(|_| Errno::INVAL)?;
        let mut polled = [PollFd::new(&socket, what)];
        match poll(&mut polled, Some(&left)) {
            Ok(1..) => return Ok(Some(polled[0].revents())),
            Ok(0) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
