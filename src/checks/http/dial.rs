//! Connects, and hands the connection to the HTTP client.
//!
//! We connect ourselves, because which address answered, and at which stage it failed, is half of
//! what a check is for. Nothing here is shared between checks: no kept-alive connection, no proxy.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, RustlsConnector};
use ureq::{Agent, Error};

use super::super::pool::Allowance;
use super::line::Line;
use super::{HEADER_LIMIT, url};
use crate::judge::Address;

/// Room for all headers of an answer and a little more, or too many would look like a lost
/// connection.
const INPUT_BUFFER: usize = HEADER_LIMIT + 4096;
/// Room for the whole head of our request.
const OUTPUT_BUFFER: usize = 16 * 1024;

/// A connection that nothing has been sent on yet.
#[derive(Debug)]
pub(super) struct Dialled {
    stream: TcpStream,
    to: SocketAddr,
    tls: bool,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Undialled {
    /// Refused at every address; they are named.
    Refused(String),
    /// No answer to the connection: at that address.
    TimedOut(String),
    /// Broken off while connecting.
    Broke(String),
    /// It could not be tried: the name does not resolve, no route, no free file descriptor.
    Unknown(String),
}

/// Connects to where a URL leads. `localhost` means what `address` says: both loopback addresses,
/// IPv4 first, of which the first that does not refuse is asked.
pub(super) fn dial(uri: &Uri, address: Address, allowance: &Allowance) -> Result<Dialled, Undialled> {
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let addresses = addresses(url::host(uri), port, address)?;
    let mut refused = Vec::new();
    let mut unknown = None;
    for to in addresses {
        let place = to.to_string();
        let Some(left) = allowance.left() else { return Err(Undialled::TimedOut(place)) };
        match TcpStream::connect_timeout(&to, left) {
            // A port of the ephemeral range that nobody listens on may connect to itself.
            Ok(stream) if stream.local_addr().is_ok_and(|from| from == to) => refused.push(place),
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                if let Err(error) = stream.set_nonblocking(true) {
                    return Err(Undialled::Unknown(format!("cannot use the connection to {place}: {error}")));
                }
                return Ok(Dialled { stream, to, tls });
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionRefused => refused.push(place),
                ErrorKind::TimedOut | ErrorKind::WouldBlock => return Err(Undialled::TimedOut(place)),
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => {
                    return Err(Undialled::Broke(format!("is reset while connecting to {place}")));
                }
                _ => unknown = Some(format!("cannot connect to {place}: {error}")),
            },
        }
    }
    match (refused.is_empty(), unknown) {
        (false, _) => Err(Undialled::Refused(refused.join(" and "))),
        (true, Some(text)) => Err(Undialled::Unknown(text)),
        (true, None) => Err(Undialled::Unknown("its host has no address".to_owned())),
    }
}

fn addresses(host: &str, port: u16, address: Address) -> Result<Vec<SocketAddr>, Undialled> {
    let at = |ip: IpAddr| {
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, port)
    };
    if url::is_localhost(host) {
        return Ok(match address {
            Address::Localhost => vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())],
            Address::Ip(ip) => vec![at(ip)],
        });
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![at(ip)]);
    }
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.take(8).collect()),
        Err(error) => Err(Undialled::Unknown(format!("cannot resolve {host}: {error}"))),
    }
}

impl Dialled {
    /// The address that answered, for people.
    pub(super) fn place(&self) -> String {
        self.to.to_string()
    }

    /// A client for one request over this connection.
    pub(super) fn agent(self, allowance: Allowance) -> Agent {
        let config = Agent::config_builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .user_agent(concat!("app-monitor/", env!("CARGO_PKG_VERSION")))
            // Not even an empty Accept-Encoding, which some frameworks stumble over.
            .accept_encoding(AutoHeaderValue::None)
            .max_response_header_size(HEADER_LIMIT)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(0)
            // The client's default is a set of bundled roots, which is not compiled in.
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .build();
        let known = Known(self.to);
        let hand_over = HandOver { stream: Mutex::new(Some(self.stream)), allowance };
        if self.tls {
            Agent::with_parts(config, hand_over.chain(tls()), known)
        } else {
            Agent::with_parts(config, hand_over, known)
        }
    }
}

/// The address is known already.
#[derive(Debug)]
struct Known(SocketAddr);

impl Resolver for Known {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// Gives the client the connection that was made.
struct HandOver {
    stream: Mutex<Option<TcpStream>>,
    allowance: Allowance,
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandOver")
    }
}

impl Connector<()> for HandOver {
    type Out = Line;

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<Line>, Error> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let stream = stream.ok_or(Error::ConnectionFailed)?;
        Ok(Some(Line::new(stream, self.allowance.clone(), INPUT_BUFFER, OUTPUT_BUFFER)))
    }
}

/// TLS with the system's trust store. Loading that takes milliseconds and a megabyte, so it is done
/// once, and only if some check is https.
fn tls() -> Tls {
    static TLS: OnceLock<Arc<RustlsConnector>> = OnceLock::new();
    Tls(Arc::clone(TLS.get_or_init(Arc::default)))
}

#[derive(Debug)]
struct Tls(Arc<RustlsConnector>);

impl Connector<Line> for Tls {
    type Out = <RustlsConnector as Connector<Line>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<Line>,
    ) -> Result<Option<Self::Out>, Error> {
        self.0.connect(details, chained)
    }
}
