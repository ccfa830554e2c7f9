//! Names to addresses, as every program on this host does it: getaddrinfo(3), with /etc/hosts and
//! whatever nsswitch.conf(5) says besides DNS.
//!
//! It can neither be given a deadline nor be called back, so it runs in a thread of its own, of
//! which there are few at a time.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::time::Duration;

use super::pool::{Allowance, Limits, Missed, Pool};
use super::text::length;

/// Names that are looked up at a time. A thread is stuck for as long as resolv.conf(5) allows: 10 s
/// for each name server that is silent.
const MAX_LOOKUPS: usize = 16;
/// Addresses of a name that are used.
const MAX_ADDRESSES: usize = 8;

/// Why a name has no address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unresolved {
    /// There is no such name (NXDOMAIN), or it has no address.
    NoSuchName,
    /// The resolver does not answer: it said so, or was silent for that long.
    Silent(Option<Duration>),
    /// The resolver answered with an error.
    Failed(String),
    /// It could not be asked.
    Untried(&'static str),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => f.write_str("no such name"),
            Self::Silent(Some(after)) => write!(f, "the resolver did not answer within {}", length(*after)),
            Self::Silent(None) => f.write_str("the resolver does not answer"),
            Self::Failed(text) => f.write_str(text),
            Self::Untried(why) => f.write_str(why),
        }
    }
}

/// The addresses of a host, eight at most, in the order in which they should be tried.
pub(super) fn resolve(host: &str, port: u16, allowance: &Allowance) -> Result<Vec<SocketAddr>, Unresolved> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    resolve_by(host.to_owned(), allowance, lookups(), move |host| {
        (host, port).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect())
    })
}

/// The threads in which names are looked up: kept for a while, since starting one for each lookup costs
/// more than most lookups.
fn lookups() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    // glibc's resolver and its modules take some 100 KiB of stack.
    let limits = Limits {
        threads: MAX_LOOKUPS,
        queue: MAX_LOOKUPS,
        stack: 256 * 1024,
        name: "resolve",
        ..Limits::default()
    };
    POOL.get_or_init(|| Pool::new(limits))
}

fn resolve_by(
    host: String,
    allowance: &Allowance,
    pool: &Pool,
    lookup: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, Unresolved> {
    match pool.run_blocking(allowance, move || lookup(&host)) {
        Ok(Ok(found)) if found.is_empty() => Err(Unresolved::NoSuchName),
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(explain(&error)),
        Err(Missed::Overdue(whole)) => Err(Unresolved::Silent(Some(whole))),
        Err(Missed::NoThread(_) | Missed::Full) => {
            Err(Unresolved::Untried("no thread is free to look it up"))
        }
        Err(Missed::Broken) => Err(Unresolved::Untried("the lookup broke off")),
    }
}

/// The standard library keeps no code of getaddrinfo(3), only the words of gai_strerror(3), which are
/// English for whoever never calls setlocale(3), as we do not.
fn explain(error: &io::Error) -> Unresolved {
    let text = error.to_string();
    let text = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
    match text {
        "Name or service not known" | "No address associated with hostname" => Unresolved::NoSuchName,
        // EAI_AGAIN: no name server answered in time, none can be reached, or one answered SERVFAIL.
        "Temporary failure in name resolution" => Unresolved::Silent(None),
        text => Unresolved::Failed(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn allowance(millis: u64) -> Allowance {
        Allowance::starting_now(Duration::from_millis(millis))
    }

    #[test]
    fn addresses_need_no_resolver() {
        let at = |host| resolve(host, 80, &allowance(100)).unwrap();
        assert_eq!(at("192.0.2.1"), ["192.0.2.1:80".parse().unwrap()]);
        assert_eq!(at("2001:db8::1"), ["[2001:db8::1]:80".parse().unwrap()]);
    }

    #[test]
    fn a_silent_resolver_and_a_name_that_is_none_are_told_apart() {
        let (release, hold) = mpsc::channel::<()>();
        let silent = resolve_by("a.example".to_owned(), &allowance(60), lookups(), move |_| {
            let _ = hold.recv();
            Ok(Vec::new())
        });
        let Err(Unresolved::Silent(Some(after))) = silent else { panic!("{silent:?}") };
        assert!(after <= Duration::from_millis(60));
        drop(release);
        for (text, seen) in [
            ("Name or service not known", Unresolved::NoSuchName),
            ("Temporary failure in name resolution", Unresolved::Silent(None)),
            ("Bad luck", Unresolved::Failed("Bad luck".to_owned())),
        ] {
            let failed = resolve_by("a.example".to_owned(), &allowance(1000), lookups(), move |_| {
                Err(io::Error::other(format!("failed to lookup address information: {text}")))
            });
            assert_eq!(failed, Err(seen));
        }
        let none = resolve_by("a.example".to_owned(), &allowance(1000), lookups(), |_| Ok(Vec::new()));
        assert_eq!(none, Err(Unresolved::NoSuchName));
    }

    #[test]
    fn lookups_are_bounded_and_their_threads_come_back() {
        let pool = Pool::new(Limits { threads: 1, queue: 1, ..Limits::default() });
        let (release, hold) = mpsc::channel::<()>();
        let stuck = resolve_by("a.example".to_owned(), &allowance(30), &pool, move |_| {
            let _ = hold.recv();
            Ok(Vec::new())
        });
        assert!(matches!(stuck, Err(Unresolved::Silent(Some(_)))), "{stuck:?}");
        let found = |within| {
            let address = vec!["192.0.2.1:80".parse().unwrap()];
            resolve_by("b.example".to_owned(), &allowance(within), &pool, move |_| Ok(address))
        };
        assert!(matches!(found(30), Err(Unresolved::Untried(_))));
        drop(release);
        // The one that nobody waits for any more is still in the queue, and through in no time.
        let again = (0..500).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            found(1000).ok()
        });
        assert_eq!(again.map(|found| found.len()), Some(1));
    }
}
