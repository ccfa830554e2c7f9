use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::judge::{Finding, Target};

const ALL: [DatabaseProtocol; 4] = [
    DatabaseProtocol::PostgreSql,
    DatabaseProtocol::MySql,
    DatabaseProtocol::Redis,
    DatabaseProtocol::MongoDb,
];

/// A server that does that with each connection.
fn serve(with: impl Fn(TcpStream) + Send + 'static) -> DatabasePlace {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().take(20).for_each(&with));
    DatabasePlace::Host("127.0.0.1".to_owned(), port)
}

/// A server that reads something, if it is of those that are spoken to first, and then says that.
fn says(protocol: DatabaseProtocol, bytes: impl Into<Vec<u8>>) -> DatabasePlace {
    let bytes = bytes.into();
    serve(move |mut stream| {
        if protocol != DatabaseProtocol::MySql {
            let _ = stream.read(&mut [0; 256]);
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 256]);
    })
}

fn well(protocol: DatabaseProtocol) -> Vec<u8> {
    match protocol {
        DatabaseProtocol::PostgreSql => b"R\0\0\0\x08\0\0\0\x03".to_vec(),
        DatabaseProtocol::MySql => b"\x08\0\0\0\x0a8.0.36\0".to_vec(),
        DatabaseProtocol::Redis => b"-NOAUTH Authentication required.\r\n".to_vec(),
        DatabaseProtocol::MongoDb => mongodb::tests::well(),
        DatabaseProtocol::Tcp => Vec::new(),
    }
}

fn target(protocol: DatabaseProtocol, places: &[DatabasePlace]) -> DatabaseTarget {
    DatabaseTarget {
        protocol,
        places: places.to_vec(),
        tls: false,
        timeout: Duration::from_millis(400),
        interval: Duration::from_secs(60),
    }
}

fn look(target: DatabaseTarget) -> Observation {
    let target = Target { database: Some(target), ..Target::of_unit("web.service".parse().unwrap()) };
    let probe = Probe { target: Arc::new(target), ..Probe::of_nothing() };
    check(&probe, Allowance::starting_now(Duration::from_secs(10)))
}

fn asked(protocol: DatabaseProtocol, places: &[DatabasePlace]) -> (Finding, String) {
    let seen = look(target(protocol, places));
    (seen.finding, seen.text)
}

fn nobody() -> DatabasePlace {
    let socket = super::super::tests::lonely("127.0.0.1");
    DatabasePlace::Host("127.0.0.1".to_owned(), socket.local_addr().unwrap().port())
}

#[test]
fn each_accepts_in_its_own_protocol() {
    for protocol in ALL {
        let (finding, text) = asked(protocol, &[says(protocol, well(protocol))]);
        assert_eq!(finding, Finding::Good, "{text}");
        assert!(text.contains(" accepts connections in "), "{text}");
    }
}

#[test]
fn who_says_no_is_down_with_its_words() {
    for (protocol, bytes, words) in [
        (
            DatabaseProtocol::PostgreSql,
            &b"E\0\0\0\x37SFATAL\0C57P03\0Mthe database system is starting up\0\0"[..],
            "the database system is starting up",
        ),
        (DatabaseProtocol::PostgreSql, b"Ecould not fork new process", "out of processes or memory?"),
        (
            DatabaseProtocol::MySql,
            b"\x17\0\0\0\xff\x10\x04Too many connections",
            "Too many connections (1040)",
        ),
        (DatabaseProtocol::Redis, b"-LOADING Redis is loading\r\n", "LOADING Redis is loading"),
    ] {
        let place = says(protocol, bytes);
        let (finding, text) = asked(protocol, std::slice::from_ref(&place));
        assert_eq!(finding, Finding::Bad(Fault::DatabaseDown), "{text}");
        let begin = format!("{} at {} does not accept connections: ", name(protocol), shown(&place));
        assert!(text.starts_with(&begin) && text.contains(words), "{text}");
    }
}

#[test]
fn refused_hung_up_on_and_silent_are_down() {
    for protocol in ALL {
        let refused = nobody();
        let (finding, text) = asked(protocol, std::slice::from_ref(&refused));
        assert_eq!(finding, Finding::Bad(Fault::DatabaseDown));
        let wanted =
            format!("{} at {} does not accept connections: refused", name(protocol), shown(&refused));
        assert_eq!(text, wanted);
        let (finding, text) = asked(protocol, &[serve(drop)]);
        assert_eq!(finding, Finding::Bad(Fault::DatabaseDown), "{text}");
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = DatabasePlace::Host("127.0.0.1".to_owned(), silent.local_addr().unwrap().port());
        let (finding, text) = asked(protocol, &[place]);
        assert_eq!(finding, Finding::Bad(Fault::DatabaseDown));
        assert!(text.ends_with("no answer in time"), "{text}");
    }
}

