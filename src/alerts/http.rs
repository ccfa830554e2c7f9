//! Hands a request over and reads what the other side says of it.
//!
//! Redirects are not followed, not even on the same host: the place that is configured is the place that
//! gets the message and the token in its URL. What is read of an answer is bounded, and what is told of
//! it is looked through for parts of the URL.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{Response, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Agent, Body, Error};

use crate::config::endpoint::Endpoint;
use crate::plain::cut;

use super::forms::{Request, mail::base64};
use super::lane::Failure;
use super::wire::{Deadline, Wire, connect, encrypt, plain};

/// All of a delivery.
const WITHIN: Duration = Duration::from_secs(30);
/// Headers of an answer in all.
const HEADERS: usize = 16 * 1024;
/// So much of a body is read.
const BODY: u64 = 4 * 1024;
/// What is shown of it, in characters.
const SHOWN: usize = 100;
/// A part of a URL that is so short tells nobody anything.
const SHORT: usize = 5;

/// Sends a message.
pub(super) fn deliver(request: &Request) -> Result<String, Failure> {
    let answer = ask(&request.endpoint, Some(request))?;
    judge(&answer)
}

/// Asks for a heartbeat's URL.
pub(super) fn ping(endpoint: &Endpoint) -> Result<String, Failure> {
    judge(&ask(endpoint, None)?)
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    said: Option<String>,
}

fn judge(answer: &Answer) -> Result<String, Failure> {
    let said = answer.said.as_ref().map_or(String::new(), |said| format!(": {said}"));
    let text = format!("answers {}{said}", answer.status);
    match answer.status {
        200..=299 => Ok(format!("answers {}", answer.status)),
        300..=399 => Err(Failure::Unwelcome(format!(
            "answers {}, a redirect, which is not followed; configure the URL that it leads to",
            answer.status
        ))),
        400 | 413 | 422 => Err(Failure::Disliked(text)),
        408 | 425 | 429 => Err(Failure::Later(text, answer.retry_after)),
        401..=499 => Err(Failure::Unwelcome(text)),
        _ => Err(Failure::Later(text, answer.retry_after)),
    }
}

fn ask(endpoint: &Endpoint, post: Option<&Request>) -> Result<Answer, Failure> {
    let later = |why: String| Failure::Later(why, None);
    let deadline = Deadline::within(WITHIN);
    let stream = connect(&endpoint.host, endpoint.port, deadline).map_err(later)?;
    let address = stream.address();
    let wire = if endpoint.encrypted {
        encrypt(stream, &endpoint.host).map_err(later)?
    } else {
        Wire::Clear(stream)
    };
    let cannot = || Failure::Unwelcome("its URL cannot be asked".to_owned());
    let uri: Uri = endpoint.url().parse().map_err(|_| cannot())?;
    let mut head = ureq::http::Request::builder().uri(uri).header(header::CONNECTION, "close");
    if let Some((user, password)) = &endpoint.user {
        let basic = base64(format!("{user}:{password}").as_bytes());
        head = head.header(header::AUTHORIZATION, format!("Basic {basic}"));
    }
    let agent = agent(wire, address);
    let sent = match post {
        Some(request) => head
            .method("POST")
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", request.id.as_str())
            .body(request.body.as_slice())
            .map_err(Error::Http)
            .and_then(|request| agent.run(request)),
        None => head.method("GET").body(()).map_err(Error::Http).and_then(|request| agent.run(request)),
    };
    let answer = sent.map_err(explain)?;
    Ok(read(answer, endpoint))
}

