//! The health check against servers that behave as bad servers do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::super::tests::lonely;
use super::*;
use crate::judge::{Address, Detail, Finding, Secret, StatusSet, Target};

pub(in crate::checks) fn target(url: &str) -> Target {
    let http = HttpTarget::get(url, Duration::from_millis(400));
    Target {
        port: None,
        address: Address::Localhost,
        http: Some(http),
        min_processes: 0,
        process: None,
        ..Target::of_unit("web.service".parse().unwrap())
    }
}

fn probe(target: &Target) -> Probe {
    Probe { target: std::sync::Arc::new(target.clone()), ..Probe::of_nothing() }
}

fn ask(target: &Target) -> Observation {
    let whole = target.http.as_ref().unwrap().timeout;
    let began = now();
    let seen = check(&probe(target), Allowance::starting_now(whole));
    let took = now().since(began);
    assert!(took < whole + Duration::from_secs(2), "took {took:?}: {}", seen.text);
    assert!(seen.text.chars().count() <= 200 && !seen.text.contains(char::is_control), "{}", seen.text);
    seen
}

/// Serves each connection with `serve`, which gets the head of the request. The server ends with
/// the test's process.
fn server(address: &str, serve: impl Fn(&mut TcpStream, &str) + Send + 'static) -> SocketAddr {
    let listener = lonely(address);
    let bound = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0]);
            }
            serve(&mut stream, &String::from_utf8_lossy(&head));
        }
    });
    bound
}

fn says(answer: impl Into<Vec<u8>>) -> u16 {
    let answer = answer.into();
    server("127.0.0.1", move |stream, _| {
        let _ = stream.write_all(&answer);
    })
    .port()
}

