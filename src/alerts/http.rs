//! Hands a request over and reads what the other side says of it.
//!
//! Redirects are not followed, not even on the same host: the place that is configured is the place that
//! gets the message and the token in its URL. What is read of an answer is bounded, and what is told of
//! it is looked through for parts of the URL.

use std::io::Read;
use std::time::Duration;

use ureq::http::{Response, Uri, header};
use ureq::{Body, Error};

use crate::config::endpoint::Endpoint;
use crate::plain::cut;
use crate::wire::{HEADER_LIMIT, client};

use super::forms::{Request, mail::base64};
use super::lane::Failure;
use super::wire::{Deadline, Wire, connect, encrypt, plain};

/// All of a delivery.
const WITHIN: Duration = Duration::from_secs(30);
/// The head of a request: a URL may be long.
const ASKED: usize = 16 * 1024;
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
    let (stream, address) = connect(&endpoint.host, endpoint.port, deadline).map_err(later)?;
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
    let agent = client(wire, address, ASKED);
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
            Failure::Later(format!("answers with over {} KiB of headers", HEADER_LIMIT / 1024), None)
        }
        Error::Http(_) | Error::BadUri(_) => Failure::Unwelcome("its URL cannot be asked".to_owned()),
        Error::ConnectionFailed => later("no whole answer: connection closed"),
        _ => later("no whole answer"),
    }
}

#[cfg(test)]
mod tests;
