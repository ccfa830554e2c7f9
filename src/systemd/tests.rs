//! The room against a fake systemd behind a real socket.

use std::time::Duration;

use super::fake::{Fake, FakeUnit};
use super::*;
use crate::judge::{ActiveState, JobId, JobResult, LoadState, Moment, UnitName};

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

/// The next event, which has to come at once.
async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(Duration::from_secs(5), events.next()).await.unwrap()
}

#[tokio::test]
async fn a_reading_goes_over_the_wire() {
    let fake = Fake::new();
    let requires = vec!["system.slice".into(), "db.service".into(), "-.mount".into()];
    let triggered_by = vec!["web.socket".into(), "web.timer".into()];
    let working_directory = "!/srv/web";
    fake.set(
        "web.service",
        FakeUnit {
            job: 4,
            requires,
            triggered_by,
            working_directory,
            cache_directories: vec!["web".into()],
            ..FakeUnit::default()
        },
    );
    fake.set("db.service", FakeUnit { active: "failed", left: 9_000_100, ..FakeUnit::default() });
    fake.set("web.socket", FakeUnit::default());
    let bus = fake.bus().await;
    let reading = bus.read_unit(&unit("web.service")).await.unwrap();
    assert_eq!(reading.load, LoadState::Loaded);
    assert_eq!(reading.active, ActiveState::Active);
    assert_eq!(reading.job, Some(JobId(4)));
    assert_eq!(reading.invocation.unwrap().0, [1; 16]);
    assert_eq!(reading.main_pid, Some(77));
    assert_eq!(reading.timeout_start, Some(Duration::from_secs(90)));
    assert_eq!(reading.timeout_stop, None);
    assert_eq!(reading.control_group.as_deref(), Some("/system.slice/web.service"));
    assert_eq!(reading.working_directory.as_deref(), Some("/srv/web"));
    assert!(reading.socket_listening && reading.cache_directory);
    assert_eq!(reading.dependencies.len(), 1);
    assert_eq!(reading.dependencies[0].unit, unit("db.service"));
    assert_eq!(reading.dependencies[0].active, ActiveState::Failed);
    assert!(reading.dependencies[0].needed && !reading.dependencies[0].job);
    assert_eq!(reading.dependencies[0].left, Some(Moment::from_micros(9_000_100)));

    let missing = bus.read_unit(&unit("nobody.service")).await.unwrap();
    assert_eq!(missing.load, LoadState::NotFound);
    assert_eq!(bus.canonical_name(&unit("web.service")).await, Ok(unit("web.service")));
    assert_eq!(bus.system_state().await.as_deref(), Ok("running"));
}

#[tokio::test]
async fn signals_of_watched_units_come_in_order() {
    let fake = Fake::new();
    let bus = fake.bus().await;
    let mut events = bus.events([unit("web.service")]).await.unwrap();
    fake.unit_changed("other.service").await;
    fake.unit_changed("web.service").await;
    fake.job_removed(8, "other.service", "done").await;
    fake.job_removed(9, "web.service", "canceled").await;
    fake.job_removed(10, "reboot.target", "done").await;
    assert_eq!(next(&mut events).await, Event::UnitChanged(unit("web.service")));
    let removed = |id, name: &str, result| Event::JobRemoved { id: JobId(id), unit: unit(name), result };
    assert_eq!(next(&mut events).await, removed(9, "web.service", JobResult::Canceled));
    assert_eq!(next(&mut events).await, removed(10, "reboot.target", JobResult::Done));
    events.watch([unit("other.service")]);
    fake.unit_changed("web.service").await;
    fake.unit_changed("other.service").await;
    assert_eq!(next(&mut events).await, Event::UnitChanged(unit("other.service")));
    fake.hang_up().await;
    assert_eq!(next(&mut events).await, Event::Disconnected);
    assert_eq!(next(&mut events).await, Event::Disconnected);
    assert!(bus.is_closed());
    assert!(matches!(bus.system_state().await, Err(Error::Disconnected(_))));
}

