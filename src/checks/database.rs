//! Whether the database accepts connections, asked in its own protocol without logging in.
//!
//! One short question over a connection of its own, and the connection is closed. Not responsible for
//! what the app may do there: a server that asks for a password, or refuses our name, accepts. An
//! answer that cannot be read, a name that cannot be resolved and a lack of permission of ours are
//! unknown.

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod mongodb;
mod mysql;
mod postgresql;
mod redis;
mod wire;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use rustix::net::SocketAddrUnix;

use super::Probe;
use super::pool::Allowance;
use super::text::{bounded, clean, length};
use crate::judge::{DatabasePlace, DatabaseProtocol, DatabaseTarget, Fault, Observation};
use crate::wire::now;

use wire::{Broken, Wire};

/// Places, and addresses of each, that are asked.
const MOST_PLACES: usize = 8;
/// More of the time than this spent in the queue makes a timeout say nothing about the server.
const MAX_WAITED: Duration = Duration::from_millis(250);

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Answer {
    /// It accepts connections.
    Accepts,
    /// It does not; the words go behind "does not accept connections: ".
    Down(String),
    /// It cannot be told; the words go behind "cannot tell whether it accepts connections: ".
    Unknown(String),
}

impl From<Broken> for Answer {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused | Broken::Lost(_) | Broken::Unanswered => Self::Down(broken.to_string()),
            Broken::Unable(_) => Self::Unknown(broken.to_string()),
        }
    }
}

/// Asks the places in their order, until one accepts.
pub(super) fn check(probe: &Probe, allowance: Allowance) -> Observation {
    let Some(target) = &probe.target.database else {
        return Observation::unknown("no database is configured");
    };
    bounded(ask_all(target, &allowance.at_most(target.timeout)))
}

fn ask_all(target: &DatabaseTarget, allowance: &Allowance) -> Observation {
    let name = name(target.protocol);
    let began = now();
    let (mut down, mut unknown): (Vec<String>, Vec<String>) = Default::default();
    let count = target.places.len().min(MOST_PLACES);
    for (i, place) in target.places.iter().take(MOST_PLACES).enumerate() {
        let shown = shown(place);
        match ask_place(target, place, &share(allowance, count - i)) {
            Answer::Accepts => {
                let how = if target.tls {
                    "takes connections (TLS, not asked further)"
                } else {
                    "accepts connections"
                };
                let took = length(now().since(began));
                return Observation::good(format!("{name} at {shown} {how} in {took}"));
            }
            Answer::Down(why) => down.push(format!("at {shown} does not accept connections: {why}")),
            Answer::Unknown(why) => unknown.push(format!("at {shown} cannot be asked: {why}")),
        }
    }
    if let Some(first) = unknown.first() {
        return Observation::unknown(format!("{name} {first}"));
    }
    if down.is_empty() {
        return Observation::unknown("the database has no place to be asked at");
    }
    if allowance.waited > MAX_WAITED && allowance.left().is_none() {
        let text = format!("{name}: no free probe thread for the first {}", length(allowance.waited));
        return Observation::unknown(text);
    }
    Observation::bad(Fault::DatabaseDown, format!("{name} {}", down.join("; ")))
}

/// An even part of what is left, for the next of `count`.
fn share(allowance: &Allowance, count: usize) -> Allowance {
    let mut part = allowance.clone();
    if let (Some(left), Ok(count @ 2..)) = (allowance.left(), u32::try_from(count)) {
        part.until = part.until - (left - left / count);
    }
    part
}

/// Asks at each address of a place, until one accepts.
fn ask_place(target: &DatabaseTarget, place: &DatabasePlace, allowance: &Allowance) -> Answer {
    let addresses = match place {
        DatabasePlace::Socket(path) => {
            let wire = SocketAddrUnix::new(path.as_path())
                .map_err(|_| Broken::Unable("its path is too long for a socket".to_owned()))
                .and_then(|address| Wire::to_socket(&address, allowance.clone()));
            return ask(target, wire);
        }
        DatabasePlace::Host(host, port) => match addresses(host, *port) {
            Ok(addresses) => addresses,
            Err(why) => return Answer::Unknown(why),
        },
    };
    let count = addresses.len();
    let mut unlike: Option<Answer> = None;
    for (i, address) in addresses.into_iter().enumerate() {
        match ask(target, Wire::to_address(address, share(allowance, count - i))) {
            Answer::Accepts => return Answer::Accepts,
            // A host without IPv6 cannot be asked there, which says nothing.
            answer @ Answer::Down(_) if !matches!(unlike, Some(Answer::Down(_))) => unlike = Some(answer),
            answer => unlike = unlike.or(Some(answer)),
        }
    }
    unlike.unwrap_or_else(|| Answer::Unknown("its host has no address".to_owned()))
}

fn ask(target: &DatabaseTarget, wire: Result<Wire, Broken>) -> Answer {
    let asked = wire.and_then(|wire| match target.protocol {
        _ if target.tls => Ok(Answer::Accepts),
        DatabaseProtocol::Tcp => Ok(Answer::Accepts),
        DatabaseProtocol::PostgreSql => postgresql::ask(wire),
        DatabaseProtocol::MySql => mysql::ask(wire),
        DatabaseProtocol::Redis => redis::ask(wire),
        DatabaseProtocol::MongoDb => mongodb::ask(wire),
    });
    asked.unwrap_or_else(Answer::from)
}

/// `localhost` is both loopback addresses, whatever the resolver says of it.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let at = |ip: IpAddr| SocketAddr::new(ip, port);
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Ok(vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]);
    }
    let plain = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = plain.parse::<IpAddr>() {
        return Ok(vec![at(ip)]);
    }
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.take(MOST_PLACES).collect()),
        Err(error) => Err(format!("cannot resolve its name: {error}")),
    }
}

fn name(protocol: DatabaseProtocol) -> &'static str {
    match protocol {
        DatabaseProtocol::PostgreSql => "PostgreSQL",
        DatabaseProtocol::MySql => "MySQL",
        DatabaseProtocol::Redis => "Redis",
        DatabaseProtocol::MongoDb => "MongoDB",
        DatabaseProtocol::Tcp => "database",
    }
}

fn shown(place: &DatabasePlace) -> String {
    match place {
        DatabasePlace::Host(host, port) if host.contains(':') && !host.starts_with('[') => {
            format!("[{}]:{port}", clean(host, 60))
        }
        DatabasePlace::Host(host, port) => format!("{}:{port}", clean(host, 60)),
        DatabasePlace::Socket(path) => clean(&path.display().to_string(), 80),
    }
}

/// What a server says of itself, for people.
fn quoted(bytes: &[u8]) -> String {
    clean(&String::from_utf8_lossy(bytes), 80)
}

/// An answer that is none of that protocol.
fn strange(protocol: DatabaseProtocol) -> Answer {
    Answer::Unknown(format!("what answers there does not speak as {} does", name(protocol)))
}

#[cfg(test)]
mod tests;
