//! A fake systemd for tests, behind a socket of its own: it hangs, refuses, cancels, and loses
//! signals at will. It does nothing by itself but queue jobs; tests say how they end.

use std::collections::{HashMap, HashSet};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;
use zbus::message::Type;
use zbus::{Connection, Guid, Message, MessageStream, ObjectPath, Variant};

use super::bus::{Bus, MANAGER, MANAGER_PATH};
use super::path::{unit_from_path, unit_path};

/// The name by which the bus knows the fake, whoever it is asked for.
const SYSTEMD_HERE: &str = ":1.1";

/// A unit as far as tests need it.
#[derive(Clone, Debug)]
pub(crate) struct FakeUnit {
    pub(crate) load: &'static str,
    pub(crate) active: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) result: &'static str,
    pub(crate) invocation: u8,
    /// Microseconds at which it last left `active`; 0 is never.
    pub(crate) left: u64,
    /// The same of when it began to start, and of when its main process ended.
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) job: u32,
    pub(crate) timeout_start: Duration,
    pub(crate) condition_failed: bool,
    pub(crate) requires: Vec<String>,
    pub(crate) triggered_by: Vec<String>,
    pub(crate) user: &'static str,
    pub(crate) working_directory: &'static str,
    pub(crate) cache_directories: Vec<String>,
    pub(crate) following: &'static str,
    pub(crate) fragment: &'static str,
}

impl Default for FakeUnit {
    fn default() -> Self {
        Self {
            load: "loaded",
            active: "active",
            sub: "running",
            result: "success",
            invocation: 1,
            left: 0,
            began: 0,
            ended: 0,
            job: 0,
            timeout_start: Duration::from_secs(90),
            condition_failed: false,
            requires: vec!["system.slice".into(), "sysinit.target".into()],
            triggered_by: Vec::new(),
            user: "",
            working_directory: "",
            cache_directories: Vec::new(),
            following: "",
            fragment: "/etc/systemd/system/web.service",
        }
    }
}

#[derive(Default)]
struct State {
    units: HashMap<String, FakeUnit>,
    jobs: HashMap<u32, (String, &'static str)>,
    last_job: u32,
    connections: Vec<Connection>,
    calls: Vec<(String, Duration)>,
    silent: HashSet<&'static str>,
    refusing: HashMap<&'static str, &'static str>,
}

/// The fake. Dropping it closes every connection.
pub(crate) struct Fake {
    address: String,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// The moment, for distances.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

impl Fake {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address: format!("unix:path={}", socket.display()), state, accepting, _folder: folder }
    }