#[tokio::test]
async fn what_is_said_in_the_name_of_others_is_not_heard() {
    let fake = Fake::new();
    let bus = fake.bus().await;
    let mut events = bus.events([unit("web.service")]).await.unwrap();
    let logind = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager", "PrepareForShutdown");
    let owner = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged");
    let stranger = ":1.66";
    fake.forged(stranger, logind.0, logind.1, logind.2, &true).await;
    let changed = ("org.freedesktop.login1", ":1.1", stranger);
    fake.forged(stranger, owner.0, owner.1, owner.2, &changed).await;
    fake.forged(stranger, logind.0, logind.1, logind.2, &true).await;
    fake.signal(logind.0, logind.1, logind.2, &false).await;
    assert_eq!(next(&mut events).await, Event::PrepareForShutdown(false));
    // A logind that was restarted is heard under its new name, and under that alone.
    fake.forged("org.freedesktop.DBus", owner.0, owner.1, owner.2, &changed).await;
    fake.signal(logind.0, logind.1, logind.2, &false).await;
    fake.forged(stranger, logind.0, logind.1, logind.2, &true).await;
    assert_eq!(next(&mut events).await, Event::PrepareForShutdown(true));
}

#[tokio::test]
async fn a_flood_of_signals_is_one_loss_and_blocks_no_answer() {
    let fake = Fake::new();
    fake.set("web.service", FakeUnit::default());
    let bus = fake.bus().await;
    let mut events = bus.events([unit("web.service")]).await.unwrap();
    for _ in 0..600 {
        fake.unit_changed("web.service").await;
    }
    // Nobody has taken an event yet, and answers get through all the same.
    bus.read_unit(&unit("web.service")).await.unwrap();
    let mut seen = 0;
    while next(&mut events).await != Event::Lost {
        seen += 1;
    }
    assert_eq!(seen, 256);
    fake.unit_changed("web.service").await;
    assert_eq!(next(&mut events).await, Event::UnitChanged(unit("web.service")));
}

#[tokio::test]
async fn a_silent_systemd_is_not_buried_in_calls() {
    let fake = Fake::new();
    fake.set("web.service", FakeUnit::default());
    let bus = fake.bus().await;
    fake.silence("GetAll");
    let web = unit("web.service");
    assert_eq!(bus.read_unit(&web).await, Err(Error::TimedOut));
    let before = fake.calls("GetAll").len();
    // Two at once: one goes through to see, the other fails at once.
    let (first, second) = futures_util::future::join(bus.read_unit(&web), bus.read_unit(&web)).await;
    assert!(first.is_err() && second.is_err());
    assert_eq!(fake.calls("GetAll").len(), before + 1);
    fake.speak_again();
    assert!(bus.system_state().await.is_ok());
    assert!(bus.read_unit(&web).await.is_ok());
}

#[tokio::test]
async fn a_bus_that_stays_silent_is_given_up() {
    let fake = Fake::new();
    let bus = fake.bus().await;
    let mut events = bus.events([]).await.unwrap();
    fake.silence("Get");
    for _ in 0..3 {
        assert_eq!(bus.system_state().await, Err(Error::TimedOut));
    }
    assert!(bus.is_closed());
    assert_eq!(next(&mut events).await, Event::Disconnected);
}

#[tokio::test]
async fn a_hand_whose_call_got_no_answer_is_cut_off() {
    let fake = Fake::new();
    fake.set("web.service", FakeUnit::default());
    let bus = fake.bus().await;
    let hand = bus.hand().await.unwrap();
    fake.silence("StopUnit");
    assert_eq!(hand.stop(&unit("web.service")).await, Err(Error::TimedOut));
    assert!(hand.is_closed());
    assert!(matches!(hand.start(&unit("web.service")).await, Err(Error::Disconnected(_))));
    assert!(!bus.is_closed());
    assert!(bus.hand().await.unwrap().start(&unit("web.service")).await.is_ok());
}

#[tokio::test]
async fn jobs_that_take_the_host_down_are_seen() {
    let fake = Fake::new();
    let bus = fake.bus().await;
    fake.add_job("web.service", "start");
    fake.add_job("reboot.target", "stop");
    assert_eq!(bus.shutdown_pending().await, Ok(false));
    fake.add_job("reboot.target", "start");
    assert_eq!(bus.shutdown_pending().await, Ok(true));
    assert_eq!(bus.list_jobs().await.unwrap().len(), 3);
    assert_eq!(bus.job_pending(JobId(1)).await, Ok(true));
    assert_eq!(bus.job_pending(JobId(99)).await, Ok(false));
}

#[tokio::test]
async fn there_is_no_bus() {
    let error = Bus::connect_at("unix:path=/nonexistent/bus").await.unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error:?}");
}
