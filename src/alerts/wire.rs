//! A connection to whoever is told, in clear or in TLS, every wait of which ends with one deadline.
//!
//! Certificates are verified against the system's trust store, which is read anew each time: a message now
//! and then is not worth the memory.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::judge::Moment;
use crate::wire::{self, Insecure, Patience, Trust, Unconnected, now};

/// When something has to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Moment);

impl Deadline {
    pub fn within(length: Duration) -> Self {
        Self(now() + length)
    }

    /// The same, or sooner: when one of so many shares of what is left is over.
    fn share(self, of: u32) -> Self {
        let now = now();
        Self(now + self.0.since(now) / of.max(1))
    }
}

impl Patience for Deadline {
    fn left(&self) -> Option<Duration> {
        Some(self.0.since(now())).filter(|left| !left.is_zero())
    }
}

/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// A TCP connection that gives up when its time is over.
pub(super) type Patient = wire::Patient<Deadline>;
/// The same, or what became of it in TLS.
pub(super) type Wire = wire::Wire<Patient>;

/// Connects to the first address that takes it, and says which. The resolver has its own time
/// (resolv.conf(5)), which nothing can cut short; what is left is for the rest.
pub(super) fn connect(host: &str, port: u16, deadline: Deadline) -> Result<(Patient, SocketAddr), String> {
    let resolved = (host, port).to_socket_addrs();
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(addresses) => addresses.take(MOST_ADDRESSES).collect(),
        Err(error) => return Err(format!("its host cannot be resolved: {}", plain(&error))),
    };
    let mut why = "its host has no address".to_owned();
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (address, others) in addresses.into_iter().zip((1..=count).rev()) {
        // A silent one must not use up the time of the others.
        match wire::connect(address, &deadline.share(others)) {
            Ok((socket, _)) => {
                let stream = TcpStream::from(socket);
                let _ = stream.set_nodelay(true);
                return Ok((Patient::new(stream, deadline), address));
            }
            Err(error) => why = format!("cannot connect: {}", unconnected(error)),
        }
    }
    Err(why)
}

fn unconnected(error: Unconnected) -> String {
    match error {
        Unconnected::Refused => "connection refused".to_owned(),
        Unconnected::TimedOut => "timed out".to_owned(),
        Unconnected::Broke => "connection reset".to_owned(),
        Unconnected::NoWay(errno) | Unconnected::Failed(errno) => plain(&errno.into()),
    }
}

/// Shakes hands with `host`, which has to prove that it is that. Its name may be a secret, and does not
/// show in what is told of a failure.
pub(super) fn encrypt(stream: Patient, host: &str) -> Result<Wire, String> {
    let (wire, _) = wire::encrypt(stream, host, "the name that is asked", &Trust::SystemAnew);
    wire.map_err(|insecure| match insecure {
        Insecure::Bad(why) | Insecure::Untried(why) => why,
        Insecure::TimedOut => "no answer in time, in the TLS handshake".to_owned(),
    })
}

/// The reason without what the standard library puts around it.
pub(super) fn plain(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed out".to_owned(),
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset".to_owned(),
        ErrorKind::UnexpectedEof => "connection closed".to_owned(),
        _ => {
            let text = error.to_string();
            text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
        }
    }
}
