use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};

use super::*;

/// A server that says that to whoever comes, once.
fn server(says: Vec<u8>) -> Endpoint {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4_096];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(&says);
    });
    let (host, path) = ("127.0.0.1".to_owned(), "/hook/geheim-token".to_owned());
    Endpoint { encrypted: false, user: None, host, port, path }
}

fn post(says: impl Into<Vec<u8>>) -> Result<String, Failure> {
    let request = Request { endpoint: server(says.into()), body: b"{}".to_vec(), id: "1".to_owned() };
    deliver(&request)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn later(why: &str, seconds: Option<u64>) -> Result<String, Failure> {
    Err(Failure::Later(why.to_owned(), seconds.map(Duration::from_secs)))
}

#[test]
fn answers_are_told_apart() {
    assert_eq!(post(answer("204 No Content", "", "")), Ok("answers 204".to_owned()));
    assert_eq!(post(answer("503 x", "Retry-After: 7\r\n", "")), later("answers 503", Some(7)));
    let body = "{\"ok\":false,\"description\":\"Too Many\",\"parameters\":{\"retry_after\":4.2}}";
    assert_eq!(post(answer("429 x", "", body)), later("answers 429: Too Many", Some(5)));
    assert_eq!(post(answer("500 x", "Retry-After: Sun, 22\r\n", "oops")), later("answers 500: oops", None));
    assert_eq!(
        post(answer("400 x", "", "{\"message\":\"chat not found\"}")),
        Err(Failure::Disliked("answers 400: chat not found".to_owned()))
    );
    assert_eq!(
        post(answer("404 x", "", "no_team")),
        Err(Failure::Unwelcome("answers 404: no_team".to_owned()))
    );
    let Err(Failure::Unwelcome(why)) = post(answer("307 x", "Location: /hook/geheim-token\r\n", "")) else {
        panic!("a redirect is not followed")
    };
    assert!(why.starts_with("answers 307, a redirect"), "{why}");
}

#[test]
fn nothing_of_the_url_comes_back() {
    for body in [
        "Cannot POST /hook/geheim-token",
        "<pre>Cannot POST /hook/GEHEIM-TOKEN</pre>",
        "{\"message\":\"no such hook: geheim-token\"}",
        "geheim-token",
    ] {
        assert_eq!(
            post(answer("404 x", "", body)),
            Err(Failure::Unwelcome("answers 404".to_owned())),
            "{body}"
        );
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint = Endpoint { port, ..server(Vec::new()) };
    let refused = deliver(&Request { endpoint, body: Vec::new(), id: String::new() });
    assert_eq!(refused, later("cannot connect: connection refused", None));
}

#[test]
fn a_hostile_server_gets_nothing_out_of_it() {
    for says in [
        Vec::new(),
        b"\0\xff".to_vec(),
        b"HTTP/1.1 200 OK\r\n".to_vec(),
        format!("HTTP/1.1 500 x\r\nX: {}\r\n\r\n", "x".repeat(10 << 20)).into_bytes(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000).into_bytes(),
        format!("HTTP/1.1 500 x\r\nContent-Length: 99999999\r\n\r\n{}", "x".repeat(5 << 20)).into_bytes(),
    ] {
        match post(says) {
            Err(Failure::Later(why, _)) => assert!(why.len() < 80, "{why}"),
            other => panic!("{other:?}"),
        }
    }
}
