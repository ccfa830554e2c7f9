//! The app's database, as real servers out of Debian.

use std::time::Duration;

use super::rows;
use super::seen::{Seen, condition, held, until};
use crate::machine::{AppSpec, Machine, now};
use crate::support::{SOON, let_pass, lines, said_at, timestamp, view, watch};

rows! {
    Servers redis_down: "Redis stopped, the app exits without it" => "database-down", "reset-failed, start, reset-failed, start", 2;
    Servers postgresql_down: "PostgreSQL stopped, the app exits without it" => "database-down", "reset-failed, start, reset-failed, start", 2;
    Servers mariadb_down: "MariaDB stopped, the app exits without it" => "database-down", "reset-failed, start, reset-failed, start", 2;
    Servers redis_crashed: "Redis crashed, its unit is configured" => "database-down", "reset-failed redis-server.service, start redis-server.service", 0;
    Servers fails_without: "Redis stopped, the app answers 500 without it" => "database-down", "none", 0;
    Servers lives_without: "Redis stopped, the app answers all the same" => "database-unreachable", "none", 0;
}

/// A server of the machine, and how the app asks for it.
struct Server {
    unit: &'static str,
    scheme: &'static str,
    port: u16,
}

const REDIS: Server = Server { unit: "redis-server.service", scheme: "redis", port: 6379 };
const MARIADB: Server = Server { unit: "mariadb.service", scheme: "mysql", port: 3306 };
const POSTGRESQL: Server = Server { unit: "postgresql@MAJOR-main.service", scheme: "postgresql", port: 5432 };

impl Server {
    /// Debian has the major version in the unit's name.
    fn unit(&self, m: &Machine) -> String {
        if self.unit.contains("MAJOR") {
            return self.unit.replace("MAJOR", &m.must("ls /etc/postgresql"));
        }
        self.unit.to_owned()
    }

    /// Starts it, and an app that leans on it. `without`: what the app does without it; `more`:
    /// further keys of the `database` table.
    #[track_caller]
    fn lean(&self, m: &Machine, without: &str, more: &str) {
        let Self { scheme, port, .. } = self;
        m.must(&format!("systemctl start {}", self.unit(m)));
        let mut app = AppSpec::new("web", 3000);
        app.service_lines = format!("Environment=DATABASE={scheme}:{port} WITHOUT_DATABASE={without}");
        let database = format!(
            "database = {{ url = \"{scheme}://web:secret@127.0.0.1:{port}/web\", interval = \"1s\", timeout = \"1s\"{more} }}"
        );
        watch(m, &app, &database);
        // So that it was good once.
        let_pass(Duration::from_millis(1500));
    }
}

/// Down for a while and up again: the app is back within 5 s, its attempts untouched.
fn comes_back_with(m: &Machine, server: &Server) -> Seen {
    server.lean(m, "exit", "");
    let unit = server.unit(m);
    let at = now();
    m.must(&format!("systemctl stop {unit}"));
    let seen = held(m, at, "database-down");
    let_pass(Duration::from_secs(3));
    m.must(&format!("systemctl start {unit}"));
    back(m, at, &unit, &seen.verdict)
}

/// The app after its database is back; the unit of each of these is active once it accepts.
fn back(m: &Machine, at: Duration, unit: &str, verdict: &str) -> Seen {
    let accepts = timestamp(m, unit, "ActiveEnterTimestampMonotonic");
    let well = until(SOON, || view(m, "web")["verdict"] == "healthy");
    let listens = said_at(m, "web.service", "listening on", accepts);
    let took = listens.last().map_or(now(), |at| *at).saturating_sub(accepts);
    let left = view(m, "web")["attempts_left"].clone();
    let breaker = m.events_since("web", at).into_iter().filter(|event| event.name == "breaker-opened");
    let breaker: Vec<_> = breaker.collect();
    Seen::since(m, at, verdict)
        .and(well && took < Duration::from_secs(5), || {
            format!("back {:.1} s after its database", took.as_secs_f64())
        })
        .and(left == 3, || format!("{left} attempts left of 3"))
        .and(breaker.is_empty(), || lines(&breaker))
        .figure(format!("back {:.1} s after its database", took.as_secs_f64()))
}

fn redis_down(m: &Machine) -> Seen {
    comes_back_with(m, &REDIS)
}

fn postgresql_down(m: &Machine) -> Seen {
    comes_back_with(m, &POSTGRESQL)
}

fn mariadb_down(m: &Machine) -> Seen {
    comes_back_with(m, &MARIADB)
}

fn redis_crashed(m: &Machine) -> Seen {
    m.drop_in(REDIS.unit, "[Service]\nRestart=no\n");
    REDIS.lean(m, "answer", ", unit = \"redis-server.service\"");
    let at = now();
    m.must("systemctl kill --signal=KILL redis-server");
    let seen = held(m, at, "database-down");
    let up = until(SOON, || m.unit_property(REDIS.unit, "ActiveState") == "active");
    let well = until(SOON, || view(m, "web")["verdict"] == "healthy");
    Seen::since(m, at, &seen.verdict)
        .and(up, || "the database was not started".to_owned())
        .and(well, || "the app is not well again".to_owned())
}

fn fails_without(m: &Machine) -> Seen {
    REDIS.lean(m, "answer", "");
    let at = now();
    m.must("systemctl stop redis-server");
    let seen = held(m, at, "database-down");
    m.must("systemctl start redis-server");
    back(m, at, REDIS.unit, &seen.verdict)
}

fn lives_without(m: &Machine) -> Seen {
    REDIS.lean(m, "ignore", "");
    let at = now();
    m.must("systemctl stop redis-server");
    condition(m, at, "database-unreachable")
}
