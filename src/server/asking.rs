//! One plain GET of a path on a port of this host: what `init` tries paths with, and what `doctor` looks
//! at. Follows nothing, and reads no more than the head of the answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::wire::now;

/// Longest head that is read.
const LONGEST_HEAD: usize = 16 << 10;

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The status.
    pub status: u16,
    /// Until the whole head was there.
    pub took: Duration,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it was made beforehand and says nothing of how the app is.
    #[must_use]
    pub fn is_static(&self) -> bool {
        // Next.js says so itself; express.static and others serve files with ranges.
        let made_before =
            ["x-nextjs-cache", "x-nextjs-prerender"].iter().any(|name| self.header(name).is_some());
        let file = self.header("last-modified").is_some()
            && (self.header("etag").is_some() || self.header("accept-ranges").is_some());
        made_before || file
    }
}

/// Asks, for so long at most.
///
/// # Errors
/// Why there was no answer, as a fragment behind "GET /: ".
pub fn ask(address: IpAddr, port: u16, path: &str, host: &str, timeout: Duration) -> Result<Asked, String> {
    let begun = now();
    let left = || timeout.checked_sub(now().since(begun)).filter(|left| !left.is_zero());
    let shown = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer within {} s", timeout.as_secs()),
        _ => error.to_string(),
    };
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), timeout).map_err(shown)?;
    stream.set_write_timeout(Some(timeout)).map_err(shown)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: app-monitor\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(shown)?;
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if head.len() > LONGEST_HEAD {
            return Err("its answer is no HTTP".to_owned());
        }
        let Some(left) = left() else { return Err(shown(ErrorKind::TimedOut.into())) };
        stream.set_read_timeout(Some(left)).map_err(shown)?;
        let mut part = [0; 2048];
        match stream.read(&mut part) {
            Ok(0) => return Err("it hangs up without an answer in HTTP".to_owned()),
            Ok(read) => head.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(shown(error)),
        }
    };
    parse(&head[..end], now().since(begun)).ok_or_else(|| "its answer is no HTTP".to_owned())
}

fn parse(head: &[u8], took: Duration) -> Option<Asked> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Asked { status, took, headers: lines.filter_map(header).take(128).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(answer: &'static [u8]) -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        });
        port
    }

    fn get(answer: &'static [u8]) -> Result<Asked, String> {
        let localhost = "127.0.0.1".parse().unwrap();
        ask(localhost, server(answer), "/", "localhost", Duration::from_secs(2))
    }

    #[test]
    fn answers_are_read() {
        let asked = get(b"HTTP/1.1 302 Found\r\nLocation: /login\r\nX: \r\n\r\nbody").unwrap();
        assert_eq!((asked.status, asked.header("location")), (302, Some("/login")));
        assert!(!asked.is_static());
        let asked = get(b"HTTP/1.1 200 OK\r\nETag: x\r\nLast-Modified: y\r\n\r\n").unwrap();
        assert!(asked.is_static());
        assert_eq!(get(b"SSH-2.0-x\r\n\r\n").unwrap_err(), "its answer is no HTTP");
        assert_eq!(get(b"HTTP/1.1").unwrap_err(), "it hangs up without an answer in HTTP");
    }
}
