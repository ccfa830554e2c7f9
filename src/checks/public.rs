//! The public name: asked as everybody does, and asked of the proxy in front.
//!
//! Responsible for telling the stages apart (resolver, connection, TLS, HTTP), and for how long the
//! certificate holds. What a failure means is the judge's business.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ureq::http::Method;

use super::Probe;
use super::http::url::shown;
use super::http::{Ask, Trouble, Way, behind, port, readable};
use super::pool::Allowance;
use super::sock_diag::Listener;
use super::text::{bounded, length};
use crate::judge::{Detail, Fault, Finding, HttpTarget, Observation};
use crate::wire::{Trust, now};

/// More of the time than this spent in the queue makes a timeout say nothing about the host.
const MAX_WAITED: Duration = Duration::from_millis(250);
/// Addresses of the proxy that are asked.
const MAX_ADDRESSES: usize = 8;

/// Asks for the public name as everybody does.
pub(super) fn check(probe: &Probe, allowance: Allowance) -> Observation {
    let Some(public) = &probe.target.public else {
        return Observation::unknown("no public check is configured");
    };
    ask_publicly(&public.http, allowance, Trust::System)
}

fn ask_publicly(http: &HttpTarget, allowance: Allowance, trust: Trust) -> Observation {
    let (uri, method) = match readable(http) {
        Ok(readable) => readable,
        Err(why) => return Observation::unknown(why),
    };
    let label = format!("{method} {}", shown(&uri));
    let began = now();
    let (way, certificate, quote) = (Way::Public, Cell::new(None), RefCell::default());
    let ask = Ask { http, way, trust, allowance: allowance.clone(), watch: None, certificate, quote };
    let asked = ask.follow(uri, method);
    let took = now().since(began);
    let seen = match asked {
        Ok(good) => good.told(&label, http, took),
        Err(trouble) => {
            let seen = not_good(&label, trouble, &allowance);
            let seen = seen.quoting(ask.quote.take());
            if seen.finding == Finding::Bad(Fault::WrongAnswer) { seen.took(took) } else { seen }
        }
    };
    bounded(match ask.certificate.get() {
        Some(seconds) => seen.with(Detail::Certificate(seconds)),
        None => seen,
    })
}

/// Asks the reverse proxy for the public name at the addresses that it listens on. Any status but those
/// by which it says that nobody answered it is a good one, and any certificate will do: what visitors
/// make of them is the public check's question.
pub(super) fn through_proxy(probe: &Probe, allowance: Allowance) -> Observation {
    let Some(public) = &probe.target.public else {
        return Observation::unknown("no public check is configured");
    };
    let (uri, method) = match readable(&public.http) {
        Ok(readable) => readable,
        Err(why) => return Observation::unknown(why),
    };
    // Nothing is asked that could change something, or that needs a configured token.
    let method = if method == Method::HEAD { Method::HEAD } else { Method::GET };
    let http = HttpTarget { headers: Vec::new(), ..public.http.clone() };
    let label = format!("{method} {} of the proxy", shown(&uri));
    let began = now();
    let port = port(&uri);
    let rows = probe.world.census.listeners(port).unwrap_or_default();
    let group = probe.proxy_group.as_deref().filter(|_| probe.world.has_cgroup_ids());
    let own = |row: &&Listener| {
        group.zip(row.cgroup).is_some_and(|(group, id)| probe.world.cgroup_has_id(group, id))
    };
    let way = Way::To(places(rows.iter().filter(own), port));
    let (trust, certificate, quote) = (Trust::Anyone, Cell::new(None), RefCell::default());
    let ask = Ask { http: &http, way, trust, allowance: allowance.clone(), watch: None, certificate, quote };
    let asked = ask.once(&uri, &method);
    let took = now().since(began);
    bounded(match asked {
        Ok(good) if matches!(good.status, 502..=504) => {
            let text = format!("{label} answers {} on {}", good.status, good.place);
            Observation::bad(Fault::Upstream, text).took(took)
        }
        Ok(good) => {
            let text = format!("{label} answers {} in {} on {}", good.status, length(took), good.place);
            Observation::good(text).took(took)
        }
        // A connection that ends without an answer is none.
        Err(Trouble::Bad(Fault::WrongAnswer, text)) => {
            Observation::bad(Fault::Unanswered, behind(&label, &text))
        }
        Err(trouble) => not_good(&label, trouble, &allowance),
    })
}

fn not_good(label: &str, trouble: Trouble, allowance: &Allowance) -> Observation {
    match trouble {
        Trouble::Bad(Fault::Unanswered, _) if allowance.waited > MAX_WAITED => {
            let text = format!("{label}: no free probe thread for the first {}", length(allowance.waited));
            Observation::unknown(text)
        }
        Trouble::Bad(fault, text) => Observation::bad(fault, behind(label, &text)),
        Trouble::Unresolved(text) => Observation::bad(Fault::Unresolved, format!("{label}: {text}")),
        Trouble::NoWay(text) => Observation::bad(Fault::Unanswered, format!("{label}: {text}")),
        Trouble::Unknown(text) => Observation::unknown(format!("{label}: {text}")),
    }
}

/// Where those listeners are asked; loopback when there is none to be seen.
fn places<'a>(rows: impl Iterator<Item = &'a Listener>, port: u16) -> Vec<SocketAddr> {
    let loopback = [Ipv4Addr::LOCALHOST.into(), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut places: Vec<SocketAddr> = Vec::new();
    for row in rows {
        let ip = match row.address {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V6(_) if row.v6_only => loopback[1],
            _ => loopback[0],
        };
        let place = SocketAddr::new(ip, port);
        if !places.contains(&place) && places.len() < MAX_ADDRESSES {
            places.push(place);
        }
    }
    if places.is_empty() {
        places.extend(loopback.map(|ip| SocketAddr::new(ip, port)));
    }
    // Loopback before what may be an address of a network that is down, and IPv4 first: the kernel tells
    // them in no order.
    places.sort_by_key(|place| (!place.ip().is_loopback(), place.is_ipv6()));
    places
}

#[cfg(test)]
mod tests;
