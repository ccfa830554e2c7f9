//! Who listens on a TCP port, and which of its connections wait, asked of the kernel by
//! sock_diag(7).
//!
//! Responsible for the request, for reading the rows of the answer, and for nothing that follows
//! from them. Needs no privilege; sees this network namespace only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::netlink;

pub use super::netlink::DiagError;
use super::netlink::{Netlink, attributes, u32_at};
use crate::judge::Moment;
use crate::wire::now;

// linux/sock_diag.h, linux/inet_diag.h
const TCPDIAG_GETSOCK: u16 = 18;
const REQUEST: usize = 60;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_ONE: usize = 56;
const MESSAGE: usize = 72;
/// An answer is read to its end before the next question, so that one number does for all.
const SEQUENCE: u32 = 1;
const INET_DIAG_SKV6ONLY: u16 = 11;
const INET_DIAG_CGROUP_ID: u16 = 21;
// linux/socket.h, linux/in.h, net/tcp_states.h
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE_WAIT: u8 = 8;
const TCP_LISTEN: u8 = 10;

/// Reads of one answer. A port has a handful of listeners; SO_REUSEPORT a row for each worker.
const MAX_READS: usize = 64;
/// Listeners that are kept of one answer.
const MAX_ROWS: usize = 1024;
/// What was seen so long ago is as good as seen now.
const FRESH: Duration = Duration::from_millis(10);
/// So long is it good enough who else listens on a port, and of so many ports it is known.
const KNOWN: Duration = Duration::from_secs(10);
const MAX_KNOWN: usize = 1024;
/// Listeners of a host of which all are read at once, and how long it is held to have more than that.
const MAX_FEW: usize = 48;
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Connections that are kept of one answer, and the reads that they may take at some 80 rows each.
const MAX_CONNECTIONS: usize = 4096;
const MAX_CONNECTION_READS: usize = 256;

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

impl Listener {
    /// The same socket: numbers of inodes are used anew when four thousand million have been.
    fn is(&self, other: &Self) -> bool {
        (self.inode, self.cgroup, self.uid) == (other.inode, other.cgroup, other.uid)
    }
}

/// The server side of a TCP connection that both ends still have, or that the client has ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Connection {
    /// Our address, without the port, which was asked for.
    pub local: IpAddr,
    /// The client.
    pub peer: SocketAddr,
    /// The program has taken it: until then it has no inode.
    pub accepted: bool,
}

/// Everyone who listens on that TCP port, over IPv4 and IPv6. A dual-stack socket is one row.
///
/// # Errors
/// When the kernel does not tell.
pub fn listeners(port: u16) -> Result<Vec<Listener>, DiagError> {
    let mut rows = Vec::new();
    ask(&mut open()?, port, 1 << TCP_LISTEN, MAX_READS, &mut |payload| {
        if rows.len() < MAX_ROWS {
            rows.extend(listener(payload)?);
        }
        Some(())
    })?;
    // The kernel filters by port itself; an old one that did not would otherwise mislead us.
    rows.retain(|row| row.port == port);
    Ok(rows)
}

/// Everyone who listens on any TCP port, 1024 at most.
///
/// # Errors
/// As [`listeners`].
pub fn all_listeners() -> Result<Vec<Listener>, DiagError> {
    let mut rows = Vec::new();
    ask(&mut open()?, 0, 1 << TCP_LISTEN, MAX_READS, &mut |payload| {
        if rows.len() < MAX_ROWS {
            rows.extend(listener(payload)?);
        }
        Some(())
    })?;
    Ok(rows)
}

/// Listeners as they were a moment ago. The kernel walks a table of 65,536 buckets for each question,
/// whatever port is asked about: a twelfth of what a round costs. Checks that come together ask once, and
/// who only asks whether all is as it was just before has no table walked.
#[derive(Debug, Default)]
pub(super) struct Census(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Making a socket costs as much as asking through it. One that disappointed us is not used again.
    kernel: Option<Netlink>,
    last: Option<(Moment, Seen)>,
    /// By port.
    known: BTreeMap<u16, Known>,
}

/// All who listened on a port when the table was walked last, and who took connections to some of the
/// addresses then: as long as these do, the others matter little.
#[derive(Debug)]
struct Known {
    at: Moment,
    rows: Vec<Listener>,
    takers: Vec<(IpAddr, Option<Listener>)>,
}

