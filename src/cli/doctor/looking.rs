//! What is looked at before anything is said of an app: its service, its listeners, the answers of its
//! health path, its files.

use std::borrow::Cow;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access;
use super::says::Says;
use crate::checks::{first_answer, redirected_to, whole_health_check};
use crate::config::{Member, Shown, env_file};
use crate::files::below;
use crate::judge::{ActiveState, Address, DatabasePlace, HttpTarget, Policy, Secret, Target};
use crate::server::nginx::{Upstream, spells};
use crate::server::{self, Asked, FoundApp, Listening, Server, usual_paths};
use crate::systemd::{Exec, Power, ServiceReading, Sight};

/// An app, looked at.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Its name, or its unit where it is not configured.
    pub name: String,
    /// The name of its table; none where it is not configured.
    pub table: Option<String>,
    /// What counts before that table.
    pub says: Says,
    pub service: ServiceReading,
    pub policy: Policy,
    pub target: Target,
    /// It was found running.
    pub found: Option<FoundApp>,
    /// What its health path answered.
    pub health: Option<Health>,
    /// A usual path that would do: answered well, quickly, and by the app itself.
    pub better: Option<String>,
    /// A command of `ExecStart=` that cannot be executed.
    pub unexecutable: Option<Unexecutable>,
    /// What is the matter with the working directory.
    pub homeless: Option<Homeless>,
    /// Environment files that its next start goes without, or fails for.
    pub lost: Vec<LostFile>,
    /// Where nginx's file names a host and a port in these very letters: file, host, port.
    pub spelled: Vec<(String, String, u16)>,
    /// The host of its database, where that is not this one.
    pub remote: Option<String>,
    /// A user's manager knows a unit of this name, and the system's does not.
    pub of_a_user: bool,
}

/// A command of `ExecStart=` that cannot be executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unexecutable {
    pub exec: Exec,
    pub why: Inexecutable,
}

/// Why a file cannot be executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inexecutable {
    /// It is in a home, and its sandbox hides the homes.
    Hidden,
    /// It is not marked as executable.
    Unmarked,
    /// It is not there. Perhaps a program of its name is where programs are.
    Missing(Option<PathBuf>),
}

/// Why a working directory cannot be entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Homeless {
    /// It is not there.
    Missing,
    /// It is in a home, and its sandbox hides the homes.
    Hidden,
    /// The unit's user is not let into this one, on the way or at the end of it.
    Closed(PathBuf),
}

/// An environment file of which systemd takes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LostFile {
    pub path: PathBuf,
    /// The unit is started without it.
    pub optional: bool,
    /// Why it is refused; none where it is not there.
    pub refused: Option<String>,
}

/// What a health path answered.
#[derive(Clone, Debug)]
pub struct Health {
    /// The path of its URL.
    pub path: String,
    /// The first answer, redirect or not.
    pub first: Result<Asked, String>,
    /// What the check as a whole says against it.
    pub whole: Result<(), String>,
    /// Headers with which it answers well.
    pub with: Vec<(&'static str, String)>,
    /// Where its redirects end well.
    pub end: Option<String>,
}

/// How long an answer is waited for where a path is only tried.
const PATIENCE: Duration = Duration::from_secs(2);
/// A health check that takes longer is slow.
pub const SLOW: Duration = Duration::from_millis(500);
/// Where programs are.
const BIN: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/usr/local/sbin"];

pub fn look(member: &Member, shown: &[Shown], service: &ServiceReading, server: &Server) -> Patient {
    let target = &member.target;
    let found = server.apps.iter().find(|app| app.service.unit == service.unit).cloned();
    let table = member.subject.app().map(ToString::to_string).filter(|app| app != super::UNCONFIGURED);
    let name = if table.is_some() { member.subject.to_string() } else { service.unit.to_string() };
    let stem = service.unit.stem();
    let of_a_user = server.strays.iter().any(|stray| match &stray.keeper {
        crate::server::Keeper::User(_, unit) => unit == service.unit.as_str() || unit == stem,
        _ => false,
    });
    let health = health(target, found.as_ref());
    let fine = health.as_ref().is_some_and(Health::is_fine);
    let (root, runs) = (Path::new("/"), runs(service));
    Patient {
        better: if fine { None } else { better(target, found.as_ref()) },
        health,
        name,
        says: if table.is_some() { Says::of(&member.subject, shown) } else { Says::default() },
        table,
        unexecutable: unexecutable(root, service, runs),
        homeless: homeless(root, service, runs),
        lost: lost_files(root, service),
        spelled: spelled(found.as_ref()),
        remote: remote(target, found.as_ref()),
        of_a_user,
        found,
        service: service.clone(),
        policy: member.policy.clone(),
        target: target.clone(),
    }
}

/// The first of its commands that cannot be executed. Who runs has found what is hidden.
pub fn unexecutable(root: &Path, service: &ServiceReading, runs: bool) -> Option<Unexecutable> {
    // One that may be missing beside others is the unit's own affair.
    let alone = service.commands.len() == 1;
    let needed = service.commands.iter().filter(|exec| alone || !exec.optional);
    let mut bad = needed.filter_map(|exec| {
        let why = match seen(&ways(root, &exec.file), &sight_of(service, exec.power)) {
            Seen::Otherwise => None,
            Seen::Hidden => (!runs).then_some(Inexecutable::Hidden),
            Seen::AsHere => inexecutable(root, &exec.file),
        }?;
        Some(Unexecutable { exec: exec.clone(), why })
    });
    bad.next()
}

/// How a command of the service sees a path.
enum Seen {
    /// As the host has it.
    AsHere,
    /// Its sandbox hides the homes, and it is in one.
    Hidden,
    /// Otherwise: nothing is known of it.
    Otherwise,
}

fn seen(ways: &[PathBuf], sight: &Sight) -> Seen {
    match () {
        () if ways.iter().any(|way| sight.is_other(way)) => Seen::Otherwise,
        () if ways.iter().any(|way| sight.hides(way)) => Seen::Hidden,
        () => Seen::AsHere,
    }
}

/// What a command of that power sees.
fn sight_of(service: &ServiceReading, power: Power) -> Cow<'_, Sight> {
    match power {
        Power::Unit | Power::Root => Cow::Borrowed(&service.sight),
        Power::Full => Cow::Owned(service.sight.without_sandbox()),
    }
}

