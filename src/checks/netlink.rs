//! Questions to the kernel over netlink(7): one dump, read to its end.
//!
//! Responsible for sending a question, walking the messages of its answer, whatever they may
//! contain, and for the bounds of both. What a message says is read by whoever asked.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
    socket_with,
};

// linux/netlink.h
pub(super) const NLMSG_NOOP: u16 = 1;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// The kernel fills a buffer of this size per read at most.
const BUFFER: usize = 16 * 1024;
/// The kernel answers at once, from within the request; this only keeps a broken one from hanging us.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the kernel did not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiagError {
    /// The kernel refused, or the socket could not be used.
    Refused(Errno),
    /// An answer that is none.
    Garbled,
    /// An answer without end.
    Endless,
}

impl fmt::Display for DiagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "netlink: {errno}"),
            Self::Garbled => f.write_str("netlink: the answer cannot be read"),
            Self::Endless => f.write_str("netlink: the answer does not end"),
        }
    }
}

impl std::error::Error for DiagError {}

/// Takes the payload of one message; none when it cannot be read.
pub(super) type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Option<()>;

/// A netlink socket and the buffer that answers are read into.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens one of that protocol.
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self, DiagError> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)
            .map_err(DiagError::Refused)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(DiagError::Refused)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Sends `question` (a message without its header), and hands every message of the kind
    /// `wanted` in its answer to `take`. Ends after `reads` reads at the latest.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        question: &[u8],
        sequence: u32,
        wanted: u16,
        reads: usize,
        take: Take<'_>,
    ) -> Result<(), DiagError> {
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, question, sequence)?;
        for _ in 0..reads {
            if parse(self.receive()?, sequence, wanted, take)? {
                return Ok(());
            }
        }
        Err(DiagError::Endless)
    }

    /// Sends a `question` about one thing, and hands the message that answers it, of the same kind, to
    /// `take`: none when there is no such thing.
    pub(super) fn find(
        &mut self,
        kind: u16,
        question: &[u8],
        sequence: u32,
        take: Take<'_>,
    ) -> Result<(), DiagError> {
        self.send(kind, NLM_F_REQUEST, question, sequence)?;
        match parse(self.receive()?, sequence, kind, take) {
            Ok(_) | Err(DiagError::Refused(Errno::NOENT)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send(&self, kind: u16, flags: u16, question: &[u8], sequence: u32) -> Result<(), DiagError> {
        let length = HEADER + question.len();
        let mut message = Vec::with_capacity(length);
        message.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(question);
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel).map_err(DiagError::Refused)?;
        Ok(())
    }

    /// The next datagram.
    fn receive(&mut self) -> Result<&[u8], DiagError> {
        loop {
            self.buffer.clear();
            // Into room that nobody has to fill with zeros first, most of which is never touched.
            match recv(&self.socket, spare_capacity(&mut self.buffer), RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(DiagError::Refused(errno)),
                Ok((_, length)) => return self.buffer.get(..length).ok_or(DiagError::Garbled),
            }
        }
    }
}

/// Reads one datagram of an answer; true when the answer ends in it.
pub(super) fn parse(mut bytes: &[u8], sequence: u32, wanted: u16, take: Take<'_>) -> Result<bool, DiagError> {
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0).ok_or(DiagError::Garbled)? as usize;
        let kind = u16_at(bytes, 4).ok_or(DiagError::Garbled)?;
        let payload = bytes.get(HEADER..length).ok_or(DiagError::Garbled)?;
        let ours = u32_at(bytes, 8) == Some(sequence);
        match kind {
            // What a former, abandoned request left behind.
            _ if !ours => {}
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(payload, 0).ok_or(DiagError::Garbled)?.cast_signed();
                // 0 would be an acknowledgement, which we did not ask for.
                return match code.checked_neg() {
                    Some(code @ 1..4096) => Err(DiagError::Refused(Errno::from_raw_os_error(code))),
                    _ => Err(DiagError::Garbled),
                };
            }
            NLMSG_NOOP => {}
            kind if kind == wanted => take(payload).ok_or(DiagError::Garbled)?,
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// The attributes (`struct nlattr`: length with its own head, kind, and what it holds) in `bytes`.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Netlink aligns to four bytes.
pub(super) fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
