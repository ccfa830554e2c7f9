//! What waits in a file, whatever is in it, and what a mail server says.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use std::io::{self, Read, Write};
use std::time::Duration;

use crate::config::endpoint::Endpoint;
use crate::config::{Alert, Channel, Source, Web};
use crate::fuzzing::kit::{assert_plain, parts};
use crate::judge::{Clocks, EventKind, Moment, Secret};

use super::forms;
use super::lane::{Failure, Last, MOST_WAITING};
use super::message::Message;
use super::queue::{Queue, Stored};
use super::smtp;

/// The file of the queue: a monitor goes on from it.
pub(crate) fn alerts(bytes: &[u8]) {
    let Ok(stored) = Stored::parse(bytes) else { return };
    let boot = stored.clocks.boot.clone();
    for boot in [boot, "another".to_owned()] {
        go_on(stored.clone(), &Clocks { boot, monotonic: Moment::from_micros(5_000_000), wall: 9_000 });
    }
}

fn go_on(stored: Stored, clocks: &Clocks) {
    let url = || Source::Url(Secret("https://example.org/a".to_owned()));
    let alerts: Vec<Alert> = stored
        .lanes
        .keys()
        .take(8)
        .map(|name| Alert {
            name: name.clone(),
            channel: Channel::Web { web: Web::Webhook, source: url(), chat: None },
            events: vec![EventKind::IncidentOpened],
            repeat: Some(Duration::from_secs(600)),
            min_duration: Duration::from_secs(5),
        })
        .collect();
    let mut now = clocks.monotonic;
    let mut queue = Queue::restore(stored, clocks);
    queue.configure(alerts);
    queue.begin(now, clocks.wall, &[], &std::collections::BTreeSet::new());
    for pause in [0, 30, 3_600, 86_400, 400_000] {
        now = now + Duration::from_secs(pause);
        let _ = queue.due();
        for order in queue.next(now, clocks.wall, 9) {
            assert!(!order.batch.items.is_empty() && order.batch.items.len() <= 20);
            said(&order.batch.items, order.batch.missing);
            let last = Last { time: 1, sent: false, text: String::new() };
            let failure = Failure::Later("x".to_owned(), None);
            assert!(queue.failed(now, &order.alert.name, &failure, last).is_some());
        }
        assert!(queue.views(now).iter().all(|view| view.waiting <= MOST_WAITING));
    }
    // What is written then reads back as it is.
    let written = queue.stored(clocks.clone());
    let text = serde_json::to_vec(&written).expect("it can be written");
    let read = Stored::parse(&text).expect("it can be read");
    assert_eq!(serde_json::to_vec(&read).expect("it can be written"), text);
}

/// In every form it is bounded.
fn said(items: &[super::Item], missing: u32) {
    let message = Message { host: "h".to_owned(), items: items.to_vec(), missing, test: None, time: 9_000 };
    assert_plain(&message.title(), 160);
    for web in [Web::Webhook, Web::Slack, Web::Discord, Web::Telegram, Web::Ntfy] {
        let secret = if web == Web::Telegram { "1:abcdefghijk" } else { "https://example.org/a" };
        let request = forms::request(web, secret, Some("1"), &message).expect("a good URL");
        assert!(request.body.len() < 256 << 10, "{}", request.body.len());
        if web == Web::Discord {
            let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            assert!(body["content"].as_str().is_some_and(|text| text.chars().count() <= 2_000));
        }
    }
    let mail = forms::mail::text(&message, "a@b", &["c@d".to_owned()]);
    assert!(mail.is_ascii() && mail.lines().all(|line| line.len() < 998), "{mail}");
}

/// The other side of a conversation; what it hears is looked at.
struct Server<'a> {
    says: &'a [u8],
    heard: Vec<u8>,
}

impl Read for Server<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Server<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a mail server says; behind it, in a part of its own, the text of a mail.
pub(crate) fn smtp(bytes: &[u8]) {
    let mut all = parts(bytes);
    let says = all.next().unwrap_or_default();
    let text = String::from_utf8_lossy(all.next().unwrap_or(b"A: b\r\n\r\nc\r\n")).into_owned();
    for user in [None, Some(("someone".to_owned(), "geheim".to_owned()))] {
        let mut server = Server { says, heard: Vec::new() };
        let has_secret = user.is_some();
        let endpoint = Endpoint { user, ..smtp::local() };
        let to = ["a@b".to_owned(), "c@d".to_owned()];
        let envelope = smtp::Envelope { host: "h", from: "m@h", to: &to, text: &text };
        match smtp::converse(&mut server, &endpoint, &envelope) {
            Ok(text) => assert_plain(&text, 60),
            Err(failure) => {
                assert_plain(failure.why(), 200);
                assert!(!has_secret || !failure.why().contains("geheim"), "{}", failure.why());
            }
        }
        // Only a line that is a dot alone ends the mail, and that is ours.
        let heard = String::from_utf8_lossy(&server.heard);
        if let Some((_, mail)) = heard.split_once("\r\nDATA\r\n") {
            let ends = mail.split("\r\n").filter(|line| *line == ".").count();
            assert!(ends <= 1, "{mail:?}");
        }
    }
}
