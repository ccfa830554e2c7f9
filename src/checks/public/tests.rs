//! The public check against servers with certificates of a throw-away authority.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

use super::super::http::tests::target;
use super::super::tests::lonely;
use super::super::world::World;
use super::*;
use crate::judge::{Finding, PublicTarget, Secret};

const DAY: i64 = 86_400;

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// What a host that knows this authority trusts.
    fn trust(&self) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        Trust::Only(verifier)
    }

    /// Serves `answer` in TLS, for that name, with a certificate that ends in that year.
    fn serve(&self, name: &str, until: i32, answer: &'static str) -> u16 {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = lonely("127.0.0.1");
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut tls = Stream::new(&mut connection, &mut stream);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && tls.read(&mut byte).is_ok_and(|n| n == 1) {
                    head.push(byte[0]);
                }
                let name = tls.conn.server_name().unwrap_or("nobody").to_owned();
                let host = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
                let answer = answer.replace("NAME", &name).replace("HOST", host);
                // It just closes: neither close_notify nor a length.
                let _ = tls.write_all(answer.as_bytes());
            }
        });
        port
    }
}

const FINE: &str = "HTTP/1.1 200 OK\r\n\r\nasked for NAME as HOST";

fn plain(answer: &'static str) -> u16 {
    let listener = lonely("127.0.0.1");
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

fn http(url: &str) -> HttpTarget {
    HttpTarget { timeout: Duration::from_secs(5), ..target(url).http.unwrap() }
}

fn ask(http: &HttpTarget, trust: Trust) -> Observation {
    let seen = ask_publicly(http, Allowance::starting_now(http.timeout), trust);
    assert!(seen.text.chars().count() <= 200 && !seen.text.contains("secret"), "{}", seen.text);
    seen
}

fn seconds(seen: &Observation) -> Option<i64> {
    match seen.detail.as_deref() {
        Some(Detail::Certificate(seconds)) => Some(*seconds),
        _ => None,
    }
}

#[test]
fn a_good_answer_tells_how_long_the_certificate_holds() {
    let authority = Authority::new("an authority");
    let port = authority.serve("localhost", 2090, FINE);
    let mut http = http(&format!("https://localhost:{port}/shop?token=secret"));
    http.body = Some(format!("asked for localhost as localhost:{port}"));
    let seen = ask(&http, authority.trust());
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    assert!(
        seen.text.starts_with(&format!("GET https://localhost:{port}/shop answers 200 in ")),
        "{}",
        seen.text
    );
    assert!(seconds(&seen).is_some_and(|left| left > 365 * DAY), "{seen:?}");
}

#[test]
fn certificates_that_are_not_good() {
    let authority = Authority::new("an authority");
    let cases = [
        ("shop.example", 2090, authority.trust(), "certificate is not valid for localhost"),
        ("localhost", 2020, authority.trust(), "certificate expired "),
        (
            "localhost",
            2090,
            Authority::new("another authority").trust(),
            "certificate is of an authority that this host does not trust, or its chain is incomplete",
        ),
    ];
    for (name, until, trust, text) in cases {
        let port = authority.serve(name, until, FINE);
        let seen = ask(&http(&format!("https://localhost:{port}/")), trust);
        assert_eq!(seen.finding, Finding::Bad(Fault::Tls), "{}", seen.text);
        assert!(seen.text.starts_with(&format!("GET https://localhost:{port}/: {text}")), "{}", seen.text);
        assert_eq!(seconds(&seen).map(|left| left < 0), Some(until == 2020), "{seen:?}");
    }
    let port = plain("HTTP/1.1 400 Bad Request\r\n\r\n");
    let seen = ask(&http(&format!("https://localhost:{port}/")), authority.trust());
    assert_eq!(seen.finding, Finding::Bad(Fault::Tls), "{}", seen.text);
    assert_eq!(seen.text, format!("GET https://localhost:{port}/: no TLS is spoken there"));
    assert_eq!(seen.detail, None);
}

#[test]
fn the_stages_are_told_apart() {
    let authority = Authority::new("an authority");
    let mut quick = http("https://localhost:1/");
    quick.timeout = Duration::from_millis(300);
    let port = lonely("127.0.0.1").local_addr().unwrap().port();
    quick.url = format!("https://localhost:{port}/");
    let seen = ask(&quick, authority.trust());
    assert_eq!(seen.finding, Finding::Bad(Fault::Refused), "{}", seen.text);
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    quick.url = format!("https://localhost:{}/", deaf.local_addr().unwrap().port());
    let seen = ask(&quick, authority.trust());
    assert_eq!(seen.finding, Finding::Bad(Fault::Unanswered), "{}", seen.text);
    assert!(seen.text.ends_with(" timed out after 300 ms (in the TLS handshake)"), "{}", seen.text);
    let port = authority.serve("localhost", 2090, "HTTP/1.1 500 Oops\r\n\r\nbroken");
    let seen = ask(&http(&format!("https://localhost:{port}/")), authority.trust());
    assert_eq!(seen.finding, Finding::Bad(Fault::WrongAnswer), "{}", seen.text);
    assert!(
        seen.whole().ends_with("answers 500 (expected 200-299): broken")
            && !seen.text.contains("broken")
            && seconds(&seen).is_some(),
        "{seen:?}"
    );
    // RFC 6761: there is no such name, whether a resolver is there to say so or not.
    let seen = ask(&http("https://no-such-host.invalid/"), authority.trust());
    assert_eq!(seen.finding, Finding::Bad(Fault::Unresolved), "{}", seen.text);
    let head = "GET https://no-such-host.invalid/: cannot resolve no-such-host.invalid: ";
    assert!(seen.text.starts_with(head), "{}", seen.text);
}

#[test]
fn a_redirect_to_tls_on_the_same_host_is_followed() {
    let authority = Authority::new("an authority");
    let port = authority.serve("localhost", 2090, FINE);
    let location = format!("HTTP/1.1 301 Moved\r\nLocation: https://localhost:{port}/\r\n\r\n");
    let first = plain(Box::leak(location.into_boxed_str()));
    let seen = ask(&http(&format!("http://localhost:{first}/")), authority.trust());
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    assert!(seconds(&seen).is_some());
}

fn proxied(url: &str) -> Observation {
    let mut http = http(url);
    http.timeout = Duration::from_millis(600);
    http.headers = vec![("X-Token".to_owned(), Secret("secret".to_owned()))];
    let mut target = target(url);
    target.public = Some(PublicTarget { http, expires_within: Duration::from_secs(1) });
    let probe = Probe { target: Arc::new(target), ..Probe::of_nothing() };
    let seen = through_proxy(&probe, Allowance::starting_now(Duration::from_millis(600)));
    assert!(seen.text.chars().count() <= 200 && !seen.text.contains("secret"), "{}", seen.text);
    seen
}

#[test]
fn the_proxy_is_asked_with_the_public_name() {
    let authority = Authority::new("an authority");
    let port = authority.serve("other.example", 2020, "HTTP/1.1 404 NAME HOST\r\n\r\n");
    let seen = proxied(&format!("https://shop.invalid:{port}/a?token=secret"));
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    let head = format!("GET https://shop.invalid:{port}/a of the proxy answers 404 in ");
    assert!(
        seen.text.starts_with(&head) && seen.text.ends_with(&format!(" on 127.0.0.1:{port}")),
        "{}",
        seen.text
    );
}

#[test]
fn what_a_proxy_may_do_wrong() {
    let dead = lonely("127.0.0.1").local_addr().unwrap().port();
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    for (scheme, port, fault) in [
        ("http", dead, Fault::Refused),
        ("http", deaf.local_addr().unwrap().port(), Fault::Unanswered),
        ("http", plain(""), Fault::Unanswered),
        ("http", plain("HTTP/1.1 502 Bad Gateway\r\n\r\n"), Fault::Upstream),
        ("http", plain("HTTP/1.1 504 Late\r\n\r\n"), Fault::Upstream),
        ("https", plain("HTTP/1.1 400 Bad Request\r\n\r\n"), Fault::Tls),
    ] {
        let seen = proxied(&format!("{scheme}://shop.invalid:{port}/"));
        assert_eq!(seen.finding, Finding::Bad(fault), "{}", seen.text);
    }
    let seen = proxied(&format!("http://shop.invalid:{}/", plain("HTTP/1.1 500 Oops\r\n\r\n")));
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
}

#[test]
fn it_is_asked_where_it_listens() {
    let at = |address: &str, v6_only| Listener {
        address: address.parse().unwrap(),
        port: 443,
        v6_only,
        inode: 1,
        uid: 0,
        cgroup: None,
        queued: 0,
    };
    for (rows, wanted) in [
        (vec![], vec!["127.0.0.1:443", "[::1]:443"]),
        (vec![at("0.0.0.0", false), at("::", true)], vec!["127.0.0.1:443", "[::1]:443"]),
        (vec![at("::", false), at("::", false)], vec!["127.0.0.1:443"]),
        (vec![at("192.0.2.1", false)], vec!["192.0.2.1:443"]),
    ] {
        let found: Vec<String> = places(rows.iter(), 443).iter().map(ToString::to_string).collect();
        assert_eq!(found, wanted);
    }
}

#[test]
fn its_listener_is_found_by_its_cgroup() {
    let listener = lonely("127.0.0.2");
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    let world = World::system();
    let group = world.cgroup_of(std::process::id()).filter(|group| group != "/");
    let visible = group.as_deref().and_then(|group| world.cgroup(group)).is_some_and(|dir| dir.exists());
    // Only where cgroup2 is mounted and shows this process below its root.
    if !visible || !world.has_cgroup_ids() {
        return;
    }
    let url = format!("http://shop.invalid:{port}/");
    assert_eq!(proxied(&url).finding, Finding::Bad(Fault::Refused));
    let http = http(&url);
    let target = crate::judge::Target {
        public: Some(PublicTarget { http, expires_within: Duration::from_secs(1) }),
        ..target(&url)
    };
    let probe =
        Probe { target: Arc::new(target), proxy_group: group, world: Arc::new(world), ..Probe::of_nothing() };
    let seen = through_proxy(&probe, Allowance::starting_now(Duration::from_secs(1)));
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    assert!(seen.text.ends_with(&format!(" on 127.0.0.2:{port}")), "{}", seen.text);
}
