//! URLs to which something is sent. They hold passwords and tokens, so nothing of them is ever quoted:
//! neither where they are configured, nor where they come out of a credential.

use super::url;

/// A URL in its parts.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// TLS from the first byte on.
    pub encrypted: bool,
    /// User and password, decoded.
    pub user: Option<(String, String)>,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// The port, that of the scheme where none is given.
    pub port: u16,
    /// From `/` on, with the query.
    pub path: String,
}

impl Endpoint {
    /// The host as it stands in a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The URL without user and password.
    #[must_use]
    pub fn url(&self) -> String {
        let (scheme, usual) = if self.encrypted { ("https", 443) } else { ("http", 80) };
        // Some take a port in the header Host for another host.
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{}{port}{}", self.authority(), self.path)
    }
}

/// Reads the URL of a webhook.
///
/// # Errors
/// What is wrong with it, without a word of it.
pub fn of_web(text: &str) -> Result<Endpoint, String> {
    let expected = "expected a URL that begins with https:// or http://";
    parse(text, [("http", 80), ("https", 443)], expected)
}

/// Reads the URL of a bot of Telegram, or its token alone.
///
/// # Errors
/// As [`of_web`].
pub fn of_telegram(text: &str) -> Result<Endpoint, String> {
    let expected = "expected the token of the bot, or https://api.telegram.org/botTOKEN";
    let is_token = |token: &str| {
        let parts = token.split_once(':');
        parts.is_some_and(|(number, key)| {
            !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
                && key.len() >= 10
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
    };
    let mut endpoint = match is_token(text) {
        true => of_web(&format!("https://api.telegram.org/bot{text}"))?,
        false => of_web(text).map_err(|why| if text.contains("://") { why } else { expected.to_owned() })?,
    };
    let base = endpoint.path.trim_end_matches('/').trim_end_matches("/sendMessage").to_owned();
    if !base.rsplit('/').next().and_then(|last| last.strip_prefix("bot")).is_some_and(is_token) {
        return Err(expected.to_owned());
    }
    endpoint.path = base;
    Ok(endpoint)
}

/// Reads the URL of a mail server.
///
/// # Errors
/// As [`of_web`].
pub fn of_mail(text: &str) -> Result<Endpoint, String> {
    let expected =
        "expected a URL such as \"smtp://USER:PASSWORD@HOST:587\" or \"smtps://USER:PASSWORD@HOST\"";
    let mut endpoint = parse(text, [("smtp", 0), ("smtps", 465)], expected)?;
    if endpoint.path != "/" {
        return Err("nothing may follow the host of a mail server; addresses go into to and from".to_owned());
    }
    if endpoint.port == 0 {
        // RFC 6409: 587 is where users hand mail in; 25 where servers do.
        endpoint.port = if endpoint.user.is_some() { 587 } else { 25 };
    }
    Ok(endpoint)
}

/// Most bytes of a URL.
const LONGEST: usize = 2_048;

fn parse(text: &str, schemes: [(&str, u16); 2], expected: &str) -> Result<Endpoint, String> {
    if text.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let (scheme, rest) = text.split_once("://").ok_or(expected)?;
    let scheme = scheme.to_ascii_lowercase();
    let known = schemes.iter().position(|(word, _)| *word == scheme).ok_or(expected)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, authority)) => (Some(user_of(user)?), authority),
        None => (None, authority),
    };
    url::plain(path).map_err(|_| "its path holds what has to be percent-encoded in a URL")?;
    let (host, port) = url::authority(authority)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Endpoint {
        encrypted: known == 1,
        user,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: port.unwrap_or(schemes.get(known).map_or(0, |(_, port)| *port)),
        path: format!("{slash}{path}"),
    })
}

fn user_of(text: &str) -> Result<(String, String), String> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let read = |text: &str| {
        decoded(text).filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
            "user or password of the URL cannot be read; write what is no letter or digit as % and two hexadecimal digits"
                .to_owned()
        })
    };
    Ok((read(user)?, read(password)?))
}

/// Takes percent-encoding away (RFC 3986, 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        out.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// An address of mail as it goes into a command of SMTP: one @, a name before and a host behind it,
/// nothing that would need quotes (RFC 5321, 4.1.2).
pub(super) fn is_mailbox(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    text.len() <= 254
        && text.rsplit_once('@').is_some_and(|(name, host)| {
            (1..=64).contains(&name.len()) && name.bytes().all(plain) && super::list::host(host)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let one = of_mail("smtp://me%40example.org:p%3Aw@mail.example.org").unwrap();
        assert_eq!(one.user, Some(("me@example.org".to_owned(), "p:w".to_owned())));
        assert_eq!((one.host.as_str(), one.port, one.encrypted), ("mail.example.org", 587, false));
        let port = |text: &str| of_mail(text).unwrap().port;
        assert_eq!([port("smtp://h"), port("smtps://h"), port("smtp://u:p@h:26")], [25, 465, 26]);
        let one = of_web("https://tk:@[::1]:8443/a?b=c").unwrap();
        assert_eq!((one.host.as_str(), one.port, one.path.as_str()), ("::1", 8443, "/a?b=c"));
        assert_eq!(one.url(), "https://[::1]:8443/a?b=c");
        for text in ["123456:ABC-def_1234", "https://api.telegram.org/bot123456:ABC-def_1234/sendMessage"] {
            assert_eq!(of_telegram(text).unwrap().url(), "https://api.telegram.org/bot123456:ABC-def_1234");
        }
    }

    #[test]
    fn nothing_of_them_is_quoted() {
        for text in [
            "geheim",
            "ftp://geheim/",
            "https://geheim geheim/",
            "https://u:geheim%zz@h/",
            "https://h/geheim#geheim",
            "https://h:geheim/",
            "smtp://u:geheim@h/geheim",
            "https://h/\u{7}geheim",
            "https://[geheim]/",
        ] {
            for why in
                [of_web(text).err(), of_mail(text).err(), of_telegram(text).err()].into_iter().flatten()
            {
                assert!(!why.contains("geheim"), "{text}: {why}");
            }
            assert!(of_mail(text).is_err() && of_telegram(text).is_err());
        }
    }

    #[test]
    fn mailboxes() {
        for good in ["a@b", "first.last+tag@example.org", "root@localhost"] {
            assert!(is_mailbox(good), "{good}");
        }
        for bad in ["", "a", "@b", "a@", "a b@c", "a@b c", "a\r\nRCPT TO:<x>@b", "<a@b>", "ä@b", "a@b>"] {
            assert!(!is_mailbox(bad), "{bad}");
        }
    }
}
