//! Connections to the system bus, and calls with a deadline.
//!
//! Two kinds, because a call that timed out is still carried out later as long as its connection
//! lives (seen with a polkit that hung and was resumed): a [`Bus`] is for reading, for signals and
//! for holding units; a [`Hand`] is for one act, and is closed as soon as a call on it gets no
//! answer, so that a late stop does not hit an app that is well again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::wire::DynamicType;
use zbus::{Connection, Message, MessageStream};

use super::error::Error;

/// systemd's well-known name. Its unique name changes with every daemon-reexec.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
/// The manager object.
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// The manager interface.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// The bus itself.
pub(super) const DBUS: &str = "org.freedesktop.DBus";
/// Its object.
pub(super) const DBUS_PATH: &str = "/org/freedesktop/DBus";
/// polkit, which systemd asks whether we may.
pub(super) const POLKIT: &str = "org.freedesktop.PolicyKit1";

/// How long any call may take before its outcome is unknown.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// How long a call may take for whose answer systemd waits on polkit, and that does no harm whenever
/// it is carried out. systemd gives up after 25 s (the bus's own timeout): it is always answered, so
/// that none is asked twice.
pub const POLKIT_DEADLINE: Duration = CALL_DEADLINE.saturating_mul(PATIENCE);
/// How much longer that is.
const PATIENCE: u32 = 6;
/// Calls under way on one connection. The system bus refuses the 129th with LimitsExceeded
/// (dbus-daemon(1), max_replies_per_connection), and PID 1 has other callers, too.
const CALLS: usize = 32;
/// How long a farewell may take: a socket that does not even take that is dropped.
const CLOSE_DEADLINE: Duration = Duration::from_millis(100);
/// After so many calls in a row without an answer, none of them while another was under way, the
/// connection is given up: a half-written message would keep it silent for ever.
const SILENT_CALLS: u32 = 3;

/// The connection for reading, for signals, and for holding units. Clones share it.
///
/// While systemd does not answer, one call at a time is let through and the others fail at once
/// with [`Error::TimedOut`], so that calls do not pile up in front of a hung PID 1.
#[derive(Clone, Debug)]
pub struct Bus {
    connection: Connection,
    address: Option<Arc<str>>,
    silence: Arc<Silence>,
    room: Arc<Semaphore>,
    deadline: Duration,
}

#[derive(Default, Debug)]
struct Silence {
    /// Calls in a row without an answer.
    missed: AtomicU32,
    /// The one call that is let through meanwhile is under way.
    probing: AtomicBool,
}

/// Clears `probing`, also when the call's future is dropped.
struct Probe<'a>(&'a Silence);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.0.probing.store(false, Ordering::Relaxed);
    }
}

impl Bus {
    /// Connects to the system bus (`DBUS_SYSTEM_BUS_ADDRESS`, or its usual place).
    ///
    /// # Errors
    /// [`Error::Disconnected`] when there is no bus, [`Error::TimedOut`] after 5 s.
    pub async fn connect() -> Result<Self, Error> {
        Self::connect_with(None, CALL_DEADLINE).await
    }

    /// Connects to the bus at a D-Bus address.
    ///
    /// # Errors
    /// As [`Bus::connect`].
    pub async fn connect_at(address: &str) -> Result<Self, Error> {
        Self::connect_with(Some(Arc::from(address)), CALL_DEADLINE).await
    }

    /// The same with another deadline for each call.
    pub(super) async fn connect_with(address: Option<Arc<str>>, deadline: Duration) -> Result<Self, Error> {
        let connection = open(address.as_deref(), deadline).await?;
        let room = Arc::new(Semaphore::new(CALLS));
        Ok(Self { connection, address, silence: Arc::default(), room, deadline })
    }

    /// A fresh connection for acting, to the same bus.
    ///
    /// # Errors
    /// As [`Bus::connect`]; nothing was done then.
    pub async fn hand(&self) -> Result<Hand, Error> {
        let connection = open(self.address.as_deref(), self.deadline).await?;
        Ok(Hand { connection, deadline: self.deadline })
    }

