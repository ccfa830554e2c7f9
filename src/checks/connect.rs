//! Connecting and waiting under a deadline, without a thread that cannot be called back.
//!
//! Waiting is by poll(2): the socket timeouts SO_RCVTIMEO and SO_SNDTIMEO run on the kernel's
//! coarse timer wheel, which is late by up to an eighth (3.2 s were seen for 3 s).

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

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

/// Connects. The stream is non-blocking. `turn` is called whenever it waits, and says for how long
/// at most.
pub(super) fn connect(
    to: SocketAddr,
    allowance: &Allowance,
    turn: &dyn Fn() -> Duration,
) -> Result<TcpStream, Unconnected> {
    let socket = socket(to, SocketType::STREAM)?;
    if !begin(&socket, to)? {
        if !ready(&socket, PollFlags::OUT, allowance, turn)? {
            return Err(Unconnected::TimedOut);
        }
        socket_error(&socket)??;
    }
    let stream = TcpStream::from(socket);
    // A port of the ephemeral range that nobody listens on may connect to itself.
    if stream.local_addr().is_ok_and(|from| from == to) {
        return Err(Unconnected::Refused);
    }
    Ok(stream)
}

/// Waits until the socket is ready for that; false when the time was over before.
pub(super) fn ready(
    socket: impl AsFd,
    what: PollFlags,
    allowance: &Allowance,
    turn: &dyn Fn() -> Duration,
) -> Result<bool, Errno> {
    loop {
        let Some(left) = allowance.left() else { return Ok(false) };
        let left = Timespec::try_from(left.min(turn())).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(&socket, what)], Some(&left)) {
            Ok(1..) => return Ok(true),
            Ok(0) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