fn local(port: u16) -> Target {
    target(&format!("http://localhost:{port}/api/health?token=secret"))
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_good_answer() {
    let seen = ask(&local(says(answer("200 OK", "fine"))));
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    assert!(seen.text.starts_with("GET /api/health answers 200 in "), "{}", seen.text);
    assert!(seen.text.contains(" on 127.0.0.1:"), "{}", seen.text);
    assert_eq!(seen.detail, None);
    assert!(seen.latency.is_some() && !seen.slow && !seen.text.contains("secret"));
}

#[test]
fn the_request_is_plain_and_closes() {
    let (tell, told) = mpsc::channel();
    let port = server("127.0.0.1", move |stream, head| {
        tell.send(head.to_ascii_lowercase()).unwrap();
        let _ = stream.write_all(answer("200 OK", "").as_bytes());
    })
    .port();
    let mut target = local(port);
    let http = target.http.as_mut().unwrap();
    http.headers = vec![("X-Token".to_owned(), Secret("geheim".to_owned()))];
    let seen = ask(&target);
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    let head = told.recv().unwrap();
    assert!(head.starts_with("get /api/health?token=secret http/1.1\r\n"), "{head}");
    for line in [
        "connection: close",
        "x-token: geheim",
        &format!("host: localhost:{port}"),
        "user-agent: app-monitor/",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    assert!(!head.contains("encoding"), "{head}");
    target.http.as_mut().unwrap().method = "POST".to_owned();
    assert_eq!(ask(&target).finding, Finding::Good);
    assert!(told.recv().unwrap().contains("content-length: 0"));
    target.http.as_mut().unwrap().method = "HEAD".to_owned();
    let seen = ask(&target);
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
}

#[test]
fn refused_everywhere() {
    let port = lonely("127.0.0.1").local_addr().unwrap().port();
    let seen = ask(&local(port));
    assert_eq!(seen.finding, Finding::Bad(Fault::Refused));
    let text = format!("GET /api/health is refused on 127.0.0.1:{port} and [::1]:{port}");
    assert_eq!(seen.text, text);
}

#[test]
fn ipv6_only_is_found() {
    let port = server("::1", |stream, _| {
        let _ = stream.write_all(answer("200 OK", "").as_bytes());
    })
    .port();
    let seen = ask(&local(port));
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    assert!(seen.text.ends_with(&format!(" on [::1]:{port}")), "{}", seen.text);
    let mut elsewhere = local(port);
    elsewhere.address = Address::Ip("127.0.0.1".parse().unwrap());
    assert_eq!(ask(&elsewhere).finding, Finding::Bad(Fault::Refused));
    elsewhere.address = Address::Ip("::".parse().unwrap());
    assert_eq!(ask(&elsewhere).finding, Finding::Good);
}

#[test]
fn silence_at_every_stage_is_unanswered() {
    // Accepted by the kernel, never by the program.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = server("127.0.0.1", |_, _| thread::sleep(Duration::from_secs(2))).port();
    let drip = |head: &'static str| {
        server("127.0.0.1", move |stream, _| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        })
        .port()
    };
    let waiting = "waiting for the answer";
    let reading = "reading the body";
    let mut encrypted = local(silent);
    let http = encrypted.http.as_mut().unwrap();
    http.url = http.url.replace("http:", "https:");
    let seen = ask(&encrypted);
    assert_eq!(seen.finding, Finding::Bad(Fault::Unanswered), "{}", seen.text);
    for (port, stage) in [
        (deaf.local_addr().unwrap().port(), waiting),
        (silent, waiting),
        (drip("HTTP/1.1 200 OK\r\nX-Long: "), waiting),
        (drip("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), reading),
        (drip("HTTP/1.1 200 OK\r\n\r\n"), reading),
    ] {
        let seen = ask(&local(port));
        assert_eq!(seen.finding, Finding::Bad(Fault::Unanswered), "{}", seen.text);
        assert_eq!(seen.text, format!("GET /api/health timed out after 400 ms ({stage})"));
    }
}

fn silence(seen: &Observation) -> (Option<bool>, Option<u32>) {
    match seen.detail.as_deref() {
        Some(Detail::Silence { taken, cpu }) => (*taken, *cpu),
        other => panic!("{other:?}: {}", seen.text),
    }
}

#[test]
fn silence_tells_whether_connections_are_taken() {
    // Nobody takes any, however many wait.
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = frozen.local_addr().unwrap();
    let _waiting: Vec<_> = (0..3).map(|_| TcpStream::connect(to).unwrap()).collect();
    assert_eq!(silence(&ask(&local(to.port()))), (Some(false), None));
    // Ours is taken at once, and kept waiting.
    let idle = server("127.0.0.1", |_, _| thread::sleep(Duration::from_secs(2))).port();
    assert_eq!(silence(&ask(&local(idle))), (Some(true), None));
    // Ours waits behind others, of which one is taken now and then.
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = busy.local_addr().unwrap();
    let _waiting: Vec<_> = (0..30).map(|_| TcpStream::connect(to).unwrap()).collect();
    thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok(stream) = busy.accept() {
            taken.push(stream);
            thread::sleep(Duration::from_millis(100));
        }
    });
    // Between the two looks at it there is time for one on a host that is busy, too.
    let mut patient = local(to.port());
    patient.http.as_mut().unwrap().timeout = Duration::from_secs(2);
    assert_eq!(silence(&ask(&patient)), (Some(true), None));
}

/// An event loop that is busy for longer than a check lasts takes connections between two checks.
#[test]
fn a_queue_that_moves_from_one_check_to_the_next_is_taken_from() {
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = local(slow.local_addr().unwrap().port());
    let timeout = target.http.as_ref().unwrap().timeout;
    let probe = Probe {
        target: std::sync::Arc::new(target),
        world: std::sync::Arc::new(super::super::World::system()),
        ..Probe::of_nothing()
    };
    let asked = || silence(&check(&probe, Allowance::starting_now(timeout))).0;
    assert_eq!(asked(), Some(false));
    assert_eq!(asked(), Some(false), "they all wait on");
    // A proxy that gives up may reset its connections, which can be seen no more and are not taken.
    let reset = TcpStream::connect(slow.local_addr().unwrap()).unwrap();
    assert_eq!(asked(), Some(false));
    rustix::net::sockopt::set_socket_linger(&reset, Some(Duration::ZERO)).unwrap();
    drop(reset);
    assert_eq!(asked(), Some(false), "nothing was taken");
    let taken = slow.accept().unwrap();
    assert_eq!(asked(), Some(true));
    assert_eq!(asked(), Some(false));
    drop(taken);
}

