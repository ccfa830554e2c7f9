use std::time::Duration;

use super::*;
use crate::config::{Channel, Source, Web};
use crate::judge::{EventKind, Level, Secret, Verdict};

const WALL: i64 = 1_795_329_612;

fn at(seconds: u64) -> Moment {
    Moment::from_micros(1_000_000_000) + Duration::from_secs(seconds)
}

fn alert(name: &str) -> Alert {
    let source = Source::Url(Secret("https://example.org/".to_owned()));
    Alert {
        name: name.to_owned(),
        channel: Channel::Web { web: Web::Webhook, source, chat: None },
        events: vec![
            EventKind::IncidentOpened,
            EventKind::IncidentClosed,
            EventKind::ConditionBegan,
            EventKind::ConditionEnded,
            EventKind::BreakerOpened,
        ],
        repeat: None,
        min_duration: Duration::ZERO,
    }
}

fn record(app: &str, event: EventKind, incident: Option<u32>, text: &str) -> Record {
    Record {
        subject: app.parse().unwrap(),
        app: app.parse().unwrap(),
        unit: format!("{app}.service").parse().unwrap(),
        event,
        level: Level::Warn,
        verdict: Verdict::Crashed,
        text: text.to_owned(),
        incident: incident.map(|number| format!("{app}-{number}")),
        alert: true,
        step: None,
        condition: None,
    }
}

fn opened(app: &str) -> Record {
    record(app, EventKind::IncidentOpened, Some(1), "incident: crashed")
}

fn closed(app: &str) -> Record {
    record(app, EventKind::IncidentClosed, Some(1), "crashed is over after 5 s")
}

fn queue(alerts: Vec<Alert>) -> Queue {
    let mut queue = Queue::default();
    queue.configure(alerts);
    queue
}

fn last(sent: bool) -> Last {
    Last { time: WALL, sent, text: String::new() }
}

/// What goes out then, as texts.
fn out(queue: &mut Queue, seconds: u64) -> Vec<Vec<String>> {
    let orders = queue.next(at(seconds), WALL, 99);
    orders.iter().map(|order| order.batch.items.iter().map(|item| item.text.clone()).collect()).collect()
}

/// The same, and it gets there.
fn sent(queue: &mut Queue, seconds: u64) -> Vec<Vec<String>> {
    let orders = queue.next(at(seconds), WALL, 99);
    for order in &orders {
        queue.sent(at(seconds), &order.alert.name, &order.batch, last(true));
    }
    orders.iter().map(|order| order.batch.items.iter().map(|item| item.text.clone()).collect()).collect()
}

fn fail(queue: &mut Queue, seconds: u64, failure: &Failure) -> Next {
    queue.failed(at(seconds), "a", failure, last(false)).unwrap().0
}

fn later() -> Failure {
    Failure::Later("no answer".to_owned(), None)
}

fn clocks(boot: &str, seconds: u64, wall: i64) -> Clocks {
    Clocks { boot: boot.to_owned(), monotonic: at(seconds), wall }
}

/// As a monitor after this one finds it.
fn again(queue: &mut Queue, alerts: Vec<Alert>, now: &Clocks, open: &[Record]) -> Queue {
    let text = serde_json::to_vec(&queue.stored(clocks("a", 100, WALL))).unwrap();
    let mut queue = Queue::restore(Stored::parse(&text).unwrap(), now);
    queue.configure(alerts);
    queue.begin(now.monotonic, now.wall, open, &BTreeSet::new());
    queue
}

fn low(app: &str) -> Record {
    record(app, EventKind::ConditionBegan, None, "disk-low: 1 M free")
}

#[test]
fn one_when_it_begins_and_one_when_it_is_over() {
    let mut queue = queue(vec![alert("a")]);
    queue.take(at(0), WALL, &opened("web"));
    assert_eq!(queue.due(), Some(at(3)));
    assert!(out(&mut queue, 2).is_empty());
    assert_eq!(sent(&mut queue, 3), [["web: incident: crashed"]]);
    assert_eq!(queue.due(), None, "nothing is repeated");
    queue.take(at(9), WALL, &closed("web"));
    assert_eq!(sent(&mut queue, 12), [["web: crashed is over after 5 s"]]);
    assert_eq!((queue.due(), sent(&mut queue, 9_999_999)), (None, vec![]));
}

#[test]
fn what_nobody_asked_for_is_not_told() {
    let mut queue = queue(vec![Alert { events: vec![EventKind::IncidentClosed], ..alert("a") }]);
    queue.take(at(0), WALL, &Record { alert: false, ..closed("web") });
    queue.take(at(0), WALL, &opened("web"));
    assert_eq!(queue.due(), None);
    queue.take(at(1), WALL, &closed("web"));
    assert_eq!(sent(&mut queue, 4).len(), 1);
}

