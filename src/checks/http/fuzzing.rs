//! Answers of a server that says anything at all; and the paths into what it says.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ureq::http::{Method, Uri};

use super::super::pool::Allowance;
use super::dial::Dialled;
use super::{Ask, Trouble, Way, expect, url};
use crate::fuzzing::kit::{assert_plain, parts};
use crate::judge::{HttpTarget, Secret, StatusSet};
use crate::wire::Trust;

fn target(json: Vec<(String, serde_json::Value)>, body: Option<String>) -> HttpTarget {
    HttpTarget {
        url: "http://localhost:3000/api/health?token=geheim".to_owned(),
        method: "GET".to_owned(),
        headers: vec![("X-Token".to_owned(), Secret("geheim".to_owned()))],
        status: StatusSet(vec![(200, 299), (404, 404)]),
        body,
        json,
        max_latency: None,
        timeout: Duration::from_secs(2),
    }
}

/// The first byte says what is asked and expected; the answers follow, one for each connection.
pub(crate) fn answers(bytes: &[u8]) {
    let Some((mode, rest)) = bytes.split_first() else { return };
    let json = vec![("a.b".to_owned(), serde_json::json!("OK")), ("0".to_owned(), serde_json::json!(1))];
    let json = if mode & 1 == 0 { Vec::new() } else { json };
    let http = target(json, (mode & 2 != 0).then(|| "OK".to_owned()));
    let ask = Ask {
        http: &http,
        way: Way::Public,
        trust: Trust::System,
        allowance: Allowance::starting_now(http.timeout),
        watch: None,
        certificate: Cell::new(None),
        quote: RefCell::default(),
    };
    let method = [Method::GET, Method::HEAD, Method::POST, Method::PUT][usize::from(mode >> 2 & 3)].clone();
    let answers: RefCell<Vec<&[u8]>> = RefCell::new(parts(rest).collect());
    answers.borrow_mut().reverse();
    let kept: RefCell<Vec<UnixStream>> = RefCell::default();
    let over = |_: &Uri| {
        let answer = answers.borrow_mut().pop().ok_or(Trouble::Unresolved("no more".to_owned()))?;
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        theirs.set_nonblocking(true).and_then(|()| ours.set_nonblocking(true)).expect("not to block");
        let _ = (&theirs).write(answer);
        let _ = theirs.shutdown(Shutdown::Write);
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 3000));
        // Our question has to find somebody. Reading and writing is the same for all kinds of sockets.
        kept.borrow_mut().push(theirs);
        Ok(Dialled::over(TcpStream::from(OwnedFd::from(ours)), to))
    };
    let asked = ask.follow_over(http.url.parse().expect("a URL"), method, over);
    let told = ask.told(asked, "GET /api/health", Duration::from_millis(5));
    assert_plain(&told.text, 200);
    if let Some(quote) = &told.quote {
        assert_plain(quote, 200);
    }
    let said = |bytes: &[u8]| bytes.windows(6).any(|part| part.eq_ignore_ascii_case(b"geheim"));
    assert!(said(bytes) || !told.text.contains("geheim"), "{}", told.text);
}

/// A path, then a document.
pub(crate) fn json_path(bytes: &[u8]) {
    let mut all = parts(bytes);
    let (Some(path), Some(body)) = (all.next(), all.next()) else { return };
    let Ok(path) = std::str::from_utf8(path) else { return };
    let http = target(vec![(path.to_owned(), serde_json::json!({"a": [1, null]}))], None);
    if let Err((text, quote)) = expect::compare(&http, 200, body) {
        assert_plain(&text, 400);
        if let Some(quote) = quote {
            assert_plain(&quote, 200);
        }
    }
    let Ok(document) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    // Whatever a key is called, it leads to its value, which is then as expected.
    if let Some((key, value)) = document.as_object().and_then(|fields| fields.iter().next()) {
        assert_eq!(expect::lookup(&document, key), Some(value));
        let http = target(vec![(key.clone(), value.clone())], None);
        assert_eq!(expect::compare(&http, 200, body), Ok(()));
    }
    if let Some((at, value)) = document.as_array().and_then(|items| items.iter().enumerate().next_back()) {
        assert_eq!(expect::lookup(&document, &at.to_string()), Some(value));
    }
}

/// Where a redirect leads.
pub(crate) fn location(text: &str) {
    let base: Uri = "https://app.example.org:8443/a/b?x=1".parse().expect("a URL");
    let Some(next) = url::join(&base, text) else { return };
    assert!(next.host().is_some_and(|host| !host.is_empty()) && next.scheme().is_some());
    assert!(!next.authority().is_some_and(|authority| authority.as_str().contains('@')));
    assert_plain(&url::shown(&next), 100);
    assert_eq!(url::same_host(&base, &next), url::same_host(&next, &base));
    // Secrets never go in clear text over a network.
    assert!(
        next.scheme_str() == Some("https") || !url::may_have_secrets(&base, &next) || url::is_loopback(&next)
    );
}
