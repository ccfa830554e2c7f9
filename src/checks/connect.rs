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

use super::pool::Allowance;

/// Whoever waits looks that often whether the answer is still wanted.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unconnected {
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
pub(super) fn socket(to: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Begins to connect; true when it is done already, as it mostly is on loopback.
pub(super) fn begin(socket: &OwnedFd, to: SocketAddr) -> Result<bool, Errno> {
    match rustix::net::connect(socket, &to) {
        Ok(()) => Ok(true),
        Err(Errno::INPROGRESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Connects; the second is our end of it, as far as the kernel tells. The socket is non-blocking. `turn`
/// is called whenever it waits, and says for how long at most.
pub(super) fn connect(
    to: SocketAddr,
    allowance: &Allowance,
    turn: &dyn Fn() -> Duration,
) -> Result<(OwnedFd, Option<SocketAddr>), Unconnected> {
    let socket = socket(to, SocketType::STREAM)?;
    if !begin(&socket, to)? {
        let failed = PollFlags::ERR | PollFlags::HUP;
        match ready(&socket, PollFlags::OUT, allowance, turn)? {
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
pub(super) fn ready(
    socket: impl AsFd,
    what: PollFlags,
    allowance: &Allowance,
    turn: &dyn Fn() -> Duration,
) -> Result<Option<PollFlags>, Errno> {
    loop {
        let Some(left) = allowance.left() else { return Ok(None) };
        let left = Timespec::try_from(left.min(turn())).map_err(|_| Errno::INVAL)?;
        let mut polled = [PollFd::new(&socket, what)];
        match poll(&mut polled, Some(&left)) {
            Ok(1..) => return Ok(Some(polled[0].revents())),
            Ok(0) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
