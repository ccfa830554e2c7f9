//! What a check found: good, bad with its fault, or unknown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The checks. The unit itself is read, not probed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckKind {
    /// Who listens on the app's port.
    Port,
    /// The local health check.
    Http,
    /// Processes in the unit's cgroup.
    Processes,
    /// Memory of the unit, without page cache that can be had back.
    Memory,
    /// Memory of the host: what is available, and how long work waits for it.
    HostMemory,
    /// Free space and inodes on the app's, the state's and the journal's file systems.
    Disk,
    /// Whether the database accepts connections.
    Database,
    /// The public name, asked of the reverse proxy at the addresses that it listens on.
    Proxy,
    /// The public name, asked as everybody does.
    Public,
    /// Whether the network out is there.
    Egress,
    /// What has to be there before a start: files, keys, a free port.
    Preflight,
}

impl CheckKind {
    /// Every check, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Port,
        Self::Http,
        Self::Processes,
        Self::Memory,
        Self::HostMemory,
        Self::Disk,
        Self::Database,
        Self::Proxy,
        Self::Public,
        Self::Egress,
        Self::Preflight,
    ];

    /// Made together at every round, at the app's pace. The others are errands: each goes out at a
    /// pace of its own, or when it is needed.
    #[must_use]
    pub fn is_of_a_round(self) -> bool {
        matches!(self, Self::Port | Self::Http | Self::Processes | Self::Memory | Self::HostMemory)
    }

    /// Its failure means nothing until it was good once: it may be the configuration that is wrong.
    /// How the host is off is true at first sight.
    #[must_use]
    pub fn needs_proof(self) -> bool {
        !matches!(self, Self::HostMemory | Self::Disk | Self::Egress)
    }

    /// The word by which people know it, as in `status` and the journal.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Http => "http",
            Self::Processes => "processes",
            Self::Memory => "memory",
            Self::HostMemory => "host-memory",
            Self::Disk => "disk",
            Self::Database => "database",
            Self::Proxy => "proxy",
            Self::Public => "public",
            Self::Egress => "egress",
            Self::Preflight => "preflight",
        }
    }
}

impl fmt::Display for CheckKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is wrong, as far as it decides a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nobody listens on the port, at any address that would do.
    NotListening,
    /// Somebody else listens on the port, at every address that would do.
    ForeignListener,
    /// HTTP: the connection was refused at every address.
    Refused,
    /// HTTP: no whole answer within `timeout`; connecting, waiting and reading all count.
    Unanswered,
    /// Unanswered by an app that takes connections and is at work: late rather than frozen. No check
    /// says so; the judge concludes it from `Detail::Silence`.
    Late,
    /// Unanswered by an app whose listener cannot be seen, so that nobody knows whether it takes
    /// connections. No check says so either.
    UnansweredUnseen,
    /// HTTP: an answer that is wrong (status, body, JSON, redirect to another host, no HTTP, reset).
    WrongAnswer,
    /// Fewer processes in the unit than `min_processes`.
    TooFewProcesses,
    /// The unit is over `max_memory`.
    OverMemory,
    /// The host is under `min_available`, or work waits too long for memory (PSI).
    ShortOfMemory,
    /// Free space is under `min_disk`, or inodes are under 1 %.
    DiskLow,
    /// The database does not accept connections: refused, unanswered, or it says so itself
    /// (starting up, shutting down, too many connections).
    DatabaseDown,
    /// Public: the name cannot be resolved.
    Unresolved,
    /// TLS: no handshake, or a certificate that is not valid for the name at this moment.
    Tls,
    /// A proxy that is alive answers 502, 503 or 504: what is behind it did not answer it.
    Upstream,
    /// Egress: none of the targets can be reached.
    Unreachable,
    /// Required keys or files are absent.
    ConfigMissing,
}

/// Good, bad or not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// As configured.
    Good,
    /// Not as configured.
    Bad(Fault),
    /// The check could not be made. Never bad, decides nothing.
    Unknown,
}

