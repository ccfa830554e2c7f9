//! What an app is expected to look like: the targets of its checks, as plain data that the
//! configuration fills in and the checks carry out.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{AppName, UnitName};
use super::observation::CheckKind;

/// Where an app listens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    /// 127.0.0.1 and ::1; either will do (Node 17 and later may bind one family only).
    #[default]
    Localhost,
    /// That address alone. An unspecified one (0.0.0.0, ::) is asked at its loopback.
    Ip(IpAddr),
}

/// A value that no command, log line or error may show: it displays as `…`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Which HTTP status codes are good: ranges, both ends included, each within 100 to 599.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StatusSet(pub Vec<(u16, u16)>);

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl StatusSet {
    /// Whether that code is good.
    #[must_use]
    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&code))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (low, high)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        Ok(())
    }
}

/// A health check over HTTP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HttpTarget {
    /// The full URL, scheme and port included, without user or password.
    /// For a bare path it is `http://localhost:PORT/PATH`.
    pub url: String,
    /// `GET`, `HEAD`, `POST`, …
    pub method: String,
    /// Sent with every request; values may be secret.
    pub headers: Vec<(String, Secret)>,
    /// Good codes, after redirects on the same host.
    pub status: StatusSet,
    /// A substring that the body must contain.
    pub body: Option<String>,
    /// Paths into the JSON body (`services.database`, `items.0.name`) and the value each must have.
    pub json: Vec<(String, serde_json::Value)>,
    /// An answer later than that is slow, though good.
    pub max_latency: Option<Duration>,
    /// The whole check, wall to wall.
    pub timeout: Duration,
}

impl HttpTarget {
    /// `GET` of that URL, with every expectation as it is by default.
    #[must_use]
    pub fn get(url: impl Into<String>, timeout: Duration) -> Self {
        Self {
            url: url.into(),
            method: "GET".to_owned(),
            headers: Vec::new(),
            status: StatusSet::default(),
            body: None,
            json: Vec::new(),
            max_latency: None,
            timeout,
        }
    }
}

/// What a subject is to the monitor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An app, or an instance of one.
    #[default]
    App,
    /// The reverse proxy in front of apps. What is told about it is told under the name of the first
    /// of them.
    Proxy {
        /// That app.
        of: AppName,
    },
    /// The database that apps lean on, on this host.
    Database {
        /// The first of those apps.
        of: AppName,
    },
}

/// Whose processes may be ended because they are in the way of a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stragglers {
    /// Nobody's.
    Never,
    /// Whoever holds the app's port outside of every service and login session and does not answer
    /// its health check well, and orphans of the app's unit.
    #[default]
    Own,
    /// Also any process on its port that belongs to no other unit.
    Port,
}

/// The public check of an app.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PublicTarget {
    /// What is asked; the URL is a full one.
    pub http: HttpTarget,
    /// A certificate that is valid for less than that is told.
    pub expires_within: Duration,
}

/// The protocol in which a database is asked whether it accepts connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseProtocol {
    /// PostgreSQL.
    PostgreSql,
    /// MySQL and MariaDB. Asking without logging in counts as a broken handshake there.
    MySql,
    /// Redis and Valkey.
    Redis,
    /// MongoDB.
    MongoDb,
    /// Any other: a TCP connection.
    Tcp,
}

/// Where a database listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabasePlace {
    /// Name or address, and port.
    Host(String, u16),
    /// A socket in the file system.
    Socket(PathBuf),
}

/// Where a database is, and how it is asked. Never with credentials.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct DatabaseTarget {
    /// In which protocol.
    pub protocol: DatabaseProtocol,
    /// All places of which one has to accept (MongoDB and some drivers list several).
    pub places: Vec<DatabasePlace>,
    /// TLS is spoken from the first byte (`rediss://`): no protocol is tried, a TCP connection is enough.
    pub tls: bool,
    /// The whole check, wall to wall.
    pub timeout: Duration,
    /// Pace while all is well.
    pub interval: Duration,
}

impl DatabaseTarget {
    /// It runs on this host.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.places.iter().all(|place| match place {
            DatabasePlace::Socket(_) => true,
            DatabasePlace::Host(host, _) => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        })
    }

    /// Asked on suspicion and while it is down, never at `interval`: a MySQL server on another host
    /// counts the questions as broken handshakes, and locks us out after some (max_connect_errors).
    #[must_use]
    pub fn only_on_suspicion(&self) -> bool {
        self.protocol == DatabaseProtocol::MySql && !self.is_local()
    }
}

/// What has to be there before a start. All empty: nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct PreflightTarget {
    /// Files that have to be there and readable by the app's user; relative ones below its working
    /// directory.
    pub files: Vec<PathBuf>,
    /// Keys (environment variables) that have to be present and non-empty in the unit's environment
    /// or in `env_file`; those of `database` among them.
    pub keys: Vec<String>,
    /// Where they may stand besides the unit's environment.
    pub env_file: Option<PathBuf>,
    /// The port has to be free.
    pub port_free: bool,
}

impl PreflightTarget {
    /// Nothing has to be there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.keys.is_empty() && !self.port_free
    }
}