impl Known {
    fn new(at: Moment, rows: &[Listener], takers: Vec<(IpAddr, Option<Listener>)>) -> Option<Self> {
        // Nothing came or went in between.
        let agree = takers.iter().all(|(to, taker)| match taker {
            Some(taker) => rows.iter().any(|row| row.is(taker)),
            None => !rows.iter().any(|row| row.takes(*to)),
        });
        agree.then(|| Self { at, rows: rows.to_vec(), takers })
    }

    fn is_so(&self, takers: &[(IpAddr, Option<Listener>)]) -> bool {
        let same = |one: &Option<Listener>, other: &Option<Listener>| match (one, other) {
            (Some(one), Some(other)) => one.is(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.takers.len() == takers.len()
            && self.takers.iter().zip(takers).all(|(one, other)| one.0 == other.0 && same(&one.1, &other.1))
    }
}

#[derive(Debug)]
enum Seen {
    Few(Vec<Listener>),
    /// Reading all of them costs more than asking for each port.
    Crowd,
}

impl Census {
    /// As [`listeners`], with who takes connections to these addresses as it is now; who else listens may
    /// be as it was 10 s ago.
    pub(super) fn listeners_at(&self, port: u16, to: &[IpAddr]) -> Result<Vec<Listener>, DiagError> {
        let at = now();
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = kept().as_known(port, to, at) {
            return Ok(rows);
        }
        let rows = self.listeners(port)?;
        let mut kept = kept();
        let known = kept.takers(port, to).and_then(|takers| Known::new(at, &rows, takers));
        if let Some(known) = known.filter(|_| kept.known.len() < MAX_KNOWN) {
            kept.known.insert(port, known);
        }
        Ok(rows)
    }

    /// As [`listeners`], 10 ms old at most.
    pub(super) fn listeners(&self, port: u16) -> Result<Vec<Listener>, DiagError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let good_for = |seen: &Seen| if matches!(seen, Seen::Few(_)) { FRESH } else { FORGOTTEN };
        let seen = match kept.last.take().filter(|(at, seen)| now.since(*at) <= good_for(seen)) {
            Some(seen) => seen,
            None => {
                let mut kernel = kept.kernel.take().map_or_else(open, Ok)?;
                let seen = take_all(&mut kernel)?;
                if matches!(seen, Seen::Few(_)) {
                    kept.kernel = Some(kernel);
                }
                (now, seen)
            }
        };
        match &kept.last.insert(seen).1 {
            Seen::Few(all) => Ok(all.iter().filter(|row| row.port == port).cloned().collect()),
            Seen::Crowd => {
                drop(kept);
                listeners(port)
            }
        }
    }
}

impl Kept {
    /// What is known of a port, if it is so still; it is forgotten if not.
    fn as_known(&mut self, port: u16, to: &[IpAddr], at: Moment) -> Option<Vec<Listener>> {
        self.known.retain(|_, known| at.since(known.at) <= KNOWN);
        let known = self.known.remove(&port)?;
        let takers = self.takers(port, to)?;
        let rows = known.is_so(&takers).then(|| known.rows.clone())?;
        self.known.insert(port, known);
        Some(rows)
    }

