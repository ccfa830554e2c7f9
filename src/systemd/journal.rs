//! The journal: one line for one event, with the fields that people and scripts filter by.
//!
//! A journald that hangs must not hang the daemon: its socket blocks when its queue is full, so
//! lines are handed to a thread of their own through a bounded queue, and what does not fit is
//! counted and reported when there is room again. A journald that restarts loses nothing: systemd
//! keeps the socket open, and each line is sent to its path anew.
//!
//! Write through [`write()`]. `tracing` macros elsewhere work, but block.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::judge::Level;

/// SYSLOG_IDENTIFIER=.
const IDENTIFIER: &str = "app-monitor";
/// Lines that wait for journald. An incident writes about ten.
const WAITING: usize = 512;
/// Enough for formatting a line.
const STACK: usize = 128 * 1024;

fn of_tracing(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

/// One line. Fields that are none are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Line {
    /// PRIORITY=.
    pub priority: Level,
    /// MESSAGE=: plain text for people.
    pub message: String,
    /// APP_MONITOR_APP=.
    pub app: Option<String>,
    /// APP_MONITOR_EVENT=: `verdict-changed`, …
    pub event: Option<&'static str>,
    /// APP_MONITOR_UNIT=.
    pub unit: Option<String>,
    /// APP_MONITOR_INCIDENT=.
    pub incident: Option<String>,
    /// MESSAGE_ID=: 32 hexadecimal digits, which the catalogue explains.
    pub message_id: Option<&'static str>,
    /// APP_MONITOR_VERDICT=.
    pub verdict: Option<&'static str>,
    /// APP_MONITOR_DETAIL=: evidence that is too long for the message.
    pub detail: Option<String>,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static QUEUE: OnceLock<SyncSender<Order>> = OnceLock::new();
static DROPPED: AtomicU32 = AtomicU32::new(0);

enum Order {
    Write(Box<Line>),
    Flush(SyncSender<()>),
}

/// Sets logging up, once: to journald when stderr is the journal (JOURNAL_STREAM=, systemd.exec(5)),
/// else to stderr. A second call only sets the level. Without it [`write()`] writes nothing.
///
/// # Errors
/// When the thread cannot be started.
pub fn init(level: Level) -> std::io::Result<()> {
    set_level(level);
    if QUEUE.get().is_some() {
        return Ok(());
    }
    subscribe(stderr_is_journal());
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::Builder::new()
        .name("journal".to_owned())
        .stack_size(STACK)
        .spawn(move || serve(&receiver))?;
    // A second caller at the same moment would only have its own, idle thread end.
    let _ = QUEUE.set(sender);
    Ok(())
}

/// From where on lines are written, at once.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether lines of that level are written: for what is costly to word.
#[must_use]
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes a line. Never blocks.
pub fn write(line: Line) {
    if !enabled(line.priority) {
        return;
    }
    if let Some(queue) = QUEUE.get()
        && queue.try_send(Order::Write(Box::new(line))).is_err()
    {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until everything so far is written, for that long at most: before the process ends.
pub fn flush(at_most: Duration) {
    let (done, wait) = sync_channel(1);
    if let Some(queue) = QUEUE.get()
        && queue.try_send(Order::Flush(done)).is_ok()
    {
        // Too late is as good as it gets.
        let _ = wait.recv_timeout(at_most);
    }
}

fn serve(orders: &Receiver<Order>) {
    while let Ok(order) = orders.recv() {
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let message = format!("{dropped} lines were lost because the journal did not take them");
            emit(&Line { priority: Level::Warn, message, ..Line::default() });
        }
        match order {
            Order::Write(line) => emit(&line),
            Order::Flush(done) => {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }
}

/// Hands a line to tracing, whose levels and field names are fixed at each place of call.
fn emit(line: &Line) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "app_monitor",
                tracing::Level::$level,
                message = line.message.as_str(),
                app_monitor_app = line.app.as_deref(),
                app_monitor_event = line.event,
                app_monitor_unit = line.unit.as_deref(),
                app_monitor_incident = line.incident.as_deref(),
                app_monitor_verdict = line.verdict,
                app_monitor_detail = line.detail.as_deref(),
                message_id = line.message_id,
            )
        };
    }
    match line.priority {
        Level::Error => event!(ERROR),
        Level::Warn => event!(WARN),
        Level::Info => event!(INFO),
        Level::Debug => event!(DEBUG),
        Level::Trace => event!(TRACE),
    }
}

fn subscribe(journal: bool) {
    let filter = || dynamic_filter_fn(|metadata, _| enabled(of_tracing(metadata.level())));
    if journal && let Ok(layer) = journald() {
        // Somebody else's subscriber (a test's) stays.
        let _ = registry().with(layer.with_filter(filter())).try_init();
        return;
    }
    // For a person at a terminal, or a log file: the message, not the fields.
    let message_only =
        format::debug_fn(
            |writer, field, value| {
                if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
            },
        );
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .fmt_fields(message_only);
    let _ = registry().with(layer.with_filter(filter())).try_init();
}

fn journald() -> std::io::Result<tracing_journald::Layer> {
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    Ok(tracing_journald::layer()?
        .with_field_prefix(None)
        .with_syslog_identifier(IDENTIFIER.to_owned())
        .with_priority_mappings(priorities))
}

/// JOURNAL_STREAM= names device and inode of the stream that leads to the journal; children may
/// have inherited the variable while their stderr leads elsewhere.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_journal_nothing_blocks_and_nothing_panics() {
        write(Line { message: "nobody listens".into(), ..Line::default() });
        flush(Duration::from_millis(1));
    }
}
