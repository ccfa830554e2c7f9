//! Who listens on a TCP port, asked of the kernel by sock_diag(7).
//!
//! Responsible for the request, for reading the answer, whatever it may contain, and for nothing
//! that follows from it. Needs no privilege; sees this network namespace only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto, socket_with,
};

// linux/netlink.h
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const HEADER: usize = 16;
// linux/sock_diag.h, linux/inet_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST: usize = HEADER + 56;
const MESSAGE: usize = 72;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;
// linux/socket.h, linux/in.h, net/tcp_states.h
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_LISTEN: u8 = 10;

/// The kernel fills a buffer of this size per read at most.
const BUFFER: usize = 16 * 1024;
/// Reads of one answer. A port has a handful of listeners; SO_REUSEPORT a row for each worker.
const MAX_READS: usize = 64;
/// Rows that are kept of one answer.
const MAX_ROWS: usize = 1024;
/// The kernel answers at once, from within the request; this only keeps a broken one from hanging us.
const PATIENCE: Duration = Duration::from_secs(2);

/// A TCP socket in LISTEN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address that it is bound to; unspecified for any.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Bound to an IPv6 address only; a `::` without it takes IPv4 as well.
    pub v6_only: bool,
    /// The inode by which `/proc/PID/fd` shows it.
    pub inode: u32,
    /// The user that it belongs to.
    pub uid: u32,
    /// Id of the cgroup of whoever created it; none on kernels before 5.8.
    pub cgroup: Option<u64>,
    /// Connections that wait to be accepted.
    pub queued: u32,
}

impl Listener {
    /// Whether a connection to that address comes to this socket.
    #[must_use]
    pub fn takes(&self, to: IpAddr) -> bool {
        let to = to.to_canonical();
        match self.address {
            IpAddr::V6(own) if own.is_unspecified() => to.is_ipv6() || !self.v6_only,
            IpAddr::V4(own) if own.is_unspecified() => to.is_ipv4(),
            own => own == to,
        }
    }
}

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
            Self::Refused(errno) => write!(f, "sock_diag: {errno}"),
            Self::Garbled => f.write_str("sock_diag: the answer cannot be read"),
            Self::Endless => f.write_str("sock_diag: the answer does not end"),
        }
    }
}

impl std::error::Error for DiagError {}

/// Everyone who listens on that TCP port, over IPv4 and IPv6. A dual-stack socket is one row.
///
/// # Errors
/// When the kernel does not tell; a kernel without IPv6 has no IPv6 listeners, which is no error.
pub fn listeners(port: u16) -> Result<Vec<Listener>, DiagError> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))
        .map_err(DiagError::Refused)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).map_err(DiagError::Refused)?;
    let kernel = netlink::SocketAddrNetlink::new(0, 0);
    let mut rows = Vec::new();
    let mut buffer = vec![0; BUFFER];
    for family in [AF_INET, AF_INET6] {
        let sequence = u32::from(family);
        let request = request(family, port, sequence);
        sendto(&socket, &request, SendFlags::empty(), &kernel).map_err(DiagError::Refused)?;
        let mut reads = 0;
        loop {
            if reads == MAX_READS {
                return Err(DiagError::Endless);
            }
            reads += 1;
            let (_, length) = match recv(&socket, &mut buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                other => other.map_err(DiagError::Refused)?,
            };
            match parse(buffer.get(..length).ok_or(DiagError::Garbled)?, sequence, &mut rows) {
                Ok(true) => break,
                Ok(false) => {}
                Err(DiagError::Refused(Errno::NOENT)) if family == AF_INET6 => break,
                Err(error) => return Err(error),
            }
        }
    }
    // The kernel filters by port itself; an old one that did not would otherwise mislead us.
    rows.retain(|row| row.port == port);
    Ok(rows)
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(family: u8, port: u16, sequence: u32) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    put(8, &sequence.to_ne_bytes());
    put(HEADER, &[family, IPPROTO_TCP]);
    put(HEADER + 4, &(1u32 << TCP_LISTEN).to_ne_bytes());
    put(HEADER + 8, &port.to_be_bytes());
    // Cookie: INET_DIAG_NOCOOKIE.
    put(HEADER + 48, &[0xff; 8]);
    bytes
}