#[test]
fn many_at_once_are_one_message_per_channel_within_bounds() {
    let unit = Alert { channel: Channel::Unit("tell@.service".parse().unwrap()), ..alert("b") };
    let mut queue = queue(vec![alert("a"), unit]);
    for i in 0..30 {
        queue.take(at(0), WALL, &opened(&format!("web{i}")));
    }
    let orders = queue.next(at(0), WALL, 99);
    assert_eq!((orders.len(), orders[0].batch.items.len()), (1, 1), "a unit at once, one at a time");
    let orders = queue.next(at(3), WALL, 99);
    assert_eq!((orders.len(), orders[0].batch.items.len()), (1, 20));
    queue.sent(at(3), "a", &orders[0].batch, last(true));
    assert!(out(&mut queue, 3).is_empty(), "not in one breath");
    assert_eq!(out(&mut queue, 4)[0].len(), 10);
    let long = record("api", EventKind::IncidentOpened, Some(1), &"x".repeat(3_000));
    let mut queue = self::queue(vec![alert("a")]);
    (0..9).for_each(|_| queue.take(at(0), WALL, &long));
    let texts = &out(&mut queue, 3)[0];
    assert_eq!((texts.len(), texts[0].chars().count()), (3, 400));
}

#[test]
fn what_is_over_sooner_than_min_duration_is_not_told() {
    let patient = Alert { min_duration: Duration::from_secs(60), ..alert("a") };
    let mut queue = queue(vec![patient]);
    queue.take(at(0), WALL, &opened("web"));
    queue.take(at(1), WALL, &opened("api"));
    queue.take(at(2), WALL, &record("web", EventKind::ConditionBegan, None, "disk-low: 1 M"));
    assert!(out(&mut queue, 59).is_empty());
    queue.take(at(59), WALL, &closed("web"));
    queue.take(at(59), WALL, &record("web", EventKind::ConditionEnded, None, "disk-low is over after 57 s"));
    assert!(out(&mut queue, 61).is_empty());
    assert_eq!(sent(&mut queue, 64), [["api: incident: crashed"]]);
    queue.take(at(70), WALL, &closed("api"));
    assert_eq!(sent(&mut queue, 73).len(), 1, "what was told has an end");
}

#[test]
fn what_lasts_is_repeated_until_it_is_over() {
    let mut queue = queue(vec![Alert { repeat: Some(Duration::from_secs(600)), ..alert("a") }]);
    queue.take(at(0), WALL, &opened("web"));
    queue.take(at(1), WALL, &record("web", EventKind::BreakerOpened, Some(1), "3 attempts in vain"));
    assert_eq!(sent(&mut queue, 3)[0].len(), 2);
    assert_eq!(queue.due(), Some(at(600)));
    out(&mut queue, 600);
    assert_eq!(sent(&mut queue, 603), [["web: incident: crashed (for 10 min now)"]]);
    // A channel that is down hears of it once.
    for seconds in [1_200, 1_800, 2_400] {
        out(&mut queue, seconds);
        fail(&mut queue, seconds + 3, &later());
    }
    assert_eq!(queue.waiting("a"), 1);
    queue.take(at(2_500), WALL, &Record { alert: false, ..closed("web") });
    let texts = &sent(&mut queue, 4_000)[0];
    assert_eq!(texts, &["web: incident: crashed (for 20 min now)"]);
    assert_eq!(queue.due(), None, "an end counts though nobody is told of it");
}

#[test]
fn failures_are_tried_again_ever_more_slowly() {
    let mut queue = queue(vec![alert("a")]);
    queue.take(at(0), WALL, &opened("web"));
    let mut now = 3;
    for pause in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
        assert_eq!(out(&mut queue, now).len(), 1);
        assert!(out(&mut queue, now).is_empty(), "it is on its way");
        assert_eq!(fail(&mut queue, now, &later()), Next::Again(Duration::from_secs(pause)));
        assert!(out(&mut queue, now + pause - 1).is_empty());
        now += pause;
    }
    for (asked, granted) in [(0, 1), (30, 30), (999_999, 3_600)] {
        out(&mut queue, now);
        let asked = Failure::Later(String::new(), Some(Duration::from_secs(asked)));
        assert_eq!(fail(&mut queue, now, &asked), Next::Again(Duration::from_secs(granted)));
        now += granted;
    }
    out(&mut queue, now);
    let no = Failure::Unwelcome(String::new());
    assert_eq!(fail(&mut queue, now, &no), Next::Again(Duration::from_secs(1_800)));
    let view = &queue.views(at(now + 800))[0];
    assert_eq!((view.waiting, view.failures, view.next_try_in_seconds), (1, 13, Some(1_000)));
    // Somebody mends it.
    queue.configure(vec![Alert { repeat: Some(Duration::from_secs(9_000_000)), ..alert("a") }]);
    assert_eq!(sent(&mut queue, now + 1).len(), 1);
    assert_eq!(queue.views(at(now))[0].failures, 0);
}

