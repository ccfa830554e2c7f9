//! The HTTP client, over a connection that was made before: which address answered, and at which stage it
//! failed, is known to whoever made it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{LazyLock, Mutex, PoisonError};

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout};
use ureq::{Agent, Error};

use super::line::{Line, Stream, Wire};

/// Headers of an answer in all.
pub(crate) const HEADER_LIMIT: usize = 32 * 1024;
/// Room beside them, or too many of them would look like a lost connection.
const BESIDE: usize = 4096;

/// Made once: whoever makes one looks first what the environment says about a proxy, which is asked for
/// nothing here.
static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .user_agent(concat!("app-monitor/", env!("CARGO_PKG_VERSION")))
        // Not even an empty Accept-Encoding, which some frameworks stumble over.
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(HEADER_LIMIT)
        .max_idle_connections(0)
        .build()
});

/// A client for one request over `wire`, which leads to that address; the head of the request has `head`
/// bytes at most. It follows no redirect, takes any status for an answer, and adds nothing to the request
/// but `User-Agent`, `Accept` and what the protocol wants.
pub(crate) fn client<S: Stream>(wire: Wire<S>, to: SocketAddr, head: usize) -> Agent {
    let hand_over = HandOver(Mutex::new(Some(Line::new(wire, HEADER_LIMIT + BESIDE, head))));
    Agent::with_parts(CONFIG.clone(), hand_over, Known(to))
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
struct HandOver<S: Stream>(Mutex<Option<Line<S>>>);

impl<S: Stream> fmt::Debug for HandOver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandOver")
    }
}

impl<S: Stream> Connector<()> for HandOver<S> {
    type Out = Line<S>;

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<Line<S>>, Error> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        line.map(Some).ok_or(Error::ConnectionFailed)
    }
}