#[test]
fn silence_tells_what_the_unit_burns() {
    let fake = super::super::world::tests::Fake::new();
    let group = "/system.slice/web.service";
    let stat = "sys/fs/cgroup/system.slice/web.service/cpu.stat";
    fake.file(stat, "usage_usec 5000000\nuser_usec 1\n");
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = local(deaf.local_addr().unwrap().port());
    target.http.as_mut().unwrap().timeout = Duration::from_millis(1000);
    let probe = Probe {
        target: std::sync::Arc::new(target),
        control_group: Some(group.to_owned()),
        world: std::sync::Arc::new(super::super::World::at(fake.dir.path())),
        ..Probe::of_nothing()
    };
    let check = thread::spawn(move || check(&probe, Allowance::starting_now(Duration::from_millis(1000))));
    // Between the looks at a quarter and at seven eighths of the time.
    thread::sleep(Duration::from_millis(500));
    fake.file(stat, "usage_usec 5300000\nuser_usec 1\n");
    let (taken, cpu) = silence(&check.join().unwrap());
    assert_eq!(taken, Some(false));
    assert!(cpu.is_some_and(|percent| (20..=60).contains(&percent)), "{cpu:?}");
}

#[test]
fn a_full_accept_queue_is_unanswered_while_connecting() {
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddrV4>().unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let to = listener.local_addr().unwrap();
    let _filler = TcpStream::connect(to).unwrap();
    let seen = ask(&local(to.port()));
    assert_eq!(seen.finding, Finding::Bad(Fault::Unanswered), "{}", seen.text);
    assert!(seen.text.ends_with(&format!("(connecting to {to})")), "{}", seen.text);
    assert_eq!(silence(&seen), (Some(false), None));
}

#[test]
fn wrong_answers() {
    let big = format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\n\r\n", "x".repeat(HEADER_LIMIT + 1));
    for (answer, text) in [
        (answer("500 Oops", "broken\u{1b}[0m\nback"), "answers 500 (expected 200-299)"),
        (answer("401 No", "try password123"), "answers 401 (expected 200-299)"),
        (answer("204 None", ""), ""),
        ("".to_owned(), "is cut off (waiting for the answer): connection closed"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "is not answered in HTTP: "),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf".to_owned(),
            "is cut off (reading the body): connection closed",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".to_owned(), "is not answered in HTTP: "),
        (big, "answers with over 32 KiB of headers"),
        ("HTTP/1.0 200 OK\r\n\r\nold, but good".to_owned(), ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(), ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            "is not answered in HTTP: ",
        ),
    ] {
        let seen = ask(&local(says(answer.clone())));
        if text.is_empty() {
            assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
        } else {
            assert_eq!(seen.finding, Finding::Bad(Fault::WrongAnswer), "{answer:.60}: {}", seen.text);
            assert!(seen.text.starts_with(&format!("GET /api/health {text}")), "{}", seen.text);
        }
    }
}

#[test]
fn what_the_app_said_is_not_for_everybody() {
    let seen = ask(&local(says(answer("500 Oops", "connect postgres://u:geheim\u{1b}[0m@h\nback"))));
    assert_eq!(seen.text, "GET /api/health answers 500 (expected 200-299)");
    assert_eq!(seen.quote.as_deref(), Some("connect postgres://u:geheim [0m@h back"));
    assert_eq!(seen.whole(), format!("{}: connect postgres://u:geheim [0m@h back", seen.text));
    let seen = ask(&local(says(answer("401 No", "try geheim"))));
    assert_eq!(seen.quote, None);
    let mut target = local(says(answer("200 OK", "{\"a\": \"geheim\"}")));
    target.http.as_mut().unwrap().json = vec![("a".to_owned(), "b".into())];
    let seen = ask(&target);
    assert!(!seen.text.contains("geheim") && seen.whole().contains("a is \"geheim\""), "{}", seen.whole());
}

#[test]
fn a_reset_is_a_wrong_answer() {
    let port = server("127.0.0.1", |stream, _| {
        rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO)).unwrap();
    })
    .port();
    let seen = ask(&local(port));
    assert_eq!(seen.finding, Finding::Bad(Fault::WrongAnswer), "{}", seen.text);
    assert_eq!(seen.text, "GET /api/health is cut off (waiting for the answer): connection reset");
}

