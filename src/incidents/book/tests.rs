use super::*;
use crate::judge::StepReport;

fn now(seconds: i64) -> Now {
    Now { moment: Moment::from_micros(seconds * 1_000_000), wall_ms: 1_795_329_600_000 + seconds * 1_000 }
}

fn record(event: EventKind, incident: Option<&str>, text: &str) -> Record {
    Record {
        subject: "web".parse().unwrap(),
        app: "web".parse().unwrap(),
        unit: "web.service".parse().unwrap(),
        event,
        level: Level::Info,
        verdict: Verdict::Crashed,
        text: text.to_owned(),
        incident: incident.map(str::to_owned),
        alert: false,
        step: None,
        condition: None,
    }
}

fn parsed(page: Option<Page>) -> Incident {
    serde_json::from_slice(&page.unwrap().text).unwrap()
}

/// From the first suspicion to the closing, a second each.
fn story(book: &mut Book, end: Record) -> Incident {
    let id = Some("web-3");
    assert_eq!(book.take(&record(EventKind::CheckFailed, None, "GET / answers 500"), now(1)), None);
    let opened = record(EventKind::IncidentOpened, id, "incident web-3: crashed: exited with status 1");
    book.take(&opened, now(2)).unwrap();
    book.take(&record(EventKind::RecoveryStarted, id, "starting it, attempt 1 of 3"), now(3)).unwrap();
    let mut step = record(EventKind::StepDone, id, "start: done in 25 ms");
    step.step = Some(StepReport { step: "start".to_owned(), done: true, took_ms: 25 });
    book.take(&step, now(4)).unwrap();
    book.take(&end, now(5)).unwrap();
    let mut closed = record(EventKind::IncidentClosed, id, "crashed is over after 4 s: healthy");
    closed.verdict = end.verdict;
    parsed(book.take(&closed, now(6)))
}

#[test]
fn an_incident_is_told_from_suspicion_to_end() {
    let mut book = Book::default();
    let mut verified = record(EventKind::RecoveryVerified, Some("web-3"), "recovered");
    verified.verdict = Verdict::Healthy;
    let incident = story(&mut book, verified);
    assert_eq!((incident.outcome, incident.verdict), (Outcome::Recovered, Verdict::Crashed));
    assert_eq!(incident.text, "exited with status 1");
    assert_eq!(incident.opened, "2026-11-22T06:40:02.000Z");
    assert_eq!(incident.closed.as_deref(), Some("2026-11-22T06:40:06.000Z"));
    assert_eq!(incident.lasted_ms, Some(4_000));
    let times: Vec<i64> = incident.timeline.iter().map(|entry| entry.after_ms).collect();
    assert_eq!(times, [-1_000, 0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(incident.steps.len(), 1);
    assert_eq!((incident.steps[0].took_ms, incident.steps[0].recovery), (25, 1));
    assert!(book.open().is_empty());
}

#[test]
fn outcomes_are_told_apart() {
    let id = Some("web-3");
    let mut late = record(EventKind::RecoveryFailed, id, "it did not help: x");
    late.level = Level::Warn;
    late.verdict = Verdict::Healthy;
    let mut gave_way = record(EventKind::RecoveryFailed, id, "somebody else decided");
    gave_way.verdict = Verdict::Healthy;
    let mut stopped = record(EventKind::StoppedByAdmin, id, "stopped");
    stopped.verdict = Verdict::StoppedByAdmin;
    for (end, outcome) in
        [(late, Outcome::EndedByItself), (gave_way, Outcome::SomebodyElse), (stopped, Outcome::SomebodyElse)]
    {
        assert_eq!(story(&mut Book::default(), end).outcome, outcome);
    }
    let mut book = Book::default();
    let opened = record(EventKind::IncidentOpened, id, "x");
    assert_eq!(parsed(book.take(&opened, now(1))).outcome, Outcome::Open);
    let breaker = record(EventKind::BreakerOpened, id, "x");
    assert_eq!(parsed(book.take(&breaker, now(2))).outcome, Outcome::GaveUp);
    let reset = record(EventKind::BreakerClosed, id, "x");
    assert_eq!(parsed(book.take(&reset, now(3))).outcome, Outcome::Open);
}

#[test]
fn evidence_finds_the_incident_that_is_open_or_opens_within_a_minute() {
    let unit: UnitName = "web.service".parse().unwrap();
    let other: UnitName = "api.service".parse().unwrap();
    let evidence = |text: &str| Evidence::new(0, None, vec![text.to_owned()]);
    let opened = record(EventKind::IncidentOpened, Some("web-1"), "x");
    for (gathered_at, attached) in [(100, true), (41, true), (39, false)] {
        let mut book = Book::default();
        assert_eq!(book.take_evidence(&unit, evidence("early"), now(gathered_at)), None);
        assert_eq!(book.take_evidence(&other, evidence("of another"), now(100)), None);
        let incident = parsed(book.take(&opened, now(100)));
        assert_eq!(incident.evidence.len(), usize::from(attached), "{gathered_at}");
        let incident = parsed(book.take_evidence(&unit, evidence("late"), now(102)));
        let last = incident.evidence.last().unwrap();
        assert_eq!((last.lines[0].as_str(), last.after_ms), ("late", 2_000));
    }
}

#[test]
fn another_monitor_goes_on_with_the_same_incident() {
    let mut book = Book::default();
    let opened = record(EventKind::IncidentOpened, Some("web-1"), "x");
    book.take(&record(EventKind::RecoveryStarted, Some("web-1"), "restarting"), now(1));
    let left = parsed(book.take(&opened, now(2)));

    // The wall clock went back by an hour meanwhile.
    let mut book = Book::default();
    let then = Now { moment: Moment::from_micros(5_000_000), wall_ms: now(2).wall_ms - 3_600_000 };
    book.restore([left], then);
    let later = Now { moment: Moment::from_micros(7_000_000), ..then };
    let go_on = "the monitor was restarted in the middle of a recovery; going on with it";
    let incident = parsed(book.take(&record(EventKind::RecoveryStarted, Some("web-1"), go_on), later));
    assert_eq!(incident.recoveries, 1);
    assert_eq!(incident.timeline.len(), 3);
    assert!(incident.timeline.is_sorted_by_key(|entry| entry.after_ms));
}

#[test]
fn what_nobody_follows_any_more_is_closed() {
    let mut book = Book::default();
    for id in ["web-1", "api-1"] {
        book.take(&record(EventKind::IncidentOpened, Some(id), "x"), now(1));
    }
    let pages = book.keep_only(&BTreeSet::from(["web-1".to_owned()]), now(9));
    assert_eq!(pages.len(), 1);
    let incident = parsed(pages.into_iter().next());
    assert_eq!((incident.id.as_str(), incident.outcome), ("api-1", Outcome::NotFollowed));
    assert_eq!(book.open(), BTreeSet::from(["web-1".to_owned()]));
}