    /// A bus to it on which calls may take 300 ms.
    pub(crate) async fn bus(&self) -> Bus {
        Bus::connect_with(Some(Arc::from(self.address.as_str())), Duration::from_millis(300)).await.unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set(&self, name: &str, unit: FakeUnit) {
        self.state().units.insert(name.to_owned(), unit);
    }

    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut FakeUnit)) {
        change(self.state().units.get_mut(name).unwrap());
    }

    /// Calls of this member are never answered.
    pub(crate) fn silence(&self, member: &'static str) {
        self.state().silent.insert(member);
    }

    pub(crate) fn speak_again(&self) {
        self.state().silent.clear();
    }

    /// Calls of this member are answered with this error.
    pub(crate) fn refuse(&self, member: &'static str, error: &'static str) {
        self.state().refusing.insert(member, error);
    }

    /// Every call is answered as usual again.
    pub(crate) fn accept_again(&self) {
        self.state().refusing.clear();
    }

    /// A job of somebody else.
    pub(crate) fn add_job(&self, unit: &str, kind: &'static str) -> u32 {
        self.state().queue(unit, kind)
    }

    /// The job is gone, without a word.
    pub(crate) fn forget_job(&self, id: u32) {
        let mut state = self.state();
        if let Some((unit, _)) = state.jobs.remove(&id)
            && let Some(unit) = state.units.get_mut(&unit)
        {
            unit.job = 0;
        }
    }

    pub(crate) fn jobs(&self) -> Vec<u32> {
        self.state().jobs.keys().copied().collect()
    }

    /// When this member was called.
    pub(crate) fn calls(&self, member: &str) -> Vec<Duration> {
        self.state().calls.iter().filter(|(name, _)| name == member).map(|(_, at)| *at).collect()
    }

    /// Waits (5 s at most) until this member was called that often.
    pub(crate) async fn called(&self, member: &str, times: usize) {
        for _ in 0..1_000 {
            if self.calls(member).len() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{member} was not called {times} times");
    }

    /// Sends a signal of the manager to everybody.
    pub(crate) async fn signal<B>(&self, path: &str, interface: &str, member: &str, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let connections = self.state().connections.clone();
        for connection in connections {
            says(&connection, SYSTEMD_HERE, path, interface, member, body).await;
        }
    }

    /// Somebody else says it, to everybody.
    pub(crate) async fn forged<B>(&self, sender: &str, path: &str, interface: &str, member: &str, body: &B)
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        let connections = self.state().connections.clone();
        for connection in connections {
            says(&connection, sender, path, interface, member, body).await;
        }
    }

    pub(crate) async fn unit_changed(&self, name: &str) {
        let path = unit_path(&name.parse().unwrap());
        let changed: HashMap<&str, Variant<'_>> = [("ActiveState", Variant::from("failed"))].into();
        let body = ("org.freedesktop.systemd1.Unit", changed, vec!["InvocationID"]);
        self.signal(&path, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await;
    }

    pub(crate) async fn job_removed(&self, id: u32, unit: &str, result: &str) {
        self.forget_job(id);
        let path = ObjectPath::try_from(format!("{MANAGER_PATH}/job/{id}")).unwrap();
        self.signal(MANAGER_PATH, MANAGER, "JobRemoved", &(id, path, unit, result)).await;
    }

    /// Every connection is closed, as when dbus is restarted.
    pub(crate) async fn hang_up(&self) {
        let connections = std::mem::take(&mut self.state().connections);
        for connection in connections {
            let _ = connection.close().await;
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// A job merges into one of its kind that is pending.
    fn merge(&mut self, unit: &str, kind: &'static str) -> u32 {
        let pending = self.jobs.iter().find(|(_, (on, of))| on == unit && *of == kind).map(|(id, _)| *id);
        pending.unwrap_or_else(|| self.queue(unit, kind))
    }

    fn queue(&mut self, unit: &str, kind: &'static str) -> u32 {
        self.last_job += 1;
        let id = self.last_job;
        self.jobs.insert(id, (unit.to_owned(), kind));
        if let Some(unit) = self.units.get_mut(unit) {
            unit.job = id;
        }
        id
    }
}

async fn says<B>(to: &Connection, sender: &str, path: &str, interface: &str, member: &str, body: &B)
where
    B: serde::Serialize + zbus::wire::DynamicType,
{
    let message = Message::signal(path, interface, member).sender(sender).build(body).unwrap();
    let _ = to.send(&message).await;
}

async fn accept(listener: tokio::net::UnixListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let stream = stream.into_std().unwrap();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let builder = zbus::connection::Builder::unix_stream(stream).server(Guid::generate()).p2p();
            let Ok(connection) = builder.build().await else { return };
            let mut messages = MessageStream::from(&connection);
            state.lock().unwrap().connections.push(connection.clone());
            while let Some(Ok(message)) = messages.next().await {
                if message.message_type() == Type::MethodCall {
                    serve(&connection, &message, &state).await;
                }
            }
        });
    }
}

/// Whether it only asks for leave: such calls are known by their member with a question mark.
fn is_question(call: &Message, member: &str) -> bool {
    let body = call.body();
    match member {
        "StartUnit" | "StopUnit" | "RestartUnit" | "ReloadUnit" => {
            body.deserialize::<(&str, &str)>().is_ok_and(|(_, mode)| mode != "fail")
        }
        "KillUnit" => body.deserialize::<(&str, &str, i32)>().is_ok_and(|(_, whom, _)| whom == "control"),
        _ => false,
    }
}