    /// Who takes connections to that port of those addresses; none where the kernel does not tell, which it
    /// may do all the same when it is asked for all who listen.
    fn takers(&mut self, port: u16, to: &[IpAddr]) -> Option<Vec<(IpAddr, Option<Listener>)>> {
        let mut kernel = self.kernel.take().map_or_else(open, Ok).ok()?;
        let mut found = Vec::with_capacity(to.len());
        for to in to {
            found.push((*to, taker(&mut kernel, SocketAddr::new(*to, port)).ok()?));
        }
        self.kernel = Some(kernel);
        Some(found)
    }
}

/// Who takes connections to that address, as the kernel finds out for each that comes.
fn taker(kernel: &mut Netlink, to: SocketAddr) -> Result<Option<Listener>, DiagError> {
    let mut found = None;
    kernel.find(SOCK_DIAG_BY_FAMILY, &request_one(to), SEQUENCE, &mut |payload| {
        found = listener(payload)?;
        Some(())
    })?;
    Ok(found)
}

/// Everyone who listens, unless they are too many.
fn take_all(kernel: &mut Netlink) -> Result<Seen, DiagError> {
    let mut rows = Vec::new();
    let mut count = 0;
    let asked = ask(kernel, 0, 1 << TCP_LISTEN, MAX_READS, &mut |payload| {
        count += 1;
        if count <= MAX_FEW {
            rows.extend(listener(payload)?);
        }
        Some(())
    });
    match asked {
        Ok(()) if count <= MAX_FEW => Ok(Seen::Few(rows)),
        Ok(()) | Err(DiagError::Endless) => Ok(Seen::Crowd),
        Err(error) => Err(error),
    }
}

/// The server sides of that port's connections, 4096 at most; false with them when there are more.
/// The kernel walks its whole table of connections for it, so this is nothing for every round.
pub(super) fn connections(port: u16) -> Result<(Vec<Connection>, bool), DiagError> {
    let mut rows = Vec::new();
    let mut more = false;
    let states = (1 << TCP_ESTABLISHED) | (1 << TCP_CLOSE_WAIT);
    let asked = ask(&mut open()?, port, states, MAX_CONNECTION_READS, &mut |payload| {
        if rows.len() < MAX_CONNECTIONS {
            rows.extend(connection(payload, port)?);
        } else {
            more = true;
        }
        Some(())
    });
    match asked {
        Ok(()) => Ok((rows, !more)),
        Err(DiagError::Endless) => Ok((rows, false)),
        Err(error) => Err(error),
    }
}

/// Asks for the TCP sockets of a port in those states, of both families with one question, as only the
/// older of the two kinds that there are (linux/inet_diag.h) lets: by SOCK_DIAG_BY_FAMILY it takes two,
/// and the kernel walks its whole table for each.
fn ask(
    kernel: &mut Netlink,
    port: u16,
    states: u32,
    reads: usize,
    take: super::netlink::Take<'_>,
) -> Result<(), DiagError> {
    kernel.dump(TCPDIAG_GETSOCK, &request(port, states), SEQUENCE, TCPDIAG_GETSOCK, reads, take)
}

fn open() -> Result<Netlink, DiagError> {
    Netlink::open(Some(netlink::SOCK_DIAG))
}

/// `struct inet_diag_req`, whose family is not looked at.
fn request(port: u16, states: u32) -> [u8; REQUEST] {
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
    put(4, &port.to_be_bytes());
    // Cookie: INET_DIAG_NOCOOKIE.
    put(44, &[0xff; 8]);
    put(52, &states.to_ne_bytes());
    bytes
}

/// `struct inet_diag_req_v2` about the socket that a connection to that address, from anywhere, comes to.
fn request_one(to: SocketAddr) -> [u8; REQUEST_ONE] {
    let mut bytes = [0; REQUEST_ONE];
    let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
    put(0, &[if to.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP]);
    put(4, &(1_u32 << TCP_LISTEN).to_ne_bytes());
    put(8, &to.port().to_be_bytes());
    match to.ip() {
        IpAddr::V4(ip) => put(12, &ip.octets()),
        IpAddr::V6(ip) => put(12, &ip.octets()),
    }
    put(48, &[0xff; 8]);
    bytes
}

/// An address of `struct inet_diag_sockid` in that family.
fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    match family {
        AF_INET => Some(IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
        _ => None,
    }
}

/// `struct inet_diag_msg` and its attributes: `None` if it is too short, `Some(None)` if it is not
/// a listener.
pub(super) fn listener(payload: &[u8]) -> Option<Option<Listener>> {
    let (fixed, rest) = payload.split_at_checked(MESSAGE)?;
    let Some(address) = address(fixed[0], &fixed[8..24]).filter(|_| fixed[1] == TCP_LISTEN) else {
        return Some(None);
    };
    let mut listener = Listener {
        address,
        port: u16::from_be_bytes([fixed[4], fixed[5]]),
        v6_only: false,
        queued: u32_at(fixed, 56)?,
        uid: u32_at(fixed, 64)?,
        inode: u32_at(fixed, 68)?,
        cgroup: None,
    };
    for (kind, value) in attributes(rest) {
        match kind {
            INET_DIAG_SKV6ONLY => listener.v6_only = value.first().is_some_and(|flag| *flag != 0),
            INET_DIAG_CGROUP_ID => {
                listener.cgroup = value.try_into().ok().map(u64::from_ne_bytes).filter(|id| *id != 0);
            }
            _ => {}
        }
    }
    Some(Some(listener))
}

/// The same of a connection.
pub(super) fn connection(payload: &[u8], port: u16) -> Option<Option<Connection>> {
    let (fixed, _) = payload.split_at_checked(MESSAGE)?;
    let ours = u16::from_be_bytes([fixed[4], fixed[5]]) == port && fixed[1] != TCP_LISTEN;
    let addresses = address(fixed[0], &fixed[8..24]).zip(address(fixed[0], &fixed[24..40]));
    let Some((local, peer)) = addresses.filter(|_| ours) else { return Some(None) };
    let peer = SocketAddr::new(peer, u16::from_be_bytes([fixed[6], fixed[7]]));
    Some(Some(Connection { local, peer, accepted: u32_at(fixed, 68)? != 0 }))
}

#[cfg(test)]
mod tests {