/// A path as it is written, and where its links lead to.
fn ways(root: &Path, path: &Path) -> Vec<PathBuf> {
    let mut ways = vec![path.to_owned()];
    if let Ok(real) = below(root, path).canonicalize()
        && let Ok(inside) = real.strip_prefix(root)
    {
        ways.push(Path::new("/").join(inside));
    }
    ways
}

/// Its present process was executed where it should be.
pub fn runs(service: &ServiceReading) -> bool {
    let failed = service.result == "exit-code" && matches!(service.status, 200 | 203);
    service.active == ActiveState::Active && !failed
}

fn inexecutable(root: &Path, file: &Path) -> Option<Inexecutable> {
    use std::os::unix::fs::PermissionsExt as _;
    let there = match below(root, file).metadata() {
        Ok(metadata) if metadata.permissions().mode() & 0o111 != 0 => return None,
        Ok(metadata) => metadata.is_file(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        // Not seen is not missing.
        Err(_) => return None,
    };
    // systemd looks for what is no path itself.
    let name = file.file_name().filter(|_| file.is_absolute())?;
    if there {
        return Some(Inexecutable::Unmarked);
    }
    let mut others = BIN.iter().map(|folder| Path::new(folder).join(name));
    Some(Inexecutable::Missing(others.find(|other| below(root, other).exists())))
}

/// What is the matter with the working directory, for the first of its commands that it matters to.
pub fn homeless(root: &Path, service: &ServiceReading, runs: bool) -> Option<Homeless> {
    let path = service.working_directory.as_ref().filter(|_| !service.directory_optional)?;
    let mut powers: Vec<Power> = service.commands.iter().map(|exec| exec.power).collect();
    powers.sort();
    powers.dedup();
    let ways = ways(root, path);
    powers.into_iter().find_map(|power| {
        let sight = sight_of(service, power);
        match seen(&ways, &sight) {
            Seen::Otherwise => return None,
            Seen::Hidden => return (!runs).then_some(Homeless::Hidden),
            Seen::AsHere => {}
        }
        match below(root, path).metadata() {
            // Who runs there is let in, by whatever it is, and so is root.
            Ok(metadata) if metadata.is_dir() && (runs || power != Power::Unit) => None,
            Ok(metadata) if metadata.is_dir() && sight.is_handed_over(path) => None,
            Ok(metadata) if metadata.is_dir() => access::closed_to(root, path, service).map(Homeless::Closed),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
            Err(_) if sight.is_made(path) => None,
            _ => Some(Homeless::Missing),
        }
    })
}

pub fn lost_files(root: &Path, service: &ServiceReading) -> Vec<LostFile> {
    // A pattern is systemd's to expand.
    let plain = |path: &Path| !path.to_string_lossy().contains(['*', '?', '[']);
    let files = service.environment_files.iter().filter(|(path, _)| plain(path));
    let lost = files.filter_map(|(path, optional)| {
        let refused = match env_file::read_of_unit(&below(root, path)) {
            Ok(read) => Some(read.refused?),
            Err(why) if why == env_file::NO_SUCH_FILE && !optional => None,
            Err(_) => return None,
        };
        Some(LostFile { path: path.clone(), optional: *optional, refused })
    });
    lost.collect()
}

/// Which hosts and ports that its sites pass to stand in their files in these very letters.
fn spelled(found: Option<&FoundApp>) -> Vec<(String, String, u16)> {
    let mut all = Vec::new();
    for (site, _) in found.iter().flat_map(|found| &found.sites) {
        let Ok(text) = env_file::read_bounded(Path::new(&site.file)) else { continue };
        for to in site.passes.iter().flat_map(|pass| &pass.to) {
            let Upstream::Host(host, port) = to else { continue };
            let one = (site.file.clone(), host.clone(), *port);
            if spells(&text, host, *port) && !all.contains(&one) {
                all.push(one);
            }
        }
    }
    all
}

/// The host of a database that is not on this one.
fn remote(target: &Target, found: Option<&FoundApp>) -> Option<String> {
    let places: Vec<DatabasePlace> = match (&target.database, found) {
        (Some(database), _) => database.places.clone(),
        (None, Some(found)) => found.databases.iter().flat_map(|one| one.places.clone()).collect(),
        (None, None) => Vec::new(),
    };
    let hosts = places.into_iter().filter_map(|place| match place {
        DatabasePlace::Host(host, _) => Some(host),
        DatabasePlace::Socket(_) => None,
    });
    let names = server::names_of_this_host(Path::new("/"));
    let here = |host: &String| match host.parse::<IpAddr>() {
        // An address of this host is one that can be bound.
        Ok(address) => address.is_loopback() || UdpSocket::bind((address, 0)).is_ok(),
        Err(_) => host == "localhost" || names.contains(host),
    };
    hosts.into_iter().find(|host| !here(host))
}

/// Asks as the daemon does.
fn health(target: &Target, found: Option<&FoundApp>) -> Option<Health> {
    let http = target.http.as_ref()?;
    let rest = http.url.split_once("://").map_or(http.url.as_str(), |(_, rest)| rest);
    let path = rest.split_once('/').map_or_else(|| "/".to_owned(), |(_, path)| format!("/{path}"));
    let ask = || first_answer(http, target.address, http.timeout).map(Asked::from);
    let mut first = ask();
    if first.as_ref().is_ok_and(|asked| asked.took > SLOW)
        && let Ok(again) = ask()
        && again.took <= SLOW
    {
        // The first answer after a start may take its time.
        first = Ok(again);
    }
    let asked = match &first {
        Ok(asked) => asked.clone(),
        Err(why) => {
            return Some(Health { path, whole: Err(why.clone()), first, with: Vec::new(), end: None });
        }
    };
    let good = http.status.contains(asked.status);
    let mut health = Health { path, first, whole: Ok(()), with: Vec::new(), end: None };
    if !good && (300..400).contains(&asked.status) {
        health.end = redirected_to(http, target.address, http.timeout);
    }
    health.whole = whole_health_check(http, target.address, http.timeout);
    if !good {
        health.with = with_headers(http, target, found);
    }
    Some(health)
}

/// The headers that a proxy in front would send, as few as make it answer well.
fn with_headers(http: &HttpTarget, target: &Target, found: Option<&FoundApp>) -> Vec<(&'static str, String)> {
    let of_public = target.public.as_ref().and_then(|public| {
        let (_, rest) = public.http.url.split_once("://")?;
        rest.split(['/', ':', '?']).next().map(str::to_owned)
    });
    let of_site = || {
        found.and_then(|found| {
            Some(found.sites.iter().find_map(|(site, _)| site.public_names().next())?.to_owned())
        })
    };
    let host = of_public.or_else(of_site);
    let mut tries: Vec<Vec<(&'static str, String)>> = Vec::new();
    let https = ("X-Forwarded-Proto", "https".to_owned());
    tries.extend(host.iter().map(|host| vec![("Host", host.clone())]));
    tries.push(vec![https.clone()]);
    tries.extend(host.iter().map(|host| vec![("Host", host.clone()), https.clone()]));
    let known = |name: &str| http.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    tries.retain(|headers| !headers.iter().any(|(name, _)| known(name)));
    let good = |headers: &&Vec<(&'static str, String)>| {
        let mut http = http.clone();
        http.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), Secret(value.clone()))));
        whole_health_check(&http, target.address, PATIENCE).is_ok()
            && first_answer(&http, target.address, PATIENCE)
                .is_ok_and(|asked| http.status.contains(asked.status))
    };
    tries.iter().find(good).cloned().unwrap_or_default()
}