async fn serve(connection: &Connection, call: &Message, state: &Mutex<State>) {
    let header = call.header();
    let member = header.member().unwrap().as_str();
    let path = header.path().unwrap().as_str();
    let question = is_question(call, member);
    let refused = {
        let mut state = state.lock().unwrap();
        let called = if question { format!("{member}?") } else { member.to_owned() };
        let silent = state.silent.contains(called.as_str());
        let refused = state.refusing.get(called.as_str()).copied();
        state.calls.push((called, now()));
        if silent {
            return;
        }
        refused
    };
    if let Some(error) = refused {
        let _ = connection.reply_error(&header, error, &"the fake refuses").await;
        return;
    }
    if question {
        let invalid = "org.freedesktop.DBus.Error.InvalidArgs";
        let _ = connection.reply_error(&header, invalid, &"it does not go together").await;
        return;
    }
    let unit = unit_from_path(path).map(|unit| unit.to_string());
    let body = call.body();
    let _ = match member {
        "Hello" => connection.reply(&header, &":1.7").await,
        "GetNameOwner" => connection.reply(&header, &SYSTEMD_HERE).await,
        "StartUnit" | "StopUnit" | "RestartUnit" | "ReloadUnit" => {
            let (unit, mode): (&str, &str) = body.deserialize().unwrap();
            assert_eq!(mode, "fail", "a question is answered before");
            let kind = match member {
                "StartUnit" => "start",
                "StopUnit" => "stop",
                "ReloadUnit" => "reload",
                _ => "restart",
            };
            let id = state.lock().unwrap().merge(unit, kind);
            let job = ObjectPath::try_from(format!("{MANAGER_PATH}/job/{id}")).unwrap();
            connection.reply(&header, &job).await
        }
        "GetJob" => {
            let id: u32 = body.deserialize().unwrap();
            if state.lock().unwrap().jobs.contains_key(&id) {
                let job = ObjectPath::try_from(format!("{MANAGER_PATH}/job/{id}")).unwrap();
                connection.reply(&header, &job).await
            } else {
                connection.reply_error(&header, "org.freedesktop.systemd1.NoSuchJob", &"gone").await
            }
        }
        "ListJobs" => {
            let root = ObjectPath::try_from("/").unwrap();
            let rows: Vec<_> = {
                let state = state.lock().unwrap();
                let row = |(id, (unit, kind)): (&u32, &(String, &'static str))| {
                    (*id, unit.clone(), *kind, "waiting", root.clone(), root.clone())
                };
                state.jobs.iter().map(row).collect()
            };
            connection.reply(&header, &rows).await
        }
        "GetAll" => {
            let interface: &str = body.deserialize().unwrap();
            let unit = unit.and_then(|unit| state.lock().unwrap().units.get(&unit).cloned());
            connection.reply(&header, &all(unit.as_ref(), interface)).await
        }
        "Get" => {
            let (interface, name): (&str, &str) = body.deserialize().unwrap();
            let known = unit.as_ref().and_then(|unit| state.lock().unwrap().units.get(unit).cloned());
            let value = match (name, unit) {
                ("SystemState", _) => Variant::from("running"),
                ("Id", Some(unit)) => Variant::from(unit),
                _ => all(known.as_ref(), interface).remove(name).unwrap(),
            };
            connection.reply(&header, &Variant::Variant(Box::new(value))).await
        }
        _ => connection.reply(&header, &()).await,
    };
}

fn all(unit: Option<&FakeUnit>, interface: &str) -> HashMap<&'static str, Variant<'static>> {
    let Some(unit) = unit else {
        return [
            ("LoadState", Variant::from("not-found")),
            ("ActiveState", Variant::from("inactive")),
            ("Job", Variant::from((0_u32, ObjectPath::try_from("/").unwrap()))),
            ("ActiveExitTimestampMonotonic", Variant::from(0_u64)),
        ]
        .into();
    };
    if interface.ends_with("Service") {
        return [
            ("Result", Variant::from(unit.result)),
            ("TimeoutStartUSec", Variant::from(u64::try_from(unit.timeout_start.as_micros()).unwrap())),
            ("TimeoutStopUSec", Variant::from(u64::MAX)),
            ("RestartUSec", Variant::from(100_000_u64)),
            ("MainPID", Variant::from(77_u32)),
            ("ExecMainExitTimestampMonotonic", Variant::from(unit.ended)),
            ("ExecMainCode", Variant::from(0_i32)),
            ("CPUWeight", Variant::from(u64::MAX)),
            ("Nice", Variant::from(3_i32)),
            ("ControlGroup", Variant::from("/system.slice/web.service")),
            ("User", Variant::from(unit.user)),
            ("DynamicUser", Variant::from(false)),
            ("WorkingDirectory", Variant::from(unit.working_directory)),
            ("RootDirectory", Variant::from("")),
            ("RootImage", Variant::from("")),
            ("CacheDirectory", Variant::from(unit.cache_directories.clone())),
            ("ExecStart", Variant::from(vec![("/usr/bin/node", vec!["node"], false)])),
        ]
        .into();
    }
    [
        ("LoadState", Variant::from(unit.load)),
        ("ActiveState", Variant::from(unit.active)),
        ("SubState", Variant::from(unit.sub)),
        ("InvocationID", Variant::from(vec![unit.invocation; 16])),
        ("Job", Variant::from((unit.job, ObjectPath::try_from("/").unwrap()))),
        ("InactiveExitTimestampMonotonic", Variant::from(unit.began)),
        ("ActiveExitTimestampMonotonic", Variant::from(unit.left)),
        ("ConditionResult", Variant::from(!unit.condition_failed)),
        ("ConditionTimestampMonotonic", Variant::from(5_u64)),
        ("Requires", Variant::from(unit.requires.clone())),
        ("TriggeredBy", Variant::from(unit.triggered_by.clone())),
        ("Following", Variant::from(unit.following)),
        ("FragmentPath", Variant::from(unit.fragment)),
        ("SourcePath", Variant::from("")),
        ("Documentation", Variant::from(vec!["man:x(8)"])),
    ]
    .into()
}
