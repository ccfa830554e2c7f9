//! Whether the network out is there.
//!
//! Anybody who answers proves it, with a refusal as well as with anything else. All are asked at the
//! same time, so that one that is silent costs no other its time.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};

use super::Probe;
use super::neighbours::{Gateway, gateways, heard};
use super::pool::Allowance;
use super::resolve::resolve;
use super::text::{bounded, clean, length};
use super::world::World;
use crate::judge::{Fault, Observation};
use crate::wire::{LOOK, Unconnected, begin, socket};

/// Targets that are asked, and addresses in all.
const MAX_TARGETS: usize = 16;
const MAX_CALLS: usize = 64;
/// A resolver's port, and one that gateways mostly refuse.
const DOMAIN: u16 = 53;
/// A question for the name servers of the root, which every resolver answers somehow (RFC 1035, 4.1):
/// id, recursion desired, one question, `.` NS IN.
const QUESTION: [u8; 17] = [0x4d, 0x6f, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// Asks the configured targets, or the resolvers and the default gateways of this host.
pub(super) fn check(probe: &Probe, allowance: Allowance) -> Observation {
    bounded(match &probe.target.egress {
        Some(targets) => ask_targets(targets, &allowance),
        None => ask_neighbourhood(&probe.world, &allowance),
    })
}

fn ask_targets(targets: &[(String, u16)], allowance: &Allowance) -> Observation {
    let targets = &targets[..targets.len().min(MAX_TARGETS)];
    if targets.is_empty() {
        return Observation::unknown("no target is configured");
    }
    let mut calls = Calls::default();
    let mut names = Vec::new();
    for (host, port) in targets {
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => calls.connect(SocketAddr::new(ip, *port), format!("{host}:{port}")),
            Err(_) => names.push((host, *port)),
        }
    }
    // Addresses that answer make it needless to resolve anything.
    let part = if names.is_empty() { allowance.clone() } else { allowance.clone().part(1, 4) };
    let mut answered = if calls.open.is_empty() { None } else { calls.first(&part, &mut || None) };
    let mut nameless = Vec::new();
    for (i, (host, port)) in names.iter().enumerate() {
        if answered.is_some() {
            break;
        }
        let left = u32::try_from(names.len() - i).unwrap_or(u32::MAX);
        let whole = allowance.clone().part(1, left);
        match resolve(host, *port, &whole.clone().part(1, 2)) {
            Ok(found) => {
                found.into_iter().for_each(|to| calls.connect(to, format!("{host}:{port}")));
                answered = calls.first(&whole, &mut || None);
            }
            Err(error) => nameless.push(format!("{host}: {error}")),
        }
    }
    match answered {
        Some(who) => Observation::good(format!("the network is there: {who}")),
        None => {
            let all: Vec<String> = targets.iter().map(|(host, port)| format!("{host}:{port}")).collect();
            let why = if nameless.is_empty() { String::new() } else { format!(" ({})", nameless.join("; ")) };
            unreachable(&all, &why, allowance)
        }
    }
}

fn ask_neighbourhood(world: &World, allowance: &Allowance) -> Observation {
    let (resolvers, gateways) = (resolvers(world), gateways(world));
    if resolvers.is_empty() && gateways.is_empty() {
        return Observation::unknown("neither a resolver nor a default gateway is known to ask");
    }
    let mut calls = Calls::default();
    for ip in &resolvers {
        let to = SocketAddr::new(*ip, DOMAIN);
        calls.send(to, format!("resolver {ip}"));
        calls.connect(to, format!("resolver {ip}"));
    }
    for gateway in &gateways {
        // What it does with it matters less than that the kernel has to look for it.
        calls.send(gateway.at(DOMAIN), format!("gateway {}", gateway.ip));
        calls.connect(gateway.at(DOMAIN), format!("gateway {}", gateway.ip));
    }
    let mut look = || heard(&gateways).map(|gateway| format!("gateway {} is heard", gateway.ip));
    match calls.first(allowance, &mut look) {
        Some(who) => Observation::good(format!("the network is there: {who}")),
        None => {
            let gateway = |gateway: &Gateway| format!("gateway {}", gateway.ip);
            let mut all: Vec<String> = resolvers.iter().map(|ip| format!("resolver {ip}")).collect();
            all.extend(gateways.iter().map(gateway));
            unreachable(&all, "", allowance)
        }
    }
}