#[test]
fn large_bodies_are_read_to_the_limit() {
    let large = answer("200 OK", &"x".repeat(500_000));
    let mut target = local(says(large));
    assert_eq!(ask(&target).finding, Finding::Good);
    target.http.as_mut().unwrap().body = Some("y".to_owned());
    let seen = ask(&target);
    assert_eq!(seen.finding, Finding::Bad(Fault::WrongAnswer), "{}", seen.text);
    assert!(seen.text.contains("in its first 64 KiB"), "{}", seen.text);
}

#[test]
fn slow_is_good() {
    let port = server("127.0.0.1", |stream, _| {
        thread::sleep(Duration::from_millis(60));
        let _ = stream.write_all(answer("200 OK", "").as_bytes());
    })
    .port();
    let mut target = local(port);
    target.http.as_mut().unwrap().max_latency = Some(Duration::from_millis(50));
    let seen = ask(&target);
    assert!(seen.finding == Finding::Good && seen.slow, "{}", seen.text);
    assert!(seen.text.ends_with(", slower than 50 ms"), "{}", seen.text);
}

/// Redirects `/api/health` to `location`; everything else is good.
fn redirecting(status: u16, location: &str) -> Target {
    let location = location.to_owned();
    let port = server("127.0.0.1", move |stream, head| {
        let text = if head.contains(" /api/health") {
            format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
        } else {
            answer("200 OK", "arrived")
        };
        let _ = stream.write_all(text.as_bytes());
    })
    .port();
    let mut target = local(port);
    target.http.as_mut().unwrap().body = Some("arrived".to_owned());
    target
}

#[test]
fn redirects_on_the_same_host_are_followed() {
    let port = says(answer("200 OK", "arrived"));
    let elsewhere = [format!("http://127.0.0.1:{port}/x"), format!("//localhost:{port}/x")];
    for location in ["/login", "other", "?x", &elsewhere[0], &elsewhere[1]].into_iter().filter(|l| *l != "?x")
    {
        let seen = ask(&redirecting(302, location));
        assert_eq!(seen.finding, Finding::Good, "{location}: {}", seen.text);
    }
    let seen = ask(&redirecting(307, "https://example.com/login?token=1"));
    assert_eq!(seen.finding, Finding::Bad(Fault::WrongAnswer));
    assert_eq!(seen.text, "GET /api/health redirects (307) to another host: https://example.com/login");
    let seen = ask(&redirecting(301, "/api/health"));
    assert_eq!(seen.finding, Finding::Bad(Fault::WrongAnswer));
    assert!(seen.text.starts_with("GET /api/health redirects more than 5 times"), "{}", seen.text);
    let seen = ask(&redirecting(301, "mailto:root@localhost"));
    assert!(seen.text.contains("no URL"), "{}", seen.text);
    let mut expected = redirecting(302, "https://example.com/");
    let http = expected.http.as_mut().unwrap();
    http.status = StatusSet(vec![(302, 302)]);
    http.body = None;
    assert_eq!(ask(&expected).finding, Finding::Good);
}

#[test]
fn tls_that_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let mut target = target(&format!("https://localhost:{port}/"));
    // Reading the trust store takes seconds without optimisation.
    target.http.as_mut().unwrap().timeout = Duration::from_secs(20);
    let seen = ask(&target);
    let no_store = seen.text.contains("TLS cannot be set up");
    assert!(no_store || seen.finding == Finding::Bad(Fault::WrongAnswer), "{}", seen.text);
}

#[test]
fn what_cannot_be_asked_is_unknown() {
    for url in ["http://no-such-host.invalid/", "not a url", "/api/health"] {
        let mut target = target(url);
        target.http.as_mut().unwrap().timeout = Duration::from_secs(5);
        let seen = check(&probe(&target), Allowance::starting_now(Duration::from_secs(5)));
        assert_eq!(seen.finding, Finding::Unknown, "{url}: {}", seen.text);
    }
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut late = Allowance::starting_now(Duration::from_millis(50));
    late.waited = Duration::from_secs(1);
    let seen = check(&probe(&local(deaf.local_addr().unwrap().port())), late);
    assert_eq!(seen.finding, Finding::Unknown, "{}", seen.text);
}
