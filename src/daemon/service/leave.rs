//! Who may: the bus says who calls, polkit whether he may act, the groups whether he may read what
//! quotes logs and answers.
//!
//! Root needs nobody's leave, and so is served while polkit is away. Nothing here is waited for by the
//! loop; callers that wait for a person are few at a time.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zbus::message::{Flags, Header};
use zbus::{Connection, Variant, fdo};

use crate::config::resolved::group_id;
use crate::plain::is_hidden;

use super::ANSWER_WITHIN;

/// The action of polkit that covers whatever acts.
pub(super) const ACTION: &str = "org.appmonitor1.control";
/// Who may read logs on Debian.
const READERS: &str = "adm";

const POLKIT: &str = "org.freedesktop.PolicyKit1";
const AUTHORITY_PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const AUTHORITY: &str = "org.freedesktop.PolicyKit1.Authority";
/// `AllowUserInteraction` of `CheckAuthorization`.
const INTERACTIVE: u32 = 1;
/// polkit answers in milliseconds where it need not ask anybody; it may have to be started first.
const POLKIT_ANSWERS: Duration = Duration::from_secs(10);
/// A person has so long to type a password.
const PERSON_ANSWERS: Duration = Duration::from_secs(120);
/// Calls that wait for polkit at a time, of everybody and of one user.
const WAITING: usize = 32;
const WAITING_EACH: usize = 4;

/// What somebody wants to do, for polkit and its rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act<'a> {
    pub verb: &'static str,
    pub app: &'a str,
    /// The monitor's own user may: as whom the unit's reload step calls.
    pub own_user_too: bool,
}

/// Asks who calls and what he may, over the connection that listens to systemd: the service's own may be
/// full of what others want.
#[derive(Clone, Debug)]
pub(super) struct Leave {
    bus: Connection,
    waiting: Arc<Mutex<BTreeMap<u32, usize>>>,
}

/// A caller's place among those who wait.
struct Place<'a>(&'a Leave, u32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.1);
            }
        }
    }
}

/// Who calls.
struct Caller {
    name: String,
    uid: u32,
    groups: Option<Vec<u32>>,
}

impl Leave {
    pub(super) fn new(bus: Connection) -> Self {
        Self { bus, waiting: Arc::default() }
    }

    async fn caller(&self, header: &Header<'_>) -> fdo::Result<Caller> {
        let name =
            header.sender().ok_or_else(|| fdo::Error::AccessDenied("a caller without a name".into()))?;
        let bus = fdo::DBusProxy::new(&self.bus).await?;
        let asked = bus.get_connection_credentials(name.clone().into());
        let credentials = tokio::time::timeout(ANSWER_WITHIN, asked)
            .await
            .map_err(|_| fdo::Error::TimedOut("the bus does not say who calls".into()))??;
        let uid = credentials.unix_user_id();
        let uid = uid.ok_or_else(|| fdo::Error::AccessDenied("the bus does not know who calls".into()))?;
        Ok(Caller { name: name.to_string(), uid, groups: credentials.into_unix_group_ids() })
    }

    /// Whether the caller may act. It may take as long as a person takes to type a password, if the call
    /// says that one may be asked. His name, when he may.
    pub(super) async fn act(&self, header: &Header<'_>, act: Act<'_>) -> fdo::Result<String> {
        let caller = self.caller(header).await?;
        let own = rustix::process::geteuid().as_raw();
        if caller.uid == 0 || (act.own_user_too && caller.uid == own) {
            return Ok(name_of(caller.uid));
        }
        let _place = self.place(caller.uid)?;
        // At first without a person: a polkit that hangs shows soon.
        let (authorized, challenge) = self.ask(&caller.name, act, 0, POLKIT_ANSWERS).await?;
        if authorized {
            return Ok(name_of(caller.uid));
        }
        let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        if challenge && interactive {
            let (authorized, _) = self.ask(&caller.name, act, INTERACTIVE, PERSON_ANSWERS).await?;
            if authorized {
                return Ok(name_of(caller.uid));
            }
            return Err(fdo::Error::AccessDenied(format!(
                "polkit gave no leave ({ACTION}): the password was wrong, or nobody could be asked for it; \
                 try again, or with sudo"
            )));
        }
        Err(fdo::Error::AccessDenied(format!(
            "that takes root, or leave by polkit ({ACTION}); try it with sudo"
        )))
    }

    /// Whether the caller may read what quotes logs and answers.
    pub(super) async fn read(&self, header: &Header<'_>) -> fdo::Result<()> {
        let caller = self.caller(header).await?;
        if caller.uid == 0 || is_reader(&caller, Path::new("/etc")) {
            return Ok(());
        }
        Err(fdo::Error::AccessDenied(format!(
            "that quotes logs and answers, so only root and group {READERS} may read it; try it with sudo"
        )))
    }