fn unreachable(all: &[String], why: &str, allowance: &Allowance) -> Observation {
    let all: Vec<String> = all.iter().map(|name| clean(name, 60)).collect();
    let text = format!("no answer within {} from {}{why}", length(allowance.whole), all.join(", "));
    Observation::bad(Fault::Unreachable, text)
}

/// The name servers of this host that are not this host itself: a resolver on loopback answers
/// whatever the network does, so its own servers are asked, where systemd-resolved tells them.
fn resolvers(world: &World) -> Vec<IpAddr> {
    let of = |path: &str| -> Vec<IpAddr> {
        let bytes = world.read(&world.path(path), 64 * 1024).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let servers = text.lines().filter_map(|line| {
            let (key, value) = line.trim().split_once([' ', '\t'])?;
            // A scope behind the address is of no use without its interface.
            (key == "nameserver").then(|| value.trim().parse::<IpAddr>().ok())?
        });
        servers.filter(|ip| !ip.to_canonical().is_loopback() && !ip.is_unspecified()).take(3).collect()
    };
    let found = of("etc/resolv.conf");
    if found.is_empty() { of("run/systemd/resolve/resolv.conf") } else { found }
}

/// Those that were called and have not answered yet.
#[derive(Default)]
struct Calls {
    open: Vec<(OwnedFd, SocketType, String)>,
    answered: Option<String>,
}

impl Calls {
    /// Begins to connect to that address.
    fn connect(&mut self, to: SocketAddr, name: String) {
        self.call(to, SocketType::STREAM, name, |_| Ok(()));
    }

    /// Sends a question of the DNS to that address.
    fn send(&mut self, to: SocketAddr, name: String) {
        self.call(to, SocketType::DGRAM, name, |socket| {
            send(socket, &QUESTION, SendFlags::NOSIGNAL).map(drop)
        });
    }

    fn call(
        &mut self,
        to: SocketAddr,
        kind: SocketType,
        name: String,
        then: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
    ) {
        if self.open.len() >= MAX_CALLS {
            return;
        }
        let Ok(socket) = socket(to, kind) else { return };
        match begin(&socket, to).and_then(|done| then(&socket).map(|()| done)) {
            Ok(true) if kind == SocketType::STREAM => self.answered = Some(format!("{name} answers")),
            Err(Errno::CONNREFUSED) => self.answered = Some(format!("{name} refuses, so it is there")),
            Ok(_) => self.open.push((socket, kind, name)),
            Err(_) => {}
        }
    }

