//! Paths and URLs of health checks, checked once where they enter. Not a general URL parser: only
//! what a check can ask for passes.

use std::net::Ipv6Addr;

/// What is asked: a path of the app's own port, or a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// From `/` on.
    Path(String),
    /// Scheme, host, port and path, each spelt out.
    Url(String),
}

/// Reads a path or URL.
///
/// # Errors
/// What is wrong with it. Says nothing of a URL's user and password.
pub(super) fn parse(text: &str) -> Result<Asked, String> {
    if text.starts_with('/') {
        return plain(text).map(|()| Asked::Path(text.to_owned()));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let expected =
            "expected a path such as \"/health\" or a URL such as \"http://127.0.0.1:3000/health\"";
        // It may be a URL without its scheme, and hold a password.
        let found =
            if text.contains('@') { "a text without http://".to_owned() } else { super::error::quoted(text) };
        return Err(format!("{expected}, found {found}"));
    };
    let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => return Err("the URL has to begin with http:// or https://".to_owned()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("the URL holds a user or password; give it as a header instead: \
                    http = { url = …, headers = { Authorization = \"Basic …\" } }"
            .to_owned());
    }
    plain(path)?;
    let (host, port) = self::authority(authority)?;
    let port = port.unwrap_or(default_port);
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Asked::Url(format!("{scheme}://{host}:{port}{slash}{path}")))
}

/// Host and port of a URL; an IPv6 address keeps its brackets.
pub(super) fn authority(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (address, port) =
                inside.split_once(']').ok_or("the IPv6 address of the URL lacks its closing ]")?;
            address.parse::<Ipv6Addr>().map_err(|_| "the host of the URL is no IPv6 address")?;
            let port = if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':').ok_or("only a port may follow the ] of the URL")?)
            };
            (format!("[{address}]"), port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (authority.to_owned(), None),
        },
    };
    if host.is_empty() {
        return Err("the URL lacks a host".to_owned());
    }
    if !host.starts_with('[')
        && !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    {
        return Err("the host of the URL may hold only letters, digits, dots and dashes (an \
                    international name in its xn-- form, an IPv6 address in [ ])"
            .to_owned());
    }
    let port = match port {
        None => None,
        Some(digits) => Some(
            digits
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0 && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or("the port of the URL is no number from 1 to 65535")?,
        ),
    };
    Ok((host, port))
}

/// Whether a path with its query goes into a request as it stands (RFC 3986, sections 3.3 and 3.4).
pub(super) fn plain(path: &str) -> Result<(), String> {
    for (at, c) in path.char_indices() {
        match c {
            '#' => return Err("a part behind # is never sent to a server; leave it out".to_owned()),
            '%' => {
                let hex = path.as_bytes().get(at + 1..at + 3);
                if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
                    return Err("two hexadecimal digits have to follow %".to_owned());
                }
            }
            c if c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(c) => {}
            c => {
                return Err(format!(
                    "{} has to be percent-encoded in a path or URL",
                    super::error::quoted(&c.to_string())
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_spelt_out() {
        let url = |text: &str| match parse(text) {
            Ok(Asked::Url(url) | Asked::Path(url)) => url,
            Err(why) => why,
        };
        assert_eq!(url("/health?full=1"), "/health?full=1");
        assert_eq!(url("HTTP://localhost:3000"), "http://localhost:3000/");
        assert_eq!(url("https://example.org/a"), "https://example.org:443/a");
        assert_eq!(url("http://[::1]:3000/a"), "http://[::1]:3000/a");
        assert_eq!(url("http://h?q=1"), "http://h:80/?q=1");
    }

    #[test]
    fn what_no_check_can_ask_is_refused() {
        let why = |text: &str| parse(text).unwrap_err();
        assert_eq!(
            why("health"),
            "expected a path such as \"/health\" or a URL such as \"http://127.0.0.1:3000/health\", found \"health\""
        );
        assert_eq!(why("ftp://h/"), "the URL has to begin with http:// or https://");
        assert!(why("http://me:geheim@h/").contains("give it as a header instead"));
        assert!(!why("http://me:geheim@h/").contains("geheim"));
        assert!(!why("me:geheim@h/").contains("geheim"));
        assert_eq!(why("http:///x"), "the URL lacks a host");
        assert_eq!(why("http://h:0/"), "the port of the URL is no number from 1 to 65535");
        assert_eq!(why("http://h:+80/"), "the port of the URL is no number from 1 to 65535");
        assert_eq!(why("/a b"), "\" \" has to be percent-encoded in a path or URL");
        assert_eq!(why("/a\r\nX: y"), "\"\\r\" has to be percent-encoded in a path or URL");
        assert_eq!(why("/a#b"), "a part behind # is never sent to a server; leave it out");
        assert_eq!(why("/a%2"), "two hexadecimal digits have to follow %");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(http://)?.*") {
            let _ = parse(&text);
        }
    }
}