impl Finding {
    /// Nobody answered at all.
    #[must_use]
    pub fn is_silence(self) -> bool {
        matches!(self, Self::Bad(Fault::Refused | Fault::Unanswered))
    }

    /// As `status` shows it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad(_) => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// What the judge has to know besides good and bad.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    /// HTTP went unanswered: what the app did meanwhile.
    Silence {
        /// Connections are taken from the accept queue: this one, or one that waited before it. None
        /// where the listener cannot be seen.
        taken: Option<bool>,
        /// Time in which the unit used a core, or waited for one, while its answer was missing, in
        /// percent. None where it cannot be seen.
        cpu: Option<u32>,
    },
    /// Somebody else holds the port.
    Holder {
        /// By `stragglers`, it may be ended: it is an orphan of the app's own unit, or belongs to no
        /// unit and no login session.
        reapable: bool,
        /// It is an orphan of the app's own unit, so that even one that answers well may be ended.
        own_orphan: bool,
    },
    /// Memory of the unit in bytes.
    Memory(u64),
    /// Memory of the host.
    HostMemory(HostMemory),
    /// The certificate that was shown: seconds until it is no longer valid. Negative: it is not valid
    /// any more, or not yet.
    Certificate(i64),
}

/// How the host is off for memory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HostMemory {
    /// MemAvailable in bytes.
    pub available: u64,
    /// PSI "full", average of 60 s, in percent. None where the kernel has no PSI.
    pub pressure: Option<u32>,
    /// The biggest users, units by name or processes outside of units, with their bytes, biggest
    /// first; at most three. Only looked for while memory is short.
    pub biggest: Vec<(String, u64)>,
    /// What the app's own unit uses, in bytes: how much it has grown can only be told of one that was
    /// weighed before. None where its memory is a check of its own, or cannot be told.
    pub own: Option<u64>,
}

/// The outcome of one check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Observation {
    /// Good, bad or not known.
    pub finding: Finding,
    /// The evidence in a few words, for people: `port 3003 listens (pid 812) on 127.0.0.1`,
    /// `GET /api/health answers 500`, `GET /api/health timed out after 10 s`. Bounded (at most
    /// 200 characters), without control characters and without secrets.
    pub text: String,
    /// How long the answer took; only for HTTP.
    pub latency: Option<Duration>,
    /// Answered, but later than `max_latency`.
    pub slow: bool,
    /// What the judge has to know besides.
    #[serde(default)]
    pub detail: Option<Box<Detail>>,
    /// What the app itself answered, in a few words: for the journal and the incident, which are for
    /// those who may read logs. The text is for everybody, and an answer may hold anything.
    #[serde(default)]
    pub quote: Option<String>,
}

impl Observation {
    /// As configured.
    #[must_use]
    pub fn good(text: impl Into<String>) -> Self {
        Self {
            finding: Finding::Good,
            text: text.into(),
            latency: None,
            slow: false,
            detail: None,
            quote: None,
        }
    }

    /// Not as configured.
    #[must_use]
    pub fn bad(fault: Fault, text: impl Into<String>) -> Self {
        Self {
            finding: Finding::Bad(fault),
            text: text.into(),
            latency: None,
            slow: false,
            detail: None,
            quote: None,
        }
    }

    /// Could not be made, for that reason.
    #[must_use]
    pub fn unknown(text: impl Into<String>) -> Self {
        Self {
            finding: Finding::Unknown,
            text: text.into(),
            latency: None,
            slow: false,
            detail: None,
            quote: None,
        }
    }

    /// The same with a latency.
    #[must_use]
    pub fn took(mut self, latency: Duration) -> Self {
        self.latency = Some(latency);
        self
    }
    /// The same with what the judge has to know besides.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// The same with what the app itself answered.
    #[must_use]
    pub fn quoting(mut self, quote: Option<String>) -> Self {
        self.quote = quote;
        self
    }

    /// The evidence with what the app itself answered, for those who may read logs.
    #[must_use]
    pub fn whole(&self) -> String {
        match &self.quote {
            Some(quote) => format!("{}: {quote}", self.text),
            None => self.text.clone(),
        }
    }
}