fn read(mut answer: Response<Body>, endpoint: &Endpoint) -> Answer {
    let status = answer.status().as_u16();
    let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let mut retry_after = seconds.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
    let mut body = Vec::new();
    if !(200..=299).contains(&status) {
        // Of a body that breaks off, what there is of it.
        let _ = answer.body_mut().as_reader().take(BODY).read_to_end(&mut body);
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    if let Some(json) = &json {
        // Telegram, then Discord; a fraction is rounded up.
        let asked = [&json["parameters"]["retry_after"], &json["retry_after"]];
        let asked = asked.into_iter().find_map(serde_json::Value::as_f64);
        let asked = asked
            .filter(|asked| (0.0..=1e6).contains(asked))
            .map(|asked| Duration::from_secs_f64(asked.ceil()));
        retry_after = retry_after.or(asked);
    }
    Answer { status, retry_after, said: said(&body, json.as_ref(), endpoint) }
}

/// What an answer says about itself, as far as it is made for that: an error page is not, and may hold
/// what was asked for.
fn said(body: &[u8], json: Option<&serde_json::Value>, endpoint: &Endpoint) -> Option<String> {
    let text = match json {
        Some(json) => {
            ["description", "message", "error", "detail"].iter().find_map(|key| json[*key].as_str())?
        }
        None => std::str::from_utf8(body).ok().map(str::trim).filter(|text| {
            text.len() <= SHOWN && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_ .,-".contains(&b))
        })?,
    };
    let text = cut(text.trim(), SHOWN);
    (!text.is_empty() && !reveals(&text, endpoint)).then_some(text)
}

/// Whether a text holds a part of a URL that nobody is to see.
pub(super) fn reveals(text: &str, endpoint: &Endpoint) -> bool {
    let text = text.to_lowercase();
    let user = endpoint.user.iter().flat_map(|(user, password)| [user.as_str(), password.as_str()]);
    let parts = endpoint.path.split(['/', '?', '&', '=', ':', ';', ',']);
    parts.chain(user).any(|part| part.len() >= SHORT && text.contains(&part.to_lowercase()))
}

/// An error of the client in words of ours: its own may quote the URL.
fn explain(error: Error) -> Failure {
    let later = |why: &str| Failure::Later(why.to_owned(), None);
    match error {
        Error::Timeout(_) => later("no answer in time"),
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => later("no answer in time"),
        Error::Io(error) => Failure::Later(format!("no whole answer: {}", plain(&error)), None),
        Error::Protocol(_) => later("is not answered in HTTP"),
        Error::LargeResponseHeader(..) => {
            Failure::Later(format!("answers with over {} KiB of headers", HEADERS / 1024), None)
        }
        Error::Http(_) | Error::BadUri(_) => Failure::Unwelcome("its URL cannot be asked".to_owned()),
        Error::ConnectionFailed => later("no whole answer: connection closed"),
        _ => later("no whole answer"),
    }
}

fn agent(wire: Wire, address: SocketAddr) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("app-monitor/", env!("CARGO_PKG_VERSION")))
        .accept_encoding(AutoHeaderValue::None)
        .max_response_header_size(HEADERS)
        .input_buffer_size(HEADERS + 4096)
        .max_idle_connections(0)
        .build();
    let line = Line { wire, buffers: LazyBuffers::new(HEADERS + 4096, 16 * 1024) };
    Agent::with_parts(config, HandOver(Mutex::new(Some(line))), Known(address))
}

/// The connection as the client wants it.
struct Line {
    wire: Wire,
    buffers: LazyBuffers,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        use std::io::Write as _;
        let bytes = self.buffers.output().get(..amount).unwrap_or_default();
        self.wire.write_all(bytes)?;
        self.wire.flush()?;
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        let read = self.wire.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(read);
        Ok(read > 0)
    }

    fn is_open(&mut self) -> bool {
        // Asked only before a connection is used again, which never happens.
        false
    }

    fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
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
struct HandOver(Mutex<Option<Line>>);

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandOver")
    }
}

impl Connector<()> for HandOver {
    type Out = Line;

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<Line>, Error> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        line.map(Some).ok_or(Error::ConnectionFailed)
    }
}

#[cfg(test)]
mod tests;
