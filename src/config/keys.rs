//! The one table of keys: what each is called, where it may stand, what it may be and what it is
//! when nobody says. Errors, environment variables, near misses and `config show` all read it.

use std::time::Duration;

/// Where a key may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Above the first table.
    Top,
    /// In `[defaults]` and `[app.NAME]`.
    Shared,
    /// In `[app.NAME]` alone.
    App,
    /// In `[alerts.NAME]`.
    Alert,
    /// In `[heartbeat]`.
    Heartbeat,
}

/// What a value may be. Ranges include both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Count(u32, u32),
    /// A length of time.
    Duration(Duration, Duration),
    /// A length of time, or `"never"`.
    DurationOrNever(Duration, Duration),
    /// `"5 of 10"`.
    Window,
    /// The name of a service; `.service` is appended as systemctl does.
    Service,
    /// The name of a template of services.
    Template,
    /// A TCP port.
    Port,
    /// `"localhost"` or an IP address.
    Address,
    /// A health check over HTTP.
    Http,
    /// The name of a process.
    Process,
    /// An absolute path.
    Directory,
    /// Names of events.
    Events,
    /// `true` or `false`.
    Flag,
    /// A size in bytes; 0 is none.
    Size(u64, u64),
    /// Several units of one app.
    Instances,
    /// A check of the public name.
    Public,
    /// `HOST:PORT`, one or several.
    Endpoints,
    /// Units, one or several.
    Units,
    /// Directories below another, one or several.
    Below,
    /// Where the database is.
    Database,
    /// What has to be there before a start.
    Preflight,
    /// A URL of which nothing is shown.
    Secret,
    /// The name of a credential of the monitor's unit.
    Credential,
    /// A chat of Telegram.
    Chat,
    /// An address of mail.
    Mailbox,
    /// Addresses of mail, one or several.
    Mailboxes,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// Where it may stand.
    pub scope: Scope,
    /// What it may be.
    pub kind: Kind,
    /// What it is when nobody says, as it would be written or in words. Empty: nothing.
    pub default: &'static str,
    /// What it means, in a few words.
    pub doc: &'static str,
}

const NONE: Duration = Duration::ZERO;
const TENTH: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// A number without a unit is bytes; whoever forgot the M is told by this.
const MEGABYTE: u64 = 1 << 20;
const PETABYTE: u64 = 1 << 50;

const fn key(name: &'static str, scope: Scope, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, scope, kind, default, doc }
}

use Kind::{Choice, Count};
use Scope::{Alert, App, Heartbeat, Shared, Top};

