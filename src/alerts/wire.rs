//! A connection to whoever is told, in clear or in TLS, every wait of which ends with one deadline.
//!
//! Proxies that the environment names are not used: what goes out goes there itself. Certificates are
//! verified against the system's trust store, which is read anew each time: a message now and then is not
//! worth the memory.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::Verifier;

use crate::judge::Moment;

use super::clock;

/// When something has to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Moment);

impl Deadline {
    pub fn within(length: Duration) -> Self {
        Self(clock::now() + length)
    }

    /// What is left of it.
    pub fn left(self) -> io::Result<Duration> {
        let left = self.0.since(clock::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;

/// A TCP connection that gives up when its time is over.
#[derive(Debug)]
pub(super) struct Patient {
    stream: TcpStream,
    deadline: Deadline,
}

/// Connects to the first address that takes it. The resolver has its own time (resolv.conf(5)), which
/// nothing can cut short; what is left is for the rest.
pub(super) fn connect(host: &str, port: u16, deadline: Deadline) -> Result<Patient, String> {
    let resolved = (host, port).to_socket_addrs();
    let addresses: Vec<SocketAddr> = match resolved {
        Ok(addresses) => addresses.take(MOST_ADDRESSES).collect(),
        Err(error) => return Err(format!("its host cannot be resolved: {}", plain(&error))),
    };
    let mut why = "its host has no address".to_owned();
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (address, others) in addresses.into_iter().zip((1..=count).rev()) {
        let connected = deadline.left().and_then(|left| {
            // A silent one must not use up the time of the others.
            TcpStream::connect_timeout(&address, (left / others).max(Duration::from_millis(1)))
        });
        match connected {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(Patient { stream, deadline });
            }
            Err(error) => why = format!("cannot connect: {}", plain(&error)),
        }
    }
    Err(why)
}

impl Patient {
    /// Where it leads to.
    pub fn address(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap_or_else(|_| SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0))
    }
}

/// A timeout of a socket is told as one that would block.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.deadline.left()?))?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.deadline.left()?))?;
        self.stream.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What goes over the wire.
pub(super) enum Wire {
    /// As it is.
    Clear(Patient),
    /// In TLS, past its handshake.
    Tls(Box<StreamOwned<ClientConnection, Patient>>),
}

/// Shakes hands with `host`, which has to prove that it is that.
pub(super) fn encrypt(mut stream: Patient, host: &str) -> Result<Wire, String> {
    let cannot = |error: rustls::Error| format!("TLS cannot be set up: {error}");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
        .map_err(|_| "its host is no name that TLS knows".to_owned())?;
    let verifier = Verifier::new(Arc::clone(&provider)).map_err(cannot)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(cannot)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(cannot)?;
    match connection.complete_io(&mut stream) {
        Ok(_) => Ok(Wire::Tls(Box::new(StreamOwned::new(connection, stream)))),
        Err(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            Err(match inner {
                // A certificate for others names these, and so tells of whom it was asked.
                Some(rustls::Error::InvalidCertificate(
                    rustls::CertificateError::NotValidForNameContext { .. },
                )) => "TLS handshake fails: the certificate is for another name".to_owned(),
                Some(error) => format!("TLS handshake fails: {error}"),
                None => format!("TLS handshake fails: {}", plain(&error)),
            })
        }
    }
}

impl Read for Wire {
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

impl Write for Wire {
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
