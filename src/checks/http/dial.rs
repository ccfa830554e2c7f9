//! Connects to where a URL leads.
//!
//! We connect ourselves, because which address answered, and at which stage it failed, is half of
//! what a check is for. Nothing here is shared between checks: no kept-alive connection, no proxy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;

use super::super::pool::Allowance;
use super::super::resolve::{Unresolved, resolve};
use super::super::text::clean;
use super::silence::Watch;
use super::url;
use crate::judge::Address;
use crate::wire::{Insecure, LOOK, Patience, Patient, Trust, Unconnected, Wire, client, connect, encrypt};

/// The way to the host of a URL.
#[derive(Clone, Debug)]
pub(in crate::checks) enum Way {
    /// `localhost` is what that says: both loopback addresses, IPv4 first, of which the first that does
    /// not refuse is asked.
    App(Address),
    /// As everybody goes: whatever its name resolves to.
    Public,
    /// Whatever its name, these are asked: the first that does not refuse.
    To(Vec<SocketAddr>),
}

/// A check that waits: for as long as it may, and watching the app meanwhile.
#[derive(Debug)]
struct Attentive {
    allowance: Allowance,
    watch: Option<Watch>,
}

impl Patience for Attentive {
    fn left(&self) -> Option<Duration> {
        self.allowance.left()
    }

    fn turn(&self) -> Duration {
        self.watch.as_ref().map_or(LOOK, Watch::turn)
    }
}

/// A connection that nothing has been sent on yet.
#[derive(Debug)]
pub(super) struct Dialled {
    stream: TcpStream,
    to: SocketAddr,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Undialled {
    /// The name has no address.
    Unresolved(String),
    /// Refused at every address; they are named.
    Refused(String),
    /// No answer to the connection: at that address.
    TimedOut(String),
    /// Broken off while connecting.
    Broke(String),
    /// There is no way to any address.
    NoWay(String),
    /// It could not be tried: no free file descriptor.
    Unknown(String),
}

/// Connects to where a URL leads.
pub(super) fn dial(
    uri: &Uri,
    way: &Way,
    allowance: &Allowance,
    watch: Option<&Watch>,
) -> Result<Dialled, Undialled> {
    let port = port(uri);
    let addresses = addresses(url::host(uri), port, way, allowance)?;
    let (mut refused, mut silent) = (Vec::new(), Vec::new());
    let (mut broke, mut no_way, mut unknown) = (None, None, None);
    let count = addresses.len();
    for (i, to) in addresses.into_iter().enumerate() {
        let place = to.to_string();
        // A health check has one place; of a public name's addresses, a silent one must not use up the
        // time of the others.
        let share = match way {
            Way::App(_) => allowance.clone(),
            Way::Public | Way::To(_) => allowance.clone().part(1, (count - i) as u32),
        };
        if let Some(watch) = watch {
            watch.aim(to);
        }
        match connect(to, &Attentive { allowance: share, watch: watch.cloned() }) {
            Ok((socket, from)) => {
                if let Some(watch) = watch {
                    watch.connected(from);
                }
                return Ok(Dialled { stream: socket.into(), to });
            }
            Err(Unconnected::Refused) => refused.push(place),
            Err(Unconnected::TimedOut) => {
                silent.push(place);
                if matches!(way, Way::App(_)) {
                    break;
                }
            }
            Err(Unconnected::Broke) => {
                broke = Some(format!("is reset while connecting to {place}"));
                if matches!(way, Way::App(_)) {
                    break;
                }
            }
            Err(Unconnected::NoWay(errno)) => no_way = Some(format!("cannot connect to {place}: {errno}")),
            Err(Unconnected::Failed(errno)) => unknown = Some(format!("cannot connect to {place}: {errno}")),
        }
    }
    Err(if !silent.is_empty() {
        Undialled::TimedOut(silent.join(" and "))
    } else if let Some(text) = broke {
        Undialled::Broke(text)
    } else if !refused.is_empty() {
        Undialled::Refused(refused.join(" and "))
    } else if let Some(text) = no_way {
        Undialled::NoWay(text)
    } else {
        Undialled::Unknown(unknown.unwrap_or_else(|| "its host has no address".to_owned()))
    })
}

/// The port of a URL.
pub(in crate::checks) fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if is_encrypted(uri) { 443 } else { 80 })
}

fn is_encrypted(uri: &Uri) -> bool {
    uri.scheme_str().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

fn addresses(host: &str, port: u16, way: &Way, allowance: &Allowance) -> Result<Vec<SocketAddr>, Undialled> {
    let at = |ip: IpAddr| {
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, port)
    };
    if let Way::To(addresses) = way {
        return Ok(addresses.clone());
    }
    if url::is_localhost(host) {
        return Ok(match way {
            Way::App(Address::Ip(ip)) => vec![at(*ip)],
            _ => vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())],
        });
    }
    // Two resolvers of which the first is silent answer after 5 s (resolv.conf(5)); the rest of the
    // time is for the rest of the check.
    let share = allowance.clone().part(3, 4);
    let found = resolve(host, port, &share);
    match found {
        Ok(found) => Ok(found.into_iter().map(|to| at(to.ip())).collect()),
        Err(Unresolved::Untried(why)) => Err(Undialled::Unknown(format!("cannot resolve {host}: {why}"))),
        Err(error) => Err(Undialled::Unresolved(format!("cannot resolve {host}: {error}"))),
    }
}

impl Dialled {
    /// One that somebody else has made.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn over(stream: TcpStream, to: SocketAddr) -> Self {
        Self { stream, to }
    }

    /// The address that answered, for people.
    pub(super) fn place(&self) -> String {
        self.to.to_string()
    }

    /// A client for one request over this connection, after the handshake if the URL wants TLS; the head
    /// of the request has `head` bytes at most. The second is how long the certificate still holds, if
    /// one was shown.
    pub(super) fn agent(
        self,
        uri: &Uri,
        head: usize,
        trust: &Trust,
        allowance: Allowance,
        watch: Option<Watch>,
    ) -> (Result<Agent, Insecure>, Option<i64>) {
        let stream = self.stream;
        let patience = Attentive { allowance, watch };
        if !is_encrypted(uri) {
            return (Ok(client(Wire::Clear(Patient::new(stream, patience)), self.to, head)), None);
        }
        // The request follows the end of the handshake, and must not wait until that has arrived. In
        // clear it is the first and only thing that is sent.
        let _ = stream.set_nodelay(true);
        let host = url::host(uri);
        let (wire, remaining) = encrypt(Patient::new(stream, patience), host, &clean(host, 60), trust);
        (wire.map(|wire| client(wire, self.to, head)), remaining)
    }
}