#[test]
fn a_message_that_is_not_liked_holds_nobody_up() {
    let mut queue = queue(vec![alert("a")]);
    queue.take(at(0), WALL, &opened("web"));
    queue.take(at(1), WALL, &opened("api"));
    let no = Failure::Disliked(String::new());
    out(&mut queue, 3);
    assert_eq!(fail(&mut queue, 3, &no), Next::Again(Duration::from_secs(5)), "which of them?");
    assert_eq!(out(&mut queue, 10), [["web: incident: crashed"]]);
    assert!(matches!(fail(&mut queue, 10, &no), Next::Again(_)));
    assert_eq!(out(&mut queue, 1_000).len(), 1);
    assert!(matches!(fail(&mut queue, 1_000, &no), Next::Again(_)));
    assert_eq!(out(&mut queue, 2_000).len(), 1);
    assert!(matches!(fail(&mut queue, 2_000, &no), Next::GivenUp(items) if items.len() == 1));
    assert_eq!(sent(&mut queue, 2_000), [["api: incident: crashed"]]);
    queue.take(at(3_000), WALL, &closed("web"));
    out(&mut queue, 3_003);
    let never = Failure::Final(String::new());
    assert!(matches!(fail(&mut queue, 3_003, &never), Next::GivenUp(items) if items.len() == 1));
    assert_eq!(queue.due(), None);
}

#[test]
fn of_too_many_the_least_important_go_and_their_number_is_told() {
    let mut queue = queue(vec![alert("a")]);
    for i in 0..150 {
        queue.take(at(i), WALL, &opened(&format!("a{i}")));
        queue.take(at(i), WALL, &closed(&format!("a{i}")));
    }
    assert_eq!(queue.waiting("a"), 200);
    let order = queue.next(at(999), WALL, 1).remove(0);
    assert_eq!((order.batch.missing, queue.views(at(0))[0].missing), (100, 100));
    let kept = order.batch.items.iter().filter(|item| item.event == EventKind::IncidentOpened).count();
    assert_eq!(kept, order.batch.items.len(), "beginnings of the first hundred, no ends");
    queue.sent(at(999), "a", &order.batch, last(true));
    assert_eq!(queue.views(at(0))[0].missing, 0);
    // Nobody needs to hear of last week.
    assert!(out(&mut queue, 999 + 4 * 86_400).is_empty());
    assert_eq!((queue.waiting("a"), queue.views(at(0))[0].missing), (0, 180));
}

#[test]
fn what_waits_survives_restarts_and_reboots() {
    let mut queue = queue(vec![alert("a")]);
    assert!(queue.is_dirty(), "a channel that is known from now on");
    queue.take(at(0), WALL, &opened("web"));
    out(&mut queue, 3);
    fail(&mut queue, 3, &later());
    let open = [opened("web")];
    let mut restarted = again(&mut queue, vec![alert("a")], &clocks("a", 101, WALL), &open);
    assert!(!queue.is_dirty());
    assert_eq!(sent(&mut restarted, 101), [["web: incident: crashed"]]);
    assert_eq!(restarted.due(), None, "and not once more because it is open");
    // Ten minutes away; that boot's clock begins anew.
    let rebooted = Clocks { boot: "b".into(), monotonic: Moment::from_micros(5_000_000), wall: WALL + 600 };
    let mut rebooted = again(&mut queue, vec![alert("a")], &rebooted, &open);
    assert_eq!(rebooted.due(), Some(Moment::from_micros(-692_000_000)), "it was due long ago");
    assert_eq!(rebooted.next(Moment::from_micros(5_000_000), WALL + 600, 9).len(), 1);
    // A wall clock that lies in the past makes nothing wait for ever.
    let odd = Clocks { boot: "c".into(), monotonic: Moment::from_micros(5_000_000), wall: 1 };
    let odd = again(&mut queue, vec![alert("a")], &odd, &open);
    assert!(odd.due().unwrap() <= Moment::from_micros(5_000_000) + Duration::from_secs(3_600));
}

