//! Where a redirect leads, and whether that is still the same host.

use std::net::IpAddr;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

use super::super::text::clean;

/// The URL that `location` means when `base` answered with it (RFC 3986, 5.2); none when it is not
/// an http or https URL.
pub(in crate::checks) fn join(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.trim().split('#').next()?;
    let (scheme, authority) = (base.scheme_str()?, base.authority()?.as_str());
    let lower = location.to_ascii_lowercase();
    let text = if lower.starts_with("http://") || lower.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{}", without_dots(location))
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else if location.is_empty() {
        base.to_string()
    } else if has_scheme(location) {
        return None;
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{}", without_dots(&format!("{folder}/{location}")))
    };
    let uri: Uri = text.parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty())?;
    // A user and password in a location is no place that a health check has business at.
    (!host.is_empty() && !uri.authority()?.as_str().contains('@')).then_some(uri)
}

/// Bytes that the URL takes in the head of a request, its host among them.
pub(super) fn length(uri: &Uri) -> usize {
    let of_host = uri.authority().map_or(0, |authority| authority.as_str().len());
    of_host + uri.path_and_query().map_or(0, |path| path.as_str().len())
}

/// `mailto:x` has a scheme, `a/b:c` and `./a:b` have none.
fn has_scheme(location: &str) -> bool {
    let head = location.split(['/', '?']).next().unwrap_or_default();
    head.split_once(':')
        .is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
}

/// Takes `.` and `..` out of the path (RFC 3986, 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut parts: Vec<&str> = Vec::new();
    let all: Vec<&str> = path.split('/').skip(1).collect();
    for (i, part) in all.iter().enumerate() {
        let last = i + 1 == all.len();
        match *part {
            "." | ".." => {
                if *part == ".." {
                    parts.pop();
                }
                if last {
                    parts.push("");
                }
            }
            part => parts.push(part),
        }
    }
    let path = format!("/{}", parts.join("/"));
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// The host of a URL without the brackets of IPv6.
pub(in crate::checks) fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Whether a URL names this machine's loopback.
pub(in crate::checks) fn is_loopback(uri: &Uri) -> bool {
    let host = host(uri);
    is_localhost(host) || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The name that is never resolved (RFC 6761, 6.3).
pub(in crate::checks) fn is_localhost(host: &str) -> bool {
    host.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// The same host, whatever the scheme and port: `localhost`, 127.0.0.1 and ::1 are one.
pub(in crate::checks) fn same_host(one: &Uri, other: &Uri) -> bool {
    host(one).trim_end_matches('.').eq_ignore_ascii_case(host(other).trim_end_matches('.'))
        || (is_loopback(one) && is_loopback(other))
}

/// Whether configured headers, which may hold tokens, go along to a URL that `first` redirected to:
/// never in clear text over a network, when they were to be encrypted.
pub(in crate::checks) fn may_have_secrets(first: &Uri, now: &Uri) -> bool {
    first.scheme() == now.scheme() || now.scheme() == Some(&Scheme::HTTPS) || is_loopback(now)
}

/// A URL for people: without its query, which may hold tokens.
pub(in crate::checks) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    clean(&format!("{scheme}://{authority}{}", uri.path()), 100)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn locations_are_joined() {
        let base: Uri = "http://localhost:3000/a/b?x=1".parse().unwrap();
        for (location, whole) in [
            ("/c", "http://localhost:3000/c"),
            ("c", "http://localhost:3000/a/c"),
            ("./c", "http://localhost:3000/a/c"),
            ("../c?y#z", "http://localhost:3000/c?y"),
            ("../../../c/..", "http://localhost:3000/"),
            ("?y=2", "http://localhost:3000/a/b?y=2"),
            ("//example.com/x", "http://example.com/x"),
            ("https://localhost/x#y", "https://localhost/x"),
            ("HTTP://LOCALHOST:1/", "http://LOCALHOST:1/"),
        ] {
            assert_eq!(
                join(&base, location).map(|uri| uri.to_string()).as_deref(),
                Some(whole),
                "{location}"
            );
        }
        for bad in ["mailto:a@b", "javascript:alert(1)", "http://", "http://u:p@localhost/", "/\u{7f}"] {
            assert_eq!(join(&base, bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_are_compared() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        for (one, other, same) in [
            ("http://localhost:3000/", "https://LOCALHOST/", true),
            ("http://localhost:3000/", "http://127.0.0.1:4000/", true),
            ("http://[::1]/", "http://localhost./", true),
            ("http://example.com/", "https://example.com:8443/", true),
            ("http://example.com/", "http://www.example.com/", false),
            ("http://localhost/", "https://example.com/", false),
        ] {
            assert_eq!(same_host(&uri(one), &uri(other)), same, "{one} {other}");
        }
        assert!(!may_have_secrets(&uri("https://example.com/"), &uri("http://example.com/")));
        assert!(may_have_secrets(&uri("http://localhost/"), &uri("http://localhost:1/")));
        assert_eq!(shown(&uri("https://example.com/login?token=1")), "https://example.com/login");
    }

    proptest! {
        #[test]
        fn any_location_is_survived(location in ".{0,80}") {
            let base: Uri = "http://localhost:3000/a/b".parse().unwrap();
            if let Some(uri) = join(&base, &location) {
                prop_assert!(uri.host().is_some() && uri.scheme().is_some());
            }
        }
    }
}