    fn place(&self, uid: u32) -> fdo::Result<Place<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = waiting.values().sum();
        let of_caller = waiting.get(&uid).copied().unwrap_or(0);
        if all >= WAITING || of_caller >= WAITING_EACH {
            let text = "too many calls wait for leave by polkit; try again when they are answered";
            return Err(fdo::Error::LimitsExceeded(text.into()));
        }
        waiting.insert(uid, of_caller + 1);
        Ok(Place(self, uid))
    }

    /// Whether polkit authorizes the caller, and whether it would if a person were asked.
    async fn ask(
        &self,
        caller: &str,
        act: Act<'_>,
        flags: u32,
        within: Duration,
    ) -> fdo::Result<(bool, bool)> {
        type Answer = (bool, bool, HashMap<String, String>);
        let subject = ("system-bus-name", HashMap::from([("name", Variant::new(caller))]));
        let details = HashMap::from([("verb", act.verb), ("app", act.app)]);
        // Unique among what waits, since the caller's name is.
        let cancel = format!("{caller}/{}/{}", act.verb, number());
        let body = (subject, ACTION, details, flags, cancel.as_str());
        let asked =
            self.bus.call_method(Some(POLKIT), AUTHORITY_PATH, Some(AUTHORITY), "CheckAuthorization", &body);
        let Ok(answer) = tokio::time::timeout(within, asked).await else {
            // Nobody waits any longer: a dialog that is still open means nothing.
            let body = (cancel.as_str(),);
            let cancelled = self.bus.call_method(
                Some(POLKIT),
                AUTHORITY_PATH,
                Some(AUTHORITY),
                "CancelCheckAuthorization",
                &body,
            );
            let _ = tokio::time::timeout(Duration::from_millis(100), cancelled).await;
            return Err(fdo::Error::AccessDenied(
                "polkit, which says who may do that, does not answer; root needs no leave: try it with sudo"
                    .into(),
            ));
        };
        let answer = answer.map_err(|error| {
            fdo::Error::AccessDenied(format!(
                "polkit, which says who may do that, cannot be asked ({}); root needs no leave: try it with sudo",
                crate::systemd::Error::from(error)
            ))
        })?;
        let (authorized, challenge, _): Answer =
            answer.body().deserialize().map_err(|error| fdo::Error::Failed(error.to_string()))?;
        Ok((authorized, challenge))
    }
}

/// A number that no other question of this process has.
fn number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// In group `adm`, by what the process is; where the bus does not tell that, by what the user is.
fn is_reader(caller: &Caller, etc: &Path) -> bool {
    let group = etc.join("group");
    let Some(readers) = group_id(&group, READERS) else { return false };
    match &caller.groups {
        Some(groups) => groups.contains(&readers),
        None => user_is_in(caller.uid, readers, &etc.join("passwd"), &group),
    }
}

/// The name of a local user, for people; his number where he has none.
fn name_of(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_it = |fields: &Vec<&str>| fields.get(2).is_some_and(|field| *field == uid.to_string());
    let user = users.lines().map(|line| line.split(':').collect::<Vec<&str>>()).find(is_it);
    match user {
        Some(fields) => fields[0].chars().filter(|c| !is_hidden(*c)).take(64).collect(),
        None => format!("uid {uid}"),
    }
}

/// By passwd(5) and group(5).
fn user_is_in(uid: u32, gid: u32, passwd: &Path, group: &Path) -> bool {
    let number = |field: Option<&str>| field.and_then(|field| field.parse::<u32>().ok());
    let Ok(users) = std::fs::read_to_string(passwd) else { return false };
    let user = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (number(fields.get(2).copied()) == Some(uid)).then(|| (fields[0], number(fields.get(3).copied())))
    });
    let Some((name, primary)) = user else { return false };
    let Ok(groups) = std::fs::read_to_string(group) else { return false };
    let is_member = groups.lines().any(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        number(fields.get(2).copied()) == Some(gid)
            && fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
    });
    primary == Some(gid) || is_member
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_adm_reads_and_nobody_else() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(etc.path().join("group"), "root:x:0:\nadm:x:4:syslog,eve\nweb:x:1001:\n").unwrap();
        let users = "root:x:0:0::/:/bin/sh\neve:x:1000:1000::/:\nweb:x:1001:1001::/:\nlog:x:1002:4::/:\n";
        std::fs::write(etc.path().join("passwd"), users).unwrap();
        let may = |uid, groups: Option<&[u32]>| {
            let caller = Caller { name: ":1.1".into(), uid, groups: groups.map(<[u32]>::to_vec) };
            is_reader(&caller, etc.path())
        };
        assert!(may(1000, Some(&[4, 1000])) && may(1000, None) && may(1002, None));
        // Whoever was added to the group since, or has left it, is what he is now.
        assert!(!may(1000, Some(&[1000])));
        assert!(!may(1001, Some(&[1001])) && !may(1001, None) && !may(7, None));
    }
}