#[test]
fn what_fell_between_two_writes_is_made_up_for() {
    let mut queue = queue(vec![alert("a")]);
    queue.take(at(0), WALL, &opened("web"));
    sent(&mut queue, 3);
    // web ended and api began, and the queue was not written any more.
    let open = [opened("api"), Record { alert: false, ..opened("db") }];
    let now = clocks("a", 101, WALL);
    let mut restarted = again(&mut queue, vec![alert("a"), alert("new")], &now, &open);
    let texts = sent(&mut restarted, 104);
    assert_eq!(
        texts,
        [["web: incident web-1 is over; it ended while the monitor was restarted", "api: incident: crashed"]]
    );
    let disk = record("web", EventKind::ConditionBegan, None, "disk-low: 1 M");
    restarted.take(at(105), WALL, &disk);
    sent(&mut restarted, 108);
    let held = BTreeSet::from([super::super::item::key_of_condition(&disk.unit, "disk-low")]);
    restarted.keep_only(at(109), &held);
    assert_eq!(restarted.lanes["a"].lasting.len(), 1, "of these, the condition holds");
    // A reload is no restart: what is not watched any more is not repeated, and that is all.
    restarted.keep_only(at(110), &BTreeSet::new());
    assert_eq!(restarted.due(), None);
}

#[test]
fn the_end_of_a_condition_and_its_beginning_are_made_up_for_too() {
    let mut queue = queue(vec![alert("a")]);
    queue.take(at(0), WALL, &low("web"));
    queue.take(at(0), WALL, &low("api"));
    sent(&mut queue, 3);
    // That of web ended, and that of db began.
    let open = [low("api"), low("db")];
    let now = clocks("a", 101, WALL);
    let deaf = Alert { events: vec![EventKind::ConditionBegan], ..alert("a") };
    let mut restarted = again(&mut queue, vec![deaf], &now, &open);
    assert_eq!(sent(&mut restarted, 104), [["db: disk-low: 1 M free"]], "who wants no ends hears of none");
    let mut restarted = again(&mut queue, vec![alert("a")], &now, &open);
    let texts = sent(&mut restarted, 104);
    assert_eq!(
        texts,
        [["web: disk-low is over; it ended while the monitor was restarted", "db: disk-low: 1 M free"]]
    );
    let mut restarted = again(&mut restarted, vec![alert("a")], &clocks("a", 201, WALL), &open);
    assert_eq!(restarted.due(), None, "each once");
    // And those that the judge still holds end as usual.
    let end = |app| record(app, EventKind::ConditionEnded, None, "disk-low is over after 5 min");
    restarted.take(at(210), WALL, &end("api"));
    assert_eq!(sent(&mut restarted, 213), [["api: disk-low is over after 5 min"]]);
}

#[test]
fn whose_condition_is_over_is_said_of_instances_and_of_what_apps_lean_on() {
    let mut queue = queue(vec![alert("a")]);
    let never = "never-healthy: not one good answer";
    let of = |subject: &str, app: &str, text| {
        let record = record(app, EventKind::ConditionBegan, None, text);
        let unit = format!("{}.service", subject.trim_end_matches(".service")).parse().unwrap();
        Record { subject: subject.parse().unwrap(), unit, ..record }
    };
    queue.take(at(0), WALL, &of("web@1", "web", never));
    queue.take(at(0), WALL, &of("nginx.service", "shop", "may-not-act: no rule allows it"));
    sent(&mut queue, 3);
    let mut restarted = again(&mut queue, vec![alert("a")], &clocks("a", 101, WALL), &[]);
    let mut texts = sent(&mut restarted, 104).concat();
    texts.sort();
    let ended = "is over; it ended while the monitor was restarted";
    assert_eq!(
        texts,
        [format!("shop: nginx.service: may-not-act {ended}"), format!("web@1: never-healthy {ended}")]
    );
}

#[test]
fn channels_that_are_gone_take_what_waits_with_them() {
    let mut queue = queue(vec![alert("a"), alert("b")]);
    queue.take(at(0), WALL, &opened("web"));
    let order = queue.next(at(3), WALL, 1).remove(0);
    queue.configure(vec![alert("b")]);
    queue.sent(at(4), "a", &order.batch, last(true));
    assert!(queue.failed(at(4), "a", &later(), last(false)).is_none());
    assert_eq!(queue.views(at(4)).len(), 1);
    assert_eq!(queue.next(at(4), WALL, 0).len(), 0, "no more than there is room for");
    assert_eq!(sent(&mut queue, 4).len(), 1);
}

#[test]
fn ids_differ_and_stay() {
    let mut queue = queue(vec![alert("a")]);
    queue.take(at(0), WALL, &opened("web"));
    queue.take(at(0), WALL, &opened("api"));
    let ids = |queue: &mut Queue, seconds| -> Vec<String> {
        queue.next(at(seconds), WALL + 99, 9)[0].batch.items.iter().map(|item| item.id.clone()).collect()
    };
    let first = ids(&mut queue, 3);
    assert_ne!(first[0], first[1]);
    fail(&mut queue, 3, &later());
    let mut restarted =
        again(&mut queue, vec![alert("a")], &clocks("a", 101, WALL), &[opened("web"), opened("api")]);
    assert_eq!(ids(&mut restarted, 101), first);
}
