//! An incident's file, whatever is in it: gone on with, and shown.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use super::incidents::{table, whole};
use super::terminal::Terminal;
use super::why::sentences;
use crate::fuzzing::kit::assert_plain;
use crate::incidents::{Book, LARGEST, Now, parse};
use crate::judge::{EventKind, Level, Moment, Record, Verdict};
use crate::plain::is_hidden;

/// An incident.
pub(crate) fn incident(bytes: &[u8]) {
    let Ok((incident, summary)) = parse(bytes) else { return };
    for width in [None, Some(60)] {
        let terminal =
            Terminal { colour: false, width, height: None, is_terminal: width.is_some(), ascii: false };
        let shown = whole(&incident, terminal) + &table(std::slice::from_ref(&summary), 0, None, terminal);
        assert!(!shown.contains(|c| c != '\n' && is_hidden(c)), "{shown:?}");
        assert!(width.is_none_or(|width| shown.lines().all(|line| line.chars().count() <= width)));
    }
    for wall in [i64::MIN, 0, i64::MAX] {
        sentences(&incident, None, wall).iter().for_each(|text| assert_plain(text, LARGEST * 4));
    }
    let id = incident.id.clone();
    let (subject, unit, app) = (incident.app.clone().into(), incident.unit.clone(), incident.app.clone());
    let open = incident.is_open();
    let mut book = Book::default();
    book.restore([incident], Now { moment: Moment::from_micros(5), wall_ms: 1 });
    assert_eq!(book.open().contains(&id), open);
    for event in [EventKind::RecoveryStarted, EventKind::StepDone, EventKind::IncidentClosed] {
        let record = Record {
            subject: std::clone::Clone::clone(&subject),
            app: app.clone(),
            unit: unit.clone(),
            event,
            level: Level::Warn,
            verdict: Verdict::Crashed,
            text: "what happened".to_owned(),
            incident: Some(id.clone()),
            alert: false,
            step: None,
            condition: None,
        };
        if let Some(page) = book.take(&record, Now { moment: Moment::from_micros(9), wall_ms: i64::MAX }) {
            assert!(page.text.len() <= LARGEST, "{} bytes", page.text.len());
            assert!(parse(&page.text).is_ok_and(|(read, _)| read.id == id));
        }
    }
}