    /// Waits for the first that answers, refusals included. `look` is asked now and then for another
    /// proof.
    fn first(&mut self, allowance: &Allowance, look: &mut dyn FnMut() -> Option<String>) -> Option<String> {
        loop {
            if let Some(who) = self.answered.take().or_else(&mut *look) {
                return Some(who);
            }
            if self.open.is_empty() {
                return None;
            }
            let left = Timespec::try_from(allowance.left()?.min(LOOK)).ok()?;
            let flags = |kind| if kind == SocketType::STREAM { PollFlags::OUT } else { PollFlags::IN };
            let mut polled: Vec<_> =
                self.open.iter().map(|(socket, kind, _)| PollFd::new(socket, flags(*kind))).collect();
            if poll(&mut polled, Some(&left)).is_err_and(|errno| errno != Errno::INTR) {
                return None;
            }
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let mut ready = ready.into_iter();
            let mut answered = None;
            self.open.retain(|(socket, kind, name)| {
                if !ready.next().unwrap_or_default() {
                    return true;
                }
                let outcome = if *kind == SocketType::STREAM {
                    rustix::net::sockopt::socket_error(socket).and_then(|outcome| outcome)
                } else {
                    recv(socket, &mut [0u8; 512], RecvFlags::empty()).map(drop)
                };
                match outcome.map_err(Unconnected::from) {
                    Ok(()) => answered = Some(format!("{name} answers")),
                    Err(Unconnected::Refused) => answered = Some(format!("{name} refuses, so it is there")),
                    Err(_) => {}
                }
                false
            });
            self.answered = answered;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::time::Duration;

    use super::super::tests::lonely;
    use super::super::world::tests::Fake;
    use super::*;
    use crate::judge::Finding;

    fn soon() -> Allowance {
        Allowance::starting_now(Duration::from_millis(300))
    }

    /// A listener whose queue is full: it neither answers nor refuses.
    fn deaf() -> (TcpListener, std::net::TcpStream) {
        let any = rustix::net::AddressFamily::INET;
        let socket = rustix::net::socket(any, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddrV4>().unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let filler = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, filler)
    }

    fn target(at: SocketAddr) -> (String, u16) {
        (at.ip().to_string(), at.port())
    }

    #[test]
    fn anybody_who_answers_proves_it() {
        let (deaf, _filler) = deaf();
        let listener = lonely("127.0.0.1");
        let there = target(listener.local_addr().unwrap());
        let silent = target(deaf.local_addr().unwrap());
        let seen = ask_targets(&[silent.clone(), there.clone()], &soon());
        assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
        assert_eq!(seen.text, format!("the network is there: {}:{} answers", there.0, there.1));
        drop(listener);
        let seen = ask_targets(&[silent.clone(), there], &soon());
        assert!(seen.finding == Finding::Good && seen.text.contains(" refuses"), "{}", seen.text);
        let localhost = ("localhost".to_owned(), lonely("127.0.0.1").local_addr().unwrap().port());
        let seen = ask_targets(&[silent.clone(), localhost], &soon());
        assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
        let seen = ask_targets(std::slice::from_ref(&silent), &soon());
        assert_eq!(seen.finding, Finding::Bad(Fault::Unreachable), "{}", seen.text);
        assert_eq!(seen.text, format!("no answer within 300 ms from {}:{}", silent.0, silent.1));
        assert_eq!(ask_targets(&[], &soon()).finding, Finding::Unknown);
    }

    #[test]
    fn a_resolver_is_asked_its_own_question() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let mut question = [0; 64];
            let (length, from) = server.recv_from(&mut question).unwrap();
            assert_eq!(question[..length], QUESTION);
            server.send_to(&question[..length], from).unwrap();
        });
        let mut calls = Calls::default();
        calls.send(to, "resolver".into());
        assert_eq!(calls.first(&soon(), &mut || None).as_deref(), Some("resolver answers"));
        answering.join().unwrap();
        // Its port is closed now, which the host itself tells.
        calls.send(to, "resolver".into());
        assert_eq!(calls.first(&soon(), &mut || None).as_deref(), Some("resolver refuses, so it is there"));
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        calls.send(silent.local_addr().unwrap(), "resolver".into());
        assert_eq!(calls.first(&soon(), &mut || None), None);
    }

    #[test]
    fn a_resolver_on_loopback_proves_nothing() {
        let fake = Fake::new();
        fake.file("etc/resolv.conf", "# stub\nnameserver 127.0.0.53\noptions edns0\n");
        assert_eq!(resolvers(&fake.world), [] as [IpAddr; 0]);
        let seen = ask_neighbourhood(&fake.world, &soon());
        assert_eq!(seen.finding, Finding::Unknown, "{}", seen.text);
        fake.file("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\nnameserver\t2001:db8::53\n");
        let both: [IpAddr; 2] = ["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        assert_eq!(resolvers(&fake.world), both);
        fake.file("etc/resolv.conf", "nameserver 198.51.100.1\n");
        assert_eq!(resolvers(&fake.world), ["198.51.100.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn nobody_there() {
        let fake = Fake::new();
        // TEST-NET-1 (RFC 5737): nobody answers for it, or there is no way to it.
        fake.file("etc/resolv.conf", "nameserver 192.0.2.253\n");
        let seen = ask_neighbourhood(&fake.world, &soon());
        assert_eq!(seen.finding, Finding::Bad(Fault::Unreachable), "{}", seen.text);
        assert_eq!(seen.text, "no answer within 300 ms from resolver 192.0.2.253");
    }
}
