//! The local health check: one request over a connection of its own, followed through redirects
//! on the same host, compared with what is expected; and the asking itself, which the checks of the
//! public name share.
//!
//! Blocking; runs in the pool. Environment variables like `http_proxy` are ignored altogether: what
//! is asked is the app, its proxy and its public name, never somebody who asks for us.

mod dial;
mod expect;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
pub(super) mod look;
mod silence;
pub(super) mod url;

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::time::Duration;

use ureq::http::{Method, Response, Uri, header};
use ureq::{Body, Error};

use super::Probe;
use super::pool::Allowance;
use super::text::{bounded, clean, length};
use crate::judge::{Fault, HttpTarget, Observation};
use crate::wire::{HEADER_LIMIT, Insecure, Trust, now};

use dial::{Dialled, Undialled};
use silence::Watch;

pub(super) use dial::{Way, port};

/// So much of a body is read; expectations are checked against it. A larger body is fine unless
/// JSON is expected.
const BODY_LIMIT: usize = 64 * 1024;
/// What the client adds to the head of a request: the method, `HTTP/1.1`, Accept, User-Agent and such.
const OWN_HEAD: usize = 1024;
/// Redirects that are followed (CONTRACT, `status`).
const MAX_REDIRECTS: usize = 5;
/// More of the time than this spent in the queue makes a timeout say nothing about the app.
const MAX_WAITED: Duration = Duration::from_millis(250);

/// Asks the app.
pub(super) fn check(probe: &Probe, allowance: Allowance) -> Observation {
    let Some(http) = &probe.target.http else {
        return Observation::unknown("no health check is configured");
    };
    let (uri, method) = match readable(http) {
        Ok(readable) => readable,
        Err(why) => return Observation::unknown(why),
    };
    let label = format!("{method} {}", clean(uri.path(), 60));
    let began = now();
    let watch = Watch::new(probe, &allowance);
    let ask = Ask {
        http,
        way: Way::App(probe.target.address),
        trust: Trust::System,
        allowance: allowance.clone(),
        watch: Some(watch.clone()),
        certificate: Cell::new(None),
        quote: RefCell::default(),
    };
    let asked = ask.follow(uri, method);
    ask.told(asked, &label, now().since(began))
}

/// The URL and the method of a check, which the configuration has looked at already.
pub(super) fn readable(http: &HttpTarget) -> Result<(Uri, Method), &'static str> {
    match (http.url.parse::<Uri>(), http.method.parse::<Method>()) {
        (Ok(uri), Ok(method)) if uri.host().is_some() && uri.scheme().is_some() => Ok((uri, method)),
        (Ok(_), Ok(_)) => Err("the URL of the health check lacks its scheme or host"),
        (Err(_), _) => Err("the URL of the health check cannot be read"),
        (_, Err(_)) => Err("the method of the health check is none of HTTP\u{2019}s"),
    }
}

/// A text behind `GET /path`; one that is no continuation of it brings its colon.
pub(super) fn behind(label: &str, text: &str) -> String {
    if text.starts_with(':') { format!("{label}{text}") } else { format!("{label} {text}") }
}

/// Why there is no good answer.
pub(super) enum Trouble {
    /// The fault of whoever was asked. The text goes [`behind`] `GET /path`.
    Bad(Fault, String),
    /// The name has no address.
    Unresolved(String),
    /// There is no way to its addresses.
    NoWay(String),
    /// Not known to be anybody's fault.
    Unknown(String),
}

fn wrong(text: impl Into<String>) -> Trouble {
    Trouble::Bad(Fault::WrongAnswer, text.into())
}

/// An answer that is as expected.
pub(super) struct Good {
    /// Its status.
    pub status: u16,
    /// The address that gave it.
    pub place: String,
}

impl Good {
    /// What to tell of it.
    pub(super) fn told(&self, label: &str, http: &HttpTarget, took: Duration) -> Observation {
        let slow = http.max_latency.filter(|most| took > *most);
        let remark = slow.map_or(String::new(), |most| format!(", slower than {}", length(most)));
        let text = format!("{label} answers {} in {} on {}{remark}", self.status, length(took), self.place);
        Observation { slow: slow.is_some(), ..Observation::good(text).took(took) }
    }
}

