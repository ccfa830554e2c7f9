//! state.json, whatever is in it: a judge goes on from it.
#![allow(clippy::expect_used, reason = "a test, if not by name")]

use std::time::Duration;

use super::state::parse;
use crate::fuzzing::kit::assert_plain;
use crate::judge::{Clocks, Host, MEMORY_VERSION, Memory, Moment, Policy, Subject, Target};

/// A state.
pub(crate) fn state(bytes: &[u8]) {
    let Ok(memory) = parse(bytes) else { return };
    let other = Clocks { boot: "another".to_owned(), monotonic: Moment::from_micros(5_000_000), wall: 9_000 };
    let same = Clocks { boot: memory.clocks.boot.clone(), ..other.clone() };
    for now in [same, other] {
        go_on(memory.clone(), &now);
    }
}

fn go_on(memory: Memory, clocks: &Clocks) {
    let memory = memory.at(clocks);
    let policy = Policy::default();
    let target = |subject: &Subject| match subject {
        Subject::Unit(unit) => Target::of_unit(unit.clone()),
        app => Target::of_unit(
            app.app()
                .map_or("web.service".to_owned(), |app| format!("{app}.service"))
                .parse()
                .expect("a unit"),
        ),
    };
    let apps: Vec<_> = memory.apps.keys().map(|name| (name.clone(), policy.clone(), target(name))).collect();
    let mut now = clocks.monotonic;
    let mut host = Host::new(apps, 1, memory, false, now);
    for pause in [Duration::ZERO, Duration::from_secs(30), Duration::from_secs(86_400)] {
        now = now + pause;
        let _ = host.tick(now);
        let _ = host.wake_at();
        let line = host.status_line(now);
        assert!(!line.is_empty());
        for view in host.views(now) {
            assert!(view.attempts_left <= policy.max_attempts, "{}", view.attempts_left);
        }
    }
    // What is written then reads back as it is.
    let written = host.memory(clocks.clone());
    let text = serde_json::to_vec(&written).expect("it can be written");
    let read = parse(&text);
    assert!(read.as_ref().is_ok_and(|read| *read == written), "{}", String::from_utf8_lossy(&text));
    assert_eq!(written.version, MEMORY_VERSION);
    assert_plain(&crate::plain::on_one_line(&host.status_line(now)), usize::MAX);
}
