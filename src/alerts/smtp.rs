//! Hands a mail over to a server (RFC 5321), by a client of our own: it is ten commands, each with one
//! answer, over the TLS that is there already; every wait ends with the one deadline of the connection.
//!
//! TLS is had from the first byte (smtps) or by STARTTLS, and is verified. Where a server does not offer
//! it, a mail goes in clear, a password never does; on this host itself it may.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::endpoint::Endpoint;
use crate::plain::cut;

use super::forms::mail::{base64, name_of};
use super::http::reveals;
use super::lane::Failure;
use super::wire::{Deadline, Wire, connect, encrypt, plain};

/// All of a delivery: servers take their time for a greeting (RFC 5321, 4.5.3.2 allows minutes).
const WITHIN: Duration = Duration::from_secs(60);
/// Bounds of an answer: of a line (RFC 5321 has 512), and of all its lines.
const LINE: usize = 2_048;
const ANSWER: usize = 32 * 1024;

/// Who gets what from whom.
pub(super) struct Envelope<'a> {
    /// By which name this host greets.
    pub host: &'a str,
    pub from: &'a str,
    pub to: &'a [String],
    /// Headers and body.
    pub text: &'a str,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    /// Three digits.
    pub code: u16,
    /// What stands behind them, a line each.
    pub lines: Vec<String>,
}

impl Reply {
    fn is(&self, hundred: u16) -> bool {
        self.code / 100 == hundred
    }

    fn offers(&self, word: &str) -> bool {
        self.lines
            .iter()
            .skip(1)
            .any(|line| line.split([' ', '=']).next().is_some_and(|first| first.eq_ignore_ascii_case(word)))
    }

    fn offers_login(&self, how: &str) -> bool {
        let auth = |line: &&String| line.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("AUTH"));
        self.lines
            .iter()
            .filter(auth)
            .any(|line| line.split([' ', '=']).skip(1).any(|word| word.eq_ignore_ascii_case(how)))
    }
}

/// One line after the other of what the other side says, within bounds.
pub(super) struct Talk<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: Read + Write> Talk<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.unread.len() > LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
            }
            let mut buffer = [0; 512];
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
    }

    /// Reads an answer (RFC 5321, 4.2.1).
    pub fn reply(&mut self) -> io::Result<Reply> {
        let odd = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
        let (mut code, mut lines, mut size) = (None, Vec::new(), 0);
        loop {
            let line = self.line()?;
            size += line.len() + 2;
            if size > ANSWER {
                return Err(odd("an answer without end"));
            }
            let digits = line.get(..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            let number: u16 = digits
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(|| odd("no SMTP is spoken there"))?;
            if !(200..=599).contains(&number) || code.is_some_and(|code| code != number) {
                return Err(odd("no SMTP is spoken there"));
            }
            code = Some(number);
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            match line.as_bytes().get(3) {
                Some(b'-') => {}
                None | Some(b' ') => return Ok(Reply { code: number, lines }),
                Some(_) => return Err(odd("no SMTP is spoken there")),
            }
        }
    }

    fn say(&mut self, line: &str) -> io::Result<Reply> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.stream.flush()?;
        self.reply()
    }
}

/// How far it has come, for people.
fn broke(stage: &str, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::InvalidData => error.to_string(),
        _ => plain(error),
    };
    Failure::Later(format!("{stage}: {why}"), None)
}

/// What an answer that is no yes means. `liked`: of the message itself, not of who we are.
fn refused(stage: &str, reply: &Reply, of_message: bool, endpoint: &Endpoint) -> Failure {
    let said = cut(&reply.lines.join(" "), 120);
    // Some repeat what they were told.
    let said = if reveals(&said, endpoint) { String::new() } else { format!(" {said}") };
    let text = format!("{stage} is answered {}{said}", reply.code);
    match (reply.is(4), of_message) {
        (true, _) => Failure::Later(text, None),
        (false, true) => Failure::Disliked(text),
        (false, false) => Failure::Unwelcome(text),
    }
}

/// Hands a mail over.
pub(super) fn deliver(endpoint: &Endpoint, envelope: &Envelope<'_>) -> Result<String, Failure> {
    let deadline = Deadline::within(WITHIN);
    let later = |why: String| Failure::Later(why, None);
    let (stream, address) = connect(&endpoint.host, endpoint.port, deadline).map_err(later)?;
    let local = address.ip().to_canonical().is_loopback();
    let wire = if endpoint.encrypted {
        encrypt(stream, &endpoint.host).map_err(later)?
    } else {
        Wire::Clear(stream)
    };
    let mut talk = Talk::new(wire);
    let mut greeted = greet(&mut talk, endpoint, envelope.host)?;
    let encrypted = matches!(talk.stream, Wire::Tls(_));
    if !encrypted && greeted.offers("STARTTLS") && wants_tls(local, endpoint, &greeted) {
        talk = start_tls(talk, endpoint)?;
        greeted = hello(&mut talk, endpoint, envelope.host)?;
    }
    let secure = matches!(talk.stream, Wire::Tls(_)) || local;
    log_in(&mut talk, endpoint, &greeted, secure)?;
    hand_over(&mut talk, endpoint, envelope)
}

/// On this host there is nobody in between, and certificates of servers for their own host are mostly
/// self-signed; but some take no password without TLS.
fn wants_tls(local: bool, endpoint: &Endpoint, greeted: &Reply) -> bool {
    !local || endpoint.user.is_some() && !greeted.offers("AUTH")
}