/// One check that asks: whom, how, and for how long.
pub(super) struct Ask<'a> {
    /// What is asked, and what is expected.
    pub http: &'a HttpTarget,
    /// To whom it goes.
    pub way: Way,
    /// Whose certificates are good.
    pub trust: Trust,
    /// Its time.
    pub allowance: Allowance,
    /// What is watched while there is no answer.
    pub watch: Option<Watch>,
    /// The least time in seconds that a certificate still holds, of those that were shown.
    pub certificate: Cell<Option<i64>>,
    /// What of an answer was not as expected, in its own words: not for everybody.
    pub quote: RefCell<Option<String>>,
}

impl Ask<'_> {
    /// What to tell of what came of it.
    fn told(&self, asked: Result<Good, Trouble>, label: &str, took: Duration) -> Observation {
        bounded(match asked {
            Ok(good) => good.told(label, self.http, took),
            Err(Trouble::Bad(Fault::Unanswered, _)) if self.allowance.waited > MAX_WAITED => {
                let text =
                    format!("{label}: no free probe thread for the first {}", length(self.allowance.waited));
                Observation::unknown(text)
            }
            Err(Trouble::Bad(fault, text)) => {
                // Whatever is wrong with the answer of the app is one fault, TLS included.
                let fault = if fault == Fault::Tls { Fault::WrongAnswer } else { fault };
                let bad = Observation::bad(fault, behind(label, &text));
                match fault {
                    Fault::WrongAnswer => bad.took(took).quoting(self.quote.take()),
                    Fault::Unanswered => match &self.watch {
                        Some(watch) => bad.with(watch.silence()),
                        None => bad,
                    },
                    _ => bad,
                }
            }
            // A name that does not resolve, or leads nowhere, is not the app's fault.
            Err(Trouble::Unresolved(text) | Trouble::NoWay(text) | Trouble::Unknown(text)) => {
                Observation::unknown(format!("{label}: {text}"))
            }
        })
    }

    /// Asks once, wherever the answer may lead: its status, if there is an answer at all.
    pub(super) fn once(&self, uri: &Uri, method: &Method) -> Result<Good, Trouble> {
        let dialled = self.dial(uri)?;
        let place = dialled.place();
        let answer = self.send(uri, uri, method, dialled)?;
        Ok(Good { status: answer.status().as_u16(), place })
    }

    /// Asks, follows redirects on the same host, and compares.
    pub(super) fn follow(&self, first: Uri, method: Method) -> Result<Good, Trouble> {
        self.follow_over(first, method, |uri| self.dial(uri))
    }

    /// The same over connections that `dial` makes.
    fn follow_over(
        &self,
        first: Uri,
        mut method: Method,
        dial: impl Fn(&Uri) -> Result<Dialled, Trouble>,
    ) -> Result<Good, Trouble> {
        let mut uri = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let dialled = dial(&uri)?;
            let place = dialled.place();
            let mut answer = self.send(&uri, &first, &method, dialled)?;
            let status = answer.status().as_u16();
            let location = answer.headers().get(header::LOCATION).map(|value| value.as_bytes().to_vec());
            // A redirect that is configured as good is the answer, not a way to one.
            let follow = matches!(status, 301 | 302 | 303 | 307 | 308) && !self.http.status.contains(status);
            let Some(location) = location.filter(|_| follow) else {
                self.compare(status, &mut answer, &uri, &first)?;
                return Ok(Good { status, place });
            };
            let next = std::str::from_utf8(&location).ok().and_then(|location| url::join(&uri, location));
            let Some(next) = next else {
                return Err(wrong(format!("answers {status} with a location that is no URL")));
            };
            if !url::same_host(&uri, &next) {
                return Err(wrong(format!("redirects ({status}) to another host: {}", url::shown(&next))));
            }
            if status == 303 || (matches!(status, 301 | 302) && method == Method::POST) {
                // RFC 9110, 15.4: these turn into GET; HEAD stays what it is.
                method = if method == Method::HEAD { method } else { Method::GET };
            }
            uri = next;
        }
        Err(wrong(format!("redirects more than {MAX_REDIRECTS} times, last to {}", url::shown(&uri))))
    }

    fn dial(&self, uri: &Uri) -> Result<Dialled, Trouble> {
        let dialled = dial::dial(uri, &self.way, &self.allowance, self.watch.as_ref());
        dialled.map_err(|undialled| match undialled {
            Undialled::Refused(place) => Trouble::Bad(Fault::Refused, format!("is refused on {place}")),
            Undialled::TimedOut(place) => self.timed_out(&format!("connecting to {place}")),
            Undialled::Broke(text) => wrong(text),
            Undialled::Unresolved(text) => Trouble::Unresolved(text),
            Undialled::NoWay(text) => Trouble::NoWay(text),
            Undialled::Unknown(text) => Trouble::Unknown(text),
        })
    }

    fn timed_out(&self, stage: &str) -> Trouble {
        let text = format!("timed out after {} ({stage})", length(self.allowance.whole));
        Trouble::Bad(Fault::Unanswered, text)
    }

    fn send(
        &self,
        uri: &Uri,
        first: &Uri,
        method: &Method,
        dialled: Dialled,
    ) -> Result<Response<Body>, Trouble> {
        let mut request = ureq::http::Request::builder().method(method.clone()).uri(uri.clone());
        let mut head = OWN_HEAD + url::length(uri);
        if url::may_have_secrets(first, uri) {
            for (name, value) in &self.http.headers {
                request = request.header(name, &value.0);
                // With its colon, space and end of line.
                head += name.len() + value.0.len() + 4;
            }
        }
        let own = |name: &header::HeaderName| {
            self.http.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name.as_str()))
        };
        if !own(&header::CONNECTION) {
            request = request.header(header::CONNECTION, "close");
        }
        let (agent, remaining) =
            dialled.agent(uri, head, &self.trust, self.allowance.clone(), self.watch.clone());
        if let Some(remaining) = remaining {
            self.certificate
                .set(self.certificate.get().map_or(Some(remaining), |least| Some(least.min(remaining))));
        }
        let agent = agent.map_err(|insecure| match insecure {
            Insecure::Bad(text) => Trouble::Bad(Fault::Tls, format!(": {text}")),
            Insecure::TimedOut => self.timed_out("in the TLS handshake"),
            Insecure::Untried(text) => Trouble::Unknown(text),
        })?;
        // A request that usually has a body says that it has none (RFC 9110, 8.6).
        let bodied = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        let sent = if bodied {
            request.body(&b""[..]).map_err(Error::Http).and_then(|request| agent.run(request))
        } else {
            request.body(()).map_err(Error::Http).and_then(|request| agent.run(request))
        };
        sent.map_err(|error| self.explain(error, "waiting for the answer"))
    }

    /// Puts an error of the client into words, and on whom it falls.
    fn explain(&self, error: Error, stage: &str) -> Trouble {
        match error {
            Error::Timeout(_) => self.timed_out(stage),
            Error::Io(error) if matches!(error.kind(), std::io::ErrorKind::TimedOut) => self.timed_out(stage),
            Error::Io(error) => match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    wrong(format!("is cut off ({stage}): connection closed"))
                }
                std::io::ErrorKind::ConnectionReset
                | std::io::ErrorKind::ConnectionAborted
                | std::io::ErrorKind::BrokenPipe => wrong(format!("is cut off ({stage}): connection reset")),
                _ => wrong(format!("fails ({stage}): {error}")),
            },
            Error::Protocol(error) => wrong(format!("is not answered in HTTP: {error}")),
            Error::LargeResponseHeader(..) => {
                wrong(format!("answers with over {} KiB of headers", HEADER_LIMIT / 1024))
            }
            Error::Http(_) => Trouble::Unknown("a configured header cannot be sent".to_owned()),
            // Its text would quote the URL, whose query may hold a token.
            Error::BadUri(_) => Trouble::Unknown("the URL cannot be asked".to_owned()),
            other => Trouble::Unknown(other.to_string()),
        }
    }

    fn compare(
        &self,
        status: u16,
        answer: &mut Response<Body>,
        uri: &Uri,
        first: &Uri,
    ) -> Result<(), Trouble> {
        let mut body = Vec::new();
        // One byte more tells a body of the limit from a larger one.
        let read = answer.body_mut().as_reader().take(BODY_LIMIT as u64 + 1).read_to_end(&mut body);
        if !self.http.status.contains(status) {
            let at = if uri == first { String::new() } else { format!(" at {}", clean(uri.path(), 40)) };
            let text =
                format!("answers {status}{at} (expected {})", clean(&self.http.status.to_string(), 30));
            // What asks for a password is no evidence, and may hold a hint at one.
            if !matches!(status, 401 | 403) {
                let head = clean(&String::from_utf8_lossy(&body[..body.len().min(400)]), 80);
                self.quote.replace(Some(head).filter(|head| !head.is_empty()));
            }
            return Err(wrong(text));
        }
        if let Err(error) = read {
            return Err(self.explain(Error::from(error), "reading the body"));
        }
        expect::compare(self.http, status, &body).map_err(|(text, quote)| {
            self.quote.replace(quote);
            wrong(text)
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