/// Every key that this version knows, in the order in which `config show` prints them.
#[rustfmt::skip]
pub static KEYS: &[Key] = &[
    key("log_level", Top, Choice(&["error", "warn", "info", "debug", "trace"]), "info", "least level that is logged"),
    key("max_parallel", Top, Count(1, 64), "1", "recoveries at a time on this host"),
    key("unit", App, Kind::Service, "", "the systemd unit of the app"),
    key("instances", App, Kind::Instances, "", "several units that are one app"),
    key("mode", Shared, Choice(&["act", "watch"]), "act", "act, or only say what it would have done"),
    key("port", App, Kind::Port, "", "TCP port that the app must listen on"),
    key("address", Shared, Kind::Address, "localhost", "where it listens"),
    key("http", Shared, Kind::Http, "", "local health check"),
    key("public", Shared, Kind::Public, "", "public check"),
    key("egress", Shared, Kind::Endpoints, "the resolver and the default gateway", "what tells whether the network out is there"),
    key("proxy", Shared, Kind::Service, "", "unit of the reverse proxy in front"),
    key("proxy_recover", Shared, Kind::Flag, "true", "the proxy may be started, reloaded and restarted"),
    key("working_directory", Shared, Kind::Directory, "the unit's WorkingDirectory=", "root of the app's files"),
    key("min_processes", Shared, Count(0, 100_000), "1", "least processes in the unit"),
    key("process", Shared, Kind::Process, "any process", "only processes of that name count"),
    key("min_available", Shared, Kind::Size(MEGABYTE, PETABYTE), "100M", "least available memory of the host"),
    key("max_memory", Shared, Kind::Size(MEGABYTE, PETABYTE), "", "most memory of a unit"),
    key("min_disk", Shared, Kind::Size(MEGABYTE, PETABYTE), "200M", "least free space of the app's, the state's and the journal's file systems"),
    key("database", Shared, Kind::Database, "", "the database that the app needs"),
    key("check_interval", Shared, Kind::Duration(TENTH, DAY), "10s", "pace when healthy"),
    key("public_interval", Shared, Kind::Duration(SECOND, DAY), "1m", "pace of what goes out to the internet"),
    key("startup_interval", Shared, Kind::Duration(TENTH, HOUR), "1s", "pace after a start"),
    key("startup_grace", Shared, Kind::Duration(NONE, HOUR), "30s", "how long failures are forgiven after a start"),
    key("confirm_interval", Shared, Kind::Duration(TENTH, HOUR), "2s", "pace from suspicion to confirmation"),
    key("suspect_after", Shared, Kind::Duration(Duration::from_millis(10), FIVE_MINUTES), "1s, or four times the app's usual latency", "unanswered for so long raises suspicion"),
    key("timeout", Shared, Kind::Duration(TENTH, FIVE_MINUTES), "10s", "one check, wall to wall"),
    key("failures", Shared, Count(1, 100), "3", "consecutive bad rounds that make a fault"),
    key("successes", Shared, Count(1, 100), "1", "consecutive good rounds that end it"),
    key("failures_window", Shared, Kind::Window, "5 of 10", "bad rounds of the latest that make a fault, too"),
    key("overload_patience", Shared, Kind::Duration(NONE, DAY), "10m", "how long an overloaded app is left to work its queue off"),
    key("cooldown", Shared, Kind::Duration(NONE, DAY), "1m", "least time between recoveries, doubled each time"),
    key("cooldown_max", Shared, Kind::Duration(NONE, DAY), "5m, or cooldown where that is longer", "most that the doubling reaches"),
    key("max_attempts", Shared, Count(1, 1_000), "3", "attempts before the breaker opens"),
    key("attempts_window", Shared, Kind::Duration(SECOND, MONTH), "1h", "how long an attempt counts"),
    key("retry_interval", Shared, Kind::Duration(SECOND, MONTH), "30m", "pace of retries while the breaker is open"),
    key("healthy_for", Shared, Kind::Duration(SECOND, MONTH), "10m", "health that forgets attempts"),
    key("give_up", Shared, Choice(&["retry", "wait"]), "retry", "retry, or wait for a person"),
    key("verify_within", Shared, Kind::Duration(SECOND, HOUR), "startup_grace, 30s at least", "time to be healthy again after a recovery"),
    key("min_uptime", Shared, Kind::Duration(NONE, HOUR), "10s", "health after which a recovery counts"),
    key("stop_timeout", Shared, Kind::Duration(TENTH, HOUR), "20s", "how long a stop is given before SIGKILL"),
    key("kill_after", Shared, Kind::Duration(NONE, HOUR), "5s", "the same, where HTTP went unanswered"),
    key("clear_caches", Shared, Choice(&["never", "retry", "always"]), "retry", "when caches are cleared in a recovery"),
    key("caches", Shared, Kind::Below, "[\".next/cache\", \"node_modules/.cache\"]", "caches below the working directory"),
    key("stragglers", Shared, Choice(&["never", "own", "port"]), "own", "whose processes may be ended when they are in the way"),
    key("reclaim_swap", Shared, Kind::Flag, "true", "swap is taken back when memory was the matter"),
    key("preflight", Shared, Kind::Preflight, "", "what has to be there before a start"),
    key("before_start", Shared, Kind::Units, "", "units that are started before a start"),
    key("after_recovery", Shared, Kind::Units, "", "units that are started after a verified recovery"),
    key("on_give_up", Shared, Kind::Units, "", "units that are started when the breaker opens"),
    key("stopped_alert_after", Shared, Kind::DurationOrNever(SECOND, MONTH), "never", "tell somebody when an administrator's stop lasts"),
    key("kind", Alert, Choice(super::channel::WORDS), "", "how somebody is told"),
    key("url", Alert, Kind::Secret, "", "where messages are sent"),
    key("credential", Alert, Kind::Credential, "", "credential of the monitor's unit that holds the URL"),
    key("chat", Alert, Kind::Chat, "", "the chat, of telegram"),
    key("to", Alert, Kind::Mailboxes, "", "who gets the mail"),
    key("from", Alert, Kind::Mailbox, "app-monitor at this host", "sender of the mail"),
    key("unit", Alert, Kind::Template, "", "template that is started with the app's name as instance"),
    key("events", Alert, Kind::Events, "what somebody must know", "what is told"),
    key("repeat", Alert, Kind::DurationOrNever(SECOND, MONTH), "never", "pace at which it is told again while it lasts"),
    key("min_duration", Alert, Kind::Duration(NONE, DAY), "0s", "what is over sooner is not told"),
    key("url", Heartbeat, Kind::Secret, "", "asked again and again while the monitor works"),
    key("every", Heartbeat, Kind::Duration(SECOND, DAY), "1m", "pace of that"),
];