#[test]
fn drips_and_floods_meet_the_deadline_or_are_cut() {
    for protocol in ALL {
        let drip = serve(|mut stream| {
            while stream.write_all(b"\x01").is_ok() {
                thread::sleep(Duration::from_millis(30));
            }
        });
        let flood = serve(|mut stream| {
            let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
            while stream.write_all(&[b'-'; 4096]).is_ok() {}
        });
        let began = now();
        for place in [drip, flood] {
            let (finding, text) = asked(protocol, &[place]);
            assert_ne!(finding, Finding::Good, "{text}");
        }
        assert!(now().since(began) < Duration::from_millis(1200));
    }
}

#[test]
fn what_speaks_otherwise_is_unknown() {
    for protocol in ALL {
        let web = says(protocol, *b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        let (finding, text) = asked(protocol, &[web]);
        assert_eq!(finding, Finding::Unknown, "{text}");
        assert!(text.ends_with(&format!("does not speak as {} does", name(protocol))), "{text}");
    }
}

#[test]
fn one_of_several_places_is_enough() {
    let redis = DatabaseProtocol::Redis;
    let both = [nobody(), says(redis, *b"+PONG\r\n")];
    assert_eq!(asked(redis, &both).0, Finding::Good);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = DatabasePlace::Host("127.0.0.1".to_owned(), silent.local_addr().unwrap().port());
    assert_eq!(asked(redis, &[silent, both[1].clone()]).0, Finding::Good);
    let (finding, text) = asked(redis, &[nobody(), nobody()]);
    assert_eq!(finding, Finding::Bad(Fault::DatabaseDown));
    assert_eq!(text.matches("refused").count(), 2, "{text}");
    let lost = DatabasePlace::Host("no-such-host.invalid".to_owned(), 1);
    let (finding, text) = asked(redis, &[nobody(), lost]);
    assert_eq!(finding, Finding::Unknown, "{text}");
    assert_eq!(asked(redis, &[]).0, Finding::Unknown);
}

#[test]
fn localhost_is_either_family() {
    let listener = super::super::tests::lonely("::1");
    let place = DatabasePlace::Host("localhost".to_owned(), listener.local_addr().unwrap().port());
    assert_eq!(asked(DatabaseProtocol::Tcp, std::slice::from_ref(&place)).0, Finding::Good);
    drop(listener);
    let (finding, text) = asked(DatabaseProtocol::Tcp, &[place]);
    assert_eq!(finding, Finding::Bad(Fault::DatabaseDown));
    assert!(text.contains(" at localhost:") && text.ends_with(": refused"), "{text}");
}

#[test]
fn sockets_in_the_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.sock");
    let place = || [DatabasePlace::Socket(path.clone())];
    let redis = DatabaseProtocol::Redis;
    let (finding, text) = asked(redis, &place());
    assert_eq!(finding, Finding::Bad(Fault::DatabaseDown));
    assert!(text.ends_with("no such socket"), "{text}");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        stream.write_all(b"+PONG\r\n").unwrap();
    });
    assert_eq!(asked(redis, &place()).0, Finding::Good);
    server.join().unwrap();
    // It has gone, and left its socket behind.
    assert!(asked(redis, &place()).1.ends_with("refused"));
    let long = [DatabasePlace::Socket(dir.path().join("x".repeat(200)))];
    assert_eq!(asked(redis, &long).0, Finding::Unknown);
}

#[test]
fn a_socket_whose_queue_is_full_is_no_wait_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let address = SocketAddrUnix::new(path.as_path()).unwrap();
    let short = || Allowance::starting_now(Duration::from_millis(100));
    let mut held = Vec::new();
    let broken = (0..20_000).find_map(|_| match Wire::to_socket(&address, short()) {
        Ok(wire) => {
            held.push(wire);
            None
        }
        Err(broken) => Some(broken),
    });
    // A limit of open files may come first.
    assert!(matches!(broken, Some(Broken::Unanswered | Broken::Unable(_))), "{broken:?}");
}

#[test]
fn behind_tls_a_connection_is_enough() {
    let (tell, told) = mpsc::channel();
    let place = serve(move |mut stream| {
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        let _ = tell.send(heard);
    });
    let target = DatabaseTarget { tls: true, ..target(DatabaseProtocol::Redis, &[place]) };
    let seen = look(target);
    assert_eq!(seen.finding, Finding::Good, "{}", seen.text);
    assert!(seen.text.contains("takes connections (TLS, not asked further)"), "{}", seen.text);
    assert_eq!(told.recv().unwrap(), Vec::<u8>::new());
}

#[test]
fn what_waited_in_the_queue_for_long_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = DatabasePlace::Host("127.0.0.1".to_owned(), silent.local_addr().unwrap().port());
    let mut waited = Allowance::starting_now(Duration::from_millis(50));
    waited.waited = Duration::from_secs(9);
    let seen = ask_all(&target(DatabaseProtocol::Redis, &[place]), &waited);
    assert_eq!(seen.finding, Finding::Unknown, "{}", seen.text);
}