fn start_tls(mut talk: Talk<Wire>, endpoint: &Endpoint) -> Result<Talk<Wire>, Failure> {
    let stage = "STARTTLS";
    let reply = talk.say(stage).map_err(|error| broke(stage, &error))?;
    if !reply.is(2) {
        return Err(refused(stage, &reply, false, endpoint));
    }
    // What was sent in clear must not count as said in TLS.
    if !talk.unread.is_empty() {
        return Err(Failure::Later("STARTTLS: more is said than was asked".to_owned(), None));
    }
    let Wire::Clear(stream) = talk.stream else { return Ok(talk) };
    encrypt(stream, &endpoint.host).map(Talk::new).map_err(|why| Failure::Later(why, None))
}

fn greet<S: Read + Write>(talk: &mut Talk<S>, endpoint: &Endpoint, host: &str) -> Result<Reply, Failure> {
    let reply = talk.reply().map_err(|error| broke("greeting", &error))?;
    if !reply.is(2) {
        return Err(refused("connecting", &reply, false, endpoint));
    }
    hello(talk, endpoint, host)
}

fn hello<S: Read + Write>(talk: &mut Talk<S>, endpoint: &Endpoint, host: &str) -> Result<Reply, Failure> {
    let reply = talk.say(&format!("EHLO {}", name_of(host))).map_err(|error| broke("EHLO", &error))?;
    if reply.is(2) { Ok(reply) } else { Err(refused("EHLO", &reply, false, endpoint)) }
}

/// Says who we are, where a user is configured (RFC 4954).
fn log_in<S: Read + Write>(
    talk: &mut Talk<S>,
    endpoint: &Endpoint,
    greeted: &Reply,
    secure: bool,
) -> Result<(), Failure> {
    let Some((user, password)) = &endpoint.user else { return Ok(()) };
    if !secure {
        let why = "offers no TLS, and a password is not sent in clear text";
        return Err(Failure::Unwelcome(why.to_owned()));
    }
    let mut say = |line: &str| talk.say(line).map_err(|error| broke("AUTH", &error));
    let reply = if greeted.offers_login("PLAIN") {
        say(&format!("AUTH PLAIN {}", base64(format!("\0{user}\0{password}").as_bytes())))?
    } else if greeted.offers_login("LOGIN") {
        let mut reply = say("AUTH LOGIN")?;
        for secret in [user, password] {
            if reply.code == 334 {
                reply = say(&base64(secret.as_bytes()))?;
            }
        }
        reply
    } else {
        return Err(Failure::Unwelcome("takes neither AUTH PLAIN nor AUTH LOGIN".to_owned()));
    };
    if reply.is(2) { Ok(()) } else { Err(refused("AUTH", &reply, false, endpoint)) }
}

fn hand_over<S: Read + Write>(
    talk: &mut Talk<S>,
    endpoint: &Endpoint,
    envelope: &Envelope<'_>,
) -> Result<String, Failure> {
    let reply = talk.say(&format!("MAIL FROM:<{}>", envelope.from)).map_err(|error| broke("MAIL", &error))?;
    if !reply.is(2) {
        return Err(refused("MAIL", &reply, false, endpoint));
    }
    let (mut taken, mut no) = (0, None);
    for to in envelope.to {
        let reply = talk.say(&format!("RCPT TO:<{to}>")).map_err(|error| broke("RCPT", &error))?;
        if reply.is(2) { taken += 1 } else { no = Some(reply) }
    }
    if let (0, Some(reply)) = (taken, &no) {
        return Err(refused("RCPT", reply, false, endpoint));
    }
    let reply = talk.say("DATA").map_err(|error| broke("DATA", &error))?;
    if reply.code != 354 {
        return Err(refused("DATA", &reply, true, endpoint));
    }
    let reply = talk
        .say(&format!("{}.", stuffed(envelope.text)))
        .map_err(|error| broke("the end of DATA", &error))?;
    if !reply.is(2) {
        return Err(refused("the mail", &reply, true, endpoint));
    }
    // It is theirs now, whatever becomes of the farewell.
    let _ = talk.stream.write_all(b"QUIT\r\n").and_then(|()| talk.stream.flush());
    let of =
        if no.is_some() { format!(" for {taken} of {} addresses", envelope.to.len()) } else { String::new() };
    Ok(format!("is taken{of}"))
}

/// A dot more before each that begins a line (RFC 5321, 4.5.2); the text ends with a line's end.
fn stuffed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive("\r\n") {
        if line.starts_with('.') {
            out.push('.');
        }
        out.push_str(line);
    }
    if !out.ends_with("\r\n") {
        out.push_str("\r\n");
    }
    out
}

/// Where mail is taken without anything being configured: by this host.
pub(super) fn local() -> Endpoint {
    let path = "/".to_owned();
    Endpoint { encrypted: false, user: None, host: IpAddr::from([127, 0, 0, 1]).to_string(), port: 25, path }
}

/// For what reads the words of others without a network.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn converse<S: Read + Write>(
    stream: S,
    endpoint: &Endpoint,
    envelope: &Envelope<'_>,
) -> Result<String, Failure> {
    let mut talk = Talk::new(stream);
    let greeted = greet(&mut talk, endpoint, envelope.host)?;
    log_in(&mut talk, endpoint, &greeted, true)?;
    hand_over(&mut talk, endpoint, envelope)
}

#[cfg(test)]
mod tests;