/// The tables of the top level.
const TABLES: &[&str] = &["defaults", "app", "alerts", "heartbeat", "web"];

/// Whether that is the name of a table of the top level, which no variable can stand for.
pub fn is_table(name: &str) -> bool {
    TABLES.contains(&name)
}

/// The kind of table in which a key was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    /// None: the top of a file.
    Top,
    /// `[defaults]`.
    Defaults,
    /// `[app.NAME]`.
    App,
    /// `[alerts.NAME]`.
    Alert,
    /// `[heartbeat]`.
    Heartbeat,
}

impl Table {
    /// Whether keys of that scope may stand in it.
    pub fn takes(self, scope: Scope) -> bool {
        match self {
            Self::Top => scope == Top,
            Self::Defaults => scope == Shared,
            Self::App => matches!(scope, Shared | App),
            Self::Alert => scope == Alert,
            Self::Heartbeat => scope == Heartbeat,
        }
    }
}

/// Why a name is no key there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Miss {
    /// It is one elsewhere.
    Elsewhere(Scope),
    /// Nothing of that name; that one may be meant.
    Unknown(Option<&'static str>),
}

impl Miss {
    /// What is told to somebody who wrote it in a file.
    pub fn message(self) -> String {
        match self {
            Self::Elsewhere(Top) => "belongs at the top of the file, above the first [table]".to_owned(),
            Self::Elsewhere(Shared) => "belongs in [defaults] or [app.NAME]".to_owned(),
            Self::Elsewhere(App) => "belongs in [app.NAME]".to_owned(),
            Self::Elsewhere(Alert) => "belongs in [alerts.NAME]".to_owned(),
            Self::Elsewhere(Heartbeat) => "belongs in [heartbeat]".to_owned(),
            Self::Unknown(near) => unknown_key(near),
        }
    }
}

/// The key of that name in that kind of table.
///
/// # Errors
/// Where it belongs instead, or which key was probably meant.
pub fn find(table: Table, name: &str) -> Result<&'static Key, Miss> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name && table.takes(key.scope)) {
        return Ok(key);
    }
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Err(Miss::Elsewhere(key.scope));
    }
    let known = KEYS
        .iter()
        .filter(|key| table.takes(key.scope))
        .map(|key| key.name)
        .chain(TABLES.iter().copied().filter(|_| table == Table::Top));
    Err(Miss::Unknown(nearest(name, known)))
}

/// "unknown key; did you mean …?"
pub fn unknown_key(near: Option<&str>) -> String {
    near.map_or_else(|| "unknown key".to_owned(), |near| format!("unknown key; did you mean \"{near}\"?"))
}

/// The known word that was probably meant: at most a third of it wrong. A swap counts once.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Distances cost the product of both lengths; nothing that long is a slip of the finger.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_ascii_lowercase().replace('-', "_");
    known
        .map(|word| (strsim::damerau_levenshtein(&name, &word.to_ascii_lowercase().replace('-', "_")), word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_named() {
        let why = |table, name| find(table, name).map(|key| key.name).unwrap_err().message();
        assert_eq!(why(Table::App, "chek_interval"), "unknown key; did you mean \"check_interval\"?");
        assert_eq!(why(Table::App, "Check-Interval"), "unknown key; did you mean \"check_interval\"?");
        assert_eq!(why(Table::App, "colour"), "unknown key");
        assert_eq!(why(Table::App, "databse"), "unknown key; did you mean \"database\"?");
        assert_eq!(why(Table::Top, "default"), "unknown key; did you mean \"defaults\"?");
        assert_eq!(why(Table::App, &"x".repeat(100_000)), "unknown key");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        let why = |table, name| find(table, name).map(|key| key.name).unwrap_err().message();
        assert_eq!(why(Table::App, "log_level"), "belongs at the top of the file, above the first [table]");
        assert_eq!(why(Table::Top, "timeout"), "belongs in [defaults] or [app.NAME]");
        assert_eq!(why(Table::Defaults, "port"), "belongs in [app.NAME]");
        assert_eq!(why(Table::App, "events"), "belongs in [alerts.NAME]");
        assert_eq!(why(Table::Alert, "every"), "belongs in [heartbeat]");
        assert_eq!(why(Table::Alert, "credentials"), "unknown key; did you mean \"credential\"?");
    }

    #[test]
    fn every_key_is_in_the_manual() {
        let manual = include_str!("../../packaging/man/app-monitor.toml.5").replace("\\-", "-");
        for key in KEYS {
            assert!(manual.contains(&format!("\n.BR {} \"", key.name)), "{}", key.name);
        }
    }
}