    /// The connection itself, for whoever serves an interface on it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the connection is over. It never comes back: make a new `Bus`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// A call that reads: answered, or an error within the deadline. It waits for its turn first:
    /// a short while, since systemd's silence ends the calls ahead of it, and lets one in at a time.
    pub(super) async fn ask<B>(
        &self,
        destination: &str,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Result<Message, Error>
    where
        B: Serialize + DynamicType,
    {
        // Closed never.
        let _room = self.room.acquire().await.map_err(|_| Error::TimedOut)?;
        let silent = self.silence.missed.load(Ordering::Relaxed) > 0;
        let _probe = if silent {
            if self.silence.probing.swap(true, Ordering::Relaxed) {
                return Err(Error::TimedOut);
            }
            Some(Probe(&self.silence))
        } else {
            None
        };
        let call = self.connection.call_method(Some(destination), path, Some(interface), member, body);
        match timeout(self.deadline, call).await {
            Ok(answer) => {
                self.silence.missed.store(0, Ordering::Relaxed);
                answer.map_err(Error::from)
            }
            Err(_) => {
                // Calls that were under way together count as one.
                let missed = if silent {
                    self.silence.missed.fetch_add(1, Ordering::Relaxed) + 1
                } else {
                    self.silence.missed.fetch_max(1, Ordering::Relaxed).max(1)
                };
                if missed >= SILENT_CALLS {
                    close(&self.connection).await;
                }
                Err(Error::TimedOut)
            }
        }
    }

    /// A call on the manager that may have to wait for polkit, whose silence says nothing about
    /// systemd, and that does no harm when it is carried out late.
    pub(super) async fn tell<B>(&self, member: &str, body: &B) -> Result<Message, Error>
    where
        B: Serialize + DynamicType,
    {
        let call = self.connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), member, body);
        timeout(POLKIT_DEADLINE, call).await.map_err(|_| Error::TimedOut)?.map_err(Error::from)
    }
}

/// A connection for acting. After a call on it timed out it is closed, and every further call
/// fails with [`Error::Disconnected`]: take a new one.
#[derive(Debug)]
pub struct Hand {
    connection: Connection,
    deadline: Duration,
}

impl Hand {
    /// Whether it is of no more use.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// The same hand, which waits until systemd itself gives up: for what does no harm when it is carried
    /// out late, or has to be known to have been.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { deadline: self.deadline * PATIENCE, ..self }
    }

    /// A call on the manager that does something.
    pub(super) async fn act<B>(&self, member: &str, body: &B) -> Result<Message, Error>
    where
        B: Serialize + DynamicType,
    {
        if self.connection.is_closed() {
            return Err(Error::Disconnected("an earlier call got no answer".to_owned()));
        }
        match timeout(self.deadline, self.answer(member, body)).await {
            Ok(answer) => answer,
            Err(_) => {
                close(&self.connection).await;
                Err(Error::TimedOut)
            }
        }
    }
}

impl Hand {
    /// A call and its answer, errors with whoever sent them: zbus keeps that of others' own errors alone, and
    /// it makes the difference between a systemd that went away and one that says so of polkit.
    async fn answer<B>(&self, member: &str, body: &B) -> Result<Message, Error>
    where
        B: Serialize + DynamicType,
    {
        let call =
            Message::method_call(MANAGER_PATH, member).destination(SYSTEMD).interface(MANAGER).build(body)?;
        let serial = call.primary_header().serial_num();
        // What is sent to this connection besides is not much: it has no rules.
        let mut answers = MessageStream::from(&self.connection);
        self.connection.send(&call).await?;
        while let Some(message) = answers.next().await {
            let message = message?;
            if message.header().reply_serial() == Some(serial) {
                return match message.message_type() {
                    Type::Error => Err(Error::of_answer(message)),
                    _ => Ok(message),
                };
            }
        }
        Err(Error::Disconnected("it was closed".to_owned()))
    }
}

async fn open(address: Option<&str>, deadline: Duration) -> Result<Connection, Error> {
    let builder = match address {
        Some(address) => zbus::connection::Builder::address(address),
        None => zbus::connection::Builder::system(),
    };
    timeout(deadline, builder.build()).await.map_err(|_| Error::TimedOut)?.map_err(Error::from)
}

async fn close(connection: &Connection) {
    // Whether the farewell was heard makes no difference.
    let _ = timeout(CLOSE_DEADLINE, connection.clone().close()).await;
}
