//! A health check looked at instead of judged: what is answered first, where redirects end, and what
//! the check as a whole would say. Asked as the check asks, with its method, its headers and over TLS.
//!
//! Blocking, for commands.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ureq::http::{Method, Uri, header};

use super::super::pool::Allowance;
use super::super::text::clean;
use super::{Ask, Good, MAX_REDIRECTS, Trouble, Way, behind, readable, url};
use crate::judge::{Address, HttpTarget};
use crate::wire::{Trust, now};

/// Most headers that are kept of an answer.
const MOST_HEADERS: usize = 128;

/// What was answered first, before any redirect is followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FirstAnswer {
    /// The status.
    pub status: u16,
    /// Until the whole head was there.
    pub took: Duration,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
}

/// Asks once, for so long at most.
///
/// # Errors
/// Why there was no answer, fit behind "GET /: ".
pub fn first_answer(http: &HttpTarget, address: Address, timeout: Duration) -> Result<FirstAnswer, String> {
    let (uri, method) = readable(http)?;
    answer_at(&asking(http, address, timeout), &uri, &uri, &method)
}

/// The path and query at which redirects on the same host end with an answer that is good by its status.
#[must_use]
pub fn redirected_to(http: &HttpTarget, address: Address, timeout: Duration) -> Option<String> {
    let (first, method) = readable(http).ok()?;
    let ask = asking(http, address, timeout);
    let mut uri = first.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = answer_at(&ask, &uri, &first, &method).ok()?;
        if http.status.contains(answer.status) {
            return uri.path_and_query().map(|path| clean(path.as_str(), 200));
        }
        let location = answer.headers.iter().find(|(name, _)| *name == header::LOCATION.as_str())?;
        let next = url::join(&uri, &location.1)?;
        if !(300..400).contains(&answer.status)
            || !url::same_host(&uri, &next)
            || next.scheme() != uri.scheme()
            || super::port(&next) != super::port(&uri)
        {
            return None;
        }
        uri = next;
    }
    None
}

/// Makes the whole check.
///
/// # Errors
/// What it has to say against the answer, such as `GET /health answers 500 (expected 200-299)`.
pub fn whole(http: &HttpTarget, address: Address, timeout: Duration) -> Result<(), String> {
    let (uri, method) = readable(http)?;
    let label = format!("{method} {}", clean(uri.path(), 60));
    let asked = asking(http, address, timeout).follow(uri, method);
    asked.map(|_: Good| ()).map_err(|trouble| match trouble {
        Trouble::Bad(_, text) => behind(&label, &text),
        other => format!("{label}: {}", text_of(other)),
    })
}

fn asking(http: &HttpTarget, address: Address, timeout: Duration) -> Ask<'_> {
    Ask {
        http,
        way: Way::App(address),
        trust: Trust::System,
        allowance: Allowance::starting_now(timeout),
        watch: None,
        certificate: Cell::new(None),
        quote: RefCell::default(),
    }
}

fn answer_at(ask: &Ask<'_>, uri: &Uri, first: &Uri, method: &Method) -> Result<FirstAnswer, String> {
    let began = now();
    let dialled = ask.dial(uri).map_err(text_of)?;
    let answer = ask.send(uri, first, method, dialled).map_err(text_of)?;
    let kept = |(name, value): (&header::HeaderName, &header::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Ok(FirstAnswer {
        status: answer.status().as_u16(),
        took: now().since(began),
        headers: answer.headers().iter().take(MOST_HEADERS).map(kept).collect(),
    })
}

fn text_of(trouble: Trouble) -> String {
    let (Trouble::Bad(_, text) | Trouble::Unresolved(text) | Trouble::NoWay(text) | Trouble::Unknown(text)) =
        trouble;
    text.trim_start_matches(": ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::judge::Secret;

    /// Answers by what the request holds, the first that fits; each on a connection of its own.
    fn server(answers: &'static [(&'static str, &'static str)]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 2048];
                let read = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let answer = answers.iter().find(|(part, _)| request.contains(part)).map_or("", |(_, a)| a);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    fn target(port: u16, path: &str) -> HttpTarget {
        HttpTarget::get(format!("http://localhost:{port}{path}"), Duration::from_secs(2))
    }

    const HERE: Address = Address::Ip(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    const SOON: Duration = Duration::from_secs(2);

    #[test]
    fn the_first_answer_and_where_it_leads() {
        let port = server(&[
            ("GET /old ", "HTTP/1.1 302 Found\r\nLocation: /new?a\r\nContent-Length: 0\r\n\r\n"),
            ("GET /new?a ", "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nok"),
            (
                "GET /away ",
                "HTTP/1.1 301 Moved\r\nLocation: https://shop.example/\r\nContent-Length: 0\r\n\r\n",
            ),
            ("GET /bad ", "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        ]);
        let first = first_answer(&target(port, "/old"), HERE, SOON).unwrap();
        assert_eq!(first.status, 302);
        assert!(first.headers.contains(&("location".to_owned(), "/new?a".to_owned())));
        assert_eq!(redirected_to(&target(port, "/old"), HERE, SOON).as_deref(), Some("/new?a"));
        assert_eq!(whole(&target(port, "/old"), HERE, SOON), Ok(()));
        assert_eq!(redirected_to(&target(port, "/away"), HERE, SOON), None);
        assert!(whole(&target(port, "/away"), HERE, SOON).unwrap_err().contains("another host"));
        let bad = whole(&target(port, "/bad"), HERE, SOON).unwrap_err();
        assert_eq!(bad, "GET /bad answers 500 (expected 200-299)");
        let nobody = first_answer(&target(1, "/"), HERE, SOON).unwrap_err();
        assert!(nobody.starts_with("is refused"), "{nobody}");
    }

    #[test]
    fn it_asks_as_the_check_does() {
        let port = server(&[
            ("authorization: Bearer s3cret", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            ("HTTP/1.1", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
        ]);
        let mut http = target(port, "/");
        assert_eq!(first_answer(&http, HERE, SOON).unwrap().status, 401);
        http.headers.push(("authorization".into(), Secret("Bearer s3cret".into())));
        assert_eq!(first_answer(&http, HERE, SOON).unwrap().status, 200);
    }
}