/// Reads one datagram of an answer into `rows`; true when the answer ends in it.
fn parse(mut bytes: &[u8], sequence: u32, rows: &mut Vec<Listener>) -> Result<bool, DiagError> {
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
            SOCK_DIAG_BY_FAMILY if rows.len() < MAX_ROWS => {
                rows.extend(row(payload).ok_or(DiagError::Garbled)?);
            }
            _ => {}
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// `struct inet_diag_msg` and its attributes: `None` if it is too short, `Some(None)` if it is not
/// a listener.
fn row(payload: &[u8]) -> Option<Option<Listener>> {
    let (fixed, mut attributes) = payload.split_at_checked(MESSAGE)?;
    let source: [u8; 16] = fixed.get(8..24)?.try_into().ok()?;
    let address = match fixed[0] {
        AF_INET => IpAddr::V4(Ipv4Addr::new(source[0], source[1], source[2], source[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(source)).to_canonical(),
        _ => return Some(None),
    };
    if fixed[1] != TCP_LISTEN {
        return Some(None);
    }
    let mut listener = Listener {
        address,
        port: u16::from_be_bytes([fixed[4], fixed[5]]),
        v6_only: false,
        queued: u32_at(fixed, 56)?,
        uid: u32_at(fixed, 64)?,
        inode: u32_at(fixed, 68)?,
        cgroup: None,
    };
    // struct nlattr: length with its own head, kind, and what it holds.
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let Some(value) = attributes.get(4..usize::from(length)) else { break };
        match kind {
            INET_DIAG_SKV6ONLY => listener.v6_only = value.first().is_some_and(|flag| *flag != 0),
            INET_DIAG_CGROUP_ID => {
                listener.cgroup = value.try_into().ok().map(u64::from_ne_bytes).filter(|id| *id != 0);
            }
            _ => {}
        }
        attributes = attributes.get(aligned(usize::from(length))..).unwrap_or_default();
    }
    Some(Some(listener))
}

/// Netlink aligns to four bytes.
fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::super::tests::lonely;
    use super::*;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((HEADER + payload.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn listener_row() -> Vec<u8> {
        let mut row = vec![0; MESSAGE];
        row[..2].copy_from_slice(&[AF_INET6, TCP_LISTEN]);
        row[4..6].copy_from_slice(&3000u16.to_be_bytes());
        row[68..72].copy_from_slice(&4711u32.to_ne_bytes());
        row.extend([5u16.to_ne_bytes(), INET_DIAG_SKV6ONLY.to_ne_bytes()].concat());
        row.extend([1, 0, 0, 0]);
        row.extend([12u16.to_ne_bytes(), INET_DIAG_CGROUP_ID.to_ne_bytes()].concat());
        row.extend(99u64.to_ne_bytes());
        row
    }

    #[test]
    fn reads_rows_errors_and_the_end() {
        let mut rows = Vec::new();
        let mut bytes = message(SOCK_DIAG_BY_FAMILY, 7, &listener_row());
        bytes.extend(message(SOCK_DIAG_BY_FAMILY, 6, &listener_row()));
        assert_eq!(parse(&bytes, 7, &mut rows), Ok(false));
        bytes.extend(message(NLMSG_DONE, 7, &[0; 4]));
        assert_eq!(parse(&bytes, 7, &mut rows), Ok(true));
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].port, rows[0].inode, rows[0].cgroup), (3000, 4711, Some(99)));
        assert!(rows[0].v6_only);
        let refused = message(NLMSG_ERROR, 7, &(-2i32).to_ne_bytes());
        assert_eq!(parse(&refused, 7, &mut rows), Err(DiagError::Refused(Errno::NOENT)));
        let strange = message(NLMSG_ERROR, 7, &i32::MIN.to_ne_bytes());
        assert_eq!(parse(&strange, 7, &mut rows), Err(DiagError::Garbled));
        assert_eq!(parse(&[1, 2, 3], 7, &mut rows), Err(DiagError::Garbled));
    }

    #[test]
    fn wildcards_and_both_families() {
        let at = |address: &str, v6_only| Listener {
            address: address.parse().unwrap(),
            port: 1,
            v6_only,
            inode: 1,
            uid: 0,
            cgroup: None,
            queued: 0,
        };
        let v4 = "127.0.0.1".parse().unwrap();
        let v6 = "::1".parse().unwrap();
        for (listener, takes) in [
            (at("0.0.0.0", false), (true, false)),
            (at("::", false), (true, true)),
            (at("::", true), (false, true)),
            (at("127.0.0.1", false), (true, false)),
            (at("::1", false), (false, true)),
            (at("10.0.0.1", false), (false, false)),
        ] {
            assert_eq!((listener.takes(v4), listener.takes(v6)), takes, "{listener:?}");
        }
    }

    #[test]
    fn the_kernel_tells_of_real_sockets() {
        for address in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            let socket = lonely(address);
            let bound = socket.local_addr().unwrap();
            let rows = listeners(bound.port()).unwrap();
            assert_eq!(rows.len(), 1, "{rows:?}");
            assert_eq!((rows[0].address, rows[0].port), (bound.ip(), bound.port()));
            assert!(rows[0].inode != 0 && rows[0].cgroup.is_some(), "{rows:?}");
            drop(socket);
            assert_eq!(listeners(bound.port()).unwrap(), []);
        }
    }

    #[test]
    fn the_cgroup_id_is_the_inode_of_its_directory() {
        use std::os::unix::fs::MetadataExt;
        let world = super::super::World::system();
        let own = world.cgroup_of(std::process::id()).unwrap_or_default();
        // Only where cgroup2 is mounted and shows this process below its root.
        let dir = if own == "/" { Some(world.cgroup_root().to_path_buf()) } else { world.cgroup(&own) };
        let Some(meta) = dir.filter(|_| world.has_cgroup_ids()).and_then(|dir| std::fs::metadata(dir).ok())
        else {
            return;
        };
        let socket = lonely("127.0.0.1");
        let rows = listeners(socket.local_addr().unwrap().port()).unwrap();
        assert_eq!(rows[0].cgroup, Some(meta.ino()), "{own}");
    }

    #[test]
    fn connections_are_no_listeners() {
        let socket = lonely("127.0.0.1");
        let client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        let theirs = listeners(client.local_addr().unwrap().port()).unwrap();
        assert!(theirs.iter().all(|row| row.address != client.local_addr().unwrap().ip()), "{theirs:?}");
        assert_eq!(listeners(socket.local_addr().unwrap().port()).unwrap()[0].queued, 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, 7, &mut Vec::new());
        }

        #[test]
        fn any_row_is_survived(
            kind in prop::sample::select(vec![0, NLMSG_ERROR, NLMSG_DONE, SOCK_DIAG_BY_FAMILY]),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = message(kind, 7, &payload);
            bytes.extend(rest);
            let _ = parse(&bytes, 7, &mut Vec::new());
        }

        #[test]
        fn a_damaged_row_is_survived(at in 0usize..124, to in any::<u8>()) {
            let mut bytes = message(SOCK_DIAG_BY_FAMILY, 7, &listener_row());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let mut rows = Vec::new();
            let _ = parse(&bytes, 7, &mut rows);
            prop_assert!(rows.len() <= 1);
        }
    }
}