/// Everything that an app is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The unit that the app runs as.
    pub unit: UnitName,
    /// What it is to the monitor.
    #[serde(default)]
    pub role: Role,
    /// The TCP port that it must listen on.
    pub port: Option<u16>,
    /// Where it listens.
    pub address: Address,
    /// Its local health check.
    pub http: Option<HttpTarget>,
    /// Least processes in the unit. 0: not checked.
    pub min_processes: u32,
    /// Only processes of that name count: base name of argv\[0\], or comm.
    pub process: Option<String>,
    /// Root of the app's files; taken from the unit when absent.
    pub working_directory: Option<PathBuf>,
    /// Most memory of the unit in bytes.
    pub max_memory: Option<u64>,
    /// Least MemAvailable of the host in bytes. 0: not checked.
    pub min_available: u64,
    /// Least free space in bytes, on the app's, the state's and the journal's file systems. 0: not
    /// checked.
    pub min_disk: u64,
    /// The database.
    pub database: Option<DatabaseTarget>,
    /// The database's unit on this host.
    pub database_unit: Option<UnitName>,
    /// The reverse proxy in front.
    pub proxy: Option<UnitName>,
    /// The public check.
    pub public: Option<PublicTarget>,
    /// `HOST:PORT` that tell whether the network out is there; none: the resolver and the default
    /// gateway.
    pub egress: Option<Vec<(String, u16)>>,
    /// What has to be there before a start.
    pub preflight: PreflightTarget,
    /// Directories below the working directory that may be cleared.
    pub caches: Vec<PathBuf>,
    /// Whose processes may be ended.
    pub stragglers: Stragglers,
}

impl Target {
    /// A unit without any check.
    #[must_use]
    pub fn of_unit(unit: UnitName) -> Self {
        Self {
            unit,
            role: Role::App,
            port: None,
            address: Address::Localhost,
            http: None,
            min_processes: 0,
            process: None,
            working_directory: None,
            max_memory: None,
            min_available: 0,
            min_disk: 0,
            database: None,
            database_unit: None,
            proxy: None,
            public: None,
            egress: None,
            preflight: PreflightTarget::default(),
            caches: Vec::new(),
            stragglers: Stragglers::Own,
        }
    }

    /// Whether that check is configured.
    #[must_use]
    pub fn has(&self, kind: CheckKind) -> bool {
        match kind {
            CheckKind::Port => self.port.is_some(),
            CheckKind::Http => self.http.is_some(),
            CheckKind::Processes => self.min_processes > 0,
            CheckKind::Memory => self.max_memory.is_some(),
            CheckKind::HostMemory => self.min_available > 0,
            CheckKind::Disk => self.min_disk > 0,
            CheckKind::Database => self.database.is_some(),
            CheckKind::Proxy => self.public.is_some() && self.proxy.is_some(),
            CheckKind::Public | CheckKind::Egress => self.public.is_some(),
            CheckKind::Preflight => !self.preflight.is_empty(),
        }
    }

    /// The checks that are configured and made at every round.
    pub fn round(&self) -> impl Iterator<Item = CheckKind> {
        CheckKind::ALL.into_iter().filter(|kind| kind.is_of_a_round() && self.has(*kind))
    }

    /// The checks that are configured and go out at a pace of their own.
    pub fn errands(&self) -> impl Iterator<Item = CheckKind> {
        CheckKind::ALL.into_iter().filter(|kind| !kind.is_of_a_round() && self.has(*kind))
    }

    /// The checks of the app itself that are configured: those that tell whether it works.
    #[must_use]
    pub fn kinds(&self) -> Vec<CheckKind> {
        let own = [CheckKind::Port, CheckKind::Http, CheckKind::Processes];
        own.into_iter().filter(|kind| self.has(*kind)).collect()
    }

    /// A number that stays the same while unit, target and expectation of a check do: a check that
    /// was good once is remembered under it. It says nothing about the values themselves.
    #[must_use]
    pub fn signature(&self, kind: CheckKind) -> u64 {
        // DefaultHasher::new has fixed keys; should a release of Rust change it, checks have to be
        // good once more before their failure counts, which errs on the safe side.
        let mut hasher = DefaultHasher::new();
        (self.unit.as_str(), kind).hash(&mut hasher);
        match kind {
            CheckKind::Port => (self.port, self.address).hash(&mut hasher),
            CheckKind::Http => {
                if let Some(http) = &self.http {
                    http.expectation(&mut hasher);
                    self.address.hash(&mut hasher);
                }
            }
            CheckKind::Processes => (self.min_processes, &self.process).hash(&mut hasher),
            CheckKind::Memory => self.max_memory.hash(&mut hasher),
            CheckKind::HostMemory => self.min_available.hash(&mut hasher),
            CheckKind::Disk => self.min_disk.hash(&mut hasher),
            CheckKind::Database => {
                self.database
                    .as_ref()
                    .map(|asked| (asked.protocol, &asked.places, asked.tls))
                    .hash(&mut hasher);
            }
            CheckKind::Proxy | CheckKind::Public => {
                if let Some(public) = &self.public {
                    public.http.expectation(&mut hasher);
                }
                self.proxy.as_ref().filter(|_| kind == CheckKind::Proxy).hash(&mut hasher);
            }
            CheckKind::Egress => self.egress.hash(&mut hasher),
            CheckKind::Preflight => self.preflight.hash(&mut hasher),
        }
        hasher.finish()
    }
}

impl HttpTarget {
    fn expectation(&self, hasher: &mut DefaultHasher) {
        (&self.url, &self.method, &self.headers, &self.status, &self.body).hash(hasher);
        for (path, value) in &self.json {
            (path, value.to_string()).hash(hasher);
        }
    }
}