    use proptest::prelude::*;

    use super::super::netlink::{self, HEADER, NLMSG_DONE, NLMSG_ERROR, aligned};
    use super::super::tests::lonely;
    use super::*;

    fn parse(bytes: &[u8], sequence: u32, rows: &mut Vec<Listener>) -> Result<bool, DiagError> {
        let mut take = |payload: &[u8]| {
            rows.extend(listener(payload)?);
            Some(())
        };
        netlink::parse(bytes, sequence, TCPDIAG_GETSOCK, &mut take)
    }

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
        let mut bytes = message(TCPDIAG_GETSOCK, 7, &listener_row());
        bytes.extend(message(TCPDIAG_GETSOCK, 6, &listener_row()));
        assert_eq!(parse(&bytes, 7, &mut rows), Ok(false));
        bytes.extend(message(NLMSG_DONE, 7, &[0; 4]));
        assert_eq!(parse(&bytes, 7, &mut rows), Ok(true));
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].port, rows[0].inode, rows[0].cgroup), (3000, 4711, Some(99)));
        assert!(rows[0].v6_only);
        let refused = message(NLMSG_ERROR, 7, &(-2i32).to_ne_bytes());
        assert_eq!(parse(&refused, 7, &mut rows), Err(DiagError::Refused(rustix::io::Errno::NOENT)));
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
            assert_eq!(Census::default().listeners(bound.port()).unwrap(), rows);
            assert_eq!(rows.len(), 1, "{rows:?}");
            assert!(all_listeners().unwrap().iter().any(|row| row.inode == rows[0].inode));
            assert_eq!((rows[0].address, rows[0].port), (bound.ip(), bound.port()));
            assert!(rows[0].inode != 0 && rows[0].cgroup.is_some(), "{rows:?}");
            drop(socket);
            assert_eq!(listeners(bound.port()).unwrap(), []);
        }
    }

    #[test]
    fn who_takes_connections_is_known_at_once_whatever_is_kept() {
        let localhost = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let census = Census::default();
        let later = || std::thread::sleep(FRESH + Duration::from_millis(2));
        for address in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            let socket = lonely(address);
            let port = socket.local_addr().unwrap().port();
            let seen = |what: &str| {
                later();
                let seen = census.listeners_at(port, &localhost).unwrap();
                assert_eq!(seen, listeners(port).unwrap(), "{address}: {what}");
                seen.len()
            };
            assert_eq!(seen("first"), 1);
            assert!(census.0.lock().unwrap().known.contains_key(&port), "{address}");
            assert_eq!(seen("again"), 1);
            drop(socket);
            assert_eq!(seen("gone"), 0);
            assert_eq!(seen("still gone"), 0);
            let another = std::net::TcpListener::bind((address, port)).unwrap();
            assert_eq!(seen("another"), 1);
            assert_eq!(seen("the other again"), 1);
            drop(another);
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

    #[test]
    fn a_connection_waits_until_it_is_taken() {
        for at in ["127.0.0.1", "::1"] {
            let socket = lonely(at);
            let bound = socket.local_addr().unwrap();
            let client = std::net::TcpStream::connect(bound).unwrap();
            let seen = connections(bound.port()).unwrap();
            let mut own =
                Connection { local: bound.ip(), peer: client.local_addr().unwrap(), accepted: false };
            assert_eq!(seen, (vec![own], true));
            let taken = socket.accept().unwrap();
            own.accepted = true;
            assert_eq!(connections(bound.port()).unwrap(), (vec![own], true));
            drop((client, taken));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, 7, &mut Vec::new());
        }

        #[test]
        fn any_row_is_survived(
            kind in prop::sample::select(vec![0, NLMSG_ERROR, NLMSG_DONE, TCPDIAG_GETSOCK]),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = message(kind, 7, &payload);
            bytes.extend(rest);
            let _ = parse(&bytes, 7, &mut Vec::new());
        }

        #[test]
        fn a_damaged_row_is_survived(at in 0usize..124, to in any::<u8>()) {
            let mut bytes = message(TCPDIAG_GETSOCK, 7, &listener_row());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let mut rows = Vec::new();
            let _ = parse(&bytes, 7, &mut rows);
            prop_assert!(rows.len() <= 1);
        }
    }
}