/// A usual path that answers well, quickly, and not with a page made beforehand.
fn better(target: &Target, found: Option<&FoundApp>) -> Option<String> {
    let port = target.port?;
    let address = match target.address {
        Address::Ip(address) => address,
        Address::Localhost => {
            found.and_then(|found| found.address(port)).unwrap_or(IpAddr::from([127, 0, 0, 1]))
        }
    };
    match usual_paths(address, port, PATIENCE) {
        server::Health::Path(path, asked) if asked.took <= SLOW && !asked.is_static() => {
            Some(path.to_owned())
        }
        _ => None,
    }
}

impl Health {
    /// There is nothing to say about it.
    pub fn is_fine(&self) -> bool {
        let redirects = |asked: &Asked| (300..400).contains(&asked.status);
        self.whole.is_ok()
            && self
                .first
                .as_ref()
                .is_ok_and(|asked| !redirects(asked) && asked.took <= SLOW && !asked.is_static())
    }
}

impl Patient {
    /// Where it listens on its port; everywhere, if none is configured.
    pub fn listening(&self) -> Vec<Listening> {
        let all = self.found.iter().flat_map(|found| found.listening.iter().copied());
        all.filter(|at| self.target.port.is_none_or(|port| port == at.port)).collect()
    }

    /// Its ports.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.target.port.into_iter().collect();
        ports.extend(self.listening().iter().map(|at| at.port));
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}
